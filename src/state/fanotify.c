/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * fanotify: marks on files, mounts and file systems. fanotify(7), fanotify_init(2), fanotify_mark(2); /proc/PID/fdinfo has the flags of the group and
 * every mark, the last one made first; fs/notify/fanotify. Events that wait to be read cannot be put back. A group that is asked for leave
 * (FAN_CLASS_CONTENT) was refused before (src/state/files_done.c).
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <string.h>
#include <sys/fanotify.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>

#include "base/cleanup.h"
#include "state/files.h"
#include "state/watched.h"

#define FAN_REPORT_PIDFD_    0x80
#define FAN_REPORT_FD_ERROR_ 0x2000 /* Linux 6.13 */
/* Linux 6.18 without classes that ask for leave, and without those that watch the mounts of a namespace (FAN_REPORT_MNT). */
#define KNOWN_FLAGS                                                                                                    \
	(FAN_CLOEXEC | FAN_NONBLOCK | FAN_UNLIMITED_QUEUE | FAN_UNLIMITED_MARKS | FAN_ENABLE_AUDIT | FAN_REPORT_TID |  \
		FAN_REPORT_FID | FAN_REPORT_DIR_FID | FAN_REPORT_NAME | FAN_REPORT_TARGET_FID | FAN_REPORT_PIDFD_ |    \
		FAN_REPORT_FD_ERROR_)
#define MARK_EVICTABLE	 0x200 /* Linux 6.0 */
#define MARK_IGNORE	 0x400
#define KNOWN_MARK_FLAGS (FAN_MARK_IGNORED_SURV_MODIFY | MARK_EVICTABLE | MARK_IGNORE)

struct fanotify_mark_state {
	uint64_t on;
	object_id target;
	uint64_t flags, mask, ignored_mask;
};

struct fanotify_state {
	uint64_t flags, event_flags;
	bool unprivileged;
	struct fanotify_mark_state *marks;
	size_t n;
};

static const struct field mark_fields[] = {
	FIELD_UINT(struct fanotify_mark_state, on, "on", "0 a file or directory, 1 a mount, 2 a file system"),
	FIELD_REF(struct fanotify_mark_state, target, "target", "watched", REF_STRONG, "which"),
	FIELD_HEX(struct fanotify_mark_state, flags, "flags",
		"FAN_MARK_EVICTABLE, FAN_MARK_IGNORE, FAN_MARK_IGNORED_SURV_MODIFY"),
	FIELD_HEX(struct fanotify_mark_state, mask, "mask", "events"),
	FIELD_HEX(struct fanotify_mark_state, ignored_mask, "ignored_mask", "events that are not told"),
	FIELD_END,
};

static const struct field fanotify_fields[] = {
	FIELD_HEX(struct fanotify_state, flags, "flags", "FAN_*, as given to fanotify_init"),
	FIELD_HEX(struct fanotify_state, event_flags, "event_flags", "O_*, of the descriptors in events"),
	FIELD_BOOL(struct fanotify_state, unprivileged, "unprivileged", "made without CAP_SYS_ADMIN: it is told less"),
	FIELD_LIST(struct fanotify_state, marks, n, "marks", mark_fields, "the last one made first"),
	FIELD_END,
};

/* --- checkpoint --- */

static bool fanotify_matches(const struct file_look *f)
{
	return !strcmp(f->link, "anon_inode:[fanotify]");
}

static int add_mark(struct capture *c, const struct file_look *f, const char *line, struct fanotify_state *s)
{
	struct fanotify_mark_state *grown = reallocarray(s->marks, s->n + 1, sizeof(*grown));
	struct fdinfo_mark mark;
	int err;

	if (!grown)
		return -ENOMEM;
	s->marks = grown;
	err = fdinfo_mark_parse(line, &mark);
	if (err)
		return err;
	if (mark.mark_flags & ~(uint32_t)KNOWN_MARK_FLAGS)
		return refused(
			c->ps, BLAME_FILE(f), "a mark with flags that spore does not know (0x%x)", mark.mark_flags);
	grown[s->n] = (struct fanotify_mark_state){
		.on = mark.on, .flags = mark.mark_flags, .mask = mark.mask, .ignored_mask = mark.ignored_mask
	};
	err = (mark.on == MARK_INODE ? watched_save : watched_save_mount)(c, f, &mark, &grown[s->n].target);
	if (!err)
		s->n++;
	return err;
}

