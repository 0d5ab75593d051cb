/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Another process's memory, in small pieces. */
#pragma once

#include <stddef.h>
#include <sys/types.h>

#include "remote/area.h"

/* All of it, or a negative errno. */
int remote_read(pid_t pid, struct remote_addr from, void *to, size_t size);
int remote_write(pid_t pid, struct remote_addr to, const void *from, size_t size);
