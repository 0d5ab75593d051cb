/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Asynchronous write protection by a userfaultfd: userfaultfd(2), ioctl_userfaultfd(2) UFFDIO_REGISTER_MODE_WP with UFFD_FEATURE_WP_ASYNC (Linux 6.7). */
#pragma once

#include <stdint.h>

/* One for this process. -EINVAL, -ENOSYS: this kernel cannot */
int write_watch_open(void);
/* What a fresh one of another process needs first. */
int write_watch_prepare(int uffd);
/* [start, end), one mapping, is watched from now on, if it was not; until it is protected (PAGEMAP_SCAN), all of it counts as written. -EBUSY: another userfaultfd has it. */
int write_watch_add(int uffd, uint64_t start, uint64_t end);
/* What is watched in [start, end), one mapping, counts as written. -ESRCH: the process that it was made in has called exec, or has ended. */
int write_watch_reset(int uffd, uint64_t start, uint64_t end);
/* Until it is added again. */
void write_watch_remove(int uffd, uint64_t start, uint64_t end);
