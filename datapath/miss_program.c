/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The action programs that the miss path makes: built for a frame and an output, interned, and put
 * into the flow whose next packets they are for.  Called by workers.
 */
#include <config.h>

#include "datapath/miss.h"

#include <string.h>

void miss_build_output(const struct miss *miss, const struct port *out, struct program *program)
{
	bool tagged = miss->context->packet->flags & PACKET_TAGGED;

	memset(program, 0, sizeof(*program));
	memcpy(program->macs, miss->context->data, sizeof(program->macs));
	program->n_actions = (uint8_t)forward_output_actions(
		out, miss->context->packet->key.net & 0xfff, &tagged, program->actions);
}

void miss_build_drop(const struct miss *miss, enum drop_reason reason, struct program *program)
{
	memset(program, 0, sizeof(*program));
	memcpy(program->macs, miss->context->data, sizeof(program->macs));
	program->n_actions = 1;
	program->actions[0] = (struct action){.type = ACTION_DROP, .reason = (uint8_t)reason};
}

const struct program *miss_choose_program(struct miss *miss, const struct port *out)
{
	const struct packet_context *context = miss->context;

	if (miss->known == NULL) {
		miss_build_output(miss, out, &miss->built);
		if (!miss->forwarding.flood)
			miss->known =
				forward_keep(context, out, &miss->built, miss->forwarding.learned);
	}
	return miss->known != NULL
		       ? program_get(context->worker->sw->programs, miss->known->program)
		       : &miss->built;
}

uint32_t miss_intern(const struct miss *miss, const struct program *program)
{
	struct program_table *programs = miss->context->worker->sw->programs;

	if (miss->known != NULL && program == program_get(programs, miss->known->program))
		return miss->known->program;
	return program_intern(programs, program);
}

/* The revision under which a flow is current; 0: never. */
static uint32_t revision_of(const struct miss *miss, const struct verdict *verdict)
{
	return verdict->helper == ZONE_HELPER_NONE ? miss->context->revisions->forwarding : 0;
}

void miss_set_program(const struct miss *miss, struct flow *flow, uint32_t interned,
	const struct verdict *verdict)
{
	const struct revisions *revisions = miss->context->revisions;

	if (interned == PROGRAM_NONE)
		return;
	atomic_store_explicit(&flow->program, interned, memory_order_relaxed);
	atomic_store_explicit(&flow->policy_epoch, revisions->policy, memory_order_relaxed);
	atomic_store_explicit(
		&flow->forwarding_revision, revision_of(miss, verdict), memory_order_relaxed);
}

void miss_cache_program(const struct miss *miss, uint32_t number, const struct program *program,
	const struct verdict *verdict)
{
	struct cordon_switch *sw = miss->context->worker->sw;
	const struct revisions *revisions = miss->context->revisions;
	struct flow *flow = conn_flow(sw->connections, number);
	struct conn *conn = conn_of_flow(sw->connections, number);
	uint32_t interned = miss_intern(miss, program);

	if (interned == PROGRAM_NONE)
		return;
	conn_lock(conn);
	atomic_store_explicit(&flow->forwarding_revision, 0, memory_order_release);
	atomic_store_explicit(&flow->program, interned, memory_order_release);
	atomic_store_explicit(&flow->policy_epoch, revisions->policy, memory_order_release);
	atomic_store_explicit(
		&flow->forwarding_revision, revision_of(miss, verdict), memory_order_release);
	conn_unlock(conn);
}
