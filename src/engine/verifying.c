/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "engine/verifying.h"

/* Whatever is used of a compressed file is checked when it is loaded: to do that twice would take long. */
static bool wants(const void *data, unsigned int number, uint64_t block, bool own)
{
	const struct verifying *v = data;

	return !page_file_is_compressed(v->image, number) && !filled_blocks_have(&v->filled, number, block) &&
	       (!v->later.n || later_blocks_need(&v->later, number, block, own));
}

static void *verify(void *arg)
{
	struct verifying *v = arg;
	bool all = !v->later.n && !v->filled.any && !image_is_compressed(v->image);

	v->error = all ? image_verify_needed(v->image, v->ps) : image_verify_some(v->image, wants, v, v->ps);
	return NULL;
}

void verifying_start(struct verifying *v)
{
	v->started = pthread_create(&v->thread, NULL, verify, v) == 0;
	if (!v->started)
		verify(v);
}

int verifying_end(struct verifying *v)
{
	if (v->started)
		pthread_join(v->thread, NULL);
	v->started = false;
	later_blocks_free(&v->later);
	filled_blocks_free(&v->filled);
	return v->error;
}
