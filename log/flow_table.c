/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The rows of an answer to a question on flows.  Called by flows.c on the thread of whoever asks.
 *
 * The names of an end or a decision are laid end to end and looked up whole, as the writer does
 * with its parties and contexts.
 */
#include "log/flow_table.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "log/slice.h"
#include "zones/dictionary.h"

enum {
	END_TEXTS = 5,
	DECISION_TEXTS = 8,
	DECISION_NUMBERS = 13, /* Bytes of a decision's key before its names. */
	KEY_MAX = 8192,
	WHOLE_ENDS_MAX = DICTIONARY_MAX / 2,
	BLANK = 1, /* The number of the end and of the decision without names. */
	DECISION_FIELDS = LOG_FLOW_SERVICE | LOG_FLOW_VERDICT | LOG_FLOW_RULE | LOG_FLOW_REVISION |
			  LOG_FLOW_KIND | LOG_FLOW_REASON | LOG_FLOW_SIMULATED | LOG_FLOW_HOST |
			  LOG_FLOW_TYPE,
};

/* What an end or a decision is made of; the texts lie behind it in the same allocation. */
struct names {
	char *bytes;	    /* The key: numbers, if any, and the texts with their NULs. */
	uint32_t zone_only; /* Of an end: the number of the one that has its zone and no more. */
	bool for_others;    /* It stands for those that there was no room for. */
};

struct name_list {
	struct names *at;
	uint32_t n, allocated;
	struct dictionary by_key; /* Number + 1 of the list, which is its number for others. */
};

struct log_flow_table {
	const struct log_flow_query *query;
	struct name_list sources, destinations, decisions;
	struct log_flow_rows rows;
};

static void list_free(struct name_list *list)
{
	for (uint32_t i = 0; i < list->n; i++)
		free(list->at[i].bytes);
	free(list->at);
	dictionary_free(&list->by_key);
}

void log_flow_table_free(struct log_flow_table *table)
{
	if (!table)
		return;
	list_free(&table->sources);
	list_free(&table->destinations);
	list_free(&table->decisions);
	log_flow_rows_free(&table->rows);
	free(table);
}

static bool asks(const struct log_flow_table *table, unsigned int fields)
{
	return table->query->by & fields;
}

/* --- Names ---------------------------------------------------------------------------------- */

/* Lays texts behind the `n` bytes of a key.  One that does not fit is cut short. */
static size_t put_texts(char key[KEY_MAX], size_t n, const char *const *texts, unsigned int n_texts)
{
	size_t share = (KEY_MAX - n) / n_texts - 1;

	for (unsigned int i = 0; i < n_texts; i++) {
		size_t length = strnlen(texts[i], share);

		memcpy(key + n, texts[i], length);
		key[n + length] = '\0';
		n += length + 1;
	}
	return n;
}

static uint32_t append(struct name_list *list, const char *key, size_t n)
{
	if (list->n == list->allocated) {
		uint32_t allocated = list->allocated ? list->allocated * 2 : 64;
		struct names *at = realloc(list->at, allocated * sizeof(*at));

		if (!at)
			return 0;
		list->at = at;
		list->allocated = allocated;
	}
	list->at[list->n] = (struct names){.bytes = malloc(n)};
	if (!list->at[list->n].bytes)
		return 0;
	memcpy(list->at[list->n].bytes, key, n);
	return ++list->n;
}

/* The number of a key; `otherwise` if there are `most` of them already, or if their names are too
 * long all together.  0: no memory. */
static uint32_t intern(
	struct name_list *list, const char *key, size_t n, uint32_t most, uint32_t otherwise)
{
	uint32_t hash, number = dictionary_find(&list->by_key, key, n, &hash);
	int error = 0;

	if (number)
		return number;
	if (list->n < most)
		error = dictionary_add(&list->by_key, key, n, hash, list->n + 1);
	if (list->n == most || error == -ENOSPC) {
		list->at[otherwise - 1].for_others = true;
		return otherwise;
	}
	return error ? 0 : append(list, key, n);
}

static uint32_t intern_blank(struct name_list *list, size_t n)
{
	static const char zeros[DECISION_NUMBERS + DECISION_TEXTS];

	return intern(list, zeros, n, DICTIONARY_MAX, BLANK);
}

struct log_flow_table *log_flow_table_create(const struct log_flow_query *query)
{
	struct log_flow_table *table = calloc(1, sizeof(*table));

