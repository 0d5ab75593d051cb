/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* spore verify; and the reading of an image for the command */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "cli/cli.h"
#include "cli/image.h"
#include "cli/json.h"
#include "object/component.h"

static struct image *load(const char *dir, struct problems *ps)
{
	_cleanup_fd_ int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct image *image = NULL;

	if (fd < 0)
		failed(ps, BLAME(.object = dir, .remedy = NO_IMAGE_REMEDY), -errno, "%s", strerror(errno));
	else if (image_open(fd, record_kinds, ps, &image) < 0)
		return NULL;
	return image;
}

struct image *image_load(const char *command, const char *dir, int *status)
{
	struct image *image;
	struct problems ps;

	problems_init(&ps);
	image = load(dir, &ps);
	*status = say_problems(command, &ps, image ? STATUS_DONE : STATUS_FAILED);
	problems_free(&ps);
	return image;
}

static void print_json(const char *dir, const struct image *image, int status, const struct problems *ps)
{
	printf("{\"dir\": ");
	json_string(stdout, dir);
	printf(", \"ok\": %s, \"records\": %zu, \"pages\": %" PRIu64 ", \"problems\": [",
		status == STATUS_DONE ? "true" : "false", image ? image->n_records : 0, image ? image_pages(image) : 0);
	for (size_t i = 0; i < ps->n; i++) {
		printf("%s", i ? ", " : "");
		json_string(stdout, ps->list[i].text ? ps->list[i].text : "");
	}
	printf("]}\n");
}

/* All of it, pages too; says what is wrong. Returns an exit status. */
static int verify(const char *dir, bool json)
{
	struct image *image;
	struct problems ps;
	int r, status;

	problems_init(&ps);
	image = load(dir, &ps);
	r = image ? image_verify_pages(image, &ps) : -EBADMSG;
	status = say_problems("verify", &ps, r < 0 ? STATUS_FAILED : STATUS_DONE);
	if (json)
		print_json(dir, image, status, &ps);
	else if (image && status == STATUS_DONE)
		printf("%s is whole: %zu records, %" PRIu64 " pages of memory\n", dir, image->n_records,
			image_pages(image));
	image_free(image);
	problems_free(&ps);
	return status;
}

static int run(int argc, char **argv)
{
	static const struct option options[] = { { "json", no_argument, NULL, 'j' }, { 0 } };
	bool json = false;
	int c;

	while ((c = getopt_long(argc, argv, ":", options, NULL)) != -1) {
		if (c != 'j')
			return say_bad_option("verify", c, argv);
		json = true;
	}
	if (argc - optind != 1)
		return say_usage("verify", "it takes DIR");
	return verify(argv[optind], json);
}

const struct command command_verify = {
	.name = "verify",
	.usage = "[--json] DIR",
	.summary = "reads all of an image and checks every byte",
	.run = run,
};
