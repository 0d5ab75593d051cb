/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "kernel/peek.h"

#include <errno.h>
#include <linux/bpf.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/macro.h"
#include "kernel/btf.h"

#define ROOM  4096 /* bytes in one look */
#define STEPS 8	   /* pointers followed in one look */

/* What the program is asked, and answers. */
struct question {
	uint64_t
		from; /* address; 0: that of who asks. Then `steps` times that of what a pointer, which lies so far from it, leads to; */
	uint64_t pointer
		[STEPS];  /* where it lies, and the answer: where it leads. From the last, `size` bytes are copied */
	uint64_t current; /* answer: the task_struct of who asks */
	uint64_t map;	  /* answer: the struct bpf_map of the program's map of one word for each processor, */
	uint64_t word;	  /* and where that processor has it: what tells how far apart they have such words */
	uint32_t size;
	uint32_t cpu;
	uint32_t steps;
	int32_t error; /* answer: of the reading */
};

struct known_member {
	const char *type, *member; /* literals of the callers */
	struct member_place place;
};

struct kernel_peek {
	pthread_mutex_t lock;
	bool tried;
	int error;
	struct btf btf;
	int room_fd, words_fd, program_fd;
	uint8_t *room; /* where the program copies to */
	struct known_member known[512];
	size_t n_known;
};

struct kernel_peek *kernel_peek_new(void)
{
	struct kernel_peek *p = calloc(1, sizeof(*p));

	if (!p)
		return NULL;
	pthread_mutex_init(&p->lock, NULL);
	p->room_fd = p->words_fd = p->program_fd = -1;
	p->room = MAP_FAILED;
	return p;
}

void kernel_peek_free(struct kernel_peek *p)
{
	if (!p)
		return;
	btf_free(&p->btf);
	if (p->room != MAP_FAILED)
		munmap(p->room, ROOM);
	close_fd(&p->room_fd);
	close_fd(&p->words_fd);
	close_fd(&p->program_fd);
	pthread_mutex_destroy(&p->lock);
	free(p);
}

/* --- the program --- */

static int bpf(int command, union bpf_attr *attr)
{
	long r = syscall(SYS_bpf, command, attr, sizeof(*attr));

	return r < 0 ? -errno : (int)r;
}

static int make_map(enum bpf_map_type type, uint32_t value_size, uint32_t flags)
{
	union bpf_attr attr = {
		.map_type = type, .key_size = 4, .value_size = value_size, .max_entries = 1, .map_flags = flags
	};

	return bpf(BPF_MAP_CREATE, &attr);
}

#define INSN(c, d, s, o, i)                                                                                            \
	{                                                                                                              \
		.code = (c), .dst_reg = (d), .src_reg = (s), .off = (o), .imm = (i)                                    \
	}
#define MOV(d, s)	    INSN(BPF_ALU64 | BPF_MOV | BPF_X, d, s, 0, 0)
#define ADD(d, i)	    INSN(BPF_ALU64 | BPF_ADD | BPF_K, d, 0, 0, i)
#define CALL(helper)	    INSN(BPF_JMP | BPF_CALL, 0, 0, 0, helper)
#define LOAD(w, d, s, o)    INSN(BPF_LDX | BPF_MEM | (w), d, s, o, 0)
#define STORE(w, d, o, s)   INSN(BPF_STX | BPF_MEM | (w), d, s, o, 0)
#define MAP(d, fd)	    INSN(BPF_LD | BPF_IMM | BPF_DW, d, BPF_PSEUDO_MAP_FD, 0, fd), INSN(0, 0, 0, 0, 0)
#define JUMP(if_, r, i, to) INSN(BPF_JMP | (if_) | BPF_K, r, 0, to, i)
#define AT(member)	    offsetof(struct question, member)
/* On the stack. */
#define KEY	(-4) /* 0: the maps have one entry */
#define POINTER (-16)