	if (!table)
		return NULL;
	table->query = query;
	log_flow_rows_init(&table->rows);
	dictionary_init(&table->sources.by_key);
	dictionary_init(&table->destinations.by_key);
	dictionary_init(&table->decisions.by_key);
	if (intern_blank(&table->sources, END_TEXTS) &&
		intern_blank(&table->destinations, END_TEXTS) &&
		intern_blank(&table->decisions, DECISION_NUMBERS + DECISION_TEXTS))
		return table;
	log_flow_table_free(table);
	return NULL;
}

/* The texts of an end, in the order of its key. */
static void end_texts(
	const struct log_party *party, bool zone, bool whole, const char *texts[END_TEXTS])
{
	texts[0] = zone ? party->zone : "";
	texts[1] = whole ? party->port : "";
	texts[2] = whole ? party->vm_id : "";
	texts[3] = whole ? party->vm_name : "";
	texts[4] = whole ? party->tags : "";
}

static uint32_t intern_end(
	struct name_list *list, const struct log_party *party, bool zone, bool whole)
{
	const char *texts[END_TEXTS];
	uint32_t number, zone_only;
	char key[KEY_MAX];

	end_texts(party, zone, false, texts);
	zone_only = intern(list, key, put_texts(key, 0, texts, END_TEXTS), DICTIONARY_MAX, BLANK);
	if (!whole || !zone_only)
		return zone_only;
	end_texts(party, zone, true, texts);
	number = intern(list, key, put_texts(key, 0, texts, END_TEXTS), WHOLE_ENDS_MAX, zone_only);
	if (number && number != zone_only)
		list->at[number - 1].zone_only = zone_only;
	return number;
}

uint32_t log_flow_table_source(struct log_flow_table *table, const struct log_party *party)
{
	return intern_end(&table->sources, party, asks(table, LOG_FLOW_SOURCE_ZONE),
		asks(table, LOG_FLOW_SOURCE));
}

uint32_t log_flow_table_destination(struct log_flow_table *table, const struct log_party *party)
{
	return intern_end(&table->destinations, party, asks(table, LOG_FLOW_DESTINATION_ZONE),
		asks(table, LOG_FLOW_DESTINATION));
}

/* Allowed connections are one kind, whatever their records say of them. */
static uint8_t kind_of(uint8_t kind)
{
	return kind == LOG_UPDATE || kind == LOG_END ? LOG_START : kind;
}

static void decision_numbers(const struct log_flow_table *table, const struct log_record *record,
	char key[DECISION_NUMBERS])
{
	memset(key, 0, DECISION_NUMBERS);
	if (asks(table, LOG_FLOW_KIND))
		key[0] = (char)kind_of(record->kind);
	if (asks(table, LOG_FLOW_VERDICT))
		key[1] = (char)record->verdict;
	if (asks(table, LOG_FLOW_SERVICE))
		key[2] = (char)record->protocol;
	if (asks(table, LOG_FLOW_TYPE)) {
		key[3] = (char)record->icmp_type;
		key[4] = (char)record->icmp_code;
		if (!record->protocol)
			memcpy(key + 5, &record->ethertype, 2);
	}
	if (asks(table, LOG_FLOW_REVISION))
		memcpy(key + 7, &record->policy_revision, 4);
	if (asks(table, LOG_FLOW_SIMULATED))
		key[11] = (char)record->simulated;
}

uint32_t log_flow_table_decision(struct log_flow_table *table, const struct log_record *record)
{
	bool rule = asks(table, LOG_FLOW_RULE), simulated = asks(table, LOG_FLOW_SIMULATED);
	bool reason = asks(table, LOG_FLOW_REASON) && kind_of(record->kind) != LOG_START;
	const char *texts[DECISION_TEXTS] = {
		asks(table, LOG_FLOW_HOST) ? record->host : "",
		reason ? record->reason : "",
		rule ? record->tier : "",
		rule ? record->policy : "",
		rule ? record->rule : "",
		rule ? record->label : "",
		simulated ? record->simulated_policy : "",
		simulated ? record->simulated_rule : "",
	};
	char key[KEY_MAX];

	decision_numbers(table, record, key);
	return intern(&table->decisions, key,
		put_texts(key, DECISION_NUMBERS, texts, DECISION_TEXTS), DICTIONARY_MAX, BLANK);
}

/* --- Rows ----------------------------------------------------------------------------------- */

