/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The PostgreSQL sink against a real server: what is stored, in which partitions, by whom, and what
 * becomes of it when the server is not there, not willing, or gone in the middle.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <poll.h>
#include <pthread.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "sinks/sink_type.h"
#include "tests/unit/log_fixture.h"
#include "tests/unit/sink_fixture.h"
#include "tests/unit/postgresql_fixture.h"

static char connection[200], schema[40];

/* A schema of each test's own. */
static int begin_test(void **state)
{
	static unsigned int n;

	(void)state;
	snprintf(connection, sizeof(connection), "host=%s user=admin dbname=postgres", directory);
	snprintf(schema, sizeof(schema), "test_%u", ++n);
	return 0;
}

static void prepare_with(struct fixture_sink *sink, const char *name, const char *value)
{
	const char *options[] = {"connection", connection, "schema", schema, name, value, NULL};

	prepare_sink(sink, &sink_postgresql, options);
}

static void prepare(struct fixture_sink *sink)
{
	prepare_with(sink, NULL, NULL);
}

/* The answer to `text`, in which every % is the test's schema. */
static const char *ask(const char *text)
{
	char query_text[2000], *to = query_text;

	for (; *text; text++) {
		if (*text == '%')
			to = stpcpy(to, schema);
		else
			*to++ = *text;
	}
	*to = '\0';
	return sql(query_text);
}

/* Records first...last are there, each once. */
static void assert_stored(uint64_t first, uint64_t last)
{
	char expected[100];

	snprintf(expected, sizeof(expected), "%llu|%llu|%llu|%llu",
		(unsigned long long)(last + 1 - first), (unsigned long long)(last + 1 - first),
		(unsigned long long)first, (unsigned long long)last);
	assert_string_equal(ask("SELECT count(*), count(DISTINCT sequence), min(sequence),"
				" max(sequence) FROM %.traffic"),
		expected);
}

/* --- What is stored ------------------------------------------------------------------------- */

static void test_all_fields(void **state)
{
	struct fixture_sink sink;
	struct log_record record = record_of(42, T0 + 123456789);

	(void)state;
	record.icmp_type = 8;
	record.icmp_code = 255;
	record.vni = 16777215;
	record.simulated = 1 + ZONE_REJECT;
	record.simulated_policy = "audit";
	record.simulated_rule = "no-db";
	record.suppressed = UINT32_MAX;
	record.policy_revision = UINT32_MAX;
	record.source.transport_port = 65535;
	record.bytes_reverse = UINT64_MAX;
	prepare(&sink);
	open_sink(&sink);
	write_sink(&sink, &record);
	flush_sink(&sink, T0);
	assert_string_equal(ask("SELECT time, start, sequence, host, kind, verdict, reason,"
				" protocol FROM %.traffic"),
		"2026-10-01 12:00:00.123456+00|2026-10-01 11:59:55.123456+00|42|host-a|end|"
		"allowed|fin|tcp");
	assert_string_equal(
		ask("SELECT source_address, source_mac, source_transport_port, source_port,"
		    " source_vm_id, source_vm_name, source_zone, source_tags FROM %.traffic"),
		"10.0.1.5|02:00:00:00:01:05|65535|vm-web-1|7f5c|web-1|web|app=shop tier=web");
	assert_string_equal(
		ask("SELECT destination_address, destination_mac, destination_transport_port,"
		    " destination_port, destination_vm_id, destination_vm_name, destination_zone,"
		    " destination_tags FROM %.traffic"),
		"10.0.2.7|02:00:00:00:02:07|5432|vm-db-1|8a01|db-1|db|tier=db");
	assert_string_equal(ask("SELECT tier, policy, rule, label, policy_revision,"
				" simulated_verdict, simulated_policy, simulated_rule FROM"
				" %.traffic"),
		"environment|db-access|web-to-db|CHG-4711|4294967295|rejected|audit|no-db");
	assert_string_equal(ask("SELECT packets_forward, bytes_forward, packets_reverse,"
				" bytes_reverse, suppressed, vni, vlan, ethertype, tcp_flags,"
				" icmp_type, icmp_code FROM %.traffic"),
		"10|1200|9|9223372036854775807|4294967295|16777215|10|2048|27|8|255");
	close_sink(&sink);
}

