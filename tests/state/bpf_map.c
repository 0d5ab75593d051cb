/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* BPF maps of each type, and in each state: what they hold. bpf(2) */

#include "bpf.h"

static int map = -1;

/* One with what a row of the table says. */
struct shape {
	enum bpf_map_type type;
	unsigned int key, value, entries, flags;
	unsigned int filled; /* so many entries */
};

enum shape_name {
	HASH,
	MANY,
	FULL,
	EMPTY,
	SPARE,
	SEED,
	NODE,
	NODE_SEED,
	ARRAY,
	LARGE,
	HUGE_VALUE,
	ODD,
	READ_BY_PROGRAMS,
	WRITTEN_BY_PROGRAMS,
	PERCPU_HASH,
	PERCPU_ARRAY,
	LRU,
	LRU_APART,
	LRU_SMALL,
	LRU_PERCPU
};

static const struct shape shapes[] = {
	[HASH] = { BPF_MAP_TYPE_HASH, 8, 12, 100, 0, 60 },
	[MANY] = { BPF_MAP_TYPE_HASH, 8, 100, 30000, BPF_F_NO_PREALLOC, 20000 },
	[FULL] = { BPF_MAP_TYPE_HASH, 24, 8, 500, 0, 500 },
	[EMPTY] = { BPF_MAP_TYPE_HASH, 4, 4, 7, 0, 0 },
	[SPARE] = { BPF_MAP_TYPE_HASH, 4, 5000, 40, BPF_F_NO_PREALLOC, 30 },
	[SEED] = { BPF_MAP_TYPE_HASH, 4, 16, 9000, BPF_F_ZERO_SEED, 9000 },
	[NODE] = { BPF_MAP_TYPE_ARRAY, 4, 16, 9, BPF_F_NUMA_NODE, 9 },
	[NODE_SEED] = { BPF_MAP_TYPE_HASH, 4, 16, 9, BPF_F_NUMA_NODE | BPF_F_ZERO_SEED, 9 },
	[ARRAY] = { BPF_MAP_TYPE_ARRAY, 4, 8, 1000, 0, 1000 },
	[LARGE] = { BPF_MAP_TYPE_ARRAY, 4, 64, 1 << 18, 0, 100000 },
	[HUGE_VALUE] = { BPF_MAP_TYPE_ARRAY, 4, 3 << 20, 2, 0, 2 },
	[ODD] = { BPF_MAP_TYPE_ARRAY, 4, 13, 700, BPF_F_INNER_MAP, 650 },
	[READ_BY_PROGRAMS] = { BPF_MAP_TYPE_ARRAY, 4, 12, 50, BPF_F_RDONLY_PROG | BPF_F_MMAPABLE, 50 },
	[WRITTEN_BY_PROGRAMS] = { BPF_MAP_TYPE_HASH, 4, 12, 50, BPF_F_WRONLY_PROG, 50 },
	[PERCPU_HASH] = { BPF_MAP_TYPE_PERCPU_HASH, 4, 12, 100, 0, 100 },
	[PERCPU_ARRAY] = { BPF_MAP_TYPE_PERCPU_ARRAY, 4, 20, 40, 0, 40 },
	[LRU] = { BPF_MAP_TYPE_LRU_HASH, 4, 8, 1000, 0, 1000 },
	[LRU_APART] = { BPF_MAP_TYPE_LRU_HASH, 4, 8, 200, BPF_F_NO_COMMON_LRU, 200 },
	[LRU_SMALL] = { BPF_MAP_TYPE_LRU_HASH, 4, 8, 8, 0, 3 },
	[LRU_PERCPU] = { BPF_MAP_TYPE_LRU_PERCPU_HASH, 4, 8, 100, 0, 50 },
};

static bool is_array(const struct shape *s)
{
	return s->type == BPF_MAP_TYPE_ARRAY || s->type == BPF_MAP_TYPE_PERCPU_ARRAY;
}

static bool forgets(const struct shape *s)
{
	return s->type == BPF_MAP_TYPE_LRU_HASH || s->type == BPF_MAP_TYPE_LRU_PERCPU_HASH;
}

static bool is_percpu(const struct shape *s)
{
	return s->type == BPF_MAP_TYPE_PERCPU_HASH || s->type == BPF_MAP_TYPE_PERCPU_ARRAY ||
	       s->type == BPF_MAP_TYPE_LRU_PERCPU_HASH;
}

static size_t value_room(const struct shape *s)
{
	return is_percpu(s) ? (s->value + 7) / 8 * 8 * (size_t)possible_cpus() : s->value;
}

