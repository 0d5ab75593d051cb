/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Credentials: who a thread is and what it may do. credentials(7), capabilities(7); kernel/cred.c,
 * kernel/sys.c, security/commoncap.c.
 *
 * The raw system calls change one thread, and so does the kernel: each thread carries its own. Whether a
 * process is dumpable stands here too, since the kernel clears it whenever a thread's credentials change:
 * each thread sets it after its own change, so that the last one leaves it right.
 */
#include "object/component.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/keyctl.h>
#include <linux/securebits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "base/cleanup.h"
#include "kernel/capability.h"
#include "kernel/sched.h"
#include "state/capset.h"
#include "state/credentials.h"
#include "state/owner.h"

#define DUMPABLE_ROOT 2 /* SUID_DUMP_ROOT: cannot be asked for, only inherited from fs.suid_dumpable */

static const struct field credentials_fields[] = {
	FIELD_REF(struct credentials_state, of, "of", "thread", REF_STRONG, "the thread"),
	CREDENTIALS_FIELDS,
	FIELD_HEX(struct credentials_state, securebits, "securebits", "PR_GET_SECUREBITS, keep_caps among them"),
	FIELD_BOOL(struct credentials_state, no_new_privs, "no_new_privs", "PR_GET_NO_NEW_PRIVS"),
	FIELD_UINT(struct credentials_state, dumpable, "dumpable", "PR_GET_DUMPABLE of its process"),
	FIELD_INT(struct credentials_state, request_keyring, "request_keyring",
		"KEYCTL_SET_REQKEY_KEYRING: where keys that it requests go"),
	FIELD_END,
};

static bool is_leader(const struct capture *c)
{
	return c->thread == &c->process->threads[0];
}

/*
 * Whether a process is dumpable, seen from outside. Files of /proc/PID belong to root when it is not. For a
 * process of root's a permission check tells: without CAP_SYS_PTRACE in the effective set, kcmp of an equal
 * that is not dumpable answers EPERM.
 */
static bool looks_dumpable(const struct process *p)
{
	const struct thread *alive = owner_alive(p);
	const struct proc_status *s = &alive->status;
	uint64_t effective;
	struct stat st;
	int r;

	if (s->uid[1] != 0)
		return fstatat(alive->proc_fd, "stat", &st, 0) < 0 || st.st_uid == s->uid[1];
	if (s->uid[0] != 0 || s->uid[2] != 0 || getuid() != 0 || s->gid[0] != getgid() || s->gid[1] != getgid() ||
		s->gid[2] != getgid())
		return true;
	effective = capabilities_set_effective(0);
	r = kernel_kcmp(getpid(), alive->tid, KCMP_VM) < 0 ? -errno : 0;
	capabilities_set_effective(effective);
	return r != -EPERM; /* -ESRCH: it has ended meanwhile */
}

struct auxv_ids {
	uint64_t uid, euid, gid, egid;
	unsigned int found;
};

static int auxv_ids_read(int proc_fd, struct auxv_ids *ids)
{
	_cleanup_free_ char *text = NULL;
	const Elf64_auxv_t *av;
	size_t size;
	int r = procfs_read(proc_fd, "auxv", &text, &size);

	if (r < 0)
		return r;
	*ids = (struct auxv_ids){ 0 };
	av = (const Elf64_auxv_t *)(const void *)text;
	for (size_t i = 0; i < size / sizeof(*av) && av[i].a_type != AT_NULL; i++) {
		uint64_t *to = av[i].a_type == AT_UID	 ? &ids->uid
			       : av[i].a_type == AT_EUID ? &ids->euid
			       : av[i].a_type == AT_GID	 ? &ids->gid
			       : av[i].a_type == AT_EGID ? &ids->egid
							 : NULL;
		if (!to)
			continue;
		*to = av[i].a_un.a_val;
		ids->found++;
	}
	return 0;
}

