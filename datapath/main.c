/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cordon-switchd: starts everything in order, runs the main loop, and ends everything in the
 * opposite order.
 *
 * The order matters twice.  The lock on the run directory comes before anything is touched that
 * another cordon-switchd could be using; and workers start before ports are opened, with empty poll
 * lists, so that a port has its poller from its first frame.  Connections are left in their file
 * for the next process.
 */
#include <config.h>

#include "datapath/config.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_mempool.h>

#include "command-line.h"
#include "daemon.h"
#include "daemon/stale_sockets.h"
#include "datapath/buffers.h"
#include "datapath/capture.h"
#include "datapath/control.h"
#include "datapath/dpdk.h"
#include "datapath/expectation.h"
#include "fatal-signal.h"
#include "openvswitch/poll-loop.h"
#include "openvswitch/vlog.h"
#include "ovs-rcu.h"
#include "ovs-thread.h"
#include "seq.h"
#include "unixctl.h"
#include "util.h"

VLOG_DEFINE_THIS_MODULE(main);

enum {
	PROGRAMS_MAX = 1 << 16,
	MACS_MAX = 1 << 16,
	CONTROL_CONNECTIONS_MAX = 4096,
	SWEEP_EVENTS = 1 << 16,
	PRECEDENCE_NICE = -10,
	INDIRECT_BUFFERS = 8192,
	INDIRECT_CACHE = 512,
	HUGEPAGE_MAGIC = 0x958458f6,
	LOCK_RETRY_MS = 5,
	LOCK_TRIES = 400,
};

/* --- the run directory ---------------------------------------------------------------------- */

/* Held for the life of the process: a second one on the same directory is refused.  A predecessor
 * that was just killed may need a moment to give its memory back, and with it the lock. */
static void lock_run_directory(const char *directory)
{
	char *path = xasprintf("%s/cordon-switchd.lock", directory);

	if (mkdir(directory, 0750) != 0 && errno != EEXIST)
		ovs_fatal(errno, "%s: cannot make the run directory", directory);
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0)
		ovs_fatal(errno, "%s: cannot open", path);
	for (unsigned int tries = 0; flock(fd, LOCK_EX | LOCK_NB) != 0; tries++) {
		if (tries < LOCK_TRIES) {
			nanosleep(&(struct timespec){.tv_nsec = LOCK_RETRY_MS * 1000000L}, NULL);
			continue;
		}
		ovs_fatal(0,
			"another cordon-switchd runs in %s; stop it with `cordon down`, or "
			"give this one a --rundir of its own",
			directory);
	}
	free(path);
}

/* --- signals -------------------------------------------------------------------------------- */

/* Libopenvswitch's handlers would end the process from within poll_block() of any thread.  Here a
 * signal is something that the main loop waits for: blocked in all threads, so before the first of
 * them is made, and read from a file descriptor, which is returned. */
static int take_signals(void)
{
	static const int numbers[] = {SIGTERM, SIGINT, SIGHUP, SIGALRM};
	sigset_t signals;

	sigemptyset(&signals);
	for (size_t i = 0; i < ARRAY_SIZE(numbers); i++)
		sigaddset(&signals, numbers[i]);
	pthread_sigmask(SIG_BLOCK, &signals, NULL);
	int fd = signalfd(-1, &signals, SFD_NONBLOCK | SFD_CLOEXEC);
	if (fd < 0)
		ovs_fatal(errno, "no file descriptor for signals");
	return fd;
}

static void run_signals(struct cordon_switch *sw, int fd)
{
	struct signalfd_siginfo signal;

	if (read(fd, &signal, sizeof(signal)) == (ssize_t)sizeof(signal)) {
		VLOG_INFO("ending: %s", strsignal((int)signal.ssi_signo));
		atomic_store(&sw->quit, true);
	}
}

/* --- memory ---------------------------------------------------------------------------------- */

static unsigned long int free_huge_pages(void)
{
	FILE *file = fopen("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages", "re");
	unsigned long int n = 0;

	if (file != NULL) {
		if (fscanf(file, "%lu", &n) != 1)
			n = 0;
		fclose(file);
	}
	return n;
}

