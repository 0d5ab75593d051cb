/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "base/cleanup.h"
#include "engine/engine.h"
#include "object/component.h"
#include "state/external.h"

int engine_wants(int dir_fd, uint32_t *wants, struct problems *ps)
{
	struct image *image = NULL;
	int r = image_open(dir_fd, record_kinds, ps, &image);

	if (r < 0)
		return r;
	*wants = external_wants(image);
	image_free(image);
	return 0;
}
