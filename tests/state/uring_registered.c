/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* io_uring: what is registered with a ring. io_uring_register(2). */
#include "uring.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

static struct ring ring, second;
static int ends[2];

static int do_register(unsigned int opcode, const void *arg, unsigned int n)
{
	long r = syscall(SYS_io_uring_register, ring.fd, opcode, arg, n);

	NEED(r >= 0 || errno != EINVAL);
	CHECK(r >= 0);
	return 0;
}

static int one(int opcode, int result)
{
	ring_queue(&ring, opcode, 8);
	TRY(ring_enter(&ring, 1));
	return ring_take(&ring, 8, result);
}

/* An eventfd; arg: only of what does not come at once. */
static int eventfd_make(struct maker_ctx *ctx)
{
	TRY(ring_open(&ring, 8, IORING_SETUP_CQSIZE));
	ends[0] = eventfd(5, EFD_CLOEXEC);
	CHECK(ends[0] >= 0);
	TRY(do_register(ctx->arg ? IORING_REGISTER_EVENTFD_ASYNC : IORING_REGISTER_EVENTFD, &ends[0], 1));
	return ring_pass(&ring, 20);
}

static int counts(uint64_t n)
{
	uint64_t value = 0;
	struct pollfd p = { .fd = ends[0], .events = POLLIN };

	SAME(poll(&p, 1, 0), n != 0);
	if (n)
		SAME(read(ends[0], &value, sizeof(value)), 8);
	SAME(value, n);
	return 0;
}

static int eventfd_use(struct maker_ctx *ctx)
{
	TRY(counts(ctx->arg ? 5 : 25));
	TRY(one(IORING_OP_NOP, 0));
	TRY(counts(ctx->arg ? 0 : 1));
	*ring_word(&ring, ring.p.cq_off.flags) |= IORING_CQ_EVENTFD_DISABLED;
	TRY(ring_pass(&ring, 3));
	*ring_word(&ring, ring.p.cq_off.flags) = 0;
	TRY(counts(0));
	return ring_works(&ring);
}

/* Restrictions; arg: flags of the ring. */
static int restricted_make(struct maker_ctx *ctx)
{
	struct io_uring_restriction only[] = {
		{ .opcode = IORING_RESTRICTION_SQE_OP, .sqe_op = IORING_OP_NOP },
		{ .opcode = IORING_RESTRICTION_SQE_OP, .sqe_op = IORING_OP_CLOSE },
		{ .opcode = IORING_RESTRICTION_REGISTER_OP, .register_op = IORING_REGISTER_PROBE },
		{ .opcode = IORING_RESTRICTION_REGISTER_OP, .register_op = IORING_REGISTER_ENABLE_RINGS },
		{ .opcode = IORING_RESTRICTION_SQE_FLAGS_ALLOWED, .sqe_flags = IOSQE_IO_LINK },
	};

	TRY(ring_open(&ring, 8, (unsigned int)ctx->arg | IORING_SETUP_CQSIZE | IORING_SETUP_R_DISABLED));
	TRY(do_register(IORING_REGISTER_RESTRICTIONS, only, 5));
	CHECK(!syscall(SYS_io_uring_register, ring.fd, IORING_REGISTER_ENABLE_RINGS, NULL, 0));
	return ring_pass(&ring, 45);
}

static int restricted_use(struct maker_ctx *ctx)
{
	static char probe[sizeof(struct io_uring_probe) + sizeof(struct io_uring_probe_op)];

	memset(probe, 0, sizeof(probe));
	SAME(syscall(SYS_io_uring_register, ring.fd, IORING_REGISTER_PERSONALITY, NULL, 0), -1);
	SAME(errno, EACCES);
	CHECK(!syscall(SYS_io_uring_register, ring.fd, IORING_REGISTER_PROBE, probe, 1));
	ring_queue(&ring, IORING_OP_NOP, 9)->flags = IOSQE_IO_LINK;
	TRY(ring_enter(&ring, 1));
	TRY(ring_take(&ring, 9, 0));
	TRY(one(IORING_OP_POLL_REMOVE, -EACCES));
	TRY(one(IORING_OP_CLOSE, -EBADF));
	ring_queue(&ring, IORING_OP_NOP, 9)->flags = IOSQE_ASYNC;
	TRY(ring_enter(&ring, 1));
	TRY(ring_take(&ring, 9, -EACCES));
	return ring_works(&ring);
}

