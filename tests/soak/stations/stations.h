/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Stations: the machines around a switch under soak, all played by one thread of one program.
 *
 * A *wire* is what is plugged into the switch: one end of a veth, or a vhost-user socket.  An
 * *endpoint* is a machine with a MAC and addresses; a vNIC's wire has one, an uplink's has several.
 * Endpoints send each other frames that say whom they are from and for, and judge each frame that
 * they get by the *cells*: whether the source may reach them now.  soak.py says when a cell
 * changes.
 *
 * Parts, in the order in which a frame meets them: traffic.c decides what to send, frame.c builds
 * and reads frames, kernel_wire.c and guest_wire.c (with guest_ring.c) carry them, ledger.c judges
 * them.  main.c reads the commands.
 */
#ifndef STATIONS_H
#define STATIONS_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum {
	ENDPOINTS_MAX = 32,
	WIRES_MAX = 32,
	SERVICES = 2, /* UDP ports that the policies speak of. */
	VERSIONS = 2, /* IPv4, IPv6. */
	SERVICE_PORT = 7000,
	FIRST_SOURCE_PORT = 10000, /* No policy allows a port from here on. */
	FRAME_MAX = 1514,
	NAME_BYTES = 32,
	EVERYBODY = 0xff, /* The destination of a broadcast. */
};

/* What a frame is. */
enum frame_kind {
	FRAME_REQUEST,
	FRAME_REPLY,	 /* Of a request that arrived, in its connection. */
	FRAME_BROADCAST, /* To all of a VLAN. */
	FRAME_SPOOFED,	 /* In another's name: nobody may ever get it. */
	FRAME_PROBE,	 /* A request that must arrive. */
	FRAME_KINDS,
};

/* What a frame says of itself, behind its UDP header. */
struct label {
	uint32_t magic, run;
	uint8_t kind, service, source, destination; /* Of a reply: its own, not the request's. */
	uint16_t vlan, flow_port; /* The VLAN it was sent in; the connection's source port. */
	uint64_t number, sent_ns;
	uint32_t padding_bytes, padding_seed; /* What follows the label. */
};

struct wire;

/* What carries frames. */
struct wire_kind {
	/* Sends a frame.  False if it was not taken. */
	bool (*send)(struct wire *wire, const uint8_t *frame, size_t bytes);
	void (*close)(struct wire *wire);
};

struct soak;

/* What epoll hands back: call handle(context). */
struct watch {
	void (*handle)(void *context);
	void *context;
};

struct wire {
	bool open;
	char name[NAME_BYTES];
	bool trunk; /* Frames carry their endpoint's VLAN as a tag. */
	const struct wire_kind *kind;
	struct soak *soak;
	int socket;	     /* A kernel wire's packet socket, or a guest's listening one. */
	struct watch watch;  /* Of the socket. */
	struct guest *guest; /* A guest's rings and connection. */
	uint64_t sent, received, refused, foreign;
};

struct endpoint {
	bool exists;
	struct wire *wire; /* NULL while it is unplugged. */
	uint16_t vlan;
	uint8_t mac[6];
	struct in_addr ipv4;
	struct in6_addr ipv6;
	uint64_t since_ns; /* As it is; UINT64_MAX while its port changes. */
};

enum cell_state { CELL_ALLOWED = 'A', CELL_DENIED = 'D', CELL_CHANGING = '?' };

/* May `source` open connections to `destination`'s service? */
struct cell {
	uint8_t state;	   /* enum cell_state. */
	uint64_t since_ns; /* In this state. */
};

/* The current connection from one endpoint to another's service, by one IP version. */
struct slot {
	uint16_t port; /* Its source port; the next connection's is one more. */
	uint16_t left; /* Frames until the next one. */
	uint16_t told; /* The last whose arrival stands in the list of flows. */
	bool probe_waits;
};

struct soak {
	uint32_t run;
	uint64_t random[2];
	uint64_t number; /* Of the frame sent last. */
	struct wire wires[WIRES_MAX];
	struct endpoint endpoints[ENDPOINTS_MAX];
	struct cell cells[ENDPOINTS_MAX][ENDPOINTS_MAX][SERVICES];
	struct slot slots[ENDPOINTS_MAX][ENDPOINTS_MAX][SERVICES][VERSIONS];

	uint32_t rate; /* Frames per second, answers too; 0: none. */
	double owed;
	uint64_t last_tick_ns;

	uint64_t sent[FRAME_KINDS], arrived[FRAME_KINDS];
	uint64_t denied_tries; /* Requests that were sent though they may not arrive. */
	uint64_t flooded;      /* Frames for others that an uplink got. */
	uint64_t wrong, denied_seen, spoofed_seen, damaged; /* Broken promises. */
	FILE *flows;	  /* A line for each connection of which a frame arrived. */
	FILE *violations; /* A line for each broken promise. */

	int epoll;
	bool quit;
};

/* --- main.c --------------------------------------------------------------------------------- */

uint64_t clock_ns(void); /* Monotonic. */

void watch_add(struct soak *soak, int fd, struct watch *watch);
void watch_remove(struct soak *soak, int fd);

/* --- traffic.c ------------------------------------------------------------------------------ */

uint32_t random_below(struct soak *soak, uint32_t limit);

/* Sends what is due. */
void traffic_tick(struct soak *soak, uint64_t now_ns);

/* Sends one frame of a connection.  False if the wire did not take it. */
bool traffic_send(struct soak *soak, enum frame_kind kind, unsigned int from, unsigned int to,
	unsigned int service, unsigned int version);

/* Answers a request in its connection. */
void traffic_reply(struct soak *soak, const struct label *request, unsigned int version);

/* Sends a probe for each allowed cell that still waits for one; with `first`, for all. */
void traffic_probe(struct soak *soak, bool first);

/* --- frame.c -------------------------------------------------------------------------------- */

/* All that a frame is built from. */
struct frame_plan {
	const struct endpoint *from, *to; /* `to` NULL: everybody. */
	const struct endpoint *as;	  /* Whose addresses it bears: `from`, or for a spoof
					   * another's. */
	bool spoof_mac;			  /* With a spoof: the MAC too. */
	bool tagged;
	unsigned int version; /* 0: IPv4, 1: IPv6. */
	uint16_t source_port, destination_port;
	struct label label;
};

/* Writes the frame to `out`, of FRAME_MAX + 4 bytes.  Returns its length. */
size_t frame_build(const struct frame_plan *plan, uint8_t *out);

enum frame_reading { FRAME_OURS, FRAME_FOREIGN, FRAME_DAMAGED };

/* What a received frame says. */
struct frame_seen {
	bool tagged;
	uint16_t vlan; /* Of the tag. */
	unsigned int version;
	struct label label;
};

enum frame_reading frame_read(
	uint32_t run, const uint8_t *frame, size_t bytes, struct frame_seen *seen);

/* --- kernel_wire.c, guest_wire.c ------------------------------------------------------------ */

/* Opens a packet socket on `device` of a namespace.  0 or a negative errno. */
int kernel_wire_open(struct wire *wire, const char *netns, const char *device);

/* Makes a guest's socket and waits for the switch.  0 or a negative errno. */
int guest_wire_open(struct wire *wire, const char *path, unsigned int queue_pairs);

/* True while a switch is connected and the rings are live. */
bool guest_wire_is_connected(const struct wire *wire);

/* --- ledger.c ------------------------------------------------------------------------------- */

/* Judges a frame that came by `wire`. */
void ledger_receive(struct wire *wire, const uint8_t *frame, size_t bytes);

void ledger_set_cell(struct cell *cell, uint8_t state, uint64_t now_ns);

#endif
