/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "state/socket_hidden.h"

#include <errno.h>
#include <linux/net_tstamp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <netinet/in.h>

#include "base/cleanup.h"
#include "kernel/peek.h"
#include "state/socket_options.h"
#include "state/sockets.h"

#define MOST 4096 /* of a structure, up to the last member that is asked for */

/* Which sockets have a structure. */
enum { OF_ANY = 1, OF_INET = 2, OF_TCP = 4, OF_UDP = 8, OF_UNIX = 16, OF_PINFO = 32 /* struct ipv6_pinfo, apart */ };

static const struct {
	unsigned int of;
	bool needed; /* every kernel that lets be read has it */
	const char *type, *member;
	const char *inner_type, *inner; /* NULL: the member itself */
	size_t to;			/* a uint64_t */
} rows[] = {
#define ROW_IN(of, needed, type, member, inner_type, inner, to)                                                        \
	{                                                                                                              \
		of, needed, type, member, inner_type, inner, offsetof(struct socket_hidden, to)                        \
	}
#define ROW(of, type, member, to)      ROW_IN(of, true, type, member, NULL, NULL, to)
#define SOME_ROW(of, type, member, to) ROW_IN(of, false, type, member, NULL, NULL, to)
	ROW(OF_ANY, "sock", "sk_err", error),
	ROW(OF_ANY, "sock", "sk_err_soft", soft_error),
	ROW_IN(OF_ANY, true, "sock", "sk_error_queue", "sk_buff_head", "qlen", errors_queued),
	ROW_IN(OF_ANY, true, "sock", "sk_receive_queue", "sk_buff_head", "qlen", queued),
	ROW(OF_ANY, "sock", "sk_shutdown", shutdown),
	ROW(OF_ANY, "sock", "sk_userlocks", bound),
	SOME_ROW(OF_ANY, "sock", "sk_busy_poll_budget", busy_poll_budget),
	SOME_ROW(OF_ANY, "sock", "sk_policy", policies),
	SOME_ROW(OF_ANY, "sock", "sk_reuseport_cb", reuseport),
	SOME_ROW(OF_ANY, "sock", "sk_tskey", timestamps),
	SOME_ROW(OF_ANY, "sock", "sk_zckey", zerocopies),
	SOME_ROW(OF_ANY, "sock", "sk_stamp", last_packet),
	ROW(OF_ANY, "sock_common", "skc_net", net),
	ROW(OF_INET, "inet_sock", "mc_index", multicast_index),
	ROW(OF_INET, "inet_sock", "mc_addr", multicast_ip),
	SOME_ROW(OF_INET, "inet_sock", "ipv6_fl_list", flow_labels), /* since 6.18 */
	ROW(OF_INET, "inet_sock", "pinet6", ipv6),
	ROW(OF_PINFO, "ipv6_pinfo", "frag_size", ipv6_mtu),
	SOME_ROW(OF_PINFO, "ipv6_pinfo", "ipv6_fl_list", ipv6_flow_labels),
	SOME_ROW(OF_PINFO, "ipv6_pinfo", "ipv6_ac_list", anycast),
	SOME_ROW(OF_TCP, "tcp_sock", "md5sig_info", md5),
	SOME_ROW(OF_TCP, "tcp_sock", "saved_syn", saved_syn),
	ROW(OF_TCP, "tcp_sock", "snd_up", urgent),
	ROW(OF_TCP, "tcp_sock", "snd_una", unacked),
	ROW_IN(OF_UDP, true, "udp_sock", "reader_queue", "sk_buff_head", "qlen", queued_aside),
	SOME_ROW(OF_UNIX, "unix_sock", "recvmsg_inq", inq), /* since 6.17 */
	ROW_IN(OF_UNIX, false, "sock_common", "skc_bind_node", "hlist_node", "pprev", in_file_system),
};

struct socket_places {
	struct kernel_peek *kernel;
	struct member_place at[ARRAY_SIZE(rows)]; /* size 0: this kernel has none */
};

static int find_place(struct kernel_peek *k, size_t row, struct member_place *out)
{
	struct member_place inner;
	int err = kernel_peek_place(k, rows[row].type, rows[row].member, out);

	if (err || !rows[row].inner)
		return err;
	err = kernel_peek_place(k, rows[row].inner_type, rows[row].inner, &inner);
	inner.offset += out->offset;
	*out = inner;
	return err;
}

static int find_places(struct socket_places *p)
{
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		if (find_place(p->kernel, i, &p->at[i]) < 0 || p->at[i].offset + p->at[i].size > MOST) {
			if (rows[i].needed)
				return -ENODATA;
			p->at[i] = (struct member_place){ 0 };
		}
	return 0;
}

struct socket_places *socket_places_new(struct kernel_peek *kernel)
{
	struct socket_places *p = kernel && !kernel_peek_ready(kernel) ? calloc(1, sizeof(*p)) : NULL;

