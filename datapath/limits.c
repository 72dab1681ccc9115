/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The limits of zones and rules: their counters by name, the sets of counters that connections
 * hold, and each thread's way from a policy's numbers to a set.  Called by workers on the miss path
 * and by the sweep for connections whose verdict has limits, and by the main thread to show them.
 */
#include "datapath/limits.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "datapath/storm.h"
#include "datapath/zeroed.h"

enum {
	COUNTERS_MAX = 1 << 16,
	HEADS = 1 << 14,
	CACHE_ENTRIES = 512,
	RECLAIM_LOOKS = 4096, /* Sets looked at, at most, to find one that nobody holds. */
	NAME_BYTES = 256,
};

#define ONE_CONNECTION UINT64_C(1)
#define ONE_HALF_OPEN  (UINT64_C(1) << 32)
#define ONE_USER       UINT64_C(1)
#define ONE_GENERATION (UINT64_C(1) << 32)

/* One zone's or one rule's count. */
struct limit_counter {
	_Atomic uint64_t opened; /* Connections, and in the high half those half-open. */
	_Atomic uint64_t bucket; /* Of new ones per second: see storm.h. */
	_Atomic uint64_t refused;
	/* Under the mutex. */
	char *name; /* Owned. */
	uint32_t n_sets;
	uint16_t next; /* In its chain, or of the free ones. */
	uint8_t kind;  /* enum limit_kind. */
} __attribute__((aligned(64)));

struct limit_set {
	_Atomic uint64_t users; /* Connections that hold it; the generation in the high half. */
	/* Constant while held; else under the mutex. */
	uint16_t counters[LIMITS_IN_SET]; /* In ascending order; 0 behind the last. */
	uint16_t next;
	bool in_use;
};

struct limits {
	pthread_mutex_t mutex; /* Guards the chains, the free ones, and what is not held. */
	uint16_t counter_heads[HEADS], set_heads[HEADS];
	uint32_t counters_high, sets_high; /* One past the highest number ever used. */
	uint16_t free_counters, free_sets; /* The first one; 0: none. */
	uint32_t hand;			   /* Where looking for sets that nobody holds goes on. */
	struct limit_counter counters[COUNTERS_MAX];
	struct limit_set sets[LIMIT_SETS_MAX];
};

/* A counter of a set, and what the policy lets it hold. */
struct limit_bound {
	uint16_t counter;
	uint8_t kind, pair;
	struct zone_limits limits;
};

/* What a question leads to. */
struct limit_binding {
	uint32_t revision;
	struct limit_pair pairs[2];
	uint8_t n_pairs; /* 0: nothing is known. */
	uint8_t n_bounds;
	uint16_t set; /* 0: no limits. */
	uint32_t generation;
	struct limit_bound bounds[LIMITS_IN_SET];
};

struct limit_cache {
	struct limit_binding at[CACHE_ENTRIES];
};

struct limits *limits_create(void)
{
	struct limits *limits = zeroed_alloc(sizeof(*limits));

	if (limits == NULL)
		return NULL;
	pthread_mutex_init(&limits->mutex, NULL);
	limits->counters_high = limits->sets_high = 1;
	return limits;
}

void limits_destroy(struct limits *limits)
{
	if (limits == NULL)
		return;
	for (uint32_t i = 1; i < limits->counters_high; i++)
		free(limits->counters[i].name);
	pthread_mutex_destroy(&limits->mutex);
	zeroed_free(limits, sizeof(*limits));
}

struct limit_cache *limit_cache_create(void)
{
	return calloc(1, sizeof(struct limit_cache));
}

void limit_cache_destroy(struct limit_cache *cache)
{
	free(cache);
}

/* --- counters by name, under the mutex -------------------------------------------------------- */

