/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Parsers of fdinfo, of /proc/timer_list and of the notes of ELF files. */
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "state/fdinfo.h"
#include "state/regular.h"
#include "state/wall_timers.h"
#include "unit.h"

static void common(void)
{
	struct file_look f = { 0 };

	CHECK(!fdinfo_parse("pos:\t1234\nflags:\t02100002\nmnt_id:\t27\nino:\t99\n", &f));
	CHECK(f.pos == 1234 && f.flags == 0100002 && f.cloexec && f.mnt_id == 27 && f.ino == 99);
	CHECK(!fdinfo_parse("pos:\t0\nflags:\t00\n", &f) && !f.cloexec && f.ino == 0);
	CHECK(fdinfo_parse("", &f) == -EBADMSG);
	CHECK(fdinfo_parse("pos:\t0\n", &f) == -EBADMSG);
}

static void locks(void)
{
	struct fdinfo_lock l;

	CHECK(!fdinfo_lock_parse("1: POSIX  ADVISORY  WRITE 4711 fe:00:123 10 19\n", &l));
	CHECK(!strcmp(l.class, "POSIX") && !strcmp(l.mode, "WRITE") && l.start == 10 && l.length == 10);
	CHECK(!fdinfo_lock_parse("2: FLOCK  ADVISORY  READ  4711 00:1f:123 0 EOF\n", &l) && !l.length &&
		!strcmp(l.mode, "READ"));
	CHECK(!fdinfo_lock_parse("1: OFDLCK ADVISORY  READ  -1 fe:00:123 0 0\n", &l) && l.length == 1);
	CHECK(!fdinfo_lock_parse("1: LEASE  ACTIVE    READ  17 fe:00:123 0 EOF\n", &l) && !strcmp(l.state, "ACTIVE"));
	CHECK(fdinfo_lock_parse("1: POSIX  ADVISORY  WRITE 4711 fe:00:123 10 9\n", &l) == -EBADMSG);
	CHECK(fdinfo_lock_parse("1: POSIX  ADVISORY\n", &l) == -EBADMSG);
	CHECK(fdinfo_lock_parse("", &l) == -EBADMSG);
}

static void epolls(void)
{
	const char *at = "pos:\t0\ntfd:        5 events:       19 data:     100000005  pos:0 ino:61 sdev:10\n"
			 "tfd:        7 events: 80000019 data:                7  pos:0 ino:62 sdev:10\n";
	struct fdinfo_epoll t;

	CHECK(!fdinfo_epoll_parse(fdinfo_next(&at, "tfd"), &t));
	CHECK(t.fd == 5 && t.events == 0x19 && t.data == 0x100000005 && t.ino == 0x61);
	CHECK(!fdinfo_epoll_parse(fdinfo_next(&at, "tfd"), &t) && t.fd == 7 && t.events == 0x80000019);
	CHECK(!fdinfo_next(&at, "tfd"));
	CHECK(fdinfo_epoll_parse("x", &t) == -EBADMSG);
}

static void marks(void)
{
	const char *at = "pos:\t0\ninotify wd:1f ino:a72285 sdev:fe00003 mask:84000fff ignored_mask:0 fhandle-bytes:3 "
			 "fhandle-type:81 "
			 "f_handle:8522a7\nfanotify mnt_id:1e mflags:200 mask:20 ignored_mask:40000001\nfanotify "
			 "sdev:1b mflags:0 mask:8 "
			 "ignored_mask:0\n";
	const char *line = fdinfo_next_line(&at, "inotify ");
	uint32_t flags, event_flags;
	struct fdinfo_mark m;

	CHECK(!fdinfo_mark_parse(line, &m) && m.wd == 0x1f && m.mask == 0x84000fff && m.on == MARK_INODE);
	CHECK(m.ino == 0xa72285 && m.major == 0xfe && m.minor == 3 && m.handle_type == 0x81 && m.handle_size == 3);
	CHECK(!memcmp(m.handle, "\x85\x22\xa7", 3));
	CHECK(!fdinfo_mark_parse(fdinfo_next_line(&at, "fanotify "), &m) && m.on == MARK_MOUNT && m.mount == 0x1e);
	CHECK(m.mark_flags == 0x200 && m.mask == 0x20 && m.ignored_mask == 0x40000001);
	CHECK(!fdinfo_mark_parse(fdinfo_next_line(&at, "fanotify "), &m) && m.on == MARK_FILE_SYSTEM &&
		m.minor == 0x1b);
	CHECK(!fdinfo_next_line(&at, "fanotify "));
	CHECK(fdinfo_mark_parse("wd:1 ino:2 sdev:3 mask:1 ignored_mask:0 fhandle-bytes:999 fhandle-type:1 f_handle:00",
		      &m) == -EBADMSG);
	CHECK(fdinfo_mark_parse("wd:1 ino:2 sdev:3 mask:1 ignored_mask:0 fhandle-bytes:4 fhandle-type:1 f_handle:00",
		      &m) == -EBADMSG);
	CHECK(fdinfo_mark_parse("", &m) == -EBADMSG);
	CHECK(!fdinfo_fanotify_parse("pos: 0\nfanotify flags:c33 event-flags:88002\n", &flags, &event_flags));
	CHECK(flags == 0xc33 && event_flags == 0x88002);
	CHECK(fdinfo_fanotify_parse("", &flags, &event_flags) == -EBADMSG);
	CHECK(fdinfo_has_write_lease("flags:\t02\nlock:\t1: LEASE  ACTIVE    WRITE 17 fe:00:123 0 EOF\n"));
	CHECK(!fdinfo_has_write_lease("lock:\t1: LEASE  ACTIVE    READ 17 fe:00:123 0 EOF\n"));
}

