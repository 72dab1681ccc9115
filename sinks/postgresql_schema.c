/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The objects in a PostgreSQL database.  Called by postgresql.c when it has connected, on the
 * sink's thread.
 */
#include "sinks/postgresql_schema.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sinks/postgresql_row.h"

enum { VERSION_MIN = 140000 }; /* The oldest that its makers still looked after in 2025. */

/* --- The session ---------------------------------------------------------------------------- */

static int check_server(struct postgresql_client *client)
{
	int version = PQserverVersion(client->connection);
	const char *encoding = PQparameterStatus(client->connection, "server_encoding");

	if (version < VERSION_MIN)
		return postgresql_fail(client, ENOTSUP,
			"the server is PostgreSQL %d; records are stored in 14 and later",
			version / 10000);
	if (!encoding || (strcmp(encoding, "UTF8") != 0 && strcmp(encoding, "SQL_ASCII") != 0))
		return postgresql_fail(client, ENOTSUP,
			"the database %s has the encoding %s, which does not have all characters; "
			"make one with ENCODING 'UTF8'",
			PQdb(client->connection), encoding ? encoding : "?");
	return 0;
}

static int set_up_session(struct postgresql_client *client)
{
	char sql[300];

	/* The server gives up waiting for a lock before we give up waiting for the server. */
	snprintf(sql, sizeof(sql),
		"SET search_path = pg_catalog; SET TimeZone = 'UTC'; SET DateStyle = 'ISO';"
		"SET standard_conforming_strings = on; SET lock_timeout = %u;"
		"SET idle_in_transaction_session_timeout = %u",
		client->place->time_limit_ms * 4 / 5, client->place->time_limit_ms * 4);
	return postgresql_run(client, "begin a session", sql, NULL);
}

/* --- Making --------------------------------------------------------------------------------- */

static void put_columns(FILE *sql)
{
	for (size_t i = 0; i < n_postgresql_columns; i++) {
		const struct postgresql_column *column = &postgresql_columns[i];
		bool always = !strcmp(column->name, "time") || !strcmp(column->name, "sequence") ||
			      !strcmp(column->name, "host") || !strcmp(column->name, "kind");

		fprintf(sql, "%s%s %s%s", i ? ", " : "", column->name,
			postgresql_column_type(column), always ? " NOT NULL" : "");
	}
}

static void put_writers(FILE *sql, const struct postgresql_table *table)
{
	/* Half empty pages, so that a row that changes with each batch stays where it is. */
	fprintf(sql,
		"CREATE TABLE \"%s\".\"%s_writers\" ("
		"host text, sink text, written timestamptz NOT NULL, records bigint NOT NULL,"
		" first_sequence bigint NOT NULL, last_sequence bigint NOT NULL,"
		" first_time timestamptz NOT NULL, last_time timestamptz NOT NULL,"
		" drop_error text, PRIMARY KEY (host, sink)) WITH (fillfactor = 50);"
		"COMMENT ON TABLE \"%s\".\"%s_writers\" IS 'Cordon: who writes, the last batch of"
		" each, and why old partitions could not be dropped';",
		table->schema, table->name, table->schema, table->name);
}

static void put_denied(FILE *sql, const struct postgresql_table *table)
{
	fprintf(sql,
		"CREATE VIEW \"%s\".\"%s_denied\" AS SELECT time, host, kind, verdict, reason,"
		" coalesce(source_vm_name, host(source_address), source_mac::text) AS source,"
		" source_address, source_zone,"
		" coalesce(destination_vm_name, host(destination_address),"
		" destination_mac::text) AS destination,"
		" destination_address, destination_transport_port, destination_zone, protocol,"
		" policy, rule, policy_revision, packets_forward, suppressed"
		" FROM %s WHERE verdict <> 'allowed';",
		table->schema, table->name, table->quoted);
}

static char *creation_of(const struct postgresql_table *table, bool schema_is_there)
{
	char *sql = NULL;
	size_t size;
	FILE *text = open_memstream(&sql, &size);

	if (!text)
		return NULL;
	if (!schema_is_there)
		fprintf(text, "CREATE SCHEMA \"%s\";", table->schema);
	fprintf(text, "CREATE TABLE %s (", table->quoted);
	put_columns(text);
	fprintf(text,
		") PARTITION BY RANGE (time); CREATE INDEX ON %s (time);"
		"CREATE INDEX ON %s (time) WHERE verdict <> 'allowed';"
		"COMMENT ON TABLE %s IS 'Cordon: the traffic log of all hosts';",
		table->quoted, table->quoted, table->quoted);
	put_writers(text, table);
	put_denied(text, table);
	fputs("COMMIT", text);
	if (fclose(text) == 0)
		return sql;
	free(sql);
	return NULL;
}

