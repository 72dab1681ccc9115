/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Processes that outlive this one (detached.h).  Called by vmm.c and storage.c on the main thread.
 */
#include <config.h>

#include "hv/hostd/detached.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "hv/hostd/text_file.h"
#include "openvswitch/poll-loop.h"
#include "util.h"

/* --- In the child, where only system calls are made ----------------------------------------- */

static void take_signals_back(void)
{
	sigset_t none;

	for (int number = 1; number < NSIG; number++)
		signal(number, SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

static void leave_number(const char *path)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);

	if (fd >= 0)
		dprintf(fd, "%ld\n", (long int)getpid());
}

static void become(const struct detached_start *start, char *const *environment)
	__attribute__((noreturn));

static void become(const struct detached_start *start, char *const *environment)
{
	int null = open("/dev/null", O_RDWR);
	int log = open(start->log, O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW, 0600);

	setsid();
	umask(0077);
	if (start->pid_file)
		leave_number(start->pid_file);
	for (unsigned int i = 0; i < start->n_groups; i++) {
		/* If it cannot be in the group it runs without, as where there are none. */
		if (write(start->groups[i], "0", 1) < 0)
			continue;
	}
	dup2(null, STDIN_FILENO);
	dup2(log >= 0 ? log : null, STDOUT_FILENO);
	dup2(log >= 0 ? log : null, STDERR_FILENO);
	close_range(STDERR_FILENO + 1, ~0U, 0);
	take_signals_back();
	execve(start->arguments[0], start->arguments, environment);
	dprintf(STDERR_FILENO, "%s cannot be run: %s\n", start->arguments[0], strerror(errno));
	_exit(127);
}

/* --- In this process ------------------------------------------------------------------------ */

enum { ENVIRONMENT_MAX = 8 };

/* What the process is given of this one's environment, which may be that of somebody's shell, with
 * his secrets in it.  The last ones are for programs that are built with sanitizers. */
static void pick_environment(char *picked[ENVIRONMENT_MAX + 1])
{
	static const char *const names[ENVIRONMENT_MAX] = {"PATH=", "LANG=", "LC_ALL=", "TZ=",
		"ASAN_OPTIONS=", "UBSAN_OPTIONS=", "TSAN_OPTIONS=", "LSAN_OPTIONS="};
	size_t n = 0;

	for (size_t i = 0; i < ENVIRONMENT_MAX; i++) {
		for (char **one = environ; *one; one++) {
			if (!strncmp(*one, names[i], strlen(names[i]))) {
				picked[n++] = *one;
				break;
			}
		}
	}
	picked[n] = NULL;
}

int detached_start(struct detached *process, const struct detached_start *start)
{
	char *environment[ENVIRONMENT_MAX + 1];
	int error;
	pid_t pid;

	pick_environment(environment);
	pid = fork();
	if (pid < 0)
		return -errno;
	if (!pid)
		become(start, environment);
	/* It cannot be collected by anybody else meanwhile, so the number is its own. */
	*process = (struct detached){.pid = pid, .child = true};
	process->pidfd = pidfd_open(pid, 0);
	if (process->pidfd >= 0)
		return 0;
	error = -errno;
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	*process = (struct detached){0};
	return error;
}

int detached_adopt(struct detached *process, pid_t pid)
{
	int pidfd = pid > 0 ? pidfd_open(pid, 0) : (errno = ESRCH, -1);

	if (pidfd < 0)
		return -errno;
	*process = (struct detached){.pid = pid, .pidfd = pidfd};
	return 0;
}

int detached_find(struct detached *process, const char *pid_file, const char *word)
{
	char *text = text_file_last_line(pid_file);
	long int pid = strtol(text, NULL, 10);
	int error = pid > 1 && pid <= INT_MAX ? detached_adopt(process, (pid_t)pid) : -ESRCH;

	free(text);
	if (error || detached_has_word((pid_t)pid, word))
		return error;
	detached_close(process);
	return -ESRCH;
}

bool detached_ended(struct detached *process, struct detached_end *end)
{
	struct pollfd ready = {.fd = process->pidfd, .events = POLLIN};
	siginfo_t info = {.si_pid = 0};

	*end = (struct detached_end){.exit_status = -1};
	if (!process->pid || poll(&ready, 1, 0) <= 0)
		return false;
	if (process->child && !waitid(P_PIDFD, (id_t)process->pidfd, &info, WEXITED | WNOHANG) &&
		info.si_pid) {
		end->known = true;
		if (info.si_code == CLD_EXITED)
			end->exit_status = info.si_status;
		else
			end->signal = info.si_status;
	}
	detached_close(process);
	return true;
}

bool detached_has_word(pid_t pid, const char *text)
{
	char path[64], words[16384];
	FILE *file;
	size_t n;

	snprintf(path, sizeof(path), "/proc/%ld/cmdline", (long int)pid);
	file = fopen(path, "re");
	if (!file)
		return false;
	n = fread(words, 1, sizeof(words), file);
	fclose(file);
	return memmem(words, n, text, strlen(text)) != NULL;
}

void detached_signal(const struct detached *process, int number)
{
	if (process->pid)
		(void)pidfd_send_signal(process->pidfd, number, NULL, 0);
}

void detached_wait(const struct detached *process)
{
	if (process->pid)
		poll_fd_wait(process->pidfd, POLLIN);
}

void detached_close(struct detached *process)
{
	if (process->pid)
		close(process->pidfd);
	*process = (struct detached){0};
}