/* Huge pages if they are wanted and there are enough of them; else ordinary ones, and says what
 * that costs. */
static bool choose_huge_pages(const struct switch_options *options)
{
	unsigned long int need = 32 + options->buffers / 1024 * 3 / 2, have = free_huge_pages();

	if (!options->huge_pages || have >= need)
		return options->huge_pages;
	VLOG_WARN("running without huge pages: %lu of 2 MiB are free and %lu are needed; "
		  "forwarding is slower by up to a third.  Reserve them with `sysctl "
		  "vm.nr_hugepages=%lu` and restart",
		have, need, need + 128);
	return false;
}

static void start_memory(
	struct cordon_switch *sw, const struct switch_options *options, bool huge_pages)
{
	if (!dpdk_start(options, huge_pages))
		ovs_fatal(0, "DPDK could not be started: %s; its messages are above",
			rte_strerror(rte_errno));
	struct buffers *buffers = buffers_create(options->buffers);
	if (buffers == NULL)
		ovs_fatal(0, "no memory for packet buffers: %s", rte_strerror(rte_errno));
	sw->environment = (struct port_environment){
		.huge_pages = huge_pages,
		.run_directory = options->run_directory,
		.n_workers = (uint16_t)options->n_workers,
		.buffers = buffers,
		.news = seq_create(),
		.pool = buffers_pool(buffers),
		.indirect = rte_pktmbuf_pool_create(
			"indirect", INDIRECT_BUFFERS, INDIRECT_CACHE, 0, 0, SOCKET_ID_ANY),
	};
	if (sw->environment.indirect == NULL)
		ovs_fatal(0, "no memory for packet headers: %s", rte_strerror(rte_errno));
}

/* --- the connection table ------------------------------------------------------------------- */

static void read_boot_id(uint8_t boot_id[16])
{
	FILE *file = fopen("/proc/sys/kernel/random/boot_id", "re");
	size_t n = 0;
	int c;

	memset(boot_id, 0, 16);
	while (file != NULL && (c = fgetc(file)) != EOF && n < 32) {
		if (hexit_value(c) < 0)
			continue;
		boot_id[n / 2] = (uint8_t)(boot_id[n / 2] << 4 | hexit_value(c));
		n++;
	}
	if (file != NULL)
		fclose(file);
}

/* Prefers a hugetlbfs of its own under the run directory: with a million connections most lookups
 * miss the TLB of small pages. */
static char *connection_file(const struct switch_options *options, bool huge_pages)
{
	char *directory = xasprintf("%s/huge", options->run_directory);
	struct statfs fs;

	if (huge_pages && (mkdir(directory, 0700) == 0 || errno == EEXIST)) {
		if (statfs(directory, &fs) == 0 && fs.f_type != HUGEPAGE_MAGIC)
			mount("cordon", directory, "hugetlbfs", 0, "mode=0700");
		if (statfs(directory, &fs) == 0 && fs.f_type == HUGEPAGE_MAGIC) {
			char *path = xasprintf("%s/connections", directory);

			free(directory);
			return path;
		}
	}
	free(directory);
	return xasprintf("%s/connections", options->run_directory);
}

/* The opening of the connection table, which goes on beside the start of DPDK: with a million
 * connections to adopt it takes as long. */
struct opening {
	struct cordon_switch *sw;
	const struct switch_options *options;
	bool huge_pages;
	pthread_t thread;
};

static void *open_connections(void *opening_)
{
	struct opening *opening = opening_;
	struct cordon_switch *sw = opening->sw;
	char *path = connection_file(opening->options, opening->huge_pages);
	uint32_t capacity = opening->options->max_connections;
	uint8_t boot_id[16];

	read_boot_id(boot_id);
	sw->connections = conn_table_open(path, capacity, boot_id, &sw->connections_opened);
	if (sw->connections == NULL && opening->huge_pages) {
		VLOG_WARN("%s; trying small pages", sw->connections_opened.why);
		free(path);
		path = connection_file(opening->options, false);
		sw->connections = conn_table_open(path, capacity, boot_id, &sw->connections_opened);
	}
	free(path);
	if (sw->connections != NULL)
		quota_adopt_all(sw);
	return NULL;
}