static void test_what_does_not_apply_is_null(void **state)
{
	struct fixture_sink sink;
	struct log_record gap;

	(void)state;
	gap = (struct log_record){.kind = LOG_GAP,
		.sequence = 7,
		.time_ns = T0,
		.host = "host-a",
		.reason = "ring-full",
		.packets_forward = 1234,
		.tier = "",
		.policy = "",
		.rule = "",
		.label = "",
		.simulated_policy = "",
		.simulated_rule = ""};
	gap.source = gap.destination =
		(struct log_party){.port = "", .vm_id = "", .vm_name = "", .zone = "", .tags = ""};
	prepare(&sink);
	open_sink(&sink);
	write_sink(&sink, &gap);
	flush_sink(&sink, T0);
	assert_string_equal(ask("SELECT kind, reason, packets_forward, verdict, start, protocol,"
				" source_address, source_mac, source_vm_name, destination_tags,"
				" tier, rule, label, simulated_verdict, vlan FROM %.traffic"),
		"gap|ring-full|1234|NULL|NULL|NULL|NULL|NULL|NULL|NULL|NULL|NULL|NULL|NULL|0");
	close_sink(&sink);
}

static void test_ipv6_and_what_is_no_ip(void **state)
{
	struct fixture_sink sink;
	struct log_record record = denial_of(1, T0), arp = denial_of(2, T0);

	(void)state;
	memset(&arp.source.address, 0, sizeof(arp.source.address));
	memset(&arp.destination.address, 0, sizeof(arp.destination.address));
	arp.protocol = 0;
	arp.ethertype = 0x0806;
	prepare(&sink);
	open_sink(&sink);
	write_sink(&sink, &record);
	write_sink(&sink, &arp);
	flush_sink(&sink, T0);
	assert_string_equal(ask("SELECT source_address, destination_address,"
				" family(source_address), masklen(source_address), ethertype"
				" FROM %.traffic ORDER BY sequence"),
		"2001:db8:2::7|2001:db8::99|6|128|34525\nNULL|NULL|NULL|NULL|2054");
	assert_string_equal(ask("SELECT source, destination, destination_transport_port, policy,"
				" rule FROM %.traffic_denied"),
		"db-1|2001:db8::99|443|egress|no-internet\n"
		"db-1|NULL|443|egress|no-internet");
	close_sink(&sink);
}

static void test_odd_characters(void **state)
{
	struct fixture_sink sink;
	struct log_record record = record_of(1, T0);

	(void)state;
	record.source.vm_name = "a'b\"c\\d\te\nf\x01 M\xc3\xbcller \xf0\x9f\x94\xa5";
	record.source.zone = "bad \xff\xc3( \xe2\x82";
	record.source.tags = "NULL";
	prepare(&sink);
	sink.place.host = "o'neill \\x";
	sink.place.name = "\"; DROP TABLE traffic; --";
	open_sink(&sink);
	write_sink(&sink, &record);
	flush_sink(&sink, T0);
	assert_string_equal(ask("SELECT source_vm_name, source_zone, source_tags FROM %.traffic"),
		"a'b\"c\\d\te\nf\x01 M\xc3\xbcller \xf0\x9f\x94\xa5|bad \\xff\\xc3( "
		"\\xe2\\x82|NULL");
	assert_string_equal(ask("SELECT host, sink, records FROM %.traffic_writers"),
		"o'neill \\x|\"; DROP TABLE traffic; --|1");
	close_sink(&sink);
}

static void test_a_record_without_a_time_is_refused_alone(void **state)
{
	struct fixture_sink sink;
	struct log_record record = record_of(2, 0);

	(void)state;
	prepare(&sink);
	open_sink(&sink);
	write_numbered(&sink, 1, 1);
	assert_int_equal(try_write(&sink, &record), -EINVAL);
	flush_sink(&sink, T0);
	assert_stored(1, 1);
	close_sink(&sink);
}

static void test_what_was_not_flushed_is_not_stored(void **state)
{
	struct fixture_sink sink;

	(void)state;
	prepare(&sink);
	open_sink(&sink);
	write_numbered(&sink, 1, 100);
	flush_sink(&sink, T0);
	write_numbered(&sink, 101, 200);
	close_sink(&sink);
	assert_stored(1, 100);
	assert_int_equal(sink.known_sequence, 0);
	open_sink(&sink);
	assert_int_equal(sink.known_sequence, 100);
	flush_sink(&sink, T0);
	write_numbered(&sink, 101, 200);
	flush_sink(&sink, T0);
	flush_sink(&sink, T0);
	close_sink(&sink);
	assert_stored(1, 200);
	assert_string_equal(ask("SELECT host, sink, records, first_sequence, last_sequence,"
				" first_time FROM %.traffic_writers"),
		"host-a|test|200|101|200|2026-10-01 12:00:00.101+00");
}

