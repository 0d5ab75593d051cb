/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Starts a keeper and returns a connection to it, or a negative errno (-ENOENT: no spore-keeper found). The
 * keeper is not the caller's child: no waitpid(-1) sees it, unless the caller takes in orphans
 * (PR_SET_CHILD_SUBREAPER). purpose: NULL, "look" (it will be asked about a tree, and may get ready to before it
 * is) or "clones" (for a restore of several trees).
 */
int keeper_spawn(const char *purpose);
