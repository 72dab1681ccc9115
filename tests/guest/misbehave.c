/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Everything that a driver must not do, on purpose.
 *
 *	misbehave DEVICE KIND	DEVICE: net (the switch works its rings), rng, block (cordon-vmm
 *does); KIND: one of the table, or all misbehave net reset N	resets it N times while it sends
 *	misbehave net registers N	writes N times anything to its registers
 *
 * After each the device is reset and brought up again, as a driver does that has seen
 * DEVICE_NEEDS_RESET: it must work as before.
 */
#include "guest.h"

enum {
	SETTLE_MS = 20,
	STATUS_NEEDS_RESET = 0x40,
	CHANGE_MS = 50,
	TABLE_ENTRIES = 16,
	PCI_BYTES = 256
};

struct target {
	struct net *net;
	struct device *device;
	struct queue *queue;
};

static struct descriptor table[TABLE_ENTRIES];
static uint8_t room[4096];
static uint64_t seed = 1;

static uint32_t random_number(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return (uint32_t)seed;
}

static struct descriptor good(uint16_t flags)
{
	return (struct descriptor){(uint64_t)room, 64, flags, 0};
}

static void describe(struct queue *queue, unsigned int index, struct descriptor descriptor)
{
	queue->descriptors[index].address = descriptor.address;
	queue->descriptors[index].length = descriptor.length;
	queue->descriptors[index].flags = descriptor.flags;
	queue->descriptors[index].next = descriptor.next;
}

static void offer(struct queue *queue, uint16_t head)
{
	queue->available->heads[queue->available_index++ & (queue->size - 1)] = head;
	compiler_barrier();
	queue->available->index = queue->available_index;
}

/* --- One rule each --- */

static void index_jumps(struct queue *queue)
{
	describe(queue, 0, good(0));
	queue->available->index = (uint16_t)(queue->available_index + queue->size + 1000);
}

static void head_is_outside(struct queue *queue)
{
	offer(queue, (uint16_t)(queue->size + 5));
}

static void chain_is_a_loop(struct queue *queue)
{
	struct descriptor descriptor = good(VIRTIO_NEXT);

	for (uint16_t i = 0; i < queue->size; i++) {
		descriptor.next = (uint16_t)((i + 1) % queue->size);
		describe(queue, i, descriptor);
	}
	offer(queue, 0);
}

static void next_is_outside(struct queue *queue)
{
	struct descriptor descriptor = good(VIRTIO_NEXT);

	descriptor.next = 0xfffe;
	describe(queue, 0, descriptor);
	offer(queue, 0);
}

static void length_is_huge(struct queue *queue)
{
	struct descriptor descriptor = good(0);

	descriptor.length = 0xffffffff;
	describe(queue, 0, descriptor);
	descriptor.flags = VIRTIO_WRITE;
	describe(queue, 1, descriptor);
	offer(queue, 0);
	offer(queue, 1);
}

static void length_is_zero(struct queue *queue)
{
	struct descriptor descriptor = good(0);

	descriptor.length = 0;
	describe(queue, 0, descriptor);
	offer(queue, 0);
}

static void address_is_wild(struct queue *queue)
{
	static const uint64_t addresses[] = {UINT64_MAX - 32, UINT64_C(1) << 46, 0xc0000000,
		0xe0000000, 0xfee00000, UINT64_C(0x100000000), 0x3ffffe0};

	for (uint16_t i = 0; i < sizeof(addresses) / sizeof(addresses[0]); i++) {
		struct descriptor descriptor = good(i & 1 ? VIRTIO_WRITE : 0);

		descriptor.address = addresses[i];
		describe(queue, i, descriptor);
		offer(queue, i);
	}
}

static void direction_is_wrong(struct queue *queue)
{
	struct descriptor first = good(VIRTIO_WRITE | VIRTIO_NEXT), second = good(0);

	first.next = 1;
	describe(queue, 0, first);
	describe(queue, 1, second);
	offer(queue, 0);
}

