/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Seccomp: which system calls a thread may make. seccomp(2), PTRACE_SECCOMP_GET_FILTER in ptrace(2);
 * kernel/seccomp.c; selftests/seccomp.
 *
 * Installed while the thread may still do so without no_new_privs, so before its credentials: what it has to
 * call after that, it can, for as long as spore has it seized with PTRACE_O_SUSPEND_SECCOMP. The engine
 * seizes every new task before STAGE_IDENTITY and lets go of it last of all.
 */
#include "object/component.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/cleanup.h"
#include "kernel/capability.h"
#include "state/owner.h"

#define MOST_FILTERS 1024 /* the kernel's limit on their instructions comes before it */

/* --- a filter, which threads and processes share --- */

struct filter_state {
	struct blob program;
	uint32_t flags;
};

static const struct field filter_fields[] = {
	FIELD_BLOB(struct filter_state, program, "program", "struct sock_filter, one after the other"),
	FIELD_HEX(struct filter_state, flags, "flags", "SECCOMP_FILTER_FLAG_LOG"),
	FIELD_END,
};

static int filter_validate(struct restore *r, const struct record *rec)
{
	const struct filter_state *s = rec->state;
	size_t n = s->program.size / sizeof(struct sock_filter);

	if (!n || n > BPF_MAXINSNS || s->program.size % sizeof(struct sock_filter) ||
		s->flags & ~(uint32_t)SECCOMP_FILTER_FLAG_LOG)
		return failed(r->ps, BLAME(.object = "seccomp filter"), -EBADMSG, "it is no filter");
	return 0;
}

const struct component component_seccomp_filter = {
	.kind = {
		.name = "seccomp_filter",
		.version = 1,
		.size = sizeof(struct filter_state),
		.fields = filter_fields,
		.doc = "a seccomp filter, which threads and processes may share",
		.sources = "seccomp(2); kernel/seccomp.c; selftests/seccomp",
	},
	.scope = SCOPE_OTHER,
	.validate = filter_validate,
};

/* --- what a thread has --- */

struct filter_ref {
	object_id filter;
};

static const struct field filter_ref_fields[] = {
	FIELD_REF(struct filter_ref, filter, "filter", "seccomp_filter", REF_STRONG, "the filter"),
	FIELD_END,
};

extern const struct component component_seccomp;

struct seccomp_state {
	object_id of;
	uint8_t mode;
	struct filter_ref *filters;
	size_t n_filters;
	bool synchronized;
};

static const struct field seccomp_fields[] = {
	FIELD_REF(struct seccomp_state, of, "of", "thread", REF_STRONG, "the thread"),
	FIELD_UINT(struct seccomp_state, mode, "mode", "1: strict, 2: filters"),
	FIELD_LIST(struct seccomp_state, filters, n_filters, "filters", filter_ref_fields,
		"in the order in which they were installed"),
	FIELD_BOOL(struct seccomp_state, synchronized, "synchronized",
		"of a leader: all threads of its process have these"),
	FIELD_END,
};

/* A computed answer (BPF_RET | BPF_A) cannot be told from here; nothing known makes one for a listener. */
static bool notifies(const struct filter_state *f)
{
	const struct sock_filter *code = (const void *)f->program.data;

	for (size_t i = 0; i < f->program.size / sizeof(*code); i++)
		if (code[i].code == (BPF_RET | BPF_K) &&
			(code[i].k & SECCOMP_RET_ACTION_FULL) == SECCOMP_RET_USER_NOTIF)
			return true;
	return false;
}

/* Filter number i of a stopped thread, the oldest first. -ENOENT: there is none. */
static int read_filter(pid_t tid, unsigned long i, struct filter_state *f)
{
	struct __ptrace_seccomp_metadata metadata = { .filter_off = i };
	long n = ptrace(PTRACE_SECCOMP_GET_FILTER, tid, i, NULL);

	if (n < 0)
		return -errno;
	f->program.size = (size_t)n * sizeof(struct sock_filter);
	f->program.data = malloc(f->program.size);
	if (!f->program.data)
		return -ENOMEM;
	if (ptrace(PTRACE_SECCOMP_GET_FILTER, tid, i, f->program.data) != n)
		return -errno;
	if (ptrace(PTRACE_SECCOMP_GET_METADATA, tid, sizeof(metadata), &metadata) >= 0)
		f->flags = (uint32_t)metadata.flags;
	return 0;
}

static int add_filter(struct capture *c, const struct filter_state *f, object_id *id)
{
	XXH128_hash_t hash = XXH3_128bits(f->program.data, f->program.size);
	bool is_new;

	if (notifies(f))
		return refused(c->ps, BLAME_PROCESS(c->process, .object = "seccomp filter"),
			"it asks a supervisor through a notification descriptor, which cannot be made again "
			"for a filter in place");
	*id = identity_of(c->identities, "seccomp_filter", hash.low64, hash.high64,
		f->program.size | (uint64_t)f->flags << 32, &is_new);
	return is_new ? image_add(c->writer, &component_seccomp_filter.kind, *id, f) : 0;
}

