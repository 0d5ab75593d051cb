/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Text of the kernel's: bytes without a NUL, which need not be UTF-8. Private to the image layer. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* The length of the valid UTF-8 sequence at the start of s (1 to 4); 0: there is none. */
size_t utf8_sequence(const uint8_t *s, size_t size);
bool utf8_valid(const void *s, size_t size);
/* As a JSON string. A byte that is not UTF-8 becomes the lone surrogate U+DC80 to U+DCFF, as in Python's
 * surrogateescape. */
void json_string(const char *s, FILE *out);
/* Quoted for people: nothing that a terminal would obey comes through. */
void print_quoted(const char *s, FILE *out);
