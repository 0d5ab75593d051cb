/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * BPF maps: tables of keys and values behind a descriptor. bpf(2), Documentation/bpf/maps.rst; kernel/bpf/syscall.c, arraymap.c, hashtab.c; selftests/bpf. What
 * a map is the kernel tells, but not who else uses it: state/bpf_view.h. Programs, and maps that hold other objects, are refused.
 */
#include "state/bpf_map.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>

#include "base/cleanup.h"
#include "kernel/bpf.h"
#include "state/bpf_btf.h"
#include "state/bpf_view.h"
#include "state/files.h"
#include "state/kernel_view.h"

#define OF_DESCRIPTOR (BPF_F_RDONLY | BPF_F_WRONLY)

static const struct field bpf_map_fields[] = {
	FIELD_TEXT(struct bpf_map_state, name, "name", "that its maker gave it"),
	FIELD_UINT(struct bpf_map_state, type, "type",
		"BPF_MAP_TYPE_*: 1 hash, 2 array, 5 and 6 the same for each processor, 9 and 10 hashes that forget, 11 "
		"a trie of "
		"prefixes, 22 queue, 23 stack, 30 Bloom filter"),
	FIELD_UINT(struct bpf_map_state, key_size, "key_size", "bytes"),
	FIELD_UINT(struct bpf_map_state, value_size, "value_size", "bytes"),
	FIELD_UINT(struct bpf_map_state, max_entries, "max_entries", "how many it may have"),
	FIELD_HEX(struct bpf_map_state, flags, "flags", "BPF_F_*"),
	FIELD_UINT(struct bpf_map_state, extra, "extra", "map_extra: what its type makes of it"),
	FIELD_UINT(struct bpf_map_state, numa_node, "numa_node", "with BPF_F_NUMA_NODE"),
	FIELD_BOOL(struct bpf_map_state, frozen, "frozen", "BPF_MAP_FREEZE: system calls write it no more"),
	FIELD_BOOL(struct bpf_map_state, trusted, "trusted",
		"of an array: made with CAP_PERFMON, so that programs that use it need no guard against speculation"),
	FIELD_REF(struct bpf_map_state, btf, "btf", "bpf_btf", REF_STRONG, "what describes its keys and values"),
	FIELD_UINT(struct bpf_map_state, btf_key_type, "btf_key_type", "type of a key there"),
	FIELD_UINT(struct bpf_map_state, btf_value_type, "btf_value_type", "type of a value there"),
	FIELD_UINT(struct bpf_map_state, cpus, "cpus", "processors for which it has a value each; 0: one for all"),
	FIELD_UINT(struct bpf_map_state, size, "size", "of its contents, bytes"),
	FIELD_LIST(struct bpf_map_state, extents, n_extents, "extents", extent_fields,
		"contents: with BPF_F_MMAPABLE the memory that mappings show, else the values of an array, keys each "
		"with its value, "
		"or values in the order in which they were pushed"),
	FIELD_END,
};

