/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The pages of an image are checked while its tree is built. */
#pragma once

#include <pthread.h>

#include "engine/fill.h"
#include "engine/on_demand.h"

struct verifying {
	pthread_t thread;
	bool started;
	const struct image *image;
	struct later_blocks later;   /* which are checked when they are needed */
	struct filled_blocks filled; /* which are checked when they are put into memory */
	struct problems *ps;
	int error;
};

void verifying_start(struct verifying *v);
/* Waits for it. 0 or negative errno, told; the second time too. */
int verifying_end(struct verifying *v);
