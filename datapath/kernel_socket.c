/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Packet sockets.  Called by port_kernel.c: opening and closing on the main thread, rx and tx by
 * workers.
 *
 * The ring (Linux Documentation/networking/packet_mmap.rst, TPACKET_V2) has slots of a fixed size;
 * one is large enough for a frame that the kernel has merged or not yet cut.  A slot belongs to us
 * while its status has TP_STATUS_USER, and is given back by writing TP_STATUS_KERNEL.
 */
#include "datapath/kernel_socket.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/virtio_net.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <rte_branch_prediction.h>
#include <rte_ether.h>
#include <rte_tcp.h>
#include <rte_udp.h>

#include "datapath/offload.h"

enum {
	SLOTS = 256,
	SLOT_BYTES = 17 * 4096, /* The largest IP packet, its Ethernet header and the slot's own. */
	SEGMENTS_MAX = 48,	/* Of a frame that is sent: 64 KiB in buffers of 2 KiB, and some. */
};

#ifndef PACKET_IGNORE_OUTGOING
#define PACKET_IGNORE_OUTGOING 23
#endif

struct kernel_socket {
	int fd;
	struct rte_mempool *pool;
	uint8_t *ring;
	unsigned int slot; /* The next one to look at. */
};

/* --- Opening ------------------------------------------------------------------------------ */

static int set_option(int fd, int name, const void *value, socklen_t size)
{
	return setsockopt(fd, SOL_PACKET, name, value, size);
}

/* Sets the socket up before it is bound, so that no frame comes in in another form. */
static const char *configure(struct kernel_socket *socket)
{
	const struct tpacket_req ring = {
		.tp_block_size = SLOT_BYTES,
		.tp_block_nr = SLOTS,
		.tp_frame_size = SLOT_BYTES,
		.tp_frame_nr = SLOTS,
	};
	const int version = TPACKET_V2, one = 1;

	if (set_option(socket->fd, PACKET_VERSION, &version, sizeof(version)) != 0)
		return "PACKET_VERSION";
	if (set_option(socket->fd, PACKET_VNET_HDR, &one, sizeof(one)) != 0)
		return "PACKET_VNET_HDR";
	/* Since Linux 4.20; before that the host's own frames are seen as well. */
	(void)set_option(socket->fd, PACKET_IGNORE_OUTGOING, &one, sizeof(one));
	if (set_option(socket->fd, PACKET_RX_RING, &ring, sizeof(ring)) != 0)
		return "PACKET_RX_RING";
	socket->ring = mmap(NULL, (size_t)SLOTS * SLOT_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED,
		socket->fd, 0);
	return socket->ring == MAP_FAILED ? "mmap" : NULL;
}

static const char *attach(struct kernel_socket *socket, unsigned int device_index)
{
	const struct sockaddr_ll address = {
		.sll_family = AF_PACKET,
		.sll_protocol = htons(ETH_P_ALL),
		.sll_ifindex = (int)device_index,
	};

	if (bind(socket->fd, (const struct sockaddr *)&address, sizeof(address)) != 0)
		return "bind";
	return NULL;
}

struct kernel_socket *kernel_socket_open(
	unsigned int device_index, struct rte_mempool *pool, char *why, size_t why_size)
{
	struct kernel_socket *made = calloc(1, sizeof(*made));
	const char *step = "calloc";

	if (made == NULL)
		goto fail;
	made->pool = pool;
	made->ring = MAP_FAILED;
	made->fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
	step = "socket";
	if (made->fd < 0)
		goto fail;
	step = configure(made);
	if (step == NULL)
		step = attach(made, device_index);
	if (step == NULL)
		return made;
fail:
	snprintf(why, why_size, "packet socket, %s: %s%s", step, strerror(errno),
		errno == EPERM ? "; cordon-switchd needs CAP_NET_RAW" : "");
	kernel_socket_close(made);
	return NULL;
}

void kernel_socket_close(struct kernel_socket *socket)
{
	if (socket == NULL)
		return;
	if (socket->ring != MAP_FAILED)
		munmap(socket->ring, (size_t)SLOTS * SLOT_BYTES);
	if (socket->fd >= 0)
		close(socket->fd);
	free(socket);
}

/* --- Receiving ---------------------------------------------------------------------------- */

/* Copies n bytes behind what the frame holds, in further segments as need be. */
static bool append(
	struct rte_mempool *pool, struct rte_mbuf *frame, const uint8_t *data, uint32_t n)
{
	struct rte_mbuf *last = rte_pktmbuf_lastseg(frame);

	while (n > 0) {
		uint32_t now = RTE_MIN((uint32_t)rte_pktmbuf_tailroom(last), n);

		if (now == 0) {
			last->next = rte_pktmbuf_alloc(pool);
			if (last->next == NULL)
				return false;
			last = last->next;
			frame->nb_segs++;
			continue;
		}
		memcpy(rte_pktmbuf_mtod_offset(last, void *, last->data_len), data, now);
		last->data_len += now;
		frame->pkt_len += now;
		data += now;
		n -= now;
	}
	return true;
}

/* A frame with the slot's bytes, and with the tag that the kernel took out of them. */
static struct rte_mbuf *copy_slot(
	struct kernel_socket *socket, const struct tpacket2_hdr *slot, const uint8_t *data)
{
	struct rte_mbuf *frame = rte_pktmbuf_alloc(socket->pool);
	uint32_t n = slot->tp_snaplen, macs = 2 * RTE_ETHER_ADDR_LEN;

