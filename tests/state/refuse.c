/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What spore does not carry: each must be refused by name, with the process and the descriptor, and the tree
 * must go on as if nothing had been. So each use shows that the object works still.
 */

#include "maker.h"

#include <arpa/inet.h>
#include <linux/aio_abi.h>
#include <linux/bpf.h>
#include <linux/io_uring.h>
#include <linux/netlink.h>
#include <linux/perf_event.h>
#include <linux/userfaultfd.h>
#include <mqueue.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/fanotify.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/ipc.h>
#include <sys/mount.h>
#include <sys/msg.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/un.h>

static int fd = -1, fds[2] = { -1, -1 };
static pid_t kid;
static char *area;

/* Sockets. arg: family, and type in the higher bits. */

static int loopback(int f, struct sockaddr_in *a)
{
	socklen_t len = sizeof(*a);

	*a = (struct sockaddr_in){ .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	CHECK(!bind(f, (struct sockaddr *)a, len));
	CHECK(!getsockname(f, (struct sockaddr *)a, &len));
	return 0;
}

static struct sockaddr_in address;

static int listening_make(struct maker_ctx *ctx)
{
	fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	CHECK(fd >= 0);
	TRY(loopback(fd, &address));
	return listen(fd, 3);
}

static int connect_here(void)
{
	fds[0] = socket(AF_INET, SOCK_STREAM, 0);
	CHECK(!connect(fds[0], (struct sockaddr *)&address, sizeof(address)));
	fds[1] = accept(fd, NULL, NULL);
	CHECK(fds[1] >= 0);
	return 0;
}

static int talk(void)
{
	char c[8];

	SAME(write(fds[0], "hello", 5), 5);
	SAME(read(fds[1], c, sizeof(c)), 5);
	CHECK(!memcmp(c, "hello", 5));
	return 0;
}

static int listening_use(struct maker_ctx *ctx)
{
	TRY(connect_here());
	return talk();
}

static int established_make(struct maker_ctx *ctx)
{
	TRY(listening_make(ctx));
	TRY(connect_here());
	return close(fd);
}

static int talk_use(struct maker_ctx *ctx)
{
	return talk();
}

static int unix_pair_make(struct maker_ctx *ctx)
{
	CHECK(!socketpair(AF_UNIX, (int)ctx->arg, 0, fds));
	return 0;
}

static int unix_listening_make(struct maker_ctx *ctx)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };

	CHECK(!chdir(ctx->dir));
	strcpy(a.sun_path, "socket");
	fd = socket(AF_UNIX, SOCK_STREAM, 0);
	CHECK(!bind(fd, (struct sockaddr *)&a, sizeof(a)));
	return listen(fd, 3);
}

static int unix_listening_use(struct maker_ctx *ctx)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };

	strcpy(a.sun_path, "socket");
	fds[0] = socket(AF_UNIX, SOCK_STREAM, 0);
	CHECK(!connect(fds[0], (struct sockaddr *)&a, sizeof(a)));
	fds[1] = accept(fd, NULL, NULL);
	return talk();
}

static int udp_make(struct maker_ctx *ctx)
{
	fds[1] = socket(AF_INET, SOCK_DGRAM, 0);
	TRY(loopback(fds[1], &address));
	fds[0] = socket(AF_INET, SOCK_DGRAM, 0);
	return connect(fds[0], (struct sockaddr *)&address, sizeof(address));
}

static int unbound_make(struct maker_ctx *ctx)
{
	fd = socket((int)ctx->arg, SOCK_STREAM, 0);
	NEED(fd >= 0);
	return 0;
}

static int unbound_use(struct maker_ctx *ctx)
{
	int on = 1;

	return setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
}

static int netlink_make(struct maker_ctx *ctx)
{
	struct sockaddr_nl a = { .nl_family = AF_NETLINK };

	fd = socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE);
	NEED(fd >= 0);
	return bind(fd, (struct sockaddr *)&a, sizeof(a));
}

static int alive_use(struct maker_ctx *ctx)
{
	CHECK(fcntl(fd, F_GETFD) >= 0);
	return 0;
}

