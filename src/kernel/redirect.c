/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "kernel/redirect.h"

#include <errno.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/macro.h"
#include "kernel/bpf.h"

#define LOOPBACK    1
#define TCX_INGRESS 46 /* BPF_TCX_INGRESS and so on: uapi/linux/bpf.h since 6.6 */
#define TCX_EGRESS  47
#define TCX_NEXT    (-1)
#define TCX_DROP    2
#define FIRST	    (1 << 3) /* BPF_F_BEFORE */

#define INSN(c, d, s, o, i)                                                                                            \
	{                                                                                                              \
		.code = (c), .dst_reg = (d), .src_reg = (s), .off = (o), .imm = (i)                                    \
	}
#define MOV(d, s)	  INSN(BPF_ALU64 | BPF_MOV | BPF_X, d, s, 0, 0)
#define SET(d, i)	  INSN(BPF_ALU64 | BPF_MOV | BPF_K, d, 0, 0, i)
#define ADD(d, i)	  INSN(BPF_ALU64 | BPF_ADD | BPF_K, d, 0, 0, i)
#define CALL(helper)	  INSN(BPF_JMP | BPF_CALL, 0, 0, 0, helper)
#define LOAD(w, d, s, o)  INSN(BPF_LDX | BPF_MEM | (w), d, s, o, 0)
#define STORE(w, d, o, s) INSN(BPF_STX | BPF_MEM | (w), d, s, o, 0)
#define SKIP_IF(d, i, n)  INSN(BPF_JMP | BPF_JEQ | BPF_K, d, 0, n, i) /* the next n, if equal */
#define SKIP_NOT(d, i, n) INSN(BPF_JMP32 | BPF_JNE | BPF_K, d, 0, n, i)
#define MAP(d, fd)	  INSN(BPF_LD | BPF_IMM | BPF_DW, d, BPF_PSEUDO_MAP_FD, 0, fd), INSN(0, 0, 0, 0, 0)
#define EXIT		  INSN(BPF_JMP | BPF_EXIT, 0, 0, 0, 0)
#define KEY		  (-4) /* on the stack, 0: the map has one entry */

static int load(const struct bpf_insn *program, size_t n)
{
	union bpf_attr attr = { .prog_type = BPF_PROG_TYPE_SCHED_CLS,
		.insns = (uintptr_t)program,
		.insn_cnt = (uint32_t)n,
		.license = (uintptr_t) "GPL",
		.prog_name = "spore_redirect" };

	return bpf_call(BPF_PROG_LOAD, &attr);
}

/* r6: the frame. r7: what is to be done with it. */
static int load_turn(int map, uint32_t mark)
{
	const struct bpf_insn program[] = {
		MOV(6, 1),
		LOAD(BPF_W, 2, 6, offsetof(struct __sk_buff, mark)),
		SKIP_NOT(2, (int32_t)mark, 21),
		INSN(BPF_ST | BPF_MEM | BPF_W, 10, 0, KEY, 0),
		MAP(1, map),
		MOV(2, 10),
		ADD(2, KEY),
		CALL(BPF_FUNC_map_lookup_elem),
		SKIP_IF(0, 0, 14),
		MOV(7, 0),
		LOAD(BPF_DW, 1, 7, offsetof(struct redirected, time)),
		SKIP_IF(1, 0, 1),
		STORE(BPF_DW, 6, offsetof(struct __sk_buff, tstamp), 1),
		LOAD(BPF_W, 1, 7, offsetof(struct redirected, checked)),
		SKIP_IF(1, 0, 3),
		MOV(1, 6),
		SET(2, BPF_CSUM_LEVEL_INC),
		CALL(BPF_FUNC_csum_level),
		LOAD(BPF_W, 1, 7, offsetof(struct redirected, interface)),
		SKIP_IF(1, 0, 3),
		SET(2, BPF_F_INGRESS),
		CALL(BPF_FUNC_redirect),
		EXIT,
		SET(0, TCX_NEXT),
		EXIT,
	};

	return load(program, ARRAY_SIZE(program));
}

static int load_take(uint32_t mark)
{
	const struct bpf_insn program[] = {
		LOAD(BPF_W, 2, 1, offsetof(struct __sk_buff, mark)),
		SET(0, TCX_DROP),
		SKIP_IF(2, (int32_t)mark, 1),
		SET(0, TCX_NEXT),
		EXIT,
	};

	return load(program, ARRAY_SIZE(program));
}

/* Before whatever else is there. */
static int link_to(int program, uint32_t interface, uint32_t where)
{
	union bpf_attr attr = { 0 };

	attr.link_create.prog_fd = (uint32_t)program;
	attr.link_create.target_ifindex = interface;
	attr.link_create.attach_type = where;
	attr.link_create.flags = FIRST;
	return bpf_call(BPF_LINK_CREATE, &attr);
}

bool redirect_is_possible(void)
{
	union bpf_attr attr = { .query = { .target_fd = LOOPBACK, .attach_type = TCX_INGRESS } };

	return bpf_call(BPF_PROG_QUERY, &attr) != -EINVAL;
}

int redirect_open(struct redirect *r, uint32_t mark)
{
	union bpf_attr map = {
		.map_type = BPF_MAP_TYPE_ARRAY, .key_size = 4, .value_size = sizeof(struct redirected), .max_entries = 1
	};

	if (r->at_loopback >= 0)
		return 0;
	r->map = bpf_call(BPF_MAP_CREATE, &map);
	if (r->map < 0)
		return r->map;
	r->turn = load_turn(r->map, mark);
	if (r->turn < 0)
		return r->turn;
	r->take = load_take(mark);
	if (r->take < 0)
		return r->take;
	r->at_loopback = link_to(r->turn, LOOPBACK, TCX_EGRESS);
	return MIN(r->at_loopback, 0);
}

int redirect_next(struct redirect *r, const struct redirected *next)
{
	const uint32_t key = 0, interface = next->interface ? next->interface : LOOPBACK;
	union bpf_attr attr = { .map_fd = (uint32_t)r->map, .key = (uintptr_t)&key, .value = (uintptr_t)next };

	if (interface != r->interface) {
		close_fd(&r->at_interface);
		r->interface = 0;
		r->at_interface = link_to(r->take, interface, TCX_INGRESS);
		if (r->at_interface < 0)
			return r->at_interface;
		r->interface = interface;
	}
	return MIN(bpf_call(BPF_MAP_UPDATE_ELEM, &attr), 0);
}

void redirect_close(struct redirect *r)
{
	close_fd(&r->at_interface);
	close_fd(&r->at_loopback);
	close_fd(&r->take);
	close_fd(&r->turn);
	close_fd(&r->map);
}
