/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One guest: does what decide.c has decided, and keeps what was observed for replica.c to write.
 * Called by main.c on the main thread.
 */
#include <config.h>

#include "hv/hostd/hostd.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "hv/hostd/text_file.h"
#include "openvswitch/poll-loop.h"
#include "openvswitch/vlog.h"
#include "timeval.h"
#include "util.h"

VLOG_DEFINE_THIS_MODULE(guest);

enum {
	KILL_MS = 5000,	    /* From "stop" to the end. */
	CONNECT_MS = 30000, /* From the start to the first answer. */
	LINK_MS = 3000,	    /* How long a guest waits for the switch to connect. */
	TASKS = 512, /* Of the VMM, its storage daemons and the kernel's helpers; and a vCPU's: */
	TASKS_PER_VCPU = 4,
	STEPS_MAX = 8, /* Decisions in one round. */
};

/* --- Making and freeing --------------------------------------------------------------------- */

static char *directory_of(const struct hostd *hostd, const char *name)
{
	return xasprintf("%s/vm/%s", hostd->options->run_directory, name);
}

static int64_t now_ms(void)
{
	return time_wall_msec();
}

struct guest *guest_create(struct hostd *hostd, struct vm_wish *wish, enum vm_state remembered)
{
	struct guest *guest = xzalloc(sizeof(*guest));

	guest->hostd = hostd;
	guest->wish = *wish;
	*wish = (struct vm_wish){0};
	guest->directory = directory_of(hostd, guest->wish.name);
	guest->state = remembered;
	guest->since_ms = now_ms();
	guest->ask_ports = remembered == VM_STARTING;
	vmm_init(&guest->vmm, hostd->options->vmm, guest->directory, guest->wish.uuid);
	return guest;
}

void guest_destroy(struct guest *guest)
{
	vmm_destroy(&guest->vmm);
	storage_destroy(&guest->storage);
	vm_wish_destroy(&guest->wish);
	counts_clear(&guest->counts);
	free(guest->directory);
	free(guest->error);
	free(guest->ports_trouble);
	free(guest);
}

void guest_set_wish(struct guest *guest, struct vm_wish *wish)
{
	bool was_stopped = guest->wish.wanted == VM_WANTED_STOPPED;

	vm_wish_destroy(&guest->wish);
	guest->wish = *wish;
	*wish = (struct vm_wish){0};
	/* Each time that it is to stop it is asked anew, */
	if (!was_stopped && guest->wish.wanted == VM_WANTED_STOPPED && !guest->stop_sent)
		guest->button_pressed = false;
	/* and failures count from the last time that somebody wanted it to run. */
	if (was_stopped && guest->wish.wanted != VM_WANTED_STOPPED)
		guest->failures = 0;
}

bool guest_is_alive(const struct guest *guest)
{
	return guest->vmm.presence != VMM_ABSENT || guest->state == VM_STARTING;
}

bool guest_has_run(const struct guest *guest)
{
	return guest->state == VM_RUNNING || guest->state == VM_PAUSED ||
	       guest->state == VM_STOPPING;
}

/* --- What is observed ----------------------------------------------------------------------- */

/* Part of the sentence may be a VMM's or a file's own words, and the database takes no text that is
 * not whole. */
static void set_error(struct guest *guest, const char *error)
{
	char *text = error ? text_readable(error) : NULL;

	if (text == guest->error || (text && guest->error && !strcmp(text, guest->error))) {
		free(text);
		return;
	}
	free(guest->error);
	guest->error = text;
	replica_note(guest->hostd);
}

static void set_state(struct guest *guest, enum vm_state state)
{
	if (state == guest->state)
		return;
	VLOG_INFO("%s: %s", guest->wish.name, vm_state_name(state));
	guest->restarts += guest->state == VM_WAITING && state == VM_STARTING;
	guest->state = state;
	guest->since_ms = now_ms();
	replica_note(guest->hostd);
	/* Why it could not run before is answered by its running. */
	if (state == VM_RUNNING || state == VM_PAUSED)
		set_error(guest, NULL);
}

/* --- The end of a VMM ----------------------------------------------------------------------- */