static void key_of(const struct shape *s, unsigned int n, void *key)
{
	uint32_t scattered = is_array(s) ? n : n * 2654435761u;

	memset(key, 0, s->key);
	memcpy(key, &scattered, sizeof(scattered));
}

/* Every third of an array is left as it is. What is between the values of processors is nobody's. */
static void value_of(const struct shape *s, unsigned int n, unsigned char *value)
{
	memset(value, 0, value_room(s));
	if (is_array(s) && n % 3 == 2)
		return;
	if (!is_percpu(s))
		fill(value, s->value, n + 1);
	for (int cpu = 0; is_percpu(s) && cpu < possible_cpus(); cpu++)
		fill(value + (size_t)cpu * ((s->value + 7) / 8 * 8), s->value, n + 1000ul * (unsigned)cpu);
}

static int put_all(const struct shape *s, unsigned char *value)
{
	unsigned char key[64];

	for (unsigned int i = 0; i < s->filled; i++) {
		key_of(s, i, key);
		value_of(s, i, value);
		CHECK(!map_set(map, key, value, BPF_ANY));
	}
	return 0;
}

/* What an LRU hash has kept at that time is in its place in `kept`. */
static unsigned char kept[2000];

static int note_kept(const struct shape *s, unsigned char *value)
{
	unsigned char key[64];
	int n = 0;

	for (unsigned int i = 0; i < s->filled; i++) {
		key_of(s, i, key);
		kept[i] = !map_get(map, key, value);
		n += kept[i];
	}
	CHECK(n > 0);
	return 0;
}

/* A full one forgets some while it is filled: put again as long as that helps. */
static int put_lru(const struct shape *s, unsigned char *value)
{
	unsigned char key[64];

	for (unsigned int round = 0; round < 3; round++)
		for (unsigned int i = 0; i < s->filled; i++) {
			key_of(s, i, key);
			if (!map_get(map, key, value))
				continue;
			value_of(s, i, value);
			CHECK(!map_set(map, key, value, BPF_ANY));
		}
	return note_kept(s, value);
}

static int shape_make(struct maker_ctx *ctx)
{
	const struct shape *s = &shapes[ctx->arg];
	unsigned char *value = malloc(value_room(s));
	int r;

	CHECK(value);
	map = map_new(s->type, s->key, s->value, s->entries, s->flags, "a_name.of_15ch");
	NEED(map >= 0);
	r = forgets(s) ? put_lru(s, value) : put_all(s, value);
	free(value);
	return r;
}

static int check_entry(const struct shape *s, unsigned int n, unsigned char *value, unsigned char *expected)
{
	unsigned char key[64];
	size_t stride = (s->value + 7) / 8 * 8;

	key_of(s, n, key);
	value_of(s, n, expected);
	memset(value, 0xaa, value_room(s));
	CHECK(!map_get(map, key, value));
	for (size_t at = 0; at < value_room(s); at += is_percpu(s) ? stride : s->value)
		CHECK(!memcmp(value + at, expected + at, s->value));
	return 0;
}

static int check_info(const struct shape *s)
{
	struct bpf_map_info info;

	CHECK(!map_info(map, &info));
	SAME(info.type, s->type);
	SAME(info.key_size, s->key);
	SAME(info.value_size, s->value);
	SAME(info.map_flags, s->flags);
	CHECK(!strcmp(info.name, "a_name.of_15ch"));
	return 0;
}

static int check_all(const struct shape *s, unsigned char *value, unsigned char *expected)
{
	int n = 0;

	for (unsigned int i = 0; i < (is_array(s) ? s->entries : s->filled); i++) {
		if (forgets(s) && !kept[i])
			continue;
		n++;
		if (i < s->filled)
			TRY(check_entry(s, i, value, expected));
	}
	SAME(map_count(map, s->key), n);
	return 0;
}

/* It takes what it took, and no more. */
static int check_updates(const struct shape *s, unsigned char *value)
{
	unsigned char key[64];

	key_of(s, s->filled + 1, key);
	memset(value, 0x5a, value_room(s));
	if (is_array(s) && s->filled + 1 < s->entries)
		CHECK(!map_set(map, key, value, BPF_EXIST));
	if (is_array(s)) {
		key_of(s, s->entries, key);
		CHECK(map_set(map, key, value, BPF_ANY));
		return 0;
	}
	CHECK(map_set(map, key, value, BPF_EXIST) < 0 && errno == ENOENT);
	if (s->filled == s->entries && !forgets(s)) {
		CHECK(map_set(map, key, value, BPF_NOEXIST) < 0 && errno == E2BIG);
		key_of(s, 0, key);
		CHECK(!map_drop(map, key));
	}
	CHECK(!map_set(map, key, value, BPF_NOEXIST));
	CHECK(!map_get(map, key, value));
	SAME(value[0], 0x5a);
	CHECK(!map_drop(map, key));
	CHECK(map_get(map, key, value) < 0);
	return 0;
}

