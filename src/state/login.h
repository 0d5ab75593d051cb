/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The login uid of the audit system is inherited at birth, by children and by threads. */
#pragma once

#include "object/component.h"

extern const struct component component_login;

/* Queues, in the task of b that was born of `creator` (NULL: of spore), what gives it its own login uid: before it gives birth to anyone. */
int login_assume(struct build *b, const struct new_process *creator);