static const struct {
	const char *name;
	enum bpf_map_layout layout; /* 0: it is refused */
	bool of_cpus;
} types[] = {
	[BPF_MAP_TYPE_HASH] = { "hash", BPF_LAYOUT_ENTRIES },
	[BPF_MAP_TYPE_ARRAY] = { "array", BPF_LAYOUT_VALUES },
	[BPF_MAP_TYPE_PROG_ARRAY] = { "array of programs" },
	[BPF_MAP_TYPE_PERF_EVENT_ARRAY] = { "array of perf events" },
	[BPF_MAP_TYPE_PERCPU_HASH] = { "hash for each processor", BPF_LAYOUT_ENTRIES, true },
	[BPF_MAP_TYPE_PERCPU_ARRAY] = { "array for each processor", BPF_LAYOUT_VALUES, true },
	[BPF_MAP_TYPE_STACK_TRACE] = { "map of stack traces" },
	[BPF_MAP_TYPE_CGROUP_ARRAY] = { "array of cgroups" },
	[BPF_MAP_TYPE_LRU_HASH] = { "LRU hash", BPF_LAYOUT_ENTRIES, false },
	[BPF_MAP_TYPE_LRU_PERCPU_HASH] = { "LRU hash for each processor", BPF_LAYOUT_ENTRIES, true },
	[BPF_MAP_TYPE_LPM_TRIE] = { "trie of prefixes", BPF_LAYOUT_ENTRIES },
	[BPF_MAP_TYPE_ARRAY_OF_MAPS] = { "array of maps" },
	[BPF_MAP_TYPE_HASH_OF_MAPS] = { "hash of maps" },
	[BPF_MAP_TYPE_DEVMAP] = { "map of devices" },
	[BPF_MAP_TYPE_SOCKMAP] = { "map of sockets" },
	[BPF_MAP_TYPE_CPUMAP] = { "map of processors" },
	[BPF_MAP_TYPE_XSKMAP] = { "map of XDP sockets" },
	[BPF_MAP_TYPE_SOCKHASH] = { "hash of sockets" },
	[BPF_MAP_TYPE_CGROUP_STORAGE] = { "storage of cgroups" },
	[BPF_MAP_TYPE_REUSEPORT_SOCKARRAY] = { "array of sockets" },
	[BPF_MAP_TYPE_PERCPU_CGROUP_STORAGE] = { "storage of cgroups" },
	[BPF_MAP_TYPE_QUEUE] = { "queue", BPF_LAYOUT_QUEUE },
	[BPF_MAP_TYPE_STACK] = { "stack", BPF_LAYOUT_QUEUE },
	[BPF_MAP_TYPE_SK_STORAGE] = { "storage of sockets" },
	[BPF_MAP_TYPE_DEVMAP_HASH] = { "hash of devices" },
	[BPF_MAP_TYPE_STRUCT_OPS] = { "struct of operations" },
	[BPF_MAP_TYPE_RINGBUF] = { "ring buffer" },
	[BPF_MAP_TYPE_INODE_STORAGE] = { "storage of inodes" },
	[BPF_MAP_TYPE_TASK_STORAGE] = { "storage of tasks" },
	[BPF_MAP_TYPE_BLOOM_FILTER] = { "Bloom filter", BPF_LAYOUT_NONE },
	[BPF_MAP_TYPE_USER_RINGBUF] = { "ring buffer" },
};

bool bpf_map_is_carried(uint64_t type)
{
	return type < ARRAY_SIZE(types) && types[type].layout;
}

const char *bpf_map_type_name(uint64_t type)
{
	return type < ARRAY_SIZE(types) && types[type].name ? types[type].name : "unknown";
}

bool bpf_map_is_of_cpus(uint64_t type)
{
	return type < ARRAY_SIZE(types) && types[type].of_cpus;
}

enum bpf_map_layout bpf_map_layout(const struct bpf_map_state *s)
{
	if (s->type == BPF_MAP_TYPE_ARRAY && s->flags & BPF_F_MMAPABLE && !(s->flags & BPF_F_RDONLY_PROG))
		return BPF_LAYOUT_MEMORY;
	return types[s->type].layout;
}

static bool bpf_map_matches(const struct file_look *f)
{
	return !strcmp(f->link, BPF_MAP_LINK) && !(f->flags & O_PATH);
}

static uint64_t bpf_map_number(const struct file_look *f)
{
	uint64_t id = 0;

	return proc_value_u64(f->info, "map_id", 10, &id) < 0 ? 0 : id;
}

/* --- checkpoint --- */

static int refuse_type(struct capture *c, const struct file_look *f, uint64_t type)
{
	return refused(c->ps, BLAME_FILE(f, .remedy = "let the program close it"),
		"a BPF map of a type that cannot be carried (%s, type %" PRIu64 ")", bpf_map_type_name(type), type);
}

/* A lock, a timer or a pointer of the kernel's in its values: one list of all since 6.1. */
static int has_special_fields(struct kernel_peek *k, uint64_t map, bool *special)
{
	static const char *const offsets[] = { "spin_lock_off", "timer_off" };
	uint64_t value = 0;
	int err = kernel_peek_member(k, map, "bpf_map", "record", &value);

	*special = value && value < (uint64_t)-4095;
	if (err != -ENODATA)
		return err;
	for (size_t i = 0; i < ARRAY_SIZE(offsets); i++) {
		err = kernel_peek_member(k, map, "bpf_map", offsets[i], &value);
		if (err)
			return err;
		*special |= (int32_t)value >= 0;
	}
	err = kernel_peek_member(k, map, "bpf_map", "kptr_off_tab", &value);
	*special |= !err && value && value < (uint64_t)-4095;
	return err == -ENODATA ? 0 : err;
}

static int is_exclusive(struct kernel_peek *k, uint64_t map, bool *exclusive)
{
	uint64_t program = 0;
	int err = kernel_peek_member(k, map, "bpf_map", "excl_prog_sha", &program);

	*exclusive = program;
	return err == -ENODATA ? 0 : err;
}

