/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Packet sockets: packet(7); net/packet/af_packet.c, net/packet/diag.c, tools/testing/selftests/net/psock_*. What was not read: packet_queue.h;
 * memory that it shares with the program: packet_ring.h.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_packet.h>
#include <linux/netlink.h>
#include <linux/packet_diag.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <linux/virtio_net.h>
#include <net/if.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "base/cleanup.h"
#include "state/components.h"
#include "state/packet_error.h"
#include "state/packet_queue.h"
#include "state/packet_ring.h"
#include "state/sock_diag.h"
#include "state/socket_base.h"

#define SOL_PACKET_ 263
#define ADDRESS_MAX 32
#define NAMED_MAX   8 /* of an address given to PACKET_ADD_MEMBERSHIP */

/* The version decides how large the reserve may be; all but the last need that there is no ring. */
#define PACKET_OPTIONS(X)                                                                                              \
	X(version, PACKET_VERSION, OPTION_INT, OPTION_LATE, "PACKET_VERSION")                                          \
	X(auxdata, PACKET_AUXDATA, OPTION_INT, OPTION_LATE, "PACKET_AUXDATA")                                          \
	X(origdev, PACKET_ORIGDEV, OPTION_INT, OPTION_LATE, "PACKET_ORIGDEV")                                          \
	X(vnet_hdr, PACKET_VNET_HDR, OPTION_INT, OPTION_LATE, "PACKET_VNET_HDR")                                       \
	X(reserve, PACKET_RESERVE, OPTION_INT, OPTION_LATE, "PACKET_RESERVE")                                          \
	X(loss, PACKET_LOSS, OPTION_INT, OPTION_LATE, "PACKET_LOSS")                                                   \
	X(timestamp, PACKET_TIMESTAMP, OPTION_INT, OPTION_LATE, "PACKET_TIMESTAMP")                                    \
	X(tx_has_off, PACKET_TX_HAS_OFF, OPTION_INT, OPTION_LATE, "PACKET_TX_HAS_OFF")                                 \
	X(qdisc_bypass, PACKET_QDISC_BYPASS, OPTION_INT, OPTION_LATE, "PACKET_QDISC_BYPASS")                           \
	X(ignore_outgoing, PACKET_IGNORE_OUTGOING, OPTION_INT, OPTION_LATE, "PACKET_IGNORE_OUTGOING")

/* In the image since version 2. */
#define PACKET_OPTIONS_2(X) X(vnet_hdr_sz, 24, OPTION_INT, OPTION_LATE, "PACKET_VNET_HDR_SZ") /* Linux 6.6 */

#define MEMBER(member, ...) int64_t member;
struct packet_level {
	PACKET_OPTIONS(MEMBER)
	PACKET_OPTIONS_2(MEMBER)
};

struct packet_membership {
	uint64_t type, count;
	char *interface;
	struct blob address;
};

struct packet_state {
	struct socket_base base;
	uint64_t protocol;
	char *interface;
	uint64_t copy_thresh, fanout;
	struct packet_membership *memberships;
	size_t n_memberships;
	struct packet_level packet;
	struct packet_queue unread;
	struct packet_rings rings;
	uint64_t down; /* PACKET_IS_UP... */
};

#define LEVEL_FIELD(member, name, shape, when, doc)   FIELD_INT(struct packet_level, member, #member, doc),
#define LEVEL_FIELD_2(member, name, shape, when, doc) FIELD_SINCE(2, INT, struct packet_level, member, #member, doc),
static const struct field level_fields[] = { PACKET_OPTIONS(LEVEL_FIELD) PACKET_OPTIONS_2(LEVEL_FIELD_2) FIELD_END };
#define LEVEL_ROW(...) SOCKET_OPTION_ROW(struct packet_level, SOL_PACKET_, __VA_ARGS__)
static const struct socket_option list[] = { PACKET_OPTIONS(LEVEL_ROW) PACKET_OPTIONS_2(LEVEL_ROW) };

