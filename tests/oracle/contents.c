/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Hashes of memory and files, by page: the sum of a hash for each page that is not all zeroes, seeded with
 * its place. So it is the same whether zero pages are there or not, and may be computed in any order; and
 * reading never allocates a page in the target.
 */

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "oracle.h"

#define CHUNK (1UL << 20)

/* linux/fs.h since 6.7; the machine's headers are older. */
struct page_range {
	uint64_t start, end, categories;
};

struct page_scan {
	uint64_t size, flags, start, end, walk_end, vec, vec_len, max_pages, inverted, mask, anyof, returned;
};

#define PAGEMAP_SCAN_ _IOWR('f', 16, struct page_scan)
#define IS_FILE	      (1 << 2)
#define IS_PRESENT    (1 << 3)
#define IS_SWAPPED    (1 << 4)
#define IS_ZERO	      (1 << 5)
#define IS_GUARD      (1 << 8)

static uint64_t page_hash(const unsigned char *page, uint64_t place)
{
	static const unsigned char zeroes[PAGE];

	return memcmp(page, zeroes, PAGE) ? hash_bytes(page, PAGE, place) : 0;
}

/* What the kernel writes into a thread's rseq area as it pleases: cpu numbers and the pointer it clears. */
static void forget_rseq(const struct proc *p, unsigned char *buf, uint64_t at, size_t len)
{
	static const struct {
		unsigned from, to;
	} unsteady[] = { { 0, 16 }, { 20, 28 } };

	for (size_t i = 0; i < p->ntasks; i++) {
		uint64_t area = p->tasks[i].rseq;

		if (!area || area + 32 <= at || area >= at + len)
			continue;
		for (size_t j = 0; j < ARRAY_SIZE(unsteady); j++)
			for (uint64_t b = area + unsteady[j].from; b < area + unsteady[j].to; b++)
				if (b >= at && b < at + len)
					buf[b - at] = 0;
	}
}

/* Pages of a process, by /proc/PID/mem, which also reads what the process itself may not. */
static uint64_t sum_memory(const struct proc *p, int mem, uint64_t start, uint64_t end, struct contents *c)
{
	static unsigned char buf[CHUNK];
	uint64_t sum = 0;

	while (start < end) {
		size_t want = end - start < CHUNK ? end - start : CHUNK;
		ssize_t n = pread(mem, buf, want, start);

		if (n < (ssize_t)PAGE) {
			c->unreadable = true;
			return sum;
		}
		n &= ~(PAGE - 1);
		forget_rseq(p, buf, start, n);
		for (ssize_t i = 0; i < n; i += PAGE)
			sum += page_hash(buf + i, start + i);
		start += n;
	}
	return sum;
}

/* A range of a file; what is beyond its end counts as zeroes. */
bool contents_of_fd(int fd, uint64_t start, uint64_t end, uint64_t *result)
{
	static unsigned char buf[CHUNK];
	uint64_t sum = 0;

	while (start < end) {
		size_t want = end - start < CHUNK ? end - start : CHUNK;
		off_t data = lseek(fd, start, SEEK_DATA);
		ssize_t n;

		if (data < 0 && errno == ENXIO)
			break;
		if (data > (off_t)start) {
			start = data & ~(PAGE - 1);
			continue;
		}
		n = pread(fd, buf, want, start);
		if (n < 0)
			return false;
		if (n == 0)
			break;
		memset(buf + n, 0, -n & (PAGE - 1));
		for (ssize_t i = 0; i < n; i += PAGE)
			sum += page_hash(buf + i, start + i);
		start += n;
	}
	*result = sum;
	return true;
}

/* The file behind a mapping; a device is not opened, as that could do something. */
static int open_mapped(const struct proc *p, const struct mapping *m)
{
	char path[96];
	struct stat st;

	snprintf(path, sizeof(path), "/proc/%d/map_files/%lx-%lx", live_tid(p), (unsigned long)m->start,
		(unsigned long)m->end);
	if (stat(path, &st) < 0 || !S_ISREG(st.st_mode))
		return -1;
	return open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOATIME); /* a tree could see that it was read */
}

/* The same range of the same file is read once, however many map it. */
static bool sum_file(struct oracle *o, int fd, const struct mapping *m, uint64_t *sum)
{
	uint64_t range[2] = { m->offset, m->end - m->start };
	uint64_t file[2] = { m->dev, m->ino };
	uint64_t a = hash_bytes(file, sizeof(file), 1), b = hash_bytes(range, sizeof(range), 2);

	if (table_get(&o->contents, a, b, sum))
		return true;
	if (!contents_of_fd(fd, m->offset, m->offset + (m->end - m->start), sum))
		return false;
	table_set(&o->contents, a, b, *sum);
	return true;
}

/* A private page replaces that of the file: the file's goes out of the sum, and the process's own comes in.
 */
static void add_range(const struct proc *p, const struct mapping *m, const struct page_range *r, int mem, int file,
	struct contents *c)
{
	uint64_t underneath = 0;

