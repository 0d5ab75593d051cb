/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "memory_look.h"

#include <setjmp.h>

char *map(size_t len, int prot, int flags)
{
	char *p = mmap(NULL, len, prot, flags | MAP_ANONYMOUS, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

char *map_private(size_t len)
{
	return map(len, PROT_READ | PROT_WRITE, MAP_PRIVATE);
}

static sigjmp_buf escape;
static int last_code;

static void on_fault(int sig, siginfo_t *si, void *uc)
{
	last_code = si->si_code;
	siglongjmp(escape, sig);
}

int fault_of(volatile char *p, bool write)
{
	struct sigaction sa = { .sa_sigaction = on_fault, .sa_flags = SA_SIGINFO }, segv, bus;
	int sig;

	sigaction(SIGSEGV, &sa, &segv);
	sigaction(SIGBUS, &sa, &bus);
	sig = sigsetjmp(escape, 1);
	if (!sig) {
		char c = *p;

		if (write)
			*p = c;
	}
	sigaction(SIGSEGV, &segv, NULL);
	sigaction(SIGBUS, &bus, NULL);
	return sig;
}

int fault_code(void)
{
	return last_code;
}

bool vm_flag(const void *start, const char *flag)
{
	FILE *f = fopen("/proc/self/smaps", "re");
	bool here = false, found = false;
	char line[512], head[32];

	if (!f)
		return false;
	snprintf(head, sizeof(head), "%lx-", (unsigned long)start);
	while (fgets(line, sizeof(line), f)) {
		if (!strncmp(line, head, strlen(head)))
			here = true;
		if (here && !strncmp(line, "VmFlags:", 8)) {
			found = strstr(line, flag) != NULL;
			break;
		}
	}
	fclose(f);
	return found;
}

long resident(void *p, size_t len)
{
	static unsigned char vec[65536];
	long n = 0;

	if (mincore(p, len, vec))
		return -1;
	for (size_t i = 0; i < len / PAGE; i++)
		n += vec[i] & 1;
	return n;
}

bool present(const void *p)
{
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	uint64_t entry = 0;
	ssize_t n = pread(fd, &entry, sizeof(entry), (off_t)((uintptr_t)p / PAGE * sizeof(entry)));

	close(fd);
	return n == sizeof(entry) && entry >> 62;
}
