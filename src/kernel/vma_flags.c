/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "kernel/vma_flags.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/mman.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/macro.h"
#include "kernel/bpf.h"
#include "kernel/write_watch.h"

#define BITS	 64
#define LEARNED	 256 /* mappings of our own that are looked at */
#define TEXT	 (3 * BITS + 1)
#define GATE	 "[vsyscall]" /* of no address space, but in maps */
#define PER_READ 1024

/* What the iterator tells of each mapping. */
struct told {
	uint64_t start, end, flags;
};

struct text {
	uint64_t flags;
	char text[TEXT];
};

struct vma_flags {
	struct kernel_peek *kernel;
	pthread_mutex_t lock;
	bool tried;
	int error;
	int program_fd;
	char name[BITS][3];
	uint64_t known;
	uint64_t together[BITS]; /* those that could not be told apart: known if all are set, or none */
	struct text **texts;
	size_t n_texts;
};

struct vma_flags *vma_flags_new(struct kernel_peek *kernel)
{
	struct vma_flags *v = calloc(1, sizeof(*v));

	if (!v)
		return NULL;
	v->kernel = kernel;
	v->program_fd = -1;
	pthread_mutex_init(&v->lock, NULL);
	return v;
}

void vma_flags_free(struct vma_flags *v)
{
	if (!v)
		return;
	close_fd(&v->program_fd);
	for (size_t i = 0; i < v->n_texts; i++)
		free(v->texts[i]);
	free(v->texts);
	pthread_mutex_destroy(&v->lock);
	free(v);
}

/* --- the iterator --- */

#define INSN(c, d, s, o, i)                                                                                            \
	{                                                                                                              \
		.code = (c), .dst_reg = (d), .src_reg = (s), .off = (int16_t)(o), .imm = (i)                           \
	}
#define LOAD(d, s, o)  INSN(BPF_LDX | BPF_MEM | BPF_DW, d, s, o, 0)
#define STORE(d, o, s) INSN(BPF_STX | BPF_MEM | BPF_DW, d, s, o, 0)
#define KEEP(field)    ((int)offsetof(struct told, field) - (int)sizeof(struct told)) /* on the stack */

static int place(struct kernel_peek *k, const char *type, const char *member, int *offset)
{
	struct member_place m;
	int r = kernel_peek_place(k, type, member, &m);

	*offset = (int)m.offset;
	return r == 0 && m.size != 8 ? -ENODATA : r;
}

static int load_program(struct vma_flags *v)
{
	int meta, vma, seq, start, end, flags;
	uint32_t function = 0;
	int r = kernel_peek_function(v->kernel, "bpf_iter_task_vma", &function);

	if (r < 0 || (r = place(v->kernel, "bpf_iter__task_vma", "meta", &meta)) < 0 ||
		(r = place(v->kernel, "bpf_iter__task_vma", "vma", &vma)) < 0 ||
		(r = place(v->kernel, "bpf_iter_meta", "seq", &seq)) < 0 ||
		(r = place(v->kernel, "vm_area_struct", "vm_start", &start)) < 0 ||
		(r = place(v->kernel, "vm_area_struct", "vm_end", &end)) < 0 ||
		(r = place(v->kernel, "vm_area_struct", "vm_flags", &flags)) < 0)
		return r;

	const struct bpf_insn program[] = {
		LOAD(6, 1, meta),
		LOAD(7, 1, vma),
		INSN(BPF_JMP | BPF_JEQ | BPF_K, 7, 0, 11, 0),
		LOAD(1, 7, start),
		STORE(10, KEEP(start), 1),
		LOAD(1, 7, end),
		STORE(10, KEEP(end), 1),
		LOAD(1, 7, flags),
		STORE(10, KEEP(flags), 1),
		LOAD(1, 6, seq),
		INSN(BPF_ALU64 | BPF_MOV | BPF_X, 2, 10, 0, 0),
		INSN(BPF_ALU64 | BPF_ADD | BPF_K, 2, 0, 0, -(int)sizeof(struct told)),
		INSN(BPF_ALU64 | BPF_MOV | BPF_K, 3, 0, 0, sizeof(struct told)),
		INSN(BPF_JMP | BPF_CALL, 0, 0, 0, BPF_FUNC_seq_write),
		INSN(BPF_ALU64 | BPF_MOV | BPF_K, 0, 0, 0, 0),
		INSN(BPF_JMP | BPF_EXIT, 0, 0, 0, 0),
	};
	union bpf_attr attr = { .prog_type = BPF_PROG_TYPE_TRACING,
		.insns = (uintptr_t)program,
		.insn_cnt = ARRAY_SIZE(program),
		.license = (uintptr_t) "GPL",
		.expected_attach_type = BPF_TRACE_ITER,
		.attach_btf_id = function,
		.prog_name = "spore_vma" };

	return bpf_call(BPF_PROG_LOAD, &attr);
}

