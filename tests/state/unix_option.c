/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Options of sockets (SOL_SOCKET), on unix sockets: socket(7), unix(7). */

#include "unix.h"

#include <linux/filter.h>
#include <linux/net_tstamp.h>
#include <net/if.h>
#include <poll.h>
#include <sys/time.h>

#define PASSPIDFD  76
#define PEERPIDFD  77
#define RCVPRIO	   82
#define PASSRIGHTS 83

static int fds[2] = { -1, -1 };

static int pair_make(int type)
{
	CHECK(!socketpair(AF_UNIX, type, 0, fds));
	return 0;
}

/* Each of the plain ones, at a value that a new socket has not. */
static const struct {
	int name, value;
	bool may_lack;
} plain[] = {
	{ SO_DEBUG, 1 },
	{ SO_REUSEADDR, 1 },
	{ SO_DONTROUTE, 1 },
	{ SO_BROADCAST, 1 },
	{ SO_KEEPALIVE, 1 },
	{ SO_OOBINLINE, 1 },
	{ SO_NO_CHECK, 1 },
	{ SO_PRIORITY, 5 },
	{ SO_MARK, 77 },
	{ SO_RCVLOWAT, 3 },
	{ SO_TIMESTAMP, 1 },
	{ SO_RXQ_OVFL, 1 },
	{ SO_WIFI_STATUS, 1 },
	{ SO_NOFCS, 1 },
	{ SO_SELECT_ERR_QUEUE, 1 },
	{ SO_PREFER_BUSY_POLL, 1, true },
	{ SO_BUSY_POLL, 9, true },
	{ SO_INCOMING_CPU, 1 },
	{ 75 /* SO_RCVMARK */, 1, true },
	{ RCVPRIO, 1, true },
	{ SO_PASSCRED, 1 },
	{ SO_PASSSEC, 1 },
	{ PASSPIDFD, 1, true },
	{ PASSRIGHTS, 0, true },
	{ SO_PEEK_OFF, 2 },
};

enum { N_PLAIN = sizeof(plain) / sizeof(*plain) };
static bool has[N_PLAIN];

static int plain_make(struct maker_ctx *ctx)
{
	TRY(pair_make((int)ctx->arg));
	for (int i = 0; i < N_PLAIN; i++) {
		has[i] = !setsockopt(fds[1], SOL_SOCKET, plain[i].name, &plain[i].value, sizeof(int));
		CHECK(has[i] || plain[i].may_lack);
	}
	return 0;
}

static int plain_use(struct maker_ctx *ctx)
{
	for (int i = 0; i < N_PLAIN; i++)
		if (has[i] && option_of(fds[1], plain[i].name) != plain[i].value)
			SAME(plain[i].name, -1); /* which one */
	return 0;
}

/* Buffers: as the program set them, beyond what it may, and as they came. */

static int values[2][3];

static int buffers_make(struct maker_ctx *ctx)
{
	int size = ctx->arg ? 5 << 20 : 10000;

	TRY(pair_make(SOCK_STREAM));
	CHECK(!setsockopt(fds[0], SOL_SOCKET, ctx->arg ? SO_SNDBUFFORCE : SO_SNDBUF, &size, sizeof(size)));
	CHECK(!setsockopt(fds[0], SOL_SOCKET, ctx->arg ? SO_RCVBUFFORCE : SO_RCVBUF, &size, sizeof(size)));
	for (int i = 0; i < 2; i++) {
		values[i][0] = option_of(fds[i], SO_SNDBUF);
		values[i][1] = option_of(fds[i], SO_RCVBUF);
		values[i][2] = option_of(fds[i], SO_BUF_LOCK);
	}
	SAME(values[0][0], 2 * size);
	return says(fds[0], "within");
}

static int buffers_use(struct maker_ctx *ctx)
{
	for (int i = 0; i < 2; i++) {
		SAME(option_of(fds[i], SO_SNDBUF), values[i][0]);
		SAME(option_of(fds[i], SO_RCVBUF), values[i][1]);
		SAME(option_of(fds[i], SO_BUF_LOCK), values[i][2]);
	}
	return hears(fds[1], "within");
}

/* Those that are more than a number. arg: which kind of time stamps. */

