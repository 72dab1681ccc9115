/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a file of the traffic log looks like inside.  Called by the writer when it begins a file.
 *
 * The table `records` is made to be small: what many records have in common is a row of `parties`
 * (an end) or `contexts` (kind, protocol, verdict, rule...), and every name is a row of `strings`.
 * A number that is 0 costs SQLite one byte, so what does not apply is 0 or NULL.  There is no
 * secondary index of SQLite's: it would cost as much again as the record.  Records are found by
 * `segments` and `postings` (segment.h) and added up in `slices` (slice.h).  Equal rows of strings,
 * parties and contexts may occur, under different ids.
 *
 * docs/log.md documents all this for people who query by hand.
 */
#include <string.h>

#include "log/bucket.h"
#include "log/record.h"
#include "zones/zone.h"

static const char tables_sql[] =
	"CREATE TABLE bucket (start_ns INTEGER NOT NULL, filtered INTEGER NOT NULL DEFAULT 0);"
	"CREATE TABLE names (class TEXT, number INTEGER, name TEXT NOT NULL,"
	"\n  PRIMARY KEY (class, number)) WITHOUT ROWID;"
	"CREATE TABLE strings (id INTEGER PRIMARY KEY, text TEXT NOT NULL);"
	"CREATE TABLE parties (id INTEGER PRIMARY KEY,"
	"\n  port INTEGER, vm_id INTEGER, vm_name INTEGER, zone INTEGER, tags INTEGER,"
	"\n  mac BLOB, address BLOB);"
	"CREATE TABLE contexts (id INTEGER PRIMARY KEY, kind INTEGER, verdict INTEGER,"
	"\n  protocol INTEGER, icmp_type INTEGER, icmp_code INTEGER, tcp_flags INTEGER,"
	"\n  ethertype INTEGER, vlan INTEGER, vni INTEGER, host INTEGER, reason INTEGER,"
	"\n  tier INTEGER, policy INTEGER, rule INTEGER, label INTEGER, policy_revision INTEGER,"
	"\n  simulated INTEGER, simulated_policy INTEGER, simulated_rule INTEGER);"
	"CREATE TABLE records (sequence INTEGER PRIMARY KEY,"
	"\n  time INTEGER, age INTEGER, context INTEGER, source INTEGER, destination INTEGER,"
	"\n  source_address BLOB, destination_address BLOB,"
	"\n  source_port INTEGER, destination_port INTEGER, suppressed INTEGER,"
	"\n  packets_forward INTEGER, bytes_forward INTEGER,"
	"\n  packets_reverse INTEGER, bytes_reverse INTEGER);"
	"CREATE TABLE segments (number INTEGER PRIMARY KEY, first INTEGER, last INTEGER,"
	"\n  records INTEGER, first_time INTEGER, last_time INTEGER, shared INTEGER);"
	"CREATE TABLE postings (id INTEGER PRIMARY KEY, offsets BLOB NOT NULL);"
	"CREATE TABLE slices (first INTEGER PRIMARY KEY, last INTEGER, records INTEGER,"
	"\n  first_time INTEGER, last_time INTEGER, flows BLOB, minutes BLOB);";

/* The formatter does not see that what follows are lists, one column a line. */
/* clang-format off */

/* SQLite has no function for an address, so the view spells it out of its hexadecimal form. */
#define DIGIT(blob, at) "instr('123456789ABCDEF', substr(hex(" blob "), " at ", 1))"
#define OCTET(blob, high, low) "16 * " DIGIT(blob, high) " + " DIGIT(blob, low)
#define GROUP(blob, at) "substr(hex(" blob "), " at ", 4)"
#define ADDRESS(blob)                                                                              \
	"CASE length(" blob ") WHEN 4 THEN printf('%d.%d.%d.%d', "                                 \
	OCTET(blob, "1", "2") ", " OCTET(blob, "3", "4") ", "                                      \
	OCTET(blob, "5", "6") ", " OCTET(blob, "7", "8")                                           \
	") WHEN 16 THEN lower("                                                                    \
	GROUP(blob, "1") "||':'||" GROUP(blob, "5") "||':'||"                                      \
	GROUP(blob, "9") "||':'||" GROUP(blob, "13") "||':'||"                                     \
	GROUP(blob, "17") "||':'||" GROUP(blob, "21") "||':'||"                                    \
	GROUP(blob, "25") "||':'||" GROUP(blob, "29")                                              \
	") ELSE '' END"
#define PAIR(blob, at) "substr(hex(" blob "), " at ", 2)"
#define MAC(blob)                                                                                  \
	"CASE length(" blob ") WHEN 6 THEN lower("                                                 \
	PAIR(blob, "1") "||':'||" PAIR(blob, "3") "||':'||" PAIR(blob, "5") "||':'||"              \
	PAIR(blob, "7") "||':'||" PAIR(blob, "9") "||':'||" PAIR(blob, "11")                       \
	") ELSE '' END"
#define TEXT(id) "coalesce((SELECT text FROM strings WHERE id = " id "), '')"
#define NAME(class, number)                                                                        \
	"coalesce((SELECT name FROM names WHERE class = '" class "' AND number = " number "), "    \
	number ")"