static const struct field membership_fields[] = {
	FIELD_UINT(struct packet_membership, type, "type", "PACKET_MR_*"),
	FIELD_UINT(struct packet_membership, count, "count", "how often it was asked for"),
	FIELD_STRING(struct packet_membership, interface, "interface", "of which interface"),
	FIELD_BLOB(struct packet_membership, address, "address", "of the group, or its own"),
	FIELD_END,
};

static const struct field packet_fields[] = {
	FIELD_STRUCT(struct packet_state, base, "base", socket_base_fields, "what every socket has"),
	FIELD_UINT(struct packet_state, protocol, "protocol", "sll_protocol, in the order of the host; 0: deaf"),
	FIELD_STRING(struct packet_state, interface, "interface", "bound to this one; absent: to all"),
	FIELD_UINT(struct packet_state, copy_thresh, "copy_thresh", "PACKET_COPY_THRESH"),
	FIELD_UINT(struct packet_state, fanout, "fanout", "PACKET_FANOUT; 0: in no group"),
	FIELD_LIST(struct packet_state, memberships, n_memberships, "memberships", membership_fields,
		"PACKET_ADD_MEMBERSHIP"),
	FIELD_STRUCT(struct packet_state, packet, "packet", level_fields, "of level SOL_PACKET"),
	FIELD_STRUCT(struct packet_state, unread, "unread", packet_queue_fields, "frames that were not read"),
	FIELD_SINCE(3, STRUCT, struct packet_state, rings, "rings", packet_rings_fields,
		"memory that it shares with the program"),
	FIELD_SINCE(4, UINT, struct packet_state, down, "down",
		"its interface: 0 up, 1 down (ENETDOWN), and not told yet, 2 down, and told"),
	FIELD_END,
};

static bool packet_matches(const struct file_look *f)
{
	return f->description && f->description->family == AF_PACKET && !(f->flags & O_PATH);
}

/* --- checkpoint --- */

struct asking {
	struct packet_state *s;
	uint32_t ino;
	int fd;
	bool seen;
};

static struct packet_format format_of(const struct packet_state *s)
{
	const struct packet_level *l = &s->packet;

	return (struct packet_format){
		.type = (int)s->base.type,
		.version = (uint64_t)l->version,
		.vnet_hdr = l->vnet_hdr_sz > 0 ? (uint64_t)l->vnet_hdr_sz
			    : l->vnet_hdr > 0  ? sizeof(struct virtio_net_hdr)
					       : 0,
	};
}

static int read_memberships(struct asking *a, const struct rtattr *attribute)
{
	const struct packet_diag_mclist *m = RTA_DATA(attribute);
	size_t n = RTA_PAYLOAD(attribute) / sizeof(*m);
	int err = 0;

	a->s->memberships = calloc(n + 1, sizeof(*a->s->memberships));
	if (!a->s->memberships)
		return -ENOMEM;
	for (size_t i = 0; i < n && !err; i++) {
		struct packet_membership *to = &a->s->memberships[a->s->n_memberships++];

		to->type = m[i].pdmc_type;
		to->count = m[i].pdmc_count;
		to->address.size = MIN(m[i].pdmc_alen, ADDRESS_MAX);
		to->address.data = malloc(ADDRESS_MAX);
		if (!to->address.data)
			return -ENOMEM;
		memcpy(to->address.data, m[i].pdmc_addr, to->address.size);
		err = socket_interface_name(a->fd, (int)m[i].pdmc_index, &to->interface);
	}
	return err;
}

static int read_answer(void *arg, const struct nlmsghdr *h)
{
	struct asking *a = arg;
	const struct packet_diag_msg *msg = NLMSG_DATA(h);
	unsigned int left = (unsigned int)(h->nlmsg_len - NLMSG_LENGTH(sizeof(*msg)));
	struct packet_diag_info info;
	int err = 0;

	if (msg->pdiag_ino != a->ino)
		return 0;
	a->seen = true;
	for (const struct rtattr *at = (const void *)(msg + 1); RTA_OK(at, left) && !err; at = RTA_NEXT(at, left)) {
		if (at->rta_type == PACKET_DIAG_RX_RING && RTA_PAYLOAD(at) >= sizeof(struct packet_diag_ring))
			packet_ring_told(RTA_DATA(at), &a->s->rings.rx);
		if (at->rta_type == PACKET_DIAG_TX_RING && RTA_PAYLOAD(at) >= sizeof(struct packet_diag_ring))
			packet_ring_told(RTA_DATA(at), &a->s->rings.tx);
		if (at->rta_type == PACKET_DIAG_MCLIST)
			err = read_memberships(a, at);
		if (at->rta_type == PACKET_DIAG_INFO && RTA_PAYLOAD(at) >= sizeof(info)) {
			memcpy(&info, RTA_DATA(at), sizeof(info));
			a->s->copy_thresh = info.pdi_copy_thresh;
		}
	}
	return err;
}

