/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A restored tree whose pages come later (src/lazy): while some are missing, this process stays, and the tree dies with it. */
#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include <syslog.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "keeper/keeper.h"

void fill_adopt(struct keeper *k)
{
	k->filler = engine_take_filler(k->engine);
}

void fill_stream(struct keeper *k)
{
	if (k->filler)
		filler_stream(k->filler);
}

/* Where the tree has no client, nobody else would ever learn why it ended. */
static void log_problems(const struct problems *ps)
{
	openlog("spore", LOG_PID, LOG_DAEMON);
	for (size_t i = 0; i < ps->n; i++)
		syslog(LOG_ERR, "%s%s%s", ps->list[i].object ? ps->list[i].object : "", ps->list[i].object ? ": " : "",
			ps->list[i].text ? ps->list[i].text : strerror(-ps->list[i].error));
	closelog();
}

static void answer_waiters(struct keeper *k)
{
	for (size_t i = 0; i < k->n_fill_waiters; i++) {
		report_problems(k->fill_waiters[i], &k->fill_ps);
		report_result(k->fill_waiters[i], k->fill_ps.n ? -EOWNERDEAD : 0);
		close(k->fill_waiters[i]);
	}
	free(k->fill_waiters);
	k->fill_waiters = NULL;
	k->n_fill_waiters = 0;
}

void fill_note(struct keeper *k)
{
	bool over;

	if (!k->filler)
		return;
	over = filler_is_over(k->filler);
	if (filler_problems(k->filler, &k->fill_ps) && !k->fill_told) {
		k->fill_told = true;
		log_problems(&k->fill_ps);
	}
	if (!over)
		return;
	filler_free(k->filler);
	k->filler = NULL;
	malloc_trim(0);
	answer_waiters(k);
}

void fill_add_waiter(struct keeper *k, int sock)
{
	int *grown = reallocarray(k->fill_waiters, k->n_fill_waiters + 1, sizeof(int));

	if (!grown) {
		report_result(sock, -ENOMEM);
		close(sock);
		return;
	}
	k->fill_waiters = grown;
	k->fill_waiters[k->n_fill_waiters++] = sock;
	if (!k->filler)
		answer_waiters(k);
}
