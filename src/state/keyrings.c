/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Keyrings of a thread and of its process. keyrings(7), keyctl(2); security/keys/process_keys.c. Their serial
 * numbers cannot be chosen and a key's payload may be unreadable: they are refused. The session keyring is
 * inherited and cannot be asked for without making one, so a restored tree has that of the restoring command.
 */
#include "object/component.h"

#include <linux/keyctl.h>
#include <sys/syscall.h>

#include "state/owner.h"

struct keyrings_scratch {
	uint32_t thread, process;
};

static uint32_t ask_keyring(struct batch *b, int64_t which)
{
	uint32_t op = batch_call(
		b, "keyctl(KEYCTL_GET_KEYRING_ID)", SYS_keyctl, KEYCTL_GET_KEYRING_ID, (uint64_t)which, 0);

	batch_may_fail(b, op); /* ENOKEY: none */
	return op;
}

static void keyrings_ask(struct capture *c, struct batch *b, void *scratch)
{
	struct keyrings_scratch *s = scratch;

	s->thread = ask_keyring(b, KEY_SPEC_THREAD_KEYRING);
	s->process = ask_keyring(b, KEY_SPEC_PROCESS_KEYRING);
}

static int keyrings_capture(struct capture *c, const struct batch *b, void *scratch, void *state)
{
	const struct keyrings_scratch *got = scratch;

	if (batch_result(b, got->thread) > 0)
		return refused(c->ps, BLAME_PROCESS(c->process, .object = "thread keyring"),
			"thread %d has a keyring of its own", c->thread->tid);
	if (batch_result(b, got->process) > 0)
		return refused(c->ps, BLAME_PROCESS(c->process, .object = "process keyring"),
			"it has a keyring of its own");
	return CAPTURE_NOTHING;
}

static const struct field no_fields[] = { FIELD_END };

const struct component component_keyrings = {
	.kind = {
		.name = "keyrings",
		.version = 1,
		.size = sizeof(object_id),
		.fields = no_fields,
		.doc = "only looked at: keyrings of a thread or process are refused",
		.sources = "keyrings(7), keyctl(2); security/keys/process_keys.c",
	},
	.scope = SCOPE_THREAD,
	.scratch_size = sizeof(struct keyrings_scratch),
	.ask = keyrings_ask,
	.capture = keyrings_capture,
};
