/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Keyrings of a thread and of its process. keyrings(7), keyctl(2); security/keys/process_keys.c. Their serial
 * numbers cannot be chosen and a key's payload may be unreadable: they are refused. What is seen of a session
 * keyring is left for session_keyring.c. (Asking gives a task without one its user's default, as any use of
 * keys would.)
 */
#include "object/component.h"

#include <linux/keyctl.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>

#include "state/owner.h"

#define DESCRIBED 128
#define MAX_KEYS  64

struct keyrings_scratch {
	uint32_t thread, process, session, user, description, keys;
	char *described; /* type;uid;gid;permissions;name */
	int32_t *serials;
};

static uint32_t ask_keyring(struct batch *b, int64_t which)
{
	uint32_t op =
		batch_call(b, "keyctl(KEYCTL_GET_KEYRING_ID)", SYS_keyctl, KEYCTL_GET_KEYRING_ID, (uint64_t)which, 0);

	batch_may_fail(b, op); /* ENOKEY: none */
	return op;
}

static uint32_t ask_session(struct batch *b, const char *what, uint64_t command, void **local, size_t room)
{
	uint32_t op = batch_call(b, what, SYS_keyctl, command, (uint64_t)(int64_t)KEY_SPEC_SESSION_KEYRING,
		batch_room(b, room, local).v, room);

	batch_may_fail(b, op);
	return op;
}

static void keyrings_ask(struct capture *c, struct batch *b, void *scratch)
{
	struct keyrings_scratch *s = scratch;
	void *described = NULL, *serials = NULL;

	s->thread = ask_keyring(b, KEY_SPEC_THREAD_KEYRING);
	s->process = ask_keyring(b, KEY_SPEC_PROCESS_KEYRING);
	s->session = ask_keyring(b, KEY_SPEC_SESSION_KEYRING);
	if (c->thread != owner_alive(c->process))
		return;
	s->user = ask_keyring(b, KEY_SPEC_USER_KEYRING);
	s->description = ask_session(b, "keyctl(KEYCTL_DESCRIBE)", KEYCTL_DESCRIBE, &described, DESCRIBED);
	s->keys = ask_session(b, "keyctl(KEYCTL_READ)", KEYCTL_READ, &serials, MAX_KEYS * sizeof(int32_t));
	s->described = described;
	s->serials = serials;
}

/* The kernel's own names begin with "_": _ses, which logins and services make, and _uid_ses. */
static void describe(struct session_keyring *k, const struct batch *b, const struct keyrings_scratch *s)
{
	int64_t size = batch_result(b, s->keys), user = batch_result(b, s->user);
	const char *name;

	k->serial = (int32_t)batch_result(b, s->session);
	if (k->serial <= 0 || batch_result(b, s->description) <= 0) {
		k->serial = 0;
		return;
	}
	s->described[DESCRIBED - 1] = '\0';
	sscanf(s->described, "%*[^;];%u;%u;%x;", &k->uid, &k->gid, &k->permissions);
	name = strrchr(s->described, ';');
	snprintf(k->name, sizeof(k->name), "%s", name ? name + 1 : "");
	k->by_kernel = k->name[0] == '_';
	k->anonymous = !strcmp(k->name, "_ses");
	/* Who may not read it may have put anything into it. */
	k->n_keys = size < 0 ? SIZE_MAX : (size_t)size / sizeof(*s->serials);
	for (size_t i = 0; size >= 0 && i < MIN(k->n_keys, (size_t)MAX_KEYS); i++)
		k->user_keyring |= s->serials[i] == user;
}

static int keyrings_capture(struct capture *c, const struct batch *b, void *scratch, void *state)
{
	const struct keyrings_scratch *got = scratch;
	struct process *p = c->process;

	if (batch_result(b, got->thread) > 0)
		return refused(c->ps, BLAME_PROCESS(p, .object = "thread keyring"),
			"thread %d has a keyring of its own", c->thread->tid);
	if (batch_result(b, got->process) > 0)
		return refused(c->ps, BLAME_PROCESS(p, .object = "process keyring"), "it has a keyring of its own");
	if (c->thread == owner_alive(p))
		describe(&p->session_keyring, b, got);
	else if (p->session_keyring.serial && batch_result(b, got->session) != p->session_keyring.serial)
		return refused(c->ps, BLAME_PROCESS(p, .object = "session keyring"),
			"thread %d has another than its process", c->thread->tid);
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
