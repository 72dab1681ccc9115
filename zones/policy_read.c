/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The reader of policy documents, upper half: zones, services, tiers and the baseline; policies and
 * rules are in policy_read_rules.c.  Called by zone_policy_create(), on its caller's thread.
 */
#include "zones/policy_reader.h"

#include <stdlib.h>
#include <string.h>

#include "zones/tag_expression.h"
#include "zones/utf8.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* --- Zones ---------------------------------------------------------------------------------- */

/* Where byte `offset` of a scalar that spans `start` to `end` is.  Where line breaks or escapes
 * make that hard to tell, the scalar's beginning will do. */
static struct policy_mark mark_within(const struct policy_event *scalar, size_t offset)
{
	struct policy_mark start = scalar->start;
	size_t width = scalar->end.column - start.column, quote = !scalar->plain;

	if (start.line == scalar->end.line && width == scalar->length + 2 * quote)
		start.column += (unsigned int)(offset + quote);
	return start;
}

static void read_match(struct policy_reader *reader, void *zone_)
{
	struct document_zone *zone = zone_;
	struct policy_event scalar = reader->event; /* For its marks, length and style only. */
	struct tag_problem problem;
	struct policy_mark at;
	const char *text = policy_read_text(reader, "a tag expression such as 'tier=web'", &at);

	if (!text)
		return;
	zone->match = text;
	if (!tag_expression_parse(&reader->document->arena, text, &problem))
		policy_error_add(reader->errors, mark_within(&scalar, problem.offset),
			"in the tag expression: %s", problem.message);
}

static void read_cidrs(struct policy_reader *reader, void *zone_)
{
	struct document_zone *zone = zone_;
	struct policy_document *document = reader->document;
	struct document_names words = policy_read_words(
		reader, "a prefix such as 10.0.0.0/8", POLICY_PREFIXES_MAX - document->n_prefixes);
	char quoted[POLICY_QUOTE_MAX];

	zone->prefixes = arena_allocate(&document->arena, words.n * sizeof *zone->prefixes);
	for (uint32_t i = 0; i < words.n; i++) {
		struct document_prefix *prefix = &zone->prefixes[zone->n_prefixes];

		prefix->at = words.names[i].at;
		if (ip_prefix_parse(words.names[i].text, &prefix->prefix))
			zone->n_prefixes++;
		else
			policy_error_add(reader->errors, prefix->at,
				"%s is no prefix: expected an address or a prefix such as "
				"10.0.0.0/8 or 2001:db8::/32, with no bit set past its length",
				policy_quote(words.names[i].text, quoted));
	}
	document->n_prefixes += words.n;
}

static void read_intra(struct policy_reader *reader, void *zone_)
{
	static const struct policy_choice choices[] = {
		{"allow", INTRA_ALLOW}, {"deny", INTRA_DENY}};
	struct document_zone *zone = zone_;

	policy_read_choice(reader, "verdict within a zone", choices, COUNT(choices), &zone->intra);
}

static void read_pickup(struct policy_reader *reader, void *zone_)
{
	static const struct policy_choice choices[] = {{"true", true}, {"false", false}};
	struct document_zone *zone = zone_;

	policy_read_choice(reader, "truth value", choices, COUNT(choices), &zone->pickup);
}

static void read_zone_limits(struct policy_reader *reader, void *zone)
{
	policy_read_limits(reader, &((struct document_zone *)zone)->limits);
}

static bool zone_name_is_free(struct policy_reader *reader, const struct document_name *name)
{
	struct policy_document *document = reader->document;
	int other;

	if (!strcmp(name->text, "any") || !strcmp(name->text, "quarantine")) {
		policy_error_add(reader->errors, name->at,
			"'%s' is a built-in zone and cannot be defined: choose another name",
			name->text);
		return false;
	}
	if (document->n_zones == ZONES_MAX - 1) {
		policy_error_add(reader->errors, name->at, "more than %d zones", ZONES_MAX - 1);
		return false;
	}
	other = name_table_insert(
		&document->zone_names, 0, name->text, (uint32_t)document->n_zones);
	if (other != NAME_NONE)
		policy_error_add(reader->errors, name->at,
			"zone '%s' is defined twice; first on line %u", name->text,
			document->zones[other].name.at.line);
	return other == NAME_NONE;
}

