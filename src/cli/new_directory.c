/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "cli/cli.h"

int new_directory(const char *command, const char *dir, bool *made)
{
	int fd = -1;

	*made = mkdir(dir, 0700) == 0;
	if (*made || errno == EEXIST)
		fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		say_error(command, "%s: %s; name a directory, or one to be made in a directory that is there", dir,
			strerror(errno));
	return fd;
}