static void leave_out_address(struct log_flow_key *key, bool source)
{
	if (source) {
		memset(&key->source_address, 0, sizeof(key->source_address));
		key->source_length = 0;
	} else {
		memset(&key->destination_address, 0, sizeof(key->destination_address));
		key->destination_length = 0;
	}
}

/* Takes from the key what is not asked for. */
static void mask(const struct log_flow_table *table, struct log_flow_key *key)
{
	key->lumped &= table->query->by;
	if (!asks(table, LOG_FLOW_SOURCE_ADDRESS))
		leave_out_address(key, true);
	if (!asks(table, LOG_FLOW_DESTINATION_ADDRESS))
		leave_out_address(key, false);
	if (!asks(table, LOG_FLOW_SERVICE))
		key->port = 0;
}

/* Takes from the key what there may be endlessly many of. */
static void lump_all(const struct log_flow_table *table, struct log_flow_key *key)
{
	const struct names *source = &table->sources.at[key->source - 1];
	const struct names *destination = &table->destinations.at[key->destination - 1];

	leave_out_address(key, true);
	leave_out_address(key, false);
	if (source->zone_only)
		key->source = source->zone_only;
	if (destination->zone_only)
		key->destination = destination->zone_only;
	key->port = 0;
	key->lumped = table->query->by &
		      (LOG_FLOW_SOURCE | LOG_FLOW_DESTINATION | LOG_FLOW_SOURCE_ADDRESS |
			      LOG_FLOW_DESTINATION_ADDRESS | LOG_FLOW_SERVICE);
}

struct log_flow_counts *log_flow_table_counts(
	struct log_flow_table *table, const struct log_flow_key *key)
{
	struct log_flow_key mine = *key;
	struct log_flow_row *row = NULL;

	mask(table, &mine);
	if (table->rows.n >= LOG_FLOW_ROWS_MAX) {
		row = log_flow_rows_find(&table->rows, &mine);
		if (!row)
			lump_all(table, &mine);
	}
	if (!row)
		row = log_flow_rows_get(&table->rows, &mine);
	return row ? &row->counts : NULL;
}

/* --- What is new ------------------------------------------------------------------------------ */

/* Parties that were added up by zone. */
static void lump_ends(const struct log_flow_table *table, struct log_flow_key *key)
{
	uint32_t source = table->sources.at[key->source - 1].zone_only;
	uint32_t destination = table->destinations.at[key->destination - 1].zone_only;

	if (source) {
		key->source = source;
		key->lumped |= LOG_FLOW_SOURCE | LOG_FLOW_SOURCE_ADDRESS;
		leave_out_address(key, true);
	}
	if (destination) {
		key->destination = destination;
		key->lumped |= LOG_FLOW_DESTINATION | LOG_FLOW_DESTINATION_ADDRESS;
		leave_out_address(key, false);
	}
}

static bool is_old(const struct log_flow_table *table, const struct log_flow_key *key)
{
	const struct log_flow_row *row = log_flow_rows_find(&table->rows, key);

	return row && row->counts.first_ns < table->query->first_since_ns;
}

/* Whether an older row stands for several, of which this one may be one: looked for under all keys
 * that the writer may have added it up by. */
static bool is_perhaps_older(const struct log_flow_table *table, const struct log_flow_row *row)
{
	struct log_flow_key key = row->key;

	for (unsigned int i = 0; i < (LOG_LUMP_STEPS + 1) * 4; i++) {
		const struct log_lump lump = {.addresses = i / 4, .ports = i & 1, .parties = i & 2};

		key = row->key;
		log_lump_key(&lump, &key);
		if (lump.parties)
			lump_ends(table, &key);
		key.lumped &= table->query->by;
		if (memcmp(&key, &row->key, sizeof(key)) != 0 && is_old(table, &key))
			return true;
	}
	lump_all(table, &key);
	return is_old(table, &key);
}

/* --- Giving out ----------------------------------------------------------------------------- */

/* What would be denied was allowed, and is counted with its connection. */
static uint64_t often(const struct log_flow_query *query, const struct log_flow_counts *counts)
{
	bool simulation = query->filter.simulation || query->filter.kind == LOG_WOULD_DENY;

	return log_flow_connections(counts) + counts->refused +
	       (simulation ? counts->would_deny : 0);
}

static uint64_t bytes(const struct log_flow_counts *counts)
{
	return counts->bytes_forward + counts->bytes_reverse;
}

