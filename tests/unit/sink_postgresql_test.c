/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The PostgreSQL sink against a real server: what is stored, in which partitions, and by whom.  See
 * sink_postgresql_outage_test.c for servers that go away.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "sinks/sink_type.h"
#include "tests/unit/log_fixture.h"
#include "tests/unit/sink_fixture.h"
#include "tests/unit/postgresql_fixture.h"

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
	flush_sink(&sink, today);
	assert_stored(3, 5);
	flush_sink(&sink, today + 61 * SECOND);
	assert_stored(3, 4);
	close_sink(&sink);
}

/* Another host may do so, or a person. */
static void test_a_partition_that_somebody_else_drops(void **state)
{
	struct fixture_sink sink;

	(void)state;
	prepare(&sink);
	open_sink(&sink);
	flush_sink(&sink, T0);
	write_at(&sink, 1, T0);
	flush_sink(&sink, T0);
	ask("DROP TABLE %.traffic_20261001_000000");
	write_at(&sink, 2, T0);
	assert_int_equal(try_flush(&sink, T0), -EREMOTEIO);
	assert_non_null(strstr(sink.error, "no partition of relation"));
	close_sink(&sink);
	open_sink(&sink);
	write_at(&sink, 2, T0);
	flush_sink(&sink, T0);
	assert_stored(2, 2);
	close_sink(&sink);
}

/* So that nobody waits for it at midnight. */
static void test_the_next_partition_is_made_before_it_is_needed(void **state)
{
	struct fixture_sink sink;

	(void)state;
	prepare(&sink);
	open_sink(&sink);
	write_at(&sink, 1, T0);
	flush_sink(&sink, T0);
	flush_sink(&sink, T0);
	assert_string_equal(
		ask("SELECT to_regclass('%.traffic_20261002_000000') IS NOT NULL"), "t");
	/* If that cannot be, everything else goes on. */
	ask("CREATE TABLE %.traffic_20261003_000000 ()");
	flush_sink(&sink, T0 + 24 * HOUR);
	write_at(&sink, 2, T0 + 24 * HOUR);
	flush_sink(&sink, T0 + 24 * HOUR);
	assert_stored(1, 2);
	struct log_record record = record_of(3, T0 + 48 * HOUR);
	assert_int_equal(try_write(&sink, &record), -EREMOTEIO);
	assert_non_null(strstr(sink.error, "\"traffic_20261003_000000\" already exists"));
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
	assert_open_fails("hots=db", -EINVAL, "invalid connection option \"hots\"");
	assert_open_fails("host='", -EINVAL, "the option connection is wrong");
	assert_open_fails("password=my secret", -EINVAL, "missing \"=\" after \"***\"");
	assert_open_fails("postgresql://me:50%secret@db/x", -EINVAL,
		"invalid percent-encoded token: \"***\"");
	assert_open_fails("postgresql://me:p@ss@db/x", -EINVAL, "write %40 for each @");
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
		WITH_SCHEMA(test_a_partition_that_somebody_else_drops),
		WITH_SCHEMA(test_the_next_partition_is_made_before_it_is_needed),
		WITH_SCHEMA(test_a_partition_that_is_in_use_is_dropped_later),
		WITH_SCHEMA(test_wrong_connections),
		WITH_SCHEMA(test_a_password_in_a_file),
		WITH_SCHEMA(test_a_database_of_another_encoding),
		WITH_SCHEMA(test_roles_that_may_not),
		WITH_SCHEMA(test_a_role_that_may_only_insert),
		WITH_SCHEMA(test_a_table_with_other_columns),
	};

	return cmocka_run_group_tests(tests, make_server, remove_server);
}
