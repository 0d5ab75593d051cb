/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The reference of the image format: prose for what no table says, and the tables for the rest. */
#include "image/format.h"

#include "image/stream.h"

#define STRINGIFY_(x) #x
#define STRINGIFY(x)  STRINGIFY_(x)

static const char prose[] =
	"# The image format\n"
	"\n"
	"<!-- Written by spore from its tables of fields: change those, not this file. -->\n"
	"\n"
	"An image is a directory. This page describes the formats " STRINGIFY(IMAGE_FORMAT) " and " STRINGIFY(
		IMAGE_FORMAT_COMPRESSED) ".\n"
					 "\n"
					 "| file | holds |\n"
					 "| --- | --- |\n"
					 "| `head.cbor` | one record: what the image is and where it was made. Written "
					 "first |\n"
					 "| `KIND.cbor` | all records of one kind |\n"
					 "| `pages-0`, `pages-1`, ... | pages of memory, raw, nothing between them; or "
					 "blocks of them, compressed |\n"
					 "| `page_blocks.cbor` | the checksums of the page files |\n"
					 "| `manifest` | the name, length and checksum of every other file, and a "
					 "seal. "
					 "Written last and renamed into place: "
					 "a directory without it holds no image |\n"
					 "\n"
					 "Files have the mode 0600: they hold everything that the programs knew. A "
					 "file "
					 "that the manifest does not name is "
					 "ignored; one that it names and that is missing, longer, shorter or different "
					 "is an error.\n"
					 "\n"
					 "## Records\n"
					 "\n"
					 "A `.cbor` file is a CBOR sequence (RFC 8742) of records. A record is a map "
					 "that begins, in this order, with\n"
					 "\n"
					 "| key | value |\n"
					 "| --- | --- |\n"
					 "| `is` | text: its kind, which is also the name of its file. 1 to 31 of a-z, "
					 "0-9, _ and - |\n"
					 "| `v` | number: the version of the kind that wrote it, 1 or more |\n"
					 "| `id` | number: the object that it describes, unique in the image; 0: it is "
					 "none, and nothing refers to it |\n"
					 "| `critical` | `true`, or not there: a reader that does not know the kind "
					 "must refuse the image |\n"
					 "\n"
					 "and then has its fields by name. Every length is definite. No key stands "
					 "twice in one map. A field's type is one of\n"
					 "\n"
					 "| type | in CBOR |\n"
					 "| --- | --- |\n"
					 "| u8 to u64 | an unsigned integer that fits |\n"
					 "| i8 to i64 | an integer that fits |\n"
					 "| bool | true or false |\n"
					 "| string | a text; where the bytes are not UTF-8, a byte string. Never with "
					 "a "
					 "NUL in it. Left out: there is none |\n"
					 "| string(N) | the same, of at most N bytes |\n"
					 "| bytes(N) | a byte string of exactly N bytes |\n"
					 "| bytes | a byte string |\n"
					 "| reference | the id of another record, of the kind named. Left out: there "
					 "is "
					 "none. A strong reference's target is "
					 "made first, so that these form no cycle; late ones may |\n"
					 "| struct | a map of the fields that the following rows name with a dot |\n"
					 "| list | an array of such maps |\n"
					 "| numbers | an array of unsigned integers |\n"
					 "\n"
					 "A field that is not there reads as zero, empty or none.\n"
					 "\n"
					 "## Versions\n"
					 "\n"
					 "- Fields are added to a kind, never removed, reused or given another "
					 "meaning. "
					 "A field that came later says since which "
					 "version; it cannot stand in a record of an earlier one.\n"
					 "- A reader skips the fields that it does not know (up to 64 in one map), and "
					 "the records of kinds that it does not know, "
					 "unless they are critical.\n"
					 "- Kinds that begin with `x-` belong to users.\n"
					 "- `format` in the head changes only when the directory itself does; a reader "
					 "refuses any that it does not know.\n"
					 "\n"
					 "## The manifest\n"
					 "\n"
					 "Two records, `manifest` and `manifest_end`, and nothing else. The second "
					 "holds the checksum of all bytes of the first, "
					 "and is in its shortest encoding, so that no byte of it can differ either. "
					 "Checksums are XXH3 with the seed 0, 128 bits "
					 "in canonical (big endian) form.\n"
					 "\n"
					 "## Page files\n"
					 "\n"
					 "Page number n of a page file is its bytes from 4096 n. Which page of which "
					 "process it is, the records of memory say. For "
					 "every " STRINGIFY(
						 PAGE_BLOCK) " pages, counted from the file's start, "
							     "`page_blocks` has one checksum (XXH3, seed 0, "
							     "64 bits), so that pages can be "
							     "checked as they are read; the manifest has "
							     "only their length.\n"
							     "\n"
							     "Where `page_blocks` names a compression, these "
							     "blocks lie one behind the other, each as long as "
							     "`stored` says: compressed by itself, or, if that "
							     "is as long as its pages, as it is. What lies in the file "
							     "has a checksum too (`stored_checksums`), so that "
							     "nothing but what was written need be decompressed; "
							     "`checksums` are of the pages, as ever. Files of one "
							     "chain may differ in this. The head of an image that "
							     "has such files says format 2, so that a reader of "
							     "raw ones alone refuses it by name; an image whose "
							     "own pages are raw has format 1, whatever its "
							     "ancestors have.\n"
							     "\n"
							     "## Streams\n"
							     "\n"
							     "The same image as one stream of bytes, for a pipe or "
							     "a socket. It begins with the 16 bytes "
							     "`spore stream 1`, a newline and a NUL. Then come "
							     "frames: the length of a record and its checksum "
							     "(XXH3, seed 0), 64 bits each, little endian; that "
							     "record, of the kind `frame`; and as many bytes as it "
							     "says. First are the files of the directory, one after "
							     "the other, each in pieces of at most 1 MiB. The pages "
							     "of processes lie in one page file, which is none of "
							     "them: it comes afterwards, in blocks of " STRINGIFY(
								     PAGE_BLOCK) " "
										 "pages in any order, so that who "
										 "builds a tree of the stream "
										 "needs none of it when it has been "
										 "put in place. Pages of zeros are "
										 "left out. The last are "
										 "`page_blocks.cbor`, the manifest "
										 "and an end: a stream without it is "
										 "no image.\n"
										 "\n"
										 "## Kinds\n";

