/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Every byte here is hostile: nothing is believed that was not checked, and the time taken is linear in the
 * bytes. */
#include <errno.h>
#include <stdlib.h>

#include "image/item.h"
#include "image/member.h"
#include "image/record.h"
#include "image/text.h"

#define MAX_FIELDS  256 /* of one table */
#define MAX_UNKNOWN 64	/* fields of one map that this version does not know */
#define MAX_DEPTH   8	/* of tables within tables */

struct decoder {
	struct cursor c;
	uint64_t version;
	unsigned int depth;
};

/* One map's keys: none may stand there twice. */
struct keys {
	const struct field *table, *next; /* writers keep the table's order: look there first */
	uint64_t seen[MAX_FIELDS / 64];
	struct item unknown[MAX_UNKNOWN];
	size_t n_unknown;
};

static void keys_init(struct keys *keys, const struct field *table)
{
	keys->table = keys->next = table;
	memset(keys->seen, 0, sizeof(keys->seen));
	keys->n_unknown = 0; /* the array stays as it is: zeroing it would cost more than decoding a small map */
}

#ifdef SPORE_TEST_DROP
/* For trials of the tests: SPORE_TEST_DROP=kind.field (or kind.list.field) makes that field read as zero. */
static const char *drop_below(const char *drop, const char *name)
{
	size_t n = strlen(name);

	if (!drop || strncmp(drop, name, n) || (drop[n] && drop[n] != '.'))
		return NULL;
	return drop + n + (drop[n] == '.');
}

static const char *drop_in(const struct record_kind *k)
{
	return drop_below(getenv("SPORE_TEST_DROP"), k->name);
}
#else
static const char *drop_below(const char *drop, const char *name)
{
	return NULL;
}

static const char *drop_in(const struct record_kind *k)
{
	return NULL;
}
#endif

static int decode_map(struct decoder *d, const struct field *table, void *state, const char *drop);

/* *found is NULL for a key that the table does not have. */
static int find_field(struct decoder *d, struct keys *keys, const struct item *key, const struct field **found)
{
	const struct field *f = keys->next;
	size_t i;

	if (f->type == FIELD_TYPE_END || !item_is(key, f->name))
		for (f = keys->table; f->type != FIELD_TYPE_END && !item_is(key, f->name); f++)
			;
	*found = NULL;
	if (f->type == FIELD_TYPE_END)
		return 0;
	i = (size_t)(f - keys->table);
	if (i >= MAX_FIELDS)
		return cursor_bad(&d->c, "the table of its fields is too long");
	if (keys->seen[i / 64] & 1ull << i % 64)
		return cursor_bad(&d->c, "a field stands in it twice");
	if (f->since > d->version)
		return cursor_bad(&d->c, "it has a field that came after its version");
	keys->seen[i / 64] |= 1ull << i % 64;
	keys->next = f + 1;
	*found = f;
	return 0;
}

static int note_unknown(struct decoder *d, struct keys *keys, const struct item *key)
{
	for (size_t i = 0; i < keys->n_unknown; i++)
		if (keys->unknown[i].value == key->value && !memcmp(keys->unknown[i].data, key->data, key->value))
			return cursor_bad(&d->c, "a field stands in it twice");
	if (keys->n_unknown == MAX_UNKNOWN)
		return cursor_bad(&d->c, "it has too many fields that this version does not know");
	keys->unknown[keys->n_unknown++] = *key;
	return 0;
}

static int decode_uint(struct decoder *d, const struct field *f, void *state)
{
	struct item item;
	int r = cursor_expect(&d->c, ITEM_UINT, &item, "a field is not an unsigned number");

	if (r < 0)
		return r;
	if (f->size < 8 && item.value >> (8 * f->size))
		return cursor_bad(&d->c, "a number is too large for its field");
	memcpy(member(f, state), &item.value, f->size);
	return 0;
}

static int decode_int(struct decoder *d, const struct field *f, void *state)
{
	unsigned int bits = 8 * (unsigned int)f->size - 1;
	struct item item;
	uint64_t value;
	int r = cursor_item(&d->c, &item);

	if (r < 0)
		return r;
	if (item.type != ITEM_UINT && item.type != ITEM_NEGATIVE)
		return cursor_bad(&d->c, "a field is not a number");
	if (item.value >> bits)
		return cursor_bad(&d->c, "a number is too large for its field");
	value = item.type == ITEM_NEGATIVE ? ~item.value : item.value;
	memcpy(member(f, state), &value, f->size);
	return 0;
}

static int decode_bool(struct decoder *d, const struct field *f, void *state)
{
	struct item item;
	int r = cursor_expect(&d->c, ITEM_BOOL, &item, "a field is neither true nor false");

	if (r < 0)
		return r;
	*(bool *)member(f, state) = item.value;
	return 0;
}

static int take_text(struct decoder *d, struct item *item)
{
	int r = cursor_item(&d->c, item);

	if (r < 0)
		return r;
	if (item->type != ITEM_TEXT && item->type != ITEM_BYTES)
		return cursor_bad(&d->c, "a field is not a text");
	if (item->type == ITEM_TEXT && !utf8_valid(item->data, item->value))
		return cursor_bad(&d->c, "a text is not UTF-8");
	if (item->value && memchr(item->data, 0, item->value))
		return cursor_bad(&d->c, "a text has a NUL in it");
	return 0;
}

