/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * memory: the address space of a process. proc_pid_maps(5), proc_pid_smaps(5), PR_SET_MM_MAP in prctl(2); mm/mmap.c, fs/proc/task_mmu.c;
 * selftests/mm. The record says what is mapped and where its pages lie in the page files.
 */
#include "state/memory.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/mempolicy.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <xxhash.h>

#include "base/cleanup.h"
#include "state/inode.h"

static const struct field area_fields[] = {
	FIELD_HEX(struct memory_area, start, "start", "first address"),
	FIELD_HEX(struct memory_area, end, "end", "first address behind"),
	FIELD_UINT(struct memory_area, kind, "kind",
		"0 anonymous, 1 private mapping of a backing, 2 shared one, 3 vDSO, 4 the kernel's data before it, 5 "
		"the "
		"ring of an AIO context, 6 the ring of forked_from's"),
	FIELD_UINT(struct memory_area, prot, "prot", "PROT_READ 1, PROT_WRITE 2, PROT_EXEC 4"),
	FIELD_HEX(struct memory_area, flags, "flags",
		"grows down 1, locked 2, sequential 4, random 8, not forked 0x10, not dumped 0x20, huge pages 0x40, no "
		"huge pages 0x80, mergeable 0x100, wiped on fork "
		"0x200, no reserve 0x400, sealed 0x800, droppable 0x1000, may be written 0x2000, sync 0x4000, locked "
		"on fault 0x8000"),
	FIELD_HEX(struct memory_area, offset, "offset", "in the backing, bytes"),
	FIELD_REF(struct memory_area, backing, "backing", NULL, REF_STRONG, "the file or shared memory mapped"),
	FIELD_STRING(struct memory_area, name, "name", "given by PR_SET_VMA_ANON_NAME"),
	FIELD_END,
};

static const struct field run_fields[] = {
	FIELD_PAGES(WHERE, HEX, struct page_run, start, "start", "address"),
	FIELD_PAGES(COUNT, UINT, struct page_run, pages, "pages", "how many"),
	FIELD_PAGES(FILE, UINT, struct page_run, file, "file", "number of the page file"),
	FIELD_PAGES(AT, UINT, struct page_run, at, "at", "first page in it"),
	FIELD_END,
};

static const struct field range_fields[] = {
	FIELD_HEX(struct page_range, start, "start", "address"),
	FIELD_UINT(struct page_range, pages, "pages", "how many"),
	FIELD_END,
};

static const struct field memory_fields[] = {
	FIELD_REF(struct memory_state, of, "of", "process", REF_STRONG, "whose memory"),
	FIELD_REF(struct memory_state, exe, "exe", NULL, REF_STRONG, "/proc/PID/exe"),
	FIELD_HEX(struct memory_state, start_code, "start_code", "of PR_SET_MM_MAP, as are the next"),
	FIELD_HEX(struct memory_state, end_code, "end_code", ""),
	FIELD_HEX(struct memory_state, start_data, "start_data", ""),
	FIELD_HEX(struct memory_state, end_data, "end_data", ""),
	FIELD_HEX(struct memory_state, start_brk, "start_brk", ""),
	FIELD_HEX(struct memory_state, brk, "brk", ""),
	FIELD_HEX(struct memory_state, start_stack, "start_stack", ""),
	FIELD_HEX(struct memory_state, arg_start, "arg_start", ""),
	FIELD_HEX(struct memory_state, arg_end, "arg_end", ""),
	FIELD_HEX(struct memory_state, env_start, "env_start", ""),
	FIELD_HEX(struct memory_state, env_end, "env_end", ""),
	FIELD_BLOB(struct memory_state, auxv, "auxv", "the auxiliary vector"),
	FIELD_BOOL(struct memory_state, lock_future, "lock_future", "mlockall(MCL_FUTURE)"),
	FIELD_BOOL(struct memory_state, lock_onfault, "lock_onfault", "with MCL_ONFAULT"),
	FIELD_BOOL(struct memory_state, bottom_up, "bottom_up",
		"new mappings go to the lowest free place: ADDR_COMPAT_LAYOUT of personality(2) when it called exec"),
	FIELD_HEX(struct memory_state, vdso_hash, "vdso_hash", "XXH3 of the vDSO that the program was given"),
	FIELD_REF(struct memory_state, forked_from, "forked_from", "process", REF_LATE,
		"never called exec since it was forked from this process, and may share pages with it"),
	FIELD_LIST(struct memory_state, areas, n_areas, "areas", area_fields, "mappings, by address"),
	FIELD_LIST(struct memory_state, runs, n_runs, "runs", run_fields,
		"pages that stand in page files; other pages are zero, or the backing's"),
	FIELD_LIST(struct memory_state, inherited, n_inherited, "inherited", range_fields,
		"pages equal to those of forked_from at the same address"),
	FIELD_LIST(struct memory_state, guards, n_guards, "guards", range_fields, "guard pages (MADV_GUARD_INSTALL)"),
	FIELD_END,
};

