/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdbool.h>

enum need { NEEDED, USED_IF_THERE };

struct feature {
	const char *name;
	const char *since; /* the kernel that brought it */
	const char *use;
	enum need need;
	bool (*probe)(void);
};

extern const struct feature features[]; /* ends with a name of NULL */