static int decode_text(struct decoder *d, const struct field *f, void *state)
{
	struct item item;
	int r = take_text(d, &item);

	if (r < 0)
		return r;
	if (item.value >= f->size)
		return cursor_bad(&d->c, "a text is too long for its field");
	memcpy(member(f, state), item.data, item.value);
	return 0;
}

static int out_of_memory(struct decoder *d)
{
	d->c.why = "there is no memory left to read it";
	return -ENOMEM;
}

static int decode_string(struct decoder *d, const struct field *f, void *state)
{
	struct item item;
	int r = take_text(d, &item);
	char *s;

	if (r < 0)
		return r;
	s = strndup((const char *)item.data, item.value);
	if (!s)
		return out_of_memory(d);
	*(char **)member(f, state) = s;
	return 0;
}

static int decode_bytes(struct decoder *d, const struct field *f, void *state)
{
	struct item item;
	int r = cursor_expect(&d->c, ITEM_BYTES, &item, "a field is not a byte string");

	if (r < 0)
		return r;
	if (item.value != f->size)
		return cursor_bad(&d->c, "a byte string has the wrong length");
	memcpy(member(f, state), item.data, item.value);
	return 0;
}

static int decode_blob(struct decoder *d, const struct field *f, void *state)
{
	struct blob *blob = member(f, state);
	struct item item;
	int r = cursor_expect(&d->c, ITEM_BYTES, &item, "a field is not a byte string");

	if (r < 0 || !item.value)
		return r;
	blob->data = malloc(item.value);
	if (!blob->data)
		return out_of_memory(d);
	memcpy(blob->data, item.data, item.value);
	blob->size = item.value;
	return 0;
}

/* Room for the array that follows; NULL in the member when it is empty. */
static int take_array(struct decoder *d, const struct field *f, void *state, size_t size)
{
	struct item item;
	void *list;
	int r = cursor_expect(&d->c, ITEM_ARRAY, &item, "a field is not a list");

	if (r < 0 || !item.value)
		return r;
	/* calloc, and elements are written only as the bytes hold them: a long announcement costs address
	 * space, not memory */
	list = calloc(item.value, size);
	if (!list)
		return out_of_memory(d);
	*(void **)member(f, state) = list;
	*member_count(f, state) = item.value;
	return 0;
}

static int decode_list(struct decoder *d, const struct field *f, void *state, const char *drop)
{
	int r = take_array(d, f, state, f->size);
	char *list = *(char **)member(f, state);

	for (size_t i = 0, n = *member_count(f, state); i < n && r >= 0; i++)
		r = decode_map(d, f->sub, list + i * f->size, drop);
	return r;
}

static int decode_uints(struct decoder *d, const struct field *f, void *state)
{
	int r = take_array(d, f, state, sizeof(uint64_t));
	uint64_t *list = *(uint64_t **)member(f, state);
	struct item item;

	for (size_t i = 0, n = *member_count(f, state); i < n && r >= 0; i++) {
		r = cursor_expect(&d->c, ITEM_UINT, &item, "a field is not a list of unsigned numbers");
		list[i] = item.value;
	}
	return r;
}

static int decode_value(struct decoder *d, const struct field *f, void *state, const char *drop)
{
	switch (f->type) {
	case FIELD_TYPE_UINT:
	case FIELD_TYPE_REF:
		return decode_uint(d, f, state);
	case FIELD_TYPE_INT:
		return decode_int(d, f, state);
	case FIELD_TYPE_BOOL:
		return decode_bool(d, f, state);
	case FIELD_TYPE_STRING:
		return decode_string(d, f, state);
	case FIELD_TYPE_TEXT:
		return decode_text(d, f, state);
	case FIELD_TYPE_BYTES:
		return decode_bytes(d, f, state);
	case FIELD_TYPE_BLOB:
		return decode_blob(d, f, state);
	case FIELD_TYPE_STRUCT:
		return decode_map(d, f->sub, member(f, state), drop);
	case FIELD_TYPE_LIST:
		return decode_list(d, f, state, drop);
	case FIELD_TYPE_UINTS:
		return decode_uints(d, f, state);
	case FIELD_TYPE_END:
		break;
	}
	return cursor_bad(&d->c, "a field has no type");
}

static int decode_pair(struct decoder *d, struct keys *keys, void *state, const char *drop)
{
	const struct field *f;
	struct item key;
	int r = cursor_expect(&d->c, ITEM_TEXT, &key, "the name of a field is not a text");

	if (r < 0)
		return r;
	r = find_field(d, keys, &key, &f);
	if (r < 0)
		return r;
	if (f) {
		drop = drop_below(drop, f->name);
		return drop && !*drop ? cursor_skip(&d->c) : decode_value(d, f, state, drop);
	}
	r = note_unknown(d, keys, &key);
	return r < 0 ? r : cursor_skip(&d->c);
}

