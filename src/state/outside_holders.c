/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "state/outside_holders.h"

#include <fcntl.h>
#include <linux/kcmp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "state/external.h"
#include "state/mqueue.h"

/* All eventfds are one inode, but each has a number. 0: the kernel does not show it (before 5.2). */
#define EVENTFDS UINT64_MAX /* in the place of a device */

static bool is_eventfd(const char *link)
{
	return !strcmp(link, "anon_inode:[eventfd]");
}

static uint64_t eventfd_number(const char *info)
{
	uint64_t number;

	return proc_value_u64(info, "eventfd-id", 10, &number) == 0 ? number + 1 : 0;
}

/* Of one inode, too, and without a number: these are compared (kcmp(2)). 0: not of these, else which. */
#define NUMBERLESS (UINT64_MAX - 1)

static uint64_t numberless_kind(const char *link)
{
	static const char *const kinds[] = { "[eventpoll]", "[timerfd]", "[signalfd]", "inotify", "[fanotify]",
		"[userfaultfd]", "bpf-map" };

	for (size_t i = 0; !strncmp(link, "anon_inode:", 11) && i < ARRAY_SIZE(kinds); i++)
		if (!strcmp(link + 11, kinds[i]))
			return i + 1;
	return 0;
}

static bool is_end(const struct description *d)
{
	const struct file_look *f = d->look;

	if (d->external || d->crosses || f->flags & O_PATH)
		return false;
	if (mqueue_matches(f) || S_ISSOCK(f->mode) || is_eventfd(f->link) || numberless_kind(f->link))
		return true;
	return (S_ISFIFO(f->mode) && f->link[0] != '/') || (S_ISCHR(f->mode) && is_terminal_device(f->rdev));
}

static int by_inode(const void *a, const void *b)
{
	const struct outside_end *x = a, *y = b;

	return x->ino != y->ino ? (x->ino < y->ino ? -1 : 1) : (x->dev > y->dev) - (x->dev < y->dev);
}

