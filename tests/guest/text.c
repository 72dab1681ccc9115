/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Text: lines out of the serial port, and words of the command line and of commands.
 */
#include "guest.h"

#include <stdarg.h>

enum {
	COM1 = 0x3f8,
	LINE_STATUS = COM1 + 5,
	DATA_READY = 1,
	TRANSMITTER_EMPTY = 0x20,
	LINE_MAX = 512
};

extern const char *command_line;

struct sink {
	char *at, *end;
};

static void put(struct sink *sink, char c)
{
	if (sink->at < sink->end)
		*sink->at++ = c;
}

static void put_number(struct sink *sink, uint64_t value, unsigned int base)
{
	char digits[24];
	unsigned int n = 0;

	do {
		digits[n++] = "0123456789abcdef"[value % base];
		value /= base;
	} while (value > 0);
	while (n > 0)
		put(sink, digits[--n]);
}

static void put_text(struct sink *sink, const char *text)
{
	while (*text)
		put(sink, *text++);
}

static void format_list(struct sink *sink, const char *format, va_list arguments)
{
	for (; *format; format++) {
		if (*format != '%') {
			put(sink, *format);
			continue;
		}
		switch (*++format) {
		case 's': put_text(sink, va_arg(arguments, const char *)); break;
		case 'u': put_number(sink, va_arg(arguments, uint64_t), 10); break;
		case 'x': put_number(sink, va_arg(arguments, uint64_t), 16); break;
		default: put(sink, (char)va_arg(arguments, int));
		}
	}
}

void format_to(char *to, size_t size, const char *format, ...)
{
	struct sink sink = {to, to + size - 1};
	va_list arguments;

	va_start(arguments, format);
	format_list(&sink, format, arguments);
	va_end(arguments);
	*sink.at = '\0';
}

static void serial_put(char c)
{
	while (!(in8(LINE_STATUS) & TRANSMITTER_EMPTY))
		;
	out8(COM1, (uint8_t)c);
}

void print(const char *format, ...)
{
	char line[LINE_MAX];
	struct sink sink = {line, line + sizeof(line)};
	va_list arguments;

	va_start(arguments, format);
	format_list(&sink, format, arguments);
	va_end(arguments);
	for (const char *c = line; c < sink.at; c++)
		serial_put(*c);
	serial_put('\n');
}

int serial_take(void)
{
	return in8(LINE_STATUS) & DATA_READY ? in8(COM1) : -1;
}

bool same(const char *a, const char *b)
{
	while (*a && *a == *b) {
		a++;
		b++;
	}
	return *a == *b;
}

const char *option(const char *name)
{
	size_t n = strlen(name);

	for (const char *at = command_line; *at; at++) {
		bool first = at == command_line || at[-1] == ' ';

		if (first && memcmp(at, "-- ", 3) == 0)
			return NULL;
		if (first && memcmp(at, name, n) == 0 && at[n] == '=')
			return at + n + 1;
	}
	return NULL;
}

uint64_t option_number(const char *name, uint64_t otherwise)
{
	const char *value = option(name);

	return value ? number(value) : otherwise;
}

char *word(char **line)
{
	char *start = *line, *end;

	while (*start == ' ')
		start++;
	for (end = start; *end && *end != ' '; end++)
		;
	*line = *end ? end + 1 : end;
	*end = '\0';
	return start;
}

uint64_t number(const char *text)
{
	uint64_t value = 0;

	for (; *text >= '0' && *text <= '9'; text++)
		value = value * 10 + (uint64_t)(*text - '0');
	return value;
}
