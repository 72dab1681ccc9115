/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of `cordon log` share.
 */
#ifndef CLI_LOG_H
#define CLI_LOG_H

#include "cli/cordon.h"
#include "log/flows.h"
#include "log/store.h"

/* --- log_options.c: what to look for -------------------------------------------------------- */

#define CLI_LOG_FILTERS                                                                            \
	{"verdict", 'v', "allowed|denied|rejected", "decided like this"},                          \
		{"simulated", 0, "allowed|denied|rejected",                                        \
			"would be decided like this with simulated policies"},                     \
		{"kind", 'k', "start|update|end|denied|would-deny|spoofed|limit|gap",              \
			"records of this kind"},                                                   \
		{"zone", 'z', "ZONE", "of this zone, either end"},                                 \
		{"vm", 0, "VM", "of the VM with this name or id, either end"},                     \
		{"port", 'p', "PORT", "of this port of the switch, either end"},                   \
		{"rule", 'r', "RULE", "decided by it, or would be: RULE or POLICY/RULE"},          \
		{"address", 'a', "ADDRESS", "of this address or prefix, either end"},              \
		{"protocol", 0, "NAME", "tcp, udp, icmp, icmpv6, sctp or a number"},               \
		{"transport-port", 't', "N", "of this TCP, UDP or SCTP port, either end"},         \
		{"directory", 'd', "DIR", "the log's files (STATEDIR/log)"},                       \
	{                                                                                          \
		"csv", 0, NULL, "the rows as comma-separated values"                               \
	}
#define CLI_LOG_SPAN                                                                               \
	{"since", 's', "TIME", "from then on: 10m, 2h, 1d, or \"2026-01-31 14:00\""},              \
	{                                                                                          \
		"until", 'u', "TIME", "up to then"                                                 \
	}

/* Room for what a filter points to. */
struct cli_log_query {
	struct log_filter filter;
	struct ip_prefix prefix;
};

/* Reads the options into *query, from now on without --since and --until where it is so.  Not
 * CLI_OK: the reason was said. */
enum cli_status cli_log_read_options(struct cli *cli, struct cli_log_query *query);

/* The directory to look in.  Caller frees. */
char *cli_log_place(const struct cli *cli);

/* Reads "90s", "10m", "2h", "1d", "1w" (ago), "2026-01-31", "2026-01-31 14:00[:05]" (local time) or
 * RFC 3339 into nanoseconds since 1970.  False, leaving *time_ns alone, on anything else. */
bool cli_log_parse_time(const char *text, uint64_t now_ns, uint64_t *time_ns);

/* --- log.c ----------------------------------------------------------------------------------- */

/* `cordon log denied --follow`. */
enum cli_status cli_log_follow_refusals(struct cli *cli);

/* --- log_answer.c: asking, and what there is to say about the answer -------------------------- */

/* A question that is being answered. */
struct cli_log_answer {
	struct cli *cli;
	struct cli_log_query query; /* As the options have it. */
	char *directory;
	int64_t limit;	   /* Of rows; 0: all. */
	struct json *rows; /* An array of objects. */
	bool tells_losses; /* The rows do: they need no sentence. */
	int rc;		   /* Of what went wrong, 0 or a negative errno, with the reason. */
	char error[512];
};

/* Reads the options; `limit` is what holds if --limit is not given.  Not CLI_OK: the reason was
 * said, and there is nothing to free. */
enum cli_status cli_log_answer_begin(struct cli *cli, struct cli_log_answer *answer, int64_t limit);

/* Frees what it has; for whoever does not end it as below. */
void cli_log_answer_free(struct cli_log_answer *answer);

/* Reads from `default_ns` ago on, unless --since says otherwise. */
void cli_log_answer_default_since(struct cli_log_answer *answer, uint64_t default_ns);

/* Asks log_flows(), within the span and filter of the options unless `query` has others, and notes
 * what goes wrong. */
void cli_log_answer_ask(struct cli_log_answer *answer, const struct log_flow_query *query,
	bool (*each)(const struct log_flow *flow, void *context), void *context);

/* Notes what another call has returned, with its reason in answer->error. */
void cli_log_answer_note(struct cli_log_answer *answer, int rc);

/* The whole way for rows that are flows as they come: asks for rows by these fields and adds them,
 * as cli_log_flow_json() has them. */
void cli_log_answer_flows(
	struct cli_log_answer *answer, unsigned int by, enum log_flow_order order);

