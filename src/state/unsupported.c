/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What no component knows: refused by name. The last in the table. */
#include <string.h>
#include <sys/sysmacros.h>

#include "state/external.h"
#include "state/socket_name.h"

static const struct {
	const char *link; /* how the link begins */
	const char *what;
} known[] = {
	{ "anon_inode:[perf_event]", "a perf event" },
	{ "anon_inode:bpf", "a BPF object" },
	{ "anon_inode:[bpf", "a BPF object" },
	{ "anon_inode:kvm", "a KVM object" },
	{ "anon_inode:[landlock-ruleset]", "a landlock ruleset" },
	{ "anon_inode:seccomp notify", "a seccomp listener" },
	{ "anon_inode:[fscontext]", "a file system context (fsopen)" },
	{ "anon_inode:sync_file", "a GPU fence" },
	{ "anon_inode:[secretmem]", "secret memory (memfd_secret)" },
	{ "/secretmem", "secret memory (memfd_secret)" },
	{ "/SYSV", "System V shared memory" },
	{ "/dmabuf:", "a DMA buffer" },
	{ "/dev/kvm", "the KVM device" },
	{ "/dev/fuse", "a FUSE connection" },
	{ "/dev/net/tun", "a TUN or TAP interface" },
};

static const char *known_name(const struct file_look *f)
{
	for (size_t i = 0; i < ARRAY_SIZE(known); i++)
		if (!strncmp(f->link, known[i].link, strlen(known[i].link)))
			return known[i].what;
	return NULL;
}

static int refuse(struct capture *c, const struct file_look *f, const char *what)
{
	return refused(c->ps, BLAME_FILE(f), "%s cannot be carried by this version", what);
}

static bool unsupported_matches(const struct file_look *f)
{
	return true;
}

static int refuse_device(struct capture *c, const struct file_look *f)
{
	char what[64];

	if (S_ISCHR(f->mode) && is_terminal_device(f->rdev))
		return refused(c->ps, BLAME_FILE(f, .remedy = "name a tree that holds both ends"),
			"a terminal that the outside holds, and which is not that of the tree's root");
	snprintf(what, sizeof(what), "a %s device (%u:%u)", S_ISCHR(f->mode) ? "character" : "block", major(f->rdev),
		minor(f->rdev));
	return refuse(c, f, what);
}

static int unsupported_capture(struct capture *c, const struct file_look *f, void *state)
{
	char what[320];
	int fd;

	if (S_ISSOCK(f->mode)) {
		fd = file_dup(c, f);
		if (fd < 0)
			return fd;
		socket_name(fd, what, sizeof(what));
		return refuse(c, f, what);
	}
	if (known_name(f))
		return refuse(c, f, known_name(f));
	if (S_ISCHR(f->mode) || S_ISBLK(f->mode))
		return refuse_device(c, f);
	return refuse(c, f, "a kind of file that spore does not know");
}

const struct component component_unsupported = {
	.kind = { .name = "unsupported",
		.version = 1,
		.size = 1,
		.fields = (const struct field[]){ FIELD_END },
		.doc = "never written: what is refused by name",
		.sources = "proc_pid_fd(5)" },
	.scope = SCOPE_BACKING,
	.matches = unsupported_matches,
	.by_description = true,
	.capture_file = unsupported_capture,
};