/* Of as many instructions each: those behind the last step are left out by a jump. */
#define STEP_SIZE 11
#define STEP(n)                                                                                                        \
	JUMP(BPF_JLE, 9, n, (STEPS - (n)) * STEP_SIZE - 1), MOV(1, 10), ADD(1, POINTER),                               \
		INSN(BPF_ALU64 | BPF_MOV | BPF_K, 2, 0, 0, 8), LOAD(BPF_DW, 3, 6, AT(pointer[n])),                     \
		INSN(BPF_ALU64 | BPF_ADD | BPF_X, 3, 7, 0, 0), CALL(BPF_FUNC_probe_read_kernel),                       \
		STORE(BPF_W, 6, AT(error), 0), LOAD(BPF_DW, 7, 10, POINTER), STORE(BPF_DW, 6, AT(pointer[n]), 7),      \
		JUMP(BPF_JNE, 0, 0, (STEPS - (n)) * STEP_SIZE - STEP_SIZE + COPY_SIZE)
#define COPY_SIZE 13

/* r6: the question; r7: where it has come to; r9: how many steps. */
static int load_program(struct kernel_peek *p)
{
	const struct bpf_insn program[] = {
		MOV(6, 1),
		INSN(BPF_ST | BPF_MEM | BPF_W, 10, 0, KEY, 0),
		CALL(BPF_FUNC_get_current_task),
		STORE(BPF_DW, 6, AT(current), 0),
		LOAD(BPF_DW, 7, 6, AT(from)),
		JUMP(BPF_JNE, 7, 0, 1),
		MOV(7, 0),
		LOAD(BPF_W, 9, 6, AT(steps)),
		MAP(1, p->words_fd),
		STORE(BPF_DW, 6, AT(map), 1),
		MOV(2, 10),
		ADD(2, KEY),
		LOAD(BPF_W, 3, 6, AT(cpu)),
		CALL(BPF_FUNC_map_lookup_percpu_elem),
		STORE(BPF_DW, 6, AT(word), 0),
		STEP(0),
		STEP(1),
		STEP(2),
		STEP(3),
		STEP(4),
		STEP(5),
		STEP(6),
		STEP(7),
		MAP(1, p->room_fd),
		MOV(2, 10),
		ADD(2, KEY),
		CALL(BPF_FUNC_map_lookup_elem),
		JUMP(BPF_JEQ, 0, 0, 7),
		MOV(1, 0),
		LOAD(BPF_W, 2, 6, AT(size)),
		JUMP(BPF_JEQ, 2, 0, 4), /* a pointer may lead nowhere, as that of a pidfd */
		JUMP(BPF_JGT, 2, ROOM, 3),
		MOV(3, 7),
		CALL(BPF_FUNC_probe_read_kernel),
		STORE(BPF_W, 6, AT(error), 0),
		INSN(BPF_ALU64 | BPF_MOV | BPF_K, 0, 0, 0, 0),
		INSN(BPF_JMP | BPF_EXIT, 0, 0, 0, 0),
	};
	union bpf_attr attr = { .prog_type = BPF_PROG_TYPE_SYSCALL,
		.insns = (uintptr_t)program,
		.insn_cnt = sizeof(program) / sizeof(program[0]),
		.license = (uintptr_t) "GPL",
		.prog_flags = BPF_F_SLEEPABLE,
		.prog_name = "spore_peek" };

	return bpf(BPF_PROG_LOAD, &attr);
}

static int make_ready(struct kernel_peek *p)
{
	int r = btf_read(&p->btf);

	if (r < 0)
		return r;
	p->room_fd = make_map(BPF_MAP_TYPE_ARRAY, ROOM, BPF_F_MMAPABLE);
	p->words_fd = make_map(BPF_MAP_TYPE_PERCPU_ARRAY, 8, 0);
	if (p->room_fd < 0 || p->words_fd < 0)
		return p->room_fd < 0 ? p->room_fd : p->words_fd;
	p->room = mmap(NULL, ROOM, PROT_READ | PROT_WRITE, MAP_SHARED, p->room_fd, 0);
	if (p->room == MAP_FAILED)
		return -errno;
	p->program_fd = load_program(p);
	return p->program_fd < 0 ? p->program_fd : 0;
}