/* Prints the first `limit` rows as a table, says what is to be known about them (no log, nothing
 * found, records that were lost, files that could not be read, rows left out), and frees what the
 * answer has.  `what` is what the rows are, for these sentences: "refusals". */
enum cli_status cli_log_answer_finish(struct cli_log_answer *answer,
	const struct cli_column *columns, size_t n_columns, const char *what);

/* The same after the caller has shown the rows himself. */
enum cli_status cli_log_answer_end(struct cli_log_answer *answer, const char *what);

/* Says so if records of the span were lost. */
void cli_log_say_losses(
	struct cli *cli, const char *directory, uint64_t since_ns, uint64_t until_ns);

/* --- log_flow.c: traffic added up, as rows --------------------------------------------------- */

/* A flow as an object: the fields of `by` under the names that records have, and counts. */
struct json *cli_log_flow_json(const struct log_flow *flow, unsigned int by);

/* Only its counts, for rows that stand for several flows. */
void cli_log_put_counts(struct json *row, const struct log_flow_counts *counts);

/* Numbers and times (nanoseconds since 1970, as text in UTC; "" for 0) of an object. */
void cli_log_put_number(struct json *object, const char *name, uint64_t number);
void cli_log_put_time(struct json *object, const char *name, uint64_t time_ns);

/* Names may hold anything; a byte that is not UTF-8 becomes \xNN, as in a record's JSON.  The
 * caller frees. */
char *cli_log_clean_text(const char *text);

/* Of a flow's end: the address, or the prefix that was added up; "": neither. */
const char *cli_log_addresses_text(const struct ip_prefix *addresses, char text[IP_TEXT_MAX]);

/* Cells of such rows; the caller frees.  An end is its VM, else its port or zone, and its address;
 * a service is "tcp/443"; a rule "shop/web-to-app"; times are short ones. */
char *cli_log_source_cell(const struct json *row);
char *cli_log_destination_cell(const struct json *row);
char *cli_log_end_cell(const struct json *row, const char *end); /* "source", "destination". */
char *cli_log_zones_cell(const struct json *row);
char *cli_log_service_cell(const struct json *row);
char *cli_log_rule_cell(const struct json *row);
char *cli_log_times_cell(const struct json *row); /* Connections and refused attempts. */
char *cli_log_first_cell(const struct json *row);
char *cli_log_last_cell(const struct json *row);

/* Half of a number is worse than none: a column with this minimum is left out, not shortened. */
enum { CLI_LOG_UNCUT = CLI_TEXT_MAX };

/* --- Questions that the report asks as well: they add rows to the answer ---------------------- */

/* log_top.c: `of` and `most` as the options --of and --by of `cordon log top`. */
void cli_log_top_rows(struct cli_log_answer *answer, const char *of, const char *most);

/* log_matrix.c: a row for each pair of zones. */
void cli_log_matrix_rows(struct cli_log_answer *answer);

/* Default pairs that the switch has let pass without a record, in words; the caller frees.  NULL:
 * none, or it does not run. */
char *cli_log_matrix_unlogged(struct cli_log_answer *answer);

/* rule.c: rules in force that were never hit, with their last record in the log (logged_last_ns,
 * logged_revision); NULL if the switch does not answer.  And cells of these. */
struct json *cli_rule_unused(struct cli *cli);
char *cli_rule_since_cell(const struct json *row);
char *cli_rule_logged_cell(const struct json *row);

/* log_new.c: what the log has first seen within the span. */
void cli_log_new_rows(struct cli_log_answer *answer, bool addresses);

/* log_spoofed.c, log_simulated.c, log_gaps.c. */
void cli_log_spoofed_rows(struct cli_log_answer *answer);
void cli_log_simulated_rows(struct cli_log_answer *answer);
void cli_log_gap_rows(struct cli_log_answer *answer);

/* --- log_record.c: how a record is shown ---------------------------------------------------- */

/* A record, or a row of the summary, as the JSON object that --json prints. */
struct json *cli_log_record_json(const struct log_record *record);
struct json *cli_log_summary_json(const struct log_summary_row *row);

/* Tables of these objects. */
struct cli_table *cli_log_record_table(struct cli *cli);
struct cli_table *cli_log_summary_table(struct cli *cli);

/* A time for a narrow place: today's without the date, this year's without the year.  Caller frees.
 */
char *cli_log_short_time(uint64_t time_ns);

#endif
