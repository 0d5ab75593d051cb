/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "state/pending_signals.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>

#include "state/owner.h"
#include "state/posix_timers.h"

#define INFO_SIZE 128 /* siginfo_t of every kernel */
#define AT_ONCE	  16

_Static_assert(sizeof(siginfo_t) == INFO_SIZE, "siginfo_t is what the kernel copies");

const struct field pending_signal_fields[] = {
	FIELD_UINT(struct pending_signal, signal, "signal", "its number"),
	FIELD_BLOB(struct pending_signal, info, "siginfo", "siginfo_t, as the handler will see it"),
	FIELD_END,
};

/* SIGKILL means that the task is dying, SIGSTOP that it is about to stop: the state "stopped" of its process
 * says that. */
static bool carried(int sig)
{
	return sig != SIGKILL && sig != SIGSTOP;
}

static int append(struct pending_state *s, const siginfo_t *info)
{
	struct pending_signal *grown = reallocarray(s->signals, s->n_signals + 1, sizeof(*grown));
	uint8_t *copy;

	if (!grown)
		return -ENOMEM;
	s->signals = grown;
	copy = malloc(INFO_SIZE);
	if (!copy)
		return -ENOMEM;
	memcpy(copy, info, INFO_SIZE);
	s->signals[s->n_signals++] = (struct pending_signal){
		.signal = (uint8_t)info->si_signo,
		.info = { copy, INFO_SIZE },
	};
	return 0;
}

static int append_queue(struct thread *t, bool shared, uint64_t *seen, struct pending_state *s)
{
	siginfo_t infos[AT_ONCE];
	struct __ptrace_peeksiginfo_args args = { .flags = shared ? PTRACE_PEEKSIGINFO_SHARED : 0, .nr = AT_ONCE };
	long n;

	while ((n = ptrace(PTRACE_PEEKSIGINFO, t->tid, &args, infos)) > 0) {
		for (long i = 0; i < n; i++) {
			int r = carried(infos[i].si_signo) ? append(s, &infos[i]) : 0;

			if (r < 0)
				return r;
			*seen |= 1ull << (infos[i].si_signo - 1);
		}
		args.off += (uint64_t)n;
	}
	return n < 0 ? -errno : 0;
}

/* A signal that found no room in the queue is pending without a siginfo: a handler sees SI_USER of nobody. */
static int append_bare(uint64_t mask, struct pending_state *s)
{
	for (int sig = 1; sig <= 64; sig++) {
		siginfo_t info = { .si_signo = sig, .si_code = SI_USER };
		int r = mask >> (sig - 1) & 1 && carried(sig) ? append(s, &info) : 0;

		if (r < 0)
			return r;
	}
	return 0;
}

int pending_capture(struct capture *c, struct thread *t, bool shared, uint64_t mask, struct pending_state *s)
{
	uint64_t seen = 0;
	int r;

	if (!mask)
		return CAPTURE_NOTHING;
	r = append_queue(t, shared, &seen, s);
	if (r == 0)
		r = append_bare(mask & ~seen, s);
	if (r < 0)
		return failed(c->ps, BLAME_PROCESS(c->process, .object = "pending signals"), r, "cannot read them");
	return s->n_signals ? 0 : CAPTURE_NOTHING;
}

int pending_validate(struct restore *r, const struct record *rec)
{
	const struct pending_state *s = rec->state;

	for (size_t i = 0; i < s->n_signals; i++)
		if (s->signals[i].signal < 1 || s->signals[i].signal > 64 || !carried(s->signals[i].signal) ||
			s->signals[i].info.size != INFO_SIZE)
			return failed(r->ps, BLAME(.pid = owner_vpid(r, s->of), .object = "pending signals"), -EBADMSG,
				"entry %zu is no signal that can be pending", i);
	return 0;
}

static bool is_of_timer(const struct pending_signal *p, int *timer_id)
{
	siginfo_t info;

	memcpy(&info, p->info.data, INFO_SIZE);
	*timer_id = info.si_timerid;
	return info.si_code == SI_TIMER;
}

bool pending_is_queued(const struct restore *r, object_id process, const struct pending_signal *p)
{
	int timer_id;

	return !is_of_timer(p, &timer_id) || !posix_timer_repeats(r, process, timer_id);
}

static bool record_has_timer(const struct pending_state *s, const struct new_process *p, int timer_id)
{
	bool ours = s->of == p->id;
	int id;

	for (size_t i = 0; !ours && i < p->n_threads; i++)
		ours = s->of == p->threads[i].id;
	for (size_t i = 0; ours && i < s->n_signals; i++)
		if (is_of_timer(&s->signals[i], &id) && id == timer_id)
			return true;
	return false;
}

bool pending_has_timer(const struct new_process *p, int timer_id)
{
	const struct component *const kinds[] = { &component_shared_pending, &component_pending };

	for (size_t k = 0; k < ARRAY_SIZE(kinds); k++) {
		size_t n;
		const struct record *records = image_records(p->restore->image, &kinds[k]->kind, &n);

		for (size_t i = 0; i < n; i++)
			if (record_has_timer(records[i].state, p, timer_id))
				return true;
	}
	return false;
}