static void heads_come_twice(struct queue *queue)
{
	describe(queue, 0, good(0));
	for (unsigned int i = 0; i < queue->size; i++)
		offer(queue, 0);
}

static void offer_table(struct queue *queue, uint32_t bytes)
{
	describe(queue, 0, (struct descriptor){(uint64_t)table, bytes, VIRTIO_INDIRECT, 0});
	offer(queue, 0);
}

static void table_is_a_loop(struct queue *queue)
{
	for (unsigned int i = 0; i < TABLE_ENTRIES; i++) {
		table[i] = good(VIRTIO_NEXT);
		table[i].next = (uint16_t)((i + 1) % TABLE_ENTRIES);
	}
	offer_table(queue, sizeof(table));
}

static void table_is_odd(struct queue *queue)
{
	table[0] = good(0);
	offer_table(queue, 17);
}

static void table_in_a_table(struct queue *queue)
{
	table[0] = (struct descriptor){(uint64_t)table, sizeof(table), VIRTIO_INDIRECT, 0};
	offer_table(queue, sizeof(table));
}

static void table_is_huge(struct queue *queue)
{
	table[0] = good(0);
	offer_table(queue, 0xfffffff0);
}

/* What is read twice is different the second time. */
static void table_changes(struct queue *queue)
{
	uint64_t end = clock_cycles() + CHANGE_MS * cycles_per_ms();
	volatile struct descriptor *entry = table;

	for (unsigned int i = 0; i < TABLE_ENTRIES; i++) {
		table[i] = good(i + 1 < TABLE_ENTRIES ? VIRTIO_NEXT : 0);
		table[i].next = (uint16_t)(i + 1);
	}
	for (unsigned int i = 0; clock_cycles() < end; i++) {
		entry = &table[i % TABLE_ENTRIES];
		/* As many as fit into the ring: it is the table that is wrong here. */
		if (i % 64 == 0 &&
			(uint16_t)(queue->available_index - queue->used->index) < queue->size) {
			offer_table(queue, sizeof(table));
			set16(queue->doorbell, queue->index);
		}
		entry->length = random_number();
		entry->next = (uint16_t)random_number();
		entry->address = (uint64_t)random_number() << (i % 20);
		entry->length = 64;
		entry->next = (uint16_t)((i + 1) % TABLE_ENTRIES);
		entry->address = (uint64_t)room;
		queue->descriptors[0].length = random_number();
		queue->descriptors[0].length = sizeof(table);
	}
}

static void ring_is_noise(struct queue *queue)
{
	for (uint16_t i = 0; i < queue->size; i++)
		describe(queue, i,
			(struct descriptor){(uint64_t)random_number() << (random_number() % 24),
				random_number() >> (random_number() % 32),
				(uint16_t)(random_number() & 7), (uint16_t)random_number()});
	for (uint16_t i = 0; i < queue->size; i++)
		offer(queue, (uint16_t)(random_number() % queue->size));
}

static const struct kind {
	const char *name;
	void (*act)(struct queue *queue);
} kinds[] = {
	{"index", index_jumps},
	{"head", head_is_outside},
	{"loop", chain_is_a_loop},
	{"next", next_is_outside},
	{"length", length_is_huge},
	{"zero", length_is_zero},
	{"address", address_is_wild},
	{"direction", direction_is_wrong},
	{"twice", heads_come_twice},
	{"table-loop", table_is_a_loop},
	{"table-odd", table_is_odd},
	{"table-table", table_in_a_table},
	{"table-huge", table_is_huge},
	{"table-changes", table_changes},
	{"noise", ring_is_noise},
};

/* --- Around them --- */

static void bring_up(const struct target *target)
{
	if (target->net)
		net_open(target->net);
	else
		device_begin(target->device);
}

static uint8_t status_of(const struct target *target)
{
	return virtio_status(target->net ? &target->net->virtio : &target->device->virtio);
}

