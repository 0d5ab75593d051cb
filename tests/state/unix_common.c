/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "unix.h"

int says(int from, const char *text)
{
	SAME(send(from, text, strlen(text), MSG_NOSIGNAL), strlen(text));
	return 0;
}

int hears(int at, const char *text)
{
	char got[512] = "";

	SAME(recv(at, got, sizeof(got) - 1, MSG_DONTWAIT), strlen(text));
	CHECK(!strcmp(got, text));
	return 0;
}

int talk(int a, int b)
{
	TRY(says(a, "question"));
	TRY(hears(b, "question"));
	TRY(says(b, "answer"));
	return hears(a, "answer");
}

short poll_now(int fd, short events)
{
	struct pollfd p = { .fd = fd, .events = events };

	poll(&p, 1, 0);
	return p.revents;
}

int hangs_up(int at)
{
	char c;

	CHECK(UNTIL(poll_now(at, POLLIN) & POLLIN));
	SAME(recv(at, &c, 1, MSG_DONTWAIT), 0);
	return 0;
}

int option_of(int fd, int name)
{
	int value = -1;
	socklen_t size = sizeof(value);

	return getsockopt(fd, SOL_SOCKET, name, &value, &size) < 0 ? -1 : value;
}

socklen_t named(struct sockaddr_un *a, const char *name)
{
	*a = (struct sockaddr_un){ .sun_family = AF_UNIX };
	snprintf(a->sun_path, sizeof(a->sun_path), "%s", name);
	if (name[0] != '@')
		return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(name) + 1);
	a->sun_path[0] = '\0';
	return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(name));
}

int bound(int type, const char *name)
{
	struct sockaddr_un a;
	socklen_t size = named(&a, name);
	int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);

	return fd < 0 || bind(fd, (struct sockaddr *)&a, size) < 0 ? -1 : fd;
}

int listening(int type, const char *name, int backlog)
{
	int fd = bound(type, name);

	return fd < 0 || listen(fd, backlog) < 0 ? -1 : fd;
}

int dialled(int type, const char *name)
{
	struct sockaddr_un a;
	socklen_t size = named(&a, name);
	int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);

	return fd < 0 || connect(fd, (struct sockaddr *)&a, size) < 0 ? -1 : fd;
}

int is_named(int fd, bool peer, const char *name)
{
	struct sockaddr_un a = { 0 }, want;
	socklen_t size = sizeof(a), wanted = named(&want, name);

	CHECK(!(peer ? getpeername : getsockname)(fd, (struct sockaddr *)&a, &size));
	if (!*name)
		wanted = offsetof(struct sockaddr_un, sun_path);
	SAME(size, wanted);
	CHECK(!memcmp(a.sun_path, want.sun_path, size - offsetof(struct sockaddr_un, sun_path)));
	return 0;
}

union control {
	char bytes[1024];
	struct cmsghdr align;
};

int send_with(int fd, const char *text, const int *fds, int n, const struct ucred *creds)
{
	union control control = { 0 };
	struct iovec iov = { (void *)text, strlen(text) };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control };
	struct cmsghdr *h = &control.align;
	size_t used = 0;

	if (n) {
		*h = (struct cmsghdr){ CMSG_LEN((size_t)n * sizeof(int)), SOL_SOCKET, SCM_RIGHTS };
		memcpy(CMSG_DATA(h), fds, (size_t)n * sizeof(int));
		used += CMSG_SPACE((size_t)n * sizeof(int));
	}
	if (creds) {
		h = (void *)(control.bytes + used);
		*h = (struct cmsghdr){ CMSG_LEN(sizeof(*creds)), SOL_SOCKET, SCM_CREDENTIALS };
		memcpy(CMSG_DATA(h), creds, sizeof(*creds));
		used += CMSG_SPACE(sizeof(*creds));
	}
	msg.msg_controllen = used;
	SAME(sendmsg(fd, &msg, MSG_NOSIGNAL), strlen(text));
	return 0;
}

int receive(int fd, const char *text, size_t room, int *fds, int n_fds, struct ucred *creds)
{
	union control control = { 0 };
	char got[512] = "";
	struct iovec iov = { got, room ? room : sizeof(got) };
	struct msghdr msg = {
		.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)
	};
	int n = 0;
	bool creds_seen = false;

	SAME(recvmsg(fd, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC), strlen(text));
	CHECK(!memcmp(got, text, strlen(text)));
	for (struct cmsghdr *h = CMSG_FIRSTHDR(&msg); h; h = CMSG_NXTHDR(&msg, h)) {
		if (h->cmsg_type == SCM_RIGHTS) {
			n = (int)((h->cmsg_len - CMSG_LEN(0)) / sizeof(int));
			if (n == n_fds)
				memcpy(fds, CMSG_DATA(h), (size_t)n * sizeof(int));
		}
		if (h->cmsg_type == SCM_CREDENTIALS && creds) {
			memcpy(creds, CMSG_DATA(h), sizeof(*creds));
			creds_seen = true;
		}
	}
	SAME(n, n_fds);
	CHECK(!creds || creds_seen);
	return 0;
}

/* Abstract names are the whole machine's, and pids are not. */
const char *abstract_name(struct maker_ctx *ctx, const char *what, char name[static 100])
{
	const char *base = strrchr(ctx->dir, '/');

	snprintf(name, 100, "@%.70s-%.20s",
		base && base[1] ? ctx->dir + (strlen(ctx->dir) > 60 ? strlen(ctx->dir) - 60 : 0) : "?", what);
	return name;
}
