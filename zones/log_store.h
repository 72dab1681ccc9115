/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The default log sink: SQLite files, one per span of time ("bucket"), and the queries on them.
 *
 * Layout: DIRECTORY/traffic-YYYYMMDDTHHMMSSZ.db, named for the bucket's start, UTC.  Retention
 * deletes whole files, oldest first, by age and by total size.  One writer (the log thread of one
 * cordon-switchd) and any number of readers, in other processes, at once (SQLite WAL).
 */
#ifndef ZONES_LOG_STORE_H
#define ZONES_LOG_STORE_H

#include <stdbool.h>
#include <stddef.h>

#include "zones/log_record.h"

struct log_store;

struct log_store_options {
	const char *directory;         /* Made, mode 0750, if it is not there. */
	unsigned int bucket_seconds;   /* 0: 3600. */
	unsigned int retention_days;   /* 0: 30. */
	uint64_t retention_bytes;      /* 0: 10 GiB. */
};

/* Opens the store for writing.  Returns 0, or a negative errno with the reason, naming the path, in
 * error[].  A file left damaged by a crash is set aside as NAME.damaged, and a new one begun. */
int log_store_open(const struct log_store_options *options, struct log_store **store,
	char *error, size_t error_size);

/* Adds one record to the transaction in progress.  Returns 0, or a negative errno: the record is
 * then not stored, and the caller counts it as lost.  Never blocks longer than one disk write. */
int log_store_write(struct log_store *store, const struct log_record *record);

/* Commits what was written, so that readers see it; starts a new bucket and applies retention when
 * due.  Call it after each batch.  On failure (disk full) the whole transaction is rolled back:
 * returns a negative errno and the number of its records in *n_lost. */
int log_store_commit(struct log_store *store, uint64_t now_ns, size_t *n_lost);

/* The reason of the last failure, for a person. */
const char *log_store_error(const struct log_store *store);

/* Commits and closes.  Accepts NULL. */
void log_store_close(struct log_store *store);

/* --- Queries ------------------------------------------------------------------------------- */

/* What to look for; all conditions must hold.  Strings are NULL, numbers -1 or 0, for "any". */
struct log_filter {
	uint64_t since_ns, until_ns; /* until_ns 0: now. */
	int kind;                    /* enum log_kind or -1. */
	int verdict;                 /* enum zone_action or -1. */
	const char *zone, *vm, *port, *rule; /* Either end's; rule is "policy/rule" or "rule". */
	const struct ip_prefix *prefix;      /* Either end within it. */
	int protocol;                /* IANA number or -1. */
	int transport_port;          /* Either end's, or -1. */
	uint64_t after_sequence;     /* Only records with a higher sequence number. */
	size_t limit;                /* At most so many, the newest. 0: all. */
};

/* Calls `each` for every record that matches, oldest first; a false return ends the query.
 * The record's strings live only during the call.  Returns 0 or a negative errno with the reason in
 * error[].  A bucket that cannot be read is passed over and named in error[] with -EIO at the end,
 * after the records of the others. */
int log_query(const char *directory, const struct log_filter *filter,
	bool (*each)(const struct log_record *record, void *context), void *context, char *error,
	size_t error_size);

/* One line of the summary: who talked to whom, by which rule. */
struct log_summary_row {
	const char *source_zone, *destination_zone, *policy, *rule;
	uint8_t protocol, verdict;
	uint16_t destination_port;
	uint64_t connections, packets, bytes, last_ns;
};

/* Groups the matching records by zone pair, service, verdict and rule, most connections first. */
int log_summarize(const char *directory, const struct log_filter *filter,
	bool (*each)(const struct log_summary_row *row, void *context), void *context, char *error,
	size_t error_size);

#endif
