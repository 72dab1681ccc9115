/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The payload of the small guest: what each of its files gives the others, in the order in which
 * they meet a packet.
 *
 * One processor, no allocation but arena(), no library.  Everything runs in ring 3, natively.  All
 * numbers in frames are big endian, all in virtio's structures little endian.
 */
#ifndef GUEST_H
#define GUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ring0.h"

/* --- entry.S --- */

extern const uint8_t fault_entries[], interrupt_entries[];
extern uint64_t idt[512];
extern volatile uint64_t interrupts, interrupt_counts[256];
extern volatile uint64_t fault_report[5]; /* Vector, error code, RIP, CS, CR2. */

/* --- Ports, devices' registers, order, time --- */

static inline void out8(uint16_t port, uint8_t value)
{
	__asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port) : "memory");
}

static inline uint8_t in8(uint16_t port)
{
	uint8_t value;

	__asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port) : "memory");
	return value;
}

static inline void out32(uint16_t port, uint32_t value)
{
	__asm__ volatile("outl %0, %1" : : "a"(value), "Nd"(port) : "memory");
}

static inline uint32_t in32(uint16_t port)
{
	uint32_t value;

	__asm__ volatile("inl %1, %0" : "=a"(value) : "Nd"(port) : "memory");
	return value;
}

/* Plain moves: a hypervisor has to take them apart. */
#define REGISTER_ACCESS(bits, suffix, constraint)                                                  \
	static inline uint##bits##_t get##bits(uint64_t address)                                   \
	{                                                                                          \
		uint##bits##_t value;                                                              \
                                                                                                   \
		__asm__ volatile("mov" suffix " (%1), %0"                                          \
				 : constraint(value)                                               \
				 : "r"(address)                                                    \
				 : "memory");                                                      \
		return value;                                                                      \
	}                                                                                          \
	static inline void set##bits(uint64_t address, uint##bits##_t value)                       \
	{                                                                                          \
		__asm__ volatile("mov" suffix " %0, (%1)"                                          \
				 :                                                                 \
				 : "q"(value), "r"(address)                                        \
				 : "memory");                                                      \
	}

REGISTER_ACCESS(8, "b", "=q")
REGISTER_ACCESS(16, "w", "=r")
REGISTER_ACCESS(32, "l", "=r")

static inline void set64(uint64_t address, uint64_t value)
{
	set32(address, (uint32_t)value);
	set32(address + 4, (uint32_t)(value >> 32));
}

/* The compiler keeps the order; so does the processor, but for a load behind a store. */
static inline void compiler_barrier(void)
{
	__asm__ volatile("" : : : "memory");
}

static inline void full_barrier(void)
{
	__asm__ volatile("lock addl $0, (%%rsp)" : : : "memory", "cc");
}

static inline uint64_t clock_cycles(void)
{
	uint32_t low, high;

	__asm__ volatile("rdtsc" : "=a"(low), "=d"(high));
	return (uint64_t)high << 32 | low;
}

/* --- memory.c --- */

void *memcpy(void *to, const void *from, size_t n);
void *memset(void *to, int value, size_t n);
int memcmp(const void *a, const void *b, size_t n);
size_t strlen(const char *text);
/* Zeroed memory for ever, aligned to 4096 if it is as large.  The guest ends if there is no more.
 */
void *arena(size_t bytes);

/* --- text.c: serial output and words --- */

/* %s, %u and %x (of 64 bits), %c. */
void print(const char *format, ...);
void format_to(char *to, size_t size, const char *format, ...);
bool same(const char *a, const char *b);
/* The value of NAME=VALUE in the command line; NULL if it is not there. */
const char *option(const char *name);
uint64_t option_number(const char *name, uint64_t otherwise);
/* Cuts the next word off a line: "" at its end. */
char *word(char **line);
uint64_t number(const char *text);
/* A character that came in on the serial port, or -1. */
int serial_take(void);

/* --- machine.c --- */

void machine_start(void);
uint64_t cycles_per_ms(void);
void wait_ms(uint64_t ms);
/* Waits for an interrupt, unless there were others than `seen`. */
void idle(uint64_t seen);
/* An interrupt in so long, once. */
void set_timer(uint32_t ms);
void ring0(uint64_t call);
/* The power button was pressed since the last time that this was asked. */
bool button_pressed(void);
void power_off(void) __attribute__((noreturn));
void reset(void) __attribute__((noreturn));
void fail(const char *format, ...) __attribute__((noreturn));

/* --- pci.c --- */

struct pci_device {
	uint64_t config; /* Its configuration space, in ECAM. */
	uint16_t vendor, device;
	unsigned int place; /* Its device's number times 8, and its function's. */
};

