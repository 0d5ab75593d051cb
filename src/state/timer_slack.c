/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * timer_slack: the default slack of a thread, to which PR_SET_TIMERSLACK of 0 goes back, and the end of a real-time policy. It is read by going back and
 * forth, and given by the creator, whose slack becomes its child's default. The kernel ignores and shows neither while the policy is a real-time one:
 * the usual default is assumed of such a thread. PR_SET_TIMERSLACK(2const); kernel/sys.c, kernel/fork.c, kernel/sched/syscalls.c.
 */
#include "state/timer_slack.h"

#include <errno.h>
#include <limits.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "kernel/capability.h"
#include "state/owner.h"

struct timer_slack_state {
	object_id of;
	uint64_t ns;
};

static const struct field timer_slack_fields[] = {
	FIELD_REF(struct timer_slack_state, of, "of", "thread", REF_STRONG, "the thread"),
	FIELD_UINT(struct timer_slack_state, ns, "default_ns", "what PR_SET_TIMERSLACK of 0 sets"),
	FIELD_END,
};

struct timer_slack_scratch {
	uint32_t usual;
};

static void timer_slack_ask(struct capture *c, struct batch *b, void *scratch)
{
	struct timer_slack_scratch *s = scratch;
	uint32_t own = batch_call(b, "prctl(PR_GET_TIMERSLACK)", SYS_prctl, PR_GET_TIMERSLACK);

	batch_call(b, "prctl(PR_SET_TIMERSLACK)", SYS_prctl, PR_SET_TIMERSLACK, 0);
	s->usual = batch_call(b, "prctl(PR_GET_TIMERSLACK)", SYS_prctl, PR_GET_TIMERSLACK);
	batch_use(b, batch_call(b, "prctl(PR_SET_TIMERSLACK)", SYS_prctl, PR_SET_TIMERSLACK, 0), 1, own);
}

static bool is_real_time(unsigned int policy)
{
	return policy != SCHED_OTHER && policy != SCHED_BATCH && policy != SCHED_IDLE;
}

static int timer_slack_capture(struct capture *c, const struct batch *b, void *scratch, void *state)
{
	const struct timer_slack_scratch *asked = scratch;
	struct timer_slack_state *s = state;

	s->of = c->thread->id;
	s->ns = (uint64_t)batch_result(b, asked->usual);
	return s->ns == TIMER_SLACK_USUAL || is_real_time(c->thread->stat.policy) ? CAPTURE_NOTHING : 0;
}

/* --- restore --- */

static int timer_slack_validate(struct restore *r, const struct record *rec)
{
	const struct timer_slack_state *s = rec->state;

	if (!s->ns && !capable_own(CAP_SYS_NICE))
		refused(r->ps,
			BLAME(.pid = owner_vpid(r, s->of), .object = "default timer slack",
				.remedy = "give spore CAP_SYS_NICE"),
			"it is 0, which only a real-time parent can give");
	if (s->ns > LONG_MAX)
		failed(r->ps, BLAME(.pid = owner_vpid(r, s->of), .object = "default timer slack"), -EBADMSG,
			"the image has one that cannot be");
	return 0;
}

uint64_t timer_slack_default(const struct restore *r, object_id thread)
{
	size_t n;
	const struct record *rec = image_records(r->image, &component_timer_slack.kind, &n);

	for (size_t i = 0; i < n; i++) {
		const struct timer_slack_state *s = rec[i].state;

		if (s->of == thread)
			return s->ns;
	}
	return TIMER_SLACK_USUAL;
}

/* A real-time policy that the child does not inherit. */
static void set_policy(struct batch *b, bool real_time)
{
	const struct sched_param param = { .sched_priority = real_time };

	batch_call(b, "sched_setscheduler", SYS_sched_setscheduler, 0,
		real_time ? SCHED_FIFO | SCHED_RESET_ON_FORK : SCHED_OTHER, batch_copy(b, &param, sizeof(param)).v);
}

void timer_slack_wear(struct batch *b, uint64_t *worn, uint64_t ns)
{
	if (*worn == ns)
		return;
	if (!*worn)
		set_policy(b, false);
	if (ns)
		batch_call(b, "prctl(PR_SET_TIMERSLACK)", SYS_prctl, PR_SET_TIMERSLACK, ns);
	else
		set_policy(b, true);
	*worn = ns;
}

int timer_slack_wear_here(uint64_t ns, struct timer_slack_own *before)
{
	struct sched_param param = { 0 }, wanted = { .sched_priority = !ns };

	before->policy = sched_getscheduler(0);
	before->priority = sched_getparam(0, &param) < 0 ? 0 : param.sched_priority;
	before->ns = (uint64_t)prctl(PR_GET_TIMERSLACK, 0, 0, 0, 0);
	if ((!ns || is_real_time((unsigned int)before->policy & ~(unsigned int)SCHED_RESET_ON_FORK)) &&
		sched_setscheduler(0, ns ? SCHED_OTHER : SCHED_FIFO | SCHED_RESET_ON_FORK, &wanted) < 0)
		return -errno;
	return ns && prctl(PR_SET_TIMERSLACK, ns, 0, 0, 0) < 0 ? -errno : 0;
}

void timer_slack_take_off_here(const struct timer_slack_own *before)
{
	const struct sched_param param = { .sched_priority = before->priority };

	if (sched_getscheduler(0) != before->policy)
		sched_setscheduler(0, before->policy, &param);
	prctl(PR_SET_TIMERSLACK, before->ns, 0, 0, 0);
}

const struct component component_timer_slack = {
	.kind = {
		.name = "timer_slack",
		.version = 1,
		.size = sizeof(struct timer_slack_state),
		.fields = timer_slack_fields,
		.doc = "the default timer slack of a thread, where it is not the usual 50 microseconds",
		.sources = "PR_SET_TIMERSLACK(2const); kernel/sys.c, kernel/fork.c",
	},
	.scope = SCOPE_THREAD,
	.scratch_size = sizeof(struct timer_slack_scratch),
	.ask = timer_slack_ask,
	.capture = timer_slack_capture,
	.validate = timer_slack_validate,
};
