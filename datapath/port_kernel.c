/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ports of type "kernel": an existing network device, taken over through AF_XDP, or through
 * AF_PACKET where that cannot be.  The main thread opens, watches and closes; workers receive and
 * send through port_ethdev.c.
 *
 * AF_XDP (kernel_xsk.c)
 * - A socket for each receive channel.  Copying is the default; zero copy is for hardware whose
 *   driver has it.
 * - The kernel takes GSO away from the peer of a veth with XDP, in whatever namespace it is.  It
 *   leaves transmit checksums on, hence fills_checksums.
 *
 * AF_PACKET (kernel_socket.c)
 * - Frames that the sender's kernel has not cut or summed come in whole, with what is to be done,
 *   and may go out so.  For bulk TCP that is faster than AF_XDP; for small frames it is slower.
 * - The host's own stack sees the frames as well: give the device no address.
 *
 * The device may vanish and come back at any time (a container restarts).  The port stays, its link
 * down, and takes the device again when there is one of that name; so it does when the MTU changes.
 */
#include <config.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <rte_common.h>
#include <rte_mbuf.h>
#include <xdp/libxdp.h>

#include "datapath/kernel_device.h"
#include "datapath/kernel_socket.h"
#include "datapath/kernel_xdp.h"
#include "datapath/kernel_xsk.h"
#include "datapath/port.h"
#include "openvswitch/vlog.h"
#include "smap.h"

VLOG_DEFINE_THIS_MODULE(port_kernel);

struct port_kernel {
	/* One of the two, while the device is attached. */
	struct kernel_xdp xdp;
	struct kernel_xsk *xsk[PORT_QUEUES_MAX];
	struct kernel_socket *socket;
	int promiscuous; /* The descriptor that holds it so. */

	struct port_kernel *next;
	struct kernel_device device; /* As it was when it was taken. */
	bool attached;
	bool uses_xdp;
	unsigned int channels, queues;
	char why_not_xdp[200];
};

static const char *device_name(const struct port *port)
{
	return smap_get_def(port->options, "device", port->name);
}

/* --- AF_XDP --------------------------------------------------------------------------------- */

/* libxdp tells on the standard error of what it tries in vain; that belongs into the log. */
static int log_libxdp(enum libxdp_print_level level, const char *format, va_list arguments)
{
	(void)level;
	vlog_valist(&this_module, VLL_DBG, format, arguments);
	return 0;
}

static int log_libbpf(enum libbpf_print_level level, const char *format, va_list arguments)
{
	(void)level;
	vlog_valist(&this_module, VLL_DBG, format, arguments);
	return 0;
}

static const char *why_not_attached(int error)
{
	switch (error) {
	case -EOPNOTSUPP:
	case -EINVAL: return "its driver has no XDP";
	case -ERANGE: return "its driver has no XDP for this MTU";
	case -EPERM: return "XDP is not permitted; cordon-switchd needs CAP_NET_ADMIN and CAP_BPF";
	default: return strerror(-error);
	}
}

/* Attaches our XDP program, or says why that cannot be. */
static int attach_xdp(struct port_kernel *kernel, char *why, size_t why_size)
{
	const struct kernel_device *device = &kernel->device;
	char program[16];
	int result = -EOPNOTSUPP;

	if (device->mtu > KERNEL_XSK_MTU_MAX) {
		snprintf(why, why_size, "MTU %u is above %d", device->mtu, KERNEL_XSK_MTU_MAX);
		return result;
	}
	if (device->xdp_program != 0) {
		kernel_device_xdp_name(device, program);
		snprintf(why, why_size, "XDP program %u (%s) is on it already", device->xdp_program,
			program);
		return -EBUSY;
	}
	result = kernel_xdp_attach(&kernel->xdp, device->index, kernel->queues);
	if (result != 0)
		snprintf(why, why_size, "%s", why_not_attached(result));
	return result;
}

static void stop_xdp(struct port_kernel *kernel)
{
	kernel_xdp_detach(&kernel->xdp);
	for (unsigned int i = 0; i < PORT_QUEUES_MAX; i++) {
		kernel_xsk_close(kernel->xsk[i]);
		kernel->xsk[i] = NULL;
	}
}

static int start_xdp(struct port *port, struct port_kernel *kernel, char *why, size_t why_size)
{
	bool zero_copy = smap_get_bool(port->options, "zero_copy", false);

	int result = attach_xdp(kernel, why, why_size);

	if (result != 0)
		return result;
	for (unsigned int i = 0; i < kernel->queues; i++) {
		kernel->xsk[i] = kernel_xsk_open(
			&kernel->device, i, zero_copy, port->environment->pool, why, why_size);
		if (kernel->xsk[i] == NULL) {
			result = -EOPNOTSUPP;
			goto stop;
		}
		result = kernel_xdp_direct(&kernel->xdp, i, kernel_xsk_descriptor(kernel->xsk[i]));
		if (result != 0) {
			snprintf(why, why_size, "AF_XDP socket in the XDP program: %s",
				strerror(-result));
			goto stop;
		}
	}
	port->n_rx_queues = kernel->queues;
	port->n_tx_queues = kernel->queues;
	atomic_store(&port->offloads, KERNEL_XSK_OFFLOADS);
	kernel->uses_xdp = true;
	return 0;

stop:
	stop_xdp(kernel);
	return result;
}

