/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* spore receive */
#include <getopt.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "cli/cli.h"
#include "image/image.h"

static int receive(const char *dir, bool force)
{
	bool made;
	_cleanup_fd_ int fd = new_directory("receive", dir, &made);
	struct problems ps;
	int r, status;

	if (fd < 0)
		return STATUS_FAILED;
	problems_init(&ps);
	r = image_receive(STDIN_FILENO, fd, force, &ps);
	status = say_problems("receive", &ps, r < 0 ? STATUS_FAILED : STATUS_DONE);
	problems_free(&ps);
	if (r < 0 && made)
		rmdir(dir);
	return status;
}

static int run(int argc, char **argv)
{
	static const struct option options[] = { { "force", no_argument, NULL, 'f' }, { 0 } };
	bool force = false;
	int c;

	while ((c = getopt_long(argc, argv, ":", options, NULL)) != -1) {
		if (c != 'f')
			return say_bad_option("receive", c, argv);
		force = true;
	}
	if (argc - optind != 1)
		return say_usage("receive", "it takes DIR");
	if (isatty(STDIN_FILENO))
		return say_usage(
			"receive", "standard input is a terminal: give it what `spore checkpoint PID -` wrote");
	umask(077);
	return receive(argv[optind], force);
}

const struct command command_receive = {
	.name = "receive",
	.usage = "[--force] DIR",
	.summary = "makes an image in DIR of a stream on standard input",
	.help = "  --force  overwrites an image that DIR holds\n"
		"\nThe stream is what `spore checkpoint PID -` writes. DIR is made if it is missing, and holds an "
		"image when all "
		"of the\nstream has come and was found right.\n",
	.run = run,
};
