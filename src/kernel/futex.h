/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* futex(2), which the C library lacks. Never private: the words are shared with other processes. */
#pragma once

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* 0: woken. -EAGAIN: the word was not `value`; -ETIMEDOUT; -EINTR. */
static inline int futex_wait(uint32_t *word, uint32_t value, const struct timespec *timeout)
{
	return syscall(SYS_futex, word, FUTEX_WAIT, value, timeout, NULL, 0) < 0 ? -errno : 0;
}

static inline int futex_wake(uint32_t *word, int waiters)
{
	long n = syscall(SYS_futex, word, FUTEX_WAKE, waiters, NULL, NULL, 0);

	return n < 0 ? -errno : (int)n;
}
