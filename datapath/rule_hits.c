/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which slot a rule has, over all revisions; see rule_hits.h.  Revisions come and go on the main
 * thread; slots are looked up by workers and the sweep, which may also be the first to meet a
 * default pair.
 */
#include "datapath/rule_hits_private.h"

#include <stdlib.h>
#include <string.h>

#include "zones/arena.h"

enum {
	PAIR_PROBES = 64,
	NAMED_AT_ONCE = 16,
	GONE_MAX =
		16384, /* Rules that are gone, and were hit, are kept; or as many as there are. */
};

/* --- rules ---------------------------------------------------------------------------------- */

static void clear_counts(struct rule_hits_counts *counts)
{
	atomic_store(&counts->packets, 0);
	atomic_store(&counts->bytes, 0);
	atomic_store(&counts->connections, 0);
}

static void clear_entry(struct rule_hits_entry *entry)
{
	clear_counts(&entry->settled);
	clear_counts(&entry->counted);
	clear_counts(&entry->total);
	atomic_store(&entry->taken_over, 0);
	atomic_store(&entry->refused, 0);
	atomic_store(&entry->first_ns, 0);
	atomic_store(&entry->last_ns, 0);
	atomic_store(&entry->last_seen, 0);
	atomic_store(&entry->since_ns, 0);
	atomic_store(&entry->number, 0);
	atomic_store(&entry->key, 0);
}

static uint32_t take_slot(struct rule_hits *hits)
{
	uint32_t end = atomic_load(&hits->header->end);

	if (hits->n_free != 0)
		return hits->free_slots[--hits->n_free];
	if (end == RULE_HITS_SLOTS || !rule_hits_grow(hits, end + 1))
		return RULE_HITS_OTHER;
	clear_entry(&hits->entries[end]);
	atomic_store(&hits->header->end, end + 1);
	return end;
}

static uint32_t prepared_slot(
	struct rule_hits *hits, const char *name, uint32_t prepared, uint64_t now_ns)
{
	int known = name_table_find_prepared(&hits->by_name, 0, name, prepared);

	if (known != NAME_NONE)
		return (uint32_t)known;
	uint32_t slot = take_slot(hits);
	if (slot == RULE_HITS_OTHER)
		return slot;
	memset(hits->names[slot], 0, sizeof(hits->names[slot]));
	memcpy(hits->names[slot], name, strnlen(name, RULE_HITS_NAME_MAX - 1));
	atomic_store(&hits->entries[slot].since_ns, now_ns);
	atomic_store(&hits->entries[slot].key, 1);
	name_table_insert_prepared(&hits->by_name, 0, hits->names[slot], prepared, slot);
	return slot;
}

uint32_t rule_hits_rule_slot(struct rule_hits *hits, const char *name, uint64_t now_ns)
{
	return prepared_slot(hits, name, name_table_prepare(&hits->by_name, 0, name), now_ns);
}

/* --- zones and default pairs ---------------------------------------------------------------- */

uint32_t rule_hits_zone_number(struct rule_hits *hits, const char *name)
{
	int known = name_table_find(&hits->zone_by_name, 0, name);
	uint32_t n = atomic_load(&hits->header->n_zones);

	if (known != NAME_NONE)
		return (uint32_t)known;
	if (n == RULE_HITS_ZONES)
		return RULE_HITS_NO_ZONE;
	struct rule_hits_zone *zone = &hits->zones[n];
	memset(zone->name, 0, sizeof(zone->name));
	memcpy(zone->name, name, strnlen(name, sizeof(zone->name) - 1));
	atomic_store(&zone->number, 0);
	name_table_insert(&hits->zone_by_name, 0, zone->name, n);
	atomic_store(&hits->header->n_zones, n + 1);
	return n;
}

uint32_t rule_hits_pair_slot(struct rule_hits *hits, uint32_t from, uint32_t to)
{
	uint32_t key = rule_hits_pair_key(from, to);
	uint32_t at = key * UINT32_C(2654435761) >> 16;

	if (from >= RULE_HITS_ZONES || to >= RULE_HITS_ZONES)
		return RULE_HITS_OTHER_PAIRS;
	for (unsigned int i = 0; i < PAIR_PROBES; i++, at++) {
		uint32_t slot = RULE_HITS_FIRST_PAIR + at % RULE_HITS_PAIRS, there = 0;
		struct rule_hits_entry *entry = &hits->entries[slot];

		if (atomic_load_explicit(&entry->key, memory_order_relaxed) == key ||
			atomic_compare_exchange_strong(&entry->key, &there, key) || there == key)
			return slot;
	}
	return RULE_HITS_OTHER_PAIRS;
}

