/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How the guest ended: the outcome file and the last words on stderr.  Called by main at the end,
 * or, if this process has a fault of its own, by the handler of the signal that tells of it, on
 * whichever thread.
 *
 * The handler can trust nothing: not malloc, whose lock may be held, not stdio.  So there is one
 * way to write the file, which takes no memory and no lock.
 */
#include "hv/outcome.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#include "hv/json_text.h"
#include "hv/seccomp.h"
#include "hv/signal_stack.h"

enum {
	TAIL_BYTES = 4096,
	REASON_BYTES = HV_ERROR_BYTES,
	REPORT_BYTES = MACHINE_REPORT_BYTES,
	/* The whole object at its longest: texts, and around them names and numbers. */
	FRAME_BYTES = 256,
	OUTCOME_BYTES = FRAME_BYTES + (REASON_BYTES + REPORT_BYTES + TAIL_BYTES) * JSON_TEXT_GROWTH,
};

struct outcome {
	int fd; /* Or -1. */
	const struct terminal *serial;
	char tail[TAIL_BYTES];
	size_t n; /* Bytes of `text`. */
	char text[OUTCOME_BYTES];
};

/* A signal's handler is given nothing but the signal: this is where it finds the file. */
static struct outcome *_Atomic dying;
static atomic_flag died = ATOMIC_FLAG_INIT;

/* Where the program lies, so that an address can be looked up in it. */
extern const char __ehdr_start[];

/* How far from the stack pointer a program touches its stack. */
#define STACK_NEAR UINT64_C(65536)

static const int faults[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGSYS};

/* --- Writing ---------------------------------------------------------------------------------- */

static int write_all(int fd, const char *bytes, size_t n)
{
	while (n) {
		ssize_t written = write(fd, bytes, n);

		if (written < 0 && errno == EINTR)
			continue;
		if (written <= 0)
			return written < 0 ? -errno : -EIO;
		bytes += written;
		n -= (size_t)written;
	}
	return 0;
}

static int write_string(int fd, const char *text)
{
	return write_all(fd, text, strlen(text));
}

/* What is appended has its place: see OUTCOME_BYTES. */
static void append(struct outcome *outcome, const char *text)
{
	size_t n = strlen(text);

	memcpy(outcome->text + outcome->n, text, n);
	outcome->n += n;
}

static void append_text(
	struct outcome *outcome, const char *key, const char *text, size_t n, size_t most)
{
	append(outcome, key);
	outcome->n += json_text_quote(outcome->text + outcome->n, text, n < most ? n : most);
}

static void append_number(struct outcome *outcome, const char *key, uint64_t value)
{
	char digits[24] = "";
	size_t at = sizeof(digits) - 1;

	do {
		digits[--at] = (char)('0' + value % 10);
		value /= 10;
	} while (value);
	append(outcome, key);
	append(outcome, digits + at);
}

static uint64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* The object, member by member. */
static void compose(
	struct outcome *outcome, enum machine_outcome how, const char *reason, const char *report)
{
	const char *name = machine_outcome_name(how);
	size_t tail =
		outcome->serial ? terminal_tail(outcome->serial, outcome->tail, TAIL_BYTES) : 0;

	outcome->n = 0;
	append_text(outcome, "{\"outcome\":", name, strlen(name), FRAME_BYTES);
	append_number(outcome, ",\"status\":", how);
	append_text(outcome, ",\"reason\":", reason, strlen(reason), REASON_BYTES);
	append_text(outcome, ",\"report\":", report ? report : "", report ? strlen(report) : 0,
		REPORT_BYTES);
	append_text(outcome, ",\"console_tail\":", outcome->tail, tail, TAIL_BYTES);
	append_number(outcome, ",\"ended_at_ms\":", now_ms());
	append(outcome, "}\n");
}

static int write_at(int fd, const char *bytes, size_t n, off_t offset)
{
	while (n) {
		ssize_t written = pwrite(fd, bytes, n, offset);

		if (written < 0 && errno == EINTR)
			continue;
		if (written <= 0)
			return written < 0 ? -errno : -EIO;
		bytes += written;
		offset += written;
		n -= (size_t)written;
	}
	return 0;
}

/*
 * The first byte is written last, so that a file that begins with '{' is whole, also if this
 * process is killed meanwhile.  What cannot be written is taken back.
 */
static int write_file(struct outcome *outcome)
{
	int status = write_at(outcome->fd, outcome->text + 1, outcome->n - 1, 1);

	if (status == 0)
		status = write_at(outcome->fd, outcome->text, 1, 0);
	/* What was reserved beyond is given back. */
	if (ftruncate(outcome->fd, status == 0 ? (off_t)outcome->n : 0) < 0 && status == 0)
		status = -errno;
	return status;
}

static void write_stderr(const char *reason, const char *report)
{
	write_string(STDERR_FILENO, "cordon-vmm: ");
	write_string(STDERR_FILENO, reason);
	write_string(STDERR_FILENO, "\n");
	if (report)
		write_string(STDERR_FILENO, report);
}

int outcome_write(
	struct outcome *outcome, enum machine_outcome how, const char *reason, const char *report)
{
	int status;

	write_stderr(reason, report);
	if (outcome->fd < 0)
		return 0;
	compose(outcome, how, reason, report);
	status = write_file(outcome);
	if (status < 0) {
		write_string(STDERR_FILENO, "cordon-vmm: the outcome file could not be written (");
		write_string(STDERR_FILENO, strerrordesc_np(-status));
		write_string(STDERR_FILENO,
			"), and was left empty: only the exit status tells the end\n");
	}
	return status;
}

/* --- Faults of this process ------------------------------------------------------------------- */

