/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The session keyring of a process is inherited at birth. */
#pragma once

#include "object/component.h"

/* Did any? */
bool session_keyring_any(const struct restore *r);
/* Queues, in the task of b, the joining of the session keyring that its process made or joined, if it did: before it gives birth to anyone. */
void session_keyring_join(struct build *b);
