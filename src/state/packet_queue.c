/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "state/packet_queue.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/filter.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/virtio_net.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "base/cleanup.h"
#include "kernel/peek.h"
#include "state/sock_diag.h"
#include "state/socket_base.h"
#include "state/socket_view.h"
#include "state/sockets.h"

#define SOL_PACKET_ 263
#define ROOM	    (1 << 28)
#define LARGEST	    (65536 + ETH_HLEN)
#define LOOPBACK    1

/* enum of include/linux/skbuff.h */
enum { IP_SUMMED_NONE, IP_SUMMED_UNNECESSARY, IP_SUMMED_COMPLETE, IP_SUMMED_PARTIAL };

static const struct field frame_fields[] = {
	FIELD_BLOB(struct packet_frame, data, "data", "the frame, with the header of Ethernet"),
	FIELD_STRING(struct packet_frame, interface, "interface", "where it came in"),
	FIELD_UINT(struct packet_frame, type, "type", "sll_pkttype"),
	FIELD_UINT(struct packet_frame, length, "length", "of all that came"),
	FIELD_UINT(struct packet_frame, time, "time", "of arrival, nanoseconds since 1970; 0: not noted"),
	FIELD_UINT(struct packet_frame, checksum, "checksum", "0 not looked at, 1 right, 2 still to be written"),
	FIELD_UINT(struct packet_frame, start, "start", "of what that checksum is over"),
	FIELD_UINT(struct packet_frame, offset, "offset", "behind that, where it is to stand"),
	FIELD_END,
};

const struct field packet_queue_fields[] = {
	FIELD_LIST(struct packet_queue, list, n, "list", frame_fields, "in their order"),
	FIELD_END,
};

/* --- checkpoint --- */

/* What stands in the buffer itself. */
struct buffer {
	uint64_t head, data, mac, vlan, time, summed, start, offset, end, gso;
};

static int read_buffer(struct kernel_peek *k, uint64_t skb, struct buffer *b)
{
	const struct {
		const char *member;
		uint64_t *value;
	} members[] = { { "head", &b->head }, { "data", &b->data }, { "mac_header", &b->mac }, { "vlan_tci", &b->vlan },
		{ "tstamp", &b->time }, { "ip_summed", &b->summed }, { "csum_start", &b->start },
		{ "csum_offset", &b->offset }, { "end", &b->end } };
	int err = 0;

	for (size_t i = 0; i < ARRAY_SIZE(members) && !err; i++)
		err = kernel_peek_member(k, skb, "sk_buff", members[i].member, members[i].value);
	if (!err)
		err = kernel_peek_member(k, b->head + b->end, "skb_shared_info", "gso_size", &b->gso);
	return err;
}

/* To the program it is told without that header. */
static int add_header(struct kernel_peek *k, const struct buffer *b, struct packet_frame *frame)
{
	uint8_t *all = malloc(ETH_HLEN + frame->data.size);
	int err = all ? kernel_peek_bytes(k, b->head + b->mac, all, ETH_HLEN) : -ENOMEM;

	if (err) {
		free(all);
		return err;
	}
	memcpy(all + ETH_HLEN, frame->data.data, frame->data.size);
	free(frame->data.data);
	frame->data = (struct blob){ all, ETH_HLEN + frame->data.size };
	frame->length += ETH_HLEN;
	return 0;
}

/* struct packet_skb_cb: the address that is told, whose first four bytes hold the length until somebody looks (MSG_PEEK). */
static int read_address(int fd, const struct socket_buffer *s, struct packet_frame *frame, uint16_t *kind)
{
	struct sockaddr_ll a;
	uint32_t length;

	memcpy(&a, s->cb, sizeof(a));
	memcpy(&length, s->cb, sizeof(length));
	frame->length = length > LARGEST && a.sll_family == AF_PACKET ? frame->data.size : length;
	frame->type = a.sll_pkttype;
	*kind = a.sll_hatype;
	return a.sll_ifindex > 0 ? socket_interface_name(fd, a.sll_ifindex, &frame->interface) : -ENODEV;
}

