/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "kernel/capability.h"

#include <stdio.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/macro.h"

static const char *const names[] = { "chown", "dac_override", "dac_read_search", "fowner", "fsetid", "kill", "setgid",
	"setuid", "setpcap", "linux_immutable", "net_bind_service", "net_broadcast", "net_admin", "net_raw", "ipc_lock",
	"ipc_owner", "sys_module", "sys_rawio", "sys_chroot", "sys_ptrace", "sys_pacct", "sys_admin", "sys_boot",
	"sys_nice", "sys_resource", "sys_time", "sys_tty_config", "mknod", "lease", "audit_write", "audit_control",
	"setfcap", "mac_override", "mac_admin", "syslog", "wake_alarm", "block_suspend", "audit_read", "perfmon", "bpf",
	"checkpoint_restore" };

_Static_assert(ARRAY_SIZE(names) == CAP_CHECKPOINT_RESTORE + 1, "the names follow the numbers");

static uint64_t join(uint32_t low, uint32_t high)
{
	return low | (uint64_t)high << 32;
}

static void read_sets(struct capability_sets *c, struct __user_cap_header_struct *header,
	struct __user_cap_data_struct data[static 2])
{
	*header = (struct __user_cap_header_struct){ .version = _LINUX_CAPABILITY_VERSION_3 };
	if (syscall(SYS_capget, header, data) < 0)
		data[0] = data[1] = (struct __user_cap_data_struct){ 0 };
	c->inheritable = join(data[0].inheritable, data[1].inheritable);
	c->permitted = join(data[0].permitted, data[1].permitted);
	c->effective = join(data[0].effective, data[1].effective);
}

void capabilities_own(struct capability_sets *c)
{
	struct __user_cap_header_struct header;
	struct __user_cap_data_struct data[2];

	*c = (struct capability_sets){ 0 };
	read_sets(c, &header, data);
	for (unsigned int cap = 0; cap < 64; cap++)
		if (prctl(PR_CAPBSET_READ, cap, 0, 0, 0) == 1)
			c->bounding |= 1ull << cap;
}

bool capable_own(unsigned int cap)
{
	struct __user_cap_header_struct header;
	struct __user_cap_data_struct data[2];
	struct capability_sets c = { 0 };

	read_sets(&c, &header, data);
	return c.effective >> cap & 1;
}

uint64_t capabilities_set_effective(uint64_t effective)
{
	struct __user_cap_header_struct header;
	struct __user_cap_data_struct data[2];
	struct capability_sets c = { 0 };

	read_sets(&c, &header, data);
	data[0].effective = (uint32_t)effective;
	data[1].effective = (uint32_t)(effective >> 32);
	syscall(SYS_capset, &header, data);
	return c.effective;
}

const char *capability_name(unsigned int cap, char buf[static 24])
{
	if (cap < ARRAY_SIZE(names))
		snprintf(buf, 24, "cap_%s", names[cap]);
	else
		snprintf(buf, 24, "capability %u", cap);
	return buf;
}