/* FNV-1a.  Names are the policy's, and nobody's who would choose them to collide. */
static uint32_t hash_bytes(const void *bytes_, size_t n, uint32_t sum)
{
	const uint8_t *bytes = bytes_;

	sum ^= 0x811c9dc5u;
	for (size_t i = 0; i < n; i++)
		sum = (sum ^ bytes[i]) * 0x01000193u;
	return (sum ^ sum >> 15) % HEADS;
}

static uint32_t counter_head(enum limit_kind kind, const char *name)
{
	return hash_bytes(name, strlen(name), (uint32_t)kind + 1);
}

static uint16_t counter_find(const struct limits *limits, enum limit_kind kind, const char *name)
{
	uint16_t number = limits->counter_heads[counter_head(kind, name)];

	while (number != 0 && (limits->counters[number].kind != kind ||
				      strcmp(limits->counters[number].name, name) != 0))
		number = limits->counters[number].next;
	return number;
}

/* The counter's number; 0 without room. */
static uint16_t counter_make(struct limits *limits, enum limit_kind kind, const char *name)
{
	uint16_t number = limits->free_counters, *head;
	char *copy = strdup(name);

	if (copy == NULL || (number == 0 && limits->counters_high == COUNTERS_MAX)) {
		free(copy);
		return 0;
	}
	if (number != 0)
		limits->free_counters = limits->counters[number].next;
	else
		number = (uint16_t)limits->counters_high++;
	struct limit_counter *counter = &limits->counters[number];
	counter->name = copy;
	counter->kind = kind;
	counter->n_sets = 0;
	head = &limits->counter_heads[counter_head(kind, name)];
	counter->next = *head;
	*head = number;
	return number;
}

/* Takes `number` out of the chain that begins at *head.  `next` is where an element's successor is,
 * `size` is an element's, `elements` is where number 0 would be. */
static void chain_remove(
	uint16_t *head, uint16_t number, void *elements, size_t size, size_t next_offset)
{
	uint16_t *at = head;

	while (*at != number)
		at = (uint16_t *)(void *)((char *)elements + *at * size + next_offset);
	*at = *(uint16_t *)(void *)((char *)elements + number * size + next_offset);
}

/* Of a counter that is in no set.  Nobody holds it, so its words are all but history. */
static void counter_forget(struct limits *limits, uint16_t number)
{
	struct limit_counter *counter = &limits->counters[number];

	chain_remove(&limits->counter_heads[counter_head(counter->kind, counter->name)], number,
		limits->counters, sizeof(*counter), offsetof(struct limit_counter, next));
	free(counter->name);
	counter->name = NULL;
	atomic_store_explicit(&counter->bucket, 0, memory_order_relaxed);
	atomic_store_explicit(&counter->refused, 0, memory_order_relaxed);
	counter->next = limits->free_counters;
	limits->free_counters = number;
}

/* --- sets, under the mutex -------------------------------------------------------------------- */

static uint32_t set_head(const uint16_t counters[LIMITS_IN_SET])
{
	return hash_bytes(counters, LIMITS_IN_SET * sizeof(counters[0]), 0);
}

static uint16_t set_find(const struct limits *limits, const uint16_t counters[LIMITS_IN_SET])
{
	uint16_t number = limits->set_heads[set_head(counters)];

	while (number != 0 && memcmp(limits->sets[number].counters, counters,
				      sizeof(limits->sets[number].counters)) != 0)
		number = limits->sets[number].next;
	return number;
}

static void counter_leave(struct limits *limits, uint16_t counter)
{
	if (counter != 0 && --limits->counters[counter].n_sets == 0)
		counter_forget(limits, counter);
}

/* Takes a set away if nobody holds it.  From then on its generation is another one, so that nobody
 * can. */
static bool set_reclaim(struct limits *limits, uint16_t number)
{
	struct limit_set *set = &limits->sets[number];
	uint64_t users = atomic_load_explicit(&set->users, memory_order_relaxed);

	if (!set->in_use || (uint32_t)users != 0 ||
		!atomic_compare_exchange_strong_explicit(&set->users, &users,
			users + ONE_GENERATION, memory_order_acq_rel, memory_order_relaxed))
		return false;
	chain_remove(&limits->set_heads[set_head(set->counters)], number, limits->sets,
		sizeof(*set), offsetof(struct limit_set, next));
	for (unsigned int i = 0; i < LIMITS_IN_SET; i++)
		counter_leave(limits, set->counters[i]);
	set->in_use = false;
	set->next = limits->free_sets;
	limits->free_sets = number;
	return true;
}

