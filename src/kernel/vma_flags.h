/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * VmFlags of all mappings of a process, as smaps has them, without smaps: that walks every page table for its sums, which for each GiB takes half as long as
 * to fork it. A BPF iterator (task_vma, for one task: 6.1; bpf(2)) tells the bits, and what they are called on this kernel is learned from mappings of our own, of which smaps
 * tells both.
 */
#pragma once

#include "kernel/peek.h"
#include "kernel/procfs.h"

struct vma_flags;

/* kernel must outlive it. All is made ready when first asked for. */
struct vma_flags *vma_flags_new(struct kernel_peek *kernel);
void vma_flags_free(struct vma_flags *v); /* takes NULL; the flags that it gave are gone then */
/* -ENODATA: this kernel or its caller cannot look. */
int vma_flags_ready(struct vma_flags *v);
/*
 * Reads maps of a stopped process, with flags. dir_fd: /proc/PID; tid: of a thread of it that lives. Thread-safe. -ENODATA: there is one whose flags are not known by name, or nobody can look: smaps
 * has them.
 */
int vma_flags_read(struct vma_flags *v, int dir_fd, pid_t tid, struct proc_maps *out);
