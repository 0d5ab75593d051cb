/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Options of the levels below SOL_SOCKET, in lists of the shape of socket_options.h: ip(7), ipv6(7), tcp(7), udp(7); net/ipv4/ip_sockglue.c,
 * net/ipv6/ipv6_sockglue.c, net/ipv4/tcp.c, net/ipv4/udp.c. By number, since the kernel's headers of these levels and the C library's exclude each other.
 */
#pragma once

#include "state/socket_options.h"

#define IP_LEVEL_OPTIONS(X)                                                                                            \
	X(tos, 1, OPTION_INT, OPTION_EARLY, "IP_TOS") /* sets SO_PRIORITY, which is late */                            \
	X(ttl, 2, OPTION_INT, OPTION_LATE, "IP_TTL")                                                                   \
	X(hdrincl, 3, OPTION_INT, OPTION_LATE, "IP_HDRINCL")                                                           \
	X(retopts, 7, OPTION_INT, OPTION_LATE, "IP_RETOPTS")                                                           \
	X(pktinfo, 8, OPTION_INT, OPTION_EARLY, "IP_PKTINFO")                                                          \
	X(mtu_discover, 10, OPTION_INT, OPTION_EARLY, "IP_MTU_DISCOVER")                                               \
	X(recverr, 11, OPTION_INT, OPTION_LATE, "IP_RECVERR")                                                          \
	X(recvttl, 12, OPTION_INT, OPTION_LATE, "IP_RECVTTL")                                                          \
	X(recvtos, 13, OPTION_INT, OPTION_LATE, "IP_RECVTOS")                                                          \
	X(freebind, 15, OPTION_INT, OPTION_EARLY, "IP_FREEBIND")                                                       \
	X(passsec, 18, OPTION_INT, OPTION_LATE, "IP_PASSSEC")                                                          \
	X(transparent, 19, OPTION_INT, OPTION_EARLY, "IP_TRANSPARENT")                                                 \
	X(recvorigdstaddr, 20, OPTION_INT, OPTION_LATE, "IP_RECVORIGDSTADDR")                                          \
	X(minttl, 21, OPTION_INT, OPTION_LATE, "IP_MINTTL")                                                            \
	X(nodefrag, 22, OPTION_INT, OPTION_LATE, "IP_NODEFRAG")                                                        \
	X(checksum, 23, OPTION_INT, OPTION_LATE, "IP_CHECKSUM")                                                        \
	X(bind_address_no_port, 24, OPTION_INT, OPTION_EARLY, "IP_BIND_ADDRESS_NO_PORT")                               \
	X(recvfragsize, 25, OPTION_INT, OPTION_LATE, "IP_RECVFRAGSIZE")                                                \
	X(recverr_rfc4884, 26, OPTION_INT, OPTION_LATE, "IP_RECVERR_RFC4884")                                          \
	X(multicast_if, 32, OPTION_INT, OPTION_LATE, "IP_MULTICAST_IF: an address of the interface")                   \
	X(multicast_ttl, 33, OPTION_INT, OPTION_LATE, "IP_MULTICAST_TTL")                                              \
	X(multicast_loop, 34, OPTION_INT, OPTION_LATE, "IP_MULTICAST_LOOP")                                            \
	X(multicast_all, 49, OPTION_INT, OPTION_LATE, "IP_MULTICAST_ALL")                                              \
	X(unicast_if, 50, OPTION_INT, OPTION_EARLY, "IP_UNICAST_IF: index of the interface, in network order")         \
	X(local_port_range, 51, OPTION_INT, OPTION_EARLY, "IP_LOCAL_PORT_RANGE: the highest in the upper 16 bits")

/* In the image since version 2 of their kinds. */
#define IP_LEVEL_OPTIONS_2(X)                                                                                          \
	X(router_alert, 5, OPTION_INT, OPTION_LATE, "IP_ROUTER_ALERT, of raw sockets")                                 \
	X(recvopts, 6, OPTION_INT, OPTION_LATE, "IP_RECVOPTS")

