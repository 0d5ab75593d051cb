/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "state/packet_error.h"

#include <errno.h>
#include <net/if.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "state/kernel_view.h"
#include "state/socket_base.h"
#include "state/socket_hidden.h"

static bool is_down(int fd, const char *interface)
{
	struct ifreq q = { 0 };

	if (!interface || strlen(interface) >= sizeof(q.ifr_name))
		return false;
	memcpy(q.ifr_name, interface, strlen(interface));
	return ioctl(fd, SIOCGIFFLAGS, &q) == 0 && !(q.ifr_flags & IFF_UP);
}

int packet_error_capture(struct capture *c, const struct file_look *f, int fd, const char *interface, uint64_t *down)
{
	const struct socket_hidden *h = socket_hidden_of(c, f);

	*down = is_down(fd, interface) ? PACKET_KNOWS_DOWN : PACKET_IS_UP;
	if (!socket_has_error(fd))
		return 0;
	if (!h->known)
		return refused(c->ps, BLAME_FILE(f, .passing = true, .remedy = KERNEL_VIEW_REMEDY),
			"an error (SO_ERROR) that was not told yet, and cannot be read here");
	if (h->error != ENETDOWN || h->errors_queued || !*down)
		return socket_refuse_error(c, f);
	*down = PACKET_IS_DOWN;
	return 0;
}

int packet_error_settle(struct restore *r, int fd, const char *interface, uint64_t down)
{
	int error = 0;
	socklen_t size = sizeof(error);

	if (down == PACKET_IS_DOWN && !socket_has_error(fd))
		return failed(r->ps, BLAME(.object = interface ? interface : "packet", .remedy = "take it down"),
			-EBADMSG, "this interface was down, which a packet socket is still to be told, and is up here");
	return down == PACKET_KNOWS_DOWN && getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) < 0 ? -errno : 0;
}
