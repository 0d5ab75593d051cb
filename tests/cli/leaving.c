/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* leaving FILE: threads that all look for a file, and end the process with status 3 as soon as it is there. The name of the process tells how many rounds the first has made. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <unistd.h>

#define THREADS 12

static void *look(void *arg)
{
	for (;;)
		if (access(arg, F_OK) == 0)
			_exit(3);
}

int main(int argc, char **argv)
{
	pthread_t thread;
	char name[16];

	if (argc != 2)
		return 2;
	for (int i = 0; i < THREADS; i++)
		if (pthread_create(&thread, NULL, look, argv[1]) != 0)
			return 1;
	for (unsigned long n = 0;; n++) {
		snprintf(name, sizeof(name), "%lu", n);
		prctl(PR_SET_NAME, name);
		if (access(argv[1], F_OK) == 0)
			_exit(3);
	}
}
