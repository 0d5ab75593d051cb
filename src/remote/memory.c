/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "remote/memory.h"

#include <errno.h>
#include <sys/uio.h>

static int whole(ssize_t n, size_t size)
{
	if (n < 0)
		return -errno;
	return (size_t)n == size ? 0 : -EFAULT;
}

int remote_read(pid_t pid, struct remote_addr from, void *to, size_t size)
{
	struct iovec local = { to, size }, remote = { (void *)from.v, size };

	return whole(process_vm_readv(pid, &local, 1, &remote, 1, 0), size);
}

int remote_write(pid_t pid, struct remote_addr to, const void *from, size_t size)
{
	struct iovec local = { (void *)from, size }, remote = { (void *)to.v, size };

	return whole(process_vm_writev(pid, &local, 1, &remote, 1, 0), size);
}
