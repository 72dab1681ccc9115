/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What passes whatever the rules say, since a network does not work without it: a table of frames,
 * each with the ports that it would leave by, and with what it is taken for.  One field off, and it
 * is traffic like any other.
 */
#include <config.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "datapath/miss.h"
#include "datapath/service_guard.h"
#include "datapath/switch.h"
#include "tests/unit/frame.h"

/* The ports; `SERVER` serves DHCP and owns 10.0.0.3 and fd00::3, `GUEST` owns 10.0.0.4. */
enum { SERVER = 3, GUEST = 4, GONE = 5 };

enum whither { TO_BOTH, TO_SERVER, TO_GUEST, TO_GONE, FLOOD };

enum { ARP = 300, RARP, LLDP }; /* Beside IP's protocols. */

struct message {
	const char *what;
	int protocol;
	const char *source, *destination;
	bool group;    /* Its destination MAC is one. */
	uint8_t hops;  /* TTL or hop limit. */
	uint32_t a, b; /* ICMP type; or the UDP ports. */
	enum whither whither;
	enum signalling expected;
};

#define NONE	SIGNALLING_NONE
#define ALL	SIGNALLING_TO_ALL
#define SERVERS SIGNALLING_TO_SERVERS
#define IGMP	IPPROTO_IGMP
#define UDP	IPPROTO_UDP
#define V4	IPPROTO_ICMP
#define V6	IPPROTO_ICMPV6

