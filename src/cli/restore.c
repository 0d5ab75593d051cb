/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* spore restore */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "cli/attend.h"
#include "cli/cli.h"
#include "cli/json.h"
#include "cli/talk.h"
#include "engine/engine.h"

#define WANTS_TERMINAL 8u

struct restore_options {
	bool detach, isolated, json;
	bool stream;	  /* dir is "-": from standard input */
	uint32_t outside; /* what the tree has of it */
	uint32_t flags;
	uint32_t clones; /* 0: one tree, as ever */
	const char *dir;
	struct terminal terminal;
};

static int parse_clones(const char *text, uint32_t *out)
{
	char *end;
	unsigned long n = strtoul(text, &end, 10);

	if (*text < '0' || *text > '9' || *end || n < 1 || n > SPORE_CLONES_MOST)
		return say_usage("restore", "--clone takes a number from 1 to %d", SPORE_CLONES_MOST);
	*out = (uint32_t)n;
	return 0;
}

static int parse(int argc, char **argv, struct restore_options *o)
{
	static const struct option options[] = {
		{ "detach", no_argument, NULL, 'd' },
		{ "isolated", no_argument, NULL, 'i' },
		{ "lazy", no_argument, NULL, 'l' },
		{ "changed-files", no_argument, NULL, 'c' },
		{ "json", no_argument, NULL, 'j' },
		{ "clone", required_argument, NULL, 'n' },
		{ 0 },
	};
	int c;

	while ((c = getopt_long(argc, argv, ":d", options, NULL)) != -1) {
		if (c == 'd')
			o->detach = true;
		else if (c == 'i')
			o->isolated = true;
		else if (c == 'l')
			o->flags |= SPORE_RESTORE_LAZY;
		else if (c == 'c')
			o->flags |= SPORE_RESTORE_CHANGED_FILES;
		else if (c == 'j')
			o->json = true;
		else if (c == 'n' && parse_clones(optarg, &o->clones))
			return STATUS_USAGE;
		else if (c != 'n')
			return say_bad_option("restore", c, argv);
	}
	if (argc - optind != 1)
		return say_usage("restore", "it takes DIR");
	o->dir = argv[optind];
	o->stream = !strcmp(o->dir, "-");
	if (o->stream && o->flags & SPORE_RESTORE_LAZY)
		return say_usage("restore", "--lazy needs a directory: a stream brings pages in its own order");
	if (o->stream && o->clones > 1)
		return say_usage("restore", "--clone needs a directory: a stream is for one tree");
	if (o->stream && isatty(STDIN_FILENO))
		return say_usage(
			"restore", "standard input is a terminal: give it what `spore checkpoint PID -` wrote");
	return 0;
}

/* Standard input is the stream: in its place comes the user's terminal, or /dev/null where there is none. */
static int take_stream(void)
{
	_cleanup_fd_ int stream = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3);
	_cleanup_fd_ int terminal = open("/dev/tty", O_RDWR | O_CLOEXEC);

	if (terminal < 0)
		terminal = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (stream < 0 || terminal < 0 || dup2(terminal, STDIN_FILENO) < 0) {
		say_error("restore", "standard input cannot be read: %s", strerror(errno));
		return -1;
	}
	return take_fd(&stream);
}

/* Detached, all but the terminal stay. */
static int stream_for(int fd, const struct restore_options *o)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return -1;
	if (!o->detach && o->stream)
		return fd; /* whether the tree had a terminal is not known yet */
	if (!o->detach)
		return o->terminal.slave >= 0 && isatty(fd) ? o->terminal.slave : fd;
	return isatty(fd) ? -1 : fd;
}

static int open_terminal(struct restore_options *o)
{
	int r = terminal_open(&o->terminal);

	if (r < 0)
		say_error("restore", "cannot make a terminal: %s", strerror(-r));
	return r < 0 ? STATUS_FAILED : STATUS_DONE;
}