/* --- capture --- */

struct memory_scratch {
	uint32_t brk, locked;
	uint32_t one, two; /* mappings, each where the kernel would put the next */
	int32_t *policies; /* of the mappings; NULL: they were not asked for */
};

static_assert(sizeof(struct memory_scratch) <= MEMORY_SCRATCH, "the engine keeps room for it");

#define POLICIES_MAX 512 /* beyond this, the batch would grow large, and numa_maps is read instead */

/* get_mempolicy answers for a mapping without a policy of its own that it has none, whatever the task's is. */
static void ask_policies(struct batch *b, const struct proc_maps *maps, struct memory_scratch *s)
{
	void *room = NULL;
	uint64_t at;

	if (maps->n > POLICIES_MAX)
		return;
	at = batch_room(b, maps->n * sizeof(*s->policies), &room).v;
	s->policies = room;
	for (size_t i = 0; i < maps->n; i++)
		if (!memory_is_special(&maps->list[i]))
			batch_may_fail(
				b, batch_call(b, "get_mempolicy", SYS_get_mempolicy, at + i * sizeof(*s->policies), 0,
					   0, maps->list[i].start, MPOL_F_ADDR));
}

static uint32_t ask_place(struct batch *b)
{
	uint32_t op = batch_call(b, "mmap", SYS_mmap, 0, PAGE_SIZE, PROT_NONE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, (uint64_t)-1, 0);

	batch_may_fail(b, op); /* RLIMIT_AS, vm.max_map_count */
	return op;
}

static void unmap_place(struct batch *b, uint32_t place)
{
	uint32_t op = batch_call(b, "munmap", SYS_munmap, 0, PAGE_SIZE);

	batch_use(b, op, 0, place);
	batch_may_fail(b, op);
}

/* Whether its mappings grow up or down was decided at its exec, and shows only in where they go: first fit, from one end or from the other. */
static void ask_direction(struct batch *b, struct memory_scratch *s)
{
	s->one = ask_place(b);
	s->two = ask_place(b);
	unmap_place(b, s->one);
	unmap_place(b, s->two);
}

static bool goes_up(const struct batch *b, const struct memory_scratch *s)
{
	int64_t one = batch_result(b, s->one), two = batch_result(b, s->two);

	return one > 0 && two > one;
}

/* The area shows what mlockall(MCL_FUTURE) says, and msync whether it is locked. */
void memory_ask(struct capture *c, struct batch *b, void *scratch)
{
	struct memory_scratch *s = scratch;

	s->brk = batch_call(b, "brk", SYS_brk, 0);
	s->locked = batch_call(
		b, "msync", SYS_msync, c->process->injection.area.base.v, PAGE_SIZE, MS_ASYNC | MS_INVALIDATE);
	batch_may_fail(b, s->locked);
	ask_direction(b, s);
	ask_policies(b, &c->process->maps, s);
}

/*
 * A mapping of its own NUMA policy (mbind): numa_maps shows the task's policy for all others. One word for all: none has, or it makes no difference.
 */
static int look_at_policies(struct capture *c, const char *text)
{
	size_t len = 0;
	const char *first = NULL;

	for (const char *line = text, *word; line && *line; line = strchr(line, '\n'), line = line ? line + 1 : NULL) {
		word = line + strcspn(line, " \n");
		if (*word != ' ')
			continue;
		word++;
		if (!first) {
			first = word;
			len = strcspn(word, " \n");
		}
		if (len != strcspn(word, " \n") || strncmp(word, first, len) != 0)
			return refused(c->ps,
				BLAME_PROCESS(c->process, .object = "memory policy",
					.remedy = "use the same policy for all of its memory (set_mempolicy)"),
				"a mapping has a NUMA policy of its own (mbind): %.*s, at %.*s",
				(int)strcspn(word, " \n"), word, (int)strcspn(line, " "), line);
	}
	return 0;
}

static bool may_have_policies(const struct process *p, const int32_t *policies)
{
	for (size_t i = 0; policies && i < p->maps.n; i++)
		if (policies[i] != MPOL_DEFAULT)
			return true;
	return !policies;
}

/* Few have one: then numa_maps, which only kernels with NUMA have, tells whether it makes a difference. */
static int check_policies(struct capture *c, const int32_t *policies)
{
	_cleanup_free_ char *text = NULL;

	if (!may_have_policies(c->process, policies) ||
		procfs_read(c->process->living_fd, "numa_maps", &text, NULL) < 0)
		return 0;
	return look_at_policies(c, text);
}

/* The mappings were read before anything was mapped or removed. Where that made a difference, they are read again. */
static int read_areas(struct capture *c, struct memory_state *s, bool area_locked)
{
	struct process *p = c->process;
	struct proc_maps again = { 0 };
	int r;

	if (!area_locked && !p->injection.leftovers)
		return memory_add_areas(c, s, &p->maps);
	r = proc_smaps_read(p->living_fd, &again);
	if (r == 0)
		r = memory_add_areas(c, s, &again);
	proc_maps_free(&again);
	return r;
}

