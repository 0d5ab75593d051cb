/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* System V shared memory: shmget(2), shmop(2), shmctl(2). What is not of a container's own is removed by use. */

#include "maker.h"

#include <sys/ipc.h>
#include <sys/shm.h>

static int id = -1, other = -1;
static char *at, *again;
static struct shmid_ds before;
static key_t key;

enum { ODD = 3 * PAGE + 100 };

static key_t new_key(void)
{
	return key = 0x53000000 | (getpid() & 0xffffff);
}

static int make(key_t k, size_t size, int flags)
{
	id = shmget(k, size, IPC_CREAT | IPC_EXCL | flags);
	NEED(id >= 0);
	return 0;
}

static int attach(void)
{
	at = shmat(id, NULL, 0);
	CHECK(at != (void *)-1);
	return 0;
}

static int look(void)
{
	SAME(shmctl(id, IPC_STAT, &before), 0);
	return 0;
}

/* All but the times. */
static int same(void)
{
	struct shmid_ds now;

	SAME(shmctl(id, IPC_STAT, &now), 0);
	SAME(now.shm_perm.__key, before.shm_perm.__key);
	SAME(now.shm_perm.uid, before.shm_perm.uid);
	SAME(now.shm_perm.gid, before.shm_perm.gid);
	SAME(now.shm_perm.cuid, before.shm_perm.cuid);
	SAME(now.shm_perm.cgid, before.shm_perm.cgid);
	SAME(now.shm_perm.mode, before.shm_perm.mode);
	SAME(now.shm_segsz, before.shm_segsz);
	SAME(now.shm_nattch, before.shm_nattch);
	SAME(now.shm_lpid, before.shm_lpid);
	return 0;
}

static int gone(void)
{
	struct shmid_ds ds;

	SAME(shmctl(id, IPC_STAT, &ds), -1);
	CHECK(errno == EINVAL || errno == EIDRM);
	return 0;
}

static int leave(void)
{
	SAME(shmctl(id, IPC_RMID, NULL), 0);
	return 0;
}

/* --- attached; arg: bytes. The last page shows itself whole --- */

static int attached_make(struct maker_ctx *ctx)
{
	TRY(make(new_key(), (size_t)ctx->arg, 0640));
	TRY(attach());
	fill(at, (size_t)(ctx->arg + PAGE - 1) / PAGE * PAGE, 1);
	return look();
}

static int attached_use(struct maker_ctx *ctx)
{
	TRY(same());
	SAME(before.shm_cpid, getpid());
	TRY(check_fill(at, (size_t)(ctx->arg + PAGE - 1) / PAGE * PAGE, 1));
	SAME(shmget(key, 0, 0), id);
	again = shmat(id, NULL, 0);
	CHECK(again != (void *)-1);
	again[0] = 'n';
	SAME(at[0], 'n');
	SAME(shmdt(again), 0);
	SAME(shmdt(at), 0);
	return leave();
}

/* --- only to be read; with leave to run; at an address of the caller's --- */

static int flags_make(struct maker_ctx *ctx)
{
	char *place = (char *)0x600000000000;

	TRY(make(IPC_PRIVATE, 2 * PAGE, 0600));
	TRY(attach());
	fill(at, 2 * PAGE, 2);
	again = shmat(id, place, (int)ctx->arg);
	CHECK(again == place);
	return look();
}

static int flags_use(struct maker_ctx *ctx)
{
	TRY(same());
	TRY(check_fill(again, 2 * PAGE, 2));
	SAME(mprotect(again, PAGE, PROT_READ | PROT_WRITE), ctx->arg & SHM_RDONLY ? -1 : 0);
	SAME(shmdt(again), 0);
	SAME(shmdt(at), 0);
	return leave();
}

/* --- unmapped and protected in parts --- */

static int parts_make(struct maker_ctx *ctx)
{
	TRY(make(IPC_PRIVATE, 8 * PAGE, 0600));
	TRY(attach());
	fill(at, 8 * PAGE, 3);
	CHECK(!munmap(at + 2 * PAGE, PAGE) && !mprotect(at + 4 * PAGE, PAGE, PROT_READ) &&
		!mprotect(at + 5 * PAGE, PAGE, PROT_NONE));
	CHECK(mmap(at + 2 * PAGE, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) !=
		MAP_FAILED);
	if (ctx->arg) /* the first page too: its beginning is no more */
		CHECK(!munmap(at, PAGE));
	at[2 * PAGE] = 'x';
	return look();
}

