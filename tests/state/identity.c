/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Who a process is and what it may do, and how it is called. credentials(7), capabilities(7), prctl(2),
 * personality(2). */

#include "maker.h"

#include <grp.h>
#include <linux/capability.h>
#include <linux/securebits.h>
#include <sys/fsuid.h>
#include <sys/personality.h>
#include <sys/sendfile.h>
#include <sys/utsname.h>
#include <sys/prctl.h>

static const char status_file[] = "/proc/self/status";

static pid_t kid;

/* Users and groups, all different. */

static int uids_make(struct maker_ctx *ctx)
{
	CHECK(!syscall(SYS_setresuid, 1001, 1002, 1003));
	return 0;
}

static int uids_use(struct maker_ctx *ctx)
{
	uid_t r, e, s;

	CHECK(!getresuid(&r, &e, &s));
	SAME(r, 1001);
	SAME(e, 1002);
	SAME(s, 1003);
	SAME(setfsuid((uid_t)-1), 1002);
	SAME(setuid(0), -1);
	CHECK(!seteuid(1003));
	return 0;
}

static int gids_make(struct maker_ctx *ctx)
{
	static const gid_t groups[] = { 7, 2000, 65534, 100000, 5 };

	CHECK(!setgroups(5, groups));
	CHECK(!setresgid(2001, 2002, 2003));
	return 0;
}

static int gids_use(struct maker_ctx *ctx)
{
	gid_t r, e, s, groups[10];

	CHECK(!getresgid(&r, &e, &s));
	SAME(r, 2001);
	SAME(e, 2002);
	SAME(s, 2003);
	SAME(getgroups(10, groups), 5);
	SAME(groups[0] + groups[1] + groups[2] + groups[3] + groups[4], 5 + 7 + 2000 + 65534 + 100000);
	return 0;
}

static int nogroups_make(struct maker_ctx *ctx)
{
	return setgroups(0, NULL);
}

static int nogroups_use(struct maker_ctx *ctx)
{
	SAME(getgroups(0, NULL), 0);
	return 0;
}

static int fsids_make(struct maker_ctx *ctx)
{
	setfsuid(1005);
	setfsgid(1006);
	return 0;
}

static int fsids_use(struct maker_ctx *ctx)
{
	struct stat st;
	int fd = open(in_dir(ctx, "mine"), O_CREAT | O_WRONLY, 0600);

	CHECK(fd >= 0 && !fstat(fd, &st));
	SAME(st.st_uid, 1005);
	SAME(st.st_gid, 1006);
	SAME(setfsuid(0), 1005);
	SAME(setfsgid(0), 1006);
	SAME(geteuid(), 0);
	return 0;
}

/* An ordinary user, in a child of ours that stays root, and in a whole tree. */
static int user_make(struct maker_ctx *ctx)
{
	CHECK(!setgroups(0, NULL));
	CHECK(!setgid(1000));
	CHECK(!setuid(1000));
	return 0;
}

static int user_use(struct maker_ctx *ctx)
{
	SAME(getuid(), 1000);
	SAME(proc_number(status_file, "CapEff", 16), 0);
	SAME(proc_number(status_file, "CapPrm", 16), 0);
	SAME(open("/etc/shadow", O_RDONLY), -1);
	SAME(errno, EACCES);
	SAME(setuid(0), -1);
	return 0;
}

static int user_kid_make(struct maker_ctx *ctx)
{
	return kid_start(ctx, user_make, user_use, NULL);
}

/* Capabilities: each set another. */

static int set_caps(uint64_t eff, uint64_t prm, uint64_t inh)
{
	struct __user_cap_header_struct h = { _LINUX_CAPABILITY_VERSION_3, 0 };
	struct __user_cap_data_struct d[2] = { { (uint32_t)eff, (uint32_t)prm, (uint32_t)inh },
		{ (uint32_t)(eff >> 32), (uint32_t)(prm >> 32), (uint32_t)(inh >> 32) } };

	return (int)syscall(SYS_capset, &h, d);
}

#define BIT(c) (1ull << (c))
#define FOUR   (BIT(CAP_CHOWN) | BIT(CAP_KILL) | BIT(CAP_SETUID) | BIT(CAP_BPF))

static int caps_make(struct maker_ctx *ctx)
{
	CHECK(!set_caps(BIT(CAP_KILL) | BIT(CAP_BPF), FOUR, BIT(CAP_CHOWN) | BIT(CAP_BPF)));
	return 0;
}

