/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * spore: save a running process tree to a directory, and bring it back.
 *
 * Five calls, in the order in which they are used:
 *
 *	spore_isolate(pid)                      the tree is unplugged from the world
 *	spore_checkpoint(-1, dir_fd, pid)       it is saved; any number of times
 *	spore_unisolate(pid)                    it goes on, as if nothing had been
 *	pid = spore_restore(dir_fd, 0)          it is built anew, isolated
 *	spore_unisolate(pid)                    and goes on
 *
 * Conventions. A pid is the tree's root (a container's init), as the caller's pid namespace counts; the tree is that process with all its
 * descendants and all their threads. Calls return 0 (spore_restore: a pid) or a negative errno. They keep no state in the caller: the work is
 * done by a process of its own (the keeper, `spore-keeper`), which is not the caller's child, so that the caller's waitpid(-1) never sees it.
 * Nothing is printed and no signal is touched. Any thread may call, also several at once for different trees.
 *
 * Needs: Linux 5.16 or newer on x86-64; CAP_SYS_PTRACE, CAP_SYS_ADMIN and CAP_CHECKPOINT_RESTORE in the tree's user namespace (root has them).
 */
#ifndef SPORE_H
#define SPORE_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif

#define SPORE_API __attribute__((visibility("default")))

#define SPORE_VERSION_MAJOR 0
#define SPORE_VERSION_MINOR 1
#define SPORE_VERSION_PATCH 0

/* --- plain forms --- */

/*
 * Between isolate and unisolate nothing that the tree does is seen outside, and nothing from outside reaches it. (This version keeps that
 * promise by stopping every task of the tree; programs should count on the isolation only, not on the stop.)
 * -ESRCH no such process; -EPERM; -EALREADY isolated already; -ETIMEDOUT a task could not be stopped (named in the detail); -ENOTSUP the tree holds what cannot be isolated.
 * Source: ptrace(2).
 */
SPORE_API int spore_isolate(pid_t pid);

/*
 * Saves the tree into the directory new_dir_fd, which must be empty. old_dir_fd: -1, or an older image of the tree (or of any other: only what is the same is left
 * to it): memory that has not changed since is not saved again, and the new image is whole only together with the older one, which it names by its contents. A tree that is not isolated is isolated for the call, and goes on however the call ends.
 * A new_dir_fd that is no directory gets the image as one stream of bytes (old_dir_fd: -1): a pipe, a stream socket, a file. 0: all of it has been written, and of a file
 * is on the disk. When it fails, what was written has no end, by which a reader knows it. -EPIPE, -ECONNRESET: nobody reads it any more.
 * When it fails, there is no image. -ENOTSUP: the tree holds something that cannot be carried; every such thing is named in the detail.
 * -ENOSPC; -EEXIST the directory holds an image; -ESRCH; -EPERM; -EBUSY another call is under way for this tree.
 */
SPORE_API int spore_checkpoint(int old_dir_fd, int new_dir_fd, pid_t pid);

/* Ends the isolation. -ESRCH not isolated. */
SPORE_API int spore_unisolate(pid_t pid);

/*
 * Builds the tree of an image and returns the pid of its root, isolated: it runs at spore_unisolate. old_pid: 0; or a tree that an earlier
 * restore built, still isolated, to be brought up to this image (-EOPNOTSUPP in this version).
 * A dir_fd that is no directory is read as such a stream, once, from where it is. Not with SPORE_RESTORE_LAZY.
 * The root is a child of the keeper, not of the caller: wait for it with a pidfd (or spore_wait), in whose place the keeper reaps it. Its pid counts in the
 * caller's pid namespace, and is the saved one if the tree is restored into that namespace. A tree of the host's pid namespace whose pids are taken there, or
 * whose session was led from outside of it, gets a new one (new_pid_namespace in the result, and a problem of kind SPORE_CHANGED says why): the root is then a
 * descendant of a spore-init, which is the keeper's child; spore_wait and a pidfd of the root work alike.
 * When it fails, nothing of the tree is left. -EBADMSG the image is damaged; -ENODATA the stream ends before its end; -ENOTSUP it cannot be restored here; -ENOENT no image in the directory.
 */
SPORE_API pid_t spore_restore(int dir_fd, pid_t old_pid);

/* --- forms with options --- */

/*
 * Each struct is passed with its size, as clone3(2) does: a program built against an older header passes a smaller one, and the members
 * that it does not know are zero; a newer one must have zero in the tail that the library does not know (-E2BIG). All zero is the plain form.
 */

enum spore_problem_kind {
	SPORE_FAILED = 1, /* the call cannot go on */
	SPORE_REFUSED,	  /* the tree or the image holds what spore cannot carry, or cannot restore here */
	SPORE_CHANGED,	  /* carried, but a program could see the difference named */
};

