/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* sysctl(7), bpf(2); net/sysctl_net.c, net/core/filter.c, kernel/bpf/net_namespace.c, kernel/bpf/tcx.c. */
#include "state/network_settings.h"

#include <fcntl.h>
#include <linux/bpf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "kernel/procfs.h"
#include "kernel/uapi.h"

/* --- /proc/sys/net --- */

static void write_value(FILE *out, const char *path, const char *value)
{
	fprintf(out, "%s ", path);
	for (const char *c = value; *c; c++)
		fputc(*c == '\n' ? ' ' : *c, out);
	fputc('\n', out);
}

/* What cannot be written was not set. The kernel lists names in their order. */
static void walk_sysctls(FILE *out, const char *path)
{
	_cleanup_dir_ DIR *dir = opendir(path);
	struct dirent *e;

	while (dir && (e = readdir(dir))) {
		_cleanup_free_ char *name = NULL, *value = NULL;
		struct stat st;

		if (e->d_name[0] == '.' || asprintf(&name, "%s/%s", path, e->d_name) < 0 || stat(name, &st) < 0)
			continue;
		if (S_ISDIR(st.st_mode))
			walk_sysctls(out, name);
		else if (st.st_mode & 0200 && procfs_read(AT_FDCWD, name, &value, NULL) == 0)
			write_value(out, name + sizeof("/proc/sys/") - 1, value);
	}
}

char *network_sysctls(void)
{
	char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);

	if (!out)
		return NULL;
	walk_sysctls(out, "/proc/sys/net");
	fclose(out);
	return text;
}

/* --- eBPF --- */

#define LOOPBACK 1 /* the index of the first link, which is that */

static void tell_programs(FILE *out, uint32_t target, uint32_t type)
{
	union bpf_attr attr = { .query = { .target_fd = target, .attach_type = type } };

	if (syscall(SYS_bpf, BPF_PROG_QUERY, &attr, sizeof(attr)) == 0 && attr.query.prog_cnt)
		fprintf(out, "%u %u\n", type, attr.query.prog_cnt);
}

char *network_programs(void)
{
	_cleanup_fd_ int ns = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
	char *text = NULL;
	size_t size;
	FILE *out = ns < 0 ? NULL : open_memstream(&text, &size);

	if (!out)
		return NULL;
	tell_programs(out, (uint32_t)ns, BPF_FLOW_DISSECTOR);
	tell_programs(out, (uint32_t)ns, BPF_SK_LOOKUP);
	tell_programs(out, LOOPBACK, SPORE_BPF_TCX_INGRESS);
	tell_programs(out, LOOPBACK, SPORE_BPF_TCX_EGRESS);
	fclose(out);
	return text;
}
