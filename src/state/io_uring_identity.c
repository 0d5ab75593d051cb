/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* include/linux/cred.h; credentials(7) */
#include "state/io_uring_identity.h"

#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/securebits.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "state/capset.h"

#define GROUPS_MAX 1024 /* of which the kernel allows 65536 */

const struct field ring_acting_fields[] = {
	FIELD_UINT(struct credentials_state, uid, "uid", "real user"),
	FIELD_UINT(struct credentials_state, euid, "euid", "effective user"),
	FIELD_UINT(struct credentials_state, suid, "suid", "saved user"),
	FIELD_UINT(struct credentials_state, fsuid, "fsuid", "file system user"),
	FIELD_UINT(struct credentials_state, gid, "gid", "real group"),
	FIELD_UINT(struct credentials_state, egid, "egid", "effective group"),
	FIELD_UINT(struct credentials_state, sgid, "sgid", "saved group"),
	FIELD_UINT(struct credentials_state, fsgid, "fsgid", "file system group"),
	FIELD_UINTS(struct credentials_state, groups, n_groups, "groups", SHOW_DECIMAL, "supplementary groups"),
	FIELD_HEX(struct credentials_state, effective, "effective", "capabilities in force"),
	FIELD_END,
};

/* --- checkpoint --- */

static int read_number(struct capture *c, uint64_t at, const char *member, uint32_t *out)
{
	uint64_t address, value = 0;
	int err = kernel_peek_address(c->kernel, at, "cred", member, &address);

	if (!err)
		err = kernel_peek_bytes(c->kernel, address, &value, sizeof(*out));
	*out = (uint32_t)value;
	return err;
}

static int read_set(struct capture *c, uint64_t at, const char *member, uint64_t *out)
{
	uint64_t address;
	int err = kernel_peek_address(c->kernel, at, "cred", member, &address);

	return err ? err : kernel_peek_bytes(c->kernel, address, out, sizeof(*out));
}

static int read_groups(struct capture *c, uint64_t at, struct credentials_state *s)
{
	uint64_t info, n = 0, first;
	uint32_t group;
	int err = kernel_peek_member(c->kernel, at, "cred", "group_info", &info);

	if (!err)
		err = kernel_peek_member(c->kernel, info, "group_info", "ngroups", &n);
	if (!err)
		err = kernel_peek_address(c->kernel, info, "group_info", "gid", &first);
	if (err || !n || n > GROUPS_MAX)
		return err ? err : n ? -EMSGSIZE : 0;
	s->groups = calloc(n, sizeof(*s->groups));
	for (; s->groups && !err && s->n_groups < n; s->n_groups++) {
		err = kernel_peek_bytes(c->kernel, first + s->n_groups * sizeof(group), &group, sizeof(group));
		s->groups[s->n_groups] = group;
	}
	return s->groups ? err : -ENOMEM;
}

/* Numbers of users are told as the keeper's namespace has them only in that. */
static int check_namespace(struct capture *c, uint64_t cred)
{
	uint64_t task, own, ours, theirs;
	int err = kernel_own_task(c, &task);

	if (!err)
		err = kernel_peek_member(c->kernel, task, "task_struct", "cred", &own);
	if (!err)
		err = kernel_peek_member(c->kernel, own, "cred", "user_ns", &ours);
	if (!err)
		err = kernel_peek_member(c->kernel, cred, "cred", "user_ns", &theirs);
	return err ? err : ours == theirs ? 0 : -EXDEV;
}

int ring_identity_read(struct capture *c, uint64_t cred, struct credentials_state *s)
{
	const struct {
		const char *member;
		uint32_t *to;
	} numbers[] = {
		{ "uid", &s->uid },
		{ "euid", &s->euid },
		{ "suid", &s->suid },
		{ "fsuid", &s->fsuid },
		{ "gid", &s->gid },
		{ "egid", &s->egid },
		{ "sgid", &s->sgid },
		{ "fsgid", &s->fsgid },
		{ "securebits", &s->securebits },
	};
	int err = check_namespace(c, cred);

	for (size_t i = 0; !err && i < ARRAY_SIZE(numbers); i++)
		err = read_number(c, cred, numbers[i].member, numbers[i].to);
	if (!err)
		err = read_set(c, cred, "cap_effective", &s->effective);
	return err ? err : read_groups(c, cred, s);
}