static int caps_use(struct maker_ctx *ctx)
{
	SAME(proc_number(status_file, "CapEff", 16), BIT(CAP_KILL) | BIT(CAP_BPF));
	SAME(proc_number(status_file, "CapPrm", 16), FOUR);
	SAME(proc_number(status_file, "CapInh", 16), BIT(CAP_CHOWN) | BIT(CAP_BPF));
	SAME(sethostname("x", 1), -1);
	SAME(errno, EPERM);
	return 0;
}

static int ambient_make(struct maker_ctx *ctx)
{
	CHECK(!set_caps(FOUR, FOUR, FOUR));
	CHECK(!prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_KILL, 0, 0));
	CHECK(!prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_BPF, 0, 0));
	return 0;
}

static int ambient_use(struct maker_ctx *ctx)
{
	SAME(proc_number(status_file, "CapAmb", 16), BIT(CAP_KILL) | BIT(CAP_BPF));
	SAME(proc_number(status_file, "CapInh", 16), FOUR);
	return 0;
}

static int bounding_make(struct maker_ctx *ctx)
{
	CHECK(!prctl(PR_CAPBSET_DROP, CAP_SYS_BOOT));
	CHECK(!prctl(PR_CAPBSET_DROP, CAP_MKNOD));
	return 0;
}

static int bounding_use(struct maker_ctx *ctx)
{
	SAME(prctl(PR_CAPBSET_READ, CAP_SYS_BOOT), 0);
	SAME(prctl(PR_CAPBSET_READ, CAP_MKNOD), 0);
	SAME(prctl(PR_CAPBSET_READ, CAP_KILL), 1);
	return 0;
}

enum { BITS = SECBIT_NOROOT | SECBIT_NOROOT_LOCKED | SECBIT_NO_SETUID_FIXUP | SECBIT_NO_CAP_AMBIENT_RAISE };

static int securebits_make(struct maker_ctx *ctx)
{
	return prctl(PR_SET_SECUREBITS, BITS);
}

static int securebits_use(struct maker_ctx *ctx)
{
	SAME(prctl(PR_GET_SECUREBITS), BITS);
	SAME(prctl(PR_SET_SECUREBITS, 0), -1);
	CHECK(!prctl(PR_SET_SECUREBITS, BITS & ~SECBIT_NO_SETUID_FIXUP));
	return 0;
}

static int keepcaps_make(struct maker_ctx *ctx)
{
	return prctl(PR_SET_KEEPCAPS, 1);
}

static int keepcaps_use(struct maker_ctx *ctx)
{
	uint64_t had = (uint64_t)proc_number(status_file, "CapPrm", 16);

	SAME(prctl(PR_GET_KEEPCAPS), 1);
	CHECK(!setuid(1000));
	SAME(proc_number(status_file, "CapPrm", 16), had);
	return 0;
}

/* A user who kept some capabilities, ambient too. */
static int user_caps_make(struct maker_ctx *ctx)
{
	CHECK(!prctl(PR_SET_KEEPCAPS, 1));
	CHECK(!setresuid(1000, 1000, 1000));
	CHECK(!set_caps(BIT(CAP_NET_BIND_SERVICE), BIT(CAP_NET_BIND_SERVICE), BIT(CAP_NET_BIND_SERVICE)));
	CHECK(!prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_NET_BIND_SERVICE, 0, 0));
	CHECK(!prctl(PR_SET_KEEPCAPS, 0));
	return 0;
}

static int user_caps_use(struct maker_ctx *ctx)
{
	SAME(getuid(), 1000);
	SAME(proc_number(status_file, "CapEff", 16), BIT(CAP_NET_BIND_SERVICE));
	SAME(proc_number(status_file, "CapPrm", 16), BIT(CAP_NET_BIND_SERVICE));
	SAME(proc_number(status_file, "CapAmb", 16), BIT(CAP_NET_BIND_SERVICE));
	SAME(prctl(PR_GET_KEEPCAPS), 0);
	return 0;
}

static int nnp_make(struct maker_ctx *ctx)
{
	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
}

static int nnp_use(struct maker_ctx *ctx)
{
	SAME(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0), 1);
	return 0;
}

/* Not dumpable because the kernel made it so, at a change of identity; and dumpable in spite of one. */

static int dumpable_make(struct maker_ctx *ctx)
{
	CHECK(!setresuid(1000, 1000, 0));
	if (ctx->arg)
		CHECK(!prctl(PR_SET_DUMPABLE, 1));
	ctx->arg = prctl(PR_GET_DUMPABLE);
	return 0;
}

static int dumpable_use(struct maker_ctx *ctx)
{
	SAME(prctl(PR_GET_DUMPABLE), ctx->arg);
	return 0;
}

