/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What cordon-hostd does next about a guest: one row a case.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "hv/hostd/decide.h"

#define WANTS(wish) .view.wanted = VM_WANTED_##wish
#define IS(word)    .view.state = VM_##word
#define VMM(word)   .view.vmm = VMM_##word
#define GUEST(word) .view.vmm = VMM_PRESENT, .view.machine = MACHINE_IS_##word

static const struct step {
	const char *why;
	struct vm_view view;
	enum vm_action action;
	enum vm_state state;
	bool start_done;
} steps[] = {
	/* There is no VMM. */
	{"nothing wanted, nothing there", WANTS(STOPPED), IS(STOPPED), VMM(ABSENT),
		.state = VM_STOPPED},
	{"wanted: started", WANTS(RUNNING), IS(STOPPED), VMM(ABSENT), .action = VM_START_VMM,
		.state = VM_STARTING, .start_done = true},
	{"wanted paused: started as well", WANTS(PAUSED), IS(STOPPED), VMM(ABSENT),
		.action = VM_START_VMM, .state = VM_STARTING, .start_done = true},
	{"its disks first", WANTS(RUNNING), IS(STOPPED), VMM(ABSENT),
		.view.storage = STORAGE_ABSENT, .action = VM_START_STORAGE, .state = VM_STARTING,
		.start_done = true},
	{"not before they are ready", WANTS(RUNNING), IS(STARTING), VMM(ABSENT),
		.view.storage = STORAGE_STARTING, .state = VM_STARTING, .start_done = true},
	{"then the VMM", WANTS(RUNNING), IS(STARTING), VMM(ABSENT), .view.storage = STORAGE_READY,
		.action = VM_START_VMM, .state = VM_STARTING, .start_done = true},
	{"it has ended by itself: left so", WANTS(RUNNING), IS(ENDED), VMM(ABSENT),
		.state = VM_ENDED},
	{"... until it is asked for", WANTS(RUNNING), IS(ENDED), VMM(ABSENT),
		.view.start_asked = true, .action = VM_START_VMM, .state = VM_STARTING,
		.start_done = true},
	{"it has failed: left so", WANTS(RUNNING), IS(FAILED), VMM(ABSENT), .state = VM_FAILED},
	{"... until it is asked for", WANTS(RUNNING), IS(FAILED), VMM(ABSENT),
		.view.start_asked = true, .action = VM_START_VMM, .state = VM_STARTING,
		.start_done = true},
	{"what failed and is not wanted is stopped", WANTS(STOPPED), IS(FAILED), VMM(ABSENT),
		.state = VM_STOPPED},
	{"the pause after a failure", WANTS(RUNNING), IS(WAITING), VMM(ABSENT),
		.state = VM_WAITING},
	{"... ends", WANTS(RUNNING), IS(WAITING), VMM(ABSENT), .view.retry_due = true,
		.action = VM_START_VMM, .state = VM_STARTING, .start_done = true},
	{"... or is cut short", WANTS(RUNNING), IS(WAITING), VMM(ABSENT), .view.start_asked = true,
		.action = VM_START_VMM, .state = VM_STARTING, .start_done = true},
	{"disks end after the guest", WANTS(STOPPED), IS(STOPPING), VMM(ABSENT),
		.view.storage = STORAGE_READY, .action = VM_STOP_STORAGE, .state = VM_STOPPED},
	{"also after one that waits", WANTS(RUNNING), IS(WAITING), VMM(ABSENT),
		.view.storage = STORAGE_READY, .action = VM_STOP_STORAGE, .state = VM_WAITING},
	{"deleted: its disks first", WANTS(RUNNING), IS(RUNNING), VMM(ABSENT), .view.deleted = true,
		.view.storage = STORAGE_READY, .action = VM_STOP_STORAGE, .state = VM_STOPPED},
	{"... which end in their own time", WANTS(RUNNING), IS(STOPPED), VMM(ABSENT),
		.view.deleted = true, .view.storage = STORAGE_ENDING, .state = VM_STOPPED},
	{"and are not used before they have", WANTS(RUNNING), IS(STOPPED), VMM(ABSENT),
		.view.storage = STORAGE_ENDING, .state = VM_STARTING, .start_done = true},
	{"deleted: nothing is left", WANTS(RUNNING), IS(STOPPED), VMM(ABSENT), .view.deleted = true,
		.action = VM_FORGET, .state = VM_STOPPED},

	/* It is found running. */
	{"who it is has to be known first", WANTS(STOPPED), IS(RUNNING), VMM(UNKNOWN),
		.state = VM_RUNNING},
	{"one that never says is killed at a time", WANTS(STOPPED), IS(RUNNING), VMM(UNKNOWN),
		.view.kill_due = true, .action = VM_KILL, .state = VM_RUNNING},
	{"it runs on undisturbed", WANTS(RUNNING), IS(RUNNING), GUEST(RUNNING), .state = VM_RUNNING,
		.start_done = true},
	{"another one's is ended", WANTS(RUNNING), IS(STOPPED), VMM(FOREIGN), .action = VM_STOP,
		.state = VM_STOPPED},
	{"... which takes a while", WANTS(RUNNING), IS(STOPPED), VMM(FOREIGN),
		.view.stop_sent = true, .state = VM_STOPPED},
	{"... but not for ever", WANTS(RUNNING), IS(STOPPED), VMM(FOREIGN), .view.stop_sent = true,
		.view.kill_due = true, .action = VM_KILL, .state = VM_STOPPED},

	/* It starts. */
	{"the VMM does not answer yet", WANTS(RUNNING), IS(STARTING), VMM(STARTING),
		.state = VM_STARTING},
	{"... and never does", WANTS(RUNNING), IS(STARTING), VMM(STARTING), .view.kill_due = true,
		.action = VM_KILL, .state = VM_STARTING},
	{"one that was found, and does not answer", WANTS(RUNNING), IS(RUNNING), VMM(STARTING),
		.state = VM_RUNNING},
	{"it makes itself ready", WANTS(RUNNING), IS(STARTING), GUEST(STARTING),
		.state = VM_STARTING},
	{"no instruction before the switch has its ports", WANTS(RUNNING), IS(STARTING),
		GUEST(PAUSED), .state = VM_STARTING},
	{"... and then the first", WANTS(RUNNING), IS(STARTING), GUEST(PAUSED),
		.view.ports_ready = true, .action = VM_RESUME, .state = VM_STARTING},
	{"it runs", WANTS(RUNNING), IS(STARTING), GUEST(RUNNING), .state = VM_RUNNING,
		.start_done = true},
	{"one that is wanted paused waits for its ports as well", WANTS(PAUSED), IS(STARTING),
		GUEST(PAUSED), .state = VM_STARTING},
	{"... and then is paused already", WANTS(PAUSED), IS(STARTING), GUEST(PAUSED),
		.view.ports_ready = true, .state = VM_PAUSED, .start_done = true},

	/* It runs, it pauses. */
	{"to be paused", WANTS(PAUSED), IS(RUNNING), GUEST(RUNNING), .action = VM_PAUSE,
		.state = VM_RUNNING, .start_done = true},
	{"is paused", WANTS(PAUSED), IS(RUNNING), GUEST(PAUSED), .state = VM_PAUSED,
		.start_done = true},
	{"to go on, whatever its ports do", WANTS(RUNNING), IS(PAUSED), GUEST(PAUSED),
		.action = VM_RESUME, .state = VM_PAUSED},
	{"its end is near", WANTS(RUNNING), IS(RUNNING), GUEST(ENDING), .state = VM_RUNNING},

	/* It is to stop. */
	{"asked to shut down", WANTS(STOPPED), IS(RUNNING), GUEST(RUNNING),
		.action = VM_PRESS_BUTTON, .state = VM_STOPPING},
	{"has time for it", WANTS(STOPPED), IS(STOPPING), GUEST(RUNNING),
		.view.button_pressed = true, .state = VM_STOPPING},
	{"had time enough", WANTS(STOPPED), IS(STOPPING), GUEST(RUNNING),
		.view.button_pressed = true, .view.stop_overdue = true, .action = VM_STOP,
		.state = VM_STOPPING},
	{"the VMM was told", WANTS(STOPPED), IS(STOPPING), GUEST(RUNNING), .view.stop_sent = true,
		.state = VM_STOPPING},
	{"and does not care", WANTS(STOPPED), IS(STOPPING), GUEST(RUNNING), .view.stop_sent = true,
		.view.kill_due = true, .action = VM_KILL, .state = VM_STOPPING},
	{"at once", WANTS(STOPPED), IS(RUNNING), GUEST(RUNNING), .view.at_once = true,
		.action = VM_STOP, .state = VM_STOPPING},
	{"at once, while it shuts down", WANTS(STOPPED), IS(STOPPING), GUEST(RUNNING),
		.view.at_once = true, .view.button_pressed = true, .action = VM_STOP,
		.state = VM_STOPPING},
	{"paused: must see the button", WANTS(STOPPED), IS(PAUSED), GUEST(PAUSED),
		.action = VM_RESUME, .state = VM_STOPPING},
	{"never ran: has nothing to save", WANTS(STOPPED), IS(STARTING), GUEST(PAUSED),
		.action = VM_STOP, .state = VM_STOPPING},
	{"its VMM does not answer yet", WANTS(STOPPED), IS(STARTING), VMM(STARTING),
		.action = VM_STOP, .state = VM_STOPPING},
	{"ends already", WANTS(STOPPED), IS(RUNNING), GUEST(ENDING), .state = VM_STOPPING},
	{"deleted", WANTS(RUNNING), IS(RUNNING), GUEST(RUNNING), .view.deleted = true,
		.action = VM_STOP, .state = VM_STOPPING},

	/* Somebody has changed his mind. */
	{"wanted again while it shuts down: ends, and is started anew", WANTS(RUNNING),
		IS(STOPPING), GUEST(RUNNING), .view.button_pressed = true, .view.start_asked = true,
		.state = VM_STOPPING},
	{"... unless it does not care for the button", WANTS(RUNNING), IS(STOPPING), GUEST(RUNNING),
		.view.button_pressed = true, .view.start_asked = true, .view.stop_overdue = true,
		.state = VM_RUNNING, .start_done = true},
	{"wanted again after its VMM was told to end", WANTS(RUNNING), IS(STOPPING), GUEST(RUNNING),
		.view.stop_sent = true, .view.start_asked = true, .state = VM_STOPPING},
};

