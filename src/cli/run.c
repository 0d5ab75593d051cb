/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* spore run: starts a command as a container. clone3(2) */
#include <errno.h>
#include <linux/close_range.h>
#include <fcntl.h>
#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <linux/nsfs.h>
#include <linux/sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/process.h"
#include "cli/attend.h"
#include "cli/cli.h"
#include "container/container.h"
#include "init/start_failure.h"

struct run_options {
	bool detach;
	char **command;
	struct container_entry entry;
	char init_path[PATH_MAX];
	struct terminal terminal;
	sigset_t passed, mask;
};

/* --- options --- */

static bool good_name(const char *name)
{
	static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-";

	return *name && *name != '.' && *name != '-' && strlen(name) < sizeof((struct container_entry){ 0 }.name) &&
	       name[strspn(name, letters)] == '\0' && name[strspn(name, "0123456789")] != '\0';
}

static int set_root(struct run_options *o, const char *dir)
{
	struct stat st;

	free(o->entry.spec.root);
	o->entry.spec.root = realpath(dir, NULL);
	if (!o->entry.spec.root || stat(dir, &st) < 0 || !S_ISDIR(st.st_mode))
		return say_usage("run", "--root %s: %s", dir, strerror(o->entry.spec.root ? ENOTDIR : errno));
	if (strcmp(o->entry.spec.root, "/") == 0) {
		free(o->entry.spec.root);
		o->entry.spec.root = NULL;
	}
	return 0;
}

/* errno is 0 where it is something else. */
static bool is_network(const char *path)
{
	_cleanup_fd_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	int type = fd < 0 ? -1 : ioctl(fd, NS_GET_NSTYPE);

	if (fd >= 0)
		errno = 0;
	return type == CLONE_NEWNET;
}

static int set_net(struct run_options *o, const char *net)
{
	if (strcmp(net, "host") && strcmp(net, "none") && net[0] != '/')
		return say_usage("run", "--net wants host, none or the path of a network namespace, not %s", net);
	if (net[0] == '/' && !is_network(net)) {
		say_error("run", "--net %s: %s; name one that is there (ip netns makes them, below /run/netns)", net,
			errno ? strerror(errno) : "not a network namespace");
		return STATUS_FAILED;
	}
	free(o->entry.spec.net);
	o->entry.spec.net = strdup(net);
	return 0;
}

static int set_name(struct run_options *o, const char *name)
{
	if (!good_name(name))
		return say_usage("run",
			"--name %s: a name is at most 63 letters, digits, '_', '-' and '.', and not a number "
			"alone",
			name);
	snprintf(o->entry.name, sizeof(o->entry.name), "%s", name);
	return 0;
}

static int parse(int argc, char **argv, struct run_options *o)
{
	static const struct option options[] = {
		{ "detach", no_argument, NULL, 'd' },
		{ "name", required_argument, NULL, 'n' },
		{ "net", required_argument, NULL, 'N' },
		{ "root", required_argument, NULL, 'r' },
		{ "no-init", no_argument, NULL, 'I' },
		{ 0 },
	};
	int c, r = 0;

	while (r == 0 && (c = getopt_long(argc, argv, "+:d", options, NULL)) != -1) {
		if (c == 'd')
			o->detach = true;
		else if (c == 'I')
			o->entry.spec.init = false;
		else if (c == 'n')
			r = set_name(o, optarg);
		else if (c == 'N')
			r = set_net(o, optarg);
		else if (c == 'r')
			r = set_root(o, optarg);
		else
			r = say_bad_option("run", c, argv);
	}
	if (r == 0 && optind == argc)
		r = say_usage("run", "no command given");
	o->command = argv + optind;
	return r;
}

/* --- in the container's first process --- */

static void give_up(int fd, int error, const char *what)
{
	struct start_failure failure = { .error = error };

	strncpy(failure.what, what, sizeof(failure.what) - 1);
	_exit(write(fd, &failure, sizeof(failure)) < 0 ? 127 : 126);
}

/* Detached, the terminal and pipes are left behind, so that $(spore run -d …) ends; files stay. */
static void leave_stream(int fd)
{
	struct stat st;

	if (fstat(fd, &st) == 0 && !isatty(fd) && !S_ISFIFO(st.st_mode) && !S_ISSOCK(st.st_mode))
		return;
	close(fd);
	if (open("/dev/null", O_RDWR) < 0) /* gets the lowest free number: this one */
		return;
}

static void set_streams(const struct run_options *o)
{
	for (int fd = 0; fd < 3; fd++) {
		if (o->detach)
			leave_stream(fd);
		else if (o->terminal.slave >= 0 && isatty(fd))
			dup2(o->terminal.slave, fd);
	}
}

