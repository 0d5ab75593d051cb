/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "kernel/peek_program.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "base/macro.h"
#include "kernel/bpf.h"

int peek_map(enum bpf_map_type type, uint32_t value_size, uint32_t flags)
{
	union bpf_attr attr = {
		.map_type = type, .key_size = 4, .value_size = value_size, .max_entries = 1, .map_flags = flags
	};

	return bpf_call(BPF_MAP_CREATE, &attr);
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

static int load(const struct bpf_insn *program, size_t n)
{
	union bpf_attr attr = { .prog_type = BPF_PROG_TYPE_SYSCALL,
		.insns = (uintptr_t)program,
		.insn_cnt = (uint32_t)n,
		.license = (uintptr_t) "GPL",
		.prog_flags = BPF_F_SLEEPABLE,
		.prog_name = "spore_peek" };

	return bpf_call(BPF_PROG_LOAD, &attr);
}

/* r6: the question; r7: where it has come to; r9: how many steps. */
int peek_program(int room, int words)
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
		MAP(1, words),
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
		MAP(1, room),
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

	return load(program, ARRAY_SIZE(program));
}

/* On the stack. */
#define SIZE (-24)

/* One of many, which lies at `at`. What is at 0 stays 0, and is no error. Not one jump: the kernel follows every way through a program when it is loaded, which takes long for a loop. */
#define OF_MANY(at)                                                                                                    \
	{                                                                                                              \
		LOAD(BPF_DW, 3, 7, at), INSN(BPF_ALU64 | BPF_ADD | BPF_X, 3, 9, 0, 0),                                 \
			INSN(BPF_ST | BPF_MEM | BPF_DW, 10, 0, POINTER, 0), MOV(1, 10), ADD(1, POINTER),               \
			LOAD(BPF_DW, 2, 10, SIZE), CALL(BPF_FUNC_probe_read_kernel), LOAD(BPF_DW, 1, 7, at),           \
			MOV(2, 1), INSN(BPF_ALU64 | BPF_NEG, 2, 0, 0, 0),                                              \
			INSN(BPF_ALU64 | BPF_OR | BPF_X, 2, 1, 0, 0), INSN(BPF_ALU64 | BPF_ARSH | BPF_K, 2, 0, 0, 63), \
			INSN(BPF_ALU64 | BPF_AND | BPF_X, 0, 2, 0, 0), INSN(BPF_ALU64 | BPF_OR | BPF_X, 8, 0, 0, 0),   \
			LOAD(BPF_DW, 1, 10, POINTER), STORE(BPF_DW, 7, at, 1)                                          \
	}

static struct bpf_insn *append(struct bpf_insn *to, const struct bpf_insn *part, size_t n)
{
	memcpy(to, part, n * sizeof(*to));
	return to + n;
}

/* r6: the question; r7: the room; r8: the errors; r9: the offset. */
int peek_program_of_many(int room)
{
	const struct bpf_insn begin[] = {
		MOV(6, 1),
		INSN(BPF_ST | BPF_MEM | BPF_W, 10, 0, KEY, 0),
		MAP(1, room),
		MOV(2, 10),
		ADD(2, KEY),
		CALL(BPF_FUNC_map_lookup_elem),
		JUMP(BPF_JNE, 0, 0, 2),
		INSN(BPF_ALU64 | BPF_MOV | BPF_K, 0, 0, 0, 0),
		INSN(BPF_JMP | BPF_EXIT, 0, 0, 0, 0),
		MOV(7, 0),
		LOAD(BPF_W, 2, 6, offsetof(struct question_of_many, size)),
		JUMP(BPF_JLE, 2, 8, 2),
		INSN(BPF_ALU64 | BPF_MOV | BPF_K, 0, 0, 0, 0),
		INSN(BPF_JMP | BPF_EXIT, 0, 0, 0, 0),
		STORE(BPF_DW, 10, SIZE, 2),
		LOAD(BPF_DW, 9, 6, offsetof(struct question_of_many, offset)),
		INSN(BPF_ALU64 | BPF_MOV | BPF_K, 8, 0, 0, 0),
	};
	const struct bpf_insn end[] = {
		STORE(BPF_W, 6, offsetof(struct question_of_many, error), 8),
		INSN(BPF_ALU64 | BPF_MOV | BPF_K, 0, 0, 0, 0),
		INSN(BPF_JMP | BPF_EXIT, 0, 0, 0, 0),
	};
	const struct bpf_insn one[] = OF_MANY(0);
	struct bpf_insn program[ARRAY_SIZE(begin) + MANY * ARRAY_SIZE(one) + ARRAY_SIZE(end)];
	struct bpf_insn *to = append(program, begin, ARRAY_SIZE(begin));

	for (int16_t i = 0; i < MANY; i++) {
		const struct bpf_insn next[] = OF_MANY(i * (int16_t)sizeof(uint64_t));

		to = append(to, next, ARRAY_SIZE(next));
	}
	to = append(to, end, ARRAY_SIZE(end));
	return load(program, (size_t)(to - program));
}

int peek_run(int program_fd, void *question, size_t size)
{
	union bpf_attr attr = { 0 };
	int r;

	attr.test.prog_fd = (uint32_t)program_fd;
	attr.test.ctx_in = (uintptr_t)question;
	attr.test.ctx_size_in = (uint32_t)size;
	r = bpf_call(BPF_PROG_TEST_RUN, &attr);
	return r < 0 ? r : 0;
}
