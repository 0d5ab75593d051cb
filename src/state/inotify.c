/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * inotify: watches on files, known by numbers. inotify(7), ioctl INOTIFY_IOC_SETNEXTWD; /proc/PID/fdinfo lists the watches, the last one made first;
 * fs/notify/inotify. Events that wait to be read cannot be put back.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>

#include "base/cleanup.h"
#include "base/macro.h"
#include "state/files.h"
#include "state/watched.h"

#define SPORE_INOTIFY_IOC_SETNEXTWD _IOW('I', 0, int32_t)
#define SHOWN			    (IN_ALL_EVENTS | IN_ONESHOT | IN_EXCL_UNLINK) /* what fdinfo has of a mask */

struct inotify_watch {
	uint64_t wd;
	uint64_t mask;
	object_id target;
};

struct inotify_state {
	struct inotify_watch *watches;
	size_t n;
};

static const struct field watch_fields[] = {
	FIELD_UINT(struct inotify_watch, wd, "wd", "number of the watch"),
	FIELD_HEX(struct inotify_watch, mask, "mask", "events, IN_ONESHOT, IN_EXCL_UNLINK"),
	FIELD_REF(struct inotify_watch, target, "target", "watched", REF_STRONG, "what is watched"),
	FIELD_END,
};

static const struct field inotify_fields[] = {
	FIELD_LIST(struct inotify_state, watches, n, "watches", watch_fields, "the last one made first"),
	FIELD_END,
};

static bool inotify_matches(const struct file_look *f)
{
	return !strcmp(f->link, "anon_inode:inotify");
}

static int add_watch(struct capture *c, const struct file_look *f, const char *line, struct inotify_state *s)
{
	struct inotify_watch *grown = reallocarray(s->watches, s->n + 1, sizeof(*grown));
	struct fdinfo_mark mark;
	int err;

	if (!grown)
		return -ENOMEM;
	s->watches = grown;
	err = fdinfo_mark_parse(line, &mark);
	if (err)
		return err;
	if (mark.mask & ~SHOWN)
		return refused(c->ps, BLAME_FILE(f), "a watch with flags that spore does not know (0x%x)", mark.mask);
	grown[s->n] = (struct inotify_watch){ .wd = (uint64_t)mark.wd, .mask = mark.mask };
	err = watched_save(c, f, &mark, &grown[s->n].target);
	if (!err)
		s->n++;
	return err;
}

static int inotify_capture(struct capture *c, const struct file_look *f, void *state)
{
	struct inotify_state *s = state;
	const char *at = f->info, *line;
	int fd = file_dup(c, f), unread = 0;

	if (fd < 0)
		return fd;
	if (ioctl(fd, FIONREAD, &unread) < 0)
		return -errno;
	if (unread)
		return refused(c->ps, BLAME_FILE(f, .remedy = "let the program read them, and try again"),
			"an inotify instance with events that nobody has read (%d bytes)", unread);
	while ((line = fdinfo_next_line(&at, "inotify "))) {
		int err = add_watch(c, f, line, s);

		if (err)
			return err;
	}
	return 0;
}

/* --- restore --- */

static int inotify_validate(struct restore *r, const struct record *rec)
{
	const struct inotify_state *s = rec->state;

	for (size_t i = 0; i < s->n; i++)
		if (s->watches[i].wd < 1 || s->watches[i].wd >= INT32_MAX || s->watches[i].mask & ~(uint64_t)SHOWN ||
			!s->watches[i].target)
			return failed(r->ps, BLAME(.object = "inotify"), -EBADMSG, "the image has an impossible watch");
	return 0;
}

static int inotify_open(struct restore *r, const struct record *rec, const struct file_state *file)
{
	struct made *made = restore_made(r, rec->id);
	int fd = inotify_init1(IN_CLOEXEC);

	if (fd < 0)
		return failed(r->ps, BLAME(.object = "inotify"), -errno, "cannot be made: %s", strerror(errno));
	made->fd[0] = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	return file_settle(fd, file);
}

static int set_next(struct restore *r, int fd, uint64_t wd)
{
	if (ioctl(fd, SPORE_INOTIFY_IOC_SETNEXTWD, (int32_t)wd) == 0)
		return 0;
	return failed(r->ps, BLAME(.object = "inotify"), -errno,
		"a watch cannot be given its number (a kernel without CONFIG_CHECKPOINT_RESTORE?): %s",
		strerror(errno));
}

static int watch_again(struct restore *r, int fd, const struct inotify_watch *w)
{
	_cleanup_fd_ int own = -1;
	int target = watched_open(r, w->target, &own), err, wd;
	char path[32];

	if (target < 0)
		return target;
	err = set_next(r, fd, w->wd);
	if (err)
		return err;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", target);
	wd = inotify_add_watch(fd, path, (uint32_t)w->mask | IN_MASK_CREATE);
	if (wd != (int)w->wd)
		return failed(r->ps, BLAME(.object = "inotify"), wd < 0 ? -errno : -EBADMSG,
			"watch %d cannot be set: %s", (int)w->wd, wd < 0 ? strerror(errno) : "it got another number");
	return 0;
}

/* The number of the next one, which the kernel does not tell, is that after the highest. */
static int inotify_watch(struct restore *r, const struct record *rec)
{
	const struct inotify_state *s = rec->state;
	struct made *made = restore_made(r, rec->id);
	uint64_t highest = 0;
	int err = 0;

	for (size_t i = s->n; i-- > 0 && !err;) {
		highest = MAX(highest, s->watches[i].wd);
		err = watch_again(r, made->fd[0], &s->watches[i]);
	}
	return err ? err : highest ? set_next(r, made->fd[0], highest + 1) : 0;
}

const struct component component_inotify = {
	.kind = { .name = "inotify",
		.version = 1,
		.size = sizeof(struct inotify_state),
		.fields = inotify_fields,
		.doc = "watches on files",
		.sources = "inotify(7); fs/notify/inotify; tools/testing/selftests/filesystems" },
	.scope = SCOPE_BACKING,
	.matches = inotify_matches,
	.by_description = true,
	.capture_file = inotify_capture,
	.validate = inotify_validate,
	.open = inotify_open,
	.watch = inotify_watch,
};
