/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The list of system calls: how long it is, that each has its reason, and that the kernel holds
 * threads to it.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "hv/seccomp.h"

enum { CALLS_MAX = 50, FORBIDDEN = 42, REFUSED = 43, MADE = 0 };

static bool is_first_of_its_call(unsigned int rule)
{
	for (unsigned int i = 0; i < rule; i++)
		if (seccomp_rules[i].call == seccomp_rules[rule].call)
			return false;
	return true;
}

static void test_at_most_fifty_calls(void **state)
{
	unsigned int calls = 0;

	(void)state;
	for (unsigned int i = 0; i < seccomp_n_rules; i++)
		calls += is_first_of_its_call(i);
	print_message("%u system calls in %u rules\n", calls, seccomp_n_rules);
	assert_in_range(calls, 1, CALLS_MAX);
}

static void test_each_rule_has_a_reason_and_a_thread(void **state)
{
	(void)state;
	for (unsigned int i = 0; i < seccomp_n_rules; i++) {
		const struct seccomp_rule *rule = &seccomp_rules[i];

		assert_true(strlen(rule->reason) > 3);
		assert_in_range(rule->threads, 1, SECCOMP_MAIN | SECCOMP_VCPU | SECCOMP_BROKER);
		assert_string_equal(seccomp_call_name(rule->call), rule->name);
	}
	assert_null(seccomp_call_name(SYS_reboot));
}

/* What would be a way out of the sandbox, or make code of data, is on nobody's list. */
static void test_no_way_out_is_listed(void **state)
{
	static const int never[] = {SYS_execve, SYS_execveat, SYS_fork, SYS_vfork, SYS_clone,
		SYS_clone3, SYS_ptrace, SYS_process_vm_readv, SYS_process_vm_writev, SYS_setuid,
		SYS_setresuid, SYS_mount, SYS_unshare, SYS_setns, SYS_chroot, SYS_pivot_root,
		SYS_bpf, SYS_perf_event_open, SYS_userfaultfd, SYS_io_uring_setup,
		SYS_io_uring_register, SYS_prctl, SYS_seccomp, SYS_kill, SYS_bind, SYS_listen,
		SYS_open, SYS_open_by_handle_at, SYS_memfd_create, SYS_keyctl};

	(void)state;
	for (size_t i = 0; i < sizeof(never) / sizeof(never[0]); i++)
		assert_null(seccomp_call_name(never[i]));
	for (unsigned int i = 0; i < seccomp_n_rules; i++) {
		const struct seccomp_rule *rule = &seccomp_rules[i];

		if (rule->call == SYS_openat || rule->call == SYS_socket ||
			rule->call == SYS_connect || rule->call == SYS_unlink)
			assert_int_equal(rule->threads, SECCOMP_BROKER);
		/* Signals to others: straight, and as the owner of a descriptor (F_SETOWN). */
		if (rule->call == SYS_tgkill)
			assert_int_equal(rule->test, SECCOMP_OWN);
		if (rule->call == SYS_ioctl || rule->call == SYS_fcntl)
			assert_int_equal(rule->test, SECCOMP_EQUAL);
		if (rule->call == SYS_mmap || rule->call == SYS_mprotect)
			assert_int_equal(rule->test, SECCOMP_WITHOUT);
	}
}

/* --- What the kernel does with it --- */

static void forbidden(int number, siginfo_t *information, void *context)
{
	(void)number;
	(void)context;
	_exit(information->si_syscall > 0 ? FORBIDDEN : 1);
}

/* Set before the fork: whom a process that has entered a list may try to signal. */
static pid_t parent;

/* What becomes of `attempt` in a process that has entered the list of `thread`. */
static int fate(enum seccomp_thread thread, int (*attempt)(void))
{
	struct sigaction action = {.sa_sigaction = forbidden, .sa_flags = SA_SIGINFO};
	struct seccomp *seccomp;
	struct hv_error error;
	pid_t child;
	int status;

	parent = getpid();
	child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		sigaction(SIGSYS, &action, NULL);
		prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
		if (seccomp_create(&seccomp, &error) < 0 ||
			seccomp_enter(seccomp, thread, &error) < 0)
			_exit(2);
		_exit(attempt() < 0 ? REFUSED : MADE);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static int open_a_file(void)
{
	return (int)syscall(SYS_openat, -100, "/etc/passwd", 0, 0);
}

static int open_a_folder(void)
{
	return (int)syscall(SYS_openat, -100, "/", 02200000, 0);
}

static int make_an_internet_socket(void)
{
	return socket(AF_INET, SOCK_STREAM, 0);
}

static int make_a_unix_socket(void)
{
	return socket(AF_UNIX, SOCK_STREAM, 0);
}

static int map_code(void)
{
	return mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1,
		       0) == MAP_FAILED
		       ? -1
		       : 0;
}

static int map_data(void)
{
	return mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) ==
			       MAP_FAILED
		       ? -1
		       : 0;
}

static int start_a_process(void)
{
	return (int)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
}

static int ask_a_terminal(void)
{
	return ioctl(0, 0x5413 /* TIOCGWINSZ */, NULL);
}

/* The same number with a bit that the kernel's 32-bit argument does not have. */
static int ask_a_terminal_in_64_bits(void)
{
	return (int)syscall(SYS_ioctl, 0, 0x100005413UL, NULL);
}

/* Signal 0: whether one could be sent. */
static int signal_itself(void)
{
	return (int)syscall(SYS_tgkill, getpid(), gettid(), 0);
}

static int signal_its_parent(void)
{
	return (int)syscall(SYS_tgkill, parent, parent, 0);
}

static int have_its_parent_signalled(void)
{
	return fcntl(0, F_SETOWN, parent);
}