	if (r->categories & IS_GUARD) {
		for (uint64_t at = r->start; at < r->end; at += PAGE)
			c->guards += hash_bytes(&at, sizeof(at), 0);
		return;
	}
	if (r->categories & IS_FILE)
		return;
	if (file >= 0 &&
		contents_of_fd(file, m->offset + (r->start - m->start), m->offset + (r->end - m->start), &underneath))
		c->sum -= underneath;
	if (!(r->categories & IS_ZERO))
		c->sum += sum_memory(p, mem, r->start, r->end, c);
}

#define RANGES 512

/* Before Linux 6.7, from the entries of /proc/PID/pagemap themselves. What is not there must not be read: that would bring it there. */
static int scan_entries(int pagemap, struct page_scan *scan, struct page_range *ranges)
{
	uint64_t entries[RANGES], pages = (scan->end - scan->start) / PAGE, n = pages < RANGES ? pages : RANGES;
	int found = 0;

	if (pread(pagemap, entries, n * 8, (off_t)(scan->start / PAGE * 8)) != (ssize_t)(n * 8))
		return -1;
	for (uint64_t i = 0; i < n; i++) {
		uint64_t at = scan->start + i * PAGE, present = entries[i] >> 62; /* in memory, or in swap */
		uint64_t categories = IS_PRESENT | (entries[i] >> 61 & 1 ? IS_FILE : 0);

		if (present && found && ranges[found - 1].end == at && ranges[found - 1].categories == categories)
			ranges[found - 1].end += PAGE;
		else if (present)
			ranges[found++] = (struct page_range){ at, at + PAGE, categories };
	}
	scan->walk_end = scan->start + n * PAGE;
	return found;
}

static int scan_pages(int pagemap, struct page_scan *scan, struct page_range *ranges)
{
	int n = ioctl(pagemap, PAGEMAP_SCAN_, scan);

	if (n < 0 && errno == EINVAL && scan->returned & IS_GUARD) { /* Linux 6.15 */
		scan->anyof &= ~(uint64_t)IS_GUARD;
		scan->returned &= ~(uint64_t)IS_GUARD;
		n = ioctl(pagemap, PAGEMAP_SCAN_, scan);
	}
	return n < 0 && errno == ENOTTY ? scan_entries(pagemap, scan, ranges) : n;
}

static bool own_pages(const struct proc *p, const struct mapping *m, int mem, int file, struct contents *c)
{
	struct page_range ranges[RANGES];
	struct page_scan scan = { .size = sizeof(scan),
		.start = m->start,
		.end = m->end,
		.vec = (uintptr_t)ranges,
		.vec_len = ARRAY_SIZE(ranges),
		.anyof = IS_PRESENT | IS_SWAPPED | IS_GUARD,
		.returned = IS_PRESENT | IS_SWAPPED | IS_FILE | IS_ZERO | IS_GUARD };
	char path[64];
	_close_ int pagemap = -1;

	snprintf(path, sizeof(path), "/proc/%d/pagemap", live_tid(p));
	pagemap = open(path, O_RDONLY | O_CLOEXEC);
	while (scan.start < m->end) {
		int n = scan_pages(pagemap, &scan, ranges);

		if (n < 0)
			return false;
		for (int i = 0; i < n; i++)
			add_range(p, m, &ranges[i], mem, file, c);
		scan.start = scan.walk_end;
	}
	return true;
}

static bool has_flag(const struct mapping *m, const char *flag)
{
	const char *at = strstr(m->flags, flag);

	return at && (at == m->flags || at[-1] == ' ') && (at[2] == ' ' || !at[2]);
}

void contents_of(struct oracle *o, struct proc *p, const struct mapping *m, struct contents *c)
{
	char path[64];
	_close_ int mem = -1;
	_close_ int file = -1;

	/* Time and devices change by themselves, and reading a device's memory may do something. Rings of sockets: rings.c. */
	if (!strncmp(m->name, "[vvar", 5) || !strncmp(m->name, "[vsyscall", 9) || has_flag(m, "io") ||
		has_flag(m, "pf") || !strncmp(m->name, "socket:[", 8))
		return;
	snprintf(path, sizeof(path), "/proc/%d/mem", live_tid(p));
	mem = open(path, O_RDONLY | O_CLOEXEC);
	if (m->ino)
		file = open_mapped(p, m);
	c->known = true;
	if (file >= 0 && !sum_file(o, file, m, &c->sum)) {
		close(file);
		file = -1;
	}
	if (m->perms[3] == 's') {
		if (file < 0)
			c->sum = sum_memory(p, mem, m->start, m->end, c);
		return;
	}
	if (file >= 0 && !m->anonymous)
		return;
	if (!strcmp(m->name, "[vdso]") || !own_pages(p, m, mem, file, c))
		c->sum = sum_memory(p, mem, m->start, m->end, c);
}
