/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Network cards and disks on the command line: "key=value,key=value".  Called by options_read().
 */
#include "hv/options_device.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

enum {
	MAC_BYTES = 6,
	QUEUE_SIZE_MIN = 64,
	QUEUE_SIZE_MAX = 1024,
	QUEUE_SIZE_DEFAULT = 256,
	MTU_MIN = 68,
	MTU_MAX = 65535,
	SERIAL_BYTES_MAX = 20,
};

/* --- values ----------------------------------------------------------------------------------- */

int options_number(const char *value, uint64_t min, uint64_t max, const char *what,
	uint64_t *number, struct hv_error *error)
{
	char *end = NULL;

	errno = 0;
	*number = isdigit((unsigned char)value[0]) ? strtoull(value, &end, 10) : 0;
	if (!end || *end || errno || *number < min || *number > max)
		return hv_fail(error, EINVAL,
			"%s '%.40s' is not a number from %" PRIu64 " to %" PRIu64, what, value, min,
			max);
	return 0;
}

int options_check_socket(const char *what, const char *path, struct hv_error *error)
{
	size_t bytes = strlen(path), max = sizeof(((struct sockaddr_un *)NULL)->sun_path) - 1;

	if (bytes == 0)
		return hv_fail(error, EINVAL, "%s has an empty path", what);
	if (bytes > max)
		return hv_fail(error, ENAMETOOLONG,
			"%s '%.60s...' is %zu bytes long, and the path of a socket may have at "
			"most %zu",
			what, path, bytes, max);
	return 0;
}

static int read_mac(uint8_t mac[MAC_BYTES], const char *value, struct hv_error *error)
{
	int end = 0;
	int n = sscanf(value, "%2hhx:%2hhx:%2hhx:%2hhx:%2hhx:%2hhx%n", &mac[0], &mac[1], &mac[2],
		&mac[3], &mac[4], &mac[5], &end);

	if (n != MAC_BYTES || value[end] || strlen(value) != 3 * MAC_BYTES - 1)
		return hv_fail(error, EINVAL,
			"--net: mac '%.40s' is no MAC address; write it as 02:00:00:00:00:01",
			value);
	if (mac[0] & 1)
		return hv_fail(error, EINVAL,
			"--net: mac %s is a group's address; the first byte of a card's is even",
			value);
	if (memcmp(mac, (const uint8_t[MAC_BYTES]){0}, MAC_BYTES) == 0)
		return hv_fail(error, EINVAL, "--net: mac %s is nobody's address", value);
	return 0;
}

static int read_switch(const char *what, const char *value, bool *on, struct hv_error *error)
{
	*on = strcmp(value, "on") == 0;
	if (!*on && strcmp(value, "off") != 0)
		return hv_fail(error, EINVAL, "%s=%.40s is neither on nor off", what, value);
	return 0;
}

/*
 * Cuts the next "key=value" off *text: 1; 0 at the end; -EINVAL if there is no '=', or nothing
 * before it.
 */
static int next_part(
	char **text, const char **key, char **value, const char *option, struct hv_error *error)
{
	char *part = strsep(text, ","), *equals;

	if (!part)
		return 0;
	equals = strchr(part, '=');
	if (!equals || equals == part)
		return hv_fail(error, EINVAL,
			"%s: '%.60s' is not of the form key=value (parts are separated by commas, "
			"so that a path cannot have one)",
			option, part);
	*equals = '\0';
	*key = part;
	*value = equals + 1;
	return 1;
}

/* --- network cards ---------------------------------------------------------------------------- */

static int read_net_part(struct net_options *net, const char *key, const char *value, bool *has_mac,
	struct hv_error *error)
{
	uint64_t number = 0;
	int status = 0;

	if (strcmp(key, "socket") == 0) {
		net->socket = value;
		return options_check_socket("--net: socket", value, error);
	}
	if (strcmp(key, "mac") == 0) {
		*has_mac = true;
		return read_mac(net->mac, value, error);
	}
	if (strcmp(key, "queues") == 0) {
		status = options_number(
			value, 1, OPTIONS_QUEUE_PAIRS, "--net: queues", &number, error);
		net->queue_pairs = (unsigned int)number;
	} else if (strcmp(key, "mtu") == 0) {
		status = options_number(value, MTU_MIN, MTU_MAX, "--net: mtu", &number, error);
		net->mtu = (unsigned int)number;
	} else if (strcmp(key, "queue-size") == 0) {
		status = options_number(
			value, QUEUE_SIZE_MIN, QUEUE_SIZE_MAX, "--net: queue-size", &number, error);
		if (status == 0 && (number & (number - 1)) != 0)
			return hv_fail(
				error, EINVAL, "--net: queue-size %s is not a power of two", value);
		net->queue_size = (unsigned int)number;
	} else {
		return hv_fail(error, EINVAL,
			"--net: '%.40s' is none of socket, mac, queues, queue-size and mtu", key);
	}
	return status;
}

/* FNV-1a of the guest's name: the same guest has the same addresses each time. */
static void make_mac(uint8_t mac[MAC_BYTES], const char *name, unsigned int place)
{
	uint64_t hash = UINT64_C(0xcbf29ce484222325);

	for (; *name; name++)
		hash = (hash ^ (uint8_t)*name) * UINT64_C(0x100000001b3);
	mac[0] = 0x02; /* Locally administered. */
	for (unsigned int i = 1; i < MAC_BYTES - 1; i++)
		mac[i] = (uint8_t)(hash >> 8 * i);
	mac[MAC_BYTES - 1] = (uint8_t)place;
}

