/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Chance without chance: stands in for libc's function, which the tables of the switch draw their
 * hashes' secrets from, so that what collides is the same in each run.  Called on the main thread.
 */
#include <stddef.h>
#include <stdint.h>
#include <sys/random.h>

ssize_t getrandom(void *buffer, size_t length, unsigned int flags)
{
	uint64_t state = length + 1;
	uint8_t *bytes = buffer;

	(void)flags;
	for (size_t i = 0; i < length; i++) {
		/* Knuth's linear congruential generator; its high bits are the better ones. */
		state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
		bytes[i] = (uint8_t)(state >> 56);
	}
	return (ssize_t)length;
}