/* A host that was installed anew counts from 1 again, and must not be taken for its former self. */
static void test_a_sequence_that_begins_again(void **state)
{
	struct fixture_sink sink;
	struct log_record record = record_of(1, T0 + HOUR);

	(void)state;
	prepare(&sink);
	open_sink(&sink);
	write_numbered(&sink, 1, 10);
	flush_sink(&sink, T0);
	close_sink(&sink);
	open_sink(&sink);
	write_sink(&sink, &record);
	flush_sink(&sink, T0);
	close_sink(&sink);
	assert_string_equal(ask("SELECT count(*) FROM %.traffic"), "11");
}

/* --- Partitions ----------------------------------------------------------------------------- */

#define PARTITIONS                                                                                 \
	"SELECT c.relname, pg_get_expr(c.relpartbound, c.oid) FROM pg_inherits i JOIN pg_class c"  \
	" ON c.oid = i.inhrelid WHERE i.inhparent = '%.traffic'::regclass ORDER BY 1"

static void write_at(struct fixture_sink *sink, uint64_t sequence, uint64_t time_ns)
{
	struct log_record record = record_of(sequence, time_ns);

	write_sink(sink, &record);
}

static void test_partitions_are_made(void **state)
{
	struct fixture_sink sink;

	(void)state;
	prepare(&sink);
	open_sink(&sink);
	write_at(&sink, 1, T0);
	write_at(&sink, 2, T0 + 30 * HOUR);
	write_at(&sink, 3, T0 + 12 * HOUR);
	write_at(&sink, 4, T0 + 12 * HOUR - 1);
	flush_sink(&sink, T0);
	assert_string_equal(ask(PARTITIONS),
		"traffic_20261001_000000|FOR VALUES FROM ('2026-10-01 00:00:00+00') TO "
		"('2026-10-02 00:00:00+00')\n"
		"traffic_20261002_000000|FOR VALUES FROM ('2026-10-02 00:00:00+00') TO "
		"('2026-10-03 00:00:00+00')");
	assert_string_equal(ask("SELECT count(*) FROM %.traffic_20261001_000000"), "2");
	assert_string_equal(ask("SELECT count(*) FROM pg_indexes WHERE schemaname = '%'"
				" AND tablename = 'traffic_20261002_000000'"),
		"2");
	close_sink(&sink);
	assert_stored(1, 4);
}

/* Other spans than those that are there already, shorter and longer, fill what is left. */
static void test_partitions_of_other_lengths(void **state)
{
	struct fixture_sink sink;

	(void)state;
	prepare_with(&sink, "partition-seconds", "3600");
	open_sink(&sink);
	write_at(&sink, 1, T0);
	flush_sink(&sink, T0);
	close_sink(&sink);
	prepare(&sink);
	open_sink(&sink);
	write_at(&sink, 2, T0 + 30 * SECOND);
	write_at(&sink, 3, T0 + 2 * HOUR);
	write_at(&sink, 4, T0 - HOUR);
	flush_sink(&sink, T0);
	close_sink(&sink);
	assert_string_equal(ask(PARTITIONS),
		"traffic_20261001_000000|FOR VALUES FROM ('2026-10-01 00:00:00+00') TO "
		"('2026-10-01 12:00:00+00')\n"
		"traffic_20261001_120000|FOR VALUES FROM ('2026-10-01 12:00:00+00') TO "
		"('2026-10-01 13:00:00+00')\n"
		"traffic_20261001_130000|FOR VALUES FROM ('2026-10-01 13:00:00+00') TO "
		"('2026-10-02 00:00:00+00')");
	assert_stored(1, 4);
}

static void test_partitions_without_an_end(void **state)
{
	struct fixture_sink sink;

	(void)state;
	prepare(&sink);
	open_sink(&sink);
	ask("CREATE TABLE %.early PARTITION OF %.traffic FOR VALUES FROM (MINVALUE) TO"
	    " ('2026-10-01 06:00:00+00')");
	ask("CREATE TABLE %.late PARTITION OF %.traffic FOR VALUES FROM ('2026-10-01 18:00:00+00')"
	    " TO ('infinity')");
	ask("CREATE TABLE %.other PARTITION OF %.traffic DEFAULT");
	write_at(&sink, 1, SECOND);
	write_at(&sink, 2, T0);
	write_at(&sink, 3, T0 + 1000 * HOUR);
	flush_sink(&sink, T0);
	close_sink(&sink);
	assert_string_equal(ask("SELECT tableoid::regclass::text FROM %.traffic ORDER BY sequence"),
		ask("SELECT x FROM (VALUES ('%.early'), ('%.traffic_20261001_060000'),"
		    " ('%.late')) AS y (x)"));
}