/* Single numbers that prctl and /proc set: how to set, how to read, which value. */

enum { SET_MDWE = 65, GET_MDWE = 66, SET_MERGE = 67, GET_MERGE = 68 };

static int write_proc(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	ssize_t n = write(fd, text, strlen(text));

	close(fd);
	return n == (ssize_t)strlen(text) ? 0 : -1;
}

static const struct number {
	int set, get;
	long value;
} numbers[] = {
	{ PR_SET_TIMERSLACK, PR_GET_TIMERSLACK, 123456 },
	{ PR_SET_THP_DISABLE, PR_GET_THP_DISABLE, 1 },
	{ PR_SET_IO_FLUSHER, PR_GET_IO_FLUSHER, 1 },
	{ SET_MDWE, GET_MDWE, 1 },
	{ SET_MERGE, GET_MERGE, 1 },
};

static int number_make(struct maker_ctx *ctx)
{
	const struct number *n = &numbers[ctx->arg];

	NEED(prctl(n->set, n->value, 0, 0, 0) >= 0);
	SAME(prctl(n->get, 0, 0, 0, 0), n->value);
	return 0;
}

static int number_use(struct maker_ctx *ctx)
{
	SAME(prctl(numbers[ctx->arg].get, 0, 0, 0, 0), numbers[ctx->arg].value);
	return 0;
}

/* The default slack is what the parent had at the fork, here of a child, a grandchild without it, and a child of a real-time parent: 0. */

static int default_slack(long ns)
{
	int own = prctl(PR_GET_TIMERSLACK, 0, 0, 0, 0);

	CHECK(!prctl(PR_SET_TIMERSLACK, 0, 0, 0, 0));
	SAME(prctl(PR_GET_TIMERSLACK, 0, 0, 0, 0), ns);
	if (own)
		CHECK(!prctl(PR_SET_TIMERSLACK, own, 0, 0, 0));
	return 0;
}

static int slack_usual_use(struct maker_ctx *ctx)
{
	return default_slack(50000);
}

static int slack_zero_use(struct maker_ctx *ctx)
{
	SAME(prctl(PR_GET_TIMERSLACK, 0, 0, 0, 0), 0);
	return default_slack(0);
}

static void *slack_thread(void *arg)
{
	wait_for(arg);
	return (void *)(intptr_t)default_slack(4321);
}

static pthread_t slack_thread_id;
static _Atomic int slack_thread_go;

static int slack_kid_make(struct maker_ctx *ctx)
{
	CHECK(!prctl(PR_SET_TIMERSLACK, 50000, 0, 0, 0));
	TRY(kid_start(ctx, NULL, slack_usual_use, NULL));
	CHECK(!prctl(PR_SET_TIMERSLACK, 4321, 0, 0, 0));
	TRY(thread_start(&slack_thread_id, slack_thread, &slack_thread_go));
	CHECK(!prctl(PR_SET_TIMERSLACK, 7777, 0, 0, 0));
	return 0;
}

static int slack_kid_use(struct maker_ctx *ctx)
{
	void *answer;

	SAME(prctl(PR_GET_TIMERSLACK, 0, 0, 0, 0), 7777);
	TRY(default_slack(123456));
	let_go(&slack_thread_go);
	SAME(pthread_join(slack_thread_id, &answer), 0);
	SAME((intptr_t)answer, 0);
	return kids_finish(ctx);
}

static int default_slack_make(struct maker_ctx *ctx)
{
	struct sched_param param = { .sched_priority = 1 };

	NEED(!sched_setscheduler(0, SCHED_FIFO | SCHED_RESET_ON_FORK, &param));
	TRY(kid_start(ctx, NULL, slack_zero_use, NULL));
	param.sched_priority = 0;
	CHECK(!sched_setscheduler(0, SCHED_OTHER, &param));
	CHECK(!prctl(PR_SET_TIMERSLACK, 123456, 0, 0, 0));
	TRY(kid_start(ctx, slack_kid_make, slack_kid_use, NULL));
	return prctl(PR_SET_TIMERSLACK, 0, 0, 0, 0);
}

static int default_slack_use(struct maker_ctx *ctx)
{
	TRY(default_slack(50000));
	return kids_finish(ctx);
}

/* As whom one logged in: children inherit it, others have their own, and a zombie had one. */

static int become(const char *uid)
{
	int fd = open("/proc/thread-self/loginuid", O_WRONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : write(fd, uid, strlen(uid));

	close(fd);
	return n < 0;
}

static bool logged_in(const char *who, const char *uid)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%s/loginuid", who);
	return file_has(path, uid);
}

