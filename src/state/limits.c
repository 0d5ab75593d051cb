/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Resource limits, the score for the out-of-memory killer, and what a core dump is to hold. getrlimit(2),
 * proc(5), core(5); kernel/sys.c, fs/proc/base.c.
 *
 * A hard limit above that of spore needs CAP_SYS_RESOURCE, and prlimit on another user's process needs it
 * too: so limits are set from inside, before the identity changes.
 */
#include "object/component.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include "base/cleanup.h"
#include "kernel/capability.h"
#include "state/owner.h"

static const char *const limit_names[] = {
	[RLIMIT_CPU] = "cpu",
	[RLIMIT_FSIZE] = "fsize",
	[RLIMIT_DATA] = "data",
	[RLIMIT_STACK] = "stack",
	[RLIMIT_CORE] = "core",
	[RLIMIT_RSS] = "rss",
	[RLIMIT_NPROC] = "nproc",
	[RLIMIT_NOFILE] = "nofile",
	[RLIMIT_MEMLOCK] = "memlock",
	[RLIMIT_AS] = "as",
	[RLIMIT_LOCKS] = "locks",
	[RLIMIT_SIGPENDING] = "sigpending",
	[RLIMIT_MSGQUEUE] = "msgqueue",
	[RLIMIT_NICE] = "nice",
	[RLIMIT_RTPRIO] = "rtprio",
	[RLIMIT_RTTIME] = "rttime",
};
#define N_LIMITS ARRAY_SIZE(limit_names)

struct limit {
	char name[16];
	uint64_t soft, hard;
};

static const struct field limit_fields[] = {
	FIELD_TEXT(struct limit, name, "name", "as in getrlimit(2), without RLIMIT_"),
	FIELD_UINT(struct limit, soft, "soft", "18446744073709551615: unlimited"),
	FIELD_UINT(struct limit, hard, "hard", "how far the process may raise it"),
	FIELD_END,
};

struct limits_state {
	object_id of;
	struct limit *limits;
	size_t n_limits;
	int16_t oom_score_adj;
	uint32_t coredump_filter;
};

static const struct field limits_fields[] = {
	FIELD_REF(struct limits_state, of, "of", "process", REF_STRONG, "the process"),
	FIELD_LIST(struct limits_state, limits, n_limits, "limits", limit_fields, "resource limits"),
	FIELD_INT(struct limits_state, oom_score_adj, "oom_score_adj", "/proc/PID/oom_score_adj"),
	FIELD_HEX(struct limits_state, coredump_filter, "coredump_filter", "/proc/PID/coredump_filter"),
	FIELD_END,
};

static int read_number(int dir_fd, const char *name, int base, long *out)
{
	_cleanup_free_ char *text = NULL;
	size_t size;
	int r = procfs_read(dir_fd, name, &text, &size);

	if (r < 0)
		return r;
	*out = strtol(text, NULL, base);
	return 0;
}

struct limits_scratch {
	struct rlimit64 *got;
};

static void limits_ask(struct capture *c, struct batch *b, void *scratch)
{
	struct limits_scratch *s = scratch;
	void *room = NULL;
	uint64_t at = batch_room(b, N_LIMITS * sizeof(*s->got), &room).v;

	s->got = room;
	for (size_t i = 0; i < N_LIMITS; i++)
		batch_call(b, "prlimit64", SYS_prlimit64, 0, i, 0, at + i * sizeof(*s->got));
}

static int limits_capture(struct capture *c, const struct batch *b, void *scratch, void *state)
{
	const struct limits_scratch *got = scratch;
	struct limits_state *s = state;
	long adj, filter;
	int r = read_number(c->process->living_fd, "oom_score_adj", 10, &adj);

	s->of = c->process->id;
	if (r == 0)
		r = read_number(c->process->living_fd, "coredump_filter", 16, &filter);
	if (r < 0)
		return failed(c->ps, BLAME_PROCESS(c->process), r, "cannot read oom_score_adj or coredump_filter");
	s->oom_score_adj = (int16_t)adj;
	s->coredump_filter = (uint32_t)filter;
	s->limits = calloc(N_LIMITS, sizeof(*s->limits));
	if (!s->limits)
		return -ENOMEM;
	s->n_limits = N_LIMITS;
	for (size_t i = 0; i < N_LIMITS; i++) {
		snprintf(s->limits[i].name, sizeof(s->limits[i].name), "%s", limit_names[i]);
		s->limits[i].soft = got->got[i].rlim_cur;
		s->limits[i].hard = got->got[i].rlim_max;
	}
	return 0;
}

/* --- restore --- */

static int limit_number(const char *name)
{
	for (size_t i = 0; i < N_LIMITS; i++)
		if (!strcmp(limit_names[i], name))
			return (int)i;
	return -1;
}