/* --- from a rule's number to its slot ------------------------------------------------------- */

struct rule_hits_map *rule_hits_find_map(const struct rule_hits *hits, uint32_t revision)
{
	for (unsigned int i = 0; i < RULE_HITS_REVISIONS; i++) {
		struct rule_hits_map *map =
			atomic_load_explicit(&hits->maps[i], memory_order_acquire);

		if (map != NULL && map->revision == revision)
			return map;
	}
	return NULL;
}

uint32_t rule_hits_slot(struct rule_hits *hits, struct rule_hits_by by)
{
	if (by.rule == RULE_NONE)
		return by.allowed ? RULE_HITS_UNJUDGED : RULE_HITS_QUARANTINE;
	struct rule_hits_map *map = rule_hits_find_map(hits, by.revision);
	if (map == NULL)
		return RULE_HITS_OTHER;
	if (by.rule <= map->n_rules)
		return map->slots[by.rule];
	uint32_t pair = by.rule - map->n_rules - 1;
	if (map->n_zones == 0 || pair / map->n_zones >= map->n_zones)
		return RULE_HITS_OTHER;
	return rule_hits_pair_slot(
		hits, map->zones[pair / map->n_zones], map->zones[pair % map->n_zones]);
}

bool rule_hits_name(struct rule_hits *hits, uint32_t revision, uint32_t rule, char name[160])
{
	uint32_t slot =
		rule_hits_slot(hits, (struct rule_hits_by){.rule = rule, .revision = revision});

	if (slot < RULE_HITS_FIRST_PAIR)
		return false;
	struct rule_hits_total total = rule_hits_read(hits, slot, name);
	if (total.is_pair)
		memmove(name + strlen("baseline/"), name, strlen(name) + 1);
	if (total.is_pair)
		memcpy(name, "baseline/", strlen("baseline/"));
	else
		snprintf(name, 160, "%s", total.name);
	return true;
}

const char *rule_hits_zone_name(const struct rule_hits *hits, uint32_t revision, uint16_t zone)
{
	const struct rule_hits_map *map = rule_hits_find_map(hits, revision);

	if (map == NULL || zone >= map->n_zones || map->zones[zone] == RULE_HITS_NO_ZONE)
		return "";
	return hits->zones[map->zones[zone]].name;
}

/* --- revisions ------------------------------------------------------------------------------ */

static struct rule_hits_map *make_map(uint32_t revision, uint32_t n_rules, uint16_t n_zones)
{
	struct rule_hits_map *map =
		calloc(1, sizeof(*map) + ((size_t)n_rules + 1) * sizeof(map->slots[0]));

	if (map == NULL)
		return NULL;
	map->zones = calloc((size_t)n_zones + 1, sizeof(map->zones[0]));
	if (map->zones == NULL) {
		free(map);
		return NULL;
	}
	map->revision = revision;
	map->n_rules = n_rules;
	map->n_zones = n_zones;
	for (uint32_t i = 0; i <= n_rules; i++)
		map->slots[i] = RULE_HITS_OTHER;
	for (uint32_t i = 0; i < n_zones; i++)
		map->zones[i] = RULE_HITS_NO_ZONE;
	return map;
}

void rule_hits_free_map(struct rule_hits_map *map)
{
	if (map != NULL)
		free(map->zones);
	free(map);
}

/* False: there are too many that were not dropped. */
static bool keep_map(struct rule_hits *hits, struct rule_hits_map *map)
{
	for (unsigned int i = 0; i < RULE_HITS_REVISIONS; i++) {
		if (atomic_load(&hits->maps[i]) != NULL)
			continue;
		atomic_store(&map->seen, atomic_load(&hits->passes));
		atomic_store_explicit(&hits->maps[i], map, memory_order_release);
		return true;
	}
	return false;
}

static void forget_numbers(struct rule_hits *hits)
{
	uint32_t end = atomic_load(&hits->header->end);

	atomic_store(&hits->header->revision, 0);
	for (uint32_t slot = RULE_HITS_FIRST_RULE; slot < end; slot++)
		atomic_store_explicit(&hits->entries[slot].number, 0, memory_order_relaxed);
	for (uint32_t i = 0; i < atomic_load(&hits->header->n_zones); i++)
		atomic_store(&hits->zones[i].number, 0);
}

