/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a record of the log is in IPFIX's terms.
 */
#ifndef SINKS_IPFIX_VALUES_H
#define SINKS_IPFIX_VALUES_H

#include "log/record.h"
#include "sinks/ipfix_element.h"

/* Fills *values from the record, all but the encoder's own numbers (exporting process, interfaces,
 * the count of what was not sent), and says which template they go by.  The texts are the record's,
 * as they are: neither bounded nor checked. */
enum ipfix_template ipfix_values_of(const struct log_record *record, struct ipfix_values *values);

#endif
