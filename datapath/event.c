/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Events: how the packet path and the sweep tell the log thread what happened.  Each producer has a
 * ring of its own to the log thread; a full ring loses the event and counts it, and the log thread
 * writes a gap record for what was lost.
 */
#include <config.h>

#include "datapath/switch.h"

#include <arpa/inet.h>
#include <emmintrin.h>
#include <errno.h>
#include <string.h>

#include <rte_errno.h>
#include <rte_lcore.h>
#include <rte_ring_peek_zc.h>

#include "log/cap.h"

int log_ring_open(struct log_ring *ring, const char *name, unsigned int size)
{
	ring->ring = rte_ring_create_elem(
		name, sizeof(struct log_event), size, SOCKET_ID_ANY, RING_F_SP_ENQ | RING_F_SC_DEQ);
	return ring->ring != NULL ? 0 : -rte_errno;
}

void log_ring_close(struct log_ring *ring)
{
	rte_ring_free(ring->ring);
	ring->ring = NULL;
}

/* The ring's lines were last read by the log thread, on another CPU: those of the elements after
 * this one are asked for while there is time. */
static void fetch_ahead(const struct log_event *event)
{
	const char *line = (const char *)(event + 1);

	for (size_t i = 0; i < sizeof(*event); i += RTE_CACHE_LINE_SIZE)
		__asm__ volatile("prefetchw %0" : : "m"(line[i]));
}

/* For so little, what the compiler makes of memset() takes longer to begin than to do. */
static inline void clear(struct log_event *event)
{
	__m128i *to = (__m128i *)event;

	for (size_t i = 0; i < sizeof(*event) / sizeof(*to); i += 2) {
		_mm_storeu_si128(to + i, _mm_setzero_si128());
		_mm_storeu_si128(to + i + 1, _mm_setzero_si128());
	}
}

_Static_assert(sizeof(struct log_event) % 32 == 0, "cleared by two vectors at a time");

/* Counts an event where the next process will see it, should this one be killed. */
static inline void count_produced(struct log_ring *ring)
{
	_Atomic uint64_t *produced = atomic_load_explicit(&ring->produced, memory_order_acquire);

	if (produced != NULL)
		atomic_store_explicit(produced,
			atomic_load_explicit(produced, memory_order_relaxed) + 1,
			memory_order_relaxed);
}

/* Reserves the place of the next event, all zero, to be filled and then pushed.  NULL: the ring is
 * full, and the event is lost and counted. */
static struct log_event *reserve(struct log_ring *ring)
{
	struct rte_ring_zc_data place;

	count_produced(ring);
	if (rte_ring_enqueue_zc_burst_elem_start(
		    ring->ring, sizeof(struct log_event), 1, &place, NULL) == 1) {
		fetch_ahead(place.ptr1);
		clear(place.ptr1);
		return place.ptr1;
	}
	atomic_store_explicit(&ring->lost,
		atomic_load_explicit(&ring->lost, memory_order_relaxed) + 1, memory_order_relaxed);
	return NULL;
}

static void push(struct log_ring *ring)
{
	rte_ring_enqueue_zc_elem_finish(ring->ring, 1);
}

static void push_connection(struct log_ring *ring, struct cordon_switch *sw, uint32_t number,
	enum log_kind kind, unsigned int reason, uint64_t now_ns, uint32_t suppressed)
{
	struct conn *conn = conn_of_flow(sw->connections, 2 * number);
	const struct flow *flow = conn_flow(sw->connections, 2 * number);
	const struct program *program = program_get(
		sw->programs, atomic_load_explicit(&flow->program, memory_order_acquire));

	struct log_event *event = reserve(ring);

	if (event == NULL)
		return;
	conn_lock(conn);
	event->time_ns = now_ns;
	event->start_ns = conn->start_ns;
	event->key = flow->key;
	event->suppressed = suppressed;
	event->rule = atomic_load(&conn->rule);
	event->policy_revision = atomic_load(&conn->policy_revision);
	event->out_port = atomic_load(&conn->out_port);
	event->source_zone = atomic_load(&conn->source_zone);
	event->destination_zone = atomic_load(&conn->destination_zone);
	event->kind = kind;
	event->verdict = atomic_load(&conn->verdict) == CONN_ALLOWED ? ZONE_ALLOW : ZONE_DENY;
	event->reason = (uint8_t)reason;
	event->reason_is_end = kind == LOG_END;
	event->is_related = atomic_load(&conn->flags) & CONN_RELATED;
	if (!event->is_related) {
		event->icmp_type = conn->icmp_type;
		event->icmp_code = conn->icmp_code;
	}
	event->ethertype = flow->key.kind == CONN_KEY_ETHERNET ? ntohs(flow->key.source_port) : 0;
	conn_unlock(conn);
	for (unsigned int i = 0; i < 2; i++) {
		event->packets[i] = atomic_load(&conn->dir[i].packets);
		event->bytes[i] = atomic_load(&conn->dir[i].bytes);
		if (atomic_load(&conn->flags) & CONN_TCP)
			event->tcp_flags |= atomic_load(&conn->dir[i].tcp.flags_seen);
	}
	memcpy(event->source_mac, program->source_mac, 6);
	memcpy(event->destination_mac, program->destination_mac, 6);
	push(ring);
}

