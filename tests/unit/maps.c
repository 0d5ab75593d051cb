/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* /proc/PID/smaps of a processor with protection keys, which the machine that runs the tests need not have. */
#include <string.h>

#include "kernel/procfs.h"
#include "unit.h"

static const char smaps[] =
	"7f0000000000-7f0000001000 rw-p 00000000 00:00 0 \n"
	"Size:                  4 kB\n"
	"THPeligible:           0\n"
	"ProtectionKey:         5\n"
	"VmFlags: rd wr mr mw me ac sd \n"
	"7f0000001000-7f0000002000 r--s 00001000 08:01 77                         /a file (deleted)\n"
	"Size:                  4 kB\n"
	"VmFlags: rd mr me ms \n"
	"7f0000002000-7f0000003000 --xp 00000000 00:00 0 \n"
	"ProtectionKey:        15\n"
	"VmFlags: ex mr mw me \n";

int main(void)
{
	struct proc_maps maps = { 0 };

	CHECK(proc_maps_parse(smaps, true, &maps) == 0);
	CHECK(maps.n == 3);
	CHECK(maps.list[0].pkey == 5 && !strncmp(maps.list[0].flags, "rd wr ", 6));
	CHECK(maps.list[1].pkey == 0 && maps.list[1].deleted && !strcmp(maps.list[1].name, "/a file"));
	CHECK(maps.list[2].pkey == 15);
	proc_maps_free(&maps);
	CHECK(proc_maps_parse("7f0000000000-7f0000001000 rw-p 00000000 00:00 0 \nProtectionKey: 5\n", true, &maps) < 0);
	return 0;
}
