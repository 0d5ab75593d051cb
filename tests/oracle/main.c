/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* spore-oracle PID: everything that user space can observe of a process tree, one fact a line. See oracle.h.
 */

#include <getopt.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "oracle.h"

static const char usage[] =
	"usage: spore-oracle [OPTION]... PID\n"
	"Prints what user space can observe of the process tree under PID, in a form that a restore must "
	"reproduce.\n"
	"  --outside    only what can be seen without ptrace: no registers, nothing that a process alone can "
	"ask\n"
	"  --still      nothing in the tree moves: also registers and memory of threads that are not "
	"blocked\n"
	"  --times      remaining times of timers, exactly\n"
	"  --sharing    how many pages each process shares by fork with another of the tree\n"
	"  --no-memory  no contents of memory and files\n"
	"  --strict     also mapping flags that depend on how a mapping came about (ac, uw)\n";

/* One who has no semaphores to undo and did no I/O: kcmp against it tells "none" from "of its own". */
static pid_t make_blank(void)
{
	pid_t pid = fork();

	if (pid == 0) {
		for (;;)
			pause();
	}
	return pid;
}

static void print_process(struct oracle *o, struct proc *p)
{
	if (p->state == 'Z' && p->ntasks == 1) {
		zombie_facts(o, p);
		p->still = true;
		return;
	}
	process_facts(o, p);
	for (size_t i = 0; i < p->ntasks; i++)
		thread_facts(o, &p->tasks[i]);
	if (!o->opt.outside) {
		inside_facts(o, p);
		return;
	}
	p->still = o->opt.still;
	for (size_t i = 0; i < p->ntasks; i++)
		outside_call(o, &p->tasks[i]);
}

static void print_tree(struct oracle *o)
{
	tree_facts(o);
	ipc_facts(o);
	for (size_t i = 0; i < o->nprocs; i++)
		print_process(o, &o->procs[i]);
	for (size_t i = 0; i < o->nprocs; i++)
		if (o->procs[i].state != 'Z' || o->procs[i].ntasks > 1)
			memory_facts(o, &o->procs[i]);
	sharing_classes(o);
	files_facts(o);
	if (o->opt.sharing)
		page_sharing(o);
}

int main(int argc, char **argv)
{
	struct oracle o = { .out = stdout, .opt.memory = true };
	const struct option options[] = { { "outside", no_argument, NULL, 'o' }, { "still", no_argument, NULL, 's' },
		{ "times", no_argument, NULL, 't' }, { "sharing", no_argument, NULL, 'p' },
		{ "no-memory", no_argument, NULL, 'n' }, { "strict", no_argument, NULL, 'x' },
		{ "help", no_argument, NULL, 'h' }, { 0 } };
	int c;

	while ((c = getopt_long(argc, argv, "h", options, NULL)) != -1) {
		switch (c) {
		case 'o':
			o.opt.outside = true;
			break;
		case 's':
			o.opt.still = true;
			break;
		case 't':
			o.opt.times = true;
			break;
		case 'p':
			o.opt.sharing = true;
			break;
		case 'n':
			o.opt.memory = false;
			break;
		case 'x':
			o.opt.strict = true;
			break;
		case 'h':
			fputs(usage, stdout);
			return 0;
		default:
			fputs(usage, stderr);
			return 2;
		}
	}
	if (optind != argc - 1 || (o.root = atoi(argv[optind])) <= 0) {
		fputs(usage, stderr);
		return 2;
	}
	setvbuf(stdout, NULL, _IOFBF, 1 << 16);
	if (tree_find(&o) < 0) {
		fprintf(stderr, "spore-oracle: no process %d\n", (int)o.root);
		return 1;
	}
	o.blank = make_blank();
	print_tree(&o);
	kill(o.blank, SIGKILL);
	waitpid(o.blank, NULL, 0);
	tree_free(&o);
	return fflush(stdout) ? 1 : 0;
}
