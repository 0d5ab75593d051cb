/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a BPF map holds, read without a trace: while nobody else uses it. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/cleanup.h"
#include "kernel/bpf.h"
#include "state/bpf_map.h"
#include "state/kernel_view.h"

#define AT_ONCE	  (256u << 10) /* bytes */
#define PEEK_MOST 4096u
#define ROOM_MOST (1u << 20) /* entries of one bucket of a hash */

int bpf_entries_alloc(const struct bpf_map_state *s, uint32_t room, struct bpf_entries *e)
{
	size_t key = s->key_size, value = bpf_map_value_size(s), place = MAX(key, sizeof(uint64_t));

	if (!room)
		room = (uint32_t)MAX(MIN(AT_ONCE / (key + value), 4096), 1);
	*e = (struct bpf_entries){ .key_size = key,
		.value_size = value,
		.room = room,
		.keys = calloc(room, key + !key),
		.values = calloc(room, value),
		.place = { calloc(1, place), calloc(1, place) } };
	if (e->keys && e->values && e->place[0] && e->place[1])
		return 0;
	bpf_entries_free(e);
	return -ENOMEM;
}

void bpf_entries_free(struct bpf_entries *e)
{
	free(e->keys);
	free(e->values);
	free(e->place[0]);
	free(e->place[1]);
	*e = (struct bpf_entries){ 0 };
}

/* --- entries --- */

struct reading {
	const struct bpf_map_state *s;
	struct contents_stream *to;
	int fd;
	bool with_keys;
	uint64_t n; /* entries read so far */
	struct bpf_entries entries;
};

/* Of an array the values alone, which come in the order of their keys. */
static int add_some(struct reading *r, uint32_t n)
{
	const struct bpf_entries *e = &r->entries;
	int err = 0;

	for (uint32_t i = 0; i < n && !err; i++, r->n++) {
		uint32_t key = 0;

		if (r->with_keys)
			err = contents_stream_add(r->to, e->keys + i * e->key_size, e->key_size);
		else
			memcpy(&key, e->keys + i * e->key_size, sizeof(key));
		if (!err && !r->with_keys && key != r->n)
			err = -EPROTO;
		if (!err)
			err = contents_stream_add(r->to, e->values + i * e->value_size, e->value_size);
	}
	return err;
}

static int grow(struct reading *r)
{
	uint32_t room = 2 * r->entries.room;
	struct bpf_entries more;
	int err = room > ROOM_MOST ? -E2BIG : bpf_entries_alloc(r->s, room, &more);

	if (err)
		return err;
	memcpy(more.place[0], r->entries.place[0], MAX(more.key_size, sizeof(uint64_t)));
	bpf_entries_free(&r->entries);
	r->entries = more;
	return 0;
}

/* -ENOSPC: there is a bucket that needs more room. */
static int read_batches(struct reading *r)
{
	bool begun = false;
	int err = 0;

	while (!err) {
		struct bpf_entries *e = &r->entries;
		struct bpf_batch b = { .in = begun ? e->place[0] : NULL,
			.out = e->place[1],
			.keys = e->keys,
			.values = e->values,
			.n = e->room };
		uint8_t *swap;
		int got = bpf_map_lookup_batch(r->fd, &b);

		if (got == -ENOSPC) {
			err = grow(r);
			continue;
		}
		if (got < 0 && got != -ENOENT)
			return got;
		err = add_some(r, b.n);
		if (got == -ENOENT)
			return err;
		begun = true;
		swap = e->place[0];
		e->place[0] = e->place[1];
		e->place[1] = swap;
	}
	return err;
}

static int read_one_by_one(struct reading *r)
{
	struct bpf_entries *e = &r->entries;
	int err = bpf_map_next_key(r->fd, NULL, e->keys);

	while (!err) {
		err = bpf_map_lookup(r->fd, e->keys, e->values);
		if (!err)
			err = add_some(r, 1);
		if (err)
			return err;
		memcpy(e->place[0], e->keys, e->key_size);
		err = bpf_map_next_key(r->fd, e->place[0], e->keys);
	}
	return err == -ENOENT ? 0 : err;
}

static int save_entries(int fd, const struct bpf_map_state *s, bool with_keys, struct contents_stream *to)
{
	struct reading r = { .s = s, .to = to, .fd = fd, .with_keys = with_keys };
	int err = bpf_entries_alloc(s, 0, &r.entries);

	if (!err)
		err = read_batches(&r);
	if ((err == BPF_NOT_SUPPORTED || err == -EINVAL) && !r.n)
		err = read_one_by_one(&r);
	bpf_entries_free(&r.entries);
	return err;
}

/* --- memory --- */

static int save_memory(int fd, const struct bpf_map_state *s, struct contents_stream *to)
{
	size_t size = bpf_map_memory_size(s);
	void *at = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0);
	int err;

	if (at == MAP_FAILED)
		return -errno;
	err = contents_stream_add(to, at, size);
	munmap(at, size);
	return err;
}

/* --- what no system call shows --- */

static int copy_kernel(struct kernel_peek *k, uint64_t at, uint64_t size, struct contents_stream *to)
{
	uint8_t bytes[PEEK_MOST];
	int err = 0;

	while (size && !err) {
		size_t n = MIN(size, sizeof(bytes));

		err = kernel_peek_bytes(k, at, bytes, n);
		if (!err)
			err = contents_stream_add(to, bytes, n);
		at += n;
		size -= n;
	}
	return err;
}

