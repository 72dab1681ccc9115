/* SPDX-License-Identifier: Apache-2.0 */
/*
 * MAC learning: which port a MAC address lives behind, per VLAN.
 *
 * A fixed hash table of small buckets.  Lookups take no lock: an entry is one 64-bit word for the
 * address and VLAN and one for port, kind and time, each read and written whole.  Changes take the
 * table's spin lock; they happen on the miss path only, when an address is new or has moved.
 * A vNIC's configured MACs are static entries, which never age, move or give way.
 */
#ifndef DATAPATH_MAC_TABLE_H
#define DATAPATH_MAC_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct mac_table;

/* A table for `capacity` addresses.  NULL without memory. */
struct mac_table *mac_table_create(size_t capacity);
void mac_table_destroy(struct mac_table *table); /* Accepts NULL. */

/* The port behind which `mac` lives in `vlan`, or 0.  Any thread, no lock. */
uint16_t mac_lookup(const struct mac_table *table, uint16_t vlan, const uint8_t mac[6]);

enum mac_learn_result {
	MAC_KNOWN,   /* Already there, behind this port. */
	MAC_LEARNED, /* New. */
	MAC_MOVED,   /* It was behind another port: cached forwarding must be made anew. */
	MAC_STATIC,  /* Configured for another port: refused. */
	MAC_LIMIT,   /* The port has `limit` addresses: refused. */
	MAC_FULL,    /* The table is full: refused. */
};

/* Learns from a frame that came in by `port` at `now` (seconds, conn_clock()).  `limit` is the
 * port's bound on learned addresses, 0 for none.  Any worker. */
enum mac_learn_result mac_learn(struct mac_table *table, uint16_t vlan, const uint8_t mac[6],
	uint16_t port, uint32_t limit, uint32_t now);

/* What mac_learn() would say, without learning.  Any thread. */
enum mac_learn_result mac_would_learn(struct mac_table *table, uint16_t vlan, const uint8_t mac[6],
	uint16_t port, uint32_t limit);

/* Says that traffic of an address was seen behind `port`, without changing where it lives, which is
 * returned; 0 if that is not known.  The sweep. */
uint16_t mac_refresh(
	struct mac_table *table, uint16_t vlan, const uint8_t mac[6], uint16_t port, uint32_t now);

/* Adds or removes a configured address.  Returns false if the table is full or, with `port` other
 * than its owner, there is one already.  The control plane. */
bool mac_add_static(struct mac_table *table, uint16_t vlan, const uint8_t mac[6], uint16_t port);
void mac_remove_static(struct mac_table *table, uint16_t vlan, const uint8_t mac[6]);

/* Forgets all, learned and static, of one port. */
void mac_flush_port(struct mac_table *table, uint16_t port);

/* Forgets what was learned of one port. */
void mac_flush_learned(struct mac_table *table, uint16_t port);

/* Forgets learned addresses not seen for `age_seconds`.  The sweep.  Returns how many. */
size_t mac_expire(struct mac_table *table, uint32_t now, uint32_t age_seconds);

struct mac_entry {
	uint8_t mac[6];
	uint16_t vlan, port;
	bool is_static;
	uint32_t last_seen;
};

/* Calls `each` for every entry.  Any thread; entries that change meanwhile may or may not show. */
void mac_for_each(const struct mac_table *table,
	void (*each)(const struct mac_entry *entry, void *context), void *context);

size_t mac_count(const struct mac_table *table);

#endif
