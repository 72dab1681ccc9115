/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is announced: the connections that FTP and TFTP are about to open, until they are opened.
 *
 * There is one entry for each control connection whose rule names a helper: how far its lines have
 * been read, and the one connection that it has announced last.  An announcement is good for
 * EXPECTATION_SECONDS and for one connection; a later one of the same control connection takes its
 * place.  Once the connection is there, it is judged by its control connection's rule
 * (related.c) and nothing here is needed for it.
 *
 * Memory is bounded: the table has a fixed size.  A port gets no more of it than is free for
 * others, and an entry that was not used for a while gives way; a control connection that finds no
 * place is still passed on, but what it announces is not let through.
 *
 * Shared by all workers, under one lock that is held for the reading of a segment.  Only packets of
 * control connections take it, and denied first packets while anything is announced: see
 * expectation_any().  What is announced is lost with the process.
 *
 * No DPDK, no Open vSwitch.
 */
#ifndef DATAPATH_EXPECTATION_H
#define DATAPATH_EXPECTATION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "datapath/conn_key.h"
#include "zones/announcement.h"

enum { EXPECTATION_SECONDS = 60, EXPECTATION_IDLE_SECONDS = 600 };

struct expectation_table;

/* A table for `entries` control connections (16 to 2^20).  NULL with errno set. */
struct expectation_table *expectation_table_create(uint32_t entries);
void expectation_table_destroy(struct expectation_table *table); /* Accepts NULL. */

/* A control connection, as the connection table knows it. */
struct control_connection {
	uint32_t number;	    /* Of the connection... */
	uint64_t start_ns;	    /* ...which is another one if it began at another time. */
	const struct conn_key *key; /* Of its client's packets. */
	uint16_t server_side;	    /* The switch port that the server is behind; 0: not known. */
};

/* A TCP segment of an FTP control connection, after it has passed inspection. */
struct control_segment {
	bool from_client, is_syn;
	uint32_t sequence;
	const uint8_t *payload;
	size_t payload_bytes;
};

/* Reads it, and expects what it announces.  `now` is in seconds and does not go back. */
enum announced expectation_read_ftp(struct expectation_table *table,
	const struct control_connection *control, const struct control_segment *segment,
	uint32_t now);

/* Expects the server's answer to a TFTP request, which comes from another port of the server to
 * the one that the request was sent from. */
void expectation_add_tftp(
	struct expectation_table *table, const struct control_connection *control, uint32_t now);

/* A connection that was announced. */
struct expectation {
	uint16_t opener_side;  /* The switch port that it must come in by; 0: not known. */
	uint16_t control_port; /* The transport port of its control connection's server; host order.
				*/
	bool server_opens;
};

/* True if anything may be announced at the moment.  Any thread, no lock. */
bool expectation_any(const struct expectation_table *table, uint32_t now);

/* True if the first packet with this key, which came in by key->in_port, was announced; *found says
 * by what.  It stays announced until expectation_done(): the caller has more to ask. */
bool expectation_find(struct expectation_table *table, const struct conn_key *key, uint32_t now,
	struct expectation *found);

/* The connection with this key is there: it is announced no more. */
void expectation_done(struct expectation_table *table, const struct conn_key *key);

#endif
