/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What ports may open, and what may be opened to them: the counts of their connections, of those
 * that are half-open, and of new ones per second.  Called by workers on the miss path, before and
 * when a connection is made; by workers and the sweep when it is answered, or ends.
 *
 * Who is counted, and so who is protected from whom
 * - What a vNIC (or the host) opens counts as its own.  A guest that scans or floods uses up what
 * it may open itself; that it sends to one victim makes no difference to the victim, who may open,
 *   and be reached by others, as before.
 * - What an uplink opens counts against the port that it goes to, apart from what that port opens
 *   itself.  A flood from outside at one guest's open service uses up what may be opened to that
 *   guest from outside: its own connections outwards, those of its neighbours to it, and all
 *   connections of other guests go on.  Nobody's address is believed for this: the senders of a
 *   flood are whoever it says they are.  What is not to go to one known port (an unknown MAC)
 *   counts against the uplink, in a count apart.
 * - An uplink is held to what somebody has set for it, in all that comes by it; to nothing else.
 * - The table is everybody's.  Where nobody has set another limit, a port may have no more
 *   half-open ones than a quarter of it, and no more than half of what is free in it at the moment
 *   (Choudhury and Hahne, "Dynamic queue length thresholds for shared-memory packet switches",
 *   1998): of n ports that are flooded at once, each takes 1/(n+2) of the room, and twice that is
 *   left for all others.  A few are sure to each port, however full the table is.
 *
 * A limit on connections is looked at before a connection is counted, so that workers which do so
 * at the same moment may exceed it by one each.  Counts themselves are exact: each connection takes
 * away what it has brought, once.
 */
#include <config.h>

#include "datapath/miss.h"

#include "datapath/storm.h"

/* Where a new connection counts first, and by whose settings. */
struct charge {
	const struct port_settings *settings;
	const _Atomic uint64_t *opened;
	_Atomic uint64_t *rate;
	bool inbound;
};

/* --- counting --------------------------------------------------------------------------------- */

/* As conn.quota_port. */
static uint16_t charged_port(const struct packet_context *context, uint16_t out)
{
	if (likely(context->settings->role != PORT_UPLINK))
		return context->in->number;
	return (out != 0 ? out : context->in->number) | CONN_QUOTA_INBOUND;
}

static _Atomic uint64_t *word_of(struct cordon_switch *sw, uint16_t port)
{
	struct port_quota *quota = &sw->quotas[port % PORTS_MAX];

	return port & CONN_QUOTA_INBOUND ? &quota->inbound : &quota->opened;
}

/* The uplink by which the connection came first, if it counts as inbound: its number stays in the
 * key of its first flow, though its outside end may have moved to another uplink since. */
static uint16_t uplink_of(const struct conn_table *table, uint32_t number, uint16_t port)
{
	return port & CONN_QUOTA_INBOUND ? conn_flow(table, 2 * number)->key.in_port % PORTS_MAX
					 : 0;
}

uint16_t quota_count_inbound(const struct packet_context *context, uint32_t number, uint16_t out)
{
	struct cordon_switch *sw = context->worker->sw;
	const uint64_t one = QUOTA_CONNECTION + QUOTA_HALF_OPEN;
	uint16_t port = charged_port(context, out);
	uint16_t uplink = uplink_of(sw->connections, number, port);

	atomic_fetch_add_explicit(word_of(sw, port), one, memory_order_relaxed);
	atomic_fetch_add_explicit(&sw->quotas[uplink].opened, one, memory_order_relaxed);
	return port | CONN_QUOTA_HALF_OPEN;
}

/* What conn.quota_port says of connection `number`, as counts. */
static struct counted counted_as(const struct conn_table *table, uint32_t number, uint16_t port)
{
	return (struct counted){
		.port = port & (uint16_t)~CONN_QUOTA_HALF_OPEN,
		.uplink = uplink_of(table, number, port),
		.quota = QUOTA_CONNECTION + (port & CONN_QUOTA_HALF_OPEN ? QUOTA_HALF_OPEN : 0),
	};
}

