/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The directory of the traffic log: names of files, their order, and retention.  Called by the
 * writer on its thread and by queries on theirs; nothing is shared.
 */
#include "log/bucket.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* What SQLite may put beside a file. */
static const char *const companions[] = {"-wal", "-shm", "-journal"};
enum { N_COMPANIONS = sizeof(companions) / sizeof(*companions) };

char *log_bucket_path(const char *directory, const char *name, const char *suffix)
{
	char *path;

	return asprintf(&path, "%s/%s%s", directory, name, suffix) < 0 ? NULL : path;
}

void log_bucket_name(uint64_t start, unsigned int part, char name[LOG_BUCKET_NAME_MAX])
{
	time_t seconds = (time_t)start;
	char stamp[32] = "", number[16] = "";
	struct tm utc;

	if (gmtime_r(&seconds, &utc))
		strftime(stamp, sizeof(stamp), "%Y%m%dT%H%M%SZ", &utc);
	if (part > 1)
		snprintf(number, sizeof(number), "-%u", part);
	snprintf(name, LOG_BUCKET_NAME_MAX, "traffic-%s%s.db", stamp, number);
}

/* Reads a name.  False if it is not the name of a bucket: whole, set aside, or the WAL of one. */
static bool parse_name(const char *name, struct log_bucket *bucket)
{
	char whole[LOG_BUCKET_NAME_MAX];
	struct tm utc = {0};
	const char *rest;
	size_t length;

	if (strlen(name) >= LOG_BUCKET_NAME_MAX || strncmp(name, "traffic-", 8))
		return false;
	rest = strptime(name + 8, "%Y%m%dT%H%M%SZ", &utc);
	if (!rest || timegm(&utc) < 0)
		return false;
	bucket->start = (uint64_t)timegm(&utc);
	bucket->part = 1;
	if (*rest == '-')
		bucket->part = (unsigned int)strtoul(rest + 1, NULL, 10);
	/* Written anew it must be the same, which leaves no room for names that only look alike. */
	log_bucket_name(bucket->start, bucket->part, whole);
	length = strlen(whole);
	if (strncmp(name, whole, length))
		return false;
	strcpy(bucket->name, name);
	rest = name + length;
	bucket->has_wal = !strcmp(rest, "-wal") || !strcmp(rest, "-journal");
	bucket->damaged = !strncmp(rest, ".damaged", 8) && !strchr(rest, '-');
	return !*rest || bucket->has_wal || bucket->damaged;
}

static uint64_t file_bytes(const char *directory, const char *name, const char *suffix)
{
	char *path = log_bucket_path(directory, name, suffix);
	struct stat status;
	int rc = path ? stat(path, &status) : -1;

	free(path);
	return rc == 0 ? (uint64_t)status.st_blocks * 512 : 0;
}

uint64_t log_bucket_bytes(const char *directory, const char *name)
{
	uint64_t bytes = file_bytes(directory, name, "");

	for (int i = 0; i < N_COMPANIONS; i++)
		bytes += file_bytes(directory, name, companions[i]);
	return bytes;
}

/* A file before its WAL. */
static int compare(const void *left, const void *right)
{
	const struct log_bucket *a = left, *b = right;

	if (a->start != b->start)
		return a->start < b->start ? -1 : 1;
	if (a->part != b->part)
		return a->part < b->part ? -1 : 1;
	return strcmp(a->name, b->name);
}

static int append(struct log_bucket_list *list, size_t *allocated, const struct log_bucket *bucket)
{
	if (list->n == *allocated) {
		size_t wanted = *allocated ? *allocated * 2 : 64;
		struct log_bucket *at = realloc(list->at, wanted * sizeof(*at));

		if (!at)
			return -ENOMEM;
		list->at = at;
		*allocated = wanted;
	}
	list->at[list->n++] = *bucket;
	return 0;
}

/* Sorts, and makes of the entries of WALs a note at those of their files. */
static void sort(struct log_bucket_list *list)
{
	size_t n = 0;

	qsort(list->at, list->n, sizeof(*list->at), compare);
	for (size_t i = 0; i < list->n; i++) {
		struct log_bucket *file = n ? &list->at[n - 1] : NULL;

		if (!list->at[i].has_wal)
			list->at[n++] = list->at[i];
		else if (file && !strncmp(file->name, list->at[i].name, strlen(file->name)))
			file->has_wal = true;
	}
	list->n = n;
}