static pid_t login_zombie;

static int login_inherited_use(struct maker_ctx *ctx)
{
	CHECK(logged_in("self", "1001"));
	return 0;
}

static void *login_thread(void *arg)
{
	wait_for(arg);
	return (void *)(intptr_t)!logged_in("thread-self", "1001");
}

static int login_kid_make(struct maker_ctx *ctx)
{
	siginfo_t si;

	NEED(!become("1001"));
	TRY(thread_start(&slack_thread_id, login_thread, &slack_thread_go));
	TRY(kid_start(ctx, NULL, login_inherited_use, NULL));
	login_zombie = fork();
	CHECK(login_zombie >= 0);
	if (!login_zombie)
		_exit(become("1003"));
	CHECK(!waitid(P_PID, (id_t)login_zombie, &si, WEXITED | WNOWAIT));
	return 0;
}

static int login_kid_use(struct maker_ctx *ctx)
{
	void *answer;
	char who[16];

	CHECK(logged_in("self", "1001"));
	let_go(&slack_thread_go);
	SAME(pthread_join(slack_thread_id, &answer), 0);
	SAME((intptr_t)answer, 0);
	snprintf(who, sizeof(who), "%d", login_zombie);
	CHECK(logged_in(who, "1003"));
	TRY(reap_ok(login_zombie));
	return kids_finish(ctx);
}

static int login_make(struct maker_ctx *ctx)
{
	NEED(file_has("/proc/self/loginuid", "4294967295") || !become("4294967295"));
	TRY(kid_start(ctx, login_kid_make, login_kid_use, NULL));
	return 0;
}

static int login_use(struct maker_ctx *ctx)
{
	CHECK(logged_in("self", "4294967295"));
	return kids_finish(ctx);
}

/*
 * Session keyrings that a child made or joined, empty or with its user's in it, before it became an ordinary user or after that: they belong to who it was then.
 * Its own child inherits.
 */

#define KEYS_SESSION  (-3L)
#define SESSION_NAMED 1 /* joined by name, and empty */
#define SESSION_USERS 2 /* by an ordinary user */

static char *session_described(void)
{
	static char text[128];

	memset(text, 0, sizeof(text));
	syscall(SYS_keyctl, 6 /* KEYCTL_DESCRIBE */, KEYS_SESSION, text, sizeof(text) - 1);
	return text;
}

static long session_serial(void)
{
	return syscall(SYS_keyctl, 0 /* KEYCTL_GET_KEYRING_ID */, KEYS_SESSION, 0);
}

static int session_heir_use(struct maker_ctx *ctx)
{
	CHECK(UNTIL(shared(ctx)->value[0])); /* the child's, which uses what it made at the same time */
	SAME(session_serial(), shared(ctx)->value[0]);
	return 0;
}

static int session_maker_make(struct maker_ctx *ctx)
{
	bool named = ctx->arg & SESSION_NAMED, users = ctx->arg & SESSION_USERS;

	CHECK(!users || (!setgid(1001) && !setuid(1000)));
	NEED(syscall(SYS_keyctl, 1 /* KEYCTL_JOIN_SESSION_KEYRING */, named ? "spore maker" : NULL) > 0);
	CHECK(users || (!setgid(1001) && !setuid(1000)));
	CHECK(named || !syscall(SYS_keyctl, 8 /* KEYCTL_LINK */, -4L, KEYS_SESSION));
	CHECK(!prctl(PR_SET_DUMPABLE, 1));
	return kid_start(ctx, NULL, session_heir_use, NULL);
}

static int session_maker_use(struct maker_ctx *ctx)
{
	bool named = ctx->arg & SESSION_NAMED, users = ctx->arg & SESSION_USERS;
	char expected[64];
	int32_t keys[8];

	snprintf(expected, sizeof(expected), "keyring;%s;%s", users ? "1000;1001" : "0;0",
		named ? "3f130000;spore maker" : "3f030000;_ses");
	SAME(strcmp(session_described(), expected), 0);
	SAME(syscall(SYS_keyctl, 11 /* KEYCTL_READ */, KEYS_SESSION, keys, sizeof(keys)), named ? 0 : 4);
	SAME(named ? 0 : keys[0], named ? 0 : syscall(SYS_keyctl, 0, -4L, 0));
	CHECK(session_serial() != shared(ctx)->value[1]);
	shared(ctx)->value[0] = session_serial();
	return kids_finish(ctx);
}

