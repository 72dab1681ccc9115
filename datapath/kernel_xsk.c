/* SPDX-License-Identifier: Apache-2.0 */
/*
 * AF_XDP sockets (Linux Documentation/networking/af_xdp.rst), by libxdp.  Called by port_kernel.c:
 * opening and closing on the main thread, rx and tx by workers.
 *
 * DPDK's driver for them is not used: as of 22.11 it does not close its socket when the device is
 * removed, so that it cannot be opened again; it can sleep for a second while it receives and spin
 * for as long as the device is busy while it sends; and it does not say why it fails.
 *
 * Memory.  The socket's memory is divided into chunks of a frame each.  The first half is for
 * receiving: a chunk is in the fill ring, with the kernel, or in the receive ring, and goes back to
 * the fill ring as soon as its frame has been copied.  The other half is for sending: a chunk is
 * on the stack of free ones, in the transmit ring, with the kernel, or in the completion ring.
 *
 * Waking the kernel.  In copy mode it sends only when it is called, at most 32 frames a call, and
 * may have no room.  A few calls are made; if frames are left, `unsent` says so, and whoever looks
 * at the socket next calls again.
 */
#include <config.h>

#include "datapath/kernel_xsk.h"

#include <errno.h>
#include <linux/if_link.h>
#include <linux/if_xdp.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>

#include <rte_branch_prediction.h>
#include <xdp/xsk.h>

enum {
	HALF = 2048, /* Chunks to receive into, and as many to send from. */
	RING = 2048,
	HEADROOM = 256, /* XDP's own, before a received frame. */
	KICKS = 8,	/* Calls to send one burst. */
	BUSY_ATTEMPTS = 20,
	BUSY_WAIT_MS = 10,
};

struct kernel_xsk {
	struct xsk_socket *socket;
	struct xsk_umem *umem;
	struct rte_mempool *pool;
	uint8_t *memory;
	uint32_t chunk_bytes;
	_Atomic bool unsent;

	/* The receiving thread's. */
	struct xsk_ring_cons rx __attribute__((aligned(64)));
	struct xsk_ring_prod fill;

	/* The sending thread's. */
	struct xsk_ring_prod tx __attribute__((aligned(64)));
	struct xsk_ring_cons completed;
	uint32_t n_free;
	uint64_t free[HALF];
};

/* --- Opening ------------------------------------------------------------------------------ */

static size_t memory_bytes(const struct kernel_xsk *xsk)
{
	return 2ul * HALF * xsk->chunk_bytes;
}

