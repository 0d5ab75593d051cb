/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The mappings of a process, from /proc/PID/smaps: proc_pid_smaps(5); fs/proc/task_mmu.c. What cannot be carried is refused here. */
#include "state/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/cleanup.h"
#include "state/aio.h"
#include "state/bpf_map.h"
#include "state/inode.h"
#include "state/sysv_shm.h"
#include "state/written.h"

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

#define HUGE_PAGES "huge pages of a file of hugetlbfs, or of a System V segment,"

#define UNDER_WP (1u << 4) /* "uw" */

/* Flags that name what cannot be carried. */
static const struct {
	char name[3];
	const char *what;
} refused_flags[] = {
	/* the first is that of hugetlbfs */
	{ "ht", HUGE_PAGES },
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
	bool nameless; /* "??": one that this kernel has no name for */
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
		seen.nameless |= f[0] == '?';
	}
	/* "lf" is a recent name. */
	if (seen.area & AREA_LOCKED && seen.nameless)
		seen.area |= AREA_ONFAULT;
	return seen;
}

bool memory_is_special(const struct proc_map *m)
{
	return !strcmp(m->name, "[vdso]") || !strcmp(m->name, "[vvar]") || !strcmp(m->name, "[vvar_vclock]") ||
	       !strcmp(m->name, "[vsyscall]");
}

static const char *refused_mapping(const struct proc_map *m, uint32_t flags)
{
	if (memory_is_special(m))
		return NULL;
	if (!strncmp(m->name, "anon_inode:", 11) && strcmp(m->name, "anon_inode:[io_uring]") != 0 && !bpf_map_maps(m))
		return m->name;
	if (!strcmp(m->name, "/secretmem"))
		return "memfd_secret memory";
	if (m->pkey && m->prot != PROT_EXEC) /* memory that can only be executed gets a key from the kernel itself */
		return "memory under a protection key (pkey_mprotect)";
	if (m->deleted && (!strcmp(m->name, "/anon_hugepage") || !strncmp(m->name, "/memfd:", 7)))
		flags &= ~1u; /* state/hugetlb.h */
	return flags ? refused_flags[__builtin_ctz(flags)].what : NULL;
}

/* Spore's own watch on a process is no obstacle. */
static uint32_t without_own(const struct process *p, const struct proc_map *m, uint32_t flags)
{
	if (flags & UNDER_WP && p->written && written_has(p->written, m->start, m->end))
		flags &= ~UNDER_WP;
	return flags;
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

/* In the stop its mappings were read with their flags; before it their names alone tell. */
int memory_look(struct capture *c)
{
	struct proc_maps read = { 0 }, *maps = c->process->maps.n ? &c->process->maps : &read;
	int r = maps == &read ? proc_maps_read(c->process->living_fd, &read) : 0;

	for (size_t i = 0; i < maps->n; i++) {
		const struct proc_map *m = &maps->list[i];
		const char *what = refused_mapping(m, without_own(c->process, m, parse_flags(m->flags).refused));

		if (what)
			refuse_mapping(c, &maps->list[i], what);
	}
	proc_maps_free(&read);
	return r == -ESRCH || r == -ENOENT ? 0 : r;
}

static const char *const private_names[] = { "[heap]", "[stack]" };

bool memory_is_anonymous(const struct proc_map *m)
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
	if (bpf_map_maps(m)) /* all of them have one inode */
		return bpf_map_backing(c, m, &a->backing);
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
	if (memory_is_special(m)) {
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
	if (memory_is_anonymous(m)) {
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
	const char *what = refused_mapping(m, without_own(c->process, m, flags.refused));
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
	return problems_told(c->ps, r);
}

int memory_add_areas(struct capture *c, struct memory_state *s, const struct proc_maps *maps)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < maps->n; i++)
		r = add_area(c, s, &maps->list[i], parse_flags(maps->list[i].flags));
	return r;
}