static int packet_make(struct maker_ctx *ctx)
{
	fd = socket(AF_PACKET, SOCK_DGRAM, htons(0x88b5));
	NEED(fd >= 0);
	return 0;
}

/* A socket inside a pipe's neighbour: passed by SCM_RIGHTS, held by a queue alone. */
static int in_flight_make(struct maker_ctx *ctx)
{
	union {
		struct cmsghdr h;
		char space[CMSG_SPACE(sizeof(int))];
	} c = { .h = { CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS } };
	struct iovec v = { (char[]){ "x" }, 1 };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = &c, .msg_controllen = sizeof(c) };
	int null = open("/dev/null", O_RDONLY);

	CHECK(!socketpair(AF_UNIX, SOCK_STREAM, 0, fds));
	memcpy(CMSG_DATA(&c.h), &null, sizeof(int));
	SAME(sendmsg(fds[0], &m, 0), 1);
	return close(null);
}

static int in_flight_use(struct maker_ctx *ctx)
{
	char byte, control[64];
	struct iovec v = { &byte, 1 };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control) };

	SAME(recvmsg(fds[1], &m, 0), 1);
	CHECK(m.msg_controllen > 0);
	return 0;
}

/* Rings and contexts. */

static struct io_uring_params ring;

static int uring_make(struct maker_ctx *ctx)
{
	fd = (int)syscall(SYS_io_uring_setup, 8, &ring);
	NEED(fd >= 0);
	if (ctx->arg) {
		area = mmap(
			NULL, ring.sq_off.array + 8 * 4, PROT_READ | PROT_WRITE, MAP_SHARED, fd, IORING_OFF_SQ_RING);
		CHECK(area != MAP_FAILED);
		CHECK(!close(fd)); /* held by the mapping alone */
	}
	return 0;
}

static int uring_use(struct maker_ctx *ctx)
{
	if (ctx->arg)
		SAME(*(volatile uint32_t *)(area + ring.sq_off.ring_entries), 8);
	else
		SAME(syscall(SYS_io_uring_enter, fd, 0, 0, 0, NULL, 0), 0);
	return 0;
}

static aio_context_t aio;

static int aio_make(struct maker_ctx *ctx)
{
	NEED(!syscall(SYS_io_setup, 4, &aio));
	return 0;
}

static int aio_use(struct maker_ctx *ctx)
{
	return (int)syscall(SYS_io_destroy, aio);
}

/* Debugging, tracing, faults. */

static int traced_make(struct maker_ctx *ctx)
{
	int status;

	TRY(kid_start(ctx, NULL, NULL, &kid));
	NEED(!ptrace(PTRACE_SEIZE, kid, NULL, NULL));
	if (ctx->arg) {
		CHECK(!ptrace(PTRACE_INTERRUPT, kid, NULL, NULL));
		SAME(waitpid(kid, &status, 0), kid);
	}
	return 0;
}

static int traced_use(struct maker_ctx *ctx)
{
	if (ctx->arg)
		CHECK(!ptrace(PTRACE_DETACH, kid, NULL, NULL));
	return kids_finish(ctx);
}

static int perf_make(struct maker_ctx *ctx)
{
	struct perf_event_attr a = {
		.type = PERF_TYPE_SOFTWARE, .size = sizeof(a), .config = PERF_COUNT_SW_TASK_CLOCK
	};

	fd = (int)syscall(SYS_perf_event_open, &a, 0, -1, -1, 0);
	NEED(fd >= 0);
	return 0;
}

static int perf_use(struct maker_ctx *ctx)
{
	uint64_t n = 0;

	SAME(read(fd, &n, sizeof(n)), sizeof(n));
	return 0;
}

static int bpf_make(struct maker_ctx *ctx)
{
	union bpf_attr a = { .map_type = BPF_MAP_TYPE_ARRAY, .key_size = 4, .value_size = 8, .max_entries = 1 };

	fd = (int)syscall(SYS_bpf, BPF_MAP_CREATE, &a, sizeof(a));
	NEED(fd >= 0);
	return 0;
}