/* Finds a set that nobody holds, looking at some and going on from there the next time. */
static bool reclaim_one(struct limits *limits)
{
	for (unsigned int i = 0; i < RECLAIM_LOOKS; i++) {
		limits->hand = limits->hand + 1 < limits->sets_high ? limits->hand + 1 : 1;
		if (limits->hand < limits->sets_high && set_reclaim(limits, (uint16_t)limits->hand))
			return true;
	}
	return false;
}

/* The set's number; 0 without room. */
static uint16_t set_make(struct limits *limits, const uint16_t counters[LIMITS_IN_SET])
{
	uint16_t number = limits->free_sets, *head = &limits->set_heads[set_head(counters)];

	if (number != 0)
		limits->free_sets = limits->sets[number].next;
	else if (limits->sets_high < LIMIT_SETS_MAX)
		number = (uint16_t)limits->sets_high++;
	else
		return 0;
	struct limit_set *set = &limits->sets[number];
	memcpy(set->counters, counters, sizeof(set->counters));
	for (unsigned int i = 0; i < LIMITS_IN_SET && counters[i] != 0; i++)
		limits->counters[counters[i]].n_sets++;
	set->in_use = true;
	set->next = *head;
	*head = number;
	return number;
}

/* --- from a question to a set ----------------------------------------------------------------- */

/* Whose limits a question is about, by name. */
struct limit_names {
	unsigned int n;
	struct limit_bound bounds[LIMITS_IN_SET];
	char names[LIMITS_IN_SET][NAME_BYTES];
};

static void add_name(struct limit_names *names, enum limit_kind kind, unsigned int pair,
	const struct zone_limits *limits, const char *policy, const char *name)
{
	char *text = names->names[names->n];

	if (!limits_any(limits))
		return;
	snprintf(text, NAME_BYTES, "%s%s%s", policy, *policy ? "/" : "", name);
	for (unsigned int i = 0; i < names->n; i++) {
		if (names->bounds[i].kind == kind && strcmp(names->names[i], text) == 0)
			return; /* Both ends were asked the same. */
	}
	names->bounds[names->n++] =
		(struct limit_bound){.kind = kind, .pair = (uint8_t)pair, .limits = *limits};
}

static void collect_names(struct limit_names *names, const struct limit_question *question)
{
	names->n = 0;
	for (unsigned int i = 0; i < question->n; i++) {
		const struct limit_pair *pair = &question->pairs[i];
		struct zone_rule_info rule;
		char name[160];

		if (pair->zone < zone_count(question->policy)) {
			const struct zone_info zone = zone_info(question->policy, pair->zone);

			add_name(names, LIMIT_ZONE, i, &zone.limits, "", zone.name);
		}
		if (zone_rule_info(question->policy, pair->rule, &rule, name))
			add_name(names, LIMIT_RULE, i, &rule.limits, rule.policy, rule.rule);
	}
}

/* Finds or makes the counters, and enters their numbers.  A counter that is made for nothing is
 * taken away again. */
static bool find_counters(
	struct limits *limits, struct limit_names *names, uint16_t numbers[LIMITS_IN_SET])
{
	unsigned int i;

	for (i = 0; i < names->n; i++) {
		enum limit_kind kind = names->bounds[i].kind;

		numbers[i] = counter_find(limits, kind, names->names[i]);
		if (numbers[i] == 0)
			numbers[i] = counter_make(limits, kind, names->names[i]);
		if (numbers[i] == 0)
			break;
		limits->counters[numbers[i]].n_sets++; /* Until there is a set. */
		names->bounds[i].counter = numbers[i];
	}
	if (i == names->n)
		return true;
	while (i-- > 0)
		counter_leave(limits, numbers[i]);
	return false;
}