static int open_iterator(const struct vma_flags *v, pid_t tid)
{
	union bpf_iter_link_info info = { .task.tid = (uint32_t)tid };
	union bpf_attr attr = { .link_create = {
					.prog_fd = (uint32_t)v->program_fd,
					.attach_type = BPF_TRACE_ITER,
					.iter_info = (uintptr_t)&info,
					.iter_info_len = sizeof(info),
				} };
	_cleanup_fd_ int link = bpf_call(BPF_LINK_CREATE, &attr);

	if (link < 0)
		return link;
	attr = (union bpf_attr){ .iter_create.link_fd = (uint32_t)link };
	return bpf_call(BPF_ITER_CREATE, &attr);
}

/* Read again after its end, an iterator that took more than one read begins anew in the middle. */
static bool goes_on(const struct told *list, size_t n, size_t more)
{
	return !n || !more || list[n].start > list[n - 1].start;
}

/* *told: allocated. What it might lack is missed by who compares it with maps. */
static int iterate(const struct vma_flags *v, pid_t tid, struct told **told, size_t *n)
{
	_cleanup_fd_ int fd = open_iterator(v, tid);
	struct told *list = NULL;
	size_t used = 0, room = 0;
	ssize_t got = fd < 0 ? fd : 1;

	while (got > 0) {
		struct told *grown = list;

		if (room - used < PER_READ * sizeof(*list)) {
			room += 2 * PER_READ * sizeof(*list);
			grown = realloc(list, room);
		}
		if (!grown) {
			got = -ENOMEM;
			break;
		}
		list = grown;
		got = read(fd, (uint8_t *)list + used, room - used);
		if (got < 0)
			got = -errno;
		if (got == -EAGAIN || got == -EINTR)
			got = 1;
		else if (got > 0 && !goes_on(list, used / sizeof(*list), (size_t)got / sizeof(*list)))
			got = 0;
		else if (got > 0)
			used += (size_t)got;
	}
	if (got < 0 || used % sizeof(*list)) {
		free(list);
		return got < 0 ? (int)got : -EIO;
	}
	*told = list;
	*n = used / sizeof(*list);
	return 0;
}

/* --- learning what the bits are called --- */

#define PAGES(n) ((n)*PAGE_SIZE)

/* Of flags that a keeper's own mappings may not have. Where one cannot be made, what has its flag is read from smaps. */
struct sample {
	int map_flags, advice; /* of mmap, of madvise */
	int prot;
	unsigned int lock; /* 1: mlock, 2: mlock2(MLOCK_ONFAULT) */
	bool watched;	   /* kernel/write_watch.h */
};

static const struct sample samples[] = {
	{ MAP_PRIVATE | MAP_ANONYMOUS, MADV_DONTFORK, PROT_READ | PROT_WRITE, 0 },
	{ MAP_PRIVATE | MAP_ANONYMOUS, MADV_DONTDUMP, PROT_READ | PROT_WRITE, 0 },
	{ MAP_PRIVATE | MAP_ANONYMOUS, MADV_WIPEONFORK, PROT_READ | PROT_WRITE, 0 },
	{ MAP_PRIVATE | MAP_ANONYMOUS, MADV_HUGEPAGE, PROT_READ | PROT_WRITE, 0 },
	{ MAP_PRIVATE | MAP_ANONYMOUS, MADV_NOHUGEPAGE, PROT_READ | PROT_WRITE, 0 },
	{ MAP_PRIVATE | MAP_ANONYMOUS, MADV_SEQUENTIAL, PROT_READ | PROT_WRITE, 0 },
	{ MAP_PRIVATE | MAP_ANONYMOUS, MADV_RANDOM, PROT_READ | PROT_WRITE, 0 },
	{ MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, 0, PROT_READ | PROT_WRITE, 0 },
	{ MAP_PRIVATE | MAP_ANONYMOUS | MAP_GROWSDOWN, 0, PROT_READ | PROT_WRITE, 0 },
	{ MAP_PRIVATE | MAP_ANONYMOUS, 0, PROT_READ | PROT_WRITE, 1 },
	{ MAP_PRIVATE | MAP_ANONYMOUS, 0, PROT_READ | PROT_WRITE, 2 },
	{ MAP_PRIVATE | MAP_ANONYMOUS, 0, PROT_NONE, 0 },
	{ MAP_PRIVATE | MAP_ANONYMOUS, 0, PROT_READ, 0 },
	{ MAP_PRIVATE | MAP_ANONYMOUS, 0, PROT_WRITE, 0 },
	{ MAP_PRIVATE | MAP_ANONYMOUS, 0, PROT_EXEC, 0 },
	{ MAP_SHARED | MAP_ANONYMOUS, 0, PROT_READ | PROT_WRITE, 0 },
	{ MAP_SHARED | MAP_ANONYMOUS, 0, PROT_NONE, 0 },
	{ MAP_SHARED, 0, PROT_READ, 0 }, /* of a file that is open to be read */
	{ MAP_PRIVATE | MAP_ANONYMOUS, 0, PROT_READ | PROT_WRITE, 0, true },
};

