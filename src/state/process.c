/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* process: who is whose child, group and session. fork(2), setsid(2), setpgid(2), wait(2), proc_pid_stat(5); kernel/fork.c, kernel/exit.c. */
#include "state/process.h"

static const struct field process_fields[] = {
	FIELD_UINT(struct process_state, pid, "pid", "in the pid namespace of the tree's root, as all pids here"),
	FIELD_REF(struct process_state, parent, "parent", "process", REF_LATE, "none: the root of the tree"),
	FIELD_REF(struct process_state, parent_thread, "parent_thread", "thread", REF_LATE,
		"whose child it is, if that is another than its parent's leader"),
	FIELD_UINT(struct process_state, group, "group", "process group; 0: one from outside of that namespace"),
	FIELD_UINT(struct process_state, session, "session", "likewise"),
	FIELD_BOOL(struct process_state, executed, "executed", "has called exec since it was forked"),
	FIELD_UINT(struct process_state, exit_signal, "exit_signal", "what its parent gets when it ends"),
	FIELD_BOOL(struct process_state, zombie, "zombie", "has ended and waits for its parent"),
	FIELD_HEX(struct process_state, exit_code, "exit_code",
		"of a zombie, or a leader that has ended, as wait(2) has it"),
	FIELD_UINT(struct process_state, stopped, "stopped", "signal by which job control has stopped it"),
	FIELD_BOOL(struct process_state, stop_reported, "stop_reported", "its parent has waited for that"),
	FIELD_STRING(struct process_state, name, "name", "of its leader"),
	FIELD_END,
};

/* Whose end tells a child (PR_SET_PDEATHSIG), and who alone waits for it with __WNOTHREAD. */
static object_id parent_thread(const struct capture *c)
{
	const struct process *p = c->process;
	const struct thread *th =
		p->parent && p->parent_tid != p->parent->pid ? tree_find_tid(c->tree, p->parent_tid) : NULL;

	return th && th->process == p->parent && th->stop.state != STOP_GONE ? th->id : 0;
}

int process_save(struct capture *c)
{
	struct process *p = c->process;
	const struct stop *leader = p->n_threads ? &p->threads[0].stop : NULL;
	bool root = !p->parent;
	struct process_state s = {
		.pid = (uint64_t)p->vpid,
		.parent = root ? 0 : p->parent->id,
		.parent_thread = parent_thread(c),
		.group = (uint64_t)p->status.pgid_in_ns,
		.session = (uint64_t)p->status.sid_in_ns,
		.executed = !(p->stat.flags & PF_FORKNOEXEC),
		.exit_signal = (uint64_t)p->stat.exit_signal,
		.zombie = p->zombie,
		.exit_code = p->stat.state == 'Z' ? (uint64_t)p->stat.exit_code : 0,
		.stopped = leader && leader->group_stopped ? (uint64_t)leader->stop_signal : 0,
		.stop_reported = !p->stat.exit_code,
		.name = p->stat.comm,
	};

	/* Its first task execs the seed, in the namespaces that it is born into. */
	if (root && !s.executed)
		changed(c->ps, BLAME_PROCESS(p, .object = "exec"),
			"has never called exec, and will look as if it had (PF_FORKNOEXEC in /proc/PID/stat)");
	return image_add(c->writer, &component_process.kind, p->id, &s);
}

const struct component component_process = {
	.kind = {
		.name = "process",
		.version = 1,
		.size = sizeof(struct process_state),
		.fields = process_fields,
		.doc = "a process and its place in the tree",
		.sources = "fork(2), setsid(2), setpgid(2), wait(2); kernel/fork.c; selftests/clone3",
		.critical = true,
	},
	.scope = SCOPE_OTHER, /* the engine's: processes are what it makes */
};
