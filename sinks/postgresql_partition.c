/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The partitions of the table in a PostgreSQL database: made when the first record of a span of
 * time comes, dropped whole when they are too old.  Called by postgresql.c, on the sink's thread.
 *
 * A partition is made as a table of its own and then attached, for which the server takes a lock
 * that neither writers nor readers notice; to create it in its place would have to wait for every
 * query that is under way.  Dropping has to: so it waits for a second at most, in which others
 * queue behind it, and is tried again later.
 */
#include "sinks/postgresql_schema.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define SECOND_US INT64_C(1000000)

enum { DROPPED_MAX = 16 }; /* At a time. */

/* What is known of a partition by the server's words for it; NULL where it has no end. */
#define BOUNDS                                                                                     \
	"SELECT name, CASE WHEN isfinite(b) THEN (extract(epoch FROM b) * 1000000)::bigint END,"   \
	" CASE WHEN isfinite(e) THEN (extract(epoch FROM e) * 1000000)::bigint END FROM ("         \
	"SELECT name, (regexp_match(x, 'FROM \\(''([^'']+)''\\)'))[1]::timestamptz AS b,"          \
	" (regexp_match(x, 'TO \\(''([^'']+)''\\)'))[1]::timestamptz AS e FROM ("                  \
	"SELECT c.oid::regclass AS name, pg_get_expr(c.relpartbound, c.oid) AS x"                  \
	" FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid"                                \
	" WHERE i.inhparent = '%s'::regclass) AS y WHERE x <> 'DEFAULT') AS z"

/* --- Finding -------------------------------------------------------------------------------- */

static int64_t bound_of(const PGresult *result, int row, int column, int64_t otherwise)
{
	if (PQgetisnull(result, row, column))
		return otherwise;
	return strtoll(PQgetvalue(result, row, column), NULL, 10);
}

/* Makes *span that of the partition that has the time, or else shortens it to what there is between
 * the others.  True if there is one. */
static bool choose_span(const PGresult *result, int64_t time_us, struct postgresql_span *span)
{
	for (int row = 0; row < PQntuples(result); row++) {
		struct postgresql_span other = {
			bound_of(result, row, 1, INT64_MIN), bound_of(result, row, 2, INT64_MAX)};

		if (other.begin_us <= time_us && time_us < other.end_us) {
			*span = other;
			return true;
		}
		if (other.end_us <= time_us && other.end_us > span->begin_us)
			span->begin_us = other.end_us;
		if (other.begin_us > time_us && other.begin_us < span->end_us)
			span->end_us = other.begin_us;
	}
	return false;
}

static int find_span(struct postgresql_client *client, const struct postgresql_table *table,
	const char *begin, int64_t time_us, struct postgresql_span *span, bool *found)
{
	PGresult *result;
	char sql[1400];
	int rc;

	snprintf(sql, sizeof(sql), "%s" BOUNDS, begin, table->quoted);
	rc = postgresql_run(client, "tell the table's partitions", sql, &result);
	if (rc != 0)
		return rc;
	*found = choose_span(result, time_us, span);
	PQclear(result);
	return 0;
}

/* --- Making --------------------------------------------------------------------------------- */

enum { TIME_TEXT_MAX = 64 };

static void write_time(int64_t time_us, const char *format, char text[TIME_TEXT_MAX])
{
	time_t seconds = (time_t)(time_us / SECOND_US);
	struct tm utc;

	if (!gmtime_r(&seconds, &utc) || !strftime(text, TIME_TEXT_MAX, format, &utc))
		text[0] = '\0';
}

static int make_partition(struct postgresql_client *client, const struct postgresql_table *table,
	const struct postgresql_span *span)
{
	char suffix[TIME_TEXT_MAX], begin[TIME_TEXT_MAX], end[TIME_TEXT_MAX], sql[1200];
	int rc;

	write_time(span->begin_us, "%Y%m%d_%H%M%S", suffix);
	write_time(span->begin_us, "%Y-%m-%d %H:%M:%S", begin);
	write_time(span->end_us, "%Y-%m-%d %H:%M:%S", end);
	snprintf(sql, sizeof(sql),
		"CREATE TABLE \"%s\".\"%s_%s\" (LIKE %s INCLUDING DEFAULTS INCLUDING CONSTRAINTS"
		" INCLUDING STORAGE INCLUDING COMPRESSION);"
		"ALTER TABLE %s ATTACH PARTITION \"%s\".\"%s_%s\" FOR VALUES"
		" FROM ('%s.%06d+00') TO ('%s.%06d+00'); COMMIT",
		table->schema, table->name, suffix, table->quoted, table->quoted, table->schema,
		table->name, suffix, begin, (int)(span->begin_us % SECOND_US), end,
		(int)(span->end_us % SECOND_US));
	rc = postgresql_run(client, "make a partition", sql, NULL);
	if (rc == -EREMOTEIO && strcmp(client->sqlstate, "42501") == 0)
		return postgresql_fail(client, EREMOTEIO,
			"the role %s may not make the partition %s_%s (%s UTC); let the table's "
			"owner make it",
			PQuser(client->connection), table->name, suffix, begin);
	return rc;
}

int postgresql_partition(struct postgresql_client *client, const struct postgresql_table *table,
	int64_t time_us, int64_t length_us, struct postgresql_span *span)
{
	const struct postgresql_span wanted = {
		time_us - time_us % length_us, time_us - time_us % length_us + length_us};
	char begin[200];
	bool found;
	int rc;

	*span = wanted;
	rc = find_span(client, table, "", time_us, span, &found);
	if (rc != 0 || found)
		return rc;
	/* Another host may be making it. */
	*span = wanted;
	snprintf(begin, sizeof(begin), "BEGIN; " POSTGRESQL_LOCK, table->name);
	rc = find_span(client, table, begin, time_us, span, &found);
	if (rc == 0 && found)
		return postgresql_run(client, "end a transaction", "COMMIT", NULL);
	return rc == 0 ? make_partition(client, table, span) : rc;
}

/* --- Dropping ------------------------------------------------------------------------------- */

static int drop_partition(
	struct postgresql_client *client, const struct postgresql_table *table, const char *name)
{
	char sql[500];
	int rc, undone;

	snprintf(sql, sizeof(sql),
		"BEGIN; SET LOCAL lock_timeout = '1s'; " POSTGRESQL_LOCK
		" DROP TABLE IF EXISTS %s; COMMIT",
		table->name, name);
	rc = postgresql_run(client, "drop an old partition", sql, NULL);
	if (rc != -EREMOTEIO)
		return rc;
	undone = postgresql_run(client, "end a transaction", "ROLLBACK", NULL);
	return undone == 0 ? rc : undone;
}

int postgresql_drop_partitions(struct postgresql_client *client,
	const struct postgresql_table *table, unsigned int retention_days)
{
	PGresult *result;
	char sql[1400];
	int rc;

	client->error[0] = '\0';
	snprintf(sql, sizeof(sql),
		"SELECT name FROM (" BOUNDS ") AS old (name, b, e) WHERE to_timestamp(e / 1000000)"
		" < now() - interval '%u days' ORDER BY e LIMIT %d",
		table->quoted, retention_days, DROPPED_MAX);
	rc = postgresql_run(client, "tell the old partitions", sql, &result);
	if (rc != 0)
		return rc;
	for (int row = 0; rc == 0 && row < PQntuples(result); row++)
		rc = drop_partition(client, table, PQgetvalue(result, row, 0));
	PQclear(result);
	return rc == -EREMOTEIO ? 0 : rc;
}