/* A task has the keeper's from birth. */
static const struct own_facts *own_limits(struct restore *r)
{
	struct own_facts *f = &r->own;

	if (f->limits_known)
		return f;
	f->limits_known = true;
	read_number(AT_FDCWD, "/proc/sys/fs/nr_open", 10, &f->nr_open);
	if (read_number(AT_FDCWD, "/proc/self/oom_score_adj", 10, &f->oom_score_adj) < 0)
		f->oom_score_adj = LONG_MIN;
	if (read_number(AT_FDCWD, "/proc/self/coredump_filter", 16, &f->coredump_filter) < 0)
		f->coredump_filter = -1;
	return f;
}

static void validate_limit(struct restore *r, pid_t pid, const struct limit *l, bool privileged)
{
	char object[32];
	struct rlimit own;
	int number = limit_number(l->name);
	long nr_open = own_limits(r)->nr_open;

	snprintf(object, sizeof(object), "limit %s", l->name);
	if (number < 0 || l->soft > l->hard) {
		failed(r->ps, BLAME(.pid = pid, .object = object), -EBADMSG,
			"no limit that this kernel knows, or soft above hard");
		return;
	}
	getrlimit((__rlimit_resource_t)number, &own);
	if (l->hard > own.rlim_max && !privileged)
		refused(r->ps,
			BLAME(.pid = pid, .object = object,
				.remedy = "raise the hard limit of spore, or give it CAP_SYS_RESOURCE"),
			"its hard limit %llu is above spore's own of %llu", (unsigned long long)l->hard,
			(unsigned long long)own.rlim_max);
	if (number == RLIMIT_NOFILE && nr_open && l->hard > (uint64_t)nr_open)
		refused(r->ps, BLAME(.pid = pid, .object = object, .remedy = "raise the sysctl fs.nr_open"),
			"its hard limit %llu is above fs.nr_open, %ld", (unsigned long long)l->hard, nr_open);
}

static int limits_validate(struct restore *r, const struct record *rec)
{
	const struct limits_state *s = rec->state;
	bool privileged = capable_own(CAP_SYS_RESOURCE);
	pid_t pid = owner_vpid(r, s->of);
	long own = 0;

	for (size_t i = 0; i < s->n_limits; i++)
		validate_limit(r, pid, &s->limits[i], privileged);
	if (!privileged && read_number(AT_FDCWD, "/proc/self/oom_score_adj", 10, &own) == 0 && s->oom_score_adj < own)
		refused(r->ps,
			BLAME(.pid = pid, .object = "oom_score_adj",
				.remedy = "give spore CAP_SYS_RESOURCE, or lower its own score"),
			"%d is below spore's own of %ld", s->oom_score_adj, own);
	return 0;
}

/* Writes a number to a file of the newborn's /proc, unless it has it from birth. */
static int write_number(struct build *b, const char *name, const char *format, long born, long value)
{
	_cleanup_fd_ int dir = -1;
	_cleanup_fd_ int fd = -1;
	char text[24];
	int n;

	if (born == value)
		return 0;
	dir = procfs_open_pid(b->process->pid);
	n = snprintf(text, sizeof(text), format, value);
	fd = openat(dir, name, O_WRONLY | O_CLOEXEC);
	if (fd < 0 || write(fd, text, (size_t)n) != n)
		return failed(
			b->ps, BLAME(.pid = b->process->vpid, .object = name), -errno, "cannot set it to %s", text);
	return 0;
}

static int limits_identity(struct build *b, const void *state)
{
	const struct limits_state *s = state;
	const struct own_facts *own = own_limits(b->restore);
	int r;

	r = write_number(b, "oom_score_adj", "%ld", own->oom_score_adj, s->oom_score_adj);
	if (r == 0)
		r = write_number(b, "coredump_filter", "0x%lx", own->coredump_filter, s->coredump_filter);
	for (size_t i = 0; r == 0 && i < s->n_limits; i++) {
		struct rlimit64 l = { s->limits[i].soft, s->limits[i].hard };

		batch_call(b->batch, "prlimit64", SYS_prlimit64, 0, (uint64_t)limit_number(s->limits[i].name),
			batch_copy(b->batch, &l, sizeof(l)).v, 0);
	}
	return r;
}

const struct component component_limits = {
	.kind = {
		.name = "limits",
		.version = 1,
		.size = sizeof(struct limits_state),
		.fields = limits_fields,
		.doc = "resource limits and what belongs to them",
		.sources = "getrlimit(2), proc(5), core(5); kernel/sys.c, fs/proc/base.c",
	},
	.scope = SCOPE_PROCESS,
	.scratch_size = sizeof(struct limits_scratch),
	.ask = limits_ask,
	.capture = limits_capture,
	.validate = limits_validate,
	.build = { [STAGE_IDENTITY] = limits_identity },
};
