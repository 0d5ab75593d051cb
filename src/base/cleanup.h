/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Cleanup by scope: a variable marked _cleanup_(fn) is handed to fn when it goes out of scope. */
#pragma once

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define _cleanup_(fn)  __attribute__((cleanup(fn)))
#define _cleanup_fd_   _cleanup_(close_fd)
#define _cleanup_free_ _cleanup_(free_any)
#define _cleanup_file_ _cleanup_(close_file)
#define _cleanup_dir_  _cleanup_(close_dir)

static inline void close_fd(int *fd)
{
	int saved = errno;

	if (*fd >= 0)
		close(*fd);
	*fd = -1;
	errno = saved;
}

static inline void free_any(void *p)
{
	free(*(void **)p);
	*(void **)p = NULL;
}

static inline void close_file(FILE **f)
{
	if (*f)
		fclose(*f);
	*f = NULL;
}

static inline void close_dir(DIR **d)
{
	if (*d)
		closedir(*d);
	*d = NULL;
}

/* Hands ownership on: the variable no longer cleans up what it held. */
static inline int take_fd(int *fd)
{
	int taken = *fd;

	*fd = -1;
	return taken;
}

#define take_ptr(p)                                                                                                    \
	({                                                                                                             \
		__typeof__(p) *p_ = &(p), taken_ = *p_;                                                                \
		*p_ = NULL;                                                                                            \
		taken_;                                                                                                \
	})
