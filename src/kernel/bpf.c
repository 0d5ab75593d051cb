/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "kernel/bpf.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "kernel/procfs.h"

int bpf_call(int command, union bpf_attr *attr)
{
	long r = syscall(SYS_bpf, command, attr, sizeof(*attr));

	return r < 0 ? -errno : (int)r;
}

int bpf_info(int fd, void *info, size_t size)
{
	union bpf_attr attr = { .info = {
					.bpf_fd = (uint32_t)fd, .info_len = (uint32_t)size, .info = (uintptr_t)info } };

	return bpf_call(BPF_OBJ_GET_INFO_BY_FD, &attr);
}

int bpf_map_by_id(uint32_t id, uint32_t open_flags)
{
	union bpf_attr attr = { .map_id = id };

	attr.open_flags = open_flags;
	return bpf_call(BPF_MAP_GET_FD_BY_ID, &attr);
}

int bpf_btf_by_id(uint32_t id)
{
	union bpf_attr attr = { .btf_id = id };

	return bpf_call(BPF_BTF_GET_FD_BY_ID, &attr);
}

int bpf_map_next_key(int fd, const void *key, void *next)
{
	union bpf_attr attr = { .map_fd = (uint32_t)fd, .key = (uintptr_t)key, .next_key = (uintptr_t)next };

	return bpf_call(BPF_MAP_GET_NEXT_KEY, &attr);
}

int bpf_map_lookup(int fd, const void *key, void *value)
{
	union bpf_attr attr = { .map_fd = (uint32_t)fd, .key = (uintptr_t)key, .value = (uintptr_t)value };

	return bpf_call(BPF_MAP_LOOKUP_ELEM, &attr);
}

int bpf_map_update(int fd, const void *key, const void *value, uint64_t flags)
{
	union bpf_attr attr = {
		.map_fd = (uint32_t)fd, .key = (uintptr_t)key, .value = (uintptr_t)value, .flags = flags
	};

	return bpf_call(BPF_MAP_UPDATE_ELEM, &attr);
}

int bpf_map_freeze(int fd)
{
	union bpf_attr attr = { .map_fd = (uint32_t)fd };

	return bpf_call(BPF_MAP_FREEZE, &attr);
}

static int batch(int command, int fd, struct bpf_batch *b)
{
	union bpf_attr attr = { .batch = { .in_batch = (uintptr_t)b->in,
					.out_batch = (uintptr_t)b->out,
					.keys = (uintptr_t)b->keys,
					.values = (uintptr_t)b->values,
					.count = b->n,
					.map_fd = (uint32_t)fd } };
	int r = bpf_call(command, &attr);

	b->n = attr.batch.count;
	return r;
}

int bpf_map_lookup_batch(int fd, struct bpf_batch *b)
{
	return batch(BPF_MAP_LOOKUP_BATCH, fd, b);
}

int bpf_map_update_batch(int fd, struct bpf_batch *b)
{
	return batch(BPF_MAP_UPDATE_BATCH, fd, b);
}

/* "0-3,8" */
int bpf_possible_cpus(void)
{
	_cleanup_free_ char *text = NULL;
	int r = procfs_read(AT_FDCWD, "/sys/devices/system/cpu/possible", &text, NULL), n = 0;

	for (char *at = text, *end; r == 0 && at && *at >= '0' && *at <= '9'; at = *end == ',' ? end + 1 : end) {
		long first = strtol(at, &end, 10), last = *end == '-' ? strtol(end + 1, &end, 10) : first;

		n += (int)(last - first + 1);
	}
	return r < 0 ? r : n > 0 ? n : -EBADMSG;
}