struct spore_problem {
	int kind;  /* enum spore_problem_kind */
	int error; /* negative errno */
	pid_t pid; /* 0: not about one process */
	char process[32];
	char object[192];
	char text[512];
	char remedy[256];
};

/* Where a call tells what it does. Called on the calling thread, before the call returns. Members may be NULL. */
struct spore_listener {
	void *data;
	void (*problem)(void *data, const struct spore_problem *p);
	void (*progress)(
		void *data, const char *phase, uint64_t done, uint64_t total); /* bytes, or tasks; total 0: not known */
	void (*log)(void *data, const char *line);
};

struct spore_isolate_options {
	const struct spore_listener *listener;
	const char *
		cgroup; /* not NULL: the tree is all of this cgroup (path under the cgroup2 mount, or absolute); pid is then 0 */
	uint32_t timeout_ms; /* for stopping the tree; 0: 5 seconds */
	uint32_t flags;	     /* of spore_check_with alone: SPORE_CHECKPOINT_STRICT */
};

#define SPORE_CHECKPOINT_KILL  (1u << 0) /* end the tree when the image is complete */
#define SPORE_CHECKPOINT_FORCE (1u << 1) /* overwrite an image in the directory */
#define SPORE_CHECKPOINT_NEW   (1u << 2) /* the directory was made for this call: with a dying caller it goes too */
/*
 * Goes on noting which memory the tree writes, so that the next checkpoint against this image finds what changed without reading what did not; until a checkpoint
 * without it, or the end of the tree. Linux 6.9; where it cannot be done, the next one compares. The tree's own userfaultfd_register(2) may answer EBUSY meanwhile.
 */
#define SPORE_CHECKPOINT_TRACK (1u << 4)
#define SPORE_CHECKPOINT_STRICT                                                                                        \
	(1u << 3) /* refuse a tree with a unix connection to the outside, which would come back hung up, or netlink notifications, which would be lost */

/* Of the pages in an image. It takes longer unless what holds the image is slow, such as a network; restores are longer, too. */
enum spore_compression {
	SPORE_COMPRESSION_NONE,
	SPORE_COMPRESSION_ZSTD, /* -EOPNOTSUPP where the library was built without it */
};

struct spore_checkpoint_options {
	const struct spore_listener *listener;
	const char *cgroup;
	uint32_t timeout_ms;
	uint32_t flags;				/* SPORE_CHECKPOINT_* */
	struct spore_checkpoint_result *result; /* may be NULL */
	uint32_t compression;			/* enum spore_compression */
	uint32_t reserved;
};

struct spore_checkpoint_result {
	uint64_t
		stop_us; /* from just before the first task was told to stop to just before the last one was let go, or all were killed; 0 when the tree was isolated already */
	uint64_t total_us;
	uint64_t pages;	    /* memory pages written */
	uint64_t unchanged; /* memory pages that are left to the older image */
	uint64_t copies;    /* processes that ran on before their memory was saved, from a copy-on-write copy */
	uint64_t tracked;   /* processes whose writes are noted from now on */
	uint64_t bytes;	    /* of the image */
	uint64_t tasks;
	uint64_t stored_bytes; /* what they take in its files: less, if it is compressed */
};

#define SPORE_RESTORE_CHANGED_FILES (1u << 0) /* restore although a file open for writing was written since */
#define SPORE_RESTORE_RUN	    (1u << 1) /* and unisolate: one step, so that a caller that dies leaves all or nothing */
/*
 * The tree runs before all of its memory is there: pages come when it touches them, the others behind. Until all are in, its keeper's death ends the tree, and so does an image that turns
 * out to be damaged, since nothing else but wrong memory would be left to it. Where that cannot be, everything is restored at once, and a problem of kind SPORE_CHANGED says so.
 */
#define SPORE_RESTORE_LAZY (1u << 2)

struct spore_restore_options {
	const struct spore_listener *listener;
	uint32_t flags;	  /* SPORE_RESTORE_* */
	int32_t stdio[3]; /* with has_stdio: what the tree's outside standard streams are attached to; -1: /dev/null */
	uint32_t has_stdio;
	int32_t terminal; /* with has_terminal: slave of a pty that becomes the tree's terminal, if it had the user's */
	uint32_t has_terminal;
	uint32_t reserved;
	struct spore_restore_result *result; /* may be NULL; with clones: of each */
	/*
	 * May be NULL. Called on the calling thread when the tree is built, and before any of it runs: the last moment at which the caller can still do without
	 * it. A negative errno ends the tree, and is what the call returns.
	 */
	int (*built)(void *data, pid_t pid, const struct spore_restore_result *result);
	void *built_data;
	/*
	 * More than 1: that many trees, all or none, each in a pid namespace of its own, whose private memory is one until they write to it. The call returns
	 * the pid of the first; pids has room for all (or is NULL), and so has result. built is called for each, in the same order. Containers get names of
	 * their own: NAME, NAME-2 and so on, as they are free. Not with SPORE_RESTORE_LAZY or a terminal (-EOPNOTSUPP).
	 */
	uint32_t clones;
	uint32_t reserved_too;
	pid_t *pids;
};

