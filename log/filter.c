/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A filter as SQL.  Called once per file and query by reader.c.
 *
 * A name is not compared for each record.  The ids of the parties and contexts that match are
 * collected first, in temporary tables, and the clause asks only whether a record's ids are among
 * them.  Texts never become part of SQL: they are bound.
 */
#include "log/filter.h"

#include <stdio.h>
#include <string.h>

#include "zones/zone.h"

/* A clause that grows. */
struct clause {
	char *text;
	size_t length;
};

static void add(struct clause *clause, const char *text)
{
	int n = snprintf(
		clause->text + clause->length, LOG_FILTER_SQL_MAX - clause->length, "%s", text);

	clause->length += (size_t)n;
}

/* Makes the temporary table of ids `table`, and fills it by the SELECT that follows; ?1 in it is
 * `text`, and where that is "a/b", ?2 is "a" and ?3 is "b". */
static int collect(sqlite3 *db, const char *table, const char *select, const char *text)
{
	const char *slash = text ? strchr(text, '/') : NULL;
	sqlite3_stmt *statement = NULL;
	char sql[800];
	int rc;

	snprintf(sql, sizeof(sql), "CREATE TEMP TABLE %s (id INTEGER PRIMARY KEY)", table);
	rc = log_bucket_execute(db, sql);
	if (rc != SQLITE_OK)
		return rc;
	snprintf(sql, sizeof(sql), "INSERT INTO %s %s", table, select);
	rc = sqlite3_prepare_v2(db, sql, -1, &statement, NULL);
	if (rc != SQLITE_OK)
		return rc;
	sqlite3_bind_text(statement, 1, text, -1, SQLITE_STATIC);
	if (slash) {
		sqlite3_bind_text(statement, 2, text, (int)(slash - text), SQLITE_STATIC);
		sqlite3_bind_text(statement, 3, slash + 1, -1, SQLITE_STATIC);
	}
	sqlite3_step(statement);
	return sqlite3_finalize(statement);
}

/* --- Either end's name ---------------------------------------------------------------------- */

#define TEXT(number)	  "(SELECT id FROM strings WHERE text = ?" number ")"
#define EITHER_END(table) " AND (source IN " table " OR destination IN " table ")"

static int filter_names(sqlite3 *db, struct clause *clause, const struct log_filter *filter)
{
	int rc = SQLITE_OK;

	if (filter->zone) {
		add(clause, EITHER_END("wanted_zone"));
		rc = collect(db, "wanted_zone", "SELECT id FROM parties WHERE zone IN " TEXT("1"),
			filter->zone);
	}
	if (rc == SQLITE_OK && filter->vm) {
		add(clause, EITHER_END("wanted_vm"));
		rc = collect(db, "wanted_vm",
			"SELECT id FROM parties WHERE vm_id IN " TEXT("1") " OR vm_name IN " TEXT(
				"1"),
			filter->vm);
	}
	if (rc == SQLITE_OK && filter->port) {
		add(clause, EITHER_END("wanted_port"));
		rc = collect(db, "wanted_port", "SELECT id FROM parties WHERE port IN " TEXT("1"),
			filter->port);
	}
	return rc;
}

/* --- Addresses ----------------------------------------------------------------------------------
 */

/* An SQL function of a blob of 4 or 16 bytes: whether it lies in the prefix. */
static void in_prefix(sqlite3_context *context, int n_arguments, sqlite3_value **arguments)
{
	const struct ip_prefix *prefix = sqlite3_user_data(context);
	const void *blob = sqlite3_value_blob(arguments[0]);
	int length = sqlite3_value_bytes(arguments[0]);
	struct in6_addr address = IN6ADDR_ANY_INIT;

	(void)n_arguments;
	if (blob && length == 16) {
		memcpy(&address, blob, 16);
	} else if (blob && length == 4) {
		address.s6_addr[10] = address.s6_addr[11] = 0xff;
		memcpy(&address.s6_addr[12], blob, 4);
	} else {
		sqlite3_result_int(context, 0);
		return;
	}
	sqlite3_result_int(context, ip_prefix_contains(prefix, &address));
}

/* Makes the SQL function `function`, and the table of the parties whose own address it holds for.
 */
static int enter_prefix(
	sqlite3 *db, const char *function, const char *table, const struct ip_prefix *prefix)
{
	char select[80];
	int rc = sqlite3_create_function(db, function, 1, SQLITE_UTF8 | SQLITE_DETERMINISTIC,
		(void *)prefix, in_prefix, NULL, NULL);

	snprintf(select, sizeof(select), "SELECT id FROM parties WHERE %s(address)", function);
	return rc == SQLITE_OK ? collect(db, table, select, NULL) : rc;
}

#define WITHIN(end)	 "(in_prefix(" end "_address) OR " end " IN wanted_address)"
#define WITHIN_PEER(end) "(in_peer(" end "_address) OR " end " IN wanted_peer)"

static int filter_prefix(sqlite3 *db, struct clause *clause, const struct log_filter *filter)
{
	int rc;

	if (!filter->prefix)
		return SQLITE_OK;
	rc = enter_prefix(db, "in_prefix", "wanted_address", filter->prefix);
	if (!filter->peer) {
		add(clause, " AND (" WITHIN("source") " OR " WITHIN("destination") ")");
		return rc;
	}
	add(clause,
		" AND ((" WITHIN("source") " AND " WITHIN_PEER("destination") ") OR (" WITHIN_PEER(
			"source") " AND " WITHIN("destination") "))");
	return rc == SQLITE_OK ? enter_prefix(db, "in_peer", "wanted_peer", filter->peer) : rc;
}

