/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * descriptors KIND N: a tree with N descriptors, to be saved and restored in its working directory, as workload.c is.
 *
 * The objects are made two descriptors at a time, so that what is written to one can be read from the other; one pair in sixteen has a third
 * descriptor by dup. An epoll has all of them registered. Three children share all by fork, and each reads its part of what the root writes.
 * One object in four has something unread when it is saved.
 */
#include "workload.h"

#include <netinet/in.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>

enum { CHILDREN = 3, SPREAD = 100 };

struct pair {
	int in, out; /* what is written to `in` is read from `out` */
};

typedef struct pair make_pair(unsigned long i);

struct set {
	struct pair *pairs;
	unsigned long n;
	int epoll;
};

static int checked(int fd, const char *what)
{
	if (fd < 0)
		die(what);
	return fd;
}

/* --- kinds --- */

static struct pair pipe_pair(unsigned long i)
{
	int fd[2];

	(void)i;
	checked(pipe(fd), "pipe");
	return (struct pair){ fd[1], fd[0] };
}

static struct pair unix_pair(unsigned long i)
{
	static const int types[] = { SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET };
	int fd[2];

	checked(socketpair(AF_UNIX, types[i % 3], 0, fd), "socketpair");
	return (struct pair){ fd[0], fd[1] };
}

/* Of one abstract listener, as the clients of a server are. */
static struct pair unix_accepted(unsigned long i)
{
	static int listener = -1;
	static struct sockaddr_un name = { .sun_family = AF_UNIX };
	static socklen_t size = sizeof(sa_family_t);
	struct pair p;

	(void)i;
	if (listener < 0) {
		listener = checked(socket(AF_UNIX, SOCK_STREAM, 0), "socket");
		checked(bind(listener, (struct sockaddr *)&name, size), "bind");
		checked(listen(listener, 8), "listen");
		size = sizeof(name);
		checked(getsockname(listener, (struct sockaddr *)&name, &size), "getsockname");
	}
	p.in = checked(socket(AF_UNIX, SOCK_STREAM, 0), "socket");
	checked(connect(p.in, (struct sockaddr *)&name, size), "connect");
	p.out = checked(accept(listener, NULL, NULL), "accept");
	return p;
}

/* Datagram sockets with a name each, one connected to the other. */
static struct pair unix_named(unsigned long i)
{
	struct sockaddr_un name = { .sun_family = AF_UNIX };
	socklen_t size = sizeof(name);
	struct pair p = { checked(socket(AF_UNIX, SOCK_DGRAM, 0), "socket"),
		checked(socket(AF_UNIX, SOCK_DGRAM, 0), "socket") };

	(void)i;
	checked(bind(p.in, (struct sockaddr *)&name, sizeof(sa_family_t)), "bind");
	checked(bind(p.out, (struct sockaddr *)&name, sizeof(sa_family_t)), "bind");
	checked(getsockname(p.out, (struct sockaddr *)&name, &size), "getsockname");
	checked(connect(p.in, (struct sockaddr *)&name, size), "connect");
	return p;
}

