/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ports of type "internal": a tap device by which the host's own IP stack is on the switch.  The
 * network device has the port's name and lives as long as the port.  It outlives a process that is
 * killed, with its addresses and routes, and is taken again by the next one.
 *
 * The driver reads from the tap only after the kernel has sent a signal that there is something
 * (O_ASYNC), so polling an idle port makes no system call.  Whoever starts threads must leave
 * real-time signals unblocked in at least one of them.  If more signals are due than a process may
 * have, the kernel sends SIGIO instead, which would end it if it were not ignored.
 */
#include <config.h>

#include <ctype.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <rte_ethdev.h>

#include "datapath/dpdk.h"
#include "datapath/kernel_device.h"
#include "datapath/port_ethdev.h"
#include "smap.h"
#include "zones/address.h"

struct port_internal {
	struct port_ethdev ethdev;
	unsigned int index; /* Of the network device. */
};

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

static void internal_poll_status(struct port *port)
{
	const struct port_internal *internal = port->private;
	struct kernel_device device;
	char mac[MAC_TEXT_MAX];

	if (kernel_device_by_index(internal->index, &device) != 0) {
		atomic_store(&port->link_up, false);
		snprintf(port->status, sizeof(port->status),
			"network device %s is gone; remove the port and add it again", port->name);
		return;
	}
	atomic_store(&port->link_up, device.has_carrier);
	snprintf(port->status, sizeof(port->status), "tap %s, MAC %s, MTU %u%s", device.name,
		mac_format(device.mac, mac), device.mtu,
		device.flags & IFF_UP ? "" : ", set down: ip link set it up");
}

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
	internal->index = device.index;
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
	(void)kernel_device_delete(internal->index);
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
