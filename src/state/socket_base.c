/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "state/socket_base.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/sock_diag.h>
#include <net/if.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "state/sock_diag.h"
#include "state/socket_hidden.h"

#define AWAIT_MS 1000
#define COMPARED 256 /* words */

const struct field socket_base_fields[] = {
	FIELD_UINT(struct socket_base, type, "type", "2 datagram, 3 raw"),
	FIELD_UINT(struct socket_base, protocol, "protocol", "SO_PROTOCOL"),
	FIELD_OCTAL(struct socket_base, mode, "mode", "of the socket itself (fchmod)"),
	FIELD_UINT(struct socket_base, uid, "uid", "owner of the socket itself (fchown)"),
	FIELD_UINT(struct socket_base, gid, "gid", "group of the socket itself"),
	FIELD_STRUCT(struct socket_base, options, "options", socket_options_fields, "of level SOL_SOCKET"),
	FIELD_END,
};

int socket_check_netns(struct capture *c, const struct file_look *f, int fd)
{
	_cleanup_fd_ int own = socket_in(tree_living(c->tree), AF_UNIX, SOCK_DGRAM, 0);
	uint64_t a = 0, b = 0;
	socklen_t size = sizeof(a);

	if (own < 0 || getsockopt(own, SOL_SOCKET, SO_NETNS_COOKIE, &a, &size) < 0 ||
		getsockopt(fd, SOL_SOCKET, SO_NETNS_COOKIE, &b, &size) < 0)
		return refused(c->ps, BLAME_FILE(f),
			"this kernel does not tell which network namespace a socket is of (Linux 5.14 and later do)");
	return a == b ? 0 : refused(c->ps, BLAME_FILE(f), "a socket of another network namespace than its tree's");
}

bool socket_has_error(int fd)
{
	struct pollfd p = { .fd = fd };

	return poll(&p, 1, 0) == 1 && p.revents & POLLERR;
}

int socket_refuse_error(struct capture *c, const struct file_look *f)
{
	return refused(c->ps, BLAME_FILE(f, .passing = true, .remedy = "let the program see it"),
		"an error (SO_ERROR) that was not told yet");
}

int socket_base_capture(struct capture *c, const struct file_look *f, int fd, struct socket_base *s)
{
	int type = 0, protocol = 0, err;
	socklen_t size = sizeof(int);
	const char *what = NULL;
	struct stat st;

	if (fstat(fd, &st) < 0 || getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) < 0 ||
		getsockopt(fd, SOL_SOCKET, SO_PROTOCOL, &protocol, &size) < 0)
		return -errno;
	err = socket_check_netns(c, f, fd);
	if (err)
		return err;
	s->type = (uint64_t)type;
	s->protocol = (uint64_t)protocol;
	s->mode = st.st_mode;
	s->uid = st.st_uid;
	s->gid = st.st_gid;
	err = socket_options_read(fd, &s->options, &what);
	if (err == -ENOTSUP)
		return refused(c->ps, BLAME_FILE(f), "%s", what);
	return err ? err : socket_hidden_capture(c, f, &s->options);
}

int socket_interface_name(int fd, int index, char **name)
{
	struct ifreq r = { .ifr_ifindex = index };

	if (index <= 0)
		return index ? -ENODEV : 0;
	if (ioctl(fd, SIOCGIFNAME, &r) < 0)
		return -errno;
	*name = strndup(r.ifr_name, sizeof(r.ifr_name));
	return *name ? 0 : -ENOMEM;
}

int socket_interface_index(int fd, const char *name)
{
	struct ifreq r = { 0 };

	if (!name)
		return 0;
	snprintf(r.ifr_name, sizeof(r.ifr_name), "%s", name);
	return ioctl(fd, SIOCGIFINDEX, &r) < 0 ? -errno : r.ifr_ifindex;
}

bool socket_has_unread(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };

	return poll(&p, 1, 0) == 1 && p.revents & POLLIN;
}

static int attach(int fd, struct sock_filter *filter, unsigned short n)
{
	const struct sock_fprog program = { n, filter };

	return setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program)) < 0 ? -errno : 0;
}

/* A filter that takes nothing. */
int socket_close_ears(int fd)
{
	struct sock_filter none = BPF_STMT(BPF_RET | BPF_K, 0);

	return attach(fd, &none, 1);
}

uint32_t socket_mark(void)
{
	return 0x73000000 | ((uint32_t)getpid() & 0xffffff);
}

