/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ports of type "vhost": a guest's virtio-net device, by vhost-user.  The guest's VMM listens on
 * the socket and the switch connects, again and again for as long as the port is there, so that
 * either side may be restarted.
 *
 * librte_vhost does the control side: the protocol, negotiation, mapping of the guest's memory. The
 * rings are processed here, by vhost_receive.c and vhost_send.c, which copy a frame once from guest
 * to guest.
 *
 * Threads.  librte_vhost has threads of its own that connect, speak the protocol and call back.
 * They publish the device's number, `vid`, and which rings are enabled; workers read these with no
 * lock.  `device`, with the rings and memory that workers use, changes only while the port is
 * suspended, when no worker is within rx or tx: before_message() suspends it before the library
 * obeys a message that may unmap memory or move a ring, and after_message() takes over what is
 * there then.  device_gone() suspends it until device_ready(); it does not wait for the main
 * thread, which may be waiting for the callback in rte_vhost_driver_unregister().
 *
 * Reconnecting is done here, by the main thread: at once when the guest has made a new socket,
 * which is looked for every LOOK_MS during the first minute without a guest and once a second
 * later; and ever less often, down to once a second, where the one that is there refuses us.  The
 * library's own reconnection is off: when a guest goes at the very moment at which its port is
 * closed, rte_vhost_driver_unregister() frees the socket that the reading thread then queues to be
 * connected again.
 *
 * A VMM may take its guest's memory away at any time.  Who touches it finds zeros and goes on
 * (guest_memory_fault.c); the main thread finds out when it polls the port's status, hangs up, and
 * connects anew.
 *
 * The registry is how a callback finds the port of its socket.  Its lock is held while a device
 * comes or goes, and never while calling a function of librte_vhost that takes a lock.
 *
 * Virtio features, beyond what the library has by itself: HOST_UFO and GUEST_UFO are off, since
 * nothing here cuts UDP; GUEST_ANNOUNCE is left to the VMM.  Indirect descriptors, in-order,
 * mergeable buffers, event indexes, checksum and TSO both ways are on, as the guest likes.  No
 * packed rings, no IOMMU, no post-copy.
 *
 * Offloads.  Frames come in with the request that the guest wrote into the virtio header, which
 * offload_note_guest_request() checks.  What may be left to the guest is what it has negotiated:
 * without GUEST_CSUM it gets complete checksums, without GUEST_TSO4/6 small frames.
 */
#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <rte_arp.h>
#include <rte_branch_prediction.h>
#include <rte_vhost.h>

#include "datapath/guest_memory_fault.h"
#include "datapath/port.h"
#include "datapath/vhost_device.h"
#include "datapath/vhost_message.h"
#include "openvswitch/vlog.h"
#include "seq.h"
#include "smap.h"
#include "timeval.h"
#include "util.h"

VLOG_DEFINE_THIS_MODULE(port_vhost);

static struct vlog_rate_limit rate_limit = VLOG_RATE_LIMIT_INIT(1, 5);

enum { MTU_DEFAULT = 1500, MTU_MAX = 9216 };
enum { LOOK_MS = 25, LOOK_FOR_MS = 60000, RETRY_MS = 1000 };

#define FEATURE(name) (UINT64_C(1) << VIRTIO_NET_F_##name)

/* What librte_vhost would offer and the rings here do not know. */
#define UNWANTED_FEATURES                                                                          \
	(FEATURE(HOST_UFO) | FEATURE(GUEST_UFO) | UINT64_C(1) << VIRTIO_F_RING_PACKED)

struct port_vhost {
	struct port *port;
	struct port_vhost *next; /* In the registry, under its lock. */
	char socket[sizeof(((struct sockaddr_un *)NULL)->sun_path)];