static int wide_make(struct maker_ctx *ctx)
{
	static const int stamps[] = { SO_TIMESTAMPNS_OLD, SO_TIMESTAMP_NEW, SO_TIMESTAMPNS_NEW };
	struct timeval in = { 3, 500000 }, out = { 0, 700000 };
	struct linger linger = { 0, 17 };
	unsigned long rate = 123456789;
	int on = 1, flags = SOF_TIMESTAMPING_RX_SOFTWARE | SOF_TIMESTAMPING_SOFTWARE;

	TRY(pair_make(SOCK_DGRAM));
	CHECK(!setsockopt(fds[0], SOL_SOCKET, SO_RCVTIMEO, &in, sizeof(in)));
	CHECK(!setsockopt(fds[0], SOL_SOCKET, SO_SNDTIMEO, &out, sizeof(out)));
	linger.l_onoff = 1;
	CHECK(!setsockopt(fds[0], SOL_SOCKET, SO_LINGER, &linger, sizeof(linger)));
	linger.l_onoff = 0;
	CHECK(!setsockopt(fds[1], SOL_SOCKET, SO_LINGER, &(struct linger){ 1, 9 }, sizeof(linger)));
	CHECK(!setsockopt(fds[1], SOL_SOCKET, SO_LINGER, &(struct linger){ 0, 9 }, sizeof(linger)));
	CHECK(!setsockopt(fds[0], SOL_SOCKET, SO_MAX_PACING_RATE, &rate, sizeof(rate)));
	CHECK(!setsockopt(fds[0], SOL_SOCKET, SO_TXTIME, &(struct sock_txtime){ CLOCK_MONOTONIC, 1 },
		sizeof(struct sock_txtime)));
	CHECK(!setsockopt(fds[0], SOL_SOCKET, SO_BINDTODEVICE, "lo", 3));
	CHECK(!setsockopt(
		fds[0], SOL_SOCKET, ctx->arg ? SO_TIMESTAMPING_NEW : SO_TIMESTAMPING_OLD, &flags, sizeof(flags)));
	CHECK(!setsockopt(fds[0], SOL_SOCKET, stamps[ctx->arg], &on, sizeof(on)));
	return 0;
}

static int wide_use(struct maker_ctx *ctx)
{
	static const int stamps[] = { SO_TIMESTAMPNS_OLD, SO_TIMESTAMP_NEW, SO_TIMESTAMPNS_NEW };
	struct timeval in, out;
	struct linger linger;
	unsigned long rate;
	socklen_t size = sizeof(in);
	struct sock_txtime txtime;
	char device[IFNAMSIZ] = "";

	CHECK(!getsockopt(fds[0], SOL_SOCKET, SO_RCVTIMEO, &in, &size));
	CHECK(!getsockopt(fds[0], SOL_SOCKET, SO_SNDTIMEO, &out, &size));
	SAME(in.tv_sec * 1000000 + in.tv_usec, 3500000);
	SAME(out.tv_sec * 1000000 + out.tv_usec, 700000);
	size = sizeof(linger);
	CHECK(!getsockopt(fds[0], SOL_SOCKET, SO_LINGER, &linger, &size));
	SAME(linger.l_onoff, 1);
	SAME(linger.l_linger, 17);
	CHECK(!getsockopt(fds[1], SOL_SOCKET, SO_LINGER, &linger, &size));
	SAME(linger.l_onoff, 0);
	SAME(linger.l_linger, 9);
	size = sizeof(rate);
	CHECK(!getsockopt(fds[0], SOL_SOCKET, SO_MAX_PACING_RATE, &rate, &size));
	SAME(rate, 123456789);
	size = sizeof(txtime);
	CHECK(!getsockopt(fds[0], SOL_SOCKET, SO_TXTIME, &txtime, &size));
	SAME(txtime.clockid, CLOCK_MONOTONIC);
	SAME(txtime.flags, 1);
	size = sizeof(device);
	CHECK(!getsockopt(fds[0], SOL_SOCKET, SO_BINDTODEVICE, device, &size));
	CHECK(!strcmp(device, "lo"));
	SAME(option_of(fds[0], stamps[ctx->arg]), 1);
	SAME(option_of(fds[0], ctx->arg ? SO_TIMESTAMPING_NEW : SO_TIMESTAMPING_OLD),
		SOF_TIMESTAMPING_RX_SOFTWARE | SOF_TIMESTAMPING_SOFTWARE);
	return 0;
}

/* A filter that lets nothing longer than three bytes through, locked; with what came before it. */

static int filter_make(struct maker_ctx *ctx)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_LEN, 0),
		BPF_JUMP(BPF_JMP | BPF_JGT | BPF_K, 3, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, 0),
		BPF_STMT(BPF_RET | BPF_K, 100),
	};
	struct sock_fprog program = { 4, code };
	int on = 1;

	TRY(pair_make(SOCK_DGRAM));
	TRY(says(fds[0], "before it"));
	CHECK(!setsockopt(fds[1], SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program)));
	CHECK(!setsockopt(fds[1], SOL_SOCKET, SO_LOCK_FILTER, &on, sizeof(on)));
	return 0;
}

static int filter_use(struct maker_ctx *ctx)
{
	int none = 0;

	TRY(says(fds[0], "long"));
	TRY(says(fds[0], "ok"));
	TRY(hears(fds[1], "before it"));
	TRY(hears(fds[1], "ok"));
	SAME(setsockopt(fds[1], SOL_SOCKET, SO_DETACH_FILTER, &none, sizeof(none)), -1);
	SAME(errno, EPERM);
	return 0;
}

