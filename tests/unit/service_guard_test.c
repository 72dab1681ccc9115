/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who may send what DHCP servers and routers send: a table of messages, each from a port that
 * serves nothing, DHCP, or routers.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "datapath/service_guard.h"
#include "tests/unit/frame.h"

/* How a message is hidden, where that can be done. */
enum hiding { PLAIN, EXTENSIONS, FRAGMENT, ATOMIC_FRAGMENT };

struct message {
	const char *what;
	int version;
	uint8_t protocol, type; /* Of UDP, ports: */
	uint32_t source, destination;
	enum hiding hiding;
	enum service_message kind;
	const char *by_nobody, *by_dhcp, *by_router; /* What becomes of it. */
};

#define NOTHING	      SERVICE_MESSAGE_NONE
#define REQUEST	      SERVICE_MESSAGE_DHCP_REQUEST
#define ANSWER	      SERVICE_MESSAGE_DHCP_ANSWER
#define ADVERTISEMENT SERVICE_MESSAGE_ADVERTISEMENT
#define REDIRECT      SERVICE_MESSAGE_REDIRECT
#define UDP	      IPPROTO_UDP
#define V4	      IPPROTO_ICMP
#define V6	      IPPROTO_ICMPV6

/* clang-format off */
static const struct message messages[] = {
	{"DISCOVER", 4, UDP, 0, 68, 67, PLAIN, REQUEST, "none", "none", "none"},
	{"OFFER", 4, UDP, 0, 67, 68, PLAIN, ANSWER, "dhcp-server", "none", "dhcp-server"},
	{"OFFER from another port", 4, UDP, 0, 9999, 68, PLAIN, ANSWER, "dhcp-server", "none", "dhcp-server"},
	{"relayed", 4, UDP, 0, 67, 67, PLAIN, NOTHING, "none", "none", "none"},
	{"to port 67", 4, UDP, 0, 5000, 67, PLAIN, NOTHING, "none", "none", "none"},
	{"DNS", 4, UDP, 0, 5000, 53, PLAIN, NOTHING, "none", "none", "none"},
	{"IPv6's ports", 4, UDP, 0, 547, 546, PLAIN, NOTHING, "none", "none", "none"},
	{"SOLICIT", 6, UDP, 0, 546, 547, PLAIN, REQUEST, "none", "none", "none"},
	{"ADVERTISE", 6, UDP, 0, 547, 546, PLAIN, ANSWER, "dhcp-server", "none", "dhcp-server"},
	{"ADVERTISE from another port", 6, UDP, 0, 9, 546, PLAIN, ANSWER, "dhcp-server", "none", "dhcp-server"},
	{"ADVERTISE behind extensions", 6, UDP, 0, 547, 546, EXTENSIONS, ANSWER, "dhcp-server", "none", "dhcp-server"},
	{"ADVERTISE in a fragment", 6, UDP, 0, 547, 546, FRAGMENT, ANSWER, "dhcp-server", "none", "dhcp-server"},
	{"IPv4's ports", 6, UDP, 0, 67, 68, PLAIN, NOTHING, "none", "none", "none"},
	{"RS", 6, V6, 133, 0, 0, PLAIN, NOTHING, "none", "none", "none"},
	{"RA", 6, V6, 134, 0, 0, PLAIN, ADVERTISEMENT, "router-advertisement", "router-advertisement", "none"},
	{"RA behind extensions", 6, V6, 134, 0, 0, EXTENSIONS, ADVERTISEMENT, "router-advertisement", "router-advertisement", "none"},
	{"RA in an atomic fragment", 6, V6, 134, 0, 0, ATOMIC_FRAGMENT, ADVERTISEMENT, "router-advertisement", "router-advertisement", "none"},
	{"RA in a fragment", 6, V6, 134, 0, 0, FRAGMENT, ADVERTISEMENT, "router-advertisement", "router-advertisement", "none"},
	{"NS", 6, V6, 135, 0, 0, PLAIN, NOTHING, "none", "none", "none"},
	{"NA", 6, V6, 136, 0, 0, PLAIN, NOTHING, "none", "none", "none"},
	{"redirect", 6, V6, 137, 0, 0, PLAIN, REDIRECT, "spoofed-nd", "spoofed-nd", "none"},
	{"redirect", 4, V4, 5, 0, 0, PLAIN, REDIRECT, "spoofed-nd", "spoofed-nd", "none"},
	{"echo", 4, V4, 8, 0, 0, PLAIN, NOTHING, "none", "none", "none"},
	{"echo", 6, V6, 128, 0, 0, PLAIN, NOTHING, "none", "none", "none"},
	{"no ICMP", 6, V4, 5, 0, 0, PLAIN, NOTHING, "none", "none", "none"},
	{"no ICMPv6", 4, V6, 134, 0, 0, PLAIN, NOTHING, "none", "none", "none"},
};
/* clang-format on */

