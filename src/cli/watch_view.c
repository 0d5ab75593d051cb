/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "cli/watch_view.h"

#include <inttypes.h>
#include <langinfo.h>
#include <locale.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "cli/json.h"

#define MIB(bytes) ((double)(bytes) / 1048576)
#define MS(us)	   ((double)(us) / 1000)

static bool is_utf8(void)
{
	locale_t l = newlocale(LC_CTYPE_MASK, "", (locale_t)0);
	bool is = l && !strcmp(nl_langinfo_l(CODESET, l), "UTF-8");

	if (l)
		freelocale(l);
	return is;
}

void view_begin(struct view *v, bool json, const char *title)
{
	*v = (struct view){ .kind = json		    ? VIEW_JSON
				    : isatty(STDOUT_FILENO) ? VIEW_LIVE
							    : VIEW_LINES,
		.utf8 = is_utf8() };
	if (v->kind != VIEW_JSON)
		printf("%s%s\n", title, v->kind == VIEW_LIVE ? "; ^C ends it" : "");
	fflush(stdout);
}

void view_clear(struct view *v)
{
	if (v->drawn)
		printf("\033[%uA\r\033[J", v->drawn);
	v->drawn = 0;
	fflush(stdout);
}

/* --- lines --- */

static uint64_t changed_bytes(const struct view_image *i)
{
	return i->result->pages * PAGE_SIZE;
}

static void print_line(const struct view_image *i)
{
	char name[STORE_NAME];

	store_name(i->image->number, name);
	printf("%s  stopped %.1f ms  changed %.1f MiB", name, MS(i->result->stop_us), MIB(changed_bytes(i)));
	if (i->since_us)
		printf(" (%.1f MiB/s)", MIB(changed_bytes(i)) / ((double)i->since_us / 1e6));
	printf("  image %.1f MiB in %.1f ms%s\n", MIB(i->image->bytes), MS(i->result->total_us),
		i->merged ? ", stands alone" : "");
}

static void print_json(const struct view_image *i)
{
	char name[STORE_NAME];

	if (i->image) {
		store_name(i->image->number, name);
		printf("{\"number\": %" PRIu64 ", \"image\": \"%s\", \"stop_us\": %" PRIu64 ", \"total_us\": %" PRIu64
		       ", \"pages\": %" PRIu64 ", \"unchanged\": %" PRIu64 ", \"tracked\": %" PRIu64
		       ", \"tasks\": %" PRIu64 ", \"bytes\": %" PRIu64
		       ", \"merged\": %s, \"removed\": %zu, \"kept\": %zu, \"kept_bytes\": %" PRIu64 ", ",
			i->image->number, name, i->result->stop_us, i->result->total_us, i->result->pages,
			i->result->unchanged, i->result->tracked, i->result->tasks, i->image->bytes,
			i->merged ? "true" : "false", i->removed, i->store->n, store_bytes(i->store));
	} else {
		printf("{\"failed\": %d, ", i->status);
	}
	talk_json(i->talk, stdout);
	printf("}\n");
}

/* --- the live view --- */

static unsigned int columns(void)
{
	struct winsize size;

	return ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col ? size.ws_col : 80;
}

static uint64_t value_of(const struct view_step *s, bool stop)
{
	return stop ? s->stop_us : s->changed;
}

/* From 0 to the most that it shows. */
static void draw_bar(const struct view *v, const struct view_step *s, bool stop, uint64_t most)
{
	static const char *const bars[] = { "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█" };
	uint64_t level = most ? value_of(s, stop) * 7 / most : 0;

	if (s->failed)
		putchar('x');
	else if (v->utf8)
		fputs(bars[level], stdout);
	else
		putchar("_.,-=+*#"[level]);
}

static void draw_history(const struct view *v, bool stop)
{
	size_t n = MIN(v->n, VIEW_HISTORY), room = columns();
	uint64_t least = UINT64_MAX, most = 0;

	room = room > 50 ? room - 40 : 10;
	n = MIN(n, room);
	for (size_t i = v->n - n; i < v->n; i++) {
		const struct view_step *s = &v->history[i % VIEW_HISTORY];

		least = s->failed ? least : MIN(least, value_of(s, stop));
		most = s->failed ? most : MAX(most, value_of(s, stop));
	}
	printf("  %-8s ", stop ? "stopped" : "changed");
	for (size_t i = v->n - n; i < v->n; i++)
		draw_bar(v, &v->history[i % VIEW_HISTORY], stop, most);
	least = MIN(least, most);
	printf("  %.1f to %.1f %s\n", stop ? MS(least) : MIB(least), stop ? MS(most) : MIB(most), stop ? "ms" : "MiB");
}

static void draw(struct view *v, const struct view_image *i)
{
	char first[STORE_NAME], last[STORE_NAME];
	const struct store *s = i->store;

	printf("  ");
	if (i->image)
		print_line(i);
	else
		printf("no image this time\n");
	draw_history(v, true);
	draw_history(v, false);
	v->drawn = 3;
	if (!s->n)
		return;
	store_name(s->list[0].number, first);
	store_name(store_newest(s)->number, last);
	printf("  kept     %zu image%s, %s to %s, %.1f MiB\n", s->n, s->n == 1 ? "" : "s", first, last,
		MIB(store_bytes(s)));
	v->drawn++;
}

void view_show(struct view *v, const struct view_image *i)
{
	v->history[v->n++ % VIEW_HISTORY] =
		(struct view_step){ .stop_us = i->result->stop_us, .changed = changed_bytes(i), .failed = !i->image };
	view_clear(v);
	if (v->kind == VIEW_JSON)
		print_json(i);
	else if (v->kind == VIEW_LIVE)
		draw(v, i);
	else if (i->image)
		print_line(i);
	else
		printf("no image this time\n");
	fflush(stdout);
}

void view_end(struct view *v, const char *why, uint64_t images, uint64_t failures)
{
	if (v->kind == VIEW_JSON)
		printf("{\"ended\": \"%s\", \"images\": %" PRIu64 ", \"failures\": %" PRIu64 "}\n", why, images,
			failures);
	else
		printf("%s: %" PRIu64 " image%s, %" PRIu64 " failure%s\n",
			!strcmp(why, "tree") ? "the tree has ended" : "ended", images, images == 1 ? "" : "s", failures,
			failures == 1 ? "" : "s");
	fflush(stdout);
}
