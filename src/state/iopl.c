/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * iopl: whether a thread may use every I/O port. iopl(2); arch/x86/kernel/ioport.c; selftests/x86/iopl.c. Nothing shows it since Linux 5.5, but to ask for
 * the level that one has is no change and always allowed, and to ask for a higher one takes CAP_SYS_RAWIO: so a thread that lays that capability down for a
 * moment, and asks for level 3, is told whether it is there. Levels 1 and 2 are numbers without an effect, and not looked for.
 */
#include "object/component.h"

#include <errno.h>
#include <string.h>
#include <sys/io.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "kernel/capability.h"
#include "state/capset.h"
#include "state/files.h"
#include "state/owner.h"

#define ALL_PORTS 3

struct iopl_state {
	object_id of;
	uint8_t level;
};

static const struct field iopl_fields[] = {
	FIELD_REF(struct iopl_state, of, "of", "thread", REF_STRONG, "the thread"),
	FIELD_UINT(struct iopl_state, level, "level", "3: every port"),
	FIELD_END,
};

/* A kernel built without CONFIG_X86_IOPL_IOPERM has no such call. 0 is what this thread has. */
static bool is_known(void)
{
	return iopl(0) == 0;
}

struct iopl_scratch {
	bool asked;
	uint32_t level;
};

static void iopl_ask(struct capture *c, struct batch *b, void *scratch)
{
	const struct proc_status *st = &c->thread->status;
	const uint64_t rawio = 1ull << CAP_SYS_RAWIO;
	struct iopl_scratch *s = scratch;

	s->asked = is_known();
	if (!s->asked)
		return;
	if (st->cap_effective & rawio)
		capabilities_add(b, "capset without CAP_SYS_RAWIO", st->cap_inheritable, st->cap_permitted,
			st->cap_effective & ~rawio);
	s->level = batch_call(b, "iopl", SYS_iopl, ALL_PORTS);
	batch_may_fail(b, s->level);
	if (st->cap_effective & rawio)
		capabilities_add(
			b, "capset with CAP_SYS_RAWIO", st->cap_inheritable, st->cap_permitted, st->cap_effective);
}

static int iopl_capture(struct capture *c, const struct batch *b, void *scratch, void *state)
{
	const struct iopl_scratch *asked = scratch;
	struct iopl_state *s = state;

	*s = (struct iopl_state){ .of = c->thread->id, .level = ALL_PORTS };
	return asked->asked && batch_result(b, asked->level) == 0 ? 0 : CAPTURE_NOTHING;
}

/* --- restore --- */

static int try_level(void *level)
{
	return iopl(*(const uint8_t *)level) < 0 ? -errno : 0;
}

/* A task of ours tries: beside the capability, lockdown may forbid it. */
static int iopl_validate(struct restore *r, const struct record *rec)
{
	uint8_t level = ((const struct iopl_state *)rec->state)->level;
	int error = call_in_child(try_level, &level);

	if (error == -EINVAL)
		failed(r->ps,
			BLAME(.pid = owner_vpid(r, ((const struct iopl_state *)rec->state)->of), .object = "I/O ports"),
			-EBADMSG, "the image has an impossible level");
	else if (error < 0)
		refused(r->ps,
			BLAME(.pid = owner_vpid(r, ((const struct iopl_state *)rec->state)->of), .object = "I/O ports",
				.remedy = "give spore CAP_SYS_RAWIO, on a kernel that has iopl(2) and is not locked "
					  "down"),
			"it may use every port (iopl), and spore may not give that here: %s", strerror(-error));
	return 0;
}

static int iopl_identity(struct build *b, const void *state)
{
	batch_call(b->batch, "iopl", SYS_iopl, ((const struct iopl_state *)state)->level);
	return 0;
}

const struct component component_iopl = {
	.kind = {
		.name = "iopl",
		.version = 1,
		.size = sizeof(struct iopl_state),
		.fields = iopl_fields,
		.doc = "a thread that may use every I/O port",
		.sources = "iopl(2); arch/x86/kernel/ioport.c; selftests/x86/iopl.c",
	},
	.scope = SCOPE_THREAD,
	.scratch_size = sizeof(struct iopl_scratch),
	.ask = iopl_ask,
	.capture = iopl_capture,
	.validate = iopl_validate,
	.build = { [STAGE_IDENTITY] = iopl_identity },
};
