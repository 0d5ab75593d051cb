/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* How much memory a process may still have: of the machine (MemAvailable), and of its control group with all those above, below what is slowed down. None where the kernel sets aside
 * beforehand what may be written (vm.overcommit_memory=2): then a copy would take it from everybody. cgroups(7), proc_meminfo(5) */
#pragma once

#include <stdint.h>

/* dir_fd: /proc/PID. In bytes; 0 where it cannot be told. */
uint64_t memory_room(int dir_fd);