static int ready(struct kernel_peek *p)
{
	if (!p->tried) {
		p->tried = true;
		p->error = make_ready(p) < 0 ? -ENODATA : 0;
	}
	return p->error;
}

static int ask(struct kernel_peek *p, struct question *q)
{
	union bpf_attr attr = { 0 };
	int r = ready(p);

	if (r < 0)
		return r;
	attr.test.prog_fd = (uint32_t)p->program_fd;
	attr.test.ctx_in = (uintptr_t)q;
	attr.test.ctx_size_in = sizeof(*q);
	q->error = -EFAULT;
	r = bpf(BPF_PROG_TEST_RUN, &attr);
	return r < 0 ? r : 0;
}

/* --- looking, the lock held --- */

static int follow(struct kernel_peek *p, struct question *q, void *bytes)
{
	int r = q->size > ROOM ? -E2BIG : ask(p, q);

	if (r == 0 && q->error < 0)
		r = -EFAULT;
	if (r == 0 && bytes && q->size)
		memcpy(bytes, p->room, q->size);
	return r;
}

static int look(struct kernel_peek *p, uint64_t address, void *bytes, size_t size)
{
	struct question q = { .from = address, .size = (uint32_t)size };

	if (!address)
		return -EFAULT;
	return size > ROOM ? -E2BIG : follow(p, &q, bytes);
}

static int place(struct kernel_peek *p, const char *type, const char *member, struct member_place *out)
{
	int r = ready(p);

	*out = (struct member_place){ 0 };
	for (size_t i = 0; r == 0 && i < p->n_known; i++)
		if (p->known[i].type == type && p->known[i].member == member) {
			*out = p->known[i].place;
			return 0;
		}
	if (r == 0)
		r = btf_find(&p->btf, type, member, out) < 0 ? -ENODATA : 0;
	if (r == 0 && p->n_known < ARRAY_SIZE(p->known))
		p->known[p->n_known++] = (struct known_member){ type, member, *out };
	return r;
}

static int look_at(struct kernel_peek *p, uint64_t address, const char *type, const char *member, uint64_t *value)
{
	struct member_place m;
	int r = place(p, type, member, &m);

	*value = 0;
	if (r == 0 && (!m.size || m.size > sizeof(*value)))
		r = -ENODATA;
	if (r == 0)
		r = look(p, address + m.offset, value, m.size);
	if (r == 0 && m.bits)
		*value = *value >> m.bit & ((1ull << m.bits) - 1);
	return r;
}

/* How far that processor's words lie behind what a structure says. */
static int cpu_offset(struct kernel_peek *p, uint32_t cpu, uint64_t *offset)
{
	struct question q = { .cpu = cpu };
	struct member_place m;
	uint64_t base = 0;
	int r = place(p, "bpf_array", "pptrs", &m);

	if (r == 0)
		r = ask(p, &q);
	if (r == 0 && !q.word)
		r = -ENOENT;
	if (r == 0)
		r = look(p, q.map + m.offset, &base, sizeof(base));
	if (r == 0)
		*offset = q.word - base;
	return r;
}

/* --- one at work --- */

int kernel_peek_ready(struct kernel_peek *p)
{
	int r;

	pthread_mutex_lock(&p->lock);
	r = ready(p);
	pthread_mutex_unlock(&p->lock);
	return r;
}

int kernel_peek_bytes(struct kernel_peek *p, uint64_t address, void *bytes, size_t size)
{
	int r;

	pthread_mutex_lock(&p->lock);
	r = look(p, address, bytes, size);
	pthread_mutex_unlock(&p->lock);
	return r;
}

int kernel_peek_member(struct kernel_peek *p, uint64_t address, const char *type, const char *member, uint64_t *value)
{
	int r;

	pthread_mutex_lock(&p->lock);
	r = look_at(p, address, type, member, value);
	pthread_mutex_unlock(&p->lock);
	return r;
}

