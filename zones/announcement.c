/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading the announcements of FTP and TFTP.  Called by workers, for the packets of connections
 * whose rule names the helper.
 */
#include "zones/announcement.h"

#include <string.h>
#include <strings.h>

#include "zones/address.h"

enum { PORT_LEAST = 1024, ADDRESS_TEXT_MAX = 64 };

/* What is left of a line, without its end. */
struct line {
	const uint8_t *at, *end;
};

/* --- Words of a line ------------------------------------------------------------------------ */

/* Takes `word` from the line's beginning, whatever its case, if it is there and ends there. */
static bool take_word(struct line *line, const char *word)
{
	size_t length = strlen(word);

	if ((size_t)(line->end - line->at) < length ||
		strncasecmp((const char *)line->at, word, length) != 0)
		return false;
	if (line->at + length < line->end && line->at[length] != ' ')
		return false;
	line->at += length;
	while (line->at < line->end && *line->at == ' ')
		line->at++;
	return true;
}

/* A decimal number of at most `most`. */
static bool take_number(struct line *line, uint32_t most, uint32_t *number)
{
	const uint8_t *begin = line->at;

	*number = 0;
	while (line->at < line->end && *line->at >= '0' && *line->at <= '9') {
		*number = *number * 10 + (uint32_t)(*line->at++ - '0');
		if (*number > most)
			return false;
	}
	return line->at != begin;
}

static bool take_byte(struct line *line, uint8_t byte)
{
	if (line->at == line->end || *line->at != byte)
		return false;
	line->at++;
	return true;
}

/* --- Addresses and ports -------------------------------------------------------------------- */

/* "h1,h2,h3,h4,p1,p2", as PORT and 227 have it. */
static bool take_host_port(struct line *line, struct in6_addr *address, uint16_t *port)
{
	uint32_t numbers[6];

	for (unsigned int i = 0; i < 6; i++)
		if ((i != 0 && !take_byte(line, ',')) || !take_number(line, 255, &numbers[i]))
			return false;
	*address = (struct in6_addr){.s6_addr = {[10] = 0xff, 0xff}};
	for (unsigned int i = 0; i < 4; i++)
		address->s6_addr[12 + i] = (uint8_t)numbers[i];
	*port = (uint16_t)(numbers[4] << 8 | numbers[5]);
	return true;
}

/* "|1|192.0.2.1|6275|" or "|2|2001:db8::1|5282|" (RFC 2428, 2); with `bare`, "|||6446|" (3). */
static bool take_extended(struct line *line, bool bare, struct in6_addr *address, uint16_t *port)
{
	char text[ADDRESS_TEXT_MAX];
	uint32_t family = 0, number;
	uint8_t bar = line->at < line->end ? *line->at : 0;
	const uint8_t *end;

	if (bar < 33 || bar > 126 || (bar >= '0' && bar <= '9') || !take_byte(line, bar))
		return false;
	if ((!bare && !take_number(line, 2, &family)) || !take_byte(line, bar))
		return false;
	end = memchr(line->at, bar, (size_t)(line->end - line->at));
	if (!end || (size_t)(end - line->at) >= sizeof(text) || (bare && end != line->at))
		return false;
	memcpy(text, line->at, (size_t)(end - line->at));
	text[end - line->at] = '\0';
	line->at = end + 1;
	if (!take_number(line, UINT16_MAX, &number) || !take_byte(line, bar))
		return false;
	*port = (uint16_t)number;
	if (bare)
		return true;
	return family != 0 && ip_address_parse(text, address) && (family == 1) == ip_is_v4(address);
}

/* --- Lines ---------------------------------------------------------------------------------- */

static enum announced judge(const struct in6_addr *named, const struct in6_addr *sender,
	uint16_t named_port, uint16_t *port)
{
	if (memcmp(named, sender, sizeof(*named)) != 0 || named_port < PORT_LEAST)
		return ANNOUNCED_REFUSED;
	*port = named_port;
	return ANNOUNCED_CONNECTION;
}

