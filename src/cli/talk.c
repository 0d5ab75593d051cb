/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "cli/talk.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cli/json.h"

#define PROGRESS_AFTER_NS 1000000000ull

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

void talk_clear(struct talk *t)
{
	if (t->line)
		fputs("\r\033[K", stderr);
	t->line = false;
}

static void on_problem(void *data, const struct spore_problem *p)
{
	struct talk *t = data;
	struct spore_problem *grown = reallocarray(t->problems, t->n_problems + 1, sizeof(*grown));

	t->n_refused += p->kind == SPORE_REFUSED;
	t->n_failed += p->kind == SPORE_FAILED;
	t->n_changed += p->kind == SPORE_CHANGED;
	if (!t->quiet) {
		talk_clear(t);
		say_problem(t->command, p);
	}
	if (!grown)
		return;
	t->problems = grown;
	t->problems[t->n_problems++] = *p;
}

static void on_progress(void *data, const char *phase, uint64_t done, uint64_t total)
{
	struct talk *t = data;

	if (!t->terminal || now_ns() - t->started_ns < PROGRESS_AFTER_NS)
		return;
	if (total)
		fprintf(stderr, "\r\033[K%s %3" PRIu64 " %%", phase, MIN(done, total) * 100 / total);
	else
		fprintf(stderr, "\r\033[K%s %" PRIu64, phase, done);
	t->line = true;
}

/* With SPORE_DEBUG set to anything. */
static void on_log(void *data, const char *line)
{
	talk_clear(data);
	fprintf(stderr, "%s\n", line);
}

void talk_begin(struct talk *t, const char *command)
{
	*t = (struct talk){
		.command = command,
		.terminal = isatty(STDERR_FILENO),
		.started_ns = now_ns(),
		.listener = { .data = t,
			.problem = on_problem,
			.progress = on_progress,
			.log = getenv("SPORE_DEBUG") ? on_log : NULL },
	};
}

static const char *meaning(int error)
{
	switch (error) {
	case -EBUSY:
		return "another spore is at work on it; wait for that";
	case -EALREADY:
		return "it is isolated already; `spore unisolate` ends that";
	case -EPERM:
	case -EACCES:
		return geteuid() ? "not permitted; run it as root"
				 : "not permitted, even to root here; `spore check` shows what is missing";
	case -ESRCH:
		return "no such process";
	default:
		return strerror(-error);
	}
}

int talk_end(struct talk *t, int result, const char *what)
{
	talk_clear(t);
	if (result >= 0)
		return STATUS_DONE;
	if (!t->n_refused && !t->n_failed)
		say_error(t->command, "%s: %s", what, meaning(result));
	return t->n_refused && !t->n_failed ? STATUS_REFUSED : status_of(result);
}

void talk_free(struct talk *t)
{
	free(t->problems);
	t->problems = NULL;
	t->n_problems = 0;
}

void talk_json(const struct talk *t, FILE *out)
{
	static const char *const kinds[] = {
		[0] = "?", [SPORE_FAILED] = "failed", [SPORE_REFUSED] = "refused", [SPORE_CHANGED] = "changed"
	};

	fprintf(out, "\"problems\": [");
	for (size_t i = 0; i < t->n_problems; i++) {
		const struct spore_problem *p = &t->problems[i];

		fprintf(out, "%s{\"kind\": \"%s\", \"pid\": %d, \"process\": ", i ? ", " : "",
			kinds[p->kind > 0 && p->kind <= SPORE_CHANGED ? p->kind : 0], (int)p->pid);
		json_string(out, p->process);
		fprintf(out, ", \"object\": ");
		json_string(out, p->object);
		fprintf(out, ", \"text\": ");
		json_string(out, p->text);
		fprintf(out, ", \"remedy\": ");
		json_string(out, p->remedy);
		fprintf(out, "}");
	}
	fprintf(out, "]");
}
