/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Unix sockets: what the files of this component share. unix.c captures, unix_restore.c connects (unix_connect.h says how), unix_fill.c fills. */
#pragma once

#include "base/map.h"
#include "state/files.h"
#include "state/socket_options.h"
#include "state/sockets.h"
#include "state/xattrs.h"

struct msghdr;

struct unix_file {
	object_id file;
};

struct unix_message {
	struct blob data;
	struct blob from; /* sun_path of the sender of a datagram */
	bool has_credentials;
	int64_t pid;
	uint64_t uid, gid;
	struct unix_file *files;
	size_t n_files;
	uint64_t mark; /* MARK_* of socket_queue.h */
};

struct unix_waiting {
	object_id socket;	   /* 0: it was closed since, */
	struct unix_message *sent; /* having sent this */
	size_t n_sent;
};

/* Whom SO_PEERCRED and SO_PEERGROUPS name. */
struct unix_identity {
	bool known;
	int64_t pid;
	uint64_t uid, gid;
	uint64_t *groups;
	size_t n_groups;
};

enum { UNIX_ALONE, UNIX_LISTENS, UNIX_CONNECTED, UNIX_WAITS, UNIX_PEER_GONE, UNIX_PEER_OUTSIDE, UNIX_STATES };

struct unix_state {
	uint64_t type, mode, uid, gid;
	struct blob name; /* sun_path as getsockname shows it */
	bool inherited;	  /* of the listener that it was accepted from: nobody finds it by this name */
	char *path;	  /* of the file that it is bound to; NULL: none, or the file is gone */
	uint64_t file_mode, file_uid, file_gid;
	struct xattr *xattrs;
	size_t n_xattrs;
	uint64_t state;
	object_id peer;
	struct blob peer_name; /* of a peer that is not in the tree any more */
	struct unix_identity identity;
	uint64_t backlog;
	struct unix_waiting *waiting;
	size_t n_waiting;
	uint64_t shutdown;
	bool reset; /* SO_ERROR: ECONNRESET, not told yet */
	struct unix_message *messages;
	size_t n_messages;
	struct unix_message *sent; /* to a listener that has not accepted it yet */
	size_t n_sent;
	bool inq; /* SO_INQ, which nobody can be asked for: state/socket_hidden.h */
	struct socket_options options;
};

#define UNIX_NAME_MAX 108

/* unix_reset.c: of a datagram socket. 1: it can be made again; 0: not. */
int unix_reset_is_carried(struct capture *c, const struct socket_look *own, int fd, uint64_t state);

/* --- unix_names.c: what a socket is bound to */
int unix_capture_names(struct capture *c, const struct file_look *f, int fd, struct unix_state *s);
int unix_capture_peer_name(int fd, struct blob *name);
int unix_validate_name(struct restore *r, const struct unix_state *s);
bool unix_same_name(const struct blob *a, const struct blob *b);
/* For people. */
struct unix_name_text {
	char s[UNIX_NAME_MAX + 16];
};
struct unix_name_text unix_name_text(const struct blob *name);

/* --- unix_bind.c */

/*
 * Binds fd to a name. `state` is not NULL and has a path: the file takes that path's place. Otherwise a name in the file system leads to a
 * directory below `hidden` that nobody sees; *dir (if not NULL) is then a descriptor of it, and the last part of the name leads from there to the socket.
 */
int unix_bind(struct restore *r, int fd, const struct blob *name, const struct unix_state *state, int hidden, int *dir);
int unix_hidden_directory(void);

/* --- unix_restore.c: whom they are connected with; see unix_connect.h */

struct unix_made {
	const struct unix_state *state;
	const struct file_state *file;
	int fd;	   /* the keeper's: what takes its place later has the same number */
	int other; /* the end of a connection whose other owner is not in the tree; -1 */
	int dir;   /* of a listener that is to be connected to: the directory of its file; -1 */
	bool connected;
	struct unix_made *half; /* with which it was made as a pair, if that is in the tree */
	bool filled;
	size_t followers; /* datagrams: who is to be connected to it before it is connected to another */
	const struct new_process *holder; /* the first that has it; known if anything waits to be accepted */
	struct unix_identity dialler;	  /* of one that is not accepted yet */
	struct unix_made *sender;	  /* of datagrams without a name: who is connected to it and has none */
};

struct unix_all {
	struct restore *r;
	struct record *recs;
	struct unix_made **made; /* of each record */
	size_t n;
	struct map names; /* datagram sockets by name: the first of each */
	int hidden;	  /* a directory that nobody sees */
};

/* What belongs to a record, made when first asked for. NULL: no such record, or out of memory. */
struct unix_made *unix_made(struct restore *r, object_id id);
int unix_round(struct restore *r, struct callers *callers, unsigned int n);

/* --- unix_call.c: calls whose caller the kernel notes */

enum unix_call_kind { UNIX_CALL_PAIR, UNIX_CALL_LISTEN, UNIX_CALL_CONNECT, UNIX_CALL_SEND };

struct unix_call {
	enum unix_call_kind kind;
	const struct unix_identity *who; /* NULL: anybody */
	int fd, type, backlog;
	int dir;	  /* CONNECT: where a name in the file system begins; -1: an abstract one */
	const char *name; /* name_size bytes */
	size_t name_size;
	const struct msghdr *message;	    /* SEND */
	bool for_a_moment;		    /* CONNECT: the socket is closed at once, */
	const struct unix_waiting *waiting; /* after it has sent what that says */
	struct new_process *by;		    /* out: who makes it; NULL: it was made at once */
	int pair[2];			    /* out */
	int *remote_pair;		    /* of unix_calls_run: where the answer will be */
};

/*
 * Makes at once the calls that no process of the tree is to make; queues the others. made() is told after each of the former. Returns 1 if something
 * was queued, 0 or negative errno.
 */
int unix_calls_run(struct restore *r, struct callers *callers, struct unix_call *calls, size_t n,
	int (*made)(void *arg, struct unix_call *call), void *arg);
/* After they have run: brings the ends of pairs into this process. */
int unix_call_fetch(struct unix_call *call);
/* One, at once, by a short-lived process. */
int unix_call_now(struct restore *r, struct unix_call *call);

/* --- unix_fill.c: what is in their queues, and how they are left */

/* What fd sends to whoever will accept it. */
int unix_send_early(const struct unix_all *all, int fd, bool stream, const struct unix_message *list, size_t n);
int unix_fill_all(struct unix_all *all);
int unix_finish_all(const struct unix_all *all);
