/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is sent: between all pairs of endpoints, whether they may or not, a few frames a connection;
 * now and then to everybody, or in another's name.  Called by main.c and ledger.c, on the program's
 * one thread.
 */
#include "stations.h"

#include <string.h>

enum {
	FLOW_FRAMES_MAX = 30, /* Frames of one connection. */
	BROADCAST_PERCENT = 3,
	SPOOFED_PERCENT = 2,
	PASSED_OVER_PERCENT = 60,
	PADDING_MAX = 1400, /* Of a few frames. */
	PADDING_SMALL = 60,
	TRIES_MAX = 256, /* Of which many find that they may not, or cannot. */
	BURST_MAX = 64,	 /* Frames of one tick, so that receivers get their turn. */
};

/* xorshift128+ (Vigna, 2014). */
static uint64_t next_random(struct soak *soak)
{
	uint64_t a = soak->random[0], b = soak->random[1];

	soak->random[0] = b;
	a ^= a << 23;
	soak->random[1] = a ^ b ^ (a >> 17) ^ (b >> 26);
	return soak->random[1] + b;
}

uint32_t random_below(struct soak *soak, uint32_t limit)
{
	return (uint32_t)((next_random(soak) >> 32) * limit >> 32);
}

static uint32_t choose_padding(struct soak *soak)
{
	return random_below(soak, random_below(soak, 8) == 0 ? PADDING_MAX : PADDING_SMALL);
}

/* Fills in what all frames have, and sends. */
static bool send_plan(struct soak *soak, struct frame_plan *plan)
{
	uint8_t frame[FRAME_MAX + 4];
	struct wire *wire = plan->from->wire;

	if (wire == NULL || !wire->open)
		return false;
	plan->tagged = wire->trunk;
	plan->label.run = soak->run;
	plan->label.vlan = plan->from->vlan;
	plan->label.number = ++soak->number;
	plan->label.sent_ns = clock_ns();
	plan->label.padding_bytes = choose_padding(soak);
	plan->label.padding_seed = (uint32_t)next_random(soak);
	size_t bytes = frame_build(plan, frame);
	if (!wire->kind->send(wire, frame, bytes)) {
		wire->refused++;
		return false;
	}
	wire->sent++;
	soak->owed--;
	soak->sent[plan->label.kind]++;
	return true;
}

/* The source port of the pair's current connection; begins a new one when it is used up. */
static uint16_t flow_port(struct soak *soak, struct slot *slot)
{
	if (slot->port == 0)
		slot->port = FIRST_SOURCE_PORT;
	if (slot->left == 0) {
		slot->port = slot->port == UINT16_MAX ? FIRST_SOURCE_PORT : slot->port + 1;
		slot->left = (uint16_t)(1 + random_below(soak, FLOW_FRAMES_MAX));
	}
	slot->left--;
	return slot->port;
}

bool traffic_send(struct soak *soak, enum frame_kind kind, unsigned int from, unsigned int to,
	unsigned int service, unsigned int version)
{
	struct slot *slot = &soak->slots[from][to][service][version];
	uint16_t port = flow_port(soak, slot);
	struct frame_plan plan = {
		.from = &soak->endpoints[from],
		.to = &soak->endpoints[to],
		.as = &soak->endpoints[from],
		.version = version,
		.source_port = port,
		.destination_port = (uint16_t)(SERVICE_PORT + service),
		.label = {.kind = (uint8_t)kind,
			.service = (uint8_t)service,
			.source = (uint8_t)from,
			.destination = (uint8_t)to,
			.flow_port = port},
	};

	if (soak->cells[from][to][service].state == CELL_DENIED)
		soak->denied_tries++;
	return send_plan(soak, &plan);
}

void traffic_reply(struct soak *soak, const struct label *request, unsigned int version)
{
	const struct endpoint *from = &soak->endpoints[request->destination];
	struct frame_plan plan = {
		.from = from,
		.to = &soak->endpoints[request->source],
		.as = from,
		.version = version,
		.source_port = (uint16_t)(SERVICE_PORT + request->service),
		.destination_port = request->flow_port,
		.label = {.kind = FRAME_REPLY,
			.service = request->service,
			.source = request->destination,
			.destination = request->source,
			.flow_port = request->flow_port},
	};

	send_plan(soak, &plan);
}

