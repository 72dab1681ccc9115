/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What all ports that are DPDK Ethernet devices have in common: internal and dpdk ports.
 */
#ifndef DATAPATH_PORT_ETHDEV_H
#define DATAPATH_PORT_ETHDEV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "datapath/port.h"

/* The start of port->private of those ports. */
struct port_ethdev {
	uint16_t id; /* DPDK's number of the device. */
};

/* How a device is set up. */
struct port_ethdev_settings {
	uint16_t n_queues;  /* Of each kind, at most; the device may have fewer. */
	bool paired_queues; /* It wants as many receive as transmit queues. */
	uint32_t offloads;  /* enum port_offload: those to use, if the device has them. */
};

/* Makes the device that `devargs` describe ("net_null0,size=64", a PCI address) and takes it for
 * this port.  Returns its number, or a negative errno with the reason in error[]: -EEXIST if it is
 * another port's already. */
int port_ethdev_attach(const char *devargs, char *error, size_t error_size);

/* Configures and starts it.  Fills port->n_rx_queues,
 * n_tx_queues and offloads. */
int port_ethdev_start(struct port *port, uint16_t id, const struct port_ethdev_settings *settings,
	char *error, size_t error_size);

/* Stops and removes it. */
void port_ethdev_detach(uint16_t id);

/* For struct port_backend. */
uint16_t port_ethdev_rx(struct port *port, uint16_t queue, struct rte_mbuf **frames, uint16_t n);
uint16_t port_ethdev_tx(struct port *port, uint16_t queue, struct rte_mbuf **frames, uint16_t n);

#endif
