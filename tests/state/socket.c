/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Packet sockets: packet(7). They speak over the loopback interface, by a protocol of nobody's. */

#include "unix.h"

#include <arpa/inet.h>
#include <linux/filter.h>
#include <linux/if_packet.h>
#include <linux/netlink.h>
#include <linux/packet_diag.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <net/if.h>
#include <sys/ioctl.h>

#ifndef SOL_PACKET
#define SOL_PACKET 263
#endif

static int fd = -1, other = -1, group;
static int nobodys; /* a protocol of this maker alone: others run beside it */

static int set(int at, int option, int value)
{
	CHECK(!setsockopt(at, SOL_PACKET, option, &value, sizeof(value)));
	return 0;
}

static int get(int at, int option)
{
	int value = -1;
	socklen_t size = sizeof(value);

	getsockopt(at, SOL_PACKET, option, &value, &size);
	return value;
}

static int bind_to(int at, const char *interface, int protocol)
{
	struct sockaddr_ll a = { .sll_family = AF_PACKET,
		.sll_protocol = htons((uint16_t)protocol),
		.sll_ifindex = (int)if_nametoindex(interface) };

	CHECK(a.sll_ifindex > 0);
	CHECK(!bind(at, (struct sockaddr *)&a, sizeof(a)));
	return 0;
}

static int protocol_of(int at)
{
	struct sockaddr_ll a = { 0 };
	socklen_t size = sizeof(a);

	return getsockname(at, (struct sockaddr *)&a, &size) ? -1 : ntohs(a.sll_protocol);
}

/* Sent over the loopback interface by another socket. */
static int sent(const char *text)
{
	struct sockaddr_ll a = { .sll_family = AF_PACKET,
		.sll_protocol = htons((uint16_t)nobodys),
		.sll_ifindex = (int)if_nametoindex("lo"),
		.sll_halen = 6 };
	int by = socket(AF_PACKET, SOCK_DGRAM, 0);

	SAME(sendto(by, text, strlen(text), 0, (struct sockaddr *)&a, sizeof(a)), strlen(text));
	return close(by);
}

static int gets(int at, const char *text, size_t header)
{
	char got[128] = "";
	struct pollfd p = { .fd = at, .events = POLLIN };

	SAME(poll(&p, 1, 5000), 1);
	SAME(recv(at, got, sizeof(got) - 1, MSG_DONTWAIT), strlen(text) + header);
	CHECK(!strcmp(got + header, text));
	return 0;
}

/* How often this membership is held, by the kernel's account; of type COPY_THRESH: that. -1: not at all. */
enum { COPY_THRESH = -1 };

static int held(int at, int type)
{
	struct {
		struct nlmsghdr h;
		struct packet_diag_req r;
	} ask = { .h = { sizeof(ask), SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST | NLM_F_DUMP, 0, 0 },
		.r = { .sdiag_family = AF_PACKET, .pdiag_show = PACKET_SHOW_INFO | PACKET_SHOW_MCLIST } };
	int netlink = socket(AF_NETLINK, SOCK_RAW, NETLINK_SOCK_DIAG), count = -1;
	static char answer[1 << 16];
	bool more = netlink >= 0 && send(netlink, &ask, sizeof(ask), 0) > 0;
	struct stat st;

	fstat(at, &st);
	while (more) {
		ssize_t got = recv(netlink, answer, sizeof(answer), 0);
		unsigned int n = got > 0 ? (unsigned int)got : 0;

		more = n > 0;
		for (struct nlmsghdr *h = (void *)answer; NLMSG_OK(h, n); h = NLMSG_NEXT(h, n)) {
			struct packet_diag_msg *m = NLMSG_DATA(h);
			int left = (int)(h->nlmsg_len - NLMSG_LENGTH(sizeof(*m)));

			if (h->nlmsg_type != SOCK_DIAG_BY_FAMILY) {
				more = false;
				break;
			}
			for (struct rtattr *r = (void *)(m + 1); m->pdiag_ino == st.st_ino && RTA_OK(r, left);
				r = RTA_NEXT(r, left)) {
				if (r->rta_type == PACKET_DIAG_INFO && type == COPY_THRESH)
					count = (int)((struct packet_diag_info *)RTA_DATA(r))->pdi_copy_thresh;
				for (size_t i = 0; r->rta_type == PACKET_DIAG_MCLIST &&
						   i < RTA_PAYLOAD(r) / sizeof(struct packet_diag_mclist);
					i++)
					if (((struct packet_diag_mclist *)RTA_DATA(r))[i].pdmc_type == type)
						count = (int)((struct packet_diag_mclist *)RTA_DATA(r))[i].pdmc_count;
			}
		}
	}
	close(netlink);
	return count;
}

