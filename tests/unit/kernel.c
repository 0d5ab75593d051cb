/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A look at the kernel's structures: BTF, whole and cut off anywhere, and the memory of this process as the kernel has it. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "kernel/btf.h"
#include "kernel/peek.h"
#include "kernel/procfs.h"
#include "unit.h"

static void types(void)
{
	struct member_place m;
	struct btf b;

	if (btf_read(&b) == -ENOENT)
		exit(77);
	CHECK(!btf_find(&b, "file", "private_data", &m) && m.size == 8 && m.offset % 8 == 0);
	CHECK(!btf_find(&b, "fdtable", "max_fds", &m) && m.size == 4);
	CHECK(btf_find(&b, "file", "no_such_member", &m) == -ENOENT);
	CHECK(btf_find(&b, "no_such_structure", "f_pos", &m) == -ENOENT);
	btf_free(&b);
}

static void cut_off(void)
{
	struct member_place m;
	struct btf b;
	char *text;
	size_t size;

	CHECK(!procfs_read(AT_FDCWD, "/sys/kernel/btf/vmlinux", &text, &size));
	for (size_t n = 0; n < size; n = n < 256 ? n + 1 : n * 3 / 2) {
		uint8_t *part = malloc(n + 1);

		memcpy(part, text, n);
		if (btf_parse(part, n, &b) == 0) {
			btf_find(&b, "file", "private_data", &m);
			btf_free(&b);
		}
	}
	free(text);
}

static void own_memory(void)
{
	struct kernel_peek *k = kernel_peek_new();
	int proc = procfs_open_pid(getpid()), fd = open("/proc/self/mem", O_RDONLY | O_CLOEXEC);
	uint64_t file, mm, value;
	struct proc_stat st;
	int64_t sum;

	CHECK(k && proc >= 0 && fd >= 0 && !proc_stat_read(proc, &st));
	if (kernel_peek_ready(k) < 0)
		exit(77);
	CHECK(!kernel_peek_file(k, fd, &file, &mm) && mm);
	CHECK(!kernel_peek_member(k, mm, "mm_struct", "start_stack", &value) && value == st.startstack);
	CHECK(!kernel_peek_member(k, mm, "mm_struct", "arg_start", &value) && value == st.arg_start);
	CHECK(kernel_peek_member(k, 0, "mm_struct", "arg_start", &value) == -EFAULT);
	CHECK(kernel_peek_member(k, mm, "mm_struct", "no_such_member", &value) == -ENODATA);
	CHECK(kernel_peek_percpu(k, 8, "kioctx_cpu", "reqs_available", &sum) < 0);
	kernel_peek_free(k);
}

int main(void)
{
	types();
	cut_off();
	own_memory();
	return 0;
}
