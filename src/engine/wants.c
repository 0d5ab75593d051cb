/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "base/cleanup.h"
#include "engine/engine.h"
#include "state/components.h"
#include "state/external.h"

int engine_wants(int dir_fd, uint32_t *wants, struct problems *ps)
{
	const struct record_kind *const kinds[] = { &component_external.kind, NULL };
	struct image *image = NULL;
	int r = image_open_kinds(dir_fd, kinds, ps, &image);

	if (r < 0)
		return r;
	*wants = external_wants(image);
	image_free(image);
	return 0;
}
