/* SPDX-License-Identifier: Apache-2.0 */
/*
 * DPDK Ethernet devices under a port: attaching, configuring, starting, removing (the main thread);
 * receiving and sending (workers).
 */
#include "datapath/port_ethdev.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <rte_dev.h>
#include <rte_errno.h>
#include <rte_ethdev.h>

#include "datapath/buffers.h"

/* Marks the devices that are in use by a port. */
static const char owner_name[] = "cordon-port";

/* --- Attaching ------------------------------------------------------------------------------ */

/* Takes the device for a port. */
static int own(uint16_t id, const char *devargs, char *error, size_t error_size)
{
	struct rte_eth_dev_owner owner = {0};
	int result = rte_eth_dev_owner_new(&owner.id);

	snprintf(owner.name, sizeof(owner.name), "%s", owner_name);
	if (result == 0)
		result = rte_eth_dev_owner_set(id, &owner);
	if (result == -EPERM) {
		snprintf(error, error_size, "device %s is in use by another port", devargs);
		return -EEXIST;
	}
	if (result != 0)
		snprintf(error, error_size, "device %s cannot be taken: %s", devargs,
			rte_strerror(-result));
	return result;
}

/* The first device that matches, or -ENODEV. */
static int find(const char *devargs)
{
	struct rte_dev_iterator iterator;
	uint16_t id;
	int found = -ENODEV;

	RTE_ETH_FOREACH_MATCHING_DEV(id, devargs, &iterator)
	{
		found = id;
		rte_eth_iterator_cleanup(&iterator);
		break;
	}
	return found;
}

int port_ethdev_attach(const char *devargs, char *error, size_t error_size)
{
	int id = find(devargs);

	if (id < 0) {
		int result = rte_dev_probe(devargs);

		if (result != 0) {
			snprintf(error, error_size,
				"DPDK cannot open device %s: check how it is written, and that a "
				"driver is bound to it; the log says more",
				devargs);
			return result < -1 ? result : -EINVAL;
		}
		id = find(devargs);
		if (id < 0) {
			snprintf(error, error_size, "device %s is not an Ethernet device", devargs);
			return -ENODEV;
		}
	}
	int result = own(id, devargs, error, error_size);
	return result == 0 ? id : result;
}

void port_ethdev_detach(uint16_t id)
{
	struct rte_eth_dev_info info;
	bool known = rte_eth_dev_info_get(id, &info) == 0;

	(void)rte_eth_dev_stop(id);
	(void)rte_eth_dev_close(id);
	if (known && info.device != NULL)
		(void)rte_dev_remove(info.device);
}

/* --- Starting ------------------------------------------------------------------------------- */

/* Which of the wanted offloads the device has, in our terms, and in DPDK's in *capabilities. */
static uint32_t usable_offloads(
	const struct rte_eth_dev_info *info, uint32_t wanted, uint64_t *capabilities)
{
	const uint64_t checksums = RTE_ETH_TX_OFFLOAD_IPV4_CKSUM | RTE_ETH_TX_OFFLOAD_TCP_CKSUM |
				   RTE_ETH_TX_OFFLOAD_UDP_CKSUM;
	uint64_t has = info->tx_offload_capa;
	uint32_t usable = wanted & PORT_TX_COPIES;

	*capabilities = 0;
	if (wanted & PORT_TX_CHECKSUM && (has & checksums) == checksums) {
		usable |= PORT_TX_CHECKSUM;
		*capabilities |= checksums;
	}
	if (wanted & PORT_TX_SEGMENTS && has & RTE_ETH_TX_OFFLOAD_MULTI_SEGS) {
		usable |= PORT_TX_SEGMENTS;
		*capabilities |= RTE_ETH_TX_OFFLOAD_MULTI_SEGS;
	}
	if (usable & PORT_TX_CHECKSUM && usable & PORT_TX_SEGMENTS && wanted & PORT_TX_TSO4 &&
		has & RTE_ETH_TX_OFFLOAD_TCP_TSO) {
		usable |= PORT_TX_TSO4 | PORT_TX_TSO6;
		*capabilities |= RTE_ETH_TX_OFFLOAD_TCP_TSO;
	}
	return usable;
}

