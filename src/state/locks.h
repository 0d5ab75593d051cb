/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "object/component.h"

/* STAGE_ATTACH: locks that this process set through descriptors which it has closed since, and others still have. */
int locks_attach_fetched(struct build *b);
