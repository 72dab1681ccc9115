/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading and writing services as a person writes them.  Called by the reader of policy documents,
 * and by whoever tells a person of one.
 */
#include "zones/service.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "zones/policy_error.h"

enum service_form { SERVICE_ANY, SERVICE_PORTS, SERVICE_TYPES, SERVICE_PROTOCOL };

/* The words that a service begins with. */
static const struct service_word {
	const char *word;
	enum service_form form;
	uint8_t protocol;
} service_words[] = {
	{"any", SERVICE_ANY, 0},
	{"tcp", SERVICE_PORTS, IPPROTO_TCP},
	{"udp", SERVICE_PORTS, IPPROTO_UDP},
	{"sctp", SERVICE_PORTS, IPPROTO_SCTP},
	{"icmp", SERVICE_TYPES, IPPROTO_ICMP},
	{"icmpv6", SERVICE_TYPES, IPPROTO_ICMPV6},
	{"ip", SERVICE_PROTOCOL, 0},
};

enum { N_SERVICE_WORDS = sizeof service_words / sizeof service_words[0] };

static const struct service_word *service_word_find(const char *text, size_t length)
{
	for (size_t i = 0; i < N_SERVICE_WORDS; i++) {
		const char *word = service_words[i].word;

		if (strlen(word) == length && !memcmp(word, text, length))
			return &service_words[i];
	}
	return NULL;
}

bool service_is_literal(const char *text)
{
	return strchr(text, '/') || service_word_find(text, strlen(text));
}

/* Reads a decimal number up to `max` and moves *text past it. */
static bool read_number(const char **text, unsigned long max, unsigned long *number)
{
	char *end;

	if (**text < '0' || **text > '9' || strspn(*text, "0123456789") > 5)
		return false;
	*number = strtoul(*text, &end, 10);
	*text = end;
	return *number <= max;
}

static bool problem_set(char problem[SERVICE_PROBLEM_MAX], const char *text, const char *expected)
{
	char quoted[POLICY_QUOTE_MAX];

	snprintf(problem, SERVICE_PROBLEM_MAX, "%s is not a service: %s",
		policy_quote(text, quoted), expected);
	return false;
}

static bool read_ports(const char *text, struct service_range *range)
{
	unsigned long first, last;

	if (!read_number(&text, 65535, &first))
		return false;
	last = first;
	if (*text == '-') {
		text++;
		if (!read_number(&text, 65535, &last))
			return false;
	}
	if (*text || last < first)
		return false;
	*range = (struct service_range){.first = (uint32_t)first, .last = (uint32_t)last};
	return true;
}

static bool read_type(const char *text, struct service_range *range)
{
	unsigned long type, code;

	if (!read_number(&text, 255, &type))
		return false;
	*range = (struct service_range){
		.first = (uint32_t)type << 8, .last = (uint32_t)type << 8 | 0xff};
	if (*text == '/') {
		text++;
		if (!read_number(&text, 255, &code))
			return false;
		range->first |= (uint32_t)code;
		range->last = range->first;
	}
	return !*text;
}

static bool read_protocol(const char *text, struct service_range *range)
{
	unsigned long protocol;

	if (!read_number(&text, 255, &protocol) || *text)
		return false;
	*range = (struct service_range){
		.first = (uint32_t)protocol << 16, .last = (uint32_t)protocol << 16 | 0xffff};
	return true;
}

static bool service_word_problem(const char *text, size_t length, char problem[SERVICE_PROBLEM_MAX])
{
	char word[POLICY_QUOTE_MAX], expected[128], hint[96];
	struct policy_guess guess;

	snprintf(word, sizeof word, "%.*s", (int)(length < 64 ? length : 64), text);
	policy_guess_begin(&guess, word);
	for (size_t i = 0; i < N_SERVICE_WORDS; i++)
		policy_guess_offer(&guess, service_words[i].word);
	snprintf(expected, sizeof expected,
		"it begins with tcp, udp, sctp, icmp, icmpv6 or ip%.48s",
		policy_guess_text(&guess, hint));
	return problem_set(problem, text, expected);
}

/* Reads what follows the slash, `rest`, which is NULL if there is no slash. */
static const char *service_read_rest(
	const struct service_word *word, const char *rest, struct service_range *range)
{
	*range = (struct service_range){.first = 0, .last = 0xffff};
	switch (word->form) {
	case SERVICE_ANY:
		range->last = SERVICE_POINT_MAX;
		return rest ? "'any' stands alone" : NULL;
	case SERVICE_PORTS:
		if (rest && !read_ports(rest, range))
			return "expected a port from 0 to 65535, or a range such as 8000-8100";
		break;
	case SERVICE_TYPES:
		if (rest && !read_type(rest, range))
			return "expected a type from 0 to 255, or type/code such as 3/4";
		break;
	case SERVICE_PROTOCOL:
		if (!rest || !read_protocol(rest, range))
			return "expected a protocol number from 0 to 255, such as ip/47";
		break;
	}
	range->first |= (uint32_t)word->protocol << 16;
	range->last |= (uint32_t)word->protocol << 16;
	return NULL;
}

bool service_parse(const char *text, struct service_range *range, char problem[SERVICE_PROBLEM_MAX])
{
	const char *slash = strchr(text, '/'), *expected;
	size_t length = slash ? (size_t)(slash - text) : strlen(text);
	const struct service_word *word = service_word_find(text, length);
	struct service_range read;

	if (!word)
		return service_word_problem(text, length, problem);
	expected = service_read_rest(word, slash ? slash + 1 : NULL, &read);
	if (expected)
		return problem_set(problem, text, expected);
	*range = read;
	return true;
}

static const struct service_word *service_word_of(uint8_t protocol)
{
	for (size_t i = 0; protocol && i < N_SERVICE_WORDS; i++) {
		if (service_words[i].protocol == protocol)
			return &service_words[i];
	}
	return NULL;
}

/* "/8", "/3/4". */
static void format_type(uint32_t first, uint32_t last, char *text, size_t size)
{
	if (first == last)
		snprintf(text, size, "/%u/%u", first >> 8, first & 0xff);
	else
		snprintf(text, size, "/%u", first >> 8);
}

static void format_ports(uint32_t first, uint32_t last, char *text, size_t size)
{
	if (first == last)
		snprintf(text, size, "/%u", first);
	else
		snprintf(text, size, "/%u-%u", first, last);
}

const char *service_format(const struct service_range *range, char text[SERVICE_TEXT_MAX])
{
	const struct service_word *word = service_word_of((uint8_t)(range->first >> 16));
	uint32_t first = range->first & 0xffff, last = range->last & 0xffff;
	size_t length;

	if (!range->first && range->last == SERVICE_POINT_MAX) {
		snprintf(text, SERVICE_TEXT_MAX, "any");
		return text;
	}
	if (!word) {
		snprintf(text, SERVICE_TEXT_MAX, "ip/%u", range->first >> 16);
		return text;
	}
	length = (size_t)snprintf(text, SERVICE_TEXT_MAX, "%s", word->word);
	if (!first && last == 0xffff)
		return text;
	if (word->form == SERVICE_TYPES)
		format_type(first, last, text + length, SERVICE_TEXT_MAX - length);
	else
		format_ports(first, last, text + length, SERVICE_TEXT_MAX - length);
	return text;
}
