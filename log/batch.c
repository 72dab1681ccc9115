/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Batches of records.  Made by the log thread, read by the threads of the sinks.
 */
#include "log/batch.h"

#include <stdlib.h>
#include <string.h>

enum { N_STRINGS = 18 };

static void list_strings(struct log_record *record, const char **strings[N_STRINGS])
{
	struct log_party *from = &record->source, *to = &record->destination;
	const char **const all[N_STRINGS] = {&record->host, &record->reason, &record->tier,
		&record->policy, &record->rule, &record->label, &record->simulated_policy,
		&record->simulated_rule, &from->port, &from->vm_id, &from->vm_name, &from->zone,
		&from->tags, &to->port, &to->vm_id, &to->vm_name, &to->zone, &to->tags};

	memcpy(strings, all, sizeof(all));
}

/* The strings may only not fit where there are none yet: then each gets an equal share. */
static size_t length_of(const char *string, bool cut)
{
	return cut ? strnlen(string, LOG_BATCH_TEXT / N_STRINGS - 1) : strlen(string);
}

bool log_batch_add(struct log_batch_builder *builder, const struct log_record *record)
{
	struct log_record *copy = &builder->records[builder->n];
	const char **strings[N_STRINGS];
	size_t total = 0;
	bool cut;

	if (builder->n == LOG_BATCH_RECORDS)
		return false;
	*copy = *record;
	list_strings(copy, strings);
	for (unsigned int i = 0; i < N_STRINGS; i++)
		total += length_of(*strings[i], false) + 1;
	cut = total > sizeof(builder->text) - builder->used;
	if (cut && builder->n != 0)
		return false;
	for (unsigned int i = 0; i < N_STRINGS; i++) {
		size_t length = length_of(*strings[i], cut);
		char *to = builder->text + builder->used;

		memcpy(to, *strings[i], length);
		to[length] = '\0';
		*strings[i] = to;
		builder->used += length + 1;
	}
	builder->n++;
	return true;
}

struct log_batch *log_batch_create(struct log_batch_builder *builder)
{
	size_t records = builder->n * sizeof(builder->records[0]);
	size_t bytes = sizeof(struct log_batch) + records + builder->used;
	struct log_batch *batch = malloc(bytes);
	const char **strings[N_STRINGS];
	char *text;

	if (!batch)
		return NULL;
	atomic_init(&batch->references, 1);
	batch->n = builder->n;
	batch->events = builder->n;
	batch->bytes = bytes;
	text = memcpy((char *)&batch->records[builder->n], builder->text, builder->used);
	memcpy(batch->records, builder->records, records);
	for (uint32_t i = 0; i < batch->n; i++) {
		list_strings(&batch->records[i], strings);
		for (unsigned int j = 0; j < N_STRINGS; j++)
			*strings[j] = text + (*strings[j] - builder->text);
	}
	builder->n = 0;
	builder->used = 0;
	return batch;
}

struct log_batch *log_batch_take(struct log_batch *batch)
{
	atomic_fetch_add_explicit(&batch->references, 1, memory_order_relaxed);
	return batch;
}

void log_batch_put(struct log_batch *batch)
{
	if (batch && atomic_fetch_sub_explicit(&batch->references, 1, memory_order_acq_rel) == 1)
		free(batch);
}
