/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ports, whatever is behind them: opening and closing (the main thread), receiving and sending
 * (workers), counting.
 */
#include <config.h>

#include "datapath/port.h"

#include <errno.h>
#include <linux/membarrier.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <rte_branch_prediction.h>
#include <rte_common.h>
#include <rte_ether.h>
#include <rte_pause.h>

#include "datapath/offload.h"
#include "smap.h"

/* Pieces that a burst is shaped into before they are sent: two frames cut as small as allowed. */
enum { SHAPED_MAX = 2 * OFFLOAD_PIECES_MAX };

/* How often a thread that waits for a worker looks before it sleeps. */
enum { SPINS_MAX = 1000 };

/* --- The gate ------------------------------------------------------------------------------- */
/*
 * A worker says that it is within a queue, then looks whether the port is running; a thread that
 * suspends the port says that it is not running, then looks whether a worker is within.  Between
 * its store and its load each side needs a full barrier.  Suspending is rare and a worker passes
 * the gate at each poll, so the suspending thread makes the barrier for all threads
 * (membarrier(2)), and workers need none.  Where the system call is refused, workers make their
 * own: all four accesses are sequentially consistent then.
 */

/* False if the kernel does not have such barriers.  Repeating it costs nothing. */
static bool barrier_is_ours(void)
{
	return syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0) == 0;
}

void port_prepare_process(void)
{
	(void)barrier_is_ours();
}

static inline bool gate_enter(struct port *port, _Atomic uint32_t *within)
{
	if (unlikely(port->fenced)) {
		atomic_store_explicit(within, 1, memory_order_seq_cst);
		return atomic_load_explicit(&port->running, memory_order_seq_cst);
	}
	atomic_store_explicit(within, 1, memory_order_relaxed);
	atomic_signal_fence(memory_order_seq_cst);
	return atomic_load_explicit(&port->running, memory_order_acquire);
}

static inline void gate_leave(_Atomic uint32_t *within)
{
	atomic_store_explicit(within, 0, memory_order_release);
}

/* A worker stays for microseconds, unless it has lost its CPU, perhaps to us: then it needs it. */
static void wait_until_left(_Atomic uint32_t *within)
{
	for (unsigned int i = 0; atomic_load_explicit(within, memory_order_seq_cst) != 0; i++) {
		if (i < SPINS_MAX)
			rte_pause();
		else
			nanosleep(&(struct timespec){.tv_nsec = 50000}, NULL);
	}
}

void port_resume(struct port *port)
{
	atomic_store_explicit(&port->running, true, memory_order_release);
}

void port_suspend(struct port *port)
{
	atomic_store_explicit(&port->running, false, memory_order_seq_cst);
	if (!port->fenced)
		(void)syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0);
	for (unsigned int i = 0; i < PORT_QUEUES_MAX; i++) {
		wait_until_left(&port->gates[i].receiving);
		wait_until_left(&port->gates[i].sending);
	}
}

/* --- Opening and closing -------------------------------------------------------------------- */

const struct port_backend *port_backend_find(const char *type)
{
	static const struct port_backend *const backends[] = {
		&port_vhost, &port_kernel, &port_internal, &port_dpdk};

	for (size_t i = 0; i < RTE_DIM(backends); i++)
		if (strcmp(backends[i]->type, type) == 0)
			return backends[i];
	return NULL;
}

void port_settings_free(struct port_settings *settings)
{
	if (settings == NULL)
		return;
	free(settings->macs);
	free(settings->addresses);
	free(settings->vm_id);
	free(settings->vm_name);
	free(settings->tags);
	free(settings);
}

static void port_free(struct port *port)
{
	port_settings_free(atomic_load(&port->settings));
	smap_destroy(port->options);
	free(port->options);
	free(port);
}