static void send_to_everybody(struct soak *soak, unsigned int from)
{
	unsigned int service = random_below(soak, SERVICES);
	struct frame_plan plan = {
		.from = &soak->endpoints[from],
		.as = &soak->endpoints[from],
		.version = random_below(soak, VERSIONS),
		.source_port = FIRST_SOURCE_PORT - 1,
		.destination_port = (uint16_t)(SERVICE_PORT + service),
		.label = {.kind = FRAME_BROADCAST,
			.service = (uint8_t)service,
			.source = (uint8_t)from,
			.destination = EVERYBODY},
	};

	send_plan(soak, &plan);
}

/* A vNIC speaks for somebody else.  An uplink may, so its endpoints do not try. */
static void send_spoofed(struct soak *soak, unsigned int from, unsigned int to, unsigned int as)
{
	struct frame_plan plan = {
		.from = &soak->endpoints[from],
		.to = &soak->endpoints[to],
		.as = &soak->endpoints[as],
		.spoof_mac = random_below(soak, 2) == 0,
		.version = random_below(soak, VERSIONS),
		.source_port = FIRST_SOURCE_PORT - 2,
		.destination_port = SERVICE_PORT,
		.label = {.kind = FRAME_SPOOFED,
			.source = (uint8_t)from,
			.destination = (uint8_t)to},
	};

	if (as != from && plan.from->wire != NULL && !plan.from->wire->trunk)
		send_plan(soak, &plan);
}

static bool is_outside(const struct endpoint *endpoint)
{
	return endpoint->wire != NULL && endpoint->wire->trunk;
}

static unsigned int choose_endpoint(struct soak *soak)
{
	unsigned int chosen;

	do {
		chosen = random_below(soak, ENDPOINTS_MAX);
	} while (!soak->endpoints[chosen].exists);
	return chosen;
}

/* Most pairs may not talk: some of those give their turn to others. */
static bool is_passed_over(
	struct soak *soak, unsigned int from, unsigned int to, unsigned int service)
{
	return soak->cells[from][to][service].state == CELL_DENIED &&
	       random_below(soak, 100) < PASSED_OVER_PERCENT;
}

static void send_one(struct soak *soak)
{
	unsigned int from = choose_endpoint(soak), to = choose_endpoint(soak);
	unsigned int service = random_below(soak, SERVICES);
	uint32_t dice = random_below(soak, 100);

	if (soak->endpoints[from].wire == NULL)
		return;
	if (dice < BROADCAST_PERCENT)
		send_to_everybody(soak, from);
	else if (from == to ||
		 (is_outside(&soak->endpoints[from]) && is_outside(&soak->endpoints[to])))
		return;
	else if (dice < BROADCAST_PERCENT + SPOOFED_PERCENT)
		send_spoofed(soak, from, to, choose_endpoint(soak));
	else if (!is_passed_over(soak, from, to, service))
		traffic_send(soak, FRAME_REQUEST, from, to, service, random_below(soak, VERSIONS));
}

void traffic_tick(struct soak *soak, uint64_t now_ns)
{
	soak->owed += (double)(now_ns - soak->last_tick_ns) * 1e-9 * soak->rate;
	soak->last_tick_ns = now_ns;
	if (soak->owed > BURST_MAX)
		soak->owed = BURST_MAX;
	for (unsigned int tries = 0; soak->owed >= 1 && tries < TRIES_MAX; tries++)
		send_one(soak);
}

void traffic_probe(struct soak *soak, bool first)
{
	for (unsigned int from = 0; from < ENDPOINTS_MAX; from++) {
		if (first && soak->endpoints[from].exists) /* So that it is known where it is. */
			send_to_everybody(soak, from);
		for (unsigned int to = 0; to < ENDPOINTS_MAX; to++) {
			for (unsigned int i = 0; i < SERVICES * VERSIONS; i++) {
				struct slot *slot = &soak->slots[from][to][i / 2][i % 2];

				if (first)
					slot->probe_waits =
						soak->cells[from][to][i / 2].state == CELL_ALLOWED;
				if (slot->probe_waits)
					traffic_send(soak, FRAME_PROBE, from, to, i / 2, i % 2);
			}
		}
	}
}
