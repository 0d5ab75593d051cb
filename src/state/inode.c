/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "state/inode.h"

#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <xxhash.h>

#include "base/cleanup.h"
#include "object/descriptions.h"
#include "state/bpf_map.h"
#include "state/io_uring.h"
#include "state/regular.h"
#include "state/sockets.h"

static bool may_be_mapped(const struct component *k)
{
	return k &&
	       (k == &component_regular || k == &component_memfd || k == &component_shmem || k == &component_device ||
		       k == &component_io_uring || k == &component_packet || k == &component_bpf_map);
}

static int look_at_mapping(struct capture *c, int map_fd, struct file_look *f)
{
	char name[16];
	struct stat st;
	_cleanup_fd_ int dir = open("/proc/self/fd", O_PATH | O_DIRECTORY | O_CLOEXEC);

	snprintf(name, sizeof(name), "%d", map_fd);
	if (dir < 0 || fstat(map_fd, &st) < 0)
		return -errno;
	*f = (struct file_look){ .process = c->process,
		.fd = -1,
		.dup = map_fd,
		.flags = O_PATH,
		.dev = st.st_dev,
		.ino = st.st_ino,
		.mode = st.st_mode,
		.rdev = st.st_rdev,
		.size = (uint64_t)st.st_size,
		.nlink = st.st_nlink };
	return procfs_link(dir, name, &f->link);
}

static int save(struct capture *c, const struct proc_map *map, struct file_look *f, object_id *out)
{
	char object[256];

	snprintf(object, sizeof(object), "mapping %" PRIx64 "-%" PRIx64 " (%s)", map->start, map->end, f->link);
	if (!may_be_mapped(backing_component(f)))
		return refused(c->ps, BLAME_PROCESS(c->process, .object = object),
			"a mapping of a kind of file that spore cannot carry");
	/* The kernel grants such a lease only to who has the file open alone; the new mapping will have it open on its own. */
	if (file_is_leased(c, f->dup))
		return refused(c->ps, BLAME_PROCESS(c->process, .object = object),
			"a mapping of a file with a lease for writing (F_SETLEASE)");
	return backing_save(c, f, out);
}

static struct mapped_key key_of(const struct proc_map *map)
{
	return (struct mapped_key){
		.dev = makedev(map->dev_major, map->dev_minor),
		.ino = map->inode,
		.name = XXH3_64bits_withSeed(map->name, strlen(map->name), map->deleted),
	};
}

bool inode_backing_known(const struct capture *c, const struct proc_map *map, object_id *out)
{
	*out = mapped_backing(c->descriptions, key_of(map));
	return *out != 0;
}

/* Several file systems behind one (FUSE): two files without a name may be shown alike. */
static bool may_have_a_double(const struct file_look *f)
{
	return backing_component(f) == &component_regular && !f->nlink;
}

/* One cannot be opened by its mapping: it is known by who has it open. */
static int save_socket(struct capture *c, const struct proc_map *map, const struct file_look *mapping, object_id *out)
{
	const struct socket_look *s = socket_find(c->descriptions, mapping->ino);
	struct file_look f;
	int err;

	if (!s || s->description->external)
		return refused(c->ps,
			BLAME_PROCESS(c->process, .object = mapping->link, .remedy = "unmap it, or keep it open"),
			"a mapping of a socket that no process of the tree has open");
	f = *s->description->look;
	f.dup = description_dup(s->description);
	err = f.dup < 0 ? f.dup : save(c, map, &f, out);
	close_fd(&f.dup);
	return err;
}

int inode_backing_for_mapping(struct capture *c, const struct proc_map *map, int map_fd, object_id *out)
{
	struct file_look f = { 0 };
	int err = look_at_mapping(c, map_fd, &f);

	if (!err)
		err = S_ISSOCK(f.mode) ? save_socket(c, map, &f, out) : save(c, map, &f, out);
	/* On file systems that show another device in maps than to stat (btrfs), neither that nor the inode tells files apart. */
	if (!err && makedev(map->dev_major, map->dev_minor) == f.dev && map->inode == f.ino && !may_have_a_double(&f))
		mapped_backing_note(c->descriptions, key_of(map), *out);
	free(f.link);
	return err;
}

int backing_validate_mapping(struct restore *r, object_id backing)
{
	const struct record *rec = image_find(r->image, backing);

	if (!rec || !may_be_mapped(component_of(rec->kind)))
		return failed(
			r->ps, BLAME(.object = "mapping"), -EBADMSG, "the image maps something that cannot be mapped");
	if (rec->kind != &component_regular.kind || r->made[rec - r->image->records].mapping_validated)
		return 0;
	r->made[rec - r->image->records].mapping_validated = true;
	return regular_validate_mapping(r, rec);
}

int backing_open(struct restore *r, object_id backing, uint64_t flags)
{
	const struct record *rec = image_find(r->image, backing);
	const struct component *k = rec ? component_of(rec->kind) : NULL;
	struct file_state file = { .backing = backing, .flags = flags };

	if (!may_be_mapped(k))
		return failed(
			r->ps, BLAME(.object = "mapping"), -EBADMSG, "the image maps something that cannot be mapped");
	return k->open(r, rec, &file);
}
