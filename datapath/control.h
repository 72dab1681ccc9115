/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files that answer commands share.  Main thread only.
 */
#ifndef DATAPATH_CONTROL_H
#define DATAPATH_CONTROL_H

#include "datapath/config.h"

struct json;
struct unixctl_conn;

/* Replies with `json`, which is consumed. */
void control_reply(struct unixctl_conn *conn, struct json *json);

/* The port's name, "" if the number never had one.  Valid until the main thread's next loop. */
const char *control_port_name(const struct cordon_switch *sw, uint16_t number);

/* All drops since the start, by reason. */
void control_sum_drops(struct cordon_switch *sw, uint64_t drops[DROP_N_REASONS]);

/* "ESTABLISHED", "UNANSWERED", "DENIED"... */
const char *control_conn_state(const struct conn *conn);

/* What the members of a zone have open, and what they may. */
struct json *control_zone_limits(
	struct cordon_switch *sw, const struct zone_policy *policy, uint16_t zone);

void control_conn_register(struct config *config);
void control_limits_register(struct config *config);
void control_trace_register(struct config *config);
void control_hits_register(struct config *config);
void control_log_register(struct config *config);

/* How the sinks do, one by one; and the log as a whole. */
struct json *control_log_sinks(const struct config *config);
struct json *control_log_status(const struct config *config);

/* --- control_plan.c: live connections under another policy ---------------------------------- */

void control_plan_register(struct config *config);

/* Answers what is done. */
void control_plan_run(struct config *config);
void control_plan_wait(struct config *config);

/* Waits for what is under way to end, which sw->stop makes it do soon.  Nobody is answered. */
void control_plan_destroy(struct config *config);

#endif
