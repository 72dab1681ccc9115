/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cordon-hostd: starts everything in order, runs the loop, and leaves the guests running at its
 * end.  One thread.
 */
#include <config.h>

#include "hv/hostd/hostd.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "command-line.h"
#include "daemon.h"
#include "daemon/stale_sockets.h"
#include "fatal-signal.h"
#include "openvswitch/poll-loop.h"
#include "openvswitch/vlog.h"
#include "timeval.h"
#include "unixctl.h"
#include "util.h"

VLOG_DEFINE_THIS_MODULE(main);

enum { LOCK_RETRY_MS = 5, LOCK_TRIES = 400 };

/* Held for the life of the process: two would start each guest twice. */
static void lock_run_directory(const char *directory)
{
	char *path = xasprintf("%s/cordon-hostd.lock", directory);
	int fd;

	if (mkdir(directory, 0750) && errno != EEXIST)
		ovs_fatal(errno, "%s: cannot make the run directory", directory);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0)
		ovs_fatal(errno, "%s: cannot open", path);
	for (unsigned int tries = 0; flock(fd, LOCK_EX | LOCK_NB); tries++) {
		if (tries == LOCK_TRIES)
			ovs_fatal(0,
				"another cordon-hostd runs in %s; stop it with `cordon down`, or "
				"give this one a --rundir of its own",
				directory);
		nanosleep(&(struct timespec){.tv_nsec = LOCK_RETRY_MS * 1000000L}, NULL);
	}
	free(path);
}

/* A signal is something that the loop waits for, read from a file descriptor. */
static int take_signals(void)
{
	static const int numbers[] = {SIGTERM, SIGINT, SIGHUP};
	sigset_t signals;
	int fd;

	sigemptyset(&signals);
	for (size_t i = 0; i < ARRAY_SIZE(numbers); i++)
		sigaddset(&signals, numbers[i]);
	sigprocmask(SIG_BLOCK, &signals, NULL);
	fd = signalfd(-1, &signals, SFD_NONBLOCK | SFD_CLOEXEC);
	if (fd < 0)
		ovs_fatal(errno, "no file descriptor for signals");
	return fd;
}

static void run_signals(struct hostd *hostd, int fd)
{
	struct signalfd_siginfo one;

	if (read(fd, &one, sizeof(one)) == (ssize_t)sizeof(one)) {
		VLOG_INFO("ending: %s; guests run on", strsignal((int)one.ssi_signo));
		hostd->quit = true;
	}
}

bool hostd_is_leaving(const struct hostd *hostd)
{
	return time_msec() < hostd->leaving_until;
}

static void run_guests(struct hostd *hostd)
{
	struct shash_node *node;

	SHASH_FOR_EACH_SAFE (node, &hostd->guests) {
		if (guest_run(node->data))
			continue;
		guest_destroy(node->data);
		shash_delete(&hostd->guests, node);
		hostd->seen = 0; /* Another VM may have waited for the name. */
		poll_immediate_wake();
	}
}

static void wait_for_guests(const struct hostd *hostd)
{
	const struct shash_node *node;

	SHASH_FOR_EACH (node, &hostd->guests)
		guest_wait(node->data);
}

static void run(struct hostd *hostd, struct unixctl_server *unixctl, int signals)
{
	while (!hostd->quit) {
		run_signals(hostd, signals);
		unixctl_server_run(unixctl);
		replica_run(hostd);
		run_guests(hostd);
		statistics_run(hostd);
		unixctl_server_wait(unixctl);
		replica_wait(hostd);
		wait_for_guests(hostd);
		statistics_wait(hostd);
		if (hostd_is_leaving(hostd))
			poll_timer_wait_until(hostd->leaving_until);
		poll_fd_wait(signals, POLLIN);
		if (hostd->quit)
			poll_immediate_wake();
		poll_block();
	}
}

static void stop(struct hostd *hostd)
{
	struct shash_node *node;

	SHASH_FOR_EACH_SAFE (node, &hostd->guests) {
		guest_destroy(node->data);
		shash_delete(&hostd->guests, node);
	}
	shash_destroy(&hostd->guests);
	replica_close(hostd);
	cgroups_destroy(hostd->cgroups);
}

int main(int argc, char *argv[])
{
	struct hostd_options options;
	struct hostd hostd = {.options = &options};
	struct unixctl_server *unixctl;
	int signals;

	ovs_set_program_name(argv[0], CORDON_VERSION);
	ovs_cmdl_proctitle_init(argc, argv);
	hostd_options_parse(argc, argv, &options);
	setenv("OVS_RUNDIR", options.run_directory, 1);
	lock_run_directory(options.run_directory);
	stale_sockets_remove(options.run_directory, program_name);
	fatal_ignore_sigpipe();
	signals = take_signals();
	set_pidfile(NULL);
	daemonize_start(false);
	if (unixctl_server_create(NULL, &unixctl))
		exit(EXIT_FAILURE);
	hostd.started_ms = time_msec();
	shash_init(&hostd.guests);
	hostd.cgroups = cgroups_create(options.run_directory);
	hostd.idl = replica_open(options.database);
	answers_register(&hostd);
	daemonize_complete();
	VLOG_INFO("cordon-hostd %s is ready on host %s", CORDON_VERSION, options.host);
	run(&hostd, unixctl, signals);
	unixctl_server_destroy(unixctl);
	stop(&hostd);
	close(signals);
	hostd_options_free(&options);
	return EXIT_SUCCESS; /* Libopenvswitch's exit handler removes the pidfile. */
}
