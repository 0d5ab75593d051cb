/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A little tree that watches itself while spore is killed, starved or fed with damaged images.
 *
 *	trial-target mixed DIR         a thread with a pattern in its vector registers, a sleeper, two processes that pass a counter
 *	                               back and forth through pipes, threads in epoll_wait: whatever they see amiss goes to DIR/errors
 *	trial-target marker DIR        appends to DIR/marker all the time, from two processes
 *	trial-target scope DIR PORT    holds what spore refuses: an io_uring, a TCP connection to PORT, a ptraced child
 *
 * Progress is counted in DIR/progress, an array of 64-bit numbers that the trial reads while the tree runs.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <immintrin.h>
#include <linux/io_uring.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { ERRORS, SPINNER, SLEEPER, PING, PONG, EPOLL, COUNTERS };

static _Atomic uint64_t *progress;
static int errors_fd;

static void amiss(const char *format, ...)
{
	char line[256];
	va_list args;
	int n = snprintf(line, sizeof(line), "%d: ", (int)gettid());

	va_start(args, format);
	n += vsnprintf(line + n, sizeof(line) - n - 1, format, args);
	va_end(args);
	line[n++] = '\n';
	if (write(errors_fd, line, n) != n)
		abort();
	progress[ERRORS]++;
}

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * UINT64_C(1000000000) + t.tv_nsec;
}

static void nap(long ns)
{
	nanosleep(&(struct timespec){ ns / 1000000000, ns % 1000000000 }, NULL);
}

/* Vector and general registers hold a pattern through a loop without a system call, so that almost every stop finds them live. */
__attribute__((target("avx"))) static void spin_avx(const uint8_t in[128], uint8_t out[128], uint64_t rounds)
{
	__asm__ volatile(
		"vmovdqu (%1), %%ymm4\n\tvmovdqu 32(%1), %%ymm5\n\tvmovdqu 64(%1), %%ymm14\n\tvmovdqu 96(%1), %%ymm15\n"
		"1:\tdec %0\n\tjnz 1b\n\t"
		"vmovdqu %%ymm4, (%2)\n\tvmovdqu %%ymm5, 32(%2)\n\tvmovdqu %%ymm14, 64(%2)\n\tvmovdqu %%ymm15, "
		"96(%2)\n\tvzeroupper"
		: "+r"(rounds)
		: "r"(in), "r"(out)
		: "memory", "cc", "xmm4", "xmm5", "xmm14", "xmm15");
}

static void spin_sse(const uint8_t in[128], uint8_t out[128], uint64_t rounds)
{
	__asm__ volatile("movdqu (%1), %%xmm4\n\tmovdqu 16(%1), %%xmm15\n1:\tdec %0\n\tjnz 1b\n\tmovdqu %%xmm4, "
			 "(%2)\n\tmovdqu %%xmm15, 16(%2)"
			 : "+r"(rounds)
			 : "r"(in), "r"(out)
			 : "memory", "cc", "xmm4", "xmm15");
}

static void *spinner(void *unused)
{
	uint8_t in[128], out[128];
	int avx = __builtin_cpu_supports("avx");
	size_t length = avx ? 128 : 32;

	for (uint64_t n = 1;; n++) {
		for (size_t i = 0; i < sizeof(in); i++)
			in[i] = (uint8_t)(n * 31 + i * 7);
		memset(out, 0, sizeof(out));
		(avx ? spin_avx : spin_sse)(in, out, 200000);
		if (memcmp(in, out, length))
			amiss("vector registers changed in round %llu", (unsigned long long)n);
		progress[SPINNER]++;
		nap(2000000); /* leaves the machine to others */
	}
	return NULL;
}

static void *sleeper(void *unused)
{
	for (;;) {
		uint64_t begin = now_ns();
		int r = clock_nanosleep(CLOCK_MONOTONIC, 0, &(struct timespec){ 0, 5000000 }, NULL);

		if (r)
			amiss("clock_nanosleep: %s", strerror(r));
		if (now_ns() - begin < 5000000)
			amiss("clock_nanosleep was early by %lld ns", (long long)(begin + 5000000 - now_ns()));
		progress[SLEEPER]++;
	}
	return NULL;
}

static int event_fd;

static void *epoll_waiter(void *forever)
{
	int ep = epoll_create1(EPOLL_CLOEXEC);
	int fd = forever ? eventfd(0, 0) : event_fd;
	struct epoll_event e = { .events = EPOLLIN };

	epoll_ctl(ep, EPOLL_CTL_ADD, fd, &e);
	for (;;) {
		uint64_t value;
		int n = epoll_wait(ep, &e, 1, -1);

		if (n != 1 || forever) {
			amiss("epoll_wait%s: %d, %s", forever ? " of what never comes" : "", n,
				n < 0 ? strerror(errno) : "no error");
			continue;
		}
		if (read(fd, &value, sizeof(value)) != sizeof(value))
			amiss("read of an eventfd: %s", strerror(errno));
		progress[EPOLL] += value;
	}
	return NULL;
}

static void *waker(void *unused)
{
	for (uint64_t one = 1;;) {
		nap(10000000);
		if (write(event_fd, &one, sizeof(one)) != sizeof(one))
			amiss("write to an eventfd: %s", strerror(errno));
	}
	return NULL;
}