static int on_loopback(int type, struct sockaddr_in *a)
{
	socklen_t size = sizeof(*a);
	int fd = checked(socket(AF_INET, type, 0), "socket");

	*a = (struct sockaddr_in){ .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
	checked(bind(fd, (struct sockaddr *)a, sizeof(*a)), "bind");
	checked(getsockname(fd, (struct sockaddr *)a, &size), "getsockname");
	return fd;
}

static struct pair tcp_pair(unsigned long i)
{
	static struct sockaddr_in a;
	static int listener = -1;
	struct pair p;

	(void)i;
	if (listener < 0) {
		listener = on_loopback(SOCK_STREAM, &a);
		checked(listen(listener, 8), "listen");
	}
	p.in = checked(socket(AF_INET, SOCK_STREAM, 0), "socket");
	checked(connect(p.in, (struct sockaddr *)&a, sizeof(a)), "connect");
	p.out = checked(accept(listener, NULL, NULL), "accept");
	return p;
}

static struct pair udp_pair(unsigned long i)
{
	struct sockaddr_in in, out;
	struct pair p = { on_loopback(SOCK_DGRAM, &in), on_loopback(SOCK_DGRAM, &out) };

	(void)i;
	checked(connect(p.in, (struct sockaddr *)&out, sizeof(out)), "connect");
	checked(connect(p.out, (struct sockaddr *)&in, sizeof(in)), "connect");
	return p;
}

static struct pair eventfd_pair(unsigned long i)
{
	int fd = checked(eventfd((unsigned int)0, i % 2 ? EFD_SEMAPHORE : 0), "eventfd");

	return (struct pair){ fd, fd };
}

/* An eventfd, and an epoll of its own that tells of it. */
static struct pair epoll_pair(unsigned long i)
{
	struct epoll_event e = { .events = EPOLLIN, .data.u64 = i };
	struct pair p = { checked(eventfd(0, 0), "eventfd"), checked(epoll_create1(0), "epoll_create1") };

	checked(epoll_ctl(p.out, EPOLL_CTL_ADD, p.in, &e), "epoll_ctl");
	return p;
}

static struct pair mixed_pair(unsigned long i)
{
	static make_pair *const kinds[] = { unix_pair, tcp_pair, udp_pair, pipe_pair, eventfd_pair, epoll_pair,
		unix_accepted, unix_named };

	return kinds[i % (sizeof(kinds) / sizeof(*kinds))](i);
}

static const struct kind {
	const char *name;
	make_pair *make;
	bool spread; /* each process has descriptors of its own */
} kinds[] = {
	{ "mix", mixed_pair, false },
	{ "pipe", pipe_pair, false },
	{ "unix", unix_pair, false },
	{ "unix-accepted", unix_accepted, false },
	{ "unix-named", unix_named, false },
	{ "tcp", tcp_pair, false },
	{ "udp", udp_pair, false },
	{ "eventfd", eventfd_pair, false },
	{ "epoll", epoll_pair, false },
	{ "spread", mixed_pair, true },
};

/* --- use --- */

static void watch(const struct set *s, int fd, unsigned long i)
{
	struct epoll_event e = { .events = EPOLLIN, .data.u64 = i };

	checked(epoll_ctl(s->epoll, EPOLL_CTL_ADD, fd, &e), "epoll_ctl");
}

static struct set make_set(const struct kind *kind, unsigned long n)
{
	struct set s = { .pairs = calloc(n, sizeof(*s.pairs)), .epoll = checked(epoll_create1(0), "epoll_create1") };

	for (unsigned long open = 1; open < n; s.n++) {
		struct pair p = kind->make(s.n);

		s.pairs[s.n] = p;
		watch(&s, p.in, s.n);
		if (p.out != p.in)
			watch(&s, p.out, s.n);
		open += 1 + (p.out != p.in);
		if (s.n % 16 == 0) {
			checked(dup(p.out), "dup");
			open++;
		}
	}
	return s;
}

static void send_to(const struct pair *p, uint64_t value)
{
	if (write(p->in, &value, sizeof(value)) != sizeof(value))
		die("write");
}

static uint64_t take(const struct pair *p)
{
	struct epoll_event e;
	uint64_t value;

	if (read(p->out, &value, sizeof(value)) == sizeof(value))
		return value;
	/* an epoll of one eventfd: it tells of it, and that is then emptied */
	if (errno != EINVAL || epoll_wait(p->out, &e, 1, -1) != 1 ||
		read(p->in, &value, sizeof(value)) != sizeof(value))
		die("read");
	return value + e.data.u64;
}

static bool is_queued(unsigned long i)
{
	return i % 4 == 0;
}

/* A semaphore is left as it was by a count of 1. */
static void send_all(const struct set *s, bool queued)
{
	for (unsigned long i = 0; i < s->n; i++)
		if (is_queued(i) == queued)
			send_to(&s->pairs[i], 1);
}

static uint64_t take_all(const struct set *s, bool queued, unsigned long part, unsigned long parts)
{
	uint64_t sum = 0;

	for (unsigned long i = part; i < s->n; i += parts)
		if (is_queued(i) == queued)
			sum += take(&s->pairs[i]) * (i + 1);
	return sum;
}

/* As many as have something to be read. */
static uint64_t ready(const struct set *s)
{
	struct epoll_event *events = calloc(3 * s->n + 1, sizeof(*events));
	uint64_t sum = 0;
	int n = epoll_wait(s->epoll, events, (int)(3 * s->n), 0);

	for (int i = 0; i < n; i++)
		sum += events[i].data.u64 + 1;
	free(events);
	return sum;
}

/* --- a tree that shares all --- */

/* Told 'q' or 'n', takes its part of what is queued, or of the others, and answers with its sum. */
static _Noreturn void share(const struct set *s, unsigned long part, int asked, int told)
{
	for (;;) {
		uint64_t sum;
		char c;

		get(asked, &c, 1);
		sum = take_all(s, c == 'q', part, CHILDREN);
		if (write(told, &sum, sizeof(sum)) != sizeof(sum))
			die("write");
	}
}

struct family {
	int asked[CHILDREN], told[CHILDREN];
};

static uint64_t ask(const struct family *f, char what)
{
	uint64_t total = 0, one;

	for (int i = 0; i < CHILDREN; i++) {
		if (write(f->asked[i], &what, 1) != 1)
			die("write");
		get(f->told[i], &one, sizeof(one));
		total += one;
	}
	return total;
}

static struct family make_family(const struct set *s)
{
	struct family f;

	for (int i = 0; i < CHILDREN; i++) {
		struct pair asked = pipe_pair(0), told = pipe_pair(0);

		if (checked(fork(), "fork") == 0) {
			close(asked.in);
			close(told.out);
			share(s, (unsigned long)i, asked.out, told.in);
		}
		close(asked.out);
		close(told.in);
		f.asked[i] = asked.in;
		f.told[i] = told.out;
	}
	return f;
}

static uint64_t use_family(const struct set *s, const struct family *f)
{
	uint64_t sum = ready(s) + ask(f, 'q');

	send_all(s, false);
	sum += ready(s) + ask(f, 'n');
	send_all(s, true);
	return sum;
}

static void shared(const struct kind *kind, unsigned long n)
{
	struct set s = make_set(kind, n);
	struct family f = make_family(&s);

	send_all(&s, true);
	tell("ready", use_family(&s, &f));
	wait_go();
	tell("done", use_family(&s, &f));
}

/* --- a tree in which each has its own --- */

static uint64_t use_alone(const struct set *s)
{
	uint64_t sum = ready(s) + take_all(s, true, 0, 1);

	send_all(s, false);
	sum += ready(s) + take_all(s, false, 0, 1);
	send_all(s, true);
	return sum;
}

static _Noreturn void live_alone(const struct kind *kind, int asked, int told)
{
	struct set s = make_set(kind, SPREAD);

	send_all(&s, true);
	for (;;) {
		uint64_t sum = use_alone(&s);
		char c;

		if (write(told, &sum, sizeof(sum)) != sizeof(sum))
			die("write");
		get(asked, &c, 1);
	}
}

static void spread(const struct kind *kind, unsigned long n)
{
	unsigned long children = n / SPREAD;
	struct pair asked = pipe_pair(0), told = pipe_pair(0);

	for (unsigned long i = 0; i < children; i++)
		if (checked(fork(), "fork") == 0) {
			close(asked.in);
			live_alone(kind, asked.out, told.in);
		}
	tell("ready", get_sums(told.out, children));
	wait_go();
	for (unsigned long i = 0; i < children; i++)
		if (write(asked.in, "", 1) != 1)
			die("write");
	tell("done", get_sums(told.out, children));
}

int main(int argc, char **argv)
{
	unsigned long n = argc == 3 ? strtoul(argv[2], NULL, 10) : 0;
	struct rlimit room = { n + 1024, n + 1024 };

	if (n < 16)
		return 2;
	if (setrlimit(RLIMIT_NOFILE, &room) < 0)
		die("setrlimit");
	for (unsigned long i = 0; i < sizeof(kinds) / sizeof(*kinds); i++)
		if (strcmp(argv[1], kinds[i].name) == 0) {
			(kinds[i].spread ? spread : shared)(&kinds[i], n);
			return 0;
		}
	return 2;
}
