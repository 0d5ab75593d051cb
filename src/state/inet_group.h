/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Sockets that share a port by SO_REUSEPORT, and the program that chooses among them (SO_ATTACH_REUSEPORT_CBPF): socket(7); net/core/sock_reuseport.c. It
 * names them by their place, which is the order in which they came; that, and the program, are read from the kernel's memory.
 */
#pragma once

#include "object/component.h"
#include "state/inet_hidden.h"

/* Refuses by name. */
int inet_group_capture(struct capture *c, const struct file_look *f, struct inet_hidden *s);
/* A program of classic BPF; of size 0: none is set. */
int inet_group_choose(int fd, const struct blob *program);
/* For a while: all that comes goes to the one with that place (struct inet_hidden.group; 0: nothing is done); and no more. */
int inet_group_choose_one(int fd, uint64_t group);
int inet_group_choose_none(int fd, uint64_t group);