void quota_count_again(const struct packet_context *context, uint32_t number, uint16_t out)
{
	struct cordon_switch *sw = context->worker->sw;
	struct conn *conn = conn_of_flow(sw->connections, 2 * number);
	uint16_t port = quota_count(context, number, out);
	const struct counted before =
		counted_as(sw->connections, number, atomic_exchange(&conn->quota_port, port));

	quota_give_back(sw, &before);
}

struct counted quota_take(struct conn_table *table, uint32_t number)
{
	struct conn *conn = conn_of_flow(table, 2 * number);
	struct counted counted = counted_as(table, number, atomic_exchange(&conn->quota_port, 0));

	if (likely(atomic_load(&conn->limits) == 0))
		return counted;
	conn_lock(conn);
	counted.limits = atomic_exchange(&conn->limits, 0);
	counted.half_open_in_limits = atomic_exchange(&conn->limits_half_open, 0);
	conn_unlock(conn);
	counted.in_limits = counted.limits != 0;
	return counted;
}

void quota_give_back(struct cordon_switch *sw, const struct counted *counted)
{
	if (counted->port != 0)
		atomic_fetch_sub_explicit(
			word_of(sw, counted->port), counted->quota, memory_order_relaxed);
	if (counted->uplink != 0)
		atomic_fetch_sub_explicit(
			&sw->quotas[counted->uplink].opened, counted->quota, memory_order_relaxed);
	if (counted->limits != 0)
		limits_give_back(sw->limits, counted->limits, counted->in_limits,
			counted->half_open_in_limits);
}

void quota_release(struct cordon_switch *sw, uint32_t number)
{
	struct counted counted = quota_take(sw->connections, number);

	quota_give_back(sw, &counted);
}

void quota_confirm_inbound(struct cordon_switch *sw, struct conn *conn, uint16_t port)
{
	const struct conn_table *table = sw->connections;
	uint16_t uplink = uplink_of(table, (uint32_t)(conn - table->conns), port);

	atomic_fetch_sub_explicit(word_of(sw, port), QUOTA_HALF_OPEN, memory_order_relaxed);
	atomic_fetch_sub_explicit(
		&sw->quotas[uplink].opened, QUOTA_HALF_OPEN, memory_order_relaxed);
}

static void adopt_one(struct conn_table *table, uint32_t number, void *sw_)
{
	struct cordon_switch *sw = sw_;
	const struct conn *conn = conn_of_flow(table, 2 * number);
	const struct counted counted = counted_as(table, number, atomic_load(&conn->quota_port));

	if (counted.port != 0)
		atomic_fetch_add_explicit(
			word_of(sw, counted.port), counted.quota, memory_order_relaxed);
	if (counted.uplink != 0)
		atomic_fetch_add_explicit(
			&sw->quotas[counted.uplink].opened, counted.quota, memory_order_relaxed);
}

void quota_adopt_all(struct cordon_switch *sw)
{
	conn_for_each(sw->connections, 0, conn_high_water(sw->connections), adopt_one, sw);
}

/* --- admitting ---------------------------------------------------------------------------------
 */

/* How many half-open ones a port may have; 0: any number. */
static uint32_t half_open_limit(
	const struct conn_table *table, const struct port_settings *settings)
{
	uint32_t capacity, count, share;

	if (!settings->half_open_is_default)
		return settings->half_open_limit;
	capacity = conn_capacity(table);
	count = conn_count(table);
	share = count < capacity ? (capacity - count) / 2 : 0;
	return RTE_MAX(RTE_MIN(share, settings->half_open_limit), settings->half_open_sure);
}

/* Port `number` by its own settings, and the count and bucket of what it opens, or gets from
 * outside. */
