/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ports of type "vhost": a guest's virtio-net device, by vhost-user.  The guest's VMM listens on
 * the socket and the switch connects, again and again for as long as the port is there, so that
 * either side may be restarted.
 *
 * Threads.  librte_vhost has threads of its own that connect, speak the protocol and call back.
 * They publish the device's number, `vid`, and which rings are enabled; workers read these with no
 * lock.  A device that goes away is freed as soon as device_gone() has returned, so that suspends
 * the port: no worker is within rx or tx then, and none enters until device_ready().  It does not
 * wait for the main thread, which may be waiting for the callback in rte_vhost_driver_unregister().
 * A ring that is only disabled stays valid: the library checks it under its own lock.
 *
 * Reconnecting is done here, by the main thread, once a second while nobody is connected.  The
 * library's own reconnection is off: when a guest goes at the very moment at which its port is
 * closed, rte_vhost_driver_unregister() frees the socket that the reading thread then queues to be
 * connected again.
 *
 * The registry is how a callback finds the port of its socket.  Its lock is held while a device
 * comes or goes, and never while calling a function of librte_vhost that takes a lock.
 *
 * Virtio features, beyond what the library has by itself: HOST_UFO and GUEST_UFO are off, since
 * nothing here cuts UDP; GUEST_ANNOUNCE is left to the VMM.  Indirect descriptors, in-order, packed
 * rings, mergeable buffers, checksum and TSO both ways are on, as the guest likes.  No IOMMU, no
 * post-copy.
 *
 * Offloads.  Frames come in with the request that the guest wrote into the virtio header, which
 * offload_note_guest_request() checks.  What may be left to the guest is what it has negotiated:
 * without GUEST_CSUM it gets complete checksums, without GUEST_TSO4/6 small frames.
 */
#include <config.h>

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <rte_branch_prediction.h>
#include <rte_vhost.h>

#include "datapath/offload.h"
#include "datapath/port.h"
#include "openvswitch/vlog.h"
#include "smap.h"

VLOG_DEFINE_THIS_MODULE(port_vhost);

static struct vlog_rate_limit rate_limit = VLOG_RATE_LIMIT_INIT(1, 5);

enum { MTU_DEFAULT = 1500, MTU_MAX = 9216 };

#define FEATURE(name) (UINT64_C(1) << VIRTIO_NET_F_##name)

struct port_vhost {
	struct port *port;
	struct port_vhost *next; /* In the registry, under its lock. */
	char socket[sizeof(((struct sockaddr_un *)NULL)->sun_path)];

	/* The callbacks write, workers and the main thread read. */
	_Atomic int vid;		  /* -1: no guest. */
	_Atomic uint32_t from_guest;	  /* Bit per queue pair: its transmit ring is enabled. */
	_Atomic uint32_t to_guest;	  /* Its receive ring. */
	_Atomic uint32_t unquieted;	  /* The guest still kicks us at this transmit ring. */
	_Atomic uint64_t features;	  /* As negotiated. */
	_Atomic unsigned int connections; /* Since the port was opened. */
	_Atomic bool connected;		  /* A VMM has accepted; the guest may not be ready yet. */

	bool registered; /* With librte_vhost.  Main thread. */
};

/* All vhost ports. */
static struct vhost_registry {
	pthread_mutex_t lock;
	struct port_vhost *first;
} registry = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* --- The registry --------------------------------------------------------------------------- */

static void registry_add(struct port_vhost *vhost)
{
	pthread_mutex_lock(&registry.lock);
	vhost->next = registry.first;
	registry.first = vhost;
	pthread_mutex_unlock(&registry.lock);
}

static void registry_remove(struct port_vhost *vhost)
{
	struct port_vhost **link;

	pthread_mutex_lock(&registry.lock);
	for (link = &registry.first; *link != NULL; link = &(*link)->next)
		if (*link == vhost) {
			*link = vhost->next;
			break;
		}
	pthread_mutex_unlock(&registry.lock);
}

/* The port on whose socket device `vid` is, with the registry locked. */
static struct port_vhost *registry_find(int vid)
{
	char socket[PATH_MAX];
	struct port_vhost *vhost;

	if (rte_vhost_get_ifname(vid, socket, sizeof(socket)) != 0)
		return NULL;
	for (vhost = registry.first; vhost != NULL; vhost = vhost->next)
		if (strcmp(vhost->socket, socket) == 0)
			return vhost;
	return NULL;
}

