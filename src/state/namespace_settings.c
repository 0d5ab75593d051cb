/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a tree has set in namespaces of its own: the links, addresses, routes, sysctls and packet filters of a network that it was
 * given for itself alone. namespaces(7);
 * net/core/net_namespace.c. Only looked at: a restore makes new namespaces, so whatever differs from a new one's is refused. (Limits of IPC are carried,
 * by ipc_limits.c.)
 */
#include "object/component.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "container/container.h"
#include "state/network_settings.h"
#include "state/owner.h"

#define MOST 24

struct settings {
	const char *ns; /* of /proc/PID/ns */
	int flag;
	struct setting {
		const char *file;    /* in /proc; or, where there is none, */
		char *(*read)(void); /* what tells, and */
		const char *name;    /* what that is */
	} list[MOST];
	const char *remedy;
};

static const struct settings net_settings = { "net", CLONE_NEWNET,
	{ { .read = network_links, .name = "links" }, { .read = network_addresses, .name = "addresses" },
		{ .read = network_routes, .name = "routes" }, { .read = network_nexthops, .name = "nexthops" },
		{ .read = network_neighbours, .name = "neighbours" },
		{ .read = network_address_labels, .name = "address labels" },
		{ .read = network_policy_rules, .name = "policy rules" }, { "thread-self/net/ip_tables_names" },
		{ "thread-self/net/ip6_tables_names" }, { "thread-self/net/arp_tables_names" },
		{ .read = network_nft_tables, .name = "nftables" }, { .read = network_ip_sets, .name = "IP sets" },
		{ "thread-self/net/ip_vs" }, { .read = network_ipsec, .name = "IPsec" },
		{ .read = network_disciplines, .name = "queueing disciplines" },
		{ .read = network_actions, .name = "actions of traffic control" },
		{ .read = network_mptcp, .name = "MPTCP" }, { .read = network_programs, .name = "eBPF" },
		{ .read = network_sysctls, .name = "sysctl" } },
	"take back what was set there, or give it a network of that name (spore run --net PATH)" };

struct values {
	char *text[MOST]; /* NULL: this kernel has not that file */
};

static void values_free(struct values *v)
{
	for (size_t i = 0; i < MOST; i++)
		free(v->text[i]);
}

static bool is_setting(const struct setting *s)
{
	return s->file || s->read;
}

/* In the namespaces that this thread is in. */
static void read_here(const struct settings *s, struct values *v)
{
	for (size_t i = 0; i < MOST && is_setting(&s->list[i]); i++) {
		char path[64];

		if (s->list[i].read) {
			v->text[i] = s->list[i].read();
			continue;
		}
		snprintf(path, sizeof(path), "/proc/%s", s->list[i].file);
		procfs_read(AT_FDCWD, path, &v->text[i], NULL);
	}
}

/* its: a namespace; negative: a new one. This thread visits it for a moment. */
static int read_there(struct capture *c, const struct settings *s, int own, int its, struct values *v)
{
	int r = 0;

	if ((its < 0 ? unshare(s->flag) : setns(its, s->flag)) < 0)
		return failed(c->ps, BLAME(.object = s->ns), -errno,
			"its %s namespace cannot be compared with a new one: %m", s->ns);
	if (its < 0 && s->flag == CLONE_NEWNET)
		r = container_raise_loopback();
	read_here(s, v);
	if (setns(own, s->flag) < 0)
		return failed(c->ps, NULL, -errno, "cannot go back to the host's %s namespace: %m", s->ns);
	return r;
}

static bool same(const char *a, const char *b)
{
	return a && b ? !strcmp(a, b) : a == b;
}

/* Of two lists, the first line of `its` that the other has not; the end of it if there is none. */
static const char *first_difference(const char *its, const char *new)
{
	const char *line = its;

	for (; *its && *its == *new; its++, new ++)
		if (*its == '\n')
			line = its + 1;
	return line;
}

static void refuse_difference(
	struct capture *c, const struct settings *s, const struct setting *which, const char *its, const char *new)
{
	const char *name = which->file ? strrchr(which->file, '/') + 1 : which->name;
	const char *line = which->read == network_sysctls ? first_difference(its, new) : its;
	char object[160];

	if (which->read == network_sysctls) /* its line begins with its name */
		snprintf(object, sizeof(object), "%.*s of its %s namespace", (int)strcspn(line, " \n"), line, s->ns);
	else
		snprintf(object, sizeof(object), "%s of its %s namespace", name, s->ns);
	line += which->read == network_sysctls ? strcspn(line, " ") : 0;
	if (which->read == network_sysctls)
		refused(c->ps, BLAME_PROCESS(c->process, .object = object, .remedy = s->remedy),
			"it is %.*s, which is not carried", (int)strcspn(line, "\n"), line);
	else
		refused(c->ps, BLAME_PROCESS(c->process, .object = object, .remedy = s->remedy),
			"it is not that of a new one, and is not carried");
}

static void refuse_differences(
	struct capture *c, const struct settings *s, const struct values *its, const struct values *new)
{
	for (size_t i = 0; i < MOST && is_setting(&s->list[i]); i++)
		if (!same(its->text[i], new->text[i]))
			refuse_difference(
				c, s, &s->list[i], its->text[i] ? its->text[i] : "", new->text[i] ? new->text[i] : "");
}

static int compare(struct capture *c, const struct settings *s)
{
	char path[32];
	_cleanup_fd_ int own = -1, its = -1;
	struct values of_tree = { 0 }, of_new = { 0 };
	struct stat a, b;
	int r;

	snprintf(path, sizeof(path), "/proc/thread-self/ns/%s", s->ns);
	own = open(path, O_RDONLY | O_CLOEXEC);
	its = openat(c->process->living_fd, path + strlen("/proc/thread-self/"), O_RDONLY | O_CLOEXEC);
	if (own < 0 || its < 0 || fstat(own, &a) < 0 || fstat(its, &b) < 0 || a.st_ino == b.st_ino)
		return 0;
	r = read_there(c, s, own, its, &of_tree);
	if (r == 0)
		r = read_there(c, s, own, -1, &of_new);
	if (r == 0)
		refuse_differences(c, s, &of_tree, &of_new);
	values_free(&of_tree);
	values_free(&of_new);
	return r;
}

/* A network that was made elsewhere (--net PATH) stays with who made it. */
static bool has_network_alone(const struct tree *t)
{
	return t->container && t->container->spec.net && !strcmp(t->container->spec.net, "none");
}

static int namespace_settings_look(struct capture *c)
{
	if (c->process != c->tree->processes[0] || !c->tree->container) /* any other namespace of its own is refused */
		return 0;
	return has_network_alone(c->tree) ? compare(c, &net_settings) : 0;
}

static const struct field no_fields[] = { FIELD_END };

const struct component component_namespace_settings = {
	.kind = {
		.name = "namespace_settings",
		.version = 1,
		.size = sizeof(object_id),
		.fields = no_fields,
		.doc = "only looked at: what a tree set in a network of its own is refused",
		.sources = "namespaces(7); net/core/net_namespace.c",
	},
	.scope = SCOPE_PROCESS,
	.look = namespace_settings_look,
	.capture = capture_nothing,
};
