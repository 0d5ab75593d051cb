/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Mappings of packet rings: the kernel maps the whole of a ring, or nothing of it (packet_mmap in net/packet/af_packet.c). */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "state/files.h"
#include "state/packet_ring.h"
#include "state/sockets.h"

#define PRESENT (1ull << 63)

static bool is_packet_mapping(const struct capture *c, const struct proc_map *m, struct socket_look **s)
{
	*s = strncmp(m->name, "socket:[", 8) ? NULL : socket_find(c->descriptions, m->inode);
	return *s && (*s)->family == AF_PACKET;
}

/* MADV_DONTNEED takes pages away that nothing brings back. */
static bool is_in_place(const struct process *p, const struct proc_map *m)
{
	_cleanup_fd_ int fd = openat(p->living_fd, "pagemap", O_RDONLY | O_CLOEXEC);
	uint64_t entries[512];

	for (uint64_t at = m->start; at < m->end; at += sizeof(entries) / sizeof(entries[0]) * PAGE_SIZE) {
		const size_t n = MIN((m->end - at) / PAGE_SIZE, ARRAY_SIZE(entries));
		const ssize_t size = (ssize_t)(n * sizeof(entries[0]));

		if (pread(fd, entries, (size_t)size, (off_t)(at / PAGE_SIZE * sizeof(entries[0]))) != size)
			return false;
		for (size_t i = 0; i < n; i++)
			if (!(entries[i] & PRESENT))
				return false;
	}
	return true;
}

static int refuse(struct capture *c, const struct proc_map *m, const char *what)
{
	char object[64];

	snprintf(object, sizeof(object), "mapping %lx-%lx", m->start, m->end);
	return refused(c->ps, BLAME_PROCESS(c->process, .object = object, .remedy = "unmap it"), "%s", what);
}

/* How many of the mappings from that one on are a ring, one behind the other; 0: they are not. */
static size_t whole_ring(const struct proc_maps *maps, size_t first, uint64_t size)
{
	uint64_t next = maps->list[first].start, offset = 0;

	for (size_t i = first; i < maps->n && offset < size; i++) {
		const struct proc_map *m = &maps->list[i];

		if (m->start != next || m->offset != offset || m->inode != maps->list[first].inode ||
			strcmp(m->name, maps->list[first].name) != 0)
			return 0;
		next = m->end;
		offset += m->end - m->start;
		if (offset == size)
			return i - first + 1;
	}
	return 0;
}

int packet_look_at_mappings(struct capture *c)
{
	const struct proc_maps *maps = &c->process->maps;
	struct socket_look *s;

	for (size_t i = 0, n; i < maps->n; i += n) {
		const struct proc_map *m = &maps->list[i];
		uint64_t size = 0;
		int err;

		n = 1;
		if (!is_packet_mapping(c, m, &s))
			continue;
		err = packet_mapped_size(c, m->inode, &size);
		if (err)
			return refuse(c, m, "the kernel does not tell how large a packet ring is (CONFIG_PACKET_DIAG)");
		n = MAX(whole_ring(maps, i, size), (size_t)1);
		if (!whole_ring(maps, i, size)) {
			refuse(c, m, "a part of a packet ring");
			continue;
		}
		for (size_t k = i; k < i + n; k++)
			if (!maps->list[k].shared || !is_in_place(c->process, &maps->list[k]))
				refuse(c, &maps->list[k],
					"a packet ring that is mapped privately, or whose pages were given up "
					"(MADV_DONTNEED)");
	}
	return 0;
}
