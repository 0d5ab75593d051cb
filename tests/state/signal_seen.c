/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "signal_seen.h"

volatile sig_atomic_t count, last_signo, last_code, last_value;
volatile pid_t last_tid;
int order[64];

void note(int sig)
{
	count++;
	last_signo = sig;
}

void note_info(int sig, siginfo_t *si, void *uc)
{
	if (count < 64)
		order[count] = si->si_value.sival_int;
	count++;
	last_signo = sig;
	last_code = si->si_code;
	last_value = si->si_value.sival_int;
	last_tid = tid_self();
}

int catch (int sig, int flags)
{
	struct sigaction sa = { .sa_sigaction = note_info, .sa_flags = flags | SA_SIGINFO };

	sigemptyset(&sa.sa_mask);
	CHECK(!sigaction(sig, &sa, NULL));
	return 0;
}

sigset_t one(int sig)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, sig);
	return set;
}

int mask(int how, int sig)
{
	sigset_t set = one(sig);

	SAME(pthread_sigmask(how, &set, NULL), 0);
	return 0;
}