/* Has this thread nothing of what a set-id file may have given its program? */
static bool has_ids(const struct proc_status *s, const struct auxv_ids *a)
{
	for (size_t i = 0; i < 4; i++)
		if (s->uid[i] != a->uid || s->gid[i] != a->gid)
			return false;
	return true;
}

/*
 * Have all its threads the ids of who started the program? Then nothing but the program itself made it non-dumpable;
 * or its file was set-id, and it has given that up: nobody can tell whether it asked as well, as ssh-agent does.
 * proc_fd: of a task of it that lives.
 */
static bool ids_are_those_of_exec(const struct process *p, int proc_fd)
{
	struct auxv_ids a;

	if (auxv_ids_read(proc_fd, &a) < 0 || a.found < 4)
		return true;
	for (size_t i = 0; i < p->n_threads; i++)
		if (!has_ids(&p->threads[i].status, &a))
			return false;
	return true;
}

static int refuse_dumpable(struct capture *c)
{
	return refused(c->ps,
		BLAME_PROCESS(
			c->process, .object = "dumpable", .remedy = "it would have to call prctl(PR_SET_DUMPABLE, 1)"),
		"the process asked not to be dumped, and that is respected");
}

/* A process in the middle of exec looks so for a moment. */
static int credentials_look(struct capture *c)
{
	for (int tries = 0; tries < 4; tries++) {
		if (looks_dumpable(c->process) || !ids_are_those_of_exec(c->process, owner_alive(c->process)->proc_fd))
			return 0;
		usleep(10000);
	}
	refuse_dumpable(c);
	return 0;
}

struct credentials_scratch {
	uint32_t securebits, dumpable, request_keyring;
};

static void credentials_ask(struct capture *c, struct batch *b, void *scratch)
{
	struct credentials_scratch *s = scratch;

	s->securebits = batch_call(b, "prctl(PR_GET_SECUREBITS)", SYS_prctl, PR_GET_SECUREBITS);
	s->dumpable = batch_call(b, "prctl(PR_GET_DUMPABLE)", SYS_prctl, PR_GET_DUMPABLE);
	s->request_keyring = batch_call(b, "keyctl(KEYCTL_SET_REQKEY_KEYRING)", SYS_keyctl, KEYCTL_SET_REQKEY_KEYRING,
		(uint64_t)KEY_REQKEY_DEFL_NO_CHANGE);
	batch_may_fail(b, s->request_keyring); /* a kernel without CONFIG_KEYS */
}

int credentials_from_status(const struct proc_status *st, struct credentials_state *s)
{
	*s = (struct credentials_state){
		.uid = st->uid[0],
		.euid = st->uid[1],
		.suid = st->uid[2],
		.fsuid = st->uid[3],
		.gid = st->gid[0],
		.egid = st->gid[1],
		.sgid = st->gid[2],
		.fsgid = st->gid[3],
		.inheritable = st->cap_inheritable,
		.permitted = st->cap_permitted,
		.effective = st->cap_effective,
		.bounding = st->cap_bounding,
		.ambient = st->cap_ambient,
		.no_new_privs = st->no_new_privs,
	};
	if (!st->n_groups)
		return 0;
	s->groups = malloc(st->n_groups * sizeof(*s->groups));
	if (!s->groups)
		return -ENOMEM;
	memcpy(s->groups, st->groups, st->n_groups * sizeof(*s->groups));
	s->n_groups = st->n_groups;
	return 0;
}

static int credentials_capture(struct capture *c, const struct batch *b, void *scratch, void *state)
{
	const struct credentials_scratch *ops = scratch;
	struct credentials_state *s = state;
	int r = credentials_from_status(&c->thread->status, s);

	s->of = c->thread->id;
	s->securebits = (uint32_t)batch_result(b, ops->securebits);
	s->dumpable = (uint8_t)batch_result(b, ops->dumpable);
	s->request_keyring = MAX(batch_result(b, ops->request_keyring), KEY_REQKEY_DEFL_DEFAULT);
	if (s->dumpable != 1 && is_leader(c)) {
		if (ids_are_those_of_exec(c->process, c->thread->proc_fd))
			return refuse_dumpable(c);
		changed(c->ps, BLAME_PROCESS(c->process, .object = "dumpable"),
			"not dumpable since its identity changed: saved all the same, for a privileged "
			"caller");
	}
	return r;
}

