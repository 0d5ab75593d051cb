/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* BPF maps: who has them, by which descriptors and mappings, and what they refer to. bpf(2), mmap(2) */

#include "bpf.h"
#include "unix.h"

static int map = -1, again = -1, third = -1;
static uint64_t *seen;

#define ENTRIES 1024 /* two pages */

static uint64_t value_at(int of, uint32_t index)
{
	uint64_t value = UINT64_MAX;

	return map_get(of, &index, &value) < 0 ? UINT64_MAX : value;
}

static int set_at(int of, uint32_t index, uint64_t value)
{
	return map_set(of, &index, &value, BPF_ANY);
}

static int array(unsigned int flags)
{
	map = map_new(BPF_MAP_TYPE_ARRAY, 4, 8, ENTRIES, flags, "held");
	NEED(map >= 0);
	for (uint32_t i = 0; i < 10; i++)
		CHECK(!set_at(map, i * 100, 1000 + i));
	return 0;
}

/* --- descriptors --- */

/* One description by two numbers, and in a child, which changes it. */
static int child_use(struct maker_ctx *ctx)
{
	SAME(value_at(map, 300), 1003);
	CHECK(!set_at(again, 300, 77));
	return 0;
}

static int shared_make(struct maker_ctx *ctx)
{
	TRY(array(0));
	again = dup(map);
	return kid_start(ctx, NULL, child_use, NULL);
}

static int shared_use(struct maker_ctx *ctx)
{
	SAME(syscall(SYS_kcmp, getpid(), getpid(), 0, map, again), 0);
	SAME(syscall(SYS_kcmp, getpid(), ctx->kids[0], 0, map, again), 0);
	TRY(kids_finish(ctx));
	SAME(value_at(map, 300), 77);
	return 0;
}

/* In the queue of a socket alone. */
static int ends[2];

static int flight_make(struct maker_ctx *ctx)
{
	TRY(array(BPF_F_MMAPABLE));
	CHECK(!socketpair(AF_UNIX, SOCK_STREAM, 0, ends));
	TRY(send_with(ends[0], "map", &map, 1, NULL));
	close(map);
	return 0;
}

static int flight_use(struct maker_ctx *ctx)
{
	TRY(receive(ends[1], "map", 0, &map, 1, NULL));
	SAME(value_at(map, 900), 1009);
	return set_at(map, 900, 1);
}

/* Its only descriptor may read, or write. arg: BPF_F_* */
static int limited_make(struct maker_ctx *ctx)
{
	int all;

	TRY(array(0));
	all = map;
	map = map_of(all, (unsigned int)ctx->arg);
	NEED(map >= 0);
	close(all);
	return 0;
}

static int limited_use(struct maker_ctx *ctx)
{
	int all = map_of(map, 0);

	CHECK(all >= 0);
	SAME(value_at(all, 400), 1004);
	if (ctx->arg == BPF_F_RDONLY) {
		SAME(fcntl(map, F_GETFL) & O_ACCMODE, O_RDONLY);
		SAME(value_at(map, 400), 1004);
		CHECK(set_at(map, 400, 1) < 0 && errno == EPERM);
	} else {
		SAME(fcntl(map, F_GETFL) & O_ACCMODE, O_WRONLY);
		SAME(value_at(map, 400), UINT64_MAX);
		CHECK(!set_at(map, 400, 1));
		SAME(value_at(all, 400), 1);
	}
	return 0;
}

/* Three descriptions of one map. */
static int several_make(struct maker_ctx *ctx)
{
	TRY(array(0));
	again = map_of(map, BPF_F_RDONLY);
	third = map_of(map, 0);
	NEED(again >= 0 && third >= 0);
	return 0;
}

static int several_use(struct maker_ctx *ctx)
{
	CHECK(syscall(SYS_kcmp, getpid(), getpid(), 0, map, third) != 0);
	CHECK(!set_at(third, 5, 55));
	SAME(value_at(map, 5), 55);
	SAME(value_at(again, 5), 55);
	CHECK(set_at(again, 5, 56) < 0);
	return 0;
}

/* --- mappings --- */

