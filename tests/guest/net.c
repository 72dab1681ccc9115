/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vNICs: brought up, polled, and interrupted when there is nothing to do.
 *
 * Descriptor i of a queue always belongs to buffer i, whose first bytes are virtio's header.
 */
#include "guest.h"

enum {
	BUFFER_BYTES = 2048,
	CONFIG_PAIRS = 8,
	CONTROL_MQ = 4,
	CONTROL_PAIRS_SET = 0,
	CONTROL_OK = 0,
	QUEUE_DEFAULT = 256,
	VECTORS_EACH = 12,
};

#define NET_F_MAC     (UINT64_C(1) << 5)
#define NET_F_CONTROL (UINT64_C(1) << 17)
#define NET_F_MQ      (UINT64_C(1) << 22)

struct net nets[NETS_MAX];
unsigned int n_nets;

static void offer(struct net *net, unsigned int pair, uint16_t index)
{
	struct queue *queue = &net->receive[pair];

	queue->available->heads[queue->available_index++ & (queue->size - 1)] = index;
}

/* Descriptors are written once; then only their indexes go round. */
static void fill(struct net *net, unsigned int pair)
{
	struct queue *receive = &net->receive[pair], *send = &net->send[pair];

	for (uint16_t i = 0; i < receive->size; i++) {
		receive->descriptors[i].address =
			(uint64_t)(net->receive_buffers[pair] + (size_t)i * BUFFER_BYTES);
		receive->descriptors[i].length = BUFFER_BYTES;
		receive->descriptors[i].flags = VIRTIO_WRITE;
		offer(net, pair, i);
	}
	receive->n_free = 0;
	for (uint16_t i = 0; i < send->size; i++) {
		send->descriptors[i].address =
			(uint64_t)(net->send_buffers[pair] + (size_t)i * BUFFER_BYTES);
		send->descriptors[i].flags = 0;
	}
	send->available->flags = VIRTIO_NO_INTERRUPT;
	receive->available->flags = VIRTIO_NO_INTERRUPT;
	compiler_barrier();
	receive->available->index = receive->available_index;
}

static void open_pair(struct net *net, unsigned int pair)
{
	unsigned int size = (unsigned int)option_number("queue", QUEUE_DEFAULT);
	unsigned int vector = FIRST_INTERRUPT + net->number * VECTORS_EACH + pair;

	if (option_number("interrupts", 1) == 0)
		vector = NO_VECTOR;
	virtio_queue(&net->virtio, &net->receive[pair], 2 * pair, size, vector);
	virtio_queue(&net->virtio, &net->send[pair], 2 * pair + 1, size, NO_VECTOR);
	if (!net->receive_buffers[pair]) {
		net->receive_buffers[pair] = arena((size_t)net->receive[pair].size * BUFFER_BYTES);
		net->send_buffers[pair] = arena((size_t)net->send[pair].size * BUFFER_BYTES);
	}
	fill(net, pair);
}

/* The device is to use all pairs: it starts with one. */
static void use_pairs(struct net *net)
{
	static uint8_t command[2] = {CONTROL_MQ, CONTROL_PAIRS_SET}, status;
	static uint16_t pairs;
	struct part parts[] = {{command, 2}, {&pairs, 2}, {&status, 1}};

	pairs = (uint16_t)net->n_pairs;
	status = 0xff;
	if (queue_request(&net->control, parts, 3, 1) != 1 || status != CONTROL_OK)
		fail("the control queue refuses the number of pairs");
}

void net_open(struct net *net)
{
	unsigned int wanted = (unsigned int)option_number("queues", 1), offered = 1;

	virtio_begin(&net->virtio,
		NET_F_MAC | VIRTIO_F_INDIRECT | (wanted > 1 ? NET_F_CONTROL | NET_F_MQ : 0));
	if (net->virtio.features & NET_F_MQ)
		offered = get16(net->virtio.config + CONFIG_PAIRS);
	net->n_pairs = wanted < offered ? wanted : offered;
	if (net->n_pairs > PAIRS_MAX)
		net->n_pairs = PAIRS_MAX;
	for (unsigned int i = 0; i < net->n_pairs; i++)
		open_pair(net, i);
	if (net->virtio.features & NET_F_MQ)
		virtio_queue(&net->virtio, &net->control, 2 * offered, 16, NO_VECTOR);
	virtio_ready(&net->virtio);
	for (unsigned int i = 0; i < net->n_pairs; i++)
		set16(net->receive[i].doorbell, net->receive[i].index);
	if (net->n_pairs > 1)
		use_pairs(net);
}

