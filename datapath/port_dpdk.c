/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ports of type "dpdk": any device that DPDK has a driver for, named by its devargs, such as
 * "0000:03:00.0", "net_null0,size=64" or "net_pcap0,rx_pcap=in.pcap,tx_pcap=out.pcap".
 */
#include <config.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <rte_ethdev.h>

#include "datapath/dpdk.h"
#include "datapath/offload.h"
#include "datapath/port_ethdev.h"
#include "smap.h"

static void dpdk_poll_status(struct port *port)
{
	const struct port_ethdev *ethdev = port->private;
	struct rte_eth_dev_info info;
	struct rte_eth_link link = {0};

	if (rte_eth_dev_info_get(ethdev->id, &info) != 0) {
		atomic_store(&port->link_up, false);
		snprintf(port->status, sizeof(port->status),
			"the device is gone; remove the port and add it again");
		return;
	}
	(void)rte_eth_link_get_nowait(ethdev->id, &link);
	atomic_store(&port->link_up, link.link_status == RTE_ETH_LINK_UP);
	if (link.link_status == RTE_ETH_LINK_UP && link.link_speed != RTE_ETH_SPEED_NUM_UNKNOWN)
		snprintf(port->status, sizeof(port->status), "DPDK driver %s, %u Mb/s",
			info.driver_name, link.link_speed);
	else
		snprintf(port->status, sizeof(port->status), "DPDK driver %s, link %s",
			info.driver_name,
			link.link_status == RTE_ETH_LINK_UP ? "up" : "down: check the cable");
}

/* Opens the device `ethdev` of a port whose options have been read. */
static int start(struct port *port, struct port_ethdev *ethdev, const char *devargs,
	const struct port_ethdev_settings *settings, unsigned int mtu, char *error,
	size_t error_size)
{
	dpdk_load_drivers(); /* Which of them the device needs, they tell themselves. */
	int id = port_ethdev_attach(devargs, error, error_size);

	if (id < 0)
		return id;
	ethdev->id = id;
	int result = port_ethdev_start(port, id, settings, error, error_size);
	if (result == 0 && mtu != 0) {
		result = rte_eth_dev_set_mtu(id, mtu);
		if (result != 0)
			snprintf(error, error_size, "the device does not take an MTU of %u", mtu);
	}
	if (result == 0)
		result = rte_eth_dev_get_mtu(id, &port->mtu);
	if (result != 0)
		port_ethdev_detach(id);
	return result;
}

static int dpdk_open(struct port *port, char *error, size_t error_size)
{
	const char *devargs = smap_get(port->options, "devargs");
	unsigned int queues = port->environment->n_workers, mtu = 0;
	int result;

	if (devargs == NULL || *devargs == '\0') {
		snprintf(error, error_size,
			"option devargs is missing: give a PCI address or a DPDK device, such as "
			"devargs=0000:03:00.0");
		return -EINVAL;
	}
	result = port_option_number(port, "queues", 1, PORT_QUEUES_MAX, &queues, error, error_size);
	if (result == 0)
		result = port_option_number(port, "mtu", 68, 9216, &mtu, error, error_size);
	if (result != 0)
		return result;

	const struct port_ethdev_settings settings = {
		.n_queues = queues,
		.offloads = PORT_TX_CHECKSUM | PORT_TX_TSO4 | PORT_TX_TSO6 | PORT_TX_SEGMENTS,
	};
	struct port_ethdev *ethdev = calloc(1, sizeof(*ethdev));
	if (ethdev == NULL) {
		snprintf(error, error_size, "there is not enough memory");
		return -ENOMEM;
	}
	result = start(port, ethdev, devargs, &settings, mtu, error, error_size);
	if (result != 0) {
		free(ethdev);
		return result;
	}
	port->private = ethdev;
	port_resume(port);
	return 0;
}

static void dpdk_close(struct port *port)
{
	struct port_ethdev *ethdev = port->private;

	port_suspend(port);
	port_ethdev_detach(ethdev->id);
	free(ethdev);
}

/* Hardware that finishes checksums wants the fields prepared in its own way. */
static uint16_t dpdk_tx(struct port *port, uint16_t queue, struct rte_mbuf **frames, uint16_t n)
{
	const struct port_ethdev *ethdev = port->private;
	const uint64_t large_ip4 = RTE_MBUF_F_TX_TCP_SEG | RTE_MBUF_F_TX_IPV4;

	if (atomic_load_explicit(&port->offloads, memory_order_relaxed) & PORT_TX_CHECKSUM) {
		for (uint16_t i = 0; i < n; i++)
			if ((frames[i]->ol_flags & large_ip4) == large_ip4)
				frames[i]->ol_flags |= RTE_MBUF_F_TX_IP_CKSUM;
		n = rte_eth_tx_prepare(ethdev->id, queue, frames, n);
	}
	return rte_eth_tx_burst(ethdev->id, queue, frames, n);
}

static const char *const dpdk_options[] = {"devargs", "queues", "mtu", NULL};

const struct port_backend port_dpdk = {
	.type = "dpdk",
	.options = dpdk_options,
	.open = dpdk_open,
	.close = dpdk_close,
	.rx = port_ethdev_rx,
	.tx = dpdk_tx,
	.poll_status = dpdk_poll_status,
};
