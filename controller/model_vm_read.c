/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a person says of a VM, checked as far as it depends on no row of the database.  Called by
 * model_vm.c before its transaction.
 *
 * The bounds are those of cordon-vmm's command line, which is what cordon-hostd makes of a VM: what
 * cannot be said there is refused here, by name.
 */
#include "controller/model_private.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#include "util.h"

enum {
	VM_NAME_LENGTH_MAX = 60, /* A port's name is the VM's, a dot and the vNIC's place. */
	VCPUS_MAX = 64,
	MEMORY_MIB_MIN = 2,
	MEMORY_MIB_MAX = 1 << 20,
	QUEUES_MAX = 16,
	MTU_MIN = 576,
	MTU_MAX = 9216,
	SERIAL_BYTES_MAX = 20,
	PATH_BYTES_MAX = 4095,
	COMMAND_LINE_BYTES_MAX = 2047, /* Linux's, on x86. */
	SOCKET_PATH_MAX = sizeof(((struct sockaddr_un *)NULL)->sun_path) - 1,
};

const struct model_vm_option model_vm_options[] = {
	{"rng", "on off", 0, 0, "on", "a source of random numbers"},
	{"balloon", "on off", 0, 0, "on", "memory can be asked back"},
	{"console", "on off", 0, 0, "on", "a virtio console beside the serial port"},
	{"irqchip", "auto split", 0, 0, "auto",
		"whose the I/O APIC is: KVM's if it has one, or the VMM's (split)"},
	{"stop-seconds", NULL, 1, 3600, "60",
		"how long it may take to shut down before it is stopped"},
	{"restart-limit", NULL, 0, 1000, "5",
		"quick failures in a row after which it is left failed; 0: never"},
	{"restart-seconds", NULL, 1, 600, "1",
		"pause before it is started again, doubled with each failure"},
	{"user", NULL, 0, 0, "nobody", "whom its VMM becomes"},
	{0},
};

static const char *const pages[] = {"auto", "huge", "small", NULL};
static const char *const restarts[] = {"no", "on-failure", "always", NULL};
static const char *const formats[] = {"raw", "qcow2", "vmdk", "vhost-user", NULL};
static const char *const directs[] = {"auto", "on", "off", NULL};

/* --- Paths and texts ------------------------------------------------------------------------ */

/* A comma would end the path on cordon-vmm's command line. */
static bool check_path(
	const char *what, const char *path, size_t maximum, struct model_error *error)
{
	if (!path || !*path)
		return true;
	if (*path != '/') {
		model_fail(error, MODEL_INVALID,
			"%s '%s' is not an absolute path; begin it with '/'", what, path);
		return false;
	}
	if (strchr(path, ',')) {
		model_fail(error, MODEL_INVALID, "%s '%s' has a comma in its path; rename it", what,
			path);
		return false;
	}
	return model_check_long_text(what, path, maximum, error);
}

/* The longest name that cordon-hostd makes in a VM's directory is control.sock. */
static bool check_socket_path(const struct model_vm_change *change, struct model_error *error)
{
	char *path;
	size_t length;

	if (!change->run_directory)
		return true;
	path = xasprintf("%s/vm/%s/control.sock", change->run_directory, change->name);
	length = strlen(path);
	if (length > SOCKET_PATH_MAX)
		model_fail(error, MODEL_INVALID,
			"VM %s: the path of its socket, %s, has %zu characters, and a socket's may "
			"have %zu; give it a shorter name, or Cordon a shorter run directory",
			change->name, path, length, (size_t)SOCKET_PATH_MAX);
	free(path);
	return length <= SOCKET_PATH_MAX;
}

static bool check_cpu_mask(const char *mask, struct model_error *error)
{
	for (const char *c = mask ? mask : ""; *c; c++) {
		if (!islower((unsigned char)*c) && !isdigit((unsigned char)*c) &&
			!strchr("_,", *c)) {
			model_fail(error, MODEL_INVALID,
				"CPU mask '%s': name features as /proc/cpuinfo does, separated by "
				"commas: xsave,smap",
				mask);
			return false;
		}
	}
	return !mask || model_check_long_text("CPU mask", mask, COMMAND_LINE_BYTES_MAX, error);
}

