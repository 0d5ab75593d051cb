/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Frames that come in at an interface as if from outside, and get no further than to packet sockets: sent over the loopback interface with a mark, turned
 * there to where they are to come in, and taken away behind the packet sockets. By BPF programs at the interfaces (tcx, Linux 6.6), which the kernel
 * removes when their descriptors are closed. Whoever else listens to all of that interface hears them too. bpf(2); net/core/dev.c, net/core/filter.c, kernel/bpf/tcx.c.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct redirected {
	uint64_t time;	    /* of arrival, nanoseconds of CLOCK_REALTIME; 0: that of now */
	uint32_t interface; /* where it comes in; 0: it leaves by the loopback interface */
	uint32_t checked;   /* its checksum counts as checked */
};

struct redirect {
	int map, turn, take, at_loopback, at_interface; /* programs, and where they are */
	uint32_t interface;				/* that of at_interface */
};
#define REDIRECT_NONE                                                                                                  \
	{                                                                                                              \
		-1, -1, -1, -1, -1, 0                                                                                  \
	}

/* Does this kernel let a program see what comes in (6.6)? */
bool redirect_is_possible(void);
/* Both in the network namespace of the interfaces. 0 or negative errno. */
int redirect_open(struct redirect *r, uint32_t mark);
/* What the frame is that is sent next. */
int redirect_next(struct redirect *r, const struct redirected *next);
void redirect_close(struct redirect *r);
