/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* userfaultfd: descriptors with which no memory is registered. userfaultfd(2), ioctl_userfaultfd(2). */

#include "maker.h"

#include <linux/userfaultfd.h>
#include <poll.h>
#include <sys/ioctl.h>

#define USER_MODE_ONLY 1

static int fd = -1, again = -1;
static char *area;

static int open_uffd(int flags)
{
	fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | flags);
	NEED(fd >= 0);
	return 0;
}

static int shake(uint64_t features)
{
	struct uffdio_api api = { .api = UFFD_API, .features = features };

	NEED(!ioctl(fd, UFFDIO_API, &api));
	return 0;
}

static int map(void)
{
	area = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(area != MAP_FAILED);
	return 0;
}

static int register_area(uint64_t mode)
{
	struct uffdio_register r = { .range = { (uintptr_t)area, PAGE }, .mode = mode };

	CHECK(!ioctl(fd, UFFDIO_REGISTER, &r));
	return 0;
}

/* A fault of this process in the area is told by the descriptor, and answered. */
static void *faults(void *arg)
{
	return (void *)(uintptr_t)(unsigned char)*(volatile char *)area;
}

static int answers(void)
{
	static char page[PAGE];
	struct uffdio_copy copy = { .dst = (uintptr_t)area, .src = (uintptr_t)page, .len = PAGE };
	struct uffd_msg msg;
	pthread_t thread;
	void *read_byte;

	TRY(register_area(UFFDIO_REGISTER_MODE_MISSING));
	page[0] = 'f';
	TRY(thread_start(&thread, faults, NULL));
	CHECK(poll(&(struct pollfd){ fd, POLLIN, 0 }, 1, 10000) == 1);
	SAME(read(fd, &msg, sizeof(msg)), sizeof(msg));
	SAME(msg.event, UFFD_EVENT_PAGEFAULT);
	SAME(msg.arg.pagefault.address, (uintptr_t)area);
	CHECK(!ioctl(fd, UFFDIO_COPY, &copy));
	SAME(pthread_join(thread, &read_byte), 0);
	SAME((uintptr_t)read_byte, 'f');
	return 0;
}

/* arg: features. The call that makes it ready can be made once. */
static int ready_make(struct maker_ctx *ctx)
{
	TRY(map());
	TRY(open_uffd(O_NONBLOCK));
	return shake((uint64_t)ctx->arg);
}

static int ready_use(struct maker_ctx *ctx)
{
	struct uffdio_api api = { .api = UFFD_API };

	SAME(fcntl(fd, F_GETFL) & O_NONBLOCK, O_NONBLOCK);
	SAME(ioctl(fd, UFFDIO_API, &api), -1);
	if (ctx->arg & UFFD_FEATURE_SIGBUS) { /* a read into the area fails, instead of waiting for an answer */
		int zero = open("/dev/zero", O_RDONLY);

		TRY(register_area(UFFDIO_REGISTER_MODE_MISSING));
		SAME(read(zero, area, 1), -1);
		return 0;
	}
	return answers();
}

static int fresh_make(struct maker_ctx *ctx)
{
	TRY(map());
	return open_uffd(0);
}

static int fresh_use(struct maker_ctx *ctx)
{
	struct uffdio_register r = { .range = { (uintptr_t)area, PAGE }, .mode = UFFDIO_REGISTER_MODE_MISSING };

	SAME(fcntl(fd, F_GETFL) & O_NONBLOCK, 0);
	SAME(ioctl(fd, UFFDIO_REGISTER, &r), -1);
	TRY(shake(0));
	return answers();
}

/* Faults of the kernel itself are not told: they fail. */
static int user_make(struct maker_ctx *ctx)
{
	TRY(map());
	TRY(open_uffd(USER_MODE_ONLY));
	return shake(0);
}

static int user_use(struct maker_ctx *ctx)
{
	int zero = open("/dev/zero", O_RDONLY);

	TRY(register_area(UFFDIO_REGISTER_MODE_MISSING));
	SAME(read(zero, area, 1), -1);
	SAME(errno, EFAULT);
	return answers();
}

/* Inherited by a child, for whom it is that of its parent's memory; and by two numbers. */
static int child_use(struct maker_ctx *ctx)
{
	return register_area(UFFDIO_REGISTER_MODE_WP | UFFDIO_REGISTER_MODE_MISSING);
}

