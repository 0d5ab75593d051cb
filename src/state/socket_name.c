/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "state/socket_name.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/macro.h"

union address {
	struct sockaddr any;
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;
	struct sockaddr_un un;
};

#define ADDRESS_TEXT 128

static void address_text(const union address *a, socklen_t length, char text[static ADDRESS_TEXT])
{
	char host[INET6_ADDRSTRLEN] = "";

	text[0] = '\0';
	if (a->any.sa_family == AF_INET && inet_ntop(AF_INET, &a->v4.sin_addr, host, sizeof(host)))
		snprintf(text, ADDRESS_TEXT, "%s:%u", host, ntohs(a->v4.sin_port));
	else if (a->any.sa_family == AF_INET6 && inet_ntop(AF_INET6, &a->v6.sin6_addr, host, sizeof(host)))
		snprintf(text, ADDRESS_TEXT, "[%s]:%u", host, ntohs(a->v6.sin6_port));
	else if (a->any.sa_family == AF_UNIX && length > offsetof(struct sockaddr_un, sun_path))
		snprintf(text, ADDRESS_TEXT, "%s%.100s", a->un.sun_path[0] ? "" : "@",
			a->un.sun_path + !a->un.sun_path[0]);
}

static const char *family_name(int family)
{
	static const struct {
		int family;
		const char *name;
	} names[] = { { AF_NETLINK, "netlink" }, { AF_PACKET, "packet" }, { AF_VSOCK, "vsock" },
		{ AF_ALG, "kernel crypto (AF_ALG)" }, { AF_BLUETOOTH, "Bluetooth" }, { AF_XDP, "XDP" },
		{ AF_CAN, "CAN" } };

	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if (names[i].family == family)
			return names[i].name;
	return NULL;
}

static const char *tcp_state(int fd)
{
	static const char *const names[] = { [TCP_ESTABLISHED] = "an established TCP connection",
		[TCP_SYN_SENT] = "a TCP connection being made",
		[TCP_SYN_RECV] = "a TCP connection being made",
		[TCP_LISTEN] = "a listening TCP socket",
		[TCP_CLOSE] = "an unconnected TCP socket" };
	struct tcp_info info = { 0 };
	socklen_t size = sizeof(info);

	getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size);
	if (info.tcpi_state < ARRAY_SIZE(names) && names[info.tcpi_state])
		return names[info.tcpi_state];
	return "a TCP connection being closed";
}

static const char *unix_kind(int type, bool listens)
{
	if (listens)
		return "a listening unix socket";
	return type == SOCK_STREAM  ? "a unix stream socket"
	       : type == SOCK_DGRAM ? "a unix datagram socket"
				    : "a unix seqpacket socket";
}

static int option(int fd, int name)
{
	int value = -1;
	socklen_t size = sizeof(value);

	getsockopt(fd, SOL_SOCKET, name, &value, &size);
	return value;
}

static void kind_text(int fd, int family, char *text, size_t size)
{
	int type = option(fd, SO_TYPE), protocol = option(fd, SO_PROTOCOL);

	if (family == AF_UNIX)
		snprintf(text, size, "%s", unix_kind(type, option(fd, SO_ACCEPTCONN) > 0));
	else if ((family == AF_INET || family == AF_INET6) && protocol == IPPROTO_TCP && type == SOCK_STREAM)
		snprintf(text, size, "%s", tcp_state(fd));
	else if ((family == AF_INET || family == AF_INET6) && protocol == IPPROTO_UDP && type == SOCK_DGRAM)
		snprintf(text, size, "a UDP socket");
	else if (family == AF_INET || family == AF_INET6)
		snprintf(text, size, "an internet socket of type %d, protocol %d", type, protocol);
	else if (family_name(family))
		snprintf(text, size, "a %s socket", family_name(family));
	else
		snprintf(text, size, "a socket of family %d", family);
}

void socket_name(int fd, char *text, size_t size)
{
	char kind[64], local[ADDRESS_TEXT] = "", peer[ADDRESS_TEXT] = "";
	union address a = { 0 };
	socklen_t length = sizeof(a);

	kind_text(fd, option(fd, SO_DOMAIN), kind, sizeof(kind));
	if (!getsockname(fd, &a.any, &length))
		address_text(&a, length, local);
	a = (union address){ 0 };
	length = sizeof(a);
	if (!getpeername(fd, &a.any, &length))
		address_text(&a, length, peer);
	snprintf(text, size, "%s%s%s%s%s", kind, local[0] ? " " : "", local, peer[0] ? " to " : "", peer);
}