/* Not yet in force. */
static int restricted_later_make(struct maker_ctx *ctx)
{
	struct io_uring_restriction only[] = {
		{ .opcode = IORING_RESTRICTION_SQE_OP, .sqe_op = IORING_OP_CLOSE },
		{ .opcode = IORING_RESTRICTION_SQE_FLAGS_REQUIRED, .sqe_flags = IOSQE_IO_LINK },
	};

	TRY(ring_open(&ring, 8, IORING_SETUP_CQSIZE | IORING_SETUP_R_DISABLED));
	return do_register(IORING_REGISTER_RESTRICTIONS, only, 2);
}

static int restricted_later_use(struct maker_ctx *ctx)
{
	CHECK(!syscall(SYS_io_uring_register, ring.fd, IORING_REGISTER_ENABLE_RINGS, NULL, 0));
	TRY(one(IORING_OP_NOP, -EACCES));
	ring_queue(&ring, IORING_OP_CLOSE, 3)->flags = IOSQE_IO_LINK;
	TRY(ring_enter(&ring, 1));
	return ring_take(&ring, 3, -EBADF);
}

/* Requests that its restrictions forbid have completed. */
static int forbidden_make(struct maker_ctx *ctx)
{
	struct io_uring_restriction only = { .opcode = IORING_RESTRICTION_SQE_OP, .sqe_op = IORING_OP_CLOSE };

	TRY(ring_open(&ring, 8, IORING_SETUP_CQSIZE | IORING_SETUP_R_DISABLED));
	TRY(do_register(IORING_REGISTER_RESTRICTIONS, &only, 1));
	CHECK(!syscall(SYS_io_uring_register, ring.fd, IORING_REGISTER_ENABLE_RINGS, NULL, 0));
	for (int i = 0; i < 21; i++)
		TRY(one(i % 2 ? IORING_OP_NOP : IORING_OP_CLOSE, i % 2 ? -EACCES : -EBADF));
	return 0;
}

static int forbidden_use(struct maker_ctx *ctx)
{
	SAME(*ring_word(&ring, ring.p.sq_off.head), 21);
	for (int i = 0; i < 80; i++)
		TRY(one(IORING_OP_CLOSE, -EBADF));
	return one(IORING_OP_NOP, -EACCES);
}

/* The clock by which a wait ends: CLOCK_BOOTTIME. */
static int clock_make(struct maker_ctx *ctx)
{
	uint32_t clock[4] = { CLOCK_BOOTTIME };

	TRY(ring_open(&ring, 8, IORING_SETUP_CQSIZE));
	return do_register(29 /* IORING_REGISTER_CLOCK */, clock, 0);
}

/* A wait until now, by the ring's clock, ends at once. */
static int clock_use(struct maker_ctx *ctx)
{
	struct timespec now;
	struct __kernel_timespec until;
	struct io_uring_getevents_arg arg = { .ts = (uintptr_t)&until };

	clock_gettime(CLOCK_BOOTTIME, &now);
	until = (struct __kernel_timespec){ .tv_sec = now.tv_sec, .tv_nsec = now.tv_nsec };
	SAME(syscall(SYS_io_uring_enter, ring.fd, 0, 1,
		     IORING_ENTER_GETEVENTS | IORING_ENTER_EXT_ARG | 1u << 5 /* IORING_ENTER_ABS_TIMER */, &arg,
		     sizeof(arg)),
		-1);
	SAME(errno, ETIME);
	return ring_works(&ring);
}

struct napi {
	uint32_t timeout;
	uint8_t prefer_busy_poll, opcode, pad[2];
	uint32_t tracking, reserved;
};

static int napi_make(struct maker_ctx *ctx)
{
	struct napi napi = { .timeout = 37, .prefer_busy_poll = 1, .tracking = (uint32_t)ctx->arg };

	TRY(ring_open(&ring, 8, IORING_SETUP_CQSIZE));
	return do_register(27 /* IORING_REGISTER_NAPI */, &napi, 1);
}

