/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* POSIX message queues: mq_overview(7). */

#include "maker.h"

#include <mqueue.h>

static int fd = -1;

static int mq_make(struct maker_ctx *ctx)
{
	struct mq_attr a = { .mq_maxmsg = 3, .mq_msgsize = 16 };
	char name[64];

	snprintf(name, sizeof(name), "/spore-maker-%d", getpid());
	fd = mq_open(name, O_CREAT | O_EXCL | O_RDWR, 0600, &a);
	NEED(fd >= 0);
	CHECK(!mq_unlink(name));
	return mq_send(fd, "queued", 6, 1);
}

/* One that nobody has open: of a container's own namespace, or the host's, where it stays. */
static const char *closed_queue(void)
{
	static char name[32];

	if (!*name)
		snprintf(name, sizeof(name), "/maker-%lx", (unsigned long)now_ns(CLOCK_REALTIME));
	return name;
}

static int mq_closed_make(struct maker_ctx *ctx)
{
	struct mq_attr a = { .mq_maxmsg = 3, .mq_msgsize = 16 };
	mqd_t q = mq_open(closed_queue(), O_CREAT | O_EXCL | O_RDWR, 0600, &a);

	NEED(q >= 0);
	CHECK(!mq_send(q, "queued", 6, 1));
	return mq_close(q);
}

static int mq_closed_use(struct maker_ctx *ctx)
{
	mqd_t q = mq_open(closed_queue(), O_RDONLY | O_NONBLOCK);
	char c[16];

	mq_unlink(closed_queue());
	CHECK(q >= 0);
	SAME(mq_receive(q, c, sizeof(c), NULL), 6);
	return mq_close(q);
}

static int mq_use(struct maker_ctx *ctx)
{
	char c[16];

	SAME(mq_receive(fd, c, sizeof(c), NULL), 6);
	return 0;
}

const struct maker makers_mqueue[] = {
	{ "posix-mq-closed", "a POSIX message queue that nobody has open", mq_closed_make, mq_closed_use,
		MAKER_MAY_REFUSE, 0, "POSIX message queue /maker-" },
	REFUSED("posix-mq", "a POSIX message queue", mq_make, mq_use, 0, "mqueue|message queue"),
	{ 0 },
};
