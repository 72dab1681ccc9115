/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Protocols that open further connections: what FTP (RFC 959, 2428) and TFTP (RFC 1350) say of them
 * beforehand, so that those can be let through, and no others.
 *
 * What is read here opens a hole, so it is read narrowly.  A command or a reply counts only
 * - at the beginning of a line of the control connection, and whole in one segment: text that looks
 *   like one in the middle of a line, or that a peer was made to echo, does not;
 * - from the side that may say it: PORT and EPRT from the client; 227 and 229 from the server, and
 *   only in answer to the client's PASV or EPSV, of which each answers one;
 * - if it names an address of its own sender (RFC 2577, 3: the bounce attack) and a port from 1024
 *   on, where no service of the system waits.
 *
 * Bytes and structs in, no state but the caller's, any thread.
 */
#ifndef ZONES_ANNOUNCEMENT_H
#define ZONES_ANNOUNCEMENT_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* One direction of an FTP control connection, as far as it was seen. */
struct ftp_side {
	uint32_t next; /* The sequence number that is read next... */
	bool is_known; /* ...if it is known; else the next segment's is taken for it. */
	bool mid_line; /* It is not where a line begins, as far as known. */
};

/* An FTP control connection.  All zero: taken up in mid-stream; its first whole line synchronises.
 */
struct ftp_session {
	struct ftp_side client, server;
	bool passive_asked, extended_asked; /* PASV or EPSV was not answered yet. */
};

enum announced {
	ANNOUNCED_NOTHING,
	ANNOUNCED_CONNECTION, /* The other side will open one to *port of the sender. */
	/* It names another's address, or a port below 1024: a bounce.  The segment is to be
	 * dropped, and counts as not seen. */
	ANNOUNCED_REFUSED,
};

/* Reads a TCP segment that passed, in the order of their arrival: its `n` bytes of payload begin at
 * `sequence`, or one after it with `is_syn`.  `sender` is its source address.
 * *port, in host byte order, is set with ANNOUNCED_CONNECTION. */
enum announced ftp_read(struct ftp_session *session, bool from_client, uint32_t sequence,
	bool is_syn, const uint8_t *payload, size_t n, const struct in6_addr *sender,
	uint16_t *port);

/* True if the payload of a client's UDP packet is a request of TFTP to read or write, which the
 * server will answer from another port to the one that the packet came from. */
bool tftp_is_request(const uint8_t *payload, size_t n);

#endif