static int session_keyring_make(struct maker_ctx *ctx)
{
	NEED(session_serial() > 0);
	return kid_start(ctx, session_maker_make, session_maker_use, NULL);
}

static int session_keyring_use(struct maker_ctx *ctx)
{
	shared(ctx)->value[1] = session_serial();
	return kids_finish(ctx);
}

static long request_keyring(long which)
{
	return syscall(SYS_keyctl, 14 /* KEYCTL_SET_REQKEY_KEYRING */, which);
}

static int request_make(struct maker_ctx *ctx)
{
	NEED(request_keyring(4 /* KEY_REQKEY_DEFL_USER_KEYRING */) >= 0);
	return 0;
}

static int request_use(struct maker_ctx *ctx)
{
	SAME(request_keyring(-1), 4);
	return 0;
}

#define FUTEX_HASH_ 78 /* PR_FUTEX_HASH; 1 sets, 2 gets */

static int futex_slots_make(struct maker_ctx *ctx)
{
	NEED(!prctl(FUTEX_HASH_, 1, 64, 0));
	return 0;
}

static int futex_slots_use(struct maker_ctx *ctx)
{
	SAME(prctl(FUTEX_HASH_, 2, 0, 0), 64);
	return 0;
}

static int mce_make(struct maker_ctx *ctx)
{
	NEED(!prctl(PR_MCE_KILL, PR_MCE_KILL_SET, PR_MCE_KILL_EARLY, 0, 0));
	return 0;
}

static int mce_use(struct maker_ctx *ctx)
{
	SAME(prctl(PR_MCE_KILL_GET, 0, 0, 0, 0), PR_MCE_KILL_EARLY);
	return 0;
}

/* arg: which control. Flushing the first cache is what a task may ask for; the others it may give up. */

static unsigned long speculation_wanted(const struct maker_ctx *ctx)
{
	return ctx->arg == PR_SPEC_L1D_FLUSH ? PR_SPEC_ENABLE : PR_SPEC_DISABLE;
}

static int speculation_make(struct maker_ctx *ctx)
{
	NEED(!prctl(PR_SET_SPECULATION_CTRL, ctx->arg, speculation_wanted(ctx), 0, 0));
	return 0;
}

static int speculation_use(struct maker_ctx *ctx)
{
	SAME(prctl(PR_GET_SPECULATION_CTRL, ctx->arg, 0, 0, 0), PR_SPEC_PRCTL | speculation_wanted(ctx));
	return 0;
}

static int oom_make(struct maker_ctx *ctx)
{
	return write_proc("/proc/self/oom_score_adj", "321");
}

static int oom_use(struct maker_ctx *ctx)
{
	CHECK(file_has("/proc/self/oom_score_adj", "321"));
	return 0;
}

static int filter_make(struct maker_ctx *ctx)
{
	return write_proc("/proc/self/coredump_filter", "0x5a");
}

static int filter_use(struct maker_ctx *ctx)
{
	CHECK(file_has("/proc/self/coredump_filter", "0000005a"));
	return 0;
}

static int umask_make(struct maker_ctx *ctx)
{
	umask(0137);
	return 0;
}

static int umask_use(struct maker_ctx *ctx)
{
	SAME(umask(0), 0137);
	return 0;
}

/* Personality. arg: which; the whole of it, with neighbours. */

static int personality_make(struct maker_ctx *ctx)
{
	CHECK(personality((unsigned long)ctx->arg) >= 0);
	return 0;
}

static int personality_use(struct maker_ctx *ctx)
{
	SAME(personality(0xffffffff), ctx->arg);
	return 0;
}

/* Told when the parent dies. */

static volatile sig_atomic_t told;

static void on_usr1(int sig)
{
	told++;
}

static int mourner_make(struct maker_ctx *ctx)
{
	CHECK(signal(SIGUSR1, on_usr1) != SIG_ERR);
	shared(ctx)->value[0] = getpid();
	return prctl(PR_SET_PDEATHSIG, SIGUSR1);
}

static int mourner_use(struct maker_ctx *ctx)
{
	int sig = 0;

	CHECK(!prctl(PR_GET_PDEATHSIG, &sig));
	SAME(sig, SIGUSR1);
	CHECK(UNTIL(told == 1));
	return 0;
}

static int parent_make(struct maker_ctx *ctx)
{
	return kid_start(ctx, mourner_make, mourner_use, NULL);
}

static int parent_use(struct maker_ctx *ctx)
{
	return 0; /* ends at once, its child does not */
}

static int pdeathsig_make(struct maker_ctx *ctx)
{
	CHECK(!prctl(PR_SET_CHILD_SUBREAPER, 1));
	return kid_start(ctx, parent_make, parent_use, NULL);
}