/* The next function from `place` on: false if there is none. */
bool pci_next(struct pci_device *device, unsigned int place);
/* A command: how many functions there are, and how many of them are no device's first. */
void pci_list(char *line, char *reply, size_t size);
uint64_t pci_bar(const struct pci_device *device, unsigned int bar);
/* The offset of a capability behind `after` (0: the first one); 0 if there is none. */
unsigned int pci_capability(const struct pci_device *device, uint8_t id, unsigned int after);

/* --- virtio.c: one device, and split queues --- */

enum virtio_type {
	VIRTIO_NET = 1,
	VIRTIO_BLOCK = 2,
	VIRTIO_CONSOLE = 3,
	VIRTIO_RNG = 4,
	VIRTIO_BALLOON = 5,
};

#define VIRTIO_F_INDIRECT  (UINT64_C(1) << 28)
#define VIRTIO_F_VERSION_1 (UINT64_C(1) << 32)

enum { VIRTIO_NEXT = 1, VIRTIO_WRITE = 2, VIRTIO_INDIRECT = 4, VIRTIO_NO_INTERRUPT = 1 };
enum { QUEUES_MAX = 34, QUEUE_SIZE_MAX = 1024, NO_VECTOR = 0xffff };

struct virtio {
	struct pci_device pci;
	enum virtio_type type;
	uint64_t common, notify, isr, config; /* Its structures, in its BAR. */
	uint64_t msix_table;
	unsigned int msix_capability, n_vectors;
	uint32_t notify_multiplier;
	uint64_t features;
	unsigned int n_queues;
};

struct descriptor {
	uint64_t address;
	uint32_t length;
	uint16_t flags, next;
};

struct available_ring {
	volatile uint16_t flags, index;
	volatile uint16_t heads[];
};

struct used_ring {
	volatile uint16_t flags, index;
	struct {
		volatile uint32_t head, length;
	} done[];
};

struct queue {
	uint16_t index, size;
	uint16_t available_index, used_index; /* The driver's places. */
	uint16_t n_free, *free;		      /* Descriptors. */
	uint64_t doorbell;
	volatile struct descriptor *descriptors;
	struct available_ring *available;
	struct used_ring *used;
};

/* The `nth` device of a type: false if there is none. */
bool virtio_find(struct virtio *device, enum virtio_type type, unsigned int nth);
/* Resets it and negotiates those of `features` that it offers. */
void virtio_begin(struct virtio *device, uint64_t features);
/* Sets queue `index` up, of at most `size`; interrupts by `vector` of the IDT, or NO_VECTOR. */
void virtio_queue(struct virtio *device, struct queue *queue, unsigned int index, unsigned int size,
	unsigned int vector);
void virtio_ready(struct virtio *device);
void virtio_reset(struct virtio *device);
uint8_t virtio_status(const struct virtio *device);
void virtio_mask(const struct virtio *device, unsigned int entry, bool masked);
bool virtio_pending(const struct virtio *device, unsigned int entry);

/* Puts a chain in, whose last `n_writable` parts the device writes.  False if there is no room. */
struct part {
	const volatile void *at;
	uint32_t bytes;
};
bool queue_put(
	struct queue *queue, const struct part *parts, unsigned int n, unsigned int n_writable);
void queue_kick(struct queue *queue);
/* Takes what the device has done: its head and length; frees the chain.  False if there is none. */
bool queue_take(struct queue *queue, uint16_t *head, uint32_t *length);
/* Puts a chain in and waits until it is done: how much was written; -1 after a second. */
int64_t queue_request(
	struct queue *queue, const struct part *parts, unsigned int n, unsigned int n_writable);

/* --- net.c: vNICs --- */

enum { NETS_MAX = 4, PAIRS_MAX = 8, FRAME_MAX = 1536, NET_HEADER = 12 };

struct address {
	uint8_t version; /* 4 or 6; 0: none. */
	uint8_t bytes[16];
};

struct net {
	struct virtio virtio;
	unsigned int number, n_pairs;
	uint8_t mac[6];
	struct address ipv4, ipv6;
	struct queue receive[PAIRS_MAX], send[PAIRS_MAX], control;
	uint8_t *receive_buffers[PAIRS_MAX], *send_buffers[PAIRS_MAX];
	uint64_t received, received_bytes, sent, sent_bytes, no_room;
	uint64_t discarded; /* Of the received: UDP to port 9. */
	/* Of a flood in windows: windows that the peer has had, frames of one that is not whole. */
	uint64_t credits, uncredited;
};

extern struct net nets[NETS_MAX];
extern unsigned int n_nets;

