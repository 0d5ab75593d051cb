/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Opening a file so that who watches it, or its directory, by inotify(7) or fanotify(7), is not told. */
#pragma once

/*
 * The file or directory behind fd (O_PATH will do), opened for reading: opening, reading and closing it make no event, and leave its time of access
 * alone. Needs CAP_SYS_ADMIN, a kernel with CONFIG_FANOTIFY_ACCESS_PERMISSIONS, and a file system that takes marks. Descriptor or negative errno.
 */
int unseen_open(int fd);