/* What system calls do not tell. */
static int read_hidden(struct capture *c, const struct file_look *f, uint64_t map, struct bpf_map_state *s)
{
	uint64_t node = 0, trusted = 0, frozen = 0;
	bool special = false, exclusive = false;
	int err = has_special_fields(c->kernel, map, &special);

	if (!err)
		err = is_exclusive(c->kernel, map, &exclusive);
	if (!err)
		err = kernel_peek_member(c->kernel, map, "bpf_map", "numa_node", &node);
	if (!err)
		err = kernel_peek_member(c->kernel, map, "bpf_map", "bypass_spec_v1", &trusted);
	if (!err)
		err = kernel_peek_member(c->kernel, map, "bpf_map", "frozen", &frozen);
	if (err)
		return refused(c->ps, BLAME_FILE(f, .remedy = KERNEL_VIEW_REMEDY),
			"the BPF map cannot be looked at: %s", strerror(-err));
	if (special)
		return refused(c->ps, BLAME_FILE(f),
			"a BPF map whose values have a lock, a timer or a pointer of the kernel's in them");
	if (exclusive)
		return refused(c->ps, BLAME_FILE(f), "a BPF map that is one program's alone");
	s->numa_node = s->flags & BPF_F_NUMA_NODE ? node : 0;
	s->trusted = trusted & 1; /* of arrays alone */
	s->frozen = frozen & 1;
	return 0;
}

static int read_info(struct capture *c, const struct file_look *f, int fd, struct bpf_map_state *s)
{
	struct bpf_map_info info = { 0 };
	int err = bpf_info(fd, &info, sizeof(info)),
	    cpus = err || !bpf_map_is_of_cpus(info.type) ? 0 : bpf_possible_cpus();

	if (err || cpus < 0)
		return err ? err : cpus;
	*s = (struct bpf_map_state){ .type = info.type,
		.key_size = info.key_size,
		.value_size = info.value_size,
		.max_entries = info.max_entries,
		.flags = info.map_flags & ~(uint32_t)OF_DESCRIPTOR,
		.extra = info.map_extra,
		.btf_key_type = info.btf_key_type_id,
		.btf_value_type = info.btf_value_type_id,
		.cpus = (uint64_t)cpus };
	memcpy(s->name, info.name, sizeof(s->name) - 1);
	if (s->flags & ~(uint64_t)BPF_MAP_KNOWN_FLAGS)
		return refused(c->ps, BLAME_FILE(f), "a BPF map with flags that spore does not know (%#" PRIx64 ")",
			s->flags & ~(uint64_t)BPF_MAP_KNOWN_FLAGS);
	if (info.ifindex)
		return refused(c->ps, BLAME_FILE(f), "a BPF map that a network device has");
	return info.btf_id ? bpf_btf_save(c, f, info.btf_id, &s->btf) : 0;
}

/* One that may be read: its own, another of the tree's, or one of spore's own. Own is closed by the caller. */
static int readable(struct capture *c, const struct file_look *f, uint32_t id, int *own)
{
	const struct bpf_views *v;
	int err;

	if ((f->flags & O_ACCMODE) != O_WRONLY)
		return file_dup(c, f);
	err = bpf_views_get(c, &v);
	for (const struct bpf_file *o = err ? NULL : bpf_views_next(v, id, NULL); o && *own < 0;
		o = bpf_views_next(v, id, o))
		if ((o->description->look->flags & O_ACCMODE) != O_WRONLY)
			*own = description_dup(o->description);
	if (!err && *own < 0)
		*own = bpf_map_by_id(id, BPF_F_RDONLY);
	if (*own >= 0)
		return *own;
	return refused(c->ps, BLAME_FILE(f, .remedy = "let spore have CAP_SYS_ADMIN"),
		"a BPF map that the tree may write and not read: %s", strerror(-*own));
}

/* The seed cannot be set, unless it is to be 0. */
static bool has_own_order(const struct bpf_map_state *s)
{
	return bpf_map_layout(s) == BPF_LAYOUT_ENTRIES && s->type != BPF_MAP_TYPE_LPM_TRIE &&
	       !(s->flags & BPF_F_ZERO_SEED);
}

