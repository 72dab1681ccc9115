/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whom a syslog sink over TLS trusts, and what it proves itself with: the files that its options
 * name, the check of the server's certificate (RFC 5425, 5), and what is said of one that is not
 * right.  Used by sinks/syslog_tls.c alone, on the sink's thread.
 */
#ifndef SINKS_SYSLOG_TRUST_H
#define SINKS_SYSLOG_TRUST_H

#include <openssl/ssl.h>

#include "sinks/sink_type.h"

struct syslog_trust {
	SSL_CTX *context;
	const char *peer;	  /* "tls logs.example:6514", for messages. */
	const char *authority;	  /* The file of those who may sign; NULL: the system's. */
	char name[SINK_HOST_MAX]; /* The name or address that the certificate must be for. */
	bool name_is_address;
	bool has_fingerprint; /* Then the certificate is known by it, and by nothing else. */
	uint8_t fingerprint[SINK_FINGERPRINT_BYTES];
	char complaint[SINK_ERROR_MAX]; /* What is wrong with the certificate; "": nothing yet. */
};

/* Reads the files.  `peer` must outlive *trust, which must not move.  Returns 0, or a negative
 * errno with a sentence in error[]; syslog_trust_unload() in either case. */
int syslog_trust_load(struct syslog_trust *trust, const struct sink_settings *settings,
	const char *peer, char *error, size_t error_size);

/* Has a connection check the certificate, and say in `complaint` what it does not like. */
bool syslog_trust_apply(struct syslog_trust *trust, SSL *connection);

void syslog_trust_unload(struct syslog_trust *trust);

#endif
