/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Going through the files of a log.  Called by the queries on the thread of whoever asks.
 */
#include "log/walk.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int log_walk_open(struct log_walk *files, const char *directory, char *error, size_t error_size)
{
	int rc;

	*files =
		(struct log_walk){.directory = directory, .error = error, .error_size = error_size};
	rc = log_bucket_list_read(directory, &files->list);
	if (rc)
		snprintf(error, error_size, "cannot read the log directory %s: %s", directory,
			strerror(-rc));
	return rc;
}

void log_walk_close(struct log_walk *files)
{
	log_bucket_list_free(&files->list);
}

bool log_walk_may_have(const struct log_walk *files, size_t i, uint64_t since_ns, uint64_t until_ns)
{
	const struct log_bucket *file = &files->list.at[i];
	uint64_t end = log_bucket_end(&files->list, i);

	if (until_ns && file->start * LOG_SECOND_NS > until_ns + LOG_BUCKET_SLACK_NS)
		return false;
	return end == UINT64_MAX || end * LOG_SECOND_NS + LOG_BUCKET_SLACK_NS > since_ns;
}

void log_walk_note(struct log_walk *files, const char *reason)
{
	if (!files->n_bad++)
		snprintf(files->error, files->error_size, "%s", reason);
}

struct log_reader *log_walk_read(struct log_walk *files, size_t i, const struct log_filter *filter)
{
	const struct log_bucket *file = &files->list.at[i];
	char *path = file->damaged ? NULL : log_bucket_path(files->directory, file->name, "");
	struct log_reader *reader = NULL;
	char reason[512] = "no memory";
	int rc = file->damaged ? -ENOENT : -ENOMEM;

	if (path)
		rc = log_reader_open(path, filter, &reader, reason, sizeof(reason));
	if (rc && rc != -ENOENT)
		log_walk_note(files, reason);
	free(path);
	return reader;
}

int log_walk_result(struct log_walk *files)
{
	size_t length = files->n_bad ? strlen(files->error) : 0;

	if (files->n_bad > 1 && length < files->error_size)
		snprintf(files->error + length, files->error_size - length, " (and %zu more files)",
			files->n_bad - 1);
	return files->n_bad ? -EIO : 0;
}
