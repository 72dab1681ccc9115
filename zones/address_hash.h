/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A keyed hash of addresses, for tables that packets are looked up in: who does not know the secret
 * cannot choose addresses that collide.  Multilinear hashing over 32-bit words with 64-bit keys is
 * strongly universal (Lemire and Kaser, "Strongly universal string hashing is fast", 2014).
 */
#ifndef ZONES_ADDRESS_HASH_H
#define ZONES_ADDRESS_HASH_H

#include <netinet/in.h>
#include <stdint.h>
#include <string.h>

struct address_hash {
	uint64_t keys[6];
};

/* Draws the secret. */
void address_hash_init(struct address_hash *hash);

/* The hash of an address and one number beside it. */
static inline uint32_t address_hash(
	const struct address_hash *hash, const struct in6_addr *address, uint32_t beside)
{
	uint64_t sum = hash->keys[0] + hash->keys[1] * beside;

	for (unsigned int i = 0; i < 4; i++)
		sum += hash->keys[2 + i] * address->s6_addr32[i];
	/* Addresses that count up give sums at even distances, which this breaks up. */
	sum = (sum ^ sum >> 32) * UINT64_C(0xd6e8feb86659fd93);
	return (uint32_t)(sum >> 32);
}

#endif