static int make_memory(struct kernel_xsk *xsk)
{
	xsk->memory = mmap(NULL, memory_bytes(xsk), PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	return xsk->memory == MAP_FAILED ? -errno : 0;
}

static int make_umem(struct kernel_xsk *xsk)
{
	const struct xsk_umem_config config = {
		.fill_size = RING,
		.comp_size = RING,
		.frame_size = xsk->chunk_bytes,
	};

	return xsk_umem__create(
		&xsk->umem, xsk->memory, memory_bytes(xsk), &xsk->fill, &xsk->completed, &config);
}

static int make_socket(struct kernel_xsk *xsk, const char *name, unsigned int queue, bool zero_copy)
{
	const struct xsk_socket_config config = {
		.rx_size = RING,
		.tx_size = RING,
		.libxdp_flags = XSK_LIBXDP_FLAGS__INHIBIT_PROG_LOAD,
		.bind_flags = XDP_USE_NEED_WAKEUP | (zero_copy ? 0 : XDP_COPY),
	};

	return xsk_socket__create(
		&xsk->socket, name, queue, xsk->umem, &xsk->rx, &xsk->tx, &config);
}

/* Makes both.  The kernel gives a queue free a moment after its last socket has been closed, so
 * busy is not the last word. */
static int open_queue(struct kernel_xsk *xsk, const char *name, unsigned int queue, bool zero_copy)
{
	for (unsigned int attempt = 0;; attempt++) {
		int error = make_umem(xsk);

		if (error == 0)
			error = make_socket(xsk, name, queue, zero_copy);
		if (error != -EBUSY || attempt == BUSY_ATTEMPTS)
			return error;
		(void)xsk_umem__delete(xsk->umem);
		xsk->umem = NULL;
		nanosleep(&(struct timespec){.tv_nsec = BUSY_WAIT_MS * 1000000}, NULL);
	}
}

/* Gives the first half to the kernel and notes the other one as free. */
static void divide_memory(struct kernel_xsk *xsk)
{
	uint32_t index;

	if (xsk_ring_prod__reserve(&xsk->fill, HALF, &index) != HALF)
		abort(); /* The ring is new and as large. */
	for (uint32_t i = 0; i < HALF; i++) {
		*xsk_ring_prod__fill_addr(&xsk->fill, index + i) = (uint64_t)i * xsk->chunk_bytes;
		xsk->free[i] = (uint64_t)(HALF + i) * xsk->chunk_bytes;
	}
	xsk->n_free = HALF;
	xsk_ring_prod__submit(&xsk->fill, HALF);
}

static const char *advice(int error)
{
	switch (error) {
	case -EPERM: return "; cordon-switchd needs CAP_NET_ADMIN, CAP_NET_RAW and CAP_BPF";
	case -EBUSY: return "; another program receives from the device";
	case -ENOBUFS:
	case -ENOMEM: return "; raise the limit of locked memory (ulimit -l)";
	default: return "";
	}
}

struct kernel_xsk *kernel_xsk_open(const struct kernel_device *device, unsigned int queue,
	bool zero_copy, struct rte_mempool *pool, char *why, size_t why_size)
{
	struct kernel_xsk *xsk = aligned_alloc(64, sizeof(*xsk));
	int error = -ENOMEM;

	if (xsk == NULL)
		goto fail;
	memset(xsk, 0, sizeof(*xsk));
	xsk->pool = pool;
	xsk->memory = MAP_FAILED;
	xsk->chunk_bytes = device->mtu + 14 + 8 + HEADROOM <= 2048 ? 2048 : 4096;
	error = make_memory(xsk);
	if (error == 0)
		error = open_queue(xsk, device->name, queue, zero_copy);
	if (error != 0)
		goto fail;
	divide_memory(xsk);
	return xsk;

fail:
	snprintf(why, why_size, "AF_XDP socket: %s%s", strerror(-error), advice(error));
	kernel_xsk_close(xsk);
	return NULL;
}

int kernel_xsk_descriptor(const struct kernel_xsk *xsk)
{
	return xsk_socket__fd(xsk->socket);
}

void kernel_xsk_close(struct kernel_xsk *xsk)
{
	if (xsk == NULL)
		return;
	if (xsk->socket != NULL)
		xsk_socket__delete(xsk->socket);
	if (xsk->umem != NULL)
		(void)xsk_umem__delete(xsk->umem);
	if (xsk->memory != MAP_FAILED)
		munmap(xsk->memory, memory_bytes(xsk));
	free(xsk);
}

/* --- Waking the kernel -------------------------------------------------------------------- */

/* Has the kernel send what is in the transmit ring. */
static void kick(struct kernel_xsk *xsk)
{
	for (unsigned int i = 0; i < KICKS; i++) {
		if (sendto(xsk_socket__fd(xsk->socket), NULL, 0, MSG_DONTWAIT, NULL, 0) >= 0) {
			atomic_store_explicit(&xsk->unsent, false, memory_order_relaxed);
			return;
		}
		/* It sends a few a call, and says with EAGAIN that there are more. */
		if (errno != EAGAIN && errno != EINTR)
			break;
	}
	atomic_store_explicit(
		&xsk->unsent, errno != ENXIO && errno != ENETDOWN, memory_order_relaxed);
}

/* --- Receiving ---------------------------------------------------------------------------- */

/* Appends n bytes to a frame whose segments were made for as many. */
static void copy_into(struct rte_mbuf *frame, const uint8_t *data, uint32_t n)
{
	struct rte_mbuf *segment = frame;

	frame->pkt_len = n;
	while (true) {
		uint32_t now = RTE_MIN((uint32_t)rte_pktmbuf_tailroom(segment), n);

		memcpy(rte_pktmbuf_mtod(segment, void *), data, now);
		segment->data_len = now;
		data += now;
		n -= now;
		if (n == 0)
			return;
		segment = segment->next;
	}
}

/* Chains as many buffers to a frame as n bytes need beyond its first one. */
static bool extend(struct rte_mempool *pool, struct rte_mbuf *frame, uint32_t n)
{
	struct rte_mbuf *last = frame;
	uint32_t room = rte_pktmbuf_tailroom(frame);

	while (room < n) {
		last->next = rte_pktmbuf_alloc(pool);
		if (last->next == NULL)
			return false;
		last = last->next;
		frame->nb_segs++;
		room += rte_pktmbuf_tailroom(last);
	}
	return true;
}

/* Copies the frames of n descriptors into buffers.  Returns how many there were buffers for. */
static uint16_t copy_frames(
	struct kernel_xsk *xsk, uint32_t index, struct rte_mbuf **frames, uint16_t n)
{
	for (uint16_t i = 0; i < n; i++) {
		const struct xdp_desc *descriptor = xsk_ring_cons__rx_desc(&xsk->rx, index + i);

		if (!extend(xsk->pool, frames[i], descriptor->len)) {
			rte_pktmbuf_free_bulk(frames + i, n - i);
			return i;
		}
		copy_into(frames[i], xsk_umem__get_data(xsk->memory, descriptor->addr),
			descriptor->len);
	}
	return n;
}

/* Gives n chunks back to the kernel.  There is room: the ring holds all of them. */
static void refill(struct kernel_xsk *xsk, uint32_t rx_index, uint16_t n)
{
	uint32_t index;

	if (unlikely(xsk_ring_prod__reserve(&xsk->fill, n, &index) != n))
		return;
	for (uint16_t i = 0; i < n; i++) {
		uint64_t address = xsk_ring_cons__rx_desc(&xsk->rx, rx_index + i)->addr;

		*xsk_ring_prod__fill_addr(&xsk->fill, index + i) =
			address - address % xsk->chunk_bytes;
	}
	xsk_ring_prod__submit(&xsk->fill, n);
}

uint16_t kernel_xsk_rx(struct kernel_xsk *xsk, struct rte_mbuf **frames, uint16_t n)
{
	uint32_t index = 0;

	if (unlikely(atomic_load_explicit(&xsk->unsent, memory_order_relaxed)))
		kick(xsk);
	n = xsk_ring_cons__peek(&xsk->rx, n, &index);
	if (n == 0) {
		/* Only a driver with zero copy that has run out of chunks asks for it. */
		if (unlikely(xsk_ring_prod__needs_wakeup(&xsk->fill)))
			(void)recvfrom(
				xsk_socket__fd(xsk->socket), NULL, 0, MSG_DONTWAIT, NULL, NULL);
		return 0;
	}
	if (unlikely(rte_pktmbuf_alloc_bulk(xsk->pool, frames, n) != 0)) {
		xsk_ring_cons__cancel(&xsk->rx, n);
		return 0;
	}
	uint16_t copied = copy_frames(xsk, index, frames, n);

	refill(xsk, index, n);
	xsk_ring_cons__release(&xsk->rx, n);
	return copied;
}

/* --- Sending ------------------------------------------------------------------------------ */

/* Takes back the chunks whose frames have been sent. */
static void reclaim(struct kernel_xsk *xsk)
{
	uint32_t index = 0;
	uint32_t n = xsk_ring_cons__peek(&xsk->completed, HALF - xsk->n_free, &index);

	for (uint32_t i = 0; i < n; i++)
		xsk->free[xsk->n_free++] = *xsk_ring_cons__comp_addr(&xsk->completed, index + i);
	xsk_ring_cons__release(&xsk->completed, n);
}

/* Copies a frame, chained or not, to `to`. */
static void copy_out(const struct rte_mbuf *frame, uint8_t *to)
{
	for (; frame != NULL; frame = frame->next) {
		memcpy(to, rte_pktmbuf_mtod(frame, const void *), rte_pktmbuf_data_len(frame));
		to += rte_pktmbuf_data_len(frame);
	}
}

uint16_t kernel_xsk_tx(struct kernel_xsk *xsk, struct rte_mbuf **frames, uint16_t n)
{
	uint32_t index, room;

	reclaim(xsk);
	room = xsk_prod_nb_free(&xsk->tx, n);
	n = RTE_MIN((uint32_t)n, RTE_MIN(room, xsk->n_free));
	if (n > 0 && xsk_ring_prod__reserve(&xsk->tx, n, &index) == n) {
		for (uint16_t i = 0; i < n; i++) {
			struct xdp_desc *descriptor = xsk_ring_prod__tx_desc(&xsk->tx, index + i);

			*descriptor = (struct xdp_desc){
				.addr = xsk->free[--xsk->n_free],
				.len = rte_pktmbuf_pkt_len(frames[i]),
			};
			copy_out(frames[i], xsk_umem__get_data(xsk->memory, descriptor->addr));
		}
		xsk_ring_prod__submit(&xsk->tx, n);
		rte_pktmbuf_free_bulk(frames, n);
	}
	if (xsk_ring_prod__needs_wakeup(&xsk->tx))
		kick(xsk);
	return n;
}
