/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the tests of the connection table share: keys made of a number, and a file of their own.
 * Include it after cmocka.h.
 */
#ifndef TESTS_UNIT_CONN_FIXTURE_H
#define TESTS_UNIT_CONN_FIXTURE_H

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "datapath/conn.h"

static const uint8_t boot_id[16] = {1, 2, 3};

/* Makes an empty file of its own and writes its name to `path`. */
static inline void make_path(char path[64])
{
	int fd;

	strcpy(path, "/dev/shm/cordon-conn-test-XXXXXX");
	fd = mkstemp(path);
	assert_true(fd >= 0);
	close(fd);
}

/* A TCP connection from 10.x.y.z:1000 to 192.0.2.1:443, in by port 1. */
static inline struct conn_key key_ipv4(uint32_t i)
{
	struct conn_key key = {
		.net = 7,
		.source_port = htons(1000),
		.destination_port = htons(443),
		.in_port = 1,
		.protocol = IPPROTO_TCP,
		.kind = CONN_KEY_IPV4,
	};
	uint32_t source = htonl(0x0a000000 + i), destination = htonl(0xc0000201);

	key.source.s6_addr16[5] = key.destination.s6_addr16[5] = 0xffff;
	memcpy(&key.source.s6_addr[12], &source, 4);
	memcpy(&key.destination.s6_addr[12], &destination, 4);
	return key;
}

static inline struct conn_key key_ipv6(uint32_t i)
{
	struct conn_key key = key_ipv4(i);

	key.kind = CONN_KEY_IPV6;
	key.source.s6_addr32[0] = key.destination.s6_addr32[0] = htonl(0x20010db8);
	return key;
}

/* Makes and publishes a connection, with its reverse in by `out_port` unless that is 0.  Its rule
 * is the number that the key was made of. */
static inline uint32_t add_to(struct conn_table *table, struct conn_cache *cache,
	const struct conn_key *key, uint16_t out_port)
{
	struct conn_key reverse = conn_key_reverse(key, out_port);
	uint32_t flow = conn_alloc(table, cache, key, conn_hash(table, key),
		out_port ? &reverse : NULL, conn_hash(table, &reverse));

	if (flow == CONN_FLOW_NONE)
		return flow;
	conn_of_flow(table, flow)->verdict = CONN_ALLOWED;
	conn_of_flow(table, flow)->rule = ntohl(key->source.s6_addr32[3]) & 0xffffff;
	return conn_publish(table, cache, flow);
}

static inline uint32_t find_in(const struct conn_table *table, const struct conn_key *key)
{
	return conn_lookup(table, key, conn_hash(table, key));
}

#endif
