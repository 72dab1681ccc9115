/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio-net's control queue (virtio 1.2, 5.1.6.5): what the driver asks of the device.  Called by
 * the event loop.
 *
 * The switch decides what a guest receives and by which address it may send, so a receive mode is
 * acknowledged and changes nothing, and another MAC is refused: the switch's spoof guard would drop
 * what is sent by it, and a driver that is told so says it to its user.
 */
#include <endian.h>
#include <stddef.h>
#include <string.h>
#include <sys/eventfd.h>

#include "hv/net_internal.h"

enum { MAC_BYTES = 6, TABLE_ENTRIES_MAX = 4096 };

/* --- Commands: true if they are acknowledged -------------------------------------------------- */

/* PROMISC and so on: one byte, on or off. */
static bool set_receive_mode(struct net *net, const struct virtio_chain *command)
{
	uint8_t on;

	(void)net;
	return virtio_chain_read(command, sizeof(struct virtio_net_ctrl_hdr), &on, 1) == 1 &&
	       on <= 1;
}

/* Two lists of addresses that the driver wants to hear, unicast and multicast. */
static bool set_mac_table(struct net *net, const struct virtio_chain *command)
{
	uint64_t at = sizeof(struct virtio_net_ctrl_hdr);

	(void)net;
	for (unsigned int list = 0; list < 2; list++) {
		uint32_t n;

		if (virtio_chain_read(command, at, &n, sizeof(n)) != sizeof(n) ||
			le32toh(n) > TABLE_ENTRIES_MAX)
			return false;
		at += sizeof(n) + (uint64_t)le32toh(n) * MAC_BYTES;
	}
	return at == command->readable_bytes;
}

static bool set_mac(struct net *net, const struct virtio_chain *command)
{
	uint8_t mac[MAC_BYTES];

	return virtio_chain_read(command, sizeof(struct virtio_net_ctrl_hdr), mac, MAC_BYTES) ==
		       MAC_BYTES &&
	       memcmp(mac, net->options->mac, MAC_BYTES) == 0;
}

static bool set_queue_pairs(struct net *net, const struct virtio_chain *command)
{
	uint16_t pairs;

	if (virtio_chain_read(command, sizeof(struct virtio_net_ctrl_hdr), &pairs, sizeof(pairs)) !=
		sizeof(pairs))
		return false;
	pairs = le16toh(pairs);
	if (pairs < 1 || pairs > net_queue_pairs(net))
		return false;
	net_use_queue_pairs(net, pairs);
	return true;
}

#define RECEIVE_MODE(name, feature)                                                                \
	{                                                                                          \
		VIRTIO_NET_CTRL_RX, VIRTIO_NET_CTRL_RX_##name, NET_FEATURE(feature),               \
			set_receive_mode                                                           \
	}

static const struct command {
	uint8_t class, command;
	uint64_t feature; /* Without which the driver does not have it. */
	bool (*obey)(struct net *net, const struct virtio_chain *command);
} commands[] = {
	RECEIVE_MODE(PROMISC, CTRL_RX),
	RECEIVE_MODE(ALLMULTI, CTRL_RX),
	RECEIVE_MODE(ALLUNI, CTRL_RX_EXTRA),
	RECEIVE_MODE(NOMULTI, CTRL_RX_EXTRA),
	RECEIVE_MODE(NOUNI, CTRL_RX_EXTRA),
	RECEIVE_MODE(NOBCAST, CTRL_RX_EXTRA),
	{VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_TABLE_SET, NET_FEATURE(CTRL_RX), set_mac_table},
	{VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_ADDR_SET, NET_FEATURE(CTRL_MAC_ADDR), set_mac},
	{VIRTIO_NET_CTRL_MQ, VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET, NET_FEATURE(MQ), set_queue_pairs},
};

static bool obey(struct net *net, const struct virtio_chain *chain)
{
	struct virtio_net_ctrl_hdr header;

	if (virtio_chain_read(chain, 0, &header, sizeof(header)) != sizeof(header))
		return false;
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
		if (commands[i].class == header.class && commands[i].command == header.cmd)
			return (net->device.features & commands[i].feature) &&
			       commands[i].obey(net, chain);
	}
	return false;
}

/* --- The queue -------------------------------------------------------------------------------- */

void net_control_ready(struct event_source *source, uint32_t events)
{
	struct net *net = (struct net *)((char *)source - offsetof(struct net, control));
	const unsigned int index = net_control_queue(net);
	unsigned int turn = VIRTIO_DEVICE_TURN;
	struct virtio_chain chain;
	bool answered = false;
	eventfd_t count;

	(void)events;
	/* Before the queue is looked at: what comes later wakes again. */
	eventfd_read(source->fd, &count);
	while (virtio_device_take(&net->device, index, &chain, &turn)) {
		uint8_t answer = obey(net, &chain) ? VIRTIO_NET_OK : VIRTIO_NET_ERR;
		uint64_t written = virtio_chain_write(&chain, 0, &answer, sizeof(answer));

		net->count.commands++;
		net->count.commands_refused += answer != VIRTIO_NET_OK;
		virtio_queue_push(&net->device.queues[index], chain.head, (uint32_t)written);
		answered = true;
	}
	if (answered)
		virtio_queue_signal(&net->device.queues[index]);
}
