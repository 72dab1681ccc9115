/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ports of type "internal": a tap device by which the host's own IP stack is on the switch.  The
 * network device has the port's name and lives as long as the port.  It outlives a process that is
 * killed, with its addresses and routes, and is taken again by the next one.
 *
 * The device may be moved into another network namespace, where a container's stack is to be on the
 * switch.  It is out of rtnetlink's sight then, but not out of reach: its queues stay this
 * process's.  One of their descriptors is kept to ask, and to have the device end with the port.
 *
 * The driver reads from the tap only after the kernel has sent a signal that there is something
 * (O_ASYNC), so polling an idle port makes no system call.  Whoever starts threads must leave
 * real-time signals unblocked in at least one of them.  If more signals are due than a process may
 * have, the kernel sends SIGIO instead, which would end it if it were not ignored.
 */
#include <config.h>

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <rte_ethdev.h>

#include "datapath/dpdk.h"
#include "datapath/kernel_device.h"
#include "datapath/port_ethdev.h"
#include "smap.h"
#include "zones/address.h"

struct port_internal {
	struct port_ethdev ethdev;
	int queue; /* A descriptor of the tap, which knows its device in any namespace. */
};

/* --- what is asked for ---------------------------------------------------------------------- */

/* A name that the kernel takes and that does not upset the driver's arguments. */
static bool name_is_fit(const char *name)
{
	if (strlen(name) >= IFNAMSIZ || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
		return false;
	for (; *name != '\0'; name++)
		if (!isalnum((unsigned char)*name) && strchr("-_.", *name) == NULL)
			return false;
	return true;
}

/* Checks what was asked for, and says it in the driver's terms. */
static int make_devargs(
	const struct port *port, char *devargs, size_t devargs_size, char *error, size_t error_size)
{
	const char *mac = smap_get(port->options, "mac");
	struct kernel_device existing;
	uint8_t bytes[6];
	char text[MAC_TEXT_MAX];

	if (!name_is_fit(port->name)) {
		snprintf(error, error_size,
			"the name becomes that of a network device: at most %d letters, digits, "
			"'-', '_', '.'",
			IFNAMSIZ - 1);
		return -EINVAL;
	}
	bool exists = kernel_device_by_name(port->name, &existing) == 0;

	if (exists && !existing.is_marked) {
		snprintf(error, error_size,
			"a network device %s exists already; choose another name, delete it (ip "
			"link del), or use it as a port of type kernel",
			port->name);
		return -EEXIST;
	}
	if (mac != NULL && (!mac_parse(mac, bytes) || bytes[0] & 1)) {
		snprintf(error, error_size,
			"option mac=%s: must be the MAC address of one station, such as "
			"02:00:00:00:00:01",
			mac);
		return -EINVAL;
	}
	if (mac == NULL && exists)
		mac = mac_format(existing.mac, text);
	snprintf(devargs, devargs_size, "net_tap_%s,iface=%s,persist%s%s", port->name, port->name,
		mac != NULL ? ",mac=" : "", mac != NULL ? mac : "");
	return 0;
}

/* --- the tap's descriptor ------------------------------------------------------------------- */

/* The name that the tap's device has now, wherever it is.  False if there is none any more. */
static bool name_of_tap(int queue, char name[IFNAMSIZ])
{
	struct ifreq request = {0};

	if (ioctl(queue, TUNGETIFF, &request) != 0)
		return false;
	snprintf(name, IFNAMSIZ, "%s", request.ifr_name);
	return true;
}

static bool is_tap(int folder, const char *descriptor)
{
	static const char path[] = "/dev/net/tun";
	char target[sizeof(path)];
	ssize_t n = readlinkat(folder, descriptor, target, sizeof(target));

	return n == (ssize_t)sizeof(path) - 1 && memcmp(target, path, (size_t)n) == 0;
}

/* The driver tells nobody its descriptors.  Returns a copy of one of the device's, or a negative
 * errno. */
static int find_queue(const char *device)
{
	DIR *open_files = opendir("/proc/self/fd");
	const struct dirent *entry;
	char name[IFNAMSIZ];
	int queue = -ENODEV;

	if (open_files == NULL)
		return -errno;
	while (queue < 0 && (entry = readdir(open_files)) != NULL) {
		int descriptor = atoi(entry->d_name);

		if (is_tap(dirfd(open_files), entry->d_name) && name_of_tap(descriptor, name) &&
			strcmp(name, device) == 0)
			queue = fcntl(descriptor, F_DUPFD_CLOEXEC, 0);
	}
	closedir(open_files);
	return queue;
}

/* The device is ours, whatever else has its name in the namespace that it was moved out of. */
static bool is_here(const char *name, struct kernel_device *device)
{
	return kernel_device_by_name(name, device) == 0 && device->is_marked;
}

static void internal_poll_status(struct port *port)
{
	const struct port_internal *internal = port->private;
	struct kernel_device device;
	char mac[MAC_TEXT_MAX], name[IFNAMSIZ];

	if (!name_of_tap(internal->queue, name)) {
		atomic_store(&port->link_up, false);
		snprintf(port->status, sizeof(port->status),
			"network device %s is gone; remove the port and add it again", port->name);
		return;
	}
	if (!is_here(name, &device)) {
		/* Whether it is up is not to be seen; where it is not, the kernel drops. */
		atomic_store(&port->link_up, true);
		snprintf(port->status, sizeof(port->status), "tap %s, in another network namespace",
			name);
		return;
	}
	atomic_store(&port->link_up, device.has_carrier);
	snprintf(port->status, sizeof(port->status), "tap %s, MAC %s, MTU %u%s", device.name,
		mac_format(device.mac, mac), device.mtu,
		device.flags & IFF_UP ? "" : ", set down: ip link set it up");
}

/* --- opening and closing -------------------------------------------------------------------- */

static int internal_open(struct port *port, char *error, size_t error_size)
{
	const struct port_ethdev_settings settings = {
		.n_queues = port->environment->n_workers,
		.paired_queues = true,
		.offloads = PORT_TX_SEGMENTS | PORT_TX_COPIES,
	};
	struct port_internal *internal = calloc(1, sizeof(*internal));
	struct kernel_device device;
	char devargs[128];
	int result = -ENOMEM;

	snprintf(error, error_size, "there is not enough memory");
	if (internal == NULL)
		return result;
	(void)signal(SIGIO, SIG_IGN);
	result = make_devargs(port, devargs, sizeof(devargs), error, error_size);
	if (result == 0)
		result = dpdk_load_driver("net_tap", error, error_size);
	if (result != 0)
		goto free_internal;
	int id = port_ethdev_attach(devargs, error, error_size);
	result = id;
	if (id < 0)
		goto free_internal;
	internal->ethdev.id = id;
	result = port_ethdev_start(port, id, &settings, error, error_size);
	if (result != 0)
		goto detach;
	result = kernel_device_by_name(port->name, &device);
	if (result != 0) {
		snprintf(error, error_size, "network device %s vanished", port->name);
		goto detach;
	}
	result = find_queue(port->name);
	if (result < 0) {
		snprintf(error, error_size, "the tap %s is not among the open files: %s",
			port->name, strerror(-result));
		goto detach;
	}
	internal->queue = result;
	(void)kernel_device_mark(device.index);
	port->mtu = device.mtu; /* 1500: the driver takes no other. */
	/* What the host sends is cut and summed by its kernel before the tap sees it. */
	port->fills_checksums = false;
	port->private = internal;
	port_resume(port);
	return 0;

detach:
	port_ethdev_detach(id);
free_internal:
	free(internal);
	return result;
}

static void internal_close(struct port *port)
{
	struct port_internal *internal = port->private;

	port_suspend(port);
	port_ethdev_detach(internal->ethdev.id);
	/* With its last descriptor the device goes, in whatever namespace it is. */
	(void)ioctl(internal->queue, TUNSETPERSIST, 0);
	close(internal->queue);
	free(internal);
}

static const char *const internal_options[] = {"mac", NULL};

const struct port_backend port_internal = {
	.type = "internal",
	.options = internal_options,
	.open = internal_open,
	.close = internal_close,
	.rx = port_ethdev_rx,
	.tx = port_ethdev_tx,
	.poll_status = internal_poll_status,
};