/* --- AF_PACKET ---------------------------------------------------------------------------- */

static int start_packet(struct port *port, struct port_kernel *kernel, char *why, size_t why_size)
{
	if (port->n_rx_queues > 1) {
		snprintf(why, why_size,
			"it had more queues before; remove the port and add it again");
		return -EOPNOTSUPP;
	}
	kernel->socket =
		kernel_socket_open(kernel->device.index, port->environment->pool, why, why_size);
	if (kernel->socket == NULL)
		return -EOPNOTSUPP;
	port->n_rx_queues = 1;
	port->n_tx_queues = 1;
	atomic_store(&port->offloads, KERNEL_SOCKET_OFFLOADS);
	kernel->uses_xdp = false;
	return 0;
}

/* --- Taking the device ---------------------------------------------------------------------- */

/* All kernel ports, so that no two take one device.  The main thread's. */
static struct kernel_ports {
	struct port_kernel *first;
} kernel_ports;

static bool is_taken(unsigned int index)
{
	for (const struct port_kernel *kernel = kernel_ports.first; kernel != NULL;
		kernel = kernel->next)
		if (kernel->attached && kernel->device.index == index)
			return true;
	return false;
}

static void kernel_ports_remove(struct port_kernel *kernel)
{
	struct port_kernel **link = &kernel_ports.first;

	while (*link != NULL && *link != kernel)
		link = &(*link)->next;
	if (*link != NULL)
		*link = kernel->next;
}

/* Finds the device and brings it up. */
static int prepare_device(
	const struct port *port, struct port_kernel *kernel, char *error, size_t error_size)
{
	const char *name = device_name(port);
	int result = kernel_device_by_name(name, &kernel->device);

	if (result == -ENODEV) {
		snprintf(error, error_size,
			"there is no network device %s in this namespace; make it, or name another "
			"with option device",
			name);
		return result;
	}
	if (result != 0) {
		snprintf(error, error_size, "network device %s cannot be read: %s", name,
			strerror(-result));
		return result;
	}
	if (is_taken(kernel->device.index)) {
		snprintf(error, error_size, "network device %s is in use by another port", name);
		return -EBUSY;
	}
	result = kernel_device_set_up(&kernel->device);
	if (result != 0)
		snprintf(error, error_size, "network device %s cannot be brought up: %s%s", name,
			strerror(-result),
			result == -EPERM ? "; cordon-switchd needs CAP_NET_ADMIN" : "");
	return result;
}

/* All channels, so that nothing is missed, unless the operator says otherwise.  When the device is
 * taken again it must do with the queues that the workers poll. */
static int choose_queues(
	const struct port *port, struct port_kernel *kernel, char *error, size_t error_size)
{
	unsigned int most;

	kernel->channels = kernel_device_channels(&kernel->device);
	if (kernel->queues == 0) {
		most = RTE_MIN(kernel->channels, (unsigned int)PORT_QUEUES_MAX);
		kernel->queues = most;
		return port_option_number(
			port, "queues", 1, most, &kernel->queues, error, error_size);
	}
	if (kernel->channels >= kernel->queues)
		return 0;
	snprintf(error, error_size,
		"network device %s came back with %u channels instead of %u; remove the port and "
		"add it again",
		kernel->device.name, kernel->channels, kernel->queues);
	return -ENODEV;
}

/* Takes the device, by AF_XDP if that can be. */
static int take_device(struct port *port, char *error, size_t error_size)
{
	struct port_kernel *kernel = port->private;
	const char *mode = smap_get_def(port->options, "mode", "auto");
	char why[200];
	int result = prepare_device(port, kernel, error, error_size);

	if (result == 0)
		result = choose_queues(port, kernel, error, error_size);
	if (result != 0)
		return result;
	port->mtu = kernel->device.mtu;
	kernel->why_not_xdp[0] = '\0';
	if (strcmp(mode, "af_packet") != 0) {
		result = start_xdp(port, kernel, why, sizeof(why));
		if (result == 0)
			goto taken;
		snprintf(kernel->why_not_xdp, sizeof(kernel->why_not_xdp), "%s", why);
		if (strcmp(mode, "af_xdp") == 0)
			goto fail;
	}
	result = start_packet(port, kernel, why, sizeof(why));
	if (result != 0)
		goto fail;
taken:
	kernel->promiscuous = kernel_device_hold_promiscuous(&kernel->device);
	(void)kernel_device_by_index(kernel->device.index, &kernel->device);
	kernel->attached = true;
	port_resume(port);
	return 0;

fail:
	snprintf(error, error_size, "network device %s cannot be taken: %s", kernel->device.name,
		why);
	return result;
}

static void leave_device(struct port *port)
{
	struct port_kernel *kernel = port->private;

	if (!kernel->attached)
		return;
	port_suspend(port);
	stop_xdp(kernel);
	kernel_socket_close(kernel->socket);
	kernel->socket = NULL;
	if (kernel->promiscuous >= 0)
		close(kernel->promiscuous);
	kernel->attached = false;
}

