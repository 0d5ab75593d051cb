/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "object/component.h"

/* Has the process a timer of that id which will fire again? Its pending signal then comes from the timer
 * itself, which counts overruns in it. */
bool posix_timer_repeats(const struct restore *r, object_id process, int timer_id);