static int parts_use(struct maker_ctx *ctx)
{
	struct shmid_ds now;

	TRY(same());
	SAME(at[2 * PAGE], 'x');
	if (!ctx->arg)
		TRY(check_fill(at, PAGE, 3));
	again = shmat(id, NULL, SHM_RDONLY);
	CHECK(again != (void *)-1 && !memcmp(again + 3 * PAGE, at + 3 * PAGE, 2 * PAGE));
	TRY(check_fill(again, 8 * PAGE, 3));
	SAME(shmdt(again), 0);
	SAME(shmdt(at), 0); /* all parts, and not what is between them */
	SAME(at[2 * PAGE], 'x');
	SAME(shmctl(id, IPC_STAT, &now), 0);
	SAME(now.shm_nattch, 0);
	return leave();
}

/* --- removed, but attached; arg 1: its key has a new segment; 2: a child has it too --- */

static int destroyed_kid(struct maker_ctx *ctx)
{
	TRY(check_fill(at, PAGE, 4));
	return 0;
}

static int destroyed_make(struct maker_ctx *ctx)
{
	TRY(make(ctx->arg == 1 ? new_key() : IPC_PRIVATE, PAGE, 0600));
	TRY(attach());
	fill(at, PAGE, 4);
	SAME(shmctl(id, IPC_RMID, NULL), 0);
	if (ctx->arg == 1) {
		other = shmget(key, 2 * PAGE, IPC_CREAT | IPC_EXCL | 0600);
		CHECK(other >= 0 && other != id);
	}
	if (ctx->arg == 2)
		TRY(kid_start(ctx, NULL, destroyed_kid, NULL));
	return look();
}

static int destroyed_use(struct maker_ctx *ctx)
{
	CHECK(before.shm_perm.mode & SHM_DEST);
	TRY(same());
	TRY(check_fill(at, PAGE, 4));
	again = shmat(id, NULL, 0);
	CHECK(again != (void *)-1);
	SAME(shmdt(again), 0);
	if (ctx->arg == 1) {
		SAME(shmget(key, 0, 0), other);
		SAME(shmctl(other, IPC_RMID, NULL), 0);
	}
	if (ctx->arg == 2)
		TRY(kids_finish(ctx));
	SAME(shmdt(at), 0);
	return gone();
}

/* --- nobody has it attached; arg 1: it never was; 2: who used it last is dead; 3: who made it is --- */

static int in_child(int (*fn)(void))
{
	pid_t p = fork();

	if (p == 0)
		_exit(fn());
	return reap_ok(p);
}

static int fill_once(void)
{
	TRY(attach());
	fill(at, ODD, 5);
	SAME(shmdt(at), 0);
	return 0;
}

static _Atomic int *told;

static int make_there(void)
{
	*told = shmget(key, ODD, IPC_CREAT | IPC_EXCL | 0604);
	return *told < 0;
}

static int loose_make(struct maker_ctx *ctx)
{
	told = &shared(ctx)->flag[0];
	new_key();
	if (ctx->arg == 3)
		TRY(in_child(make_there));
	else
		*told = shmget(key, ODD, IPC_CREAT | IPC_EXCL | 0604);
	id = *told;
	NEED(id >= 0);
	if (ctx->arg == 0)
		TRY(fill_once());
	else if (ctx->arg > 1)
		TRY(in_child(fill_once));
	return look();
}

static int loose_use(struct maker_ctx *ctx)
{
	TRY(same());
	TRY(attach());
	if (ctx->arg == 1)
		for (int i = 0; i < ODD; i++)
			SAME(at[i], 0);
	else
		TRY(check_fill(at, ODD, 5));
	SAME(shmdt(at), 0);
	return leave();
}

/* --- locked; owned by others --- */

