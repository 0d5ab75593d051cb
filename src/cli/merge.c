/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* spore merge */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "cli/cli.h"
#include "cli/json.h"
#include "cli/talk.h"

struct merge_options {
	bool json;
	uint32_t flags; /* SPORE_MERGE_* */
	const char *dir, *out;
};

static int parse(int argc, char **argv, struct merge_options *o)
{
	static const struct option options[] = {
		{ "force", no_argument, NULL, 'f' },
		{ "json", no_argument, NULL, 'j' },
		{ 0 },
	};
	int c;

	while ((c = getopt_long(argc, argv, ":", options, NULL)) != -1) {
		if (c == 'f')
			o->flags |= SPORE_MERGE_FORCE;
		else if (c == 'j')
			o->json = true;
		else
			return say_bad_option("merge", c, argv);
	}
	if (argc - optind != 2)
		return say_usage("merge", "it takes DIR and OUT");
	o->dir = argv[optind];
	o->out = argv[optind + 1];
	return 0;
}

static void print_result(const struct merge_options *o, const struct spore_merge_result *r, const struct talk *talk)
{
	if (!o->json) {
		printf("%s merged into %s: %.1f MiB, of which %.1f MiB of pages were in older images; %.1f ms\n",
			o->dir, o->out, (double)r->bytes / 1048576, (double)r->older / 256, (double)r->total_us / 1000);
		return;
	}
	printf("{\"dir\": ");
	json_string(stdout, o->dir);
	printf(", \"out\": ");
	json_string(stdout, o->out);
	printf(", \"total_us\": %" PRIu64 ", \"pages\": %" PRIu64 ", \"older\": %" PRIu64 ", \"bytes\": %" PRIu64 ", ",
		r->total_us, r->pages, r->older, r->bytes);
	talk_json(talk, stdout);
	printf("}\n");
}

static int merge(const struct merge_options *o)
{
	_cleanup_fd_ int dir = open(o->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	_cleanup_(talk_free)
	struct talk talk = { 0 };
	_cleanup_fd_ int out = -1;
	struct spore_merge_result result = { 0 };
	struct spore_merge_options call = { .flags = o->flags, .result = &result };
	bool made;
	int r, status;

	talk_begin(&talk, "merge");
	if (dir < 0) {
		say_error("merge", "%s: %s; " NO_IMAGE_REMEDY, o->dir, strerror(errno));
		return STATUS_FAILED;
	}
	out = new_directory("merge", o->out, &made);
	if (out < 0)
		return STATUS_FAILED;
	if (made)
		call.flags |= SPORE_MERGE_NEW;
	call.listener = &talk.listener;
	r = spore_merge_with(dir, out, &call, sizeof(call));
	status = talk_end(&talk, r, o->out);
	if (r < 0 && made)
		rmdir(o->out);
	if (r == 0)
		print_result(o, &result, &talk);
	return status;
}

static int run(int argc, char **argv)
{
	struct merge_options o = { .dir = "", .out = "" };
	int status = parse(argc, argv, &o);

	return status ? status : merge(&o);
}

const struct command command_merge = {
	.name = "merge",
	.usage = "[--force] [--json] DIR OUT",
	.summary = "makes one image, which needs no other, of an image and those that it was made against",
	.help = "  --force  overwrites an image that OUT holds\n"
		"  --json   prints one object: total_us, pages, older (of these: from older images), bytes, problems\n"
		"\nOUT is made if it is missing. Images that were made against DIR still need DIR; a checkpoint may "
		"have\n"
		"OUT as its parent as it may have DIR.\n",
	.run = run,
};
