/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The tables that components.c lists. */
#pragma once

#include "object/component.h"

/* files */
extern const struct component component_descriptors;
extern const struct component component_device;
extern const struct component component_epoll;
extern const struct component component_eventfd;
extern const struct component component_external;
extern const struct component component_file;
extern const struct component component_locks;
extern const struct component component_memfd;
extern const struct component component_packet;
extern const struct component component_pidfd;
extern const struct component component_pipe;
extern const struct component component_regular;
extern const struct component component_shm;
extern const struct component component_shmem;
extern const struct component component_unix;
extern const struct component component_unsupported;
extern const struct component component_watched;
extern const struct component component_controlling_terminal;
extern const struct component component_dev_tty;
extern const struct component component_pty;
extern const struct component component_pty_slave;
