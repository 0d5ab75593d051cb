/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "engine/engine.h"
#include "engine/workers.h"
#include "object/component.h"

struct plan;

/* A tree that has been built and is held. */
struct restored;

int restore_build(int dir_fd, uint32_t flags, const struct engine_outside *outside, struct workers *w,
	const struct engine_events *events, struct spore_restore_result *result, struct problems *ps,
	struct restored **out);
/* As far as restore_build goes before it builds anything: everything that would be in its way. */
int restore_check(int dir_fd, uint32_t flags, const struct engine_events *events, struct problems *ps);
/*
 * The same of an image that has been opened, for a clone of that name; fn then gets the plan that would be built by. What it does is no part of the plan, which is freed.
 */
int restore_plan(struct image *image, const char *name, uint32_t flags, struct problems *ps,
	int (*fn)(void *data, struct plan *plan), void *data);
void restored_release(struct restored *t, struct workers *w);
/* Once. */
void restored_child(struct restored *t, struct engine_child *out);
/* Of pages that come later; NULL: none do. Once; the caller's then, until it is over. */
struct filler *restored_filler(struct restored *t);
pid_t restored_root(const struct restored *t);
/* Takes NULL. A tree that was not let go is killed. */
void restored_free(struct restored *t);
