/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the compiler calls by itself, and memory that is never given back.
 */
#include "guest.h"

enum { ARENA_BYTES = 24 << 20, PAGE_BYTES = 4096 };

static uint8_t memory[ARENA_BYTES] __attribute__((aligned(PAGE_BYTES)));
static size_t taken;

void *memcpy(void *to, const void *from, size_t n)
{
	void *at = to;

	__asm__ volatile("rep movsb" : "+D"(at), "+S"(from), "+c"(n) : : "memory");
	return to;
}

void *memset(void *to, int value, size_t n)
{
	void *at = to;

	__asm__ volatile("rep stosb" : "+D"(at), "+c"(n) : "a"(value) : "memory");
	return to;
}

int memcmp(const void *a, const void *b, size_t n)
{
	const uint8_t *x = a, *y = b;

	for (; n > 0; n--, x++, y++) {
		if (*x != *y)
			return *x - *y;
	}
	return 0;
}

size_t strlen(const char *text)
{
	size_t n = 0;

	while (text[n])
		n++;
	return n;
}

void *arena(size_t bytes)
{
	size_t alignment = bytes >= PAGE_BYTES ? PAGE_BYTES : 16;
	size_t start = (taken + alignment - 1) & ~(alignment - 1);

	if (bytes > ARENA_BYTES - start)
		fail("the arena has no %u bytes left", bytes);
	taken = start + bytes;
	return memory + start;
}
