/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "base/problem.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void problems_init(struct problems *ps)
{
	*ps = (struct problems){ 0 };
	pthread_mutex_init(&ps->lock, NULL);
}

static void problem_free(struct problem *p)
{
	free(p->object);
	free(p->text);
	free(p->remedy);
}

void problems_free(struct problems *ps)
{
	for (size_t i = 0; i < ps->n; i++)
		problem_free(&ps->list[i]);
	free(ps->list);
	pthread_mutex_destroy(&ps->lock);
	*ps = (struct problems){ 0 };
}

static void count(struct problems *ps, const struct problem *p)
{
	if (p->kind == PROBLEM_REFUSED)
		ps->n_refused++;
	if (p->kind == PROBLEM_FAILED)
		ps->n_failed++;
	if (p->kind != PROBLEM_CHANGED && !ps->first_error)
		ps->first_error = p->error;
}

static void append(struct problems *ps, const struct problem *p)
{
	struct problem *grown;

	pthread_mutex_lock(&ps->lock);
	count(ps, p);
	grown = reallocarray(ps->list, ps->n + 1, sizeof(*ps->list));
	if (grown) {
		ps->list = grown;
		ps->list[ps->n++] = *p;
	}
	pthread_mutex_unlock(&ps->lock);
}

static bool same_text(const char *a, const char *b)
{
	return a && b ? !strcmp(a, b) : a == b;
}

static bool holds(const struct problems *ps, const struct problem *p)
{
	for (size_t i = 0; i < ps->n; i++) {
		const struct problem *q = &ps->list[i];

		if (q->kind == p->kind && q->error == p->error && q->pid == p->pid && same_text(q->object, p->object) &&
			same_text(q->text, p->text))
			return true;
	}
	return false;
}

void problems_move(struct problems *to, struct problems *from)
{
	for (size_t i = 0; i < from->n; i++)
		if (holds(to, &from->list[i]))
			problem_free(&from->list[i]);
		else
			append(to, &from->list[i]);
	from->n = 0;
	problems_free(from);
	problems_init(from);
}

void problems_once(struct problems *ps)
{
	struct problems once;

	problems_init(&once);
	problems_move(&once, ps);
	problems_move(ps, &once);
	problems_free(&once);
}

bool problems_pass(const struct problems *ps)
{
	for (size_t i = 0; i < ps->n; i++)
		if (ps->list[i].kind == PROBLEM_FAILED || (ps->list[i].kind == PROBLEM_REFUSED && !ps->list[i].passing))
			return false;
	return ps->n_refused > 0;
}

static void add(
	struct problems *ps, enum problem_kind kind, int error, const struct blame *who, const char *fmt, va_list args)
{
	struct problem p = { .kind = kind, .error = error };

	if (vasprintf(&p.text, fmt, args) < 0)
		p.text = NULL;
	if (who) {
		p.pid = who->pid;
		snprintf(p.process, sizeof(p.process), "%s", who->process ? who->process : "");
		p.object = who->object ? strdup(who->object) : NULL;
		p.remedy = who->remedy ? strdup(who->remedy) : NULL;
		p.passing = who->passing;
	}
	append(ps, &p);
}

int failed(struct problems *ps, const struct blame *who, int error, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	add(ps, PROBLEM_FAILED, error, who, fmt, args);
	va_end(args);
	return error < 0 ? error : -EIO;
}

int refused(struct problems *ps, const struct blame *who, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	add(ps, PROBLEM_REFUSED, -ENOTSUP, who, fmt, args);
	va_end(args);
	return -ENOTSUP;
}

int problems_told(const struct problems *ps, int error)
{
	return error != -ENOTSUP ? error : ps->n_refused ? 0 : -EIO;
}

int changed(struct problems *ps, const struct blame *who, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	add(ps, PROBLEM_CHANGED, 0, who, fmt, args);
	va_end(args);
	return 0;
}