static void read_checksum(const struct buffer *b, struct packet_frame *frame)
{
	frame->checksum = b->summed == IP_SUMMED_PARTIAL ? CHECKSUM_TO_COME
			  : b->summed == IP_SUMMED_NONE	 ? CHECKSUM_UNKNOWN
							 : CHECKSUM_CHECKED;
	if (frame->checksum != CHECKSUM_TO_COME)
		return;
	frame->start = b->start - b->mac;
	frame->offset = b->offset;
}

static bool is_impossible(const struct packet_frame *f)
{
	return f->data.size < ETH_HLEN || f->length < f->data.size || f->length > LARGEST || !f->interface ||
	       f->type > PACKET_OUTGOING || f->checksum > CHECKSUM_TO_COME || f->start > UINT16_MAX ||
	       f->offset > UINT16_MAX;
}

/* *why: it cannot be brought to it once more. */
static int keep(
	struct capture *c, int fd, int type, struct socket_buffer *s, struct packet_frame *frame, const char **why)
{
	struct buffer b = { 0 };
	uint16_t kind = 0;
	int err;

	frame->data = (struct blob){ .data = s->data, .size = s->size };
	s->data = NULL;
	err = read_address(fd, s, frame, &kind);
	if (!err)
		err = read_buffer(c->kernel, s->address, &b);
	if (!err && type == SOCK_DGRAM)
		err = add_header(c->kernel, &b, frame);
	if (err)
		return err;
	frame->time = b.time;
	read_checksum(&b, frame);
	if (type != SOCK_RAW && type != SOCK_DGRAM)
		*why = "of a socket of type SOCK_PACKET";
	else if (kind != ARPHRD_ETHER && kind != ARPHRD_LOOPBACK)
		*why = "by an interface that is not one of Ethernet";
	else if (frame->type == PACKET_OUTGOING && kind != ARPHRD_LOOPBACK)
		*why = "which it has seen to leave the machine";
	else if (b.vlan || b.gso)
		*why = "with a VLAN tag, or several as one";
	else if (is_impossible(frame))
		*why = "of a kind that spore does not know";
	return 0;
}

static int read_all(struct capture *c, int fd, int type, struct packet_queue *q, const char **why)
{
	struct socket_buffers b = { 0 };
	int err = sockets_view_received(c, fd, false, &b);

	q->list = err ? NULL : calloc(b.n + 1, sizeof(*q->list));
	for (size_t i = 0; i < b.n && q->list && !err && !*why; i++)
		err = keep(c, fd, type, &b.list[i], &q->list[q->n++], why);
	socket_buffers_free(&b);
	return !err && !q->list ? -ENOMEM : err;
}

int packet_queue_capture(struct capture *c, const struct file_look *f, int fd, int type, struct packet_queue *q)
{
	const char *why = NULL;
	int err = read_all(c, fd, type, q, &why);

	if (err == -ENOMEM)
		return err;
	if (err == -ENODEV)
		why = "by an interface that is gone";
	else if (err)
		why = "and that this kernel does not let be read (CAP_BPF, CAP_PERFMON, CONFIG_DEBUG_INFO_BTF)";
	else if (!why && q->n && !redirect_is_possible())
		why = "and that this kernel does not let be put back (Linux 6.6 and later do)";
	return why ? refused(c->ps, BLAME_FILE(f, .passing = true, .remedy = "let the program read them"),
			     "frames that have come and were not read, %s", why)
		   : 0;
}

bool packet_queue_valid(const struct packet_queue *q)
{
	for (size_t i = 0; i < q->n; i++)
		if (is_impossible(&q->list[i]))
			return false;
	return true;
}

/* --- restore --- */

static int hear(int fd, int type, const struct packet_frame *f)
{
	const uint32_t told = (uint32_t)f->data.size - (type == SOCK_DGRAM ? ETH_HLEN : 0);
	struct sock_filter it[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (uint32_t)(SKF_AD_OFF + SKF_AD_MARK)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, socket_mark(), 0, 3),
		BPF_STMT(BPF_LD | BPF_B | BPF_ABS, (uint32_t)(SKF_AD_OFF + SKF_AD_PKTTYPE)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)f->type, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, f->length > f->data.size ? told : UINT32_MAX),
		BPF_STMT(BPF_RET | BPF_K, 0),
	};
	const struct sock_fprog program = { ARRAY_SIZE(it), it };

	return setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program)) < 0 ? -errno : 0;
}

