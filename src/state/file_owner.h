/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "object/component.h"

/* F_SETOWN_EX, F_SETSIG and O_ASYNC of a description, which the task of b has at number fd. Every process is born. */
/* Whom it sends its signals to, once more. In the keeper. */
int file_own_again(struct build *b, object_id id, const struct file_state *s);
int file_own(struct build *b, object_id id, const struct file_state *s, int fd);