static void exec_command(const struct run_options *o, int failure_fd)
{
	char number[16];
	char **command;
	size_t n = 0;

	/* What the caller happens to have open beside the standard streams would lead out of the container, and keep it from being saved. */
	syscall(SYS_close_range, 3, ~0u, CLOSE_RANGE_CLOEXEC);
	if (!o->entry.spec.init) {
		if (isatty(0))
			ioctl(0, TIOCSCTTY, 0);
		execvp(o->command[0], o->command);
		give_up(failure_fd, errno, "exec");
	}
	while (o->command[n])
		n++;
	command = calloc(n + 3, sizeof(*command)); /* spore run has one thread: its child may allocate */
	if (!command)
		give_up(failure_fd, ENOMEM, "exec of the container's init");
	memcpy(command + 2, o->command, n * sizeof(*command));
	snprintf(number, sizeof(number), "%d", failure_fd);
	command[0] = (char *)"spore-init";
	command[1] = number;
	fcntl(failure_fd, F_SETFD, 0); /* init hands it on */
	execv(o->entry.spec.root ? CONTAINER_INIT_IN_ROOT : o->init_path, command);
	give_up(failure_fd, errno, "exec of the container's init");
}

static void first_process(const struct run_options *o, int go_fd, int failure_fd)
{
	const char *what = "";
	char go;
	int r;

	if (read(go_fd, &go, 1) != 1)
		_exit(126); /* spore run has died */
	set_streams(o);
	r = container_enter_time(&o->entry.spec, &what);
	if (r == 0)
		r = container_setup(&o->entry.spec, &what);
	if (r < 0)
		give_up(failure_fd, -r, what);
	setsid();
	sigprocmask(SIG_SETMASK, &o->mask, NULL);
	exec_command(o, failure_fd);
}

/* --- in spore run --- */

static bool name_is_taken(const char *name, struct container_entry *other)
{
	bool taken = container_find_name(name, other) == 0;

	if (taken)
		container_spec_free(&other->spec);
	return taken;
}

/* Of our pid: a container of an earlier process of that number may still run. */
static void choose_name(char *name, size_t size)
{
	struct container_entry other = { 0 };

	snprintf(name, size, "run-%d", (int)getpid());
	for (int i = 2; name_is_taken(name, &other); i++)
		snprintf(name, size, "run-%d-%d", (int)getpid(), i);
}

static int prepare(struct run_options *o, struct problems *ps)
{
	struct container_spec *spec = &o->entry.spec;
	struct container_entry other = { 0 };

	if (!o->entry.name[0])
		choose_name(o->entry.name, sizeof(o->entry.name));
	if (name_is_taken(o->entry.name, &other))
		return failed(ps, BLAME(.pid = other.pid, .process = o->entry.name, .remedy = "choose another name"),
			-EEXIST, "a container of that name runs already");
	spec->name = strdup(o->entry.name);
	spec->time_ns = access("/proc/self/ns/time", F_OK) == 0;
	if (spec->init && container_init_path(o->init_path, sizeof(o->init_path)) < 0)
		return failed(ps, BLAME(.object = "spore-init", .remedy = "install it beside spore, or use --no-init"),
			-ENOENT, "not found");
	return container_make_cgroup(spec, ps);
}

static pid_t start(struct run_options *o, int go_fd, int failure_fd, int *pidfd, struct problems *ps)
{
	struct clone_args args = {
		.flags = container_clone_flags(&o->entry.spec) | CLONE_PIDFD,
		.pidfd = (uintptr_t)pidfd,
		.exit_signal = SIGCHLD,
	};
	pid_t pid = (pid_t)syscall(SYS_clone3, &args, sizeof(args));

	if (pid == 0)
		first_process(o, go_fd, failure_fd);
	if (pid < 0)
		return failed(ps, BLAME(.remedy = errno == EPERM ? "run it as root" : NULL), -errno,
			"cannot make the container's namespaces: %s", strerror(errno));
	return pid;
}

static int wait_started(int failure_fd, const struct run_options *o, struct problems *ps)
{
	struct start_failure failure;
	ssize_t n = read(failure_fd, &failure, sizeof(failure));

	if (n == 0)
		return 0;
	if (n != sizeof(failure))
		return failed(ps, NULL, -EIO, "the container did not start");
	failure.what[sizeof(failure.what) - 1] = '\0';
	if (strcmp(failure.what, "exec") == 0)
		return failed(ps, BLAME(.object = o->command[0]), -failure.error, "%s", strerror(failure.error));
	return failed(ps, NULL, -failure.error, "%s: %s", failure.what, strerror(failure.error));
}