/* "POLICY/RULE", as far as there is room. */
static void write_key(char key[RULE_HITS_NAME_MAX], const struct zone_rule_info *info)
{
	size_t policy = strnlen(info->policy, RULE_HITS_NAME_MAX - 2);
	size_t rule = strnlen(info->rule, RULE_HITS_NAME_MAX - 2 - policy);

	memcpy(key, info->policy, policy);
	key[policy] = '/';
	memcpy(key + policy + 1, info->rule, rule);
	key[policy + 1 + rule] = '\0';
}

/* A batch at a time, so that the memory in which one is looked for comes while others are named. */
static void number_batch(struct rule_hits *hits, const struct zone_policy *policy,
	struct rule_hits_map *map, uint32_t first, uint64_t now_ns)
{
	char name[160], keys[NAMED_AT_ONCE][RULE_HITS_NAME_MAX];
	uint32_t prepared[NAMED_AT_ONCE], n = 0;
	struct zone_rule_info info;

	for (; n < NAMED_AT_ONCE && first + n <= map->n_rules; n++) {
		zone_rule_info(policy, first + n, &info, name);
		write_key(keys[n], &info);
		prepared[n] = name_table_prepare(&hits->by_name, 0, keys[n]);
	}
	for (uint32_t i = 0; i < n; i++) {
		uint32_t slot = prepared_slot(hits, keys[i], prepared[i], now_ns);

		map->slots[first + i] = slot;
		if (slot != RULE_HITS_OTHER)
			atomic_store_explicit(
				&hits->entries[slot].number, first + i, memory_order_relaxed);
	}
}

static void number_rules(struct rule_hits *hits, const struct zone_policy *policy,
	struct rule_hits_map *map, uint64_t now_ns)
{
	for (uint32_t rule = 1; rule <= map->n_rules; rule += NAMED_AT_ONCE)
		number_batch(hits, policy, map, rule, now_ns);
	for (uint16_t zone = 0; zone < map->n_zones; zone++) {
		map->zones[zone] =
			(uint16_t)rule_hits_zone_number(hits, zone_info(policy, zone).name);
		if (map->zones[zone] != RULE_HITS_NO_ZONE)
			atomic_store(&hits->zones[map->zones[zone]].number, zone + 1u);
	}
	atomic_store(&hits->header->n_rules, map->n_rules);
	atomic_store(&hits->header->revision, map->revision);
}

void rule_hits_recall_map(struct rule_hits *hits)
{
	struct rule_hits_header *header = hits->header;
	uint32_t n_rules = atomic_load(&header->n_rules), n_zones = 0;

	if (atomic_load(&header->revision) == 0 || n_rules > ZONE_RULES_MAX)
		return;
	for (uint32_t i = 0; i < atomic_load(&header->n_zones); i++) {
		uint32_t number = atomic_load(&hits->zones[i].number);

		if (number > n_zones && number <= ZONES_MAX)
			n_zones = number;
	}
	struct rule_hits_map *map =
		make_map(atomic_load(&header->revision), n_rules, (uint16_t)n_zones);
	if (map == NULL)
		return;
	for (uint32_t slot = RULE_HITS_FIRST_RULE; slot < atomic_load(&header->end); slot++) {
		uint32_t number = atomic_load(&hits->entries[slot].number);

		if (number != 0 && number <= n_rules)
			map->slots[number] = slot;
	}
	for (uint32_t i = 0; i < atomic_load(&header->n_zones); i++) {
		uint32_t number = atomic_load(&hits->zones[i].number);

		if (number != 0 && number <= n_zones)
			map->zones[number - 1] = (uint16_t)i;
	}
	map->was_recalled = true;
	if (!keep_map(hits, map))
		rule_hits_free_map(map);
}

/* --- rules that are gone -------------------------------------------------------------------- */

static void free_dead_maps(struct rule_hits *hits)
{
	for (unsigned int i = 0; i < RULE_HITS_REVISIONS; i++) {
		if (hits->dropped[i] == NULL || !atomic_load(&hits->dropped[i]->dead))
			continue;
		rule_hits_free_map(hits->dropped[i]);
		hits->dropped[i] = NULL;
	}
}

static void mark_slots(uint8_t *used, const struct rule_hits_map *map)
{
	for (uint32_t rule = 1; map != NULL && rule <= map->n_rules; rule++)
		used[map->slots[rule]] = 1;
}

static bool was_hit(const struct rule_hits_entry *entry)
{
	return atomic_load(&entry->last_ns) != 0 || atomic_load(&entry->settled.packets) != 0 ||
	       atomic_load(&entry->total.packets) != 0;
}