int options_add_net(struct vmm_options *options, char *value, struct hv_error *error)
{
	struct net_options *net = &options->nets[options->n_nets];
	const char *key;
	char *part;
	bool has_mac = false;
	int status;

	if (options->n_nets == OPTIONS_NETS)
		return hv_fail(error, EINVAL, "a guest may have at most %d of --net", OPTIONS_NETS);
	*net = (struct net_options){.queue_pairs = 1, .queue_size = QUEUE_SIZE_DEFAULT};
	while ((status = next_part(&value, &key, &part, "--net", error)) > 0) {
		status = read_net_part(net, key, part, &has_mac, error);
		if (status < 0)
			return status;
	}
	if (status == 0 && !net->socket)
		return hv_fail(error, EINVAL,
			"--net has no socket=PATH: where is the switch to connect to?");
	options->n_nets++;
	return status;
}

/* --- disks ------------------------------------------------------------------------------------ */

static int read_serial(struct disk_options *disk, const char *value, struct hv_error *error)
{
	size_t bytes = strlen(value);

	if (bytes == 0 || bytes > SERIAL_BYTES_MAX)
		return hv_fail(error, EINVAL,
			"--disk: serial '%.40s' has %zu characters; it may have 1 to %d", value,
			bytes, SERIAL_BYTES_MAX);
	for (const char *c = value; *c; c++) {
		if (!isgraph((unsigned char)*c))
			return hv_fail(error, EINVAL,
				"--disk: serial has a character that cannot be seen");
	}
	disk->serial = value;
	return 0;
}

static int read_direct(struct disk_options *disk, const char *value, struct hv_error *error)
{
	bool on;

	if (strcmp(value, "auto") == 0) {
		disk->direct = DISK_DIRECT_AUTO;
		return 0;
	}
	if (read_switch("direct", value, &on, NULL) < 0)
		return hv_fail(
			error, EINVAL, "--disk: direct=%.40s is none of on, off and auto", value);
	disk->direct = on ? DISK_DIRECT_ON : DISK_DIRECT_OFF;
	return 0;
}

static int read_disk_part(
	struct disk_options *disk, const char *key, const char *value, struct hv_error *error)
{
	if (strcmp(key, "path") == 0) {
		disk->path = value;
		return *value ? 0 : hv_fail(error, EINVAL, "--disk has an empty path");
	}
	if (strcmp(key, "socket") == 0) {
		disk->socket = value;
		return options_check_socket("--disk: socket", value, error);
	}
	if (strcmp(key, "readonly") == 0)
		return read_switch("--disk: readonly", value, &disk->read_only, error);
	if (strcmp(key, "direct") == 0)
		return read_direct(disk, value, error);
	if (strcmp(key, "serial") == 0)
		return read_serial(disk, value, error);
	return hv_fail(error, EINVAL,
		"--disk: '%.40s' is none of path, socket, readonly, direct and serial", key);
}

int options_add_disk(struct vmm_options *options, char *value, struct hv_error *error)
{
	struct disk_options *disk = &options->disks[options->n_disks];
	const char *key;
	char *part;
	int status;

	if (options->n_disks == OPTIONS_DISKS)
		return hv_fail(
			error, EINVAL, "a guest may have at most %d of --disk", OPTIONS_DISKS);
	*disk = (struct disk_options){0};
	while ((status = next_part(&value, &key, &part, "--disk", error)) > 0) {
		status = read_disk_part(disk, key, part, error);
		if (status < 0)
			return status;
	}
	if (status < 0)
		return status;
	if (!disk->path == !disk->socket)
		return hv_fail(error, EINVAL,
			"--disk must have one of path=FILE and socket=PATH, and not both");
	if (disk->socket && disk->direct != DISK_DIRECT_AUTO)
		return hv_fail(error, EINVAL,
			"--disk: direct is for files; of a socket's disk the back end decides it");
	options->n_disks++;
	return 0;
}

/* --- all together ----------------------------------------------------------------------------- */

static int refuse_twins(
	const struct vmm_options *options, unsigned int i, unsigned int j, struct hv_error *error)
{
	const struct net_options *a = &options->nets[i], *b = &options->nets[j];

	if (memcmp(a->mac, b->mac, MAC_BYTES) == 0)
		return hv_fail(error, EINVAL,
			"two of --net have the same MAC address, %02x:%02x:%02x:%02x:%02x:%02x",
			a->mac[0], a->mac[1], a->mac[2], a->mac[3], a->mac[4], a->mac[5]);
	return 0;
}

int options_finish_devices(struct vmm_options *options, struct hv_error *error)
{
	for (unsigned int i = 0; i < options->n_nets; i++) {
		struct net_options *net = &options->nets[i];

		if (memcmp(net->mac, (const uint8_t[MAC_BYTES]){0}, MAC_BYTES) == 0)
			make_mac(net->mac, options->name, i);
		for (unsigned int j = 0; j < i; j++) {
			int status = refuse_twins(options, i, j, error);

			if (status < 0)
				return status;
		}
	}
	return 0;
}