static void test_old_partitions_are_dropped(void **state)
{
	uint64_t today = (uint64_t)time(NULL) * SECOND;
	struct fixture_sink sink;

	(void)state;
	prepare_with(&sink, "retention-days", "3");
	open_sink(&sink);
	write_at(&sink, 1, today - 5 * 24 * HOUR);
	write_at(&sink, 2, today - 6 * 24 * HOUR);
	write_at(&sink, 3, today - 2 * 24 * HOUR);
	write_at(&sink, 4, today);
	flush_sink(&sink, today);
	assert_stored(1, 4);
	flush_sink(&sink, today);
	assert_stored(3, 4);
	assert_string_equal(ask("SELECT drop_error FROM %.traffic_writers"), "NULL");
	/* What comes late is stored, and dropped again. */
	write_at(&sink, 5, today - 5 * 24 * HOUR);
	assert_int_equal(try_flush(&sink, today), -EREMOTEIO);
	assert_non_null(strstr(sink.error, "no partition of relation"));
	close_sink(&sink);
	open_sink(&sink);
	write_at(&sink, 5, today - 5 * 24 * HOUR);
	flush_sink(&sink, today);
	assert_stored(3, 5);
	flush_sink(&sink, today + 61 * SECOND);
	assert_stored(3, 4);
	close_sink(&sink);
}

/* A report that runs for long holds up neither records nor new partitions, and is not disturbed. */
static void test_a_partition_that_is_in_use_is_dropped_later(void **state)
{
	uint64_t today = (uint64_t)time(NULL) * SECOND;
	PGconn *reader = connect_as("admin");
	struct fixture_sink sink;

	(void)state;
	prepare_with(&sink, "retention-days", "3");
	open_sink(&sink);
	write_at(&sink, 1, today - 5 * 24 * HOUR);
	flush_sink(&sink, today);
	sql_on(reader, "BEGIN");
	sql_on(reader, ask("SELECT 'SELECT count(*) FROM %.traffic'"));
	write_at(&sink, 2, today);
	flush_sink(&sink, today);
	flush_sink(&sink, today);
	write_at(&sink, 3, today - 24 * HOUR);
	flush_sink(&sink, today);
	assert_stored(1, 3);
	assert_non_null(strstr(ask("SELECT drop_error FROM %.traffic_writers"), "lock timeout"));
	sql_on(reader, "COMMIT");
	flush_sink(&sink, today + 61 * SECOND);
	assert_stored(2, 3);
	assert_string_equal(ask("SELECT drop_error FROM %.traffic_writers"), "NULL");
	PQfinish(reader);
	close_sink(&sink);
}

/* --- Who may, and who answers ----------------------------------------------------------------- */

static void assert_open_fails(const char *conninfo, int error, const char *sentence)
{
	const char *options[] = {"connection", conninfo, "schema", schema, NULL};
	struct fixture_sink sink;

	prepare_sink(&sink, &sink_postgresql, options);
	sink.place.time_limit_ms = 400;
	assert_int_equal(try_open(&sink), error);
	assert_null(sink.state);
	if (!strstr(sink.error, sentence) || strchr(sink.error, '\n'))
		fail_msg("'%s' does not say '%s' in one line", sink.error, sentence);
}

static void test_wrong_connections(void **state)
{
	char conninfo[300];

	(void)state;
	sql("CREATE ROLE locked LOGIN SUPERUSER PASSWORD 'right'");
	snprintf(conninfo, sizeof(conninfo), "host=%s user=admin dbname=nowhere", directory);
	assert_open_fails(conninfo, -ENOTCONN, "database \"nowhere\" does not exist");
	snprintf(conninfo, sizeof(conninfo), "host=%s user=nobody dbname=postgres", directory);
	assert_open_fails(conninfo, -ENOTCONN, "role \"nobody\" does not exist");
	snprintf(conninfo, sizeof(conninfo), "host=%s user=locked dbname=postgres", directory);
	assert_open_fails(conninfo, -ENOTCONN, "no password supplied");
	snprintf(conninfo, sizeof(conninfo), "host=%s user=locked dbname=postgres password=wrong",
		directory);
	assert_open_fails(
		conninfo, -ENOTCONN, "password authentication failed for user \"locked\"");
	assert_open_fails("host=/nonexistent", -ENOTCONN, "No such file or directory");
	assert_open_fails("host=127.0.0.1 port=1", -ENOTCONN, "Connection refused");
	assert_open_fails("hots=db", -ENOTCONN, "invalid connection option \"hots\"");
	assert_open_fails("host='", -ENOTCONN, "see the option connection");
}