static void take_end(
	struct guest *guest, enum vm_outcome outcome, const char *reason, long long int ran_ms)
{
	const struct vm_wish *wish = &guest->wish;
	struct vm_end end = {
		.outcome = outcome,
		.wanted = hostd_is_leaving(guest->hostd) ? VM_WANTED_STOPPED : wish->wanted,
		.restart = wish->restart,
		.deleted = guest->deleted,
		/* Who was to end for a leave that was broken off is to go on. */
		.start_asked =
			wish->start_request > guest->start_reached ||
			(guest->ends_for_leaving && time_msec() < guest->stop_deadline + KILL_MS),
		.ran_ms = ran_ms,
		.failures = guest->failures,
		.restart_limit = wish->restart_limit,
		.restart_ms = wish->restart_ms,
	};
	struct vm_end_decision next = vm_decide_end(&end);
	char *error;

	VLOG_INFO("%s: %s: %s", wish->name, vm_outcome_name(outcome), reason);
	guest->failures = next.failures;
	guest->retry_at = time_msec() + next.pause_ms;
	guest->button_pressed = guest->stop_sent = guest->ends_for_leaving = false;
	guest->outcome = outcome;
	guest->has_outcome = true;
	error = next.gave_up ? xasprintf("%s; it was started %u times in a row and is left so",
				       reason, end.failures + 1)
			     : xstrdup(reason);
	set_state(guest, next.state);
	/* That it was stopped as it should be is nothing to tell. */
	set_error(guest, next.state == VM_STOPPED ? NULL : error);
	free(error);
	replica_note(guest->hostd);
}

static void vmm_is_gone(struct guest *guest, const struct detached_end *end, long long int ran_ms)
{
	char *reason;
	enum vm_outcome outcome = outcome_read(guest->directory, end, &reason);

	take_end(guest, outcome, reason, ran_ms);
	free(reason);
	cgroups_remove(guest->hostd->cgroups, guest->wish.name);
	guest_set_counts(guest, &(struct counts){0});
}

/* --- What was there before this process ------------------------------------------------------ */

static bool was_alive(enum vm_state state)
{
	return state == VM_STARTING || state == VM_RUNNING || state == VM_PAUSED ||
	       state == VM_STOPPING;
}

static bool has_outcome(const struct guest *guest)
{
	char *path = xasprintf("%s/outcome", guest->directory);
	bool there = !access(path, F_OK);

	free(path);
	return there;
}

/* The first look.  One that ran when its state was written last, and does not now, has ended
 * meanwhile; unless the whole host was restarted, and its directory is gone as well. */
static void probe(struct guest *guest)
{
	struct storage_place place = {
		.program = guest->hostd->options->storage_daemon, .directory = guest->directory};
	struct detached_end unknown = {.exit_status = -1};

	guest->probed = true;
	replica_note(guest->hostd);
	vmm_probe(&guest->vmm);
	if (guest->vmm.presence == VMM_UNKNOWN) {
		if (!guest->deleted)
			storage_probe(&guest->storage, &place, &guest->wish);
		return;
	}
	storage_end_leftovers(&guest->storage, guest->directory);
	if (!was_alive(guest->state))
		return;
	if (access(guest->directory, F_OK) || (guest->state == VM_STARTING && !has_outcome(guest)))
		set_state(guest, VM_STOPPED); /* And is started, if that is wanted. */
	else
		vmm_is_gone(guest, &unknown, 0);
}

/* --- Doing ---------------------------------------------------------------------------------- */

static int make_directory(const struct guest *guest)
{
	char *all = xasprintf("%s/vm", guest->hostd->options->run_directory);
	int error = 0;

	if ((mkdir(all, 0750) && errno != EEXIST) ||
		(mkdir(guest->directory, 0750) && errno != EEXIST))
		error = -errno;
	free(all);
	return error;
}

static unsigned int enter_groups(struct guest *guest, int fds[CGROUP_HIERARCHIES])
{
	return cgroups_enter(guest->hostd->cgroups, guest->wish.name,
		TASKS + TASKS_PER_VCPU * guest->wish.vcpus, fds);
}

