/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The sink that stores records in a PostgreSQL database, which many hosts may share.  Called by
 * sink.c, on the sink's thread.
 *
 * Rows are gathered in memory and go over with COPY, all of a flush in one transaction.
 *
 * Nothing twice, nothing lost
 *	If the connection breaks before the server's answer to a commit, nobody here knows whether
 *	the rows are stored, and sink.c gives their records again.  So the transaction also writes,
 *	to the host's row in TABLE_writers, which sequence numbers and times its rows have.  After
 *	connecting, that is read; as long as the first records that come lie within, they are those
 *	and are left out.  This costs one small row a batch, where a unique index would cost work
 *	for every record, on all that is stored.  The times keep records apart from those of a host
 *	that was installed anew and counts from 1 again.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "sinks/postgresql_row.h"
#include "sinks/postgresql_schema.h"
#include "sinks/sink_type.h"

#define SECOND_NS UINT64_C(1000000000)
#define SECOND_US INT64_C(1000000)

enum {
	SPANS_KNOWN = 16,    /* More at a time only have to be asked for again. */
	HOUSEKEEPING_S = 60, /* How often old partitions are looked for. */
	ROOM_MIN = 1 << 20,  /* Bytes. */
};

/* What the records of a transaction have. */
struct extent {
	uint64_t n, first_sequence, last_sequence;
	int64_t first_us, last_us; /* The earliest and the latest time, since 1970. */
};

struct postgresql_sink {
	const struct sink_place *place;
	struct postgresql_client client;
	struct postgresql_table table;
	int64_t partition_us;
	unsigned int retention_days;
	char *copy;	   /* The command. */
	char *host, *sink; /* Names, as SQL. */

	struct extent stored; /* The last transaction's; `n` 0: its records do not come again. */
	struct extent fresh;  /* Of the rows. */
	char *rows;	      /* COPY's bytes. */
	size_t used, allocated;
	struct postgresql_span
		known[SPANS_KNOWN]; /* Partitions that are there, the last used first. */
	size_t n_known;
	uint64_t now_ns, housekeeping_ns;
	bool drop_failed; /* As TABLE_writers says. */
};

/* --- Opening -------------------------------------------------------------------------------- */

static void sink_free(struct postgresql_sink *sink)
{
	postgresql_disconnect(&sink->client);
	free(sink->copy);
	PQfreemem(sink->host);
	PQfreemem(sink->sink);
	free(sink->rows);
	free(sink);
}

static void postgresql_close(void *state)
{
	/* What was not committed is undone by the server. */
	if (state)
		sink_free(state);
}

static char *copy_command(const struct postgresql_table *table)
{
	char *sql = NULL;
	size_t size;
	FILE *text = open_memstream(&sql, &size);

	if (!text)
		return NULL;
	fprintf(text, "COPY %s (", table->quoted);
	for (size_t i = 0; i < n_postgresql_columns; i++)
		fprintf(text, "%s%s", i ? ", " : "", postgresql_columns[i].name);
	fputs(") FROM STDIN (FORMAT binary)", text);
	if (fclose(text) == 0)
		return sql;
	free(sql);
	return NULL;
}

static int make_commands(struct postgresql_sink *sink)
{
	PGconn *connection = sink->client.connection;
	const struct sink_place *place = sink->place;

	sink->copy = copy_command(&sink->table);
	sink->host = PQescapeLiteral(connection, place->host, strlen(place->host));
	sink->sink = PQescapeLiteral(connection, place->name, strlen(place->name));
	if (!sink->copy || !sink->host || !sink->sink)
		return postgresql_fail(&sink->client, ENOMEM, "there is no memory for a command");
	return 0;
}

static uint64_t number_at(const PGresult *result, int row, int column)
{
	return strtoull(PQgetvalue(result, row, column), NULL, 10);
}

static bool is_true_at(const PGresult *result, int row, int column)
{
	return strcmp(PQgetvalue(result, row, column), "t") == 0;
}