/* --- restore --- */

/* A new task has the keeper's too. */
static const struct capability_sets *own_capabilities(struct restore *r)
{
	if (!r->own.capabilities_known)
		capabilities_own(&r->own.capabilities);
	r->own.capabilities_known = true;
	return &r->own.capabilities;
}

static void name_missing(struct restore *r, const struct credentials_state *s, uint64_t missing, const char *set)
{
	char name[24];

	for (unsigned int cap = 0; cap < 64; cap++)
		if (missing >> cap & 1)
			refused(r->ps,
				BLAME(.pid = owner_vpid(r, s->of), .object = capability_name(cap, name),
					.remedy = "restore with a spore that has this capability"),
				"is in the %s set, and spore does not have it here", set);
}

int credentials_validate(struct restore *r, const struct record *rec)
{
	const struct credentials_state *s = rec->state;
	const struct capability_sets *own = own_capabilities(r);
	const uint64_t needed = 1ull << CAP_SETUID | 1ull << CAP_SETGID | 1ull << CAP_SETPCAP;

	name_missing(r, s, (s->permitted | s->effective) & ~own->permitted, "permitted");
	name_missing(r, s, s->inheritable & ~own->bounding & ~own->inheritable & ~s->permitted, "inheritable");
	name_missing(r, s, s->bounding & ~own->bounding, "bounding");
	name_missing(r, s, needed & ~own->effective & ~s->permitted, "set needed to change identity");
	return 0;
}

static int add_groups(struct batch *b, const struct credentials_state *s)
{
	_cleanup_free_ gid_t *groups = calloc(s->n_groups + 1, sizeof(*groups));

	if (!groups)
		return -ENOMEM;
	for (size_t i = 0; i < s->n_groups; i++)
		groups[i] = (gid_t)s->groups[i];
	batch_call(b, "setgroups", SYS_setgroups, s->n_groups,
		batch_copy(b, groups, (s->n_groups + 1) * sizeof(*groups)).v);
	return 0;
}

/* setfsuid answers with what it was, and never fails: a second call, with an id that is none, shows what it
 * is now. */
static void add_fs_id(struct batch *b, const char *what, long nr, uint32_t id)
{
	batch_may_fail(b, batch_call(b, what, nr, id));
	batch_expect(b, batch_call(b, what, nr, (uint64_t)-1), id);
}

static void add_ids(struct batch *b, const struct credentials_state *s)
{
	batch_call(b, "setresgid", SYS_setresgid, s->gid, s->egid, s->sgid);
	if (s->fsgid != s->egid)
		add_fs_id(b, "setfsgid", SYS_setfsgid, s->fsgid);
	batch_call(b, "setresuid", SYS_setresuid, s->uid, s->euid, s->suid);
	/* Only a change of identity leaves DUMPABLE_ROOT, where fs.suid_dumpable says so. */
	if (s->dumpable == DUMPABLE_ROOT)
		add_fs_id(b, "setfsuid", SYS_setfsuid, s->fsuid ^ 1);
	if (s->fsuid != s->euid || s->dumpable == DUMPABLE_ROOT)
		add_fs_id(b, "setfsuid", SYS_setfsuid, s->fsuid);
}

static void add_bounding(struct batch *b, const struct credentials_state *s, uint64_t own)
{
	for (unsigned int cap = 0; cap < 64; cap++)
		if (own >> cap & 1 && !(s->bounding >> cap & 1))
			batch_call(b, "prctl(PR_CAPBSET_DROP)", SYS_prctl, PR_CAPBSET_DROP, cap);
}

