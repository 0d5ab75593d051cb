/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Limits of an IPC namespace of the tree's own. proc_sys_kernel(5), mq_overview(7); ipc/ipc_sysctl.c, ipc/mq_sysctl.c. A new namespace begins with the
 * kernel's; those of the host's stay as they are.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "state/sysv.h"

struct ipc_limit {
	char *name, *value;
};

struct ipc_limits_state {
	struct ipc_limit *list;
	size_t n;
};

static const struct field limit_fields[] = {
	FIELD_STRING(struct ipc_limit, name, "name", "from /proc/sys"),
	FIELD_STRING(struct ipc_limit, value, "value", "as it reads"),
	FIELD_END,
};

static const struct field ipc_limits_fields[] = {
	FIELD_LIST(struct ipc_limits_state, list, n, "list", limit_fields, "all that this kernel has"),
	FIELD_END,
};

/* Whether what nobody has attached is to go: set when all is attached. */
#define REMOVE_FORCED "kernel/shm_rmid_forced"

static const char *const names[] = { "kernel/shmmax", "kernel/shmall", "kernel/shmmni", "kernel/sem", "kernel/msgmax",
	"kernel/msgmnb", "kernel/msgmni", "fs/mqueue/queues_max", "fs/mqueue/msg_max", "fs/mqueue/msgsize_max",
	"fs/mqueue/msg_default", "fs/mqueue/msgsize_default", REMOVE_FORCED };

static int read_all(struct ipc_limits_state *s)
{
	s->list = calloc(ARRAY_SIZE(names), sizeof(*s->list));
	if (!s->list)
		return -ENOMEM;
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		struct ipc_limit *l = &s->list[s->n];
		int r = ipc_sysctl_read(names[i], &l->value);

		if (r == -ENOENT)
			continue;
		if (r < 0)
			return r;
		s->n++;
		l->name = strdup(names[i]);
		if (!l->name)
			return -ENOMEM;
	}
	return 0;
}

static int ipc_limits_capture(struct capture *c, const struct batch *b, void *scratch, void *state)
{
	struct ipc_place place;
	int r = ipc_enter(c->tree->processes[0]->living_fd, &place);

	if (r < 0 || !place.foreign)
		return r < 0 ? r : CAPTURE_NOTHING;
	r = read_all(state);
	ipc_leave(&place);
	return r;
}

/* --- restore --- */

static bool is_known(const struct ipc_limit *l)
{
	for (size_t i = 0; l->name && l->value && i < ARRAY_SIZE(names); i++)
		if (!strcmp(l->name, names[i]))
			return true;
	return false;
}

static int ipc_limits_validate(struct restore *r, const struct record *rec)
{
	const struct ipc_limits_state *s = rec->state;

	for (size_t i = 0; i < s->n; i++)
		if (!is_known(&s->list[i]))
			return failed(r->ps, BLAME(.object = "IPC namespace"), -EBADMSG,
				"the image has a limit that there is not");
	return sysv_is_own(r) ? 0
			      : failed(r->ps, BLAME(.object = "IPC namespace"), -EBADMSG,
					"the image has limits of a namespace that the tree did not have");
}

static int set(struct restore *r, const struct ipc_limit *l)
{
	_cleanup_free_ char *now = NULL;
	int error = ipc_sysctl_read(l->name, &now);

	if (error == 0 && !strcmp(now, l->value))
		return 0;
	if (error == 0)
		error = ipc_sysctl_write(l->name, l->value);
	return error < 0 ? failed(r->ps, BLAME(.object = l->name), error, "cannot be set to %s: %s", l->value,
				   strerror(-error))
			 : 0;
}

static int set_those(struct restore *r, const struct ipc_limits_state *s, bool forced)
{
	struct ipc_place place;
	int error = sysv_enter(r, &place);

	for (size_t i = 0; error == 0 && place.foreign && i < s->n; i++)
		if (!strcmp(s->list[i].name, REMOVE_FORCED) == forced)
			error = set(r, &s->list[i]);
	ipc_leave(&place);
	return error;
}

static int ipc_limits_make(struct build *b, const void *state)
{
	return set_those(b->restore, state, false);
}

static int ipc_limits_settle(struct restore *r, const struct record *rec)
{
	return set_those(r, rec->state, true);
}

const struct component component_ipc_limits = {
	.kind = {
		.name = "ipc_limits",
		.version = 1,
		.size = sizeof(struct ipc_limits_state),
		.fields = ipc_limits_fields,
		.doc = "limits of the tree's own IPC namespace",
		.sources = "proc_sys_kernel(5), mq_overview(7); ipc/ipc_sysctl.c, ipc/mq_sysctl.c",
	},
	.scope = SCOPE_TREE,
	.capture = ipc_limits_capture,
	.validate = ipc_limits_validate,
	.build[STAGE_NAMESPACES] = ipc_limits_make,
	.settle = ipc_limits_settle,
};