/*
 * A group that was made without CAP_SYS_ADMIN tells of no process but its own. Nothing shows that; so whoever has not the privilege is taken to have made it
 * without, unless it is of a kind that needs it.
 */
static bool made_unprivileged(const struct file_look *f, const struct fanotify_state *s)
{
	static const uint64_t privileged = FAN_UNLIMITED_QUEUE | FAN_UNLIMITED_MARKS | FAN_ENABLE_AUDIT |
					   FAN_REPORT_TID | FAN_REPORT_PIDFD_ | FAN_REPORT_FD_ERROR_;

	for (size_t i = 0; i < s->n; i++)
		if (s->marks[i].on != MARK_INODE)
			return false;
	return s->flags & (FAN_REPORT_FID | FAN_REPORT_DIR_FID) && !(s->flags & privileged) &&
	       !(f->description->look->process->status.cap_permitted >> CAP_SYS_ADMIN & 1);
}

static int check_group(struct capture *c, const struct file_look *f, int fd, struct fanotify_state *s)
{
	uint32_t flags, event_flags;
	int unread = 0;

	if (fdinfo_fanotify_parse(f->info, &flags, &event_flags) < 0 || ioctl(fd, FIONREAD, &unread) < 0)
		return -EBADMSG;
	if (flags & ~(uint32_t)KNOWN_FLAGS)
		return refused(
			c->ps, BLAME_FILE(f), "a fanotify group with flags that spore does not know (0x%x)", flags);
	if (unread)
		return refused(c->ps, BLAME_FILE(f, .remedy = "let the program read them, and try again"),
			"a fanotify group with events that nobody has read (%d bytes)", unread);
	s->flags = flags;
	s->event_flags = event_flags;
	return 0;
}

static int fanotify_capture(struct capture *c, const struct file_look *f, void *state)
{
	struct fanotify_state *s = state;
	const char *at = f->info, *line;
	int fd = file_dup(c, f), err;

	if (fd < 0)
		return fd;
	err = check_group(c, f, fd, s);
	while (!err && (line = fdinfo_next_line(&at, "fanotify ")))
		if (strncmp(line, "flags:", strlen("flags:")) != 0)
			err = add_mark(c, f, line, s);
	s->unprivileged = made_unprivileged(f, s);
	if (!err && s->unprivileged)
		changed(c->ps, BLAME_FILE(f),
			"a fanotify group of an unprivileged process: its events will not say which other process "
			"caused them, as if "
			"it had been unprivileged when it made the group, which the kernel does not tell");
	return err;
}

/* --- restore --- */

static int fanotify_validate(struct restore *r, const struct record *rec)
{
	const struct fanotify_state *s = rec->state;

	if (s->flags & ~(uint64_t)KNOWN_FLAGS || s->event_flags > INT32_MAX)
		return failed(
			r->ps, BLAME(.object = "fanotify"), -EBADMSG, "the image has an impossible fanotify group");
	for (size_t i = 0; i < s->n; i++)
		if (s->marks[i].on > MARK_FILE_SYSTEM || !s->marks[i].target ||
			s->marks[i].flags & ~(uint64_t)KNOWN_MARK_FLAGS)
			return failed(r->ps, BLAME(.object = "fanotify"), -EBADMSG, "the image has an impossible mark");
	return 0;
}

static int make_group(void *arg)
{
	const struct fanotify_state *s = arg;
	int fd = fanotify_init((unsigned int)s->flags, (unsigned int)s->event_flags);

	return fd < 0 ? -errno : fd;
}

static int make_unprivileged_group(void *arg)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct sets[2] = { 0 };

	if (syscall(SYS_capset, &head, sets) < 0)
		return -errno;
	return make_group(arg);
}

static int fanotify_open(struct restore *r, const struct record *rec, const struct file_state *file)
{
	struct made *made = restore_made(r, rec->id);
	struct fanotify_state *s = rec->state;
	int fd = s->unprivileged ? call_in_child(make_unprivileged_group, s) : make_group(s);

	if (fd < 0)
		return failed(r->ps, BLAME(.object = "fanotify"), fd, "a group cannot be made: %s", strerror(-fd));
	made->fd[0] = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	return file_settle(fd, file);
}