static int ask(struct capture *c, struct asking *a, uint32_t show)
{
	struct {
		struct nlmsghdr h;
		struct packet_diag_req r;
	} question = {
		.h = { .nlmsg_len = sizeof(question),
			.nlmsg_type = SOCK_DIAG_BY_FAMILY,
			.nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP },
		.r = { .sdiag_family = AF_PACKET, .pdiag_show = show },
	};
	int err = sock_diag_ask(tree_living(c->tree), &question, sizeof(question), read_answer, a);

	return err ? err : a->seen ? 0 : -ENOENT;
}

int packet_mapped_size(struct capture *c, uint64_t ino, uint64_t *size)
{
	struct packet_state s = { 0 };
	struct asking a = { .s = &s, .ino = (uint32_t)ino, .fd = -1 };
	int err = ask(c, &a, PACKET_SHOW_RING_CFG);

	*size = packet_rings_size(&s.rings);
	return err;
}

static int refuse_unknown(struct capture *c, const struct file_look *f, const struct packet_state *s)
{
	if (s->fanout && (s->fanout >> 16 & 0xff) >= PACKET_FANOUT_CBPF)
		return refused(
			c->ps, BLAME_FILE(f), "a packet socket in a group that a BPF program divides (PACKET_FANOUT)");
	for (size_t i = 0; i < s->n_memberships; i++)
		if (s->memberships[i].address.size > NAMED_MAX)
			return refused(c->ps, BLAME_FILE(f), "a membership with an address of more than 8 bytes");
	return 0;
}

static int packet_capture(struct capture *c, const struct file_look *f, void *state)
{
	struct packet_state *s = state;
	struct sockaddr_ll a = { 0 };
	socklen_t size = sizeof(a), small = sizeof(int);
	int fd = file_dup(c, f), fanout = 0, err;
	struct asking asked = { .s = s, .ino = (uint32_t)f->ino, .fd = fd };
	struct packet_format how;

	if (fd < 0)
		return fd;
	err = socket_base_capture(c, f, fd, &s->base);
	if (err)
		return err;
	if (getsockname(fd, (struct sockaddr *)&a, &size) < 0)
		return -errno;
	s->protocol = ntohs(a.sll_protocol);
	options_read(fd, list, ARRAY_SIZE(list), &s->packet);
	if (getsockopt(fd, SOL_PACKET_, PACKET_FANOUT, &fanout, &small) == 0)
		s->fanout = (uint32_t)fanout;
	err = socket_interface_name(fd, a.sll_ifindex, &s->interface);
	if (!err)
		err = ask(c, &asked, PACKET_SHOW_INFO | PACKET_SHOW_MCLIST | PACKET_SHOW_RING_CFG);
	if (err == -ENODEV)
		return refused(c->ps, BLAME_FILE(f), "the interface of this packet socket is gone");
	if (err)
		return refused(c->ps, BLAME_FILE(f),
			"the kernel does not tell of this packet socket (CONFIG_PACKET_DIAG): %s", strerror(-err));
	err = refuse_unknown(c, f, s);
	if (!err)
		err = packet_error_capture(c, f, fd, s->interface, &s->down);
	how = format_of(s);
	if (!err && packet_has_ring(&s->rings))
		return packet_rings_capture(c, f, fd, &how, &s->rings);
	return err || !socket_has_unread(fd) ? err : packet_queue_capture(c, f, fd, (int)s->base.type, &s->unread);
}

/* --- restore --- */

struct packet_made {
	int fd;
	const struct file_state *file; /* NULL: only mapped so far */
};

