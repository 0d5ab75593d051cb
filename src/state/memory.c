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
#include "state/aio.h"
#include "state/inode.h"
#include "state/sysv_shm.h"

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
	FIELD_HEX(struct page_run, start, "start", "address"),
	FIELD_UINT(struct page_run, pages, "pages", "how many"),
	FIELD_UINT(struct page_run, file, "file", "number of the page file"),
	FIELD_UINT(struct page_run, at, "at", "first page in it"),
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

/* --- reading the mappings --- */

static const struct {
	char name[3];
	unsigned int flag;
} vm_flags[] = {
	{ "gd", AREA_GROWSDOWN },
	{ "lo", AREA_LOCKED },
	{ "sr", AREA_SEQUENTIAL },
	{ "rr", AREA_RANDOM },
	{ "dc", AREA_DONTFORK },
	{ "dd", AREA_DONTDUMP },
	{ "hg", AREA_HUGEPAGE },
	{ "nh", AREA_NOHUGEPAGE },
	{ "mg", AREA_MERGEABLE },
	{ "wf", AREA_WIPEONFORK },
	{ "nr", AREA_NORESERVE },
	{ "sl", AREA_SEALED },
	{ "dp", AREA_DROPPABLE },
	{ "mw", AREA_MAYWRITE },
	{ "sf", AREA_SYNC },
	{ "lf", AREA_ONFAULT },
};

/* Flags that name what cannot be carried. */
static const struct {
	char name[3];
	const char *what;
} refused_flags[] = {
	{ "ht", "huge pages of hugetlbfs" },
	{ "pf", "device memory" },
	{ "io", "device memory" },
	{ "um", "memory under userfaultfd" },
	{ "uw", "memory under userfaultfd" },
	{ "ui", "memory under userfaultfd" },
	{ "ss", "a shadow stack" },
};

/* "rd wr mr …" as two sets: AREA_*, and which of refused_flags are among them. */
struct flags_seen {
	uint64_t area;
	uint32_t refused;
};

static struct flags_seen parse_flags(const char *line)
{
	struct flags_seen seen = { 0 };

	for (const char *f = line; f[0] > ' ' && f[1] > ' '; f += f[2] == ' ' ? 3 : 2) {
		for (size_t i = 0; i < ARRAY_SIZE(vm_flags); i++)
			if (vm_flags[i].name[0] == f[0] && vm_flags[i].name[1] == f[1])
				seen.area |= vm_flags[i].flag;
		for (size_t i = 0; i < ARRAY_SIZE(refused_flags); i++)
			if (refused_flags[i].name[0] == f[0] && refused_flags[i].name[1] == f[1])
				seen.refused |= 1u << i;
	}
	return seen;
}

static bool is_special(const struct proc_map *m)
{
	return !strcmp(m->name, "[vdso]") || !strcmp(m->name, "[vvar]") || !strcmp(m->name, "[vvar_vclock]") ||
	       !strcmp(m->name, "[vsyscall]");
}

static const char *refused_mapping(const struct proc_map *m, uint32_t flags)
{
	if (is_special(m))
		return NULL;
	if (!strncmp(m->name, "anon_inode:", 11) && strcmp(m->name, "anon_inode:[io_uring]") != 0)
		return m->name;
	if (!strcmp(m->name, "/secretmem"))
		return "memfd_secret memory";
	if (!strncmp(m->name, "/anon_hugepage", 14))
		return "huge pages of hugetlbfs";
	if (m->pkey && m->prot != PROT_EXEC) /* memory that can only be executed gets a key from the kernel itself */
		return "memory under a protection key (pkey_mprotect)";
	return flags ? refused_flags[__builtin_ctz(flags)].what : NULL;
}

