/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "state/inet_options.h"

#include <netinet/in.h>

#define FIELD_OF(type, member, doc)		   FIELD_INT(struct type, member, #member, doc),
#define IP_FIELD(member, name, shape, when, doc)   FIELD_OF(ip_level, member, doc)
#define IP_FIELD_2(member, name, shape, when, doc) FIELD_SINCE(2, INT, struct ip_level, member, #member, doc),
#define IPV6_FIELD(member, name, shape, when, doc) FIELD_OF(ipv6_level, member, doc)
#define TCP_FIELD(member, name, shape, when, doc)  FIELD_OF(tcp_level, member, doc)
#define UDP_FIELD(member, name, shape, when, doc)  FIELD_OF(udp_level, member, doc)
const struct field ip_level_fields[] = { IP_LEVEL_OPTIONS(IP_FIELD) IP_LEVEL_OPTIONS_2(IP_FIELD_2) FIELD_END };
const struct field ipv6_level_fields[] = { IPV6_LEVEL_OPTIONS(IPV6_FIELD) FIELD_END };
const struct field tcp_level_fields[] = { TCP_LEVEL_OPTIONS(TCP_FIELD) FIELD_END };
const struct field udp_level_fields[] = { UDP_LEVEL_OPTIONS(UDP_FIELD) FIELD_END };

#define IP_ROW(...)	 SOCKET_OPTION_ROW(struct ip_level, IPPROTO_IP, __VA_ARGS__)
#define IPV6_ROW(...)	 SOCKET_OPTION_ROW(struct ipv6_level, IPPROTO_IPV6, __VA_ARGS__)
#define TCP_ROW(...)	 SOCKET_OPTION_ROW(struct tcp_level, IPPROTO_TCP, __VA_ARGS__)
#define UDP_ROW(...)	 SOCKET_OPTION_ROW(struct udp_level, IPPROTO_UDP, __VA_ARGS__)
#define UDPLITE_ROW(...) SOCKET_OPTION_ROW(struct udp_level, IPPROTO_UDPLITE, __VA_ARGS__)
static const struct socket_option ip_list[] = { IP_LEVEL_OPTIONS(IP_ROW) IP_LEVEL_OPTIONS_2(IP_ROW) };
static const struct socket_option ipv6_list[] = { IPV6_LEVEL_OPTIONS(IPV6_ROW) };
static const struct socket_option tcp_list[] = { TCP_LEVEL_OPTIONS(TCP_ROW) };
static const struct socket_option udp_list[] = { UDP_LEVEL_OPTIONS(UDP_ROW) };
static const struct socket_option udplite_list[] = { UDP_LEVEL_OPTIONS(UDPLITE_ROW) };

const struct option_level ip_level = { ip_list, ARRAY_SIZE(ip_list) };
const struct option_level ipv6_level = { ipv6_list, ARRAY_SIZE(ipv6_list) };
const struct option_level tcp_level = { tcp_list, ARRAY_SIZE(tcp_list) };
const struct option_level udp_level = { udp_list, ARRAY_SIZE(udp_list) };
const struct option_level udplite_level = { udplite_list, ARRAY_SIZE(udplite_list) };
