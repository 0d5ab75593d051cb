/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* spore isolate, spore unisolate */
#include <getopt.h>

#include "base/cleanup.h"
#include "cli/cli.h"
#include "cli/talk.h"

/* Both take PID and nothing else. */
static int find_target(const char *command, int argc, char **argv, struct target *t)
{
	static const struct option none[] = { { 0 } };
	int c = getopt_long(argc, argv, ":", none, NULL);

	if (c != -1)
		return say_bad_option(command, c, argv);
	if (argc - optind != 1)
		return say_usage(command, "it takes PID");
	return target_find(command, argv[optind], t);
}

static int isolate(int argc, char **argv)
{
	_cleanup_(target_free)
	struct target t = { 0 };
	_cleanup_(talk_free)
	struct talk talk = { 0 };
	struct spore_isolate_options o = { 0 };
	int status;

	talk_begin(&talk, "isolate");
	status = find_target("isolate", argc, argv, &t);
	if (status)
		return status;
	o.listener = &talk.listener;
	o.cgroup = t.cgroup;
	return talk_end(&talk, spore_isolate_with(t.pid, &o, sizeof(o)), argv[optind]);
}

static int unisolate(int argc, char **argv)
{
	_cleanup_(target_free)
	struct target t = { 0 };
	_cleanup_(talk_free)
	struct talk talk = { 0 };
	struct spore_unisolate_options o = { 0 };
	int status;

	talk_begin(&talk, "unisolate");
	status = find_target("unisolate", argc, argv, &t);
	if (status)
		return status;
	o.listener = &talk.listener;
	o.cgroup = t.cgroup;
	return talk_end(&talk, spore_unisolate_with(t.pid, &o, sizeof(o)), argv[optind]);
}

const struct command command_isolate = {
	.name = "isolate",
	.usage = "PID",
	.summary = "unplugs a tree from the world, until unisolate",
	.help = "Nothing that the tree does is seen outside, and nothing from outside reaches it. It may be "
		"checkpointed any number of times.\n",
	.run = isolate,
};

const struct command command_unisolate = {
	.name = "unisolate",
	.usage = "PID",
	.summary = "ends the isolation: the tree goes on",
	.run = unisolate,
};
