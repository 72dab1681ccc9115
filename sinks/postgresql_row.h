/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The columns of the table that records are stored in, and a record as one of its rows, in the
 * binary form of PostgreSQL's COPY (its manual, "COPY", "Binary Format").
 */
#ifndef SINKS_POSTGRESQL_ROW_H
#define SINKS_POSTGRESQL_ROW_H

#include <stddef.h>
#include <stdint.h>

#include "log/record.h"

/* What a column is made of. */
enum postgresql_value {
	POSTGRESQL_TIME,     /* Nanoseconds since 1970; NULL for 0. */
	POSTGRESQL_TEXT,     /* NULL for "". */
	POSTGRESQL_ADDRESS,  /* NULL for none. */
	POSTGRESQL_MAC,	     /* NULL for none. */
	POSTGRESQL_NUMBER_8, /* Numbers by their bits in a record; the column's are more. */
	POSTGRESQL_NUMBER_16,
	POSTGRESQL_NUMBER_32,
	POSTGRESQL_NUMBER_64,
	POSTGRESQL_KIND, /* Names of numbers; NULL for what does not apply. */
	POSTGRESQL_VERDICT,
	POSTGRESQL_SIMULATED,
	POSTGRESQL_PROTOCOL,
};

struct postgresql_column {
	const char *name;
	enum postgresql_value value;
	size_t offset; /* In struct log_record. */
};

extern const struct postgresql_column postgresql_columns[];
extern const size_t n_postgresql_columns;

/* The type in SQL, as PostgreSQL itself spells it. */
const char *postgresql_column_type(const struct postgresql_column *column);

/* What COPY begins and ends with. */
enum { POSTGRESQL_HEADER_BYTES = 19, POSTGRESQL_TRAILER_BYTES = 2 };
void postgresql_put_header(char bytes[POSTGRESQL_HEADER_BYTES]);
void postgresql_put_trailer(char bytes[POSTGRESQL_TRAILER_BYTES]);

/* The most bytes that the record's row can take; and the row itself, of which the length is
 * returned.  Bytes of strings that are not UTF-8 become the four characters \xNN. */
size_t postgresql_row_size(const struct log_record *record);
size_t postgresql_row(const struct log_record *record, char *bytes);

#endif