static void name_option(char *name, size_t size, const char *what, unsigned int number)
{
	if (number == 0)
		format_to(name, size, "%s", what);
	else
		format_to(name, size, "%s%u", what, (uint64_t)number);
}

/* ip= and ip6= are the first one's, ip1= the second one's. */
static void read_addresses(struct net *net)
{
	char name[8];

	name_option(name, sizeof(name), "ip", net->number);
	if (option(name) && !address_read(&net->ipv4, option(name)))
		fail("an option is no address");
	name_option(name, sizeof(name), "six", net->number);
	if (option(name) && !address_read(&net->ipv6, option(name)))
		fail("an option is no address");
}

void net_start(void)
{
	while (n_nets < NETS_MAX) {
		struct net *net = &nets[n_nets];

		if (!virtio_find(&net->virtio, VIRTIO_NET, n_nets))
			return;
		net->number = n_nets++;
		read_addresses(net);
		net_open(net);
		for (unsigned int i = 0; i < 6; i++)
			net->mac[i] = get8(net->virtio.config + i);
		print("net%u: mac %x:%x:%x:%x:%x:%x pairs %u queue %u", (uint64_t)net->number,
			(uint64_t)net->mac[0], (uint64_t)net->mac[1], (uint64_t)net->mac[2],
			(uint64_t)net->mac[3], (uint64_t)net->mac[4], (uint64_t)net->mac[5],
			(uint64_t)net->n_pairs, (uint64_t)net->receive[0].size);
	}
}

uint64_t net_interrupts(const struct net *net)
{
	uint64_t sum = 0;

	for (unsigned int pair = 0; pair < net->n_pairs; pair++)
		sum += interrupt_counts[FIRST_INTERRUPT + net->number * VECTORS_EACH + pair];
	return sum;
}

void net_mask(struct net *net, bool masked)
{
	virtio_mask(&net->virtio, 0, masked);
}

static bool poll_pair(struct net *net, unsigned int pair)
{
	struct queue *queue = &net->receive[pair];
	uint16_t index = queue->used->index;
	bool any = index != queue->used_index;

	compiler_barrier();
	while (queue->used_index != index) {
		unsigned int at = queue->used_index++ & (queue->size - 1U);
		uint16_t head = (uint16_t)queue->used->done[at].head;
		uint32_t length = queue->used->done[at].length;

		if (head >= queue->size || length > BUFFER_BYTES || length < NET_HEADER)
			fail("a frame has a wrong descriptor or length");
		net->received++;
		net->received_bytes += length - NET_HEADER;
		answer(net, net->receive_buffers[pair] + (size_t)head * BUFFER_BYTES + NET_HEADER,
			length - NET_HEADER);
		offer(net, pair, head);
	}
	if (!any)
		return false;
	compiler_barrier();
	queue->available->index = queue->available_index;
	queue_kick(queue);
	return true;
}

bool net_poll(void)
{
	bool any = false;

	for (unsigned int i = 0; i < n_nets; i++) {
		for (unsigned int pair = 0; pair < nets[i].n_pairs; pair++)
			any |= poll_pair(&nets[i], pair);
	}
	return any;
}

void net_want_interrupts(bool wanted)
{
	for (unsigned int i = 0; i < n_nets; i++) {
		for (unsigned int pair = 0; pair < nets[i].n_pairs; pair++)
			nets[i].receive[pair].available->flags = wanted ? 0 : VIRTIO_NO_INTERRUPT;
	}
	full_barrier();
}

void net_sleep(uint32_t ms)
{
	uint64_t seen = interrupts;

	set_timer(ms);
	net_want_interrupts(true);
	if (!net_poll())
		idle(seen);
	net_want_interrupts(false);
}

static void take_sent(struct queue *queue)
{
	uint32_t length;
	uint16_t head;

	while (queue_take(queue, &head, &length))
		;
}

uint8_t *net_frame(struct net *net, unsigned int pair)
{
	struct queue *queue = &net->send[pair];

	take_sent(queue);
	if (queue->n_free == 0) {
		net->no_room++;
		return NULL;
	}
	return net->send_buffers[pair] + (size_t)queue->free[queue->n_free - 1] * BUFFER_BYTES +
	       NET_HEADER;
}

void net_send(struct net *net, unsigned int pair, size_t bytes)
{
	struct queue *queue = &net->send[pair];
	uint16_t index;

	if (bytes == 0)
		return;
	index = queue->free[--queue->n_free];
	queue->descriptors[index].length = (uint32_t)(NET_HEADER + bytes);
	queue->available->heads[queue->available_index++ & (queue->size - 1)] = index;
	compiler_barrier();
	queue->available->index = queue->available_index;
	net->sent++;
	net->sent_bytes += bytes;
	queue_kick(queue);
}
