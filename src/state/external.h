/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What belongs to the outside: the standard streams and the terminal of the tree's root. */
#pragma once

#include "state/files.h"

/* src/state/outside.c: fills description->external, ->streams and ->crosses of every description. */
int outside_find(struct capture *c);

/* Is the device number that of a terminal, /dev/tty and /dev/ptmx aside? */
bool is_terminal_device(uint64_t rdev);

/* Saves, once, the terminal of that device number as the outside's, and returns its id. */
int external_save_terminal(struct capture *c, uint64_t device, object_id *out);

/* Which streams an image wants from outside: bits 0 to 2 standard streams, bit 3 the terminal. */
uint32_t external_wants(const struct image *img);