	/* The callbacks write, workers and the main thread read. */
	_Atomic int vid;		  /* -1: no guest. */
	_Atomic uint32_t from_guest;	  /* Bit per queue pair: its transmit ring is enabled. */
	_Atomic uint32_t to_guest;	  /* Its receive ring. */
	_Atomic uint64_t features;	  /* As negotiated. */
	_Atomic unsigned int connections; /* Since the port was opened. */
	_Atomic bool connected;		  /* A VMM has accepted; the guest may not be ready yet. */

	_Atomic uint64_t announced; /* A MAC that has moved here, to be told of; or 0. */

	bool registered;	  /* With librte_vhost.  This and what follows: main thread. */
	struct stat tried;	  /* The socket that we tried to connect to last, */
	long long int tried_ms;	  /* when, */
	unsigned int retry_ms;	  /* and how long after that to try it again. */
	long long int alone_ms;	  /* Since when there has been no guest. */
	bool truncated;		  /* The last one left since its memory was lost. */
	unsigned int truncations; /* How often that has happened. */

	struct vhost_device device; /* While the port is running; see load_device(). */
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
	uint32_t offloads = PORT_TX_SEGMENTS | PORT_TX_COPIES;

	if (!(features & FEATURE(GUEST_CSUM)))
		return offloads;
	offloads |= PORT_TX_CHECKSUM;
	if (features & FEATURE(GUEST_TSO4))
		offloads |= PORT_TX_TSO4;
	if (features & FEATURE(GUEST_TSO6))
		offloads |= PORT_TX_TSO6;
	return offloads;
}

/* Takes the device's memory and rings over, and lets the workers at them.  The registry is locked.
 */
static int enter(struct port_vhost *vhost, int vid)
{
	if (vhost_device_load(&vhost->device, vid, atomic_load(&vhost->features)) != 0)
		return -1;
	port_resume(vhost->port);
	return 0;
}

static void leave(struct port_vhost *vhost)
{
	port_suspend(vhost->port);
	vhost_device_unload(&vhost->device);
}

static int device_ready(int vid)
{
	struct seq *news = NULL;
	uint64_t features = 0;
	int result = -1;

	(void)rte_vhost_get_negotiated_features(vid, &features);
	pthread_mutex_lock(&registry.lock);
	struct port_vhost *vhost = registry_find(vid);
	if (vhost != NULL) {
		atomic_store(&vhost->features, features);
		atomic_store(&vhost->port->offloads, negotiated_offloads(features));
		result = enter(vhost, vid);
	}
	if (result == 0) {
		atomic_store(&vhost->vid, vid);
		atomic_fetch_add(&vhost->connections, 1);
		atomic_store(&vhost->port->link_up, true);
		news = vhost->port->environment->news;
		VLOG_INFO("port %s: guest connected at %s", vhost->port->name, vhost->socket);
	}
	pthread_mutex_unlock(&registry.lock);
	if (news != NULL)
		seq_change(news);
	return result;
}

static void device_gone(int vid)
{
	pthread_mutex_lock(&registry.lock);
	struct port_vhost *vhost = registry_find(vid);
	if (vhost != NULL && atomic_load(&vhost->vid) == vid) {
		atomic_store(&vhost->port->link_up, false);
		leave(vhost);
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

		if (enable)
			atomic_fetch_or(mask, bit);
		else
			atomic_fetch_and(mask, ~bit);
	}
	pthread_mutex_unlock(&registry.lock);
	return 0;
}

static void connection_gone(int vid)
{
	bool lost = guest_memory_fault_uncover();
	struct seq *news = NULL;

	pthread_mutex_lock(&registry.lock);
	struct port_vhost *vhost = registry_find(vid);
	if (vhost != NULL) {
		vhost->device.memory_lost |= lost;
		news = vhost->port->environment->news;
		atomic_store(&vhost->from_guest, 0);
		atomic_store(&vhost->to_guest, 0);
		atomic_store(&vhost->connected, false);
	}
	pthread_mutex_unlock(&registry.lock);
	if (news != NULL)
		seq_change(news);
}

