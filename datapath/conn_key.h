/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What identifies a flow: one direction of a connection as it comes in by one port.
 */
#ifndef DATAPATH_CONN_KEY_H
#define DATAPATH_CONN_KEY_H

#include <netinet/in.h>
#include <stdint.h>
#include <string.h>

enum conn_key_kind {
	CONN_KEY_IPV4 = 1,
	CONN_KEY_IPV6,
	CONN_KEY_ETHERNET, /* Not IP: MACs as addresses, ethertype as ports. */
};

/* Port numbers are 1 .. CONN_PORTS_MAX - 1. */
enum { CONN_PORTS_MAX = 1024 };

/* 44 bytes without padding: compared and hashed as they are.  Ports in network byte order. */
struct conn_key {
	struct in6_addr source, destination;
	uint32_t net; /* VLAN id, with a second tag's id in bits 12 to 23; or 1 << 24 | VNI. */
	uint16_t source_port, destination_port;
	uint16_t in_port;
	uint8_t protocol;
	uint8_t kind; /* enum conn_key_kind. */
};

_Static_assert(sizeof(struct conn_key) == 44, "the key has no padding");

/* The same connection's other direction, coming in by `in_port`. */
static inline struct conn_key conn_key_reverse(const struct conn_key *key, uint16_t in_port)
{
	return (struct conn_key){
		.source = key->destination,
		.destination = key->source,
		.net = key->net,
		.source_port = key->destination_port,
		.destination_port = key->source_port,
		.in_port = in_port,
		.protocol = key->protocol,
		.kind = key->kind,
	};
}

#endif
