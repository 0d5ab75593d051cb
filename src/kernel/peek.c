/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "kernel/peek.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/macro.h"
#include "kernel/peek_program.h"
#include "kernel/places.h"

struct kernel_peek {
	pthread_mutex_t lock;
	bool tried;
	int error;
	struct places *places;
	int room_fd, words_fd, program_fd, many_fd;
	uint8_t *room; /* where the program copies to */
	bool many_tried;
};

struct kernel_peek *kernel_peek_new(void)
{
	struct kernel_peek *p = calloc(1, sizeof(*p));

	if (p)
		p->places = places_new();
	if (!p || !p->places) {
		free(p);
		return NULL;
	}
	pthread_mutex_init(&p->lock, NULL);
	p->room_fd = p->words_fd = p->program_fd = p->many_fd = -1;
	p->room = MAP_FAILED;
	return p;
}

void kernel_peek_free(struct kernel_peek *p)
{
	if (!p)
		return;
	places_keep(p->places);
	places_free(p->places);
	if (p->room != MAP_FAILED)
		munmap(p->room, ROOM);
	close_fd(&p->room_fd);
	close_fd(&p->words_fd);
	close_fd(&p->program_fd);
	close_fd(&p->many_fd);
	pthread_mutex_destroy(&p->lock);
	free(p);
}

static int make_ready(struct kernel_peek *p)
{
	int r = places_ready(p->places);

	if (r < 0)
		return r;
	p->room_fd = peek_map(BPF_MAP_TYPE_ARRAY, ROOM, BPF_F_MMAPABLE);
	p->words_fd = peek_map(BPF_MAP_TYPE_PERCPU_ARRAY, 8, 0);
	if (p->room_fd < 0 || p->words_fd < 0)
		return p->room_fd < 0 ? p->room_fd : p->words_fd;
	p->room = mmap(NULL, ROOM, PROT_READ | PROT_WRITE, MAP_SHARED, p->room_fd, 0);
	if (p->room == MAP_FAILED)
		return -errno;
	p->program_fd = peek_program(p->room_fd, p->words_fd);
	return MIN(0, p->program_fd);
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
	int r = ready(p);

	q->error = -EFAULT;
	return r < 0 ? r : peek_run(p->program_fd, q, sizeof(*q));
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
	return r < 0 ? r : places_member(p->places, type, member, out) < 0 ? -ENODATA : 0;
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

/* As many looks of one are faster than to load a program for many, which is a long one. */
#define FEW 64

static int look_at_few(struct kernel_peek *p, uint64_t *at, size_t n, uint64_t offset, uint32_t size)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < n; i++) {
		uint64_t value = 0;

		if (at[i])
			r = look(p, at[i] + offset, &value, size);
		at[i] = value;
	}
	return r;
}

static int ready_for_many(struct kernel_peek *p)
{
	if (!p->many_tried)
		p->many_fd = peek_program_of_many(p->room_fd);
	p->many_tried = true;
	return p->many_fd < 0 ? -ENODATA : 0;
}

static int look_at_many(struct kernel_peek *p, uint64_t *at, size_t n, uint64_t offset, uint32_t size)
{
	int r;

	if (n <= FEW && !p->many_tried)
		return look_at_few(p, at, n, offset, size);
	r = ready_for_many(p);

	for (size_t done = 0; r == 0 && done < n; done += MANY) {
		struct question_of_many q = { .offset = offset, .size = size };
		size_t part = MIN(n - done, (size_t)MANY);

		memset(p->room, 0, MANY * sizeof(*at));
		memcpy(p->room, at + done, part * sizeof(*at));
		r = peek_run(p->many_fd, &q, sizeof(q));
		if (r == 0 && q.error < 0)
			r = -EFAULT;
		if (r == 0)
			memcpy(at + done, p->room, part * sizeof(*at));
	}
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

void kernel_peek_note(struct kernel_peek *p, const char *type, const char *name, const struct member_place *what)
{
	pthread_mutex_lock(&p->lock);
	places_note(p->places, type, name, what);
	pthread_mutex_unlock(&p->lock);
}

const char *kernel_peek_noted(struct kernel_peek *p, const char *type, size_t *at, struct member_place *what)
{
	const char *name;

	pthread_mutex_lock(&p->lock);
	name = places_noted(p->places, type, at, what);
	pthread_mutex_unlock(&p->lock);
	return name;
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

int kernel_peek_many(struct kernel_peek *p, uint64_t *at, size_t n, const char *type, const char *member)
{
	struct member_place m = { .size = sizeof(*at) };
	int r;

	pthread_mutex_lock(&p->lock);
	r = type ? place(p, type, member, &m) : ready(p);
	if (r == 0 && (!m.size || m.size > sizeof(*at) || m.bits))
		r = -ENODATA;
	if (r == 0)
		r = look_at_many(p, at, n, m.offset, m.size);
	pthread_mutex_unlock(&p->lock);
	return r;
}

int kernel_peek_function(struct kernel_peek *p, const char *name, uint32_t *id)
{
	int r;

	pthread_mutex_lock(&p->lock);
	r = ready(p);
	if (r == 0 && places_function(p->places, name, id) < 0)
		r = -ENODATA;
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