static int compare_numbers(const void *a_, const void *b_)
{
	const uint16_t *a = a_, *b = b_;

	return (*a > *b) - (*a < *b);
}

/* The set of the names, found or made; 0 without room.  The mutex is held. */
static uint16_t find_set(struct limits *limits, struct limit_names *names)
{
	uint16_t numbers[LIMITS_IN_SET] = {0}, set;

	if (!find_counters(limits, names, numbers))
		return 0;
	qsort(numbers, names->n, sizeof(numbers[0]), compare_numbers);
	set = set_find(limits, numbers);
	if (set == 0)
		set = set_make(limits, numbers);
	for (unsigned int i = 0; i < names->n; i++)
		counter_leave(limits, numbers[i]);
	return set;
}

/* False if there is no number left: the binding is then not to be used. */
static bool resolve(
	struct limits *limits, const struct limit_question *question, struct limit_binding *binding)
{
	struct limit_names names;

	collect_names(&names, question);
	*binding = (struct limit_binding){
		.revision = zone_policy_revision(question->policy),
		.n_pairs = question->n,
		.n_bounds = (uint8_t)names.n,
	};
	memcpy(binding->pairs, question->pairs, sizeof(binding->pairs));
	if (names.n == 0)
		return true;
	pthread_mutex_lock(&limits->mutex);
	do {
		binding->set = find_set(limits, &names);
	} while (binding->set == 0 && reclaim_one(limits));
	binding->generation = (uint32_t)(atomic_load_explicit(&limits->sets[binding->set].users,
						 memory_order_relaxed) /
					 ONE_GENERATION);
	pthread_mutex_unlock(&limits->mutex);
	memcpy(binding->bounds, names.bounds, sizeof(binding->bounds));
	if (binding->set == 0)
		binding->n_pairs = 0;
	return binding->set != 0;
}

static bool same_pair(const struct limit_pair *a, const struct limit_pair *b)
{
	return a->rule == b->rule && a->zone == b->zone;
}

static bool binding_fits(const struct limit_binding *binding, const struct limit_question *question)
{
	return binding->n_pairs == question->n &&
	       binding->revision == zone_policy_revision(question->policy) &&
	       same_pair(&binding->pairs[0], &question->pairs[0]) &&
	       (question->n == 1 || same_pair(&binding->pairs[1], &question->pairs[1]));
}

static struct limit_binding *cache_entry(
	struct limit_cache *cache, const struct limit_question *question)
{
	uint32_t sum = question->pairs[0].rule * 0x9e3779b1u + question->pairs[0].zone;

	if (question->n > 1)
		sum = (sum ^ question->pairs[1].rule) * 0x9e3779b1u + question->pairs[1].zone;
	return &cache->at[(sum ^ sum >> 16) % CACHE_ENTRIES];
}

/* A set's users are one more, if it is still the one that was bound. */
static bool set_take(struct limits *limits, const struct limit_binding *binding)
{
	_Atomic uint64_t *word = &limits->sets[binding->set].users;
	uint64_t users = atomic_load_explicit(word, memory_order_relaxed);

	do {
		if (users / ONE_GENERATION != binding->generation)
			return false;
	} while (!atomic_compare_exchange_weak_explicit(
		word, &users, users + ONE_USER, memory_order_acq_rel, memory_order_relaxed));
	return true;
}

static void set_leave(struct limits *limits, uint16_t set, uint32_t n)
{
	atomic_fetch_sub_explicit(&limits->sets[set].users, n * ONE_USER, memory_order_release);
}

/* What the question leads to, with its set, if it has one, held so that it stays.  NULL: there is
 * no room. */
static const struct limit_binding *find_and_take(
	struct limits *limits, struct limit_cache *cache, const struct limit_question *question)
{
	struct limit_binding *binding = cache_entry(cache, question);

