/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A bounded hash table from bytes to numbers: the writer's memory of which names, parties and
 * contexts the bucket under way already has a row for.  When it is full, its owner clears it and
 * begins anew; rows that are then made twice cost space and nothing else.
 */
#ifndef ZONES_LOG_DICTIONARY_H
#define ZONES_LOG_DICTIONARY_H

#include <stddef.h>
#include <stdint.h>

struct log_dictionary_slot {
	uint32_t hash;
	uint32_t id; /* 0: free. */
	uint32_t length;
	uint32_t offset; /* In `bytes`. */
};

/* All zero is an empty dictionary, but for the secret. */
struct log_dictionary {
	struct log_dictionary_slot *slots;
	uint32_t n, n_slots; /* n_slots: 0 or a power of two. */
	char *bytes;
	size_t n_bytes, bytes_allocated;
	uint64_t secret; /* So that a sender cannot choose collisions. */
};

enum { LOG_DICTIONARY_MAX = 65536, LOG_DICTIONARY_BYTES_MAX = 64 << 20 };

void log_dictionary_init(struct log_dictionary *dictionary);
void log_dictionary_free(struct log_dictionary *dictionary);

/* Forgets all entries, keeps the memory. */
void log_dictionary_clear(struct log_dictionary *dictionary);

/* The number of `key`, or 0.  *hash is for log_dictionary_add(). */
uint32_t log_dictionary_find(
	const struct log_dictionary *dictionary, const void *key, size_t length, uint32_t *hash);

/* Enters a key that is not there; `id` is not 0.  Returns 0, -ENOSPC (full: clear it) or -ENOMEM.
 */
int log_dictionary_add(struct log_dictionary *dictionary, const void *key, size_t length,
	uint32_t hash, uint32_t id);

#endif
