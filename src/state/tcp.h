/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* TCP: what its files share. tcp_look.c sees all connections together, tcp_queue.c reads what is under way, tcp.c captures, tcp_restore.c connects. */
#pragma once

#include "state/inet.h"
#include "state/tcp_md5.h"

/* include/net/tcp_states.h */
enum {
	STATE_ESTABLISHED = 1,
	STATE_SYN_SENT,
	STATE_SYN_RECV,
	STATE_FIN_WAIT1,
	STATE_FIN_WAIT2,
	STATE_TIME_WAIT,
	STATE_CLOSE,
	STATE_CLOSE_WAIT,
	STATE_LAST_ACK,
	STATE_LISTEN,
	STATE_CLOSING,
};

enum tcp_relation {
	RELATION_ALONE, /* never connected */
	RELATION_LISTENS,
	RELATION_CONNECTED,  /* with a socket of the tree */
	RELATION_WAITS,	     /* with a listener of the tree, which has not accepted it yet */
	RELATION_PEER_GONE,  /* the peer was closed: its end is nobody's */
	RELATION_ENDED,	     /* both have closed it */
	RELATION_CONNECTING, /* to a listener of the tree that has no room yet */
	RELATION_FAILED,     /* could not be connected, and the program knows */
	RELATIONS,
};

#define TCP_FASTOPEN_KEY_MAX 32

/* A connection in a listener's backlog. */
struct tcp_waiting {
	object_id socket;	  /* who connected; 0: it was closed since */
	struct inet_address from; /* of one that was closed, */
	struct blob sent;	  /* and what it had sent; */
	uint64_t sent_mark;	  /* 1 + where in that the byte out of band is; 0: there is none */
};

struct tcp_state {
	struct inet_state inet;
	uint64_t relation; /* enum tcp_relation */
	object_id peer;
	uint64_t backlog;
	struct tcp_waiting *waiting;
	size_t n_waiting;
	uint64_t shutdown; /* 1: receiving, 2: sending */
	bool peer_shutdown;
	struct blob unread, unsent;
	uint64_t unsent_mark; /* 0: none; else 1 + where in unsent the byte out of band is */
	struct blob rest;     /* of a peer that was closed: what it had written and has not come, */
	uint64_t rest_mark;   /* the same of that */
	uint64_t error;	      /* SO_ERROR, not told yet; 0: none */
	uint64_t soft_error;  /* errno that SO_ERROR would tell and poll() does not; 0: none */
	uint64_t mark;	      /* 0: none; else 1 + where in unread the byte out of band is */
	bool mark_taken;
	uint64_t mss, snd_wscale, rcv_wscale, snd_wnd, rcv_wnd, timestamp;
	bool timestamps, sack, wscale;
	char *congestion;
	struct blob fastopen_key;
	struct tcp_level tcp;
	struct tcp_md5 md5;
};

extern const struct component component_tcp;

/* tcp_soft.c */
bool tcp_soft_error_is_carried(const struct tcp_state *s);

int tcp_round(struct restore *r, struct callers *callers, unsigned int n);