/* One in eBPF cannot be read. */

static int ebpf_make(struct maker_ctx *ctx)
{
	static const struct {
		uint8_t code, regs;
		int16_t off;
		int32_t imm;
	} code[] = { { 0xb7, 0, 0, 100 }, { 0x95, 0, 0, 0 } };
	struct {
		uint32_t type, n;
		uint64_t insns, license;
		uint8_t rest[100];
	} attr = { .type = 1, .n = 2, .insns = (uintptr_t)code, .license = (uintptr_t) "GPL" };
	int program = (int)syscall(SYS_bpf, 5, &attr, sizeof(attr));

	NEED(program >= 0);
	TRY(pair_make(SOCK_DGRAM));
	CHECK(!setsockopt(fds[1], SOL_SOCKET, SO_ATTACH_BPF, &program, sizeof(program)));
	close(program);
	return 0;
}

static int ebpf_use(struct maker_ctx *ctx)
{
	return talk(fds[0], fds[1]);
}

/* The socket itself: owner and permissions, flags of the description, of whom it tells by signal. */

static int inode_make(struct maker_ctx *ctx)
{
	TRY(pair_make(SOCK_STREAM));
	CHECK(!fchown(fds[0], 12, 34));
	CHECK(!fchmod(fds[0], 0640));
	CHECK(!fcntl(fds[0], F_SETFL, O_NONBLOCK));
	CHECK(!fcntl(fds[1], F_SETOWN, getpid()));
	CHECK(!fcntl(fds[1], F_SETFL, O_ASYNC));
	signal(SIGIO, SIG_IGN);
	return 0;
}

static int inode_use(struct maker_ctx *ctx)
{
	struct stat st;

	CHECK(!fstat(fds[0], &st));
	SAME(st.st_mode, S_IFSOCK | 0640);
	SAME(st.st_uid, 12);
	SAME(st.st_gid, 34);
	SAME(fcntl(fds[0], F_GETFL) & O_NONBLOCK, O_NONBLOCK);
	SAME(fcntl(fds[1], F_GETFL) & (O_NONBLOCK | O_ASYNC), O_ASYNC);
	SAME(fcntl(fds[1], F_GETOWN), getpid());
	return talk(fds[0], fds[1]);
}

/* A pidfd of the peer, which is a child that lives; and of one that has ended. */

static int pidfd_kid(struct maker_ctx *ctx)
{
	int pair[2];

	CHECK(!socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
	return send_with(fds[0], "take", pair, 2, NULL);
}

static int pidfd_make(struct maker_ctx *ctx)
{
	TRY(pair_make(SOCK_STREAM));
	TRY(kid_start(ctx, pidfd_kid, NULL, NULL));
	close(fds[0]);
	return receive(fds[1], "take", 0, fds, 2, NULL);
}

static int pidfd_use(struct maker_ctx *ctx)
{
	int pidfd = -1;
	socklen_t size = sizeof(pidfd);
	char path[64];

	if (getsockopt(fds[0], SOL_SOCKET, PEERPIDFD, &pidfd, &size) < 0)
		CHECK(errno == ENOPROTOOPT);
	if (pidfd >= 0) {
		snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", pidfd);
		SAME(proc_number(path, "Pid", 10), ctx->kids[0]);
	}
	TRY(talk(fds[0], fds[1]));
	return kids_finish(ctx);
}

const struct maker makers_unix_option[] = {
	{ "plain", "every option that is a number, changed", plain_make, plain_use, 0, SOCK_STREAM, NULL },
	{ "plain-datagram", "the same of a datagram socket", plain_make, plain_use, 0, SOCK_DGRAM, NULL },
	{ "buffers", "buffers that the program has set", buffers_make, buffers_use, 0, 0, NULL },
	{ "buffers-beyond", "buffers beyond the limit", buffers_make, buffers_use, 0, 1, NULL },
	{ "wide", "times, linger, pacing, time stamps in nanoseconds", wide_make, wide_use, 0, 0, NULL },
	{ "wide-new", "the same, with the new time stamps", wide_make, wide_use, 0, 1, NULL },
	{ "wide-new-ns", "the same, with the new time stamps in nanoseconds", wide_make, wide_use, 0, 2, NULL },
	{ "filter", "a filter, locked", filter_make, filter_use, 0, 0, NULL },
	{ "filter-ebpf", "a filter in eBPF", ebpf_make, ebpf_use, MAKER_MUST_REFUSE, 0, "filter in eBPF" },
	{ "inode", "owner, permissions, flags and signals of the socket", inode_make, inode_use, 0, 0, NULL },
	{ "peer-pidfd", "SO_PEERPIDFD of a child", pidfd_make, pidfd_use, 0, 0, NULL },
	{ 0 },
};
