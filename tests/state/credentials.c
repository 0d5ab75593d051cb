/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Who a process is and what it may do. credentials(7), capabilities(7), prctl(2); /proc/PID/loginuid. */

#include "maker.h"

#include <grp.h>
#include <linux/capability.h>
#include <linux/securebits.h>
#include <sys/fsuid.h>
#include <sys/prctl.h>

static const char status_file[] = "/proc/self/status";

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

static pthread_t sibling;
static _Atomic int sibling_go;

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
	TRY(thread_start(&sibling, login_thread, &sibling_go));
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
	let_go(&sibling_go);
	SAME(pthread_join(sibling, &answer), 0);
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

const struct maker makers_credentials[] = {
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
	ROW("loginuid", "login uids: none, one with a thread and a child, a zombie's", login),
	{ 0 },
};