/* Makes a port with nothing behind it yet. */
static struct port *port_new(const struct port_environment *environment, uint16_t number,
	const char *name, struct smap *options, struct port_settings *settings)
{
	struct port *port = aligned_alloc(RTE_CACHE_LINE_SIZE, sizeof(*port));

	if (port == NULL)
		return NULL;
	memset(port, 0, sizeof(*port));
	port->number = number;
	port->environment = environment;
	port->options = options;
	snprintf(port->name, sizeof(port->name), "%s", name);
	atomic_init(&port->settings, settings);
	port->fenced = !barrier_is_ours();
	for (unsigned int i = 0; i < PORT_QUEUES_MAX; i++)
		rte_spinlock_init(&port->tx_lock[i]);
	return port;
}

static bool option_is_known(const struct port_backend *backend, const char *key)
{
	for (const char *const *known = backend->options; *known != NULL; known++)
		if (strcmp(*known, key) == 0)
			return true;
	return false;
}

/* An option that nobody reads is a typing mistake: refuses it, and says which ones there are. */
static int check_options(const struct port *port, char *error, size_t error_size)
{
	struct smap_node *node;

	SMAP_FOR_EACH (node, port->options) {
		if (option_is_known(port->backend, node->key))
			continue;
		size_t n = snprintf(error, error_size,
			"option \"%s\" is not known to ports of type %s; known are:", node->key,
			port->backend->type);
		for (const char *const *known = port->backend->options; *known != NULL; known++)
			if (n < error_size)
				n += snprintf(error + n, error_size - n, " %s", *known);
		return -EINVAL;
	}
	return 0;
}

int port_option_number(const struct port *port, const char *key, unsigned int least,
	unsigned int most, unsigned int *value, char *error, size_t error_size)
{
	const char *text = smap_get(port->options, key);
	unsigned long number;
	char *end;

	if (text == NULL)
		return 0;
	errno = 0;
	number = strtoul(text, &end, 10);
	if (errno != 0 || end == text || *end != '\0' || *text == '-' || number < least ||
		number > most) {
		snprintf(error, error_size, "option %s=%s: must be a whole number from %u to %u",
			key, text, least, most);
		return -EINVAL;
	}
	*value = number;
	return 0;
}

struct port *port_open(const struct port_environment *environment, uint16_t number,
	const char *name, const char *type, struct smap *options, struct port_settings *settings,
	char *error, size_t error_size)
{
	char why[512] = "there is not enough memory";
	struct port *port = port_new(environment, number, name, options, settings);

	if (port == NULL) {
		snprintf(error, error_size, "port %s: %s", name, why);
		port_settings_free(settings);
		smap_destroy(options);
		free(options);
		return NULL;
	}
	port->backend = port_backend_find(type);
	if (port->backend == NULL) {
		snprintf(why, sizeof(why),
			"type \"%s\" is not supported; use vhost, kernel, internal or dpdk", type);
		goto free_port;
	}
	if (strlen(name) >= PORT_NAME_MAX || *name == '\0') {
		snprintf(why, sizeof(why), "a name must have from 1 to %d characters",
			PORT_NAME_MAX - 1);
		goto free_port;
	}
	if (check_options(port, why, sizeof(why)) != 0 ||
		port->backend->open(port, why, sizeof(why)) != 0)
		goto free_port;
	port->backend->poll_status(port);
	return port;

free_port:
	snprintf(error, error_size, "port %s: %s", name, why);
	port_free(port);
	return NULL;
}

void port_close(struct port *port)
{
	if (port == NULL)
		return;
	port->backend->close(port);
	port_free(port);
}

void port_poll_status(struct port *port)
{
	port->backend->poll_status(port);
}

/* --- Counting ------------------------------------------------------------------------------- */

/* Adds to a counter that has one writer and may be read at any time. */
static inline void count(uint64_t *counter, uint64_t n)
{
	__atomic_store_n(counter, *counter + n, __ATOMIC_RELAXED);
}

static inline uint64_t counted(const uint64_t *counter)
{
	return __atomic_load_n(counter, __ATOMIC_RELAXED);
}

struct port_queue_stats port_stats(const struct port *port)
{
	struct port_queue_stats sum = {0};

