/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stddef.h>

/* What a socket is, for people: "an established TCP connection 127.0.0.1:5432 to 10.0.0.1:40022". */
void socket_name(int fd, char *text, size_t size);
