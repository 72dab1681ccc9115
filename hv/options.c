/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The command line.  Called by main(), once, before anything else.
 *
 * Every value is checked here as far as it can be without opening anything, and a wrong one is
 * refused with what is allowed instead.
 */
#include "hv/options.h"

#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hv/cpu_features.h"
#include "hv/options_device.h"
#include "hv/options_paths.h"

enum {
	NAME_BYTES_MAX = 63,
	MEMORY_MIB_DEFAULT = 512,
	MEMORY_MIB_MIN = 4,
	MEMORY_MIB_MAX = 16 << 20,
};

/* What getopt_long() returns for each; none is a letter. */
enum option_code {
	OPTION_NAME = 1000,
	OPTION_UUID,
	OPTION_VCPUS,
	OPTION_MEMORY,
	OPTION_PAGES,
	OPTION_KERNEL,
	OPTION_INITRD,
	OPTION_COMMAND_LINE,
	OPTION_CPU_MASK,
	OPTION_IRQCHIP,
	OPTION_NET,
	OPTION_DISK,
	OPTION_NO_RNG,
	OPTION_NO_BALLOON,
	OPTION_NO_CONSOLE,
	OPTION_SERIAL,
	OPTION_CONTROL,
	OPTION_OUTCOME,
	OPTION_USER,
	OPTION_NO_SANDBOX,
	OPTION_PAUSED,
	OPTION_HELP,
	OPTION_VERSION,
};

static const struct option known[] = {
	{"name", required_argument, NULL, OPTION_NAME},
	{"uuid", required_argument, NULL, OPTION_UUID},
	{"vcpus", required_argument, NULL, OPTION_VCPUS},
	{"memory", required_argument, NULL, OPTION_MEMORY},
	{"pages", required_argument, NULL, OPTION_PAGES},
	{"kernel", required_argument, NULL, OPTION_KERNEL},
	{"initrd", required_argument, NULL, OPTION_INITRD},
	{"command-line", required_argument, NULL, OPTION_COMMAND_LINE},
	{"cpu-mask", required_argument, NULL, OPTION_CPU_MASK},
	{"irqchip", required_argument, NULL, OPTION_IRQCHIP},
	{"net", required_argument, NULL, OPTION_NET},
	{"disk", required_argument, NULL, OPTION_DISK},
	{"no-rng", no_argument, NULL, OPTION_NO_RNG},
	{"no-balloon", no_argument, NULL, OPTION_NO_BALLOON},
	{"no-console", no_argument, NULL, OPTION_NO_CONSOLE},
	{"serial", required_argument, NULL, OPTION_SERIAL},
	{"control", required_argument, NULL, OPTION_CONTROL},
	{"outcome", required_argument, NULL, OPTION_OUTCOME},
	{"user", required_argument, NULL, OPTION_USER},
	{"no-sandbox", no_argument, NULL, OPTION_NO_SANDBOX},
	{"paused", no_argument, NULL, OPTION_PAUSED},
	{"help", no_argument, NULL, OPTION_HELP},
	{"version", no_argument, NULL, OPTION_VERSION},
	{NULL, 0, NULL, 0},
};

static const char help[] =
	"cordon-vmm: runs one guest in KVM; its networks are a vhost-user switch's.\n"
	"\n"
	"Usage: cordon-vmm --kernel FILE [OPTION]...\n"
	"\n"
	"What the guest is\n"
	"  --name NAME            letters, digits and . _ -, at most 63 (default: guest)\n"
	"  --uuid UUID            shown in its status (default: none)\n"
	"  --vcpus N              processors, 1 to 64 (default: 1)\n"
	"  --memory SIZE          MiB, or with G: GiB; a multiple of 2 MiB (default: 512)\n"
	"  --pages KIND           auto: huge pages if there are as many, else small ones "
	"(default);\n"
	"                         huge: or do not start; small\n"
	"  --cpu-mask NAME,...    features of processors to hide, by the names of /proc/cpuinfo\n"
	"  --irqchip KIND         auto: the I/O APIC is KVM's if KVM has one (default);\n"
	"                         split: it is this process's\n"
	"\n"
	"What it boots\n"
	"  --kernel FILE          a bzImage, or an uncompressed ELF with a PVH entry; required\n"
	"  --initrd FILE          (default: none)\n"
	"  --command-line TEXT    (default: empty)\n"
	"\n"
	"Its devices\n"
	"  --net socket=PATH[,mac=MAC][,queues=N][,queue-size=N][,mtu=BYTES]\n"
	"                         a network card: listens at PATH for the switch; at most 16 "
	"cards.\n"
	"                         mac: made from the name and the card's place if not given;\n"
	"                         queues: pairs, 1 to 16 (default: 1);\n"
	"                         queue-size: 64 to 1024, a power of two (default: 256);\n"
	"                         mtu: 68 to 65535 (default: what the switch says)\n"
	"  --disk path=FILE[,readonly=on|off][,direct=on|off|auto][,serial=TEXT]\n"
	"                         a raw image or a block device; at most 16 disks.\n"
	"                         direct: past the page cache (default: auto, where it can be);\n"
	"                         serial: at most 20 characters\n"
	"  --disk socket=PATH[,readonly=on|off][,serial=TEXT]\n"
	"                         a vhost-user-blk back end's disk: connects to PATH\n"
	"  --serial WHERE         COM1's output: stdio (default), none, or a file to append to\n"
	"  --no-rng, --no-balloon, --no-console\n"
	"                         leave these virtio devices out\n"
	"\n"
	"How it is run\n"
	"  --control PATH         listen there for commands, lines of JSON (default: nowhere)\n"
	"  --outcome FILE         write there how it ended, as JSON (default: nowhere)\n"
	"  --paused               wait for the command `resume` before the first instruction\n"
	"  --user USER            whom to become if started as root (default: nobody)\n"
	"  --no-sandbox           keep all rights: for debugging only\n"
	"  --help, --version\n"
	"\n"
	"Ends with 0: the guest switched itself off, 10: it asked for a reset, 11: it crashed its\n"
	"processors, 12: KVM or this host failed under it, 13: it was stopped; 1: it could not be\n"
	"started, 2: the command line is wrong.  SIGTERM stops it at once.  See cordon-vmm(8).\n";

