/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "kernel/places.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/macro.h"
#include "base/process.h"

#define FORMAT	 1 /* another when btf_find answers otherwise */
#define NAME	 "kernel-places"
#define KEY_MAX	 4096
#define MOST	 1024
#define FUNCTION "()" /* in place of a member */

struct known {
	const char *type, *member; /* the asker's, or in the text; */
	char *noted;		   /* or here */
	struct member_place place; /* of a function: its id as offset */
	bool absent;		   /* there is no such */
};

struct places {
	bool tried, read;
	int error; /* of reading the BTF */
	struct btf btf;
	char key[KEY_MAX]; /* empty: not to be kept */
	char *text;	   /* what was kept */
	struct known list[MOST];
	size_t n, n_kept;
};

struct places *places_new(void)
{
	return calloc(1, sizeof(struct places));
}

void places_free(struct places *p)
{
	if (!p)
		return;
	btf_free(&p->btf);
	for (size_t i = 0; i < p->n; i++)
		free(p->list[i].noted);
	free(p->text);
	free(p);
}

/* --- what is kept --- */

/* Which boot of which kernel. The notes hold the build id. */
static bool make_key(char *key)
{
	_cleanup_free_ char *boot = NULL, *notes = NULL;
	size_t n = 0;
	int at;

	if (file_read_all(AT_FDCWD, "/proc/sys/kernel/random/boot_id", &boot, NULL) < 0 ||
		file_read_all(AT_FDCWD, "/sys/kernel/notes", &notes, &n) < 0 || !n || 2 * n > KEY_MAX / 2)
		return false;
	at = snprintf(key, KEY_MAX / 2, "%d %.64s", FORMAT, boot);
	at -= at > 0 && key[at - 1] == '\n';
	key[at++] = ' ';
	for (size_t i = 0; i < n; i++)
		at += sprintf(key + at, "%02x", (unsigned char)notes[i]);
	return true;
}

/* The next word of a line, which it ends; NULL: there is none. */
static char *word(char **at)
{
	char *start = *at, *end = start + strcspn(start, " \n");

	if (end == start || !*end)
		return NULL;
	*at = end + 1;
	*end = '\0';
	return start;
}

static bool parse_number(char **at, uint32_t *out)
{
	char *text = word(at), *end = text;

	if (text)
		*out = (uint32_t)strtoul(text, &end, 10);
	return end != text && !*end;
}

static bool parse_line(char *line, struct known *k)
{
	k->type = word(&line);
	k->member = k->type ? word(&line) : NULL;
	if (!k->member)
		return false;
	k->absent = !strcmp(line, "-\n");
	return k->absent || (parse_number(&line, &k->place.offset) && parse_number(&line, &k->place.size) &&
				    parse_number(&line, &k->place.bit) && parse_number(&line, &k->place.bits));
}

static void parse(struct places *p)
{
	size_t length = strlen(p->key);
	char *at = p->text;

	if (strncmp(at, p->key, length) != 0 || at[length] != '\n')
		return;
	for (at += length + 1; *at && p->n < MOST;) {
		struct known k = { 0 };
		char *next = strchrnul(at, '\n'), after;

		next += *next == '\n';
		after = *next;
		*next = '\0';
		if (!parse_line(at, &k))
			break;
		p->list[p->n++] = k;
		*next = after;
		at = next;
	}
	p->n_kept = p->n;
}

static void load(struct places *p)
{
	_cleanup_fd_ int dir = run_dir_open();

	if (dir < 0 || !make_key(p->key)) {
		p->key[0] = '\0';
		return;
	}
	if (file_read_all(dir, NAME, &p->text, NULL) == 0)
		parse(p);
}

static void print(const struct places *p, FILE *f)
{
	fprintf(f, "%s\n", p->key);
	for (size_t i = 0; i < p->n; i++) {
		const struct known *k = &p->list[i];

		if (k->absent)
			fprintf(f, "%s %s -\n", k->type, k->member);
		else
			fprintf(f, "%s %s %" PRIu32 " %" PRIu32 " %" PRIu32 " %" PRIu32 "\n", k->type, k->member,
				k->place.offset, k->place.size, k->place.bit, k->place.bits);
	}
}

/* Two at once: the later one's is kept, and the other's found again. */
void places_keep(struct places *p)
{
	_cleanup_fd_ int dir = -1;
	char *text = NULL;
	size_t size = 0;
	FILE *f;

	if (!p || p->n == p->n_kept || !p->key[0])
		return;
	f = open_memstream(&text, &size);
	if (!f)
		return;
	print(p, f);
	dir = run_dir_open();
	if (fclose(f) == 0 && dir >= 0 && file_replace(dir, NAME, text) == 0)
		p->n_kept = p->n;
	free(text);
}

/* --- asking --- */

static int read_btf(struct places *p)
{
	if (!p->read) {
		p->read = true;
		p->error = btf_read(&p->btf);
	}
	return p->error;
}

int places_ready(struct places *p)
{
	if (!p->tried) {
		p->tried = true;
		load(p);
	}
	return p->n ? 0 : read_btf(p);
}

static const struct known *find_known(const struct places *p, const char *type, const char *member)
{
	for (size_t i = 0; i < p->n; i++)
		if (!strcmp(p->list[i].member, member) && !strcmp(p->list[i].type, type))
			return &p->list[i];
	return NULL;
}

int places_member(struct places *p, const char *type, const char *member, struct member_place *out)
{
	const struct known *known;
	int r = places_ready(p);

	*out = (struct member_place){ 0 };
	if (r < 0)
		return r;
	known = find_known(p, type, member);
	if (known) {
		*out = known->place;
		return known->absent ? -ENOENT : 0;
	}
	r = read_btf(p);
	if (r < 0)
		return r;
	if (strcmp(member, FUNCTION) != 0)
		r = btf_find(&p->btf, type, member, out);
	else
		r = btf_find_function(&p->btf, type, &out->offset);
	if (p->n < MOST)
		p->list[p->n++] = (struct known){ type, member, NULL, *out, r < 0 };
	return r;
}

int places_function(struct places *p, const char *name, uint32_t *id)
{
	struct member_place place;
	int r = places_member(p, name, FUNCTION, &place);

	*id = place.offset;
	return r;
}

void places_note(struct places *p, const char *type, const char *member, const struct member_place *place)
{
	char *noted = p->n < MOST ? strdup(member) : NULL;

	if (noted)
		p->list[p->n++] = (struct known){ type, noted, noted, *place, false };
}

const char *places_noted(const struct places *p, const char *type, size_t *at, struct member_place *out)
{
	for (; *at < p->n; (*at)++)
		if (!strcmp(p->list[*at].type, type)) {
			*out = p->list[*at].place;
			return p->list[(*at)++].member;
		}
	return NULL;
}
