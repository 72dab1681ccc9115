/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The sink that sends records to a syslog server (RFC 5424), over UDP (RFC 5426), TCP (RFC 6587,
 * octet counting) or TLS (RFC 5425).  Called by the sink's thread, through sink_syslog.
 *
 * Syslog has no acknowledgements.  Over TCP and TLS a delivery is done when the other end's kernel
 * has all of it: what is lost after that, because the server ends before it has read it, nobody
 * can know here.  Over UDP it is done when it was sent, and nobody refused it at once.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "sinks/sink_type.h"
#include "sinks/socket.h"
#include "sinks/syslog_message.h"
#include "sinks/syslog_tls.h"

enum {
	BATCH_BYTES = 256 << 10, /* Handed to the kernel at once. */
	DATAGRAMS_MAX = 256,
	LENGTH_MAX = 8,	    /* "65507 " before a message on a stream. */
	LISTENING_MAX = 64, /* Reads of what a server says, at a time: it may never stop. */
};

enum transport { TRANSPORT_UDP, TRANSPORT_TCP, TRANSPORT_TLS, N_TRANSPORTS };

static const struct {
	const char *name;
	const char *port;     /* RFC 5426, 3.3; IANA's syslog-conn; RFC 5425, 4.1. */
	size_t message_bytes; /* What receivers should take: RFC 5426, 3.2; RFC 5425, 4.3.1. */
} transports[N_TRANSPORTS] = {
	[TRANSPORT_UDP] = {"udp", "514", 2048},
	[TRANSPORT_TCP] = {"tcp", "601", 8192},
	[TRANSPORT_TLS] = {"tls", "6514", 8192},
};

/* RFC 5424, table 1. */
static const struct {
	const char *name;
	unsigned int number;
} facilities[] = {
	{"user", 1},
	{"daemon", 3},
	{"auth", 4},
	{"authpriv", 10},
	{"local0", 16},
	{"local1", 17},
	{"local2", 18},
	{"local3", 19},
	{"local4", 20},
	{"local5", 21},
	{"local6", 22},
	{"local7", 23},
};

struct syslog {
	const struct sink_place *place;
	struct syslog_form form;
	enum transport transport;
	struct sink_socket socket;
	struct syslog_tls *tls; /* NULL over UDP and TCP. */
	uint32_t sequence_id;	/* Of the next message. */
	bool is_unsettled;	/* Something was sent since the last flush. */
	size_t message_max;
	/* Messages on their way: one after the other, and over UDP where each of them is. */
	char *batch;
	size_t used, allocated;
	unsigned int n_datagrams;
	struct mmsghdr datagrams[DATAGRAMS_MAX];
	struct iovec pieces[DATAGRAMS_MAX];
};

/* --- Sending ---------------------------------------------------------------------------------- */

static int send_batch(struct syslog *syslog, char *error, size_t error_size)
{
	size_t used = syslog->used;
	unsigned int n = syslog->n_datagrams;

	if (used == 0)
		return 0;
	syslog->used = 0;
	syslog->n_datagrams = 0;
	syslog->is_unsettled = true;
	switch (syslog->transport) {
	case TRANSPORT_UDP:
		return sink_socket_send_datagrams(
			syslog->place, &syslog->socket, syslog->datagrams, n, error, error_size);
	case TRANSPORT_TCP:
		return sink_socket_send(
			syslog->place, &syslog->socket, syslog->batch, used, error, error_size);
	default: return syslog_tls_send(syslog->tls, syslog->batch, used, error, error_size);
	}
}

static void add_datagram(struct syslog *syslog, const struct log_record *record)
{
	unsigned int n = syslog->n_datagrams++;
	char *message = syslog->batch + syslog->used;
	size_t length = syslog_message(
		&syslog->form, record, syslog->sequence_id, message, syslog->message_max);

	syslog->pieces[n] = (struct iovec){message, length};
	syslog->datagrams[n] = (struct mmsghdr){
		.msg_hdr = {.msg_iov = &syslog->pieces[n], .msg_iovlen = 1},
	};
	syslog->used += length;
}

/* The message's length stands before it (RFC 6587, 3.4.1; RFC 5425, 4.3). */
static void add_frame(struct syslog *syslog, const struct log_record *record)
{
	char *frame = syslog->batch + syslog->used, digits[LENGTH_MAX + 1];
	size_t length = syslog_message(&syslog->form, record, syslog->sequence_id,
		frame + LENGTH_MAX, syslog->message_max);
	size_t n = (size_t)snprintf(digits, sizeof(digits), "%zu ", length);

	memcpy(frame, digits, n);
	memmove(frame + n, frame + LENGTH_MAX, length);
	syslog->used += n + length;
}

static int syslog_write(
	void *state, const struct log_record *record, char *error, size_t error_size)
{
	struct syslog *syslog = state;
	int failure = 0;

	if (syslog->allocated - syslog->used < LENGTH_MAX + syslog->message_max ||
		syslog->n_datagrams == DATAGRAMS_MAX)
		failure = send_batch(syslog, error, error_size);
	if (failure)
		return failure;
	if (syslog->transport == TRANSPORT_UDP)
		add_datagram(syslog, record);
	else
		add_frame(syslog, record);
	syslog->sequence_id =
		syslog->sequence_id == SYSLOG_SEQUENCE_MAX ? 1 : syslog->sequence_id + 1;
	return 0;
}

/* --- Delivering ------------------------------------------------------------------------------- */

/* A server that has closed is found out even when there is nothing to send, so that the next
 * records are not written to a connection that nobody reads. */
