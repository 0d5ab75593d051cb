/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "bpf.h"

#include <linux/btf.h>

int bpf(int command, union bpf_attr *attr)
{
	return (int)syscall(SYS_bpf, command, attr, sizeof(*attr));
}

int map_new(
	enum bpf_map_type type, size_t key, size_t value, unsigned int entries, unsigned int flags, const char *name)
{
	union bpf_attr attr = { .map_type = type,
		.key_size = (uint32_t)key,
		.value_size = (uint32_t)value,
		.max_entries = entries,
		.map_flags = flags };

	if (name)
		strncpy(attr.map_name, name, sizeof(attr.map_name) - 1);
	return bpf(BPF_MAP_CREATE, &attr);
}

int map_info(int map, struct bpf_map_info *info)
{
	union bpf_attr attr = { .info = {
					.bpf_fd = (uint32_t)map, .info_len = sizeof(*info), .info = (uintptr_t)info } };

	memset(info, 0, sizeof(*info));
	return bpf(BPF_OBJ_GET_INFO_BY_FD, &attr);
}

int map_of(int map, unsigned int flags)
{
	struct bpf_map_info info;
	union bpf_attr attr = { 0 };

	if (map_info(map, &info) < 0)
		return -1;
	attr.map_id = info.id;
	attr.open_flags = flags;
	return bpf(BPF_MAP_GET_FD_BY_ID, &attr);
}

static int element(int command, int map, const void *key, void *value, uint64_t flags)
{
	union bpf_attr attr = {
		.map_fd = (uint32_t)map, .key = (uintptr_t)key, .value = (uintptr_t)value, .flags = flags
	};

	return bpf(command, &attr);
}

int map_get(int map, const void *key, void *value)
{
	return element(BPF_MAP_LOOKUP_ELEM, map, key, value, 0);
}

int map_set(int map, const void *key, const void *value, uint64_t flags)
{
	return element(BPF_MAP_UPDATE_ELEM, map, key, (void *)(uintptr_t)value, flags);
}

int map_drop(int map, const void *key)
{
	return element(BPF_MAP_DELETE_ELEM, map, key, NULL, 0);
}

int map_take(int map, void *value)
{
	return element(BPF_MAP_LOOKUP_AND_DELETE_ELEM, map, NULL, value, 0);
}

int map_freeze(int map)
{
	union bpf_attr attr = { .map_fd = (uint32_t)map };

	return bpf(BPF_MAP_FREEZE, &attr);
}

int map_count(int map, size_t key_size)
{
	unsigned char key[64], next[64];
	int n = 0;

	if (key_size > sizeof(key))
		return -1;
	while (element(BPF_MAP_GET_NEXT_KEY, map, n ? key : NULL, next, 0) == 0) {
		memcpy(key, next, key_size);
		n++;
	}
	return n;
}

int possible_cpus(void)
{
	int first = 0, last = 0;
	FILE *f = fopen("/sys/devices/system/cpu/possible", "re");
	int n = f ? fscanf(f, "%d-%d", &first, &last) : 0;

	if (f)
		fclose(f);
	return n == 2 ? last - first + 1 : 1;
}

/* --- types --- */

#define MEMBERS 2

struct types {
	struct btf_header header;
	struct btf_type integer;
	uint32_t encoding;
	struct btf_type lock;
	struct btf_member of_lock;
	struct btf_type value;
	struct btf_member of_value[MEMBERS];
	char strings[48];
};

#define STRINGS "\0int\0bpf_spin_lock\0val\0pair\0a\0b"

enum { NAME_INT = 1, NAME_LOCK = 5, NAME_VAL = 19, NAME_PAIR = 23, NAME_A = 28, NAME_B = 30 };

int btf_new(bool lock)
{
	struct types t = {
		.header = { .magic = BTF_MAGIC,
			.version = BTF_VERSION,
			.hdr_len = sizeof(t.header),
			.type_len = offsetof(struct types, strings) - sizeof(t.header),
			.str_off = offsetof(struct types, strings) - sizeof(t.header),
			.str_len = sizeof(STRINGS) },
		.integer = { .name_off = NAME_INT, .info = BTF_KIND_INT << 24, .size = 4 },
		.encoding = BTF_INT_SIGNED << 24 | 32,
		.lock = { .name_off = NAME_LOCK, .info = BTF_KIND_STRUCT << 24 | 1, .size = 4 },
		.of_lock = { .name_off = NAME_VAL, .type = 1 },
		.value = { .name_off = NAME_PAIR, .info = BTF_KIND_STRUCT << 24 | MEMBERS, .size = 8 },
		.of_value = { { .name_off = NAME_A, .type = lock ? 2 : 1 },
			{ .name_off = NAME_B, .type = 1, .offset = 32 } },
		.strings = STRINGS,
	};
	union bpf_attr attr = { .btf = (uintptr_t)&t,
		.btf_size = (uint32_t)(offsetof(struct types, strings) + sizeof(STRINGS)) };

	return bpf(BPF_BTF_LOAD, &attr);
}

int map_with_types(int btf, enum bpf_map_type type)
{
	union bpf_attr attr = { .map_type = type,
		.key_size = 4,
		.value_size = 8,
		.max_entries = 4,
		.btf_fd = (uint32_t)btf,
		.btf_key_type_id = 1,
		.btf_value_type_id = 3,
		.map_name = "typed" };

	return bpf(BPF_MAP_CREATE, &attr);
}