static uint64_t *map_at(int prot, size_t pages, off_t from)
{
	return mmap(NULL, pages * PAGE, prot, MAP_SHARED, map, from * PAGE);
}

static int mapped_make(struct maker_ctx *ctx)
{
	TRY(array(BPF_F_MMAPABLE));
	seen = map_at((int)ctx->arg, 2, 0);
	CHECK(seen != MAP_FAILED);
	if (ctx->arg & PROT_WRITE)
		seen[600] = 606;
	return 0;
}

static int mapped_use(struct maker_ctx *ctx)
{
	SAME(seen[300], 1003);
	CHECK(!set_at(map, 300, 12));
	SAME(seen[300], 12);
	SAME(mprotect(seen, PAGE, PROT_READ | PROT_WRITE), ctx->arg & PROT_WRITE ? 0 : -1);
	if (!(ctx->arg & PROT_WRITE))
		return 0;
	SAME(value_at(map, 600), 606);
	seen[300] = 13;
	SAME(value_at(map, 300), 13);
	CHECK(map_freeze(map) < 0 && errno == EBUSY);
	return 0;
}

/* It was writable, and may become that again. */
static int protected_make(struct maker_ctx *ctx)
{
	TRY(array(BPF_F_MMAPABLE));
	seen = map_at(PROT_READ | PROT_WRITE, 2, 0);
	CHECK(seen != MAP_FAILED);
	return mprotect(seen, 2 * PAGE, PROT_READ);
}

static int protected_use(struct maker_ctx *ctx)
{
	CHECK(!mprotect(seen, 2 * PAGE, PROT_READ | PROT_WRITE));
	seen[300] = 14;
	SAME(value_at(map, 300), 14);
	return 0;
}

/* The second page alone, and of the rest of it, behind the last value, what nobody but mappings sees. */
static int part_make(struct maker_ctx *ctx)
{
	map = map_new(BPF_MAP_TYPE_ARRAY, 4, 4, ENTRIES - 100, BPF_F_MMAPABLE, NULL);
	NEED(map >= 0);
	seen = map_at(PROT_READ | PROT_WRITE, 1, 1);
	CHECK(seen != MAP_FAILED);
	seen[0] = 0x100000001; /* the value has half of it */
	seen[500] = 500;
	return 0;
}

static int part_use(struct maker_ctx *ctx)
{
	uint32_t key = 512, value = 0;

	CHECK(!map_get(map, &key, &value));
	SAME(value, 1);
	SAME(seen[0], 0x100000001);
	SAME(seen[500], 500);
	return 0;
}

/* Its descriptor was closed. */
static int unopened_make(struct maker_ctx *ctx)
{
	TRY(mapped_make(ctx));
	return close(map);
}

static int unopened_use(struct maker_ctx *ctx)
{
	SAME(seen[300], 1003);
	SAME(seen[600], 606);
	seen[300] = 15;
	SAME(seen[300], 15);
	return 0;
}

/* Two processes map it, one of them by a description of its own, which it has closed. */
static int mapper_make(struct maker_ctx *ctx)
{
	int own = map_of(map, 0);

	CHECK(own >= 0);
	CHECK(!munmap(seen, 2 * PAGE));
	close(map);
	seen = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, own, 0);
	CHECK(seen != MAP_FAILED);
	return close(own);
}

static int mapper_use(struct maker_ctx *ctx)
{
	SAME(seen[10], 4711);
	seen[11] = 4712;
	return 0;
}

static int mappers_make(struct maker_ctx *ctx)
{
	TRY(mapped_make(ctx));
	return kid_start(ctx, mapper_make, mapper_use, NULL);
}

static int mappers_use(struct maker_ctx *ctx)
{
	seen[10] = 4711;
	TRY(kids_finish(ctx));
	SAME(seen[11], 4712);
	SAME(value_at(map, 11), 4712);
	return 0;
}

/* By fork, and partly given up there. */
static int inherits(struct maker_ctx *ctx)
{
	return munmap(seen, PAGE);
}

static int inherited_use(struct maker_ctx *ctx)
{
	SAME(seen[600], 606);
	seen[601] = 607;
	return 0;
}

static int forked_make(struct maker_ctx *ctx)
{
	TRY(mapped_make(ctx));
	return kid_start(ctx, inherits, inherited_use, NULL);
}