static void put_type(const struct field *f, FILE *out)
{
	switch (f->type) {
	case FIELD_TYPE_UINT:
		fprintf(out, "u%zu", 8 * f->size);
		break;
	case FIELD_TYPE_INT:
		fprintf(out, "i%zu", 8 * f->size);
		break;
	case FIELD_TYPE_BOOL:
		fputs("bool", out);
		break;
	case FIELD_TYPE_STRING:
		fputs("string", out);
		break;
	case FIELD_TYPE_TEXT:
		fprintf(out, "string(%zu)", f->size - 1);
		break;
	case FIELD_TYPE_BYTES:
		fprintf(out, "bytes(%zu)", f->size);
		break;
	case FIELD_TYPE_BLOB:
		fputs("bytes", out);
		break;
	case FIELD_TYPE_REF:
		fprintf(out, "%sreference to %s", f->strength == REF_LATE ? "late " : "",
			f->ref_kind ? f->ref_kind : "any kind");
		break;
	case FIELD_TYPE_STRUCT:
		fputs("struct", out);
		break;
	case FIELD_TYPE_LIST:
		fputs("list", out);
		break;
	case FIELD_TYPE_UINTS:
		fputs("numbers", out);
		break;
	case FIELD_TYPE_END:
		break;
	}
}

/* Within a table's cell a bar would end it. */
static void put_cell(const char *text, FILE *out)
{
	for (; text && *text; text++)
		fprintf(out, *text == '|' ? "\\%c" : "%c", *text);
}

/* The rows of a struct within are named by the path to it. */
static void put_rows(const struct field *table, const char *path, FILE *out)
{
	char below[256];

	for (const struct field *f = table; f->type != FIELD_TYPE_END; f++) {
		fprintf(out, "| `%s%s` | ", path, f->name);
		put_type(f, out);
		fputs(" | ", out);
		if (f->since > 1)
			fprintf(out, "since version %u: ", f->since);
		put_cell(f->doc, out);
		fputs(" |\n", out);
		if (f->sub) {
			snprintf(below, sizeof(below), "%s%s.", path, f->name);
			put_rows(f->sub, below, out);
		}
	}
}

static void put_kind(const struct record_kind *k, FILE *out)
{
	fprintf(out, "\n### %s\n\n", k->name);
	if (k->doc)
		fprintf(out, "%s.\n", k->doc);
	fprintf(out, "Version %u%s.", k->version, k->critical ? ", critical" : "");
	if (k->sources)
		fprintf(out, " See %s.", k->sources);
	fputs("\n", out);
	if (k->fields->type == FIELD_TYPE_END)
		return;
	fputs("\n| field | type | what it is |\n| --- | --- | --- |\n", out);
	put_rows(k->fields, "", out);
}

void format_reference(const struct record_kind *const kinds[], FILE *out)
{
	fputs(prose, out);
	for (size_t i = 0; image_kinds[i]; i++)
		put_kind(image_kinds[i], out);
	put_kind(&frame_kind, out);
	for (size_t i = 0; kinds[i]; i++)
		put_kind(kinds[i], out);
}

static void put_names(const struct field *table, const char *path, FILE *out)
{
	char below[256];

	for (const struct field *f = table; f->type != FIELD_TYPE_END; f++) {
		snprintf(below, sizeof(below), "%s.%s", path, f->name);
		if (f->type != FIELD_TYPE_STRUCT) /* its members are what can be lost */
			fprintf(out, "%s\n", below);
		if (f->sub)
			put_names(f->sub, below, out);
	}
}

void format_field_names(const struct record_kind *const kinds[], FILE *out)
{
	for (size_t i = 0; kinds[i]; i++)
		put_names(kinds[i]->fields, kinds[i]->name, out);
}
