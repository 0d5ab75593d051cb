/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/user.h> /* defines PAGE_SIZE and PAGE_SHIFT, which must be the same everywhere */

#define ARRAY_SIZE(a)	       (sizeof(a) / sizeof((a)[0]))
#define PRINTF_LIKE(fmt, args) __attribute__((format(printf, fmt, args)))
#define MIN(a, b)	       ((a) < (b) ? (a) : (b)) /* arguments without side effects */
#define MAX(a, b)	       ((a) > (b) ? (a) : (b))
#define ALIGN_UP(x, a)	       (((x) + (a)-1) & ~((__typeof__(x))(a)-1))
#define ALIGN_DOWN(x, a)       ((x) & ~((__typeof__(x))(a)-1))

#ifndef PAGE_SIZE
#define PAGE_SIZE  4096ul
#define PAGE_SHIFT 12
#endif