static int forked_use(struct maker_ctx *ctx)
{
	TRY(kids_finish(ctx));
	SAME(seen[601], 607);
	return 0;
}

/* Two maps, mapped side by side: all maps have one inode. */
static uint64_t *other;

static int two_make(struct maker_ctx *ctx)
{
	TRY(mapped_make(ctx));
	again = map;
	other = seen;
	TRY(mapped_make(ctx));
	seen[5] = 55;
	other[5] = 66;
	return 0;
}

static int two_use(struct maker_ctx *ctx)
{
	SAME(value_at(map, 5), 55);
	SAME(value_at(again, 5), 66);
	seen[6] = 1;
	SAME(other[6], 0);
	return 0;
}

/* Frozen, and mapped for reading. */
static int frozen_make(struct maker_ctx *ctx)
{
	TRY(mapped_make(ctx));
	return map_freeze(map);
}

static int frozen_use(struct maker_ctx *ctx)
{
	SAME(seen[300], 1003);
	CHECK(set_at(map, 300, 1) < 0 && errno == EPERM);
	CHECK(map_at(PROT_READ | PROT_WRITE, 1, 0) == MAP_FAILED);
	return 0;
}

/* --- types --- */

/* arg: does the program keep the descriptor of the types? */
static int btf = -1;

static int typed_make(struct maker_ctx *ctx)
{
	btf = btf_new(false);
	NEED(btf >= 0);
	map = map_with_types(btf, BPF_MAP_TYPE_ARRAY);
	again = map_with_types(btf, BPF_MAP_TYPE_HASH);
	CHECK(map >= 0 && again >= 0);
	CHECK(!set_at(map, 3, 33));
	CHECK(!set_at(again, 3, 44));
	if (!ctx->arg)
		close(btf);
	return 0;
}

static int typed_use(struct maker_ctx *ctx)
{
	struct bpf_map_info one, two;

	CHECK(!map_info(map, &one) && !map_info(again, &two));
	CHECK(one.btf_id);
	SAME(one.btf_id, two.btf_id);
	SAME(one.btf_key_type_id, 1);
	SAME(one.btf_value_type_id, 3);
	SAME(value_at(map, 3), 33);
	SAME(value_at(again, 3), 44);
	if (ctx->arg) {
		third = map_with_types(btf, BPF_MAP_TYPE_ARRAY);
		CHECK(third >= 0);
		CHECK(!map_info(third, &two));
		SAME(one.btf_id, two.btf_id);
	}
	return 0;
}

/* Types alone, by two descriptions. */
static int types_make(struct maker_ctx *ctx)
{
	union bpf_attr attr = { 0 };
	char path[40], text[512], *id;
	FILE *f;

	btf = btf_new(false);
	NEED(btf >= 0);
	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", btf);
	f = fopen(path, "re");
	CHECK(f);
	text[fread(text, 1, sizeof(text) - 1, f)] = '\0';
	fclose(f);
	id = strstr(text, "btf_id:");
	CHECK(id);
	attr.btf_id = (uint32_t)strtoul(id + 7, NULL, 10);
	again = bpf(BPF_BTF_GET_FD_BY_ID, &attr);
	NEED(again >= 0);
	return 0;
}

static int types_use(struct maker_ctx *ctx)
{
	map = map_with_types(again, BPF_MAP_TYPE_ARRAY);
	CHECK(map >= 0);
	CHECK(map_with_types(btf, BPF_MAP_TYPE_HASH) >= 0);
	return 0;
}

/* --- refused --- */

static int locked_make(struct maker_ctx *ctx)
{
	btf = btf_new(true);
	NEED(btf >= 0);
	map = map_with_types(btf, BPF_MAP_TYPE_ARRAY);
	NEED(map >= 0);
	return close(btf);
}

static int still_use(struct maker_ctx *ctx)
{
	CHECK(fcntl(map, F_GETFD) >= 0);
	return 0;
}

