/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Structs that grow: clone3(2), openat2(2). */
#pragma once

#include <stddef.h>

/*
 * Copies a caller's struct of its size into ours: what the caller does not know is zero, what we do not know
 * must be zero (-E2BIG). from NULL: all zero. A size of 0 with a struct, or one that cuts a member of version
 * 0.1: -EINVAL.
 */
int options_copy(void *to, size_t to_size, size_t least, const void *from, size_t from_size);
