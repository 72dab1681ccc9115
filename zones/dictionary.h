/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A bounded hash table from bytes to numbers: what is met again and again gets a number the first
 * time.  When it is full, its owner clears it and begins anew, or does without.
 */
#ifndef ZONES_DICTIONARY_H
#define ZONES_DICTIONARY_H

#include <stddef.h>
#include <stdint.h>

struct dictionary_slot {
	uint32_t hash;
	uint32_t id; /* 0: free. */
	uint32_t length;
	uint32_t offset; /* In `bytes`. */
};

/* All zero is an empty dictionary, but for the secret. */
struct dictionary {
	struct dictionary_slot *slots;
	uint32_t n, n_slots; /* n_slots: 0 or a power of two. */
	char *bytes;
	size_t n_bytes, bytes_allocated;
	uint64_t secret; /* So that a sender cannot choose collisions. */
};

enum { DICTIONARY_MAX = 65536, DICTIONARY_BYTES_MAX = 64 << 20 };

void dictionary_init(struct dictionary *dictionary);
void dictionary_free(struct dictionary *dictionary);

/* Forgets all entries, keeps the memory. */
void dictionary_clear(struct dictionary *dictionary);

/* The number of `key`, or 0.  *hash is for dictionary_add(). */
uint32_t dictionary_find(
	const struct dictionary *dictionary, const void *key, size_t length, uint32_t *hash);

/* Enters a key that is not there; `id` is not 0.  Returns 0, -ENOSPC (full: clear it) or -ENOMEM.
 */
int dictionary_add(
	struct dictionary *dictionary, const void *key, size_t length, uint32_t hash, uint32_t id);

#endif
