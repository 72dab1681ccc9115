/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The comparison of two policy documents.  Called by `cordon policy plan` and `diff`, on their
 * thread.
 *
 * Things are matched by their names, rules by policy and name.  What matched is compared key by
 * key; the rest was added or removed.  Where order counts (rules of a policy, policies of a tier),
 * the longest sequence of things that kept their order stays, and all others have moved: of ten
 * rules of which one was put on top, one has moved and not nine.
 */
#include "zones/policy_diff.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	WORDS_MAX = 1024,
	VALUE_MAX = 200,  /* Bytes of one value. */
	VALUES_SHOWN = 8, /* Of a list. */
};

const char *policy_part_name(unsigned int part)
{
	static const char *const names[] = {[POLICY_PART_TIERS] = "tiers",
		[POLICY_PART_ZONE] = "zone",
		[POLICY_PART_SERVICE] = "service",
		[POLICY_PART_POLICY] = "policy",
		[POLICY_PART_RULE] = "rule",
		[POLICY_PART_BASELINE] = "baseline"};

	return part < sizeof names / sizeof *names ? names[part] : "?";
}

const char *policy_difference_name(unsigned int difference)
{
	static const char *const names[] = {[POLICY_ADDED] = "added",
		[POLICY_REMOVED] = "removed",
		[POLICY_CHANGED] = "changed",
		[POLICY_MOVED] = "moved"};

	return difference < sizeof names / sizeof *names ? names[difference] : "?";
}

/* --- Words ---------------------------------------------------------------------------------- */

/* A line that grows up to WORDS_MAX bytes.  The room behind them is for what is cut away: it shows
 * whether the cut goes through a character. */
struct words {
	char text[WORDS_MAX + 4];
	size_t n;
	bool full;
};

/* As many of the first `n` bytes as are whole characters of UTF-8; behind them the text goes on. */
static size_t whole_characters(const char *text, size_t n)
{
	while (n && ((unsigned char)text[n] & 0xc0) == 0x80)
		n--;
	return n;
}

__attribute__((format(printf, 2, 3))) static void put(struct words *words, const char *format, ...)
{
	size_t room = sizeof words->text - words->n;
	va_list arguments;
	int n;

	if (words->full)
		return;
	va_start(arguments, format);
	n = vsnprintf(words->text + words->n, room, format, arguments);
	va_end(arguments);
	words->n += (size_t)n < room ? (size_t)n : room - 1;
	words->full = words->n >= WORDS_MAX;
	if (!words->full)
		return;
	words->n = whole_characters(words->text, WORDS_MAX - 1);
	words->text[words->n] = '\0';
}

static const char *keep(struct policy_diff *diff, const struct words *words)
{
	return arena_copy_text(&diff->arena, words->text, words->n);
}

/* "web, app and 12 more".  Texts are names, or as short as the document allows. */
static void put_values(struct words *words, const struct policy_values *values)
{
	size_t shown = values->n > VALUES_SHOWN ? VALUES_SHOWN - 2 : values->n;

	for (size_t i = 0; i < shown; i++) {
		const char *text = values->texts[i];
		size_t length = strlen(text);
		bool cut = length > VALUE_MAX;

		put(words, "%s%.*s%s", i ? ", " : "",
			(int)(cut ? whole_characters(text, VALUE_MAX) : length), text,
			cut ? "..." : "");
	}
	if (shown < values->n)
		put(words, " and %zu more", values->n - shown);
}

/* --- The state of a comparison -------------------------------------------------------------- */

struct comparison {
	struct policy_diff *diff;
	const struct policy_document *before, *after;
	struct policy_values old, new; /* Of the key at hand. */
};

/* Notes a difference; title and words are made from it. */
static struct policy_change *add_change(struct comparison *comparison, enum policy_part part,
	enum policy_difference difference, const char *policy, const char *name)
{
	struct policy_diff *diff = comparison->diff;
	struct policy_change *change;
	struct words title = {.n = 0};