static void test_steps(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
		const struct step *step = &steps[i];
		struct vm_decision next = vm_decide(&step->view);

		if (next.action != step->action || next.state != step->state ||
			next.start_done != step->start_done)
			fail_msg("%s: action %d, state %s, start %d; expected %d, %s, %d",
				step->why, next.action, vm_state_name(next.state), next.start_done,
				step->action, vm_state_name(step->state), step->start_done);
	}
}

/* Whatever is seen, in whatever combination: what must never be done. */
static void check_never(const struct vm_view *view)
{
	struct vm_decision next = vm_decide(view);
	bool absent = view->vmm == VMM_ABSENT;
	bool to_run = view->wanted != VM_WANTED_STOPPED && !view->deleted;

	/* Nothing is started beside a VMM, nor is one that is not wanted. */
	if (next.action == VM_START_VMM || next.action == VM_START_STORAGE)
		assert_true(absent && to_run);
	if (next.action == VM_START_VMM)
		assert_true(view->storage == STORAGE_READY || view->storage == STORAGE_NOT_NEEDED);
	/* Disks do not go while there is a VMM; nothing is told to one that is not there. */
	if (next.action == VM_STOP_STORAGE || next.action == VM_FORGET)
		assert_true(absent);
	if (next.action == VM_FORGET)
		assert_true(view->deleted && view->storage != STORAGE_ENDING);
	if (next.action == VM_STOP || next.action == VM_PRESS_BUTTON)
		assert_true(!absent && view->vmm != VMM_UNKNOWN);
	if (next.action == VM_KILL)
		assert_true(!absent && view->kill_due);
	/* One that is to run is not told to end. */
	if (to_run && view->vmm == VMM_PRESENT)
		assert_true(next.action != VM_STOP && next.action != VM_PRESS_BUTTON);
	/* The first instruction waits for the ports. */
	if (next.action == VM_RESUME && view->state == VM_STARTING)
		assert_true(view->ports_ready);
}