/* clang-format off */
static const struct message messages[] = {
	{"ARP to all", ARP, NULL, NULL, true, 0, 0, 0, TO_BOTH, ALL},
	{"ARP to one", ARP, NULL, NULL, false, 0, 0, 0, TO_GUEST, ALL},
	{"RARP", RARP, NULL, NULL, true, 0, 0, 0, TO_BOTH, ALL},
	{"RARP to one", RARP, NULL, NULL, false, 0, 0, 0, TO_GUEST, NONE},
	{"another ethertype", LLDP, NULL, NULL, true, 0, 0, 0, TO_BOTH, NONE},

	{"IGMP report", IGMP, "10.0.0.1", "224.0.0.22", true, 1, 0, 0, TO_BOTH, ALL},
	{"IGMP from another link", IGMP, "10.0.0.1", "224.0.0.22", true, 2, 0, 0, TO_BOTH, NONE},
	{"IGMP to one", IGMP, "10.0.0.1", "10.0.0.4", false, 1, 0, 0, TO_GUEST, NONE},
	{"ICMP to a group", V4, "10.0.0.1", "224.0.0.1", true, 1, 8, 0, TO_BOTH, NONE},
	{"MLD's number over IPv4", V4, "10.0.0.1", "224.0.0.1", true, 1, 130, 0, TO_BOTH, NONE},

	{"MLD query", V6, "fe80::1", "ff02::1", true, 1, 130, 0, TO_BOTH, ALL},
	{"MLD report", V6, "fe80::1", "ff02::9", true, 1, 131, 0, TO_BOTH, ALL},
	{"MLD done", V6, "fe80::1", "ff02::2", true, 1, 132, 0, TO_BOTH, ALL},
	{"MLDv2 report", V6, "fe80::1", "ff02::16", true, 1, 143, 0, TO_BOTH, ALL},
	{"MLD from another link", V6, "fe80::1", "ff02::16", true, 255, 143, 0, TO_BOTH, NONE},
	{"MLD to one", V6, "fe80::1", "fd00::4", false, 1, 131, 0, TO_GUEST, NONE},
	{"beside MLD's numbers", V6, "fe80::1", "ff02::16", true, 1, 144, 0, TO_BOTH, NONE},
	{"echo to a group", V6, "fe80::1", "ff02::1", true, 1, 128, 0, TO_BOTH, NONE},

	{"RS", V6, "fe80::1", "ff02::2", true, 255, 133, 0, TO_BOTH, ALL},
	{"RA", V6, "fe80::1", "ff02::1", true, 255, 134, 0, TO_BOTH, ALL},
	{"NS", V6, "fe80::1", "ff02::1:ff00:4", true, 255, 135, 0, TO_BOTH, ALL},
	{"NA to one", V6, "fe80::1", "fd00::4", false, 255, 136, 0, TO_GUEST, ALL},
	{"redirect", V6, "fe80::1", "fd00::4", false, 255, 137, 0, TO_GUEST, ALL},
	{"NS from another link", V6, "fe80::1", "ff02::1:ff00:4", true, 254, 135, 0, TO_BOTH, NONE},
	{"NA of hop limit 1", V6, "fe80::1", "fd00::4", false, 1, 136, 0, TO_GUEST, NONE},

	{"DISCOVER", UDP, "0.0.0.0", "255.255.255.255", true, 64, 68, 67, TO_BOTH, SERVERS},
	{"DISCOVER where none serves", UDP, "0.0.0.0", "255.255.255.255", true, 64, 68, 67, TO_GUEST, NONE},
	{"DISCOVER to a port that is gone", UDP, "0.0.0.0", "255.255.255.255", true, 64, 68, 67, TO_GONE, NONE},
	{"DISCOVER from another port", UDP, "0.0.0.0", "255.255.255.255", true, 64, 69, 67, TO_BOTH, NONE},
	{"DISCOVER to another group", UDP, "10.0.0.1", "224.0.0.1", true, 64, 68, 67, TO_BOTH, NONE},
	{"DISCOVER to a subnet's broadcast", UDP, "10.0.0.1", "10.0.0.255", true, 64, 68, 67, TO_BOTH, NONE},
	{"renewal", UDP, "10.0.0.1", "10.0.0.3", false, 64, 68, 67, TO_SERVER, SERVERS},
	{"renewal, flooded", UDP, "10.0.0.1", "10.0.0.3", false, 64, 68, 67, FLOOD, NONE},
	{"renewal beyond the server", UDP, "10.0.0.1", "192.0.2.1", false, 64, 68, 67, TO_SERVER, NONE},
	{"renewal by a guest", UDP, "10.0.0.1", "10.0.0.4", false, 64, 68, 67, TO_GUEST, NONE},
	{"renewal by another's address", UDP, "10.0.0.1", "10.0.0.4", false, 64, 68, 67, TO_SERVER, NONE},
	{"relayed", UDP, "10.0.0.1", "10.0.0.3", false, 64, 67, 67, TO_SERVER, NONE},
	{"OFFER", UDP, "10.0.0.3", "10.0.0.4", false, 64, 67, 68, TO_GUEST, ALL},
	{"OFFER to all", UDP, "10.0.0.3", "255.255.255.255", true, 64, 67, 68, TO_BOTH, ALL},
	{"OFFER from another port", UDP, "10.0.0.3", "10.0.0.4", false, 64, 4000, 68, TO_GUEST, NONE},

	{"SOLICIT", UDP, "fe80::1", "ff02::1:2", true, 1, 546, 547, TO_BOTH, SERVERS},
	{"SOLICIT where none serves", UDP, "fe80::1", "ff02::1:2", true, 1, 546, 547, TO_GUEST, NONE},
	{"SOLICIT to another group", UDP, "fe80::1", "ff02::1", true, 1, 546, 547, TO_BOTH, NONE},
	{"RENEW to the server", UDP, "fd00::1", "fd00::3", false, 64, 546, 547, TO_SERVER, SERVERS},
	{"RENEW beyond it", UDP, "fd00::1", "2001:db8::1", false, 64, 546, 547, TO_SERVER, NONE},
	{"ADVERTISE", UDP, "fe80::3", "fe80::4", false, 64, 547, 546, TO_GUEST, ALL},
	{"ADVERTISE to another link", UDP, "fe80::3", "fd00::4", false, 64, 547, 546, TO_GUEST, NONE},
	{"ADVERTISE from another port", UDP, "fe80::3", "fe80::4", false, 64, 9, 546, TO_GUEST, NONE},
	{"DNS", UDP, "10.0.0.1", "10.0.0.3", false, 64, 5000, 53, TO_SERVER, NONE},
};
/* clang-format on */

struct fixture {
	struct cordon_switch *sw;
	struct port ports[2];
	struct port_settings settings[2];
	struct zone_policy *policy;
	struct endpoint_map *endpoints;
};