/* --- Watching it ---------------------------------------------------------------------------- */

static void describe(struct port *port, const struct kernel_device *device)
{
	struct port_kernel *kernel = port->private;
	int n;

	if (kernel->uses_xdp)
		n = snprintf(port->status, sizeof(port->status), "AF_XDP, driver mode");
	else
		n = snprintf(port->status, sizeof(port->status), "AF_PACKET%s%s",
			kernel->why_not_xdp[0] != '\0' ? ", not AF_XDP: " : "",
			kernel->why_not_xdp);
	if (kernel->uses_xdp && kernel->queues < kernel->channels &&
		(size_t)n < sizeof(port->status))
		n += snprintf(port->status + n, sizeof(port->status) - n,
			"; only %u of its %u channels are received (ethtool -L, or option queues)",
			kernel->queues, kernel->channels);
	if (!device->has_carrier && (size_t)n < sizeof(port->status))
		snprintf(port->status + n, sizeof(port->status) - n, "; %s",
			device->flags & IFF_UP ? "no carrier" : "set down: ip link set it up");
}

/* Takes the device again once there is one of that name. */
static void retake_device(struct port *port)
{
	struct port_kernel *kernel = port->private;
	struct kernel_device device;
	char why[200];

	leave_device(port);
	if (kernel_device_by_name(device_name(port), &device) != 0) {
		snprintf(port->status, sizeof(port->status),
			"network device %s is gone; it is taken again when it is back",
			device_name(port));
		return;
	}
	if (take_device(port, why, sizeof(why)) != 0) {
		snprintf(port->status, sizeof(port->status), "%s", why);
		return;
	}
	VLOG_INFO("port %s: has network device %s again", port->name, device_name(port));
	atomic_store(&port->link_up, kernel->device.has_carrier);
	describe(port, &kernel->device);
}

static void kernel_poll_status(struct port *port)
{
	struct port_kernel *kernel = port->private;
	struct kernel_device device;

	bool there = kernel->attached && kernel_device_by_index(kernel->device.index, &device) == 0;

	if (there && device.mtu == kernel->device.mtu) {
		atomic_store(&port->link_up, device.has_carrier);
		describe(port, &device);
		return;
	}
	atomic_store(&port->link_up, false);
	if (there)
		VLOG_INFO("port %s: MTU is %u now", port->name, device.mtu);
	else if (kernel->attached)
		VLOG_WARN("port %s: network device %s is gone", port->name, device_name(port));
	retake_device(port);
}

/* --- The back end --------------------------------------------------------------------------- */

static int check_mode(const struct port *port, char *error, size_t error_size)
{
	const char *mode = smap_get_def(port->options, "mode", "auto");

	if (strcmp(mode, "auto") == 0 || strcmp(mode, "af_xdp") == 0 ||
		strcmp(mode, "af_packet") == 0)
		return 0;
	snprintf(error, error_size, "option mode=%s: must be auto, af_xdp or af_packet", mode);
	return -EINVAL;
}

static int kernel_open(struct port *port, char *error, size_t error_size)
{
	struct port_kernel *kernel = calloc(1, sizeof(*kernel));
	int result;

	if (kernel == NULL) {
		snprintf(error, error_size, "there is not enough memory");
		return -ENOMEM;
	}
	libxdp_set_print(log_libxdp);
	libbpf_set_print(log_libbpf);
	kernel->xdp = (struct kernel_xdp){-1, -1, -1};
	port->private = kernel;
	port->fills_checksums = true;
	result = check_mode(port, error, error_size);
	if (result == 0)
		result = take_device(port, error, error_size);
	if (result != 0) {
		free(kernel);
		return result;
	}
	kernel->next = kernel_ports.first;
	kernel_ports.first = kernel;
	return 0;
}

static void kernel_close(struct port *port)
{
	leave_device(port);
	kernel_ports_remove(port->private);
	free(port->private);
}

static uint16_t kernel_rx(struct port *port, uint16_t queue, struct rte_mbuf **frames, uint16_t n)
{
	struct port_kernel *kernel = port->private;

	return kernel->uses_xdp ? kernel_xsk_rx(kernel->xsk[queue], frames, n)
				: kernel_socket_rx(kernel->socket, frames, n);
}

static uint16_t kernel_tx(struct port *port, uint16_t queue, struct rte_mbuf **frames, uint16_t n)
{
	struct port_kernel *kernel = port->private;

	return kernel->uses_xdp ? kernel_xsk_tx(kernel->xsk[queue], frames, n)
				: kernel_socket_tx(kernel->socket, frames, n);
}

static const char *const kernel_options[] = {"device", "mode", "queues", "zero_copy", NULL};

const struct port_backend port_kernel = {
	.type = "kernel",
	.options = kernel_options,
	.open = kernel_open,
	.close = kernel_close,
	.rx = kernel_rx,
	.tx = kernel_tx,
	.poll_status = kernel_poll_status,
};
