/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "remote/layout.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/macro.h"
#include "remote/birth.h"

#define WINDOW_START 0x2c5e00000000ul
#define WINDOW_END   0x2c6200000000ul /* 16 GiB */

struct line {
	struct exec_mapping m;
	char perms[5];
	const char *name;
};

bool layout_is_ours(uint64_t start, uint64_t end)
{
	return start >= WINDOW_START && end <= WINDOW_END;
}

static int read_text(pid_t pid, const char *name, char **text)
{
	size_t size = 0, room = 32768;
	char path[64];
	_cleanup_fd_ int fd = -1;
	_cleanup_free_ char *buf = NULL;

	snprintf(path, sizeof(path), "/proc/%d/%s", pid, name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	for (;;) {
		char *grown = realloc(buf, room + 1);
		ssize_t n;

		if (!grown)
			return -ENOMEM;
		buf = grown;
		n = read(fd, buf + size, room - size);
		if (n < 0)
			return -errno;
		size += (size_t)n;
		buf[size] = 0;
		if (!n)
			break;
		if (size == room)
			room *= 2;
	}
	*text = take_ptr(buf);
	return 0;
}

/* One line; at ends of lines there is a NUL already. */
static bool parse(const char *text, struct line *out)
{
	unsigned int major, minor;
	int name = 0;

	if (sscanf(text, "%" SCNx64 "-%" SCNx64 " %4s %" SCNx64 " %x:%x %" SCNu64 " %n", &out->m.start, &out->m.end,
		    out->perms, &out->m.offset, &major, &minor, &out->m.inode, &name) < 7)
		return false;
	out->m.dev = (uint64_t)major << 32 | minor;
	out->name = text + name;
	return true;
}

static bool is_libc(const char *name)
{
	return strstr(name, "/libc") || strstr(name, "/ld-");
}

static bool complete(const struct gadgets *g)
{
	return g->syscall_ret && g->restorer;
}

static void note(struct layout *l, const struct line *line, size_t size)
{
	l->in_window |= layout_is_ours(line->m.start, line->m.end);
	if (line->m.start < l->free + size && line->m.end > l->free)
		l->free = ALIGN_UP(line->m.end, LAYOUT_STEP);
	if (!strcmp(line->name, "[stack]")) {
		l->stack_start = line->m.start;
		l->stack_end = line->m.end;
	}
	if (!strcmp(line->name, "[vdso]")) {
		l->vdso_start = line->m.start;
		l->vdso_end = line->m.end;
	}
}

static void search(struct layout *l, pid_t pid, const struct line *line, bool libc, struct gadget_cache *cache)
{
	if (line->m.inode && line->perms[0] == 'r' && line->perms[2] == 'x' && line->perms[3] == 'p' &&
		is_libc(line->name) == libc && !complete(&l->gadgets))
		gadgets_search(&l->gadgets, pid, &line->m, cache);
}

/* Calls for each line; the C library's code is searched before anything else, for it has what we seek. */
static void walk(struct layout *l, pid_t pid, char *text, size_t size, struct gadget_cache *cache)
{
	struct line line;
	char *next;

	for (char *at = text; (next = strchr(at, '\n')); at = next + 1) {
		*next = 0;
		if (parse(at, &line)) {
			note(l, &line, size);
			search(l, pid, &line, true, cache);
		}
		*next = '\n';
	}
	for (char *at = text; !complete(&l->gadgets) && (next = strchr(at, '\n')); at = next + 1) {
		*next = 0;
		if (parse(at, &line))
			search(l, pid, &line, false, cache);
		*next = '\n';
	}
}

int layout_read(struct layout *l, pid_t pid, size_t size, struct gadget_cache *cache)
{
	_cleanup_free_ char *text = NULL;
	int r = read_text(pid, "maps", &text);

	*l = (struct layout){ .free = WINDOW_START };
	if (!text)
		return r;
	walk(l, pid, text, size, cache);
	if (!l->gadgets.syscall)
		l->gadgets.syscall = find_syscall_insn(pid, l->vdso_start, l->vdso_end);
	return l->free + size <= WINDOW_END ? 0 : -ENOMEM;
}