static void add_ambient(struct batch *b, const struct credentials_state *s)
{
	batch_call(b, "prctl(PR_CAP_AMBIENT_CLEAR_ALL)", SYS_prctl, PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL);
	for (unsigned int cap = 0; cap < 64; cap++)
		if (s->ambient >> cap & 1)
			batch_call(
				b, "prctl(PR_CAP_AMBIENT_RAISE)", SYS_prctl, PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, cap);
}

static unsigned int suid_dumpable(void)
{
	_cleanup_free_ char *text = NULL;
	size_t size;

	if (procfs_read(AT_FDCWD, "/proc/sys/fs/suid_dumpable", &text, &size) < 0)
		return 0;
	return (unsigned int)strtoul(text, NULL, 10);
}

static void add_dumpable(struct build *b, const struct credentials_state *s)
{
	if (s->dumpable != DUMPABLE_ROOT) {
		batch_call(b->batch, "prctl(PR_SET_DUMPABLE)", SYS_prctl, PR_SET_DUMPABLE, s->dumpable);
		return;
	}
	if (suid_dumpable() == DUMPABLE_ROOT)
		return;
	batch_call(b->batch, "prctl(PR_SET_DUMPABLE)", SYS_prctl, PR_SET_DUMPABLE, 0);
	changed(b->ps, BLAME(.pid = b->thread->vtid, .object = "dumpable"),
		"was 2, which only a kernel with fs.suid_dumpable = 2 sets: is 0 now");
}

/* What a newborn has. */
static int64_t own_request_keyring(void)
{
	long own = syscall(SYS_keyctl, KEYCTL_SET_REQKEY_KEYRING, KEY_REQKEY_DEFL_NO_CHANGE);

	return MAX(own, (long)KEY_REQKEY_DEFL_DEFAULT);
}

/*
 * The order matters. NO_SETUID_FIXUP keeps the capabilities while the ids change. The inheritable set comes
 * before the bounding set that would limit it, ambient before the securebit that may forbid it, the final
 * securebits while CAP_SETPCAP is still there, and the permitted and effective sets last. Only then dumpable,
 * which any of these may have cleared.
 */
int credentials_identity(struct build *build, const void *state)
{
	const struct credentials_state *s = state;
	struct batch *b = build->batch;
	const struct capability_sets *own = own_capabilities(build->restore);
	int r;

	batch_call(b, "prctl(PR_SET_SECUREBITS)", SYS_prctl, PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP);
	r = add_groups(b, s);
	if (r < 0)
		return r;
	add_ids(b, s);
	capabilities_add(b, "capset of the inheritable set", s->inheritable, own->permitted, own->permitted);
	add_bounding(b, s, own->bounding);
	add_ambient(b, s);
	batch_call(b, "prctl(PR_SET_SECUREBITS)", SYS_prctl, PR_SET_SECUREBITS, s->securebits);
	capabilities_add(b, "capset", s->inheritable, s->permitted, s->effective);
	add_dumpable(build, s);
	if (s->no_new_privs)
		batch_call(b, "prctl(PR_SET_NO_NEW_PRIVS)", SYS_prctl, PR_SET_NO_NEW_PRIVS, 1);
	if (s->request_keyring != own_request_keyring())
		batch_call(b, "keyctl(KEYCTL_SET_REQKEY_KEYRING)", SYS_keyctl, KEYCTL_SET_REQKEY_KEYRING,
			(uint64_t)s->request_keyring);
	return 0;
}

const struct component component_credentials = {
	.kind = {
		.name = "credentials",
		.version = 1,
		.size = sizeof(struct credentials_state),
		.fields = credentials_fields,
		.doc = "who a thread is and what it may do",
		.sources = "credentials(7), capabilities(7), prctl(2); kernel/cred.c, security/commoncap.c; selftests/capabilities",
	},
	.scope = SCOPE_THREAD,
	.look = credentials_look,
	.scratch_size = sizeof(struct credentials_scratch),
	.ask = credentials_ask,
	.capture = credentials_capture,
	.validate = credentials_validate,
	.build = { [STAGE_IDENTITY] = credentials_identity },
};