static void read_zone(struct policy_reader *reader, const struct document_name *name)
{
	static const struct policy_key keys[] = {{"match", false, read_match},
		{"cidrs", false, read_cidrs}, {"intra", false, read_intra},
		{"pickup", false, read_pickup}, {"limits", false, read_zone_limits}};
	struct policy_document *document = reader->document;
	struct document_zone zone = {.name = *name};
	size_t errors = reader->errors->n_total;

	if (!zone_name_is_free(reader, name)) {
		policy_skip(reader);
		return;
	}
	policy_read_mapping(reader, "a zone", keys, COUNT(keys), &zone);
	if (!reader->stopped && !zone.match && !zone.n_prefixes &&
		reader->errors->n_total == errors)
		policy_error_add(reader->errors, name->at,
			"zone '%s' can have no member: give it 'match' (tags), 'cidrs' or both",
			name->text);
	document->zones = zone_grow(document->zones, document->n_zones, &document->allocated_zones,
		sizeof *document->zones);
	document->zones[document->n_zones++] = zone;
}

static void read_zones(struct policy_reader *reader, void *unused)
{
	(void)unused;
	if (policy_is_null(reader))
		policy_skip(reader);
	else
		policy_read_named(reader, "a zone", read_zone);
}

/* --- Services ------------------------------------------------------------------------------- */

static bool service_name_is_free(struct policy_reader *reader, const struct document_name *name)
{
	struct policy_document *document = reader->document;
	int other;

	if (service_is_literal(name->text)) {
		policy_error_add(reader->errors, name->at,
			"'%s' is a built-in service and cannot be defined: choose another name",
			name->text);
		return false;
	}
	if (document->n_services == POLICY_SERVICES_MAX) {
		policy_error_add(
			reader->errors, name->at, "more than %d services", POLICY_SERVICES_MAX);
		return false;
	}
	other = name_table_insert(
		&document->service_names, 0, name->text, (uint32_t)document->n_services);
	if (other != NAME_NONE)
		policy_error_add(reader->errors, name->at,
			"service '%s' is defined twice; first on line %u", name->text,
			document->services[other].name.at.line);
	return other == NAME_NONE;
}

static void read_service(struct policy_reader *reader, const struct document_name *name)
{
	struct policy_document *document = reader->document;
	struct document_service service = {.name = *name};
	char problem[SERVICE_PROBLEM_MAX];
	struct document_names words;

	if (!service_name_is_free(reader, name)) {
		policy_skip(reader);
		return;
	}
	words = policy_read_words(reader, "a service such as tcp/5432", POLICY_LIST_MAX);
	service.ranges = arena_allocate(&document->arena, words.n * sizeof *service.ranges);
	for (uint32_t i = 0; i < words.n; i++) {
		if (service_parse(words.names[i].text, &service.ranges[service.n_ranges], problem))
			service.n_ranges++;
		else
			policy_error_add(reader->errors, words.names[i].at, "%s", problem);
	}
	document->services = zone_grow(document->services, document->n_services,
		&document->allocated_services, sizeof *document->services);
	document->services[document->n_services++] = service;
}

static void read_services(struct policy_reader *reader, void *unused)
{
	(void)unused;
	if (policy_is_null(reader))
		policy_skip(reader);
	else
		policy_read_named(reader, "a service", read_service);
}

/* --- Tiers and baseline --------------------------------------------------------------------- */

static void add_tier(struct policy_document *document, struct document_name tier)
{
	name_table_insert(&document->tier_names, 0, tier.text, (uint32_t)document->n_tiers);
	document->tiers = zone_grow(document->tiers, document->n_tiers, &document->allocated_tiers,
		sizeof *document->tiers);
	document->tiers[document->n_tiers++] = tier;
}

