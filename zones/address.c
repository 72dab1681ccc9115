/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading and writing addresses, prefixes and MACs.  Called by everything that reads what a person
 * wrote or prints for one; pure functions, any thread.
 */
#include "zones/address.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

bool ip_address_parse(const char *text, struct in6_addr *address)
{
	struct in6_addr parsed;

	if (strchr(text, ':')) {
		if (inet_pton(AF_INET6, text, &parsed) != 1 || ip_is_v4(&parsed))
			return false;
	} else {
		parsed = (struct in6_addr){.s6_addr = {[10] = 0xff, [11] = 0xff}};
		if (inet_pton(AF_INET, text, &parsed.s6_addr[12]) != 1)
			return false;
	}
	*address = parsed;
	return true;
}

/* Reads a decimal number up to `max`: no sign, no space, no leading zero. */
static bool read_length(const char *text, unsigned int max, unsigned int *length)
{
	unsigned int value = 0;

	if (!*text || (text[0] == '0' && text[1]))
		return false;
	for (; *text; text++) {
		if (*text < '0' || *text > '9')
			return false;
		value = value * 10 + (unsigned int)(*text - '0');
		if (value > max)
			return false;
	}
	*length = value;
	return true;
}

void ip_prefix_mask(struct in6_addr *address, unsigned int length)
{
	for (unsigned int i = 0; i < 16; i++) {
		unsigned int kept = length > i * 8 ? length - i * 8 : 0;

		if (kept < 8)
			address->s6_addr[i] &= (uint8_t)(0xff00 >> kept);
	}
}

bool ip_prefix_parse(const char *text, struct ip_prefix *prefix)
{
	const char *slash = strchr(text, '/');
	size_t n = slash ? (size_t)(slash - text) : strlen(text);
	struct in6_addr address, masked;
	char buffer[IP_TEXT_MAX];
	unsigned int max, length;

	if (n >= sizeof buffer)
		return false;
	memcpy(buffer, text, n);
	buffer[n] = '\0';
	if (!ip_address_parse(buffer, &address))
		return false;
	max = ip_is_v4(&address) ? 32 : 128;
	length = max;
	if (slash && !read_length(slash + 1, max, &length))
		return false;
	length += 128 - max;
	masked = address;
	ip_prefix_mask(&masked, length);
	if (memcmp(&masked, &address, sizeof address))
		return false;
	*prefix = (struct ip_prefix){.address = address, .length = (uint8_t)length};
	return true;
}

const char *ip_format(const struct in6_addr *address, char text[IP_TEXT_MAX])
{
	if (ip_is_v4(address))
		inet_ntop(AF_INET, &address->s6_addr[12], text, IP_TEXT_MAX);
	else
		inet_ntop(AF_INET6, address, text, IP_TEXT_MAX);
	return text;
}

bool ip_prefix_is_v4(const struct ip_prefix *prefix)
{
	return prefix->length >= 96 && ip_is_v4(&prefix->address);
}

const char *ip_prefix_format(const struct ip_prefix *prefix, char text[IP_TEXT_MAX])
{
	unsigned int length = prefix->length;
	size_t used;

	ip_format(&prefix->address, text);
	used = strlen(text);
	if (ip_prefix_is_v4(prefix))
		length -= 96;
	snprintf(text + used, IP_TEXT_MAX - used, "/%u", length);
	return text;
}

bool ip_prefix_contains(const struct ip_prefix *prefix, const struct in6_addr *address)
{
	struct in6_addr masked = *address;

	if (ip_prefix_is_v4(prefix) != ip_is_v4(address))
		return false;
	ip_prefix_mask(&masked, prefix->length);
	return !memcmp(&masked, &prefix->address, sizeof masked);
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

bool mac_parse(const char *text, uint8_t mac[6])
{
	uint8_t parsed[6];

	if (strlen(text) != MAC_TEXT_MAX - 1)
		return false;
	for (unsigned int i = 0; i < 6; i++, text += 3) {
		int high = hex_digit(text[0]), low = hex_digit(text[1]);

		if (high < 0 || low < 0 || text[2] != (i < 5 ? ':' : '\0'))
			return false;
		parsed[i] = (uint8_t)(high << 4 | low);
	}
	memcpy(mac, parsed, sizeof parsed);
	return true;
}

const char *mac_format(const uint8_t mac[6], char text[MAC_TEXT_MAX])
{
	snprintf(text, MAC_TEXT_MAX, "%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2],
		mac[3], mac[4], mac[5]);
	return text;
}
