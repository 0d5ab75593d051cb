/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* More that spore refuses: what stands in another namespace or belongs to another process, what nobody can make again, sockets that it does not know. */

#include "maker.h"

#include <linux/if_alg.h>
#include <linux/keyctl.h>
#include <linux/vm_sockets.h>
#include <sched.h>
#include <sys/socket.h>
#include <sys/sysmacros.h>

static int fd = -1;

static int open_use(struct maker_ctx *ctx)
{
	CHECK(fcntl(fd, F_GETFD) >= 0);
	return 0;
}

/* Of a process outside of the tree: the one that started this one. In a container that is of the tree, too. */

static int pidfd_make(struct maker_ctx *ctx)
{
	NEED(getppid() > 1);
	fd = (int)syscall(SYS_pidfd_open, getppid(), 0);
	CHECK(fd >= 0);
	return 0;
}

static int owner_make(struct maker_ctx *ctx)
{
	int fds[2];

	NEED(getppid() > 1);
	CHECK(!pipe(fds));
	fd = fds[0];
	return fcntl(fd, F_SETOWN, getppid());
}

static int owner_use(struct maker_ctx *ctx)
{
	SAME(fcntl(fd, F_GETOWN), getppid());
	return 0;
}

/* A socket of a network that nobody is in any more. */
static int elsewhere_make(struct maker_ctx *ctx)
{
	int own = open("/proc/self/ns/net", O_RDONLY);

	CHECK(own >= 0);
	NEED(!unshare(CLONE_NEWNET));
	fd = socket((int)ctx->arg, SOCK_DGRAM, 0);
	CHECK(fd >= 0);
	CHECK(!setns(own, CLONE_NEWNET) && !close(own));
	return 0;
}

/* arg: the namespace of a thread, or of the children that there will be. */

static pthread_t thread;
static _Atomic int there, go;
static _Atomic bool may;

static void *unshares(void *arg)
{
	may = !unshare((int)(intptr_t)arg);
	let_go(&there);
	wait_for(&go);
	return NULL;
}

static int namespace_make(struct maker_ctx *ctx)
{
	TRY(thread_start(&thread, unshares, (void *)ctx->arg));
	wait_for(&there);
	NEED(may);
	return 0;
}

static int namespace_use(struct maker_ctx *ctx)
{
	let_go(&go);
	SAME(pthread_join(thread, NULL), 0);
	return 0;
}

/* What nobody can open again: a file system that is being made, a device without a node, a file of a kernel interface that its opener could not open now. */

static int fscontext_make(struct maker_ctx *ctx)
{
	fd = (int)syscall(SYS_fsopen, "tmpfs", 0);
	NEED(fd >= 0);
	return 0;
}

static int nodeless_make(struct maker_ctx *ctx)
{
	NEED(!mknod(in_dir(ctx, "null"), S_IFCHR | 0600, makedev(1, 3)));
	fd = open(ctx->path, O_RDWR);
	NEED(fd >= 0);
	CHECK(!unlink(ctx->path));
	return 0;
}

static int nodeless_use(struct maker_ctx *ctx)
{
	SAME(write(fd, "x", 1), 1);
	return 0;
}

static int user_kid(struct maker_ctx *ctx)
{
	CHECK(!setresgid(1000, 1000, 1000) && !setresuid(1000, 1000, 1000));
	fd = open("/proc/thread-self/comm", O_WRONLY);
	NEED(fd >= 0);
	return 0;
}

static int user_kid_use(struct maker_ctx *ctx)
{
	SAME(write(fd, "written", 7), 7);
	return 0;
}

static int interface_make(struct maker_ctx *ctx)
{
	return kid_start(ctx, user_kid, user_kid_use, NULL);
}

/* Sockets of other kinds. */

static int socket_make(struct maker_ctx *ctx)
{
	fd = socket((int)ctx->arg, ctx->arg == AF_ALG ? SOCK_SEQPACKET : SOCK_STREAM, 0);
	NEED(fd >= 0);
	return 0;
}