/* What the kernel adds to masks by itself it may refuse to be given. */
static int mark_mask(int fd, unsigned int flags, uint64_t mask, const char *path)
{
	if (fanotify_mark(fd, flags, mask, AT_FDCWD, path) == 0)
		return 0;
	return fanotify_mark(fd, flags, mask & ~(uint64_t)FAN_EVENT_ON_CHILD, AT_FDCWD, path) < 0 ? -errno : 0;
}

static bool is_mount(int fd)
{
	struct statx st;

	return statx(fd, "", AT_EMPTY_PATH, 0, &st) == 0 && st.stx_attributes & STATX_ATTR_MOUNT_ROOT;
}

static int mark_again(struct restore *r, int fd, const struct fanotify_mark_state *m)
{
	static const unsigned int kinds[] = { 0, FAN_MARK_MOUNT, FAN_MARK_FILESYSTEM };
	unsigned int flags = FAN_MARK_ADD | kinds[m->on] | (unsigned int)(m->flags & MARK_EVICTABLE);
	_cleanup_fd_ int own = -1;
	int target = watched_open(r, m->target, &own), err = 0;
	char path[32];

	if (target < 0)
		return target;
	if (m->on != MARK_INODE && !is_mount(target))
		return failed(r->ps, BLAME(.object = "fanotify", .remedy = "mount it again"), -EINVAL,
			"the program watches a mount or file system, and nothing is mounted there");
	snprintf(path, sizeof(path), "/proc/self/fd/%d", target);
	if (m->mask)
		err = mark_mask(fd, flags, m->mask, path);
	flags |= (unsigned int)(m->flags & (FAN_MARK_IGNORED_SURV_MODIFY | MARK_IGNORE));
	if (!err && m->ignored_mask)
		err = mark_mask(
			fd, m->flags & MARK_IGNORE ? flags : flags | FAN_MARK_IGNORED_MASK, m->ignored_mask, path);
	return err ? failed(r->ps, BLAME(.object = "fanotify"), err, "a mark cannot be set: %s", strerror(-err)) : 0;
}

/* Is what the kernel shows now what it showed? */
static int compare(struct restore *r, int fd, const struct fanotify_state *s)
{
	_cleanup_free_ char *info = NULL;
	const char *at, *line;
	struct fdinfo_mark now;
	size_t i = 0;

	if (fdinfo_of_dup(fd, &info) < 0)
		return -EBADMSG;
	for (at = info; (line = fdinfo_next_line(&at, "fanotify "));) {
		if (!strncmp(line, "flags:", strlen("flags:")))
			continue;
		if (i == s->n || fdinfo_mark_parse(line, &now) < 0 || now.mask != s->marks[i].mask ||
			now.ignored_mask != s->marks[i].ignored_mask || now.mark_flags != s->marks[i].flags)
			break;
		i++;
	}
	return i == s->n ? 0
			 : failed(r->ps, BLAME(.object = "fanotify"), -EINVAL,
				   "this kernel sets another mark than was asked for");
}

static int fanotify_watch(struct restore *r, const struct record *rec)
{
	const struct fanotify_state *s = rec->state;
	struct made *made = restore_made(r, rec->id);
	int err = 0;

	for (size_t i = s->n; i-- > 0 && !err;)
		err = mark_again(r, made->fd[0], &s->marks[i]);
	return err ? err : compare(r, made->fd[0], s);
}

const struct component component_fanotify = {
	.kind = { .name = "fanotify",
		.version = 1,
		.size = sizeof(struct fanotify_state),
		.fields = fanotify_fields,
		.doc = "marks on files, mounts and file systems",
		.sources = "fanotify(7); fs/notify/fanotify; tools/testing/selftests/filesystems" },
	.scope = SCOPE_BACKING,
	.matches = fanotify_matches,
	.by_description = true,
	.capture_file = fanotify_capture,
	.validate = fanotify_validate,
	.open = fanotify_open,
	.watch = fanotify_watch,
};
