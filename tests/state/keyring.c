/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Keyrings that hold no keys of their own: the session's, and where keys requested go. keyrings(7), session-keyring(7), request_key(2). */

#include "maker.h"

#include <sys/prctl.h>

/*
 * Session keyrings that a child made or joined, empty or with its user's in it, before it became an ordinary user or after that: they belong to who it was then.
 * Its own child inherits.
 */

#define KEYS_SESSION  (-3L)
#define SESSION_NAMED 1 /* joined by name, and empty */
#define SESSION_USERS 2 /* by an ordinary user */

static char *session_described(void)
{
	static char text[128];

	memset(text, 0, sizeof(text));
	syscall(SYS_keyctl, 6 /* KEYCTL_DESCRIBE */, KEYS_SESSION, text, sizeof(text) - 1);
	return text;
}

static long session_serial(void)
{
	return syscall(SYS_keyctl, 0 /* KEYCTL_GET_KEYRING_ID */, KEYS_SESSION, 0);
}

static int session_heir_use(struct maker_ctx *ctx)
{
	CHECK(UNTIL(shared(ctx)->value[0])); /* the child's, which uses what it made at the same time */
	SAME(session_serial(), shared(ctx)->value[0]);
	return 0;
}

static int session_maker_make(struct maker_ctx *ctx)
{
	bool named = ctx->arg & SESSION_NAMED, users = ctx->arg & SESSION_USERS;

	CHECK(!users || (!setgid(1001) && !setuid(1000)));
	NEED(syscall(SYS_keyctl, 1 /* KEYCTL_JOIN_SESSION_KEYRING */, named ? "spore maker" : NULL) > 0);
	CHECK(users || (!setgid(1001) && !setuid(1000)));
	CHECK(named || !syscall(SYS_keyctl, 8 /* KEYCTL_LINK */, -4L, KEYS_SESSION));
	CHECK(!prctl(PR_SET_DUMPABLE, 1));
	return kid_start(ctx, NULL, session_heir_use, NULL);
}

static int session_maker_use(struct maker_ctx *ctx)
{
	bool named = ctx->arg & SESSION_NAMED, users = ctx->arg & SESSION_USERS;
	char expected[64];
	int32_t keys[8];

	snprintf(expected, sizeof(expected), "keyring;%s;%s", users ? "1000;1001" : "0;0",
		named ? "3f130000;spore maker" : "3f030000;_ses");
	SAME(strcmp(session_described(), expected), 0);
	SAME(syscall(SYS_keyctl, 11 /* KEYCTL_READ */, KEYS_SESSION, keys, sizeof(keys)), named ? 0 : 4);
	SAME(named ? 0 : keys[0], named ? 0 : syscall(SYS_keyctl, 0, -4L, 0));
	CHECK(session_serial() != shared(ctx)->value[1]);
	shared(ctx)->value[0] = session_serial();
	return kids_finish(ctx);
}

static int session_keyring_make(struct maker_ctx *ctx)
{
	NEED(session_serial() > 0);
	return kid_start(ctx, session_maker_make, session_maker_use, NULL);
}

static int session_keyring_use(struct maker_ctx *ctx)
{
	shared(ctx)->value[1] = session_serial();
	return kids_finish(ctx);
}

static long request_keyring(long which)
{
	return syscall(SYS_keyctl, 14 /* KEYCTL_SET_REQKEY_KEYRING */, which);
}

static int request_make(struct maker_ctx *ctx)
{
	NEED(request_keyring(4 /* KEY_REQKEY_DEFL_USER_KEYRING */) >= 0);
	return 0;
}

static int request_use(struct maker_ctx *ctx)
{
	SAME(request_keyring(-1), 4);
	return 0;
}

const struct maker makers_keyring[] = {
	{ "users-keyring", "a session keyring with the user's in it", session_keyring_make, session_keyring_use, 0, 0 },
	{ "named", "an empty one that was joined by name", session_keyring_make, session_keyring_use, 0,
		SESSION_NAMED },
	{ "users", "one that belongs to an ordinary user", session_keyring_make, session_keyring_use, 0,
		SESSION_USERS },
	{ "users-named", "an ordinary user's, joined by name", session_keyring_make, session_keyring_use, 0,
		SESSION_NAMED | SESSION_USERS },
	ROW("request", "keys requested go to the user's keyring", request),
	{ 0 },
};