static int check(struct syslog *syslog, char *error, size_t error_size)
{
	char unexpected[1024];

	if (syslog->transport == TRANSPORT_TLS)
		return syslog_tls_check(syslog->tls, error, error_size);
	/* Whatever it says is nothing that a sender of syslog could understand. */
	for (int i = 0; syslog->transport == TRANSPORT_TCP && i < LISTENING_MAX &&
			sink_socket_receive(&syslog->socket, unexpected, sizeof(unexpected)) > 0;
		i++)
		continue;
	return sink_socket_check(&syslog->socket, error, error_size);
}

static int settle(struct syslog *syslog, char *error, size_t error_size)
{
	int failure, reason;

	if (!syslog->is_unsettled)
		return 0;
	failure = sink_socket_settle(syslog->place, &syslog->socket, error, error_size);
	if (failure == 0) {
		syslog->is_unsettled = false;
		return 0;
	}
	/* Before it closed it may have said why. */
	reason = syslog->transport == TRANSPORT_TLS ? check(syslog, error, error_size) : 0;
	return reason ? reason : failure;
}

static int syslog_flush(void *state, uint64_t now_ns, char *error, size_t error_size)
{
	struct syslog *syslog = state;
	int failure = send_batch(syslog, error, error_size);

	(void)now_ns;
	if (!failure)
		failure = settle(syslog, error, error_size);
	return failure ? failure : check(syslog, error, error_size);
}

/* --- Opening and closing ---------------------------------------------------------------------- */

static unsigned int facility_of(const char *name)
{
	size_t i = 0;

	while (strcmp(facilities[i].name, name) != 0)
		i++;
	return facilities[i].number;
}

static enum transport transport_of(const char *name)
{
	enum transport transport = TRANSPORT_UDP;

	while (strcmp(transports[transport].name, name) != 0)
		transport++;
	return transport;
}

static void syslog_close(void *state)
{
	struct syslog *syslog = state;

	if (!syslog)
		return;
	syslog_tls_close(syslog->tls);
	sink_socket_close(&syslog->socket);
	free(syslog->batch);
	free(syslog);
}

static bool prepare(struct syslog *syslog)
{
	const struct sink_settings *settings = syslog->place->settings;

	syslog->socket.fd = -1;
	syslog->sequence_id = 1;
	syslog->transport = transport_of(sink_setting_text(settings, "transport"));
	syslog->message_max = sink_setting_number(settings, "message-bytes");
	if (syslog->message_max == 0)
		syslog->message_max = transports[syslog->transport].message_bytes;
	syslog->allocated = BATCH_BYTES + LENGTH_MAX + syslog->message_max;
	syslog->batch = malloc(syslog->allocated);
	syslog_form_init(&syslog->form, syslog->place->host,
		facility_of(sink_setting_text(settings, "facility")),
		(uint32_t)sink_setting_number(settings, "enterprise-number"), (uint32_t)getpid());
	return syslog->batch != NULL;
}

/* Whether anybody listens at an address is told over UDP by what is sent there: nothing at all is
 * sent, in a datagram, but only where there is another address to go to. */
static int probe(struct syslog *syslog, char *error, size_t error_size)
{
	int failure;

	if (syslog->transport != TRANSPORT_UDP || syslog->socket.n_addresses < 2)
		return 0;
	failure = sink_socket_send_datagrams(syslog->place, &syslog->socket,
		&(struct mmsghdr){.msg_len = 0}, 1, error, error_size);
	return failure ? failure
		       : sink_socket_settle(syslog->place, &syslog->socket, error, error_size);
}

static int connect_socket(struct syslog *syslog, char *error, size_t error_size)
{
	const struct sink_place *place = syslog->place;
	bool is_udp = syslog->transport == TRANSPORT_UDP;
	unsigned int first = 0;
	int failure;

	do {
		sink_socket_close(&syslog->socket);
		failure = sink_socket_open(place, sink_setting_text(place->settings, "server"),
			transports[syslog->transport].port, is_udp ? SOCK_DGRAM : SOCK_STREAM,
			first, &syslog->socket, error, error_size);
		if (failure)
			return failure;
		failure = probe(syslog, error, error_size);
		first = syslog->socket.address + 1;
	} while (failure == -ECONNREFUSED && first < syslog->socket.n_addresses);
	return failure;
}

static int connect_to_server(struct syslog *syslog, char *error, size_t error_size)
{
	const char *name = transports[syslog->transport].name;
	int failure = connect_socket(syslog, error, error_size);

	if (failure || syslog->transport != TRANSPORT_TLS)
		return failure;
	memcpy(syslog->socket.name, name, strlen(name)); /* In place of "tcp". */
	return syslog_tls_open(syslog->place, &syslog->socket, &syslog->tls, error, error_size);
}

static int syslog_open(const struct sink_place *place, void **state, char *error, size_t error_size)
{
	struct syslog *syslog = calloc(1, sizeof(*syslog));
	int failure = -ENOMEM;

	*state = NULL;
	if (syslog)
		syslog->place = place;
	if (!syslog || !prepare(syslog))
		snprintf(error, error_size, "no memory for syslog");
	else
		failure = connect_to_server(syslog, error, error_size);
	if (failure)
		syslog_close(syslog);
	else
		*state = syslog;
	return failure;
}

const struct sink_type sink_syslog = {
	.kind = &sink_kinds[SINK_KIND_SYSLOG],
	.open = syslog_open,
	.write = syslog_write,
	.flush = syslog_flush,
	.close = syslog_close,
};