static int capture_all(struct capture *c, const struct file_look *f, struct bpf_map_state *s)
{
	int fd = file_dup(c, f), err = fd < 0 ? fd : 0;
	uint64_t map = 0, id = bpf_map_number(f);
	_cleanup_fd_ int own = -1;

	if (!err)
		err = kernel_object(c, f, &map);
	if (err)
		return refused(c->ps, BLAME_FILE(f, .remedy = KERNEL_VIEW_REMEDY),
			"the BPF map cannot be looked at: %s", strerror(-err));
	err = bpf_view_alone(c, f, map, (uint32_t)id, f->fd < 0);
	if (!err)
		err = read_info(c, f, fd, s);
	if (!err)
		err = read_hidden(c, f, map, s);
	if (err)
		return err;
	fd = readable(c, f, (uint32_t)id, &own);
	err = fd < 0 ? fd : bpf_map_save(c, f, fd, map, s);
	return err ? err
		   : changed(c->ps, BLAME_FILE(f), "the map's id, %" PRIu64 ", will be another%s%s", id,
			     has_own_order(s) ? ", and the order in which its keys are listed" : "",
			     bpf_map_forgets(s) ? ", and the order in which it forgets" : "");
}

static int bpf_map_capture(struct capture *c, const struct file_look *f, void *state)
{
	uint64_t type;

	if (proc_value_u64(f->info, "map_type", 10, &type) < 0)
		return -EBADMSG;
	if (!bpf_map_is_carried(type))
		return refuse_type(c, f, type);
	return c->kernel ? capture_all(c, f, state) : 0;
}

/* --- mappings --- */

bool bpf_map_maps(const struct proc_map *m)
{
	return !strcmp(m->name, BPF_MAP_LINK);
}

/* Nobody has a descriptor of it any more. */
static int save_unopened(struct capture *c, uint32_t id, object_id *out)
{
	_cleanup_fd_ int fd = bpf_map_by_id(id, 0);
	struct file_look f = { .process = c->process, .fd = -1, .flags = O_RDWR, .link = (char[]){ BPF_MAP_LINK } };
	int err;

	if (fd < 0)
		return refused(c->ps,
			BLAME_PROCESS(
				c->process, .object = "mapping of a BPF map", .remedy = "let spore have CAP_SYS_ADMIN"),
			"a BPF map that only mappings hold: %s", strerror(-fd));
	err = fdinfo_of_dup(fd, &f.info);
	if (!err) {
		f.dup = fd;
		err = backing_save(c, &f, out);
	}
	free(f.info);
	return err;
}

static int save_mapped(struct capture *c, const struct proc_map *m, object_id *out)
{
	const struct bpf_mapping *mapping = NULL;
	const struct bpf_views *v = NULL;
	const struct bpf_file *open;
	uint64_t mm = 0, id = 0;
	struct file_look f;
	int err = bpf_views_get(c, &v);

	if (!err)
		err = kernel_mm(c, c->process, &mm);
	if (!err) {
		mapping = bpf_views_mapping(v, mm, m->start);
		err = mapping ? kernel_peek_member(c->kernel, mapping->map, "bpf_map", "id", &id) : -ENOENT;
	}
	if (err)
		return err;
	open = bpf_views_next(v, (uint32_t)id, NULL);
	if (!open)
		return save_unopened(c, (uint32_t)id, out);
	f = *open->description->look; /* another worker may be using that one's descriptor */
	f.dup = description_dup(open->description);
	err = f.dup < 0 ? f.dup : backing_save(c, &f, out);
	close_fd(&f.dup);
	return err;
}

int bpf_map_backing(struct capture *c, const struct proc_map *m, object_id *out)
{
	char object[96];
	int err = save_mapped(c, m, out);

	if (!err || problems_told(c->ps, err) == 0)
		return err;
	snprintf(object, sizeof(object), "mapping %" PRIx64 "-%" PRIx64 " (a BPF map)", m->start, m->end);
	return refused(c->ps, BLAME_PROCESS(c->process, .object = object, .remedy = KERNEL_VIEW_REMEDY),
		"it cannot be told which map it is of: %s", strerror(-err));
}

const struct component component_bpf_map = {
	.kind = { .name = "bpf_map",
		.version = 1,
		.size = sizeof(struct bpf_map_state),
		.fields = bpf_map_fields,
		.doc = "a BPF map that nothing but the tree uses",
		.sources = "bpf(2), Documentation/bpf/maps.rst; kernel/bpf/syscall.c; selftests/bpf" },
	.scope = SCOPE_BACKING,
	.matches = bpf_map_matches,
	.number = bpf_map_number,
	.capture_file = bpf_map_capture,
	.validate = bpf_map_validate,
	.open = bpf_map_open,
};