static void read_tier(struct policy_reader *reader, void *unused)
{
	struct policy_document *document = reader->document;
	struct document_name tier;

	(void)unused;
	if (!policy_read_name(reader, "a tier", &tier))
		return;
	if (!strcmp(tier.text, "baseline"))
		policy_error_add(reader->errors, tier.at,
			"'baseline' always comes last and cannot be a tier: take it out");
	else if (name_table_find(&document->tier_names, 0, tier.text) != NAME_NONE)
		policy_error_add(reader->errors, tier.at, "tier '%s' is named twice", tier.text);
	else if (document->n_tiers == POLICY_TIERS_MAX)
		policy_error_add(reader->errors, tier.at, "more than %d tiers", POLICY_TIERS_MAX);
	else
		add_tier(document, tier);
}

static void read_tiers(struct policy_reader *reader, void *unused)
{
	struct policy_mark at = policy_here(reader);
	size_t errors = reader->errors->n_total;

	policy_read_sequence(reader, "tiers, first to last", read_tier, unused);
	if (!reader->document->n_tiers && reader->errors->n_total == errors)
		policy_error_add(reader->errors, at,
			"the list is empty: name at least one tier, or leave 'tiers' out");
}

static void add_default_tiers(struct policy_document *document)
{
	static const char *const names[] = {"emergency", "environment", "application"};

	for (size_t i = 0; i < COUNT(names); i++)
		add_tier(document, (struct document_name){.text = names[i]});
}

static const struct policy_choice verdicts[] = {
	{"allow", ZONE_ALLOW}, {"deny", ZONE_DENY}, {"reject", ZONE_REJECT}};

static void read_between_zones(struct policy_reader *reader, void *document_)
{
	struct policy_document *document = document_;

	policy_read_choice(reader, "verdict", verdicts, COUNT(verdicts), &document->between_zones);
}

static void read_within_zone(struct policy_reader *reader, void *document_)
{
	struct policy_document *document = document_;

	policy_read_choice(reader, "verdict", verdicts, COUNT(verdicts), &document->within_zone);
}

static void read_baseline_log(struct policy_reader *reader, void *document_)
{
	struct policy_document *document = document_;

	policy_read_log(reader, &document->baseline_log);
}

static void read_baseline(struct policy_reader *reader, void *unused)
{
	static const struct policy_key keys[] = {{"between_zones", false, read_between_zones},
		{"within_zone", false, read_within_zone}, {"log", false, read_baseline_log}};

	(void)unused;
	policy_read_mapping(reader, "the baseline", keys, COUNT(keys), reader->document);
}

/* --- The document --------------------------------------------------------------------------- */

/* True for the characters that YAML allows in its text (YAML 1.1, 5.1). */
static bool is_printable(uint32_t c)
{
	return c == '\t' || c == '\n' || c == '\r' || (c >= ' ' && c < 0x7f) || c == 0x85 ||
	       (c >= 0xa0 && c < 0xfeff) || (c > 0xfeff && c < 0xfffe) || c >= 0x10000;
}

/* Where a byte is, counted in characters. */
static struct policy_mark mark_of_byte(const char *text, size_t offset)
{
	struct policy_mark at = {1, 1};

	for (size_t i = 0; i < offset; i++) {
		if (text[i] == '\n')
			at = (struct policy_mark){at.line + 1, 1};
		else
			at.column += ((unsigned char)text[i] & 0xc0) != 0x80;
	}
	return at;
}

/* True if eight bytes are characters from ' ' to '}': most of a document is. */
static bool are_plain(const char *text)
{
	const uint64_t ones = UINT64_C(0x0101010101010101), tops = ones << 7;
	uint64_t word;

	memcpy(&word, text, sizeof word);
	/* A byte below ' ' borrows, one above '}' carries into its top bit; one that has it is
	 * above too. */
	return !(((word - ones * ' ') | (word + ones * (0x7f - '}')) | word) & tops);
}

/* Looks for bytes that no text has. */
static bool text_is_clean(const char *text, size_t length, struct policy_errors *errors)
{
	uint32_t character = 0;

	for (size_t i = 0, n; i < length; i += n) {
		n = 8;
		if (length - i >= 8 && are_plain(text + i))
			continue;
		n = utf8_decode(text + i, length - i, &character);
		if (!n) {
			policy_error_add(errors, mark_of_byte(text, i),
				"the byte 0x%02x is not UTF-8 text", (unsigned char)text[i]);
			return false;
		}
		if (!is_printable(character)) {
			policy_error_add(errors, mark_of_byte(text, i),
				"the %s U+%04X is not allowed in a policy",
				character ? "character" : "NUL character", (unsigned int)character);
			return false;
		}
	}
	return true;
}

