/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Whole small files: /proc, cgroup files, spore's own notes. */
#pragma once

#include <stddef.h>

/* Reads all of it; *out is NUL-terminated and the caller's. 0 or negative errno. size may be NULL. */
int file_read_all(int dir_fd, const char *path, char **out, size_t *size);
/* For reading, without a trace in its time of access where that may be asked for (by its owner, and with CAP_FOWNER). */
int file_open_unseen(int dir_fd, const char *path);
/* Writes text into an existing file with one write(2), as the kernel's own files want it. */
int file_write_text(int dir_fd, const char *path, const char *text);
/* Replaces path by a file (0600) of that text, atomically. */
int file_replace(int dir_fd, const char *path, const char *text);