/* The container's first process, registered and running the command; negative errno. */
static pid_t launch(struct run_options *o, int *pidfd, struct problems *ps)
{
	int go[2], failure[2], r;
	pid_t pid;

	if (pipe2(go, O_CLOEXEC) < 0 || pipe2(failure, O_CLOEXEC) < 0)
		return failed(ps, NULL, -errno, "pipe: %s", strerror(errno));
	pid = start(o, go[0], failure[1], pidfd, ps);
	close(go[0]);
	close(failure[1]);
	if (pid < 0)
		return pid;
	o->entry.pid = pid;
	r = process_starttime(pid, &o->entry.starttime);
	if (r == 0)
		r = container_register(&o->entry, ps);
	if (r == 0 && write(go[1], "", 1) == 1)
		r = wait_started(failure[0], o, ps);
	close(go[1]); /* without the byte the first process gives up */
	close(failure[0]);
	return r < 0 ? r : pid;
}

static void tidy(const struct run_options *o)
{
	struct container_entry *list = NULL;
	size_t n = 0;

	if (container_list(&list, &n) == 0) /* drops what is gone */
		container_list_free(list, n);
	container_remove_cgroup(&o->entry.spec);
}

/* The root's wait status, or -1. */
static int stay(struct run_options *o, pid_t pid, int pidfd)
{
	int status, r;

	terminal_take(&o->terminal);
	r = attend(pidfd, &o->terminal, &o->passed);
	if (r < 0 || waitpid(pid, &status, 0) != pid)
		return -1;
	return status;
}

/* A container that nobody could be told of would be lost: it is ended, and all of it, since its pid namespace ends. */
static int tell_pid(struct run_options *o, pid_t pid, struct problems *ps)
{
	int error;

	signal(SIGPIPE, SIG_IGN);
	printf("%d\n", (int)pid);
	if (fflush(stdout) == 0)
		return STATUS_DONE;
	error = errno;
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	tidy(o);
	failed(ps, BLAME(.object = "standard output", .remedy = "run it again with an output that can be written"),
		-error, "%s: the pid cannot be told, so the container was ended", strerror(error));
	return STATUS_FAILED;
}

static int run_container(struct run_options *o, struct problems *ps)
{
	_cleanup_fd_ int pidfd = -1;
	int status;
	pid_t pid;

	if (!proc_is_ours()) {
		failed(ps, BLAME(.remedy = PROC_NOT_OURS_REMEDY), -ESRCH, "%s", PROC_NOT_OURS);
		return STATUS_FAILED;
	}
	if (prepare(o, ps) < 0)
		return STATUS_FAILED;
	if (!o->detach && isatty(STDIN_FILENO) && isatty(STDOUT_FILENO) && terminal_open(&o->terminal) < 0)
		failed(ps, NULL, -errno, "cannot make a terminal: %s", strerror(errno));
	attend_block(&o->passed, &o->mask);
	pid = launch(o, &pidfd, ps);
	if (pid < 0) {
		terminal_close(&o->terminal);
		if (o->entry.pid > 0)
			waitpid(o->entry.pid, NULL, 0);
		tidy(o);
		return STATUS_FAILED;
	}
	if (o->detach)
		return tell_pid(o, pid, ps);
	status = stay(o, pid, pidfd);
	terminal_close(&o->terminal);
	tidy(o);
	if (status >= 0)
		exit_like(status);
	return STATUS_FAILED;
}

static int run(int argc, char **argv)
{
	struct run_options o = { .entry.spec.init = true, .terminal = TERMINAL_NONE };
	struct problems ps;
	int status;

	problems_init(&ps);
	status = parse(argc, argv, &o);
	if (status == 0)
		status = run_container(&o, &ps);
	say_problems("run", &ps, status);
	problems_free(&ps);
	container_spec_free(&o.entry.spec);
	return status;
}

const struct command command_run = {
	.name = "run",
	.usage = "[-d] [--name N] [--net host|none|PATH] [--root DIR] [--no-init] -- CMD...",
	.summary = "starts CMD as a container, which can be saved as a whole",
	.help = "  -d, --detach   prints the pid of the container's init and returns; the terminal and pipes "
		"are then /dev/null for CMD\n"
		"  --name N       its name in `spore list`, to be used in place of the pid\n"
		"  --net WHICH    host (as it is without the option), none (a loopback of its own), or the "
		"path of a network namespace\n"
		"  --root DIR     its root directory; DIR must hold proc and dev\n"
		"  --no-init      CMD itself is pid 1\n",
	.run = run,
};
