/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any program as a capture's filter, on any frame: it is refused, or it ends without reading beyond
 * the frame, and says the same of the same frame each time.
 *
 * The input is a byte with the number of instructions, eight bytes for each of them, and a frame.
 */
#include <stdlib.h>
#include <string.h>

#include "datapath/capture_filter.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The frame in memory of exactly its size, so that a read beyond it is noticed. */
static bool ask(const struct capture_filter *filter, const uint8_t *frame, size_t n)
{
	uint8_t *copy = malloc(n != 0 ? n : 1);

	if (copy == NULL)
		abort();
	if (n != 0)
		memcpy(copy, frame, n);
	bool accepts = capture_filter_accepts(filter, copy, (uint32_t)n, (uint32_t)n + 100);
	free(copy);
	return accepts;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct bpf_insn program[UINT8_MAX];
	const char *why = NULL;

	if (size == 0)
		return 0;
	size_t n = data[0], bytes = n * sizeof(program[0]);
	if (size - 1 < bytes)
		return 0;
	memcpy(program, data + 1, bytes);
	struct capture_filter *filter = capture_filter_create(program, n, &why);
	if (filter == NULL && why == NULL)
		abort();
	if (filter != NULL && ask(filter, data + 1 + bytes, size - 1 - bytes) !=
				      ask(filter, data + 1 + bytes, size - 1 - bytes))
		abort();
	capture_filter_destroy(filter);
	return 0;
}