static int descending(uint64_t a, uint64_t b)
{
	return a > b ? -1 : a < b;
}

/* Equal ones by what is newest, then as they were met. */
static int compare(const void *left, const void *right, void *query_)
{
	const struct log_flow_row *a = *(const struct log_flow_row *const *)left;
	const struct log_flow_row *b = *(const struct log_flow_row *const *)right;
	const struct log_flow_query *query = query_;
	int sign = 0;

	if (query->order == LOG_FLOW_MOST_OFTEN)
		sign = descending(often(query, &a->counts), often(query, &b->counts));
	else if (query->order == LOG_FLOW_MOST_BYTES)
		sign = descending(bytes(&a->counts), bytes(&b->counts));
	else if (query->order == LOG_FLOW_FIRST_SEEN)
		sign = descending(b->counts.first_ns, a->counts.first_ns);
	if (!sign)
		sign = descending(a->counts.last_ns, b->counts.last_ns);
	return sign ? sign : (a > b) - (a < b);
}

static const char *next_text(const char **at)
{
	const char *text = *at;

	*at += strlen(text) + 1;
	return text;
}

static void name_end(const struct names *names, struct log_flow_end *end)
{
	const char *at = names->bytes;

	end->zone = next_text(&at);
	end->port = next_text(&at);
	end->vm_id = next_text(&at);
	end->vm_name = next_text(&at);
	end->tags = next_text(&at);
}

static void name_decision(const char *bytes, struct log_flow *flow)
{
	const char **const texts[DECISION_TEXTS] = {&flow->host, &flow->reason, &flow->tier,
		&flow->policy, &flow->rule, &flow->label, &flow->simulated_policy,
		&flow->simulated_rule};
	const char *at = bytes + DECISION_NUMBERS;

	flow->kind = (uint8_t)bytes[0];
	flow->verdict = (uint8_t)bytes[1];
	flow->protocol = (uint8_t)bytes[2];
	flow->icmp_type = (uint8_t)bytes[3];
	flow->icmp_code = (uint8_t)bytes[4];
	memcpy(&flow->ethertype, bytes + 5, 2);
	memcpy(&flow->policy_revision, bytes + 7, 4);
	flow->simulated = (uint8_t)bytes[11];
	for (unsigned int i = 0; i < DECISION_TEXTS; i++)
		*texts[i] = next_text(&at);
}

static bool give_out(const struct log_flow_table *table, const struct log_flow_row *row,
	bool (*each)(const struct log_flow *flow, void *context), void *context)
{
	const struct log_flow_key *key = &row->key;
	const struct names *source = &table->sources.at[key->source - 1];
	const struct names *destination = &table->destinations.at[key->destination - 1];
	const struct names *decision = &table->decisions.at[key->decision - 1];
	struct log_flow flow = {.port = key->port, .lumped = key->lumped, .counts = row->counts};

	name_end(source, &flow.source);
	name_end(destination, &flow.destination);
	name_decision(decision->bytes, &flow);
	if (source->for_others)
		flow.lumped |= table->query->by & LOG_FLOW_SOURCE;
	if (destination->for_others)
		flow.lumped |= table->query->by & LOG_FLOW_DESTINATION;
	if (decision->for_others)
		flow.lumped |= table->query->by & DECISION_FIELDS;
	if (table->query->first_since_ns)
		flow.perhaps_older = flow.lumped || is_perhaps_older(table, row);
	flow.source.addresses = (struct ip_prefix){key->source_address, key->source_length};
	flow.destination.addresses =
		(struct ip_prefix){key->destination_address, key->destination_length};
	return each(&flow, context);
}

int log_flow_table_each(struct log_flow_table *table,
	bool (*each)(const struct log_flow *flow, void *context), void *context)
{
	const struct log_flow_row **order =
		malloc((table->rows.n + 1) * sizeof(const struct log_flow_row *));
	size_t limit = table->query->filter.limit, n = 0;

	if (!order)
		return -ENOMEM;
	for (uint32_t i = 0; i < table->rows.n; i++)
		if (table->rows.at[i].counts.first_ns >= table->query->first_since_ns)
			order[n++] = &table->rows.at[i];
	qsort_r(order, n, sizeof(order[0]), compare, (void *)table->query);
	for (size_t i = 0; i < n && (!limit || i < limit); i++)
		if (!give_out(table, order[i], each, context))
			break;
	free(order);
	return 0;
}