static int packet_validate(struct restore *r, const struct record *rec)
{
	const struct packet_state *s = rec->state;
	const struct packet_format how = format_of(s);

	for (size_t i = 0; i < s->n_memberships; i++)
		if (s->memberships[i].address.size > NAMED_MAX || s->memberships[i].count > 1024 ||
			!s->memberships[i].interface)
			return failed(
				r->ps, BLAME(.object = "packet"), -EBADMSG, "the image has an impossible membership");
	if (!packet_queue_valid(&s->unread))
		return failed(r->ps, BLAME(.object = "packet"), -EBADMSG, "the image has an impossible frame");
	if (!packet_rings_valid(&s->rings, &how) || (packet_has_ring(&s->rings) && s->unread.n))
		return failed(r->ps, BLAME(.object = "packet"), -EBADMSG, "the image has an impossible packet ring");
	return 0;
}

static int set_options(struct restore *r, int fd, const struct packet_state *s)
{
	const char *what = options_write(fd, list, ARRAY_SIZE(list), &s->packet, OPTION_LATE);

	return what ? failed(r->ps, BLAME(.object = "packet"), -errno, "a socket option cannot be set (%s): %m", what)
		    : 0;
}

/* With a ring most options cannot be set any more. */
static int make_rings(struct restore *r, int fd, const struct packet_state *s)
{
	const struct packet_format how = format_of(s);
	int err = packet_has_ring(&s->rings) ? set_options(r, fd, s) : 0;

	if (err)
		return err;
	err = packet_rings_make(fd, &s->rings, &how);
	return err ? failed(r->ps, BLAME(.object = "packet"), err, "a packet ring cannot be made: %s", strerror(-err))
		   : 0;
}

static int make_socket(struct restore *r, struct made *made, const struct packet_state *s)
{
	struct packet_made *m = calloc(1, sizeof(*m));
	int err;

	if (!m)
		return -ENOMEM;
	made->data = m;
	made->fd[0] = m->fd = socket_base_open(r, AF_PACKET, &s->base);
	err = m->fd < 0 ? m->fd : make_rings(r, m->fd, s);
	return err;
}

/* Of a mapping, which is made first, or of the description. */
static bool is_description(const struct restore *r, const struct record *rec, const struct file_state *file)
{
	size_t n;
	const struct record *const *uses = restore_uses(r, rec->id, &n);

	for (size_t i = 0; i < n; i++)
		if (uses[i]->state == file)
			return true;
	return false;
}

static int packet_open(struct restore *r, const struct record *rec, const struct file_state *file)
{
	struct made *made = restore_made(r, rec->id);
	struct packet_made *m;
	int err = !made ? -ENOMEM : made->data ? 0 : make_socket(r, made, rec->state), fd;

	if (err)
		return err;
	m = made->data;
	if (is_description(r, rec, file)) {
		if (m->file)
			return failed(r->ps, BLAME(.object = "packet"), -EBADMSG,
				"the image has a socket with two descriptions");
		m->file = file;
	}
	fd = m->fd < 0 ? -1 : fcntl(m->fd, F_DUPFD_CLOEXEC, 0);
	return fd < 0 ? -errno : fd;
}

static int join(int fd, const struct packet_membership *m)
{
	struct packet_mreq q = { .mr_type = (unsigned short)m->type, .mr_alen = (unsigned short)m->address.size };
	int index = socket_interface_index(fd, m->interface), err = index < 0 ? index : 0;

	q.mr_ifindex = index;
	memcpy(q.mr_address, m->address.data, MIN(m->address.size, sizeof(q.mr_address)));
	for (uint64_t i = 0; i < m->count && !err; i++)
		if (setsockopt(fd, SOL_PACKET_, PACKET_ADD_MEMBERSHIP, &q, sizeof(q)) < 0)
			err = -errno;
	return err;
}

