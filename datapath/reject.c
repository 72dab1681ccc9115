/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Answers to rejected packets, so that the sender learns at once instead of waiting: a RST for TCP
 * (RFC 9293, 3.10.7.1), else ICMP "administratively prohibited".  Called on the miss path, by
 * workers.  The answer bears the address of the host that was asked for, since the switch has none.
 *
 * Never answered: RSTs, ICMP errors and redirects, and what goes to a group or comes from nobody
 * (RFC 1122, 3.2.2; RFC 4443, 2.4 e); and no more than REJECTS_PER_SECOND by one worker, so that
 * nobody can use the switch as an amplifier.
 */
#include <config.h>

#include "datapath/switch.h"

#include <netinet/icmp6.h>
#include <netinet/ip_icmp.h>
#include <string.h>

#include <rte_icmp.h>
#include <rte_ip.h>
#include <rte_tcp.h>

#include "datapath/storm.h"

enum {
	REJECTS_PER_SECOND = 1000,
	QUOTE_BYTES_V4 = 28 + 60, /* RFC 1812, 4.3.2.3 allows up to 576 in all. */
	QUOTE_BYTES_V6 = 256,	  /* RFC 4443 allows up to the minimum MTU in all. */
	HOP_LIMIT = 64,
};

/* Not a group, and not "nobody". */
static bool is_host(const struct in6_addr *address)
{
	uint8_t first = address->s6_addr[12];

	if (!IN6_IS_ADDR_V4MAPPED(address))
		return !IN6_IS_ADDR_MULTICAST(address) && !IN6_IS_ADDR_UNSPECIFIED(address);
	return first != 0 && first < 224;
}

/* Messages that no error may answer: ICMP's errors and redirects; ICMPv6's errors, known or not,
 * and redirects. */
static bool is_icmp_error(const struct packet *packet)
{
	if (packet->protocol == IPPROTO_ICMPV6)
		return packet->icmp_type < ICMP6_ECHO_REQUEST || packet->icmp_type == ND_REDIRECT;
	if (packet->protocol != IPPROTO_ICMP)
		return false;
	switch (packet->icmp_type) {
	case ICMP_DEST_UNREACH:
	case ICMP_SOURCE_QUENCH:
	case ICMP_REDIRECT:
	case ICMP_TIME_EXCEEDED:
	case ICMP_PARAMETERPROB: return true;
	default: return false;
	}
}

static bool may_answer(const struct packet_context *context)
{
	const struct packet *packet = context->packet;

	if (packet->key.kind == CONN_KEY_ETHERNET || packet->l4_offset == 0 ||
		packet->flags & PACKET_GROUP || is_icmp_error(packet) ||
		!is_host(&packet->key.source) || !is_host(&packet->key.destination))
		return false;
	if (packet->protocol == IPPROTO_TCP && packet->tcp_flags & RTE_TCP_RST_FLAG)
		return false;
	return storm_admit(&context->worker->reject_bucket, REJECTS_PER_SECOND, REJECTS_PER_SECOND,
		1, context->worker->clock_ns);
}

/* The answer's Ethernet header: the frame's own, tags and all, with the MACs exchanged. */
static uint8_t *begin_frame(
	const struct packet_context *context, struct rte_mbuf *answer, uint16_t l3_bytes)
{
	uint16_t l2_bytes = context->packet->l3_offset;
	uint8_t *data = (uint8_t *)rte_pktmbuf_append(answer, l2_bytes + l3_bytes);

	if (data == NULL)
		return NULL;
	memset(data, 0, l2_bytes + l3_bytes);
	memcpy(data, context->data, l2_bytes);
	memcpy(data, context->data + 6, 6);
	memcpy(data + 6, context->data, 6);
	return data + l2_bytes;
}

/* The answer's IP header, from the asked-for host to the sender.  Returns the transport header. */
static uint8_t *begin_ip(
	const struct packet_context *context, uint8_t *ip, uint8_t protocol, uint16_t l4_bytes)
{
	const uint8_t *asked = context->data + context->packet->l3_offset;

	if (context->packet->key.kind == CONN_KEY_IPV4) {
		struct rte_ipv4_hdr *v4 = (void *)ip;

		v4->version_ihl = RTE_IPV4_VHL_DEF;
		v4->total_length = rte_cpu_to_be_16(sizeof(*v4) + l4_bytes);
		/* One that needs no identification, since it is never cut (RFC 6864, 4.1). */
		v4->fragment_offset = rte_cpu_to_be_16(RTE_IPV4_HDR_DF_FLAG);
		v4->time_to_live = HOP_LIMIT;
		v4->next_proto_id = protocol;
		memcpy(&v4->src_addr, asked + 16, 4);
		memcpy(&v4->dst_addr, asked + 12, 4);
		v4->hdr_checksum = rte_ipv4_cksum(v4);
		return ip + sizeof(*v4);
	}
	struct rte_ipv6_hdr *v6 = (void *)ip;

	v6->vtc_flow = rte_cpu_to_be_32(6u << 28);
	v6->payload_len = rte_cpu_to_be_16(l4_bytes);
	v6->proto = protocol;
	v6->hop_limits = HOP_LIMIT;
	memcpy(v6->src_addr, asked + 24, 16);
	memcpy(v6->dst_addr, asked + 8, 16);
	return ip + sizeof(*v6);
}

