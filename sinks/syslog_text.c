/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What syslog messages are made of: see syslog_text.h.  Called for every record, on the sink's
 * thread.
 */
#include "sinks/syslog_text.h"

#include <time.h>

#include "zones/address.h"
#include "zones/utf8.h"

enum {
	DIGITS_MAX = 20,   /* Of a 64-bit number. */
	CHARACTER_MAX = 5, /* Bytes that one character of a value becomes: "\\xNN". */
	SECOND_NS = 1000000000,
};

void syslog_put_number(struct syslog_text *text, uint64_t number)
{
	char digits[DIGITS_MAX];
	size_t at = DIGITS_MAX;

	do {
		digits[--at] = (char)('0' + number % 10);
		number /= 10;
	} while (number);
	syslog_put(text, digits + at, DIGITS_MAX - at);
}

/* Exactly n digits. */
static void pad(char *to, unsigned int number, unsigned int n)
{
	for (unsigned int i = n; i-- > 0; number /= 10)
		to[i] = (char)('0' + number % 10);
}

void syslog_put_time(struct syslog_text *text, uint64_t time_ns)
{
	char form[] = "0000-00-00T00:00:00.000000Z";
	time_t seconds = (time_t)(time_ns / SECOND_NS);
	struct tm utc;

	if (!time_ns || !gmtime_r(&seconds, &utc)) {
		SYSLOG_PUT(text, "-");
		return;
	}
	pad(form, (unsigned int)utc.tm_year + 1900, 4);
	pad(form + 5, (unsigned int)utc.tm_mon + 1, 2);
	pad(form + 8, (unsigned int)utc.tm_mday, 2);
	pad(form + 11, (unsigned int)utc.tm_hour, 2);
	pad(form + 14, (unsigned int)utc.tm_min, 2);
	pad(form + 17, (unsigned int)utc.tm_sec, 2);
	pad(form + 20, (unsigned int)(time_ns % SECOND_NS) / 1000, 6);
	syslog_put(text, form, sizeof(form) - 1);
}

static void put_ipv4(struct syslog_text *text, const uint8_t *bytes)
{
	for (int i = 0; i < 4; i++) {
		if (i > 0)
			SYSLOG_PUT(text, ".");
		syslog_put_number(text, bytes[i]);
	}
}

void syslog_put_address(struct syslog_text *text, const struct in6_addr *address)
{
	char form[IP_TEXT_MAX];

	if (ip_is_v4(address))
		put_ipv4(text, &address->s6_addr[12]);
	else
		syslog_put_word(text, ip_format(address, form));
}

void syslog_put_mac(struct syslog_text *text, const uint8_t mac[6])
{
	char form[MAC_TEXT_MAX];

	syslog_put_word(text, mac_format(mac, form));
}

/* --- Strings from outside -------------------------------------------------------------------- */

/* True for a byte that stands for itself everywhere. */
static bool is_plain(unsigned char byte)
{
	return byte >= ' ' && byte < 0x7f && byte != '"' && byte != '\\' && byte != ']';
}

static size_t put_hex(char to[CHARACTER_MAX], unsigned char byte, enum syslog_where where)
{
	static const char digits[] = "0123456789abcdef";
	size_t n = 0;

	to[n++] = '\\';
	if (where == SYSLOG_IN_VALUE)
		to[n++] = '\\';
	to[n++] = 'x';
	to[n++] = digits[byte >> 4];
	to[n++] = digits[byte & 15];
	return n;
}

/* Writes the first character of `string`, and returns its bytes. */
static size_t put_character(struct syslog_text *text, const char *string, enum syslog_where where)
{
	char form[CHARACTER_MAX];
	unsigned char byte = (unsigned char)*string;
	uint32_t character = byte;
	size_t n = byte < 0x80 ? 1 : utf8_decode(string, strnlen(string, 4), &character);

	/* C1 controls are characters that no reader of a log should be sent either. */
	if (n == 0 || character < ' ' || (character >= 0x7f && character < 0xa0)) {
		n = n ? n : 1;
		for (size_t i = 0; i < n; i++)
			syslog_put(text, form, put_hex(form, (unsigned char)string[i], where));
		return n;
	}
	if (where == SYSLOG_IN_VALUE && (byte == '"' || byte == '\\' || byte == ']')) {
		form[0] = '\\';
		form[1] = (char)byte;
		syslog_put(text, form, 2);
		return 1;
	}
	text->has_wide = text->has_wide || n > 1;
	syslog_put(text, string, n);
	return n;
}

/* Takes of plain text what there is room for. */
static void put_plain(struct syslog_text *text, const char *bytes, size_t length)
{
	size_t room = (size_t)(text->end - text->at);
	bool is_cut = length > room;

	syslog_put(text, bytes, is_cut ? room : length);
	text->is_full = text->is_full || is_cut;
}

void syslog_put_string(struct syslog_text *text, const char *string, enum syslog_where where)
{
	while (*string && !text->is_full) {
		size_t plain = 0;

		while (is_plain((unsigned char)string[plain]))
			plain++;
		put_plain(text, string, plain);
		string += plain;
		if (*string)
			string += put_character(text, string, where);
	}
}
