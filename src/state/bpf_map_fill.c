/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a BPF map held, put into a new one. */
#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/cleanup.h"
#include "kernel/bpf.h"
#include "state/bpf_map.h"

#define ROUNDS 16 /* beside one for each processor: see fill_forgetful */

bool bpf_map_size_is_possible(const struct bpf_map_state *s)
{
	uint64_t value = bpf_map_value_size(s), all, some = s->size;

	switch (bpf_map_layout(s)) {
	case BPF_LAYOUT_MEMORY:
		return !__builtin_mul_overflow(ALIGN_UP(s->value_size, 8), s->max_entries, &all) && all < 1ull << 47 &&
		       s->size == bpf_map_memory_size(s);
	case BPF_LAYOUT_VALUES:
		return !__builtin_mul_overflow(value, s->max_entries, &all) && s->size == all;
	case BPF_LAYOUT_ENTRIES:
		value += s->key_size;
		break;
	case BPF_LAYOUT_QUEUE:
		break;
	default:
		return !s->size;
	}
	return !some || (value && some % value == 0 && some / value <= s->max_entries);
}

struct filling {
	struct restore *r;
	const struct bpf_map_state *s;
	int fd;
	bool with_keys, singly;
	struct bpf_entries entries;
	uint8_t *both; /* keys with their values, as they stand in the image */
};

/* So many entries from the n-th on, as many as there is room for: the last first, since a hash lists what came last first. */
static int read_some(struct filling *f, uint64_t from, uint32_t n)
{
	struct bpf_entries *e = &f->entries;
	size_t key = f->with_keys ? e->key_size : 0, each = key + e->value_size;
	int err = contents_read_at(
		f->r, f->s->extents, f->s->n_extents, from * each, key ? f->both : e->values, n * each);

	for (uint32_t i = 0; i < n && !err; i++) {
		uint32_t index = (uint32_t)from + i;

		if (!key) {
			memcpy(e->keys + i * e->key_size, &index, MIN(e->key_size, sizeof(index)));
			continue;
		}
		memcpy(e->keys + (n - 1 - i) * key, f->both + i * each, key);
		memcpy(e->values + (n - 1 - i) * e->value_size, f->both + i * each + key, e->value_size);
	}
	return err;
}

static bool is_zero(const uint8_t *bytes, size_t n)
{
	return !n || (!bytes[0] && !memcmp(bytes, bytes + 1, n - 1));
}

static int put_some(struct filling *f, uint32_t n)
{
	const struct bpf_entries *e = &f->entries;
	struct bpf_batch b = { .keys = e->keys, .values = e->values, .n = n };
	int err = 0;

	if (bpf_map_layout(f->s) == BPF_LAYOUT_VALUES && is_zero(e->values, n * e->value_size)) /* as in a new array */
		return 0;
	if (!f->singly) {
		err = bpf_map_update_batch(f->fd, &b);
		if (err != BPF_NOT_SUPPORTED && err != -EINVAL)
			return err;
		f->singly = true;
		err = 0;
	}
	for (uint32_t i = 0; i < n && !err; i++)
		err = bpf_map_update(
			f->fd, e->key_size ? e->keys + i * e->key_size : NULL, e->values + i * e->value_size, BPF_ANY);
	return err;
}

static uint64_t count(const struct filling *f)
{
	return f->s->size / (f->entries.value_size + (f->with_keys ? f->entries.key_size : 0));
}

static int put_all(struct filling *f)
{
	uint64_t n = count(f);
	int err = 0;

	for (uint64_t at = 0; at < n && !err; at += f->entries.room) {
		uint32_t some = (uint32_t)MIN(f->entries.room, n - at);

		err = read_some(f, f->with_keys ? n - at - some : at, some);
		if (!err)
			err = put_some(f, some);
	}
	return err;
}

/* --- those that forget --- */

/* Those that are not there, each alone. Their number or negative errno. */
static int64_t put_missing(struct filling *f, uint8_t *scratch)
{
	struct bpf_entries *e = &f->entries;
	uint64_t n = count(f);
	int64_t missing = 0;
	int err = 0;

	for (uint64_t i = 0; i < n && !err; i++) {
		err = read_some(f, i, 1);
		if (!err)
			err = bpf_map_lookup(f->fd, e->keys, scratch);
		if (err == -ENOENT) {
			err = bpf_map_update(f->fd, e->keys, e->values, BPF_ANY);
			missing++;
		}
	}
	return err ? err : missing;
}

/* To the n-th of the processors that it may run on. */
static void pin(const cpu_set_t *allowed, unsigned int n)
{
	cpu_set_t one;

	n %= (unsigned int)MAX(CPU_COUNT(allowed), 1);
	CPU_ZERO(&one);
	for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
		if (CPU_ISSET(cpu, allowed) && !n--)
			CPU_SET(cpu, &one);
	sched_setaffinity(0, sizeof(one), &one);
}

/*
 * An LRU hash gives each processor free places by the lot, and forgets some entries when a lot is short of places; with BPF_F_NO_COMMON_LRU each has
 * places of its own. What was forgotten is put again: on the processor that now has the places, or on the next.
 */
static int fill_forgetful(struct filling *f)
{
	_cleanup_free_ uint8_t *scratch = malloc(f->entries.value_size);
	bool apart = f->s->flags & BPF_F_NO_COMMON_LRU;
	cpu_set_t allowed;
	int64_t missing;
	int err = !scratch ? -ENOMEM : sched_getaffinity(0, sizeof(allowed), &allowed) < 0 ? -errno : 0;

	if (err)
		return err;
	pin(&allowed, 0);
	err = put_all(f);
	missing = err;
	for (unsigned int i = 0; !err && i < ROUNDS + (unsigned int)CPU_COUNT(&allowed); i++) {
		pin(&allowed, apart ? i : 0);
		missing = put_missing(f, scratch);
		if (missing <= 0)
			break;
	}
	sched_setaffinity(0, sizeof(allowed), &allowed);
	return missing > 0 ? -ENOSPC : (int)missing;
}

/* --- all --- */

static int fill_memory(struct restore *r, int fd, const struct bpf_map_state *s)
{
	size_t size = s->size;
	uint8_t *at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	int err;

	if (at == MAP_FAILED)
		return -errno;
	err = contents_read(r, at, s->extents, s->n_extents, size);
	munmap(at, size);
	return err;
}

static int fill_entries(struct restore *r, int fd, const struct bpf_map_state *s)
{
	enum bpf_map_layout layout = bpf_map_layout(s);
	struct filling f = { .r = r,
		.s = s,
		.fd = fd,
		.with_keys = layout == BPF_LAYOUT_ENTRIES,
		.singly = layout == BPF_LAYOUT_QUEUE };
	int err = bpf_entries_alloc(s, 0, &f.entries);

	f.both = err ? NULL : calloc(f.entries.room, f.entries.key_size + f.entries.value_size);
	if (!err && !f.both)
		err = -ENOMEM;
	if (!err)
		err = bpf_map_forgets(s) ? fill_forgetful(&f) : put_all(&f);
	free(f.both);
	bpf_entries_free(&f.entries);
	return err;
}

int bpf_map_fill(struct restore *r, int fd, const struct bpf_map_state *s)
{
	int err;

	if (!s->size)
		return 0;
	if (bpf_map_layout(s) == BPF_LAYOUT_MEMORY)
		return fill_memory(r, fd, s);
	err = contents_check(r, s->extents, s->n_extents, s->size);
	return err ? err : fill_entries(r, fd, s);
}
