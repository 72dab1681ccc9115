/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `cordon log compare`: what was allowed and denied before and after a revision of the policy came
 * into force.  Called by main.c, on its one thread.
 *
 * Both spans are equally long: as --window says, but not longer than the revision has been in
 * force.  A record counts for the side of the revision that decided, so that the moments in which
 * hosts take a revision over blur nothing.
 */
#include "cli/log.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "openvswitch/dynamic-string.h"
#include "openvswitch/shash.h"
#include "svec.h"
#include "util.h"

enum { LIMIT_DEFAULT = 100 };

#define SECOND_NS 1000000000ull
#define DAY_NS	  (86400 * SECOND_NS)

const struct cli_option cli_log_compare_options[] = {
	CLI_LOG_FILTERS,
	{"window", 'w', "TIME", "compare so much on either side: 10m, 2h, 1d (1d)"},
	{"zones", 0, NULL, "pairs of zones instead of VMs"},
	{"all", 0, NULL, "what is as before, too"},
	{"limit", 'n', "N", "at most so many rows (100; 0: all)"},
	{0},
};

/* --- When it came into force ---------------------------------------------------------------- */

/* A revision's time in force; 0: not known, or still. */
struct moment {
	uint64_t revision;
	uint64_t from_ns, until_ns;
	const char *known_from; /* "database" or "log". */
};

static void look_into_database(struct cli *cli, struct moment *moment)
{
	const struct cordonrec_policy_revision *row;
	struct model_error error;
	struct model *model = model_open(cli->database, cli->timeout_ms, &error);

	if (!model)
		return;
	CORDONREC_POLICY_REVISION_FOR_EACH (row, model_idl(model)) {
		uint64_t time_ns = (uint64_t)row->time * SECOND_NS;

		if ((uint64_t)row->number == moment->revision)
			moment->from_ns = time_ns;
		else if ((uint64_t)row->number > moment->revision &&
			 (!moment->until_ns || time_ns < moment->until_ns))
			moment->until_ns = time_ns;
	}
	moment->known_from = "database";
	model_close(model);
}

static bool note_revision(const struct log_flow *flow, void *context)
{
	struct moment *moment = context;
	uint64_t first_ns = flow->counts.first_ns;

	if (flow->policy_revision == moment->revision)
		moment->from_ns = first_ns;
	else if (flow->policy_revision > moment->revision &&
		 (!moment->until_ns || first_ns < moment->until_ns))
		moment->until_ns = first_ns;
	return true;
}

/* By the first records that each revision has decided. */
static void look_into_log(struct cli_log_answer *answer, struct moment *moment)
{
	struct log_flow_query query = {.filter = LOG_FILTER_ANY, .by = LOG_FLOW_REVISION};

	moment->until_ns = 0;
	moment->known_from = "log";
	cli_log_answer_ask(answer, &query, note_revision, moment);
}

static enum cli_status find_moment(struct cli_log_answer *answer, struct moment *moment)
{
	struct cli *cli = answer->cli;
	const char *text = cli->arguments[0];
	char *end;
	long long int number = strtoll(text, &end, 10);

	if (!*text || *end || number < 1 || number > UINT32_MAX)
		return cli_fail(
			cli, CLI_USAGE, "'%s' is no revision; give its number, e.g. 3", text);
	*moment = (struct moment){.revision = (uint64_t)number};
	/* A log of another place may be of another database. */
	if (!cli_option(cli, "directory"))
		look_into_database(cli, moment);
	if (!moment->from_ns)
		look_into_log(answer, moment);
	if (!moment->from_ns)
		return cli_fail(cli, CLI_NOT_FOUND,
			"neither the database nor the log in %s knows of a revision %lld; `cordon "
			"policy history` shows those that there were",
			answer->directory, number);
	return CLI_OK;
}

/* Equal spans on both sides: until the next revision, until now, or as long as was asked for. */
static enum cli_status choose_spans(
	struct cli_log_answer *answer, const struct moment *moment, uint64_t *length_ns)
{
	struct cli *cli = answer->cli;
	const char *window = cli_option(cli, "window");
	uint64_t now_ns, ago_ns, end_ns = moment->until_ns;
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	now_ns = (uint64_t)now.tv_sec * SECOND_NS + (uint64_t)now.tv_nsec;
	*length_ns = DAY_NS;
	if (window && (!strchr("smhdw", window[strlen(window) - !!*window]) ||
			      !cli_log_parse_time(window, now_ns, &ago_ns) || ago_ns == now_ns))
		return cli_fail(cli, CLI_USAGE,
			"--window '%s': give how long each side is: 10m, 2h, 1d", window);
	if (window)
		*length_ns = now_ns - ago_ns;
	if (!end_ns || end_ns > now_ns)
		end_ns = now_ns;
	end_ns = MAX(end_ns, moment->from_ns);
	*length_ns = MIN(*length_ns, end_ns - moment->from_ns);
	*length_ns = MIN(*length_ns, moment->from_ns);
	return CLI_OK;
}