/* A keyring of a thread or a process. */

static int keyring_make(struct maker_ctx *ctx)
{
	NEED(syscall(SYS_add_key, "user", "maker", "payload", 7, ctx->arg) >= 0);
	return 0;
}

static int keyring_use(struct maker_ctx *ctx)
{
	char payload[8];
	long key = syscall(SYS_keyctl, KEYCTL_SEARCH, ctx->arg, "user", "maker", 0);

	CHECK(key >= 0);
	SAME(syscall(SYS_keyctl, KEYCTL_READ, key, payload, sizeof(payload)), 7);
	return 0;
}

/* Timers of threads. arg: the thread that the timer signals has ended; else it counts the time of another than the first. */

static timer_t timer;
static pid_t tid;

static void *makes_timer(void *arg)
{
	struct sigevent event = { .sigev_notify = SIGEV_NONE };

	tid = tid_self();
	may = (long)arg != 0 || !timer_create(CLOCK_THREAD_CPUTIME_ID, &event, &timer);
	let_go(&there);
	wait_for(&go);
	return NULL;
}

static int timer_make(struct maker_ctx *ctx)
{
	struct sigevent event = { .sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGUSR1 };

	TRY(thread_start(&thread, makes_timer, (void *)ctx->arg));
	wait_for(&there);
	CHECK(may);
	event._sigev_un._tid = tid;
	CHECK(!ctx->arg || !timer_create(CLOCK_MONOTONIC, &event, &timer));
	let_go(&go);
	SAME(pthread_join(thread, NULL), 0);
	return 0;
}

static int timer_use(struct maker_ctx *ctx)
{
	struct itimerspec now;

	return timer_gettime(timer, &now) != 0;
}

const struct maker makers_beyond[] = {
	REFUSED("pidfd-outside", "a pidfd of a process outside of the tree", pidfd_make, open_use, 0,
		"outside the tree"),
	REFUSED("owner-outside", "a descriptor whose owner is outside of the tree", owner_make, owner_use, 0,
		"outside the tree"),
	REFUSED("udp-elsewhere", "a UDP socket of another network", elsewhere_make, open_use, AF_INET,
		"another network namespace"),
	REFUSED("unix-elsewhere", "a unix socket of another network", elsewhere_make, open_use, AF_UNIX,
		"another network namespace"),
	REFUSED("thread-uts", "a thread with a host name of its own", namespace_make, namespace_use, CLONE_NEWUTS,
		"a thread has another"),
	REFUSED("thread-children", "a thread whose children would be born into a pid namespace of their own",
		namespace_make, namespace_use, CLONE_NEWPID, "namespace"),
	REFUSED("fscontext", "a file system context", fscontext_make, open_use, 0, "file system context"),
	REFUSED("nodeless", "a device whose node was removed", nodeless_make, nodeless_use, 0, "device|null"),
	REFUSED("interface", "a kernel interface that a process without privileges has open for writing",
		interface_make, NULL, 0, "kernel interface"),
	REFUSED("alg", "a socket of AF_ALG", socket_make, open_use, AF_ALG, "socket"),
	REFUSED("vsock", "a socket of AF_VSOCK", socket_make, open_use, AF_VSOCK, "socket"),
	REFUSED("thread-keyring", "a keyring of a thread", keyring_make, keyring_use, KEY_SPEC_THREAD_KEYRING,
		"keyring"),
	REFUSED("process-keyring", "a keyring of a process", keyring_make, keyring_use, KEY_SPEC_PROCESS_KEYRING,
		"keyring"),
	REFUSED("timer-thread-ended", "a timer that signals a thread that has ended", timer_make, timer_use, 1,
		"has ended"),
	REFUSED("timer-thread-cpu", "a timer that counts the processor time of a thread that has ended", timer_make,
		timer_use, 0, "has ended"),
	{ 0 },
};
