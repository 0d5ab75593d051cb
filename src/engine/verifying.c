/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "engine/verifying.h"

static void *verify(void *arg)
{
	struct verifying *v = arg;

	v->error = v->later.n ? image_verify_some(v->image, later_blocks_need, &v->later, v->ps)
			      : image_verify_needed(v->image, v->ps);
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
	return v->error;
}
