/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What to do next about a guest (decide.h).  Pure functions; called by guest.c on the main thread,
 * and by the unit test.
 */
#include "hv/hostd/decide.h"

#include <string.h>

static struct vm_decision decision(enum vm_action action, enum vm_state state)
{
	return (struct vm_decision){.action = action, .state = state};
}

/* --- It is to end --------------------------------------------------------------------------- */

/* One that has run no instruction, or cannot be asked, has nothing to save. */
static bool must_stop(const struct vm_view *view)
{
	return view->at_once || view->deleted || view->stop_overdue || view->vmm == VMM_STARTING ||
	       view->state == VM_STARTING || view->machine == MACHINE_IS_STARTING;
}

static struct vm_decision decide_stop(const struct vm_view *view)
{
	if (view->kill_due)
		return decision(VM_KILL, VM_STOPPING);
	if (view->stop_sent || (view->vmm == VMM_PRESENT && view->machine == MACHINE_IS_ENDING))
		return decision(VM_NOTHING, VM_STOPPING);
	if (must_stop(view))
		return decision(VM_STOP, VM_STOPPING);
	if (view->machine == MACHINE_IS_PAUSED) /* Else it would not see the button. */
		return decision(VM_RESUME, VM_STOPPING);
	return decision(view->button_pressed ? VM_NOTHING : VM_PRESS_BUTTON, VM_STOPPING);
}

/* --- It is to run, or to be paused ---------------------------------------------------------- */

/* Whose VMM was started paused runs as soon as its ports are there. */
static bool has_run(enum vm_state state)
{
	return state == VM_RUNNING || state == VM_PAUSED || state == VM_STOPPING;
}

static struct vm_decision decide_present(const struct vm_view *view)
{
	struct vm_decision keep = decision(VM_NOTHING, view->state);

	/* It is on its way out, and is started anew when it has ended, unless it does not care. */
	if ((view->button_pressed && view->start_asked && !view->stop_overdue) || view->stop_sent)
		return decision(view->kill_due ? VM_KILL : VM_NOTHING, VM_STOPPING);
	switch (view->machine) {
	case MACHINE_IS_STARTING: return decision(VM_NOTHING, VM_STARTING);
	case MACHINE_IS_ENDING: return keep;
	case MACHINE_IS_RUNNING:
		keep = decision(
			view->wanted == VM_WANTED_PAUSED ? VM_PAUSE : VM_NOTHING, VM_RUNNING);
		break;
	case MACHINE_IS_PAUSED:
		/* Also if it is to stay paused: whoever is called paused may be resumed at any
		 * time. */
		if (!has_run(view->state) && !view->ports_ready)
			return decision(VM_NOTHING, VM_STARTING);
		if (view->wanted != VM_WANTED_PAUSED)
			return decision(VM_RESUME, view->state);
		keep = decision(VM_NOTHING, VM_PAUSED);
		break;
	}
	keep.start_done = true;
	return keep;
}

/* From its first step on it counts as started: what goes wrong then is an end of its own. */
static struct vm_decision start(const struct vm_view *view)
{
	struct vm_decision next = decision(VM_START_VMM, VM_STARTING);

	if (view->storage == STORAGE_ABSENT)
		next.action = VM_START_STORAGE;
	else if (view->storage == STORAGE_STARTING || view->storage == STORAGE_ENDING)
		next.action = VM_NOTHING;
	next.start_done = true;
	return next;
}

/* --- There is no VMM ------------------------------------------------------------------------ */

static struct vm_decision rest(const struct vm_view *view, enum vm_state state)
{
	bool storage = view->storage == STORAGE_STARTING || view->storage == STORAGE_READY;

	return decision(storage ? VM_STOP_STORAGE : VM_NOTHING, state);
}

static struct vm_decision decide_absent(const struct vm_view *view)
{
	struct vm_decision resting;

	if (view->deleted) {
		resting = rest(view, VM_STOPPED);
		return resting.action == VM_NOTHING && view->storage != STORAGE_ENDING
			       ? decision(VM_FORGET, VM_STOPPED)
			       : resting;
	}
	if (view->wanted == VM_WANTED_STOPPED)
		return rest(view, VM_STOPPED);
	if (view->start_asked)
		return start(view);
	if (view->state == VM_ENDED || view->state == VM_FAILED)
		return rest(view, view->state);
	if (view->state == VM_WAITING && !view->retry_due)
		return rest(view, VM_WAITING);
	return start(view);
}

