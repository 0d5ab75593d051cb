/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* blind [-u] COMMAND...: runs it where bpf(2) is forbidden, as on a machine whose kernel cannot be looked into; -u: where userfaultfd(2) is. */
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

static int forbid(unsigned int number)
{
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { sizeof(filter) / sizeof(filter[0]), filter };

	return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program);
}

int main(int argc, char **argv)
{
	bool faults = argc > 1 && !strcmp(argv[1], "-u");

	argv += faults;
	if (argc < 2 + faults || forbid(faults ? SYS_userfaultfd : SYS_bpf) < 0)
		return 127;
	execvp(argv[1], argv + 1);
	perror(argv[1]);
	return 127;
}