static int pdeathsig_use(struct maker_ctx *ctx)
{
	TRY(kids_finish(ctx));
	return reap_ok((pid_t)shared(ctx)->value[0]);
}

/* Where a process is. */

static int cwd_make(struct maker_ctx *ctx)
{
	CHECK(!mkdir(in_dir(ctx, "here and\tthere"), 0755));
	return chdir(ctx->path);
}

static int cwd_use(struct maker_ctx *ctx)
{
	struct stat a, b;

	CHECK(!stat(".", &a) && !stat(ctx->path, &b));
	SAME(a.st_ino, b.st_ino);
	CHECK(!close(open("../relative", O_CREAT | O_WRONLY, 0600)));
	CHECK(!access(in_dir(ctx, "relative"), F_OK));
	return 0;
}

static int cwd_gone_make(struct maker_ctx *ctx)
{
	TRY(cwd_make(ctx));
	return rmdir(ctx->path);
}

static int cwd_gone_use(struct maker_ctx *ctx)
{
	char path[1000];

	SAME(syscall(SYS_getcwd, path, sizeof(path)), -1);
	SAME(errno, ENOENT);
	return 0;
}

/* Root and working directory elsewhere, in a child: we need ours. */

static int chroot_kid_make(struct maker_ctx *ctx)
{
	CHECK(!mkdir(in_dir(ctx, "jail"), 0755));
	CHECK(!chroot(ctx->path));
	CHECK(!chdir("/"));
	return close(open("/inside", O_CREAT | O_WRONLY, 0600));
}

static int chroot_kid_use(struct maker_ctx *ctx)
{
	char path[100];

	CHECK(!access("/inside", F_OK));
	CHECK(access("/proc", F_OK));
	CHECK(getcwd(path, sizeof(path)) && !strcmp(path, "/"));
	return 0;
}

static int chroot_make(struct maker_ctx *ctx)
{
	return kid_start(ctx, chroot_kid_make, chroot_kid_use, NULL);
}

/* What it is called. */

static int name_make(struct maker_ctx *ctx)
{
	return prctl(PR_SET_NAME, "a) R (\n\\b");
}

static int name_use(struct maker_ctx *ctx)
{
	char name[17] = "";

	CHECK(!prctl(PR_GET_NAME, name));
	SAME(strcmp(name, "a) R (\n\\b"), 0);
	return 0;
}

/* Argument and environment areas written over, as setproctitle does. */

extern char **environ;

static int title_make(struct maker_ctx *ctx)
{
	char *start = NULL, *found;
	FILE *f = fopen("/proc/self/stat", "re");
	char text[1024] = "";
	unsigned long a = 0, b = 0;
	int field = 3;

	CHECK(f && fread(text, 1, sizeof(text) - 1, f));
	fclose(f);
	found = strrchr(text, ')');
	for (found += 2; field < 48 && found; field++)
		found = strchr(found, ' ') + 1;
	CHECK(found && sscanf(found, "%lu %lu", &a, &b) == 2);
	start = (char *)a;
	CHECK(b - a > 30);
	memset(start, 0, b - a);
	strcpy(start, "maker: a title of its own");
	return 0;
}

static int title_use(struct maker_ctx *ctx)
{
	CHECK(file_has("/proc/self/cmdline", "maker: a title of its own"));
	return 0;
}

/* The same by prctl: the areas lie elsewhere. */

static int areas_make(struct maker_ctx *ctx)
{
	struct prctl_mm_map m = { 0 };
	char *args = malloc(64), *env = malloc(64); /* has to be anonymous memory */
	FILE *f = fopen("/proc/self/stat", "re");
	char text[1024] = "", *p;

	CHECK(args && env && f && fread(text, 1, sizeof(text) - 1, f));
	fclose(f);
	p = strrchr(text, ')') + 2;
	for (int field = 3; field < 53; field++, p = strchr(p, ' ') ? strchr(p, ' ') + 1 : p) {
		unsigned long n = strtoul(p, NULL, 10);

		switch (field) {
		case 26:
			m.start_code = n;
			break;
		case 27:
			m.end_code = n;
			break;
		case 28:
			m.start_stack = n;
			break;
		case 45:
			m.start_data = n;
			break;
		case 46:
			m.end_data = n;
			break;
		case 47:
			m.start_brk = n;
			break;
		}
	}
	memcpy(args, "moved\0away", 11);
	memcpy(env, "LIFE=new", 9);
	m.brk = (uintptr_t)sbrk(0);
	m.arg_start = (uintptr_t)args;
	m.arg_end = m.arg_start + 11;
	m.env_start = (uintptr_t)env;
	m.env_end = m.env_start + 9;
	m.exe_fd = (unsigned)-1;
	NEED(!prctl(PR_SET_MM, PR_SET_MM_MAP, &m, sizeof(m), 0));
	return 0;
}