static int decode_pairs(struct decoder *d, struct keys *keys, uint64_t n, void *state, const char *drop)
{
	int r = 0;

	if (d->depth == MAX_DEPTH)
		return cursor_bad(&d->c, "the tables of its fields nest too deep");
	d->depth++;
	while (n-- && r >= 0)
		r = decode_pair(d, keys, state, drop);
	d->depth--;
	return r;
}

static int decode_map(struct decoder *d, const struct field *table, void *state, const char *drop)
{
	struct keys keys;
	struct item map;
	int r = cursor_expect(&d->c, ITEM_MAP, &map, "a field is not a map");

	keys_init(&keys, table);
	return r < 0 ? r : decode_pairs(d, &keys, map.value, state, drop);
}

/* What stands before a record's own fields. */
struct header {
	struct item kind;
	uint64_t id, version;
	uint64_t fields; /* pairs that follow */
	bool critical;
};

static int header_pair(struct cursor *c, const char *name, enum item_type type, struct item *value)
{
	int r = cursor_item(c, value);

	if (r < 0)
		return r;
	if (!item_is(value, name))
		return cursor_bad(c, "it does not begin with \"is\", \"v\" and \"id\"");
	return cursor_expect(c, type, value, "its \"is\", \"v\", \"id\" or \"critical\" is of the wrong type");
}

static int header_critical(struct cursor *c, struct header *h)
{
	struct cursor ahead = *c;
	struct item item;

	if (!h->fields || cursor_item(&ahead, &item) < 0 || !item_is(&item, "critical"))
		return 0;
	h->fields--;
	h->critical = true;
	if (header_pair(c, "critical", ITEM_BOOL, &item) < 0)
		return -EBADMSG;
	return item.value ? 0 : cursor_bad(c, "its \"critical\" is not true");
}

static int header_read(struct cursor *c, struct header *h)
{
	struct item map = { 0 }, version = { 0 }, id = { 0 };
	int r = cursor_expect(c, ITEM_MAP, &map, "a record is not a map");

	if (r < 0)
		return r;
	if (map.value < 3)
		return cursor_bad(c, "it does not begin with \"is\", \"v\" and \"id\"");
	*h = (struct header){ .fields = map.value - 3 };
	if (header_pair(c, "is", ITEM_TEXT, &h->kind) < 0 || header_pair(c, "v", ITEM_UINT, &version) < 0 ||
		header_pair(c, "id", ITEM_UINT, &id) < 0)
		return -EBADMSG;
	if (!version.value || version.value > UINT32_MAX)
		return cursor_bad(c, "its version is none");
	h->version = version.value;
	h->id = id.value;
	return header_critical(c, h);
}

static bool kind_name_valid(const struct item *kind)
{
	for (size_t i = 0; i < kind->value; i++) {
		uint8_t c = kind->data[i];

		if (!(c >= 'a' && c <= 'z') && !(c >= '0' && c <= '9') && c != '_' && c != '-')
			return false;
	}
	return kind->value > 0 && kind->value < 32;
}

int record_peek(const uint8_t *data, size_t size, char name[static 32], object_id *id, uint32_t *version,
	bool *critical, size_t *length, const char **why)
{
	struct cursor c = { .at = data, .left = size };
	struct header h = { 0 };
	int r = header_read(&c, &h);

	if (r >= 0 && !kind_name_valid(&h.kind))
		r = cursor_bad(&c, "its kind has no proper name");
	for (uint64_t i = 0; r >= 0 && i < 2 * h.fields; i++)
		r = cursor_skip(&c);
	if (r < 0 || !h.kind.data) {
		*why = c.why;
		return r;
	}
	memcpy(name, h.kind.data, h.kind.value);
	name[h.kind.value] = 0;
	*id = h.id;
	*version = (uint32_t)h.version;
	*critical = h.critical;
	*length = size - c.left;
	return 0;
}

/* The header's own keys cannot come again among the fields. */
static void keys_reserve(struct keys *keys)
{
	static const char *const reserved[] = { "is", "v", "id", "critical" };

	for (size_t i = 0; i < ARRAY_SIZE(reserved); i++)
		keys->unknown[keys->n_unknown++] = (struct item){
			.type = ITEM_TEXT, .value = strlen(reserved[i]), .data = (const uint8_t *)reserved[i]
		};
}

int record_decode(const struct record_kind *k, const uint8_t *data, size_t size, void *state, const char **why)
{
	struct decoder d = { .c = { .at = data, .left = size } };
	struct header h = { 0 };
	struct keys keys;
	int r;

	memset(state, 0, k->size);
	keys_init(&keys, k->fields);
	keys_reserve(&keys);
	r = header_read(&d.c, &h);
	if (r >= 0 && !item_is(&h.kind, k->name))
		r = cursor_bad(&d.c, "it is of another kind");
	d.version = h.version;
	if (r >= 0)
		r = decode_pairs(&d, &keys, h.fields, state, drop_in(k));
	if (r >= 0 && d.c.left)
		r = cursor_bad(&d.c, "bytes follow it");
	if (r < 0)
		*why = d.c.why;
	return r;
}
