/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* container_mounts PID [ROOT]: is the mount table of PID that of a container (whose root is ROOT)? Prints
 * what is not. Exit status: 0 yes, 3 no. */
#include <stdio.h>
#include <stdlib.h>

#include "container/container.h"

int main(int argc, char **argv)
{
	struct container_spec spec = { .init = true };
	struct problems ps;
	int r;

	if (argc < 2)
		return 2;
	spec.root = argc > 2 ? argv[2] : NULL;
	problems_init(&ps);
	r = container_check_mounts((pid_t)atoi(argv[1]), &spec, &ps);
	for (size_t i = 0; i < ps.n; i++)
		printf("%s: %s\n", ps.list[i].object, ps.list[i].text);
	problems_free(&ps);
	return r < 0 ? 3 : 0;
}