/* Of any interface. */

static int packet_make(struct maker_ctx *ctx)
{
	nobodys = 0x9000 + (int)(now_ns(CLOCK_MONOTONIC) >> 12 & 0xfff);
	fd = socket(AF_PACKET, (int)ctx->arg, htons((uint16_t)nobodys));
	NEED(fd >= 0);
	return 0;
}

static int packet_use(struct maker_ctx *ctx)
{
	SAME(protocol_of(fd), nobodys);
	TRY(sent("frame"));
	return gets(fd, "frame", ctx->arg == SOCK_RAW ? 14 : 0);
}

/* Of one, with options, a filter and memberships. */

static int options_make(struct maker_ctx *ctx)
{
	struct packet_mreq all = { .mr_ifindex = (int)if_nametoindex("lo"), .mr_type = PACKET_MR_ALLMULTI };
	struct packet_mreq one = { .mr_ifindex = all.mr_ifindex,
		.mr_type = PACKET_MR_MULTICAST,
		.mr_alen = 6,
		.mr_address = { 1, 0, 94, 1, 2, 3 } };
	struct sock_filter only[] = { { BPF_LD | BPF_B | BPF_ABS, 0, 0, 0 }, { BPF_JMP | BPF_JEQ | BPF_K, 0, 1, 'y' },
		{ BPF_RET | BPF_K, 0, 0, 1000 }, { BPF_RET | BPF_K, 0, 0, 0 } };
	struct sock_fprog filter = { 4, only };

	nobodys = 0x9000 + (int)(now_ns(CLOCK_MONOTONIC) >> 12 & 0xfff);
	fd = socket(AF_PACKET, SOCK_DGRAM, 0);
	NEED(fd >= 0);
	TRY(set(fd, PACKET_AUXDATA, 1));
	TRY(set(fd, PACKET_ORIGDEV, 1));
	TRY(set(fd, PACKET_VERSION, TPACKET_V2));
	TRY(set(fd, PACKET_RESERVE, 48));
	TRY(set(fd, PACKET_LOSS, 1));
	TRY(set(fd, PACKET_QDISC_BYPASS, 1));
	TRY(set(fd, PACKET_IGNORE_OUTGOING, 1));
	TRY(set(fd, PACKET_TIMESTAMP, 2));
	TRY(set(fd, PACKET_COPY_THRESH, 99));
	CHECK(!setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &filter, sizeof(filter)));
	for (int i = 0; i < 2; i++)
		CHECK(!setsockopt(fd, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &all, sizeof(all)));
	CHECK(!setsockopt(fd, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &one, sizeof(one)));
	return bind_to(fd, "lo", nobodys);
}

static int options_use(struct maker_ctx *ctx)
{
	SAME(get(fd, PACKET_AUXDATA), 1);
	SAME(get(fd, PACKET_RESERVE), 48);
	SAME(get(fd, PACKET_VERSION), TPACKET_V2);
	SAME(held(fd, COPY_THRESH), 99);
	SAME(held(fd, PACKET_MR_ALLMULTI), 2);
	SAME(held(fd, PACKET_MR_MULTICAST), 1);
	SAME(protocol_of(fd), nobodys);
	TRY(sent("no"));
	TRY(sent("yes"));
	return gets(fd, "yes", 0);
}

/* Bound to an interface, and to no protocol. */