static void timers(void)
{
	struct fdinfo_timer t;

	CHECK(!fdinfo_timer_parse(
		"clockid: 1\nticks: 3\nsettime flags: 01\nit_value: (2, 499932113)\nit_interval: (1, 0)\n", &t));
	CHECK(t.clock == 1 && t.ticks == 3 && t.settime_flags == 1 && t.value_ns == 2499932113 &&
		t.interval_ns == 1000000000);
	CHECK(fdinfo_timer_parse("clockid: 1\nticks: 3\nsettime flags: 01\nit_value: (2)\nit_interval: (1, 0)\n", &t) ==
		-EBADMSG);
	CHECK(fdinfo_timer_parse("clockid: 1\n", &t) == -EBADMSG);
}

static void wall_timers(void)
{
	struct wall_timers w = { 0 };

	CHECK(!wall_timers_parse("cpu: 0\n clock 0:\n  .index:      0\nactive timers:\n"
				 " #0: <000000008c27cc26>, posix_timer_fn, S:01\n"
				 " # expires at 100-100 nsecs [in 1 to 1 nsecs]\n clock 1:\nactive timers:\n"
				 " #0: <000000008c27cc26>, hrtimer_wakeup, S:01\n"
				 " # expires at 200-250 nsecs [in 1 to 1 nsecs]\n"
				 " #1: <000000008c27cc26>, posix_timer_fn, S:01\n"
				 " # expires at 300-300 nsecs [in 1 to 1 nsecs]\ncpu: 1\n clock 1:\n"
				 " #0: <000000008c27cc26>, posix_timer_fn, S:01\n"
				 " # expires at 400-400 nsecs [in 1 to 1 nsecs]\n clock 2:\n"
				 " #0: <000000008c27cc26>, posix_timer_fn, S:01\n"
				 " # expires at 500-500 nsecs [in 1 to 1 nsecs]",
		&w));
	CHECK(w.known && w.n == 2);
	CHECK(wall_timers_find(&w, 300, 300) == 300 && wall_timers_find(&w, 399, 401) == 400);
	CHECK(!wall_timers_find(&w, 100, 299) && !wall_timers_find(&w, 401, 600));
	wall_timers_free(&w);
	CHECK(!wall_timers_parse("", &w) && !w.n && !wall_timers_find(&w, INT64_MIN, INT64_MAX));
}

static size_t elf_with_note(uint8_t *buffer, uint32_t name_size, uint32_t id_size)
{
	Elf64_Ehdr e = { .e_phoff = sizeof(e), .e_phentsize = sizeof(Elf64_Phdr), .e_phnum = 1 };
	Elf64_Nhdr note = { .n_namesz = name_size, .n_descsz = id_size, .n_type = NT_GNU_BUILD_ID };
	Elf64_Phdr p = { .p_type = PT_NOTE, .p_offset = sizeof(e) + sizeof(p), .p_filesz = sizeof(note) + 4 + 20 };

	memcpy(e.e_ident, ELFMAG, SELFMAG);
	e.e_ident[EI_CLASS] = ELFCLASS64;
	memcpy(buffer, &e, sizeof(e));
	memcpy(buffer + sizeof(e), &p, sizeof(p));
	memcpy(buffer + p.p_offset, &note, sizeof(note));
	memcpy(buffer + p.p_offset + sizeof(note), "GNU", 4);
	memset(buffer + p.p_offset + sizeof(note) + 4, 0xab, 20);
	return p.p_offset + p.p_filesz;
}

static void build_ids(void)
{
	uint8_t buffer[512];
	const uint8_t *id;
	size_t n, size = elf_with_note(buffer, 4, 20);

	CHECK(!build_id_parse(buffer, size, &id, &n) && n == 20 && id[0] == 0xab);
	for (size_t cut = 0; cut < size; cut++)
		CHECK(build_id_parse(buffer, cut, &id, &n) == -ENODATA);
	elf_with_note(buffer, 4, 21);
	CHECK(build_id_parse(buffer, size, &id, &n) == -ENODATA);
	elf_with_note(buffer, UINT32_MAX, 20);
	CHECK(build_id_parse(buffer, size, &id, &n) == -ENODATA);
}

int main(void)
{
	common();
	locks();
	epolls();
	marks();
	timers();
	wall_timers();
	build_ids();
	return 0;
}
