/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The answer to `cordon rule`: what each rule of the policy in force, and each default pair that
 * was hit, has decided.  Main thread.
 *
 * cordon/rule-hits [policy=POLICY] [hit=yes|no] answers with an array of objects: first the rules
 * of the policy in force, in its order; then default pairs that were hit; then rules that are gone
 * from the policy and were hit; then what no rule decided.  Their members:
 *
 *      policy, rule, tier, label       "baseline" and "web->db" of a default pair; "" of no rule
 *      kind            "rule", "default", "gone", or "built-in"
 *      action          "allow", "deny", "reject" or "pass"; "" where that is not known any more
 *      mode            "enforce" or "simulate" (it decides nothing); "" of all but rules
 *      in_force        false: expired, out of its schedule, in a policy that is off, or gone
 *      packets, bytes, connections     decided by it, live connections included, up to a second or
 *                      two ago; a connection counts for the rule that it began under
 *      taken_over      live connections that came to it from another rule by a new revision
 *      refused         connections that it allowed, and that a limit or a full table refused
 *      first_ns, last_ns, since_ns     of hits; since when it is counted: nanoseconds since 1970, 0
 *                      if never
 *
 * A rule was never hit if packets, taken_over and refused are 0.
 */
#include <config.h>

#include "datapath/control.h"

#include <stdlib.h>
#include <string.h>

#include "openvswitch/json.h"
#include "ovs-rcu.h"
#include "unixctl.h"
#include "util.h"

enum { STRIDE = 4096 }; /* Rules listed between two quiescent states. */

struct hits_filter {
	const char *policy;
	int hit; /* 1, 0, or -1: either. */
};

struct hits_list {
	struct rule_hits *hits;
	const struct zone_policy *policy;
	struct hits_filter filter;
	struct json *array;
};

static const char *const action_names[] = {[ZONE_ALLOW] = "allow",
	[ZONE_DENY] = "deny",
	[ZONE_REJECT] = "reject",
	[ZONE_PASS] = "pass"};

static void put_integer(struct json *object, const char *name, uint64_t value)
{
	json_object_put(object, name, json_integer_create((long long int)value));
}

static bool was_hit(const struct rule_hits_total *total)
{
	return total->packets != 0 || total->taken_over != 0 || total->refused != 0;
}

static bool matches(
	const struct hits_filter *filter, const char *policy, const struct rule_hits_total *total)
{
	return (filter->policy == NULL || !strcmp(filter->policy, policy)) &&
	       (filter->hit < 0 || filter->hit == was_hit(total));
}

/* What an object says of who it is. */
struct hits_identity {
	const char *policy, *rule, *tier, *label, *kind, *action, *mode;
	bool in_force;
};

static void add_object(struct hits_list *list, const struct hits_identity *who,
	const struct rule_hits_total *total)
{
	struct json *object;

	if (!matches(&list->filter, who->policy, total))
		return;
	object = json_object_create();
	json_object_put_string(object, "policy", who->policy);
	json_object_put_string(object, "rule", who->rule);
	json_object_put_string(object, "tier", who->tier);
	json_object_put_string(object, "label", who->label != NULL ? who->label : "");
	json_object_put_string(object, "kind", who->kind);
	json_object_put_string(object, "action", who->action);
	json_object_put_string(object, "mode", who->mode);
	json_object_put(object, "in_force", json_boolean_create(who->in_force));
	put_integer(object, "packets", total->packets);
	put_integer(object, "bytes", total->bytes);
	put_integer(object, "connections", total->connections);
	put_integer(object, "taken_over", total->taken_over);
	put_integer(object, "refused", total->refused);
	put_integer(object, "first_ns", total->first_ns);
	put_integer(object, "last_ns", total->last_ns);
	put_integer(object, "since_ns", total->since_ns);
	json_array_add(list->array, object);
}

/* --- rules in force ------------------------------------------------------------------------- */

static void add_rule(struct hits_list *list, uint32_t rule)
{
	const struct rule_hits_by by = {
		.rule = rule, .revision = zone_policy_revision(list->policy), .allowed = true};
	struct zone_rule_info info;
	char name[160], text[160];

	if (!zone_rule_info(list->policy, rule, &info, name))
		return;
	uint32_t slot = rule_hits_slot(list->hits, by);
	struct rule_hits_total total = {.name = ""};
	if (slot != RULE_HITS_OTHER) /* Else there was no room to count it by itself. */
		total = rule_hits_read(list->hits, slot, text);
	const struct hits_identity who = {
		.policy = info.policy,
		.rule = info.rule,
		.tier = info.tier,
		.label = info.label,
		.kind = "rule",
		.action = action_names[info.action],
		.mode = info.simulated ? "simulate" : "enforce",
		.in_force = info.in_force,
	};
	add_object(list, &who, &total);
}