static void set_defaults(struct vmm_options *options)
{
	*options = (struct vmm_options){
		.name = "guest",
		.n_vcpus = 1,
		.memory_bytes = (uint64_t)MEMORY_MIB_DEFAULT << 20,
		.pages = GUEST_PAGES_AUTO,
		.command_line = "",
		.rng = true,
		.balloon = true,
		.console = true,
		.serial = "stdio",
		.user = "nobody",
		.sandbox = true,
	};
}

/* --- values ----------------------------------------------------------------------------------- */

static int read_name(struct vmm_options *options, const char *value, struct hv_error *error)
{
	size_t bytes = strlen(value);

	if (bytes == 0 || bytes > NAME_BYTES_MAX)
		return hv_fail(error, EINVAL, "--name has %zu characters; it may have 1 to %d",
			bytes, NAME_BYTES_MAX);
	for (const char *c = value; *c; c++) {
		if (!isalnum((unsigned char)*c) && !strchr("._-", *c))
			return hv_fail(error, EINVAL,
				"--name '%s' has a character that is not a letter, a digit, '.', "
				"'_' or '-'",
				value);
	}
	options->name = value;
	return 0;
}

static int read_uuid(struct vmm_options *options, const char *value, struct hv_error *error)
{
	static const char form[] = "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx";
	bool right = strlen(value) == sizeof(form) - 1;

	for (size_t i = 0; right && form[i]; i++)
		right = form[i] == '-' ? value[i] == '-' : isxdigit((unsigned char)value[i]) != 0;
	if (!right)
		return hv_fail(error, EINVAL,
			"--uuid '%.40s' is no UUID; write it as %s, in hexadecimal digits", value,
			form);
	options->uuid = value;
	return 0;
}

static int read_vcpus(struct vmm_options *options, const char *value, struct hv_error *error)
{
	uint64_t n;
	int status = options_number(value, 1, OPTIONS_VCPUS, "--vcpus", &n, error);

	options->n_vcpus = (unsigned int)n;
	return status;
}

static int read_memory(struct vmm_options *options, const char *value, struct hv_error *error)
{
	char *end;
	unsigned long long mib;

	errno = 0;
	mib = isdigit((unsigned char)value[0]) ? strtoull(value, &end, 10) : 0;
	if (mib == 0 || errno)
		return hv_fail(error, EINVAL,
			"--memory '%.40s' is no size; write MiB, as 512, or GiB, as 2G", value);
	if (*end == 'G') {
		mib = mib > MEMORY_MIB_MAX ? mib : mib * 1024;
		end++;
	} else if (*end == 'M') {
		end++;
	}
	if (*end)
		return hv_fail(error, EINVAL,
			"--memory '%.40s' ends in something else than M (MiB, as without it) or G "
			"(GiB)",
			value);
	if (mib < MEMORY_MIB_MIN || mib > MEMORY_MIB_MAX || mib % 2 != 0)
		return hv_fail(error, EINVAL,
			"--memory %s is %llu MiB; it may be from %d to %d MiB, a multiple of 2",
			value, mib, MEMORY_MIB_MIN, MEMORY_MIB_MAX);
	options->memory_bytes = (uint64_t)mib << 20;
	return 0;
}