#define IPV6_LEVEL_OPTIONS(X)                                                                                          \
	X(v6only, 26, OPTION_INT, OPTION_EARLY, "IPV6_V6ONLY")                                                         \
	X(pktinfo_2292, 2, OPTION_INT, OPTION_LATE, "IPV6_2292PKTINFO")                                                \
	X(hopopts_2292, 3, OPTION_INT, OPTION_LATE, "IPV6_2292HOPOPTS")                                                \
	X(dstopts_2292, 4, OPTION_INT, OPTION_LATE, "IPV6_2292DSTOPTS")                                                \
	X(rthdr_2292, 5, OPTION_INT, OPTION_LATE, "IPV6_2292RTHDR")                                                    \
	X(hoplimit_2292, 8, OPTION_INT, OPTION_LATE, "IPV6_2292HOPLIMIT")                                              \
	X(checksum, 7, OPTION_INT, OPTION_LATE, "IPV6_CHECKSUM")                                                       \
	X(flowinfo, 11, OPTION_INT, OPTION_LATE, "IPV6_FLOWINFO")                                                      \
	X(unicast_hops, 16, OPTION_INT, OPTION_LATE, "IPV6_UNICAST_HOPS")                                              \
	X(multicast_if, 17, OPTION_INT, OPTION_LATE, "IPV6_MULTICAST_IF: index of the interface")                      \
	X(multicast_hops, 18, OPTION_INT, OPTION_LATE, "IPV6_MULTICAST_HOPS")                                          \
	X(multicast_loop, 19, OPTION_INT, OPTION_LATE, "IPV6_MULTICAST_LOOP")                                          \
	X(mtu_discover, 23, OPTION_INT, OPTION_EARLY, "IPV6_MTU_DISCOVER")                                             \
	X(recverr, 25, OPTION_INT, OPTION_LATE, "IPV6_RECVERR")                                                        \
	X(multicast_all, 29, OPTION_INT, OPTION_LATE, "IPV6_MULTICAST_ALL")                                            \
	X(router_alert_isolate, 30, OPTION_INT, OPTION_LATE, "IPV6_ROUTER_ALERT_ISOLATE")                              \
	X(recverr_rfc4884, 31, OPTION_INT, OPTION_LATE, "IPV6_RECVERR_RFC4884")                                        \
	X(flowinfo_send, 33, OPTION_INT, OPTION_EARLY, "IPV6_FLOWINFO_SEND")                                           \
	X(hdrincl, 36, OPTION_INT, OPTION_LATE, "IPV6_HDRINCL")                                                        \
	X(recvpktinfo, 49, OPTION_INT, OPTION_EARLY, "IPV6_RECVPKTINFO")                                               \
	X(recvhoplimit, 51, OPTION_INT, OPTION_LATE, "IPV6_RECVHOPLIMIT")                                              \
	X(recvhopopts, 53, OPTION_INT, OPTION_LATE, "IPV6_RECVHOPOPTS")                                                \
	X(recvrthdr, 56, OPTION_INT, OPTION_LATE, "IPV6_RECVRTHDR")                                                    \
	X(recvdstopts, 58, OPTION_INT, OPTION_LATE, "IPV6_RECVDSTOPTS")                                                \
	X(recvpathmtu, 60, OPTION_INT, OPTION_LATE, "IPV6_RECVPATHMTU")                                                \
	X(dontfrag, 62, OPTION_INT, OPTION_LATE, "IPV6_DONTFRAG")                                                      \
	X(recvtclass, 66, OPTION_INT, OPTION_LATE, "IPV6_RECVTCLASS")                                                  \
	X(tclass, 67, OPTION_INT, OPTION_LATE, "IPV6_TCLASS")                                                          \
	X(autoflowlabel, 70, OPTION_INT, OPTION_LATE, "IPV6_AUTOFLOWLABEL")                                            \
	X(addr_preferences, 72, OPTION_INT, OPTION_EARLY, "IPV6_ADDR_PREFERENCES")                                     \
	X(minhopcount, 73, OPTION_INT, OPTION_LATE, "IPV6_MINHOPCOUNT")                                                \
	X(recvorigdstaddr, 74, OPTION_INT, OPTION_LATE, "IPV6_RECVORIGDSTADDR")                                        \
	X(transparent, 75, OPTION_INT, OPTION_EARLY, "IPV6_TRANSPARENT")                                               \
	X(unicast_if, 76, OPTION_INT, OPTION_EARLY, "IPV6_UNICAST_IF: index of the interface, in network order")       \
	X(recvfragsize, 77, OPTION_INT, OPTION_LATE, "IPV6_RECVFRAGSIZE")                                              \
	X(freebind, 78, OPTION_INT, OPTION_EARLY, "IPV6_FREEBIND")