static int capture_filters(struct capture *c, pid_t tid, struct seccomp_state *s)
{
	for (unsigned long i = 0; i < MOST_FILTERS; i++) {
		struct filter_state f = { 0 };
		struct filter_ref *grown;
		int r = read_filter(tid, i, &f);

		if (r == 0) {
			grown = reallocarray(s->filters, s->n_filters + 1, sizeof(*grown));
			s->filters = grown ? grown : s->filters;
			r = grown ? add_filter(c, &f, &s->filters[s->n_filters].filter) : -ENOMEM;
		}
		fields_free(filter_fields, &f);
		if (r == -ENOENT && i)
			return 0;
		if (r == -ENOTSUP)
			return r;
		if (r < 0)
			return failed(c->ps, BLAME_PROCESS(c->process, .object = "seccomp filter"), r,
				"cannot read filter %lu of thread %d: %s", i, tid, strerror(-r));
		s->n_filters++;
	}
	return 0;
}

/* Have all threads what the leader has? Then they may well share it, as SECCOMP_FILTER_FLAG_TSYNC wants it:
 * so they will. */
static int compare_threads(struct capture *c, struct seccomp_state *s)
{
	const struct process *p = c->process;

	s->synchronized = p->n_threads > 1;
	for (size_t i = 1; s->synchronized && i < p->n_threads; i++) {
		struct seccomp_state other = { 0 };
		int r = 0;

		if (p->threads[i].status.seccomp_filters == p->threads[0].status.seccomp_filters)
			r = capture_filters(c, p->threads[i].tid, &other);
		s->synchronized = other.n_filters == s->n_filters && other.filters && s->filters &&
				  !memcmp(other.filters, s->filters, s->n_filters * sizeof(*s->filters));
		free(other.filters);
		if (r < 0)
			return r;
	}
	return 0;
}

static int seccomp_capture(struct capture *c, const struct batch *b, void *scratch, void *state)
{
	struct seccomp_state *s = state;
	int r;

	s->of = c->thread->id;
	s->mode = (uint8_t)c->thread->status.seccomp;
	if (s->mode == SECCOMP_MODE_DISABLED)
		return CAPTURE_NOTHING;
	if (s->mode == SECCOMP_MODE_STRICT)
		return 0;
	r = capture_filters(c, c->thread->tid, s);
	if (r == 0 && c->thread == &c->process->threads[0])
		r = compare_threads(c, s);
	return r;
}

/* --- restore --- */

static int seccomp_validate(struct restore *r, const struct record *rec)
{
	const struct seccomp_state *s = rec->state;

	if (s->mode != SECCOMP_MODE_STRICT && s->mode != SECCOMP_MODE_FILTER)
		return failed(r->ps, BLAME(.pid = owner_vpid(r, s->of), .object = "seccomp"), -EBADMSG,
			"mode %u is none", s->mode);
	if (!capable_own(CAP_SYS_ADMIN))
		refused(r->ps,
			BLAME(.pid = owner_vpid(r, s->of), .object = "seccomp", .remedy = "give spore CAP_SYS_ADMIN"),
			"a filter cannot be installed, and suspended while the task is built, without "
			"CAP_SYS_ADMIN");
	return 0;
}

static bool leader_synchronizes(const struct build *b)
{
	size_t n;
	const struct record *records = image_records(b->restore->image, &component_seccomp.kind, &n);

	for (size_t i = 0; i < n; i++) {
		const struct seccomp_state *s = records[i].state;

		if (s->of == b->process->threads[0].id)
			return s->synchronized;
	}
	return false;
}

static int install(struct build *build, const struct seccomp_state *s, uint64_t flags)
{
	struct batch *b = build->batch;

	for (size_t i = 0; i < s->n_filters; i++) {
		const struct filter_state *f = restore_state(build->restore, s->filters[i].filter, "seccomp_filter");
		struct sock_fprog program = { 0 };

		if (!f)
			return -EBADMSG;
		program.len = (unsigned short)(f->program.size / sizeof(struct sock_filter));
		program.filter = (void *)(uintptr_t)batch_copy(b, f->program.data, f->program.size).v;
		/* SPEC_ALLOW: what the thread has of the speculation controls is a matter of its own, and
		 * set. */
		batch_call(b, "seccomp(SECCOMP_SET_MODE_FILTER)", SYS_seccomp, SECCOMP_SET_MODE_FILTER,
			flags | f->flags | SECCOMP_FILTER_FLAG_SPEC_ALLOW, batch_copy(b, &program, sizeof(program)).v);
	}
	return 0;
}

static int seccomp_identity(struct build *b, const void *state)
{
	const struct seccomp_state *s = state;
	bool leader = b->thread == &b->process->threads[0];

	if (s->mode == SECCOMP_MODE_STRICT) {
		batch_call(b->batch, "seccomp(SECCOMP_SET_MODE_STRICT)", SYS_seccomp, SECCOMP_SET_MODE_STRICT);
		return 0;
	}
	if (leader)
		return install(b, s, s->synchronized ? SECCOMP_FILTER_FLAG_TSYNC : 0);
	return leader_synchronizes(b) ? 0 : install(b, s, 0);
}

const struct component component_seccomp = {
	.kind = {
		.name = "seccomp",
		.version = 1,
		.size = sizeof(struct seccomp_state),
		.fields = seccomp_fields,
		.doc = "which system calls a thread may make",
		.sources = "seccomp(2), ptrace(2); kernel/seccomp.c; selftests/seccomp",
	},
	.scope = SCOPE_THREAD,
	.capture = seccomp_capture,
	.validate = seccomp_validate,
	.build = { [STAGE_IDENTITY] = seccomp_identity },
};
