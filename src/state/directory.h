/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "object/component.h"

/* The id of the directory behind the link `name` ("cwd", "root") of a process, whose record is added if it is
 * the first to need it. */
int directory_capture(struct capture *c, const char *name, object_id *id);
/* Its path, and the keeper's O_PATH descriptor of it, which the restore owns. */
const char *directory_path(const struct restore *r, object_id id);
int directory_fd(struct restore *r, object_id id);
