/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "state/timer_view.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "state/kernel_view.h"

#define MOST	(1u << 20)
#define LARGEST 1024 /* struct k_itimer */

/* Where these lie in struct k_itimer. */
struct places {
	struct member_place list, id, clock, pid;
};

static int find_places(struct kernel_peek *k, struct places *p)
{
	static const char type[] = "k_itimer";
	int err = kernel_peek_place(k, type, "list", &p->list);

	if (!err)
		err = kernel_peek_place(k, type, "it_id", &p->id);
	if (!err)
		err = kernel_peek_place(k, type, "it_clock", &p->clock);
	if (!err)
		err = kernel_peek_place(k, type, "it.cpu.pid", &p->pid);
	return err || p->pid.offset + sizeof(uint64_t) > LARGEST ? -ENODATA : 0;
}

/* The first of a process's timers and where the list ends: at its head, or, since it is a hash list, nowhere. */
static int find_list(struct capture *c, uint64_t *head, uint64_t *first)
{
	uint64_t task = 0, signal = 0;
	int err = kernel_task(c, c->process, &task);

	if (!err)
		err = kernel_peek_member(c->kernel, task, "task_struct", "signal", &signal);
	if (!err)
		err = kernel_peek_address(c->kernel, signal, "signal_struct", "posix_timers", head);
	return err ? err : kernel_peek_bytes(c->kernel, *head, first, sizeof(*first));
}

static int add(struct counted_thread **list, size_t *n, int32_t timer, uint64_t pid)
{
	struct counted_thread *grown = reallocarray(*list, *n + 1, sizeof(*grown));

	if (!grown)
		return -ENOMEM;
	*list = grown;
	grown[(*n)++] = (struct counted_thread){ timer, pid };
	return 0;
}

static int read_timer(struct capture *c, const struct places *p, uint64_t *at, struct counted_thread **list, size_t *n)
{
	uint8_t bytes[LARGEST];
	int32_t id, clock;
	uint64_t pid;
	int err = kernel_peek_bytes(c->kernel, *at - p->list.offset, bytes,
		p->pid.offset + sizeof(pid) > p->list.offset + sizeof(*at) ? p->pid.offset + sizeof(pid)
									   : p->list.offset + sizeof(*at));

	if (err)
		return err;
	memcpy(at, bytes + p->list.offset, sizeof(*at));
	memcpy(&id, bytes + p->id.offset, sizeof(id));
	memcpy(&clock, bytes + p->clock.offset, sizeof(clock));
	memcpy(&pid, bytes + p->pid.offset, sizeof(pid));
	return clock < 0 ? add(list, n, id, pid) : 0;
}

int timer_view_read(struct capture *c, struct counted_thread **list, size_t *n)
{
	struct places p;
	uint64_t head = 0, at = 0;
	int err = c->kernel ? find_places(c->kernel, &p) : -ENODATA;

	*list = NULL;
	*n = 0;
	if (!err)
		err = find_list(c, &head, &at);
	for (size_t i = 0; !err && at && at != head; i++)
		err = i < MOST ? read_timer(c, &p, &at, list, n) : -ELOOP;
	if (err) {
		free(*list);
		*list = NULL;
		*n = 0;
	}
	return err;
}

int timer_view_thread(
	struct capture *c, const struct counted_thread *list, size_t n, int32_t timer, struct thread **out)
{
	for (size_t i = 0; i < n; i++)
		if (list[i].timer == timer)
			return kernel_pid_thread(c, list[i].pid, out);
	return -ENOENT;
}