/* --- Both sides ----------------------------------------------------------------------------- */

/* What became of the connections between two ends over one service, on one side. */
struct side {
	uint64_t allowed, denied;
	struct svec rules;
};

struct pair {
	struct json *row;
	struct side before, after;
};

struct comparison {
	uint64_t revision;
	unsigned int by; /* What makes a pair. */
	struct shash pairs;
};

static char *pair_key(const struct json *row)
{
	static const char *const names[] = {"source_zone", "source_vm_id", "source_vm_name",
		"source_port", "destination_zone", "destination_vm_id", "destination_vm_name",
		"destination_port"};
	struct ds key = DS_EMPTY_INITIALIZER;
	char *service = cli_log_service_cell(row);

	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		ds_put_format(&key, "%s\n", cli_json_text(row, names[i]));
	ds_put_cstr(&key, service);
	free(service);
	return ds_steal_cstr(&key);
}

static struct pair *find_pair(struct comparison *comparison, const struct log_flow *flow)
{
	struct json *row = cli_log_flow_json(flow, comparison->by);
	struct pair *pair;
	char *key;

	/* Of what was only counted, it is not known for which service. */
	if (!flow->protocol && flow->counts.held_back)
		json_object_put(
			row, "added_up", json_array_create_1(json_string_create("service")));
	key = pair_key(row);
	pair = shash_find_data(&comparison->pairs, key);
	if (pair) {
		json_destroy(row);
		free(key);
		return pair;
	}
	pair = xzalloc(sizeof(*pair));
	pair->row = row;
	svec_init(&pair->before.rules);
	svec_init(&pair->after.rules);
	shash_add_nocopy(&comparison->pairs, key, pair);
	return pair;
}

static bool add_flow(const struct log_flow *flow, void *context)
{
	struct comparison *comparison = context;
	struct pair *pair;
	struct side *side;
	char *name;

	/* Spoofed frames and limits are none of the policy's verdicts. */
	if (!flow->policy_revision || flow->kind == LOG_SPOOFED || flow->kind == LOG_LIMIT)
		return true;
	pair = find_pair(comparison, flow);
	side = flow->policy_revision < comparison->revision ? &pair->before : &pair->after;
	side->allowed += log_flow_connections(&flow->counts);
	side->denied += flow->counts.refused;
	name = xasprintf("%s%s%s", flow->policy, *flow->policy ? "/" : "",
		*flow->rule ? flow->rule : flow->reason);
	if (*name)
		svec_add_nocopy(&side->rules, cli_log_clean_text(name));
	free(name);
	return true;
}

/* --- What changed --------------------------------------------------------------------------- */

/* In the order in which people want to see them. */
static const char *const changes[] = {"now denied", "newly denied", "now allowed", "still denied",
	"denied before", "other rule", "newly allowed", "allowed before", "same"};

enum change {
	NOW_DENIED,
	NEWLY_DENIED,
	NOW_ALLOWED,
	STILL_DENIED,
	DENIED_BEFORE,
	OTHER_RULE,
	NEWLY_ALLOWED,
	ALLOWED_BEFORE,
	SAME,
};

static bool is_anything(const struct side *side)
{
	return side->allowed || side->denied;
}

static enum change judge(const struct pair *pair, bool same_rules)
{
	const struct side *before = &pair->before, *after = &pair->after;

	if (!is_anything(before))
		return after->denied ? NEWLY_DENIED : NEWLY_ALLOWED;
	if (!is_anything(after))
		return before->denied ? DENIED_BEFORE : ALLOWED_BEFORE;
	if (after->denied && !before->denied)
		return NOW_DENIED;
	if (before->denied && !after->denied)
		return NOW_ALLOWED;
	if (after->denied)
		return same_rules ? STILL_DENIED : OTHER_RULE;
	return same_rules ? SAME : OTHER_RULE;
}

static struct json *list_of(const struct svec *names)
{
	struct json *list = json_array_create_empty();
	const char *name;
	size_t i;

	SVEC_FOR_EACH (i, name, names)
		json_array_add(list, json_string_create(name));
	return list;
}

