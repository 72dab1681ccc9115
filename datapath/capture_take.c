/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Copies of frames, into a session's ring.  Called by workers, for captured ports only.
 *
 * What lies in a guest's memory is read once, into the copy: all that is said of it later is said
 * of the copy.
 */
#include <config.h>

#include "datapath/capture.h"

#include <string.h>
#include <time.h>

enum { LOOK_BYTES = 512 }; /* What a filter sees of a frame that lies in several pieces. */

bool capture_accepts(const struct capture_session *session, const struct rte_mbuf *frame)
{
	uint8_t pieces[LOOK_BYTES];
	uint32_t whole = rte_pktmbuf_pkt_len(frame);
	uint32_t n = frame->nb_segs == 1 ? whole : RTE_MIN(whole, (uint32_t)LOOK_BYTES);

	if (session->order.filter == NULL)
		return true;
	const uint8_t *data = rte_pktmbuf_read(frame, 0, n, pieces);
	return data != NULL && capture_filter_accepts(session->order.filter, data, n, whole);
}

static uint64_t wall_clock(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void copy_bytes(const struct rte_mbuf *frame, uint32_t n, uint8_t *to)
{
	const void *at = rte_pktmbuf_read(frame, 0, n, to);

	if (at != NULL && at != to)
		memcpy(to, at, n);
}

struct capture_record *capture_take(struct capture_session *session, const struct worker *worker,
	const struct port *port, enum capture_point point, const struct rte_mbuf *frame)
{
	uint32_t whole = rte_pktmbuf_pkt_len(frame), n = RTE_MIN(whole, session->order.snaplen);
	struct capture_record *record =
		capture_ring_reserve(session->rings[worker->id], sizeof(*record) + n);

	if (record == NULL)
		return NULL;
	*record = (struct capture_record){
		.time_ns = wall_clock(),
		.captured = n,
		.original = whole,
		.port = port->number,
		.point = (uint8_t)point,
		.checksum_missing = frame->ol_flags & OFFLOAD_FLAGS,
		.segment_bytes = frame->ol_flags & OFFLOAD_CUT ? frame->tso_segsz : 0,
	};
	copy_bytes(frame, n, record->data);
	return record;
}