/* A rule that no revision names any more. */
struct gone_rule {
	uint64_t last_ns; /* 0: never hit. */
	uint32_t slot;
};

/* The longest ago first. */
static int compare_gone(const void *left, const void *right)
{
	const struct gone_rule *a = left, *b = right;

	return a->last_ns < b->last_ns ? -1 : a->last_ns > b->last_ns;
}

static size_t list_gone(const struct rule_hits *hits, struct gone_rule *gone, const uint8_t *used)
{
	size_t n = 0;

	for (uint32_t slot = RULE_HITS_FIRST_RULE; slot < atomic_load(&hits->header->end); slot++) {
		const struct rule_hits_entry *entry = &hits->entries[slot];

		if (atomic_load(&entry->key) == 0 || used[slot])
			continue;
		gone[n++] = (struct gone_rule){
			.slot = slot, .last_ns = was_hit(entry) ? atomic_load(&entry->last_ns) : 0};
	}
	qsort(gone, n, sizeof(gone[0]), compare_gone);
	return n;
}

static void free_slots(struct rule_hits *hits, const struct gone_rule *gone, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (hits->n_free == hits->free_allocated) {
			size_t allocated = hits->free_allocated;

			hits->free_slots = zone_grow(hits->free_slots, hits->n_free, &allocated,
				sizeof(hits->free_slots[0]));
			hits->free_allocated = (uint32_t)allocated;
		}
		clear_entry(&hits->entries[gone[i].slot]);
		hits->free_slots[hits->n_free++] = gone[i].slot;
	}
	name_table_free(&hits->by_name);
	for (uint32_t slot = RULE_HITS_FIRST_RULE; slot < atomic_load(&hits->header->end); slot++) {
		if (atomic_load(&hits->entries[slot].key) != 0)
			name_table_insert(&hits->by_name, 0, hits->names[slot], slot);
	}
}

/* Gives back the slots of rules that are gone: of those never hit all, of the others those hit the
 * longest ago, so that as many are kept as there are rules, but at least GONE_MAX. */
static void forget_gone(struct rule_hits *hits, uint32_t n_rules)
{
	uint32_t end = atomic_load(&hits->header->end);
	size_t keep = n_rules > GONE_MAX ? n_rules : GONE_MAX, forget = 0;
	uint8_t *used = calloc(end + 1, 1);
	struct gone_rule *gone = calloc((size_t)end + 1, sizeof(*gone));

	if (used != NULL && gone != NULL) {
		for (unsigned int i = 0; i < RULE_HITS_REVISIONS; i++) {
			mark_slots(used, atomic_load(&hits->maps[i]));
			mark_slots(used, hits->dropped[i]);
		}
		size_t n = list_gone(hits, gone, used);
		while (forget < n && (gone[forget].last_ns == 0 || n - forget > keep))
			forget++;
		if (forget != 0)
			free_slots(hits, gone, forget);
	}
	free(used);
	free(gone);
}

static bool same_map(const struct rule_hits_map *a, const struct rule_hits_map *b)
{
	return a->n_rules == b->n_rules && a->n_zones == b->n_zones &&
	       !memcmp(a->slots, b->slots, (a->n_rules + 1) * sizeof(a->slots[0])) &&
	       !memcmp(a->zones, b->zones, a->n_zones * sizeof(a->zones[0]));
}

/* What was recalled of a revision before it could be read is right, unless the database is another
 * one now. */
static void replace_recalled(
	struct rule_hits *hits, struct rule_hits_map *recalled, struct rule_hits_map *map)
{
	if (recalled != NULL && same_map(recalled, map)) {
		recalled->was_recalled = false;
		rule_hits_free_map(map);
		return;
	}
	if (recalled != NULL)
		rule_hits_drop_revision(hits, map->revision);
	if (!keep_map(hits, map))
		rule_hits_free_map(map);
}

void rule_hits_add_revision(
	struct rule_hits *hits, const struct zone_policy *policy, uint64_t now_ns)
{
	uint32_t revision = zone_policy_revision(policy), n_rules = zone_rule_count(policy);
	struct rule_hits_map *known = rule_hits_find_map(hits, revision), *map;

