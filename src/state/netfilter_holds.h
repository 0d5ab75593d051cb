/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What netfilter keeps for a socket of NETLINK_NETFILTER, by its port: queues and logs that packets go to, and tables that live as long as it. */
#pragma once

#include "state/files.h"

/* Refuses each by name. 0: it keeps nothing; else a negative errno. */
int netfilter_holds_refuse(struct capture *c, const struct file_look *f, uint32_t port);
