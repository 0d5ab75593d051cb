/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "state/bpf_view.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "kernel/bpf.h"
#include "state/files.h"
#include "state/kernel_view.h"

#define MOST_NODES (1u << 17)
#define MOST_DEPTH 128
#define TRIES	   16

/* Of all processes of the system, by memory and address. */
struct bpf_mappings {
	struct bpf_mapping *list;
	size_t n, room;
};

struct bpf_views {
	struct bpf_file *files; /* by id */
	size_t n_files;
	struct bpf_mappings mapped;
};

void bpf_views_free(struct bpf_views *v)
{
	if (!v)
		return;
	free(v->files);
	free(v->mapped.list);
	free(v);
}

static void free_views(struct bpf_views **v)
{
	bpf_views_free(*v);
}

/* --- files --- */

static int by_id(const void *a, const void *b)
{
	const struct bpf_file *x = a, *y = b;

	return (x->id > y->id) - (x->id < y->id);
}

static int note_file(struct capture *c, const struct description *d, struct bpf_file *f)
{
	_cleanup_fd_ int fd = description_dup(d);
	uint64_t id;

	if (fd < 0)
		return fd;
	if (proc_value_u64(d->look->info, "map_id", 10, &id) < 0)
		return -EBADMSG;
	f->id = (uint32_t)id;
	f->description = d;
	return kernel_peek_file(c->kernel, fd, &f->file, &f->map);
}

static int find_files(struct capture *c, struct bpf_views *v)
{
	int err = 0;

	v->files = calloc(c->descriptions->n + 1, sizeof(*v->files));
	if (!v->files)
		return -ENOMEM;
	for (const struct description *d = c->descriptions->first; d && !err; d = d->next)
		if (!strcmp(d->look->link, BPF_MAP_LINK) && !(d->look->flags & O_PATH))
			err = note_file(c, d, &v->files[v->n_files++]);
	qsort(v->files, v->n_files, sizeof(*v->files), by_id);
	return err;
}

const struct bpf_file *bpf_views_next(const struct bpf_views *v, uint32_t id, const struct bpf_file *last)
{
	const struct bpf_file key = { .id = id };
	const struct bpf_file *f = last ? last + 1 : NULL;

	if (!f) {
		f = bsearch(&key, v->files, v->n_files, sizeof(key), by_id);
		while (f && f > v->files && f[-1].id == id)
			f--;
	}
	return f && f < v->files + v->n_files && f->id == id ? f : NULL;
}

/* --- mappings --- */

static int by_place(const void *a, const void *b)
{
	const struct bpf_mapping *x = a, *y = b;

	return x->mm != y->mm ? (x->mm < y->mm ? -1 : 1) : (x->start > y->start) - (x->start < y->start);
}

const struct bpf_mapping *bpf_views_mapping(const struct bpf_views *v, uint64_t mm, uint64_t start)
{
	const struct bpf_mapping key = { .mm = mm, .start = start };

	return bsearch(&key, v->mapped.list, v->mapped.n, sizeof(key), by_place);
}