static int userfault_make(struct maker_ctx *ctx)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register r = { .mode = UFFDIO_REGISTER_MODE_MISSING };

	fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
	NEED(fd >= 0 && !ioctl(fd, UFFDIO_API, &api));
	area = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	r.range.start = (uintptr_t)area;
	r.range.len = PAGE;
	return ioctl(fd, UFFDIO_REGISTER, &r);
}

static int userfault_use(struct maker_ctx *ctx)
{
	struct uffdio_zeropage z = { .range = { (uintptr_t)area, PAGE } };

	CHECK(!ioctl(fd, UFFDIO_ZEROPAGE, &z));
	SAME(area[0], 0);
	return 0;
}

/* Watches on files. */

static int inotify_make(struct maker_ctx *ctx)
{
	fd = inotify_init1(IN_NONBLOCK);
	CHECK(fd >= 0);
	CHECK(!mkdir(in_dir(ctx, "watched"), 0755));
	CHECK(inotify_add_watch(fd, ctx->path, IN_CREATE) >= 0);
	if (ctx->arg)
		CHECK(!close(open(in_dir(ctx, "watched/queued"), O_CREAT | O_WRONLY, 0600)));
	return 0;
}

static int inotify_use(struct maker_ctx *ctx)
{
	char event[512] = "";
	struct inotify_event *e = (void *)event;

	if (!ctx->arg)
		CHECK(!close(open(in_dir(ctx, "watched/new"), O_CREAT | O_WRONLY, 0600)));
	CHECK(read(fd, event, sizeof(event)) > 0);
	SAME(strcmp(e->name, ctx->arg ? "queued" : "new"), 0);
	return 0;
}

static volatile sig_atomic_t told;

static void tell(int sig)
{
	told = sig;
}