static void test_a_password_in_a_file(void **state)
{
	struct fixture_sink sink;
	FILE *file = fopen(path_of("passwords"), "w");

	(void)state;
	assert_non_null(file);
	fputs("*:*:*:locked:right\n", file);
	fclose(file);
	assert_int_equal(chmod(path_of("passwords"), 0600), 0);
	snprintf(connection, sizeof(connection),
		"host=%s user=locked dbname=postgres passfile=%s/passwords", directory, directory);
	prepare(&sink);
	open_sink(&sink);
	write_numbered(&sink, 1, 1);
	flush_sink(&sink, T0);
	assert_stored(1, 1);
	close_sink(&sink);
}

static int listen_at(const char *folder)
{
	struct sockaddr_un name = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_int_equal(mkdir(path_of(folder), 0755), 0);
	snprintf(name.sun_path, sizeof(name.sun_path), "%s/%s/.s.PGSQL.5432", directory, folder);
	assert_int_equal(bind(fd, (struct sockaddr *)&name, sizeof(name)), 0);
	assert_int_equal(listen(fd, 5), 0);
	return fd;
}

static void test_a_server_that_says_nothing(void **state)
{
	const char *options[] = {"connection", connection, NULL};
	int fd = listen_at("silent");
	struct fixture_sink sink;

	(void)state;
	snprintf(connection, sizeof(connection), "host=%s/silent dbname=x", directory);
	assert_open_fails(connection, -ETIMEDOUT, "PostgreSQL did not answer within");
	/* An end is not waited for. */
	prepare_sink(&sink, &sink_postgresql, options);
	sink.ending = true;
	sink.place.time_limit_ms = 60000;
	assert_int_equal(try_open(&sink), -ECANCELED);
	close(fd);
}

static void test_a_database_of_another_encoding(void **state)
{
	char conninfo[300];

	(void)state;
	sql("CREATE DATABASE western ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0");
	snprintf(conninfo, sizeof(conninfo), "host=%s user=admin dbname=western", directory);
	assert_open_fails(conninfo, -ENOTSUP, "the database western has the encoding LATIN1");
}

static void test_roles_that_may_not(void **state)
{
	struct fixture_sink sink;

	(void)state;
	sql("CREATE ROLE guest LOGIN");
	snprintf(connection, sizeof(connection), "host=%s user=guest dbname=postgres", directory);
	prepare(&sink);
	assert_int_equal(try_open(&sink), -EREMOTEIO);
	assert_non_null(strstr(sink.error, "CREATE SCHEMA \""));
	assert_non_null(strstr(sink.error, "AUTHORIZATION \"guest\""));
	ask("CREATE SCHEMA %");
	assert_int_equal(try_open(&sink), -EREMOTEIO);
	assert_non_null(strstr(sink.error, "GRANT USAGE, CREATE ON SCHEMA"));
	ask("GRANT USAGE, CREATE ON SCHEMA % TO guest");
	open_sink(&sink);
	write_numbered(&sink, 1, 3);
	flush_sink(&sink, T0);
	close_sink(&sink);
	assert_stored(1, 3);
}

/* A role that may add records but change none, for which another makes the partitions. */
static void test_a_role_that_may_only_insert(void **state)
{
	struct fixture_sink sink;

	(void)state;
	prepare(&sink);
	open_sink(&sink);
	write_numbered(&sink, 1, 3);
	flush_sink(&sink, T0);
	close_sink(&sink);
	sql("CREATE ROLE inserter LOGIN");
	ask("GRANT USAGE ON SCHEMA % TO inserter");
	ask("GRANT INSERT ON %.traffic TO inserter");
	ask("GRANT SELECT, INSERT, UPDATE ON %.traffic_writers TO inserter");
	snprintf(
		connection, sizeof(connection), "host=%s user=inserter dbname=postgres", directory);
	prepare(&sink);
	sink.place.host = "host-b";
	open_sink(&sink);
	write_numbered(&sink, 4, 6);
	flush_sink(&sink, T0);
	flush_sink(&sink, T0 + HOUR);
	assert_stored(1, 6);
	struct log_record record = record_of(7, T0 + 48 * HOUR);
	assert_int_equal(try_write(&sink, &record), -EREMOTEIO);
	assert_non_null(strstr(sink.error, "may not make the partition traffic_20261003_000000"));
	close_sink(&sink);
}

