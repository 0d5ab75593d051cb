/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Signal actions: what a process does on each signal. rt_sigaction(2), signal(7); kernel/signal.c;
 * selftests/signal.
 *
 * Built before ARM: to ignore a signal throws away what is pending of it, so the actions stand before the
 * pending signals come back.
 */
#include "object/component.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/syscall.h>

#include "state/owner.h"

#define N_SIGNALS 64

struct kernel_sigaction { /* struct sigaction as the x86-64 kernel has it */
	uint64_t handler, flags, restorer, mask;
};

struct signal_action {
	uint8_t signal;
	uint64_t handler, flags, restorer, mask;
};

static const struct field signal_action_fields[] = {
	FIELD_UINT(struct signal_action, signal, "signal", "its number"),
	FIELD_HEX(struct signal_action, handler, "handler", "address; 0: SIG_DFL, 1: SIG_IGN"),
	FIELD_HEX(struct signal_action, flags, "flags", "SA_*"),
	FIELD_HEX(struct signal_action, restorer, "restorer", "where the handler returns to"),
	FIELD_HEX(struct signal_action, mask, "mask", "blocked while the handler runs"),
	FIELD_END,
};

struct signal_actions_state {
	object_id of;
	struct signal_action *actions;
	size_t n_actions;
};

static const struct field signal_actions_fields[] = {
	FIELD_REF(struct signal_actions_state, of, "of", "process", REF_STRONG, "the process"),
	FIELD_LIST(struct signal_actions_state, actions, n_actions, "actions", signal_action_fields,
		"those that are not the default, without flags"),
	FIELD_END,
};

static bool settable(int sig)
{
	return sig != SIGKILL && sig != SIGSTOP;
}

struct signal_actions_scratch {
	struct kernel_sigaction *got;
};

static void signal_actions_ask(struct capture *c, struct batch *b, void *scratch)
{
	struct signal_actions_scratch *s = scratch;
	void *room = NULL;
	uint64_t at = batch_room(b, N_SIGNALS * sizeof(*s->got), &room).v;

	s->got = room;
	for (int sig = 1; sig <= N_SIGNALS; sig++)
		if (settable(sig))
			batch_call(b, "rt_sigaction", SYS_rt_sigaction, (uint64_t)sig, 0,
				at + (uint64_t)(sig - 1) * sizeof(*s->got), 8);
}

static bool is_default(const struct kernel_sigaction *a)
{
	return !a->handler && !a->flags && !a->mask;
}

static int signal_actions_capture(struct capture *c, const struct batch *b, void *scratch, void *state)
{
	const struct signal_actions_scratch *got = scratch;
	struct signal_actions_state *s = state;

	s->of = c->process->id;
	s->actions = calloc(N_SIGNALS, sizeof(*s->actions));
	if (!s->actions)
		return -ENOMEM;
	for (int sig = 1; sig <= N_SIGNALS; sig++) {
		const struct kernel_sigaction *a = &got->got[sig - 1];

		if (!is_default(a))
			s->actions[s->n_actions++] = (struct signal_action){
				.signal = (uint8_t)sig,
				.handler = a->handler,
				.flags = a->flags,
				.restorer = a->restorer,
				.mask = a->mask,
			};
	}
	return 0;
}

/* --- restore --- */

static int signal_actions_validate(struct restore *r, const struct record *rec)
{
	const struct signal_actions_state *s = rec->state;

	for (size_t i = 0; i < s->n_actions; i++)
		if (s->actions[i].signal < 1 || s->actions[i].signal > N_SIGNALS || !settable(s->actions[i].signal))
			return failed(r->ps, BLAME(.pid = owner_vpid(r, s->of), .object = "signal actions"), -EBADMSG,
				"%u is no signal that has an action", s->actions[i].signal);
	return 0;
}

/* All of them: a newborn may have inherited signals ignored by whoever called spore. */
static int signal_actions_attach(struct build *build, const void *state)
{
	const struct signal_actions_state *s = state;
	struct batch *b = build->batch;
	const struct kernel_sigaction none = { 0 };
	uint64_t at[N_SIGNALS + 1] = { 0 }, defaults = batch_copy(b, &none, sizeof(none)).v;

	for (size_t i = 0; i < s->n_actions; i++) {
		const struct signal_action *a = &s->actions[i];
		const struct kernel_sigaction k = { a->handler, a->flags, a->restorer, a->mask };

		at[a->signal] = batch_copy(b, &k, sizeof(k)).v;
	}
	for (int sig = 1; sig <= N_SIGNALS; sig++)
		if (settable(sig))
			batch_call(
				b, "rt_sigaction", SYS_rt_sigaction, (uint64_t)sig, at[sig] ? at[sig] : defaults, 0, 8);
	return 0;
}

const struct component component_signal_actions = {
	.kind = {
		.name = "signal_actions",
		.version = 1,
		.size = sizeof(struct signal_actions_state),
		.fields = signal_actions_fields,
		.doc = "what a process does on each signal",
		.sources = "rt_sigaction(2), signal(7); kernel/signal.c; selftests/signal",
	},
	.scope = SCOPE_PROCESS,
	.scratch_size = sizeof(struct signal_actions_scratch),
	.ask = signal_actions_ask,
	.capture = signal_actions_capture,
	.validate = signal_actions_validate,
	.build = { [STAGE_ATTACH] = signal_actions_attach },
};