/* What a person can do about it, in place of "permission denied". */
static int explain_refusal(struct postgresql_client *client, const struct postgresql_table *table,
	bool schema_is_there)
{
	const char *role = PQuser(client->connection);

	if (schema_is_there)
		return postgresql_fail(client, EREMOTEIO,
			"the role %s may not make tables in the schema %s; let its owner run: "
			"GRANT USAGE, CREATE ON SCHEMA \"%s\" TO \"%s\"",
			role, table->schema, table->schema, role);
	return postgresql_fail(client, EREMOTEIO,
		"the role %s may not make a schema in the database %s; let its owner run there: "
		"CREATE SCHEMA \"%s\" AUTHORIZATION \"%s\"",
		role, PQdb(client->connection), table->schema, role);
}

/* Whether there is a table and a schema of these names. */
static int look_for(struct postgresql_client *client, const char *begin,
	struct postgresql_table *table, bool *table_is_there, bool *schema_is_there)
{
	PGresult *result;
	char sql[900];
	int rc;

	snprintf(sql, sizeof(sql),
		"%sSELECT c.oid IS NOT NULL, n.oid IS NOT NULL,"
		" coalesce(pg_has_role(c.relowner, 'USAGE'), true)"
		" FROM (SELECT) AS one LEFT JOIN pg_namespace n ON n.nspname = '%s'"
		" LEFT JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = '%s'",
		begin, table->schema, table->name);
	rc = postgresql_run(client, "look for the table", sql, &result);
	if (rc != 0)
		return rc;
	*table_is_there = strcmp(PQgetvalue(result, 0, 0), "t") == 0;
	*schema_is_there = strcmp(PQgetvalue(result, 0, 1), "t") == 0;
	table->is_owned = strcmp(PQgetvalue(result, 0, 2), "t") == 0;
	PQclear(result);
	return 0;
}

static int make_table(struct postgresql_client *client, struct postgresql_table *table)
{
	bool table_is_there, schema_is_there;
	char begin[300], *sql;
	int rc;

	/* Another host may be at it. */
	snprintf(begin, sizeof(begin), "BEGIN; " POSTGRESQL_LOCK, table->name);
	rc = look_for(client, begin, table, &table_is_there, &schema_is_there);
	if (rc != 0)
		return rc;
	if (table_is_there)
		return postgresql_run(client, "end a transaction", "COMMIT", NULL);
	sql = creation_of(table, schema_is_there);
	if (!sql)
		return postgresql_fail(client, ENOMEM, "there is no memory for a command");
	rc = postgresql_run(client, "make the table", sql, NULL);
	free(sql);
	if (rc == -EREMOTEIO && strcmp(client->sqlstate, "42501") == 0)
		return explain_refusal(client, table, schema_is_there);
	return rc;
}

/* --- Checking ------------------------------------------------------------------------------- */

static bool has_column(const PGresult *result, const struct postgresql_column *column)
{
	for (int row = 0; row < PQntuples(result); row++)
		if (strcmp(PQgetvalue(result, row, 0), column->name) == 0)
			return strcmp(PQgetvalue(result, row, 1), postgresql_column_type(column)) ==
			       0;
	return false;
}

/* The server takes binary values for what the column's type says, so types must be right. */
static int check_columns(struct postgresql_client *client, const struct postgresql_table *table)
{
	PGresult *result;
	char sql[400];
	int rc;

	snprintf(sql, sizeof(sql),
		"SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute"
		" WHERE attrelid = '%s'::regclass AND attnum > 0 AND NOT attisdropped",
		table->quoted);
	rc = postgresql_run(client, "tell the table's columns", sql, &result);
	if (rc != 0)
		return rc;
	for (size_t i = 0; rc == 0 && i < n_postgresql_columns; i++)
		if (!has_column(result, &postgresql_columns[i]))
			rc = postgresql_fail(client, EREMOTEIO,
				"the table %s has no column %s of the type %s; let its owner add "
				"it, or name another table",
				table->quoted, postgresql_columns[i].name,
				postgresql_column_type(&postgresql_columns[i]));
	PQclear(result);
	return rc;
}

int postgresql_prepare(struct postgresql_client *client, struct postgresql_table *table)
{
	bool table_is_there, schema_is_there;
	int rc = check_server(client);

	snprintf(table->quoted, sizeof(table->quoted), "\"%s\".\"%s\"", table->schema, table->name);
	if (rc == 0)
		rc = set_up_session(client);
	if (rc == 0)
		rc = look_for(client, "", table, &table_is_there, &schema_is_there);
	if (rc == 0 && !table_is_there)
		rc = make_table(client, table);
	return rc == 0 ? check_columns(client, table) : rc;
}