static inline struct charge charge_of(struct cordon_switch *sw, uint16_t number,
	const struct port_settings *settings, bool inbound)
{
	struct port_quota *quota = &sw->quotas[number];

	return (struct charge){
		.settings = settings,
		.opened = inbound ? &quota->inbound : &quota->opened,
		.rate = inbound ? &quota->inbound_rate : &quota->opened_rate,
		.inbound = inbound,
	};
}

/* Where a connection counts that the port at hand, an uplink, opens.  False if it goes to a port
 * that is gone. */
static bool find_inbound(const struct packet_context *context, uint16_t out, struct charge *charge)
{
	struct cordon_switch *sw = context->worker->sw;
	uint16_t number = charged_port(context, out) % PORTS_MAX;
	const struct port *charged = switch_port(sw, number);

	if (charged == NULL)
		return false;
	*charge = charge_of(
		sw, number, atomic_load_explicit(&charged->settings, memory_order_acquire), true);
	return true;
}

/* How a port's limits are called when they refuse. */
struct refusal_names {
	enum drop_reason connections, half_open, rate;
};

static const struct refusal_names refusals[] = {
	[false] = {DROP_QUOTA, DROP_HALF_OPEN_QUOTA, DROP_RATE_QUOTA},
	[true] = {DROP_INBOUND_QUOTA, DROP_INBOUND_HALF_OPEN, DROP_INBOUND_RATE},
};

static inline enum drop_reason check_counts(
	const struct conn_table *table, const struct charge *charge)
{
	const struct port_settings *settings = charge->settings;
	uint64_t opened = atomic_load_explicit(charge->opened, memory_order_relaxed);
	uint32_t n_half_open = (uint32_t)(opened / QUOTA_HALF_OPEN);

	if (settings->connection_limit != 0 && (uint32_t)opened >= settings->connection_limit)
		return refusals[charge->inbound].connections;
	if (n_half_open < settings->half_open_sure || settings->half_open_limit == 0 ||
		n_half_open < half_open_limit(table, settings))
		return DROP_NONE;
	return refusals[charge->inbound].half_open;
}

static bool take_token(const struct charge *charge, uint64_t clock_ns, bool take)
{
	uint32_t rate = charge->settings->new_per_second_limit;

	if (likely(rate == 0))
		return true;
	return take ? storm_admit(charge->rate, rate, rate, 1, clock_ns)
		    : storm_would_admit(charge->rate, rate, rate, 1, clock_ns);
}

static void give_token_back(const struct charge *charge)
{
	storm_give_back(charge->rate, charge->settings->new_per_second_limit, 1);
}

/* What has been set for an uplink, in all that comes by it: asked beside the port that it goes to.
 */
static enum drop_reason check_uplink(
	const struct packet_context *context, const struct charge *uplink, bool take)
{
	const struct port_settings *settings = uplink->settings;
	uint64_t opened = atomic_load_explicit(uplink->opened, memory_order_relaxed);

	if (settings->connection_limit != 0 && (uint32_t)opened >= settings->connection_limit)
		return DROP_QUOTA;
	if (!settings->half_open_is_default && settings->half_open_limit != 0 &&
		opened / QUOTA_HALF_OPEN >= settings->half_open_limit)
		return DROP_HALF_OPEN_QUOTA;
	return take_token(uplink, context->worker->clock_ns, take) ? DROP_NONE : DROP_RATE_QUOTA;
}

/* By the limits of both ports, and by the verdict's.  Tokens are taken when no count refuses, and
 * given back if something else does. */
static enum drop_reason admit_inbound(
	const struct miss *miss, uint16_t out, struct verdict *verdict, bool take)
{
	const struct packet_context *context = miss->context;
	struct cordon_switch *sw = context->worker->sw;
	const struct charge uplink = charge_of(sw, context->in->number, context->settings, false);
	struct charge charge;
	enum drop_reason reason;

	if (!find_inbound(context, out, &charge))
		return DROP_OUTPUT_MISSING;
	reason = check_counts(sw->connections, &charge);
	if (reason == DROP_NONE)
		reason = check_uplink(context, &uplink, take);
	if (reason != DROP_NONE)
		return reason;
	if (!take_token(&charge, context->worker->clock_ns, take)) {
		if (take)
			give_token_back(&uplink);
		return DROP_INBOUND_RATE;
	}
	if (verdict->n_limited == 0)
		return DROP_NONE;
	reason = take ? connection_limits_admit(miss, verdict)
		      : connection_limits_would_admit(miss, verdict);
	if (reason != DROP_NONE && take) {
		give_token_back(&charge);
		give_token_back(&uplink);
	}
	return reason;
}

