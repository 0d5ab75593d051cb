/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* spore check */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "cli/cli.h"
#include "cli/features.h"
#include "cli/json.h"
#include "cli/talk.h"

/* The closed list of what is changed by name, since the kernel has no setter: docs/coverage.md */
static const char *const changed_always[] = {
	"start times and processor time used, as /proc shows them, begin anew",
	("inode numbers of pipes, sockets, memfds and namespaces are new, and so are the times of pipes, sockets and "
	 "terminals"),
	"the session keyring that the tree was started with is that of the restoring command",
	"the number of the audit session (/proc/PID/sessionid) is that of the restoring command, or new",
	"the control groups are those of the restoring command, or the one that a container is made anew",
	"the next pid of a pid namespace of the tree's own, and its kernel.pid_max, are those of a new one",
	"that an open created its file (F_CREATED_QUERY), or a process used a capability (PF_SUPERPRIV), is forgotten",
	"the default timer slack of a thread under a real-time policy is taken to be the usual 50 microseconds",
	"pages that siblings share since a fork, but not with their parent any more, take memory once for each",
	"limits, signal masks and dispositions, personality and timer slack of zombies are those of new processes",
	"which process may trace another where only its parent may (PR_SET_PTRACER of Yama) is as it was never said",
};

static int check_kernel(bool json)
{
	int status = STATUS_DONE;
	struct utsname u;

	uname(&u);
	if (json)
		printf("{\"kernel\": \"%s\", \"features\": [", u.release);
	else
		printf("Linux %s\n", u.release);
	for (size_t i = 0; features[i].name; i++) {
		const struct feature *f = &features[i];
		bool there = f->probe();

		if (!there && f->need == NEEDED)
			status = STATUS_REFUSED;
		if (json)
			printf("%s{\"name\": \"%s\", \"needed\": %s, \"there\": %s}", i ? ", " : "", f->name,
				f->need == NEEDED ? "true" : "false", there ? "true" : "false");
		else
			printf("  %-18s %-8s since %-5s %s\n", f->name,
				there		    ? "yes"
				: f->need == NEEDED ? "MISSING"
						    : "no",
				f->since, f->use);
	}
	if (json)
		printf("], \"ok\": %s}\n", status == STATUS_DONE ? "true" : "false");
	else if (status)
		printf("spore cannot work here: what is MISSING is needed\n");
	return status;
}

static int check_tree(const char *word, uint32_t flags, bool json)
{
	_cleanup_(target_free)
	struct target t = { 0 };
	_cleanup_(talk_free)
	struct talk talk = { 0 };
	struct spore_isolate_options o = { .flags = flags };
	int r, status;

	talk_begin(&talk, "check");
	status = target_find("check", word, &t);
	if (status)
		return status;
	o.listener = &talk.listener;
	o.cgroup = t.cgroup;
	r = spore_check_with(t.pid, &o, sizeof(o));
	status = talk_end(&talk, r, word);
	if (json) {
		printf("{\"pid\": %d, \"ok\": %s, ", (int)t.pid, r == 0 ? "true" : "false");
		talk_json(&talk, stdout);
		printf("}\n");
	} else if (r == 0) {
		printf("%s can be saved\n", word);
		for (size_t i = 0; i < ARRAY_SIZE(changed_always); i++)
			printf("  changed by a restore: %s\n", changed_always[i]);
	} else if (talk.n_refused) {
		printf("%s cannot be saved: %zu obstacle%s\n", word, talk.n_refused, talk.n_refused == 1 ? "" : "s");
	}
	return status;
}

/* What this kernel lacks a restore does not get as far as to notice. */
static int check_needs(void)
{
	int status = STATUS_DONE;

	for (size_t i = 0; features[i].name; i++)
		if (features[i].need == NEEDED && !features[i].probe()) {
			say_error("check", "%s: missing here (Linux %s): %s", features[i].name, features[i].since,
				features[i].use);
			status = STATUS_REFUSED;
		}
	return status;
}

static int check_image(const char *dir, uint32_t flags, bool json)
{
	_cleanup_fd_ int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	_cleanup_(talk_free)
	struct talk talk = { 0 };
	struct spore_restore_options o = { .flags = flags };
	int r, needs, status;

	if (fd < 0) {
		say_error("check", "%s: %s; " NO_IMAGE_REMEDY, dir, strerror(errno));
		return STATUS_FAILED;
	}
	needs = check_needs();
	talk_begin(&talk, "check");
	o.listener = &talk.listener;
	r = spore_check_image_with(fd, &o, sizeof(o));
	status = talk_end(&talk, r, dir);
	if (status == STATUS_DONE)
		status = needs;
	if (json) {
		printf("{\"dir\": ");
		json_string(stdout, dir);
		printf(", \"ok\": %s, ", status == STATUS_DONE ? "true" : "false");
		talk_json(&talk, stdout);
		printf("}\n");
	} else if (status == STATUS_DONE) {
		printf("%s is whole, and can be restored here\n", dir);
	} else if (talk.n_refused) {
		printf("%s cannot be restored here: %zu obstacle%s\n", dir, talk.n_refused + talk.n_failed,
			talk.n_refused + talk.n_failed == 1 ? "" : "s");
	}
	return status;
}

static int run(int argc, char **argv)
{
	static const struct option options[] = { { "json", no_argument, NULL, 'j' },
		{ "changed-files", no_argument, NULL, 'c' }, { "strict", no_argument, NULL, 's' }, { 0 } };
	uint32_t flags = 0, tree_flags = 0;
	bool json = false;
	struct stat st;
	int c;

	while ((c = getopt_long(argc, argv, ":", options, NULL)) != -1) {
		if (c == 'j')
			json = true;
		else if (c == 'c')
			flags |= SPORE_RESTORE_CHANGED_FILES;
		else if (c == 's')
			tree_flags |= SPORE_CHECKPOINT_STRICT;
		else
			return say_bad_option("check", c, argv);
	}
	if (argc - optind > 1)
		return say_usage("check", "it takes one PID or DIR");
	if (optind == argc)
		return check_kernel(json);
	if (argv[optind][strspn(argv[optind], "0123456789")] && stat(argv[optind], &st) == 0 && S_ISDIR(st.st_mode) &&
		!is_cgroup(argv[optind]))
		return check_image(argv[optind], flags, json);
	return check_tree(argv[optind], tree_flags, json);
}

const struct command command_check = {
	.name = "check",
	.usage = "[--json] [--changed-files] [--strict] [PID|DIR]",
	.summary = "what this kernel offers; whether a tree can be saved; whether an image can be restored",
	.help = "Every obstacle at once, each on a line of standard error. The tree is not stopped for longer than a "
		"look takes; an image is read, and nothing is built.\n"
		"  --changed-files  as restore has it: files open for writing that were written since are no "
		"obstacle\n"
		"  --strict         as checkpoint has it: unix connections to the outside, and lost notifications, are "
		"obstacles\n",
	.run = run,
};
