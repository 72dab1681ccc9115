/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One record of the traffic log: what happened to one connection at one moment, with the names of
 * both ends, the zones and the rule as they were then.  A record is made by the log thread from an
 * event of a worker and given to every sink.
 */
#ifndef LOG_RECORD_H
#define LOG_RECORD_H

#include <netinet/in.h>
#include <stdint.h>

/* The kinds of record.  X(enumerator, text). */
#define LOG_KINDS(X)                                                                               \
	X(LOG_START, "start")		/* A connection was allowed. */                            \
	X(LOG_UPDATE, "update")		/* A long connection is still there. */                    \
	X(LOG_END, "end")		/* It is over; `reason` says how. */                       \
	X(LOG_DENIED, "denied")		/* A rule, or the lack of one, refused it. */              \
	X(LOG_WOULD_DENY, "would-deny") /* It was allowed; simulated rules would have. */          \
	X(LOG_SPOOFED, "spoofed")	/* A vNIC spoke for an address that is not its own. */     \
	X(LOG_LIMIT, "limit")		/* Table full, or a quota reached: `reason` says which. */ \
	X(LOG_GAP, "gap")		/* `packets` records before this one were lost. */

#define X(enumerator, text) enumerator,
enum log_kind { LOG_KINDS(X) LOG_N_KINDS };
#undef X

/* "start" and so on; "?" for a number that is none. */
const char *log_kind_name(unsigned int kind);

/* The kind of that name, or -1. */
int log_kind_parse(const char *name);

/* Protocols that have a name; the others are told by their number.  X(number, name). */
#define LOG_PROTOCOLS(X)                                                                           \
	X(1, "icmp")	/* RFC 792. */                                                             \
	X(2, "igmp")	/* RFC 3376. */                                                            \
	X(6, "tcp")	/* RFC 9293. */                                                            \
	X(17, "udp")	/* RFC 768. */                                                             \
	X(47, "gre")	/* RFC 2784. */                                                            \
	X(50, "esp")	/* RFC 4303. */                                                            \
	X(58, "icmpv6") /* RFC 4443. */                                                            \
	X(132, "sctp")	/* RFC 9260. */

/* The name, or the number as text. */
enum { LOG_PROTOCOL_MAX = 8 };
const char *log_protocol_name(uint8_t protocol, char text[LOG_PROTOCOL_MAX]);

/* The protocol of that name or number; or -1. */
int log_protocol_parse(const char *text);

/* "allowed", "denied", "rejected" of an enum zone_action; "?" for a number that is none. */
const char *log_verdict_name(unsigned int verdict);

/* The enum zone_action of that name, or -1. */
int log_verdict_parse(const char *name);

/* One end of a connection.  Strings are never NULL; "" is "not known" or "does not apply". */
struct log_party {
	struct in6_addr address; /* All zero where there is none (ARP, other non-IP). */
	uint8_t mac[6];
	uint16_t transport_port; /* Host byte order. */
	const char *port;	 /* Name of the switch port. */
	const char *vm_id, *vm_name;
	const char *zone;
	const char *tags; /* "app=shop tier=web" */
};

/* Strings belong to the log thread and are valid only during the sink's call. */
struct log_record {
	uint64_t time_ns;  /* Of the event, since 1970. */
	uint64_t start_ns; /* Of the connection's first packet. */
	uint64_t sequence; /* Counts up by one per record on one host: a hole is a loss. */
	const char *host;
	uint8_t kind;	  /* enum log_kind. */
	uint8_t protocol; /* IANA protocol number; 0 with a non-IP ethertype. */
	uint8_t icmp_type, icmp_code;
	uint8_t tcp_flags; /* Union of all seen. */
	uint8_t verdict;   /* enum zone_action. */
	uint16_t ethertype, vlan;
	uint32_t vni;
	struct log_party source, destination; /* Of the connection's first packet. */
	const char *reason;		      /* End reason or drop reason. */
	const char *tier, *policy, *rule, *label;
	/* What the revision says with its policies of `mode: simulate` enforced: enum zone_action
	 * and the rule; 0 and "" where there are none of these, or nothing was decided. */
	uint8_t simulated; /* 1 + enum zone_action. */
	const char *simulated_policy, *simulated_rule;
	uint32_t policy_revision;
	uint32_t suppressed; /* Records like this one that the cap held back since the last. */
	uint64_t packets_forward, bytes_forward, packets_reverse, bytes_reverse;
};

/* A record that says that `lost` others are missing, and why: of no connection, with the time and
 * sequence number still to be set. */
void log_record_gap(struct log_record *record, const char *host, const char *reason, uint64_t lost);

#endif