	if (revision == 0 || (known != NULL && !known->was_recalled &&
				     atomic_load(&hits->header->revision) == revision))
		return;
	pthread_mutex_lock(&hits->mutex);
	free_dead_maps(hits);
	map = make_map(revision, n_rules, zone_count(policy));
	if (map != NULL) {
		forget_numbers(hits);
		number_rules(hits, policy, map, now_ns);
		replace_recalled(hits, known, map);
		forget_gone(hits, n_rules);
	}
	pthread_mutex_unlock(&hits->mutex);
}

bool rule_hits_in_use(const struct rule_hits *hits, uint32_t revision)
{
	const struct rule_hits_map *map = rule_hits_find_map(hits, revision);
	uint32_t passes = atomic_load(&hits->passes);

	return map != NULL && passes - atomic_load(&map->seen) <= 2;
}

_Atomic bool *rule_hits_drop_revision(struct rule_hits *hits, uint32_t revision)
{
	struct rule_hits_map *map = rule_hits_find_map(hits, revision);

	for (unsigned int i = 0; map != NULL && i < RULE_HITS_REVISIONS; i++) {
		if (atomic_load(&hits->maps[i]) != map)
			continue;
		for (unsigned int j = 0; j < RULE_HITS_REVISIONS; j++) {
			if (hits->dropped[j] != NULL && !atomic_load(&hits->dropped[j]->dead))
				continue;
			rule_hits_free_map(hits->dropped[j]);
			hits->dropped[j] = map;
			atomic_store(&hits->maps[i], NULL);
			return &map->dead;
		}
	}
	return NULL;
}

/* --- reading -------------------------------------------------------------------------------- */

static uint64_t at_least_zero(const _Atomic int64_t *count)
{
	int64_t n = atomic_load_explicit(count, memory_order_relaxed);

	return n > 0 ? (uint64_t)n : 0;
}

struct rule_hits_total rule_hits_read(const struct rule_hits *hits, uint32_t slot, char name[160])
{
	const struct rule_hits_entry *entry = &hits->entries[slot];
	uint32_t key = atomic_load(&entry->key) - 1;
	struct rule_hits_total total = {
		.name = "",
		.is_pair = slot >= RULE_HITS_FIRST_PAIR && slot < RULE_HITS_FIRST_RULE,
		.is_in_last = atomic_load(&entry->number) != 0,
		.packets = at_least_zero(&entry->total.packets),
		.bytes = at_least_zero(&entry->total.bytes),
		.connections = at_least_zero(&entry->total.connections),
		.taken_over = atomic_load(&entry->taken_over),
		.refused = atomic_load(&entry->refused),
		.first_ns = atomic_load(&entry->first_ns),
		.last_ns = atomic_load(&entry->last_ns),
		.since_ns = atomic_load(&entry->since_ns),
	};

	if (total.is_pair) {
		snprintf(name, 160, "%s->%s", hits->zones[(key >> 16) % RULE_HITS_ZONES].name,
			hits->zones[(key & 0xffff) % RULE_HITS_ZONES].name);
		total.name = name;
		total.since_ns = total.first_ns;
	} else if (slot >= RULE_HITS_FIRST_RULE) {
		total.name = hits->names[slot];
	}
	return total;
}

void rule_hits_each(
	const struct rule_hits *hits, void (*each)(uint32_t slot, void *context), void *context)
{
	for (uint32_t slot = 0; slot < atomic_load(&hits->header->end); slot++) {
		if (atomic_load(&hits->entries[slot].key) != 0)
			each(slot, context);
	}
}

uint32_t rule_hits_passes(const struct rule_hits *hits)
{
	return atomic_load(&hits->passes);
}

static size_t map_bytes(const struct rule_hits_map *map)
{
	return map == NULL ? 0
			   : sizeof(*map) + ((size_t)map->n_rules + 1) * sizeof(map->slots[0]) +
				     ((size_t)map->n_zones + 1) * sizeof(map->zones[0]);
}

size_t rule_hits_memory_bytes(const struct rule_hits *hits)
{
	size_t bytes =
		sizeof(*hits) + RULE_HITS_HEADER + RULE_HITS_ZONES * sizeof(struct rule_hits_zone) +
		(size_t)hits->allocated * (sizeof(struct rule_hits_entry) + RULE_HITS_NAME_MAX) +
		name_table_bytes(&hits->by_name) + name_table_bytes(&hits->zone_by_name) +
		2 * (size_t)hits->allocated / 8 + hits->free_allocated * sizeof(uint32_t);

	for (unsigned int i = 0; i < RULE_HITS_REVISIONS; i++)
		bytes += map_bytes(atomic_load(&hits->maps[i])) + map_bytes(hits->dropped[i]);
	return bytes;
}
