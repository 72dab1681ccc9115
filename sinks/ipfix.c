/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The sink that exports records to an IPFIX collector (RFC 7011), as biflows (RFC 5103), over UDP
 * or TCP.  Called by the sink's thread, through sink_ipfix.
 *
 * Each opening is a transport session of its own: sequence numbers begin at 0, and the collector is
 * told all templates first.  Over UDP, where they may be lost and a collector may be started later,
 * they are told again every `template-seconds` (RFC 7011, 8.4).
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#include "sinks/ipfix_encoder.h"
#include "sinks/sink_type.h"
#include "sinks/socket.h"

/* IANA's for IPFIX, over either transport. */
#define DEFAULT_PORT "4739"

enum {
	IPV6_AND_UDP_HEADERS = 40 + 8,
	/* A collector's socket holds some ninety datagrams, if it has the buffer that Linux gives
	 * to who asks for no other.  So no more are sent in a burst, and time passes between two.
	 */
	BURST_DATAGRAMS = 64,
	BURST_NS = 500000,
};

struct ipfix {
	const struct sink_place *place;
	struct ipfix_encoder *encoder;
	struct sink_socket socket;
	bool is_unsettled;	    /* Something was sent since the last flush. */
	unsigned int n_burst;	    /* Datagrams that were sent... */
	uint64_t burst_ns;	    /* ...since then, on the monotonic clock. */
	uint64_t templates_ns;	    /* Between two announcements; 0: there is one only. */
	uint64_t next_templates_ns; /* On the monotonic clock. */
};

static uint64_t monotonic_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* --- Sending ---------------------------------------------------------------------------------- */

/* After a burst of datagrams, waits until its time is over. */
static void pace(struct ipfix *ipfix)
{
	uint64_t now_ns;

	if (ipfix->socket.type == SOCK_STREAM || ++ipfix->n_burst < BURST_DATAGRAMS)
		return;
	now_ns = monotonic_ns();
	if (now_ns < ipfix->burst_ns + BURST_NS) {
		uint64_t left_ns = ipfix->burst_ns + BURST_NS - now_ns;

		nanosleep(&(struct timespec){.tv_nsec = (long)left_ns}, NULL);
	}
	ipfix->n_burst = 0;
	ipfix->burst_ns = monotonic_ns();
}

static int send_message(struct ipfix *ipfix, char *error, size_t error_size)
{
	const uint8_t *message;
	size_t length = ipfix_encoder_take(ipfix->encoder, &message);

	if (length == 0)
		return 0;
	ipfix->is_unsettled = true;
	pace(ipfix);
	return sink_socket_send(ipfix->place, &ipfix->socket, message, length, error, error_size);
}

static int announce(struct ipfix *ipfix, char *error, size_t error_size)
{
	int failure;

	ipfix_encoder_begin_announcement(ipfix->encoder);
	while ((failure = ipfix_encoder_announce(ipfix->encoder, error, error_size)) == -ENOBUFS) {
		failure = send_message(ipfix, error, error_size);
		if (failure)
			return failure;
	}
	if (ipfix->templates_ns)
		ipfix->next_templates_ns = monotonic_ns() + ipfix->templates_ns;
	return failure;
}

static int settle(struct ipfix *ipfix, char *error, size_t error_size)
{
	int failure = send_message(ipfix, error, error_size);

	/* A stream's other end may also go when there is nothing to send. */
	if (failure || (!ipfix->is_unsettled && ipfix->socket.type == SOCK_DGRAM))
		return failure;
	failure = sink_socket_settle(ipfix->place, &ipfix->socket, error, error_size);
	ipfix->is_unsettled = failure != 0;
	return failure;
}

/* --- Opening ---------------------------------------------------------------------------------- */

/* A number for the sink that stays the same, and that the host's other sinks do not have. */
static uint32_t process_of(const char *name)
{
	uint32_t hash = 2166136261u;

	for (; *name; name++)
		hash = (hash ^ (uint8_t)*name) * 16777619u;
	return hash;
}