/* Before any worker or the sweep runs. */
static void open_hits(struct cordon_switch *sw, const struct switch_options *options)
{
	struct rule_hits_place place = {.run_directory = options->run_directory,
		.state_directory = options->state_directory};

	read_boot_id(place.boot_id);
	sw->hits = rule_hits_open(&place, &sw->hits_opened);
	if (sw->hits == NULL)
		out_of_memory();
	if (sw->hits_opened.why[0] != '\0')
		VLOG_WARN("rule hits: %s", sw->hits_opened.why);
	rule_hits_attach(sw->hits, sw->connections, &sw->hits_opened);
}

static void begin_connections(struct opening *opening)
{
	opening->thread = ovs_thread_create("connections", open_connections, opening);
}

static void finish_connections(const struct opening *opening)
{
	const struct conn_open_report *report = &opening->sw->connections_opened;

	pthread_join(opening->thread, NULL);
	if (opening->sw->connections == NULL)
		ovs_fatal(0, "no connection table: %s", report->why);
	if (report->result == CONN_OPEN_REFUSED)
		VLOG_WARN("the connection file is not usable and was begun anew: %s", report->why);
	else if (report->result == CONN_OPEN_ADOPTED)
		VLOG_INFO("%u connections of the last run go on", report->adopted);
	if (report->dropped != 0)
		VLOG_WARN("%u connections of the last run were left out, since their entries were "
			  "damaged",
			report->dropped);
}

/* --- start ---------------------------------------------------------------------------------- */

/* Until the database has said otherwise, everything is in quarantine and nothing times out: adopted
 * connections wait for the time-outs that are configured. */
static void start_policy(struct cordon_switch *sw)
{
	struct zone_policy *empty = zone_policy_create_empty();
	struct timeouts *timeouts = xmalloc(sizeof(*timeouts));

	if (empty == NULL)
		out_of_memory();
	memset(timeouts, 0xff, sizeof(*timeouts));
	atomic_store(&sw->policies[0], empty);
	atomic_store(&sw->endpoints, endpoint_map_create(empty, NULL, 0));
	atomic_store(&sw->timeouts, timeouts);
	atomic_store(&sw->forwarding_revision, 1);
	atomic_store(&sw->policy_epoch, 1);
}

static void start_threads(struct cordon_switch *sw, const struct switch_options *options)
{
	if (log_ring_open(&sw->sweep_events, "sweep_events", SWEEP_EVENTS) != 0)
		ovs_fatal(0, "no memory for the sweep's log ring");
	/* Packets and commands go before the log and the sweep, which give way: this thread and the
	 * workers are raised, not those lowered, so that other programs do not starve the log.  It
	 * is well if that is not permitted. */
	(void)setpriority(PRIO_PROCESS, 0, PRECEDENCE_NICE);
	for (unsigned int i = 0; i < options->n_workers; i++) {
		sw->workers[i] = worker_start(sw, i, options->cpus[i]);
		if (sw->workers[i] == NULL)
			ovs_fatal(0, "worker %u could not be started for want of memory", i);
		sw->n_workers = i + 1;
	}
	sw->log = log_thread_start(sw);
	sw->hits_keeper = sw->log != NULL ? hits_keeper_start(sw) : NULL;
	sw->sweep = sweep_start(sw);
	if (sw->log == NULL || sw->hits_keeper == NULL || sw->sweep == NULL)
		out_of_memory();
}

static void start(struct cordon_switch *sw, const struct switch_options *options)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	sw->options = options;
	sw->started_ns = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
	bool huge_pages = choose_huge_pages(options);
	struct opening opening = {.sw = sw, .options = options, .huge_pages = huge_pages};
	begin_connections(&opening);
	start_memory(sw, options, huge_pages);
	sw->programs = program_table_create(PROGRAMS_MAX);
	sw->macs = mac_table_create(MACS_MAX);
	sw->expectations = expectation_table_create(CONTROL_CONNECTIONS_MAX);
	sw->limits = limits_create();
	if (sw->programs == NULL || sw->macs == NULL || sw->expectations == NULL ||
		sw->limits == NULL)
		out_of_memory();
	start_policy(sw);
	finish_connections(&opening);
	open_hits(sw, options);
	start_threads(sw, options);
	telemetry_register(sw);
}