static int bind_again(int fd, const struct packet_state *s)
{
	struct sockaddr_ll a = { .sll_family = AF_PACKET, .sll_protocol = htons((uint16_t)s->protocol) };
	int fanout = (int)s->fanout;

	a.sll_ifindex = socket_interface_index(fd, s->interface);
	if (a.sll_ifindex < 0)
		return a.sll_ifindex;
	if ((a.sll_protocol || a.sll_ifindex) && bind(fd, (struct sockaddr *)&a, sizeof(a)) < 0)
		return -errno;
	return fanout && setsockopt(fd, SOL_PACKET_, PACKET_FANOUT, &fanout, sizeof(fanout)) < 0 ? -errno : 0;
}

static int put_frames(struct restore *r, const struct record *recs, size_t n)
{
	struct packet_filling f = { .r = r, .redirect = REDIRECT_NONE, .sender = -1 };
	int err = 0;

	for (size_t i = 0; i < n && !err; i++) {
		const struct packet_state *s = recs[i].state;
		const struct packet_made *m = restore_made(r, recs[i].id)->data;

		err = m && m->file ? packet_queue_put(&f, m->fd, (int)s->base.type, &s->unread) : -EBADMSG;
	}
	packet_filling_end(&f);
	return err ? failed(r->ps, BLAME(.object = "packet"), err,
			     "the unread frames of a packet socket cannot be put back (Linux 6.6 and later can): %s",
			     strerror(-err))
		   : 0;
}

static int packet_round(struct restore *r, struct callers *callers, unsigned int n)
{
	const struct record *recs;
	size_t all;
	int err;

	if (n == ROUND_ABANDON)
		return 0;
	recs = image_records(r->image, &component_packet.kind, &all);
	err = put_frames(r, recs, all);
	for (size_t i = 0; i < all && !err; i++) {
		const struct packet_state *s = recs[i].state;
		const struct packet_made *m = restore_made(r, recs[i].id)->data;
		const struct packet_format how = format_of(s);

		if (packet_has_ring(&s->rings))
			err = packet_rings_fill(r, m->fd, &s->rings, &how);
	}
	return err;
}

static int packet_fill(struct restore *r, const struct record *rec)
{
	const struct packet_state *s = rec->state;
	const struct packet_made *m = restore_made(r, rec->id)->data;
	int thresh = (int)s->copy_thresh, err = 0;

	if (!m)
		return 0;
	for (size_t i = 0; i < s->n_memberships && !err; i++)
		err = join(m->fd, &s->memberships[i]);
	if (err)
		return failed(r->ps, BLAME(.object = "packet"), err, "its membership cannot be had again: %s",
			strerror(-err));
	err = packet_has_ring(&s->rings) ? packet_rings_check_interfaces(r, m->fd, &s->rings)
					 : set_options(r, m->fd, s);
	if (err)
		return err;
	if (thresh && setsockopt(m->fd, SOL_PACKET_, PACKET_COPY_THRESH, &thresh, sizeof(thresh)) < 0)
		return failed(r->ps, BLAME(.object = "packet"), -errno,
			"a socket option cannot be set (PACKET_COPY_THRESH): %m");
	err = socket_base_settle(r, m->fd, "packet", &s->base, m->file);
	if (!err)
		err = bind_again(m->fd, s);
	if (!err)
		err = packet_error_settle(r, m->fd, s->interface, s->down);
	return err ? failed(r->ps, BLAME(.object = s->interface ? s->interface : "packet"), err,
			     "a packet socket cannot be bound to this interface: %s", strerror(-err))
		   : 0;
}

static int packet_watch(struct restore *r, const struct record *rec)
{
	const struct packet_state *s = rec->state;
	const struct packet_made *m = restore_made(r, rec->id)->data;

	return m ? socket_hear_again(m->fd, &s->base.options) : 0;
}

const struct component component_packet = {
	.kind = { .name = "packet",
		.version = 4,
		.size = sizeof(struct packet_state),
		.fields = packet_fields,
		.doc = "a packet socket",
		.sources = "packet(7); net/packet/af_packet.c; tools/testing/selftests/net/psock_fanout.c" },
	.scope = SCOPE_BACKING,
	.matches = packet_matches,
	.look = packet_look_at_mappings,
	.capture_file = packet_capture,
	.validate = packet_validate,
	.open = packet_open,
	.round = packet_round,
	.fill = packet_fill,
	.watch = packet_watch,
};
