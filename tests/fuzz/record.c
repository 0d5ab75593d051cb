/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Records from hostile bytes: whatever is accepted must encode, and decode again to the same. */
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "image/directory.h"
#include "image/text.h"
#include "image_sample.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct record_kind *const kinds[] = { &sample_kind, &image_head_kind, &page_blocks_kind, &manifest_kind };

/* What decoding gave, encoded: the canonical form of the record. */
static int canonical(const struct record_kind *k, const uint8_t *data, size_t size, struct bytes *out)
{
	_cleanup_free_ void *state = malloc(k->size);
	const char *why = NULL;
	int r = record_decode(k, data, size, state, &why);

	if (r < 0 && !why)
		abort();
	if (r >= 0 && record_encode(k, 1, state, out) < 0)
		abort();
	fields_free(k->fields, state);
	return r;
}

static void show(const struct record_kind *k, const uint8_t *data, size_t size)
{
	_cleanup_free_ void *state = malloc(k->size);
	_cleanup_free_ char *text = NULL;
	const char *why;
	size_t length;
	FILE *out = open_memstream(&text, &length);

	if (record_decode(k, data, size, state, &why) < 0)
		abort();
	record_print(k, 1, state, out, 0);
	record_json(k, 1, state, out);
	fclose(out);
	if (!utf8_valid(text, length))
		abort();
	fields_free(k->fields, state);
}

static void try_kind(const struct record_kind *k, const uint8_t *data, size_t size)
{
	_cleanup_(bytes_free)
	struct bytes once = { 0 }, twice = { 0 };

	if (canonical(k, data, size, &once) < 0)
		return;
	if (canonical(k, once.data, once.size, &twice) < 0)
		abort();
	if (once.size != twice.size || memcmp(once.data, twice.data, once.size))
		abort();
	show(k, data, size);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint32_t version;
	bool critical;
	object_id id;
	size_t length;
	char name[32];
	const char *why;

	while (size && record_peek(data, size, name, &id, &version, &critical, &length, &why) == 0) {
		for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
			if (!strcmp(kinds[i]->name, name))
				try_kind(kinds[i], data, length);
		data += length;
		size -= length;
	}
	return 0;
}