void event_connection(struct log_ring *ring, struct cordon_switch *sw, uint32_t number,
	enum log_kind kind, unsigned int reason, uint64_t now_ns)
{
	push_connection(ring, sw, number, kind, reason, now_ns, 0);
}

/* Records are capped by kind as well as by rule.  Rule numbers need fewer than 28 bits. */
enum { CAP_KIND_SHIFT = 28 };
_Static_assert(LOG_N_KINDS <= 16, "a kind fits above the rule");

static uint32_t cap_key(enum log_kind kind, uint32_t rule)
{
	return (uint32_t)kind << CAP_KIND_SHIFT | rule;
}

/* Who forges his address chooses it, so such records are capped by the port, which stands in the
 * address's place, and by the reason, which stands in the rule's. */
static struct in6_addr port_as_source(uint16_t port)
{
	return (struct in6_addr){.s6_addr32 = {0, 0, 0, port}};
}

/* What a limit refuses, likewise: by whom, to whom and why. */
enum { LIMITED_PORTS, LIMITED_REASON, LIMITED_ZONES };

static struct in6_addr refusal_as_source(const struct packet_context *context, unsigned int reason,
	const struct verdict *verdict, uint16_t out_port)
{
	struct in6_addr source = {0};

	source.s6_addr32[LIMITED_PORTS] = context->in->number | (uint32_t)out_port << 16;
	source.s6_addr32[LIMITED_REASON] = reason;
	source.s6_addr32[LIMITED_ZONES] = verdict->source_zone | (uint32_t)verdict->destination_zone
									 << 16;
	return source;
}

static struct in6_addr cap_source(const struct packet_context *context, enum log_kind kind,
	unsigned int reason, const struct verdict *verdict, uint16_t out_port)
{
	if (kind == LOG_SPOOFED)
		return port_as_source(context->in->number);
	if (kind == LOG_LIMIT && verdict != NULL)
		return refusal_as_source(context, reason, verdict, out_port);
	return context->packet->key.source;
}

static void read_refusal(struct log_event *event, const struct in6_addr *source)
{
	event->key.in_port = (uint16_t)source->s6_addr32[LIMITED_PORTS];
	event->out_port = (uint16_t)(source->s6_addr32[LIMITED_PORTS] >> 16);
	event->reason = (uint8_t)source->s6_addr32[LIMITED_REASON];
	event->source_zone = (uint16_t)source->s6_addr32[LIMITED_ZONES];
	event->destination_zone = (uint16_t)(source->s6_addr32[LIMITED_ZONES] >> 16);
}

/* A record that stands for denials which were held back, and which no further one followed. */
static void push_held_back(const struct event_source *from, const struct log_cap_overdue *overdue)
{
	unsigned int kind = overdue->rule >> CAP_KIND_SHIFT;
	uint32_t rule = overdue->rule & ((1u << CAP_KIND_SHIFT) - 1);
	struct log_event *event = reserve(from->ring);

	if (event == NULL)
		return;
	event->time_ns = from->now_ns;
	event->start_ns = from->now_ns;
	event->key = (struct conn_key){.kind = CONN_KEY_IPV6};
	if (kind == LOG_SPOOFED) {
		event->key.in_port = (uint16_t)overdue->source.s6_addr32[3];
		event->reason = (uint8_t)rule;
		event->source_zone = event->destination_zone = ZONE_UNKNOWN;
	} else if (kind == LOG_LIMIT) {
		event->rule = rule;
		read_refusal(event, &overdue->source);
	} else {
		event->key.source = overdue->source;
		event->rule = rule;
		event->source_zone = event->destination_zone = ZONE_UNKNOWN;
	}
	event->policy_revision = *from->cap_revision;
	event->suppressed =
		overdue->suppressed < UINT32_MAX ? (uint32_t)overdue->suppressed : UINT32_MAX;
	event->kind = kind != 0 ? (uint8_t)kind : LOG_DENIED;
	event->verdict = kind == LOG_WOULD_DENY ? ZONE_ALLOW : ZONE_DENY;
	push(from->ring);
}