static int locked_make(struct maker_ctx *ctx)
{
	TRY(make(IPC_PRIVATE, 2 * PAGE, 0600));
	TRY(attach());
	fill(at, 2 * PAGE, 6);
	NEED(shmctl(id, SHM_LOCK, NULL) == 0);
	return look();
}

static int locked_use(struct maker_ctx *ctx)
{
	CHECK(before.shm_perm.mode & SHM_LOCKED);
	TRY(same());
	TRY(check_fill(at, 2 * PAGE, 6));
	SAME(shmctl(id, SHM_UNLOCK, NULL), 0);
	SAME(shmdt(at), 0);
	return leave();
}

static int make_as_another(void)
{
	CHECK(!setegid(1001) && !seteuid(1000));
	*told = shmget(IPC_PRIVATE, PAGE, IPC_CREAT | 0666);
	return *told < 0;
}

static int owned_make(struct maker_ctx *ctx)
{
	struct shmid_ds ds;

	told = &shared(ctx)->flag[0];
	TRY(in_child(make_as_another));
	id = *told;
	SAME(shmctl(id, IPC_STAT, &ds), 0);
	ds.shm_perm.uid = 1002;
	ds.shm_perm.gid = 1003;
	ds.shm_perm.mode = 0451;
	SAME(shmctl(id, IPC_SET, &ds), 0);
	TRY(attach());
	return look();
}

static int owned_use(struct maker_ctx *ctx)
{
	SAME(before.shm_perm.cuid, 1000);
	SAME(before.shm_perm.uid, 1002);
	TRY(same());
	SAME(shmdt(at), 0);
	return leave();
}

/* --- holes --- */

enum { LARGE = 64 << 20 };

static int holes_make(struct maker_ctx *ctx)
{
	TRY(make(IPC_PRIVATE, LARGE, 0600));
	TRY(attach());
	fill(at + (10 << 20), 3 * PAGE, 7);
	at[LARGE - 1] = 'e';
	return look();
}

static int holes_use(struct maker_ctx *ctx)
{
	struct shm_info info;

	if (ctx->stopped)
		TRY(same());
	TRY(check_fill(at + (10 << 20), 3 * PAGE, 7));
	SAME(at[LARGE - 1], 'e');
	SAME(at[20 << 20], 0);
	CHECK(shmctl(0, SHM_INFO, (void *)&info) >= 0 && info.shm_rss < (LARGE / PAGE) / 2);
	SAME(shmdt(at), 0);
	return leave();
}

/* --- with children; arg 1: one attaches it elsewhere; 2: one only to read, where its parent may write --- */

static int kid_make(struct maker_ctx *ctx)
{
	again = at;
	if (ctx->arg) {
		SAME(shmdt(at), 0);
		again = shmat(id, ctx->arg == 1 ? at + (1 << 30) : at, ctx->arg == 2 ? SHM_RDONLY : 0);
		CHECK(again != (void *)-1);
	}
	return 0;
}

static int kid_use(struct maker_ctx *ctx)
{
	TRY(check_fill(again, 2 * PAGE, 8));
	if (ctx->arg == 2)
		SAME(mprotect(again, PAGE, PROT_WRITE), -1);
	else
		again[2 * PAGE] = 'k';
	SAME(shmdt(again), 0);
	return 0;
}

static int kids_make(struct maker_ctx *ctx)
{
	TRY(make(IPC_PRIVATE, 4 * PAGE, 0600));
	TRY(attach());
	fill(at, 2 * PAGE, 8);
	for (int i = 0; i < 3; i++)
		TRY(kid_start(ctx, kid_make, kid_use, NULL));
	return look();
}

static int kids_use(struct maker_ctx *ctx)
{
	TRY(same());
	TRY(kids_finish(ctx));
	SAME(at[2 * PAGE], ctx->arg == 2 ? 0 : 'k');
	SAME(shmdt(at), 0);
	return leave();
}

/* Only the child has it: its parent's memory is made first. */
static int young_kid(struct maker_ctx *ctx)
{
	TRY(make(IPC_PRIVATE, 4 * PAGE, 0600));
	TRY(attach());
	fill(at, 2 * PAGE, 8);
	again = at;
	return look();
}

static int young_kid_use(struct maker_ctx *ctx)
{
	TRY(same());
	TRY(kid_use(ctx));
	return leave();
}

