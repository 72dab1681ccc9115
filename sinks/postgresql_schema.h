/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the sink has in a PostgreSQL database.  With the default names:
 *
 *	cordon.traffic			the records of all hosts, partitioned by time
 *	cordon.traffic_20261001_000000	those of a span of time that begins then (UTC)
 *	cordon.traffic_writers		what each host has stored last: see postgresql.c
 *	cordon.traffic_denied		a view for people: what was refused
 *
 * What is missing is made, by one host at a time, under an advisory lock.
 */
#ifndef SINKS_POSTGRESQL_SCHEMA_H
#define SINKS_POSTGRESQL_SCHEMA_H

#include <stdbool.h>
#include <stdint.h>

#include "sinks/postgresql_client.h"

enum { POSTGRESQL_NAME_MAX = 100 };

/* Held to the end of the transaction by whoever changes what there is; for printf, with the table's
 * name. */
#define POSTGRESQL_LOCK "SELECT pg_advisory_xact_lock(hashtextextended('cordon %s', 0));"

struct postgresql_table {
	const char *schema, *name;	  /* As in the options: good identifiers. */
	char quoted[POSTGRESQL_NAME_MAX]; /* "schema"."table" */
	bool is_owned; /* By the role that is connected, which so may change it. */
};

/* Sets the session up, and sees to it that the table is there, made if need be, and has the columns
 * that rows are written with. */
int postgresql_prepare(struct postgresql_client *client, struct postgresql_table *table);

/* --- Partitions: postgresql_partition.c ------------------------------------------------------- */

/* A span of time from `begin_us` up to before `end_us`, microseconds since 1970. */
struct postgresql_span {
	int64_t begin_us, end_us;
};

/* The partition for records of `time_us`, made if need be: `length_us` long where others leave it
 * that much room, and beginning at a multiple of that. */
int postgresql_partition(struct postgresql_client *client, const struct postgresql_table *table,
	int64_t time_us, int64_t length_us, struct postgresql_span *span);

/* Drops partitions that ended more than so many days ago by the server's clock.  One that is in use
 * or not the role's is left for another time, which is no error, but stays in client->error. */
int postgresql_drop_partitions(struct postgresql_client *client,
	const struct postgresql_table *table, unsigned int retention_days);

#endif