/* --- Numbers -------------------------------------------------------------------------------- */

static bool check_number(const char *what, int64_t number, int64_t minimum, int64_t maximum,
	struct model_error *error)
{
	if (number == -1 || (number >= minimum && number <= maximum))
		return true;
	model_fail(error, MODEL_INVALID, "%lld %s: use %lld to %lld", (long long int)number, what,
		(long long int)minimum, (long long int)maximum);
	return false;
}

static bool check_memory(int64_t mib, struct model_error *error)
{
	if (!check_number("MiB of memory", mib, MEMORY_MIB_MIN, MEMORY_MIB_MAX, error))
		return false;
	if (mib == -1 || mib % 2 == 0)
		return true;
	model_fail(error, MODEL_INVALID,
		"%lld MiB of memory: pages of 2 MiB make up a guest's memory; use %lld",
		(long long int)mib, (long long int)mib + 1);
	return false;
}

/* --- Options -------------------------------------------------------------------------------- */

static bool is_choice(const char *choices, const char *value)
{
	char *copy = xstrdup(choices), *save = NULL;
	bool found = false;

	for (char *one = strtok_r(copy, " ", &save); one; one = strtok_r(NULL, " ", &save))
		found |= !strcmp(one, value);
	free(copy);
	return found;
}

static bool check_option(
	const struct model_vm_option *option, const char *value, struct model_error *error)
{
	long long int number;

	if (!*value)
		return true;
	if (option->choices && !is_choice(option->choices, value)) {
		model_fail(error, MODEL_INVALID, "option %s=%s: use one of: %s", option->name,
			value, option->choices);
		return false;
	}
	if (option->choices)
		return true;
	if (!option->maximum)
		return model_check_name("user", value, 31, error);
	if (str_to_llong(value, 10, &number) && number >= option->minimum &&
		number <= option->maximum)
		return true;
	model_fail(error, MODEL_INVALID, "option %s=%s: use a number from %lld to %lld",
		option->name, value, (long long int)option->minimum,
		(long long int)option->maximum);
	return false;
}

static bool check_options(const struct smap *options, struct model_error *error)
{
	const struct smap_node *node;

	SMAP_FOR_EACH (node, options) {
		const struct model_vm_option *option = model_vm_options;

		while (option->name && strcmp(option->name, node->key))
			option++;
		if (!option->name) {
			model_fail(error, MODEL_INVALID,
				"a VM has no option '%s'; `cordon help vm create` lists them",
				node->key);
			return false;
		}
		if (!check_option(option, node->value, error))
			return false;
	}
	return true;
}

/* --- vNICs and disks ------------------------------------------------------------------------ */

/* Says which of them a message is about. */
static bool prefix(struct model_error *error, const char *what, size_t place)
{
	char *text = xasprintf("%s %zu: %s", what, place, error->message);

	ovs_strlcpy(error->message, text, sizeof(error->message));
	free(text);
	return false;
}

static bool check_vnic(const struct model_vnic *vnic, const struct model_port_columns *columns,
	struct model_error *error)
{
	if (columns->macs.n > 1) {
		model_fail(error, MODEL_INVALID, "a vNIC has one MAC; give one of the %zu",
			columns->macs.n);
		return false;
	}
	return check_number("queues", vnic->queues, 1, QUEUES_MAX, error) &&
	       check_number("bytes of MTU", vnic->mtu, MTU_MIN, MTU_MAX, error);
}

static bool read_vnic(struct model_vm_columns *columns, size_t place, struct model_error *error)
{
	const struct model_vnic *vnic = &columns->change->vnics[place];
	struct model_port_columns *port = &columns->vnics[columns->n_vnics++];
	struct model_port_change change = vnic->port;
	bool good;

	change.name = columns->change->name;
	change.type = "vhost";
	good = model_port_columns_read(port, &change, true, error) && check_vnic(vnic, port, error);
	port->change = &vnic->port;
	return good || prefix(error, "vNIC", place);
}

