/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One frame of a capture, in any format that libpcap reads.  Called by `cordon trace`.
 */
#include "cli/trace.h"

#include <string.h>

#include <pcap/pcap.h>

static pcap_t *open_capture(struct cli *cli, const char *path, enum cli_status *status)
{
	char error[PCAP_ERRBUF_SIZE];
	FILE *file = fopen(path, "rb");
	pcap_t *capture;

	if (!file) {
		*status = cli_fail(cli, CLI_NOT_FOUND, "%s cannot be read: %m", path);
		return NULL;
	}
	capture = pcap_fopen_offline(file, error);
	if (!capture) {
		fclose(file);
		*status = cli_fail(cli, CLI_INVALID,
			"%s is no capture (%s); give a pcap or pcapng file, as tcpdump -w writes "
			"it",
			path, error);
		return NULL;
	}
	if (pcap_datalink(capture) == DLT_EN10MB)
		return capture;
	*status = cli_fail(cli, CLI_INVALID,
		"%s holds frames of link type %s; only Ethernet's can come in by a port.  Capture "
		"on one device, not on \"any\"",
		path, pcap_datalink_val_to_name(pcap_datalink(capture)));
	pcap_close(capture);
	return NULL;
}

/* Copies the frame, if all of it was captured. */
static size_t take_frame(struct cli *cli, const char *path, int64_t number,
	const struct pcap_pkthdr *header, const u_char *bytes, uint8_t *frame,
	enum cli_status *status)
{
	if (header->caplen < header->len) {
		*status = cli_fail(cli, CLI_INVALID,
			"frame %lld of %s was cut off at %u of %u bytes; capture with `tcpdump -s "
			"0`",
			(long long int)number, path, header->caplen, header->len);
		return 0;
	}
	if (header->caplen == 0 || header->caplen > TRACE_FRAME_MAX) {
		*status = cli_fail(cli, CLI_INVALID,
			"frame %lld of %s has %u bytes; frames of 1 to %d can be traced",
			(long long int)number, path, header->caplen, TRACE_FRAME_MAX);
		return 0;
	}
	memcpy(frame, bytes, header->caplen);
	*status = CLI_OK;
	return header->caplen;
}

/* Reads up to frame `number`. */
static size_t find_frame(struct cli *cli, const char *path, int64_t number, pcap_t *capture,
	uint8_t *frame, enum cli_status *status)
{
	struct pcap_pkthdr *header;
	const u_char *bytes;
	int64_t at = 0;
	int result = 1;

	while (at < number && (result = pcap_next_ex(capture, &header, &bytes)) == 1)
		at++;
	if (result == 1)
		return take_frame(cli, path, number, header, bytes, frame, status);
	if (result == PCAP_ERROR)
		*status = cli_fail(cli, CLI_INVALID, "%s is damaged behind frame %lld: %s", path,
			(long long int)at, pcap_geterr(capture));
	else if (at == 0)
		*status = cli_fail(cli, CLI_INVALID, "%s holds no frame", path);
	else
		*status = cli_fail(cli, CLI_NOT_FOUND, "%s has %lld frames; there is no frame %lld",
			path, (long long int)at, (long long int)number);
	return 0;
}

size_t trace_pcap_read(struct cli *cli, const char *path, int64_t number,
	uint8_t frame[TRACE_FRAME_MAX], enum cli_status *status)
{
	pcap_t *capture = open_capture(cli, path, status);
	size_t n;

	if (!capture)
		return 0;
	n = find_frame(cli, path, number, capture, frame, status);
	pcap_close(capture);
	return n;
}
