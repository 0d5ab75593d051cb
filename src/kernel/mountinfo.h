/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The text of /proc/PID/mountinfo, proc_pid_mountinfo(5): a pure function over a buffer. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct mount_entry {
	int id;
	unsigned int major, minor;
	char *root;    /* of the mount within its file system */
	char *point;   /* where it is mounted, as the process's root sees it */
	char *options; /* of the mount: "rw,nosuid" */
	char *fstype;
	char *super;	 /* options of the file system */
	bool propagates; /* shared, or slave of another */
};

struct mount_table {
	struct mount_entry *list;
	size_t n;
};

/* 0, -ENOMEM or -EBADMSG. Octal escapes are undone. text need not end in a NUL. */
int mountinfo_parse(const char *text, size_t size, struct mount_table *out);
/* The table of a process: path is "/proc/PID/mountinfo". */
int mountinfo_read(const char *path, struct mount_table *out);
void mount_table_free(struct mount_table *t);