static void test_a_table_with_other_columns(void **state)
{
	struct fixture_sink sink;

	(void)state;
	prepare(&sink);
	open_sink(&sink);
	close_sink(&sink);
	ask("DROP VIEW %.traffic_denied");
	ask("ALTER TABLE %.traffic ALTER vlan TYPE smallint");
	assert_int_equal(try_open(&sink), -EREMOTEIO);
	assert_non_null(strstr(sink.error, "has no column vlan of the type integer"));
	ask("ALTER TABLE %.traffic ALTER vlan TYPE integer, DROP label");
	assert_int_equal(try_open(&sink), -EREMOTEIO);
	assert_non_null(strstr(sink.error, "has no column label of the type text"));
	/* One of somebody else's does no harm. */
	ask("ALTER TABLE %.traffic ADD label text, ADD ticket text");
	open_sink(&sink);
	write_numbered(&sink, 1, 3);
	flush_sink(&sink, T0);
	close_sink(&sink);
	assert_stored(1, 3);
}

/* --- Several at once -------------------------------------------------------------------------- */

enum { WRITERS = 4, WRITER_BATCHES = 20, WRITER_RECORDS = 50 };

struct writer {
	struct fixture_sink sink;
	char host[20];
	pthread_t thread;
	int error;
};

/* Each batch has records of two days; all writers make the same partitions at the same time. */
static void *write_batches(void *writer_)
{
	struct writer *writer = writer_;
	struct fixture_sink *sink = &writer->sink;
	uint64_t sequence = 0;

	writer->error = try_open(sink);
	for (int batch = 0; writer->error == 0 && batch < WRITER_BATCHES; batch++) {
		for (int i = 0; writer->error == 0 && i < WRITER_RECORDS; i++) {
			struct log_record record =
				record_of(++sequence, T0 + (uint64_t)(batch + i % 2) * 24 * HOUR);

			record.host = writer->host;
			writer->error = try_write(sink, &record);
		}
		if (writer->error == 0)
			writer->error = try_flush(sink, T0);
	}
	return NULL;
}

static void test_several_hosts_at_once(void **state)
{
	static struct writer writers[WRITERS];

	(void)state;
	for (int i = 0; i < WRITERS; i++) {
		prepare(&writers[i].sink);
		snprintf(writers[i].host, sizeof(writers[i].host), "host-%d", i);
		writers[i].sink.place.host = writers[i].host;
	}
	for (int i = 0; i < WRITERS; i++)
		assert_int_equal(
			pthread_create(&writers[i].thread, NULL, write_batches, &writers[i]), 0);
	for (int i = 0; i < WRITERS; i++) {
		pthread_join(writers[i].thread, NULL);
		if (writers[i].error)
			fail_msg("writer %d: %s", i, writers[i].sink.error);
		close_sink(&writers[i].sink);
	}
	assert_string_equal(ask("SELECT host, count(*), count(DISTINCT sequence), max(sequence)"
				" FROM %.traffic GROUP BY host ORDER BY host"),
		"host-0|1000|1000|1000\nhost-1|1000|1000|1000\n"
		"host-2|1000|1000|1000\nhost-3|1000|1000|1000");
	assert_string_equal(ask("SELECT count(*) FROM (" PARTITIONS ") AS x"), "21");
	assert_string_equal(ask("SELECT count(*), sum(records) FROM %.traffic_writers"), "4|4000");
}

/* --- The server goes away --------------------------------------------------------------------- */

enum { KILL_RECORDS = 8000 };

struct killer {
	pthread_t thread;
	int delay_ms, signal_number;
	pid_t victim;
};

static void *kill_server(void *killer_)
{
	const struct killer *killer = killer_;

	pause_ms(killer->delay_ms);
	kill(killer->victim, killer->signal_number);
	return NULL;
}

static void restart_server(void)
{
	PQfinish(server.connection);
	start_server();
}

/* As sink.c does it: what was not delivered is given again, after the place was opened anew.
 * Returns how often a delivery failed. */