static uint16_t ip_bytes(const struct packet_context *context)
{
	return context->packet->key.kind == CONN_KEY_IPV4 ? sizeof(struct rte_ipv4_hdr)
							  : sizeof(struct rte_ipv6_hdr);
}

static uint16_t transport_checksum(
	const struct packet_context *context, const uint8_t *ip, const void *l4)
{
	return context->packet->key.kind == CONN_KEY_IPV4
		       ? rte_ipv4_udptcp_cksum((const void *)ip, l4)
		       : rte_ipv6_udptcp_cksum((const void *)ip, l4);
}

static bool answer_tcp(const struct packet_context *context, struct rte_mbuf *answer)
{
	const struct packet *packet = context->packet;
	const struct rte_tcp_hdr *asked = (const void *)(context->data + packet->l4_offset);
	uint8_t *ip = begin_frame(context, answer, ip_bytes(context) + sizeof(struct rte_tcp_hdr));

	if (ip == NULL)
		return false;
	struct rte_tcp_hdr *tcp =
		(void *)begin_ip(context, ip, IPPROTO_TCP, sizeof(struct rte_tcp_hdr));
	tcp->src_port = asked->dst_port;
	tcp->dst_port = asked->src_port;
	tcp->data_off = sizeof(*tcp) / 4 << 4;
	if (asked->tcp_flags & RTE_TCP_ACK_FLAG) {
		tcp->sent_seq = asked->recv_ack;
		tcp->tcp_flags = RTE_TCP_RST_FLAG;
	} else {
		uint32_t consumed = packet->l4_bytes - (asked->data_off >> 4) * 4u +
				    !!(asked->tcp_flags & RTE_TCP_SYN_FLAG) +
				    !!(asked->tcp_flags & RTE_TCP_FIN_FLAG);

		tcp->recv_ack = rte_cpu_to_be_32(rte_be_to_cpu_32(asked->sent_seq) + consumed);
		tcp->tcp_flags = RTE_TCP_RST_FLAG | RTE_TCP_ACK_FLAG;
	}
	tcp->cksum = transport_checksum(context, ip, tcp);
	return true;
}

static bool answer_icmp(const struct packet_context *context, struct rte_mbuf *answer)
{
	const struct packet *packet = context->packet;
	bool v4 = packet->key.kind == CONN_KEY_IPV4;
	uint32_t available = rte_pktmbuf_data_len(context->frame) - packet->l3_offset;
	uint32_t most = v4 ? QUOTE_BYTES_V4 : QUOTE_BYTES_V6;
	uint16_t quote = (uint16_t)RTE_MIN(available, most);
	uint8_t *ip = begin_frame(context, answer, ip_bytes(context) + 8 + quote);

	if (ip == NULL)
		return false;
	uint8_t *icmp =
		begin_ip(context, ip, v4 ? IPPROTO_ICMP : IPPROTO_ICMPV6, (uint16_t)(8 + quote));
	icmp[0] = v4 ? ICMP_DEST_UNREACH : ICMP6_DST_UNREACH;
	icmp[1] = v4 ? ICMP_PKT_FILTERED : ICMP6_DST_UNREACH_ADMIN;
	memcpy(icmp + 8, context->data + packet->l3_offset, quote);
	uint16_t sum = v4 ? (uint16_t)~rte_raw_cksum(icmp, 8 + quote)
			  : transport_checksum(context, ip, icmp);
	memcpy(icmp + 2, &sum, sizeof(sum));
	return true;
}

void reject_answer(struct packet_context *context)
{
	struct rte_mbuf *answer;

	if (!may_answer(context))
		return;
	answer = rte_pktmbuf_alloc(context->worker->sw->environment.pool);
	if (answer == NULL)
		return;
	if (!(context->packet->protocol == IPPROTO_TCP ? answer_tcp(context, answer)
						       : answer_icmp(context, answer))) {
		rte_pktmbuf_free(answer);
		return;
	}
	atomic_fetch_add_explicit(&context->worker->stats.answered, 1, memory_order_relaxed);
	output_add(context->worker, context->in->number, answer);
}