static int refuse_mapping(struct capture *c, const struct proc_map *m, const char *what)
{
	char object[192];

	snprintf(object, sizeof(object), "mapping %lx-%lx (%.100s)", m->start, m->end, m->name);
	return refused(c->ps,
		BLAME_PROCESS(c->process, .object = object,
			.remedy = "unmap it before the checkpoint, or leave this process out of the tree"),
		"%s cannot be carried", what);
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

/* In the stop its mappings were read with their flags; before it their names alone tell. */
int memory_look(struct capture *c)
{
	struct proc_maps read = { 0 }, *maps = c->process->maps.n ? &c->process->maps : &read;
	int r = maps == &read ? proc_maps_read(c->process->living_fd, &read) : 0;

	for (size_t i = 0; i < maps->n; i++) {
		const char *what = refused_mapping(&maps->list[i], parse_flags(maps->list[i].flags).refused);

		if (what)
			refuse_mapping(c, &maps->list[i], what);
	}
	proc_maps_free(&read);
	return r == -ESRCH || r == -ENOENT ? 0 : r;
}

static const char *const private_names[] = { "[heap]", "[stack]" };

static bool is_anonymous(const struct proc_map *m)
{
	if (m->shared)
		return false;
	if (!*m->name || !strncmp(m->name, "[anon:", 6))
		return true;
	for (size_t i = 0; i < ARRAY_SIZE(private_names); i++)
		if (!strcmp(m->name, private_names[i]))
			return true;
	return false;
}

static int area_name(const struct proc_map *m, struct memory_area *a)
{
	const char *start = !strncmp(m->name, "[anon:", 6)	    ? m->name + 6
			    : !strncmp(m->name, "[anon_shmem:", 12) ? m->name + 12
								    : NULL;

	if (!start)
		return 0;
	a->name = strndup(start, strlen(start) - 1);
	return a->name ? 0 : -ENOMEM;
}

/* A kernel object mapped by several processes is the same backing wherever it is met: see state/inode.h. */
static int area_backing(struct capture *c, const struct proc_map *m, struct memory_area *a)
{
	char path[64];
	_cleanup_fd_ int fd = -1;

	if (sysv_shm_maps(m)) {
		a->backing = sysv_shm_id(c, m->inode);
		return 0;
	}
	if (inode_backing_known(c, m, &a->backing))
		return 0;
	snprintf(path, sizeof(path), "map_files/%lx-%lx", m->start, m->end);
	fd = openat(c->process->living_fd, path, O_PATH | O_CLOEXEC);
	if (fd < 0)
		return failed(c->ps, BLAME_PROCESS(c->process, .object = m->name), -errno,
			"the mapped file cannot be opened: %m");
	return inode_backing_for_mapping(c, m, fd, &a->backing);
}

static int area_from_map(struct capture *c, const struct proc_map *m, uint64_t flags, struct memory_area *a)
{
	int r;

	*a = (struct memory_area){
		.start = m->start, .end = m->end, .prot = (uint64_t)m->prot, .flags = flags, .offset = m->offset
	};
	if (!strcmp(m->name, "[vdso]")) {
		a->kind = AREA_VDSO;
		return 0;
	}
	if (is_special(m)) {
		a->kind = AREA_VVAR;
		return 0;
	}
	if (!m->shared)
		a->flags &= ~AREA_MAYWRITE;
	if (aio_is_ring(m)) {
		a->kind = aio_is_inherited(c->process, m) ? AREA_AIO_INHERITED : AREA_AIO;
		return 0;
	}
	r = area_name(m, a);
	if (r < 0)
		return r;
	if (is_anonymous(m)) {
		a->kind = AREA_ANON;
		a->offset = 0;
		return 0;
	}
	a->kind = m->shared ? AREA_SHARED : AREA_PRIVATE;
	return area_backing(c, m, a);
}

static bool is_injected(const struct capture *c, const struct proc_map *m)
{
	const struct area *a = &c->process->injection.area;

	return c->process->injected && m->start >= a->base.v && m->end <= a->base.v + a->size;
}

static int add_area(struct capture *c, struct memory_state *s, const struct proc_map *m, struct flags_seen flags)
{
	const char *what = refused_mapping(m, flags.refused);
	struct memory_area *grown;
	int r;

	if (is_injected(c, m)) { /* ours was mapped under mlockall(MCL_FUTURE) if it is locked: the only sign of it */
		s->lock_future |= (flags.area & AREA_LOCKED) != 0;
		s->lock_onfault |= (flags.area & AREA_ONFAULT) != 0;
		return 0;
	}
	if (!strcmp(m->name, "[vsyscall]"))
		return 0;
	if (what) {
		refuse_mapping(c, m, what);
		return 0;
	}
	if (!(s->n_areas & (s->n_areas - 1))) {
		grown = reallocarray(s->areas, s->n_areas ? 2 * s->n_areas : 1, sizeof(*grown));
		if (!grown)
			return -ENOMEM;
		s->areas = grown;
	}
	r = area_from_map(c, m, flags.area, &s->areas[s->n_areas]);
	if (r == 0)
		s->n_areas++;
	else
		free(s->areas[s->n_areas].name);
	return r == -ENOTSUP ? 0 : r;
}

static int add_areas(struct capture *c, struct memory_state *s, const struct proc_maps *maps)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < maps->n; i++)
		r = add_area(c, s, &maps->list[i], parse_flags(maps->list[i].flags));
	return r;
}

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
		if (!is_special(&maps->list[i]))
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
		return add_areas(c, s, &p->maps);
	r = proc_smaps_read(p->living_fd, &again);
	if (r == 0)
		r = add_areas(c, s, &again);
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
	if (r < 0 && r != -ENOTSUP)
		failed(c->ps, BLAME_PROCESS(p, .object = "memory"), r, "cannot be captured: %s", strerror(-r));
	return r;
}

void memory_plan_free(struct memory_plan *plan)
{
	/* The state's lists of ranges are borrowed from the plan. */
	plan->state.inherited = NULL;
	plan->state.guards = NULL;
	fields_free(memory_fields, &plan->state);
	free(plan->present.list);
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