/* What small values an array has a page of, without what fills each up to 8 bytes. */
static int copy_values(
	struct kernel_peek *k, uint64_t at, const struct bpf_map_state *s, uint64_t n, struct contents_stream *to)
{
	uint64_t stride = ALIGN_UP(s->value_size, 8);
	uint8_t bytes[PEEK_MOST];
	int err = kernel_peek_bytes(k, at, bytes, n * stride);

	for (uint64_t i = 0; i < n && !err; i++)
		err = contents_stream_add(to, bytes + i * stride, s->value_size);
	return err;
}

/* System calls would copy them one by one, which takes ten times as long. */
static int save_array(struct kernel_peek *k, uint64_t map, const struct bpf_map_state *s, struct contents_stream *to)
{
	uint64_t stride = ALIGN_UP(s->value_size, 8), in_page = PEEK_MOST / stride, at = 0, real = 0, n;
	int err = kernel_peek_address(k, map, "bpf_array", "value", &at);

	if (!err)
		err = kernel_peek_member(k, map, "bpf_array", "elem_size", &real);
	if (!err && real != stride)
		err = -EPROTO;
	if (!err && s->value_size == stride)
		return copy_kernel(k, at, s->max_entries * stride, to);
	for (uint64_t i = 0; i < s->max_entries && !err; i += n) {
		n = MIN(in_page ? in_page : 1, s->max_entries - i);
		err = in_page ? copy_values(k, at + i * stride, s, n, to)
			      : copy_kernel(k, at + i * stride, s->value_size, to);
	}
	return err;
}

/* A ring with one place more than there may be values: struct bpf_queue_stack. A stack is pushed and popped at its head. */
static int save_queue(struct kernel_peek *k, uint64_t map, const struct bpf_map_state *s, struct contents_stream *to)
{
	static const char type[] = "bpf_queue_stack";
	uint64_t head = 0, tail = 0, places = 0, at = 0;
	int err = kernel_peek_member(k, map, type, "head", &head);

	if (!err)
		err = kernel_peek_member(k, map, type, "tail", &tail);
	if (!err)
		err = kernel_peek_member(k, map, type, "size", &places);
	if (!err)
		err = kernel_peek_address(k, map, type, "elements", &at);
	if (!err && (places != s->max_entries + 1 || head >= places || tail >= places))
		err = -EPROTO;
	if (!err && head < tail) {
		err = copy_kernel(k, at + tail * s->value_size, (places - tail) * s->value_size, to);
		tail = 0;
	}
	return err ? err : copy_kernel(k, at + tail * s->value_size, (head - tail) * s->value_size, to);
}

/* The bits do not tell of which values they are. */
static int check_bloom(struct kernel_peek *k, uint64_t map, bool *empty)
{
	static const uint8_t zeroes[PEEK_MOST];
	uint8_t bytes[PEEK_MOST];
	uint64_t mask = 0, at = 0;
	int err = kernel_peek_member(k, map, "bpf_bloom_filter", "bitset_mask", &mask);

	if (!err)
		err = kernel_peek_address(k, map, "bpf_bloom_filter", "bitset", &at);
	*empty = true;
	for (uint64_t left = ALIGN_UP((mask >> 3) + 1, 8); !err && left && *empty;) {
		size_t n = MIN(left, sizeof(bytes));

		err = kernel_peek_bytes(k, at, bytes, n);
		*empty = err || !memcmp(bytes, zeroes, n);
		at += n;
		left -= n;
	}
	return err;
}

static int refuse_bloom(struct capture *c, const struct file_look *f, uint64_t map)
{
	bool empty = true;
	int err = check_bloom(c->kernel, map, &empty);

	return err || empty ? err
			    : refused(c->ps, BLAME_FILE(f, .remedy = "let the program close it"),
				      "a Bloom filter (BPF map) that is not empty: nobody can tell what was put in");
}

/* --- all --- */

static int save(struct capture *c, int fd, uint64_t map, struct bpf_map_state *s, struct contents_stream *to)
{
	switch (bpf_map_layout(s)) {
	case BPF_LAYOUT_MEMORY:
		return save_memory(fd, s, to);
	case BPF_LAYOUT_VALUES:
		return s->cpus ? save_entries(fd, s, false, to) : save_array(c->kernel, map, s, to);
	case BPF_LAYOUT_ENTRIES:
		return save_entries(fd, s, true, to);
	case BPF_LAYOUT_QUEUE:
		return save_queue(c->kernel, map, s, to);
	default:
		return 0;
	}
}

int bpf_map_save(struct capture *c, const struct file_look *f, int fd, uint64_t map, struct bpf_map_state *s)
{
	struct contents_stream to;
	int err = 0, closed;

	if (s->type == BPF_MAP_TYPE_BLOOM_FILTER)
		err = refuse_bloom(c, f, map);
	if (err || !c->writer)
		return err;
	err = contents_stream_open(c, &to);
	if (err)
		return err;
	err = save(c, fd, map, s, &to);
	closed = contents_stream_close(&to, &s->extents, &s->n_extents, &s->size);
	err = err ? err : closed;
	return err ? failed(c->ps, BLAME_FILE(f), err, "what the BPF map holds cannot be read: %s", strerror(-err)) : 0;
}
