/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "api/options.h"

#include <errno.h>
#include <string.h>

#include "base/macro.h"

int options_copy(void *to, size_t to_size, size_t least, const void *from, size_t from_size)
{
	const unsigned char *bytes = from;

	if (!from) {
		memset(to, 0, to_size);
		return 0;
	}
	if (from_size < least)
		return -EINVAL;
	for (size_t i = to_size; i < from_size; i++)
		if (bytes[i])
			return -E2BIG;
	memset(to, 0, to_size);
	memcpy(to, from, MIN(to_size, from_size));
	return 0;
}
