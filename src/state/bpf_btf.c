/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * BTF: types described to the kernel by a program, and referred to by its maps. It never changes, so that nobody can tell who else has it. bpf(2)
 * BPF_BTF_LOAD, Documentation/bpf/btf.rst; kernel/bpf/btf.c; selftests/bpf.
 */
#include "state/bpf_btf.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "kernel/bpf.h"
#include "state/files.h"

#define BTF_LINK "anon_inode:btf"
#define BTF_MOST (16u << 20) /* BTF_MAX_SIZE */

struct bpf_btf_state {
	struct blob data;
};

static const struct field bpf_btf_fields[] = {
	FIELD_BLOB(struct bpf_btf_state, data, "data", "as it was loaded"),
	FIELD_END,
};

static bool bpf_btf_matches(const struct file_look *f)
{
	return !strcmp(f->link, BTF_LINK) && !(f->flags & O_PATH);
}

static uint64_t bpf_btf_number(const struct file_look *f)
{
	uint64_t id = 0;

	return proc_value_u64(f->info, "btf_id", 10, &id) < 0 ? 0 : id;
}

static int read_data(int fd, const struct bpf_btf_info *known, struct blob *data)
{
	struct bpf_btf_info info = { .btf_size = known->btf_size };

	data->data = known->btf_size <= BTF_MOST ? malloc(known->btf_size + 1) : NULL;
	if (!data->data)
		return -ENOMEM;
	data->size = known->btf_size;
	info.btf = (uintptr_t)data->data;
	return bpf_info(fd, &info, sizeof(info));
}

static int bpf_btf_capture(struct capture *c, const struct file_look *f, void *state)
{
	struct bpf_btf_state *s = state;
	struct bpf_btf_info info = { 0 };
	int fd = file_dup(c, f), err = fd < 0 ? fd : bpf_info(fd, &info, sizeof(info));

	if (err)
		return refused(c->ps, BLAME_FILE(f, .remedy = "let spore have CAP_BPF"), "the BTF cannot be read: %s",
			strerror(-err));
	if (info.kernel_btf)
		return refused(c->ps, BLAME_FILE(f, .remedy = "let the program close it"),
			"BTF of the kernel or of a module (a BPF object) cannot be carried");
	err = read_data(fd, &info, &s->data);
	return err ? err : changed(c->ps, BLAME_FILE(f), "the BTF's id, %" PRIu32 ", will be another", info.id);
}

int bpf_btf_save(struct capture *c, const struct file_look *f, uint32_t id, object_id *out)
{
	_cleanup_fd_ int fd = bpf_btf_by_id(id);
	struct file_look btf = *f;
	char info[32];

	if (fd < 0)
		return refused(c->ps, BLAME_FILE(f, .remedy = "let spore have CAP_SYS_ADMIN"),
			"the BTF that the BPF map refers to cannot be had: %s", strerror(-fd));
	snprintf(info, sizeof(info), "btf_id:\t%" PRIu32 "\n", id);
	btf.link = (char[]){ BTF_LINK };
	btf.info = info;
	btf.dup = fd;
	return backing_save(c, &btf, out);
}

/* --- restore --- */

static int bpf_btf_validate(struct restore *r, const struct record *rec)
{
	const struct bpf_btf_state *s = rec->state;

	return s->data.size && s->data.size <= BTF_MOST
		       ? 0
		       : failed(r->ps, BLAME(.object = "BTF"), -EBADMSG, "the image has impossible BTF");
}

static int load(struct restore *r, const struct bpf_btf_state *s)
{
	union bpf_attr attr = { .btf = (uintptr_t)s->data.data, .btf_size = (uint32_t)s->data.size };
	int fd = bpf_call(BPF_BTF_LOAD, &attr);

	return fd >= 0 ? fd
		       : failed(r->ps,
				 BLAME(.object = "BTF",
					 .remedy = fd == -EPERM ? "restore with a spore that has CAP_BPF" : NULL),
				 fd, "this kernel does not take it: %s", strerror(-fd));
}

static int make(struct restore *r, const struct record *rec)
{
	struct made *made = restore_made(r, rec->id);
	int fd;

	if (!made)
		return -ENOMEM;
	if (made->fd[0] >= 0)
		return made->fd[0];
	fd = load(r, rec->state);
	if (fd >= 0)
		made->fd[0] = fd;
	return fd;
}

int bpf_btf_made(struct restore *r, object_id id)
{
	const struct record *rec = image_find(r->image, id);

	return rec && rec->kind == &component_bpf_btf.kind ? make(r, rec) : -EBADMSG;
}

/* The first description is that by which it was loaded. */
static int bpf_btf_open(struct restore *r, const struct record *rec, const struct file_state *file)
{
	struct bpf_btf_info info = { 0 };
	size_t n;
	const struct record *const *uses = restore_uses(r, rec->id, &n);
	int fd = make(r, rec), err;

	if (fd < 0)
		return fd;
	if (n && uses[0]->state == file) {
		fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
		return fd < 0 ? -errno : file_settle(fd, file);
	}
	err = bpf_info(fd, &info, sizeof(info));
	return err ? err : file_settle(bpf_btf_by_id(info.id), file);
}

const struct component component_bpf_btf = {
	.kind = { .name = "bpf_btf",
		.version = 1,
		.size = sizeof(struct bpf_btf_state),
		.fields = bpf_btf_fields,
		.doc = "BTF that a program has loaded",
		.sources = "bpf(2), Documentation/bpf/btf.rst; kernel/bpf/btf.c; selftests/bpf" },
	.scope = SCOPE_BACKING,
	.matches = bpf_btf_matches,
	.number = bpf_btf_number,
	.capture_file = bpf_btf_capture,
	.validate = bpf_btf_validate,
	.open = bpf_btf_open,
};
