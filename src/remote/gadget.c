/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "remote/gadget.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/macro.h"
#include "remote/birth.h"
#include "remote/memory.h"

#define CHUNK	(64 * 1024ul)
#define OVERLAP 16ul /* longer than any pattern */
#define CACHED	64
#define NOWHERE UINT64_MAX

static const uint8_t syscall_ret[] = { 0x0f, 0x05, 0xc3 };
static const uint8_t restorer[] = { 0x48, 0xc7, 0xc0, 0x0f, 0x00, 0x00, 0x00, 0x0f, 0x05 };

struct found {
	struct exec_mapping in;
	uint64_t syscall_ret, restorer; /* from the mapping's start; NOWHERE */
};

struct gadget_cache {
	pthread_mutex_t lock;
	struct found list[CACHED];
	size_t n;
};

struct gadget_cache *gadget_cache_new(void)
{
	struct gadget_cache *c = calloc(1, sizeof(*c));

	if (c)
		pthread_mutex_init(&c->lock, NULL);
	return c;
}

void gadget_cache_free(struct gadget_cache *c)
{
	if (!c)
		return;
	pthread_mutex_destroy(&c->lock);
	free(c);
}

static bool same_mapping(const struct exec_mapping *a, const struct exec_mapping *b)
{
	return a->dev == b->dev && a->inode == b->inode && a->offset == b->offset &&
	       a->end - a->start == b->end - b->start;
}

static bool cache_get(struct gadget_cache *c, const struct exec_mapping *m, struct found *f)
{
	bool hit = false;

	pthread_mutex_lock(&c->lock);
	for (size_t i = 0; i < c->n && !hit; i++) {
		hit = same_mapping(&c->list[i].in, m);
		if (hit)
			*f = c->list[i];
	}
	pthread_mutex_unlock(&c->lock);
	return hit;
}

static void cache_put(struct gadget_cache *c, const struct found *f)
{
	pthread_mutex_lock(&c->lock);
	if (c->n < CACHED)
		c->list[c->n++] = *f;
	pthread_mutex_unlock(&c->lock);
}

static void find(uint64_t *at, const uint8_t *chunk, size_t size, uint64_t base, const uint8_t *pattern, size_t n)
{
	const uint8_t *p = *at == NOWHERE ? memmem(chunk, size, pattern, n) : NULL;

	if (p)
		*at = base + (uint64_t)(p - chunk);
}

static void search(struct found *f, pid_t pid, const struct exec_mapping *m)
{
	_cleanup_free_ uint8_t *chunk = malloc(CHUNK);

	f->syscall_ret = f->restorer = NOWHERE;
	if (!chunk)
		return;
	for (uint64_t at = m->start; at < m->end; at += CHUNK - OVERLAP) {
		size_t n = MIN(CHUNK, m->end - at);

		if (remote_read(pid, REMOTE(at), chunk, n) < 0)
			return;
		find(&f->syscall_ret, chunk, n, at - m->start, syscall_ret, sizeof(syscall_ret));
		find(&f->restorer, chunk, n, at - m->start, restorer, sizeof(restorer));
		if (f->syscall_ret != NOWHERE && f->restorer != NOWHERE)
			return;
	}
}

/* The file may be mapped and then written to (a JIT's, a debugger's breakpoint): what the cache says is looked at again. */
static uint64_t confirm(pid_t pid, const struct exec_mapping *m, uint64_t offset, const uint8_t *pattern, size_t n)
{
	uint8_t seen[sizeof(restorer)];

	if (offset == NOWHERE || remote_read(pid, REMOTE(m->start + offset), seen, n) < 0 || memcmp(seen, pattern, n))
		return 0;
	return m->start + offset;
}

void gadgets_search(struct gadgets *g, pid_t pid, const struct exec_mapping *m, struct gadget_cache *cache)
{
	struct found f = { .in = *m };
	bool cached = cache && cache_get(cache, m, &f);

	if (!cached)
		search(&f, pid, m);
	if (cache && !cached)
		cache_put(cache, &f);
	if (!g->syscall_ret)
		g->syscall_ret = confirm(pid, m, f.syscall_ret, syscall_ret, sizeof(syscall_ret));
	if (!g->restorer)
		g->restorer = confirm(pid, m, f.restorer, restorer, sizeof(restorer));
	if (!g->syscall)
		g->syscall = g->syscall_ret;
}

uint64_t find_syscall_insn(pid_t pid, uint64_t start, uint64_t end)
{
	static const uint8_t insn[] = { 0x0f, 0x05 };
	_cleanup_free_ uint8_t *chunk = malloc(CHUNK);
	uint64_t found = NOWHERE;

	if (!chunk)
		return 0;
	for (uint64_t at = start; at < end && found == NOWHERE; at += CHUNK - OVERLAP) {
		size_t n = MIN(CHUNK, end - at);

		if (remote_read(pid, REMOTE(at), chunk, n) < 0)
			break;
		find(&found, chunk, n, at, insn, sizeof(insn));
	}
	return found == NOWHERE ? 0 : found;
}
