/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a process and its machine are called: name, arguments, environment, executable. prctl(2), proc(5), uname(2). */

#include "maker.h"

#include <sys/utsname.h>
#include <sys/prctl.h>
#include <sys/sendfile.h>

static pid_t kid;

static int name_make(struct maker_ctx *ctx)
{
	return prctl(PR_SET_NAME, "a) R (\n\\b");
}

static int name_use(struct maker_ctx *ctx)
{
	char name[17] = "";

	CHECK(!prctl(PR_GET_NAME, name));
	SAME(strcmp(name, "a) R (\n\\b"), 0);
	return 0;
}

/* Argument and environment areas written over, as setproctitle does. */
static int title_make(struct maker_ctx *ctx)
{
	char *start = NULL, *found;
	FILE *f = fopen("/proc/self/stat", "re");
	char text[1024] = "";
	unsigned long a = 0, b = 0;
	int field = 3;

	CHECK(f && fread(text, 1, sizeof(text) - 1, f));
	fclose(f);
	found = strrchr(text, ')');
	for (found += 2; field < 48 && found; field++)
		found = strchr(found, ' ') + 1;
	CHECK(found && sscanf(found, "%lu %lu", &a, &b) == 2);
	start = (char *)a;
	CHECK(b - a > 30);
	memset(start, 0, b - a);
	strcpy(start, "maker: a title of its own");
	return 0;
}

static int title_use(struct maker_ctx *ctx)
{
	CHECK(file_has("/proc/self/cmdline", "maker: a title of its own"));
	return 0;
}

/* The same by prctl: the areas lie elsewhere. */
static int areas_make(struct maker_ctx *ctx)
{
	struct prctl_mm_map m = { 0 };
	char *args = malloc(64), *env = malloc(64); /* has to be anonymous memory */
	FILE *f = fopen("/proc/self/stat", "re");
	char text[1024] = "", *p;

	CHECK(args && env && f && fread(text, 1, sizeof(text) - 1, f));
	fclose(f);
	p = strrchr(text, ')') + 2;
	for (int field = 3; field < 53; field++, p = strchr(p, ' ') ? strchr(p, ' ') + 1 : p) {
		unsigned long n = strtoul(p, NULL, 10);

		switch (field) {
		case 26:
			m.start_code = n;
			break;
		case 27:
			m.end_code = n;
			break;
		case 28:
			m.start_stack = n;
			break;
		case 45:
			m.start_data = n;
			break;
		case 46:
			m.end_data = n;
			break;
		case 47:
			m.start_brk = n;
			break;
		}
	}
	memcpy(args, "moved\0away", 11);
	memcpy(env, "LIFE=new", 9);
	m.brk = (uintptr_t)sbrk(0);
	m.arg_start = (uintptr_t)args;
	m.arg_end = m.arg_start + 11;
	m.env_start = (uintptr_t)env;
	m.env_end = m.env_start + 9;
	m.exe_fd = (unsigned)-1;
	NEED(!prctl(PR_SET_MM, PR_SET_MM_MAP, &m, sizeof(m), 0));
	return 0;
}

static int areas_use(struct maker_ctx *ctx)
{
	char text[100] = "";
	int fd = open("/proc/self/cmdline", O_RDONLY | O_CLOEXEC);

	SAME(read(fd, text, sizeof(text)), 11);
	CHECK(!memcmp(text, "moved\0away", 11));
	close(fd);
	CHECK(file_has("/proc/self/environ", "LIFE=new"));
	return 0;
}

/* An executable that has lost its name. */
static int exe_make(struct maker_ctx *ctx)
{
	char copy[700];
	int in = open("/proc/self/exe", O_RDONLY), out;
	struct stat st;

	snprintf(copy, sizeof(copy), "%s", in_dir(ctx, "copy"));
	out = open(copy, O_CREAT | O_WRONLY | O_EXCL, 0755);
	CHECK(in >= 0 && out >= 0 && !fstat(in, &st));
	/* not copy_file_range, which stays on one file system */
	for (off_t at = 0; at < st.st_size;)
		CHECK(sendfile(out, in, &at, (size_t)(st.st_size - at)) > 0);
	close(in);
	close(out);
	CHECK(!mkfifo(in_dir(ctx, "exit-now"), 0600));
	kid = fork();
	CHECK(kid >= 0);
	if (!kid) {
		execl(copy, "copy", "--wait", ctx->path, "5", NULL);
		_exit(99);
	}
	TRY(until_blocked_in(kid, SYS_openat));
	CHECK(!unlink(copy));
	return 0;
}

static int exe_use(struct maker_ctx *ctx)
{
	char path[64], to[1000] = "";
	int status;

	snprintf(path, sizeof(path), "/proc/%d/exe", kid);
	CHECK(readlink(path, to, sizeof(to) - 1) > 0);
	CHECK(strstr(to, "(deleted)"));
	CHECK(open(ctx->path, O_RDWR) >= 0);
	SAME(waitpid(kid, &status, 0), kid);
	SAME(status, 5 << 8);
	return 0;
}

/* The names of the machine, as its container sees it. Outside of one, where pids are larger, they are not ours to change. */
static int uts_make(struct maker_ctx *ctx)
{
	NEED(getpid() <= 2);
	NEED(!sethostname("a-name", 6));
	return setdomainname("a-domain", 8);
}

static int uts_use(struct maker_ctx *ctx)
{
	struct utsname name;

	CHECK(!uname(&name));
	SAME(strcmp(name.nodename, "a-name"), 0);
	SAME(strcmp(name.domainname, "a-domain"), 0);
	return 0;
}

const struct maker makers_name[] = {
	{ "machine-name", "host and domain name of its container", uts_make, uts_use, MAKER_CONTAINER },
	ROW("name", "a name with odd characters", name),
	ROW("title", "arguments written over", title),
	ROW("areas", "arguments and environment elsewhere", areas),
	{ "exe-deleted", "a deleted executable", exe_make, exe_use },
	{ 0 },
};
