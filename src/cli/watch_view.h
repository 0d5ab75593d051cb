/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What `spore watch` shows: on a terminal a few lines that are drawn anew each time, else a line for each image, or an object. */
#pragma once

#include "cli/talk.h"
#include "cli/watch_store.h"

#define VIEW_HISTORY 512

enum view_kind { VIEW_LINES, VIEW_JSON, VIEW_LIVE };

struct view_step {
	uint64_t stop_us, changed; /* bytes */
	bool failed;
};

struct view {
	enum view_kind kind;
	bool utf8;
	unsigned int drawn; /* lines that stand on the terminal */
	struct view_step history[VIEW_HISTORY];
	size_t n; /* of all time: the last are at the end, modulo */
};

/* One attempt. */
struct view_image {
	const struct store *store;
	const struct stored *image; /* NULL: there is none */
	const struct spore_checkpoint_result *result;
	const struct talk *talk;
	uint64_t since_us; /* the one before; 0: it is the first */
	bool merged;	   /* it stands alone now */
	size_t removed;
	int status;
};

void view_begin(struct view *v, bool json, const char *title);
/* Takes away what is drawn, before something else is said. */
void view_clear(struct view *v);
void view_show(struct view *v, const struct view_image *i);
void view_end(struct view *v, const char *why, uint64_t images, uint64_t failures);
