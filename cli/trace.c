/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `cordon trace`: what the switch would do with a packet and why, or, with --send, what it does.
 * The frame is made here; the switch is asked about it.
 */
#include "cli/trace.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "timeval.h"
#include "util.h"

enum { LOOK_EVERY_MS = 20, WAIT_DEFAULT_MS = 1000, WAIT_MAX_S = 3600 };

const struct cli_option cli_trace_options[] = {
	{"to", 0, "ADDRESS", "where the packet goes"},
	{"from", 0, "ADDRESS", "where it comes from (the port's address)"},
	{"tcp", 0, "N", "TCP to this port"},
	{"udp", 0, "N", "UDP to this port"},
	{"sctp", 0, "N", "SCTP to this port"},
	{"icmp", 0, "TYPE", "ICMP or ICMPv6: echo, reply, or TYPE/CODE (echo)"},
	{"protocol", 0, "N", "another IP protocol"},
	{"arp", 0, NULL, "an ARP request for the address"},
	{"nd", 0, NULL, "a neighbour solicitation for the address"},
	{"source-port", 0, "N", "of TCP, UDP or SCTP (40000)"},
	{"flags", 0, "LIST", "of TCP: fin,syn,rst,psh,ack,urg or none (syn)"},
	{"sequence", 0, "N", "of TCP (1)"},
	{"acknowledgment", 0, "N", "of TCP (0)"},
	{"window", 0, "N", "of TCP (64240)"},
	{"payload", 0, "N", "bytes of data (0)"},
	{"ttl", 0, "N", "TTL or hop limit (64)"},
	{"vlan", 0, "N", "with a tag of this VLAN"},
	{"mac-from", 0, "MAC", "the sender's MAC (the port's)"},
	{"mac-to", 0, "MAC", "the receiver's MAC (that of the port with the address)"},
	{"pcap", 0, "FILE", "a frame of this capture instead"},
	{"frame", 0, "N", "which one (1)"},
	{"hex", 0, "BYTES", "this frame instead"},
	{"send", 0, NULL, "send it for real as well"},
	{"wait", 0, "SECONDS", "how long to wait for an answer to it (1)"},
	{0},
};

/* Who asks, for the switch's own log. */
static char *asker(void)
{
	const char *user = getenv("SUDO_USER");

	return user ? xasprintf("uid %u (%s, by sudo)", (unsigned int)getuid(), user)
		    : xasprintf("uid %u", (unsigned int)getuid());
}

static char *hex_of(const uint8_t *bytes, size_t n)
{
	char *text = xmalloc(2 * n + 1);

	for (size_t i = 0; i < n; i++)
		snprintf(text + 2 * i, 3, "%02x", bytes[i]);
	return text;
}

/* --- waiting for an answer ------------------------------------------------------------------ */

/* The connection as it is now, or NULL. */
static struct json *look_at(struct cli *cli, const char *number)
{
	enum cli_status status;

	return cli_ask_switch(cli, true, &status, "conn/show", 1, &number);
}

/* Looks at the connection that was sent on until it has an answer or the time is over. */
static struct json *await_answer(struct cli *cli, const struct json *sent, long long int wait_ms)
{
	const char *back = strcmp(cli_json_text(sent, "direction"), "reverse") ? "packets_reverse"
									       : "packets_forward";
	int64_t before = cli_json_number(sent, "packets_back");
	char *number = xasprintf("%lld", (long long int)cli_json_number(sent, "connection"));
	long long int begin = time_msec();
	struct json *answer = json_object_create();
	bool came = false;

	for (;;) {
		struct json *connection = look_at(cli, number);

		came = connection && cli_json_number(connection, back) > before;
		if (came)
			json_object_put_string(answer, "state", cli_json_text(connection, "state"));
		json_destroy(connection);
		if (came || !connection || time_msec() - begin >= wait_ms)
			break;
		usleep(LOOK_EVERY_MS * 1000);
	}
	free(number);
	json_object_put(answer, "came", json_boolean_create(came));
	json_object_put(answer, "after_ms", json_integer_create(time_msec() - begin));
	return answer;
}

/* "1", "0.5": into milliseconds. */
static bool read_wait(struct cli *cli, long long int *wait_ms)
{
	const char *text = cli_option(cli, "wait");
	double seconds;
	char *end;

	*wait_ms = WAIT_DEFAULT_MS;
	if (!text)
		return true;
	seconds = strtod(text, &end);
	if (end == text || *end || !(seconds >= 0 && seconds <= WAIT_MAX_S)) {
		cli_fail(cli, CLI_USAGE, "--wait '%s': give seconds, from 0 to %d", text,
			WAIT_MAX_S);
		return false;
	}
	*wait_ms = (long long int)(seconds * 1000);
	return true;
}

/* --- the command ---------------------------------------------------------------------------- */

static enum cli_status ask(struct cli *cli, const uint8_t *frame, size_t n, long long int wait_ms)
{
	char *hex = hex_of(frame, n), *who = asker();
	const char *words[] = {cli->arguments[0], hex, who};
	enum cli_status status;
	struct json *story = cli_ask_switch(
		cli, false, &status, "cordon/trace", cli_flag(cli, "send") ? 3 : 2, words);
	struct json *sent = CONST_CAST(struct json *, cli_json_member(story, "sent"));

	free(hex);
	free(who);
	if (!story)
		return status;
	if (sent && cli_json_member(sent, "connection") && wait_ms &&
		!strcmp(cli_json_text(sent, "result"), "forwarded"))
		json_object_put(sent, "answer", await_answer(cli, sent, wait_ms));
	if (cli->json)
		return cli_print_json(cli, story);
	trace_print(cli, story);
	json_destroy(story);
	return CLI_OK;
}

enum cli_status cli_trace(struct cli *cli)
{
	uint8_t *frame;
	enum cli_status status = CLI_USAGE;
	long long int wait_ms;
	size_t n;

	if (!read_wait(cli, &wait_ms))
		return status;
	frame = xmalloc(TRACE_FRAME_MAX);
	n = trace_read_options(cli, frame, &status);
	if (n)
		status = ask(cli, frame, n, wait_ms);
	free(frame);
	return status;
}