/* A pty if the tree had the user's terminal: the one of this user is relayed to, never handed over. Of a stream that is known when it has been read. */
static int prepare_terminal(struct restore_options *o, int dir)
{
	uint32_t wants = 0;
	struct problems ps;
	int status = STATUS_DONE, r;

	if (o->stream)
		return o->detach || !isatty(STDIN_FILENO) ? STATUS_DONE : open_terminal(o);
	problems_init(&ps);
	r = engine_wants(dir, &wants, &ps);
	if (r < 0)
		status = say_problems("restore", &ps, STATUS_FAILED);
	problems_free(&ps);
	if (r == 0 && o->clones > 1 && !o->detach && (wants & WANTS_TERMINAL)) {
		say_error("restore",
			"several trees cannot have one terminal, which the saved one had; restore them detached (-d)");
		return STATUS_FAILED;
	}
	if (r < 0 || o->detach || !(wants & WANTS_TERMINAL))
		return status;
	return open_terminal(o);
}

static void print_figures(pid_t pid, const struct spore_restore_result *r)
{
	printf("\"pid\": %d, \"stop_us\": 0, \"total_us\": %" PRIu64 ", \"pages\": %" PRIu64 ", \"bytes\": %" PRIu64
	       ", \"pages_later\": %" PRIu64 ", \"pages_shared\": %" PRIu64 ", \"tasks\": %" PRIu64
	       ", \"new_pid_namespace\": %s",
		(int)pid, r->total_us, r->pages, r->bytes, r->pages_later, r->pages_shared, r->tasks,
		r->new_pid_namespace ? "true" : "false");
}

/* One restore, and what is said of it. */
struct telling {
	struct restore_options *o;
	struct talk talk;
	uint32_t told; /* of how many trees */
};

/* Of several: the figures of the first, and those of each in a list. */
static void print_json(struct telling *t, pid_t pid, const struct spore_restore_result *r)
{
	uint32_t n = MAX(t->o->clones, 1u);

	if (t->told == 0) {
		printf("{\"dir\": ");
		json_string(stdout, t->o->dir);
		printf(", ");
		print_figures(pid, r);
		printf(t->o->clones ? ", \"clones\": [" : ", ");
	}
	if (t->o->clones) {
		printf("%s{", t->told ? ", " : "");
		print_figures(pid, r);
		printf(t->told + 1 == n ? "}], " : "}");
	}
	if (t->told + 1 < n)
		return;
	talk_json(&t->talk, stdout);
	printf("}\n");
}

/* The pid of a tree that nobody could be told of would be lost: such a tree does not begin to run. */
static int tell_result(void *data, pid_t pid, const struct spore_restore_result *r)
{
	struct telling *t = data;
	struct spore_problem p = { .kind = SPORE_FAILED, .object = "standard output" };

	t->o->outside = r->outside;
	if (t->o->json)
		print_json(t, pid, r);
	else if (t->o->detach)
		printf("%d\n", (int)pid);
	t->told++;
	if (fflush(stdout) == 0)
		return 0;
	p.error = -errno;
	snprintf(p.text, sizeof(p.text), "%s: the pid cannot be told, so the tree was ended", strerror(errno));
	snprintf(p.remedy, sizeof(p.remedy), "restore it again with an output that can be written");
	t->talk.listener.problem(t->talk.listener.data, &p);
	return p.error;
}

static pid_t restore(struct restore_options *o, int dir, pid_t *pids, int *status)
{
	struct telling telling = { .o = o };
	struct spore_restore_options call = {
		.flags = o->flags | (o->isolated ? 0 : SPORE_RESTORE_RUN),
		.has_stdio = 1,
		.has_terminal = o->terminal.slave >= 0,
		.terminal = o->terminal.slave,
		.listener = &telling.talk.listener,
		.built = tell_result,
		.built_data = &telling,
		.clones = o->clones,
		.pids = pids,
	};
	pid_t pid;

	talk_begin(&telling.talk, "restore");
	for (int fd = 0; fd < 3; fd++)
		call.stdio[fd] = stream_for(fd, o);
	pid = spore_restore_with(dir, 0, &call, sizeof(call));
	*status = talk_end(&telling.talk, pid, o->dir);
	talk_free(&telling.talk);
	return pid;
}