/* Reads what this host's sinks have stored last: this one's is what may come again, and none may
 * have a sequence number twice. */
static int read_stored(struct postgresql_sink *sink)
{
	struct extent *stored = &sink->stored;
	PGresult *result;
	char *sql;
	int rc;

	if (asprintf(&sql,
		    "SELECT sink = %s, first_sequence, last_sequence,"
		    " (extract(epoch FROM first_time) * 1000000)::bigint,"
		    " (extract(epoch FROM last_time) * 1000000)::bigint, drop_error IS NOT NULL"
		    " FROM \"%s\".\"%s_writers\" WHERE host = %s",
		    sink->sink, sink->table.schema, sink->table.name, sink->host) < 0)
		return postgresql_fail(&sink->client, ENOMEM, "there is no memory for a command");
	rc = postgresql_run(&sink->client, "tell what is stored", sql, &result);
	free(sql);
	if (rc != 0)
		return rc;
	for (int row = 0; row < PQntuples(result); row++) {
		uint64_t last_sequence = number_at(result, row, 2);

		sink_place_knows(sink->place, last_sequence);
		if (!is_true_at(result, row, 0))
			continue;
		stored->n = 1;
		stored->first_sequence = number_at(result, row, 1);
		stored->last_sequence = last_sequence;
		stored->first_us = (int64_t)number_at(result, row, 3);
		stored->last_us = (int64_t)number_at(result, row, 4);
		sink->drop_failed = is_true_at(result, row, 5);
	}
	PQclear(result);
	return 0;
}

static void empty_rows(struct postgresql_sink *sink)
{
	sink->used = 0;
	sink->fresh = (struct extent){0};
}

static int connect_and_prepare(struct postgresql_sink *sink)
{
	const struct sink_settings *settings = sink->place->settings;
	int rc = postgresql_connect(&sink->client, sink_setting_text(settings, "connection"));

	if (rc == 0)
		rc = postgresql_prepare(&sink->client, &sink->table);
	if (rc == 0)
		rc = make_commands(sink);
	return rc == 0 ? read_stored(sink) : rc;
}

static int postgresql_open(
	const struct sink_place *place, void **state, char *error, size_t error_size)
{
	const struct sink_settings *settings = place->settings;
	struct postgresql_sink *sink = calloc(1, sizeof(*sink));
	int rc;

	*state = NULL;
	if (!sink) {
		snprintf(error, error_size, "there is no memory for a connection to PostgreSQL");
		return -ENOMEM;
	}
	sink->place = sink->client.place = place;
	sink->table.schema = sink_setting_text(settings, "schema");
	sink->table.name = sink_setting_text(settings, "table");
	sink->partition_us =
		(int64_t)sink_setting_number(settings, "partition-seconds") * SECOND_US;
	sink->retention_days = (unsigned int)sink_setting_number(settings, "retention-days");
	rc = connect_and_prepare(sink);
	if (rc != 0) {
		snprintf(error, error_size, "%s", sink->client.error);
		sink_free(sink);
		return rc;
	}
	*state = sink;
	return 0;
}

/* --- Housekeeping --------------------------------------------------------------------------- */

/* So that whoever asks why there still are old records finds it. */
static int note_drop_error(struct postgresql_sink *sink)
{
	struct postgresql_client *client = &sink->client;
	bool failed = client->error[0] != '\0';
	char *error, *sql = NULL;
	int rc;

	if (!failed && !sink->drop_failed)
		return 0;
	error = PQescapeLiteral(client->connection, client->error, strlen(client->error));
	if (!error ||
		asprintf(&sql,
			"UPDATE \"%s\".\"%s_writers\" SET drop_error = nullif(%s, '')"
			" WHERE host = %s AND sink = %s",
			sink->table.schema, sink->table.name, error, sink->host, sink->sink) < 0) {
		PQfreemem(error);
		return postgresql_fail(client, ENOMEM, "there is no memory for a command");
	}
	rc = postgresql_run(client, "note an error", sql, NULL);
	sink->drop_failed = failed;
	PQfreemem(error);
	free(sql);
	return rc;
}

