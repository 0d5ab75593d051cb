/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* save-and-restore PID DIR: saves a process tree into the empty directory DIR, kills it, brings it back. Build: cc save-and-restore.c -lspore */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <spore.h>

int main(int argc, char **argv)
{
	pid_t pid = argc == 3 ? atoi(argv[1]) : 0;
	int dir = argc == 3 ? open(argv[2], O_RDONLY | O_DIRECTORY) : -1;
	int r = spore_isolate(pid);

	if (r == 0)
		r = spore_checkpoint(-1, dir, pid);
	if (r == 0)
		kill(pid, SIGKILL); /* it dies as it was saved: isolated */
	spore_unisolate(pid);
	while (r == 0 && kill(pid, 0) == 0)
		usleep(1000); /* its pid is free when its parent has taken notice */
	if (r == 0)
		r = pid = spore_restore(dir, 0);
	if (r > 0)
		r = spore_unisolate(pid);
	printf("%d: %s\n", pid, r < 0 ? strerror(-r) : "saved, killed and restored");
	return r < 0;
}