/* --- Messages ----------------------------------------------------------------------------------
 */

/* False for requests that change nothing a worker uses. */
static bool changes_the_device(uint32_t request)
{
	switch (request) {
	case VHOST_MESSAGE_GET_FEATURES:
	case VHOST_MESSAGE_GET_PROTOCOL_FEATURES:
	case VHOST_MESSAGE_SET_PROTOCOL_FEATURES:
	case VHOST_MESSAGE_GET_QUEUE_NUM:
	case VHOST_MESSAGE_SEND_RARP:
	case VHOST_MESSAGE_NET_SET_MTU:
	case VHOST_MESSAGE_SET_STATUS:
	case VHOST_MESSAGE_GET_STATUS: return false;
	default: return true;
	}
}

/* The device of a message, if workers may be using it; with the registry locked. */
static struct port_vhost *used_device(int vid)
{
	struct port_vhost *vhost = registry_find(vid);

	return vhost != NULL && atomic_load(&vhost->vid) == vid ? vhost : NULL;
}

/* The MAC that SEND_RARP names. */
static uint64_t rarp_value(const struct vhost_message *message)
{
	uint64_t value;

	memcpy(&value, message->payload, sizeof(value));
	return value;
}

/* RESET_OWNER unmaps the log of writes, but the library would go on writing to where it was. */
static void note_log(struct port_vhost *vhost, uint32_t request)
{
	if (request == VHOST_MESSAGE_SET_LOG_BASE)
		vhost->device.has_log = true;
	if (request == VHOST_MESSAGE_RESET_OWNER)
		vhost->device.has_log = false;
}

/* How many queue pairs there are, for a VMM that asks: the library would name all that it could
 * have, and a guest that used them would send into rings that no worker looks at. */
static void answer_queues(const struct port *port, struct vhost_message *message)
{
	uint64_t queues = port->n_rx_queues;

	memcpy(message->payload, &queues, sizeof(queues));
	message->bytes = sizeof(queues);
}

/* Before the library obeys a message: refuses it, answers it, or keeps the workers out of memory
 * and rings that it may unmap or move.  While it obeys, it maps memory and reads rings in it, so
 * memory may be missing that nobody watches yet. */
static enum rte_vhost_msg_result before_message(int vid, void *message_)
{
	struct vhost_message *message = message_;
	const char *refusal = vhost_message_refusal(message);
	enum rte_vhost_msg_result result = RTE_VHOST_MSG_RESULT_NOT_HANDLED;

	pthread_mutex_lock(&registry.lock);
	struct port_vhost *vhost = registry_find(vid);
	if (refusal != NULL)
		VLOG_WARN_RL(&rate_limit, "port %s: refused message %" PRIu32 " at %s: %s",
			vhost != NULL ? vhost->port->name : "?", message->request,
			vhost != NULL ? vhost->socket : "?", refusal);
	if (refusal == NULL && vhost != NULL && message->request == VHOST_MESSAGE_GET_QUEUE_NUM) {
		answer_queues(vhost->port, message);
		result = RTE_VHOST_MSG_RESULT_REPLY;
	}
	vhost = used_device(vid);
	if (refusal == NULL && vhost != NULL && message->request == VHOST_MESSAGE_SEND_RARP)
		atomic_store(&vhost->announced, rarp_value(message));
	if (refusal == NULL && vhost != NULL && changes_the_device(message->request))
		leave(vhost);
	pthread_mutex_unlock(&registry.lock);
	if (refusal != NULL)
		return RTE_VHOST_MSG_RESULT_ERR;
	guest_memory_fault_cover();
	return result;
}

/* And after it, unless it has failed; nothing more happens to a device without memory. */
static enum rte_vhost_msg_result after_message(int vid, void *message_)
{
	const struct vhost_message *message = message_;
	bool lost = guest_memory_fault_uncover();
	uint64_t features = 0;

