/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* spore watch: one checkpoint after the other, each against the one before. timerfd_create(2), signalfd(2), pidfd_open(2) */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "cli/cli.h"
#include "cli/watch_view.h"
#include "kernel/cgroup.h"
#include "kernel/procfs.h"

#define KEEP_MOST     100000
#define SMALL	      (64ull << 20) /* bytes: copied often for little */
#define CHAIN_MOST    200
#define DEATH_WAIT_MS 200
#define DEATH_TRIES   50

struct watch_options {
	uint64_t every_us;
	size_t keep;
	bool json;
	uint32_t flags;	      /* SPORE_CHECKPOINT_* */
	uint32_t compression; /* enum spore_compression */
	const char *who, *dir;
};

struct watch {
	const struct watch_options *o;
	struct target target;
	int root; /* pidfd; -1: a cgroup */
	int timer, signals;
	struct store store;
	struct view view;
	struct talk talk;	    /* of this attempt */
	struct spore_problem *said; /* of the one before */
	size_t n_said;
	bool full;	  /* the next one has no parent */
	uint64_t last_us; /* when the last image was made; 0: none */
	uint64_t images, failures;
	int status; /* of the last failure */
};

/* --- options --- */

static bool parse_interval(const char *text, uint64_t *us)
{
	static const struct {
		const char *unit;
		double us;
	} units[] = { { "", 1e6 }, { "s", 1e6 }, { "ms", 1e3 }, { "m", 6e7 }, { "min", 6e7 }, { "h", 3.6e9 } };
	char *end;
	double n = strtod(text, &end);

	for (size_t i = 0; end != text && i < ARRAY_SIZE(units); i++)
		if (!strcmp(end, units[i].unit) && n * units[i].us >= 1e3 && n * units[i].us <= 1e13) {
			*us = (uint64_t)(n * units[i].us);
			return true;
		}
	return false;
}

static bool parse_keep(const char *text, size_t *keep)
{
	char *end;
	unsigned long n = strtoul(text, &end, 10);

	*keep = n;
	return *text >= '0' && *text <= '9' && !*end && n >= 1 && n <= KEEP_MOST;
}

static int parse(int argc, char **argv, struct watch_options *o)
{
	static const struct option options[] = {
		{ "every", required_argument, NULL, 'e' },
		{ "keep", required_argument, NULL, 'k' },
		{ "strict", no_argument, NULL, 's' },
		{ "compress", optional_argument, NULL, 'c' },
		{ "json", no_argument, NULL, 'j' },
		{ 0 },
	};
	int c;

	while ((c = getopt_long(argc, argv, ":", options, NULL)) != -1) {
		const char *value = optarg ? optarg : "";

		if (c == 'e' && !parse_interval(value, &o->every_us))
			return say_usage("watch", "--every %s: not a time such as 500ms, 1s or 5m", value);
		if (c == 'k' && !parse_keep(value, &o->keep))
			return say_usage("watch", "--keep %s: not a number from 1 to %d", value, KEEP_MOST);
		if (c == 'c' && *value && strcmp(value, "zstd") != 0)
			return say_usage("watch", "--compress: the only algorithm is zstd");
		if (c == 'c')
			o->compression = SPORE_COMPRESSION_ZSTD;
		else if (c == 's')
			o->flags |= SPORE_CHECKPOINT_STRICT;
		else if (c == 'j')
			o->json = true;
		else if (c != 'e' && c != 'k')
			return say_bad_option("watch", c, argv);
	}
	if (argc - optind != 2)
		return say_usage("watch", "it takes PID and DIR");
	o->who = argv[optind];
	o->dir = argv[optind + 1];
	return 0;
}

/* --- one image --- */

/* Against the newest, if that can still be opened. */
static int checkpoint(struct watch *w, struct spore_checkpoint_result *result)
{
	const struct stored *newest = w->full ? NULL : store_newest(&w->store);
	struct spore_checkpoint_options call = { .listener = &w->talk.listener,
		.cgroup = w->target.cgroup,
		.flags = w->o->flags | SPORE_CHECKPOINT_TRACK | SPORE_CHECKPOINT_NEW,
		.compression = w->o->compression,
		.result = result };
	_cleanup_fd_ int parent = newest ? store_image(&w->store, newest) : -1;
	_cleanup_fd_ int dir = store_begin(&w->store);
	int r;

	if (dir < 0)
		return dir;
	r = spore_checkpoint_with(MAX(parent, -1), dir, w->target.pid, &call, sizeof(call));
	w->full = parent >= 0 && (r == -EBADMSG || r == -ENOENT || r == -E2BIG); /* it may be the parent's fault */
	if (r == 0)
		r = store_add(&w->store);
	if (r < 0)
		store_drop(&w->store);
	return r;
}

