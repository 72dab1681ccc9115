/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the benches of the traffic log write: the records of a shop.  200 web servers speak to 20
 * data bases and to clients outside, each session with a start and an end record, and one in twenty
 * attempts is denied.  Included by one program each.
 */
#ifndef TESTS_BENCH_SHOP_H
#define TESTS_BENCH_SHOP_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "log/record.h"
#include "zones/zone.h"

enum { N_WEB = 200, N_DB = 20, N_CLIENTS = 50000 };
#define SECOND_NS 1000000000ull
#define T0	  (1790856000 * SECOND_NS) /* 2026-10-01 12:00:00 UTC. */

static char names[N_WEB + N_DB][4][40];

__attribute__((unused)) static uint32_t next_random(uint64_t *state)
{
	*state = *state * 6364136223846793005ull + 1442695040888963407ull;
	return (uint32_t)(*state >> 33);
}

__attribute__((unused)) static uint64_t clock_ns(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return (uint64_t)now.tv_sec * SECOND_NS + (uint64_t)now.tv_nsec;
}

__attribute__((unused)) static struct in6_addr make_address(bool ipv6, uint32_t net, uint32_t host)
{
	struct in6_addr address = IN6ADDR_ANY_INIT;

	if (ipv6) {
		address.s6_addr[0] = 0x20;
		address.s6_addr[1] = 0x01;
		address.s6_addr[5] = (uint8_t)net;
		memcpy(&address.s6_addr[12], &host, sizeof(host));
		return address;
	}
	address.s6_addr[10] = address.s6_addr[11] = 0xff;
	address.s6_addr[12] = (uint8_t)(10 + net);
	address.s6_addr[13] = (uint8_t)(host >> 16);
	address.s6_addr[14] = (uint8_t)(host >> 8);
	address.s6_addr[15] = (uint8_t)host;
	return address;
}

__attribute__((unused)) static void make_names(void)
{
	for (int vm = 0; vm < N_WEB + N_DB; vm++) {
		const char *kind = vm < N_WEB ? "web" : "db";

		snprintf(names[vm][0], 40, "vm-%s-%d", kind, vm);
		snprintf(names[vm][1], 40, "7f5c1a2e-0000-4000-8000-%012d", vm);
		snprintf(names[vm][2], 40, "%s-%d.shop.example", kind, vm);
		snprintf(names[vm][3], 40, "app=shop owner=team-a tier=%s", kind);
	}
}

__attribute__((unused)) static struct log_party endpoint(int vm, bool ipv6)
{
	return (struct log_party){
		.address = make_address(ipv6, 0, (uint32_t)vm),
		.mac = {2, 0, 0, 0, (uint8_t)(vm >> 8), (uint8_t)vm},
		.port = names[vm][0],
		.vm_id = names[vm][1],
		.vm_name = names[vm][2],
		.zone = vm < N_WEB ? "web" : "db",
		.tags = names[vm][3],
	};
}

__attribute__((unused)) static struct log_party client(uint32_t number, bool ipv6)
{
	return (struct log_party){
		.address = make_address(ipv6, 90, number),
		.mac = {2, 0, 0, 9, 9, 9},
		.port = "uplink0",
		.vm_id = "",
		.vm_name = "",
		.zone = "internet",
		.tags = "",
	};
}

__attribute__((unused)) static void make_record(
	struct log_record *record, uint64_t sequence, bool ipv6, uint64_t *random)
{
	uint32_t dice = next_random(random);
	int web = (int)(next_random(random) % N_WEB);
	bool inner = dice % 2, denied = dice % 20 == 3, end = sequence % 2;

	*record = (struct log_record){
		.time_ns = T0 + sequence * 4000,
		.sequence = sequence,
		.host = "host-a",
		.kind = denied ? LOG_DENIED
			: end  ? LOG_END
			       : LOG_START,
		.protocol = IPPROTO_TCP,
		.tcp_flags = denied ? 2
			     : end  ? 0x1b
				    : 2,
		.verdict = denied ? ZONE_DENY : ZONE_ALLOW,
		.ethertype = ipv6 ? 0x86dd : 0x0800,
		.vlan = 10,
		.reason = denied ? "policy"
			  : end	 ? "fin"
				 : "",
		.tier = "application",
		.policy = inner ? "db-access" : "front",
		.rule = inner ? "web-to-db" : "clients-to-web",
		.label = "",
		.simulated_policy = "",
		.simulated_rule = "",
		.policy_revision = 12,
		.packets_forward = denied ? 1
				   : end  ? 4 + dice % 40
					  : 1,
		.bytes_forward = denied ? 60
				 : end	? 300 + dice % 9000
					: 60,
		.packets_reverse = end && !denied ? 4 + dice % 60 : 0,
		.bytes_reverse = end && !denied ? 500 + dice % 200000 : 0,
	};
	record->start_ns = record->time_ns - (end && !denied ? dice % SECOND_NS : 0);
	record->source =
		inner ? endpoint(web, ipv6) : client(next_random(random) % N_CLIENTS, ipv6);
	record->destination = inner ? endpoint(N_WEB + web % N_DB, ipv6) : endpoint(web, ipv6);
	record->source.transport_port = (uint16_t)(32768 + dice % 28000);
	record->destination.transport_port = inner ? 5432 : 443;
}

#endif