static int areas_use(struct maker_ctx *ctx)
{
	char text[100] = "";
	int fd = open("/proc/self/cmdline", O_RDONLY | O_CLOEXEC);

	SAME(read(fd, text, sizeof(text)), 11);
	CHECK(!memcmp(text, "moved\0away", 11));
	close(fd);
	CHECK(file_has("/proc/self/environ", "LIFE=new"));
	return 0;
}

/* An executable that has lost its name. */

static int exe_make(struct maker_ctx *ctx)
{
	char copy[700];
	int in = open("/proc/self/exe", O_RDONLY), out;
	struct stat st;

	snprintf(copy, sizeof(copy), "%s", in_dir(ctx, "copy"));
	out = open(copy, O_CREAT | O_WRONLY | O_EXCL, 0755);
	CHECK(in >= 0 && out >= 0 && !fstat(in, &st));
	/* not copy_file_range, which stays on one file system */
	for (off_t at = 0; at < st.st_size;)
		CHECK(sendfile(out, in, &at, (size_t)(st.st_size - at)) > 0);
	close(in);
	close(out);
	CHECK(!mkfifo(in_dir(ctx, "exit-now"), 0600));
	kid = fork();
	CHECK(kid >= 0);
	if (!kid) {
		execl(copy, "copy", "--wait", ctx->path, "5", NULL);
		_exit(99);
	}
	TRY(until_blocked_in(kid, SYS_openat));
	CHECK(!unlink(copy));
	return 0;
}

static int exe_use(struct maker_ctx *ctx)
{
	char path[64], to[1000] = "";
	int status;

	snprintf(path, sizeof(path), "/proc/%d/exe", kid);
	CHECK(readlink(path, to, sizeof(to) - 1) > 0);
	CHECK(strstr(to, "(deleted)"));
	CHECK(open(ctx->path, O_RDWR) >= 0);
	SAME(waitpid(kid, &status, 0), kid);
	SAME(status, 5 << 8);
	return 0;
}

/* Registered for barriers in other threads; the session's share of the processor. */

#ifndef MEMBARRIER_CMD_GET_REGISTRATIONS
#define MEMBARRIER_CMD_GET_REGISTRATIONS (1 << 9)
#endif
#define PRIVATE_EXPEDITED	   (1 << 3)
#define REGISTER_PRIVATE_EXPEDITED (1 << 4)

static int membarrier_make(struct maker_ctx *ctx)
{
	NEED(!syscall(SYS_membarrier, REGISTER_PRIVATE_EXPEDITED, 0, 0));
	return 0;
}

static int membarrier_use(struct maker_ctx *ctx)
{
	CHECK(!syscall(SYS_membarrier, PRIVATE_EXPEDITED, 0, 0));
	return 0;
}

/* The names of the machine, as its container sees it. Outside of one, where pids are larger, they are not ours to change. */
static int uts_make(struct maker_ctx *ctx)
{
	NEED(getpid() <= 2);
	NEED(!sethostname("a-name", 6));
	return setdomainname("a-domain", 8);
}

static int uts_use(struct maker_ctx *ctx)
{
	struct utsname name;

	CHECK(!uname(&name));
	SAME(strcmp(name.nodename, "a-name"), 0);
	SAME(strcmp(name.domainname, "a-domain"), 0);
	return 0;
}

static int autogroup_make(struct maker_ctx *ctx)
{
	FILE *f = fopen("/proc/self/autogroup", "w");

	NEED(f);
	CHECK(fprintf(f, "5") > 0);
	return fclose(f);
}

static int autogroup_use(struct maker_ctx *ctx)
{
	char text[100] = "";
	FILE *f = fopen("/proc/self/autogroup", "r");

	CHECK(f && fgets(text, sizeof(text), f));
	CHECK(strstr(text, " nice 5"));
	return fclose(f);
}

#define ROW(name, what, of)                                                                                            \
	{                                                                                                              \
		name, what, of##_make, of##_use                                                                        \
	}

