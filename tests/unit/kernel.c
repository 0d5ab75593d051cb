/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A look at the kernel's structures: BTF, whole and cut off anywhere, and the memory of this process as the kernel has it. */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "base/process.h"
#include "kernel/btf.h"
#include "kernel/peek.h"
#include "kernel/places.h"
#include "kernel/procfs.h"
#include "kernel/vma_flags.h"
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

#define KEPT RUN_DIR "/kernel-places"

static bool ask_kept(uint32_t *offset)
{
	struct places *p = places_new();
	struct member_place m, absent;
	uint32_t id = 0;
	bool right = !places_member(p, "file", "f_mode", &m) &&
		     places_member(p, "file", "no_such_member", &absent) == -ENOENT &&
		     !places_function(p, "bpf_iter_task_vma", &id) && id;

	*offset = m.offset;
	places_keep(p);
	places_free(p);
	return right;
}

static void write_kept(const char *text, size_t n)
{
	FILE *f = fopen(KEPT, "w");

	CHECK(f && fwrite(text, 1, n, f) == n && !fclose(f));
}

/* What is kept of it is believed only under this kernel's name, and only whole lines. */
static void kept(void)
{
	uint32_t offset, right;
	char *text, *value;
	struct btf b;
	struct member_place m;
	size_t n;

	if (unshare(CLONE_NEWNS) < 0)
		return; /* not root */
	CHECK(!mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) && !mount("none", "/run", "tmpfs", 0, NULL));
	CHECK(!btf_read(&b) && !btf_find(&b, "file", "f_mode", &m));
	right = m.offset;
	btf_free(&b);
	CHECK(ask_kept(&offset) && offset == right);
	CHECK(!file_read_all(AT_FDCWD, KEPT, &text, &n));
	value = strstr(text, "file f_mode ");
	CHECK(value && atoi(value + strlen("file f_mode ")) == (int)right);
	for (size_t cut = 0; cut < n; cut += cut < n - 200 ? 97 : 1) {
		write_kept(text, cut);
		CHECK(ask_kept(&offset) && offset == right);
	}
	value[strlen("file f_mode ")] ^= 1;
	write_kept(text, n);
	CHECK(ask_kept(&offset) && offset == (right ^ 1));
	text[4] = text[4] == '0' ? '1' : '0'; /* of another boot */
	write_kept(text, n);
	CHECK(ask_kept(&offset) && offset == right);
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

static bool has_flag(const char *flags, const char *two)
{
	for (const char *f = flags; f[0] > ' ' && f[1] > ' '; f += f[2] == ' ' ? 3 : 2)
		if (!strncmp(f, two, 2))
			return true;
	return false;
}

static bool all_in(const char *flags, const char *in)
{
	for (const char *f = flags; f[0] > ' ' && f[1] > ' '; f += f[2] == ' ' ? 3 : 2)
		if (!has_flag(in, f))
			return false;
	return true;
}

/* A child with mappings of many kinds, so that none comes or goes. */
static pid_t child_with_mappings(void)
{
	static const int advice[] = { MADV_DONTFORK, MADV_DONTDUMP, MADV_HUGEPAGE, MADV_NOHUGEPAGE, MADV_WIPEONFORK,
		MADV_RANDOM, MADV_SEQUENTIAL };
	pid_t pid = fork();

	if (pid)
		return pid;
	for (size_t i = 0; i < sizeof(advice) / sizeof(*advice); i++)
		for (int shared = 0; shared < 2; shared++) {
			void *p = mmap(NULL, 8192, PROT_READ | PROT_WRITE,
				(shared ? MAP_SHARED : MAP_PRIVATE) | MAP_ANONYMOUS, -1, 0);

			madvise(p, 4096, advice[i]);
			if (i == 0)
				mlock(p, 4096);
		}
	raise(SIGSTOP);
	_exit(0);
}

/* VmFlags that the iterator tells are those of smaps. */
static void flags_of_mappings(void)
{
	struct kernel_peek *k = kernel_peek_new();
	struct vma_flags *v = vma_flags_new(k);
	struct proc_maps own = { 0 }, maps = { 0 };
	pid_t pid = child_with_mappings();
	int status, dir = procfs_open_pid(pid), r;

	CHECK(v && waitpid(pid, &status, WUNTRACED) == pid && WIFSTOPPED(status) && dir >= 0);
	r = vma_flags_read(v, dir, pid, &maps);
	CHECK(!proc_smaps_read(dir, &own));
	CHECK(r == 0 || (r == -ENODATA && vma_flags_ready(v) == -ENODATA));
	for (size_t i = 0; i < maps.n; i++) {
		CHECK(maps.n == own.n && maps.list[i].start == own.list[i].start);
		CHECK(all_in(maps.list[i].flags, own.list[i].flags));
		CHECK(all_in(own.list[i].flags, maps.list[i].flags));
	}
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
	proc_maps_free(&maps);
	proc_maps_free(&own);
	close(dir);
	vma_flags_free(v);
	kernel_peek_free(k);
}

static ino_t file_kept(void)
{
	struct stat st;

	return stat(KEPT, &st) == 0 ? st.st_ino : 0;
}

/* By what the first has kept, if it may: what was understood whole is not written anew. */
static void flags_remembered(void)
{
	ino_t first;

	flags_of_mappings();
	first = file_kept();
	flags_of_mappings();
	CHECK(file_kept() == first);
}

int main(void)
{
	types();
	cut_off();
	kept();
	own_memory();
	flags_remembered();
	return 0;
}