static void hide(struct frame *f, enum hiding hiding)
{
	static const uint8_t pad[6] = {1, 4};

	switch (hiding) {
	case PLAIN: break;
	case EXTENSIONS:
		frame_extension(f, IPPROTO_HOPOPTS, 8, pad);
		for (unsigned int i = 0; i < 6; i++)
			frame_extension(f, IPPROTO_DSTOPTS, 8, pad);
		break;
	case FRAGMENT: frame_ip6_fragment(f, 7, 0, 1); break;
	case ATOMIC_FRAGMENT: frame_ip6_fragment(f, 7, 0, 0); break;
	}
}

static struct packet packet_of(const struct message *message)
{
	struct packet packet;
	struct frame f;

	frame_begin(&f, MAC_ALL, MAC_A);
	if (message->version == 4)
		frame_ip4(&f, "10.0.0.1", "255.255.255.255", message->protocol);
	else
		frame_ip6(&f, "fe80::1", "ff02::1", message->protocol);
	hide(&f, message->hiding);
	if (message->protocol == UDP)
		frame_udp(&f, message->source, message->destination);
	else
		frame_icmp(&f, message->type, 0, 0, 0);
	frame_fill(&f, 64);
	frame_end(&f);
	if (packet_parse(f.bytes, f.n, f.n, &packet) != DROP_NONE)
		fail_msg("%s is malformed", message->what);
	return packet;
}

static void expect(const struct message *message, uint8_t services, const char *reason)
{
	struct packet packet = packet_of(message);
	const char *found = drop_name(service_guard(services, &packet));

	if (strcmp(found, reason))
		fail_msg("%s, IPv%d, services %u: %s, not %s", message->what, message->version,
			services, found, reason);
	if (service_message(&packet) != message->kind)
		fail_msg("%s, IPv%d: taken for %d", message->what, message->version,
			service_message(&packet));
}

static void test_messages(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(messages) / sizeof(messages[0]); i++) {
		const struct message *message = &messages[i];

		expect(message, 0, message->by_nobody);
		expect(message, SERVICE_DHCP, message->by_dhcp);
		expect(message, SERVICE_ROUTER, message->by_router);
	}
}

/* Later fragments are judged by the ports that the first one had. */
static void test_later_fragments(void **state)
{
	struct packet packet = {
		.flags = PACKET_FRAGMENT_LATER,
		.protocol = IPPROTO_UDP,
		.key = {.kind = CONN_KEY_IPV4, .destination_port = htons(68)},
	};

	(void)state;
	assert_int_equal(service_guard(0, &packet), DROP_DHCP_SERVER);
	packet.protocol = IPPROTO_ICMP;
	packet.icmp_type = 5;
	assert_int_equal(service_guard(0, &packet), DROP_NONE);
}

/* No answer is promised a flow that the guard would not pass. */
static void test_answers(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(messages) / sizeof(messages[0]); i++) {
		struct packet packet = packet_of(&messages[i]), answer = packet;

		answer.key.source_port = packet.key.destination_port;
		answer.key.destination_port = packet.key.source_port;
		for (uint8_t services = 0; services < 4; services++) {
			if (packet.protocol == IPPROTO_UDP)
				assert_int_equal(service_passes_answer(services, &packet),
					service_guard(services, &answer) == DROP_NONE);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_messages),
		cmocka_unit_test(test_later_fragments),
		cmocka_unit_test(test_answers),
	};

	return cmocka_run_group_tests_name("service_guard", tests, NULL, NULL);
}
