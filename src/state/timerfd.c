/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * timerfd: a timer behind a descriptor. timerfd_create(2); fdinfo has clock, ticks, flags, time left and
 * interval; TFD_IOC_SET_TICKS. fs/timerfd.c; tools/testing/selftests/timers.
 */
#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/timerfd.h>
#include <time.h>

#include "base/cleanup.h"
#include "state/fdinfo.h"
#include "state/files.h"

#define SPORE_TFD_IOC_SET_TICKS _IOW('T', 0, uint64_t)

struct timerfd_state {
	int64_t clock;
	uint64_t settime_flags;
	uint64_t value_ns;
	uint64_t interval_ns;
	uint64_t ticks;
};

static const struct field timerfd_fields[] = {
	FIELD_INT(struct timerfd_state, clock, "clock", "CLOCK_*"),
	FIELD_HEX(struct timerfd_state, settime_flags, "settime_flags", "TFD_TIMER_ABSTIME, TFD_TIMER_CANCEL_ON_SET"),
	FIELD_UINT(struct timerfd_state, value_ns, "value_ns",
		"time left; of an absolute timer of a clock that can be set: when it is due; 0: not armed, "
		"or expired"),
	FIELD_UINT(struct timerfd_state, interval_ns, "interval_ns", "period, 0: none"),
	FIELD_UINT(struct timerfd_state, ticks, "ticks", "expirations not read yet"),
	FIELD_END,
};

#define NS 1000000000ull

static uint64_t now_ns(clockid_t clock)
{
	struct timespec t = { 0 };

	clock_gettime(clock, &t);
	return (uint64_t)t.tv_sec * NS + (uint64_t)t.tv_nsec;
}

/* Which clock a timer's clock reads. Those that can be set run on while the tree is saved; the others go on
 * from where they were. */
static clockid_t base_clock(int64_t clock)
{
	return clock == CLOCK_REALTIME_ALARM   ? CLOCK_REALTIME
	       : clock == CLOCK_BOOTTIME_ALARM ? CLOCK_BOOTTIME
					       : (clockid_t)clock;
}

static bool by_wall_clock(const struct timerfd_state *s)
{
	return base_clock(s->clock) == CLOCK_REALTIME && s->settime_flags & TFD_TIMER_ABSTIME;
}

static bool timerfd_matches(const struct file_look *f)
{
	return !strcmp(f->link, "anon_inode:[timerfd]");
}

/* A periodic timer that has expired is wound on when somebody looks: until then fdinfo has too few ticks and
 * no time left. */
static int timerfd_capture(struct capture *c, const struct file_look *f, void *state)
{
	struct timerfd_state *s = state;
	_cleanup_free_ char *info = NULL;
	struct fdinfo_timer t;
	struct itimerspec wound;
	int fd = file_dup(c, f), err;

	if (fd < 0)
		return fd;
	if (timerfd_gettime(fd, &wound) < 0)
		return -errno;
	err = fdinfo_of_dup(fd, &info);
	if (!err)
		err = fdinfo_timer_parse(info, &t);
	if (err)
		return err;
	*s = (struct timerfd_state){ .clock = t.clock,
		.settime_flags = t.settime_flags & (TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET),
		.value_ns = t.value_ns,
		.interval_ns = t.interval_ns,
		.ticks = t.ticks };
	/* Not expired, for it is still armed and has no period. */
	if (s->ticks && s->value_ns && !s->interval_ns && s->settime_flags & TFD_TIMER_CANCEL_ON_SET)
		return refused(c->ps, BLAME_FILE(f, .remedy = "let the program read it"),
			"a timer that was cancelled because somebody set the clock, which nobody has read");
	if (s->value_ns && by_wall_clock(s))
		s->value_ns += now_ns(CLOCK_REALTIME);
	return 0;
}

static struct timespec timespec_of(uint64_t ns)
{
	return (struct timespec){ .tv_sec = (time_t)(ns / NS), .tv_nsec = (long)(ns % NS) };
}

/* The keeper's own clock stands for the tree's: from the checkpoint to now, none of the tree's time went by.
 */
static uint64_t due(const struct timerfd_state *s)
{
	if (!s->value_ns || by_wall_clock(s) || !(s->settime_flags & TFD_TIMER_ABSTIME))
		return s->value_ns;
	return s->value_ns + now_ns(base_clock(s->clock));
}

static int timerfd_open(struct restore *r, const struct record *rec, const struct file_state *file)
{
	const struct timerfd_state *s = rec->state;
	_cleanup_fd_ int fd = timerfd_create((clockid_t)s->clock, TFD_CLOEXEC);
	struct itimerspec set = { .it_value = timespec_of(due(s)), .it_interval = timespec_of(s->interval_ns) };

	if (fd < 0)
		return failed(r->ps, BLAME(.object = "timerfd"), -errno, "a timer of clock %lld cannot be made: %s",
			(long long)s->clock, strerror(errno));
	if (timerfd_settime(fd, (int)s->settime_flags, &set, NULL) < 0 && errno != ECANCELED)
		return failed(
			r->ps, BLAME(.object = "timerfd"), -errno, "the timer cannot be set: %s", strerror(errno));
	if (s->ticks && ioctl(fd, SPORE_TFD_IOC_SET_TICKS, &s->ticks) < 0)
		return failed(r->ps, BLAME(.object = "timerfd"), -errno,
			"the timer's expirations cannot be set (a kernel without "
			"CONFIG_CHECKPOINT_RESTORE?): %s",
			strerror(errno));
	return file_settle(take_fd(&fd), file);
}

const struct component component_timerfd = {
	.kind = { .name = "timerfd",
		.version = 1,
		.size = sizeof(struct timerfd_state),
		.fields = timerfd_fields,
		.doc = "a timer behind a descriptor",
		.sources = "timerfd_create(2); fs/timerfd.c; tools/testing/selftests/timers" },
	.scope = SCOPE_BACKING,
	.matches = timerfd_matches,
	.by_description = true,
	.capture_file = timerfd_capture,
	.open = timerfd_open,
};