static int create_encoder(struct ipfix *ipfix, bool is_stream, char *error, size_t error_size)
{
	const struct sink_settings *settings = ipfix->place->settings;
	uint64_t mtu = sink_setting_number(settings, "mtu");
	struct ipfix_encoder_options options = {
		.enterprise = (uint32_t)sink_setting_number(settings, "enterprise-number"),
		.domain = (uint32_t)sink_setting_number(settings, "observation-domain"),
		.process = process_of(ipfix->place->name),
		.message_max = is_stream ? IPFIX_MESSAGE_MOST : mtu - IPV6_AND_UDP_HEADERS,
	};

	return ipfix_encoder_create(&options, &ipfix->encoder, error, error_size);
}

static int connect_and_announce(
	struct ipfix *ipfix, bool is_stream, unsigned int first, char *error, size_t error_size)
{
	const struct sink_settings *settings = ipfix->place->settings;
	int failure = create_encoder(ipfix, is_stream, error, error_size);

	if (!failure)
		failure = sink_socket_open(ipfix->place, sink_setting_text(settings, "collector"),
			DEFAULT_PORT, is_stream ? SOCK_STREAM : SOCK_DGRAM, first, &ipfix->socket,
			error, error_size);
	if (!failure)
		failure = announce(ipfix, error, error_size);
	return failure ? failure : settle(ipfix, error, error_size);
}

static void end_session(struct ipfix *ipfix)
{
	sink_socket_close(&ipfix->socket);
	ipfix_encoder_free(ipfix->encoder);
	ipfix->encoder = NULL;
	ipfix->is_unsettled = false;
}

/* Over UDP a refusal of the first datagrams is what tells that nobody listens at an address; there
 * may be another one, of IPv4. */
static int begin_session(struct ipfix *ipfix, bool is_stream, char *error, size_t error_size)
{
	unsigned int first = 0;
	int failure;

	do {
		failure = connect_and_announce(ipfix, is_stream, first, error, error_size);
		if (failure)
			end_session(ipfix);
		first = ipfix->socket.address + 1;
	} while (failure == -ECONNREFUSED && first < ipfix->socket.n_addresses);
	return failure;
}

static void ipfix_close(void *state)
{
	struct ipfix *ipfix = state;

	if (!ipfix)
		return;
	end_session(ipfix);
	free(ipfix);
}

static int ipfix_open(const struct sink_place *place, void **state, char *error, size_t error_size)
{
	const char *transport = sink_setting_text(place->settings, "transport");
	bool is_stream = strcmp(transport, "tcp") == 0;
	struct ipfix *ipfix = calloc(1, sizeof(*ipfix));
	int failure;

	if (!ipfix) {
		snprintf(error, error_size, "no memory for IPFIX");
		return -ENOMEM;
	}
	ipfix->place = place;
	ipfix->socket.fd = -1;
	if (!is_stream)
		ipfix->templates_ns =
			sink_setting_number(place->settings, "template-seconds") * 1000000000u;
	failure = begin_session(ipfix, is_stream, error, error_size);
	if (failure)
		ipfix_close(ipfix);
	else
		*state = ipfix;
	return failure;
}

/* --- Records ---------------------------------------------------------------------------------- */

static int ipfix_write(void *state, const struct log_record *record, char *error, size_t error_size)
{
	struct ipfix *ipfix = state;
	int failure;

	while ((failure = ipfix_encoder_add(ipfix->encoder, record, error, error_size)) ==
		-ENOBUFS) {
		failure = send_message(ipfix, error, error_size);
		if (failure)
			return failure;
	}
	return failure;
}

/* By the monotonic clock: the wall clock may be set back. */
static int ipfix_flush(void *state, uint64_t now_ns, char *error, size_t error_size)
{
	struct ipfix *ipfix = state;
	int failure = 0;

	(void)now_ns;
	if (ipfix->templates_ns && monotonic_ns() >= ipfix->next_templates_ns)
		failure = announce(ipfix, error, error_size);
	return failure ? failure : settle(ipfix, error, error_size);
}

const struct sink_type sink_ipfix = {
	.kind = &sink_kinds[SINK_KIND_IPFIX],
	.open = ipfix_open,
	.write = ipfix_write,
	.flush = ipfix_flush,
	.close = ipfix_close,
};