static int napi_use(struct maker_ctx *ctx)
{
	struct napi napi = { 0 };

	TRY(do_register(28 /* IORING_UNREGISTER_NAPI */, &napi, 1));
	SAME(napi.timeout, 37);
	SAME(napi.prefer_busy_poll, 1);
	return ring_works(&ring);
}

/* Numbers of files that the kernel chooses. */
static int range_make(struct maker_ctx *ctx)
{
	struct io_uring_file_index_range range = { .off = 3, .len = 6 };
	int fds[12];

	TRY(ring_open(&ring, 8, IORING_SETUP_CQSIZE));
	CHECK(!pipe2(ends, O_CLOEXEC));
	for (int i = 0; i < 12; i++)
		fds[i] = -1;
	fds[4] = fds[5] = ends[0];
	TRY(do_register(IORING_REGISTER_FILES, fds, 12));
	if (ctx->arg)
		TRY(do_register(IORING_REGISTER_FILE_ALLOC_RANGE, &range, 0));
	return ring_pass(&ring, 3);
}

/* The kernel chooses one for this descriptor. */
static int choose(int expected)
{
	struct io_uring_sqe *sqe = ring_queue(&ring, IORING_OP_FILES_UPDATE, 4);
	int fd = ends[1];

	sqe->addr = (uintptr_t)&fd;
	sqe->len = 1;
	sqe->off = IORING_FILE_INDEX_ALLOC;
	TRY(ring_enter(&ring, 1));
	TRY(ring_take(&ring, 4, expected < 0 ? expected : 1));
	if (expected >= 0)
		SAME(fd, expected);
	return 0;
}

static int range_use(struct maker_ctx *ctx)
{
	static const int within[] = { 3, 6, 7, 8, -ENFILE }, all[] = { 0, 1, 2, 3, 6, 7, 8, 9, 10, 11, -ENFILE };

	for (int i = 0; i < (ctx->arg ? 5 : 11); i++)
		TRY(choose(ctx->arg ? within[i] : all[i]));
	return ring_works(&ring);
}

/* Where it goes on: behind the last that was filled, or at the one that was emptied. */
static int next_make(struct maker_ctx *ctx)
{
	struct io_uring_rsrc_update u = { .offset = 7, .data = (uintptr_t)&ends[0] };
	int none = -1;

	TRY(range_make(ctx));
	TRY(do_register(IORING_REGISTER_FILES_UPDATE, &u, 1));
	if (!ctx->arg)
		return 0;
	u.data = (uintptr_t)&none;
	u.offset = (uint32_t)ctx->arg;
	return do_register(IORING_REGISTER_FILES_UPDATE, &u, 1);
}

static int next_use(struct maker_ctx *ctx)
{
	static const int behind[] = { 8, 9, 10, 11, 0, 1 }, emptied[] = { 4, 6, 8, 3 };

	for (int i = 0; i < (ctx->arg ? 4 : 6); i++)
		TRY(choose(ctx->arg ? emptied[i] : behind[i]));
	return ring_works(&ring);
}

/* A file with a tag. */
static int tag_make(struct maker_ctx *ctx)
{
	uint64_t tags[2] = { 0, 0xabcdef };
	struct io_uring_rsrc_register table = { .nr = 2, .tags = (uintptr_t)tags, .data = (uintptr_t)ends };

	TRY(ring_open(&ring, 8, IORING_SETUP_CQSIZE));
	CHECK(!pipe2(ends, O_CLOEXEC));
	TRY(do_register(IORING_REGISTER_FILES2, &table, sizeof(table)));
	return ring_pass(&ring, 6);
}

static int tag_use(struct maker_ctx *ctx)
{
	CHECK(!syscall(SYS_io_uring_register, ring.fd, IORING_UNREGISTER_FILES, NULL, 0));
	TRY(ring_take(&ring, 0xabcdef, 0));
	return ring_works(&ring);
}

/* As whom a request is carried out. */
static int opens(uint16_t personality, int result)
{
	struct io_uring_sqe *sqe = ring_queue(&ring, IORING_OP_OPENAT, 9);

	sqe->fd = AT_FDCWD;
	sqe->addr = (uintptr_t) "/etc/shadow";
	sqe->open_flags = O_RDONLY | O_CLOEXEC;
	sqe->personality = personality;
	TRY(ring_enter(&ring, 1));
	if (result < 0)
		return ring_take(&ring, 9, result);
	CHECK(UNTIL(*ring_word(&ring, ring.p.cq_off.tail) != *ring_word(&ring, ring.p.cq_off.head)));
	*ring_word(&ring, ring.p.cq_off.head) += 1;
	return 0;
}

