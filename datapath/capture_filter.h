/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Filters of captures: programs of the classic BPF machine (McCanne and Jacobson, "The BSD Packet
 * Filter", 1993), which the client has libpcap compile.  libpcap executes them too: its interpreter
 * checks each load against the frame, jumps lead forwards only, and no code is generated.  No DPDK.
 */
#ifndef DATAPATH_CAPTURE_FILTER_H
#define DATAPATH_CAPTURE_FILTER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <pcap/bpf.h>

enum { CAPTURE_FILTER_MAX = 4096 }; /* Instructions, so also executed ones. */

struct capture_filter;

/* Takes a program over by copying it, if it is one: it ends, and neither reads nor jumps where it
 * must not, whatever the frame.  NULL with a sentence in *why: nothing of it is executed. */
struct capture_filter *capture_filter_create(
	const struct bpf_insn *program, size_t n, const char **why);
void capture_filter_destroy(struct capture_filter *filter); /* Accepts NULL. */

/* True if the filter accepts a frame of `frame_bytes`, of which `bytes` lie at `data`.  NULL
 * accepts all.  Any thread. */
bool capture_filter_accepts(const struct capture_filter *filter, const uint8_t *data,
	uint32_t bytes, uint32_t frame_bytes);

#endif