static int dnotify_make(struct maker_ctx *ctx)
{
	struct sigaction act = { .sa_handler = tell };

	CHECK(!mkdir(in_dir(ctx, "watched"), 0755));
	CHECK(!sigaction(SIGIO, &act, NULL));
	fd = open(ctx->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	CHECK(fd >= 0);
	NEED(!fcntl(fd, F_NOTIFY, DN_CREATE | DN_MULTISHOT));
	return 0;
}

static int dnotify_use(struct maker_ctx *ctx)
{
	CHECK(!close(open(in_dir(ctx, "watched/new"), O_CREAT | O_WRONLY, 0600)));
	CHECK(UNTIL(told == SIGIO));
	return 0;
}

static int fanotify_make(struct maker_ctx *ctx)
{
	fd = fanotify_init(FAN_CLASS_NOTIF | FAN_CLOEXEC | FAN_NONBLOCK, O_RDONLY);
	NEED(fd >= 0);
	NEED(!fanotify_mark(fd, FAN_MARK_ADD, FAN_OPEN, AT_FDCWD, ctx->dir));
	return 0;
}

/* System V and POSIX IPC. Removed at once where that leaves it in use, so that nothing is left behind. */

static int id = -1;

static int shm_make(struct maker_ctx *ctx)
{
	id = shmget(IPC_PRIVATE, PAGE, IPC_CREAT | 0600);
	NEED(id >= 0);
	area = shmat(id, NULL, 0);
	CHECK(area != (void *)-1);
	area[0] = 's';
	return shmctl(id, IPC_RMID, NULL);
}

static int shm_use(struct maker_ctx *ctx)
{
	SAME(area[0], 's');
	return shmdt(area);
}

/* Which of how many semaphores, its value before, and what its process does to it. */
static const struct {
	int n, num, before, by;
} undos[] = {
	{ 1, 0, 0, 1 },
	{ 1, 0, 32767, -2 },
	{ 120, 70, 16000, 1 },
};

static int sem_make(struct maker_ctx *ctx)
{
	struct sembuf op = { (unsigned short)undos[ctx->arg].num, (short)undos[ctx->arg].by, SEM_UNDO };

	id = semget(IPC_PRIVATE, undos[ctx->arg].n, IPC_CREAT | 0600);
	NEED(id >= 0);
	CHECK(!semctl(id, op.sem_num, SETVAL, undos[ctx->arg].before));
	return semop(id, &op, 1);
}

static int sem_use(struct maker_ctx *ctx)
{
	SAME(semctl(id, undos[ctx->arg].num, GETVAL), undos[ctx->arg].before + undos[ctx->arg].by);
	return semctl(id, 0, IPC_RMID);
}

/* Used with SEM_UNDO, and put back: nothing is left to be done at exit. */
static int sem_settled_make(struct maker_ctx *ctx)
{
	struct sembuf ops[] = { { 1, -5, SEM_UNDO }, { 2, 7, SEM_UNDO }, { 1, 5, SEM_UNDO }, { 2, -7, SEM_UNDO },
		{ 0, 3, 0 } };

	id = semget(IPC_PRIVATE, 3, IPC_CREAT | 0600);
	NEED(id >= 0);
	CHECK(!semctl(id, 1, SETVAL, 32767));
	CHECK(!semop(id, ops, 2));
	return semop(id, ops + 2, 3);
}

static int sem_settled_use(struct maker_ctx *ctx)
{
	SAME(semctl(id, 0, GETVAL), 3);
	SAME(semctl(id, 1, GETVAL), 32767);
	SAME(semctl(id, 2, GETVAL), 0);
	return semctl(id, 0, IPC_RMID);
}

/* A thread asleep in it is what can be seen of a queue from outside. */
static pthread_t thread;
static pid_t thread_tid;
static struct {
	long type;
	char text[16];
} message;

static void *receives(void *arg)
{
	thread_tid = tid_self();
	if (msgrcv(id, &message, sizeof(message.text), 0, 0) < 0)
		message.text[0] = '!';
	return NULL;
}

static int msg_make(struct maker_ctx *ctx)
{
	id = msgget(IPC_PRIVATE, IPC_CREAT | 0600);
	NEED(id >= 0);
	TRY(thread_start(&thread, receives, NULL));
	CHECK(UNTIL(thread_tid));
	return until_blocked_in(thread_tid, SYS_msgrcv);
}

static int msg_use(struct maker_ctx *ctx)
{
	struct {
		long type;
		char text[16];
	} m = { 1, "message" };

	CHECK(!msgsnd(id, &m, sizeof(m.text), 0));
	SAME(pthread_join(thread, NULL), 0);
	SAME(strcmp(message.text, "message"), 0);
	return msgctl(id, IPC_RMID, NULL);
}

static int mq_make(struct maker_ctx *ctx)
{
	struct mq_attr a = { .mq_maxmsg = 3, .mq_msgsize = 16 };
	char name[64];

	snprintf(name, sizeof(name), "/spore-maker-%d", getpid());
	fd = mq_open(name, O_CREAT | O_EXCL | O_RDWR, 0600, &a);
	NEED(fd >= 0);
	CHECK(!mq_unlink(name));
	return mq_send(fd, "queued", 6, 1);
}

/* One that nobody has open: of a container's own namespace, or the host's, where it stays. */
static const char *closed_queue(void)
{
	static char name[32];

	if (!*name)
		snprintf(name, sizeof(name), "/maker-%lx", (unsigned long)now_ns(CLOCK_REALTIME));
	return name;
}

static int mq_closed_make(struct maker_ctx *ctx)
{
	struct mq_attr a = { .mq_maxmsg = 3, .mq_msgsize = 16 };
	mqd_t q = mq_open(closed_queue(), O_CREAT | O_EXCL | O_RDWR, 0600, &a);

	NEED(q >= 0);
	CHECK(!mq_send(q, "queued", 6, 1));
	return mq_close(q);
}

static int mq_closed_use(struct maker_ctx *ctx)
{
	mqd_t q = mq_open(closed_queue(), O_RDONLY | O_NONBLOCK);
	char c[16];

	mq_unlink(closed_queue());
	CHECK(q >= 0);
	SAME(mq_receive(q, c, sizeof(c), NULL), 6);
	return mq_close(q);
}

static int mq_use(struct maker_ctx *ctx)
{
	char c[16];

	SAME(mq_receive(fd, c, sizeof(c), NULL), 6);
	return 0;
}

/* Memory that nobody may read. */

static int secret_make(struct maker_ctx *ctx)
{
	fd = (int)syscall(SYS_memfd_secret, O_CLOEXEC);
	NEED(fd >= 0);
	CHECK(!ftruncate(fd, PAGE));
	area = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	NEED(area != MAP_FAILED);
	fill(area, PAGE, 9);
	return 0;
}

static int secret_use(struct maker_ctx *ctx)
{
	return check_fill(area, PAGE, 9);
}

static int undumpable_make(struct maker_ctx *ctx)
{
	return prctl(PR_SET_DUMPABLE, 0);
}

static int undumpable_use(struct maker_ctx *ctx)
{
	SAME(prctl(PR_GET_DUMPABLE), 0);
	return 0;
}

static int undumpable_kid_make(struct maker_ctx *ctx)
{
	return kid_start(ctx, undumpable_make, undumpable_use, NULL);
}

/* Namespaces. arg: which one a child has made for itself. */

static int unshares(struct maker_ctx *ctx)
{
	NEED(!unshare((int)ctx->arg));
	if (ctx->arg == CLONE_NEWNS) {
		NEED(!mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL));
		NEED(!mkdir(in_dir(ctx, "mount"), 0700));
		NEED(!mount("none", ctx->path, "tmpfs", 0, NULL));
	}
	return 0;
}