/* --- restore: in a child of the keeper's --- */

static long set_capabilities(uint64_t inheritable, uint64_t permitted, uint64_t effective)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2];

	for (int i = 0; i < 2; i++)
		data[i] = (struct __user_cap_data_struct){ .inheritable = (uint32_t)(inheritable >> 32 * i),
			.permitted = (uint32_t)(permitted >> 32 * i),
			.effective = (uint32_t)(effective >> 32 * i) };
	return syscall(SYS_capset, &head, data);
}

static long set_ids(const struct credentials_state *s)
{
	gid_t groups[GROUPS_MAX];

	if (s->n_groups > ARRAY_SIZE(groups))
		return -1;
	for (size_t i = 0; i < s->n_groups; i++)
		groups[i] = (gid_t)s->groups[i];
	if (syscall(SYS_setgroups, s->n_groups, groups) < 0 || syscall(SYS_setresgid, s->gid, s->egid, s->sgid) < 0)
		return -1;
	syscall(SYS_setfsgid, s->fsgid);
	if (syscall(SYS_setresuid, s->uid, s->euid, s->suid) < 0)
		return -1;
	syscall(SYS_setfsuid, s->fsuid);
	return 0;
}

/* Requests call no exec: what else it might become is of no consequence. */
int ring_identity_assume(const struct credentials_state *s)
{
	struct capability_sets own;

	capabilities_own(&own);
	if (s->effective & ~own.permitted)
		return -EPERM;
	if (syscall(SYS_prctl, PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP, 0, 0, 0) < 0 || set_ids(s) < 0 ||
		set_capabilities(0, s->effective, s->effective) < 0)
		return -errno;
	return 0;
}

/* --- restore: in a task of the tree --- */

static void add_groups(struct batch *b, const uint64_t *list, size_t n)
{
	_cleanup_free_ gid_t *groups = calloc(n + 1, sizeof(*groups));

	for (size_t i = 0; groups && i < n; i++)
		groups[i] = (gid_t)list[i];
	if (!groups)
		b->error = -ENOMEM;
	else
		batch_call(b, "setgroups", SYS_setgroups, n, batch_copy(b, groups, (n + 1) * sizeof(*groups)).v);
}

/* What requests are allowed is a matter of the ids and of the effective set: the permitted one stays, to come back by. */
int ring_identity_take(struct batch *b, const struct credentials_state *s)
{
	struct capability_sets own;

	capabilities_own(&own);
	batch_call(b, "prctl(PR_SET_SECUREBITS)", SYS_prctl, PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP);
	add_groups(b, s->groups, s->n_groups);
	batch_call(b, "setresgid", SYS_setresgid, s->gid, s->egid, s->sgid);
	batch_may_fail(b, batch_call(b, "setfsgid", SYS_setfsgid, s->fsgid));
	batch_call(b, "setresuid", SYS_setresuid, s->uid, s->euid, s->suid);
	batch_may_fail(b, batch_call(b, "setfsuid", SYS_setfsuid, s->fsuid));
	capabilities_add(b, "capset", own.inheritable, own.permitted, s->effective & own.permitted);
	return s->effective & ~own.permitted ? -EPERM : 0;
}

void ring_identity_drop(struct batch *b)
{
	struct capability_sets own;
	uint64_t groups[GROUPS_MAX];
	gid_t list[GROUPS_MAX];
	int n = getgroups(ARRAY_SIZE(list), list);

	for (int i = 0; i < n; i++)
		groups[i] = list[i];
	capabilities_own(&own);
	capabilities_add(b, "capset", own.inheritable, own.permitted, own.effective);
	batch_call(b, "setresuid", SYS_setresuid, getuid(), geteuid(), geteuid());
	batch_call(b, "setresgid", SYS_setresgid, getgid(), getegid(), getegid());
	add_groups(b, groups, n > 0 ? (size_t)n : 0);
	batch_call(b, "prctl(PR_SET_SECUREBITS)", SYS_prctl, PR_SET_SECUREBITS, 0);
}