#define SPORE_CLONES_MOST 1000

struct spore_restore_result {
	uint64_t total_us;
	uint64_t pages;
	uint64_t bytes;
	uint64_t tasks;
	uint32_t new_pid_namespace; /* the tree runs in a pid namespace of its own */
	uint32_t
		outside; /* what it was attached to outside, and is to what was given: bits 0 to 2 its standard streams, bit 3 a terminal */
	uint64_t pages_later;  /* of these pages: those that come after it runs (SPORE_RESTORE_LAZY) */
	uint64_t pages_shared; /* and those that it shares with the other clones until it writes to them */
};

/* The values are those of SPORE_CHECKPOINT_*. */
#define SPORE_MERGE_FORCE                                                                                              \
	(1u << 1) /* overwrite an image in the directory, when it is known that the other can be merged */
#define SPORE_MERGE_NEW (1u << 2) /* the directory was made for this call: with a dying caller it goes too */

struct spore_merge_options {
	const struct spore_listener *listener;
	uint32_t flags; /* SPORE_MERGE_* */
	uint32_t reserved;
	struct spore_merge_result *result; /* may be NULL */
};

struct spore_merge_result {
	uint64_t total_us;
	uint64_t pages;
	uint64_t older; /* of these: that were in the page files of its ancestors */
	uint64_t bytes; /* of the new image */
};

struct spore_unisolate_options {
	const struct spore_listener *listener;
	const char *cgroup; /* not NULL: the tree is that of this cgroup, as it was isolated */
};

SPORE_API int spore_isolate_with(pid_t pid, const struct spore_isolate_options *options, size_t size);
SPORE_API int spore_checkpoint_with(
	int old_dir_fd, int new_dir_fd, pid_t pid, const struct spore_checkpoint_options *options, size_t size);
SPORE_API int spore_unisolate_with(pid_t pid, const struct spore_unisolate_options *options, size_t size);
SPORE_API pid_t spore_restore_with(int dir_fd, pid_t old_pid, const struct spore_restore_options *options, size_t size);

/* Waits for the end of a restored tree's root and returns 0 with its wait status, as waitpid(2) has it. -ECHILD: not one that spore restored. */
SPORE_API int spore_wait(pid_t pid, int *status);

#define SPORE_WAIT_PAGES                                                                                               \
	(1u << 0) /* not for its end, but until all of its memory is there (SPORE_RESTORE_LAZY); no status */

struct spore_wait_options {
	const struct spore_listener *listener; /* is told why spore ended the tree, if it did */
	uint32_t flags;			       /* SPORE_WAIT_* */
	uint32_t reserved;
};

/* With SPORE_WAIT_PAGES also -EOWNERDEAD: the tree was ended, since its memory could not be read. */
SPORE_API int spore_wait_with(pid_t pid, int *status, const struct spore_wait_options *options, size_t size);

/*
 * Makes one image, in the empty directory out_dir_fd, of the one in dir_fd and those that it was made against: it holds the same, and needs none of them. Against it
 * a checkpoint can be made as against the other, also of a tree that is tracked since then. Images that were made against the other still need that one.
 * Each page is checked when it is read. When the call fails, or the caller dies, there is no image. -EBADMSG one of them is damaged, or not there; -EEXIST; -ENOSPC; -EINVAL
 * out_dir_fd is one of them; -ENOTSUP a later version of spore wrote what this one does not know how to merge.
 */
SPORE_API int spore_merge(int dir_fd, int out_dir_fd);
SPORE_API int spore_merge_with(int dir_fd, int out_dir_fd, const struct spore_merge_options *options, size_t size);

/* Lists every obstacle to a checkpoint of the tree through the listener, without stopping it for longer than a look takes. 0; -ENOTSUP */
SPORE_API int spore_check_with(pid_t pid, const struct spore_isolate_options *options, size_t size);
/*
 * Lists everything that would be in the way of a restore here, and what it would change; of the options only the listener and
 * SPORE_RESTORE_CHANGED_FILES count. Reads all of the image, and touches nothing. 0; -ENOTSUP, or the error that a restore would end with
 */
SPORE_API int spore_check_image_with(int dir_fd, const struct spore_restore_options *options, size_t size);

#ifdef __cplusplus
}
#endif
#endif