/* --- the others ----------------------------------------------------------------------------- */

static void add_pair(struct hits_list *list, const struct rule_hits_total *total)
{
	char from[160], name[160];
	struct zone_rule_info info;
	struct hits_identity who = {.policy = "baseline",
		.rule = total->name,
		.tier = "baseline",
		.kind = "default",
		.action = "",
		.mode = ""};

	ovs_strlcpy(from, total->name, sizeof(from));
	char *arrow = strstr(from, "->");
	if (arrow != NULL) {
		*arrow = '\0';
		int source = zone_find(list->policy, from),
		    destination = zone_find(list->policy, arrow + 2);
		uint32_t pair = zone_rule_count(list->policy) + 1 +
				(uint32_t)source * zone_count(list->policy) + (uint32_t)destination;

		if (source >= 0 && destination >= 0 &&
			zone_rule_info(list->policy, pair, &info, name)) {
			who.action = action_names[info.action];
			who.in_force = true;
		}
	}
	add_object(list, &who, total);
}

static void add_gone(struct hits_list *list, const struct rule_hits_total *total)
{
	char policy[160];
	const struct hits_identity who = {.policy = policy,
		.rule = strchr(total->name, '/') + 1,
		.tier = "",
		.kind = "gone",
		.action = "",
		.mode = ""};

	ovs_strlcpy(policy, total->name, MIN(sizeof(policy), strcspn(total->name, "/") + 1));
	add_object(list, &who, total);
}

static void add_built_in(struct hits_list *list, uint32_t slot, const struct rule_hits_total *total)
{
	static const struct {
		const char *name, *action;
	} built_in[] = {
		[RULE_HITS_QUARANTINE] = {"quarantine", "deny"},
		[RULE_HITS_UNJUDGED] = {"between uplinks", "allow"},
		[RULE_HITS_OTHER] = {"rules no longer known", ""},
		[RULE_HITS_OTHER_PAIRS] = {"other default pairs", ""},
	};
	const struct hits_identity who = {.policy = "",
		.rule = built_in[slot].name,
		.tier = "",
		.kind = "built-in",
		.action = built_in[slot].action,
		.mode = "",
		.in_force = slot <= RULE_HITS_UNJUDGED};

	add_object(list, &who, total);
}

static void add_other(uint32_t slot, void *list_)
{
	struct hits_list *list = list_;
	char name[160];
	struct rule_hits_total total = rule_hits_read(list->hits, slot, name);

	if (!was_hit(&total))
		return;
	if (total.is_pair)
		add_pair(list, &total);
	else if (slot < RULE_HITS_FIRST_RULE)
		add_built_in(list, slot, &total);
	else if (!total.is_in_last)
		add_gone(list, &total);
}

/* --- the command ---------------------------------------------------------------------------- */

/* Reads "key=value" words.  Returns NULL or what is wrong. */
static const char *parse_filter(struct hits_filter *filter, int n, const char *words[])
{
	*filter = (struct hits_filter){.hit = -1};
	for (int i = 0; i < n; i++) {
		if (!strncmp(words[i], "policy=", 7))
			filter->policy = words[i] + 7;
		else if (!strcmp(words[i], "hit=yes"))
			filter->hit = 1;
		else if (!strcmp(words[i], "hit=no"))
			filter->hit = 0;
		else
			return "filters are policy=POLICY, hit=yes and hit=no";
	}
	return NULL;
}

static void list_hits(struct unixctl_conn *reply, int argc, const char *argv[], void *config_)
{
	const struct config *config = config_;
	struct hits_list list = {.hits = config->sw->hits,
		.policy = endpoint_map_policy(atomic_load(&config->sw->endpoints))};
	const char *error = parse_filter(&list.filter, argc - 1, argv + 1);

	if (error != NULL) {
		unixctl_command_reply_error(reply, error);
		return;
	}
	list.array = json_array_create_empty();
	for (uint32_t rule = 1; rule <= zone_rule_count(list.policy); rule++) {
		add_rule(&list, rule);
		if (rule % STRIDE == 0)
			ovsrcu_quiesce(); /* This thread alone replaces the policy. */
	}
	rule_hits_each(list.hits, add_other, &list);
	control_reply(reply, list.array);
}

void control_hits_register(struct config *config)
{
	unixctl_command_register(
		"cordon/rule-hits", "[policy=POLICY] [hit=yes|no]", 0, 2, list_hits, config);
}
