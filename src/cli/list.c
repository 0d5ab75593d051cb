/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* spore list */
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cli/cli.h"
#include "cli/json.h"
#include "container/container.h"

static void print_json(const struct container_entry *list, size_t n)
{
	printf("[");
	for (size_t i = 0; i < n; i++) {
		printf("%s\n  {\"name\": ", i ? "," : "");
		json_string(stdout, list[i].name);
		printf(", \"pid\": %d, \"state\": \"%s\", \"restored\": %s, \"last_checkpoint\": ", (int)list[i].pid,
			list[i].isolated ? "isolated" : "running", list[i].restored ? "true" : "false");
		if (list[i].last_checkpoint)
			printf("%" PRIu64 "}", list[i].last_checkpoint);
		else
			printf("null}");
	}
	printf("%s]\n", n ? "\n" : "");
}

static void print_table(const struct container_entry *list, size_t n)
{
	int width = 4;

	for (size_t i = 0; i < n; i++)
		width = MAX(width, (int)strlen(list[i].name));
	printf("%-*s %8s %-9s %s\n", width, "NAME", "PID", "STATE", "LAST CHECKPOINT");
	for (size_t i = 0; i < n; i++) {
		time_t when = (time_t)list[i].last_checkpoint;
		char text[32] = "never";
		struct tm tm;

		if (when && localtime_r(&when, &tm))
			strftime(text, sizeof(text), "%Y-%m-%d %H:%M:%S", &tm);
		printf("%-*s %8d %-9s %s\n", width, list[i].name, (int)list[i].pid,
			list[i].isolated ? "isolated" : "running", text);
	}
}

static int by_pid(const void *a, const void *b)
{
	const struct container_entry *x = a, *y = b;

	return (x->pid > y->pid) - (x->pid < y->pid);
}

static int run(int argc, char **argv)
{
	static const struct option options[] = { { "json", no_argument, NULL, 'j' }, { 0 } };
	struct container_entry *list = NULL;
	bool json = false;
	size_t n = 0;
	int c, r;

	while ((c = getopt_long(argc, argv, ":", options, NULL)) != -1) {
		if (c != 'j')
			return say_bad_option("list", c, argv);
		json = true;
	}
	if (optind < argc)
		return say_usage("list", "it takes no arguments");
	r = container_list(&list, &n);
	if (r < 0) {
		say_error("list", "/run/spore: %s", strerror(-r));
		return STATUS_FAILED;
	}
	if (n)
		qsort(list, n, sizeof(*list), by_pid);
	if (json)
		print_json(list, n);
	else
		print_table(list, n);
	container_list_free(list, n);
	return STATUS_DONE;
}

const struct command command_list = {
	.name = "list",
	.usage = "[--json]",
	.summary = "the containers that spore started or restored",
	.help = "  --json  one array of objects\n",
	.run = run,
};
