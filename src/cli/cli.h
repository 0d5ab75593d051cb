/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The command: what its sub-commands share. Only this layer prints. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include <spore.h>

#include "base/macro.h"
#include "base/problem.h"

enum exit_status {
	STATUS_DONE = 0,
	STATUS_FAILED = 1,
	STATUS_USAGE = 2,
	STATUS_REFUSED = 3, /* the tree or image holds something that spore cannot carry */
};

struct command {
	const char *name;
	const char *usage;		   /* after "spore NAME " */
	const char *summary;		   /* one line */
	const char *help;		   /* the options, a line each */
	int (*run)(int argc, char **argv); /* argv[0] is the sub-command; returns an exit status */
};

extern const struct command command_run, command_list, command_checkpoint, command_restore, command_isolate,
	command_unisolate, command_check, command_inspect, command_verify, command_merge, command_watch,
	command_receive;

/* Opens the directory of a new image, and makes it if it is missing. -1: it has been said what is wrong. */
int new_directory(const char *command, const char *dir, bool *made);

#define NO_IMAGE_REMEDY "name the directory of a checkpoint that was completed"

/* "spore: COMMAND: …" on stderr. */
void say_error(const char *command, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* The same, and "spore help COMMAND" as the way out. Returns STATUS_USAGE. */
int say_usage(const char *command, const char *fmt, ...) PRINTF_LIKE(2, 3);
void say_problem(const char *command, const struct spore_problem *p);
/* All of a list; returns the exit status that it stands for, `otherwise` if it is empty. */
int say_problems(const char *command, const struct problems *ps, int otherwise);
/* The exit status for a negative errno of a libspore call. */
int status_of(int error);
/* After getopt_long returned '?' or ':': says what is wrong with the option. Returns STATUS_USAGE. opterr
 * must be 0. */
int say_bad_option(const char *command, int c, char **argv);

/* What a user names as PID: a number, a name given to run, a cgroup's path. */
struct target {
	pid_t pid;	/* 0: a cgroup */
	char *cgroup;	/* NULL: a process */
	bool container; /* one that spore started or restored */
};
int target_find(const char *command, const char *word,
	struct target *out); /* 0, or an exit status when it has been said what is wrong */
void target_free(struct target *t);
bool is_cgroup(const char *word);

/* Exits as a process with this wait status did: with its status, or by its signal. */
void exit_like(int wait_status) __attribute__((noreturn));