	for (unsigned int i = 0; i < PORT_QUEUES_MAX; i++) {
		const struct port_queue_stats *queue = &port->queues[i];

		sum.rx_packets += counted(&queue->rx_packets);
		sum.rx_bytes += counted(&queue->rx_bytes);
		sum.tx_packets += counted(&queue->tx_packets);
		sum.tx_bytes += counted(&queue->tx_bytes);
		sum.tx_dropped += counted(&queue->tx_dropped);
		sum.tx_cut += counted(&queue->tx_cut);
	}
	return sum;
}

/* --- Receiving and sending ------------------------------------------------------------------ */

void port_count_injected(struct port *port, uint16_t queue, const struct rte_mbuf *frame)
{
	count(&port->queues[queue].rx_packets, 1);
	count(&port->queues[queue].rx_bytes, rte_pktmbuf_pkt_len(frame));
}

uint16_t port_rx(struct port *port, uint16_t queue, struct rte_mbuf **frames, uint16_t n)
{
	struct port_queue_stats *stats = &port->queues[queue];
	struct port_gate *gate = &port->gates[queue];
	uint64_t bytes = 0;

	if (likely(gate_enter(port, &gate->receiving)))
		n = port_backend_of(port)->rx(port, queue, frames, n);
	else
		n = 0;
	if (n == 0) {
		gate_leave(&gate->receiving);
		return 0;
	}
	for (uint16_t i = 0; i < n; i++)
		bytes += rte_pktmbuf_pkt_len(frames[i]);
	count(&stats->rx_packets, n);
	count(&stats->rx_bytes, bytes);
	return n;
}

void port_rx_done(struct port *port, uint16_t queue)
{
	const struct port_backend *backend = port_backend_of(port);

	if (backend->rx_done != NULL)
		backend->rx_done(port, queue);
	gate_leave(&port->gates[queue].receiving);
}

/* One burst, as the loop over its frames sees it. */
struct burst {
	uint64_t flags, bytes;
	uint32_t longest;
	uint16_t segments; /* Bits set beyond the lowest: a chain is among them. */
};

static inline struct burst survey(struct rte_mbuf *const *frames, uint16_t n)
{
	struct burst burst = {0};

	for (uint16_t i = 0; i < n; i++) {
		const struct rte_mbuf *frame = frames[i];

		burst.flags |= frame->ol_flags;
		burst.bytes += rte_pktmbuf_pkt_len(frame);
		burst.longest = RTE_MAX(burst.longest, rte_pktmbuf_pkt_len(frame));
		burst.segments |= frame->nb_segs ^ 1;
	}
	return burst;
}

/* True if each frame of the burst can go out as it is.  May say no of frames that can. */
static inline bool fits(const struct port *port, const struct burst *burst, uint32_t offloads)
{
	const uint32_t chains = PORT_TX_SEGMENTS | PORT_TX_COPIES;
	uint64_t refused = offloads & PORT_TX_CHECKSUM ? OFFLOAD_CUT : OFFLOAD_FLAGS;

	return !(burst->flags & refused) &&
	       burst->longest <= (uint32_t)port->mtu + RTE_ETHER_HDR_LEN &&
	       (burst->segments == 0 || (offloads & chains) == chains);
}

/* Frees what the back end did not take. */
static void drop_refused(struct port *port, struct port_queue_stats *stats,
	struct rte_mbuf **frames, uint16_t n, uint64_t *bytes, uint64_t drops[DROP_N_REASONS])
{
	bool up = atomic_load_explicit(&port->link_up, memory_order_relaxed);

	for (uint16_t i = 0; i < n; i++)
		*bytes -= rte_pktmbuf_pkt_len(frames[i]);
	rte_pktmbuf_free_bulk(frames, n);
	drops[up ? DROP_OUTPUT_FULL : DROP_OUTPUT_DOWN] += n;
	count(&stats->tx_dropped, n);
}

