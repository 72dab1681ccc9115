/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The default log sink: SQLite files, one per span of time ("bucket"), and the queries on them.
 *
 * Layout: DIRECTORY/traffic-YYYYMMDDTHHMMSSZ.db, named for the bucket's start, UTC.  A bucket that
 * outgrows its share of the total size, or whose clock is set back, goes on in ...Z-2.db and so on.
 * Retention deletes whole files, oldest first, by age and by total size.  One writer (the log
 * thread of one cordon-switchd; a second one is refused) and any number of readers, in other
 * processes, at once (SQLite WAL).
 */
#ifndef LOG_STORE_H
#define LOG_STORE_H

#include <stdbool.h>
#include <stddef.h>

#include "zones/address.h"
#include "log/record.h"

struct log_store;

struct log_store_options {
	const char *directory;	     /* Made, mode 0750, if it is not there. */
	unsigned int bucket_seconds; /* 0: 3600. */
	unsigned int retention_days; /* 0: 30. */
	uint64_t retention_bytes;    /* 0: 10 GiB. */
	bool filtered; /* Not all records come here: a hole in the numbers is no loss. */
};

/* Opens the store for writing.  Returns 0, or a negative errno with the reason, naming the path, in
 * error[]; -EBUSY: another process writes there.  A file left damaged by a crash is set aside as
 * NAME.damaged, and a new one begun. */
int log_store_open(const struct log_store_options *options, struct log_store **store, char *error,
	size_t error_size);

/* Adds one record to the transaction in progress.  Its sequence number must be higher than that of
 * the last one that was committed or is in the transaction.  Returns 0, or a negative errno: the
 * record is then not stored, and the caller counts it as lost (-EINVAL: the fault is the record's
 * own; else the whole transaction is lost, which log_store_commit() will say).  Never blocks longer
 * than one disk write. */
int log_store_write(struct log_store *store, const struct log_record *record);

/* Commits what was written, so that readers see it; starts a new bucket and applies retention when
 * due.  Call it after each batch, and now and then without one.  On failure (disk full) the whole
 * transaction is rolled back: returns a negative errno and, in *n_lost, the number of its records
 * for which log_store_write() had returned 0, which may be written again; it tries anew with
 * the next record.  What is
 * committed survives a crash of the process; a crash of the machine may take the last seconds. */
int log_store_commit(struct log_store *store, uint64_t now_ns, size_t *n_lost);

/* The highest sequence number stored, in all files; 0: none yet.  The caller goes on from there. */
uint64_t log_store_last_sequence(const struct log_store *store);

/* The reason of the last failure, for a person. */
const char *log_store_error(const struct log_store *store);

/* Commits and closes.  Accepts NULL. */
void log_store_close(struct log_store *store);

/* --- Queries -------------------------------------------------------------------------------- */

/* What to look for; all conditions must hold.  Strings are NULL, numbers -1 or 0, for "any"; start
 * from LOG_FILTER_ANY. */
struct log_filter {
	uint64_t since_ns, until_ns; /* until_ns 0: now. */
	int kind;		     /* enum log_kind or -1. */
	int verdict;		     /* enum zone_action or -1. */
	int simulated;		     /* enum zone_action or -1: with simulated policies. */
	bool simulation; /* Only what simulated policies would change: connections that they would
			  * refuse, and refusals of what they would allow. */
	const char *zone, *vm, *port, *rule; /* Either end's; "policy/rule" or "rule". */
	const struct ip_prefix *prefix;	     /* Either end within it... */
	const struct ip_prefix *peer; /* ...and, with a prefix only, the other within this. */
	int protocol;		      /* IANA number or -1. */
	int transport_port;	      /* Either end's, or -1. */
	uint64_t after_sequence;      /* Only records with a higher sequence number. */
	size_t limit;		      /* At most so many, the newest. 0: all. */
	bool with_gaps; /* Gap records too, even where the conditions on names, addresses and kinds
			 * do not hold: what is lost might have met them. */
};

#define LOG_FILTER_ANY                                                                             \
	{                                                                                          \
		.kind = -1, .verdict = -1, .simulated = -1, .protocol = -1, .transport_port = -1   \
	}

/* Calls `each` for every record that matches, oldest first; a false return ends the query.
 * The record's strings live only during the call.  Returns 0 or a negative errno with the reason in
 * error[].  A bucket that cannot be read is passed over and named in error[] with -EIO at the end,
 * after the records of the others. */
int log_query(const char *directory, const struct log_filter *filter,
	bool (*each)(const struct log_record *record, void *context), void *context, char *error,
	size_t error_size);

/* The highest sequence number that is committed; 0: none.  A query made after this call sees all
 * records up to it, so whoever follows the log goes on from the higher of the two.  Looks at the
 * newest files only.  Errors as log_query()'s. */
int log_last_sequence(const char *directory, uint64_t *sequence, char *error, size_t error_size);

/* One line of the summary: who talked to whom, by which rule. */
struct log_summary_row {
	/* The rule; with filter->simulation, the one that would decide. */
	const char *source_zone, *destination_zone, *policy, *rule;
	uint8_t protocol, verdict;
	uint8_t simulated;	   /* With filter->simulation: 1 + enum zone_action; else 0. */
	uint16_t destination_port; /* 0: none, or (past LOG_FLOW_ROWS_MAX rows) any. */
	/* Connections as log_flow_connections() counts them, and attempts that were refused, those
	 * that the cap held back included. */
	uint64_t connections;
	uint64_t packets, bytes; /* Both ways, of connections that ended within the span. */
	uint64_t last_ns;	 /* Time of the newest record. */
};

/* Groups the matching records by zone pair, service, verdict and rule, most connections first; with
 * filter->simulation, what simulated policies would change, by their verdict and rule.
 * `limit` counts rows here, transport_port is the service's only, and a gap record is never part of
 * a row.  Stands on log_flows() (log/flows.h), whose errors it has. */
int log_summarize(const char *directory, const struct log_filter *filter,
	bool (*each)(const struct log_summary_row *row, void *context), void *context, char *error,
	size_t error_size);

#endif
