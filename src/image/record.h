/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A record: one object in a component's file, a CBOR map { "is": kind, "v": version, "id": number, then the fields by name }
 * ("critical": true may stand in it). A file is a CBOR sequence of records (RFC 8742). Readers skip fields that they do not know, and
 * stop at a critical record whose kind they do not know. Numbers that do not fit their member, a text without room, a list whose count the bytes
 * cannot hold, a key twice: each is an error; every image is hostile.
 */
#pragma once

#include <stdio.h>

#include "image/field.h"
#include "base/problem.h"

struct record_kind {
	const char *name; /* also the file's: NAME.cbor */
	uint32_t version;
	size_t size; /* of the struct */
	const struct field *fields;
	const char *doc;     /* one line: what it is */
	const char *sources; /* man page, kernel source file, selftest */
	bool critical;
};

struct bytes { /* grows by doubling */
	uint8_t *data;
	size_t size, room;
};
void bytes_free(struct bytes *b);
int bytes_append(struct bytes *b, const void *data, size_t size);

/* Appends the record to out. 0 or -ENOMEM. */
int record_encode(const struct record_kind *k, object_id id, const void *state, struct bytes *out);
/* Reads the header of the record at the start of data: its kind's name (into name), id, version, whole length. 0, -EBADMSG with *why set to a literal. */
int record_peek(const uint8_t *data, size_t size, char name[static 32], object_id *id, uint32_t *version,
	bool *critical, size_t *length, const char **why);
/* Decodes into state (k->size bytes, zeroed here; fields_free is the caller's). */
int record_decode(const struct record_kind *k, const uint8_t *data, size_t size, void *state, const char **why);

/* One field per line for people; one JSON object for programs. */
void record_print(const struct record_kind *k, object_id id, const void *state, FILE *out, int indent);
void record_json(const struct record_kind *k, object_id id, const void *state, FILE *out);
