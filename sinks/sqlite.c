/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The default sink: the SQLite files that `cordon log` asks.  The store itself is log/store.h.
 */
#include "sinks/sink_type.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "log/store.h"

enum { PATH_LENGTH = 4096 };

struct sqlite_place {
	struct log_store *store;
};

static int open_store(const struct sink_place *place, void **state, char *error, size_t error_size)
{
	const char *directory = sink_setting_text(place->settings, "directory");
	const char *filter = sink_setting_text(place->settings, "filter");
	char path[PATH_LENGTH];
	struct log_store_options options = {
		.directory = directory ? directory : path,
		.bucket_seconds =
			(unsigned int)sink_setting_number(place->settings, "bucket-seconds"),
		.retention_days =
			(unsigned int)sink_setting_number(place->settings, "retention-days"),
		.retention_bytes = sink_setting_number(place->settings, "retention-bytes"),
		.filtered = filter && *filter,
	};
	struct sqlite_place *sqlite = calloc(1, sizeof(*sqlite));
	int result;

	if (!sqlite) {
		snprintf(error, error_size, "no memory");
		return -ENOMEM;
	}
	snprintf(path, sizeof(path), "%s/log", place->directory);
	result = log_store_open(&options, &sqlite->store, error, error_size);
	if (result != 0) {
		free(sqlite);
		return result;
	}
	sink_place_knows(place, log_store_last_sequence(sqlite->store));
	*state = sqlite;
	return 0;
}

static int fail(struct sqlite_place *sqlite, int result, char *error, size_t error_size)
{
	snprintf(error, error_size, "%s", log_store_error(sqlite->store));
	return result;
}

static int write_record(
	void *state, const struct log_record *record, char *error, size_t error_size)
{
	struct sqlite_place *sqlite = state;
	int result = log_store_write(sqlite->store, record);

	return result == 0 || result == -EINVAL ? result : fail(sqlite, result, error, error_size);
}

static int flush(void *state, uint64_t now_ns, char *error, size_t error_size)
{
	struct sqlite_place *sqlite = state;
	size_t n_lost;
	int result = log_store_commit(sqlite->store, now_ns, &n_lost);

	return result == 0 ? 0 : fail(sqlite, result, error, error_size);
}

static void close_store(void *state)
{
	struct sqlite_place *sqlite = state;

	if (!sqlite)
		return;
	log_store_close(sqlite->store);
	free(sqlite);
}

const struct sink_type sink_sqlite = {
	.kind = &sink_kinds[SINK_KIND_SQLITE],
	.open = open_store,
	.write = write_record,
	.flush = flush,
	.close = close_store,
};