/* --- Callbacks, on librte_vhost's threads --------------------------------------------------- */

/* What the guest takes unfinished. */
static uint32_t negotiated_offloads(uint64_t features)
{
	uint32_t offloads = PORT_TX_SEGMENTS;

	if (!(features & FEATURE(GUEST_CSUM)))
		return offloads;
	offloads |= PORT_TX_CHECKSUM;
	if (features & FEATURE(GUEST_TSO4))
		offloads |= PORT_TX_TSO4;
	if (features & FEATURE(GUEST_TSO6))
		offloads |= PORT_TX_TSO6;
	return offloads;
}

static int device_ready(int vid)
{
	uint64_t features = 0;

	(void)rte_vhost_get_negotiated_features(vid, &features);
	pthread_mutex_lock(&registry.lock);
	struct port_vhost *vhost = registry_find(vid);
	if (vhost != NULL) {
		atomic_store(&vhost->features, features);
		atomic_store(&vhost->port->offloads, negotiated_offloads(features));
		atomic_store(&vhost->unquieted, UINT32_MAX);
		atomic_store(&vhost->vid, vid);
		atomic_fetch_add(&vhost->connections, 1);
		port_resume(vhost->port);
		atomic_store(&vhost->port->link_up, true);
		VLOG_INFO("port %s: guest connected at %s", vhost->port->name, vhost->socket);
	}
	pthread_mutex_unlock(&registry.lock);
	return vhost != NULL ? 0 : -1;
}

static void device_gone(int vid)
{
	pthread_mutex_lock(&registry.lock);
	struct port_vhost *vhost = registry_find(vid);
	if (vhost != NULL && atomic_load(&vhost->vid) == vid) {
		atomic_store(&vhost->port->link_up, false);
		port_suspend(vhost->port);
		atomic_store(&vhost->vid, -1);
		VLOG_INFO("port %s: guest left %s", vhost->port->name, vhost->socket);
	}
	pthread_mutex_unlock(&registry.lock);
}

/* A ring is enabled or disabled.  Comes before device_ready() too, for the first rings. */
static int ring_changed(int vid, uint16_t ring, int enable)
{
	pthread_mutex_lock(&registry.lock);
	struct port_vhost *vhost = registry_find(vid);
	if (vhost != NULL && ring / 2 < PORT_QUEUES_MAX) {
		_Atomic uint32_t *mask = ring % 2 != 0 ? &vhost->from_guest : &vhost->to_guest;
		uint32_t bit = UINT32_C(1) << ring / 2;

		if (enable) {
			atomic_fetch_or(&vhost->unquieted, bit);
			atomic_fetch_or(mask, bit);
		} else {
			atomic_fetch_and(mask, ~bit);
		}
	}
	pthread_mutex_unlock(&registry.lock);
	return 0;
}

static void connection_gone(int vid)
{
	pthread_mutex_lock(&registry.lock);
	struct port_vhost *vhost = registry_find(vid);
	if (vhost != NULL) {
		atomic_store(&vhost->from_guest, 0);
		atomic_store(&vhost->to_guest, 0);
		atomic_store(&vhost->connected, false);
	}
	pthread_mutex_unlock(&registry.lock);
}

static const struct rte_vhost_device_ops vhost_callbacks = {
	.new_device = device_ready,
	.destroy_device = device_gone,
	.vring_state_changed = ring_changed,
	.destroy_connection = connection_gone,
};

/* --- Frames --------------------------------------------------------------------------------- */

/* We poll, so the guest need not tell us of frames.  Done here and not in ring_changed(), which the
 * library calls with the ring's lock held. */
static __attribute__((noinline)) void quiet_ring(struct port_vhost *vhost, int vid, uint16_t queue)
{
	if (rte_vhost_enable_guest_notification(vid, 2 * queue + 1, 0) == 0)
		atomic_fetch_and(&vhost->unquieted, ~(UINT32_C(1) << queue));
}