/* The row of a pair, which takes what the pair has; NULL: nothing was decided. */
static struct json *finish_pair(struct pair *pair)
{
	static const char *const unneeded[] = {"connections", "refused", "held_back", "packets",
		"packets_forward", "packets_reverse", "bytes", "bytes_forward", "bytes_reverse",
		"first", "first_ns", "last", "last_ns"};
	struct json *row = pair->row;
	enum change change;

	svec_sort_unique(&pair->before.rules);
	svec_sort_unique(&pair->after.rules);
	change = judge(pair, svec_equal(&pair->before.rules, &pair->after.rules));
	for (size_t i = 0; i < ARRAY_SIZE(unneeded); i++)
		json_destroy(shash_find_and_delete(row->object, unneeded[i]));
	json_object_put_string(row, "change", changes[change]);
	cli_log_put_number(row, "order", (uint64_t)change);
	cli_log_put_number(row, "before_allowed", pair->before.allowed);
	cli_log_put_number(row, "before_denied", pair->before.denied);
	json_object_put(row, "before_rules", list_of(&pair->before.rules));
	cli_log_put_number(row, "after_allowed", pair->after.allowed);
	cli_log_put_number(row, "after_denied", pair->after.denied);
	json_object_put(row, "after_rules", list_of(&pair->after.rules));
	svec_destroy(&pair->before.rules);
	svec_destroy(&pair->after.rules);
	if (is_anything(&pair->before) || is_anything(&pair->after))
		return row;
	json_destroy(row);
	return NULL;
}

static int compare_rows(const void *left, const void *right)
{
	static const char *const counts[] = {
		"after_denied", "before_denied", "after_allowed", "before_allowed"};
	const struct json *a = *(struct json *const *)left, *b = *(struct json *const *)right;
	int64_t difference = cli_json_number(a, "order") - cli_json_number(b, "order");

	for (size_t i = 0; !difference && i < ARRAY_SIZE(counts); i++)
		difference = cli_json_number(b, counts[i]) - cli_json_number(a, counts[i]);
	return difference < 0 ? -1 : difference > 0;
}

static void collect_rows(struct cli_log_answer *answer, struct comparison *comparison)
{
	bool all = cli_flag(answer->cli, "all");
	const struct shash_node **nodes = shash_sort(&comparison->pairs);
	size_t n = shash_count(&comparison->pairs);
	struct json *rows = answer->rows;

	for (size_t i = 0; i < n; i++) {
		struct json *row = finish_pair(nodes[i]->data);

		if (row && (all || cli_json_number(row, "order") != SAME))
			json_array_add(rows, row);
		else
			json_destroy(row);
	}
	free(nodes);
	shash_destroy_free_data(&comparison->pairs);
	if (rows->array.n)
		qsort(rows->array.elems, rows->array.n, sizeof(*rows->array.elems), compare_rows);
	for (size_t i = 0; i < rows->array.n; i++)
		json_destroy(shash_find_and_delete(rows->array.elems[i]->object, "order"));
}

/* --- The answer ----------------------------------------------------------------------------- */

/* "3 allowed by shop/a", "2 denied by shop/b", "3 allowed, 2 denied by shop/a, shop/b", "nothing".
 */
static char *side_cell(const struct json *row, const char *side)
{
	char key[32], allowed[CLI_TEXT_MAX], denied[CLI_TEXT_MAX];
	struct ds text = DS_EMPTY_INITIALIZER;
	const struct json *rules;
	int64_t n_allowed, n_denied;

	snprintf(key, sizeof(key), "%s_allowed", side);
	n_allowed = cli_json_number(row, key);
	snprintf(key, sizeof(key), "%s_denied", side);
	n_denied = cli_json_number(row, key);
	snprintf(key, sizeof(key), "%s_rules", side);
	rules = cli_json_member(row, key);
	if (n_allowed)
		ds_put_format(&text, "%s allowed", cli_format_count((uint64_t)n_allowed, allowed));
	if (n_denied)
		ds_put_format(&text, "%s%s denied", n_allowed ? ", " : "",
			cli_format_count((uint64_t)n_denied, denied));
	for (size_t i = 0; rules && i < rules->array.n; i++)
		ds_put_format(&text, "%s%s", i ? ", " : " by ", rules->array.elems[i]->string);
	return text.length ? ds_steal_cstr(&text) : xstrdup("nothing");
}

static char *before_cell(const struct json *row)
{
	return side_cell(row, "before");
}

