/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The sink of JSON lines: a file with one object a line, for Filebeat, Fluent Bit, Vector, jq and
 * the like.  Called by sink.c, on the sink's thread.
 *
 * A line is in the file whole, or not at all: what was not delivered is cut off again when the disk
 * is full, and half a line that a crash left is cut off when the file is next opened.  Rotation
 * waits until everything is delivered, so that only one file ever has something to be cut off.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "log/record_json.h"
#include "sinks/json_file.h"
#include "sinks/sink_type.h"

#define SECOND_NS UINT64_C(1000000000)

enum { BUFFER_BYTES = 256 << 10 };

struct json_sink {
	uint64_t rotate_bytes, rotate_ns; /* rotate_ns 0: not by time. */
	unsigned int rotate_keep;
	struct json_file file;
	uint64_t now_ns;    /* The wall clock, when it was last told. */
	uint64_t looked_ns; /* When the file was last looked for at its path. */
	char *buffer;	    /* Lines on their way into the file. */
	size_t used, allocated;
};

static uint64_t wall_clock_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return (uint64_t)now.tv_sec * SECOND_NS + (uint64_t)now.tv_nsec;
}

static void json_close(void *state)
{
	struct json_sink *sink = state;

	if (!sink)
		return;
	if (sink->file.fd >= 0)
		json_file_take_back(&sink->file);
	json_file_close(&sink->file);
	free(sink->buffer);
	free(sink);
}

static int json_open(const struct sink_place *place, void **state, char *error, size_t error_size)
{
	const struct sink_settings *settings = place->settings;
	struct json_sink *sink = calloc(1, sizeof(*sink));
	int rc;

	*state = NULL;
	if (!sink) {
		snprintf(error, error_size, "there is no memory for a file of JSON lines");
		return -ENOMEM;
	}
	sink->rotate_bytes = sink_setting_number(settings, "rotate-bytes");
	sink->rotate_ns = sink_setting_number(settings, "rotate-seconds") * SECOND_NS;
	sink->rotate_keep = (unsigned int)sink_setting_number(settings, "rotate-keep");
	sink->now_ns = sink->looked_ns = wall_clock_ns();
	rc = json_file_open(&sink->file, sink_setting_text(settings, "path"), error, error_size);
	if (rc != 0) {
		json_close(sink);
		return rc;
	}
	sink_place_knows(place, json_file_last_number(&sink->file, "sequence"));
	*state = sink;
	return 0;
}

static bool all_is_delivered(const struct json_sink *sink)
{
	return sink->used == 0 && sink->file.size == sink->file.delivered;
}

/* Spans of time begin where those of the clock do: one of a day at midnight UTC. */
static bool is_time_to_rotate(const struct json_sink *sink)
{
	const struct json_file *file = &sink->file;

	return file->size >= sink->rotate_bytes ||
	       (sink->rotate_ns != 0 && file->size != 0 &&
		       sink->now_ns / sink->rotate_ns > file->begun_ns / sink->rotate_ns);
}

/* What must be done when all is delivered. */
static int keep_up(struct json_sink *sink, char *error, size_t error_size)
{
	int rc = 0;

	if (sink->now_ns - sink->looked_ns >= SECOND_NS) {
		rc = json_file_look(&sink->file, error, error_size);
		sink->looked_ns = sink->now_ns;
	}
	if (rc == 0 && is_time_to_rotate(sink))
		rc = json_file_rotate(&sink->file, sink->rotate_keep, error, error_size);
	return rc;
}

static int write_out(struct json_sink *sink, char *error, size_t error_size)
{
	size_t length = sink->used;

	sink->used = 0;
	return json_file_append(&sink->file, sink->buffer, length, error, error_size);
}

/* Sees to it that the buffer has room for `size` bytes. */
static int make_room(struct json_sink *sink, size_t size, char *error, size_t error_size)
{
	char *larger;

	if (sink->used + size <= sink->allocated)
		return 0;
	if (sink->used > 0) {
		int rc = write_out(sink, error, error_size);

		if (rc != 0 || size <= sink->allocated)
			return rc;
	}
	if (size < BUFFER_BYTES)
		size = BUFFER_BYTES;
	larger = realloc(sink->buffer, size);
	if (!larger) {
		snprintf(error, error_size, "there is no memory for a line of JSON");
		return -ENOMEM;
	}
	sink->buffer = larger;
	sink->allocated = size;
	return 0;
}

static int json_write(void *state, const struct log_record *record, char *error, size_t error_size)
{
	struct json_sink *sink = state;
	int rc = all_is_delivered(sink) ? keep_up(sink, error, error_size) : 0;

	if (rc == 0)
		rc = make_room(sink, log_record_json_size(record) + 1, error, error_size);
	if (rc != 0)
		return rc;
	sink->used += log_record_json(record, sink->buffer + sink->used);
	sink->buffer[sink->used++] = '\n';
	return 0;
}

static int json_flush(void *state, uint64_t now_ns, char *error, size_t error_size)
{
	struct json_sink *sink = state;
	int rc;

	sink->now_ns = now_ns;
	if (all_is_delivered(sink))
		return keep_up(sink, error, error_size);
	rc = write_out(sink, error, error_size);
	if (rc == 0)
		json_file_deliver(&sink->file);
	return rc;
}

const struct sink_type sink_json = {
	.kind = &sink_kinds[SINK_KIND_JSON],
	.open = json_open,
	.write = json_write,
	.flush = json_flush,
	.close = json_close,
};