static void close_all(const int *fds, unsigned int n)
{
	for (unsigned int i = 0; i < n; i++)
		close(fds[i]);
}

static void fail_start(struct guest *guest, const char *why)
{
	take_end(guest, VM_NOT_STARTED, why, 0);
}

/* What nobody can start. */
static bool is_refused(struct guest *guest)
{
	char *trouble = vm_wish_trouble(&guest->wish), *why;

	if (!trouble)
		return false;
	why = xasprintf(
		"it is not started, as %s; `cordon vm set %s` mends it", trouble, guest->wish.name);
	vmm_forget_outcome(&guest->vmm);
	fail_start(guest, why);
	free(why);
	free(trouble);
	return true;
}

static void start_storage(struct guest *guest)
{
	int fds[CGROUP_HIERARCHIES], error = make_directory(guest);
	unsigned int n = enter_groups(guest, fds);
	struct storage_place place = {.program = guest->hostd->options->storage_daemon,
		.directory = guest->directory,
		.groups = fds,
		.n_groups = n};
	char *why = NULL;

	if (error)
		why = xasprintf("%s cannot be made: %s", guest->directory, ovs_strerror(-error));
	else
		error = storage_start(&guest->storage, &place, &guest->wish, &why);
	vmm_forget_outcome(&guest->vmm);
	close_all(fds, n);
	if (error)
		fail_start(guest, why);
	free(why);
}

static void start_vmm(struct guest *guest)
{
	int fds[CGROUP_HIERARCHIES], error = make_directory(guest);
	unsigned int n = enter_groups(guest, fds);

	guest->button_pressed = guest->stop_sent = guest->ends_for_leaving = false;
	guest->ask_ports = true;
	guest->asking_ports = false; /* What is under way was begun before. */
	replica_note(guest->hostd);
	if (!error)
		error = vmm_start(&guest->vmm, &guest->wish, fds, n);
	close_all(fds, n);
	guest->stop_deadline = time_msec() + CONNECT_MS;
	guest->resume_by = 0;
	if (error) {
		char *why = xasprintf("%s cannot be started in %s: %s", guest->vmm.program,
			guest->directory, ovs_strerror(-error));

		fail_start(guest, why);
		free(why);
	}
}

/* Whether it was asked to end only since all are to. */
static void note_why_it_ends(struct guest *guest)
{
	guest->ends_for_leaving = hostd_is_leaving(guest->hostd) && !guest->deleted &&
				  guest->wish.wanted != VM_WANTED_STOPPED;
}

static void stop_vmm(struct guest *guest)
{
	note_why_it_ends(guest);
	vmm_tell(&guest->vmm, "stop");
	guest->stop_sent = true;
	guest->stop_deadline = time_msec() + KILL_MS;
}

static void kill_vmm(struct guest *guest)
{
	VLOG_WARN("%s: its VMM does not end, and is killed", guest->wish.name);
	detached_signal(&guest->vmm.process, SIGKILL);
	guest->stop_deadline = time_msec() + KILL_MS;
}

static void press_button(struct guest *guest)
{
	note_why_it_ends(guest);
	vmm_tell(&guest->vmm, "power-button");
	guest->button_pressed = true;
	guest->stop_deadline = time_msec() + guest->wish.stop_ms;
}