	diff->at = zone_grow(diff->at, diff->n, &diff->allocated, sizeof *diff->at);
	change = &diff->at[diff->n++];
	*change = (struct policy_change){
		.part = part, .difference = difference, .before = "", .after = ""};
	put(&title, "%s%s%s%s%s", policy_part_name(part), name ? " " : "", policy ? policy : "",
		policy ? "/" : "", name ? name : "");
	change->title = keep(diff, &title);
	if (policy)
		change->policy = arena_copy_text(&diff->arena, policy, strlen(policy));
	if (name)
		change->name = arena_copy_text(&diff->arena, name, strlen(name));
	return change;
}

static void read_values(const struct policy_value_key *key, const struct policy_document *document,
	const void *thing, struct policy_values *values)
{
	values->n = 0;
	key->read(document, thing, values);
}

static int compare_texts(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static bool in_same_order(const struct policy_values *a, const struct policy_values *b)
{
	if (a->n != b->n)
		return false;
	for (size_t i = 0; i < a->n; i++) {
		if (strcmp(a->texts[i], b->texts[i]))
			return false;
	}
	return true;
}

/* --- A key that changed --------------------------------------------------------------------- */

/* Puts what is in `values`, sorted, but not in `others`, sorted too. */
static size_t only_in(const struct policy_values *values, const struct policy_values *others,
	struct policy_values *only)
{
	size_t j = 0;

	only->n = 0;
	for (size_t i = 0; i < values->n; i++) {
		while (j < others->n && strcmp(others->texts[j], values->texts[i]) < 0)
			j++;
		if (j == others->n || strcmp(others->texts[j], values->texts[i]))
			policy_values_add(only, values->texts[i]);
	}
	return only->n;
}

/* A list too long to be shown twice: what came and what went. */
static void put_difference(
	struct words *words, const struct policy_values *old, const struct policy_values *new)
{
	struct policy_values only = {0};

	if (only_in(new, old, &only)) {
		put(words, "now also ");
		put_values(words, &only);
	}
	if (only_in(old, new, &only)) {
		put(words, "%s", words->n ? "; no longer " : "no longer ");
		put_values(words, &only);
	}
	free(only.texts);
}

/* Values as the document has them, for the texts before and after. */
static const char *keep_values(struct comparison *comparison, const struct policy_values *values)
{
	struct words words = {.n = 0};

	put_values(&words, values);
	return keep(comparison->diff, &words);
}

static void tell_changed_key(struct comparison *comparison, struct policy_change *change,
	const struct policy_value_key *key, const char *absent)
{
	struct policy_values *old = &comparison->old, *new = &comparison->new;
	struct words words = {.n = 0}, difference = {.n = 0};

	change->key = arena_copy_text(&comparison->diff->arena, key->key, strlen(key->key));
	if (strcmp(key->key, POLICY_KEY_ONLY))
		put(&words, "%s: ", key->key);
	if (old->n > VALUES_SHOWN || new->n > VALUES_SHOWN) {
		put_difference(&difference, old, new);
		put(&words, "%s", difference.text);
	} else {
		put(&words, "%s -> ", *change->before ? change->before : absent);
		put(&words, "%s", *change->after ? change->after : absent);
	}
	change->words = keep(comparison->diff, &words);
}

/* Compares one key; the order of a list's values does not count. */
static void compare_key(struct comparison *comparison, enum policy_part part, const char *policy,
	const char *name, const struct policy_value_key *key, const void *before, const void *after)
{
	struct policy_values *old = &comparison->old, *new = &comparison->new;
	const char *old_text, *new_text;
	struct policy_change *change;

	if (key->same && key->same(before, after))
		return;
	read_values(key, comparison->before, before, old);
	read_values(key, comparison->after, after, new);
	if (in_same_order(old, new))
		return;
	old_text = keep_values(comparison, old);
	new_text = keep_values(comparison, new);
	if (old->n)
		qsort(old->texts, old->n, sizeof *old->texts, compare_texts);
	if (new->n)
		qsort(new->texts, new->n, sizeof *new->texts, compare_texts);
	if (in_same_order(old, new))
		return;
	change = add_change(comparison, part, POLICY_CHANGED, policy, name);
	change->before = old_text;
	change->after = new_text;
	tell_changed_key(comparison, change, key, "none");
}

static void compare_keys(struct comparison *comparison, enum policy_part part, const char *policy,
	const char *name, const void *before, const void *after)
{
	const struct policy_value_key *key;

	for (key = policy_value_keys(part); key->key; key++)
		compare_key(comparison, part, policy, name, key, before, after);
}

/* --- Things that came or went --------------------------------------------------------------- */

/* "from web to db, service postgres, allow": a thing with all its keys. */
static void put_thing(struct comparison *comparison, struct words *words, enum policy_part part,
	const struct policy_document *document, const void *thing)
{
	const struct policy_value_key *key;

	for (key = policy_value_keys(part); key->key; key++) {
		bool is_name = !strcmp(key->key, POLICY_KEY_ONLY);

		read_values(key, document, thing, &comparison->old);
		if (!comparison->old.n)
			continue;
		put(words, "%s%s%s", words->n ? ", " : "", is_name ? "" : key->key,
			is_name ? "" : " ");
		put_values(words, &comparison->old);
	}
}

static void add_thing(struct comparison *comparison, enum policy_part part, const char *policy,
	const char *name, const void *thing, bool added)
{
	const struct policy_document *document = added ? comparison->after : comparison->before;
	struct policy_change *change =
		add_change(comparison, part, added ? POLICY_ADDED : POLICY_REMOVED, policy, name);
	struct words words = {.n = 0}, whole = {.n = 0};

	put_thing(comparison, &words, part, document, thing);
	put(&whole, "%s (%s)", added ? "added" : "removed", words.text);
	*(added ? &change->after : &change->before) = keep(comparison->diff, &words);
	change->words = keep(comparison->diff, &whole);
}

/* --- Order ---------------------------------------------------------------------------------- */

/* Things that both documents have, in the order of the new one. */
struct sequence {
	struct ordered {
		size_t rank;		    /* Its place in the old document. */
		const char *name, *follows; /* What stands before it in the new document. */
		size_t previous;	    /* In the best sequence that ends with it. */
		bool stays;
	} * at;
	size_t n, allocated;
};

static void sequence_add(
	struct sequence *sequence, size_t rank, const char *name, const char *follows)
{
	sequence->at =
		zone_grow(sequence->at, sequence->n, &sequence->allocated, sizeof *sequence->at);
	sequence->at[sequence->n++] =
		(struct ordered){.rank = rank, .name = name, .follows = follows};
}

/* Marks the longest ascending sequence of ranks (Fredman 1975): patience sorting. */
static void sequence_mark(struct sequence *sequence)
{
	size_t *tails = zone_allocate(sequence->n + 1, sizeof *tails), n = 0, at = SIZE_MAX;

	for (size_t i = 0; i < sequence->n; i++) {
		size_t low = 0, high = n;

		while (low < high) {
			size_t middle = low + (high - low) / 2;

			if (sequence->at[tails[middle]].rank < sequence->at[i].rank)
				low = middle + 1;
			else
				high = middle;
		}
		sequence->at[i].previous = low ? tails[low - 1] : SIZE_MAX;
		tails[low] = i;
		n = low == n ? n + 1 : n;
	}
	for (at = n ? tails[n - 1] : SIZE_MAX; at != SIZE_MAX; at = sequence->at[at].previous)
		sequence->at[at].stays = true;
	free(tails);
}

/* Tells what moved, and empties the sequence. */
static void tell_moves(struct comparison *comparison, enum policy_part part, const char *policy,
	struct sequence *sequence)
{
	sequence_mark(sequence);
	for (size_t i = 0; i < sequence->n; i++) {
		const struct ordered *one = &sequence->at[i];
		struct words words = {.n = 0};
		struct policy_change *change;

		if (one->stays)
			continue;
		change = add_change(comparison, part, POLICY_MOVED, policy, one->name);
		if (one->follows)
			put(&words, "moved: now behind %s", one->follows);
		else
			put(&words, "moved: now first");
		change->words = keep(comparison->diff, &words);
		if (one->follows)
			change->after = arena_copy_text(
				&comparison->diff->arena, one->follows, strlen(one->follows));
	}
	sequence->n = 0;
}

/* --- The parts ------------------------------------------------------------------------------ */

static void compare_tiers(struct comparison *comparison)
{
	const struct policy_document *before = comparison->before, *after = comparison->after;
	struct policy_change *change;
	struct words words = {.n = 0};

	comparison->old.n = comparison->new.n = 0;
	for (size_t i = 0; i < before->n_tiers; i++)
		policy_values_add(&comparison->old, before->tiers[i].text);
	for (size_t i = 0; i < after->n_tiers; i++)
		policy_values_add(&comparison->new, after->tiers[i].text);
	if (in_same_order(&comparison->old, &comparison->new))
		return;
	change = add_change(comparison, POLICY_PART_TIERS, POLICY_CHANGED, NULL, NULL);
	change->before = keep_values(comparison, &comparison->old);
	change->after = keep_values(comparison, &comparison->new);
	put(&words, "%s -> ", *change->before ? change->before : "none");
	put(&words, "%s", change->after);
	change->words = keep(comparison->diff, &words);
}

static void compare_zones(struct comparison *comparison)
{
	const struct policy_document *before = comparison->before, *after = comparison->after;

	for (size_t i = 0; i < after->n_zones; i++) {
		const struct document_zone *zone = &after->zones[i];
		int old = name_table_find(&before->zone_names, 0, zone->name.text);

		if (old == NAME_NONE)
			add_thing(comparison, POLICY_PART_ZONE, NULL, zone->name.text, zone, true);
		else
			compare_keys(comparison, POLICY_PART_ZONE, NULL, zone->name.text,
				&before->zones[old], zone);
	}
	for (size_t i = 0; i < before->n_zones; i++) {
		const struct document_zone *zone = &before->zones[i];

		if (name_table_find(&after->zone_names, 0, zone->name.text) == NAME_NONE)
			add_thing(comparison, POLICY_PART_ZONE, NULL, zone->name.text, zone, false);
	}
}

/* The named service, not one that a rule writes out; or NULL. */
static const struct document_service *find_service(
	const struct policy_document *document, const char *name)
{
	int index = name_table_find(&document->service_names, 0, name);

	return index == NAME_NONE || service_is_literal(name) ? NULL : &document->services[index];
}

static void compare_services(struct comparison *comparison)
{
	const struct policy_document *before = comparison->before, *after = comparison->after;

	for (size_t i = 0; i < after->n_services; i++) {
		const struct document_service *service = &after->services[i];
		const char *name = service->name.text;
		const struct document_service *old = find_service(before, name);

		if (service_is_literal(name))
			continue;
		if (!old)
			add_thing(comparison, POLICY_PART_SERVICE, NULL, name, service, true);
		else
			compare_keys(comparison, POLICY_PART_SERVICE, NULL, name, old, service);
	}
	for (size_t i = 0; i < before->n_services; i++) {
		const char *name = before->services[i].name.text;

		if (!service_is_literal(name) && !find_service(after, name))
			add_thing(comparison, POLICY_PART_SERVICE, NULL, name, &before->services[i],
				false);
	}
}

/* --- Policies and their rules --------------------------------------------------------------- */

static void compare_rules(
	struct comparison *comparison, int old_policy, const struct document_policy *policy)
{
	const struct policy_document *before = comparison->before, *after = comparison->after;
	const struct document_policy *old = &before->policies[old_policy];
	int new_policy = (int)(policy - after->policies);
	struct sequence sequence = {0};
	const char *follows = NULL;

	for (uint32_t i = 0; i < policy->n_rules; i++) {
		const struct document_rule *rule = &after->rules[policy->first_rule + i];
		int index =
			name_table_find(&before->rule_names, (uint32_t)old_policy, rule->id.text);

		if (index == NAME_NONE) {
			add_thing(comparison, POLICY_PART_RULE, policy->id.text, rule->id.text,
				rule, true);
		} else {
			compare_keys(comparison, POLICY_PART_RULE, policy->id.text, rule->id.text,
				&before->rules[index], rule);
			sequence_add(&sequence, (size_t)index, rule->id.text, follows);
		}
		follows = rule->id.text;
	}
	tell_moves(comparison, POLICY_PART_RULE, policy->id.text, &sequence);
	free(sequence.at);
	for (uint32_t i = 0; i < old->n_rules; i++) {
		const struct document_rule *rule = &before->rules[old->first_rule + i];

		if (name_table_find(&after->rule_names, (uint32_t)new_policy, rule->id.text) ==
			NAME_NONE)
			add_thing(comparison, POLICY_PART_RULE, policy->id.text, rule->id.text,
				rule, false);
	}
}

/* A policy that came or went is told with the number of its rules; those that came, each too. */
static void add_policy(
	struct comparison *comparison, const struct document_policy *policy, bool added)
{
	const struct policy_document *after = comparison->after;
	struct policy_change *change;
	struct words words = {.n = 0};

	add_thing(comparison, POLICY_PART_POLICY, NULL, policy->id.text, policy, added);
	change = &comparison->diff->at[comparison->diff->n - 1];
	put(&words, "%s, with %u rule%s (%s)", added ? "added" : "removed", policy->n_rules,
		policy->n_rules == 1 ? "" : "s", added ? change->after : change->before);
	change->words = keep(comparison->diff, &words);
	for (uint32_t i = 0; added && i < policy->n_rules; i++) {
		const struct document_rule *rule = &after->rules[policy->first_rule + i];

		add_thing(comparison, POLICY_PART_RULE, policy->id.text, rule->id.text, rule, true);
	}
}

/* Policies of one tier are tried in the order of the document. */
static void compare_policy_order(struct comparison *comparison, uint32_t tier)
{
	const struct policy_document *before = comparison->before, *after = comparison->after;
	struct sequence sequence = {0};
	const char *follows = NULL;

	for (size_t i = 0; i < after->n_policies; i++) {
		const struct document_policy *policy = &after->policies[i];
		int old = name_table_find(&before->policy_names, 0, policy->id.text);

		if (policy->tier.index != tier)
			continue;
		if (old != NAME_NONE &&
			!strcmp(after->tiers[tier].text,
				before->tiers[before->policies[old].tier.index].text))
			sequence_add(&sequence, (size_t)old, policy->id.text, follows);
		follows = policy->id.text;
	}
	tell_moves(comparison, POLICY_PART_POLICY, NULL, &sequence);
	free(sequence.at);
}

static void compare_policies(struct comparison *comparison)
{
	const struct policy_document *before = comparison->before, *after = comparison->after;

	for (size_t i = 0; i < after->n_policies; i++) {
		const struct document_policy *policy = &after->policies[i];
		int old = name_table_find(&before->policy_names, 0, policy->id.text);

		if (old == NAME_NONE) {
			add_policy(comparison, policy, true);
			continue;
		}
		compare_keys(comparison, POLICY_PART_POLICY, NULL, policy->id.text,
			&before->policies[old], policy);
		compare_rules(comparison, old, policy);
	}
	for (size_t i = 0; i < before->n_policies; i++) {
		const struct document_policy *policy = &before->policies[i];

		if (name_table_find(&after->policy_names, 0, policy->id.text) == NAME_NONE)
			add_policy(comparison, policy, false);
	}
	for (uint32_t tier = 0; tier < after->n_tiers; tier++)
		compare_policy_order(comparison, tier);
}

/* --- The whole ------------------------------------------------------------------------------ */

/* In the order of parts; within one, as they were found, which is the document's. */
static void sort_by_part(struct policy_diff *diff)
{
	struct policy_change *sorted = zone_allocate(diff->n + 1, sizeof *sorted);
	size_t n = 0;

	for (unsigned int part = 0; part <= POLICY_PART_BASELINE; part++) {
		for (size_t i = 0; i < diff->n; i++) {
			if (diff->at[i].part == part)
				sorted[n++] = diff->at[i];
		}
	}
	free(diff->at);
	diff->at = sorted;
}

void policy_diff_make(struct policy_diff *diff, const struct policy_document *before,
	const struct policy_document *after)
{
	const struct policy_document nothing = {.between_zones = ZONE_DENY,
		.within_zone = ZONE_DENY,
		.baseline_log = ZONE_LOG_DENIED};
	struct comparison comparison = {
		.diff = diff, .before = before ? before : &nothing, .after = after};

	*diff = (struct policy_diff){0};
	comparison.old.arena = comparison.new.arena = &diff->arena;
	compare_tiers(&comparison);
	compare_zones(&comparison);
	compare_services(&comparison);
	compare_policies(&comparison);
	compare_keys(&comparison, POLICY_PART_BASELINE, NULL, NULL, NULL, NULL);
	sort_by_part(diff);
	free(comparison.old.texts);
	free(comparison.new.texts);
}

void policy_diff_free(struct policy_diff *diff)
{
	free(diff->at);
	arena_free(&diff->arena);
	*diff = (struct policy_diff){0};
}