/* Makes the partition that will be wanted next, while nobody waits for it; and so it is there for
 * roles that may make none.  What hinders it will be said by the record that needs it. */
static int make_next_partition(struct postgresql_sink *sink)
{
	int64_t next_us = (int64_t)(sink->now_ns / 1000) + sink->partition_us;
	struct postgresql_span span;
	int rc = postgresql_partition(
		&sink->client, &sink->table, next_us, sink->partition_us, &span);

	if (rc == -EREMOTEIO)
		return postgresql_run(&sink->client, "end a transaction", "ROLLBACK", NULL);
	return rc;
}

/* What is done now and then, when no rows wait. */
static int keep_house(struct postgresql_sink *sink)
{
	int rc;

	if (!sink->table.is_owned ||
		sink->now_ns - sink->housekeeping_ns < HOUSEKEEPING_S * SECOND_NS)
		return 0;
	sink->housekeeping_ns = sink->now_ns;
	rc = postgresql_drop_partitions(&sink->client, &sink->table, sink->retention_days);
	if (rc == 0)
		rc = note_drop_error(sink);
	/* Some that were known may be gone. */
	sink->n_known = 0;
	return rc == 0 ? make_next_partition(sink) : rc;
}

/* --- Writing -------------------------------------------------------------------------------- */

static bool is_within(const struct postgresql_span *span, int64_t time_us)
{
	return span->begin_us <= time_us && time_us < span->end_us;
}

/* Sees to it that there is a partition for the time. */
static int find_partition(struct postgresql_sink *sink, int64_t time_us)
{
	struct postgresql_span span;
	size_t i;

	if (sink->n_known != 0 && is_within(&sink->known[0], time_us))
		return 0;
	for (i = 1; i < sink->n_known && !is_within(&sink->known[i], time_us); i++)
		continue;
	if (i < sink->n_known) {
		span = sink->known[i];
	} else {
		int rc = postgresql_partition(
			&sink->client, &sink->table, time_us, sink->partition_us, &span);

		if (rc != 0)
			return rc;
		i = sink->n_known < SPANS_KNOWN ? sink->n_known++ : SPANS_KNOWN - 1;
	}
	memmove(&sink->known[1], &sink->known[0], i * sizeof(span));
	sink->known[0] = span;
	return 0;
}

/* True for a record that the last transaction has stored, although its end was not heard. */
static bool comes_again(struct postgresql_sink *sink, uint64_t sequence, int64_t time_us)
{
	const struct extent *stored = &sink->stored;

	if (stored->n == 0)
		return false;
	if (sequence >= stored->first_sequence && sequence <= stored->last_sequence &&
		time_us >= stored->first_us && time_us <= stored->last_us)
		return true;
	sink->stored.n = 0;
	return false;
}

static void extend(struct extent *extent, uint64_t sequence, int64_t time_us)
{
	if (extent->n == 0 || sequence < extent->first_sequence)
		extent->first_sequence = sequence;
	if (extent->n == 0 || sequence > extent->last_sequence)
		extent->last_sequence = sequence;
	if (extent->n == 0 || time_us < extent->first_us)
		extent->first_us = time_us;
	if (extent->n == 0 || time_us > extent->last_us)
		extent->last_us = time_us;
	extent->n++;
}

static int make_room(struct postgresql_sink *sink, size_t size)
{
	size_t allocated = sink->allocated ? sink->allocated : ROOM_MIN;
	char *larger;

	if (sink->used + size <= sink->allocated)
		return 0;
	while (allocated < sink->used + size)
		allocated *= 2;
	larger = realloc(sink->rows, allocated);
	if (!larger)
		return postgresql_fail(&sink->client, ENOMEM, "there is no memory for rows");
	sink->rows = larger;
	sink->allocated = allocated;
	return 0;
}