static int shape_use(struct maker_ctx *ctx)
{
	const struct shape *s = &shapes[ctx->arg];
	unsigned char *value = malloc(2 * value_room(s));
	int r;

	CHECK(value);
	r = check_info(s);
	if (!r)
		r = check_all(s, value, value + value_room(s));
	if (!r)
		r = check_updates(s, value);
	free(value);
	return r;
}

/* Bytes of keys that differ only in what lies behind their prefix are one. */
struct prefix {
	uint32_t bits;
	uint8_t address[4];
};

static int trie_make(struct maker_ctx *ctx)
{
	map = map_new(BPF_MAP_TYPE_LPM_TRIE, sizeof(struct prefix), 4, 600, BPF_F_NO_PREALLOC, "routes");
	NEED(map >= 0);
	for (uint32_t i = 0; i < 500; i++) {
		struct prefix p = { 8 + i % 25, { 10, (uint8_t)(i / 25), (uint8_t)i, 1 } };

		CHECK(!map_set(map, &p, &i, BPF_ANY));
	}
	return 0;
}

static int trie_use(struct maker_ctx *ctx)
{
	struct prefix most = { 32, { 10, 3, 77 + 22, 1 } }, none = { 32, { 11, 0, 0, 1 } };
	uint32_t value = 0, other = 9;

	CHECK(map_get(map, &none, &value) < 0);
	CHECK(!map_get(map, &most, &value));
	SAME(value, 99);
	CHECK(!map_drop(map, &most)); /* then a shorter one matches */
	CHECK(!map_get(map, &most, &value));
	CHECK(value != 99);
	CHECK(!map_set(map, &none, &other, BPF_NOEXIST));
	return 0;
}

/* Queues and stacks. arg: how many have been pushed, and then taken. */
static enum bpf_map_type line_type;
static unsigned int line_pushed, line_taken;

#define LINE_ROOM 100

static int line(enum bpf_map_type type, unsigned int pushed, unsigned int taken)
{
	char value[24] = "";

	line_type = type;
	line_pushed = pushed;
	line_taken = taken;
	map = map_new(type, 0, sizeof(value), LINE_ROOM, 0, "line");
	NEED(map >= 0);
	for (unsigned int i = 0; i < taken; i++) { /* so that it begins in the middle */
		CHECK(!map_set(map, NULL, value, BPF_ANY));
		CHECK(!map_take(map, value));
	}
	for (unsigned int i = 0; i < pushed; i++) {
		fill(value, sizeof(value), i);
		CHECK(!map_set(map, NULL, value, BPF_ANY));
	}
	return 0;
}

static int line_use(struct maker_ctx *ctx)
{
	char value[24] = "";

	if (line_pushed == LINE_ROOM)
		CHECK(map_set(map, NULL, value, BPF_ANY) < 0 && errno == E2BIG);
	for (unsigned int i = 0; i < line_pushed; i++) {
		CHECK(!map_take(map, value));
		CHECK(!check_fill(value, sizeof(value), line_type == BPF_MAP_TYPE_QUEUE ? i : line_pushed - 1 - i));
	}
	CHECK(map_take(map, value) < 0 && errno == ENOENT);
	for (unsigned int i = 0; i < LINE_ROOM; i++)
		CHECK(!map_set(map, NULL, value, BPF_ANY));
	CHECK(map_set(map, NULL, value, BPF_ANY) < 0);
	return 0;
}

static int queue_make(struct maker_ctx *ctx)
{
	return line(BPF_MAP_TYPE_QUEUE, (unsigned)ctx->arg, 70);
}

static int stack_make(struct maker_ctx *ctx)
{
	return line(BPF_MAP_TYPE_STACK, (unsigned)ctx->arg, 0);
}

/* Values of zeroes are values. */
static int zeroes_make(struct maker_ctx *ctx)
{
	uint64_t zero = 0;

	map = map_new(BPF_MAP_TYPE_QUEUE, 0, sizeof(zero), 3000, 0, NULL);
	NEED(map >= 0);
	for (int i = 0; i < 2000; i++)
		CHECK(!map_set(map, NULL, &zero, BPF_ANY));
	return 0;
}

