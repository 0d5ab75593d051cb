/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Starts a keeper and returns a connection to it, or a negative errno (-ENOENT: no spore-keeper found). The
 * keeper is not the caller's child: no waitpid(-1) sees it, unless the caller takes in orphans
 * (PR_SET_CHILD_SUBREAPER).
 */
int keeper_spawn(void);
