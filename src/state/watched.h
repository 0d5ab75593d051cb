/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The file or directory that a watch (inotify) or a mark (fanotify) is on. */
#pragma once

#include "object/component.h"
#include "state/fdinfo.h"

/* Saves the inode that the mark of f is on, and gives its id. 0, or refused by name. */
int watched_save(struct capture *c, const struct file_look *f, const struct fdinfo_mark *mark, object_id *id);

/* The same for a mark on a mount or a file system, by where that is mounted. */
int watched_save_mount(struct capture *c, const struct file_look *f, const struct fdinfo_mark *mark, object_id *id);

/* Opens it: O_PATH, or a descriptor that belongs to the restore. *own: to be closed by the caller; else -1. */
int watched_open(struct restore *r, object_id id, int *own);

/* src/state/watched_find.c: by the marks that the kernel would show for it, which tell any inode of any file system from any other. */
int mark_of(int fd, struct fdinfo_mark *out);
bool mark_is_on(const struct fdinfo_mark *mark, int fd);
/* Where that mount, or one of that file system, is in the tree; for the caller to free. NULL: nowhere. */
char *watched_mount(struct capture *c, const struct fdinfo_mark *mark);
/* A path of the tree that leads to it, for the caller to free; NULL: none found. near: a directory in which it may be; NULL. */
char *watched_find(struct capture *c, const struct fdinfo_mark *mark, const char *near);
