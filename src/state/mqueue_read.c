/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Where the kernel's memory cannot be read (mqueue_view.h) nobody can look into a POSIX message queue: its messages are received, and sent again in the order in which they came. Between the two nothing may be lost
 * by the death of spore, so a child does it, which makes nothing but system calls.
 *
 * Who has asked to be told (mq_notify) is told when a message comes to the empty queue; so then at least one has to be in it all the time. All but the last
 * are taken out. A dummy of the last one's priority, sent after it, lets it be taken; that priority is found from above: a dummy of a higher one comes back
 * instead. Then those of the lowest priority are sent first, behind the dummy, which can be received as soon as the first of them is there.
 */
#include "state/mqueue.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"

#define PRIORITY_MAX 32767

struct slot_of_message {
	int64_t size;
	uint32_t priority;
	uint8_t text[];
};

struct reading {
	int fd;
	size_t message_size, stride, n; /* n: how many there are */
	uint8_t *room;			/* for one more than these */
};

static struct slot_of_message *slot_at(const struct reading *r, size_t i)
{
	return (void *)(r->room + i * r->stride);
}

static int receive(const struct reading *r, size_t i)
{
	static const struct timespec now = { 0, 0 };
	struct slot_of_message *s = slot_at(r, i);

	s->size = syscall(SYS_mq_timedreceive, r->fd, s->text, r->message_size, &s->priority, &now);
	return s->size < 0 ? -errno : 0;
}

static int send_bytes(const struct reading *r, const void *text, size_t size, uint32_t priority)
{
	static const struct timespec now = { 0, 0 };

	return syscall(SYS_mq_timedsend, r->fd, text, size, priority, &now) < 0 ? -errno : 0;
}

static int send_again(const struct reading *r, size_t i)
{
	const struct slot_of_message *s = slot_at(r, i);

	return send_bytes(r, s->text, (size_t)s->size, s->priority);
}

/* --- nobody is to be told --- */

static int take_and_put(void *arg)
{
	struct reading *r = arg;
	size_t n = 0;
	int error = 0;

	while (error == 0 && n < r->n) {
		error = receive(r, n);
		n += error == 0;
	}
	for (size_t i = 0; i < n; i++) {
		int e = send_again(r, i);

		error = error ? error : e;
	}
	return error;
}

/* --- somebody is --- */

static bool is_dummy(const struct slot_of_message *s, size_t size, uint32_t priority)
{
	return s->size == (int64_t)size && s->priority == priority && (!size || !s->text[0]);
}

/* Dummies of two lengths: the last message cannot be like both. 1: it is taken, and a dummy of its priority is in its place. */
static int try_priority(struct reading *r, uint32_t priority)
{
	for (size_t size = 0; size < 2; size++) {
		int error = send_bytes(r, "", size, priority);

		if (error == 0)
			error = receive(r, r->n - 1);
		if (error < 0)
			return error;
		if (!is_dummy(slot_at(r, r->n - 1), size, priority))
			return 1;
	}
	return 0;
}

static int take_last(struct reading *r)
{
	uint32_t priority = r->n > 1 ? slot_at(r, r->n - 2)->priority : PRIORITY_MAX;
	int found;

	do
		found = try_priority(r, priority);
	while (found == 0 && priority--);
	return found < 0 ? found : found ? 0 : -EIO;
}

static int put_back(struct reading *r)
{
	uint32_t lowest = slot_at(r, r->n - 1)->priority;
	size_t first = r->n - 1;
	int error;

	while (first && slot_at(r, first - 1)->priority == lowest)
		first--;
	error = send_again(r, first);
	if (error == 0)
		error = receive(r, r->n); /* the dummy */
	for (size_t i = first + 1; i < r->n; i++)
		error = error ? error : send_again(r, i);
	for (size_t i = 0; i < first; i++)
		error = error ? error : send_again(r, i);
	return error;
}

static int take_and_put_unnoticed(void *arg)
{
	struct reading *r = arg;
	int error = 0;

	for (size_t i = 0; error == 0 && i + 1 < r->n; i++)
		error = receive(r, i);
	if (error == 0)
		error = take_last(r);
	return error < 0 ? error : put_back(r);
}

/* --- all --- */

void mqueue_messages_free(struct mqueue_message *list, size_t n)
{
	for (size_t i = 0; list && i < n; i++)
		free(list[i].text.data);
	free(list);
}

static int copy(const struct reading *r, struct mqueue_message **list, size_t *n)
{
	struct mqueue_message *made = calloc(r->n, sizeof(*made));

	if (!made)
		return -ENOMEM;
	for (size_t i = 0; i < r->n; i++) {
		const struct slot_of_message *s = slot_at(r, i);

		made[i].priority = s->priority;
		made[i].text.size = (size_t)s->size;
		made[i].text.data = malloc((size_t)s->size + 1);
		if (!made[i].text.data) {
			mqueue_messages_free(made, r->n);
			return -ENOMEM;
		}
		memcpy(made[i].text.data, s->text, (size_t)s->size);
	}
	*list = made;
	*n = r->n;
	return 0;
}

int mqueue_read(int fd, const struct mq_attr *attr, bool told, struct mqueue_message **list, size_t *n)
{
	struct reading r = { .fd = fd, .message_size = (size_t)attr->mq_msgsize, .n = (size_t)attr->mq_curmsgs };
	size_t size;
	int error;

	if (!r.n)
		return 0;
	if (told && attr->mq_maxmsg < 2)
		return -EBUSY;
	r.stride = ALIGN_UP(sizeof(struct slot_of_message) + r.message_size, 16ul);
	size = (r.n + 1) * r.stride;
	r.room = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (r.room == MAP_FAILED)
		return -ENOMEM;
	error = call_in_child(told ? take_and_put_unnoticed : take_and_put, &r);
	if (error == 0)
		error = copy(&r, list, n);
	munmap(r.room, size);
	return error;
}