static enum drop_reason admit_outbound(const struct miss *miss, struct verdict *verdict, bool take)
{
	const struct packet_context *context = miss->context;
	struct cordon_switch *sw = context->worker->sw;
	const struct charge charge = charge_of(sw, context->in->number, context->settings, false);
	enum drop_reason reason = check_counts(sw->connections, &charge);

	if (reason != DROP_NONE)
		return reason;
	if (!take_token(&charge, context->worker->clock_ns, take))
		return DROP_RATE_QUOTA;
	if (verdict->n_limited == 0)
		return DROP_NONE;
	reason = take ? connection_limits_admit(miss, verdict)
		      : connection_limits_would_admit(miss, verdict);
	if (reason != DROP_NONE && take)
		give_token_back(&charge);
	return reason;
}

static enum drop_reason admit(
	const struct miss *miss, uint16_t out, struct verdict *verdict, bool take)
{
	return miss->context->settings->role == PORT_UPLINK
		       ? admit_inbound(miss, out, verdict, take)
		       : admit_outbound(miss, verdict, take);
}

/* Most often a few comparisons are enough: it is an endpoint that has nothing near its limits, and
 * there are no others.  A limit of 0 is above everything when 1 is taken off it. */
enum drop_reason quota_admit(const struct miss *miss, uint16_t out, struct verdict *verdict)
{
	const struct packet_context *context = miss->context;
	const struct port_settings *settings = context->settings;
	uint64_t opened = atomic_load_explicit(
		&context->worker->sw->quotas[context->in->number].opened, memory_order_relaxed);

	if (likely((uint32_t)(opened / QUOTA_HALF_OPEN) < settings->half_open_sure &&
		    (uint32_t)opened <= settings->connection_limit - 1u &&
		    settings->new_per_second_limit == 0 && verdict->n_limited == 0 &&
		    settings->role != PORT_UPLINK))
		return DROP_NONE;
	return admit(miss, out, verdict, true);
}

enum drop_reason quota_would_admit(const struct miss *miss, uint16_t out, struct verdict *verdict)
{
	return admit(miss, out, verdict, false);
}

void quota_give_up(const struct miss *miss, struct verdict *verdict)
{
	if (verdict->limits != 0)
		limits_give_back(miss->context->worker->sw->limits, verdict->limits, 1, 1);
	verdict->limits = 0;
}

/* --- denials -----------------------------------------------------------------------------------
 */

/* Half of a limit, or an eighth of the table where there is none. */
static uint32_t share(const struct conn_table *table, uint32_t limit)
{
	return limit != 0 ? limit / 2 : conn_capacity(table) / 8;
}

bool quota_may_cache_denial(const struct miss *miss)
{
	const struct packet_context *context = miss->context;
	const struct conn_table *table = context->worker->sw->connections;
	const struct port_settings *settings = context->settings;
	const _Atomic uint64_t *word = &context->worker->sw->quotas[context->in->number].opened;
	struct charge charge;

	if (miss->forwarding.flood)
		return false;
	if (unlikely(settings->role == PORT_UPLINK)) {
		if (!find_inbound(context, miss->forwarding.outputs[0], &charge))
			return false;
		settings = charge.settings;
		word = charge.opened;
	}
	uint64_t opened = atomic_load_explicit(word, memory_order_relaxed);
	return opened / QUOTA_HALF_OPEN < share(table, half_open_limit(table, settings)) &&
	       (uint32_t)opened < share(table, settings->connection_limit);
}