static int open_all(const pid_t *pids, uint32_t n, int *pidfds)
{
	int r = 0;

	for (uint32_t i = 0; i < n; i++) {
		pidfds[i] = (int)syscall(SYS_pidfd_open, pids[i], 0);
		if (pidfds[i] < 0 && r == 0)
			r = -errno;
	}
	return r;
}

/* The first status that tells of a failure, in the order of the trees; 0: all ended well. */
static int await_all(const pid_t *pids, uint32_t n, const struct spore_wait_options *wait, int *status)
{
	*status = 0;
	for (uint32_t i = 0; i < n; i++) {
		int one, r = spore_wait_with(pids[i], &one, wait, sizeof(*wait));

		if (r < 0)
			return r;
		*status = *status ? *status : one;
	}
	return 0;
}

/* The trees in the foreground. Returns an exit status only if that fails. */
static int stay(struct restore_options *o, const pid_t *pids, uint32_t n)
{
	struct talk talk = { 0 };
	struct spore_wait_options wait = { .listener = &talk.listener };
	_cleanup_free_ int *pidfds = calloc(n, sizeof(*pidfds));
	sigset_t passed, before;
	int status = 0, r = pidfds ? open_all(pids, n, pidfds) : -ENOMEM;

	talk_begin(&talk, "restore");
	attend_block(&passed, &before);
	terminal_take(&o->terminal);
	if (r == 0)
		r = n == 1 ? attend(pidfds[0], &o->terminal, &passed) : attend_all(pidfds, n, &passed);
	if (r == 0)
		r = await_all(pids, n, &wait, &status);
	talk_free(&talk);
	terminal_close(&o->terminal);
	for (uint32_t i = 0; pidfds && i < n; i++)
		close_fd(&pidfds[i]);
	if (r == 0)
		exit_like(status);
	say_error("restore", "the tree's end was missed: %s", strerror(-r));
	return STATUS_FAILED;
}

static int run(int argc, char **argv)
{
	struct restore_options o = { .dir = "", .terminal = TERMINAL_NONE };
	_cleanup_free_ pid_t *pids = NULL;
	_cleanup_fd_ int dir = -1;
	int status = parse(argc, argv, &o);
	uint32_t n;
	pid_t first;

	if (status)
		return status;
	dir = o.stream ? take_stream() : open(o.dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0 && o.stream)
		return STATUS_FAILED;
	if (dir < 0) {
		say_error("restore", "%s: %s; " NO_IMAGE_REMEDY, o.dir, strerror(errno));
		return STATUS_FAILED;
	}
	status = prepare_terminal(&o, dir);
	if (status)
		return status;
	n = MAX(o.clones, 1u);
	pids = calloc(n, sizeof(*pids));
	if (!pids) {
		say_error("restore", "out of memory");
		return STATUS_FAILED;
	}
	first = restore(&o, dir, pids, &status);
	close_fd(&dir);
	if (!(o.outside & WANTS_TERMINAL))
		terminal_close(&o.terminal);
	if (first > 0 && !o.detach)
		status = stay(&o, pids, n);
	terminal_close(&o.terminal);
	return status;
}

const struct command command_restore = {
	.name = "restore",
	.usage = "[-d] [--isolated] [--lazy] [--clone N] [--changed-files] [--json] DIR|-",
	.summary = "brings a saved tree back, and stays with it until it ends",
	.help = "  -d, --detach     prints the pid of its root and returns; what was the terminal is then /dev/null "
		"for the tree\n"
		"  --isolated       leaves it isolated: it goes on at `spore unisolate`\n"
		"  --lazy           runs the tree at once: its memory comes when it is touched, the rest behind\n"
		"  --clone N        brings back N trees, all or none, which share their memory until they write to it\n"
		"  --changed-files  restores although a file that is open for writing was written since\n"
		"  --json           prints one object: pid, total_us, pages, bytes, pages_later, tasks, problems\n"
		"\nIn the foreground signals are passed on, and spore exits as the tree's root does. A tree that had "
		"the user's\n"
		"terminal gets one of its own, which is relayed. -: the image is a stream on standard input, which is "
		"then\n"
		"the user's terminal for the tree, or /dev/null where there is none.\n",
	.run = run,
};
