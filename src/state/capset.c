/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "state/capset.h"

#include <linux/capability.h>
#include <sys/syscall.h>

void capabilities_add(struct batch *b, const char *what, uint64_t inheritable, uint64_t permitted, uint64_t effective)
{
	const struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	const struct __user_cap_data_struct data[2] = {
		{ (uint32_t)effective, (uint32_t)permitted, (uint32_t)inheritable },
		{ (uint32_t)(effective >> 32), (uint32_t)(permitted >> 32), (uint32_t)(inheritable >> 32) },
	};

	batch_call(b, what, SYS_capset, batch_copy(b, &header, sizeof(header)).v, batch_copy(b, data, sizeof(data)).v);
}