static void test_never(void **state)
{
	struct vm_view view;

	(void)state;
	for (unsigned int bits = 0; bits < 1 << 9; bits++) {
		for (unsigned int rest = 0; rest < 3 * VM_N_STATES * 5 * 4 * STORAGE_N_STATES;
			rest++) {
			unsigned int left = rest;

			view = (struct vm_view){.at_once = bits & 1,
				.start_asked = bits & 2,
				.deleted = bits & 4,
				.ports_ready = bits & 8,
				.retry_due = bits & 16,
				.button_pressed = bits & 32,
				.stop_overdue = bits & 64,
				.stop_sent = bits & 128,
				.kill_due = bits & 256};
			view.wanted = left % 3;
			left /= 3;
			view.state = left % VM_N_STATES;
			left /= VM_N_STATES;
			view.vmm = left % 5;
			left /= 5;
			view.machine = left % 4;
			view.storage = left / 4;
			check_never(&view);
		}
	}
}

/* --- Ends ------------------------------------------------------------------------------------ */

static const struct end_case {
	const char *why;
	struct vm_end end;
	struct vm_end_decision expected;
} ends[] = {
	{"shut down as wanted", {.outcome = VM_SHUTDOWN, .wanted = VM_WANTED_STOPPED},
		{.state = VM_STOPPED}},
	{"shut down by itself", {.outcome = VM_SHUTDOWN, .wanted = VM_WANTED_RUNNING},
		{.state = VM_ENDED}},
	{"... and on-failure is not for that",
		{.outcome = VM_SHUTDOWN,
			.wanted = VM_WANTED_RUNNING,
			.restart = VM_RESTART_ON_FAILURE},
		{.state = VM_ENDED}},
	{"... but always is",
		{.outcome = VM_SHUTDOWN,
			.wanted = VM_WANTED_RUNNING,
			.restart = VM_RESTART_ALWAYS,
			.restart_limit = 5,
			.restart_ms = 1000},
		{.state = VM_WAITING, .failures = 1}},
	{"a reset is a reset, whatever the policy",
		{.outcome = VM_RESET,
			.wanted = VM_WANTED_RUNNING,
			.restart_limit = 5,
			.restart_ms = 1000},
		{.state = VM_WAITING, .failures = 1}},
	{"resets in a row have to wait",
		{.outcome = VM_RESET,
			.wanted = VM_WANTED_RUNNING,
			.failures = 2,
			.restart_limit = 5,
			.restart_ms = 1000},
		{.state = VM_WAITING, .failures = 3, .pause_ms = 4000}},
	{"a fault", {.outcome = VM_GUEST_FAULT, .wanted = VM_WANTED_RUNNING}, {.state = VM_FAILED}},
	{"a fault, started again",
		{.outcome = VM_GUEST_FAULT,
			.wanted = VM_WANTED_RUNNING,
			.restart = VM_RESTART_ON_FAILURE,
			.restart_limit = 5,
			.restart_ms = 1000},
		{.state = VM_WAITING, .failures = 1, .pause_ms = 1000}},
	{"the second in a row waits twice as long",
		{.outcome = VM_VMM_FAULT,
			.wanted = VM_WANTED_RUNNING,
			.restart = VM_RESTART_ALWAYS,
			.failures = 1,
			.restart_limit = 5,
			.restart_ms = 1000},
		{.state = VM_WAITING, .failures = 2, .pause_ms = 2000}},
	{"the sixth is one too many",
		{.outcome = VM_GUEST_FAULT,
			.wanted = VM_WANTED_RUNNING,
			.restart = VM_RESTART_ON_FAILURE,
			.failures = 5,
			.restart_limit = 5,
			.restart_ms = 1000},
		{.state = VM_FAILED, .failures = 6, .gave_up = true}},
	{"... unless it ran well for a while",
		{.outcome = VM_GUEST_FAULT,
			.wanted = VM_WANTED_RUNNING,
			.restart = VM_RESTART_ON_FAILURE,
			.ran_ms = VM_GOOD_WHILE_MS,
			.failures = 5,
			.restart_limit = 5,
			.restart_ms = 1000},
		{.state = VM_WAITING, .failures = 1, .pause_ms = 1000}},
	{"without a limit it goes on, once a minute",
		{.outcome = VM_NOT_STARTED,
			.wanted = VM_WANTED_RUNNING,
			.restart = VM_RESTART_ALWAYS,
			.failures = 1000,
			.restart_ms = 1000},
		{.state = VM_WAITING, .failures = 1001, .pause_ms = VM_PAUSE_MAX_MS}},
	{"not started", {.outcome = VM_NOT_STARTED, .wanted = VM_WANTED_RUNNING},
		{.state = VM_FAILED}},
	{"ended by somebody else", {.outcome = VM_WAS_STOPPED, .wanted = VM_WANTED_RUNNING},
		{.state = VM_ENDED}},
	{"asked for while it ended",
		{.outcome = VM_SHUTDOWN, .wanted = VM_WANTED_RUNNING, .start_asked = true},
		{.state = VM_STOPPED}},
	{"deleted",
		{.outcome = VM_GUEST_FAULT,
			.wanted = VM_WANTED_RUNNING,
			.restart = VM_RESTART_ALWAYS,
			.deleted = true},
		{.state = VM_STOPPED}},
};

