/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Attributes of a process that prctl(2) and membarrier(2) set: child subreaper, no transparent huge pages, no
 * memory both writable and executable, merging of equal pages, registrations of membarrier. kernel/sys.c,
 * kernel/sched/membarrier.c, mm/ksm.c; selftests/mm/mdwe_test.c, selftests/membarrier.
 */
#include "object/component.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "kernel/uapi.h"
#include "state/owner.h"

struct attributes_state {
	object_id of;
	bool child_subreaper;
	uint8_t thp_disable, mdwe;
	bool memory_merge;
	uint32_t membarrier;
	int8_t autogroup_nice;
	uint32_t futex_slots;
};

static const struct field attributes_fields[] = {
	FIELD_REF(struct attributes_state, of, "of", "process", REF_STRONG, "the process"),
	FIELD_BOOL(struct attributes_state, child_subreaper, "child_subreaper", "PR_GET_CHILD_SUBREAPER"),
	FIELD_UINT(struct attributes_state, thp_disable, "thp_disable", "PR_GET_THP_DISABLE; 3: except where advised"),
	FIELD_UINT(struct attributes_state, mdwe, "mdwe", "PR_GET_MDWE: no memory that is writable and executable"),
	FIELD_BOOL(struct attributes_state, memory_merge, "memory_merge",
		"PR_GET_MEMORY_MERGE: all memory may be merged by KSM"),
	FIELD_HEX(struct attributes_state, membarrier, "membarrier",
		"registrations, as bits of the commands that make them"),
	FIELD_INT(struct attributes_state, autogroup_nice, "autogroup_nice",
		"of the session that it leads, or whose leader has ended: /proc/PID/autogroup"),
	FIELD_UINT(struct attributes_state, futex_slots, "futex_slots",
		"PR_FUTEX_HASH: slots of its own that the kernel did not choose; 0: none"),
	FIELD_END,
};

struct attributes_scratch {
	int32_t *subreaper;
	uint32_t thp, mdwe, merge, membarrier, futex_slots;
};

static uint32_t ask_one(struct batch *b, const char *what, long nr, uint64_t first)
{
	uint32_t op = batch_call(b, what, nr, first);

	batch_may_fail(b, op); /* a kernel that does not know it has it off */
	return op;
}

static void attributes_ask(struct capture *c, struct batch *b, void *scratch)
{
	struct attributes_scratch *s = scratch;
	void *room = NULL;
	uint64_t at = batch_room(b, sizeof(*s->subreaper), &room).v;

	s->subreaper = room;
	batch_call(b, "prctl(PR_GET_CHILD_SUBREAPER)", SYS_prctl, PR_GET_CHILD_SUBREAPER, at);
	s->thp = ask_one(b, "prctl(PR_GET_THP_DISABLE)", SYS_prctl, PR_GET_THP_DISABLE);
	s->mdwe = ask_one(b, "prctl(PR_GET_MDWE)", SYS_prctl, SPORE_PR_GET_MDWE);
	s->merge = ask_one(b, "prctl(PR_GET_MEMORY_MERGE)", SYS_prctl, SPORE_PR_GET_MEMORY_MERGE);
	s->membarrier = ask_one(b, "membarrier", SYS_membarrier, SPORE_MEMBARRIER_GET_REGISTRATIONS);
	s->futex_slots = batch_call(
		b, "prctl(PR_FUTEX_HASH_GET_SLOTS)", SYS_prctl, SPORE_PR_FUTEX_HASH, SPORE_PR_FUTEX_HASH_GET_SLOTS);
	batch_may_fail(b, s->futex_slots);
}

#define FUTEX_SLOTS_LEAST 16

/*
 * The kernel gives a process of several threads a table of futexes of its own, four slots for each thread or processor, and lets it grow with its threads: it will
 * do so again. One that the program gave itself stays as it is, so such a size is not set where the kernel may have chosen it.
 */
static uint32_t chosen_futex_slots(const struct process *p, uint32_t slots)
{
	const unsigned long most = 4ul * (unsigned long)p->tree->n_cpus;

	if (p->n_threads > 1 && (slots <= FUTEX_SLOTS_LEAST || slots < 2 * most))
		return 0;
	return slots;
}

static uint32_t answer(const struct batch *b, uint32_t op)
{
	int64_t r = batch_result(b, op);

	return r < 0 ? 0 : (uint32_t)r;
}

/* "/autogroup-22 nice 5": of all tasks of the session together. Not there without CONFIG_SCHED_AUTOGROUP. */
static int8_t read_autogroup(int proc_fd)
{
	_cleanup_free_ char *text = NULL;
	const char *nice;
	size_t size;

	if (procfs_read(proc_fd, "autogroup", &text, &size) < 0)
		return 0;
	nice = strstr(text, " nice ");
	return nice ? (int8_t)strtol(nice + sizeof(" nice ") - 1, NULL, 10) : 0;
}

