/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdio.h>

#include "image/record.h"

/* Writes docs/image-format.md: what an image directory is, and every kind of record (NULL-terminated; the
 * image layer's own are added). */
void format_reference(const struct record_kind *const kinds[], FILE *out);
/* Every field that can be lost, "kind.field" or "kind.list.field", one on a line: what SPORE_TEST_DROP takes.
 */
void format_field_names(const struct record_kind *const kinds[], FILE *out);
