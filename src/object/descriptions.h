/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Which descriptors of a tree are one and the same open file description, found by kcmp(2). What cannot be
 * equal (another mount, inode or access mode) is never compared; the rest is kept in the order that kcmp
 * defines, so that ten thousand eventfds cost a binary search each.
 *
 * One table for each look and for each stop: between two stops every answer may change.
 */
#pragma once

#include <pthread.h>
#include <sys/stat.h>

#include "base/map.h"
#include "image/image.h"
#include "object/tree.h"

struct identities;

struct description {
	struct description *next;     /* in the order in which they were found */
	struct description *same_ino; /* the same of those of one inode number */
	const struct file_look *look; /* of the first process found to hold it; lives until files_look_free */
	pid_t tid;
	object_id file;
	bool external;	    /* belongs to the outside: src/state/external.c */
	uint8_t streams;    /* bits 0 to 2: standard streams of the root that it is, or whose inode it shares */
	bool crosses;	    /* has an end outside that is no standard stream */
	int family;	    /* of a socket: AF_*; 0: not known */
	int type, protocol; /* of a socket: SO_TYPE, SO_PROTOCOL */
	uint64_t inode;	    /* the address of the kernel's struct inode; 0: it cannot be looked at */
	uint8_t advice;	    /* src/state/files_hidden.h */
};

/* A mapped file as maps show it. */
struct mapped_key {
	uint64_t dev, ino, name; /* name: a hash */
};

struct descriptions {
	struct tree *tree;
	pthread_mutex_t lock;
	struct map groups, inodes; /* of those that only kcmp can tell apart, and of those of one inode number */
	struct description_group *all_groups;
	struct described_inode *all_inodes;
	struct description *first, **last;
	uint64_t n;
	struct id_set {
		struct claim {
			object_id id;
			uint64_t inode;
		} * list; /* sorted by id */
		size_t n, room;
	} claimed;
	struct mapped_backings {
		struct mapped_file_backing {
			struct mapped_key key;
			object_id id;
		} * list; /* sorted by key */
		size_t n, room;
	} mapped;
	bool watched; /* the tree has an inotify instance, a fanotify group or F_NOTIFY set: it would be told of what spore opens */
	bool leased;	    /* there is a lease for writing (F_SETLEASE): to open its file would break it */
	int root_fd;	    /* O_PATH of the tree's root directory */
	struct stat devpts; /* of the tree's /dev/pts; st_dev is 0 if it has none */
	int shm_fd;	    /* O_PATH of the /dev/shm that a container has to itself; -1: none */
	dev_t shm_dev;
	pthread_mutex_t contents_lock;
	struct page_writer *contents; /* page file of files that only descriptors hold */
	struct sockets *sockets;      /* what is told of all sockets together: src/state/sockets.h */
	struct bpf_views *bpf;	      /* who has BPF maps: src/state/bpf_view.h */
};

int descriptions_new(struct tree *t, struct descriptions **out);
void descriptions_free(struct descriptions *d); /* takes NULL */

/* Fills f->description and f->file, and the members that link and fstat give: from the first that had it, or
 * with look(f, dir). From any thread. */
typedef int look_fn(struct file_look *f, int dir);
int description_find(
	struct descriptions *d, struct identities *ids, struct file_look *f, pid_t tid, look_fn *look, int dir);

/* The first that was found of this inode number, of whatever file system; the rest by same_ino. */
struct description *descriptions_of_ino(const struct descriptions *d, uint64_t ino);
/* The one for which order() is 0, among them: it tells where what is sought stands to a description, as kcmp orders them. */
struct description *descriptions_search(
	const struct descriptions *d, uint64_t ino, int (*order)(const struct description *d, void *arg), void *arg);

/* True for the first that asks for this id: it saves the object. */
bool descriptions_claim(struct descriptions *d, object_id id);
/* The same; inode: whatever tells inodes apart, 0: not known. -ESTALE: who asked first had another. */
int descriptions_claim_inode(struct descriptions *d, object_id id, uint64_t inode);

/* What a mapped file's backing is saved as; 0: it was not met yet. Many processes map the same few files many times. */
object_id mapped_backing(struct descriptions *d, struct mapped_key key);
void mapped_backing_note(struct descriptions *d, struct mapped_key key, object_id id);

/* A descriptor of it in this process, for the caller to close: not that of the look, which another worker may be using. */
int description_dup(const struct description *d);
