/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the command says on stderr: one line for each problem, with the process, the object and the remedy. */
#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "cli/cli.h"

void say_error(const char *command, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	flockfile(stderr);
	fprintf(stderr, "spore: %s: ", command);
	vfprintf(stderr, fmt, args);
	putc('\n', stderr);
	funlockfile(stderr);
	va_end(args);
}

int say_usage(const char *command, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	fprintf(stderr, "spore: %s: ", command);
	vfprintf(stderr, fmt, args);
	fprintf(stderr, "; see `spore help %s`\n", command);
	va_end(args);
	return STATUS_USAGE;
}

int say_bad_option(const char *command, int c, char **argv)
{
	const char *word = argv[optind - 1];

	if (c == ':')
		return say_usage(command, "%s wants a value", word);
	if (optopt && strncmp(word, "--", 2) != 0)
		return say_usage(command, "unknown option -%c", optopt);
	return say_usage(command, "unknown option %s", word);
}

void say_problem(const char *command, const struct spore_problem *p)
{
	flockfile(stderr);
	fprintf(stderr, "spore: %s: ", command);
	if (p->pid)
		fprintf(stderr, "%s (%d): ", p->process[0] ? p->process : "?", (int)p->pid);
	if (p->object[0])
		fprintf(stderr, "%s: ", p->object);
	if (p->kind == SPORE_CHANGED)
		fprintf(stderr, "note: ");
	fprintf(stderr, "%s", p->text);
	if (p->remedy[0])
		fprintf(stderr, "; %s", p->remedy);
	putc('\n', stderr);
	funlockfile(stderr);
}

int say_problems(const char *command, const struct problems *ps, int otherwise)
{
	for (size_t i = 0; i < ps->n; i++) {
		const struct problem *p = &ps->list[i];
		struct spore_problem out = { .error = p->error, .pid = p->pid };

		out.kind = p->kind == PROBLEM_FAILED	? SPORE_FAILED
			   : p->kind == PROBLEM_REFUSED ? SPORE_REFUSED
							: SPORE_CHANGED;
		snprintf(out.process, sizeof(out.process), "%s", p->process);
		snprintf(out.object, sizeof(out.object), "%s", p->object ? p->object : "");
		snprintf(out.text, sizeof(out.text), "%s", p->text ? p->text : strerror(-p->error));
		snprintf(out.remedy, sizeof(out.remedy), "%s", p->remedy ? p->remedy : "");
		say_problem(command, &out);
	}
	if (ps->n_failed)
		return STATUS_FAILED;
	return ps->n_refused ? STATUS_REFUSED : otherwise;
}

int status_of(int error)
{
	if (error >= 0)
		return STATUS_DONE;
	return error == -ENOTSUP ? STATUS_REFUSED : STATUS_FAILED;
}