static void read_root(struct policy_reader *reader)
{
	static const struct policy_key keys[] = {{"zones", true, read_zones},
		{"services", false, read_services}, {"tiers", false, read_tiers},
		{"policies", false, policy_read_policies}, {"baseline", false, read_baseline}};

	if (policy_reader_open(reader))
		policy_read_mapping(reader, "a policy", keys, COUNT(keys), NULL);
	else if (!reader->stopped)
		policy_error_add(reader->errors, (struct policy_mark){0},
			"the document is empty: a policy needs at least the key 'zones'");
	policy_reader_close(reader);
}

/* About what a rule takes in the text of a policy that is long. */
enum { RULE_BYTES = 100 };

/* An empty document. */
static void document_init(struct policy_document *document)
{
	*document = (struct policy_document){.between_zones = ZONE_DENY,
		.within_zone = ZONE_ALLOW,
		.baseline_log = ZONE_LOG_DENIED};
}

/* Reads with what was lifted; false if that did not do, and the document is as it was. */
static bool read_lifted(struct policy_reader *reader)
{
	struct policy_errors errors = {.n = 0}, *callers = reader->errors;
	struct lifted_text lifted;
	bool done = false;

	policy_lift(&lifted, reader->text, reader->length);
	if (lifted.n_runs) {
		reader->lifted = &lifted;
		reader->errors = &errors;
		read_root(reader);
		done = !errors.n_total && reader->n_taken == lifted.n_runs;
	}
	policy_lift_free(&lifted);
	if (lifted.n_runs && !done) {
		struct policy_document *document = reader->document;

		policy_document_free(document);
		document_init(document);
		*reader = (struct policy_reader){
			.text = reader->text, .length = reader->length, .document = document};
	}
	reader->lifted = NULL;
	reader->errors = callers;
	return done;
}

static bool read_document(struct policy_document *document, const char *text, size_t length,
	struct policy_errors *errors, bool lift)
{
	static const char byte_order_mark[] = "\xef\xbb\xbf";
	struct policy_reader reader = {.errors = errors, .document = document};

	document_init(document);
	if (length > POLICY_BYTES_MAX) {
		policy_error_add(errors, (struct policy_mark){0},
			"the document has %zu bytes: a policy may have %zu (64 MiB)", length,
			POLICY_BYTES_MAX);
		return false;
	}
	if (length >= 3 && !memcmp(text, byte_order_mark, 3)) {
		text += 3;
		length -= 3;
	}
	if (!text_is_clean(text, length, errors))
		return false;
	reader.text = text;
	reader.length = length;
	name_table_reserve(&document->rule_names, length / RULE_BYTES);
	if (!lift || !read_lifted(&reader))
		read_root(&reader);
	if (!document->n_tiers)
		add_default_tiers(document);
	return !reader.stopped;
}

bool policy_document_read(struct policy_document *document, const char *text, size_t length,
	struct policy_errors *errors)
{
	return read_document(document, text, length, errors, true);
}

bool policy_document_read_unlifted(struct policy_document *document, const char *text,
	size_t length, struct policy_errors *errors)
{
	return read_document(document, text, length, errors, false);
}

void policy_document_free(struct policy_document *document)
{
	free(document->zones);
	free(document->services);
	free(document->tiers);
	free(document->policies);
	free(document->rules);
	free(document->schedules);
	for (size_t i = 0; i < document->n_time_zones; i++)
		schedule_zone_close(document->time_zones[i].zone);
	free(document->time_zones);
	name_table_free(&document->zone_names);
	name_table_free(&document->service_names);
	name_table_free(&document->tier_names);
	name_table_free(&document->policy_names);
	name_table_free(&document->rule_names);
	name_table_free(&document->time_zone_names);
	name_table_free(&document->schedule_names);
	arena_free(&document->arena);
}
