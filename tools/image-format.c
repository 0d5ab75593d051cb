/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Prints docs/image-format.md from the tables of the components; with --fields, the name of every field. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "image/format.h"
#include "object/component.h"

int main(int argc, char **argv)
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
	if (argc == 2 && !strcmp(argv[1], "--fields"))
		format_field_names(kinds, stdout);
	else
		format_reference(kinds, stdout);
	return fflush(stdout) ? 1 : 0;
}
