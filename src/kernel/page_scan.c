/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "kernel/page_scan.h"

#include <errno.h>
#include <stdint.h>
#include <sys/ioctl.h>

#include "base/macro.h"

int page_scan(int pagemap_fd, const struct pm_scan_arg *what, int (*found)(void *arg, const struct page_region *run),
	void *arg)
{
	struct page_region runs[512];
	struct pm_scan_arg part = *what;

	part.size = sizeof(part);
	part.vec = (uintptr_t)runs;
	part.vec_len = ARRAY_SIZE(runs);
	while (part.start < part.end) {
		int n = ioctl(pagemap_fd, PAGEMAP_SCAN, &part);

		if (n < 0)
			return -errno;
		for (int i = 0; i < n; i++) {
			int r = found(arg, &runs[i]);

			if (r < 0)
				return r;
		}
		if (part.walk_end <= part.start)
			break;
		part.start = part.walk_end;
	}
	return 0;
}