int log_bucket_list_read(const char *directory, struct log_bucket_list *list)
{
	DIR *stream = opendir(directory);
	size_t allocated = 0;
	struct dirent *entry;
	int error = 0;

	memset(list, 0, sizeof(*list));
	if (!stream)
		return -errno;
	while (!error && (entry = readdir(stream))) {
		struct log_bucket bucket = {0};

		if (!parse_name(entry->d_name, &bucket))
			continue;
		error = append(list, &allocated, &bucket);
	}
	closedir(stream);
	if (error)
		log_bucket_list_free(list);
	else if (list->n)
		sort(list);
	return error;
}

void log_bucket_list_free(struct log_bucket_list *list)
{
	free(list->at);
	memset(list, 0, sizeof(*list));
}

uint64_t log_bucket_end(const struct log_bucket_list *list, size_t i)
{
	for (size_t next = i + 1; next < list->n; next++)
		if (list->at[next].start > list->at[i].start)
			return list->at[next].start;
	return UINT64_MAX;
}

static int delete_one(const char *directory, const char *name, const char *suffix)
{
	char *path = log_bucket_path(directory, name, suffix);
	int error = path ? 0 : -ENOMEM;

	if (path && unlink(path) && errno != ENOENT)
		error = -errno;
	free(path);
	return error;
}

int log_bucket_delete(const char *directory, const char *name)
{
	int error = delete_one(directory, name, "");

	for (int i = 0; i < N_COMPANIONS && !error; i++)
		error = delete_one(directory, name, companions[i]);
	return error;
}

/* Renames NAME and what lies beside it; the companions keep their suffix behind the new name, so
 * that SQLite still finds them. */
static int rename_all(const char *directory, const char *name, const char *to)
{
	char *from_path = log_bucket_path(directory, name, "");
	char *to_path = log_bucket_path(directory, to, "");
	int error = !from_path || !to_path ? -ENOMEM : rename(from_path, to_path) ? -errno : 0;

	free(from_path);
	free(to_path);
	for (int i = 0; i < N_COMPANIONS && !error; i++) {
		from_path = log_bucket_path(directory, name, companions[i]);
		to_path = log_bucket_path(directory, to, companions[i]);
		if (!from_path || !to_path)
			error = -ENOMEM;
		else if (rename(from_path, to_path) && errno != ENOENT)
			error = -errno;
		free(from_path);
		free(to_path);
	}
	return error;
}

int log_bucket_set_aside(const char *directory, const char *name)
{
	char to[LOG_BUCKET_NAME_MAX];
	bool exists = true;

	snprintf(to, sizeof(to), "%.40s.damaged", name);
	for (unsigned int n = 2; n < 100; n++) {
		char *path = log_bucket_path(directory, to, "");

		exists = path && !access(path, F_OK);
		free(path);
		if (!exists)
			return rename_all(directory, name, to);
		snprintf(to, sizeof(to), "%.40s.damaged.%u", name, n);
	}
	return -EEXIST;
}

static int drop(const char *directory, const struct log_bucket *bucket, uint64_t *total,
	char *error, size_t error_size)
{
	uint64_t bytes = log_bucket_bytes(directory, bucket->name);
	int rc = log_bucket_delete(directory, bucket->name);

	if (rc) {
		snprintf(error, error_size, "cannot delete %s/%s, which is past its retention: %s",
			directory, bucket->name, strerror(-rc));
		return rc;
	}
	*total -= bytes < *total ? bytes : *total;
	return 0;
}

int log_bucket_retain(const char *directory, const char *keep, uint64_t oldest, uint64_t max_bytes,
	char *error, size_t error_size)
{
	struct log_bucket_list list;
	uint64_t total = 0;
	int rc = log_bucket_list_read(directory, &list);

	if (rc) {
		snprintf(error, error_size, "cannot read the directory %s: %s", directory,
			strerror(-rc));
		return rc;
	}
	for (size_t i = 0; i < list.n; i++)
		total += log_bucket_bytes(directory, list.at[i].name);
	for (size_t i = 0; i < list.n && !rc; i++) {
		bool kept = keep && !strcmp(list.at[i].name, keep);

		if (!kept && (total > max_bytes || log_bucket_end(&list, i) < oldest))
			rc = drop(directory, &list.at[i], &total, error, error_size);
	}
	log_bucket_list_free(&list);
	return rc;
}
