/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the commands that read images share. */
#pragma once

#include <stdbool.h>

#include "image/image.h"

/* Opened and checked, page files aside. NULL: it has been said why not, and *status is the exit status. */
struct image *image_load(const char *command, const char *dir, int *status);