/* Without TCP_MAXSEG, which is another thing in each state. */
#define TCP_LEVEL_OPTIONS(X)                                                                                           \
	X(nodelay, 1, OPTION_INT, OPTION_EARLY, "TCP_NODELAY")                                                         \
	X(cork, 3, OPTION_INT, OPTION_EARLY, "TCP_CORK")                                                               \
	X(keepidle, 4, OPTION_INT, OPTION_LATE, "TCP_KEEPIDLE")                                                        \
	X(keepintvl, 5, OPTION_INT, OPTION_LATE, "TCP_KEEPINTVL")                                                      \
	X(keepcnt, 6, OPTION_INT, OPTION_LATE, "TCP_KEEPCNT")                                                          \
	X(syncnt, 7, OPTION_INT, OPTION_EARLY, "TCP_SYNCNT")                                                           \
	X(linger2, 8, OPTION_INT, OPTION_EARLY, "TCP_LINGER2")                                                         \
	X(defer_accept, 9, OPTION_INT, OPTION_LATE, "TCP_DEFER_ACCEPT")                                                \
	X(window_clamp, 10, OPTION_INT, OPTION_LATE, "TCP_WINDOW_CLAMP")                                               \
	X(quickack, 12, OPTION_INT, OPTION_LATE, "TCP_QUICKACK")                                                       \
	X(thin_linear_timeouts, 16, OPTION_INT, OPTION_LATE, "TCP_THIN_LINEAR_TIMEOUTS")                               \
	X(user_timeout, 18, OPTION_INT, OPTION_LATE, "TCP_USER_TIMEOUT")                                               \
	X(fastopen, 23, OPTION_INT, OPTION_LATE, "TCP_FASTOPEN")                                                       \
	X(notsent_lowat, 25, OPTION_INT, OPTION_LATE, "TCP_NOTSENT_LOWAT")                                             \
	X(save_syn, 27, OPTION_INT, OPTION_EARLY, "TCP_SAVE_SYN")                                                      \
	X(fastopen_connect, 30, OPTION_INT, OPTION_LATE, "TCP_FASTOPEN_CONNECT")                                       \
	X(fastopen_no_cookie, 34, OPTION_INT, OPTION_LATE, "TCP_FASTOPEN_NO_COOKIE")                                   \
	X(inq, 36, OPTION_INT, OPTION_LATE, "TCP_INQ")                                                                 \
	X(tx_delay, 37, OPTION_INT, OPTION_LATE, "TCP_TX_DELAY")                                                       \
	X(rto_max_ms, 44, OPTION_INT, OPTION_LATE, "TCP_RTO_MAX_MS")                                                   \
	X(rto_min_us, 45, OPTION_INT, OPTION_LATE, "TCP_RTO_MIN_US")                                                   \
	X(delack_max_us, 46, OPTION_INT, OPTION_LATE, "TCP_DELACK_MAX_US")

/* Corking goes before the rest would be sent; what is corked is refused. */
#define UDP_LEVEL_OPTIONS(X)                                                                                           \
	X(cork, 1, OPTION_INT, OPTION_LATE, "UDP_CORK")                                                                \
	X(encap, 100, OPTION_INT, OPTION_LATE, "UDP_ENCAP")                                                            \
	X(no_check6_tx, 101, OPTION_INT, OPTION_LATE, "UDP_NO_CHECK6_TX")                                              \
	X(no_check6_rx, 102, OPTION_INT, OPTION_LATE, "UDP_NO_CHECK6_RX")                                              \
	X(segment, 103, OPTION_INT, OPTION_LATE, "UDP_SEGMENT")                                                        \
	X(gro, 104, OPTION_INT, OPTION_LATE, "UDP_GRO")                                                                \
	X(send_cscov, 10, OPTION_INT, OPTION_LATE, "UDPLITE_SEND_CSCOV")                                               \
	X(recv_cscov, 11, OPTION_INT, OPTION_LATE, "UDPLITE_RECV_CSCOV")

#define INET_OPTION_MEMBER(member, ...) int64_t member;
struct ip_level {
	IP_LEVEL_OPTIONS(INET_OPTION_MEMBER)
	IP_LEVEL_OPTIONS_2(INET_OPTION_MEMBER)
};
struct ipv6_level {
	IPV6_LEVEL_OPTIONS(INET_OPTION_MEMBER)
};
struct tcp_level {
	TCP_LEVEL_OPTIONS(INET_OPTION_MEMBER)
};
struct udp_level {
	UDP_LEVEL_OPTIONS(INET_OPTION_MEMBER)
};

/* A list with its fields in the image. */
struct option_level {
	const struct socket_option *list;
	size_t n;
};
extern const struct field ip_level_fields[], ipv6_level_fields[], tcp_level_fields[], udp_level_fields[];
extern const struct option_level ip_level, ipv6_level, tcp_level, udp_level, udplite_level;