/*
 * An image that stands alone lets go of all before it. It costs the copying of all of its memory: so not before there are as many images as are to be kept, nor, unless that is little, before
 * what was saved since the last one is half as much; or the chain is long.
 */
static bool should_merge(const struct watch *w)
{
	uint64_t bytes, base;
	size_t n = store_chain(&w->store, &bytes, &base), most = MAX(2 * w->o->keep, (size_t)CHAIN_MOST);

	if (n < w->o->keep)
		return false;
	return base <= SMALL || 2 * bytes >= base || (n >= most && n % w->o->keep == 0);
}

/* Before another is made against it. Where it fails, the chain goes on. */
static int merge(struct watch *w)
{
	struct spore_merge_options call = { .listener = &w->talk.listener, .flags = SPORE_MERGE_NEW };
	_cleanup_fd_ int newest = store_image(&w->store, store_newest(&w->store));
	_cleanup_fd_ int out = store_begin(&w->store);
	int r = newest < 0 ? newest : out;

	if (r >= 0)
		r = spore_merge_with(newest, out, &call, sizeof(call));
	if (r == 0)
		r = store_replace_newest(&w->store);
	if (r == -EINVAL) /* a file system that cannot: the next one stands alone instead */
		w->full = true;
	if (r < 0)
		store_drop(&w->store);
	return r;
}

/* --- what is said --- */

static bool was_said(const struct watch *w, const struct spore_problem *p)
{
	for (size_t i = 0; i < w->n_said; i++) {
		const struct spore_problem *q = &w->said[i];

		if (q->kind == p->kind && q->pid == p->pid && !strcmp(q->object, p->object) &&
			!strcmp(q->text, p->text))
			return true;
	}
	return false;
}

/* What was said of the image before is not said again. */
static void say_new(struct watch *w)
{
	for (size_t i = 0; i < w->talk.n_problems; i++)
		if (!was_said(w, &w->talk.problems[i])) {
			view_clear(&w->view);
			say_problem("watch", &w->talk.problems[i]);
		}
}

static void remember(struct watch *w)
{
	free(w->said);
	w->said = w->talk.problems;
	w->n_said = w->talk.n_problems;
	w->talk.problems = NULL;
	w->talk.n_problems = 0;
}

static bool has_ended(const struct watch *w, int wait_ms)
{
	struct pollfd p = { .fd = w->root, .events = POLLIN };
	bool populated = true;

	if (w->root >= 0)
		return poll(&p, 1, wait_ms) > 0;
	return cgroup_has_processes(w->target.cgroup, &populated) < 0 || !populated;
}

/* A container ends when all that is in it has. */
static bool is_dying(const struct watch *w)
{
	_cleanup_fd_ int dir = w->root < 0 ? -1 : procfs_open_pid(w->target.pid);
	struct proc_stat st;

	return w->root >= 0 && (dir < 0 || proc_stat_read(dir, &st) < 0 || st.flags & PF_EXITING);
}

/* Was it because the tree came to its end? */
static bool ends(const struct watch *w)
{
	bool ended = has_ended(w, DEATH_WAIT_MS);

	for (int tries = 0; !ended && is_dying(w) && tries < DEATH_TRIES; tries++)
		ended = has_ended(w, DEATH_WAIT_MS);
	return ended;
}

static void note_failure(struct watch *w, int r)
{
	w->failures++;
	if (!w->talk.n_problems)
		view_clear(&w->view);
	w->status = talk_end(&w->talk, r, w->o->who);
}

/* False: the tree has ended. */
static bool step(struct watch *w)
{
	struct spore_checkpoint_result result = { 0 };
	struct view_image shown = { .store = &w->store, .result = &result, .talk = &w->talk };
	uint64_t start = clock_us();
	int r;

	talk_begin(&w->talk, "watch");
	w->talk.quiet = true;
	w->talk.terminal &= !w->images && w->view.kind != VIEW_JSON;
	r = checkpoint(w, &result);
	talk_clear(&w->talk);
	if (r < 0 && ends(w)) {
		talk_free(&w->talk);
		return false;
	}
	if (r == 0) {
		w->images++;
		shown.image = store_newest(&w->store);
		shown.since_us = w->last_us ? start - w->last_us : 0;
		w->last_us = start;
		shown.merged = should_merge(w) && (r = merge(w)) == 0;
		shown.removed = store_prune(&w->store, w->o->keep);
		shown.image = store_newest(&w->store);
	}
	if (r < 0)
		note_failure(w, r);
	say_new(w);
	shown.status = w->status;
	view_show(&w->view, &shown);
	remember(w);
	return true;
}

