/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What is set in a network namespace, as texts to be compared: those of the thread's own. NULL: there is none, or this kernel has no such thing. The caller's to free. */
#pragma once

char *network_sysctls(void);  /* "PATH VALUE" in each line */
char *network_programs(void); /* eBPF that is attached to it: bpf(2) */

/* network_netlink.c: as hexadecimal digits what the kernel answers, without what it counts; or a digit for each answer */
char *network_links(void); /* ip-link(8), with XDP */
char *network_addresses(void);
char *network_routes(void);
char *network_nexthops(void);
char *network_neighbours(void);	    /* set by hand */
char *network_address_labels(void); /* ip-addrlabel(8) */
char *network_policy_rules(void);   /* ip-rule(8) */
char *network_disciplines(void);    /* queueing disciplines that were set: tc(8) */
char *network_actions(void);	    /* of tc(8) */
char *network_ipsec(void);	    /* ip-xfrm(8) */
char *network_nft_tables(void);
char *network_ip_sets(void);
char *network_mptcp(void); /* ip-mptcp(8) */
