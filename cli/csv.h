/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rows as comma-separated values.
 */
#ifndef CLI_CSV_H
#define CLI_CSV_H

#include "cli/cordon.h"
#include "svec.h"

/* Output under way.  Start with the columns that people see, and `names` empty. */
struct cli_csv {
	const struct cli_column *columns;
	size_t n_columns;
	struct svec names; /* Of the members; chosen with the first rows. */
};

/* Prints an array of objects, under a heading the first time.  Every line has the same members:
 * those that the columns name, in their order, then all others that the first rows have. */
void cli_csv_print(struct cli_csv *csv, FILE *out, const struct json *rows);
void cli_csv_destroy(struct cli_csv *csv);

#endif