/* --- the loop --- */

static int block_signals(void)
{
	static const int wanted[] = { SIGINT, SIGTERM, SIGHUP };
	sigset_t set;

	sigemptyset(&set);
	for (size_t i = 0; i < ARRAY_SIZE(wanted); i++) {
		struct sigaction now;

		if (sigaction(wanted[i], NULL, &now) == 0 && now.sa_handler != SIG_IGN)
			sigaddset(&set, wanted[i]);
	}
	signal(SIGPIPE, SIG_IGN);
	sigprocmask(SIG_BLOCK, &set, NULL);
	return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

static int set_timer(uint64_t every_us)
{
	struct timespec every = { (time_t)(every_us / 1000000), (long)(every_us % 1000000 * 1000) };
	struct itimerspec t = { .it_interval = every, .it_value = { 0, 1 } };
	int fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);

	if (fd >= 0)
		timerfd_settime(fd, 0, &t, NULL);
	return fd;
}

/* Until it is time for the next one. NULL, or why there will be none. A time that was missed is left out. */
static const char *await(struct watch *w)
{
	struct pollfd p[] = { { .fd = w->signals, .events = POLLIN }, { .fd = w->root, .events = POLLIN },
		{ .fd = w->timer, .events = POLLIN } };
	uint64_t times;

	while (!(p[2].revents & POLLIN) || read(w->timer, &times, sizeof(times)) < 0) {
		if (poll(p, ARRAY_SIZE(p), -1) < 0 && errno != EINTR)
			return "signal";
		if (p[0].revents)
			return "signal";
		if (p[1].revents)
			return "tree";
	}
	return w->root < 0 && has_ended(w, 0) ? "tree" : NULL;
}

static int loop(struct watch *w)
{
	const char *why = NULL;

	while (!why && !ferror(stdout)) {
		why = await(w);
		if (!why && !step(w))
			why = "tree";
	}
	view_end(&w->view, why ? why : "output", w->images, w->failures);
	if (!why)
		return STATUS_FAILED; /* nobody reads it any more */
	return w->images || !w->failures ? STATUS_DONE : w->status;
}

static int begin(struct watch *w)
{
	char title[512];

	if (!w->target.cgroup) {
		w->root = (int)syscall(SYS_pidfd_open, w->target.pid, 0);
		if (w->root < 0) {
			say_error("watch", "%s: %s", w->o->who, strerror(errno));
			return STATUS_FAILED;
		}
	}
	w->signals = block_signals();
	w->timer = set_timer(w->o->every_us);
	if (w->signals < 0 || w->timer < 0) {
		say_error("watch", "%s", strerror(errno));
		return STATUS_FAILED;
	}
	snprintf(title, sizeof(title), "%s every %g s into %s, the last %zu kept", w->o->who,
		(double)w->o->every_us / 1e6, w->o->dir, w->o->keep);
	view_begin(&w->view, w->o->json, title);
	return 0;
}

static void end(struct watch *w)
{
	store_close(&w->store);
	target_free(&w->target);
	close_fd(&w->root);
	close_fd(&w->signals);
	close_fd(&w->timer);
	free(w->said);
}

static int run(int argc, char **argv)
{
	struct watch_options o = { .every_us = 1000000, .keep = 10, .who = "", .dir = "" };
	struct watch w = { .o = &o, .root = -1, .timer = -1, .signals = -1, .store.dir_fd = -1 };
	int status = parse(argc, argv, &o);

	if (status == 0)
		status = target_find("watch", o.who, &w.target);
	if (status == 0)
		status = store_open(&w.store, o.dir);
	if (status == 0)
		status = begin(&w);
	if (status == 0)
		status = loop(&w);
	end(&w);
	return status;
}

const struct command command_watch = {
	.name = "watch",
	.usage = "[--every TIME] [--keep N] [--compress] [--strict] [--json] PID DIR",
	.summary = "saves a tree again and again, each time what changed, until it ends",
	.help = "  --every TIME  how often: 500ms, 1s (the default), 5m\n"
		"  --keep N      how many images stay at least (10)\n"
		"  --compress, --strict  as checkpoint has them\n"
		"  --json        prints an object for each image, a line each\n"
		"\nImages are DIR/000001 and so on, each whole at any time with those before it; DIR/latest is the "
		"newest.\n"
		"A later watch goes on with the numbers.\n",
	.run = run,
};