struct vm_decision vm_decide(const struct vm_view *view)
{
	switch (view->vmm) {
	case VMM_ABSENT: return decide_absent(view);
	case VMM_UNKNOWN: return decision(view->kill_due ? VM_KILL : VM_NOTHING, view->state);
	case VMM_FOREIGN:
		return decision(view->kill_due	  ? VM_KILL
				: view->stop_sent ? VM_NOTHING
						  : VM_STOP,
			view->state);
	case VMM_STARTING:
	case VMM_PRESENT: break;
	}
	if (view->deleted || view->wanted == VM_WANTED_STOPPED)
		return decide_stop(view);
	if (view->vmm == VMM_STARTING)
		return decision(view->kill_due ? VM_KILL : VM_NOTHING, view->stop_sent ? VM_STOPPING
								       : has_run(view->state)
									       ? view->state
									       : VM_STARTING);
	return decide_present(view);
}

/* --- The end of a VMM ----------------------------------------------------------------------- */

static bool is_failure(enum vm_outcome outcome)
{
	return outcome == VM_GUEST_FAULT || outcome == VM_VMM_FAULT || outcome == VM_NOT_STARTED;
}

/* Whether it is started again without anybody asking. */
static bool starts_again(const struct vm_end *end)
{
	if (end->outcome == VM_RESET || end->restart == VM_RESTART_ALWAYS)
		return true;
	return is_failure(end->outcome) && end->restart == VM_RESTART_ON_FAILURE;
}

/* Doubled with each quick end.  A guest that resets itself once need not wait. */
static unsigned int pause_of(const struct vm_end *end, unsigned int failures)
{
	uint64_t pause = end->restart_ms;

	if (failures <= 1 && !is_failure(end->outcome))
		return 0;
	for (unsigned int i = 1; i < failures && pause < VM_PAUSE_MAX_MS; i++)
		pause *= 2;
	return pause < VM_PAUSE_MAX_MS ? (unsigned int)pause : VM_PAUSE_MAX_MS;
}

struct vm_end_decision vm_decide_end(const struct vm_end *end)
{
	struct vm_end_decision result = {.state = VM_STOPPED};

	if (end->deleted || end->wanted == VM_WANTED_STOPPED || end->start_asked)
		return result;
	if (!starts_again(end)) {
		result.state = is_failure(end->outcome) ? VM_FAILED : VM_ENDED;
		return result;
	}
	result.failures = end->ran_ms >= VM_GOOD_WHILE_MS ? 1 : end->failures + 1;
	if (end->restart_limit && result.failures > end->restart_limit) {
		result.state = VM_FAILED;
		result.gave_up = true;
		return result;
	}
	result.state = VM_WAITING;
	result.pause_ms = pause_of(end, result.failures);
	return result;
}

/* --- Names ---------------------------------------------------------------------------------- */

const char *vm_state_name(enum vm_state state)
{
	static const char *const names[VM_N_STATES] = {
		[VM_STOPPED] = "stopped",
		[VM_STARTING] = "starting",
		[VM_RUNNING] = "running",
		[VM_PAUSED] = "paused",
		[VM_STOPPING] = "stopping",
		[VM_ENDED] = "ended",
		[VM_WAITING] = "waiting",
		[VM_FAILED] = "failed",
	};

	return names[state];
}

static const char *const outcome_names[VM_N_OUTCOMES] = {
	[VM_SHUTDOWN] = "shutdown",
	[VM_RESET] = "reset",
	[VM_WAS_STOPPED] = "stopped",
	[VM_GUEST_FAULT] = "guest-fault",
	[VM_VMM_FAULT] = "vmm-fault",
	[VM_NOT_STARTED] = "not-started",
};

const char *vm_outcome_name(enum vm_outcome outcome)
{
	return outcome_names[outcome];
}

bool vm_outcome_from_name(const char *name, enum vm_outcome *outcome)
{
	for (int i = 0; i < VM_N_OUTCOMES; i++) {
		if (!strcmp(name, outcome_names[i])) {
			*outcome = (enum vm_outcome)i;
			return true;
		}
	}
	return false;
}

/* The numbers are those of cordon-vmm's exit statuses (docs/hv.md). */
enum vm_outcome vm_outcome_from_status(int status)
{
	switch (status) {
	case 0: return VM_SHUTDOWN;
	case 1: /* Something could not be had, */
	case 2: /* or its command line is not understood. */ return VM_NOT_STARTED;
	case 10: return VM_RESET;
	case 11: return VM_GUEST_FAULT;
	case 13: return VM_WAS_STOPPED;
	default: return VM_VMM_FAULT;
	}
}