	(void)rte_vhost_get_negotiated_features(vid, &features);
	pthread_mutex_lock(&registry.lock);
	struct port_vhost *vhost = registry_find(vid);
	if (vhost != NULL) {
		vhost->device.memory_lost |= lost;
		note_log(vhost, message->request);
	}
	vhost = used_device(vid);
	if (vhost != NULL && changes_the_device(message->request)) {
		atomic_store(&vhost->features, features);
		(void)enter(vhost, vid);
	}
	pthread_mutex_unlock(&registry.lock);
	return lost ? RTE_VHOST_MSG_RESULT_ERR : RTE_VHOST_MSG_RESULT_NOT_HANDLED;
}

static const struct rte_vhost_user_extern_ops message_callbacks = {
	.pre_msg_handle = before_message,
	.post_msg_handle = after_message,
};

static int connection_made(int vid)
{
	if (vhost_message_bound_waits() != 0)
		VLOG_WARN_RL(
			&rate_limit, "a guest's VMM that stops in mid-message can hold up others");
	return rte_vhost_extern_callback_register(vid, &message_callbacks, NULL);
}

static const struct rte_vhost_device_ops vhost_callbacks = {
	.new_connection = connection_made,
	.new_device = device_ready,
	.destroy_device = device_gone,
	.vring_state_changed = ring_changed,
	.destroy_connection = connection_gone,
};

/* --- Frames --------------------------------------------------------------------------------- */

/* Chains and frames that were lost were received. */
static __attribute__((noinline)) void count_lost(
	struct port *port, uint16_t queue, uint64_t refused, uint64_t no_buffer)
{
	_Atomic uint64_t *drops = port->drops[queue];

	atomic_fetch_add_explicit(&drops[DROP_GUEST_DESCRIPTOR], refused, memory_order_relaxed);
	atomic_fetch_add_explicit(&drops[DROP_NO_BUFFER], no_buffer, memory_order_relaxed);
	__atomic_fetch_add(&port->queues[queue].rx_packets, refused + no_buffer, __ATOMIC_RELAXED);
}

/* A guest that has moved here tells the network by a RARP request from its MAC, which the VMM
 * leaves to us. */
static __attribute__((noinline)) uint16_t announce(
	struct port_vhost *vhost, struct rte_mbuf **frame)
{
	uint64_t value = atomic_exchange(&vhost->announced, 0);
	struct rte_ether_addr mac;

	memcpy(&mac, &value, sizeof(mac));
	*frame = value == 0 ? NULL : rte_net_make_rarp_packet(vhost->device.pool, &mac);
	return *frame != NULL;
}

static uint16_t vhost_rx(struct port *port, uint16_t queue, struct rte_mbuf **frames, uint16_t n)
{
	struct port_vhost *vhost = port->private;
	uint64_t refused = 0, no_buffer = 0;
	uint16_t received;

	if (!(atomic_load_explicit(&vhost->from_guest, memory_order_relaxed) & UINT32_C(1)
										       << queue) ||
		!vhost->device.from_guest[queue].usable)
		return 0;
	received = vhost_receive(&vhost->device, queue, frames, n, &refused, &no_buffer);
	if (unlikely((refused | no_buffer) != 0)) {
		count_lost(port, queue, refused, no_buffer);
		/* With no frame nobody calls rx_done. */
		if (received == 0)
			vhost_receive_done(&vhost->device, queue);
	}
	if (unlikely(atomic_load_explicit(&vhost->announced, memory_order_relaxed) != 0) &&
		received < n)
		received += announce(vhost, &frames[received]);
	return received;
}

static void vhost_rx_done(struct port *port, uint16_t queue)
{
	struct port_vhost *vhost = port->private;

	vhost_receive_done(&vhost->device, queue);
}

/* The queue pair to use: the worker's own if the guest has enabled it, else one that it has.
 * Workers that meet at one ring take turns by its lock. */
