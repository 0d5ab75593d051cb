/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Every component, one to a line. Within a stage of a restore those of processes come before those of
 * threads, each in this order; where it matters is said.
 */
#include "object/component.h"

#define COMPONENTS(X)                                                                                                  \
	X(tree)                                                                                                        \
	X(process)                                                                                                     \
	X(thread)                                                                                                      \
	X(continued) /* before pending signals */                                                                      \
	X(sharing)                                                                                                     \
	X(sharing_outside)                                                                                             \
	X(outside_memory)                                                                                              \
	X(locks_mapped)                                                                                                \
	X(memory)                                                                                                      \
	X(aio)                                                                                                         \
	X(descriptors) /* before locks: it closes descriptors, which drops POSIX locks */                              \
	X(file)                                                                                                        \
	X(external) /* before the kinds of files that it may be */                                                     \
	X(memfd)    /* before regular */                                                                               \
	X(shmem)    /* before regular */                                                                               \
	X(mqueue)   /* before regular */                                                                               \
	X(pressure) /* before regular */                                                                               \
	X(regular)                                                                                                     \
	X(device)                                                                                                      \
	X(pipe)                                                                                                        \
	X(eventfd)                                                                                                     \
	X(epoll)                                                                                                       \
	X(timerfd)                                                                                                     \
	X(signalfd)                                                                                                    \
	X(userfaultfd)                                                                                                 \
	X(bpf_btf)                                                                                                     \
	X(bpf_map)                                                                                                     \
	X(namespace_file)                                                                                              \
	X(fanotify)                                                                                                    \
	X(inotify)                                                                                                     \
	X(pidfd)                                                                                                       \
	X(pty)                                                                                                         \
	X(pty_slave)                                                                                                   \
	X(dev_tty)                                                                                                     \
	X(unix)                                                                                                        \
	X(tcp)                                                                                                         \
	X(raw) /* before udp: what it has overheard comes while nobody has a port */                                   \
	X(udp)                                                                                                         \
	X(netlink)                                                                                                     \
	X(packet)                                                                                                      \
	X(io_uring) /* after those whose descriptors rounds replace: they may be registered with it */                 \
	X(io_uring_tasks)                                                                                              \
	X(unsupported) /* the last of the files: matches everything */                                                 \
	X(shm)	       /* after pipe: writing to a fifo changes its times, which are set last */                       \
	X(locks)                                                                                                       \
	X(controlling_terminal)                                                                                        \
	X(namespaces)                                                                                                  \
	X(cgroup)                                                                                                      \
	X(namespace_settings)                                                                                          \
	X(tracer)                                                                                                      \
	X(dispatch)                                                                                                    \
	X(landlock)                                                                                                    \
	X(security_label)                                                                                              \
	X(ipc_limits) /* before what they limit */                                                                     \
	X(sysv_shm)                                                                                                    \
	X(sysv_shm_last)                                                                                               \
	X(sysv_sem)                                                                                                    \
	X(sysv_msg)                                                                                                    \
	X(semaphore_undo)                                                                                              \
	X(mqueues)                                                                                                     \
	X(mqueue_notify)                                                                                               \
	X(io_context)                                                                                                  \
	X(session_keyrings)                                                                                            \
	X(keyrings)                                                                                                    \
	X(signal_actions)                                                                                              \
	X(directory)                                                                                                   \
	X(watched)                                                                                                     \
	X(fs)                                                                                                          \
	X(shared_pending)                                                                                              \
	X(pending)                                                                                                     \
	X(sigaltstack)                                                                                                 \
	X(itimers)                                                                                                     \
	X(posix_timers)                                                                                                \
	X(login)                                                                                                       \
	X(limits)                                                                                                      \
	X(x86_process)                                                                                                 \
	X(attributes)                                                                                                  \
	X(scheduling)                                                                                                  \
	X(timer_slack)                                                                                                 \
	X(core_scheduling)                                                                                             \
	X(mempolicy)                                                                                                   \
	X(iopl)                                                                                                        \
	X(x86)                                                                                                         \
	X(seccomp_filter)                                                                                              \
	X(seccomp)	   /* while privileged */                                                                      \
	X(credentials)	   /* after what needs privileges */                                                           \
	X(session_keyring) /* as the user whose keyring is linked */                                                   \
	X(ended_scheduling)                                                                                            \
	X(ended)                                                                                                       \
	X(thread_attributes) /* after credentials, which clear the parent-death signal */

#define DECLARE(name) extern const struct component component_##name;
COMPONENTS(DECLARE)

#define NAME(name) &component_##name,
const struct component *const components[] = { COMPONENTS(NAME) NULL };

#define KIND(name) &component_##name.kind,
const struct record_kind *const record_kinds[] = { COMPONENTS(KIND) NULL };
