/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A bounded hash table from bytes to numbers: open addressing, linear probing, keys copied into one
 * block.  Used by the log's writer (three lookups a record), by its summary, and to tell what a
 * change of policy does to traffic; one thread each.
 */
#include "zones/dictionary.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

enum { SLOTS_FIRST = 1024 };

void dictionary_init(struct dictionary *dictionary)
{
	memset(dictionary, 0, sizeof(*dictionary));
	if (getrandom(&dictionary->secret, sizeof(dictionary->secret), GRND_NONBLOCK) < 0)
		dictionary->secret = (uintptr_t)dictionary;
}

void dictionary_free(struct dictionary *dictionary)
{
	free(dictionary->slots);
	free(dictionary->bytes);
	memset(dictionary, 0, sizeof(*dictionary));
}

void dictionary_clear(struct dictionary *dictionary)
{
	if (dictionary->n)
		memset(dictionary->slots, 0, dictionary->n_slots * sizeof(*dictionary->slots));
	dictionary->n = 0;
	dictionary->n_bytes = 0;
}

static uint64_t fold(uint64_t a, uint64_t b)
{
	unsigned __int128 product = (unsigned __int128)a * b;

	return (uint64_t)product ^ (uint64_t)(product >> 64);
}

/* Sixteen bytes a step, folded products, the rest padded with zeros; the length tells the paddings
 * apart. */
static uint32_t hash_bytes(uint64_t secret, const char *bytes, size_t length)
{
	uint64_t hash = secret ^ length, word[2];

	for (; length >= 16; bytes += 16, length -= 16) {
		memcpy(word, bytes, 16);
		hash = fold(word[0] ^ hash, word[1] ^ 0xa0761d6478bd642full);
	}
	word[0] = word[1] = 0;
	memcpy(word, bytes, length);
	hash = fold(word[0] ^ hash, word[1] ^ 0xe7037ed1a0b428dbull);
	hash = fold(hash ^ secret, 0x8ebc6af09c88c6e3ull);
	return (uint32_t)hash ^ (uint32_t)(hash >> 32);
}

uint32_t dictionary_find(
	const struct dictionary *dictionary, const void *key, size_t length, uint32_t *hash)
{
	uint32_t mask = dictionary->n_slots - 1;

	*hash = hash_bytes(dictionary->secret, key, length);
	if (!dictionary->n_slots)
		return 0;
	for (uint32_t i = *hash & mask;; i = (i + 1) & mask) {
		const struct dictionary_slot *slot = &dictionary->slots[i];

		if (!slot->id)
			return 0;
		if (slot->hash == *hash && slot->length == length &&
			!memcmp(dictionary->bytes + slot->offset, key, length))
			return slot->id;
	}
}

static void insert(
	struct dictionary_slot *slots, uint32_t n_slots, const struct dictionary_slot *entry)
{
	uint32_t i = entry->hash & (n_slots - 1);

	while (slots[i].id)
		i = (i + 1) & (n_slots - 1);
	slots[i] = *entry;
}

/* Doubles the slots when they are half full. */
static int grow_slots(struct dictionary *dictionary)
{
	uint32_t n_slots = dictionary->n_slots ? dictionary->n_slots * 2 : SLOTS_FIRST;
	struct dictionary_slot *slots;

	if (dictionary->n * 2 < dictionary->n_slots)
		return 0;
	slots = calloc(n_slots, sizeof(*slots));
	if (!slots)
		return -ENOMEM;
	for (uint32_t i = 0; i < dictionary->n_slots; i++)
		if (dictionary->slots[i].id)
			insert(slots, n_slots, &dictionary->slots[i]);
	free(dictionary->slots);
	dictionary->slots = slots;
	dictionary->n_slots = n_slots;
	return 0;
}

static int grow_bytes(struct dictionary *dictionary, size_t length)
{
	size_t wanted = dictionary->n_bytes + length;
	char *bytes;

	if (wanted <= dictionary->bytes_allocated)
		return 0;
	bytes = realloc(dictionary->bytes, wanted * 2);
	if (!bytes)
		return -ENOMEM;
	dictionary->bytes = bytes;
	dictionary->bytes_allocated = wanted * 2;
	return 0;
}

int dictionary_add(
	struct dictionary *dictionary, const void *key, size_t length, uint32_t hash, uint32_t id)
{
	struct dictionary_slot entry = {
		.hash = hash,
		.id = id,
		.length = (uint32_t)length,
		.offset = (uint32_t)dictionary->n_bytes,
	};

	if (dictionary->n >= DICTIONARY_MAX || length > DICTIONARY_BYTES_MAX ||
		dictionary->n_bytes + length > DICTIONARY_BYTES_MAX)
		return -ENOSPC;
	if (grow_slots(dictionary) || grow_bytes(dictionary, length))
		return -ENOMEM;
	if (length)
		memcpy(dictionary->bytes + dictionary->n_bytes, key, length);
	dictionary->n_bytes += length;
	insert(dictionary->slots, dictionary->n_slots, &entry);
	dictionary->n++;
	return 0;
}
