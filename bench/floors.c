/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * floors memory MIB FILE | processes N | threads N: what the machine needs for the bare work behind a
 * checkpoint and a restore. Prints lines of a name and seconds. FILE stands where the image would stand.
 */
#include <sys/stat.h>

#include "workload.h"

static void put(const char *name, double begin)
{
	printf("%s %.6f\n", name, now(CLOCK_MONOTONIC) - begin);
}

static void write_file(const char *path, const char *p, size_t size)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

	for (size_t at = 0; at < size;) {
		ssize_t n = write(fd, p + at, size - at < 1 << 20 ? size - at : 1 << 20);

		if (n <= 0)
			die(path);
		at += (size_t)n;
	}
	close(fd);
}

static void read_file(const char *path, char *p, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	for (size_t at = 0; at < size;) {
		ssize_t n = read(fd, p + at, size - at < 1 << 20 ? size - at : 1 << 20);

		if (n <= 0)
			die(path);
		at += (size_t)n;
	}
	close(fd);
}

static void memory(size_t size, const char *path)
{
	char *p = (char *)map(size), *copy, *fresh;
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

	copy = (char *)map(size);
	memset(copy, 1, size);
	begin = now(CLOCK_MONOTONIC);
	memcpy(copy, p, size);
	put("memcpy", begin);
	munmap(copy, size);

	unlink(path);
	begin = now(CLOCK_MONOTONIC);
	write_file(path, p, size);
	put("write", begin);

	/* Memory that the machine has not used before can be much slower in a virtual one: no part uses more than the program that is saved. */
	munmap(p, size);
	fresh = (char *)map(size);
	begin = now(CLOCK_MONOTONIC);
	read_file(path, fresh, size);
	put("read", begin);
	begin = now(CLOCK_MONOTONIC);
	keep = sum((uint64_t *)fresh, size);
	put("sum", begin);
	(void)keep;
	unlink(path);
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

int main(int argc, char **argv)
{
	unsigned long n = argc >= 3 ? strtoul(argv[2], NULL, 10) : 0;

	if (n && argc == 4 && strcmp(argv[1], "memory") == 0)
		memory(n << 20, argv[3]);
	else if (n && strcmp(argv[1], "processes") == 0)
		processes(n);
	else if (n && strcmp(argv[1], "threads") == 0)
		threads(n);
	else
		return 2;
	return 0;
}