/* What is left of a VM that is not in the database any more. */
static void remove_directory(const struct guest *guest)
{
	/* Not where a link may lead. */
	int fd = open(guest->directory, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	DIR *directory = fd >= 0 ? fdopendir(fd) : NULL;
	const struct dirent *entry;

	while (directory && (entry = readdir(directory)))
		unlinkat(dirfd(directory), entry->d_name, 0);
	if (directory)
		closedir(directory);
	rmdir(guest->directory);
	cgroups_remove(guest->hostd->cgroups, guest->wish.name);
}

static void act(struct guest *guest, enum vm_action action)
{
	switch (action) {
	case VM_NOTHING: break;
	case VM_START_STORAGE:
		if (!is_refused(guest))
			start_storage(guest);
		break;
	case VM_START_VMM:
		if (!is_refused(guest))
			start_vmm(guest);
		break;
	case VM_RESUME: vmm_tell(&guest->vmm, "resume"); break;
	case VM_PAUSE: vmm_tell(&guest->vmm, "pause"); break;
	case VM_PRESS_BUTTON: press_button(guest); break;
	case VM_STOP: stop_vmm(guest); break;
	case VM_KILL: kill_vmm(guest); break;
	case VM_STOP_STORAGE:
		storage_stop(&guest->storage, guest->directory);
		cgroups_remove(guest->hostd->cgroups, guest->wish.name);
		break;
	case VM_FORGET: remove_directory(guest); break;
	}
}

/* --- Deciding ------------------------------------------------------------------------------- */

/* The ports are there; the switch's connection is waited for a little, so that the guest's first
 * frames are not lost. */
static bool may_run(struct guest *guest)
{
	/* Without a database nobody can change a port, or ask: what was said last holds. */
	if (!guest->ports_ready || (guest->ask_ports && ovsdb_idl_is_connected(guest->hostd->idl)))
		return false;
	if (!guest->resume_by)
		guest->resume_by = time_msec() + LINK_MS;
	return guest->vmm.linked || time_msec() >= guest->resume_by;
}

static struct vm_view look(struct guest *guest)
{
	const struct vm_wish *wish = &guest->wish;
	bool overdue = guest->stop_deadline && time_msec() >= guest->stop_deadline;
	bool starts_late = guest->vmm.presence == VMM_STARTING && overdue;
	/* Nobody can tell whose it is, but it is in this one's place, and is to go. */
	bool mute = guest->vmm.presence == VMM_UNKNOWN && guest->vmm.silent &&
		    (overdue || !guest->stop_deadline) &&
		    (guest->deleted || (wish->at_once && wish->wanted == VM_WANTED_STOPPED));

	return (struct vm_view){
		.wanted = hostd_is_leaving(guest->hostd) ? VM_WANTED_STOPPED : wish->wanted,
		.at_once = wish->at_once && wish->wanted == VM_WANTED_STOPPED,
		.start_asked = wish->start_request > guest->start_reached,
		.deleted = guest->deleted,
		.state = guest->state,
		.vmm = guest->vmm.presence,
		.machine = guest->vmm.machine,
		.storage = storage_state(&guest->storage, wish),
		.ports_ready = may_run(guest),
		.retry_due = time_msec() >= guest->retry_at,
		.button_pressed = guest->button_pressed,
		.stop_overdue = guest->button_pressed && !guest->stop_sent && overdue,
		.stop_sent = guest->stop_sent,
		.kill_due = (guest->stop_sent && overdue) || starts_late || mute,
	};
}

static void tell_trouble_of_running(struct guest *guest)
{
	char *trouble = guest->vmm.refusal ? NULL : guest_balloon_trouble(guest);

	set_error(guest, guest->vmm.refusal ? guest->vmm.refusal : trouble);
	free(trouble);
}

/* What a person should know while it goes on. */
static void tell_trouble(struct guest *guest)
{
	static const char shut_down[] =
		"all guests of this host were shut down (`cordon down`); `cordon up` starts them";

	if (guest->vmm.presence == VMM_ABSENT) {
		if (guest->state == VM_STOPPED && guest->wish.wanted != VM_WANTED_STOPPED)
			set_error(guest, hostd_is_leaving(guest->hostd) ? shut_down : NULL);
		return;
	}
	if (guest->vmm.silent)
		set_error(guest, "its VMM does not answer");
	else if (guest->state == VM_STARTING && guest->vmm.presence == VMM_PRESENT)
		set_error(guest, guest->ports_trouble);
	else if (guest->state == VM_RUNNING || guest->state == VM_PAUSED)
		tell_trouble_of_running(guest);
}

static void run_storage(struct guest *guest)
{
	int fds[CGROUP_HIERARCHIES];
	struct storage_place place = {.program = guest->hostd->options->storage_daemon,
		.directory = guest->directory,
		.groups = fds};
	char *why = NULL;

	if (!guest->storage.n)
		return;
	if (storage_state(&guest->storage, &guest->wish) != STORAGE_ENDING)
		place.n_groups = enter_groups(guest, fds);
	if (storage_run(&guest->storage, &place, &why)) {
		storage_stop(&guest->storage, guest->directory);
		fail_start(guest, why);
	}
	close_all(fds, place.n_groups);
	free(why);
	/* With the last of its processes goes the group. */
	if (!guest->storage.n && guest->vmm.presence == VMM_ABSENT)
		cgroups_remove(guest->hostd->cgroups, guest->wish.name);
}

/* True if another decision may follow at once. */
static bool step(struct guest *guest, bool *forgotten)
{
	struct vm_view view = look(guest);
	struct vm_decision next = vm_decide(&view);

	if (next.action == VM_NOTHING && next.state == guest->state && !next.start_done)
		return false;
	if (next.start_done && guest->start_reached != guest->wish.start_request) {
		guest->start_reached = guest->wish.start_request;
		replica_note(guest->hostd);
	}
	set_state(guest, next.state);
	act(guest, next.action);
	*forgotten = next.action == VM_FORGET;
	return next.action != VM_NOTHING && !*forgotten;
}

bool guest_run(struct guest *guest)
{
	long long int ran_ms = time_msec() - guest->vmm.started_ms;
	struct detached_end end;
	bool forgotten = false, foreign;

	if (!guest->probed)
		probe(guest);
	foreign = guest->vmm.presence == VMM_FOREIGN;
	if (vmm_run(&guest->vmm, &end)) {
		if (!guest->storage.n)
			storage_end_leftovers(&guest->storage, guest->directory);
		if (foreign) /* It was not this guest that has ended. */
			guest->stop_sent = false;
		else
			vmm_is_gone(guest, &end, ran_ms);
	}
	run_storage(guest);
	for (int i = 0; i < STEPS_MAX && step(guest, &forgotten); i++)
		;
	if (forgotten)
		return false;
	guest_run_balloon(guest);
	tell_trouble(guest);
	return true;
}

void guest_wait(const struct guest *guest)
{
	vmm_wait(&guest->vmm);
	storage_wait(&guest->storage);
	if (guest->state == VM_WAITING)
		poll_timer_wait_until(guest->retry_at);
	if (guest->vmm.presence == VMM_ABSENT)
		return;
	if (guest->button_pressed || guest->stop_sent || guest->vmm.presence == VMM_STARTING)
		poll_timer_wait_until(guest->stop_deadline);
	if (guest->state == VM_STARTING && guest->resume_by && !guest->vmm.linked)
		poll_timer_wait_until(guest->resume_by);
}

void guest_ask_anew(struct guest *guest)
{
	if (!guest->stop_sent)
		guest->button_pressed = false;
}

/* --- Leftovers ------------------------------------------------------------------------------ */

static bool is_known(const struct hostd *hostd, const char *name)
{
	const struct shash_node *node;

	SHASH_FOR_EACH (node, &hostd->guests) {
		const struct guest *guest = node->data;

		if (!strcmp(guest->wish.name, name))
			return true;
	}
	return false;
}

/* Its VMM, if one runs, cannot be that of a UUID that nobody has, and so is ended. */
static void add_leftover(struct hostd *hostd, const char *name)
{
	struct vm_wish wish = {.name = xstrdup(name), .uuid = xstrdup("gone")};
	char *key = xasprintf("gone %s", name);
	struct guest *guest = guest_create(hostd, &wish, VM_STOPPED);

	guest->deleted = true;
	shash_add_nocopy(&hostd->guests, key, guest);
	VLOG_INFO("%s is no VM of the database, and is removed", guest->directory);
}

void guests_find_leftovers(struct hostd *hostd)
{
	char *path = xasprintf("%s/vm", hostd->options->run_directory);
	DIR *directory = opendir(path);
	const struct dirent *entry;

	while (directory && (entry = readdir(directory))) {
		if (*entry->d_name != '.' && !is_known(hostd, entry->d_name))
			add_leftover(hostd, entry->d_name);
	}
	if (directory)
		closedir(directory);
	free(path);
}