/* More than one receive queue is of use only if the device spreads flows over them by hash. */
static void choose_queues(struct port *port, const struct rte_eth_dev_info *info,
	const struct port_ethdev_settings *settings, struct rte_eth_conf *conf)
{
	uint16_t most = RTE_MIN(settings->n_queues, (uint16_t)PORT_QUEUES_MAX);
	uint64_t hash =
		info->flow_type_rss_offloads & (RTE_ETH_RSS_IP | RTE_ETH_RSS_TCP | RTE_ETH_RSS_UDP);

	port->n_tx_queues = RTE_MIN(most, info->max_tx_queues);
	port->n_rx_queues = RTE_MIN(most, info->max_rx_queues);
	if (settings->paired_queues) {
		port->n_rx_queues = RTE_MIN(port->n_rx_queues, port->n_tx_queues);
		port->n_tx_queues = port->n_rx_queues;
	} else if (hash == 0) {
		port->n_rx_queues = RTE_MIN(port->n_rx_queues, 1);
	}
	if (hash != 0 && port->n_rx_queues > 1) {
		conf->rxmode.mq_mode = RTE_ETH_MQ_RX_RSS;
		conf->rx_adv_conf.rss_conf.rss_hf = hash;
	}
}

static int set_up_queues(struct port *port, uint16_t id, const struct rte_eth_dev_info *info)
{
	uint16_t n_rx = 1024, n_tx = 1024;
	int socket = rte_eth_dev_socket_id(id);
	int result = rte_eth_dev_adjust_nb_rx_tx_desc(id, &n_rx, &n_tx);
	struct rte_eth_txconf tx = info->default_txconf;

	tx.offloads = 0;
	for (uint16_t i = 0; i < port->n_tx_queues && result == 0; i++)
		result = rte_eth_tx_queue_setup(id, i, n_tx, socket, &tx);
	for (uint16_t i = 0; i < port->n_rx_queues && result == 0; i++)
		result = rte_eth_rx_queue_setup(id, i, n_rx, socket, NULL, port->environment->pool);
	return result;
}

int port_ethdev_start(struct port *port, uint16_t id, const struct port_ethdev_settings *settings,
	char *error, size_t error_size)
{
	struct rte_eth_conf conf = {0};
	struct rte_eth_dev_info info;
	const char *step = "asked what it can do";
	int result = rte_eth_dev_info_get(id, &info);

	if (result != 0)
		goto fail;
	step = "configured";
	choose_queues(port, &info, settings, &conf);
	uint32_t offloads = usable_offloads(&info, settings->offloads, &conf.txmode.offloads);
	atomic_store(&port->offloads, offloads);
	result = rte_eth_dev_configure(id, port->n_rx_queues, port->n_tx_queues, &conf);
	if (result != 0)
		goto fail;
	step = "given its queues";
	buffers_wait(port->environment->buffers);
	result = set_up_queues(port, id, &info);
	if (result != 0)
		goto fail;
	step = "started";
	result = rte_eth_dev_start(id);
	if (result != 0)
		goto fail;
	/* Not all devices know of it; those that do not receive everything anyway. */
	(void)rte_eth_promiscuous_enable(id);
	return 0;

fail:
	snprintf(error, error_size, "the device cannot be %s: %s; the log says more", step,
		rte_strerror(-result));
	return result;
}

/* --- Frames --------------------------------------------------------------------------------- */

uint16_t port_ethdev_rx(struct port *port, uint16_t queue, struct rte_mbuf **frames, uint16_t n)
{
	const struct port_ethdev *ethdev = port->private;

	return rte_eth_rx_burst(ethdev->id, queue, frames, n);
}

uint16_t port_ethdev_tx(struct port *port, uint16_t queue, struct rte_mbuf **frames, uint16_t n)
{
	const struct port_ethdev *ethdev = port->private;

	return rte_eth_tx_burst(ethdev->id, queue, frames, n);
}
