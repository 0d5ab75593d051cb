/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Keyrings of a thread and of its process. keyrings(7), keyctl(2); security/keys/process_keys.c. Their serial
 * numbers cannot be chosen and a key's payload may be unreadable: they are refused. The session keyring is
 * inherited, and a restored tree has that of the restoring command; one that the program joined by name is
 * refused. (Asking gives a task without one its user's default, as any use of keys would.)
 */
#include "object/component.h"

#include <linux/keyctl.h>
#include <string.h>
#include <sys/syscall.h>

#include "state/owner.h"

struct keyrings_scratch {
	uint32_t thread, process, session;
	bool asked_session;
	char *described; /* type;uid;gid;permissions;name */
};

#define DESCRIBED 128

static uint32_t ask_keyring(struct batch *b, int64_t which)
{
	uint32_t op =
		batch_call(b, "keyctl(KEYCTL_GET_KEYRING_ID)", SYS_keyctl, KEYCTL_GET_KEYRING_ID, (uint64_t)which, 0);

	batch_may_fail(b, op); /* ENOKEY: none */
	return op;
}

static void keyrings_ask(struct capture *c, struct batch *b, void *scratch)
{
	struct keyrings_scratch *s = scratch;
	void *room = NULL;

	s->thread = ask_keyring(b, KEY_SPEC_THREAD_KEYRING);
	s->process = ask_keyring(b, KEY_SPEC_PROCESS_KEYRING);
	if (c->thread != &c->process->threads[0])
		return;
	s->session = batch_call(b, "keyctl(KEYCTL_DESCRIBE)", SYS_keyctl, KEYCTL_DESCRIBE,
		(uint64_t)KEY_SPEC_SESSION_KEYRING, batch_room(b, DESCRIBED, &room).v, DESCRIBED - 1);
	batch_may_fail(b, s->session);
	s->described = room;
	s->asked_session = true;
}

/* The kernel's own names begin with "_": _ses, which logins and services make, and _uid_ses. */
static const char *session_name(const struct batch *b, const struct keyrings_scratch *s)
{
	const char *name;

	if (!s->asked_session || batch_result(b, s->session) <= 0)
		return NULL;
	s->described[DESCRIBED - 1] = '\0';
	name = strrchr(s->described, ';');
	return name && name[1] != '_' ? name + 1 : NULL;
}

static int keyrings_capture(struct capture *c, const struct batch *b, void *scratch, void *state)
{
	const struct keyrings_scratch *got = scratch;

	if (batch_result(b, got->thread) > 0)
		return refused(c->ps, BLAME_PROCESS(c->process, .object = "thread keyring"),
			"thread %d has a keyring of its own", c->thread->tid);
	if (batch_result(b, got->process) > 0)
		return refused(
			c->ps, BLAME_PROCESS(c->process, .object = "process keyring"), "it has a keyring of its own");
	if (session_name(b, got))
		return refused(c->ps, BLAME_PROCESS(c->process, .object = "session keyring"),
			"it joined a session keyring of its own, \"%s\"", session_name(b, got));
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
