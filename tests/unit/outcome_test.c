/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The outcome file: whole and JSON whatever the guest wrote, and also when this process fails.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>
#include <jansson.h>

#include "hv/json_text.h"
#include "hv/outcome.h"
#include "hv/seccomp.h"
#include "hv/signal_stack.h"

enum { TEXT_BYTES = 4000 };

struct fixture {
	char folder[32], path[64], words[64];
};

static int setup(void **state)
{
	struct fixture *fixture = calloc(1, sizeof(*fixture));

	strcpy(fixture->folder, "/tmp/outcome-test.XXXXXX");
	assert_non_null(mkdtemp(fixture->folder));
	snprintf(fixture->path, sizeof(fixture->path), "%s/outcome", fixture->folder);
	snprintf(fixture->words, sizeof(fixture->words), "%s/words", fixture->folder);
	*state = fixture;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *fixture = *state;

	unlink(fixture->path);
	unlink(fixture->words);
	assert_int_equal(rmdir(fixture->folder), 0);
	free(fixture);
	return 0;
}

/* Runs `life` in a child whose stderr goes to a file: how it ended. */
static int in_a_child(const struct fixture *fixture, void (*life)(struct outcome *outcome))
{
	int status;
	pid_t child = fork();

	assert_true(child >= 0);
	if (child == 0) {
		struct outcome *outcome;
		int fd = open(fixture->words, O_WRONLY | O_CREAT | O_TRUNC, 0600);

		dup2(fd, STDERR_FILENO);
		if (outcome_open(&outcome, fixture->path, NULL, NULL) < 0)
			_exit(99);
		life(outcome);
		_exit(98);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

/* The outcome is one object with a newline behind it, and this member. */
static void expect(const struct fixture *fixture, const char *key, const char *value)
{
	json_error_t error;
	json_t *object = json_load_file(fixture->path, JSON_REJECT_DUPLICATES, &error);
	const char *given;

	if (!object)
		fail_msg("the outcome is no JSON: %s", error.text);
	given = json_string_value(json_object_get(object, key));
	assert_non_null(given);
	if (!strstr(given, value))
		fail_msg("%s is '%s', without '%s'", key, given, value);
	assert_true(json_integer_value(json_object_get(object, "ended_at_ms")) > 1000000000000);
	json_decref(object);
}

static void expect_words(const struct fixture *fixture, const char *words)
{
	char text[1024] = "";
	FILE *file = fopen(fixture->words, "r");

	assert_non_null(file);
	text[fread(text, 1, sizeof(text) - 1, file)] = 0;
	fclose(file);
	if (!strstr(text, words))
		fail_msg("stderr is '%s', without '%s'", text, words);
}

static void test_an_end_is_told_in_both_places(void **state)
{
	struct fixture *fixture = *state;
	pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
	struct event_loop *loop;
	struct terminal *terminal;
	struct outcome *outcome;
	struct stat status;

	assert_int_equal(event_loop_create(&loop, &lock), 0);
	assert_int_equal(terminal_create(&terminal, "serial port", loop), 0);
	assert_int_equal(outcome_open(&outcome, fixture->path, terminal, NULL), 0);
	terminal_write(terminal, "gr\xc3\xbc\xc3\x9f dich\x1b[0m \xff\xc3\x28\"\\\n\0end", 26);
	assert_int_equal(outcome_write(outcome, MACHINE_GUEST_FAULT, "it fell", "rip 0x10\n"), 0);
	outcome_close(outcome);
	terminal_destroy(terminal);
	event_loop_destroy(loop);
	expect(fixture, "outcome", "guest-fault");
	expect(fixture, "reason", "it fell");
	expect(fixture, "report", "rip 0x10\n");
	expect(fixture, "console_tail",
		"gr\xc3\xbc\xc3\x9f dich\x1b[0m \xef\xbf\xbd\xef\xbf\xbd(\"\\\n\xef\xbf\xbd"
		"end");
	assert_int_equal(stat(fixture->path, &status), 0);
	assert_int_equal(status.st_mode & 0777, 0600);
}

static void test_files_that_are_none_are_sentences(void **state)
{
	struct fixture *fixture = *state;
	struct outcome *outcome;
	struct hv_error error;

	assert_true(outcome_open(&outcome, fixture->folder, NULL, &error) < 0);
	assert_non_null(strstr(error.text, fixture->folder));
	assert_int_equal(outcome_open(&outcome, "/no/such/folder/outcome", NULL, &error), -ENOENT);
	assert_int_equal(mkfifo(fixture->path, 0600), 0);
	assert_true(outcome_open(&outcome, fixture->path, NULL, &error) < 0);
	assert_non_null(strstr(error.text, fixture->path));
}

/* --- Faults of this process --- */

static void touch_nothing(struct outcome *outcome)
{
	volatile int *nowhere = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	(void)outcome;
	*nowhere = 1;
}

static void enter_filter_of(enum seccomp_thread thread)
{
	struct seccomp *seccomp;

	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	if (seccomp_create(&seccomp, NULL) < 0 || seccomp_enter(seccomp, thread, NULL) < 0)
		_exit(97);
}

static void enter_filter(void)
{
	enter_filter_of(SECCOMP_MAIN);
}

/* A stack pointer that leads nowhere: the kernel cannot put a handler's frame there. */
static void lose_the_stack(struct outcome *outcome)
{
	(void)outcome;
	__asm__ volatile("mov $8, %%rsp\n\tpush %%rax" ::: "memory");
}

static unsigned int descend(unsigned int depth)
{
	volatile char room[4096];

	room[0] = (char)depth;
	return depth == UINT32_MAX ? 0 : descend(depth + 1) + (unsigned int)room[0];
}

static void use_up_the_stack(struct outcome *outcome)
{
	const struct rlimit little = {.rlim_cur = 256 * 1024, .rlim_max = 256 * 1024};

	(void)outcome;
	setrlimit(RLIMIT_STACK, &little);
	descend(0);
}

static void *use_up_a_threads_stack(void *nothing)
{
	struct signal_stack stack;

	if (signal_stack_enter(&stack) == 0)
		descend(0);
	return nothing;
}

static void use_up_another_stack(struct outcome *outcome)
{
	pthread_t thread;

	(void)outcome;
	pthread_create(&thread, NULL, use_up_a_threads_stack, NULL);
	pthread_join(thread, NULL);
}

static void lose_the_stack_in_the_filter(struct outcome *outcome)
{
	enter_filter();
	lose_the_stack(outcome);
}

static void give_up(struct outcome *outcome)
{
	(void)outcome;
	abort();
}

static void open_a_file(struct outcome *outcome)
{
	(void)outcome;
	enter_filter();
	open("/etc/passwd", O_RDONLY);
}

static void fork_a_process(struct outcome *outcome)
{
	(void)outcome;
	enter_filter();
	fork();
}

static void give_up_in_the_filter(struct outcome *outcome)
{
	(void)outcome;
	enter_filter();
	abort();
}

static void give_up_in_a_processors_filter(struct outcome *outcome)
{
	(void)outcome;
	enter_filter_of(SECCOMP_VCPU);
	abort();
}

/* glibc finds it out, says so, and gives up. */
static void corrupt_memory(void)
{
	void (*volatile give_back)(void *) = free;
	char *volatile piece = malloc(100);

	give_back(piece);
	give_back(piece);
}

static void corrupt_memory_in_the_filter(struct outcome *outcome)
{
	(void)outcome;
	enter_filter();
	corrupt_memory();
}

static void corrupt_memory_in_a_processors_filter(struct outcome *outcome)
{
	(void)outcome;
	enter_filter_of(SECCOMP_VCPU);
	corrupt_memory();
}

/* As the compiler's own check does when a function returns over a stack that was overwritten. */
extern void __stack_chk_fail(void) __attribute__((noreturn));

static void smash_the_stack_in_a_processors_filter(struct outcome *outcome)
{
	(void)outcome;
	enter_filter_of(SECCOMP_VCPU);
	__stack_chk_fail();
}

static void break_an_assertion_in_the_filter(struct outcome *outcome)
{
	enter_filter();
	assert(!outcome);
}

static void fail_after_the_end(struct outcome *outcome)
{
	outcome_write(outcome, MACHINE_STOPPED, "stopped", NULL);
	outcome_close(outcome);
	abort();
}

static void test_faults_of_this_process_are_told(void **state)
{
	struct fixture *fixture = *state;
	static const struct {
		void (*life)(struct outcome *outcome);
		const char *reason;
	} lives[] = {
		{touch_nothing, "touched memory that is not there (SIGSEGV)"},
		{lose_the_stack, "its stack is used up, or lost (SIGSEGV)"},
		{lose_the_stack_in_the_filter, "its stack is used up, or lost (SIGSEGV)"},
		{use_up_the_stack, "its stack is used up, or lost (SIGSEGV)"},
		{use_up_another_stack, "its stack is used up, or lost (SIGSEGV)"},
		{give_up, "gave itself up (SIGABRT)"},
		{give_up_in_the_filter, "gave itself up (SIGABRT)"},
		{give_up_in_a_processors_filter, "gave itself up (SIGABRT)"},
		{corrupt_memory_in_the_filter, "gave itself up (SIGABRT)"},
		{corrupt_memory_in_a_processors_filter, "gave itself up (SIGABRT)"},
		{smash_the_stack_in_a_processors_filter, "gave itself up (SIGABRT)"},
		{break_an_assertion_in_the_filter, "gave itself up (SIGABRT)"},
		{open_a_file, "the system call openat (257) with arguments"},
		{fork_a_process, "the system call 5"},
	};

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
	skip(); /* A sanitizer makes calls of its own, which the list does not have. */
#endif
	for (size_t i = 0; i < sizeof(lives) / sizeof(lives[0]); i++) {
		assert_int_equal(in_a_child(fixture, lives[i].life), MACHINE_VMM_FAULT);
		expect(fixture, "outcome", "vmm-fault");
		expect(fixture, "reason", lives[i].reason);
		expect(fixture, "report", "at instruction 0x");
		expect_words(fixture, lives[i].reason);
	}
}

static void test_what_was_told_stays(void **state)
{
	struct fixture *fixture = *state;

	assert_int_equal(in_a_child(fixture, fail_after_the_end), MACHINE_VMM_FAULT);
	expect(fixture, "outcome", "stopped");
	expect_words(fixture, "gave itself up");
}

/* --- Full disks --- */

static off_t size_of(const char *path)
{
	struct stat status;

	assert_int_equal(stat(path, &status), 0);
	return status.st_size;
}

/* As a disk that has no room for more than this. */
static void be_cut(struct outcome *outcome)
{
	const struct rlimit little = {.rlim_cur = 100, .rlim_max = 100};

	signal(SIGXFSZ, SIG_IGN);
	setrlimit(RLIMIT_FSIZE, &little);
	_exit(outcome_write(outcome, MACHINE_STOPPED, "stopped", "report\n") == -EFBIG ? 7 : 1);
}

static void test_what_cannot_be_written_whole_is_not_there(void **state)
{
	struct fixture *fixture = *state;

	assert_int_equal(in_a_child(fixture, be_cut), 7);
	assert_int_equal(size_of(fixture->path), 0);
	expect_words(fixture, "the outcome file could not be written (File too large)");
}

static void fill(const char *path)
{
	char page[4096] = {1};
	int fd = open(path, O_WRONLY | O_CREAT, 0600);

	while (write(fd, page, sizeof(page)) > 0)
		;
	assert_int_equal(errno, ENOSPC);
	close(fd);
}

/* In a file system of its own, which is full when the outcome is written: 0 if it is whole. */
static void live_on_a_full_disk(const struct fixture *fixture)
{
	char more[96], text[TEXT_BYTES];
	struct outcome *outcome;
	struct hv_error error;

	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
		mount("none", fixture->folder, "tmpfs", 0, "size=128k") < 0)
		_exit(77);
	snprintf(more, sizeof(more), "%s/more", fixture->folder);
	memset(text, 1, sizeof(text)); /* What takes most room as JSON. */
	text[sizeof(text) - 1] = 0;
	assert_int_equal(outcome_open(&outcome, fixture->path, NULL, NULL), 0);
	assert_int_equal(size_of(fixture->path), 0);
	fill(more);
	assert_int_equal(outcome_write(outcome, MACHINE_GUEST_FAULT, text, text), 0);
	outcome_close(outcome);
	expect(fixture, "outcome", "guest-fault");
	expect(fixture, "report", "\x01\x01\x01");
	assert_int_equal(outcome_open(&outcome, more, NULL, NULL), 0);
	outcome_close(outcome);
	/* Nothing reserved any more, and no room. */
	fill(more);
	assert_int_equal(outcome_open(&outcome, fixture->path, NULL, &error), -ENOSPC);
	assert_non_null(strstr(error.text, "there is no room for the outcome file"));
	assert_non_null(strstr(error.text, fixture->path));
}

static void test_the_room_is_reserved(void **state)
{
	struct fixture *fixture = *state;
	int status;
	pid_t child = fork();

	assert_true(child >= 0);
	if (child == 0) {
		live_on_a_full_disk(fixture);
		_exit(0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	if (WEXITSTATUS(status) == 77) {
		print_message("skipped: mounting a small file system needs root\n");
		skip();
	}
	assert_int_equal(WEXITSTATUS(status), 0);
}

/* --- Strings --- */

static const struct {
	const char *bytes, *quoted;
} strings[] = {
	{"", "\"\""},
	{"a\"\\b", "\"a\\\"\\\\b\""},
	{"\x01\x7f", "\"\\u0001\\u007f\""},
	{"\xe2\x82\xac", "\"\xe2\x82\xac\""},
	{"\xf0\x9f\x98\x80", "\"\xf0\x9f\x98\x80\""},
	/* Overlong, surrogate, too high, cut off. */
	{"\xc0\xaf", "\"\\ufffd\\ufffd\""},
	{"\xe0\x80\xaf", "\"\\ufffd\\ufffd\\ufffd\""},
	{"\xed\xa0\x80", "\"\\ufffd\\ufffd\\ufffd\""},
	{"\xf4\x90\x80\x80", "\"\\ufffd\\ufffd\\ufffd\\ufffd\""},
	{"\xf5", "\"\\ufffd\""},
	{"x\xe2\x82", "\"x\\ufffd\\ufffd\""},
};

static void test_any_bytes_are_a_string(void **state)
{
	char quoted[64];

	(void)state;
	for (size_t i = 0; i < sizeof(strings) / sizeof(strings[0]); i++) {
		size_t n = json_text_quote(quoted, strings[i].bytes, strlen(strings[i].bytes));

		quoted[n] = 0;
		assert_string_equal(quoted, strings[i].quoted);
	}
	assert_int_equal(json_text_quote(quoted, "\0", 1), 8);
	assert_memory_equal(quoted, "\"\\ufffd\"", 8);
}

#define story(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		story(test_an_end_is_told_in_both_places),
		story(test_files_that_are_none_are_sentences),
		story(test_faults_of_this_process_are_told),
		story(test_what_was_told_stays),
		story(test_what_cannot_be_written_whole_is_not_there),
		story(test_the_room_is_reserved),
		cmocka_unit_test(test_any_bytes_are_a_string),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
