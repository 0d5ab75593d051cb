/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* From which NUMA nodes a thread takes memory. set_mempolicy(2), numa(7); mm/mempolicy.c. Policies of
 * mappings are the mappings' own. */
#include "object/component.h"

#include <errno.h>
#include <linux/mempolicy.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "state/owner.h"

#define NODE_WORDS 16 /* 1024 nodes, the most that a kernel is built for */
#define NODE_BITS  (NODE_WORDS * 64)

struct mempolicy_state {
	object_id of;
	uint32_t mode;
	uint64_t *nodes;
	size_t n_nodes;
};

static const struct field mempolicy_fields[] = {
	FIELD_REF(struct mempolicy_state, of, "of", "thread", REF_STRONG, "the thread"),
	FIELD_HEX(struct mempolicy_state, mode, "mode", "MPOL_*, with its flags"),
	FIELD_UINTS(struct mempolicy_state, nodes, n_nodes, "nodes", SHOW_HEX, "64 to a number"),
	FIELD_END,
};

struct mempolicy_got {
	int32_t mode;
	uint64_t nodes[NODE_WORDS];
};

struct mempolicy_scratch {
	uint32_t op;
	struct mempolicy_got *got;
};

static void mempolicy_ask(struct capture *c, struct batch *b, void *scratch)
{
	struct mempolicy_scratch *s = scratch;
	void *room = NULL;
	uint64_t at = batch_room(b, sizeof(*s->got), &room).v;

	s->got = room;
	s->op = batch_call(
		b, "get_mempolicy", SYS_get_mempolicy, at, at + offsetof(struct mempolicy_got, nodes), NODE_BITS, 0, 0);
	batch_may_fail(b, s->op); /* ENOSYS: a kernel without NUMA */
}

static int mempolicy_capture(struct capture *c, const struct batch *b, void *scratch, void *state)
{
	const struct mempolicy_scratch *got = scratch;
	struct mempolicy_state *s = state;

	if (batch_result(b, got->op) < 0 || got->got->mode == MPOL_DEFAULT)
		return CAPTURE_NOTHING;
	s->of = c->thread->id;
	s->mode = (uint32_t)got->got->mode;
	for (s->n_nodes = NODE_WORDS; s->n_nodes > 1 && !got->got->nodes[s->n_nodes - 1];)
		s->n_nodes--;
	s->nodes = malloc(s->n_nodes * sizeof(*s->nodes));
	if (!s->nodes)
		return -ENOMEM;
	memcpy(s->nodes, got->got->nodes, s->n_nodes * sizeof(*s->nodes));
	return 0;
}

static int mempolicy_validate(struct restore *r, const struct record *rec)
{
	const struct mempolicy_state *s = rec->state;
	uint64_t here[NODE_WORDS] = { 0 };

	if (s->n_nodes > NODE_WORDS)
		return failed(r->ps, BLAME(.pid = owner_vpid(r, s->of), .object = "memory policy"), -EBADMSG,
			"too many nodes");
	syscall(SYS_get_mempolicy, NULL, here, NODE_BITS, 0, MPOL_F_MEMS_ALLOWED);
	for (size_t i = 0; i < s->n_nodes; i++)
		if (s->nodes[i] & ~here[i])
			refused(r->ps,
				BLAME(.pid = owner_vpid(r, s->of), .object = "memory policy",
					.remedy = "restore on a machine with these nodes"),
				"it takes memory from NUMA nodes that are not here (word %zu: 0x%llx)", i,
				(unsigned long long)(s->nodes[i] & ~here[i]));
	return 0;
}

static int mempolicy_identity(struct build *build, const void *state)
{
	const struct mempolicy_state *s = state;
	struct batch *b = build->batch;
	uint64_t nodes[NODE_WORDS] = { 0 };

	memcpy(nodes, s->nodes, s->n_nodes * sizeof(*nodes));
	batch_call(b, "set_mempolicy", SYS_set_mempolicy, s->mode, batch_copy(b, nodes, sizeof(nodes)).v, NODE_BITS);
	return 0;
}

const struct component component_mempolicy = {
	.kind = {
		.name = "mempolicy",
		.version = 1,
		.size = sizeof(struct mempolicy_state),
		.fields = mempolicy_fields,
		.doc = "from which NUMA nodes a thread takes memory",
		.sources = "set_mempolicy(2), numa(7); mm/mempolicy.c",
	},
	.scope = SCOPE_THREAD,
	.scratch_size = sizeof(struct mempolicy_scratch),
	.ask = mempolicy_ask,
	.capture = mempolicy_capture,
	.validate = mempolicy_validate,
	.build = { [STAGE_IDENTITY] = mempolicy_identity },
};