static int young_make(struct maker_ctx *ctx)
{
	return kid_start(ctx, young_kid, young_kid_use, NULL);
}

/* --- many --- */

enum { MANY = 100 };
static struct {
	int id;
	char *at;
} many[MANY];

static int many_make(struct maker_ctx *ctx)
{
	for (int i = 0; i < MANY; i++) {
		TRY(make(IPC_PRIVATE, (size_t)(i + 1) * 1000, 0600));
		TRY(attach());
		fill(at, (size_t)(i + 1) * 1000, (uint64_t)(100 + i));
		many[i].id = id;
		many[i].at = at;
	}
	return 0;
}

static int many_use(struct maker_ctx *ctx)
{
	for (int i = 0; i < MANY; i++) {
		id = many[i].id;
		TRY(check_fill(many[i].at, (size_t)(i + 1) * 1000, (uint64_t)(100 + i)));
		SAME(shmdt(many[i].at), 0);
		TRY(leave());
	}
	return 0;
}

/* --- what is not carried --- */

static int huge_make(struct maker_ctx *ctx)
{
	id = shmget(IPC_PRIVATE, 2 << 20, IPC_CREAT | SHM_HUGETLB | 0600);
	NEED(id >= 0);
	TRY(attach());
	SAME(shmctl(id, IPC_RMID, NULL), 0);
	return 0;
}

static int huge_use(struct maker_ctx *ctx)
{
	SAME(shmdt(at), 0);
	return 0;
}

const struct maker makers_sysv_shm[] = {
	{ "attached", "a segment with a key, attached", attached_make, attached_use, 0, 4 * PAGE, NULL },
	{ "odd", "one whose size is no multiple of a page", attached_make, attached_use, 0, ODD, NULL },
	{ "byte", "one of a byte", attached_make, attached_use, 0, 1, NULL },
	{ "fixed", "attached at two addresses", flags_make, flags_use, 0, 0, NULL },
	{ "read-only", "attached to be read only, and to be written", flags_make, flags_use, 0, SHM_RDONLY, NULL },
	{ "exec", "attached to be run", flags_make, flags_use, 0, SHM_EXEC, NULL },
	{ "parts", "an attachment with parts unmapped and protected", parts_make, parts_use, 0, 0, NULL },
	{ "parts-headless", "one whose first page is unmapped", parts_make, parts_use, 0, 1, NULL },
	{ "destroyed", "removed, and attached", destroyed_make, destroyed_use, 0, 0, NULL },
	{ "destroyed-key", "removed, and its key used again", destroyed_make, destroyed_use, MAKER_CONTAINER, 1, NULL },
	{ "destroyed-shared", "removed, and attached by a child too", destroyed_make, destroyed_use, 0, 2, NULL },
	{ "loose", "attached by nobody, with contents", loose_make, loose_use, 0, 0, NULL },
	{ "never", "never attached", loose_make, loose_use, 0, 1, NULL },
	{ "loose-last-dead", "last attached by a process that has ended", loose_make, loose_use, MAKER_CONTAINER, 2,
		NULL },
	{ "loose-maker-dead", "made by a process that has ended", loose_make, loose_use, MAKER_CONTAINER, 3, NULL },
	{ "locked", "SHM_LOCK", locked_make, locked_use, 0, 0, NULL },
	{ "owned", "made by another user, and owned by a third", owned_make, owned_use, 0, 0, NULL },
	{ "holes", "64 MiB, mostly holes", holes_make, holes_use, MAKER_BUSY, 0, NULL },
	{ "children", "inherited by children", kids_make, kids_use, 0, 0, NULL },
	{ "children-elsewhere", "attached by children at other addresses", kids_make, kids_use, 0, 1, NULL },
	{ "children-read", "attached by children to be read, where their parent may write", kids_make, kids_use, 0, 2,
		NULL },
	{ "child-only", "attached by a child alone", young_make, NULL, 0, 0, NULL },
	{ "many", "a hundred segments", many_make, many_use, 0, 0, NULL },
	{ "huge", "SHM_HUGETLB", huge_make, huge_use, MAKER_MUST_REFUSE, 0, "huge" },
	{ 0 },
};
