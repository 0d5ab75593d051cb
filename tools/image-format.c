/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Prints docs/image-format.md from the tables of the components. */
#include <stdio.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "image/format.h"
#include "object/component.h"

int main(void)
{
	_cleanup_free_ const struct record_kind **kinds = NULL;
	size_t n = 0;

	while (components[n])
		n++;
	kinds = calloc(n + 1, sizeof(*kinds));
	if (!kinds)
		return 1;
	for (size_t i = 0; i < n; i++)
		kinds[i] = &components[i]->kind;
	format_reference(kinds, stdout);
	return fflush(stdout) ? 1 : 0;
}