static int bind_to_all(int fd)
{
	const struct sockaddr_ll a = { .sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL) };

	return bind(fd, (const struct sockaddr *)&a, sizeof(a)) < 0 ? -errno : 0;
}

static int open_sender(struct packet_filling *f)
{
	const uint32_t mark = socket_mark();
	const int on = 1;

	if (f->sender >= 0)
		return 0;
	f->sender = socket_in(f->r->root_pid, AF_PACKET, SOCK_RAW, 0);
	if (f->sender < 0)
		return f->sender;
	if (setsockopt(f->sender, SOL_SOCKET, SO_MARK, &mark, sizeof(mark)) < 0 ||
		setsockopt(f->sender, SOL_PACKET_, PACKET_VNET_HDR, &on, sizeof(on)) < 0)
		return -errno;
	return 0;
}

static int send_frame(int sender, const struct packet_frame *f)
{
	_cleanup_free_ uint8_t *rest = calloc(1, f->length - f->data.size + 1);
	struct virtio_net_hdr h = { 0 };
	struct iovec iov[] = { { &h, sizeof(h) }, { f->data.data, f->data.size }, { rest, f->length - f->data.size } };
	struct sockaddr_ll to = { .sll_family = AF_PACKET, .sll_ifindex = LOOPBACK };
	struct msghdr msg = { .msg_name = &to, .msg_namelen = sizeof(to), .msg_iov = iov, .msg_iovlen = 3 };

	if (!rest)
		return -ENOMEM;
	if (f->checksum == CHECKSUM_TO_COME) {
		h.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
		h.csum_start = (uint16_t)f->start;
		h.csum_offset = (uint16_t)f->offset;
	}
	return sendmsg(sender, &msg, MSG_DONTWAIT) < 0 ? -errno : 0;
}

struct putting {
	struct packet_filling *f;
	struct redirected next;
	const char *interface;
};

/* In the tree's network namespace. */
static int prepare(void *arg)
{
	struct putting *p = arg;
	uint32_t index = if_nametoindex(p->interface);
	int err = index ? redirect_open(&p->f->redirect, socket_mark()) : -ENODEV;

	if (p->next.interface)
		p->next.interface = index;
	return err ? err : redirect_next(&p->f->redirect, &p->next);
}

static int put_one(struct packet_filling *f, int fd, int type, const struct packet_frame *frame)
{
	struct putting p = { .f = f, .interface = frame->interface };
	const unsigned int before = socket_queued(fd);
	int err;

	p.next.time = frame->time;
	p.next.checked = frame->checksum == CHECKSUM_CHECKED;
	p.next.interface = frame->type != PACKET_OUTGOING;
	err = call_in_netns(f->r->root_pid, prepare, &p);
	if (!err)
		err = hear(fd, type, frame);
	if (!err)
		err = send_frame(f->sender, frame);
	return err ? err : socket_await(fd, before);
}

/* Whoever is bound to one protocol hears behind the place where the way ends. */
int packet_queue_put(struct packet_filling *f, int fd, int type, const struct packet_queue *q)
{
	uint8_t counts[64];
	socklen_t size = sizeof(counts);
	int room = ROOM, err = q->n ? open_sender(f) : 0;

	if (err || !q->n)
		return err;
	if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof(room)) < 0)
		return -errno;
	err = bind_to_all(fd);
	for (size_t i = 0; i < q->n && !err; i++)
		err = put_one(f, fd, type, &q->list[i]);
	if (!err)
		err = socket_close_ears(fd);
	getsockopt(fd, SOL_PACKET_, PACKET_STATISTICS, counts, &size); /* they begin anew */
	return err;
}

void packet_filling_end(struct packet_filling *f)
{
	redirect_close(&f->redirect);
	close_fd(&f->sender);
}
