/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The command line of cordon-switchd.  Called once, by main.
 */
#include <config.h>

#include "datapath/switch.h"

#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "daemon.h"
#include "openvswitch/vlog.h"
#include "util.h"

enum {
	MAX_CONNECTIONS_DEFAULT = 1 << 20,
	BUFFERS_DEFAULT = 1 << 16,
};

static void usage(void)
{
	printf("cordon-switchd: the switch of a Cordon host\n"
	       "usage: cordon-switchd [OPTION]...\n"
	       "`cordon up` starts it with the right options.\n\n"
	       "  --rundir=DIR           sockets, pidfile, connections (default /run/cordon)\n"
	       "  --statedir=DIR         database and traffic log (default /var/lib/cordon)\n"
	       "  --host=NAME            this host's name in the database (default: hostname)\n"
	       "  --db=REMOTE            the database (default unix:RUNDIR/db.sock)\n"
	       "  --workers=N            threads that forward (default 1)\n"
	       "  --cores=LIST           their CPUs, as in 0,2-3 (default: not pinned)\n"
	       "  --max-connections=N    size of the connection table (default %u)\n"
	       "  --buffers=N            packet buffers (default %u)\n"
	       "  --no-huge              run without huge pages: slower, up to a third\n",
		(unsigned int)MAX_CONNECTIONS_DEFAULT, (unsigned int)BUFFERS_DEFAULT);
	daemon_usage();
	vlog_usage();
	printf("  -h, --help             this text\n  -V, --version          the version\n");
	exit(EXIT_SUCCESS);
}

static uint32_t number(const char *option, const char *text, uint32_t least, uint32_t most)
{
	char *end;

	errno = 0;
	unsigned long long value = strtoull(text, &end, 10);
	if (errno != 0 || end == text || *end != '\0' || value < least || value > most)
		ovs_fatal(0, "--%s=%s: wants a number from %u to %u", option, text, least, most);
	return (uint32_t)value;
}

/* Reads "0,2-3".  Worker i is pinned to the i-th CPU named. */
static unsigned int parse_cores(const char *text, int cpus[WORKERS_MAX])
{
	unsigned int n = 0;
	const char *at = text;

	while (*at != '\0') {
		char *end;
		long first = strtol(at, &end, 10), last = first;

		if (end != at && *end == '-')
			last = strtol(at = end + 1, &end, 10);
		if (end == at || first < 0 || last < first || last >= CPU_SETSIZE ||
			(*end != '\0' && *end != ','))
			ovs_fatal(0, "--cores=%s: wants CPU numbers, as in 0,2-3", text);
		for (long cpu = first; cpu <= last && n < WORKERS_MAX; cpu++)
			cpus[n++] = (int)cpu;
		at = *end == ',' ? end + 1 : end;
	}
	return n;
}

static void set_defaults(struct switch_options *options)
{
	char host[256] = "localhost";

	gethostname(host, sizeof(host) - 1);
	if (options->run_directory == NULL)
		options->run_directory = xstrdup("/run/cordon");
	if (options->state_directory == NULL)
		options->state_directory = xstrdup("/var/lib/cordon");
	if (options->host == NULL)
		options->host = xstrdup(host);
	if (options->database == NULL)
		options->database = xasprintf("unix:%s/db.sock", options->run_directory);
	if (options->n_workers == 0)
		options->n_workers = options->n_cpus != 0 ? options->n_cpus : 1;
}

enum {
	OPT_RUNDIR = UCHAR_MAX + 1,
	OPT_STATEDIR,
	OPT_HOST,
	OPT_DB,
	OPT_WORKERS,
	OPT_CORES,
	OPT_MAX_CONNECTIONS,
	OPT_BUFFERS,
	OPT_NO_HUGE,
	DAEMON_OPTION_ENUMS,
	VLOG_OPTION_ENUMS,
};

static const struct option long_options[] = {
	{"rundir", required_argument, NULL, OPT_RUNDIR},
	{"statedir", required_argument, NULL, OPT_STATEDIR},
	{"host", required_argument, NULL, OPT_HOST},
	{"db", required_argument, NULL, OPT_DB},
	{"workers", required_argument, NULL, OPT_WORKERS},
	{"cores", required_argument, NULL, OPT_CORES},
	{"max-connections", required_argument, NULL, OPT_MAX_CONNECTIONS},
	{"buffers", required_argument, NULL, OPT_BUFFERS},
	{"no-huge", no_argument, NULL, OPT_NO_HUGE},
	{"help", no_argument, NULL, 'h'},
	{"version", no_argument, NULL, 'V'},
	DAEMON_LONG_OPTIONS,
	VLOG_LONG_OPTIONS,
	{NULL, 0, NULL, 0},
};

static void set_string(char **option, const char *value)
{
	free(*option);
	*option = xstrdup(value);
}

static void take(struct switch_options *options, int option)
{
	switch (option) {
	case OPT_RUNDIR: set_string(&options->run_directory, optarg); break;
	case OPT_STATEDIR: set_string(&options->state_directory, optarg); break;
	case OPT_HOST: set_string(&options->host, optarg); break;
	case OPT_DB: set_string(&options->database, optarg); break;
	case OPT_WORKERS: options->n_workers = number("workers", optarg, 1, WORKERS_MAX); break;
	case OPT_CORES: options->n_cpus = parse_cores(optarg, options->cpus); break;
	case OPT_MAX_CONNECTIONS:
		options->max_connections = number("max-connections", optarg, 1024, 1u << 28);
		break;
	case OPT_BUFFERS: options->buffers = number("buffers", optarg, 8192, 1u << 26); break;
	case OPT_NO_HUGE: options->huge_pages = false; break;
	case 'h': usage();
	/* fall through */
	case 'V':
		printf("cordon-switchd %s\n", CORDON_VERSION);
		exit(EXIT_SUCCESS);
		DAEMON_OPTION_HANDLERS
		VLOG_OPTION_HANDLERS
	default: exit(2); /* getopt_long() has said why. */
	}
}

void options_free(struct switch_options *options)
{
	free(options->run_directory);
	free(options->state_directory);
	free(options->host);
	free(options->database);
}

void options_parse(int argc, char *argv[], struct switch_options *options)
{
	int option;

	*options = (struct switch_options){
		.huge_pages = true,
		.max_connections = MAX_CONNECTIONS_DEFAULT,
		.buffers = BUFFERS_DEFAULT,
	};
	for (unsigned int i = 0; i < WORKERS_MAX; i++)
		options->cpus[i] = -1;
	while ((option = getopt_long(argc, argv, "hVv::", long_options, NULL)) != -1)
		take(options, option);
	if (optind < argc)
		ovs_fatal(0, "\"%s\" is not an option; try --help", argv[optind]);
	set_defaults(options);
	if (options->n_cpus != 0 && options->n_cpus < options->n_workers)
		ovs_fatal(0, "--cores names %u CPUs for %u workers; name one for each",
			options->n_cpus, options->n_workers);
}
