/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What of the processor's state this machine saves. */
#pragma once

#include <stdint.h>

/* XCR0: the state components that the kernel enabled. 0: no XSAVE. */
uint64_t cpu_xfeatures(void);