#define UTC(ns) "strftime('%Y-%m-%d %H:%M:%f', (" ns ") / 1e9, 'unixepoch')"
#define PARTY(name, party)                                                                         \
	ADDRESS("coalesce(r." name "_address, " party ".address)") " AS " name "_address, "        \
	"r." name "_port AS " name "_transport_port, "                                             \
	TEXT(party ".zone") " AS " name "_zone, "                                                  \
	TEXT(party ".vm_name") " AS " name "_vm_name, "                                            \
	TEXT(party ".vm_id") " AS " name "_vm_id, "                                                \
	TEXT(party ".port") " AS " name "_port, "                                                  \
	TEXT(party ".tags") " AS " name "_tags, "                                                  \
	MAC(party ".mac") " AS " name "_mac, "
/* Nothing was decided in a gap. */
#define GAP "(SELECT number FROM names WHERE class = 'kind' AND name = 'gap')"

static const char view_sql[] =
	"CREATE VIEW traffic AS SELECT r.sequence AS sequence, "
	UTC("b.start_ns + r.time") " AS time, "
	NAME("kind", "c.kind") " AS kind, "
	"CASE WHEN c.kind = " GAP " THEN '' ELSE " NAME("verdict", "c.verdict") " END AS verdict, "
	NAME("protocol", "c.protocol") " AS protocol, "
	PARTY("source", "s")
	PARTY("destination", "d")
	TEXT("c.reason") " AS reason, "
	TEXT("c.tier") " AS tier, "
	TEXT("c.policy") " AS policy, "
	TEXT("c.rule") " AS rule, "
	TEXT("c.label") " AS label, "
	"c.policy_revision AS policy_revision, "
	"CASE c.simulated WHEN 0 THEN '' ELSE " NAME("verdict", "c.simulated - 1")
	" END AS simulated_verdict, "
	TEXT("c.simulated_policy") " AS simulated_policy, "
	TEXT("c.simulated_rule") " AS simulated_rule, "
	"r.packets_forward AS packets_forward, r.bytes_forward AS bytes_forward, "
	"r.packets_reverse AS packets_reverse, r.bytes_reverse AS bytes_reverse, "
	"r.suppressed AS suppressed, "
	"c.icmp_type AS icmp_type, c.icmp_code AS icmp_code, c.tcp_flags AS tcp_flags, "
	"c.ethertype AS ethertype, c.vlan AS vlan, c.vni AS vni, "
	TEXT("c.host") " AS host, "
	"coalesce(" UTC("b.start_ns + r.time - r.age") ", '') AS start, "
	"b.start_ns + r.time AS time_ns, b.start_ns + r.time - r.age AS start_ns "
	"FROM records r JOIN bucket b LEFT JOIN contexts c ON c.id = r.context "
	"LEFT JOIN parties s ON s.id = r.source LEFT JOIN parties d ON d.id = r.destination;";
/* clang-format on */

struct name_row {
	const char *class;
	int number;
	const char *name;
};

#define X(enumerator, text) {"kind", enumerator, text},
#define Y(number, name)	    {"protocol", number, name},
static const struct name_row name_rows[] = {LOG_KINDS(X){"verdict", ZONE_ALLOW, "allowed"},
	{"verdict", ZONE_DENY, "denied"}, {"verdict", ZONE_REJECT, "rejected"}, {"protocol", 0, ""},
	LOG_PROTOCOLS(Y)};
#undef Y
#undef X

static int insert_names(sqlite3 *db)
{
	sqlite3_stmt *insert;
	int rc = sqlite3_prepare_v2(db, "INSERT INTO names VALUES (?, ?, ?)", -1, &insert, NULL);

	for (size_t i = 0; rc == SQLITE_OK && i < sizeof(name_rows) / sizeof(*name_rows); i++) {
		sqlite3_bind_text(insert, 1, name_rows[i].class, -1, SQLITE_STATIC);
		sqlite3_bind_int(insert, 2, name_rows[i].number);
		sqlite3_bind_text(insert, 3, name_rows[i].name, -1, SQLITE_STATIC);
		sqlite3_step(insert);
		rc = sqlite3_reset(insert);
	}
	sqlite3_finalize(insert);
	return rc;
}

int log_schema_create(sqlite3 *db, uint64_t start)
{
	char sql[160];
	int rc = log_bucket_execute(db, tables_sql);

	if (rc == SQLITE_OK)
		rc = log_bucket_execute(db, view_sql);
	if (rc == SQLITE_OK)
		rc = insert_names(db);
	if (rc != SQLITE_OK)
		return rc;
	sqlite3_snprintf(sizeof(sql), sql,
		"INSERT INTO bucket (start_ns) VALUES (%lld); PRAGMA application_id = %d; "
		"PRAGMA user_version = %d",
		(long long)(start * LOG_SECOND_NS), LOG_BUCKET_APPLICATION, LOG_BUCKET_FORMAT);
	return log_bucket_execute(db, sql);
}