static int by_pid(const void *a, const void *b)
{
	const pid_t *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

static bool in_tree(const struct outside_ends *e, pid_t pid)
{
	return bsearch(&pid, e->tree, e->n_tree, sizeof(pid), by_pid) != NULL;
}

/* --- noting --- */

static int note_tree(const struct tree *t, struct outside_ends *e)
{
	struct timespec now;

	e->tree = calloc(t->n_processes, sizeof(*e->tree));
	if (!e->tree)
		return -ENOMEM;
	for (size_t i = 0; i < t->n_processes; i++)
		e->tree[e->n_tree++] = t->processes[i]->pid;
	qsort(e->tree, e->n_tree, sizeof(*e->tree), by_pid);
	clock_gettime(CLOCK_BOOTTIME, &now);
	e->noted_at = (uint64_t)((now.tv_sec * 1000000000 + now.tv_nsec) / (1000000000 / sysconf(_SC_CLK_TCK)));
	return 0;
}

/* By what it is found again. To hold thousands of them meanwhile there may be no room: what is closed in that moment is not found. */
static void give_key(const struct description *d, struct outside_end *end)
{
	uint64_t kind = numberless_kind(d->look->link);

	if (is_eventfd(d->look->link)) {
		end->dev = EVENTFDS;
		end->ino = eventfd_number(d->look->info);
	}
	if (!kind)
		return;
	end->dev = NUMBERLESS;
	end->ino = kind;
	end->tid = d->tid;
	end->fd = d->look->fd;
}

int outside_ends_note(struct capture *c)
{
	struct outside_ends *e = c->ends;

	outside_ends_free(e);
	e->list = calloc(c->descriptions->n + 1, sizeof(*e->list));
	if (!e->list)
		return -ENOMEM;
	for (const struct description *d = c->descriptions->first; d; d = d->next) {
		const struct process *p = d->look->process;
		struct outside_end *end = &e->list[e->n];

		if (!is_end(d))
			continue;
		*end = (struct outside_end){
			.dev = d->look->dev, .ino = d->look->ino, .pid = p->pid, .name = file_name(d->look)
		};
		snprintf(end->process, sizeof(end->process), "%s", p->stat.comm);
		give_key(d, end);
		e->eventfds |= end->dev == EVENTFDS;
		e->numberless |= end->dev == NUMBERLESS;
		e->n++;
	}
	qsort(e->list, e->n, sizeof(*e->list), by_inode);
	return MIN(note_tree(c->tree, e), outside_sharers_note(c, &e->sharers));
}

void outside_ends_free(struct outside_ends *e)
{
	free(e->list);
	free(e->tree);
	outside_sharers_free(&e->sharers);
	*e = (struct outside_ends){ 0 };
}

/* --- looking for them --- */

/* The link alone tells most descriptors apart; only a likely one is looked at. */
static bool may_be_end(const char *link)
{
	return !strncmp(link, "socket:[", 8) || !strncmp(link, "pipe:[", 6) || !strncmp(link, "/dev/pts/", 9) ||
	       !strncmp(link, "/dev/mqueue/", 12) || (link[0] == '/' && !strchr(link + 1, '/')); /* a message queue */
}

/* Born of the tree since it runs again? Within one tick of the clock that start times are told by, only the parents tell. */
static bool is_newborn(const struct outside_ends *e, pid_t pid)
{
	for (int generations = 0; pid > 1 && generations < 64; generations++) {
		_cleanup_fd_ int dir = procfs_open_pid(pid);
		struct proc_stat stat;

		if (dir < 0 || proc_stat_read(dir, &stat) < 0 || stat.starttime > e->noted_at)
			return true; /* or gone */
		if (stat.starttime < e->noted_at)
			return false;
		pid = stat.ppid;
		if (in_tree(e, pid))
			return true;
	}
	return false;
}

/* What the list knows it by, for a descriptor of that link. */
static bool key_of(const struct outside_ends *e, int dir, const char *name, const char *link, struct outside_end *key)
{
	_cleanup_free_ char *info = NULL;
	char path[40];
	struct stat st;

	if (is_eventfd(link)) {
		snprintf(path, sizeof(path), "../fdinfo/%.20s", name);
		key->dev = EVENTFDS;
		key->ino = e->eventfds && procfs_read(dir, path, &info, NULL) == 0 ? eventfd_number(info) : 0;
		return key->ino;
	}
	if (!may_be_end(link) || fstatat(dir, name, &st, 0) < 0)
		return false;
	key->dev = st.st_dev;
	key->ino = st.st_ino;
	return true;
}

static const struct outside_end *find_numberless(
	const struct outside_ends *e, uint64_t kind, const char *name, pid_t pid)
{
	for (size_t i = 0; i < e->n; i++) {
		const struct outside_end *end = &e->list[i];

		if (end->dev == NUMBERLESS && end->ino == kind &&
			syscall(SYS_kcmp, end->tid, pid, KCMP_FILE, end->fd, strtoul(name, NULL, 10)) == 0)
			return end;
	}
	return NULL;
}

static const struct outside_end *find_end(
	const struct outside_ends *e, int dir, const char *name, const char *link, pid_t pid)
{
	struct outside_end key = { 0 };
	uint64_t kind = e->numberless ? numberless_kind(link) : 0;

	if (kind)
		return find_numberless(e, kind, name, pid);
	return key_of(e, dir, name, link, &key) ? bsearch(&key, e->list, e->n, sizeof(key), by_inode) : NULL;
}

static void check_descriptor(const struct outside_ends *e, int dir, const char *name, pid_t pid, struct problems *ps)
{
	const struct outside_end *end;
	char link[64];
	ssize_t n = readlinkat(dir, name, link, sizeof(link) - 1);

	if (n <= 0)
		return;
	link[n] = '\0';
	end = find_end(e, dir, name, link, pid);
	if (end && !is_newborn(e, pid))
		refused(ps,
			BLAME(.pid = end->pid, .process = end->process, .object = end->name.s,
				.remedy = "close it there, or name a tree that holds that process too"),
			"process %d, which is outside the tree, has it open too (descriptor %s)", pid, name);
}

static void check_process(const struct outside_ends *e, pid_t pid, struct problems *ps)
{
	char path[32];
	_cleanup_dir_ DIR *dir = NULL;
	struct dirent *entry;

	snprintf(path, sizeof(path), "/proc/%d/fd", pid);
	dir = opendir(path);
	while (dir && (entry = readdir(dir)))
		if (entry->d_name[0] != '.')
			check_descriptor(e, dirfd(dir), entry->d_name, pid, ps);
}

int outside_ends_check(const struct outside_ends *e, struct problems *ps)
{
	_cleanup_free_ int *pids = NULL;
	size_t n = 0;
	int err = e->n || e->sharers.n ? procfs_numbers(AT_FDCWD, "/proc", &pids, &n) : 0;

	if (err)
		return failed(ps, BLAME(.object = "/proc"), err, "cannot be read: %s", strerror(-err));
	for (size_t i = 0; i < n; i++)
		if (pids[i] != getpid() && !in_tree(e, pids[i])) {
			check_process(e, pids[i], ps);
			outside_sharers_check(&e->sharers, pids[i], ps);
		}
	return ps->first_error;
}