/* --- stop ----------------------------------------------------------------------------------- */

/* No thread is left that could read these. */
static void free_snapshots(struct cordon_switch *sw)
{
	endpoint_map_destroy(atomic_load(&sw->endpoints));
	for (unsigned int i = 0; i < POLICIES_KEPT; i++)
		zone_policy_destroy(atomic_load(&sw->policies[i]));
	free(atomic_load(&sw->timeouts));
	for (unsigned int i = 0; i < PORTS_MAX; i++)
		port_identity_free(atomic_load(&sw->identities[i]));
}

/* Ends everything in the opposite order. */
static void stop(struct cordon_switch *sw, struct config *config)
{
	telemetry_unregister();
	atomic_store(&sw->stop, true);
	ovsrcu_quiesce_start();
	for (unsigned int i = 0; i < sw->n_workers; i++)
		worker_join(sw->workers[i]);
	sweep_join(sw->sweep);
	hits_keeper_join(sw->hits_keeper);
	log_thread_join(sw->log);
	control_plan_destroy(config);
	ovsrcu_quiesce_end();
	captures_destroy(sw->captures);
	config_destroy(config);
	for (unsigned int i = 0; i < sw->n_workers; i++)
		worker_destroy(sw->workers[i]);
	log_ring_close(&sw->sweep_events);
	ovsrcu_exit(); /* What was postponed is done now. */
	free_snapshots(sw);
	conn_table_close(sw->connections);
	rule_hits_close(sw->hits);
	program_table_destroy(sw->programs);
	mac_table_destroy(sw->macs);
	expectation_table_destroy(sw->expectations);
	limits_destroy(sw->limits);
	buffers_destroy(sw->environment.buffers);
	seq_destroy(sw->environment.news);
	rte_eal_cleanup();
	free(sw);
}

static struct cordon_switch *switch_create(void)
{
	struct cordon_switch *sw = aligned_alloc(64, ROUND_UP(sizeof(*sw), 64));

	if (sw == NULL)
		out_of_memory();
	memset(sw, 0, sizeof(*sw));
	return sw;
}

int main(int argc, char *argv[])
{
	struct switch_options options;
	struct unixctl_server *unixctl;

	ovs_set_program_name(argv[0], CORDON_VERSION);
	ovs_cmdl_proctitle_init(argc, argv);
	options_parse(argc, argv, &options);
	setenv("OVS_RUNDIR", options.run_directory, 1);
	lock_run_directory(options.run_directory);
	stale_sockets_remove(options.run_directory, program_name);
	fatal_ignore_sigpipe();
	int signals = take_signals();
	prctl(PR_SET_TIMERSLACK, 1000UL); /* Threads inherit it: a worker's naps are short. */
	set_pidfile(NULL);
	daemonize_start(true);
	port_prepare_process();
	int error = unixctl_server_create(NULL, &unixctl);
	if (error != 0)
		exit(EXIT_FAILURE);

	struct cordon_switch *sw = switch_create();
	start(sw, &options);
	struct config *config = config_create(sw, options.database);
	sw->captures = captures_create(config);
	control_register(config);
	daemonize_complete();
	VLOG_INFO("cordon-switchd %s is ready on host %s", CORDON_VERSION, options.host);
	while (!atomic_load(&sw->quit)) {
		run_signals(sw, signals);
		unixctl_server_run(unixctl);
		config_run(config);
		captures_run(sw->captures);
		control_plan_run(config);
		unixctl_server_wait(unixctl);
		config_wait(config);
		captures_wait(sw->captures);
		control_plan_wait(config);
		poll_fd_wait(signals, POLLIN);
		if (atomic_load(&sw->quit))
			poll_immediate_wake();
		poll_block();
	}
	unixctl_server_destroy(unixctl);
	stop(sw, config);
	close(signals);
	options_free(&options);
	return EXIT_SUCCESS; /* Libopenvswitch's exit handler removes the pidfile. */
}