void net_start(void);
/* Brings one up again, from its reset on. */
void net_open(struct net *net);
uint64_t net_interrupts(const struct net *net);
void net_mask(struct net *net, bool masked);
/* Takes what has come and answers it; whether there was anything. */
bool net_poll(void);
/* Interrupts are wanted from now on, or not. */
void net_want_interrupts(bool wanted);
/* Sleeps until something has come, at most so long. */
void net_sleep(uint32_t ms);
/* Where a frame to be sent is written, or NULL; then sent with its length, or given back with 0. */
uint8_t *net_frame(struct net *net, unsigned int pair);
void net_send(struct net *net, unsigned int pair, size_t bytes);

/* --- frame.c: frames are built and read --- */

enum {
	ETHERTYPE_IPV4 = 0x0800,
	ETHERTYPE_ARP = 0x0806,
	ETHERTYPE_IPV6 = 0x86dd,
	PROTOCOL_ICMP = 1,
	PROTOCOL_TCP = 6,
	PROTOCOL_UDP = 17,
	PROTOCOL_ICMPV6 = 58,
	PORT_ECHO = 7,
	PORT_DISCARD = 9,
	PORT_CONTROL = 7777,
	PORT_FLOOD = 30000, /* And above: where floods come from. */
};

/* A frame taken apart; pointers into it. */
struct packet {
	uint8_t *frame;
	size_t bytes;
	uint16_t ethertype;
	uint8_t protocol;
	struct address source, destination;
	uint8_t *payload; /* Behind the IP header. */
	size_t payload_bytes;
};

uint16_t get_be16(const uint8_t *at);
uint32_t get_be32(const uint8_t *at);
void set_be16(uint8_t *at, uint16_t value);
void set_be32(uint8_t *at, uint32_t value);
bool address_read(struct address *address, const char *text);
void address_write(char *to, size_t size, const struct address *address);
bool address_same(const struct address *a, const struct address *b);

/* False if it is no frame that this guest knows, or is cut short. */
bool packet_read(struct packet *packet, uint8_t *frame, size_t bytes);
/* Headers of a packet to `destination` at `mac`; the payload's place. */
uint8_t *packet_begin(uint8_t *frame, const struct net *net, const uint8_t *mac,
	const struct address *destination, uint8_t protocol);
/* Lengths and checksums; the frame's length. */
size_t packet_end(uint8_t *frame, size_t payload_bytes);

/* --- neighbour.c --- */

bool neighbour_find(struct net *net, const struct address *address, uint8_t *mac);
void neighbour_learn(const struct address *address, const uint8_t *mac);

/* --- answer.c: what comes is answered --- */

void answer(struct net *net, uint8_t *frame, size_t bytes);

/* --- exchange.c: exchanges that this guest begins --- */

/* What waits for an answer looks at each packet that is for this guest. */
void exchange_look(const struct packet *packet);
void exchange_ping(char *line, char *reply, size_t size);
void exchange_udp(char *line, char *reply, size_t size);
void exchange_tcp(char *line, char *reply, size_t size);

/* --- flood.c --- */

void flood(char *line, char *reply, size_t size);
void shout(char *line, char *reply, size_t size);

/* --- device.c: other devices --- */

struct device {
	bool open;
	struct virtio virtio;
	uint64_t wanted; /* Features. */
	unsigned int n_queues;
	struct queue queues[3];
};

/* The nth one of a type; NULL if there is none.  Brought up when it, or one of these features, is
 * asked for first. */
struct device *device_open(
	enum virtio_type type, uint64_t nth, uint64_t features, unsigned int n_queues);
/* Brings it up again, from its reset on. */
void device_begin(struct device *device);

/* --- block.c, rng.c, balloon.c, console.c: commands --- */

void block_test(char *line, char *reply, size_t size);
void block_read(char *line, char *reply, size_t size);
void block_write(char *line, char *reply, size_t size);
void block_traffic(char *line, char *reply, size_t size);
void rng_test(char *line, char *reply, size_t size);
void balloon_command(char *line, char *reply, size_t size);
void console_command(char *line, char *reply, size_t size);

/* --- misbehave.c --- */

void misbehave(char *line, char *reply, size_t size);

/* --- command.c --- */

/* A command that came in a datagram: kept until the main loop gets to it.  False if one waits
 * already. */
struct command_sender {
	struct net *net;
	uint8_t mac[6];
	struct address address;
	uint16_t port;
};
bool command_keep(const struct command_sender *sender, const uint8_t *text, size_t bytes);
/* Runs what was kept, and what came in on the serial port; whether there was anything. */
bool command_poll(void);
void command_script(const char *script);
/* Whether "stop" was sent. */
bool command_stopped(void);
/* Everything else that goes on, once; for those who wait. */
void work(void);

#endif
