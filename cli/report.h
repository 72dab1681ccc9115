/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of `cordon report` share: a page of HTML that a browser shows without the network,
 * without a script and on paper.  Everything that is not written in these files (names of VMs come
 * from guests' owners, addresses from packets) goes through report_put_text().
 */
#ifndef CLI_REPORT_H
#define CLI_REPORT_H

#include "cli/log.h"

/* A page under way. */
struct report {
	struct cli *cli;
	FILE *out;
	const char *zone;	     /* Only its traffic; NULL: all. */
	uint64_t since_ns, until_ns; /* What it is about. */
	uint64_t now_ns;
	uint64_t records; /* That the log has of it. */
	int rc;		  /* The first thing that went wrong, with its reason. */
	char error[512];
};

/* Keeps the first thing that went wrong; 0 is none, and so is that there is no log. */
void report_note(struct report *report, int rc, const char *error);

/* --- report_sections.c: what is asked ------------------------------------------------------- */

/* What the head of the page says. */
struct report_totals {
	struct json *matrix;	/* Rows for pairs of zones. */
	struct json *revisions; /* That have decided something. */
	char *hosts;		/* "host-a, host-b". */
	char *unlogged;		/* Default pairs without records; NULL: none. */
	uint64_t records, lost;
	uint64_t allowed, unprotected, denied;
};

void report_count(struct report *report, const char *directory, struct report_totals *totals);
void report_totals_free(struct report_totals *totals);
void report_put_revisions(struct report *report, const struct report_totals *totals);
void report_put_sections(struct report *report, const struct report_totals *totals);

/* --- report_page.c: HTML -------------------------------------------------------------------- */

extern const char report_style[]; /* CSS. */

/* Text, with everything escaped that means something to HTML, within attributes too. */
void report_put_text(FILE *out, const char *text);

/* A heading with an anchor, and what follows belongs to it; the note may be NULL. */
void report_section(FILE *out, const char *id, const char *title, const char *note);
void report_section_end(FILE *out);

/* The first `most` rows of an array as a table, and a line that says how many more there are; or
 * the sentence `none`. */
void report_table(struct report *report, const struct cli_column *columns, size_t n_columns,
	const struct json *rows, size_t most, const char *none);

/* "1,234", "12.3k", "4.5M": no more than five characters. */
const char *report_short_count(uint64_t count, char text[CLI_TEXT_MAX]);

/* "2026-01-31 14:00:05", local time. */
const char *report_time(uint64_t time_ns, char text[CLI_TEXT_MAX]);

/* Cells of times. */
char *report_first_cell(const struct json *row);
char *report_last_cell(const struct json *row);

/* --- Pictures ------------------------------------------------------------------------------- */

/* report_matrix.c: pairs of zones, as cli_log_matrix_rows() has them. */
void report_put_matrix(FILE *out, const struct json *rows);

/* report_chart.c: refusals over time. */
void report_put_chart(struct report *report, const char *directory);

#endif