static int register_personality(uid_t uid)
{
	int number;

	CHECK(!seteuid(uid));
	number = (int)syscall(SYS_io_uring_register, ring.fd, IORING_REGISTER_PERSONALITY, NULL, 0);
	CHECK(!seteuid(0));
	CHECK(!prctl(PR_SET_DUMPABLE, 1));
	CHECK(number > 0);
	return number;
}

static int personality_make(struct maker_ctx *ctx)
{
	NEED(geteuid() == 0);
	TRY(ring_open(&ring, 8, IORING_SETUP_CQSIZE | (unsigned int)ctx->arg));
	SAME(register_personality(0), 1);
	SAME(register_personality(1), 2);
	SAME(register_personality(65534), 3);
	SAME(register_personality(1), 4);
	CHECK(!syscall(SYS_io_uring_register, ring.fd, IORING_UNREGISTER_PERSONALITY, NULL, 2));
	CHECK(!syscall(SYS_io_uring_register, ring.fd, IORING_UNREGISTER_PERSONALITY, NULL, 4));
	TRY(opens(3, -EACCES));
	return ring_pass(&ring, 4);
}

static int personality_use(struct maker_ctx *ctx)
{
	TRY(opens(1, 0));
	TRY(opens(3, -EACCES));
	TRY(opens(2, -EINVAL));
	TRY(opens(0, 0));
	SAME(register_personality(1), 5);
	TRY(opens(5, -EACCES));
	return ring_works(&ring);
}

/* All that a request can show of it: who makes a file, whom a peer sees, which groups and capabilities let it in. */
static int open_as(uint16_t personality, const char *path, int flags)
{
	struct io_uring_sqe *sqe = ring_queue(&ring, IORING_OP_OPENAT, 9);
	struct io_uring_cqe *cqe = (void *)(ring.rings + ring.p.cq_off.cqes +
					    (*ring_word(&ring, ring.p.cq_off.head) & (ring.p.cq_entries - 1)) * 16ul);

	sqe->fd = AT_FDCWD;
	sqe->addr = (uintptr_t)path;
	sqe->open_flags = (uint32_t)flags | O_CLOEXEC;
	sqe->len = 0600;
	sqe->personality = personality;
	TRY(ring_enter(&ring, 1));
	CHECK(UNTIL(*ring_word(&ring, ring.p.cq_off.tail) != *ring_word(&ring, ring.p.cq_off.head)));
	*ring_word(&ring, ring.p.cq_off.head) += 1;
	return cqe->res < 0 ? 0 : 1;
}

static char secret[700], directory[700], made[720];

static int identity_make(struct maker_ctx *ctx)
{
	const gid_t groups[] = { 20, 21 };
	int fd;

	strcpy(secret, in_dir(ctx, "secret"));
	strcpy(directory, in_dir(ctx, "anybody's"));
	snprintf(made, sizeof(made), "%s/made", directory);

	NEED(geteuid() == 0);
	TRY(ring_open(&ring, 8, IORING_SETUP_CQSIZE));
	CHECK((fd = open(secret, O_CREAT | O_WRONLY | O_CLOEXEC, 0600)) >= 0 && !fchown(fd, 5, 21) &&
		!fchmod(fd, 0040));
	close(fd);
	CHECK(!mkdir(directory, 0777) && !chmod(directory, 0777));
	SAME(syscall(SYS_io_uring_register, ring.fd, IORING_REGISTER_PERSONALITY, NULL, 0), 1);
	CHECK(!syscall(SYS_setgroups, 2, groups));
	CHECK(!syscall(SYS_setresgid, 11, 12, 13));
	CHECK(!syscall(SYS_setresuid, 1, 2, 0));
	syscall(SYS_setfsgid, 11);
	SAME(syscall(SYS_io_uring_register, ring.fd, IORING_REGISTER_PERSONALITY, NULL, 0), 2);
	CHECK(!syscall(SYS_setresuid, 0, 0, 0) && !syscall(SYS_setresgid, 0, 0, 0) &&
		!syscall(SYS_setgroups, 0, groups));
	CHECK(!syscall(SYS_setresuid, -1, 65534, -1));
	SAME(syscall(SYS_io_uring_register, ring.fd, IORING_REGISTER_PERSONALITY, NULL, 0), 3);
	CHECK(!syscall(SYS_setresuid, 0, 0, 0) && !prctl(PR_SET_DUMPABLE, 1));
	return 0;
}