	if (!binding_fits(binding, question) && !resolve(limits, question, binding))
		return NULL;
	while (binding->set != 0 && !set_take(limits, binding)) {
		if (!resolve(limits, question, binding))
			return NULL;
	}
	return binding;
}

/* --- counting --------------------------------------------------------------------------------- */

static enum limit_result room(uint64_t opened, const struct zone_limits *limits)
{
	if (limits->connections != 0 && (uint32_t)opened >= limits->connections)
		return LIMIT_CONNECTIONS;
	if (limits->half_open != 0 && opened / ONE_HALF_OPEN >= limits->half_open)
		return LIMIT_HALF_OPEN;
	return LIMIT_ADMITTED;
}

static enum limit_result take_one(struct limit_counter *counter, const struct zone_limits *limits)
{
	uint64_t opened = atomic_load_explicit(&counter->opened, memory_order_relaxed);

	do {
		enum limit_result result = room(opened, limits);

		if (result != LIMIT_ADMITTED)
			return result;
	} while (!atomic_compare_exchange_weak_explicit(&counter->opened, &opened,
		opened + ONE_CONNECTION + ONE_HALF_OPEN, memory_order_relaxed,
		memory_order_relaxed));
	return LIMIT_ADMITTED;
}

/* Takes a connection's place in the first counters of the binding, until one has none: returns how
 * many had. */
static unsigned int take_places(
	struct limits *limits, const struct limit_binding *binding, enum limit_result *result)
{
	unsigned int n = 0;

	while (n < binding->n_bounds) {
		const struct limit_bound *bound = &binding->bounds[n];

		*result = take_one(&limits->counters[bound->counter], &bound->limits);
		if (*result != LIMIT_ADMITTED)
			break;
		n++;
	}
	return n;
}

/* The same for the rates.  Tokens go last, and are given back to those who had them: who is refused
 * by one limit must not use up another's. */
static unsigned int take_tokens(struct limits *limits, const struct limit_binding *binding,
	uint64_t now_ns, enum limit_result *result)
{
	unsigned int n = 0;

	while (n < binding->n_bounds) {
		uint32_t rate = binding->bounds[n].limits.new_per_second;
		_Atomic uint64_t *bucket = &limits->counters[binding->bounds[n].counter].bucket;

		if (!storm_admit(bucket, rate, rate, 1, now_ns))
			break;
		n++;
	}
	if (n == binding->n_bounds)
		return n;
	*result = LIMIT_RATE;
	for (unsigned int i = 0; i < n; i++)
		storm_give_back(&limits->counters[binding->bounds[i].counter].bucket,
			binding->bounds[i].limits.new_per_second, 1);
	return n;
}

static void give_back_places(
	struct limits *limits, const struct limit_binding *binding, unsigned int n)
{
	for (unsigned int i = 0; i < n; i++)
		atomic_fetch_sub_explicit(&limits->counters[binding->bounds[i].counter].opened,
			ONE_CONNECTION + ONE_HALF_OPEN, memory_order_relaxed);
}

static void describe(const struct limit_bound *bound, struct limit_refusal *refusal)
{
	refusal->kind = bound->kind;
	refusal->pair = bound->pair;
}

enum limit_result limits_admit(struct limits *limits, struct limit_cache *cache,
	const struct limit_question *question, uint64_t now_ns, uint16_t *set,
	struct limit_refusal *refusal)
{
	const struct limit_binding *binding = find_and_take(limits, cache, question);
	enum limit_result result = LIMIT_ADMITTED;

	*set = 0;
	*refusal = (struct limit_refusal){.kind = LIMIT_RULE};
	if (binding == NULL)
		return LIMIT_NO_ROOM;
	unsigned int n_places = take_places(limits, binding, &result), refused_by = n_places;
	if (result == LIMIT_ADMITTED)
		refused_by = take_tokens(limits, binding, now_ns, &result);
	if (result == LIMIT_ADMITTED) {
		*set = binding->set;
		return result;
	}
	give_back_places(limits, binding, n_places);
	describe(&binding->bounds[refused_by], refusal);
	atomic_fetch_add_explicit(&limits->counters[binding->bounds[refused_by].counter].refused, 1,
		memory_order_relaxed);
	set_leave(limits, binding->set, 1);
	return result;
}

