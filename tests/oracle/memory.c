/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Mappings: ranges, protections, what is behind them, what is in them. */

#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "oracle.h"

struct row {
	struct mapping m;
	const char *policy;
	struct contents contents;
};

static const char *const unsteady_flags[] = {
	"sd", /* soft dirty */
	"mt", /* memory tagging, not on this architecture */
};

/* Of these the kernel keeps track as a side effect of how a mapping came about, not of what it is. */
static const char *const strict_flags[] = { "ac", "uw" };

static bool listed(const char *flag, const char *const *list, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (!strcmp(flag, list[i]))
			return true;
	return false;
}

static void keep_flags(struct oracle *o, char *line, char *out, size_t size)
{
	char *save = NULL;
	size_t used = 0;

	*out = '\0';
	for (char *f = strtok_r(line, " \n", &save); f; f = strtok_r(NULL, " \n", &save)) {
		if (listed(f, unsteady_flags, ARRAY_SIZE(unsteady_flags)))
			continue;
		if (!o->opt.strict && listed(f, strict_flags, ARRAY_SIZE(strict_flags)))
			continue;
		if (used + strlen(f) + 2 < size)
			used += sprintf(out + used, "%s%s", used ? " " : "", f);
	}
}

static bool parse_header(struct mapping *m, const char *line)
{
	unsigned major, minor;
	int name = 0;

	*m = (struct mapping){ 0 };
	if (sscanf(line, "%lx-%lx %4s %lx %x:%x %lu %n", &m->start, &m->end, m->perms, &m->offset, &major, &minor,
		    &m->ino, &name) < 7)
		return false;
	m->dev = makedev(major, minor);
	m->name = strdup(line + name);
	return true;
}

/* smaps: a header line, then lines of "Key: value" until the next header. */
static struct row *parse_smaps(struct oracle *o, char *text, size_t *count)
{
	struct row *rows = NULL;
	size_t n = 0;
	char *save = NULL;

	for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		struct row *row = n ? &rows[n - 1] : NULL;

		if (*line < 'A' || *line > 'Z') {
			rows = reallocarray(rows, n + 1, sizeof(*rows));
			rows[n] = (struct row){ 0 };
			if (parse_header(&rows[n].m, line))
				n++;
		} else if (!row) {
			continue;
		} else if (!strncmp(line, "Anonymous:", 10)) {
			row->m.anonymous += strtoul(line + 10, NULL, 10);
		} else if (!strncmp(line, "Swap:", 5)) {
			row->m.anonymous += strtoul(line + 5, NULL, 10);
		} else if (!strncmp(line, "VmFlags:", 8)) {
			keep_flags(o, line + 8, row->m.flags, sizeof(row->m.flags));
		}
	}
	*count = n;
	return rows;
}

/* The policy of a range set by mbind(2): second word of its line in numa_maps, if not "default". */
static void add_policies(struct row *rows, size_t n, char *text)
{
	char *save = NULL;
	size_t i = 0;

	for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		char *end, *word;
		uint64_t start = strtoull(line, &end, 16);

		while (i < n && rows[i].m.start < start)
			i++;
		if (i == n || rows[i].m.start != start || *end != ' ')
			continue;
		word = end + 1;
		word[strcspn(word, " ")] = '\0';
		if (strcmp(word, "default"))
			rows[i].policy = word;
	}
}

static bool same_policy(const char *a, const char *b)
{
	return a == b || (a && b && !strcmp(a, b));
}

/* The kernel may hold as two mappings what it could hold as one: how it came about, nobody can tell by using
 * it. */
static bool continues(const struct row *a, const struct row *b)
{
	return a->m.end == b->m.start && !strcmp(a->m.perms, b->m.perms) && !strcmp(a->m.flags, b->m.flags) &&
	       a->m.dev == b->m.dev && a->m.ino == b->m.ino && !strcmp(a->m.name, b->m.name) &&
	       (!a->m.ino || a->m.offset + (a->m.end - a->m.start) == b->m.offset) && same_policy(a->policy, b->policy);
}

static void absorb(struct row *a, struct row *b)
{
	a->m.end = b->m.end;
	a->contents.known &= b->contents.known;
	a->contents.unreadable |= b->contents.unreadable;
	a->contents.sum += b->contents.sum;
	a->contents.guards += b->contents.guards;
}

static void mapping_fact(struct oracle *o, const struct proc *p, const struct row *row)
{
	const struct mapping *m = &row->m;
	char key[48], contents[64] = "";
	_free_ char *name = NULL;

	/* What is shared and nameless, or deleted, or a memfd, is known by an ordinal. */
	if (m->ino)
		name = target_name(o, m->name, m->dev, m->ino);
	if (row->contents.unreadable)
		snprintf(contents, sizeof(contents), " contents unreadable");
	else if (row->contents.known)
		snprintf(contents, sizeof(contents), " contents %016lx", (unsigned long)row->contents.sum);
	snprintf(key, sizeof(key), "map %lx-%lx", (unsigned long)m->start, (unsigned long)m->end);
	fact(o, p->prefix, key, "%s %lx %s flags %s%s%s%s", m->perms, (unsigned long)(m->ino ? m->offset : 0),
		m->ino	   ? name
		: *m->name ? m->name
			   : "(anonymous)",
		m->flags, row->policy ? " policy " : "", row->policy ? row->policy : "", contents);
	if (row->contents.guards) {
		snprintf(key, sizeof(key), "guards %lx", (unsigned long)m->start);
		fact(o, p->prefix, key, "%016lx", (unsigned long)row->contents.guards);
	}
}

/* Shared memory can be written by whoever maps it: its contents are at rest when all the tree is. */
static bool at_rest(const struct oracle *o, const struct proc *p, const struct mapping *m)
{
	if (o->opt.still || m->perms[1] != 'w')
		return o->opt.still || !o->opt.outside;
	if (o->opt.outside || !p->still)
		return false;
	for (size_t i = 0; m->perms[3] == 's' && i < o->nprocs; i++)
		if (o->procs[i].state != 'Z' && !o->procs[i].still)
			return false;
	return true;
}

void memory_facts(struct oracle *o, struct proc *p)
{
	pid_t tid = live_tid(p);
	_free_ char *smaps = NULL;
	_free_ char *policies = NULL;
	_free_ struct row *rows = NULL;
	size_t n = 0;

	smaps = slurpf(NULL, "/proc/%d/task/%d/smaps", p->pid, tid);
	policies = slurpf(NULL, "/proc/%d/task/%d/numa_maps", p->pid, tid);
	if (!smaps)
		return;
	rows = parse_smaps(o, smaps, &n);
	if (policies)
		add_policies(rows, n, policies);
	for (size_t i = 0; i < n; i++)
		if (o->opt.memory && at_rest(o, p, &rows[i].m))
			contents_of(o, p, &rows[i].m, &rows[i].contents);
	for (size_t i = 0, to; i < n; i = to) {
		for (to = i + 1; to < n; to++) {
			if (!continues(&rows[i], &rows[to]))
				break;
			absorb(&rows[i], &rows[to]);
		}
		mapping_fact(o, p, &rows[i]);
	}
	for (size_t i = 0; i < n; i++)
		free(rows[i].m.name);
}
