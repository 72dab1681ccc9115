/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any text in any segments on an FTP control connection: whatever is let through was whole in one
 * segment, names its sender and a port from 1024 on, and a reply was asked for.
 *
 * The input is a list of segments: a byte that says from whom and how far from the expected place
 * it begins, a byte of length, and so much text.
 */
#include <stdlib.h>
#include <string.h>

#include "zones/address.h"
#include "zones/announcement.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool promise)
{
	if (!promise)
		abort();
}

static bool holds(const uint8_t *text, size_t n, const char *word)
{
	size_t length = strlen(word);

	for (size_t i = 0; i + length <= n; i++)
		if (memcmp(text + i, word, length) == 0)
			return true;
	return false;
}

/* What can announce at all has a line's end and a number in it. */
static void check(bool from_client, const uint8_t *text, size_t n, uint16_t port,
	const struct ftp_session *before)
{
	require(port >= 1024);
	require(memchr(text, '\n', n) != NULL);
	if (from_client)
		return;
	require(before->passive_asked || before->extended_asked);
	require(holds(text, n, "227") || holds(text, n, "229"));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct ftp_session session = {0};
	struct in6_addr client, server;
	uint32_t next[2] = {100, UINT32_MAX - 50};

	ip_address_parse("10.0.0.1", &client);
	ip_address_parse(size & 1 ? "10.0.0.2" : "2001:db8::2", &server);
	while (size >= 2) {
		bool from_client = data[0] & 1, is_syn = data[0] & 2;
		size_t n = data[1] < size - 2 ? data[1] : size - 2;
		uint32_t sequence = next[from_client] + (uint32_t)(data[0] >> 2) / 8 * 3;
		/* Its own memory, so that a step outside of it is seen. */
		uint8_t *text = malloc(n ? n : 1);
		const struct ftp_session before = session;
		uint16_t port = 0;

		memcpy(text, data + 2, n);
		switch (ftp_read(&session, from_client, sequence, is_syn, text, n,
			from_client ? &client : &server, &port)) {
		case ANNOUNCED_CONNECTION: check(from_client, text, n, port, &before); break;
		case ANNOUNCED_REFUSED:
			require(memcmp(&session, &before, sizeof(session)) == 0);
			break;
		case ANNOUNCED_NOTHING: break;
		}
		tftp_is_request(text, n);
		free(text);
		next[from_client] = sequence + is_syn + (uint32_t)n;
		data += 2 + n;
		size -= 2 + n;
	}
	return 0;
}
