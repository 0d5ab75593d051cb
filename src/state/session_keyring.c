/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Session keyrings that the tree itself made or joined. session-keyring(7), keyctl(2), pam_keyinit(8); security/keys/process_keys.c. One that it inherited, with
 * a name of the kernel's ("_ses", "_uid_ses.0"), belongs to the login or service that started it, as a terminal does: a restored tree has that of the
 * restoring command. Any other is made again, if there is nothing in it but the keyring of its user; a key could not be given its serial number again.
 */
#include "state/session_keyring.h"

#include <linux/keyctl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>

#include "object/identity.h"
#include "state/owner.h"

extern const struct component component_session_keyring;

struct session_keyring_state {
	object_id of;
	char *name;
	uint32_t uid, gid, permissions;
	bool user_keyring;
};

static const struct field session_keyring_fields[] = {
	FIELD_REF(struct session_keyring_state, of, "of", "thread", REF_STRONG,
		"the leader of the process that joined it: its children and threads inherit it"),
	FIELD_STRING(struct session_keyring_state, name, "name", "by which it was joined; none: anonymous"),
	FIELD_UINT(struct session_keyring_state, uid, "uid", "owner of the keyring"),
	FIELD_UINT(struct session_keyring_state, gid, "gid", "group of the keyring"),
	FIELD_HEX(struct session_keyring_state, permissions, "permissions", "KEYCTL_SETPERM"),
	FIELD_BOOL(
		struct session_keyring_state, user_keyring, "user_keyring", "the keyring of its user is linked to it"),
	FIELD_END,
};

/* --- checkpoint --- */

static int add_record(struct capture *c, const struct process *p)
{
	const struct session_keyring *k = &p->session_keyring;
	struct session_keyring_state s = {
		.of = p->threads[0].id,
		.name = k->anonymous ? NULL : (char *)k->name,
		.uid = k->uid,
		.gid = k->gid,
		.permissions = k->permissions,
		.user_keyring = k->n_keys == 1,
	};
	bool is_new;

	identity_of(c->identities, "session keyring", (uint64_t)(uint32_t)k->serial, 0, 0, &is_new);
	if (!is_new)
		return refused(c->ps, BLAME_PROCESS(p, .object = "session keyring"),
			"it shares one with another process of the tree that is not its parent");
	if (k->n_keys > (size_t)k->user_keyring)
		return refused(c->ps,
			BLAME_PROCESS(p, .object = "session keyring", .remedy = "remove them (keyctl clear)"),
			"it joined one of its own, \"%s\", that holds keys", k->name);
	changed(c->ps, BLAME_PROCESS(p, .object = "session keyring"),
		"the one that it joined gets another serial number");
	return image_add(c->writer, &component_session_keyring.kind, identity_fresh(c->identities), &s);
}

static bool is_of_outside(const struct tree *t, const struct process *p)
{
	const struct session_keyring *k = &p->session_keyring;

	return !k->serial || (k->by_kernel && (!k->anonymous || k->serial == t->processes[0]->session_keyring.serial));
}

static int capture_one(struct capture *c, const struct process *p)
{
	const struct process *parent = p->parent && !p->parent->zombie ? p->parent : NULL;

	if (p->zombie || (parent && parent->session_keyring.serial == p->session_keyring.serial))
		return 0;
	if (!is_of_outside(c->tree, p))
		return add_record(c, p);
	if (parent && !is_of_outside(c->tree, parent))
		return refused(c->ps, BLAME_PROCESS(p, .object = "session keyring"),
			"it has not that of its parent, which would be inherited");
	return 0;
}

static int session_keyrings_capture(struct capture *c, const struct batch *b, void *scratch, void *state)
{
	const struct process *root = c->tree->processes[0];

	if (root->session_keyring.serial && root->session_keyring.by_kernel &&
		root->session_keyring.n_keys > (size_t)root->session_keyring.user_keyring)
		changed(c->ps, BLAME_PROCESS(root, .object = "session keyring"),
			"the one that it inherited holds keys: the restored tree has that of the restoring command");
	for (size_t i = 0; i < c->tree->n_processes; i++) {
		int r = capture_one(c, c->tree->processes[i]);

		if (r < 0)
			return r;
	}
	return CAPTURE_NOTHING;
}

/* --- restore --- */

bool session_keyring_any(const struct restore *r)
{
	size_t n;

	image_records(r->image, &component_session_keyring.kind, &n);
	return n > 0;
}

void session_keyring_join(struct build *b)
{
	size_t n;
	const struct record *rec = image_records(b->restore->image, &component_session_keyring.kind, &n);

	for (size_t i = 0; i < n; i++) {
		const struct session_keyring_state *s = rec[i].state;
		const uint64_t keyring = (uint64_t)(int64_t)KEY_SPEC_SESSION_KEYRING;

		if (s->of != b->thread->id)
			continue;
		batch_call(b->batch, "keyctl(KEYCTL_JOIN_SESSION_KEYRING)", SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING,
			s->name ? batch_string(b->batch, s->name).v : 0);
		batch_call(b->batch, "keyctl(KEYCTL_CHOWN)", SYS_keyctl, KEYCTL_CHOWN, keyring, s->uid, s->gid);
		batch_call(b->batch, "keyctl(KEYCTL_SETPERM)", SYS_keyctl, KEYCTL_SETPERM, keyring, s->permissions);
	}
}

/* When it is who it was. */
static int session_keyring_identity(struct build *b, const void *state)
{
	const struct session_keyring_state *s = state;

	if (s->user_keyring)
		batch_call(b->batch, "keyctl(KEYCTL_LINK)", SYS_keyctl, KEYCTL_LINK,
			(uint64_t)(int64_t)KEY_SPEC_USER_KEYRING, (uint64_t)(int64_t)KEY_SPEC_SESSION_KEYRING);
	return 0;
}

const struct component component_session_keyring = {
	.kind = {
		.name = "session_keyring",
		.version = 1,
		.size = sizeof(struct session_keyring_state),
		.fields = session_keyring_fields,
		.doc = "a session keyring that a process of the tree made or joined",
		.sources = "session-keyring(7), keyctl(2); security/keys/process_keys.c",
	},
	.scope = SCOPE_THREAD,
	.build = { [STAGE_IDENTITY] = session_keyring_identity },
};

static const struct field no_fields[] = { FIELD_END };

const struct component component_session_keyrings = {
	.kind = {
		.name = "session_keyrings",
		.version = 1,
		.size = sizeof(object_id),
		.fields = no_fields,
		.doc = "only looked at: which process joined which session keyring",
		.sources = "session-keyring(7)",
	},
	.scope = SCOPE_TREE,
	.capture = session_keyrings_capture,
};