static int zeroes_use(struct maker_ctx *ctx)
{
	uint64_t value = 1;

	for (int i = 0; i < 2000; i++, value = 1) {
		CHECK(!map_take(map, &value));
		SAME(value, 0);
	}
	CHECK(map_take(map, &value) < 0);
	return 0;
}

/* arg: how many values were put into it. */
static int bloom_make(struct maker_ctx *ctx)
{
	union bpf_attr attr = {
		.map_type = BPF_MAP_TYPE_BLOOM_FILTER, .value_size = 8, .max_entries = 100000, .map_extra = 3
	};

	map = bpf(BPF_MAP_CREATE, &attr);
	NEED(map >= 0);
	for (uint64_t i = 0; i < (uint64_t)ctx->arg; i++)
		CHECK(!map_set(map, NULL, &i, BPF_ANY));
	return 0;
}

static int bloom_use(struct maker_ctx *ctx)
{
	struct bpf_map_info info;
	uint64_t value = ctx->arg ? 0 : 5;

	CHECK(!map_info(map, &info));
	SAME(info.map_extra, 3);
	SAME(map_get(map, NULL, &value), ctx->arg ? 0 : -1);
	CHECK(!map_set(map, NULL, &value, BPF_ANY));
	CHECK(!map_get(map, NULL, &value));
	return 0;
}

/* System calls write it no more. */
static int frozen_make(struct maker_ctx *ctx)
{
	TRY(shape_make(ctx));
	CHECK(!map_freeze(map));
	return 0;
}

static int frozen_use(struct maker_ctx *ctx)
{
	const struct shape *s = &shapes[ctx->arg];
	unsigned char key[64] = "", value[2 * 64];

	TRY(check_info(s));
	TRY(check_all(s, value, value + 64));
	CHECK(map_set(map, key, value, BPF_ANY) < 0 && errno == EPERM);
	CHECK(map_freeze(map) < 0);
	return 0;
}

#define SHAPE(name, what, arg) ROW_ARG(name, what, shape, arg)

const struct maker makers_bpf_map[] = {
	SHAPE("hash", "a hash", HASH),
	SHAPE("hash-many", "20,000 entries", MANY),
	SHAPE("hash-full", "one that is full", FULL),
	SHAPE("hash-empty", "one with nothing in it", EMPTY),
	SHAPE("hash-values", "large values, made when they are needed", SPARE),
	SHAPE("hash-seed", "one whose order is always the same", SEED),
	SHAPE("array", "an array", ARRAY),
	SHAPE("array-odd", "values of 13 bytes; it may become another's inner map", ODD),
	{ "array-large", "16 MB", shape_make, shape_use, MAKER_SLOW, LARGE },
	SHAPE("array-value", "values of 3 MB", HUGE_VALUE),
	SHAPE("node", "one of a NUMA node", NODE),
	SHAPE("node-seed", "the same of a hash", NODE_SEED),
	SHAPE("read-by-programs", "one that programs only read", READ_BY_PROGRAMS),
	SHAPE("written-by-programs", "one that programs only write", WRITTEN_BY_PROGRAMS),
	SHAPE("percpu-hash", "a hash with a value for each processor", PERCPU_HASH),
	SHAPE("percpu-array", "an array with one", PERCPU_ARRAY),
	SHAPE("lru", "a full hash that forgets", LRU),
	SHAPE("lru-apart", "one whose processors forget apart from each other", LRU_APART),
	SHAPE("lru-small", "a small one", LRU_SMALL),
	SHAPE("lru-percpu", "one with a value for each processor", LRU_PERCPU),
	ROW("trie", "prefixes of addresses", trie),
	{ "queue", "a queue whose ring goes around", queue_make, line_use, 0, 60 },
	{ "queue-full", "a full one", queue_make, line_use, 0, LINE_ROOM },
	{ "queue-empty", "an empty one", queue_make, line_use, 0, 0 },
	ROW("queue-zeroes", "one with values of zeroes", zeroes),
	{ "stack", "a stack", stack_make, line_use, 0, 60 },
	{ "stack-full", "a full one", stack_make, line_use, 0, LINE_ROOM },
	ROW_ARG("bloom-empty", "a Bloom filter with nothing in it", bloom, 0),
	REFUSED("bloom", "one with something in it", bloom_make, bloom_use, 10, "Bloom"),
	ROW_ARG("frozen", "a frozen array", frozen, ARRAY),
	ROW_ARG("frozen-hash", "a frozen hash", frozen, HASH),
	{ 0 },
};