/* --- Contexts ------------------------------------------------------------------------------------
 */

#define BY_RULE(policy, rule)                                                                      \
	rule " IN " TEXT("1") " OR (" policy " IN " TEXT("2") " AND " rule " IN " TEXT("3") ")"

static int filter_rule(sqlite3 *db, struct clause *clause, const char *rule)
{
	static const char old[] = "SELECT id FROM contexts WHERE " BY_RULE("policy", "rule");
	static const char select[] = "SELECT id FROM contexts WHERE " BY_RULE(
		"policy", "rule") " OR " BY_RULE("simulated_policy", "simulated_rule");

	if (!rule)
		return SQLITE_OK;
	add(clause, " AND context IN wanted_rule");
	return collect(db, "wanted_rule",
		log_bucket_format(db) < LOG_BUCKET_FORMAT_SIMULATED ? old : select, rule);
}

static int filter_simulated(sqlite3 *db, struct clause *clause, const struct log_filter *filter)
{
	char select[200], simulated[40] = "", changed[120] = "";

	if (filter->simulated < 0 && !filter->simulation)
		return SQLITE_OK;
	if (log_bucket_format(db) < LOG_BUCKET_FORMAT_SIMULATED) {
		add(clause, " AND 0");
		return SQLITE_OK;
	}
	if (filter->simulated >= 0)
		snprintf(
			simulated, sizeof(simulated), " AND simulated = %d", filter->simulated + 1);
	if (filter->simulation)
		snprintf(changed, sizeof(changed),
			" AND (kind = %d OR (kind = %d AND simulated = %d))", LOG_WOULD_DENY,
			LOG_DENIED, ZONE_ALLOW + 1);
	snprintf(select, sizeof(select), "SELECT id FROM contexts WHERE 1%s%s", simulated, changed);
	add(clause, " AND context IN wanted_simulated");
	return collect(db, "wanted_simulated", select, NULL);
}

/* Numbers are safe to print into SQL. */
static int filter_contexts(sqlite3 *db, struct clause *clause, const struct log_filter *filter)
{
	char select[200], kind[40] = "", verdict[40] = "", protocol[40] = "";

	if (filter->kind < 0 && filter->verdict < 0 && filter->protocol < 0)
		return SQLITE_OK;
	if (filter->kind >= 0)
		snprintf(kind, sizeof(kind), " AND kind = %d", filter->kind);
	if (filter->verdict >= 0)
		snprintf(verdict, sizeof(verdict), " AND verdict = %d AND kind <> %d",
			filter->verdict, LOG_GAP); /* Nothing was decided in a gap. */
	if (filter->protocol >= 0)
		snprintf(protocol, sizeof(protocol), " AND protocol = %d", filter->protocol);
	snprintf(select, sizeof(select), "SELECT id FROM contexts WHERE 1%s%s%s", kind, verdict,
		protocol);
	add(clause, " AND context IN wanted_context");
	return collect(db, "wanted_context", select, NULL);
}

static int filter_gaps(sqlite3 *db, struct clause *clause, bool with_gaps)
{
	char select[80];

	if (!with_gaps)
		return SQLITE_OK;
	add(clause, " OR context IN gap_context");
	snprintf(select, sizeof(select), "SELECT id FROM contexts WHERE kind = %d", LOG_GAP);
	return collect(db, "gap_context", select, NULL);
}

int log_filter_prepare(sqlite3 *db, const struct log_filter *filter, char where[LOG_FILTER_SQL_MAX])
{
	struct clause clause = {.text = where};
	char port[80];
	int rc;

	add(&clause, "((1");
	rc = filter_names(db, &clause, filter);
	if (rc == SQLITE_OK)
		rc = filter_prefix(db, &clause, filter);
	if (rc == SQLITE_OK)
		rc = filter_rule(db, &clause, filter->rule);
	if (rc == SQLITE_OK)
		rc = filter_contexts(db, &clause, filter);
	if (rc == SQLITE_OK)
		rc = filter_simulated(db, &clause, filter);
	if (filter->transport_port >= 0) {
		snprintf(port, sizeof(port), " AND (source_port = %d OR destination_port = %d)",
			filter->transport_port, filter->transport_port);
		add(&clause, port);
	}
	add(&clause, ")");
	if (rc == SQLITE_OK)
		rc = filter_gaps(db, &clause, filter->with_gaps);
	add(&clause, ")");
	if (filter->since_ns)
		add(&clause, " AND time >= :since");
	if (filter->until_ns)
		add(&clause, " AND time <= :until");
	return rc;
}

void log_filter_bind(
	sqlite3_stmt *statement, const struct log_filter *filter, uint64_t bucket_start_ns)
{
	int since = sqlite3_bind_parameter_index(statement, ":since");
	int until = sqlite3_bind_parameter_index(statement, ":until");

	if (since)
		sqlite3_bind_int64(statement, since, (int64_t)(filter->since_ns - bucket_start_ns));
	if (until)
		sqlite3_bind_int64(statement, until, (int64_t)(filter->until_ns - bucket_start_ns));
}
