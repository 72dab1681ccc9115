/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cordon-vmm: runs one guest, and ends with what became of it as its exit status.
 *
 * Everything is opened first, then rights are given up, then the guest runs: see docs/hv.md.
 */
#include <errno.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "hv/machine_setup.h"
#include "hv/outcome.h"
#include "hv/sandbox.h"
#include "hv/seccomp.h"

/* SIGTERM, SIGINT and SIGHUP, read as events. */
struct stop_signals {
	struct event_source source; /* First. */
	struct machine *machine;
};

/* From the very beginning, so that no signal is lost before somebody reads it; and no thread is
 * ever interrupted by one. */
static void block_signals(sigset_t *signals)
{
	sigemptyset(signals);
	sigaddset(signals, SIGTERM);
	sigaddset(signals, SIGINT);
	sigaddset(signals, SIGHUP);
	pthread_sigmask(SIG_BLOCK, signals, NULL);
	/* Told where they come about, by EPIPE and EFBIG. */
	signal(SIGPIPE, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN);
}

/* As many descriptors as this process may have: each queue of a device takes two. */
static void raise_descriptors(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return;
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
}

static void stop(struct event_source *source, uint32_t events)
{
	struct stop_signals *signals = (struct stop_signals *)source;
	struct signalfd_siginfo info;

	(void)events;
	if (read(source->fd, &info, sizeof(info)) != sizeof(info))
		return;
	machine_end(signals->machine, MACHINE_STOPPED, "stopped by the signal %s (%u)",
		info.ssi_signo == SIGTERM  ? "SIGTERM"
		: info.ssi_signo == SIGINT ? "SIGINT"
					   : "SIGHUP",
		info.ssi_signo);
}

static int watch_signals(struct stop_signals *stopping, struct machine *machine,
	const sigset_t *signals, struct hv_error *error)
{
	int status;

	stopping->machine = machine;
	stopping->source.ready = stop;
	stopping->source.fd = signalfd(-1, signals, SFD_CLOEXEC | SFD_NONBLOCK);
	status = stopping->source.fd < 0
			 ? -errno
			 : event_loop_add(machine->loop, &stopping->source, EPOLLIN);
	return status < 0 ? hv_fail(error, -status, "signals cannot be waited for: %s",
				    strerror(-status))
			  : 0;
}

static void unwatch_signals(struct stop_signals *stopping)
{
	event_loop_remove(stopping->machine->loop, &stopping->source);
	if (stopping->source.fd >= 0)
		close(stopping->source.fd);
}

static void tell(const char *sentence)
{
	fprintf(stderr, "cordon-vmm: %s\n", sentence);
}

/* Everything has been opened: gives rights up, and runs the guest. */
static int confine(const struct vmm_options *options, struct machine *machine,
	const struct seccomp *seccomp, struct hv_error *error)
{
	int status = sandbox_enter(options, error);

	if (status == 0)
		status = machine_start(machine, seccomp, error);
	return status < 0 ? status : seccomp_enter(seccomp, SECCOMP_MAIN, error);
}

static enum machine_outcome run(const struct vmm_options *options, struct machine_setup *setup,
	const struct seccomp *seccomp, const sigset_t *signals, struct hv_error *error)
{
	struct machine *machine = &setup->machine;
	struct stop_signals stopping = {.source.fd = -1};
	struct outcome *outcome;
	enum machine_outcome how = MACHINE_NOT_STARTED;
	int status = outcome_open(&outcome, options->outcome, setup->serial_terminal, error);

	if (status < 0) {
		tell(error->text);
		return MACHINE_NOT_STARTED;
	}
	status = watch_signals(&stopping, machine, signals, error);
	if (status == 0)
		status = confine(options, machine, seccomp, error);
	if (status == 0)
		how = machine_run(machine, options->paused);
	/* The guest's last words come before the sentence about its end. */
	terminal_flush(setup->serial_terminal);
	outcome_write(outcome, how, status < 0 ? error->text : machine->reason,
		machine->report[0] ? machine->report : NULL);
	outcome_close(outcome);
	unwatch_signals(&stopping);
	return how;
}

/* What could not be made is told where the end is told. */
static void tell_not_started(const struct vmm_options *options, const struct hv_error *error)
{
	struct outcome *outcome;
	struct hv_error other;

	if (outcome_open(&outcome, options->outcome, NULL, &other) < 0) {
		tell(error->text);
		tell(other.text);
		return;
	}
	outcome_write(outcome, MACHINE_NOT_STARTED, error->text, NULL);
	outcome_close(outcome);
}

static enum machine_outcome set_up_and_run(
	const struct vmm_options *options, const struct seccomp *seccomp, const sigset_t *signals)
{
	struct machine_setup setup = {0};
	struct hv_error error = {"there is no reason"};
	const char *paths[BROKER_PATHS];
	unsigned int n = machine_setup_paths(options, paths);
	struct broker *broker;
	enum machine_outcome how = MACHINE_NOT_STARTED;
	int status = broker_start(&broker, paths, n, seccomp, &error);

	if (status == 0)
		status = machine_setup_create(&setup, options, broker, &error);
	if (status == 0) {
		how = run(options, &setup, seccomp, signals, &error);
		machine_setup_destroy(&setup);
	} else {
		tell_not_started(options, &error);
	}
	broker_destroy(broker);
	return how;
}

int main(int argc, char **argv)
{
	struct vmm_options options;
	struct seccomp *seccomp = NULL;
	struct hv_error error;
	enum machine_outcome how;
	sigset_t signals;
	int status;

	/* A pool of memory for each thread would be for programs that allocate all the time. */
	mallopt(M_ARENA_MAX, 1);
	block_signals(&signals);
	raise_descriptors();
	status = options_read(&options, argc, argv, &error);
	if (status > 0)
		return EXIT_SUCCESS;
	if (status < 0) {
		tell(error.text);
		return MACHINE_USAGE;
	}
	if (options.sandbox && seccomp_create(&seccomp, &error) < 0) {
		tell(error.text);
		return MACHINE_NOT_STARTED;
	}
	how = set_up_and_run(&options, seccomp, &signals);
	seccomp_destroy(seccomp);
	return how;
}