static void test_ends(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
		struct vm_end_decision got = vm_decide_end(&ends[i].end);
		const struct vm_end_decision *expected = &ends[i].expected;

		if (got.state != expected->state || got.failures != expected->failures ||
			got.pause_ms != expected->pause_ms || got.gave_up != expected->gave_up)
			fail_msg("%s: %s, %u failures, %u ms, gave up %d", ends[i].why,
				vm_state_name(got.state), got.failures, got.pause_ms, got.gave_up);
	}
}

static void test_names(void **state)
{
	static const int statuses[] = {0, 10, 13, 11, 12, 1};
	enum vm_outcome outcome;

	(void)state;
	for (int i = 0; i < VM_N_OUTCOMES; i++) {
		assert_true(vm_outcome_from_name(vm_outcome_name((enum vm_outcome)i), &outcome));
		assert_int_equal(outcome, i);
		assert_int_equal(vm_outcome_from_status(statuses[i]), i);
	}
	assert_false(vm_outcome_from_name("sleep", &outcome));
	assert_int_equal(vm_outcome_from_status(2), VM_NOT_STARTED);
	assert_int_equal(vm_outcome_from_status(99), VM_VMM_FAULT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_steps),
		cmocka_unit_test(test_never),
		cmocka_unit_test(test_ends),
		cmocka_unit_test(test_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