static unsigned int deliver_whatever_comes(struct fixture_sink *sink, uint64_t first, uint64_t last)
{
	unsigned int failures = 0;
	bool done = false;

	for (int tries = 0; !done && tries < 100; tries++) {
		int error = sink->state ? 0 : try_open(sink);

		for (uint64_t sequence = first; error == 0 && sequence <= last; sequence++) {
			struct log_record record = numbered(sequence);

			error = try_write(sink, &record);
		}
		if (error == 0)
			error = try_flush(sink, T0);
		done = error == 0;
		if (done)
			break;
		failures += error == -ECONNRESET;
		if (!*sink->error)
			fail_msg("no sentence for %d", error);
		if (sink->state)
			close_sink(sink);
		if (waitpid(server.pid, NULL, WNOHANG) == server.pid)
			restart_server();
		pause_ms(20);
	}
	if (!done)
		fail_msg("never delivered: %s", sink->error);
	return failures;
}

static void test_a_server_that_is_killed_in_the_middle(void **state)
{
	static const int delays_ms[] = {0, 5, 15, 25, 40, 60};
	struct fixture_sink sink;
	unsigned int failures = 0;
	uint64_t first = 1;

	(void)state;
	prepare(&sink);
	open_sink(&sink);
	for (size_t i = 0; i < sizeof(delays_ms) / sizeof(delays_ms[0]); i++) {
		struct killer killer = {.delay_ms = delays_ms[i],
			.signal_number = i % 2 ? SIGKILL : SIGQUIT,
			.victim = server.pid};

		assert_int_equal(pthread_create(&killer.thread, NULL, kill_server, &killer), 0);
		failures += deliver_whatever_comes(&sink, first, first + KILL_RECORDS - 1);
		first += KILL_RECORDS;
		pthread_join(killer.thread, NULL);
		/* Should it have been quicker than the killer: */
		if (killer.victim == server.pid && waitpid(server.pid, NULL, 0) == server.pid)
			restart_server();
		(void)deliver_whatever_comes(&sink, first, first + 9);
		first += 10;
		assert_stored(1, first - 1);
	}
	assert_true(failures > 0);
	close_sink(&sink);
}

/* While nothing is to be written, it is noticed too. */
static void test_a_server_that_ends_meanwhile(void **state)
{
	struct fixture_sink sink;
	int error = 0;

	(void)state;
	prepare(&sink);
	open_sink(&sink);
	write_numbered(&sink, 1, 3);
	flush_sink(&sink, T0);
	stop_server(SIGQUIT);
	for (int i = 0; error == 0 && i < 50; i++) {
		error = try_flush(&sink, T0);
		pause_ms(20);
	}
	assert_int_equal(error, -ECONNRESET);
	assert_non_null(strstr(sink.error, "the connection to PostgreSQL was lost"));
	close_sink(&sink);
	start_server();
	open_sink(&sink);
	write_numbered(&sink, 4, 6);
	flush_sink(&sink, T0);
	close_sink(&sink);
	assert_stored(1, 6);
}

/* Between the sink and the server: passes all on, until the server says that a batch is stored, and
 * dies with this word. */
static void *stand_between(void *listener)
{
	static const char word[] = "INSERT 0 1";
	struct sockaddr_un name = {.sun_family = AF_UNIX};
	int client = accept(*(int *)listener, NULL, NULL);
	int real = socket(AF_UNIX, SOCK_STREAM, 0);
	static char bytes[1 << 16];
	struct pollfd ends[2] = {{.fd = client, .events = POLLIN}, {.fd = real, .events = POLLIN}};

	snprintf(name.sun_path, sizeof(name.sun_path), "%s/.s.PGSQL.5432", directory);
	if (connect(real, (struct sockaddr *)&name, sizeof(name)) == 0)
		while (poll(ends, 2, 10000) > 0) {
			int from = ends[0].revents ? 0 : 1;
			ssize_t n = read(ends[from].fd, bytes, sizeof(bytes));

			if (n <= 0 || (from == 1 && memmem(bytes, (size_t)n, word, 10)))
				break;
			if (send(ends[1 - from].fd, bytes, (size_t)n, MSG_NOSIGNAL) != n)
				break;
		}
	close(client);
	close(real);
	return NULL;
}