const struct maker makers_identity[] = {
	ROW("uids", "real, effective and saved user, all different", uids),
	ROW("gids", "the same for groups, and five supplementary ones", gids),
	ROW("no-groups", "no supplementary group", nogroups),
	ROW("fsids", "a file system user and group of its own", fsids),
	ROW("user", "an ordinary user", user),
	{ "user-child", "an ordinary user below root", user_kid_make },
	ROW("capabilities", "three sets that differ", caps),
	ROW("ambient", "ambient capabilities", ambient),
	ROW("bounding", "a smaller bounding set", bounding),
	ROW("securebits", "securebits, some locked", securebits),
	ROW("keepcaps", "PR_SET_KEEPCAPS", keepcaps),
	ROW("user-capabilities", "an ordinary user with a capability", user_caps),
	ROW("no-new-privs", "no_new_privs", nnp),
	{ "setuid-undumpable", "not dumpable, by a change of identity", dumpable_make, dumpable_use, 0, 0 },
	{ "setuid-dumpable", "dumpable in spite of one", dumpable_make, dumpable_use, 0, 1 },
	{ "timerslack", "timer slack", number_make, number_use, 0, 0 },
	ROW("timerslack-default", "default timer slacks: of children, a thread, a child of a real-time parent",
		default_slack),
	ROW("loginuid", "login uids: none, one with a thread and a child, a zombie's", login),
	{ "session-keyring", "a session keyring with the user's in it", session_keyring_make, session_keyring_use, 0,
		0 },
	{ "session-keyring-named", "an empty one that was joined by name", session_keyring_make, session_keyring_use, 0,
		SESSION_NAMED },
	{ "session-keyring-users", "one that belongs to an ordinary user", session_keyring_make, session_keyring_use, 0,
		SESSION_USERS },
	{ "session-keyring-users-named", "an ordinary user's, joined by name", session_keyring_make,
		session_keyring_use, 0, SESSION_NAMED | SESSION_USERS },
	{ "thp-disable", "PR_SET_THP_DISABLE", number_make, number_use, 0, 1 },
	{ "io-flusher", "PR_SET_IO_FLUSHER", number_make, number_use, MAKER_MAY_REFUSE, 2 },
	{ "mdwe", "memory-deny-write-execute", number_make, number_use, MAKER_MAY_REFUSE, 3 },
	{ "memory-merge", "PR_SET_MEMORY_MERGE", number_make, number_use, MAKER_MAY_REFUSE, 4 },
	{ "mce-kill", "early machine check kill", mce_make, mce_use, MAKER_MAY_REFUSE },
	{ "speculation", "store bypass disabled", speculation_make, speculation_use, MAKER_MAY_REFUSE,
		PR_SPEC_STORE_BYPASS },
	{ "indirect-branch", "indirect branch speculation disabled", speculation_make, speculation_use,
		MAKER_MAY_REFUSE, PR_SPEC_INDIRECT_BRANCH },
	{ "l1d-flush", "the first cache flushed at a switch", speculation_make, speculation_use, MAKER_MAY_REFUSE,
		PR_SPEC_L1D_FLUSH },
	ROW("oom-score-adj", "out-of-memory score", oom),
	ROW("coredump-filter", "core dump filter", filter),
	ROW("umask", "umask", umask),
	{ "no-randomize", "ADDR_NO_RANDOMIZE", personality_make, personality_use, 0, ADDR_NO_RANDOMIZE },
	{ "read-implies-exec", "READ_IMPLIES_EXEC", personality_make, personality_use, 0, READ_IMPLIES_EXEC },
	{ "personality", "five flags of personality", personality_make, personality_use, 0,
		UNAME26 | MMAP_PAGE_ZERO | STICKY_TIMEOUTS | WHOLE_SECONDS | ADDR_COMPAT_LAYOUT },
	ROW("pdeathsig", "a child that is told of its parent's death", pdeathsig),
	ROW("request-keyring", "keys requested go to the user's keyring", request),
	ROW("futex-slots", "a table of futexes of a size that it chose", futex_slots),
	ROW("membarrier", "registered for private expedited barriers", membarrier),
	{ "machine-name", "host and domain name of its container", uts_make, uts_use, MAKER_CONTAINER },
	ROW("autogroup", "a nice value of its session's group", autogroup),
	ROW("cwd", "a working directory", cwd),
	{ "cwd-deleted", "a deleted one", cwd_gone_make, cwd_gone_use, MAKER_MAY_REFUSE, 0, "deleted" },
	{ "chroot", "another root directory", chroot_make },
	ROW("name", "a name with odd characters", name),
	ROW("title", "arguments written over", title),
	ROW("areas", "arguments and environment elsewhere", areas),
	{ "exe-deleted", "a deleted executable", exe_make, exe_use, MAKER_MAY_REFUSE },
	{ 0 },
};
