/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Directories that tell of changes by a signal: fcntl(2) F_NOTIFY. It belongs to a descriptor: closing that ends it, though others of the same description stay. */
#pragma once

#include "object/component.h"

extern const uint64_t dnotify_events; /* every DN_* */

/* Does anybody have that directory tell of changes? Where the kernel cannot be looked at: if it has an owner, to whom it may tell. */
bool dnotify_watches(struct kernel_peek *kernel, int fd);
/* Refuses, by name, what is asked for through that open directory and cannot be carried. */
int dnotify_look(struct capture *c, const struct file_look *f);
/* Of what the descriptor has it tell: DN_*; 0: nothing. */
int dnotify_capture(struct capture *c, const struct file_look *f, uint64_t *events);
/* Asks for it again, in the task. */
void dnotify_ask(struct build *b, int fd, uint64_t events, bool has_owner);