static bool read_vnics(struct model_vm_columns *columns, struct model_error *error)
{
	const struct model_vm_change *change = columns->change;

	if (!change->vnics)
		return true;
	if (change->n_vnics > MODEL_VNICS_MAX) {
		model_fail(error, MODEL_INVALID, "%zu vNICs; a VM may have %d", change->n_vnics,
			MODEL_VNICS_MAX);
		return false;
	}
	columns->vnics = xcalloc(change->n_vnics + 1, sizeof(*columns->vnics));
	for (size_t i = 0; i < change->n_vnics; i++) {
		if (!read_vnic(columns, i, error))
			return false;
	}
	return true;
}

static bool check_disk(const struct model_disk *disk, struct model_error *error)
{
	bool is_socket = disk->format && !strcmp(disk->format, "vhost-user");

	if (!disk->path || !*disk->path) {
		model_fail(error, MODEL_INVALID, "it has no path; give the path of a file");
		return false;
	}
	if (disk->serial &&
		(strchr(disk->serial, ',') || strlen(disk->serial) > SERIAL_BYTES_MAX)) {
		model_fail(error, MODEL_INVALID,
			"serial '%s': use at most %d characters without a comma", disk->serial,
			SERIAL_BYTES_MAX);
		return false;
	}
	return model_check_word("disk format", disk->format, formats, error) &&
	       model_check_word("direct I/O", disk->direct, directs, error) &&
	       check_path(is_socket ? "socket" : "disk", disk->path,
		       is_socket ? SOCKET_PATH_MAX : PATH_BYTES_MAX, error) &&
	       (!disk->serial || model_check_text("serial", disk->serial, error));
}

static bool check_disks(const struct model_vm_change *change, struct model_error *error)
{
	if (!change->disks)
		return true;
	if (change->n_disks > MODEL_DISKS_MAX) {
		model_fail(error, MODEL_INVALID, "%zu disks; a VM may have %d", change->n_disks,
			MODEL_DISKS_MAX);
		return false;
	}
	for (size_t i = 0; i < change->n_disks; i++) {
		if (!check_disk(&change->disks[i], error))
			return prefix(error, "disk", i);
		for (size_t j = 0; j < i; j++) {
			if (strcmp(change->disks[i].path, change->disks[j].path))
				continue;
			model_fail(error, MODEL_INVALID,
				"disk %zu is %s, like disk %zu; give it a file of its own", i,
				change->disks[i].path, j);
			return false;
		}
	}
	return true;
}

/* --- All of it ------------------------------------------------------------------------------ */

bool model_vm_columns_read(struct model_vm_columns *columns, const struct model_vm_change *change,
	bool adding, struct model_error *error)
{
	*columns = (struct model_vm_columns){.change = change, .adding = adding};
	smap_init(&columns->options);
	if (!model_check_name("VM", change->name, VM_NAME_LENGTH_MAX, error))
		return false;
	if ((adding && !change->kernel) || (change->kernel && !*change->kernel)) {
		model_fail(error, MODEL_INVALID,
			"VM %s has no kernel; give the path of a bzImage or of an uncompressed "
			"vmlinux",
			change->name);
		return false;
	}
	return check_socket_path(change, error) &&
	       check_number("vCPUs", change->vcpus, 1, VCPUS_MAX, error) &&
	       check_memory(change->memory_mib, error) &&
	       model_check_word("kind of pages", change->pages, pages, error) &&
	       model_check_word("restart policy", change->restart, restarts, error) &&
	       check_path("kernel", change->kernel, PATH_BYTES_MAX, error) &&
	       check_path("initrd", change->initrd, PATH_BYTES_MAX, error) &&
	       (!change->command_line || model_check_long_text("command line", change->command_line,
						 COMMAND_LINE_BYTES_MAX, error)) &&
	       check_cpu_mask(change->cpu_mask, error) &&
	       (!change->options ||
		       (model_read_options(change->options, &columns->options, error) &&
			       check_options(&columns->options, error))) &&
	       read_vnics(columns, error) && check_disks(change, error);
}

void model_vm_columns_destroy(struct model_vm_columns *columns)
{
	for (size_t i = 0; i < columns->n_vnics; i++)
		model_port_columns_destroy(&columns->vnics[i]);
	free(columns->vnics);
	smap_destroy(&columns->options);
}
