/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An event of a worker or the sweep as a record of the traffic log.
 */
#ifndef DATAPATH_EVENT_RECORD_H
#define DATAPATH_EVENT_RECORD_H

#include <stdint.h>

#include "log/record.h"

struct cordon_switch;
struct log_event;

/* The text parts of a record that are made, not found. */
struct event_text {
	char rule[160], simulated_rule[160];
};

/* Fills *record, whose strings are those of the switch's ports and policies, and of *text: good
 * until the caller is quiescent.  Under RCU; one thread. */
void event_record(const struct cordon_switch *sw, const struct log_event *event, uint64_t sequence,
	struct event_text *text, struct log_record *record);

#endif
