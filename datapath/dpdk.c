/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Starts DPDK for main, on the main thread, and loads its drivers when a port wants them.
 *
 * Traffic stands still while a switch starts, so the two parts of rte_eal_init() that take long and
 * are of no use here are left out.  There is no option for either.
 *
 * - It loads every driver that is installed, some 180 libraries.  It does so only when it finds
 *   itself to be a shared library, by asking dlopen() for its own name.  Hence a dlopen() of our
 *   own, which denies that.  Drivers are loaded when the first port is opened that wants one.
 * - It sleeps for 100 ms to measure the frequency of the TSC, unless the processor tells it, which
 *   AMD's and virtual ones do not.  Hence a nanosleep() of our own, which wakes up earlier.  The
 *   time that the sleep took is measured, not supposed; the result is rounded to 10 MHz.
 *
 * Both act during rte_eal_init() only, on the thread that calls it.  A DPDK that does neither, or
 * in another way, just starts as slowly as it does by itself.
 */
#include <config.h>

#include "datapath/dpdk.h"

#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <rte_config.h>
#include <rte_eal.h>
#include <rte_log.h>

#include "datapath/switch.h"
#include "openvswitch/dynamic-string.h"
#include "openvswitch/vlog.h"
#include "util.h"

VLOG_DEFINE_THIS_MODULE(eal);

enum {
	TSC_SLEEP_NS = 100000000,     /* What DPDK asks for... */
	TSC_SLEEP_SHORT_NS = 4000000, /* ...and what is precise enough. */
};

/* Within rte_eal_init(). */
static __thread bool initialising;

/* --- What DPDK calls in libc ---------------------------------------------------------------- */

int nanosleep(const struct timespec *duration, struct timespec *remaining)
{
	static const struct timespec short_sleep = {.tv_nsec = TSC_SLEEP_SHORT_NS};

	if (initialising && duration->tv_sec == 0 && duration->tv_nsec == TSC_SLEEP_NS)
		duration = &short_sleep;
	int error = clock_nanosleep(CLOCK_REALTIME, 0, duration, remaining);
	if (error == 0)
		return 0;
	errno = error;
	return -1;
}

void *dlopen(const char *path, int flags)
{
	static const char library[] = "librte_eal.so";
	void *(*next)(const char *, int) = NULL;

	if (initialising && flags & RTLD_NOLOAD && path != NULL &&
		!strncmp(path, library, sizeof(library) - 1))
		return NULL;
	*(void **)&next = dlsym(RTLD_NEXT, "dlopen");
	return next != NULL ? next(path, flags) : NULL;
}

/* --- Its messages --------------------------------------------------------------------------- */

/* What DPDK calls information is about its own insides, and much: one level down. */
static ssize_t write_dpdk_log(void *cookie OVS_UNUSED, const char *text, size_t size)
{
	static const enum vlog_level levels[] = {[RTE_LOG_EMERG] = VLL_EMER,
		[RTE_LOG_ALERT] = VLL_ERR,
		[RTE_LOG_CRIT] = VLL_ERR,
		[RTE_LOG_ERR] = VLL_ERR,
		[RTE_LOG_WARNING] = VLL_WARN,
		[RTE_LOG_NOTICE] = VLL_INFO,
		[RTE_LOG_INFO] = VLL_DBG,
		[RTE_LOG_DEBUG] = VLL_DBG};
	int level = rte_log_cur_msg_loglevel();
	size_t length = size;

	while (length > 0 && text[length - 1] == '\n')
		length--;
	if (level < 0 || (size_t)level >= ARRAY_SIZE(levels))
		level = RTE_LOG_INFO;
	vlog(&this_module, levels[level], "DPDK: %.*s", (int)length, text);
	return (ssize_t)size;
}

static void redirect_dpdk_log(void)
{
	static const cookie_io_functions_t functions = {.write = write_dpdk_log};
	FILE *stream = fopencookie(NULL, "w", functions);

	if (stream != NULL)
		rte_openlog_stream(stream);
}

