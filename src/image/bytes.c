/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "image/record.h"

void bytes_free(struct bytes *b)
{
	free(b->data);
	*b = (struct bytes){ 0 };
}

static int bytes_reserve(struct bytes *b, size_t size)
{
	size_t room = b->room ? b->room : 256;
	uint8_t *grown;

	if (size > SIZE_MAX / 4 || b->size > SIZE_MAX / 4)
		return -ENOMEM;
	while (room - b->size < size)
		room *= 2;
	if (room == b->room)
		return 0;
	grown = realloc(b->data, room);
	if (!grown)
		return -ENOMEM;
	b->data = grown;
	b->room = room;
	return 0;
}

int bytes_append(struct bytes *b, const void *data, size_t size)
{
	int r = bytes_reserve(b, size);

	if (r < 0 || !size)
		return r;
	memcpy(b->data + b->size, data, size);
	b->size += size;
	return 0;
}
