/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Locks on files: by flock(2), and by fcntl(2) of the table of descriptors (POSIX) or the open file description. */
#include <sys/file.h>

#include "world.h"

int flock_touch(struct world *w, int process, struct description *d, struct object *o, int fd)
{
	int self = (int)(d - w->descriptions);
	bool own = o->locked_by == self, held = o->locked_by >= 0;

	if (own && draw(w, 2)) {
		if (fd >= 0)
			SAME(flock(fd, LOCK_UN), 0);
		o->locked_by = -1;
		return 0;
	}
	if (fd >= 0)
		SAME(flock(fd, LOCK_EX | LOCK_NB), own || !held ? 0 : -1);
	if (!held) { /* a lock that it has already stays that of who set it */
		o->locked_by = self;
		o->locker = process;
	}
	return 0;
}

static int set_byte(int fd, bool posix, uint64_t at, short type)
{
	struct flock l = { .l_type = type, .l_whence = SEEK_SET, .l_start = (off_t)at * 512, .l_len = 1 };

	return fcntl(fd, posix ? F_SETLK : F_OFD_SETLK, &l);
}

int byte_lock_touch(struct world *w, int process, struct description *d, struct object *o, int fd)
{
	uint64_t at = draw(w, MAX_PLACES);
	struct byte_lock *b = &o->bytes[at];
	bool posix = draw(w, 2), unlock = draw(w, 2);
	int self = posix ? w->processes[process].table : (int)(d - w->descriptions);
	bool own = b->sort == (posix ? LOCK_POSIX : LOCK_OFD) && b->owner == self;

	if (own && unlock) {
		if (fd >= 0)
			SAME(set_byte(fd, posix, at, F_UNLCK), 0);
		b->sort = LOCK_NONE;
		return 0;
	}
	if (fd >= 0)
		SAME(set_byte(fd, posix, at, F_WRLCK), own || b->sort == LOCK_NONE ? 0 : -1);
	if (b->sort == LOCK_NONE)
		*b = (struct byte_lock){ posix ? LOCK_POSIX : LOCK_OFD, self, (int)(d - w->descriptions), process };
	return 0;
}