/* --- Its start ------------------------------------------------------------------------------ */

/* The main thread keeps the CPUs that it has: DPDK would pin it to the first. */
static char *main_lcore(void)
{
	struct ds text = DS_EMPTY_INITIALIZER;
	cpu_set_t cpus;

	ds_put_cstr(&text, "0@(");
	CPU_ZERO(&cpus);
	sched_getaffinity(0, sizeof(cpus), &cpus);
	for (int cpu = 0, n = 0; cpu < CPU_SETSIZE; cpu++) {
		if (CPU_ISSET(cpu, &cpus))
			ds_put_format(&text, "%s%d", n++ ? "," : "", cpu);
	}
	ds_put_char(&text, ')');
	return ds_steal_cstr(&text);
}

bool dpdk_start(const struct switch_options *options, bool huge_pages)
{
	/* Without huge pages all memory is mapped at the start, so its size must be said.  Pages
	 * that nothing touches cost nothing. */
	char *megabytes = xasprintf("%u", 1024 + options->buffers / 1024 * 8);
	char *lcores = main_lcore();
	const char *arguments[24] = {"cordon-switchd", "--file-prefix", "cordon", "--lcores",
		lcores, "-a", "0000:00:00.0", /* No device but those that ports name. */
		"-d", RTE_EAL_PMD_PATH "/librte_mempool_ring.so", /* For packet buffers. */
		"-d", RTE_EAL_PMD_PATH "/librte_bus_vdev.so",	  /* What devices hang on. */
		"-d", RTE_EAL_PMD_PATH "/librte_bus_pci.so"};
	const char *const huge[] = {"--in-memory"};
	const char *const ordinary[] = {"--no-shconf", "--no-huge", "-m", megabytes};
	const char *const *more = huge_pages ? huge : ordinary;
	int n = 13, n_more = huge_pages ? ARRAY_SIZE(huge) : ARRAY_SIZE(ordinary);

	for (int i = 0; i < n_more; i++)
		arguments[n++] = more[i];
	redirect_dpdk_log();
	setenv("RUNTIME_DIRECTORY", options->run_directory, 1);
	initialising = true;
	bool started = rte_eal_init(n, (char **)arguments) >= 0;
	initialising = false;
	free(megabytes);
	free(lcores);
	return started;
}

/* --- Its drivers ---------------------------------------------------------------------------- */

int dpdk_load_driver(const char *name, char *error, size_t error_size)
{
	char *path = xasprintf("%s/librte_%s.so", RTE_EAL_PMD_PATH, name);
	bool loaded = dlopen(path, RTLD_NOW) != NULL;

	if (!loaded)
		snprintf(error, error_size, "DPDK's driver %s cannot be loaded: %s", name,
			dlerror());
	free(path);
	return loaded ? 0 : -ENOENT;
}

/* "librte_net_ice.so", not the names with versions behind it, which are the same files. */
static bool is_library(const char *file)
{
	const char *dot = strchr(file, '.');

	return dot != NULL && !strcmp(dot, ".so");
}

void dpdk_load_drivers(void)
{
	DIR *directory = opendir(RTE_EAL_PMD_PATH);
	const struct dirent *entry;

	if (directory == NULL) {
		VLOG_WARN("%s: %s; DPDK is without drivers", RTE_EAL_PMD_PATH, ovs_strerror(errno));
		return;
	}
	while ((entry = readdir(directory)) != NULL) {
		if (!is_library(entry->d_name))
			continue;
		char *path = xasprintf("%s/%s", RTE_EAL_PMD_PATH, entry->d_name);
		if (dlopen(path, RTLD_NOW) == NULL)
			VLOG_INFO("a driver of DPDK's cannot be loaded: %s", dlerror());
		free(path);
	}
	closedir(directory);
}