int socket_hear_marked(int fd)
{
	struct sock_filter marked[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (uint32_t)(SKF_AD_OFF + SKF_AD_MARK)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, socket_mark(), 0, 1),
		BPF_STMT(BPF_RET | BPF_K, UINT32_MAX),
		BPF_STMT(BPF_RET | BPF_K, 0),
	};

	return attach(fd, marked, ARRAY_SIZE(marked));
}

static int hear_same(int fd, const uint8_t *data, size_t size, size_t compared)
{
	struct sock_filter same[3 * (COMPARED + 1) + 1];
	unsigned short n = 0;

	for (uint32_t i = 0; i <= MIN(size / sizeof(uint32_t), compared); i++) {
		const uint8_t *at = data + (i ? (i - 1) * sizeof(uint32_t) : 0);
		uint32_t value = i ? (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3]
				   : (uint32_t)size;

		same[n++] = (struct sock_filter)BPF_STMT(
			BPF_LD | BPF_W | (i ? BPF_ABS : BPF_LEN), i ? (i - 1) * (uint32_t)sizeof(uint32_t) : 0);
		same[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, value, 1, 0);
		same[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, 0);
	}
	same[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, UINT32_MAX);
	return attach(fd, same, n);
}

/* A long filter needs more than a socket may have of the kernel's memory (net.core.optmem_max) before Linux 6.7. */
int socket_hear_only(int fd, const uint8_t *data, size_t size)
{
	size_t compared = COMPARED;
	int err = hear_same(fd, data, size, compared);

	while (err == -ENOMEM && (compared /= 2))
		err = hear_same(fd, data, size, compared);
	return err;
}

unsigned int socket_queued(int fd)
{
	unsigned int info[SK_MEMINFO_VARS] = { 0 };
	socklen_t size = sizeof(info);

	getsockopt(fd, SOL_SOCKET, SO_MEMINFO, info, &size);
	return info[SK_MEMINFO_RMEM_ALLOC];
}

int socket_await(int fd, unsigned int before)
{
	for (int ms = 0; ms < AWAIT_MS && socket_queued(fd) == before; ms++)
		poll(NULL, 0, 1);
	return socket_queued(fd) == before ? -ETIMEDOUT : 0;
}

void socket_open_ears(int fd)
{
	int none = 0;

	setsockopt(fd, SOL_SOCKET, SO_DETACH_FILTER, &none, sizeof(none));
}

void socket_before_options(int fd, const struct socket_options *o)
{
	if (o->lock_filter > 0)
		socket_open_ears(fd);
}

int socket_after_options(int fd, const struct socket_options *o)
{
	return o->lock_filter > 0 ? 0 : socket_close_ears(fd);
}

int socket_hear_again(int fd, const struct socket_options *o)
{
	if (o->lock_filter > 0)
		return 0;
	if (!o->filter.size)
		socket_open_ears(fd);
	return socket_filter_write(fd, &o->filter) < 0 ? -errno : 0;
}

int socket_base_open(struct restore *r, int family, const struct socket_base *s)
{
	int fd = socket_in(r->root_pid, family, (int)s->type, (int)s->protocol), err;

	if (fd < 0)
		return failed(r->ps, BLAME(.object = "socket"), fd, "a socket of that kind cannot be made: %s",
			strerror(-fd));
	err = socket_close_ears(fd);
	if (!err)
		err = socket_options_write(r->ps, BLAME(.object = "socket"), fd, &s->options, OPTION_EARLY);
	if (err)
		close(fd);
	return err ? err : fd;
}

int socket_set_owner(int fd, uint64_t mode, uint64_t uid, uint64_t gid)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return -errno;
	if ((st.st_uid != uid || st.st_gid != gid) && fchown(fd, (uid_t)uid, (gid_t)gid) < 0)
		return -errno;
	return (st.st_mode & 07777) != (mode & 07777) && fchmod(fd, mode & 07777) < 0 ? -errno : 0;
}

int socket_base_settle(
	struct restore *r, int fd, const char *name, const struct socket_base *s, const struct file_state *file)
{
	int err;

	socket_before_options(fd, &s->options);
	err = socket_options_write(r->ps, BLAME(.object = name), fd, &s->options, OPTION_LATE);
	if (!err)
		err = socket_after_options(fd, &s->options);
	if (!err)
		err = socket_set_owner(fd, s->mode, s->uid, s->gid);
	return err ? err : MIN(file_settle(fd, file), 0);
}
