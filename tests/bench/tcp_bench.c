/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What tcp_step() costs: cycles per segment on open connections, data one way and ACKs the other,
 * and per connection from SYN to TIME-WAIT.
 *
 *      tcp_bench
 */
#include <stdio.h>
#include <stdlib.h>
#include <x86intrin.h>

#include "zones/tcp_state.h"

enum { CONNECTIONS = 256, SLICES = 501, ROUNDS = 20, SEGMENT = 1460 };

static struct tcp_side sides[CONNECTIONS][2];

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double median(double *cycles)
{
	qsort(cycles, SLICES, sizeof(cycles[0]), compare);
	return cycles[SLICES / 2];
}

static void send_segment(struct tcp_side pair[2], int from, uint8_t flags, uint32_t bytes)
{
	struct tcp_segment segment = {
		.sequence = pair[from].sent_end,
		.acknowledgment = pair[!from].sent_end,
		.payload_bytes = bytes,
		.window = 60000,
		.flags = flags,
	};

	if (tcp_step(&pair[from], &pair[!from], &segment, !from) > TCP_OK_STATE_CHANGED)
		abort();
}

static void open_connection(struct tcp_side pair[2])
{
	struct tcp_segment syn = {.sequence = 1, .window = 60000, .flags = TCP_FLAG_SYN};

	if (tcp_open(&pair[0], &pair[1], &syn, false) != TCP_OK_STATE_CHANGED)
		abort();
	send_segment(pair, 1, TCP_FLAG_SYN | TCP_FLAG_ACK, 0);
	send_segment(pair, 0, TCP_FLAG_ACK, 0);
	send_segment(pair, 1, TCP_FLAG_ACK, 0);
}

static void close_connection(struct tcp_side pair[2])
{
	send_segment(pair, 0, TCP_FLAG_FIN | TCP_FLAG_ACK, 0);
	send_segment(pair, 1, TCP_FLAG_FIN | TCP_FLAG_ACK, 0);
	send_segment(pair, 0, TCP_FLAG_ACK, 0);
	if (tcp_state(&pair[0], &pair[1]) != TCP_TIME_WAIT)
		abort();
}

static double hit_cycles(void)
{
	double cycles[SLICES];

	for (int slice = 0; slice < SLICES; slice++) {
		uint64_t start = __rdtsc();

		for (int i = 0; i < ROUNDS * CONNECTIONS; i++) {
			send_segment(sides[i % CONNECTIONS], 0, TCP_FLAG_ACK, SEGMENT);
			send_segment(sides[i % CONNECTIONS], 1, TCP_FLAG_ACK, 0);
		}
		cycles[slice] = (double)(__rdtsc() - start) / (2 * ROUNDS * CONNECTIONS);
	}
	return median(cycles);
}

static double life_cycles(void)
{
	double cycles[SLICES];

	for (int slice = 0; slice < SLICES; slice++) {
		uint64_t start = __rdtsc();

		for (int i = 0; i < CONNECTIONS; i++) {
			open_connection(sides[i]);
			close_connection(sides[i]);
		}
		cycles[slice] = (double)(__rdtsc() - start) / CONNECTIONS;
	}
	return median(cycles);
}

int main(void)
{
	for (int i = 0; i < CONNECTIONS; i++)
		open_connection(sides[i]);
	printf("%.1f cycles per segment of an open connection\n", hit_cycles());
	printf("%.1f cycles per connection of seven segments\n", life_cycles());
	return 0;
}
