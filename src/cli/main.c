/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* spore: the table of commands. */
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"

static const struct command *const commands[] = {
	&command_run,
	&command_list,
	&command_checkpoint,
	&command_restore,
	&command_isolate,
	&command_unisolate,
	&command_check,
	&command_inspect,
	&command_verify,
	&command_merge,
	&command_watch,
	&command_receive,
};

static const struct command *find(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
		if (strcmp(commands[i]->name, name) == 0)
			return commands[i];
	return NULL;
}

static void print_overview(FILE *out)
{
	fprintf(out, "usage: spore COMMAND [ARGUMENT]...\n\nSaves a running process tree to a directory, and "
		     "brings it back.\n\n");
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
		fprintf(out, "  %-11s %s\n", commands[i]->name, commands[i]->summary);
	fprintf(out, "\n`spore help COMMAND` tells more. Where PID stands, so may a name given to run, or a "
		     "cgroup's path.\n"
		     "Exit status: 0 done; 1 failed; 2 wrong usage; 3 something that spore cannot carry.\n");
}

static void print_help(const struct command *c)
{
	printf("usage: spore %s %s\n\n%s\n%s%s", c->name, c->usage, c->summary, c->help ? "\n" : "",
		c->help ? c->help : "");
}

static int help(const char *name)
{
	const struct command *c = name ? find(name) : NULL;

	if (!name) {
		print_overview(stdout);
		return STATUS_DONE;
	}
	if (!c) {
		fprintf(stderr, "spore: no command %s; `spore help` lists them\n", name);
		return STATUS_USAGE;
	}
	print_help(c);
	return STATUS_DONE;
}

static bool wants_help(int argc, char **argv)
{
	for (int i = 1; i < argc && argv[i][0] == '-' && strcmp(argv[i], "--"); i++)
		if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)
			return true;
	return false;
}

static int run(int argc, char **argv)
{
	const struct command *c;

	if (argc < 2) {
		print_overview(stderr);
		return STATUS_USAGE;
	}
	if (strcmp(argv[1], "help") == 0 || strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)
		return help(argc > 2 ? argv[2] : NULL);
	if (strcmp(argv[1], "--version") == 0) {
		printf("spore %d.%d.%d\n", SPORE_VERSION_MAJOR, SPORE_VERSION_MINOR, SPORE_VERSION_PATCH);
		return STATUS_DONE;
	}
	c = find(argv[1]);
	if (!c) {
		fprintf(stderr, "spore: no command %s; `spore help` lists them\n", argv[1]);
		return STATUS_USAGE;
	}
	if (wants_help(argc - 1, argv + 1))
		return help(c->name);
	opterr = 0;
	return c->run(argc - 1, argv + 1);
}

/* A standard stream that is closed must not become whatever is opened next; used, it fails as it did. */
static void hold_closed_streams(void)
{
	for (int fd = 0; fd < 3; fd++)
		if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", (fd ? O_RDONLY : O_WRONLY) | O_CLOEXEC) < 0)
			return;
}

int main(int argc, char **argv)
{
	int status;

	hold_closed_streams();
	status = run(argc, argv);

	if (fflush(stdout) != 0 && status == STATUS_DONE) {
		perror("spore: standard output");
		return STATUS_FAILED;
	}
	return status;
}
