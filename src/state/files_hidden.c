/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What stands in struct file and shows nowhere. include/linux/fs.h, mm/fadvise.c, mm/readahead.c. */
#include "state/files_hidden.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "object/component.h"
#include "state/kernel_view.h"

#define FMODE_RANDOM  (1u << 12)
#define FMODE_NOREUSE (1u << 23) /* since Linux 6.3 */

struct hidden {
	size_t n;
	struct description **list;
	uint64_t *file, *inode; /* addresses */
	uint64_t *mode, *ahead, *usual;
};

static int make_room(struct hidden *h, size_t n)
{
	h->list = calloc(n, sizeof(*h->list));
	h->file = calloc(5 * n, sizeof(*h->file));
	if (!h->list || !h->file)
		return -ENOMEM;
	h->inode = h->file + n;
	h->mode = h->file + 2 * n;
	h->ahead = h->file + 3 * n;
	h->usual = h->file + 4 * n;
	return 0;
}

static void hidden_free(struct hidden *h)
{
	free(h->list);
	free(h->file);
}

/* --- which --- */

static void add(struct hidden *h, struct description *d, uint64_t task)
{
	h->list[h->n] = d;
	h->file[h->n++] = task;
}

static void add_process(struct capture *c, struct hidden *h, struct process *p)
{
	uint64_t task = 0;

	for (size_t i = 0; i < p->n_files; i++) {
		const struct file_look *f = &p->files[i];

		if (!f->description || f->description->look != f)
			continue;
		if (!task && kernel_task(c, p, &task) < 0)
			return;
		add(h, f->description, task);
	}
}

/* The keeper has those itself. */
static void add_in_flight(struct capture *c, struct hidden *h)
{
	uint64_t task = 0;

	for (struct description *d = c->descriptions->first; d; d = d->next) {
		if (!d->look->carrier)
			continue;
		if (!task && kernel_own_task(c, &task) < 0)
			return;
		add(h, d, task);
	}
}

/* --- looking --- */

/* Each `file` is the task that has it, and becomes the struct file. */
static int find_files(struct kernel_peek *k, struct hidden *h)
{
	int err = kernel_peek_many(k, h->file, h->n, "task_struct", "files");

	if (!err)
		err = kernel_peek_many(k, h->file, h->n, "files_struct", "fdt");
	if (!err)
		err = kernel_peek_many(k, h->file, h->n, "fdtable", "fd");
	for (size_t i = 0; i < h->n; i++)
		h->file[i] += (uint64_t)h->list[i]->look->fd * sizeof(uint64_t);
	return err ? err : kernel_peek_many(k, h->file, h->n, NULL, NULL);
}

static bool is_read_ahead(const struct file_look *f)
{
	return f->link[0] == '/' && S_ISREG(f->mode) && !(f->flags & O_PATH);
}

static void copy(const struct hidden *h, uint64_t *to, const uint64_t *from)
{
	memcpy(to, from, h->n * sizeof(*to));
}

static int find_inodes(struct kernel_peek *k, struct hidden *h)
{
	int err;

	copy(h, h->inode, h->file);
	err = kernel_peek_many(k, h->inode, h->n, "file", "f_inode");
	for (size_t i = 0; !err && i < h->n; i++) {
		h->list[i]->inode = h->inode[i];
		if (!is_read_ahead(h->list[i]->look))
			h->file[i] = 0;
	}
	return err;
}

/*
 * From a file of overlayfs to that below, to which it hands advice on: struct ovl_file, and before Linux 6.13 the file itself. Where overlayfs is a module
 * there is no telling.
 */
static int find_below(struct kernel_peek *k, struct hidden *h, uint64_t *below)
{
	struct member_place ignored;
	int err = kernel_peek_place(k, "ovl_fs", "config", &ignored);

	if (!err)
		err = kernel_peek_many(k, below, h->n, "file", "private_data");
	if (!err && kernel_peek_place(k, "ovl_file", "realfile", &ignored) == 0)
		err = kernel_peek_many(k, below, h->n, "ovl_file", "realfile");
	return err;
}

/* Whose advice is to be looked at. */
static int find_real_files(struct kernel_peek *k, struct hidden *h)
{
	uint64_t *magic = h->mode, *below = h->ahead;
	bool overlay = false;
	int err;

	copy(h, magic, h->inode);
	err = kernel_peek_many(k, magic, h->n, "inode", "i_sb");
	if (!err)
		err = kernel_peek_many(k, magic, h->n, "super_block", "s_magic");
	for (size_t i = 0; !err && i < h->n; i++) {
		below[i] = magic[i] == OVERLAYFS_SUPER_MAGIC ? h->file[i] : 0;
		overlay |= below[i];
	}
	if (err || !overlay)
		return err;
	err = find_below(k, h, below);
	for (size_t i = 0; i < h->n; i++)
		if (magic[i] == OVERLAYFS_SUPER_MAGIC)
			h->file[i] = err ? 0 : below[i];
	return 0;
}

static int find_advice(struct kernel_peek *k, struct hidden *h)
{
	int err = find_real_files(k, h);

	copy(h, h->mode, h->file);
	copy(h, h->ahead, h->file);
	copy(h, h->usual, h->file);
	if (!err)
		err = kernel_peek_many(k, h->mode, h->n, "file", "f_mode");
	if (!err)
		err = kernel_peek_many(k, h->ahead, h->n, "file", "f_ra.ra_pages");
	if (!err)
		err = kernel_peek_many(k, h->usual, h->n, "file", "f_inode");
	if (!err)
		err = kernel_peek_many(k, h->usual, h->n, "inode", "i_sb");
	if (!err)
		err = kernel_peek_many(k, h->usual, h->n, "super_block", "s_bdi");
	return err ? err : kernel_peek_many(k, h->usual, h->n, "backing_dev_info", "ra_pages");
}

static uint8_t advice_of(uint64_t mode, uint64_t ahead, uint64_t usual)
{
	uint8_t advice = (mode & FMODE_RANDOM ? ADVICE_RANDOM : 0) | (mode & FMODE_NOREUSE ? ADVICE_NOREUSE : 0);

	if (ahead != usual)
		advice |= ahead == 2 * usual ? ADVICE_SEQUENTIAL : ADVICE_OTHER;
	return advice;
}

static int look(struct kernel_peek *k, struct hidden *h)
{
	int err = find_files(k, h);

	if (!err)
		err = find_inodes(k, h);
	if (!err)
		err = find_advice(k, h);
	for (size_t i = 0; !err && i < h->n; i++)
		h->list[i]->advice = advice_of(h->mode[i], h->ahead[i], h->usual[i]);
	return err;
}

int files_hidden_read(struct capture *c)
{
	struct hidden h = { 0 };
	int err;

	if (!c->kernel || kernel_peek_ready(c->kernel) < 0 || !c->descriptions->n)
		return 0;
	err = make_room(&h, c->descriptions->n);
	if (!err) {
		for (size_t i = 0; i < c->tree->n_processes; i++)
			add_process(c, &h, c->tree->processes[i]);
		add_in_flight(c, &h);
		look(c->kernel, &h); /* what cannot be read stays unknown */
	}
	hidden_free(&h);
	return err;
}
