/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What is set in a network namespace, as texts to be compared: those of the thread's own. NULL: there is none, or this kernel has no such thing. The caller's to free. */
#pragma once

char *network_sysctls(void);	  /* "PATH VALUE" in each line */
char *network_nft_tables(void);	  /* one digit for each packet of the answer */
char *network_policy_rules(void); /* ip-rule(8), as hexadecimal digits */
char *network_disciplines(void);  /* queueing disciplines that were set: tc(8) */