static uint16_t vhost_rx(struct port *port, uint16_t queue, struct rte_mbuf **frames, uint16_t n)
{
	struct port_vhost *vhost = port->private;
	uint32_t bit = UINT32_C(1) << queue;
	int vid = atomic_load_explicit(&vhost->vid, memory_order_relaxed);

	if (!(atomic_load_explicit(&vhost->from_guest, memory_order_relaxed) & bit))
		return 0;
	if (unlikely(atomic_load_explicit(&vhost->unquieted, memory_order_relaxed) & bit))
		quiet_ring(vhost, vid, queue);
	n = rte_vhost_dequeue_burst(vid, 2 * queue + 1, port->environment->pool, frames, n);
	for (uint16_t i = 0; i < n; i++)
		offload_note_guest_request(frames[i]);
	return n;
}

/* The queue pair to use: the worker's own if the guest has enabled it, else one that it has.
 * Workers that meet at one ring take turns by the library's lock. */
static inline uint16_t choose_ring(uint32_t enabled, uint16_t queue)
{
	if (likely(enabled & UINT32_C(1) << queue))
		return queue;
	return __builtin_ctz(enabled);
}

static uint16_t vhost_tx(struct port *port, uint16_t queue, struct rte_mbuf **frames, uint16_t n)
{
	struct port_vhost *vhost = port->private;
	int vid = atomic_load_explicit(&vhost->vid, memory_order_relaxed);
	uint32_t enabled = atomic_load_explicit(&vhost->to_guest, memory_order_relaxed);
	uint16_t sent = 0;

	if (unlikely(enabled == 0))
		return 0;
	queue = choose_ring(enabled, queue);
	/* The library takes at most a burst of its own size at once. */
	while (sent < n) {
		uint16_t now = rte_vhost_enqueue_burst(vid, 2 * queue, frames + sent, n - sent);

		if (now == 0)
			break;
		sent += now;
	}
	rte_pktmbuf_free_bulk(frames, sent);
	return sent;
}

/* --- The back end --------------------------------------------------------------------------- */

static unsigned int count_bits(uint32_t mask)
{
	return __builtin_popcount(mask);
}

static int choose_socket(
	const struct port *port, struct port_vhost *vhost, char *error, size_t error_size)
{
	const char *socket = smap_get(port->options, "socket");
	char path[PATH_MAX];

	if (socket == NULL) {
		snprintf(path, sizeof(path), "%s/vhost", port->environment->run_directory);
		if (mkdir(path, 0750) != 0 && errno != EEXIST) {
			snprintf(error, error_size, "cannot make directory %.300s: %s", path,
				strerror(errno));
			return -errno;
		}
		snprintf(path, sizeof(path), "%s/vhost/%s.sock", port->environment->run_directory,
			port->name);
		socket = path;
	}
	if (*socket != '/' || strlen(socket) >= sizeof(vhost->socket)) {
		snprintf(error, error_size,
			"socket %.200s: must be an absolute path of at most %zu characters; choose "
			"another with option socket",
			socket, sizeof(vhost->socket) - 1);
		return -ENAMETOOLONG;
	}
	snprintf(vhost->socket, sizeof(vhost->socket), "%s", socket);
	return 0;
}

static void stop_driver(struct port_vhost *vhost)
{
	if (vhost->registered)
		(void)rte_vhost_driver_unregister(vhost->socket);
	vhost->registered = false;
}

/* DPDK's name for the log of the vhost-user protocol. */
static int vhost_log_type(void)
{
	return rte_log_register("lib.vhost.config");
}

/* Tries to connect.  That nobody listens is no news, and not logged. */
static void try_to_connect(struct port_vhost *vhost)
{
	int level = rte_log_get_level(vhost_log_type());

	rte_log_set_level(vhost_log_type(), RTE_LOG_EMERG);
	atomic_store(&vhost->connected, true); /* Before the callbacks can say otherwise. */
	if (rte_vhost_driver_start(vhost->socket) != 0)
		atomic_store(&vhost->connected, false);
	rte_log_set_level(vhost_log_type(), level);
}