/* Of a session whose leader has ended, the first of its processes says it. One that is led from outside of the tree belongs to the outside. */
static bool speaks_for_session(const struct process *p)
{
	const struct tree *t = p->tree;
	pid_t session = p->stat.session;
	const struct process *leader = session ? tree_find(t, session) : NULL;

	if (leader == p)
		return true;
	if (!session || (leader ? !leader->zombie : kill(session, 0) == 0 || errno != ESRCH))
		return false;
	for (size_t i = 0; i < t->n_processes; i++)
		if (t->processes[i]->stat.session == session && !t->processes[i]->zombie)
			return t->processes[i] == p;
	return false;
}

static int attributes_capture(struct capture *c, const struct batch *b, void *scratch, void *state)
{
	const struct attributes_scratch *got = scratch;
	const struct process *p = c->process;
	struct attributes_state *s = state;

	*s = (struct attributes_state){
		.of = p->id,
		.child_subreaper = *got->subreaper,
		.thp_disable = (uint8_t)answer(b, got->thp),
		.mdwe = (uint8_t)answer(b, got->mdwe),
		.memory_merge = answer(b, got->merge),
		.membarrier = answer(b, got->membarrier),
		.autogroup_nice = speaks_for_session(p) ? read_autogroup(p->proc_fd) : 0,
		.futex_slots = chosen_futex_slots(p, answer(b, got->futex_slots)),
	};
	return s->child_subreaper || s->thp_disable || s->mdwe || s->memory_merge || s->membarrier ||
			       s->autogroup_nice || s->futex_slots
		       ? 0
		       : CAPTURE_NOTHING;
}

/* --- restore --- */

static int write_autogroup(struct build *b, int8_t nice)
{
	_cleanup_fd_ int dir = procfs_open_pid(b->process->pid);
	_cleanup_fd_ int fd = dir < 0 ? -1 : openat(dir, "autogroup", O_WRONLY | O_CLOEXEC);
	char text[8];
	int n = snprintf(text, sizeof(text), "%d", nice);

	/* The kernel lets even root do this only every tenth of a second when it is not CAP_SYS_ADMIN; any
	 * failure shows as a difference, not as a broken tree. */
	if (fd < 0 || write(fd, text, (size_t)n) != n)
		return changed(b->ps, BLAME(.pid = b->process->vpid, .object = "autogroup"),
			"its nice value cannot be set to %d here: %s", nice, strerror(errno));
	return 0;
}

static int attributes_identity(struct build *build, const void *state)
{
	const struct attributes_state *s = state;
	struct batch *b = build->batch;

	if (s->child_subreaper)
		batch_call(b, "prctl(PR_SET_CHILD_SUBREAPER)", SYS_prctl, PR_SET_CHILD_SUBREAPER, 1);
	if (s->thp_disable)
		batch_call(b, "prctl(PR_SET_THP_DISABLE)", SYS_prctl, PR_SET_THP_DISABLE, 1, s->thp_disable & ~1u);
	if (s->memory_merge)
		batch_call(b, "prctl(PR_SET_MEMORY_MERGE)", SYS_prctl, SPORE_PR_SET_MEMORY_MERGE, 1);
	for (uint32_t command = 1; command; command <<= 1)
		if (s->membarrier & command)
			batch_call(b, "membarrier", SYS_membarrier, command);
	if (s->futex_slots)
		batch_call(b, "prctl(PR_FUTEX_HASH_SET_SLOTS)", SYS_prctl, SPORE_PR_FUTEX_HASH,
			SPORE_PR_FUTEX_HASH_SET_SLOTS, s->futex_slots);
	/* After this nothing can become executable that is not: the tree's memory stands since STAGE_BIRTH.
	 */
	if (s->mdwe)
		batch_call(b, "prctl(PR_SET_MDWE)", SYS_prctl, SPORE_PR_SET_MDWE, s->mdwe);
	return s->autogroup_nice ? write_autogroup(build, s->autogroup_nice) : 0;
}

/* Registrations that a command other than theirs would make are none. */
static int attributes_validate(struct restore *r, const struct record *rec)
{
	const struct attributes_state *s = rec->state;
	const uint32_t known = 1u << 2 | 1u << 4 | 1u << 6 | 1u << 8;

	if (s->membarrier & ~known)
		return failed(r->ps, BLAME(.pid = owner_vpid(r, s->of), .object = "membarrier"), -EBADMSG,
			"registrations 0x%x are not known", s->membarrier & ~known);
	return 0;
}

const struct component component_attributes = {
	.kind = {
		.name = "attributes",
		.version = 1,
		.size = sizeof(struct attributes_state),
		.fields = attributes_fields,
		.doc = "what prctl and membarrier set for a process",
		.sources = "prctl(2), membarrier(2); kernel/sys.c, kernel/sched/membarrier.c; selftests/prctl, selftests/membarrier",
	},
	.scope = SCOPE_PROCESS,
	.scratch_size = sizeof(struct attributes_scratch),
	.ask = attributes_ask,
	.capture = attributes_capture,
	.validate = attributes_validate,
	.build = { [STAGE_IDENTITY] = attributes_identity },
};
