/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rewrites words of a guest's memory, as another CPU of a hostile guest does while the switch reads
 * them.  Started by test_hostile.py.
 *
 *      ring_racer DESCRIPTOR SECONDS OFFSET:BYTES:VALUE:VALUE...
 *
 * DESCRIPTOR is the number of an open file: the guest's memory.  Each word of 2, 4 or 8 bytes takes
 * one value, then the other, until the time is over.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>

enum { WORDS_MAX = 4096, ROUNDS_BETWEEN_CLOCKS = 1024 };

struct word {
	uint8_t *at;
	unsigned long bytes;
	uint64_t values[2];
};

static void store(const struct word *word, unsigned int which)
{
	switch (word->bytes) {
	case 2: *(volatile uint16_t *)word->at = (uint16_t)word->values[which]; break;
	case 4: *(volatile uint32_t *)word->at = (uint32_t)word->values[which]; break;
	default: *(volatile uint64_t *)word->at = word->values[which]; break;
	}
}

/* Reads one OFFSET:BYTES:VALUE:VALUE. */
static int read_word(const char *text, uint8_t *memory, uint64_t size, struct word *word)
{
	uint64_t numbers[4];
	char *end;

	for (int i = 0; i < 4; i++) {
		numbers[i] = strtoull(text, &end, 0);
		if (end == text || *end != (i < 3 ? ':' : '\0'))
			return -1;
		text = end + 1;
	}
	word->bytes = numbers[1];
	if ((word->bytes != 2 && word->bytes != 4 && word->bytes != 8) || size < word->bytes ||
		numbers[0] > size - word->bytes)
		return -1;
	word->at = memory + numbers[0];
	word->values[0] = numbers[2];
	word->values[1] = numbers[3];
	return 0;
}

static void race(const struct word *words, unsigned int n, time_t seconds)
{
	time_t end = time(NULL) + seconds;

	while (time(NULL) < end)
		for (unsigned int round = 0; round < ROUNDS_BETWEEN_CLOCKS; round++)
			for (unsigned int i = 0; i < n; i++)
				store(&words[i], round % 2);
}

int main(int argc, char **argv)
{
	static struct word words[WORDS_MAX];
	struct stat status;
	unsigned int n = 0;

	if (argc < 4 || argc - 3 > WORDS_MAX) {
		fprintf(stderr,
			"usage: ring_racer DESCRIPTOR SECONDS OFFSET:BYTES:VALUE:VALUE...\n");
		return 2;
	}
	int descriptor = atoi(argv[1]);
	if (fstat(descriptor, &status) != 0) {
		perror("ring_racer: the guest's memory");
		return 1;
	}
	uint8_t *memory = mmap(
		NULL, (size_t)status.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
	if (memory == MAP_FAILED) {
		perror("ring_racer: the guest's memory");
		return 1;
	}
	for (int i = 3; i < argc; i++)
		if (read_word(argv[i], memory, (uint64_t)status.st_size, &words[n++]) != 0) {
			fprintf(stderr, "ring_racer: %s is no word of this memory\n", argv[i]);
			return 2;
		}
	race(words, n, atoi(argv[2]));
	return 0;
}
