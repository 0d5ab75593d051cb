/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A container as `spore run` makes it, and as restore makes it again: its own pid, mount, ipc, uts, cgroup
 * and (for its clocks) time namespaces; a fresh /proc, /dev/pts and /dev/shm; a host name; a cgroup.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/problem.h"

struct container_spec {
	char *name;
	char *hostname, *domainname; /* NULL: the host's */
	char *root;		     /* NULL: the host's root directory */
	char *net;		     /* "host" (also NULL), "none" or the path of a network namespace */
	char *cgroup; /* path under the cgroup2 mount point, made by container_make_cgroup; NULL: that of the
			 caller */
	bool init;    /* pid 1 is spore's small reaping init, not the command */
	bool pids_only; /* a restored tree that moved to a pid namespace of its own: but for that and its /proc it is the host's */
	bool shm_limited; /* /dev/shm was given limits other than the default; 0: none */
	uint64_t shm_size, shm_inodes;
	int64_t monotonic_offset_ns, boottime_offset_ns; /* of the time namespace; both 0 and no timens: the host's */
	bool time_ns;
};

void container_spec_free(struct container_spec *spec);

/* CLONE_NEW* for clone3 of the first process, as the spec says. CLONE_NEWTIME is not among them, but container_enter_time's. */
uint64_t container_clone_flags(const struct container_spec *spec);
/* Makes the cgroup /spore/NAME (or finds it empty); fills spec->cgroup. Without cgroup v2, or without
 * permission, leaves it NULL and returns 0. */
int container_make_cgroup(struct container_spec *spec, struct problems *ps);
int container_remove_cgroup(const struct container_spec *spec);
/* The executable of the reaping init, as this process finds it. -ENOENT */
int container_init_path(char *out, size_t size);
/* Where it stands under another root directory (container_setup binds it there). */
#define CONTAINER_INIT_IN_ROOT "/dev/.spore-init"
/*
 * In the newborn first process, after clone3 and before anything else: mounts, host name, network, cgroup.
 * System calls only (no malloc, no locks), since it may run in a fork of a program with threads. Returns 0 or
 * negative errno with *what set to a literal that names the step.
 */
int container_setup(const struct container_spec *spec, const char **what);

/* Before container_setup, in the same way: its clocks. */
int container_enter_time(const struct container_spec *spec, const char **what);

/* In a new network namespace, as container_setup does. */
int container_raise_loopback(void);

/* Does the path lead to a mount that the container makes for itself? */
bool container_brings(const struct container_spec *spec, const char *path);
/* Refuses what was made in the /dev that a container with a root directory of its own has. */
void container_check_dev(pid_t pid, int root_fd, struct problems *ps);
/* Is all here that a container of that spec needs? Adds problems, touches nothing. */
int container_validate(const struct container_spec *spec, struct problems *ps);
/* O_PATH of the /dev/shm that a container has to itself, below its root directory. -ENOENT: it has none. */
int container_open_shm(int root_fd);
/* Sets the three members of the spec if the tmpfs is not as large as a new one would be here. */
int container_shm_limits(int shm_fd, struct container_spec *spec);

/* The register of containers under /run/spore: one file each, dropped when its process is gone. */
struct container_entry {
	char name[64];
	pid_t pid;	    /* as the caller sees it */
	uint64_t starttime; /* field 22 of /proc/PID/stat: is it still the same process? */
	struct container_spec spec;
	uint64_t last_checkpoint; /* seconds since 1970; 0: never */
	bool isolated;
	bool restored;
};
int container_register(const struct container_entry *entry, struct problems *ps);
int container_find(pid_t pid, struct container_entry *out); /* -ENOENT */
/* The entry, with pids_only, in whose pid namespace the process is. -ENOENT */
int container_find_moved(pid_t pid, struct container_entry *out);
int container_find_name(const char *name, struct container_entry *out);
int container_list(struct container_entry **list, size_t *n); /* drops those that are gone */
void container_list_free(struct container_entry *list, size_t n);
int container_note(pid_t pid, void (*change)(struct container_entry *entry, void *data), void *data);
/* Does the mount table of this process hold exactly what container_setup makes from that spec? Every other
 * mount is refused by name. */
int container_check_mounts(pid_t pid, const struct container_spec *spec, struct problems *ps);