static int deaf_make(struct maker_ctx *ctx)
{
	nobodys = 0x9000 + (int)(now_ns(CLOCK_MONOTONIC) >> 12 & 0xfff);
	fd = socket(AF_PACKET, SOCK_RAW, 0);
	NEED(fd >= 0);
	return bind_to(fd, "lo", 0);
}

static int deaf_use(struct maker_ctx *ctx)
{
	TRY(sent("unheard"));
	nap(5);
	SAME(poll_now(fd, POLLIN), 0);
	return bind_to(fd, "lo", nobodys);
}

/* Two that share what comes. */

static int fanout_make(struct maker_ctx *ctx)
{
	ctx->arg = SOCK_DGRAM;
	TRY(packet_make(ctx));
	other = socket(AF_PACKET, SOCK_DGRAM, htons((uint16_t)nobodys));
	CHECK(other >= 0);
	group = nobodys | PACKET_FANOUT_LB << 16;
	TRY(set(fd, PACKET_FANOUT, group));
	return set(other, PACKET_FANOUT, group);
}

static int fanout_use(struct maker_ctx *ctx)
{
	SAME(get(fd, PACKET_FANOUT), group);
	SAME(get(other, PACKET_FANOUT), group);
	TRY(sent("one"));
	TRY(sent("two"));
	CHECK(UNTIL(poll_now(fd, POLLIN) && poll_now(other, POLLIN)));
	return 0;
}

/* --- an interface that is down --- */

static char *down_interface(void)
{
	struct if_nameindex *all = if_nameindex();
	static struct ifreq q;

	for (struct if_nameindex *i = all; i && i->if_index; i++) {
		snprintf(q.ifr_name, sizeof(q.ifr_name), "%s", i->if_name);
		if (!ioctl(fd, SIOCGIFFLAGS, &q) && !(q.ifr_flags & IFF_UP)) {
			snprintf(q.ifr_name, sizeof(q.ifr_name), "%s", i->if_name);
			if_freenameindex(all);
			return q.ifr_name;
		}
	}
	if_freenameindex(all);
	return NULL;
}

static int down_make(struct maker_ctx *ctx)
{
	TRY(packet_make(&(struct maker_ctx){ .arg = SOCK_DGRAM }));
	NEED(down_interface());
	TRY(bind_to(fd, down_interface(), nobodys));
	CHECK(poll_now(fd, 0) & POLLERR);
	if (ctx->arg == 1)
		SAME(option_of(fd, SO_ERROR), ENETDOWN);
	return ctx->arg == 2 ? bind_to(fd, "lo", nobodys) : 0;
}

static int down_use(struct maker_ctx *ctx)
{
	char got[16];

	if (ctx->arg != 1) {
		SAME(recv(fd, got, sizeof(got), MSG_DONTWAIT), -1);
		SAME(errno, ENETDOWN);
	}
	SAME(poll_now(fd, POLLIN), 0);
	SAME(option_of(fd, SO_ERROR), 0);
	TRY(bind_to(fd, "lo", nobodys));
	TRY(sent("hello"));
	return gets(fd, "hello", 0);
}

const struct maker makers_socket[] = {
	{ "packet", "a packet socket of any interface", packet_make, packet_use, 0, SOCK_DGRAM, NULL },
	{ "packet-raw", "with the header of the interface", packet_make, packet_use, 0, SOCK_RAW, NULL },
	{ "packet-options", "bound, with options, a filter and memberships", options_make, options_use, 0, 0, NULL },
	{ "packet-deaf", "bound to no protocol", deaf_make, deaf_use, 0, 0, NULL },
	{ "packet-down", "bound to an interface that is down, and not told so", down_make, down_use, 0, 0, NULL },
	{ "packet-down-told", "told so", down_make, down_use, 0, 1, NULL },
	{ "packet-down-since", "the same, and bound to one that is up since", down_make, down_use, MAKER_MUST_REFUSE, 2,
		"an error" },
	{ "packet-fanout", "two of one group", fanout_make, fanout_use, 0, 0, NULL },
	{ 0 },
};
