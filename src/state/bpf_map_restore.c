/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* BPF maps made again, in the keeper: with their contents before anything of the tree has them. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>

#include "base/cleanup.h"
#include "kernel/bpf.h"
#include "state/bpf_btf.h"
#include "state/bpf_map.h"
#include "state/files.h"

/* Who was not trusted gets no array that is. The effective set is that of this thread. */
static int create(const struct bpf_map_state *s, uint32_t max_entries, int btf)
{
	uint64_t before = capabilities_set_effective(0);
	bool guarded = (s->type == BPF_MAP_TYPE_ARRAY || s->type == BPF_MAP_TYPE_PERCPU_ARRAY) && !s->trusted;
	uint64_t kept = guarded ? before & ~(1ull << CAP_PERFMON | 1ull << CAP_SYS_ADMIN) : before;
	union bpf_attr attr = { .map_type = (uint32_t)s->type,
		.key_size = (uint32_t)s->key_size,
		.value_size = (uint32_t)s->value_size,
		.max_entries = max_entries,
		.map_flags = (uint32_t)s->flags,
		.numa_node = (uint32_t)s->numa_node,
		.map_extra = s->extra };
	int fd;

	if (btf >= 0) {
		attr.btf_fd = (uint32_t)btf;
		attr.btf_key_type_id = (uint32_t)s->btf_key_type;
		attr.btf_value_type_id = (uint32_t)s->btf_value_type;
	}
	memcpy(attr.map_name, s->name, sizeof(attr.map_name) - 1);
	capabilities_set_effective(kept);
	fd = bpf_call(BPF_MAP_CREATE, &attr);
	capabilities_set_effective(before);
	return fd;
}

static int refuse_creation(struct restore *r, const struct bpf_map_state *s, int err)
{
	const char *remedy = s->flags & BPF_F_ZERO_SEED ? "restore with a spore that has CAP_SYS_ADMIN"
							: "restore with a spore that has CAP_BPF";
	const struct blame who = { .object = s->name[0] ? s->name : "BPF map",
		.remedy = err == -EPERM ? remedy : NULL };

	return failed(
		r->ps, &who, err, "a BPF map (%s) cannot be made here: %s", bpf_map_type_name(s->type), strerror(-err));
}

static bool is_possible(const struct bpf_map_state *s)
{
	return bpf_map_is_carried(s->type) && s->key_size <= INT32_MAX && s->value_size <= INT32_MAX &&
	       s->max_entries && s->max_entries <= UINT32_MAX && !(s->flags & ~(uint64_t)BPF_MAP_KNOWN_FLAGS) &&
	       s->cpus <= UINT16_MAX && !s->cpus == !bpf_map_is_of_cpus(s->type) && bpf_map_size_is_possible(s);
}

/* Others than the first, and those that may not do all, are had by its id. */
static bool needs_id(struct restore *r, const struct record *rec)
{
	size_t n;
	const struct record *const *uses = restore_uses(r, rec->id, &n);

	for (size_t i = 0; i < n; i++) {
		const struct file_state *file = uses[i]->state;

		if (i || (file->flags & O_ACCMODE) != O_RDWR)
			return true;
	}
	return false;
}

/* One with a single entry is made on trial. */
int bpf_map_validate(struct restore *r, const struct record *rec)
{
	const struct bpf_map_state *s = rec->state;
	_cleanup_fd_ int trial = -1;

	if (!is_possible(s))
		return failed(r->ps, BLAME(.object = "BPF map"), -EBADMSG, "the image has an impossible BPF map");
	if (s->cpus && (int)s->cpus != bpf_possible_cpus())
		return failed(r->ps, BLAME(.object = s->name), -ENXIO,
			"a BPF map that has a value for each of %" PRIu64 " processors, and this machine may have %d",
			s->cpus, bpf_possible_cpus());
	if (needs_id(r, rec) && !capable_own(CAP_SYS_ADMIN))
		return failed(r->ps, BLAME(.object = s->name, .remedy = "restore with a spore that has CAP_SYS_ADMIN"),
			-EPERM, "a BPF map with several open files, or one that may not do all, cannot be had again");
	trial = create(s, 1, -1);
	return trial < 0 ? refuse_creation(r, s, trial) : 0;
}

static int make(struct restore *r, const struct bpf_map_state *s)
{
	int btf = s->btf ? bpf_btf_made(r, s->btf) : -1;
	_cleanup_fd_ int fd = s->btf && btf < 0 ? btf : create(s, (uint32_t)s->max_entries, btf);
	int err;

	if (fd < 0)
		return refuse_creation(r, s, fd);
	err = bpf_map_fill(r, fd, s);
	if (!err && s->frozen)
		err = bpf_map_freeze(fd);
	return err ? failed(r->ps, BLAME(.object = s->name), err, "the BPF map's contents cannot be put back: %s",
			     strerror(-err))
		   : take_fd(&fd);
}

/* The first that may do all is the one that the map was made with, and so are mappings. */
static bool is_the_first(struct restore *r, const struct record *rec, const struct file_state *file)
{
	const struct file_state *first = NULL;
	bool is_use = false;
	size_t n;
	const struct record *const *uses = restore_uses(r, rec->id, &n);

	for (size_t i = 0; i < n; i++) {
		const struct file_state *use = uses[i]->state;

		is_use |= use == file;
		if (!first && (use->flags & O_ACCMODE) == O_RDWR)
			first = use;
	}
	return !is_use || file == first;
}

static int open_again(int fd, uint64_t flags)
{
	const uint32_t open_flags = (flags & O_ACCMODE) == O_RDONLY   ? BPF_F_RDONLY
				    : (flags & O_ACCMODE) == O_WRONLY ? BPF_F_WRONLY
								      : 0;
	struct bpf_map_info info = { 0 };
	int err = bpf_info(fd, &info, sizeof(info));

	return err ? err : bpf_map_by_id(info.id, open_flags);
}

int bpf_map_open(struct restore *r, const struct record *rec, const struct file_state *file)
{
	struct made *made = restore_made(r, rec->id);
	int fd;

	if (!made)
		return -ENOMEM;
	if (made->fd[0] < 0) {
		fd = make(r, rec->state);
		if (fd < 0)
			return fd;
		made->fd[0] = fd;
	}
	if (!is_the_first(r, rec, file))
		return file_settle(open_again(made->fd[0], file->flags), file);
	fd = fcntl(made->fd[0], F_DUPFD_CLOEXEC, 0);
	return fd < 0 ? -errno : file_settle(fd, file);
}
