/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the kernel keeps of open files and shows nobody, read for all of a tree in a few looks (kernel/peek.h). */
#pragma once

#include "object/component.h"
#include "object/descriptions.h"

/* How its reader means to go through it: posix_fadvise(2). Bits of description->advice. */
enum {
	ADVICE_RANDOM = 1,
	ADVICE_SEQUENTIAL = 2, /* it is read ahead twice as far as is usual there */
	ADVICE_NOREUSE = 4,
	ADVICE_OTHER = 8, /* it is read ahead neither so far nor as is usual */
};

/* When every description is known: fills inode and advice of each. Where the kernel cannot be looked at they stay 0. */
int files_hidden_read(struct capture *c);