/* Gives frames that fit to the back end. */
static inline void give(struct port *port, uint16_t queue, struct rte_mbuf **frames, uint16_t n,
	uint64_t bytes, uint64_t drops[DROP_N_REASONS])
{
	struct port_queue_stats *stats = &port->queues[queue];
	uint16_t sent = port_backend_of(port)->tx(port, queue, frames, n);

	if (unlikely(sent < n))
		drop_refused(port, stats, frames + sent, n - sent, &bytes, drops);
	count(&stats->tx_packets, sent);
	count(&stats->tx_bytes, bytes);
}

/* Brings frames into shape and sends them. */
static __attribute__((noinline)) void shape_and_send(struct port *port,
	const struct port_environment *environment, uint16_t queue, struct rte_mbuf **frames,
	uint16_t n, uint32_t offloads, uint64_t drops[DROP_N_REASONS])
{
	struct rte_mbuf *shaped[SHAPED_MAX];

	for (uint16_t at = 0, taken; at < n; at += taken) {
		uint64_t bytes = 0;
		uint64_t before =
			drops[DROP_OUTPUT_MTU] + drops[DROP_SEGMENTATION] + drops[DROP_NO_BUFFER];
		uint16_t made = offload_shape(environment, offloads, port->mtu, frames + at, n - at,
			shaped, SHAPED_MAX, &taken, drops);

		uint64_t dropped = drops[DROP_OUTPUT_MTU] + drops[DROP_SEGMENTATION] +
				   drops[DROP_NO_BUFFER] - before;

		count(&port->queues[queue].tx_dropped, dropped);
		count(&port->queues[queue].tx_cut, made + dropped - taken);
		for (uint16_t i = 0; i < made; i++)
			bytes += rte_pktmbuf_pkt_len(shaped[i]);
		if (made > 0)
			give(port, queue, shaped, made, bytes, drops);
	}
}

static inline void shape_or_send(struct port *port, const struct port_environment *environment,
	uint16_t queue, struct rte_mbuf **frames, uint16_t n, uint64_t drops[DROP_N_REASONS])
{
	uint32_t offloads = atomic_load_explicit(&port->offloads, memory_order_relaxed);
	struct burst burst = survey(frames, n);

	if (likely(fits(port, &burst, offloads)))
		give(port, queue, frames, n, burst.bytes, drops);
	else
		shape_and_send(port, environment, queue, frames, n, offloads, drops);
}

static void drop_all(struct port *port, uint16_t queue, struct rte_mbuf **frames, uint16_t n,
	uint64_t drops[DROP_N_REASONS])
{
	rte_pktmbuf_free_bulk(frames, n);
	drops[DROP_OUTPUT_DOWN] += n;
	count(&port->queues[queue].tx_dropped, n);
}

void port_tx(struct port *port, const struct port_environment *environment, unsigned int worker,
	struct rte_mbuf **frames, uint16_t n, uint64_t drops[DROP_N_REASONS])
{
	uint16_t queue = worker % port->n_tx_queues;
	bool shared = environment->n_workers > port->n_tx_queues;
	struct port_gate *gate = &port->gates[queue];

	if (shared)
		rte_spinlock_lock(&port->tx_lock[queue]);
	if (likely(gate_enter(port, &gate->sending) &&
		    atomic_load_explicit(&port->link_up, memory_order_relaxed)))
		shape_or_send(port, environment, queue, frames, n, drops);
	else
		drop_all(port, queue, frames, n, drops);
	gate_leave(&gate->sending);
	if (shared)
		rte_spinlock_unlock(&port->tx_lock[queue]);
}

void port_notify(struct port *port, unsigned int queue, enum port_work work)
{
	_Atomic uint32_t *within;
	bool shared = false;

	if (work == PORT_SENT) {
		queue %= port->n_tx_queues;
		shared = port->environment->n_workers > port->n_tx_queues;
		within = &port->gates[queue].sending;
	} else {
		within = &port->gates[queue].receiving;
	}
	if (shared)
		rte_spinlock_lock(&port->tx_lock[queue]);
	if (likely(gate_enter(port, within)))
		port_backend_of(port)->notify(port, queue, work);
	gate_leave(within);
	if (shared)
		rte_spinlock_unlock(&port->tx_lock[queue]);
}