/* Near the stack pointer there is memory, unless the stack has come to its end. */
static bool is_stack_overflow(const siginfo_t *information, uintptr_t stack_pointer)
{
	uintptr_t address = (uintptr_t)information->si_addr;

	return information->si_signo == SIGSEGV && information->si_code > 0 &&
	       information->si_code != SI_KERNEL && address + STACK_NEAR >= stack_pointer &&
	       address < stack_pointer + STACK_NEAR;
}

static const char *signal_words(int number, bool stack_overflow)
{
	switch (number) {
	case SIGSEGV:
		return stack_overflow ? "its stack is used up, or lost (SIGSEGV)"
				      : "it touched memory that is not there (SIGSEGV)";
	case SIGBUS:
		return "memory could not be had from the host (SIGBUS): it, or its huge pages, are "
		       "used up";
	case SIGILL: return "it came upon an instruction that does not exist (SIGILL)";
	case SIGFPE: return "it divided by zero (SIGFPE)";
	default: return "it gave itself up (SIGABRT)";
	}
}

/* The filter of system calls stopped one.  What is in the table was called with other arguments. */
static void describe_call(char *to, size_t bytes, int call)
{
	const char *name = seccomp_call_name(call);

	if (name)
		snprintf(to, bytes,
			"it made the system call %s (%d) with arguments that its list of allowed "
			"calls does not have",
			name, call);
	else
		snprintf(to, bytes,
			"it made the system call %d, which is not on its list of allowed calls "
			"(ausyscall %d names it)",
			call, call);
}

static void handle_fault(int number, siginfo_t *information, void *context)
{
	const ucontext_t *interrupted = context;
	uintptr_t at = (uintptr_t)interrupted->uc_mcontext.gregs[REG_RIP];
	char what[160], reason[256], report[256];

	/* The first fault is told; another thread's waits for the end. */
	if (atomic_flag_test_and_set(&died))
		for (;;)
			__builtin_ia32_pause();
	if (number == SIGSYS)
		describe_call(what, sizeof(what), information->si_syscall);
	else
		snprintf(what, sizeof(what), "%s",
			signal_words(number,
				is_stack_overflow(information,
					(uintptr_t)interrupted->uc_mcontext.gregs[REG_RSP])));
	snprintf(reason, sizeof(reason), "cordon-vmm itself has failed: %s", what);
	snprintf(report, sizeof(report),
		"at instruction 0x%" PRIxPTR " (cordon-vmm%+" PRIdPTR "), address 0x%" PRIxPTR "\n",
		at, (intptr_t)(at - (uintptr_t)__ehdr_start),
		number == SIGSYS || number == SIGABRT ? 0 : (uintptr_t)information->si_addr);
	/* One that comes after the end was told does not take it back. */
	if (dying)
		outcome_write(dying, MACHINE_VMM_FAULT, reason, report);
	else
		write_stderr(reason, report);
	_exit(MACHINE_VMM_FAULT);
}

static void take_signals(void)
{
	struct sigaction action = {
		.sa_flags = SA_SIGINFO | SA_ONSTACK, .sa_sigaction = handle_fault};

	sigfillset(&action.sa_mask);
	for (size_t i = 0; i < sizeof(faults) / sizeof(faults[0]); i++)
		sigaction(faults[i], &action, NULL);
}

/* --- Opening ---------------------------------------------------------------------------------- */

/* Room for the longest object, so that a disk that is full by then has it.  The file stays empty.
 * A file system that cannot reserve goes without. */
static int reserve(int fd)
{
	if (fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, OUTCOME_BYTES) == 0)
		return 0;
	return errno == EOPNOTSUPP || errno == ENOSYS ? 0 : -errno;
}

static int open_file(const char *path, struct hv_error *error)
{
	struct stat file;
	int status, fd = open(path, O_WRONLY | O_CREAT | O_NONBLOCK | O_NOCTTY | O_CLOEXEC, 0600);

	if (fd < 0)
		return hv_fail(error, errno, "the outcome file '%s' cannot be opened: %s", path,
			strerror(errno));
	if (fstat(fd, &file) < 0 || !S_ISREG(file.st_mode)) {
		close(fd);
		return hv_fail(error, EINVAL, "the outcome file '%s' is no ordinary file", path);
	}
	if (ftruncate(fd, 0) < 0) {
		int failure = hv_fail(error, errno, "the outcome file '%s' cannot be emptied: %s",
			path, strerror(errno));

		close(fd);
		return failure;
	}
	status = reserve(fd);
	if (status < 0) {
		close(fd);
		return hv_fail(error, -status,
			"there is no room for the outcome file '%s', which may come to have %d "
			"bytes: %s",
			path, OUTCOME_BYTES, strerror(-status));
	}
	return fd;
}

int outcome_open(struct outcome **created, const char *path, const struct terminal *serial,
	struct hv_error *error)
{
	struct outcome *outcome = calloc(1, sizeof(*outcome));
	/* It is there for as long as the signals are taken: to the process's end. */
	struct signal_stack stack;
	int status;

	*created = NULL;
	if (!outcome)
		return hv_fail(error, ENOMEM, "there is no memory for the outcome");
	outcome->serial = serial;
	outcome->fd = path ? open_file(path, error) : -1;
	if (path && outcome->fd < 0) {
		status = outcome->fd;
		free(outcome);
		return status;
	}
	status = signal_stack_enter(&stack);
	if (status < 0) {
		outcome_close(outcome);
		return hv_fail(error, -status, "there is no memory for a stack of signals: %s",
			strerror(-status));
	}
	dying = outcome;
	take_signals();
	*created = outcome;
	return 0;
}

void outcome_close(struct outcome *outcome)
{
	if (!outcome)
		return;
	/* The signals stay taken: they are still told of on stderr. */
	dying = NULL;
	if (outcome->fd >= 0)
		close(outcome->fd);
	free(outcome);
}