static void *make_sample(const struct sample *s, int watch)
{
	_cleanup_fd_ int file = s->map_flags & MAP_ANONYMOUS ? -1 : open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	void *p = mmap(NULL, PAGES(1), s->prot, s->map_flags, file, 0);

	if (p == MAP_FAILED)
		return NULL;
	if (s->advice)
		madvise(p, PAGES(1), s->advice);
	if (s->lock)
		syscall(SYS_mlock2, p, PAGES(1), s->lock == 2 ? MLOCK_ONFAULT : 0);
	if (s->watched && watch >= 0)
		write_watch_add(watch, (uintptr_t)p, (uintptr_t)p + PAGES(1));
	return p;
}

/* In which of the mappings looked at a flag is set. */
struct where {
	uint64_t in[LEARNED / 64];
};

static void note(struct where *w, size_t i)
{
	w->in[i / 64] |= 1ull << (i % 64);
}

static bool is_alike(const struct where *a, const struct where *b)
{
	return !memcmp(a, b, sizeof(*a));
}

struct lesson {
	struct where bit[BITS];
	struct where name_in[BITS];
	char name[BITS][3];
	size_t n_names, n;
};

static bool name_index(struct lesson *l, const char *two, size_t *index)
{
	for (*index = 0; *index < l->n_names; (*index)++)
		if (!strncmp(l->name[*index], two, 2))
			return true;
	if (l->n_names == BITS)
		return false;
	memcpy(l->name[l->n_names++], two, 2);
	return true;
}

static void study(struct lesson *l, const struct proc_map *m, uint64_t flags)
{
	size_t index;

	if (l->n == LEARNED)
		return;
	for (unsigned int b = 0; b < BITS; b++)
		if (flags >> b & 1)
			note(&l->bit[b], l->n);
	for (const char *f = m->flags; f[0] > ' ' && f[1] > ' '; f += f[2] == ' ' ? 3 : 2)
		if (name_index(l, f, &index))
			note(&l->name_in[index], l->n);
	l->n++;
}

/* Bits that are set in the same mappings as that one, and the names that are there: they are each other's if they are as many. */
static void conclude(struct vma_flags *v, const struct lesson *l, unsigned int bit)
{
	static const struct where nowhere;
	uint64_t bits = 0;
	size_t names[BITS], n = 0, k = 0;

	if (is_alike(&l->bit[bit], &nowhere) || v->known >> bit & 1)
		return;
	for (unsigned int b = 0; b < BITS; b++)
		if (is_alike(&l->bit[b], &l->bit[bit]))
			bits |= 1ull << b;
	for (size_t i = 0; i < l->n_names; i++)
		if (is_alike(&l->name_in[i], &l->bit[bit]))
			names[n++] = i;
	if ((size_t)__builtin_popcountll(bits) != n)
		return;
	for (unsigned int b = 0; b < BITS; b++)
		if (bits >> b & 1) {
			memcpy(v->name[b], l->name[names[k++]], 2);
			v->together[b] = bits;
		}
	v->known |= bits;
}

static const struct told *find(const struct told *told, size_t n, const struct proc_map *m)
{
	size_t low = 0;

	while (n) {
		size_t half = n / 2;

		if (told[low + half].start < m->start) {
			low += half + 1;
			n -= half + 1;
		} else {
			n = half;
		}
	}
	return &told[low];
}

static bool has(const struct told *told, size_t n, const struct proc_map *m, uint64_t *flags)
{
	const struct told *t = find(told, n, m);

	if (t == told + n || t->start != m->start || t->end != m->end)
		return false;
	*flags = t->flags;
	return true;
}

#define KEPT                                                                                                           \
	"vma_flag.2" /* the number changes with the samples: another version of spore may have kept what it learned of others */

static void keep_lesson(const struct vma_flags *v)
{
	for (uint32_t b = 0; b < BITS; b++)
		if (v->known >> b & 1) {
			struct member_place place = {
				.offset = b, .size = (uint32_t)v->together[b], .bits = (uint32_t)(v->together[b] >> 32)
			};

			kernel_peek_note(v->kernel, KEPT, v->name[b], &place);
		}
}

