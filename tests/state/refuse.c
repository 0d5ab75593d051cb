/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What spore does not carry: each must be refused by name, with the process and the descriptor, and the tree
 * must go on as if nothing had been. So each use shows that the object works still.
 */

#include "maker.h"

#include <linux/perf_event.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/timerfd.h>

static int fd = -1;
static pid_t kid;
static char *area;

static int alive_use(struct maker_ctx *ctx)
{
	CHECK(fcntl(fd, F_GETFD) >= 0);
	return 0;
}

/* Debugging, tracing, faults. */
static int traced_make(struct maker_ctx *ctx)
{
	int status;

	TRY(kid_start(ctx, NULL, NULL, &kid));
	NEED(!ptrace(PTRACE_SEIZE, kid, NULL, NULL));
	if (ctx->arg) {
		CHECK(!ptrace(PTRACE_INTERRUPT, kid, NULL, NULL));
		SAME(waitpid(kid, &status, 0), kid);
	}
	return 0;
}

static int traced_use(struct maker_ctx *ctx)
{
	if (ctx->arg)
		CHECK(!ptrace(PTRACE_DETACH, kid, NULL, NULL));
	return kids_finish(ctx);
}

static int perf_make(struct maker_ctx *ctx)
{
	struct perf_event_attr a = {
		.type = PERF_TYPE_SOFTWARE, .size = sizeof(a), .config = PERF_COUNT_SW_TASK_CLOCK
	};

	fd = (int)syscall(SYS_perf_event_open, &a, 0, -1, -1, 0);
	NEED(fd >= 0);
	return 0;
}

static int perf_use(struct maker_ctx *ctx)
{
	uint64_t n = 0;

	SAME(read(fd, &n, sizeof(n)), sizeof(n));
	return 0;
}

/* Memory that nobody may read. */
static int secret_make(struct maker_ctx *ctx)
{
	fd = (int)syscall(SYS_memfd_secret, O_CLOEXEC);
	NEED(fd >= 0);
	CHECK(!ftruncate(fd, PAGE));
	area = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	NEED(area != MAP_FAILED);
	fill(area, PAGE, 9);
	return 0;
}

static int secret_use(struct maker_ctx *ctx)
{
	return check_fill(area, PAGE, 9);
}

static int undumpable_make(struct maker_ctx *ctx)
{
	return prctl(PR_SET_DUMPABLE, 0);
}

static int undumpable_use(struct maker_ctx *ctx)
{
	SAME(prctl(PR_GET_DUMPABLE), 0);
	return 0;
}

static int undumpable_kid_make(struct maker_ctx *ctx)
{
	return kid_start(ctx, undumpable_make, undumpable_use, NULL);
}

/* A timer that the clock's setter has cancelled, which nobody has read. To set it to what it is sets it. */
static int cancelled_make(struct maker_ctx *ctx)
{
	struct itimerspec v = { .it_value = { now_ms(CLOCK_REALTIME) / 1000 + 5000, 0 } };
	struct timespec now;

	fd = timerfd_create(CLOCK_REALTIME, TFD_NONBLOCK);
	CHECK(fd >= 0 && !timerfd_settime(fd, TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET, &v, NULL));
	CHECK(!clock_gettime(CLOCK_REALTIME, &now));
	NEED(!clock_settime(CLOCK_REALTIME, &now));
	return 0;
}

static int cancelled_use(struct maker_ctx *ctx)
{
	uint64_t n;

	SAME(read(fd, &n, 8), -1);
	SAME(errno, ECANCELED);
	return 0;
}

/* Of a process that is not of the tree, or not any more. arg: it has ended. */
static int proc_file_make(struct maker_ctx *ctx)
{
	char path[64];
	pid_t p = ctx->arg ? fork() : getppid();

	if (!p && ctx->arg)
		for (;;)
			pause();
	NEED(p > 1); /* the init of a container is of the tree */
	snprintf(path, sizeof(path), "/proc/%d/stat", p);
	fd = open(path, O_RDONLY);
	CHECK(fd >= 0);
	if (!ctx->arg)
		return 0;
	CHECK(!kill(p, SIGKILL));
	SAME(waitpid(p, NULL, 0), p);
	return 0;
}

static int proc_memory_make(struct maker_ctx *ctx)
{
	fd = open("/proc/self/mem", O_RDWR);
	CHECK(fd >= 0);
	return 0;
}

