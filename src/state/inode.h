/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Files as memory mappings need them. */
#pragma once

#include "object/component.h"

/* Saves what a mapping stands on (map_fd: an open /proc/PID/map_files/A-B) and returns its id: of a regular
 * file, a memfd, shared anonymous memory or /dev/zero. What cannot be carried is refused by name. From any
 * worker. */
int inode_backing_for_mapping(struct capture *c, const struct proc_map *map, int map_fd, object_id *out);
/* Was the file that maps show for this mapping (its device, inode and name) met before? Then its id, without a look at it. */
bool inode_backing_known(const struct capture *c, const struct proc_map *map, object_id *out);

/* Before anything is built: is what was mapped still what it was? Once for each complaint. */
int backing_validate_mapping(struct restore *r, object_id backing);
/* The backing opened for mapping, O_RDONLY or O_RDWR. The descriptor is the caller's. */
int backing_open(struct restore *r, object_id backing, uint64_t flags);
