/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Which pages of an image need not be in place before the tree runs (src/lazy), and which are read at once. */
#pragma once

#include "state/memory.h"

/* Do the pages of that area come later? */
bool memory_is_lazy(const struct restore *r, const struct memory_state *m, const struct memory_area *a);
/*
 * Has it so much that workers put it there in parallel (engine/fill.h), and it does not read it by itself? Which areas can then be filled by userfaultfd, and the runs that lie in such, or the
 * others; that list ends by memory_runs_done.
 */
bool memory_is_large(const struct restore *r, const struct memory_state *m);
bool memory_is_copied(const struct restore *r, const struct memory_state *m, const struct memory_area *a);
int memory_copied_runs(const struct restore *r, const struct memory_state *m, bool copied, struct page_runs *out);

/* The runs, or the parts of them, that are read when the memory is made: not what comes later, nor what is parked (state/memory_parked.h). 0 or -ENOMEM */
int memory_runs_now(const struct restore *r, const struct memory_state *m, struct page_runs *out);
void memory_runs_done(struct page_runs *runs);
/* The runs, or the parts of them, that come later; or the others. The caller frees the list. 0 or -ENOMEM */
int memory_lazy_runs(const struct restore *r, const struct memory_state *m, bool later, struct page_runs *out);