enum limit_result limits_would_admit(struct limits *limits, struct limit_cache *cache,
	const struct limit_question *question, uint64_t now_ns, struct limit_refusal *refusal)
{
	const struct limit_binding *binding = find_and_take(limits, cache, question);
	enum limit_result result = LIMIT_ADMITTED;

	*refusal = (struct limit_refusal){.kind = LIMIT_RULE};
	if (binding == NULL)
		return LIMIT_NO_ROOM;
	for (unsigned int i = 0; i < binding->n_bounds && result == LIMIT_ADMITTED; i++) {
		const struct limit_bound *bound = &binding->bounds[i];
		const struct limit_counter *counter = &limits->counters[bound->counter];
		uint32_t rate = bound->limits.new_per_second;

		describe(bound, refusal);
		result = room(atomic_load_explicit(&counter->opened, memory_order_relaxed),
			&bound->limits);
		if (result == LIMIT_ADMITTED &&
			!storm_would_admit(&counter->bucket, rate, rate, 1, now_ns))
			result = LIMIT_RATE;
	}
	if (binding->set != 0)
		set_leave(limits, binding->set, 1);
	return result;
}

uint16_t limits_hold(
	struct limits *limits, struct limit_cache *cache, const struct limit_question *question)
{
	const struct limit_binding *binding = find_and_take(limits, cache, question);

	if (binding == NULL)
		return 0;
	for (unsigned int i = 0; i < binding->n_bounds; i++)
		atomic_fetch_add_explicit(&limits->counters[binding->bounds[i].counter].opened,
			ONE_CONNECTION + ONE_HALF_OPEN, memory_order_relaxed);
	return binding->set;
}

bool limits_is_held(struct limits *limits, struct limit_cache *cache,
	const struct limit_question *question, uint16_t set)
{
	const struct limit_binding *binding = find_and_take(limits, cache, question);

	if (binding == NULL)
		return false;
	if (binding->set != 0)
		set_leave(limits, binding->set, 1);
	return binding->set == set;
}

/* Takes so much off all counters of a set that is held. */
static void subtract(struct limits *limits, uint16_t set, uint64_t taken)
{
	const uint16_t *counters = limits->sets[set].counters;

	for (unsigned int i = 0; i < LIMITS_IN_SET && counters[i] != 0; i++)
		atomic_fetch_sub_explicit(
			&limits->counters[counters[i]].opened, taken, memory_order_relaxed);
}

void limits_confirm(struct limits *limits, uint16_t set, uint32_t n)
{
	if (set != 0)
		subtract(limits, set, n * ONE_HALF_OPEN);
}

void limits_give_back(struct limits *limits, uint16_t set, uint32_t n, uint32_t n_half_open)
{
	if (set == 0)
		return;
	subtract(limits, set, n * ONE_CONNECTION + n_half_open * ONE_HALF_OPEN);
	set_leave(limits, set, n);
}

struct limit_use limits_use(struct limits *limits, enum limit_kind kind, const char *name)
{
	struct limit_use use = {0};

	pthread_mutex_lock(&limits->mutex);
	uint16_t number = counter_find(limits, kind, name);
	if (number != 0) {
		const struct limit_counter *counter = &limits->counters[number];
		uint64_t opened = atomic_load_explicit(&counter->opened, memory_order_relaxed);

		use.connections = (uint32_t)opened;
		use.half_open = (uint32_t)(opened / ONE_HALF_OPEN);
		use.refused = atomic_load_explicit(&counter->refused, memory_order_relaxed);
	}
	pthread_mutex_unlock(&limits->mutex);
	return use;
}
