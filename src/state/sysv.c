/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "state/sysv.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>

#include "base/cleanup.h"
#include "isolate/watchdog.h"
#include "state/stand_in.h"
#include "state/tree.h"

#define CREATE_TRIES 8

struct sysv_object sysv_object_of(int id, const struct ipc_perm *p, time_t changed)
{
	return (struct sysv_object){
		.id = (uint64_t)id,
		.key = (uint32_t)p->__key,
		.uid = p->uid,
		.gid = p->gid,
		.cuid = p->cuid,
		.cgid = p->cgid,
		.mode = p->mode & 0777,
		.changed = changed,
	};
}

struct sysv_name sysv_name(const struct sysv_kind *k, const struct sysv_object *o)
{
	struct sysv_name n;

	snprintf(n.s, sizeof(n.s), "%s %" PRIu64 " (key 0x%08" PRIx64 ")", k->what, o->id, o->key);
	return n;
}

bool sysv_is_own(const struct restore *r)
{
	const struct tree_state *t = tree_state_of(r->image);

	return t && t->container;
}

int sysv_enter(const struct restore *r, struct ipc_place *place)
{
	_cleanup_fd_ int proc_fd = procfs_open_pid(r->root_pid);

	return proc_fd < 0 ? proc_fd : ipc_enter(proc_fd, place);
}

pid_t sysv_vpid(const struct tree *t, pid_t pid)
{
	const struct process *p = pid ? tree_find(t, pid) : NULL;

	return p ? p->vpid : 0;
}

/* --- making it --- */

static int write_next_id(const struct sysv_kind *k, uint64_t id)
{
	char text[24];

	snprintf(text, sizeof(text), "%" PRId64, (int64_t)id);
	return ipc_sysctl_write(k->next_id, text);
}

/* The creator is who the caller is in effect. Its capabilities come back with user 0. */
static int get(struct restore *r, const struct sysv_kind *k, const struct sysv_object *o, uint64_t size, pid_t maker)
{
	const uint64_t flags = IPC_CREAT | IPC_EXCL | o->mode, same = (uint64_t)-1;
	struct acted_call calls[] = {
		{ .what = "setresgid", .nr = SYS_setresgid, .args = { same, o->cgid, same } },
		{ .what = "setresuid", .nr = SYS_setresuid, .args = { same, o->cuid, same } },
		{ .what = k->what, .nr = k->get, .args = { o->key, k->sized ? size : flags, k->sized ? flags : 0 } },
		{ .what = "setresuid", .nr = SYS_setresuid, .args = { same, 0, same } },
		{ .what = "setresgid", .nr = SYS_setresgid, .args = { same, 0, same } },
	};
	int error = act_as(r, maker, calls, ARRAY_SIZE(calls));

	if (error == -EEXIST && calls[2].result == 0 && maker) /* the number is taken, not the key */
		error = act_as(r, 0, calls, ARRAY_SIZE(calls));
	return error < 0 ? error : (int)calls[2].result;
}

static int get_with_id(
	struct restore *r, const struct sysv_kind *k, const struct sysv_object *o, uint64_t size, pid_t maker)
{
	int id = -EBUSY;

	/* In the host's namespace another may get the number, between the two. */
	for (int i = 0; i < CREATE_TRIES && id != (int)o->id; i++) {
		int error = write_next_id(k, o->id);

		if (error < 0)
			return error;
		id = get(r, k, o, size, maker);
		if (id < 0)
			break;
		if (id != (int)o->id) {
			k->remove(id, NULL);
			id = -EBUSY;
		}
	}
	write_next_id(k, (uint64_t)-1);
	return id;
}

int sysv_create(struct restore *r, const struct sysv_kind *k, const struct sysv_object *o, uint64_t size, pid_t maker,
	bool hosts)
{
	int id = get_with_id(r, k, o, size, maker);

	if (id < 0)
		return failed(r->ps, BLAME(.object = sysv_name(k, o).s), id, "cannot be made again with its id: %s",
			strerror(-id));
	if (hosts && watchdog_unmake(r->watchdog, k->remove, id, "") < 0) {
		k->remove(id, NULL);
		return failed(r->ps, BLAME(.object = sysv_name(k, o).s), -ENOSPC, "one of too many");
	}
	return 0;
}

/* --- what the host has already --- */

static int refuse_clash(
	struct restore *r, const struct sysv_kind *k, const struct sysv_object *o, int id, const char *why)
{
	char remedy[64];

	snprintf(remedy, sizeof(remedy), "remove it if it is not needed: ipcrm -%c %d", k->letter, id);
	return refused(r->ps, BLAME(.object = sysv_name(k, o).s, .remedy = remedy), "%s", why);
}

static int find_key(const struct sysv_kind *k, uint64_t key)
{
	return (int)(k->sized ? syscall(k->get, key, 0, 0) : syscall(k->get, key, 0));
}

static bool is_same(const struct sysv_object *a, const struct sysv_object *b)
{
	return a->key == b->key && a->uid == b->uid && a->gid == b->gid && a->cuid == b->cuid && a->cgid == b->cgid &&
	       a->mode == b->mode && a->changed == b->changed;
}

int sysv_found(struct restore *r, const struct sysv_kind *k, const struct sysv_object *o)
{
	struct sysv_object there;
	int id = o->key ? find_key(k, o->key) : -1, error = k->stat((int)o->id, &there);

	if (id >= 0 && id != (int)o->id)
		return refuse_clash(r, k, o, id, "its key is taken by another");
	if (error == -EINVAL || error == -EIDRM)
		return 0;
	if (error < 0)
		return failed(r->ps, BLAME(.object = sysv_name(k, o).s), error, "the one that has its id: %s",
			strerror(-error));
	if (!is_same(&there, o))
		return refuse_clash(r, k, o, (int)o->id, "its id is taken by another, or it was made or changed since");
	return 1;
}