void event_overdue(const struct event_source *from)
{
	struct log_cap_overdue overdue;

	if (log_cap_overdue(from->cap, from->clock_ns, &overdue))
		push_held_back(from, &overdue);
}

void event_held_back(const struct event_source *from)
{
	struct log_cap_overdue overdue;

	while (log_cap_drain(from->cap, &overdue))
		push_held_back(from, &overdue);
}

/* What is held back is told under the numbers of the revision that it was counted under. */
static void note_revision(const struct event_source *from, uint32_t revision)
{
	if (*from->cap_revision == revision)
		return;
	event_held_back(from);
	*from->cap_revision = revision;
}

void event_would_deny(const struct event_source *from, struct cordon_switch *sw, uint32_t number,
	uint32_t rule, enum drop_reason reason)
{
	struct conn *conn = conn_of_flow(sw->connections, 2 * number);
	const struct conn_key *key = &conn_flow(sw->connections, 2 * number)->key;
	uint32_t suppressed;

	note_revision(from, atomic_load(&conn->policy_revision));
	if (log_cap_admit(from->cap, cap_key(LOG_WOULD_DENY, rule), &key->source, from->clock_ns,
		    &suppressed))
		push_connection(
			from->ring, sw, number, LOG_WOULD_DENY, reason, from->now_ns, suppressed);
}

/* What no rule has decided: the sender's zone is known if it is an endpoint. */
static void without_verdict(const struct packet_context *context, struct log_event *event)
{
	const struct endpoint_map *endpoints =
		atomic_load_explicit(&context->worker->sw->endpoints, memory_order_acquire);

	event->policy_revision = zone_policy_revision(endpoint_map_policy(endpoints));
	event->destination_zone = ZONE_UNKNOWN;
	event->source_zone = context->settings->role == PORT_UPLINK
				     ? ZONE_UNKNOWN
				     : endpoint_map_port_zone(endpoints, context->in->number);
}

static void push_packet(struct packet_context *context, enum log_kind kind, unsigned int reason,
	const struct verdict *verdict, uint16_t out_port, uint32_t suppressed)
{
	const struct packet *packet = context->packet;
	struct log_event *event = reserve(&context->worker->events);

	if (event == NULL)
		return;
	event->time_ns = event->start_ns = context->worker->now_ns;
	event->key = packet->key;
	event->suppressed = suppressed;
	event->out_port = out_port;
	event->ethertype = packet->protocol == 0 ? packet->ethertype : 0;
	event->kind = kind;
	event->verdict = ZONE_DENY;
	event->reason = (uint8_t)reason;
	event->icmp_type = packet->icmp_type;
	event->icmp_code = packet->icmp_code;
	event->tcp_flags = packet->tcp_flags;
	event->packets[0] = context_frames(context);
	event->bytes[0] = context_bytes(context);
	if (verdict != NULL) {
		event->rule = verdict->rule;
		event->policy_revision = verdict->policy_revision;
		event->source_zone = verdict->source_zone;
		event->destination_zone = verdict->destination_zone;
		event->verdict = verdict->action;
		event->is_related = verdict->is_related;
	} else {
		without_verdict(context, event);
	}
	memcpy(event->destination_mac, context->data, 6);
	memcpy(event->source_mac, context->data + 6, 6);
	push(&context->worker->events);
}

void event_packet(struct packet_context *context, enum log_kind kind, unsigned int reason,
	const struct verdict *verdict, uint16_t out_port)
{
	struct worker *worker = context->worker;
	uint32_t rule = verdict != NULL ? verdict->rule : RULE_NONE, suppressed = 0;
	const struct event_source from = worker_events(worker);

	if (verdict != NULL)
		note_revision(&from, verdict->policy_revision);
	const struct in6_addr source = cap_source(context, kind, reason, verdict, out_port);
	uint32_t key = cap_key(kind, kind == LOG_SPOOFED ? reason : rule);
	if (kind == LOG_START ||
		log_cap_admit(worker->log_cap, key, &source, worker->clock_ns, &suppressed))
		push_packet(context, kind, reason, verdict, out_port, suppressed);
}

void event_packet_would_deny(struct packet_context *context, uint32_t rule, enum drop_reason reason,
	const struct verdict *verdict, uint16_t out_port)
{
	const struct event_source from = worker_events(context->worker);
	uint32_t suppressed;

	note_revision(&from, verdict->policy_revision);
	if (log_cap_admit(from.cap, cap_key(LOG_WOULD_DENY, rule), &context->packet->key.source,
		    from.clock_ns, &suppressed))
		push_packet(context, LOG_WOULD_DENY, reason, verdict, out_port, suppressed);
}