static int unshared_make(struct maker_ctx *ctx)
{
	return kid_start(ctx, unshares, NULL, NULL);
}

static int namespace_fd_make(struct maker_ctx *ctx)
{
	char path[64];
	pid_t p;

	shared(ctx);
	p = fork();
	CHECK(p >= 0);
	if (!p) {
		if (!unshare(CLONE_NEWUTS))
			ctx->shared->flag[0] = 1;
		while (!ctx->shared->flag[1])
			nap(2);
		_exit(0);
	}
	CHECK(UNTIL(ctx->shared->flag[0]));
	snprintf(path, sizeof(path), "/proc/%d/ns/uts", p);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	CHECK(fd >= 0);
	ctx->shared->flag[1] = 1;
	return reap_ok(p);
}

/* A descriptor of another process's namespace or mount that is nowhere. */
static int detached_make(struct maker_ctx *ctx)
{
	fd = (int)syscall(SYS_open_tree, AT_FDCWD, ctx->dir, 1 /* OPEN_TREE_CLONE */);
	NEED(fd >= 0);
	return 0;
}

/* Domains and keys. */

static int landlock_kid(struct maker_ctx *ctx)
{
	uint64_t attr = 1 << 7; /* LANDLOCK_ACCESS_FS_MAKE_DIR */
	int rules = (int)syscall(444, &attr, sizeof(attr), 0);

	NEED(rules >= 0);
	CHECK(!prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
	CHECK(!syscall(446, rules, 0));
	return close(rules);
}

static int landlock_make(struct maker_ctx *ctx)
{
	return kid_start(ctx, landlock_kid, NULL, NULL);
}

static int ruleset_make(struct maker_ctx *ctx)
{
	uint64_t attr = 1 << 7;

	fd = (int)syscall(444, &attr, sizeof(attr), 0);
	NEED(fd >= 0);
	return 0;
}

static int keyring_make(struct maker_ctx *ctx)
{
	NEED(syscall(SYS_keyctl, 1 /* KEYCTL_JOIN_SESSION_KEYRING */, "spore maker") > 0);
	NEED(syscall(SYS_add_key, "user", "secret", "text", 4, -3 /* KEY_SPEC_SESSION_KEYRING */) > 0);
	return 0;
}

static int keyring_use(struct maker_ctx *ctx)
{
	CHECK(syscall(SYS_keyctl, 10 /* KEYCTL_SEARCH */, -3, "user", "secret", 0) > 0);
	return 0;
}

/* Devices and other descriptors that say something about the machine. */

static int device_make(struct maker_ctx *ctx)
{
	static const char *const paths[] = { "/dev/kmsg", "/dev/net/tun", "/dev/fuse", "/dev/loop-control",
		"/dev/mem" };

	fd = open(paths[ctx->arg], O_RDWR | O_NONBLOCK | O_CLOEXEC);
	NEED(fd >= 0);
	return 0;
}

/* Filters whose verdict another process gives. */
static int notify_kid(struct maker_ctx *ctx)
{
	struct {
		unsigned short code;
		unsigned char jt, jf;
		uint32_t k;
	} f = { 0x06, 0, 0, 0x7fff0000 };
	struct {
		unsigned short len;
		void *filter;
	} p = { 1, &f };

	fd = (int)syscall(SYS_seccomp, 1, 8 /* SECCOMP_FILTER_FLAG_NEW_LISTENER */, &p);
	NEED(fd >= 0);
	return 0;
}

static int notify_make(struct maker_ctx *ctx)
{
	return kid_start(ctx, notify_kid, alive_use, NULL);
}

#define REFUSED(name, what, made, used, arg, word)                                                                     \
	{                                                                                                              \
		name, what, made, used, MAKER_MUST_REFUSE, arg, word                                                   \
	}

const struct maker makers_refuse[] = {
	REFUSED("tcp-established", "an established TCP connection", established_make, talk_use, 0, "tcp"),
	REFUSED("tcp-listening", "a listening TCP socket", listening_make, listening_use, 0, "tcp"),
	REFUSED("tcp-unbound", "a TCP socket never bound", unbound_make, unbound_use, AF_INET, "tcp"),
	REFUSED("tcp6-unbound", "a TCP socket of IPv6", unbound_make, unbound_use, AF_INET6, "tcp"),
	REFUSED("udp", "UDP sockets", udp_make, talk_use, 0, "udp"),
	REFUSED("unix-stream", "a pair of unix stream sockets", unix_pair_make, talk_use, SOCK_STREAM, "unix"),
	REFUSED("unix-datagram", "a pair of unix datagram sockets", unix_pair_make, talk_use, SOCK_DGRAM, "unix"),
	REFUSED("unix-listening", "a listening unix socket", unix_listening_make, unix_listening_use, 0, "unix"),
	REFUSED("unix-in-flight", "a descriptor in flight", in_flight_make, in_flight_use, 0, "unix"),
	REFUSED("netlink", "a netlink socket", netlink_make, alive_use, 0, "netlink"),
	REFUSED("packet", "a packet socket", packet_make, alive_use, 0, "packet"),
	REFUSED("io-uring", "an io_uring", uring_make, uring_use, 0, "io_uring"),
	REFUSED("io-uring-mapped", "an io_uring held by its mapping alone", uring_make, uring_use, 1, "io_uring"),
	REFUSED("aio", "an AIO context", aio_make, aio_use, 0, "aio"),
	{ "traced", "a child under ptrace", traced_make, traced_use, MAKER_MUST_REFUSE | MAKER_NO_STOP, 0, "trace" },
	{ "traced-stopped", "a child stopped under ptrace", traced_make, traced_use, MAKER_MUST_REFUSE | MAKER_NO_STOP,
		1, "trace" },
	REFUSED("perf", "a perf event", perf_make, perf_use, 0, "perf"),
	REFUSED("bpf-map", "a BPF map", bpf_make, alive_use, 0, "bpf"),
	REFUSED("userfaultfd", "a userfaultfd with a range", userfault_make, userfault_use, 0, "userfault"),
	REFUSED("inotify", "an inotify with a watch", inotify_make, inotify_use, 0, "inotify"),
	REFUSED("inotify-queued", "an inotify with an event", inotify_make, inotify_use, 1, "inotify"),
	REFUSED("dnotify", "a directory that tells of changes by signal", dnotify_make, dnotify_use, 0, "F_NOTIFY"),
	REFUSED("fanotify", "a fanotify with a mark", fanotify_make, alive_use, 0, "fanotify"),
	REFUSED("sysv-shm", "System V shared memory", shm_make, shm_use, 0, "sysv|system v"),
	REFUSED("sysv-sem", "a System V semaphore with an undo", sem_make, sem_use, 0, "system v semaphore"),
	REFUSED("sysv-sem-lowered", "one at its highest value, lowered with an undo", sem_make, sem_use, 1,
		"system v semaphore"),
	REFUSED("sysv-sem-set", "an undo of one in a large set", sem_make, sem_use, 2, "system v semaphore"),
	/* A set of the host's namespace stays; one of a container's own is refused, but not for an undo. */
	{ "sysv-sem-settled", "undos that cancel each other", sem_settled_make, sem_settled_use, MAKER_MAY_REFUSE, 0,
		"in the tree's own ipc namespace" },
	/* A queue of the host's namespace is not the tree's, and stays; one of a container's own is refused. */
	{ "sysv-msg", "a thread asleep in msgrcv", msg_make, msg_use, MAKER_MAY_REFUSE | MAKER_NO_STOP, 0,
		"msg|message" },
	{ "posix-mq-closed", "a POSIX message queue that nobody has open", mq_closed_make, mq_closed_use,
		MAKER_MAY_REFUSE, 0, "POSIX message queue /maker-" },
	REFUSED("posix-mq", "a POSIX message queue", mq_make, mq_use, 0, "mqueue|message queue"),
	REFUSED("secretmem", "secret memory", secret_make, secret_use, 0, "secret"),
	REFUSED("undumpable", "a process that made itself non-dumpable", undumpable_make, undumpable_use, 0,
		"dumpable"),
	REFUSED("undumpable-child", "a child that did", undumpable_kid_make, NULL, 0, "dumpable"),
	REFUSED("mount-namespace", "a child in a mount namespace of its own", unshared_make, NULL, CLONE_NEWNS,
		"namespace"),
	REFUSED("net-namespace", "a child in a network namespace of its own", unshared_make, NULL, CLONE_NEWNET,
		"namespace"),
	REFUSED("ipc-namespace", "a child in an IPC namespace of its own", unshared_make, NULL, CLONE_NEWIPC,
		"namespace"),
	REFUSED("uts-namespace", "a child in a UTS namespace of its own", unshared_make, NULL, CLONE_NEWUTS,
		"namespace"),
	REFUSED("user-namespace", "a child in a user namespace of its own", unshared_make, NULL, CLONE_NEWUSER,
		"namespace"),
	REFUSED("cgroup-namespace", "a child in a cgroup namespace of its own", unshared_make, NULL, CLONE_NEWCGROUP,
		"namespace"),
	REFUSED("namespace-fd", "a descriptor of a namespace that nobody is in", namespace_fd_make, alive_use, 0,
		"namespace|nsfs|uts"),
	REFUSED("detached-mount", "a descriptor of a detached mount", detached_make, alive_use, 0, "mount"),
	/* No interface of the kernel (6.18) shows a domain to anybody: it is lost at a restore, a known gap that docs/coverage.md names. Here
	 * only: the tree goes on. */
	{ "landlock", "a landlock domain", landlock_make, NULL, MAKER_MAY_REFUSE, 0, "landlock" },
	REFUSED("landlock-ruleset", "a landlock ruleset", ruleset_make, alive_use, 0, "landlock"),
	REFUSED("keyring", "a session keyring with a key", keyring_make, keyring_use, 0, "key"),
	REFUSED("seccomp-notify", "a seccomp listener", notify_make, NULL, 0, "seccomp"),
	REFUSED("kmsg", "/dev/kmsg", device_make, alive_use, 0, "kmsg"),
	REFUSED("tun", "/dev/net/tun", device_make, alive_use, 1, "tun"),
	REFUSED("fuse", "/dev/fuse", device_make, alive_use, 2, "fuse"),
	REFUSED("loop-control", "/dev/loop-control", device_make, alive_use, 3, "loop"),
	REFUSED("mem", "/dev/mem", device_make, alive_use, 4, "mem"),
	{ 0 },
};
