/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The hash of everything whose keys a guest or an outsider chooses: multilinear (Lemire and Kaser,
 * "Strongly universal string hashing is fast", 2014), a sum of 32-bit words times 64-bit secrets,
 * and then one mixing step.
 *
 * The sum alone makes collisions of two keys as rare as they can be.  But keys that count up (a
 * scan of addresses, MACs of one maker) make sums in equal steps, and an unlucky secret puts many
 * steps into one bucket.  Mixing all 64 bits before the upper ones are taken breaks the steps up.
 */
#ifndef DATAPATH_KEYED_HASH_H
#define DATAPATH_KEYED_HASH_H

#include <stddef.h>
#include <stdint.h>

static inline uint32_t keyed_hash_finish(uint64_t sum)
{
	sum ^= sum >> 32;
	sum *= UINT64_C(0x9fb21c651e98df25);
	return sum >> 32;
}

/* Of n words, with 1 + n secrets. */
static inline uint32_t keyed_hash(const uint64_t *secrets, const uint32_t *words, size_t n)
{
	uint64_t sum = secrets[0];

	for (size_t i = 0; i < n; i++)
		sum += secrets[1 + i] * words[i];
	return keyed_hash_finish(sum);
}

#endif
