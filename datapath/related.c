/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Connections that belong to others: FTP's and TFTP's data connections, which no rule allows by
 * itself, but which a connection that a rule allows with a helper has announced.  Called by workers
 * on the miss path, and by the sweep.
 *
 * The flows of a control connection never become current, so each of its packets takes the miss
 * path and is read here; nobody else pays for it.  A data connection is one like any other once it
 * is there.  It is judged by the rule of its control connection, then and under each later
 * revision: allowed as long as a client that opened a control connection now would be, with its
 * helper.  For that it remembers the control connection's server port, and which side is the
 * server: it needs neither the control connection, which may end before it, nor the announcement.
 */
#include <config.h>

#include "datapath/miss.h"

#include <arpa/inet.h>
#include <string.h>

#include "datapath/expectation.h"

enum { PIECE_BYTES = 2048 };

/* --- judging -------------------------------------------------------------------------------- */

bool related_of(const struct conn *conn, struct expectation *control)
{
	uint8_t flags = atomic_load(&conn->flags);

	*control = (struct expectation){
		.control_port = (uint16_t)(atomic_load(&conn->icmp_type) << 8 |
					   atomic_load(&conn->icmp_code)),
		.server_opens = flags & CONN_SERVER_OPENS,
	};
	return flags & CONN_RELATED;
}

struct conn_key related_control_key(
	const struct conn_key *key, const struct expectation *control, uint16_t client)
{
	struct conn_key asked = control->server_opens ? conn_key_reverse(key, client) : *key;

	asked.source_port = 0;
	asked.destination_port = htons(control->control_port);
	return asked;
}

bool related_allows(const struct endpoint_map *endpoints, const struct port *initiator,
	const struct port *responder, const struct conn_key *key, const struct expectation *control,
	struct verdict *verdict)
{
	const struct port *client = control->server_opens ? responder : initiator;
	const struct port *server = control->server_opens ? initiator : responder;
	const struct conn_key asked = related_control_key(key, control, client->number);
	struct verdict answer;

	verdict_decide(endpoints, client, server, &asked, 0, 0, &answer);
	if (answer.action != ZONE_ALLOW || answer.helper == ZONE_HELPER_NONE)
		return false;
	*verdict = answer;
	verdict->helper = ZONE_HELPER_NONE;
	if (control->server_opens) {
		verdict->source_zone = answer.destination_zone;
		verdict->destination_zone = answer.source_zone;
	}
	verdict->is_related = true;
	verdict->server_opens = control->server_opens;
	verdict->control_port = control->control_port;
	return true;
}

void related_decide(const struct endpoint_map *endpoints, const struct port *initiator,
	const struct port *responder, struct conn_table *table, uint32_t number,
	struct verdict *verdict)
{
	const struct conn *conn = conn_of_flow(table, 2 * number);
	const struct conn_key *key = &conn_flow(table, 2 * number)->key;
	struct expectation control;

	verdict_decide(endpoints, initiator, responder, key, atomic_load(&conn->icmp_type),
		atomic_load(&conn->icmp_code), verdict);
	if (verdict->action != ZONE_ALLOW && related_of(conn, &control))
		related_allows(endpoints, initiator, responder, key, &control, verdict);
}

bool related_is_announced(const struct miss *miss, struct verdict *verdict)
{
	const struct packet_context *context = miss->context;
	struct cordon_switch *sw = context->worker->sw;
	const struct port *out = switch_port(sw, miss->forwarding.outputs[0]);
	struct expectation control;

	if (likely(!expectation_any(sw->expectations, context->worker->now)))
		return false;
	return miss->forwarding.n_outputs == 1 && out != NULL &&
	       expectation_find(
		       sw->expectations, &context->packet->key, context->worker->now, &control) &&
	       (control.opener_side == 0 || miss_same_side(sw, control.opener_side, context->in)) &&
	       related_allows(
		       miss->endpoints, context->in, out, &context->packet->key, &control, verdict);
}

void related_began(const struct miss *miss)
{
	expectation_done(miss->context->worker->sw->expectations, &miss->context->packet->key);
}

/* --- reading ------------------------------------------------------------------------------------
 */

/* Reads a segment piece by piece, so that one of any size needs little room. */
static enum announced read_segment(const struct packet_context *context,
	const struct control_connection *control, bool from_client)
{
	const struct packet *packet = context->packet;
	const uint8_t *tcp = context->data + packet->l4_offset;
	uint32_t header = (tcp[12] >> 4) * 4u, sequence, n;
	uint8_t buffer[PIECE_BYTES];
	enum announced announced = ANNOUNCED_NOTHING;

	memcpy(&sequence, tcp + 4, sizeof(sequence));
	sequence = ntohl(sequence);
	for (uint32_t at = header; announced == ANNOUNCED_NOTHING; at += n) {
		bool is_syn = at == header && packet->tcp_flags & TCP_FLAG_SYN;

		n = RTE_MIN(packet->l4_bytes - at, (uint32_t)PIECE_BYTES);
		const uint8_t *piece =
			rte_pktmbuf_read(context->frame, packet->l4_offset + at, n, buffer);
		if (piece == NULL || (n == 0 && !is_syn))
			break;
		announced = expectation_read_ftp(context->worker->sw->expectations, control,
			&(struct control_segment){.from_client = from_client,
				.is_syn = is_syn,
				.sequence = sequence,
				.payload = piece,
				.payload_bytes = n},
			context->worker->now);
		sequence += n + is_syn;
		if (n == 0)
			break;
	}
	return announced;
}

static void read_request(
	const struct packet_context *context, const struct control_connection *control)
{
	enum { UDP_HEADER = 8 };
	uint8_t buffer[PIECE_BYTES];
	uint32_t n = context->packet->l4_bytes - UDP_HEADER;
	const uint8_t *payload = NULL;

	if (n <= PIECE_BYTES)
		payload = rte_pktmbuf_read(
			context->frame, context->packet->l4_offset + UDP_HEADER, n, buffer);
	if (payload != NULL && tftp_is_request(payload, n))
		expectation_add_tftp(
			context->worker->sw->expectations, control, context->worker->now);
}

enum drop_reason related_read(const struct miss *miss, uint32_t flow, const struct verdict *verdict)
{
	struct packet_context *context = miss->context;
	struct conn_table *table = context->worker->sw->connections;
	const struct control_connection control = {
		.number = flow / 2,
		.start_ns = atomic_load(&conn_of_flow(table, flow)->start_ns),
		.key = &conn_flow(table, flow & ~1u)->key,
		.server_side = miss_far_port(table, flow & ~1u),
	};
	bool from_client = !(flow & 1);

	if (verdict->helper == ZONE_HELPER_TFTP && context->packet->protocol == IPPROTO_UDP &&
		from_client)
		read_request(context, &control);
	if (verdict->helper != ZONE_HELPER_FTP || context->packet->protocol != IPPROTO_TCP ||
		read_segment(context, &control, from_client) != ANNOUNCED_REFUSED)
		return DROP_NONE;
	struct verdict refused = *verdict;

	refused.action = ZONE_DENY;
	event_packet(context, LOG_DENIED, DROP_FTP_BOUNCE, &refused, miss->forwarding.outputs[0]);
	return DROP_FTP_BOUNCE;
}
