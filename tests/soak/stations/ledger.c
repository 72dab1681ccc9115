/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Judges the frames that arrive.  Called by the wires, on the program's one thread.
 *
 * A frame is a broken promise if it was sent after its cell was known to be denied, and arrives
 * while it still is: so frames that were on their way when a cell changed are nobody's fault.
 */
#include "stations.h"

#include <inttypes.h>
#include <string.h>

enum { VIOLATIONS_TOLD = 200 };

static const char *const kinds[FRAME_KINDS] = {"request", "reply", "broadcast", "spoofed", "probe"};

void ledger_set_cell(struct cell *cell, uint8_t state, uint64_t now_ns)
{
	if (cell->state == state)
		return;
	cell->state = state;
	cell->since_ns = now_ns;
}

static void tell(struct soak *soak, const struct wire *wire, const char *what, uint64_t *count,
	const struct frame_seen *seen)
{
	const struct label *label = &seen->label;

	if (++*count > VIOLATIONS_TOLD)
		return;
	fprintf(soak->violations,
		"%.6f %s: %s %" PRIu64 " from %u to %u, service %u, IPv%u, vlan %u, port %u, sent "
		"%.6f, at wire %s, tag %u\n",
		(double)clock_ns() * 1e-9, what, kinds[label->kind], label->number, label->source,
		label->destination, label->service, seen->version == 0 ? 4u : 6u, label->vlan,
		label->flow_port, (double)label->sent_ns * 1e-9, wire->name, seen->vlan);
	fflush(soak->violations);
}

static bool is_denied(const struct cell *cell, uint64_t sent_ns)
{
	return cell->state == CELL_DENIED && sent_ns > cell->since_ns;
}

/* May this frame be shown to `endpoint`?  A reply belongs to the connection of its request. */
static bool may_see(const struct soak *soak, const struct label *label, unsigned int endpoint)
{
	bool reply = label->kind == FRAME_REPLY;
	unsigned int from = reply ? endpoint : label->source;
	unsigned int to = reply ? label->source : endpoint;

	return !is_denied(&soak->cells[from][to][label->service], label->sent_ns);
}

/* The first frame of a connection that arrives proves that the switch let it in. */
static void note_flow(struct soak *soak, const struct frame_seen *seen)
{
	const struct label *label = &seen->label;
	struct slot *slot =
		&soak->slots[label->source][label->destination][label->service][seen->version];

	if (label->kind == FRAME_PROBE)
		slot->probe_waits = false;
	if (label->flow_port <= slot->told && slot->told - label->flow_port < 1000)
		return;
	slot->told = label->flow_port;
	fprintf(soak->flows, "%.6f %u %u %u %u %u\n", (double)clock_ns() * 1e-9, label->source,
		label->destination, label->service, seen->version == 0 ? 4u : 6u, label->flow_port);
}

static void receive_own(struct soak *soak, struct wire *wire, const struct frame_seen *seen)
{
	const struct label *label = &seen->label;

	if (!may_see(soak, label, label->destination)) {
		tell(soak, wire, "denied, but delivered", &soak->denied_seen, seen);
		return;
	}
	soak->arrived[label->kind]++;
	if (label->kind == FRAME_REPLY)
		return;
	note_flow(soak, seen);
	if (label->kind == FRAME_PROBE || random_below(soak, 2) == 0)
		traffic_reply(soak, label, seen->version);
}

static bool is_outside(const struct endpoint *endpoint)
{
	return endpoint->wire != NULL && endpoint->wire->trunk;
}

/* A frame to everybody.  No zone holds its destination, so a vNIC's does not leave by an uplink;
 * and what comes from outside is judged only where a vNIC gets it. */
static bool may_see_broadcast(
	const struct soak *soak, const struct wire *wire, const struct label *label)
{
	const struct endpoint *from = &soak->endpoints[label->source];

	if (wire->trunk)
		return is_outside(from) || label->sent_ns < from->since_ns;
	for (unsigned int i = 0; i < ENDPOINTS_MAX; i++) {
		if (soak->endpoints[i].exists && soak->endpoints[i].wire == wire)
			return may_see(soak, label, i);
	}
	return true; /* Its port is on its way out. */
}

static void receive_broadcast(struct soak *soak, struct wire *wire, const struct frame_seen *seen)
{
	if (may_see_broadcast(soak, wire, &seen->label))
		soak->arrived[FRAME_BROADCAST]++;
	else
		tell(soak, wire, "denied, but shown to all", &soak->denied_seen, seen);
}

/* What an uplink gets though nobody behind it is meant: what is for outside, wherever that is by
 * now, what is for an unplugged vNIC, and for one that is not in the sender's VLAN. */
static bool is_flooded(
	const struct soak *soak, const struct wire *wire, const struct frame_seen *seen)
{
	const struct endpoint *to = &soak->endpoints[seen->label.destination];

	return wire->trunk && (to->wire == NULL || (to->wire->trunk && to->wire != wire) ||
				      seen->vlan != to->vlan || to->since_ns == UINT64_MAX);
}

/* A frame that was sent before its sender's port moved may be in the new VLAN. */
static bool wrong_vlan(
	const struct soak *soak, const struct wire *wire, const struct frame_seen *seen)
{
	return seen->tagged != wire->trunk ||
	       (seen->tagged && seen->vlan != seen->label.vlan &&
		       seen->label.sent_ns > soak->endpoints[seen->label.source].since_ns);
}

void ledger_receive(struct wire *wire, const uint8_t *frame, size_t bytes)
{
	struct soak *soak = wire->soak;
	struct frame_seen seen = {0};

	switch (frame_read(soak->run, frame, bytes, &seen)) {
	case FRAME_FOREIGN: wire->foreign++; return;
	case FRAME_DAMAGED: tell(soak, wire, "damaged", &soak->damaged, &seen); return;
	case FRAME_OURS: break;
	}
	wire->received++;
	if (wrong_vlan(soak, wire, &seen)) {
		tell(soak, wire, "in another VLAN, or wrongly tagged", &soak->wrong, &seen);
	} else if (seen.label.kind == FRAME_SPOOFED) {
		tell(soak, wire, "sent in another's name, but delivered", &soak->spoofed_seen,
			&seen);
	} else if (seen.label.kind == FRAME_BROADCAST) {
		receive_broadcast(soak, wire, &seen);
	} else if (is_flooded(soak, wire, &seen)) {
		soak->flooded++;
	} else if (soak->endpoints[seen.label.destination].wire == wire) {
		receive_own(soak, wire, &seen);
	} else if (seen.label.sent_ns > soak->endpoints[seen.label.destination].since_ns) {
		tell(soak, wire, "delivered to another", &soak->wrong, &seen);
	}
}
