/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * workload tiny 1 | memory MIB | processes N | threads N: a program to be saved and restored, in its working
 * directory.
 *
 * Writes `ready` with a checksum of all that it holds, waits for the file `go`, which is made while it is not
 * there, makes the checksum again, and writes it to `done` with the time of day.
 */
#include "workload.h"

struct worker {
	pthread_t thread;
	uint64_t value;
};

static void memory(size_t size)
{
	uint64_t *words = map(size);

	fill(words, size, (uint64_t)getpid());
	tell("ready", sum(words, size));
	wait_go();
	tell("done", sum(words, size));
}

static void tiny(void)
{
	struct small s;

	small_map(&s);
	small_dirty(&s, (uint64_t)getpid());
	tell("ready", small_sum(&s));
	wait_go();
	tell("done", small_sum(&s));
}

/* Tells its sum once when it is ready, and once more when it is asked to. */
static _Noreturn void child(struct small *s, uint64_t seed, int asked, int told)
{
	char c;

	small_dirty(s, seed);
	for (int i = 0; i < 2; i++) {
		uint64_t total = small_sum(s);

		if (write(told, &total, sizeof(total)) != sizeof(total))
			die("write");
		if (i == 0) /* else it would take another's byte */
			get(asked, &c, 1);
	}
	exit(0);
}

static void processes(unsigned long n)
{
	static const char ask[1024];
	struct small s;
	int asked[2], told[2];

	small_map(&s);
	if (pipe(asked) < 0 || pipe(told) < 0)
		die("pipe");
	for (unsigned long i = 0; i < n; i++) {
		pid_t pid = fork();

		if (pid < 0)
			die("fork");
		if (pid == 0) {
			close(asked[1]);
			close(told[0]);
			child(&s, i + 1, asked[0], told[1]);
		}
	}
	tell("ready", get_sums(told[0], n));
	wait_go();
	if (write(asked[1], ask, n) != (ssize_t)n)
		die("write");
	tell("done", get_sums(told[0], n));
	while (wait(NULL) > 0)
		;
}

static int thread_asked[2], thread_told[2];

static void *worker(void *arg)
{
	uint64_t value = (uintptr_t)arg * 7;
	char c;

	for (int i = 0; i < 2; i++) {
		if (write(thread_told[1], &value, sizeof(value)) != sizeof(value))
			die("write");
		if (i == 0)
			get(thread_asked[0], &c, 1);
	}
	return NULL;
}

static void threads(unsigned long n)
{
	static const char ask[4096];
	pthread_attr_t attr;
	pthread_t thread;

	if (pipe(thread_asked) < 0 || pipe(thread_told) < 0)
		die("pipe");
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, STACK);
	for (unsigned long i = 0; i < n; i++)
		if (pthread_create(&thread, &attr, worker, (void *)(uintptr_t)(i + 1)))
			die("pthread_create");
	tell("ready", get_sums(thread_told[0], n));
	wait_go();
	if (write(thread_asked[1], ask, n) != (ssize_t)n)
		die("write");
	tell("done", get_sums(thread_told[0], n));
}

int main(int argc, char **argv)
{
	unsigned long n = argc == 3 ? strtoul(argv[2], NULL, 10) : 0;

	if (n && strcmp(argv[1], "memory") == 0)
		memory(n << 20);
	else if (n == 1 && strcmp(argv[1], "tiny") == 0)
		tiny();
	else if (n && n <= 1024 && strcmp(argv[1], "processes") == 0)
		processes(n);
	else if (n && n <= 4096 && strcmp(argv[1], "threads") == 0)
		threads(n);
	else
		return 2;
	return 0;
}