static int add_row(struct postgresql_sink *sink, const struct log_record *record)
{
	int rc = make_room(sink,
		POSTGRESQL_HEADER_BYTES + postgresql_row_size(record) + POSTGRESQL_TRAILER_BYTES);

	if (rc != 0)
		return rc;
	if (sink->used == 0) {
		postgresql_put_header(sink->rows);
		sink->used = POSTGRESQL_HEADER_BYTES;
	}
	sink->used += postgresql_row(record, sink->rows + sink->used);
	return 0;
}

static int take(struct postgresql_sink *sink, const struct log_record *record)
{
	int64_t time_us = (int64_t)(record->time_ns / 1000);
	int rc = sink->used == 0 ? keep_house(sink) : 0;

	if (time_us == 0)
		return postgresql_fail(&sink->client, EINVAL, "a record has no time");
	if (rc != 0 || comes_again(sink, record->sequence, time_us))
		return rc;
	rc = find_partition(sink, time_us);
	if (rc == 0)
		rc = add_row(sink, record);
	if (rc == 0)
		extend(&sink->fresh, record->sequence, time_us);
	return rc;
}

static int postgresql_write(
	void *state, const struct log_record *record, char *error, size_t error_size)
{
	struct postgresql_sink *sink = state;
	int rc = take(sink, record);

	if (rc != 0)
		snprintf(error, error_size, "%s", sink->client.error);
	return rc;
}

/* --- Delivery ------------------------------------------------------------------------------- */

static int store_rows(struct postgresql_sink *sink)
{
	const struct extent *fresh = &sink->fresh;
	char *sql;
	int rc;

	postgresql_put_trailer(sink->rows + sink->used);
	rc = asprintf(&sql,
		"%s; INSERT INTO \"%s\".\"%s_writers\" AS w VALUES (%s, %s, clock_timestamp(), "
		"%llu, "
		"%llu, %llu,"
		" timestamptz 'epoch' + %lld * interval '1 microsecond',"
		" timestamptz 'epoch' + %lld * interval '1 microsecond')"
		" ON CONFLICT (host, sink) DO UPDATE SET written = EXCLUDED.written,"
		" records = w.records + EXCLUDED.records,"
		" first_sequence = EXCLUDED.first_sequence,"
		" last_sequence = EXCLUDED.last_sequence,"
		" first_time = EXCLUDED.first_time, last_time = EXCLUDED.last_time",
		sink->copy, sink->table.schema, sink->table.name, sink->host, sink->sink,
		(unsigned long long)fresh->n, (unsigned long long)fresh->first_sequence,
		(unsigned long long)fresh->last_sequence, (long long)fresh->first_us,
		(long long)fresh->last_us);
	if (rc < 0)
		return postgresql_fail(&sink->client, ENOMEM, "there is no memory for a command");
	rc = postgresql_copy(&sink->client, "store records", sql, sink->rows,
		sink->used + POSTGRESQL_TRAILER_BYTES);
	free(sql);
	return rc;
}

static int postgresql_flush(void *state, uint64_t now_ns, char *error, size_t error_size)
{
	struct postgresql_sink *sink = state;
	int rc;

	sink->now_ns = now_ns;
	if (sink->used == 0) {
		rc = postgresql_look(&sink->client);
		if (rc == 0)
			rc = keep_house(sink);
	} else {
		rc = store_rows(sink);
		empty_rows(sink);
	}
	if (rc != 0)
		snprintf(error, error_size, "%s", sink->client.error);
	return rc;
}

const struct sink_type sink_postgresql = {
	.kind = &sink_kinds[SINK_KIND_POSTGRESQL],
	.open = postgresql_open,
	.write = postgresql_write,
	.flush = postgresql_flush,
	.close = postgresql_close,
};