static int inherited_make(struct maker_ctx *ctx)
{
	TRY(ready_make(ctx));
	again = dup(fd);
	return kid_start(ctx, NULL, child_use, NULL);
}

static bool is_registered(void)
{
	return file_has("/proc/self/smaps", " um");
}

static int inherited_use(struct maker_ctx *ctx)
{
	struct uffdio_range range = { (uintptr_t)area, PAGE };

	CHECK(!is_registered());
	TRY(kids_finish(ctx));
	CHECK(is_registered());
	CHECK(!ioctl(again, UFFDIO_UNREGISTER, &range));
	return answers();
}

/* Several processes each have one, and hold that of the other. */
static int own_make(struct maker_ctx *ctx)
{
	again = fd;
	area = NULL;
	return ready_make(ctx);
}

static int own_use(struct maker_ctx *ctx)
{
	return answers();
}

static int several_make(struct maker_ctx *ctx)
{
	TRY(ready_make(ctx));
	TRY(kid_start(ctx, own_make, own_use, NULL));
	return kid_start(ctx, own_make, own_use, NULL);
}

static int several_use(struct maker_ctx *ctx)
{
	TRY(kids_finish(ctx));
	return answers();
}

/* Something is registered with it, or was. */
static int unregistered_make(struct maker_ctx *ctx)
{
	struct uffdio_range range;

	TRY(ready_make(ctx));
	range = (struct uffdio_range){ (uintptr_t)area, PAGE };
	TRY(register_area(UFFDIO_REGISTER_MODE_MISSING));
	CHECK(!ioctl(fd, UFFDIO_UNREGISTER, &range));
	return 0;
}

static int registered_make(struct maker_ctx *ctx)
{
	TRY(ready_make(ctx));
	return register_area((uint64_t)UFFDIO_REGISTER_MODE_MISSING);
}

static int registered_use(struct maker_ctx *ctx)
{
	struct uffdio_zeropage z = { .range = { (uintptr_t)area, PAGE } };

	CHECK(!ioctl(fd, UFFDIO_ZEROPAGE, &z));
	SAME(area[0], 0);
	return 0;
}

/* That of a process that has ended. */
static int gone_make(struct maker_ctx *ctx)
{
	int ends[2], status;
	pid_t pid;

	CHECK(!pipe(ends));
	pid = fork();
	if (!pid) {
		fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC);
		_exit(write(ends[1], &fd, sizeof(fd)) < 0 || read(ends[1], &status, 1) > 0 || pause());
	}
	CHECK(pid > 0);
	SAME(read(ends[0], &fd, sizeof(fd)), sizeof(fd));
	if (fd >= 0)
		fd = (int)syscall(SYS_pidfd_getfd, syscall(SYS_pidfd_open, pid, 0), fd, 0);
	kill(pid, SIGKILL);
	SAME(waitpid(pid, &status, 0), pid);
	NEED(fd >= 0);
	return 0;
}

static int gone_use(struct maker_ctx *ctx)
{
	CHECK(fcntl(fd, F_GETFD) >= 0);
	return 0;
}

const struct maker makers_userfaultfd[] = {
	ROW("fresh", "one that was not asked for anything yet", fresh),
	{ "ready", "one after UFFDIO_API", ready_make, ready_use, 0, 0 },
	{ "features", "one that wants thread ids and exact addresses", ready_make, ready_use, 0,
		UFFD_FEATURE_THREAD_ID | UFFD_FEATURE_EXACT_ADDRESS },
	{ "events", "one that wants to be told of forks", ready_make, ready_use, 0, UFFD_FEATURE_EVENT_FORK },
	{ "sigbus", "one that makes faults fail", ready_make, ready_use, 0, UFFD_FEATURE_SIGBUS },
	ROW("user-mode", "one for faults of the program alone", user),
	ROW("inherited", "a child has it too, for its parent's memory", inherited),
	ROW("several", "three processes, each with its own, and with its parent's", several),
	{ "unregistered", "memory was registered with it, and is not any more", unregistered_make, ready_use, 0, 0 },
	REFUSED("registered", "one with a range", registered_make, registered_use, 0, "userfaultfd"),
	REFUSED("gone", "one of a process that has ended", gone_make, gone_use, 0, "userfaultfd"),
	{ 0 },
};