static int read_pages(struct vmm_options *options, const char *value, struct hv_error *error)
{
	if (strcmp(value, "auto") == 0)
		options->pages = GUEST_PAGES_AUTO;
	else if (strcmp(value, "huge") == 0)
		options->pages = GUEST_PAGES_HUGE;
	else if (strcmp(value, "small") == 0)
		options->pages = GUEST_PAGES_SMALL;
	else
		return hv_fail(
			error, EINVAL, "--pages '%s' is none of auto, huge and small", value);
	return 0;
}

static int read_irqchip(struct vmm_options *options, const char *value, struct hv_error *error)
{
	options->split_irqchip = strcmp(value, "split") == 0;
	if (!options->split_irqchip && strcmp(value, "auto") != 0)
		return hv_fail(error, EINVAL, "--irqchip '%.40s' is neither auto nor split", value);
	return 0;
}

static int read_path(
	const char **path, const char *option, const char *value, struct hv_error *error)
{
	if (!*value)
		return hv_fail(error, EINVAL, "%s is empty", option);
	*path = value;
	return 0;
}

static int read_cpu_mask(struct vmm_options *options, const char *value, struct hv_error *error)
{
	options->cpu_mask = value;
	return cpu_features_mask(NULL, value, error);
}

static int read_control(struct vmm_options *options, const char *value, struct hv_error *error)
{
	options->control = value;
	return options_check_socket("--control", value, error);
}

/* --- the line --------------------------------------------------------------------------------- */

static void read_switch(struct vmm_options *options, enum option_code option)
{
	switch (option) {
	case OPTION_NO_RNG: options->rng = false; break;
	case OPTION_NO_BALLOON: options->balloon = false; break;
	case OPTION_NO_CONSOLE: options->console = false; break;
	case OPTION_NO_SANDBOX: options->sandbox = false; break;
	default: options->paused = true; break;
	}
}

static int read_option(
	struct vmm_options *options, enum option_code option, char *value, struct hv_error *error)
{
	switch (option) {
	case OPTION_NAME: return read_name(options, value, error);
	case OPTION_UUID: return read_uuid(options, value, error);
	case OPTION_VCPUS: return read_vcpus(options, value, error);
	case OPTION_MEMORY: return read_memory(options, value, error);
	case OPTION_PAGES: return read_pages(options, value, error);
	case OPTION_KERNEL: return read_path(&options->kernel, "--kernel", value, error);
	case OPTION_INITRD: return read_path(&options->initrd, "--initrd", value, error);
	case OPTION_COMMAND_LINE: options->command_line = value; return 0;
	case OPTION_CPU_MASK: return read_cpu_mask(options, value, error);
	case OPTION_IRQCHIP: return read_irqchip(options, value, error);
	case OPTION_NET: return options_add_net(options, value, error);
	case OPTION_DISK: return options_add_disk(options, value, error);
	case OPTION_SERIAL: return read_path(&options->serial, "--serial", value, error);
	case OPTION_CONTROL: return read_control(options, value, error);
	case OPTION_OUTCOME: return read_path(&options->outcome, "--outcome", value, error);
	case OPTION_USER: return read_path(&options->user, "--user", value, error);
	default: read_switch(options, option); return 0;
	}
}

static int answer_help(enum option_code option)
{
	fputs(option == OPTION_HELP ? help : "cordon-vmm " CORDON_VERSION "\n", stdout);
	return 1;
}

/* What getopt_long() did not understand. */
static int refuse(char **argv, int what, struct hv_error *error)
{
	const char *word = argv[optind - 1];

	if (what == ':')
		return hv_fail(error, EINVAL, "%s needs a value; see cordon-vmm --help", word);
	return hv_fail(error, EINVAL,
		"'%s' is no option of cordon-vmm, or has a value that it does not take; see "
		"cordon-vmm --help",
		word);
}

static int check_whole(struct vmm_options *options, struct hv_error *error)
{
	if (!options->kernel)
		return hv_fail(error, EINVAL,
			"--kernel is missing: a guest needs one; see cordon-vmm --help");
	if (options_check_paths(options, error) < 0)
		return -EINVAL;
	return options_finish_devices(options, error);
}

int options_read(struct vmm_options *options, int argc, char **argv, struct hv_error *error)
{
	set_defaults(options);
	optind = 0;
	opterr = 0;
	for (;;) {
		int option = getopt_long(argc, argv, "+:", known, NULL), status;

		if (option == -1)
			break;
		if (option == '?' || option == ':')
			return refuse(argv, option, error);
		if (option == OPTION_HELP || option == OPTION_VERSION)
			return answer_help(option);
		status = read_option(options, option, optarg, error);
		if (status < 0)
			return status;
	}
	if (optind < argc)
		return hv_fail(error, EINVAL,
			"'%s' is no option; every value follows an option's name, see cordon-vmm "
			"--help",
			argv[optind]);
	return check_whole(options, error);
}
