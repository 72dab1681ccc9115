/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sending and receiving on one of the generator's ports.  Called by the generator's one thread.
 *
 * A burst of blank buffers is always at hand.  They are written, offered to the ring, and those
 * that it did not take stay blanks: a full ring costs no frame, and nothing is offered twice.
 */
#include "tests/bench/generator/side.h"

#include <stdio.h>
#include <string.h>

#include <rte_errno.h>
#include <rte_ethdev.h>
#include <rte_lcore.h>
#include <rte_prefetch.h>

enum { POOL_CACHE_FRAMES = 256, BUFFER_BYTES = 2048 + RTE_PKTMBUF_HEADROOM };

struct prepare {
	const struct frame_maker *maker;
	enum side_name side;
};

static void prepare_buffer(struct rte_mempool *pool, void *context, void *object, unsigned int i)
{
	const struct prepare *prepare = context;
	struct rte_mbuf *mbuf = object;

	(void)pool;
	(void)i;
	frame_prepare(
		prepare->maker, prepare->side, (uint8_t *)mbuf->buf_addr + RTE_PKTMBUF_HEADROOM);
}

static struct rte_mempool *pool_create(const char *kind, enum side_name name, unsigned int frames)
{
	char pool_name[32];

	snprintf(pool_name, sizeof(pool_name), "%s-%c", kind, 'A' + name);
	return rte_pktmbuf_pool_create(
		pool_name, frames, POOL_CACHE_FRAMES, 0, BUFFER_BYTES, (int)rte_socket_id());
}

static int start_port(uint16_t port, uint16_t queue_frames, struct rte_mempool *rx_pool)
{
	struct rte_eth_conf conf = {0};
	int error = rte_eth_dev_configure(port, 1, 1, &conf);

	if (!error)
		error = rte_eth_rx_queue_setup(port, 0, queue_frames, 0, NULL, rx_pool);
	if (!error)
		error = rte_eth_tx_queue_setup(port, 0, queue_frames, 0, NULL);
	if (!error)
		error = rte_eth_dev_start(port);
	return error;
}

int side_open(struct side *side, enum side_name name, uint16_t port, uint16_t queue_frames,
	const struct frame_maker *maker)
{
	unsigned int frames = queue_frames + 2u * POOL_CACHE_FRAMES + 2u * SIDE_BURST;
	struct prepare prepare = {maker, name};
	struct rte_mempool *rx_pool = pool_create("rx", name, frames);
	int error;

	*side = (struct side){.name = name, .port = port};
	side->tx_pool = pool_create("tx", name, frames);
	if (!rx_pool || !side->tx_pool) {
		fprintf(stderr, "generator: no memory for frames: %s\n", rte_strerror(rte_errno));
		return -rte_errno;
	}
	rte_mempool_obj_iter(side->tx_pool, prepare_buffer, &prepare);
	error = start_port(port, queue_frames, rx_pool);
	if (error) {
		fprintf(stderr, "generator: port %c does not start: %s\n", 'A' + name,
			rte_strerror(-error));
		return error;
	}
	return rte_pktmbuf_alloc_bulk(side->tx_pool, side->blank, SIDE_BURST);
}

void side_close(struct side *side)
{
	rte_eth_dev_stop(side->port);
	rte_eth_dev_close(side->port);
}

/* Offers the first n blanks, and makes up for those that the ring took. */
static unsigned int offer(struct side *side, unsigned int n)
{
	struct rte_mbuf **blank = side->blank;
	unsigned int taken = rte_eth_tx_burst(side->port, 0, blank, (uint16_t)n);

	if (taken == 0)
		return 0;
	memmove(blank, blank + taken, (SIDE_BURST - taken) * sizeof(*blank));
	if (rte_pktmbuf_alloc_bulk(side->tx_pool, blank + SIDE_BURST - taken, taken))
		rte_panic("the pool is larger than the ring, and yet empty\n");
	side->sent += taken;
	return taken;
}

static uint8_t *blank_frame(struct side *side, unsigned int i, uint16_t bytes)
{
	struct rte_mbuf *mbuf = side->blank[i];

	mbuf->data_len = bytes;
	mbuf->pkt_len = bytes;
	return rte_pktmbuf_mtod(mbuf, uint8_t *);
}

static uint32_t flow_after(const struct frame_maker *maker, uint32_t flow)
{
	return flow + 1 == maker->traffic.n_flows ? 0 : flow + 1;
}

static unsigned int size_after(const struct frame_maker *maker, unsigned int size)
{
	return size + 1 == maker->traffic.n_sizes ? 0 : size + 1;
}

void side_send(struct side *side, struct frame_maker *maker)
{
	const uint16_t *sizes = maker->traffic.sizes;
	uint32_t flow = side->next_flow;
	unsigned int size = side->next_size, taken;

	for (unsigned int i = 0; i < SIDE_BURST; i++) {
		uint8_t *data = blank_frame(side, i, sizes[size]);

		frame_write(maker, side->name, flow, sizes[size], data);
		flow = flow_after(maker, flow);
		size = size_after(maker, size);
	}
	taken = offer(side, SIDE_BURST);
	for (unsigned int i = 0; i < taken; i++) {
		frame_sent(
			maker, side->name, side->next_flow, sizes[side->next_size], TCP_DATA_FRAME);
		side->next_flow = flow_after(maker, side->next_flow);
		side->next_size = size_after(maker, side->next_size);
	}
}

unsigned int side_send_step(struct side *side, struct frame_maker *maker, enum tcp_step step,
	uint32_t first, unsigned int n)
{
	uint16_t bytes = frame_bytes_min(&maker->traffic);

	for (unsigned int i = 0; i < n; i++) {
		uint8_t *data = blank_frame(side, i, bytes);

		if (maker->tcp)
			frame_write_tcp(maker, side->name, first + i, bytes, step, data);
		else
			frame_write(maker, side->name, first + i, bytes, data);
	}
	return offer(side, n);
}

unsigned int side_receive(struct side *side, struct frame_maker *maker)
{
	struct rte_mbuf *frames[SIDE_BURST];
	unsigned int n = rte_eth_rx_burst(side->port, 0, frames, SIDE_BURST);

	for (unsigned int i = 0; i < n; i++)
		rte_prefetch0(rte_pktmbuf_mtod(frames[i], void *));
	for (unsigned int i = 0; i < n; i++) {
		const uint8_t *data = rte_pktmbuf_mtod(frames[i], const uint8_t *);

		if (!frame_is_ours(maker, side->name, data, frames[i]->data_len)) {
			side->foreign++;
			continue;
		}
		side->received++;
		if (maker->tcp)
			frame_heard(maker, side->name, data);
	}
	rte_pktmbuf_free_bulk(frames, n);
	return n;
}
