/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the tests of types of sinks share: a sink's place with the options that the test sets, and
 * calls that must succeed.  Included after tests/unit/log_fixture.h.
 */
#ifndef TESTS_UNIT_SINK_FIXTURE_H
#define TESTS_UNIT_SINK_FIXTURE_H

#include "sinks/sink_type.h"

enum { FIXTURE_OPTIONS_MAX = 16 };

struct fixture_sink {
	const struct sink_type *type;
	struct sink_setting options[FIXTURE_OPTIONS_MAX];
	struct sink_settings settings;
	_Atomic bool ending;
	_Atomic uint64_t known_sequence;
	struct sink_place place;
	void *state;
	char error[SINK_ERROR_MAX];
};

/* `options` are names and values in turn, up to a NULL.  They must be good. */
__attribute__((unused)) static void prepare_sink(
	struct fixture_sink *sink, const struct sink_type *type, const char *const *options)
{
	memset(sink, 0, sizeof(*sink));
	sink->type = type;
	sink->settings = (struct sink_settings){.kind = type->kind, .at = sink->options};
	for (; options[0]; options += 2) {
		assert_true(sink->settings.n < FIXTURE_OPTIONS_MAX);
		sink->options[sink->settings.n++] = (struct sink_setting){options[0], options[1]};
	}
	if (!sink_settings_check(&sink->settings, sink->error, sizeof(sink->error)))
		fail_msg("options: %s", sink->error);
	sink->place = (struct sink_place){.name = "test",
		.host = "host-a",
		.directory = directory,
		.settings = &sink->settings,
		.time_limit_ms = SINK_TIME_LIMIT_MS,
		.ending = &sink->ending,
		.known_sequence = &sink->known_sequence};
}

__attribute__((unused)) static int try_open(struct fixture_sink *sink)
{
	sink->error[0] = '\0';
	return sink->type->open(&sink->place, &sink->state, sink->error, sizeof(sink->error));
}

__attribute__((unused)) static int try_write(
	struct fixture_sink *sink, const struct log_record *record)
{
	sink->error[0] = '\0';
	return sink->type->write(sink->state, record, sink->error, sizeof(sink->error));
}

__attribute__((unused)) static int try_flush(struct fixture_sink *sink, uint64_t now_ns)
{
	sink->error[0] = '\0';
	return sink->type->flush(sink->state, now_ns, sink->error, sizeof(sink->error));
}

__attribute__((unused)) static void open_sink(struct fixture_sink *sink)
{
	int rc = try_open(sink);

	if (rc)
		fail_msg("open: %d: %s", rc, sink->error);
}

__attribute__((unused)) static void write_sink(
	struct fixture_sink *sink, const struct log_record *record)
{
	int rc = try_write(sink, record);

	if (rc)
		fail_msg("write: %d: %s", rc, sink->error);
}

__attribute__((unused)) static void flush_sink(struct fixture_sink *sink, uint64_t now_ns)
{
	int rc = try_flush(sink, now_ns);

	if (rc)
		fail_msg("flush: %d: %s", rc, sink->error);
}

__attribute__((unused)) static void close_sink(struct fixture_sink *sink)
{
	sink->type->close(sink->state);
	sink->state = NULL;
}

/* One of the records that are a millisecond apart from T0 on. */
__attribute__((unused)) static struct log_record numbered(uint64_t sequence)
{
	return record_of(sequence, T0 + sequence * (SECOND / 1000));
}

__attribute__((unused)) static void write_numbered(
	struct fixture_sink *sink, uint64_t first, uint64_t last)
{
	for (uint64_t sequence = first; sequence <= last; sequence++) {
		struct log_record record = numbered(sequence);

		write_sink(sink, &record);
	}
}

#endif