static void test_a_commit_whose_answer_is_lost(void **state)
{
	struct fixture_sink sink;
	pthread_t thread;
	char direct[sizeof(connection)];
	int listener = listen_at("between");

	(void)state;
	memcpy(direct, connection, sizeof(direct));
	prepare(&sink);
	open_sink(&sink);
	write_numbered(&sink, 1, 99);
	flush_sink(&sink, T0);
	close_sink(&sink);
	snprintf(connection, sizeof(connection), "host=%s/between user=admin dbname=postgres",
		directory);
	assert_int_equal(pthread_create(&thread, NULL, stand_between, &listener), 0);
	open_sink(&sink);
	write_numbered(&sink, 100, 300);
	assert_int_equal(try_flush(&sink, T0), -ECONNRESET);
	pthread_join(thread, NULL);
	close_sink(&sink);
	assert_stored(1, 300);
	/* Written once more, with what has come meanwhile. */
	memcpy(connection, direct, sizeof(direct));
	open_sink(&sink);
	write_numbered(&sink, 100, 400);
	flush_sink(&sink, T0);
	assert_stored(1, 400);
	close_sink(&sink);
	/* All of a delivery may be there already. */
	open_sink(&sink);
	write_numbered(&sink, 301, 400);
	flush_sink(&sink, T0);
	write_numbered(&sink, 401, 402);
	flush_sink(&sink, T0);
	close_sink(&sink);
	assert_stored(1, 402);
	close(listener);
}

/* --- Options ---------------------------------------------------------------------------------- */

static void test_options(void **state)
{
	static const struct {
		const char *options[5], *error;
	} cases[] = {
		{{NULL}, "needs connection="},
		{{"connection", "", NULL}, "must not be empty"},
		{{"connection", "x", "table", "Traffic", NULL}, "small letters, digits and"},
		{{"connection", "x", "schema", "a\"; DROP TABLE b", NULL}, "small letters"},
		{{"connection", "x", "schema", "1st", NULL}, "small letters"},
		{{"connection", "x", "table", "a23456789_123456789_123456789_123456789_1", NULL},
			"at most 40"},
		{{"connection", "x", "partition-seconds", "59", NULL}, "partition-seconds=59"},
		{{"connection", "x", "retention-days", "0", NULL}, "retention-days=0"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct sink_setting at[2];
		struct sink_settings settings = {.kind = sink_postgresql.kind, .at = at};
		char error[SINK_ERROR_MAX] = "";

		for (; cases[i].options[2 * settings.n]; settings.n++)
			at[settings.n] = (struct sink_setting){cases[i].options[2 * settings.n],
				cases[i].options[2 * settings.n + 1]};
		assert_false(sink_settings_check(&settings, error, sizeof(error)));
		if (!strstr(error, cases[i].error))
			fail_msg("'%s' does not say '%s'", error, cases[i].error);
	}
}

#define WITH_SCHEMA(test) cmocka_unit_test_setup(test, begin_test)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_options),
		WITH_SCHEMA(test_all_fields),
		WITH_SCHEMA(test_what_does_not_apply_is_null),
		WITH_SCHEMA(test_ipv6_and_what_is_no_ip),
		WITH_SCHEMA(test_odd_characters),
		WITH_SCHEMA(test_a_record_without_a_time_is_refused_alone),
		WITH_SCHEMA(test_what_was_not_flushed_is_not_stored),
		WITH_SCHEMA(test_a_sequence_that_begins_again),
		WITH_SCHEMA(test_partitions_are_made),
		WITH_SCHEMA(test_partitions_of_other_lengths),
		WITH_SCHEMA(test_partitions_without_an_end),
		WITH_SCHEMA(test_old_partitions_are_dropped),
		WITH_SCHEMA(test_a_partition_that_is_in_use_is_dropped_later),
		WITH_SCHEMA(test_wrong_connections),
		WITH_SCHEMA(test_a_password_in_a_file),
		WITH_SCHEMA(test_a_server_that_says_nothing),
		WITH_SCHEMA(test_a_database_of_another_encoding),
		WITH_SCHEMA(test_roles_that_may_not),
		WITH_SCHEMA(test_a_role_that_may_only_insert),
		WITH_SCHEMA(test_a_table_with_other_columns),
		WITH_SCHEMA(test_several_hosts_at_once),
		WITH_SCHEMA(test_a_server_that_is_killed_in_the_middle),
		WITH_SCHEMA(test_a_server_that_ends_meanwhile),
		WITH_SCHEMA(test_a_commit_whose_answer_is_lost),
	};

	return cmocka_run_group_tests(tests, make_server, remove_server);
}