static int add_mapping(struct bpf_mappings *to, const struct bpf_mapping *m)
{
	if (!to->list || to->n == to->room) {
		size_t room = to->room ? 2 * to->room : 16;
		struct bpf_mapping *grown = reallocarray(to->list, room, sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		to->list = grown;
		to->room = room;
	}
	to->list[to->n++] = *m;
	return 0;
}

/* One vm_area_struct: that of a map, of perf events or of anything else that has this inode. */
static int note_mapping(struct kernel_peek *k, struct bpf_mappings *to, uint64_t vma)
{
	struct bpf_mapping m = { 0 };
	int err = kernel_peek_member(k, vma, "vm_area_struct", "vm_mm", &m.mm);

	if (!err)
		err = kernel_peek_member(k, vma, "vm_area_struct", "vm_start", &m.start);
	if (!err)
		err = kernel_peek_member(k, vma, "vm_area_struct", "vm_file", &m.file);
	if (!err)
		err = kernel_peek_member(k, m.file, "file", "private_data", &m.map);
	return err ? err : add_mapping(to, &m);
}

/* A tree of what all of the system has mapped, which may change while it is read. */
static int walk(struct kernel_peek *k, struct bpf_mappings *to, uint64_t root)
{
	uint64_t stack[MOST_DEPTH], node, in_vma = 0;
	size_t depth = 0;
	int err = kernel_peek_address(k, 0, "vm_area_struct", "shared.rb", &in_vma);

	to->n = 0;
	stack[depth++] = root;
	for (size_t i = 0; !err && depth && i < MOST_NODES; i++) {
		node = stack[--depth];
		if (!node)
			continue;
		if (depth + 2 > MOST_DEPTH)
			return -EAGAIN;
		err = note_mapping(k, to, node - in_vma);
		if (!err)
			err = kernel_peek_member(k, node, "rb_node", "rb_left", &stack[depth++]);
		if (!err)
			err = kernel_peek_member(k, node, "rb_node", "rb_right", &stack[depth++]);
	}
	if (to->n)
		qsort(to->list, to->n, sizeof(*to->list), by_place);
	return err ? err : depth ? -EAGAIN : 0;
}

static bool is_alike(const struct bpf_mappings *a, const struct bpf_mappings *b)
{
	return a->n == b->n && (!a->n || !memcmp(a->list, b->list, a->n * sizeof(*a->list)));
}

/* Believed once it was read twice alike. */
static int walk_twice(struct kernel_peek *k, struct bpf_mappings *to, uint64_t mapping)
{
	struct bpf_mappings before = { 0 }, swap;
	bool alike = false, known = false;
	uint64_t root = 0;
	int err = 0;

	for (int i = 0; i < TRIES && !alike && err != -ENODATA && err != -ENOMEM; i++) {
		swap = before;
		before = *to;
		*to = swap;
		err = kernel_peek_member(k, mapping, "address_space", "i_mmap.rb_root.rb_node", &root);
		if (!err)
			err = walk(k, to, root);
		alike = !err && known && is_alike(&before, to);
		known = !err;
	}
	free(before.list);
	return err ? err : alike ? 0 : -EAGAIN;
}

/* All maps have one inode: that of a map made for this has it too. */
static int find_mappings(struct capture *c, struct bpf_views *v)
{
	static const struct kernel_step way[] = { { "file", "f_inode" }, { "inode", "i_mapping" } };
	union bpf_attr attr = { .map_type = BPF_MAP_TYPE_ARRAY, .key_size = 4, .value_size = 4, .max_entries = 1 };
	_cleanup_fd_ int fd = bpf_call(BPF_MAP_CREATE, &attr);
	uint64_t values[2] = { 0 };
	int err = fd < 0 ? fd : kernel_peek_way(c->kernel, fd, way, 2, values);

	return err ? err : walk_twice(c->kernel, &v->mapped, values[1]);
}

static int make(struct capture *c, struct bpf_views **out)
{
	_cleanup_(free_views)
	struct bpf_views *v = calloc(1, sizeof(*v));
	int err = !v ? -ENOMEM : kernel_peek_ready(c->kernel);

	if (!err)
		err = find_files(c, v);
	if (!err)
		err = find_mappings(c, v);
	if (!err) {
		*out = v;
		v = NULL;
	}
	return err;
}

int bpf_views_get(struct capture *c, const struct bpf_views **out)
{
	struct descriptions *d = c->descriptions;
	int err = c->kernel ? 0 : -ENODATA;

	pthread_mutex_lock(&d->lock);
	if (!err && !d->bpf)
		err = make(c, &d->bpf);
	*out = d->bpf;
	pthread_mutex_unlock(&d->lock);
	return err;
}

/* --- is it the tree's alone --- */

static bool is_open_in_tree(const struct bpf_views *v, uint32_t id, uint64_t file)
{
	for (const struct bpf_file *f = bpf_views_next(v, id, NULL); f; f = bpf_views_next(v, id, f))
		if (f->file == file)
			return true;
	return false;
}

/* Files of the tree that only mappings hold count as well. */
static int count_files(struct capture *c, const struct bpf_views *v, uint64_t map, uint32_t id, uint64_t *n)
{
	*n = 0;
	for (const struct bpf_file *f = bpf_views_next(v, id, NULL); f; f = bpf_views_next(v, id, f))
		++*n;
	for (size_t i = 0; i < v->mapped.n; i++) {
		const struct bpf_mapping *m = &v->mapped.list[i];
		bool counted = is_open_in_tree(v, id, m->file);

		if (m->map != map)
			continue;
		if (!kernel_mm_owner(c, m->mm))
			return -EXDEV;
		for (size_t k = 0; k < i && !counted; k++)
			counted = v->mapped.list[k].file == m->file;
		*n += !counted;
	}
	return 0;
}

static int refuse_users(
	struct capture *c, const struct file_look *f, uint64_t users, uint64_t files, uint64_t references)
{
	if (users != files)
		return refused(c->ps,
			BLAME_FILE(f,
				.remedy =
					"close it there, remove its pin (bpffs), or name a tree that holds all of it"),
			"a BPF map that a process outside of the tree, or a pin in bpffs, has too (%" PRIu64
			" open files, %" PRIu64 " of the tree)",
			users, files);
	return refused(c->ps,
		BLAME_FILE(f, .remedy = "let what uses it be removed, or leave this process out of the tree"),
		"a BPF map that programs, links or other maps use, %" PRIu64 " times", references - users);
}

int bpf_view_alone(struct capture *c, const struct file_look *f, uint64_t map, uint32_t id, uint64_t own)
{
	const struct bpf_views *v;
	uint64_t users = 0, references = 0, files = 0;
	int err = bpf_views_get(c, &v);

	if (!err)
		err = kernel_peek_member(c->kernel, map, "bpf_map", "usercnt", &users);
	if (!err)
		err = kernel_peek_member(c->kernel, map, "bpf_map", "refcnt", &references);
	if (!err)
		err = count_files(c, v, map, id, &files);
	if (err == -EXDEV)
		return refused(c->ps,
			BLAME_FILE(f, .remedy = "unmap it there, or name a tree that holds that process too"),
			"a BPF map that a process outside of the tree maps");
	if (err)
		return refused(c->ps, BLAME_FILE(f, .remedy = KERNEL_VIEW_REMEDY),
			"it cannot be told who else uses the BPF map: %s", strerror(-err));
	users -= own;
	references -= own;
	return users == files && references == users ? 0 : refuse_users(c, f, users, files, references);
}