/* Each side sends what it got, plus one; anything lost, doubled or torn shows at once. */
static void pass(int in, int out, int serve, int counter)
{
	uint64_t expected = serve, n = 0;

	if (serve && write(out, &n, sizeof(n)) != sizeof(n))
		amiss("first write to a pipe: %s", strerror(errno));
	for (;;) {
		ssize_t r = read(in, &n, sizeof(n));

		if (r != sizeof(n)) {
			amiss("read from a pipe: %zd, %s", r, r < 0 ? strerror(errno) : "short");
			if (!r)
				return;
			continue;
		}
		if (n != expected)
			amiss("the pipe delivered %llu, not %llu", (unsigned long long)n, (unsigned long long)expected);
		expected = n + 2;
		n++;
		if (serve)
			nap(1000000);
		if ((r = write(out, &n, sizeof(n))) != sizeof(n))
			amiss("write to a pipe: %zd, %s", r, strerror(errno));
		progress[counter]++;
	}
}

static void start(void *(*run)(void *), void *argument)
{
	pthread_t thread;

	if (pthread_create(&thread, NULL, run, argument))
		abort();
}

static int mixed(void)
{
	int there[2], back[2];

	if (pipe(there) || pipe(back))
		abort();
	if (!fork()) {
		pass(there[0], back[1], 0, PONG);
		return 1;
	}
	event_fd = eventfd(0, EFD_CLOEXEC);
	start(spinner, NULL);
	start(sleeper, NULL);
	start(epoll_waiter, NULL);
	start(epoll_waiter, &event_fd);
	start(waker, NULL);
	pass(back[0], there[1], 1, PING);
	return 1;
}

static int marker(const char *dir)
{
	static uint8_t memory[1 << 18];
	char path[4096];
	int fd;

	for (size_t i = 0; i < sizeof(memory); i++)
		memory[i] = (uint8_t)(i * 2654435761u >> 13);
	snprintf(path, sizeof(path), "%s/marker", dir);
	fd = open(path, O_WRONLY | O_CREAT | O_APPEND, 0600);
	fork();
	for (;;) {
		if (write(fd, "x", 1) != 1)
			return 1;
		progress[SPINNER]++;
		nap(300000);
	}
}

/* An io_uring with a request that does not end: to read what nobody writes. -1: this kernel has none for us. */
static int ring_with_request(void)
{
	static char byte;
	struct io_uring_params p = { 0 };
	int ring = syscall(SYS_io_uring_setup, 4, &p), ends[2];
	struct io_uring_sqe *sqe;
	char *rings;

	if (ring < 0 || pipe(ends))
		return -1;
	rings = mmap(
		NULL, p.sq_off.array + 4 * p.sq_entries, PROT_READ | PROT_WRITE, MAP_SHARED, ring, IORING_OFF_SQ_RING);
	sqe = mmap(NULL, p.sq_entries * sizeof(*sqe), PROT_READ | PROT_WRITE, MAP_SHARED, ring, IORING_OFF_SQES);
	*sqe = (struct io_uring_sqe){ .opcode = IORING_OP_READ, .fd = ends[0], .addr = (uintptr_t)&byte, .len = 1 };
	*(unsigned *)(rings + p.sq_off.array) = 0;
	*(unsigned *)(rings + p.sq_off.tail) = 1;
	if (syscall(SYS_io_uring_enter, ring, 1, 0, 0, NULL, 0) != 1)
		amiss("io_uring_enter: %s", strerror(errno));
	return ring;
}

static int scope(const char *dir, const char *port)
{
	struct sockaddr_in to = {
		.sin_family = AF_INET, .sin_port = htons(atoi(port)), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)
	};
	int ring = ring_with_request();
	int tcp = socket(AF_INET, SOCK_STREAM, 0);
	char path[4096], byte;
	pid_t child;
	FILE *ready;

	if (connect(tcp, (struct sockaddr *)&to, sizeof(to)))
		return 2;
	child = fork();
	if (!child) {
		ptrace(PTRACE_TRACEME, 0, NULL, NULL);
		raise(SIGSTOP);
		return 0;
	}
	waitpid(child, NULL, 0);
	snprintf(path, sizeof(path), "%s/ready.new", dir);
	ready = fopen(path, "w");
	fprintf(ready, "%d %d %d %d\n", getpid(), ring, tcp, child);
	fclose(ready);
	snprintf(path, sizeof(path), "%s/ready", dir);
	rename("ready.new", path);
	while (recv(tcp, &byte, 1, 0) == 1) {
		if (send(tcp, &byte, 1, MSG_NOSIGNAL) != 1)
			amiss("send: %s", strerror(errno));
		errno = 0;
		if (ptrace(PTRACE_PEEKUSER, child, 0, NULL) == -1 && errno)
			amiss("the child is not traced any more: %s", strerror(errno));
		if (ring >= 0 && syscall(SYS_io_uring_enter, ring, 0, 0, 0, NULL, 0))
			amiss("io_uring_enter: %s", strerror(errno));
		progress[SPINNER]++;
	}
	amiss("recv: %s", strerror(errno));
	return 1;
}

/* So large that it is saved from a copy. */
#define LARGE (8 << 20)

static int large(void)
{
	uint64_t *memory = mmap(NULL, LARGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

	if (memory == MAP_FAILED)
		return -1;
	for (size_t i = 0; i < LARGE / sizeof(*memory); i++)
		memory[i] = i * 0x9e3779b97f4a7c15;
	return 0;
}

int main(int argc, char **argv)
{
	int fd;

	if (argc < 3 || chdir(argv[2]))
		return 2;
	fd = open("progress", O_RDWR | O_CREAT, 0600);
	errors_fd = open("errors", O_WRONLY | O_CREAT | O_APPEND, 0600);
	if (fd < 0 || errors_fd < 0 || ftruncate(fd, 4096))
		return 2;
	progress = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (progress == MAP_FAILED)
		return 2;
	if (!strcmp(argv[1], "mixed"))
		return large() ? 2 : mixed();
	if (!strcmp(argv[1], "marker"))
		return marker(argv[2]);
	if (!strcmp(argv[1], "scope") && argc > 3)
		return scope(argv[2], argv[3]);
	return 2;
}
