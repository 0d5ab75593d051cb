/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * floors memory MIB DIR THREADS | processes N | threads N: what the machine needs for the bare work behind a
 * checkpoint and a restore. Prints lines of a name and seconds. DIR is where the image would stand.
 */
#include <stdatomic.h>

#include "workload.h"

static void put(const char *name, double begin)
{
	printf("%s %.6f\n", name, now(CLOCK_MONOTONIC) - begin);
}

/* Threads that divide memory among themselves, each with a file of its own, as a checkpoint's and a restore's workers do. */
struct division {
	char *memory;
	size_t size;
	const char *path; /* the directory of their files; NULL: they have none */
	atomic_size_t next;
	void (*fn)(char *p, size_t size, int fd);
};

enum { SHARE = 16 << 20, MOST_THREADS = 64 };

static void write_share(char *p, size_t size, int fd)
{
	for (size_t at = 0; at < size;) {
		ssize_t n = write(fd, p + at, size - at < 1 << 20 ? size - at : 1 << 20);

		if (n <= 0)
			die("write");
		at += (size_t)n;
	}
}

static void touch_share(char *p, size_t size, int fd)
{
	(void)fd;
	for (size_t at = 0; at < size; at += PAGE)
		((volatile char *)p)[at] = 1;
}

static void *take_shares(void *arg)
{
	struct division *d = arg;
	int fd = d->path ? open(d->path, O_WRONLY | O_TMPFILE | O_CLOEXEC, 0600) : -1;
	size_t at;

	if (d->path && fd < 0)
		die(d->path);
	while ((at = atomic_fetch_add(&d->next, SHARE)) < d->size)
		d->fn(d->memory + at, d->size - at < SHARE ? d->size - at : SHARE, fd);
	return (void *)(intptr_t)fd;
}

/* What was written is given back afterwards: that is not what is measured. */
static void divide(const char *name, struct division d, unsigned int threads)
{
	pthread_t list[MOST_THREADS];
	int fds[MOST_THREADS];
	double begin = now(CLOCK_MONOTONIC);
	void *fd;

	for (unsigned int i = 1; i < threads; i++)
		if (pthread_create(&list[i], NULL, take_shares, &d))
			die("pthread_create");
	fds[0] = (int)(intptr_t)take_shares(&d);
	for (unsigned int i = 1; i < threads; i++) {
		pthread_join(list[i], &fd);
		fds[i] = (int)(intptr_t)fd;
	}
	put(name, begin);
	for (unsigned int i = 0; d.path && i < threads; i++)
		close(fds[i]);
}

static void memory(size_t size, const char *path, unsigned int threads)
{
	char *p = (char *)map(size);
	volatile uint64_t keep;
	double begin;
	pid_t pid;

	fill((uint64_t *)p, size, 1);
	begin = now(CLOCK_MONOTONIC);
	pid = fork();
	if (pid == 0)
		_exit(0);
	if (pid < 0)
		die("fork");
	put("fork", begin);
	waitpid(pid, NULL, 0);
	divide("write", (struct division){ .memory = p, .size = size, .path = path, .fn = write_share }, threads);
	begin = now(CLOCK_MONOTONIC);
	keep = sum((uint64_t *)p, size);
	put("sum", begin);
	(void)keep;

	/* Memory that the machine has not used before can be much slower in a virtual one: no part uses more than the program that is saved. */
	munmap(p, size);
	p = (char *)map(size);
	divide("touch", (struct division){ .memory = p, .size = size, .fn = touch_share }, threads);
}

/* Until each of them has its pages and has said so. */
static void processes(unsigned long n)
{
	int told[2], end[2];
	struct small s;
	double begin;
	char c = 0;

	small_map(&s);
	small_dirty(&s, 1);
	if (pipe(told) < 0 || pipe(end) < 0)
		die("pipe");
	begin = now(CLOCK_MONOTONIC);
	for (unsigned long i = 0; i < n; i++) {
		pid_t pid = fork();

		if (pid < 0)
			die("fork");
		if (pid == 0) {
			close(end[1]);
			for (int k = 0; k < DIRTY_PAGES; k++)
				s.mapping[k % MAPPINGS][(size_t)(k / MAPPINGS) * PAGE / 8] = i;
			if (write(told[1], &c, 1) != 1 || read(end[0], &c, 1) != 0)
				_exit(1);
			_exit(0);
		}
	}
	for (unsigned long i = 0; i < n; i++)
		if (read(told[0], &c, 1) != 1)
			die("read");
	put("fork", begin);
	close(end[1]);
	while (wait(NULL) > 0)
		;
}

static int thread_told[2];
static pthread_mutex_t until_end = PTHREAD_MUTEX_INITIALIZER;

static void *worker(void *arg)
{
	char c = 0;

	if (write(thread_told[1], &c, 1) != 1)
		die("write");
	pthread_mutex_lock(&until_end);
	pthread_mutex_unlock(&until_end);
	return arg;
}

static void threads(unsigned long n)
{
	pthread_t *thread = calloc(n, sizeof(*thread));
	pthread_attr_t attr;
	double begin;
	char c;

	if (!thread || pipe(thread_told) < 0)
		die("pipe");
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, STACK);
	pthread_mutex_lock(&until_end);
	begin = now(CLOCK_MONOTONIC);
	for (unsigned long i = 0; i < n; i++)
		if (pthread_create(&thread[i], &attr, worker, NULL))
			die("pthread_create");
	for (unsigned long i = 0; i < n; i++)
		if (read(thread_told[0], &c, 1) != 1)
			die("read");
	put("create", begin);
	pthread_mutex_unlock(&until_end);
	for (unsigned long i = 0; i < n; i++)
		pthread_join(thread[i], NULL);
	free(thread);
}

static unsigned int count_threads(const char *s)
{
	unsigned long n = strtoul(s, NULL, 10);

	return n < 1 ? 1 : n < MOST_THREADS ? (unsigned int)n : MOST_THREADS;
}

int main(int argc, char **argv)
{
	unsigned long n = argc >= 3 ? strtoul(argv[2], NULL, 10) : 0;

	if (n && argc == 5 && strcmp(argv[1], "memory") == 0)
		memory(n << 20, argv[3], count_threads(argv[4]));
	else if (n && strcmp(argv[1], "processes") == 0)
		processes(n);
	else if (n && strcmp(argv[1], "threads") == 0)
		threads(n);
	else
		return 2;
	return 0;
}
