/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any bytes as a record's numbers and strings: its JSON text is no longer than was said, one line
 * of valid UTF-8, and an object of strings and numbers with all members, whatever the strings hold.
 *
 * The input is the numbers of the record, then strings, each up to a NUL.
 */
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "log/record_json.h"
#include "zones/utf8.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { STRINGS = 18, MEMBERS = 46 };

static void require(bool promise)
{
	if (!promise)
		abort();
}

/* Takes up to n bytes of the input; the rest stays zero. */
static void take(void *to, size_t n, const uint8_t **data, size_t *size)
{
	if (n > *size)
		n = *size;
	memcpy(to, *data, n);
	*data += n;
	*size -= n;
}

static void take_strings(struct log_record *record, char *text)
{
	struct log_party *from = &record->source, *to = &record->destination;
	const char **const strings[STRINGS] = {&record->host, &record->reason, &record->tier,
		&record->policy, &record->rule, &record->label, &record->simulated_policy,
		&record->simulated_rule, &from->port, &from->vm_id, &from->vm_name, &from->zone,
		&from->tags, &to->port, &to->vm_id, &to->vm_name, &to->zone, &to->tags};
	static const char none[] = "";

	for (int i = 0; i < STRINGS; i++)
		*strings[i] = none;
	/* `text` ends with two NULs. */
	for (int i = 0; i < STRINGS && *text; i++) {
		*strings[i] = text;
		text += strlen(text) + 1;
	}
}

/* Behind the string that begins at `at`. */
static const char *pass_string(const char *at, const char *end)
{
	require(at < end && *at++ == '"');
	while (at < end && *at != '"') {
		uint32_t character;
		size_t n = utf8_decode(at, (size_t)(end - at), &character);

		require(n != 0 && character >= ' ' && character != 0x7f);
		if (character == '\\') {
			require(at + 1 < end && strchr("\"\\u", at[1]) != NULL);
			n = at[1] == 'u' ? 6 : 2;
		}
		at += n;
	}
	require(at < end);
	return at + 1;
}

static const char *pass_number(const char *at, const char *end)
{
	const char *begin = at;

	while (at < end && *at >= '0' && *at <= '9')
		at++;
	require(at != begin && at - begin <= 20 && (*begin != '0' || at == begin + 1));
	return at;
}

static void check(const char *text, size_t length)
{
	const char *at = text, *end = text + length;
	int members = 0;

	require(length > 2 && *at == '{' && end[-1] == '}');
	do {
		at = pass_string(at + 1, end);
		require(at + 1 < end && *at++ == ':');
		at = *at == '"' ? pass_string(at, end) : pass_number(at, end);
		members++;
	} while (at < end && *at == ',');
	require(at == end - 1 && members == MEMBERS);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct log_record record = {0};
	/* Memory of their own, so that a step outside of it is seen. */
	char *strings, *text;
	size_t bound, length;

	take(&record, sizeof(record), &data, &size);
	strings = calloc(1, size + 2);
	require(strings != NULL);
	if (size)
		memcpy(strings, data, size);
	take_strings(&record, strings);
	bound = log_record_json_size(&record);
	text = malloc(bound);
	require(text != NULL);
	length = log_record_json(&record, text);
	require(length <= bound);
	check(text, length);
	free(text);
	free(strings);
	return 0;
}
