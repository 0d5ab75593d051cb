/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The engine's threads, one for each CPU. They live as long as the engine, since ptrace belongs to a thread: a worker keeps the processes
 * that it seized. workers_each runs one function on all of them and waits; the answer is the first error.
 */
#pragma once

struct workers;

int workers_new(struct workers **out);
void workers_free(struct workers *w); /* takes NULL */
unsigned int workers_count(const struct workers *w);
int workers_each(struct workers *w, int (*fn)(unsigned int worker, void *arg), void *arg);
