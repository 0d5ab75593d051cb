/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* spore checkpoint */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "cli/cli.h"
#include "cli/json.h"
#include "cli/talk.h"

struct checkpoint_options {
	const char *parent;
	bool json;
	struct spore_checkpoint_options call;
	const char *who, *dir;
	bool stream; /* dir is "-": to standard output */
};

static int check_stream(const struct checkpoint_options *o)
{
	if (o->parent)
		return say_usage("checkpoint", "a stream holds all of an image: --parent needs a directory");
	if (o->call.flags & SPORE_CHECKPOINT_TRACK)
		return say_usage("checkpoint", "nothing can be saved against a stream: --track needs a directory");
	if (o->call.compression)
		return say_usage("checkpoint",
			"a stream is not compressed: --compress needs a directory, and `zstd` takes a stream");
	if (isatty(STDOUT_FILENO))
		return say_usage(
			"checkpoint", "a stream is not written to a terminal: send it through a pipe or to a file");
	return 0;
}

static int parse(int argc, char **argv, struct checkpoint_options *o)
{
	static const struct option options[] = {
		{ "parent", required_argument, NULL, 'p' },
		{ "kill", no_argument, NULL, 'k' },
		{ "force", no_argument, NULL, 'f' },
		{ "strict", no_argument, NULL, 's' },
		{ "track", no_argument, NULL, 't' },
		{ "compress", optional_argument, NULL, 'c' },
		{ "json", no_argument, NULL, 'j' },
		{ 0 },
	};
	int c;

	while ((c = getopt_long(argc, argv, ":", options, NULL)) != -1) {
		if (c == 'p') {
			o->parent = optarg;
			o->call.flags |= SPORE_CHECKPOINT_TRACK;
		} else if (c == 'k')
			o->call.flags |= SPORE_CHECKPOINT_KILL;
		else if (c == 'f')
			o->call.flags |= SPORE_CHECKPOINT_FORCE;
		else if (c == 's')
			o->call.flags |= SPORE_CHECKPOINT_STRICT;
		else if (c == 't')
			o->call.flags |= SPORE_CHECKPOINT_TRACK;
		else if (c == 'c' && (!optarg || strcmp(optarg, "zstd") == 0))
			o->call.compression = SPORE_COMPRESSION_ZSTD;
		else if (c == 'c')
			return say_usage("checkpoint", "--compress: the only algorithm is zstd");
		else if (c == 'j')
			o->json = true;
		else
			return say_bad_option("checkpoint", c, argv);
	}
	if (argc - optind != 2)
		return say_usage("checkpoint", "it takes PID and DIR");
	o->who = argv[optind];
	o->dir = argv[optind + 1];
	o->stream = !strcmp(o->dir, "-");
	return o->stream ? check_stream(o) : 0;
}

static void print_result(const struct checkpoint_options *o, const struct target *t,
	const struct spore_checkpoint_result *r, const struct talk *talk)
{
	FILE *out = o->stream ? stderr : stdout;

	if (o->json) {
		fprintf(out, "{\"pid\": %d, \"dir\": ", (int)t->pid);
		json_string(out, o->dir);
		fprintf(out,
			", \"stop_us\": %" PRIu64 ", \"total_us\": %" PRIu64 ", \"pages\": %" PRIu64
			", \"unchanged\": %" PRIu64 ", \"tracked\": %" PRIu64 ", \"copies\": %" PRIu64
			", \"bytes\": %" PRIu64 ", \"stored_bytes\": %" PRIu64 ", \"tasks\": %" PRIu64 ", ",
			r->stop_us, r->total_us, r->pages, r->unchanged, r->tracked, r->copies, r->bytes,
			r->stored_bytes, r->tasks);
		talk_json(talk, out);
		fprintf(out, "}\n");
		return;
	}
	fprintf(out, "%s saved in %s: %" PRIu64 " task%s, %.1f MiB", o->who, o->stream ? "the stream" : o->dir,
		r->tasks, r->tasks == 1 ? "" : "s", (double)r->bytes / 1048576);
	if (o->call.compression)
		fprintf(out, " in %.1f MiB", (double)r->stored_bytes / 1048576);
	fprintf(out, "; stopped for %.1f ms, %.1f ms in all\n", (double)r->stop_us / 1000, (double)r->total_us / 1000);
}

static int save(const struct checkpoint_options *o, const struct target *t)
{
	struct spore_checkpoint_options call = o->call;
	struct spore_checkpoint_result result = { 0 };
	_cleanup_(talk_free)
	struct talk talk = { 0 };
	_cleanup_fd_ int dir = -1;
	_cleanup_fd_ int parent = -1;
	bool made = false;
	int r, status;

	if (o->parent) {
		parent = open(o->parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (parent < 0) {
			say_error("checkpoint", "--parent %s: %s; " NO_IMAGE_REMEDY, o->parent, strerror(errno));
			return STATUS_FAILED;
		}
	}
	talk_begin(&talk, "checkpoint");
	dir = o->stream ? fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3) : new_directory("checkpoint", o->dir, &made);
	if (dir < 0)
		return STATUS_FAILED;
	if (made)
		call.flags |= SPORE_CHECKPOINT_NEW;
	call.listener = &talk.listener;
	call.cgroup = t->cgroup;
	call.result = &result;
	r = spore_checkpoint_with(parent, dir, t->pid, &call, sizeof(call));
	status = talk_end(&talk, r, r == -EEXIST || r == -ENOTEMPTY ? o->dir : o->who);
	if (r < 0 && made)
		rmdir(o->dir);
	if (r == 0)
		print_result(o, t, &result, &talk);
	return status;
}

static int run(int argc, char **argv)
{
	_cleanup_(target_free)
	struct target t = { 0 };
	struct checkpoint_options o = { .who = "", .dir = "" };
	int status = parse(argc, argv, &o);

	if (status == 0)
		status = target_find("checkpoint", o.who, &t);
	return status ? status : save(&o, &t);
}

const struct command command_checkpoint = {
	.name = "checkpoint",
	.usage = "[--parent OLD] [--track] [--kill] [--force] [--strict] [--compress] [--json] PID DIR|-",
	.summary = "saves a tree into DIR; it goes on running",
	.help = "  --parent OLD  saves only what changed since the image OLD\n"
		"  --track       notes what the tree writes from now on, so that the next checkpoint with --parent "
		"DIR\n"
		"                finds it at once; --parent does so too, and a checkpoint without either ends it\n"
		"  --kill        ends the tree when the image is complete\n"
		"  --force       overwrites an image that DIR holds\n"
		"  --strict      refuses a tree with a unix connection to the outside, which would come back hung up,\n"
		"                or with netlink notifications that it has not read, which would be lost\n"
		"  --compress    compresses the memory in the image, by zstd; for a DIR on a network or a slow disk\n"
		"  --json        prints one object: pid, stop_us, total_us, pages, unchanged, tracked, copies, bytes, "
		"stored_bytes, tasks, problems\n"
		"\nDIR is made if it is missing. -: the image goes to standard output as one stream, for `spore "
		"restore -` "
		"or\n`spore receive`, and what is told to standard error.\n",
	.run = run,
};
