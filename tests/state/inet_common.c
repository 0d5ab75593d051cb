/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "inet.h"

#include <linux/filter.h>

#include <netinet/tcp.h>

socklen_t size_of(const union address *a)
{
	return a->any.sa_family == AF_INET6 ? sizeof(a->v6) : sizeof(a->v4);
}

union address loopback(int family)
{
	union address a = { .any.sa_family = (sa_family_t)family };

	if (family == AF_INET6)
		a.v6.sin6_addr = in6addr_loopback;
	else
		a.v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	return a;
}

/* --- signatures --- */

static bool signs;

void sign_all(void)
{
	signs = true;
}

int sign(int fd, const char *ip, int prefix, int flags, const char *key)
{
	struct tcp_md5sig sig = { .tcpm_flags = (uint8_t)(TCP_MD5SIG_FLAG_PREFIX | flags),
		.tcpm_prefixlen = (uint8_t)prefix,
		.tcpm_keylen = (uint16_t)(key ? strlen(key) : 0) };
	union address a = { .any.sa_family = (sa_family_t)option_of(fd, SO_DOMAIN) };
	char mapped[64];

	snprintf(mapped, sizeof(mapped), "%s%s", a.any.sa_family == AF_INET6 && !strchr(ip, ':') ? "::ffff:" : "", ip);
	if (inet_pton(a.any.sa_family, mapped,
		    a.any.sa_family == AF_INET6 ? (void *)&a.v6.sin6_addr : &a.v4.sin_addr) != 1)
		return -EINVAL;
	memcpy(&sig.tcpm_addr, &a, size_of(&a));
	if (key)
		memcpy(sig.tcpm_key, key, strlen(key));
	return setsockopt(fd, IPPROTO_TCP, TCP_MD5SIG_EXT, &sig, sizeof(sig)) < 0 ? -errno : 0;
}

static const char *const signed_peers[] = { "127.0.0.1", "::1" };

static int maybe_sign(int fd, int type)
{
	const int n = option_of(fd, SO_DOMAIN) == AF_INET6 ? 2 : 1;

	for (int i = 0; i < n && signs && (type & 15) == SOCK_STREAM && fd >= 0; i++)
		if (sign(fd, signed_peers[i], i ? 128 : 32, 0, "a key for all") < 0)
			return -1;
	return fd;
}

/* It cannot be asked for; a key can be taken away if it is there. */
bool is_signed(int fd)
{
	return !sign(fd, "127.0.0.1", 32, 0, NULL) && !sign(fd, "127.0.0.1", 32, 0, "a key for all");
}

/* --- servers and clients --- */

int bound_here(int over, int type, int protocol, union address *a)
{
	int family = over == OVER_V4 ? AF_INET : AF_INET6,
	    fd = maybe_sign(socket(family, type | SOCK_CLOEXEC, protocol), type);
	socklen_t size;

	*a = loopback(family);
	if (over == OVER_MAPPED)
		a->v6.sin6_addr = in6addr_any;
	size = size_of(a);
	return fd < 0 || bind(fd, &a->any, size) < 0 || getsockname(fd, &a->any, &size) < 0 ? -1 : fd;
}

int listening_here(int over, int backlog, union address *a)
{
	int fd = bound_here(over, SOCK_STREAM, 0, a);

	return fd < 0 || listen(fd, backlog) < 0 ? -1 : fd;
}

int client_of(int over, int type, int protocol, const union address *a, union address *there)
{
	*there = *a;
	if (over == OVER_MAPPED) {
		*there = loopback(AF_INET);
		there->v4.sin_port = a->v6.sin6_port;
	}
	return maybe_sign(socket(there->any.sa_family, type | SOCK_CLOEXEC, protocol), type);
}

int connected_here(int over, int fds[2])
{
	union address a, there;
	int listener = listening_here(over, 5, &a);

	CHECK(listener >= 0);
	fds[0] = client_of(over, SOCK_STREAM, 0, &a, &there);
	CHECK(fds[0] >= 0);
	CHECK(!connect(fds[0], &there.any, size_of(&there)));
	fds[1] = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	CHECK(fds[1] >= 0);
	return close(listener);
}

int level_option(int fd, int level, int name)
{
	int value = -1;
	socklen_t size = sizeof(value);

	return getsockopt(fd, level, name, &value, &size) < 0 ? -1 : value;
}

int is_called(int fd, bool peer, const union address *want)
{
	union address a = { 0 };
	socklen_t size = sizeof(a);

	CHECK(!(peer ? getpeername : getsockname)(fd, &a.any, &size));
	SAME(size, size_of(want));
	CHECK(!memcmp(&a, want, size));
	return 0;
}

int tcp_state_of(int fd)
{
	struct tcp_info info = { 0 };
	socklen_t size = sizeof(info);

	return getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size) < 0 ? -1 : info.tcpi_state;
}

int hears_soon(int at, const char *text)
{
	char got[64] = "";

	for (size_t n = 0; n < strlen(text);) {
		struct pollfd p = { .fd = at, .events = POLLIN };
		ssize_t r;

		SAME(poll(&p, 1, 5000), 1);
		r = recv(at, got + n, strlen(text) - n, MSG_DONTWAIT);
		CHECK(r > 0);
		n += (size_t)r;
	}
	CHECK(!strcmp(got, text));
	return 0;
}

int take_only(int from, int at, int or_at, int number)
{
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_H | BPF_ABS, (uint32_t)at),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)number, 2, 0),
		BPF_STMT(BPF_LD | BPF_H | BPF_ABS, (uint32_t)or_at),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)number, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, UINT32_MAX),
		BPF_STMT(BPF_RET | BPF_K, 0),
	};
	struct sock_fprog program = { sizeof(filter) / sizeof(*filter), filter };

	CHECK(!setsockopt(from, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program)));
	return 0;
}

int nobodys(void)
{
	return (int)((now_ns(CLOCK_MONOTONIC) >> 8 ^ (int64_t)getpid() << 9) & 0xffff);
}

int converse(const int fds[2])
{
	for (int i = 0; i < 2; i++) {
		TRY(says(fds[i], "question"));
		TRY(hears_soon(fds[!i], "question"));
		TRY(says(fds[!i], "answer"));
		TRY(hears_soon(fds[i], "answer"));
	}
	return 0;
}