/* Domains and keys. */
static int landlock_enter(void)
{
	uint64_t attr = 1 << 7; /* LANDLOCK_ACCESS_FS_MAKE_DIR */
	int rules = (int)syscall(444, &attr, sizeof(attr), 0);

	NEED(rules >= 0);
	CHECK(!prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
	CHECK(!syscall(446, rules, 0));
	return close(rules);
}

/* arg: who it is by then. */
static int landlock_kid(struct maker_ctx *ctx)
{
	if (ctx->arg) {
		CHECK(!setresgid((gid_t)ctx->arg, (gid_t)ctx->arg, (gid_t)ctx->arg));
		CHECK(!setresuid((uid_t)ctx->arg, (uid_t)ctx->arg, (uid_t)ctx->arg));
		CHECK(!prctl(PR_SET_DUMPABLE, 1, 0, 0, 0));
	}
	return landlock_enter();
}

static int landlock_still(struct maker_ctx *ctx)
{
	SAME(mkdir(in_dir(ctx, "forbidden"), 0755), -1);
	SAME(errno, EACCES);
	return 0;
}

static int landlock_make(struct maker_ctx *ctx)
{
	return kid_start(ctx, landlock_kid, landlock_still, NULL);
}

/* A domain is a thread's. */
static void *landlock_thread(void *entered)
{
	*(_Atomic int *)entered = landlock_enter() ? -1 : 1;
	while (entered)
		pause();
	return NULL;
}

static int landlock_thread_make(struct maker_ctx *ctx)
{
	static _Atomic int entered;
	pthread_t t;

	TRY(thread_start(&t, landlock_thread, &entered));
	CHECK(UNTIL(entered));
	NEED(entered > 0);
	return 0;
}

static int landlock_thread_use(struct maker_ctx *ctx)
{
	CHECK(!mkdir(in_dir(ctx, "allowed"), 0755));
	return 0;
}

static int ruleset_make(struct maker_ctx *ctx)
{
	uint64_t attr = 1 << 7;

	fd = (int)syscall(444, &attr, sizeof(attr), 0);
	NEED(fd >= 0);
	return 0;
}

static int keyring_make(struct maker_ctx *ctx)
{
	NEED(syscall(SYS_keyctl, 1 /* KEYCTL_JOIN_SESSION_KEYRING */, "spore maker") > 0);
	NEED(syscall(SYS_add_key, "user", "secret", "text", 4, -3 /* KEY_SPEC_SESSION_KEYRING */) > 0);
	return 0;
}

static int keyring_use(struct maker_ctx *ctx)
{
	CHECK(syscall(SYS_keyctl, 10 /* KEYCTL_SEARCH */, -3, "user", "secret", 0) > 0);
	return 0;
}

/* Devices and other descriptors that say something about the machine. */
static int device_make(struct maker_ctx *ctx)
{
	static const char *const paths[] = { "/dev/kmsg", "/dev/net/tun", "/dev/fuse", "/dev/loop-control",
		"/dev/mem" };

	fd = open(paths[ctx->arg], O_RDWR | O_NONBLOCK | O_CLOEXEC);
	NEED(fd >= 0);
	return 0;
}

/* Filters whose verdict another process gives. */
static int notify_kid(struct maker_ctx *ctx)
{
	struct {
		unsigned short code;
		unsigned char jt, jf;
		uint32_t k;
	} f = { 0x06, 0, 0, 0x7fff0000 };
	struct {
		unsigned short len;
		void *filter;
	} p = { 1, &f };

	fd = (int)syscall(SYS_seccomp, 1, 8 /* SECCOMP_FILTER_FLAG_NEW_LISTENER */, &p);
	NEED(fd >= 0);
	return 0;
}

static int notify_make(struct maker_ctx *ctx)
{
	return kid_start(ctx, notify_kid, alive_use, NULL);
}

const struct maker makers_refuse[] = {
	{ "traced", "a child under ptrace", traced_make, traced_use, MAKER_MUST_REFUSE | MAKER_NO_STOP, 0, "trace" },
	{ "traced-stopped", "a child stopped under ptrace", traced_make, traced_use, MAKER_MUST_REFUSE | MAKER_NO_STOP,
		1, "trace" },
	REFUSED("perf", "a perf event", perf_make, perf_use, 0, "perf"),
	REFUSED("timerfd-cancelled", "a timer that was cancelled", cancelled_make, cancelled_use, 0,
		"timer.*cancelled"),
	REFUSED("proc-ended", "a file of /proc of a process that has ended", proc_file_make, alive_use, 1, "/proc"),
	REFUSED("proc-outside", "a file of /proc of a process outside of the tree", proc_file_make, alive_use, 0,
		"/proc"),
	REFUSED("process-memory", "/proc/PID/mem", proc_memory_make, alive_use, 0, "memory of a process"),
	REFUSED("secretmem", "secret memory", secret_make, secret_use, 0, "secret"),
	REFUSED("undumpable", "a process that made itself non-dumpable", undumpable_make, undumpable_use, 0,
		"dumpable"),
	REFUSED("undumpable-child", "a child that did", undumpable_kid_make, NULL, 0, "dumpable"),
	/* No interface of the kernel (6.18) shows a domain to anybody: it is lost at a restore, a known gap that docs/coverage.md names. Here
	 * only: the tree goes on. */
	REFUSED("landlock", "a landlock domain", landlock_make, NULL, 0, "Landlock domain"),
	REFUSED("landlock-user", "that of another user", landlock_make, NULL, 1000, "Landlock domain"),
	REFUSED("landlock-thread", "that of one thread", landlock_thread_make, landlock_thread_use, 0,
		"Landlock domain"),
	REFUSED("landlock-ruleset", "a landlock ruleset", ruleset_make, alive_use, 0, "landlock"),
	REFUSED("keyring", "a session keyring with a key", keyring_make, keyring_use, 0, "key"),
	REFUSED("seccomp-notify", "a seccomp listener", notify_make, NULL, 0, "seccomp"),
	REFUSED("kmsg", "/dev/kmsg", device_make, alive_use, 0, "kmsg"),
	REFUSED("tun", "/dev/net/tun", device_make, alive_use, 1, "tun"),
	REFUSED("fuse", "/dev/fuse", device_make, alive_use, 2, "fuse"),
	REFUSED("loop-control", "/dev/loop-control", device_make, alive_use, 3, "loop"),
	REFUSED("mem", "/dev/mem", device_make, alive_use, 4, "mem"),
	{ 0 },
};