/* Takes the socket to the library and begins to connect. */
static int start_driver(struct port_vhost *vhost, char *error, size_t error_size)
{
	const uint64_t flags = RTE_VHOST_USER_CLIENT | RTE_VHOST_USER_NO_RECONNECT |
			       RTE_VHOST_USER_NET_COMPLIANT_OL_FLAGS;

	if (rte_vhost_driver_register(vhost->socket, flags) != 0) {
		snprintf(error, error_size,
			"librte_vhost refuses socket %s (the log says why; 1024 are possible)",
			vhost->socket);
		return -EINVAL;
	}
	vhost->registered = true;
	if (rte_vhost_driver_disable_features(
		    vhost->socket, FEATURE(HOST_UFO) | FEATURE(GUEST_UFO)) != 0 ||
		rte_vhost_driver_callback_register(vhost->socket, &vhost_callbacks) != 0) {
		snprintf(error, error_size, "vhost cannot be started on %s; the log says why",
			vhost->socket);
		stop_driver(vhost);
		return -EINVAL;
	}
	try_to_connect(vhost);
	return 0;
}

/* The library gives a socket up when its connection ends or fails: it is taken there anew. */
static void reconnect(struct port_vhost *vhost)
{
	char error[256];

	stop_driver(vhost);
	if (start_driver(vhost, error, sizeof(error)) != 0)
		VLOG_WARN_RL(&rate_limit, "port %s: %s", vhost->port->name, error);
}

static void vhost_poll_status(struct port *port)
{
	struct port_vhost *vhost = port->private;
	uint64_t features = atomic_load(&vhost->features);
	unsigned int queues = count_bits(atomic_load(&vhost->from_guest));

	if (!atomic_load(&vhost->connected))
		reconnect(vhost);
	if (atomic_load(&vhost->vid) < 0) {
		snprintf(port->status, sizeof(port->status), "waiting for a guest at %s",
			vhost->socket);
		return;
	}
	snprintf(port->status, sizeof(port->status), "guest connected, %u queue%s%s%s%s%s", queues,
		queues == 1 ? "" : "s", features & FEATURE(MRG_RXBUF) ? ", mergeable buffers" : "",
		features & FEATURE(GUEST_CSUM) ? ", checksum offload" : "",
		features & (FEATURE(GUEST_TSO4) | FEATURE(GUEST_TSO6)) ? ", TSO" : "",
		features & UINT64_C(1) << VIRTIO_F_RING_PACKED ? ", packed ring" : "");
}

static bool socket_is_taken(const char *socket)
{
	bool taken = false;

	pthread_mutex_lock(&registry.lock);
	for (struct port_vhost *vhost = registry.first; vhost != NULL; vhost = vhost->next)
		taken |= strcmp(vhost->socket, socket) == 0;
	pthread_mutex_unlock(&registry.lock);
	return taken;
}

static int vhost_open(struct port *port, char *error, size_t error_size)
{
	unsigned int mtu = MTU_DEFAULT, queues = port->environment->n_workers;
	struct port_vhost *vhost = calloc(1, sizeof(*vhost));
	int result = -ENOMEM;

	snprintf(error, error_size, "there is not enough memory");
	if (vhost == NULL)
		return result;
	queues = queues < PORT_QUEUES_MAX ? queues : PORT_QUEUES_MAX;
	result = port_option_number(port, "mtu", 68, MTU_MAX, &mtu, error, error_size);
	if (result == 0)
		result = port_option_number(
			port, "queues", 1, PORT_QUEUES_MAX, &queues, error, error_size);
	if (result == 0)
		result = choose_socket(port, vhost, error, error_size);
	if (result != 0)
		goto free_vhost;
	if (socket_is_taken(vhost->socket)) {
		snprintf(error, error_size, "socket %s is in use by another port", vhost->socket);
		result = -EBUSY;
		goto free_vhost;
	}
	vhost->port = port;
	atomic_init(&vhost->vid, -1);
	port->private = vhost;
	port->mtu = mtu;
	port->n_rx_queues = queues;
	port->n_tx_queues = queues;
	registry_add(vhost);
	result = start_driver(vhost, error, error_size);
	if (result == 0)
		return 0;
	registry_remove(vhost);
free_vhost:
	free(vhost);
	return result;
}

static void vhost_close(struct port *port)
{
	struct port_vhost *vhost = port->private;

	stop_driver(vhost);
	registry_remove(vhost);
	free(vhost);
}

static const char *const vhost_options[] = {"socket", "queues", "mtu", NULL};

const struct port_backend port_vhost = {
	.type = "vhost",
	.options = vhost_options,
	.open = vhost_open,
	.close = vhost_close,
	.rx = vhost_rx,
	.tx = vhost_tx,
	.poll_status = vhost_poll_status,
};
