/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Tracers killed at any moment: the target goes on each time, nothing of it changed. REMOTE_KILLS: how often. */
#include "remote.h"

#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"

/* Round trips until killed. */
static void be_tracer(pid_t pid, size_t inside, struct seen *s)
{
	struct gadget_cache *cache = gadget_cache_new();

	for (;;) {
		s->started = 1;
		round_trip(pid, inside, cache);
	}
}

static bool moves(struct seen *s, uint64_t from)
{
	for (int i = 0; i < 3000 && s->turns <= from; i++)
		usleep(1000);
	return s->turns > from;
}

static bool kill_once(pid_t pid, size_t inside, struct seen *s, unsigned int *seed, int span_us)
{
	pid_t tracer;

	s->started = 0;
	tracer = fork();
	if (!tracer)
		be_tracer(pid, inside, s);
	while (!s->started)
		usleep(20);
	usleep((useconds_t)(rand_r(seed) % span_us));
	kill(tracer, SIGKILL);
	waitpid(tracer, NULL, 0);
	return CHECK(moves(s, s->turns)) && CHECK(!s->wrong) && CHECK(waitpid(pid, NULL, WNOHANG) == 0);
}

/*
 * A filtered target leaves its batch where it is, which may be between the two calls by which that maps and unmaps two pages (remote.c): its line is taken
 * out.
 */
static void drop_mapping_of_batch(char *maps)
{
	uint64_t start, end;
	int rest;

	for (char *at = maps, *next; *at; at = next) {
		next = strchrnul(at, '\n');
		next += *next == '\n';
		rest = 0;
		if (sscanf(at, "%" SCNx64 "-%" SCNx64 " r--p 00000000 00:00 0%n", &start, &end, &rest) != 2 || !rest ||
			end - start != 8192 || strspn(at + rest, " \n") != (size_t)(next - at - rest))
			continue;
		memmove(at, next, strlen(next) + 1);
		next = at;
	}
}

static void test_kill(const char *name, target *body, size_t inside, int times, int span_us)
{
	struct seen *s = seen_new();
	pid_t pid = target_start(body, s);
	_cleanup_free_ char *before = NULL, *after = NULL;
	unsigned int seed = (unsigned int)getpid();
	int done = 0, left = 0;

	before = settled_maps(pid);
	while (done < times && kill_once(pid, inside, s, &seed, span_us))
		done++;
	if (done == times) {
		left = remove_leftovers(pid);
		after = read_maps(pid);
		if (!strncmp(name, "seccomp", 7)) {
			drop_mapping_of_batch(before);
			drop_mapping_of_batch(after);
		}
		if (!CHECK(!strcmp(before, after)))
			fprintf(stderr, "%s, before:\n%safter:\n%s", name, before, after);
	}
	printf("%-12s %d tracers killed, %d leftovers removed, %u EINTR\n", name, done, left, s->eintr);
	target_end(pid);
	munmap(s, sizeof(*s));
}

void test_kills(void)
{
	const char *times = getenv("REMOTE_KILLS");
	int n = times ? atoi(times) : 300;

	test_kill("avx", target_avx, 1, n / 3, 3000);
	test_kill("avx threads", target_avx_threads, 6, n / 3, 6000);
	test_kill("nanosleep", target_nanosleep, 1, n / 10, 2000);
	test_kill("seccomp", target_seccomp_maps, 1, n / 6, 2000);
	test_kill("altstack", target_altstack, 1, n / 6, 2000);
}