	if (frame == NULL)
		return NULL;
	if (slot->tp_status & TP_STATUS_VLAN_VALID && n >= macs) {
		uint16_t type = slot->tp_status & TP_STATUS_VLAN_TPID_VALID ? slot->tp_vlan_tpid
									    : ETH_P_8021Q;
		const uint16_t tag[2] = {htons(type), htons(slot->tp_vlan_tci)};

		if (!append(socket->pool, frame, data, macs) ||
			!append(socket->pool, frame, (const uint8_t *)tag, sizeof(tag)))
			goto free_frame;
		data += macs;
		n -= macs;
	}
	if (append(socket->pool, frame, data, n))
		return frame;
free_frame:
	rte_pktmbuf_free(frame);
	return NULL;
}

/* Notes what the header says is still to be done.  It knows nothing of the tag that is back. */
static void note_request(struct rte_mbuf *frame, const struct tpacket2_hdr *slot,
	const struct virtio_net_hdr *header)
{
	struct virtio_net_hdr request = *header;

	if (slot->tp_status & TP_STATUS_VLAN_VALID)
		request.csum_start += RTE_VLAN_HLEN;
	offload_note_guest_request(frame, &request);
	if (header->flags & VIRTIO_NET_HDR_F_DATA_VALID) /* The kernel's own word. */
		frame->ol_flags |= RTE_MBUF_F_RX_L4_CKSUM_GOOD;
}

uint16_t kernel_socket_rx(struct kernel_socket *socket, struct rte_mbuf **frames, uint16_t n)
{
	uint16_t received = 0;

	/* A bound, so that frames that are lost here do not keep the worker from other ports. */
	for (uint16_t looked = 0; looked < n; looked++) {
		struct tpacket2_hdr *slot =
			(void *)(socket->ring + (size_t)socket->slot * SLOT_BYTES);
		const uint8_t *data = (const uint8_t *)slot + slot->tp_mac;

		if (!(__atomic_load_n(&slot->tp_status, __ATOMIC_ACQUIRE) & TP_STATUS_USER))
			break;
		data = (const uint8_t *)slot + slot->tp_mac;
		struct rte_mbuf *frame =
			slot->tp_snaplen == slot->tp_len ? copy_slot(socket, slot, data) : NULL;
		if (likely(frame != NULL)) {
			note_request(
				frame, slot, (const void *)(data - sizeof(struct virtio_net_hdr)));
			frames[received++] = frame;
		}
		__atomic_store_n(&slot->tp_status, TP_STATUS_KERNEL, __ATOMIC_RELEASE);
		socket->slot = (socket->slot + 1) % SLOTS;
	}
	return received;
}

/* --- Sending ------------------------------------------------------------------------------ */

/* Says to the kernel what is still to be done. */
static void make_request(const struct rte_mbuf *frame, struct virtio_net_hdr *header)
{
	uint64_t sum = frame->ol_flags & RTE_MBUF_F_TX_L4_MASK;

	memset(header, 0, sizeof(*header));
	if (sum == 0)
		return;
	header->flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
	header->csum_start = frame->l2_len + frame->l3_len;
	header->csum_offset = sum == RTE_MBUF_F_TX_UDP_CKSUM
				      ? offsetof(struct rte_udp_hdr, dgram_cksum)
				      : offsetof(struct rte_tcp_hdr, cksum);
	if (!(frame->ol_flags & RTE_MBUF_F_TX_TCP_SEG))
		return;
	header->gso_type = frame->ol_flags & RTE_MBUF_F_TX_IPV4 ? VIRTIO_NET_HDR_GSO_TCPV4
								: VIRTIO_NET_HDR_GSO_TCPV6;
	header->gso_size = frame->tso_segsz;
	header->hdr_len = header->csum_start + frame->l4_len;
}

/* Up to a burst of frames as sendmmsg() wants them. */
struct batch {
	struct mmsghdr messages[BURST_MAX];
	struct virtio_net_hdr headers[BURST_MAX];
	struct iovec pieces[BURST_MAX + 2 * SEGMENTS_MAX];
	uint16_t n_messages, n_pieces;
};

/* Adds a frame; false if it has too many segments for what is left of the batch. */
static bool batch_add(struct batch *batch, struct rte_mbuf *frame)
{
	struct virtio_net_hdr *header = &batch->headers[batch->n_messages];
	struct iovec *first = &batch->pieces[batch->n_pieces], *piece = first;

	if (frame->nb_segs + 1u > RTE_DIM(batch->pieces) - batch->n_pieces)
		return false;
	make_request(frame, header);
	*piece++ = (struct iovec){header, sizeof(*header)};
	for (struct rte_mbuf *segment = frame; segment != NULL; segment = segment->next)
		*piece++ = (struct iovec){
			rte_pktmbuf_mtod(segment, void *), rte_pktmbuf_data_len(segment)};
	batch->n_pieces += piece - first;
	batch->messages[batch->n_messages++] =
		(struct mmsghdr){.msg_hdr = {.msg_iov = first, .msg_iovlen = piece - first}};
	return true;
}

uint16_t kernel_socket_tx(struct kernel_socket *socket, struct rte_mbuf **frames, uint16_t n)
{
	uint16_t sent = 0;

	while (sent < n) {
		struct batch batch;

		batch.n_messages = 0;
		batch.n_pieces = 0;
		while (batch.n_messages < BURST_MAX && sent + batch.n_messages < n &&
			batch_add(&batch, frames[sent + batch.n_messages]))
			;
		if (batch.n_messages == 0)
			break;
		int now = sendmmsg(socket->fd, batch.messages, batch.n_messages, MSG_DONTWAIT);
		if (now <= 0)
			break;
		sent += now;
	}
	rte_pktmbuf_free_bulk(frames, sent);
	return sent;
}