static inline uint16_t choose_ring(uint32_t enabled, uint16_t queue)
{
	if (likely(enabled & UINT32_C(1) << queue))
		return queue;
	return __builtin_ctz(enabled);
}

static uint16_t vhost_tx(struct port *port, uint16_t queue, struct rte_mbuf **frames, uint16_t n)
{
	struct port_vhost *vhost = port->private;
	uint32_t enabled = atomic_load_explicit(&vhost->to_guest, memory_order_relaxed);

	if (unlikely(enabled == 0))
		return 0;
	queue = choose_ring(enabled, queue);
	if (unlikely(!vhost->device.to_guest[queue].usable))
		return 0;
	return vhost_send(&vhost->device, queue, frames, n);
}

/* The rings that the worker's rx and tx used may have been stopped meanwhile. */
static void vhost_notify(struct port *port, uint16_t queue, enum port_work work)
{
	struct port_vhost *vhost = port->private;
	uint32_t enabled = atomic_load_explicit(&vhost->to_guest, memory_order_relaxed);

	if (work == PORT_RECEIVED && vhost->device.from_guest[queue].usable)
		vhost_receive_notify(&vhost->device, queue);
	if (work != PORT_SENT || enabled == 0)
		return;
	queue = choose_ring(enabled, queue);
	if (vhost->device.to_guest[queue].usable)
		vhost_send_notify(&vhost->device, queue);
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

/* Hangs up, of which the library does not tell: no callback is running or comes afterwards. */
static void stop_driver(struct port_vhost *vhost)
{
	if (vhost->registered)
		(void)rte_vhost_driver_unregister(vhost->socket);
	vhost->registered = false;
	atomic_store(&vhost->from_guest, 0);
	atomic_store(&vhost->to_guest, 0);
	atomic_store(&vhost->connected, false);
	vhost->device.has_log = false;
	vhost->device.memory_lost = false;
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
	const uint64_t flags = RTE_VHOST_USER_CLIENT | RTE_VHOST_USER_NO_RECONNECT;
	uint64_t protocol;

	if (rte_vhost_driver_register(vhost->socket, flags) != 0) {
		snprintf(error, error_size,
			"librte_vhost refuses socket %s (the log says why; 1024 are possible)",
			vhost->socket);
		return -EINVAL;
	}
	vhost->registered = true;
	if (rte_vhost_driver_disable_features(vhost->socket, UNWANTED_FEATURES) != 0 ||
		rte_vhost_driver_get_protocol_features(vhost->socket, &protocol) != 0 ||
		rte_vhost_driver_set_protocol_features(
			vhost->socket, vhost_message_features(protocol)) != 0 ||
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

	vhost->tried_ms = time_msec();
	stop_driver(vhost);
	if (start_driver(vhost, error, sizeof(error)) != 0)
		VLOG_WARN_RL(&rate_limit, "port %s: %s", vhost->port->name, error);
}

/* Hangs up on a VMM that has taken its guest's memory away, and connects to it again, but not at
 * once. */
static void look_at_memory(struct port_vhost *vhost)
{
	pthread_mutex_lock(&registry.lock);
	bool lost = vhost_device_memory_lost(&vhost->device);
	pthread_mutex_unlock(&registry.lock);
	if (!lost)
		return;
	stop_driver(vhost);
	vhost->truncated = true;
	vhost->truncations++;
	vhost->tried_ms = time_msec();
	vhost->retry_ms = RETRY_MS;
	(void)stat(vhost->socket, &vhost->tried);
	VLOG_WARN_RL(&rate_limit,
		"port %s: hung up, for the guest's memory was truncated by its VMM at %s (%u so "
		"far)",
		vhost->port->name, vhost->socket, vhost->truncations);
}

static bool same_socket(const struct stat *a, const struct stat *b)
{
	return a->st_dev == b->st_dev && a->st_ino == b->st_ino &&
	       a->st_ctim.tv_sec == b->st_ctim.tv_sec && a->st_ctim.tv_nsec == b->st_ctim.tv_nsec;
}

/* Connects again if it is worth trying, and says when to look again. */
static void keep_connected(struct port_vhost *vhost)
{
	long long int now = time_msec();
	struct stat found;

	vhost->port->poll_within_ms = 0;
	if (atomic_load(&vhost->connected)) {
		vhost->alone_ms = now;
		return;
	}
	if (now - vhost->alone_ms < LOOK_FOR_MS)
		vhost->port->poll_within_ms = LOOK_MS;
	if (stat(vhost->socket, &found) != 0)
		return;
	bool known = same_socket(&found, &vhost->tried);
	if (known && now - vhost->tried_ms < vhost->retry_ms)
		return;
	vhost->retry_ms = known ? MIN(2 * vhost->retry_ms, RETRY_MS) : LOOK_MS;
	vhost->tried = found;
	reconnect(vhost);
}

static const char *fault_text(enum ring_fault fault)
{
	switch (fault) {
	case RING_FAULT_INDEX:
	case RING_FAULT_HEAD:
	case RING_FAULT_PLACE:
		return "; a ring of the guest is broken, and stopped until the guest resets its "
		       "device";
	default: return "";
	}
}

static void describe_absence(struct port_vhost *vhost)
{
	char *status = vhost->port->status;
	const size_t size = sizeof(vhost->port->status);

	if (!vhost->truncated)
		snprintf(status, size, "waiting for a guest at %s", vhost->socket);
	else
		snprintf(status, size,
			"guest's memory was truncated by its VMM; stopped until it connects anew "
			"(%u time%s so far)",
			vhost->truncations, vhost->truncations == 1 ? "" : "s");
}

static void vhost_poll_status(struct port *port)
{
	struct port_vhost *vhost = port->private;

	look_at_memory(vhost);
	keep_connected(vhost);
	uint64_t features = atomic_load(&vhost->features);
	unsigned int queues = count_bits(atomic_load(&vhost->from_guest));
	if (atomic_load(&vhost->vid) < 0) {
		describe_absence(vhost);
		return;
	}
	vhost->truncated = false;
	snprintf(port->status, sizeof(port->status), "guest connected, %u queue%s%s%s%s%s", queues,
		queues == 1 ? "" : "s", features & FEATURE(MRG_RXBUF) ? ", mergeable buffers" : "",
		features & FEATURE(GUEST_CSUM) ? ", checksum offload" : "",
		features & (FEATURE(GUEST_TSO4) | FEATURE(GUEST_TSO6)) ? ", TSO" : "",
		fault_text(vhost_device_fault(&vhost->device)));
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
	struct port_vhost *vhost = aligned_alloc(_Alignof(struct port_vhost), sizeof(*vhost));
	int result = -ENOMEM;

	snprintf(error, error_size, "there is not enough memory");
	if (vhost == NULL)
		return result;
	memset(vhost, 0, sizeof(*vhost));
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
	vhost->device.pool = port->environment->pool;
	vhost->device.headers = port->environment->indirect;
	atomic_init(&vhost->vid, -1);
	port->private = vhost;
	port->mtu = mtu;
	port->n_rx_queues = queues;
	port->n_tx_queues = queues;
	vhost->alone_ms = vhost->tried_ms = time_msec();
	vhost->retry_ms = LOOK_MS;
	(void)stat(vhost->socket, &vhost->tried); /* If there is none, it equals no other. */
	result = guest_memory_fault_start();
	if (result != 0) {
		snprintf(error, error_size, "cannot guard a guest's memory: %s", strerror(-result));
		goto free_vhost;
	}
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
	.rx_done = vhost_rx_done,
	.tx = vhost_tx,
	.notify = vhost_notify,
	.poll_status = vhost_poll_status,
};