static int set_up(void **state)
{
	static const char document[] = "zones: {a: {match: \"zone=a\"}}\n";
	struct fixture *fixture = calloc(1, sizeof(*fixture));
	struct in6_addr owned[3];
	struct endpoint_map_entry entries[2] = {
		{.port = SERVER, .zone = 1, .addresses = owned, .n_addresses = 2},
		{.port = GUEST, .zone = 1, .addresses = owned + 2, .n_addresses = 1},
	};
	struct policy_errors errors;

	inet_pton(AF_INET6, "::ffff:10.0.0.3", &owned[0]);
	inet_pton(AF_INET6, "fd00::3", &owned[1]);
	inet_pton(AF_INET6, "::ffff:10.0.0.4", &owned[2]);
	fixture->sw = aligned_alloc(64, RTE_ALIGN_CEIL(sizeof(*fixture->sw), 64));
	memset(fixture->sw, 0, sizeof(*fixture->sw));
	fixture->settings[0].serves = SERVICE_DHCP;
	for (unsigned int i = 0; i < 2; i++) {
		fixture->ports[i].number = (uint16_t)(SERVER + i);
		atomic_store(&fixture->ports[i].settings, &fixture->settings[i]);
		atomic_store(&fixture->sw->ports[SERVER + i], &fixture->ports[i]);
	}
	fixture->policy = zone_policy_create(document, strlen(document), 1, 0, &errors);
	fixture->endpoints = endpoint_map_create(fixture->policy, entries, 2);
	*state = fixture;
	return fixture->policy == NULL;
}

static int tear_down(void **state)
{
	struct fixture *fixture = *state;

	endpoint_map_destroy(fixture->endpoints);
	zone_policy_destroy(fixture->policy);
	free(fixture->sw);
	free(fixture);
	return 0;
}

/* --- the frame ------------------------------------------------------------------------------- */

static void make_ip(struct frame *f, const struct message *message)
{
	bool v4 = strchr(message->source, ':') == NULL;

	if (v4)
		frame_ip4(f, message->source, message->destination, (uint8_t)message->protocol);
	else
		frame_ip6(f, message->source, message->destination, (uint8_t)message->protocol);
	f->bytes[f->l3 + (v4 ? 8 : 7)] = message->hops;
	if (message->protocol == UDP)
		frame_udp(f, message->a, message->b);
	else if (message->protocol != IGMP)
		frame_icmp(f, (uint8_t)message->a, 0, 0, 0);
	frame_fill(f, 64);
}

static void make(struct frame *f, const struct message *message)
{
	frame_begin(f, message->group ? MAC_ALL : MAC_B, MAC_A);
	switch (message->protocol) {
	case ARP: frame_arp(f, 1, MAC_A, "10.0.0.1", MAC_ALL, "10.0.0.4"); return;
	case RARP: frame_type(f, 0x8035); break;
	case LLDP: frame_type(f, 0x88cc); break;
	default: make_ip(f, message); break;
	}
	frame_fill(f, 64);
	frame_end(f);
}

static void send_to(struct forwarding *forwarding, enum whither whither)
{
	static const uint16_t outputs[][2] = {
		[TO_BOTH] = {GUEST, SERVER},
		[TO_SERVER] = {SERVER},
		[TO_GUEST] = {GUEST},
		[TO_GONE] = {GONE},
		[FLOOD] = {GUEST, SERVER},
	};

	memcpy(forwarding->outputs, outputs[whither], sizeof(outputs[whither]));
	forwarding->n_outputs = outputs[whither][1] != 0 ? 2 : 1;
	forwarding->flood = whither == FLOOD || whither == TO_BOTH;
}

static enum signalling taken_for(
	const struct fixture *fixture, const struct message *message, uint32_t more_flags)
{
	struct worker *worker = calloc(1, sizeof(*worker));
	struct packet packet;
	struct frame f;

	make(&f, message);
	if (packet_parse(f.bytes, f.n, f.n, &packet) != DROP_NONE)
		fail_msg("%s is malformed", message->what);
	packet.flags |= more_flags;
	worker->sw = fixture->sw;
	struct packet_context context = {.worker = worker, .data = f.bytes, .packet = &packet};
	struct miss miss = {.context = &context, .endpoints = fixture->endpoints};
	send_to(&miss.forwarding, message->whither);
	enum signalling found = signalling_of(&miss);
	free(worker);
	return found;
}

static void test_messages(void **state)
{
	for (size_t i = 0; i < RTE_DIM(messages); i++) {
		enum signalling found = taken_for(*state, &messages[i], 0);

		if (found != messages[i].expected)
			fail_msg("%s: taken for %d, not %d", messages[i].what, found,
				messages[i].expected);
	}
}

/* What is in fragments is nothing that a network needs: all of it fits into one frame. */
static void test_in_fragments(void **state)
{
	for (size_t i = 0; i < RTE_DIM(messages); i++)
		if (messages[i].source != NULL)
			assert_int_equal(taken_for(*state, &messages[i], PACKET_FRAGMENT), NONE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_messages),
		cmocka_unit_test(test_in_fragments),
	};

	return cmocka_run_group_tests_name("signalling", tests, set_up, tear_down);
}