	if (!p)
		return NULL;
	p->kernel = kernel;
	if (find_places(p) < 0) {
		free(p);
		return NULL;
	}
	return p;
}

void socket_places_free(struct socket_places *p)
{
	free(p);
}

static size_t end_of(const struct socket_places *p, unsigned int of)
{
	size_t end = 0;

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		if (rows[i].of & of)
			end = MAX(end, (size_t)p->at[i].offset + p->at[i].size);
	return end;
}

/* Of an array, of pointers: is there any? */
static uint64_t value_of(const struct member_place *m, const uint8_t *bytes)
{
	uint64_t value = 0, any = 0;

	for (size_t at = 0; at < m->size; at += sizeof(value)) {
		value = 0;
		memcpy(&value, bytes + m->offset + at, MIN(m->size - at, sizeof(value)));
		any |= value;
	}
	return m->bits ? any >> m->bit & ((1ull << m->bits) - 1) : any;
}

static void take(const struct socket_places *p, unsigned int of, const uint8_t *bytes, struct socket_hidden *out)
{
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		if (rows[i].of & of)
			*(uint64_t *)(void *)((char *)out + rows[i].to) = value_of(&p->at[i], bytes);
}

/* A raw socket may be of any protocol. */
static unsigned int kinds_of(int family, int type, int protocol)
{
	if (family == AF_UNIX)
		return OF_ANY | OF_UNIX;
	if (family != AF_INET && family != AF_INET6)
		return OF_ANY;
	return OF_ANY | OF_INET | (type == SOCK_STREAM && protocol == IPPROTO_TCP ? OF_TCP : 0) |
	       (type == SOCK_DGRAM && (protocol == IPPROTO_UDP || protocol == IPPROTO_UDPLITE) ? OF_UDP : 0);
}

void socket_hidden_read(
	const struct socket_places *p, int fd, int family, int type, int protocol, struct socket_hidden *out)
{
	const unsigned int of = kinds_of(family, type, protocol);
	uint8_t bytes[MOST];

	*out = (struct socket_hidden){ 0 };
	if (!p || kernel_peek_socket(p->kernel, fd, &out->sock, bytes, end_of(p, of)) < 0)
		return;
	take(p, of, bytes, out);
	if (family == AF_INET6 && kernel_peek_bytes(p->kernel, out->ipv6, bytes, end_of(p, OF_PINFO)) < 0)
		return;
	if (family == AF_INET6)
		take(p, OF_PINFO, bytes, out);
	out->known = true;
}

const struct socket_hidden *socket_hidden_of(const struct capture *c, const struct file_look *f)
{
	static const struct socket_hidden unknown;
	const struct socket_look *s = socket_find(c->descriptions, f->ino);

	return s ? &s->hidden : &unknown;
}

/* --- what every socket may have --- */

static bool has_program(struct capture *c, const struct socket_hidden *h)
{
	uint64_t program = 0;

	return h->reuseport && !kernel_peek_member(c->kernel, h->reuseport, "sock_reuseport", "prog", &program) &&
	       program;
}

int socket_hidden_capture(struct capture *c, const struct file_look *f, struct socket_options *o)
{
	const struct socket_hidden *h = socket_hidden_of(c, f);

	o->busy_poll_budget = h->busy_poll_budget;
	if (h->policies)
		return refused(c->ps, BLAME_FILE(f, .remedy = "let the program take it back"),
			"an IPsec policy of its own (IP_XFRM_POLICY), which nobody can be asked for");
	if (f->description->family != AF_INET && f->description->family != AF_INET6 && has_program(c, h))
		return refused(c->ps, BLAME_FILE(f, .remedy = "let the program detach it (SO_DETACH_REUSEPORT_BPF)"),
			"a BPF program that chooses among sockets of its port (SO_ATTACH_REUSEPORT_EBPF, "
			"SO_ATTACH_REUSEPORT_CBPF)");
	if (h->soft_error && f->description->protocol != IPPROTO_TCP)
		return refused(c->ps, BLAME_FILE(f, .passing = true, .remedy = "let the program ask for it"),
			"an error (SO_ERROR: %s) that was not told yet", strerror((int)h->soft_error));
	if (h->timestamps && o->timestamping != OPTION_ABSENT &&
		(o->timestamping | MAX(o->timestamping_new, 0)) & SOF_TIMESTAMPING_OPT_ID)
		changed(c->ps, BLAME_FILE(f),
			"the numbers of its time stamps (SOF_TIMESTAMPING_OPT_ID) will begin anew");
	if (h->zerocopies && o->zerocopy > 0)
		changed(c->ps, BLAME_FILE(f),
			"the numbers of what was sent without being copied (MSG_ZEROCOPY) will begin anew");
	if ((int64_t)h->last_packet > 0)
		changed(c->ps, BLAME_FILE(f), "the time at which its last packet came (SIOCGSTAMP) will be forgotten");
	return 0;
}