static int capture_exe(struct capture *c, struct memory_state *s)
{
	_cleanup_fd_ int fd = -1;
	_cleanup_free_ char *name = NULL;
	struct proc_map m = { 0 };
	struct stat st;
	size_t len;
	int r;

	if (fstatat(c->process->living_fd, "exe", &st, 0) < 0)
		return failed(c->ps, BLAME_PROCESS(c->process, .object = "exe"), -errno,
			"its executable cannot be looked at: %m");
	r = procfs_link(c->process->living_fd, "exe", &name);
	if (r < 0)
		return r;
	len = strlen(name);
	m = (struct proc_map){
		.name = name, .inode = st.st_ino, .dev_major = major(st.st_dev), .dev_minor = minor(st.st_dev)
	};
	if (len > 10 && !strcmp(name + len - 10, " (deleted)")) {
		m.deleted = true;
		name[len - 10] = '\0';
	}
	if (inode_backing_known(c, &m, &s->exe))
		return 0;
	fd = openat(c->process->living_fd, "exe", O_PATH | O_CLOEXEC);
	if (fd < 0)
		return failed(c->ps, BLAME_PROCESS(c->process, .object = "exe"), -errno,
			"its executable cannot be opened: %m");
	return inode_backing_for_mapping(c, &m, fd, &s->exe);
}

static int hash_vdso(struct capture *c, struct memory_state *s)
{
	for (size_t i = 0; i < s->n_areas; i++) {
		_cleanup_free_ uint8_t *bytes = NULL;
		size_t size = s->areas[i].end - s->areas[i].start;
		struct iovec to, from = { (void *)s->areas[i].start, size };

		if (s->areas[i].kind != AREA_VDSO)
			continue;
		bytes = malloc(size);
		if (!bytes)
			return -ENOMEM;
		to = (struct iovec){ bytes, size };
		if (process_vm_readv(c->process->living_tid, &to, 1, &from, 1, 0) != (ssize_t)size)
			return failed(c->ps, BLAME_PROCESS(c->process, .object = "vDSO"), -errno, "cannot be read: %m");
		s->vdso_hash = XXH3_64bits(bytes, size);
	}
	return 0;
}

static void copy_stat(struct memory_state *s, const struct proc_stat *st)
{
	s->start_code = st->startcode;
	s->end_code = st->endcode;
	s->start_data = st->start_data;
	s->end_data = st->end_data;
	s->start_brk = st->start_brk;
	s->start_stack = st->startstack;
	s->arg_start = st->arg_start;
	s->arg_end = st->arg_end;
	s->env_start = st->env_start;
	s->env_end = st->env_end;
}

int memory_capture(struct capture *c, const struct batch *b, const void *scratch, struct memory_plan *plan)
{
	const struct memory_scratch *asked = scratch;
	struct memory_state *s = &plan->state;
	struct process *p = c->process;
	char *auxv = NULL;
	int r;

	s->of = p->id;
	s->forked_from = (p->stat.flags & PF_FORKNOEXEC) && p->parent && !p->parent->zombie ? p->parent->id : 0;
	copy_stat(s, &c->thread->stat);
	s->brk = (uint64_t)batch_result(b, asked->brk);
	s->bottom_up = goes_up(b, asked);
	r = procfs_read(p->living_fd, "auxv", &auxv, &s->auxv.size);
	s->auxv.data = (uint8_t *)auxv;
	if (r == 0)
		r = check_policies(c, asked->policies);
	if (r == 0)
		r = read_areas(c, s, batch_result(b, asked->locked) == -EBUSY);
	if (r == 0)
		r = capture_exe(c, s);
	if (r == 0)
		r = hash_vdso(c, s);
	if (r == 0)
		r = memory_find_pages(c, plan);
	return r;
}

void memory_plan_free(struct memory_plan *plan)
{
	/* The state's lists of ranges are borrowed from the plan. */
	plan->state.inherited = NULL;
	plan->state.guards = NULL;
	fields_free(memory_fields, &plan->state);
	free(plan->present.list);
	free(plan->later.list);
	free(plan->settled.list);
	free(plan->inherited.list);
	free(plan->guards.list);
	*plan = (struct memory_plan){ 0 };
}

const struct component component_memory = {
	.kind = {
		.name = "memory",
		.version = 1,
		.size = sizeof(struct memory_state),
		.fields = memory_fields,
		.doc = "the address space of a process",
		.sources = "mmap(2), madvise(2), prctl(2) PR_SET_MM_MAP; mm/mmap.c; selftests/mm",
		.critical = true,
	},
	.scope = SCOPE_OTHER, /* the engine drives it: pages are copied by every worker */
};