/* What an earlier keeper learned of this kernel. */
static bool remember(struct vma_flags *v)
{
	const char *name;
	struct member_place place;

	for (size_t at = 0; (name = kernel_peek_noted(v->kernel, KEPT, &at, &place));) {
		if (place.offset >= BITS || strlen(name) != 2)
			return false;
		memcpy(v->name[place.offset], name, 2);
		v->together[place.offset] = (uint64_t)place.bits << 32 | place.size;
		v->known |= 1ull << place.offset;
	}
	return v->known;
}

static int learn(struct vma_flags *v)
{
	_cleanup_free_ struct lesson *l = calloc(1, sizeof(*l));
	_cleanup_fd_ int dir = procfs_open_pid(getpid());
	_cleanup_free_ struct told *told = NULL;
	_cleanup_fd_ int watch = write_watch_open();
	struct proc_maps maps = { 0 };
	void *made[ARRAY_SIZE(samples)];
	size_t n = 0, n_made = 0;
	uint64_t flags;
	int r;

	if (!l || dir < 0)
		return -ENODATA;
	for (size_t i = 0; i < ARRAY_SIZE(samples); i++) {
		made[i] = make_sample(&samples[i], watch);
		n_made += made[i] != NULL;
	}
	r = iterate(v, gettid(), &told, &n);
	if (r == 0)
		r = proc_smaps_read(dir, &maps);
	for (size_t i = 0; r == 0 && i < maps.n; i++)
		if (has(told, n, &maps.list[i], &flags))
			study(l, &maps.list[i], flags);
	for (unsigned int b = 0; r == 0 && b < BITS; b++)
		conclude(v, l, b);
	for (size_t i = 0; i < ARRAY_SIZE(samples); i++)
		if (made[i])
			munmap(made[i], PAGES(1));
	proc_maps_free(&maps);
	if (r == 0 && n_made == ARRAY_SIZE(samples))
		keep_lesson(v);
	return r;
}

static int ready(struct vma_flags *v)
{
	if (v->tried)
		return v->error;
	v->tried = true;
	v->program_fd = load_program(v);
	v->error = v->program_fd < 0 || (!remember(v) && learn(v) < 0) ? -ENODATA : 0;
	return v->error;
}

int vma_flags_ready(struct vma_flags *v)
{
	int r;

	pthread_mutex_lock(&v->lock);
	r = ready(v);
	pthread_mutex_unlock(&v->lock);
	return r;
}

/* --- reading --- */

static bool is_known(const struct vma_flags *v, uint64_t flags)
{
	if (flags & ~v->known)
		return false;
	for (unsigned int b = 0; b < BITS; b++)
		if (flags >> b & 1 && (flags & v->together[b]) != v->together[b])
			return false;
	return true;
}

static const char *make_text(struct vma_flags *v, uint64_t flags)
{
	struct text **grown = reallocarray(v->texts, v->n_texts + 1, sizeof(struct text *));
	struct text *t = calloc(1, sizeof(*t));
	char *at = t ? t->text : NULL;

	if (grown)
		v->texts = grown;
	if (!grown || !t) {
		free(t);
		return NULL;
	}
	t->flags = flags;
	for (unsigned int b = 0; b < BITS; b++)
		if (flags >> b & 1)
			at = stpcpy(stpcpy(at, v->name[b]), " ");
	return (v->texts[v->n_texts++] = t)->text;
}

/* NULL: not known by name, or no memory. Few are different, among many thousands of mappings. */
static const char *text_of(struct vma_flags *v, uint64_t flags)
{
	for (size_t i = 0; i < v->n_texts; i++)
		if (v->texts[i]->flags == flags)
			return v->texts[i]->text;
	return is_known(v, flags) ? make_text(v, flags) : NULL;
}

static int give_flags(struct vma_flags *v, const struct told *told, size_t n, struct proc_maps *maps)
{
	uint64_t flags;
	int r = 0;

	pthread_mutex_lock(&v->lock);
	for (size_t i = 0; r == 0 && i < maps->n; i++) {
		struct proc_map *m = &maps->list[i];

		if (!strcmp(m->name, GATE))
			m->flags = "ex ";
		else if (!has(told, n, m, &flags) || !(m->flags = text_of(v, flags)))
			r = -ENODATA;
	}
	pthread_mutex_unlock(&v->lock);
	return r;
}

int vma_flags_read(struct vma_flags *v, int dir_fd, pid_t tid, struct proc_maps *out)
{
	_cleanup_free_ struct told *told = NULL;
	size_t n = 0;
	int r = v ? vma_flags_ready(v) : -ENODATA;

	if (r == 0)
		r = proc_maps_read(dir_fd, out);
	if (r < 0)
		return r;
	r = iterate(v, tid, &told, &n) < 0 ? -ENODATA : give_flags(v, told, n, out);
	if (r < 0)
		proc_maps_free(out);
	return r;
}