/* A program of a socket looks into it. */
static int program_make(struct maker_ctx *ctx)
{
	struct bpf_insn code[] = {
		{ .code = BPF_LD | BPF_IMM | BPF_DW, .dst_reg = 1, .src_reg = BPF_PSEUDO_MAP_FD },
		{ 0 },
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 0, .imm = 100 },
		{ .code = BPF_JMP | BPF_EXIT },
	};
	union bpf_attr attr = { .prog_type = BPF_PROG_TYPE_SOCKET_FILTER,
		.insns = (uintptr_t)code,
		.insn_cnt = 4,
		.license = (uintptr_t) "GPL" };
	int program;

	TRY(array(0));
	code[0].imm = map;
	program = bpf(BPF_PROG_LOAD, &attr);
	NEED(program >= 0);
	if (ctx->arg)
		return 0;
	CHECK(!socketpair(AF_UNIX, SOCK_DGRAM, 0, ends));
	CHECK(!setsockopt(ends[0], SOL_SOCKET, SO_ATTACH_BPF, &program, sizeof(program)));
	return close(program);
}

static int outer_make(struct maker_ctx *ctx)
{
	union bpf_attr attr = {
		.map_type = BPF_MAP_TYPE_ARRAY_OF_MAPS, .key_size = 4, .value_size = 4, .max_entries = 3
	};
	uint32_t key = 1;

	TRY(array(0));
	attr.inner_map_fd = (uint32_t)map;
	again = bpf(BPF_MAP_CREATE, &attr);
	NEED(again >= 0);
	CHECK(!map_set(again, &key, &map, BPF_ANY));
	return 0;
}

static int ring_make(struct maker_ctx *ctx)
{
	map = map_new(BPF_MAP_TYPE_RINGBUF, 0, 0, PAGE, 0, NULL);
	NEED(map >= 0);
	return 0;
}

static int ring_mapped_make(struct maker_ctx *ctx)
{
	TRY(ring_make(ctx));
	seen = map_at(PROT_READ | PROT_WRITE, 1, 0);
	CHECK(seen != MAP_FAILED);
	return close(map);
}

static int none_use(struct maker_ctx *ctx)
{
	return 0;
}

const struct maker makers_bpf_held[] = {
	ROW("shared", "by two numbers and a child", shared),
	ROW("flight", "in the queue of a socket", flight),
	ROW_ARG("readable", "a descriptor that may only read", limited, BPF_F_RDONLY),
	ROW_ARG("writable", "one that may only write", limited, BPF_F_WRONLY),
	ROW("several", "three open files of one map", several),
	ROW_ARG("mapped", "mapped for writing", mapped, PROT_READ | PROT_WRITE),
	ROW_ARG("mapped-read", "mapped for reading, which it stays", mapped, PROT_READ),
	ROW("mapped-protected", "mapped for writing, and protected since", protected),
	ROW("mapped-part", "the second page is, with what is behind the values", part),
	ROW_ARG("mapped-unopened", "its descriptor was closed", unopened, PROT_READ | PROT_WRITE),
	ROW_ARG("mapped-twice", "by two processes, each by its own open file", mappers, PROT_READ | PROT_WRITE),
	ROW_ARG("mapped-forked", "by a child too, which has unmapped a part", forked, PROT_READ | PROT_WRITE),
	ROW_ARG("mapped-two", "two maps", two, PROT_READ | PROT_WRITE),
	ROW_ARG("mapped-frozen", "a frozen one", frozen, PROT_READ),
	ROW_ARG("typed", "two maps with types", typed, 0),
	ROW_ARG("typed-open", "the program has the types open", typed, 1),
	ROW("types", "types alone", types),
	REFUSED("locked", "a lock in the values", locked_make, still_use, 0, "a BPF map whose values have a lock"),
	REFUSED("used", "a program of a socket uses it", program_make, still_use, 0,
		"BPF map that programs, links or other maps use, 1 times"),
	REFUSED("program", "a program that uses it", program_make, still_use, 1, "BPF object"),
	REFUSED("outer", "a map of maps", outer_make, still_use, 0, "array of maps"),
	REFUSED("ring", "a ring buffer", ring_make, still_use, 0, "ring buffer"),
	REFUSED("ring-mapped", "a mapping of one, whose descriptor was closed", ring_mapped_make, none_use, 0,
		"ring buffer"),
	{ 0 },
};