static int run_a_guest(void)
{
	return ioctl(-1, 0xae80 /* KVM_RUN */, 0);
}

/* All that malloc does with the kernel: large pieces that grow and go, and a heap that grows and
 * shrinks. */
static int use_memory(void)
{
	enum { PIECES = 2000, BYTES = 1000, LARGE = 8 << 20 };
	static char *pieces[PIECES];
	char *large = malloc(LARGE), *larger;

	large[0] = 1;
	larger = realloc(large, 4 * (size_t)LARGE);
	larger[4 * (size_t)LARGE - 1] = 1;
	large = realloc(larger, LARGE);
	free(large);
	for (unsigned int i = 0; i < PIECES; i++)
		pieces[i] = memset(malloc(BYTES), 1, BYTES);
	for (unsigned int i = PIECES; i > 0; i--)
		free(pieces[i - 1]);
	return 0;
}

/* Where the kernel's page for them is missing, clocks are asked by a call. */
static int ask_clocks(void)
{
	struct timespec time;

	return syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &time) < 0 ||
			       syscall(SYS_clock_gettime, CLOCK_REALTIME, &time) < 0 ||
			       syscall(SYS_clock_gettime, CLOCK_THREAD_CPUTIME_ID, &time) < 0
		       ? -1
		       : 0;
}

static int wait_for_a_lock(void)
{
	static int word = 1;
	const struct timespec little = {.tv_nsec = 1000};

	syscall(SYS_futex, &word, 0 /* FUTEX_WAIT */, 1, &little, NULL, 0);
	return 0;
}

static int ask_for_random_numbers(void)
{
	char bytes[16];

	return getrandom(bytes, sizeof(bytes), 0) == sizeof(bytes) ? 0 : -1;
}

static int go_on(void)
{
	return getpid() > 0 ? 0 : -1;
}

/* A sanitizer makes calls of its own, which the list does not have. */
static void skip_if_sanitized(void)
{
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
	skip();
#endif
}

static void test_threads_are_held_to_it(void **state)
{
	(void)state;
	skip_if_sanitized();
	assert_int_equal(fate(SECCOMP_MAIN, go_on), MADE);
	assert_int_equal(fate(SECCOMP_VCPU, go_on), MADE);
	assert_int_equal(fate(SECCOMP_MAIN, open_a_file), FORBIDDEN);
	assert_int_equal(fate(SECCOMP_VCPU, open_a_file), FORBIDDEN);
	assert_int_equal(fate(SECCOMP_MAIN, signal_itself), MADE);
	assert_int_equal(fate(SECCOMP_VCPU, signal_itself), MADE);
	assert_int_equal(fate(SECCOMP_MAIN, signal_its_parent), FORBIDDEN);
	assert_int_equal(fate(SECCOMP_VCPU, signal_its_parent), FORBIDDEN);
	assert_int_equal(fate(SECCOMP_MAIN, have_its_parent_signalled), FORBIDDEN);
	assert_int_equal(fate(SECCOMP_MAIN, make_a_unix_socket), FORBIDDEN);
	assert_int_equal(fate(SECCOMP_MAIN, start_a_process), FORBIDDEN);
	assert_int_equal(fate(SECCOMP_VCPU, start_a_process), FORBIDDEN);
	assert_int_equal(fate(SECCOMP_BROKER, start_a_process), FORBIDDEN);
	assert_int_equal(fate(SECCOMP_BROKER, go_on), FORBIDDEN);
}

/* What is done rarely, and by the C library. */
static void test_rare_calls_are_allowed(void **state)
{
	static int (*const both[])(void) = {use_memory, ask_clocks, wait_for_a_lock};

	(void)state;
	skip_if_sanitized();
	for (size_t i = 0; i < sizeof(both) / sizeof(both[0]); i++) {
		assert_int_equal(fate(SECCOMP_MAIN, both[i]), MADE);
		assert_int_equal(fate(SECCOMP_VCPU, both[i]), MADE);
	}
	assert_int_equal(fate(SECCOMP_MAIN, ask_for_random_numbers), MADE);
	assert_int_equal(fate(SECCOMP_VCPU, ask_for_random_numbers), FORBIDDEN);
}

static void test_arguments_are_looked_at(void **state)
{
	(void)state;
	skip_if_sanitized();
	assert_int_equal(fate(SECCOMP_MAIN, map_data), MADE);
	assert_int_equal(fate(SECCOMP_MAIN, map_code), FORBIDDEN);
	assert_int_equal(fate(SECCOMP_VCPU, map_code), FORBIDDEN);
	assert_int_equal(fate(SECCOMP_VCPU, run_a_guest), REFUSED); /* By the kernel: no guest. */
	assert_int_equal(fate(SECCOMP_MAIN, run_a_guest), FORBIDDEN);
	assert_int_equal(fate(SECCOMP_VCPU, ask_a_terminal), FORBIDDEN);
	assert_int_equal(fate(SECCOMP_VCPU, ask_a_terminal_in_64_bits), FORBIDDEN);
	assert_int_equal(fate(SECCOMP_BROKER, make_a_unix_socket), MADE);
	assert_int_equal(fate(SECCOMP_BROKER, make_an_internet_socket), FORBIDDEN);
	assert_int_equal(fate(SECCOMP_BROKER, open_a_folder), MADE);
	assert_int_equal(fate(SECCOMP_BROKER, open_a_file), FORBIDDEN);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_at_most_fifty_calls),
		cmocka_unit_test(test_each_rule_has_a_reason_and_a_thread),
		cmocka_unit_test(test_no_way_out_is_listed),
		cmocka_unit_test(test_threads_are_held_to_it),
		cmocka_unit_test(test_rare_calls_are_allowed),
		cmocka_unit_test(test_arguments_are_looked_at),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
