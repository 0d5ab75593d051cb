/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The engine's threads. They live as long as the engine, since ptrace belongs to a thread: a worker keeps the processes that it seized. The first worker is
 * whoever calls, always the same thread; others are started when they are first needed. workers_each runs one function on all of them and waits; the
 * answer is the first error. workers_some: on as many at most, always the same first ones; to wake another thread takes longer than what a small tree needs.
 */
#pragma once

#include <stddef.h>

struct workers;

int workers_new(struct workers **out);
void workers_free(struct workers *w); /* takes NULL */
unsigned int workers_count(const struct workers *w);
int workers_each(struct workers *w, int (*fn)(unsigned int worker, void *arg), void *arg);
int workers_some(struct workers *w, size_t most, int (*fn)(unsigned int worker, void *arg), void *arg);
