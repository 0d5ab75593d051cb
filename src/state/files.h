/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the components of files share with each other and offer the engine. */
#pragma once

#include <sys/stat.h>

#include "object/component.h"
#include "object/descriptions.h"
#include "state/components.h"

/* --- for the engine, checkpoint --- */

/*
 * Reads the descriptors of c->process into process->files; from several workers. When that was done for every
 * process, files_look_done tells apart what is the tree's own and what belongs to the outside; only then may
 * components look (the tree runs; c->writer is NULL) or capture (in the stop).
 */
int files_look(struct capture *c);
/* What stands behind one descriptor, by the directory /proc/TID/fd that shows it. 0 or negative errno. */
int file_look_closely(struct file_look *f, int dir);
int files_look_done(struct capture *c); /* once for the tree */
void files_look_free(struct process *p);

/* --- components of files --- */

/* Saves the description with what it stands on, once: c->process is one that holds it. Without c->writer,
 * only refuses what cannot be carried. */
int file_save(struct capture *c, struct file_look *f);
/* The component of what a descriptor stands on: the first that matches. */
const struct component *backing_component(const struct file_look *f);
struct statfs;
/* Of the file system that it is on. 0 or negative errno. */
int file_statfs(const struct file_look *f, struct statfs *out);
/* Saves what f stands on, once, and returns its id. */
int backing_save(struct capture *c, struct file_look *f, object_id *out);
/* The id under which it is saved. */
object_id backing_id(struct capture *c, const struct file_look *f);

/* The same inode as the descriptor fd, opened anew with these flags (F_GETFL's). Descriptor or negative
 * errno. */
int reopen(int fd, uint64_t flags);
/* Has the tree a lease for writing on it (F_SETLEASE)? */
bool file_is_leased(const struct capture *c, int fd);
/* To read it as a checkpoint does: with an offset of its own, and unseen, also by the tree's own watches (src/kernel/unseen.h). */
int reopen_unseen(const struct capture *c, int fd);
/* A freshly opened description gets the offset and those flags that open cannot give. Returns fd, or closes
 * it and returns negative errno. */
int file_settle(int fd, const struct file_state *file);

/* Calls fn(arg) in a short-lived child that shares all memory and descriptors with this process, but outlives
 * it: what must not be left half done. The caller waits. fn may only make system calls. Returns what fn
 * returned. */
int call_in_child(int (*fn)(void *arg), void *arg);
/* The same with a descriptor table of its own, which begins as this process's. */
int call_with_own_descriptors(int (*fn)(void *arg), void *arg);
/* As call_in_child, in the pid namespace that the descriptor ns names: there the kernel tells its numbers. */
int call_in_pid_ns(int ns, int (*fn)(void *arg), void *arg);

/* fdinfo of a descriptor in the keeper, read again. */
int fdinfo_of_dup(int fd, char **text);

/* A process group's number in the tree's pid namespace; 0: no process of the tree is in it. */
int64_t group_in_tree(const struct tree *t, pid_t pgrp);

/* --- paths --- */

/* Is the file behind fd on a mount that is attached nowhere (fsmount, open_tree)? path: its name, which leads to the same inode. */
bool mount_is_detached(const struct capture *c, int fd, const char *path);
/* What the path names in the tree (never following a last link). 0 or negative errno. */
int tree_open(const struct capture *c, const char *path, int flags);
int tree_stat(const struct capture *c, const char *path, struct stat *st);

/* Of those that share a description, the process and number by which it is named. */
static inline const struct file_look *file_holder(const struct file_look *f)
{
	return f->description ? f->description->look : f;
}
#define BLAME_FILE(f, ...) BLAME_PROCESS(file_holder(f)->process, .object = file_name(file_holder(f)).s, __VA_ARGS__)
