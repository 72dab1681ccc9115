/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The command line of cordon-hostd.  Called once, by main.
 */
#include <config.h>

#include "hv/hostd/hostd.h"

#include <getopt.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "daemon.h"
#include "openvswitch/vlog.h"
#include "util.h"

static void usage(void)
{
	printf("cordon-hostd: runs the guests of a Cordon host\n"
	       "usage: cordon-hostd [OPTION]...\n"
	       "`cordon up` starts it with the right options.\n\n"
	       "  --rundir=DIR           sockets, pidfile, guests' directories (default "
	       "/run/cordon)\n"
	       "  --host=NAME            this host's name in the database (default: hostname)\n"
	       "  --db=REMOTE            the database (default unix:RUNDIR/db.sock)\n"
	       "  --vmm=FILE             the VMM (default: cordon-vmm beside this program)\n"
	       "  --storage-daemon=FILE  for qcow2 and VMDK disks (default: "
	       "qemu-storage-daemon in PATH)\n");
	daemon_usage();
	vlog_usage();
	printf("  -h, --help             this text\n  -V, --version          the version\n");
	exit(EXIT_SUCCESS);
}

/* A program in the directory of this one. */
static char *beside(const char *name)
{
	char path[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", path, sizeof(path) - 1);
	char *slash;

	path[n < 0 ? 0 : n] = '\0';
	slash = strrchr(path, '/');
	return slash ? xasprintf("%.*s/%s", (int)(slash - path), path, name) : xstrdup(name);
}

/* Where PATH and the system's directories have it; a path that nobody has, if they do not. */
static char *find_in_path(const char *name)
{
	const char *path = getenv("PATH");
	char *directories = xasprintf("%s:/usr/local/bin:/usr/bin", path ? path : "/bin");
	char *found = NULL, *save = NULL;

	for (char *one = strtok_r(directories, ":", &save); one && !found;
		one = strtok_r(NULL, ":", &save)) {
		found = xasprintf("%s/%s", one, name);
		if (access(found, X_OK)) {
			free(found);
			found = NULL;
		}
	}
	free(directories);
	return found ? found : xasprintf("/usr/bin/%s", name);
}

static void set_defaults(struct hostd_options *options)
{
	char host[256] = "localhost";

	gethostname(host, sizeof(host) - 1);
	if (!options->run_directory)
		options->run_directory = xstrdup("/run/cordon");
	if (!options->host)
		options->host = xstrdup(host);
	if (!options->database)
		options->database = xasprintf("unix:%s/db.sock", options->run_directory);
	if (!options->vmm)
		options->vmm = beside("cordon-vmm");
	if (!options->storage_daemon)
		options->storage_daemon = find_in_path("qemu-storage-daemon");
}

enum {
	OPT_RUNDIR = UCHAR_MAX + 1,
	OPT_HOST,
	OPT_DB,
	OPT_VMM,
	OPT_STORAGE_DAEMON,
	DAEMON_OPTION_ENUMS,
	VLOG_OPTION_ENUMS,
};

static const struct option long_options[] = {
	{"rundir", required_argument, NULL, OPT_RUNDIR},
	{"host", required_argument, NULL, OPT_HOST},
	{"db", required_argument, NULL, OPT_DB},
	{"vmm", required_argument, NULL, OPT_VMM},
	{"storage-daemon", required_argument, NULL, OPT_STORAGE_DAEMON},
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

static void take(struct hostd_options *options, int option)
{
	switch (option) {
	case OPT_RUNDIR: set_string(&options->run_directory, optarg); break;
	case OPT_HOST: set_string(&options->host, optarg); break;
	case OPT_DB: set_string(&options->database, optarg); break;
	case OPT_VMM: set_string(&options->vmm, optarg); break;
	case OPT_STORAGE_DAEMON: set_string(&options->storage_daemon, optarg); break;
	case 'h': usage();
	/* fall through */
	case 'V':
		printf("cordon-hostd %s\n", CORDON_VERSION);
		exit(EXIT_SUCCESS);
		DAEMON_OPTION_HANDLERS
		VLOG_OPTION_HANDLERS
	default: exit(2); /* getopt_long() has said why. */
	}
}

void hostd_options_parse(int argc, char *argv[], struct hostd_options *options)
{
	int option;

	*options = (struct hostd_options){0};
	while ((option = getopt_long(argc, argv, "hVv::", long_options, NULL)) != -1)
		take(options, option);
	if (optind < argc)
		ovs_fatal(0, "\"%s\" is not an option; try --help", argv[optind]);
	set_defaults(options);
}

void hostd_options_free(struct hostd_options *options)
{
	free(options->run_directory);
	free(options->host);
	free(options->database);
	free(options->vmm);
	free(options->storage_daemon);
}