static char *after_cell(const struct json *row)
{
	return side_cell(row, "after");
}

static struct json *span_json(uint64_t since_ns, uint64_t until_ns)
{
	struct json *span = json_object_create();

	cli_log_put_number(span, "since_ns", since_ns);
	cli_log_put_time(span, "since", since_ns);
	cli_log_put_number(span, "until_ns", until_ns);
	cli_log_put_time(span, "until", until_ns);
	return span;
}

static void print_answer_json(
	struct cli_log_answer *answer, const struct moment *moment, uint64_t length_ns)
{
	struct json *object = json_object_create();
	uint64_t from_ns = moment->from_ns;

	cli_log_put_number(object, "revision", moment->revision);
	cli_log_put_number(object, "time_ns", from_ns);
	cli_log_put_time(object, "time", from_ns);
	json_object_put_string(object, "time_known_from", moment->known_from);
	json_object_put(object, "before", span_json(from_ns - length_ns, from_ns));
	json_object_put(object, "after", span_json(from_ns, from_ns + length_ns));
	cli_json_keep(answer->rows, (size_t)answer->limit);
	json_object_put(object, "rows", json_clone(answer->rows));
	cli_print_json(answer->cli, object);
}

static void say_spans(struct cli *cli, const struct moment *moment, uint64_t length_ns)
{
	char when[CLI_TEXT_MAX], age[CLI_TEXT_MAX];

	if (!cli->csv)
		fprintf(cli->out,
			"Revision %llu came into force at %s (%s); compared: %s on "
			"either side.\n\n",
			(unsigned long long int)moment->revision,
			cli_format_time(moment->from_ns, when),
			!strcmp(moment->known_from, "log") ? "its first record"
							   : "when it was applied",
			cli_format_age(length_ns / SECOND_NS, age));
}

static void ask(struct cli_log_answer *answer, const struct moment *moment, uint64_t length_ns)
{
	struct comparison comparison = {
		.revision = moment->revision,
		.by = LOG_FLOW_SOURCE_ZONE | LOG_FLOW_DESTINATION_ZONE | LOG_FLOW_SERVICE |
		      LOG_FLOW_TYPE,
		.pairs = SHASH_INITIALIZER(&comparison.pairs),
	};
	struct log_flow_query query = {.filter = answer->query.filter};

	if (!cli_flag(answer->cli, "zones"))
		comparison.by |= LOG_FLOW_SOURCE | LOG_FLOW_DESTINATION;
	query.by =
		comparison.by | LOG_FLOW_RULE | LOG_FLOW_REVISION | LOG_FLOW_KIND | LOG_FLOW_REASON;
	/* Losses are told of the same span. */
	answer->query.filter.since_ns = moment->from_ns - length_ns;
	answer->query.filter.until_ns = moment->from_ns + length_ns;
	query.filter.since_ns = answer->query.filter.since_ns;
	query.filter.until_ns = answer->query.filter.until_ns;
	cli_log_answer_ask(answer, &query, add_flow, &comparison);
	collect_rows(answer, &comparison);
}

enum cli_status cli_log_compare(struct cli *cli)
{
	static const struct cli_column columns[] = {
		{"change", "change", CLI_AUTO, 0, 0, NULL},
		{"source", "source_vm_name", CLI_AUTO, 2, 10, cli_log_source_cell},
		{"destination", "destination_vm_name", CLI_AUTO, 2, 11, cli_log_destination_cell},
		{"service", "protocol", CLI_AUTO, 0, 0, cli_log_service_cell},
		{"before", "before_allowed", CLI_AUTO, 1, 16, before_cell},
		{"after", "after_allowed", CLI_AUTO, 1, 16, after_cell},
	};
	struct cli_log_answer answer;
	enum cli_status status;
	struct moment moment;
	uint64_t length_ns;

	if (cli_log_answer_begin(cli, &answer, LIMIT_DEFAULT) != CLI_OK)
		return CLI_USAGE;
	status = find_moment(&answer, &moment);
	if (status == CLI_OK)
		status = choose_spans(&answer, &moment, &length_ns);
	if (status != CLI_OK) {
		cli_log_answer_free(&answer);
		return status;
	}
	ask(&answer, &moment, length_ns);
	if (cli->json) {
		print_answer_json(&answer, &moment, length_ns);
		return cli_log_answer_end(&answer, "traffic");
	}
	say_spans(cli, &moment, length_ns);
	return cli_log_answer_finish(
		&answer, columns, ARRAY_SIZE(columns), "difference within these spans");
}