int kernel_peek_address(struct kernel_peek *p, uint64_t address, const char *type, const char *member, uint64_t *at)
{
	struct member_place m;
	int r;

	pthread_mutex_lock(&p->lock);
	r = place(p, type, member, &m);
	pthread_mutex_unlock(&p->lock);
	*at = r == 0 ? address + m.offset : 0;
	return r;
}

int kernel_peek_place(struct kernel_peek *p, const char *type, const char *member, struct member_place *out)
{
	int r;

	pthread_mutex_lock(&p->lock);
	r = place(p, type, member, out);
	pthread_mutex_unlock(&p->lock);
	return r;
}

static int add_step(struct kernel_peek *p, const struct kernel_step *step, struct question *q)
{
	struct member_place m, by = { 0 };
	int r = q->steps == STEPS ? -E2BIG : place(p, step->type, step->member, &m);

	if (r == 0 && step->by)
		r = place(p, step->type, step->by, &by);
	if (r == 0)
		q->pointer[q->steps++] = (uint64_t)m.offset - by.offset;
	return r;
}

/* From who asks to the struct file of one of its descriptors. */
static int add_file(struct kernel_peek *p, int fd, struct question *q)
{
	static const struct kernel_step way[] = { { "task_struct", "files" }, { "files_struct", "fdt" },
		{ "fdtable", "fd" } };
	int r = 0;

	for (size_t i = 0; i < ARRAY_SIZE(way) && r == 0; i++)
		r = add_step(p, &way[i], q);
	q->pointer[q->steps++] = (uint64_t)fd * sizeof(uint64_t);
	return r;
}

static int way_of_file(
	struct kernel_peek *p, int fd, const struct kernel_step *way, size_t n, struct question *q, void *bytes)
{
	int r;

	pthread_mutex_lock(&p->lock);
	r = add_file(p, fd, q);
	for (size_t i = 0; i < n && r == 0; i++)
		r = add_step(p, &way[i], q);
	if (r == 0)
		r = follow(p, q, bytes);
	pthread_mutex_unlock(&p->lock);
	return r;
}

int kernel_peek_way(struct kernel_peek *p, int fd, const struct kernel_step *way, size_t n, uint64_t *values)
{
	struct question q = { 0 };
	int r = way_of_file(p, fd, way, n, &q, NULL);

	if (r == 0)
		memcpy(values, &q.pointer[q.steps - n], n * sizeof(*values));
	return r;
}

static const struct kernel_step to_socket[] = { { "file", "private_data" }, { "socket", "sk" } };

int kernel_peek_file(struct kernel_peek *p, int fd, uint64_t *file, uint64_t *private_data)
{
	struct question q = { 0 };
	int r = way_of_file(p, fd, to_socket, 1, &q, NULL);

	if (r == 0) {
		*private_data = q.pointer[q.steps - 1];
		*file = q.pointer[q.steps - 2];
	}
	return r;
}

int kernel_peek_socket(struct kernel_peek *p, int fd, uint64_t *sock, void *bytes, size_t size)
{
	struct question q = { .size = (uint32_t)size };
	int r = way_of_file(p, fd, to_socket, ARRAY_SIZE(to_socket), &q, bytes);

	*sock = r == 0 ? q.pointer[q.steps - 1] : 0;
	return r;
}

int kernel_peek_percpu(struct kernel_peek *p, uint64_t percpu, const char *type, const char *member, int64_t *sum)
{
	const long n = sysconf(_SC_NPROCESSORS_CONF);
	struct member_place m = { .size = sizeof(int32_t) };
	uint64_t offset = 0;
	int32_t value = 0;
	int r;

	*sum = 0;
	pthread_mutex_lock(&p->lock);
	r = type ? place(p, type, member, &m) : 0;
	if (r == 0 && m.size != sizeof(value))
		r = -ENODATA;
	for (uint32_t cpu = 0; r == 0 && cpu < n; cpu++) {
		r = cpu_offset(p, cpu, &offset);
		if (r == 0)
			r = look(p, percpu + m.offset + offset, &value, sizeof(value));
		if (r == 0)
			*sum += value;
	}
	pthread_mutex_unlock(&p->lock);
	return r;
}