static enum announced read_command(struct ftp_session *session, struct line line,
	const struct in6_addr *sender, uint16_t *port)
{
	struct in6_addr address;
	uint16_t named;

	if (take_word(&line, "PORT"))
		return take_host_port(&line, &address, &named)
			       ? judge(&address, sender, named, port)
			       : ANNOUNCED_NOTHING;
	if (take_word(&line, "EPRT"))
		return take_extended(&line, false, &address, &named)
			       ? judge(&address, sender, named, port)
			       : ANNOUNCED_NOTHING;
	if (take_word(&line, "PASV"))
		session->passive_asked = true;
	else if (take_word(&line, "EPSV"))
		session->extended_asked = true;
	return ANNOUNCED_NOTHING;
}

/* Servers put the numbers of 227 in brackets or not (RFC 1123, 4.1.2.6). */
static enum announced read_reply(struct ftp_session *session, struct line line,
	const struct in6_addr *sender, uint16_t *port)
{
	struct in6_addr address = *sender;
	uint16_t named;

	if (session->passive_asked && take_word(&line, "227")) {
		session->passive_asked = false;
		while (line.at < line.end && (*line.at < '0' || *line.at > '9'))
			line.at++;
		if (take_host_port(&line, &address, &named))
			return judge(&address, sender, named, port);
	} else if (session->extended_asked && take_word(&line, "229")) {
		session->extended_asked = false;
		line.at = memchr(line.at, '(', (size_t)(line.end - line.at));
		if (line.at && line.at++ < line.end && take_extended(&line, true, &address, &named))
			return judge(&address, sender, named, port);
	}
	return ANNOUNCED_NOTHING;
}

/* Reads the whole lines of what follows in order.  The last announcement counts, but for a refused
 * one, which is told in any case. */
static enum announced read_lines(struct ftp_session *session, struct ftp_side *side,
	struct line text, const struct in6_addr *sender, uint16_t *port)
{
	enum announced result = ANNOUNCED_NOTHING;

	while (text.at < text.end) {
		const uint8_t *end = memchr(text.at, '\n', (size_t)(text.end - text.at));
		struct line line = {.at = text.at, .end = end};
		enum announced one = ANNOUNCED_NOTHING;

		if (end && !side->mid_line) {
			if (line.end > line.at && line.end[-1] == '\r')
				line.end--;
			one = side == &session->client ? read_command(session, line, sender, port)
						       : read_reply(session, line, sender, port);
		}
		if (one != ANNOUNCED_NOTHING && result != ANNOUNCED_REFUSED)
			result = one;
		side->mid_line = !end;
		text.at = end ? end + 1 : text.end;
	}
	return result;
}

enum announced ftp_read(struct ftp_session *session, bool from_client, uint32_t sequence,
	bool is_syn, const uint8_t *payload, size_t n, const struct in6_addr *sender,
	uint16_t *port)
{
	struct ftp_side *side = from_client ? &session->client : &session->server;
	const struct ftp_session before = *session;
	struct line text = {.at = payload, .end = payload + n};
	enum announced announced;

	if (is_syn) {
		*side = (struct ftp_side){.next = sequence + 1, .is_known = true};
		sequence++;
	}
	if (n == 0)
		return ANNOUNCED_NOTHING;
	if (side->is_known && (int32_t)(sequence + (uint32_t)n - side->next) <= 0)
		return ANNOUNCED_NOTHING; /* Sent again. */
	/* After a hole, or what overlaps, nobody knows where a line begins until one has ended. */
	if (!side->is_known || sequence != side->next)
		side->mid_line = true;
	side->is_known = true;
	side->next = sequence + (uint32_t)n;
	announced = read_lines(session, side, text, sender, port);
	if (announced == ANNOUNCED_REFUSED)
		*session = before; /* It is dropped, and will be sent again. */
	return announced;
}

bool tftp_is_request(const uint8_t *payload, size_t n)
{
	/* Opcode 1 or 2, a name that is not empty, and the end of both strings. */
	return n >= 6 && payload[0] == 0 && (payload[1] == 1 || payload[1] == 2) &&
	       payload[2] != 0 && payload[n - 1] == 0;
}