/* How the device took it: whether it asked for a reset. */
static bool do_one(const struct target *target, const struct kind *kind)
{
	bool asked;

	kind->act(target->queue);
	full_barrier();
	set16(target->queue->doorbell, target->queue->index);
	wait_ms(SETTLE_MS);
	asked = status_of(target) & STATUS_NEEDS_RESET;
	bring_up(target);
	return asked;
}

static void do_rings(const struct target *target, const char *name, char *reply, size_t size)
{
	uint64_t done = 0, asked = 0;

	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		if (!same(name, "all") && !same(name, kinds[i].name))
			continue;
		asked += do_one(target, &kinds[i]);
		done++;
	}
	format_to(reply, size, "misbehaved: %u kinds, %u times a reset was asked for", done, asked);
}

/* Frames are on their way each time. */
static void do_resets(struct net *net, uint64_t times, char *reply, size_t size)
{
	for (uint64_t i = 0; i < times; i++) {
		for (unsigned int j = 0; j < 32; j++) {
			uint8_t *frame = net_frame(net, 0);

			if (!frame)
				break;
			memset(frame, 0xff, 64);
			net_send(net, 0, 64);
		}
		if (i % 4 == 3)
			wait_ms(1);
		net_open(net);
	}
	format_to(reply, size, "misbehaved: %u resets", times);
}

/* Common structure, notifications, ISR, device's own, MSI-X's table, configuration space: anything
 * of any width.  BARs and the command register are put right afterwards, as only firmware could. */
static void do_registers(struct net *net, uint64_t times, char *reply, size_t size)
{
	const uint64_t bases[] = {net->virtio.common, net->virtio.notify, net->virtio.isr,
		net->virtio.config, net->virtio.msix_table, net->virtio.pci.config};
	uint32_t saved[PCI_BYTES / 4];

	for (unsigned int i = 0; i < PCI_BYTES / 4; i++)
		saved[i] = get32(net->virtio.pci.config + (uint64_t)i * 4);
	for (uint64_t i = 0; i < times; i++) {
		uint64_t at = bases[random_number() % 6] + random_number() % PCI_BYTES;

		switch (random_number() % 6) {
		case 0: set8(at, (uint8_t)random_number()); break;
		case 1: set16(at & ~UINT64_C(1), (uint16_t)random_number()); break;
		case 2: set32(at & ~UINT64_C(3), random_number()); break;
		case 3: get32(at & ~UINT64_C(3)); break;
		case 4: get16(at & ~UINT64_C(1)); break;
		default: get8(at);
		}
	}
	for (unsigned int i = 1; i < PCI_BYTES / 4; i++)
		set32(net->virtio.pci.config + (uint64_t)i * 4, saved[i]);
	net_open(net);
	format_to(reply, size, "misbehaved: %u registers", times);
}

static bool find_target(struct target *target, const char *name)
{
	*target = (struct target){0};
	if (same(name, "net") && n_nets > 0) {
		target->net = &nets[0];
		target->queue = &target->net->send[0];
		return true;
	}
	if (same(name, "rng"))
		target->device = device_open(VIRTIO_RNG, 0, 0, 1);
	else if (same(name, "block"))
		target->device = device_open(VIRTIO_BLOCK, 0, 0, 1);
	if (!target->device)
		return false;
	target->device->wanted |= VIRTIO_F_INDIRECT;
	device_begin(target->device);
	target->queue = &target->device->queues[0];
	return true;
}

void misbehave(char *line, char *reply, size_t size)
{
	struct target target;
	const char *device = word(&line), *kind = word(&line);
	uint64_t times = number(word(&line));

	seed = clock_cycles() | 1;
	if (!find_target(&target, device))
		format_to(reply, size, "misbehave: no %s", device);
	else if (same(kind, "reset") && target.net)
		do_resets(target.net, times, reply, size);
	else if (same(kind, "registers") && target.net)
		do_registers(target.net, times, reply, size);
	else
		do_rings(&target, kind, reply, size);
}