static int peer_is(uid_t uid, gid_t gid)
{
	struct sockaddr_un name = { .sun_family = AF_UNIX };
	socklen_t size = sizeof(name), cred_size = sizeof(struct ucred);
	int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0),
	    client = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct io_uring_sqe *sqe = ring_queue(&ring, IORING_OP_CONNECT, 7);
	struct ucred peer;
	int accepted;

	CHECK(!bind(listener, (struct sockaddr *)&name, sizeof(sa_family_t)) && !listen(listener, 1));
	CHECK(!getsockname(listener, (struct sockaddr *)&name, &size));
	sqe->fd = client;
	sqe->addr = (uintptr_t)&name;
	sqe->off = size;
	sqe->personality = 2;
	TRY(ring_enter(&ring, 1));
	TRY(ring_take(&ring, 7, 0));
	accepted = accept(listener, NULL, NULL);
	CHECK(accepted >= 0 && !getsockopt(accepted, SOL_SOCKET, SO_PEERCRED, &peer, &cred_size));
	SAME(peer.uid, uid);
	SAME(peer.gid, gid);
	return 0;
}

static int identity_use(struct maker_ctx *ctx)
{
	struct stat st;

	SAME(open_as(1, secret, O_RDONLY), 1); /* by a capability */
	SAME(open_as(2, secret, O_RDONLY), 1); /* by a group */
	SAME(open_as(3, secret, O_RDONLY), 0);
	SAME(open_as(2, made, O_CREAT | O_WRONLY), 1);
	CHECK(!stat(made, &st));
	SAME(st.st_uid, 2);
	SAME(st.st_gid, 11);
	TRY(peer_is(2, 12));
	return ring_works(&ring);
}

static int attached_make(struct maker_ctx *ctx)
{
	TRY(ring_open(&second, 8, IORING_SETUP_CQSIZE));
	memset(&ring, 0, sizeof(ring));
	ring.p.wq_fd = (uint32_t)second.fd;
	TRY(ring_open_with(&ring, 8, IORING_SETUP_CQSIZE | IORING_SETUP_ATTACH_WQ));
	TRY(ring_pass(&second, 3));
	return ring_pass(&ring, 6);
}

static int attached_use(struct maker_ctx *ctx)
{
	TRY(ring_works(&second));
	return ring_works(&ring);
}

#define ARG(name, what, of, arg)                                                                                       \
	{                                                                                                              \
		name, what, of##_make, of##_use, 0, arg                                                                \
	}

const struct maker makers_uring_registered[] = {
	ARG("eventfd", "an eventfd that is told of completions", eventfd, 0),
	ARG("eventfd-async", "only of those that come later", eventfd, 1),
	ARG("restricted", "it allows some requests only", restricted, 0),
	ARG("restricted-single", "and one thread only", restricted,
		IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN),
	ROW("restricted-later", "from when it is enabled", restricted_later),
	ROW("forbidden", "it has refused requests", forbidden),
	ROW("clock", "waits by CLOCK_BOOTTIME", clock),
	ARG("napi", "it polls network devices", napi, 0),
	ARG("napi-static", "those that it is told", napi, 1),
	ARG("files-all", "numbers for files anywhere", range, 0),
	ARG("files-range", "numbers for files from a range", range, 1),
	ARG("files-next", "the next is behind the last", next, 0),
	ARG("files-emptied", "the next is one that was emptied", next, 4),
	ROW("tag", "a file with a tag", tag),
	ARG("personality", "requests as another user", personality, 0),
	ROW("personality-whole", "all that a request shows of one", identity),
	ARG("personality-single", "with a ring of one thread", personality,
		IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN),
	ROW("attached", "it shares another's workers", attached),
	{ 0 },
};
