/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The packet that the line of `cordon trace` asks for: what it does not say, the configuration of
 * the ports does.  Called by trace.c.
 */
#include "cli/trace.h"

#include <netinet/icmp6.h>
#include <netinet/ip_icmp.h>
#include <stdlib.h>
#include <string.h>

#include "cli/port.h"
#include "util.h"
#include "zones/address.h"
#include "zones/tcp_state.h"

enum { SOURCE_PORT = 40000, TTL = 64, WINDOW = 64240 };

/* What the packet is made from. */
struct request {
	struct cli *cli;
	struct model *model;
	const struct cordonrec_port *port;
	struct trace_packet packet;
	enum cli_status status;
};

__attribute__((format(printf, 2, 3))) static bool refuse(
	struct request *request, const char *format, ...)
{
	va_list arguments;
	char *text;

	va_start(arguments, format);
	text = xvasprintf(format, arguments);
	va_end(arguments);
	request->status = cli_fail(request->cli, CLI_USAGE, "%s", text);
	free(text);
	return false;
}

/* --- single options ------------------------------------------------------------------------- */

/* A number into *value, which has its default.  False if the line says something else. */
static bool read_number(struct request *request, const char *name, int64_t maximum, int64_t *value)
{
	if (cli_option_number(request->cli, name, 0, maximum, value))
		return true;
	request->status = CLI_USAGE;
	return false;
}

static bool read_address(struct request *request, const char *name, struct in6_addr *address)
{
	const char *text = cli_option(request->cli, name);

	if (ip_address_parse(text, address))
		return true;
	return refuse(
		request, "--%s '%s': give an address, as in 10.0.0.1 or 2001:db8::1", name, text);
}

static bool read_mac(struct request *request, const char *name, uint8_t mac[6])
{
	const char *text = cli_option(request->cli, name);

	if (mac_parse(text, mac))
		return true;
	return refuse(request, "--%s '%s': give a MAC, as in 52:54:00:00:00:01", name, text);
}

/* "syn,ack", or "none". */
static bool read_flags(struct request *request)
{
	static const struct {
		const char *name;
		uint8_t flag;
	} flags[] = {{"fin", TCP_FLAG_FIN}, {"syn", TCP_FLAG_SYN}, {"rst", TCP_FLAG_RST},
		{"psh", TCP_FLAG_PSH}, {"ack", TCP_FLAG_ACK}, {"urg", TCP_FLAG_URG}, {"none", 0}};
	const char *text = cli_option(request->cli, "flags");
	char *copy, *save = NULL;
	bool ok = true;

	if (!text)
		text = "syn";
	copy = xstrdup(text);
	for (char *word = strtok_r(copy, ",", &save); ok && word;
		word = strtok_r(NULL, ",", &save)) {
		size_t i = 0;

		while (i < ARRAY_SIZE(flags) && strcasecmp(word, flags[i].name))
			i++;
		ok = i < ARRAY_SIZE(flags);
		request->packet.tcp_flags |= ok ? flags[i].flag : 0;
	}
	free(copy);
	return ok || refuse(request,
			     "--flags '%s': use fin, syn, rst, psh, ack and urg, with "
			     "commas between, or none",
			     text);
}

/* --- what it is ----------------------------------------------------------------------------- */

static bool read_tcp(struct request *request)
{
	struct trace_packet *packet = &request->packet;
	int64_t sequence = 1, acknowledgment = 0, window = WINDOW;

	if (!read_flags(request) || !read_number(request, "sequence", UINT32_MAX, &sequence) ||
		!read_number(request, "acknowledgment", UINT32_MAX, &acknowledgment) ||
		!read_number(request, "window", UINT16_MAX, &window))
		return false;
	packet->sequence = (uint32_t)sequence;
	packet->acknowledgment = (uint32_t)acknowledgment;
	packet->window = (uint16_t)window;
	return true;
}

/* "echo", "reply", or TYPE[/CODE]. */
static bool read_icmp(struct request *request)
{
	struct trace_packet *packet = &request->packet;
	bool v4 = ip_is_v4(&packet->destination);
	const char *text = cli_option(request->cli, "icmp");
	unsigned int type, code = 0;
	int n = 0;

	packet->protocol = v4 ? IPPROTO_ICMP : IPPROTO_ICMPV6;
	packet->identifier = 1;
	if (!text || !strcmp(text, "echo")) {
		packet->icmp_type = v4 ? ICMP_ECHO : ICMP6_ECHO_REQUEST;
		return true;
	}
	if (!strcmp(text, "reply")) {
		packet->icmp_type = v4 ? ICMP_ECHOREPLY : ICMP6_ECHO_REPLY;
		return true;
	}
	if ((sscanf(text, "%3u%n", &type, &n) != 1 || text[n]) &&
		(sscanf(text, "%3u/%3u%n", &type, &code, &n) != 2 || text[n]))
		type = UINT32_MAX;
	if (type > UINT8_MAX || code > UINT8_MAX)
		return refuse(request,
			"--icmp '%s': give echo, reply, or a type and a code, as in "
			"3/1",
			text);
	packet->icmp_type = (uint8_t)type;
	packet->icmp_code = (uint8_t)code;
	return true;
}

/* The option that names the protocol, of which there may be one; NULL: none. */
static bool find_protocol(struct request *request, const char **found)
{
	static const char *const names[] = {"tcp", "udp", "sctp", "icmp", "protocol", "arp", "nd"};

	*found = NULL;
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		if (!cli_option(request->cli, names[i]))
			continue;
		if (*found)
			return refuse(request, "--%s and --%s contradict each other; give one",
				*found, names[i]);
		*found = names[i];
	}
	return true;
}

static bool read_ports(struct request *request, const char *protocol)
{
	int64_t source = SOURCE_PORT, destination = 0;

	if (!read_number(request, protocol, UINT16_MAX, &destination) ||
		!read_number(request, "source-port", UINT16_MAX, &source))
		return false;
	request->packet.source_port = (uint16_t)source;
	request->packet.destination_port = (uint16_t)destination;
	return true;
}

static bool check_family(struct request *request, bool wants_v4, const char *protocol)
{
	if (ip_is_v4(&request->packet.destination) == wants_v4)
		return true;
	return refuse(request, "--%s asks for an %s address; --to '%s' is none", protocol,
		wants_v4 ? "IPv4" : "IPv6", cli_option(request->cli, "to"));
}

static bool read_protocol(struct request *request)
{
	struct trace_packet *packet = &request->packet;
	int64_t number = 0;
	const char *name;

	if (!find_protocol(request, &name))
		return false;
	if (!name || !strcmp(name, "icmp"))
		return read_icmp(request);
	if (!strcmp(name, "arp")) {
		packet->kind = TRACE_ARP;
		return check_family(request, true, name);
	}
	if (!strcmp(name, "nd")) {
		packet->kind = TRACE_ND;
		return check_family(request, false, name);
	}
	if (!strcmp(name, "protocol")) {
		if (!read_number(request, name, UINT8_MAX, &number))
			return false;
		packet->protocol = (uint8_t)number;
		return true;
	}
	packet->protocol = !strcmp(name, "tcp")	  ? IPPROTO_TCP
			   : !strcmp(name, "udp") ? IPPROTO_UDP
						  : IPPROTO_SCTP;
	return read_ports(request, name) && (packet->protocol != IPPROTO_TCP || read_tcp(request));
}

/* --- who sends it to whom ------------------------------------------------------------------- */

static bool owns(const struct cordonrec_port *port, const struct in6_addr *address)
{
	struct in6_addr own;

	for (size_t i = 0; i < port->n_addresses; i++)
		if (ip_address_parse(port->addresses[i], &own) &&
			!memcmp(&own, address, sizeof(own)))
			return true;
	return false;
}

/* The source is the port's first address of the destination's family, unless the line says another.
 */
static bool choose_source(struct request *request)
{
	struct trace_packet *packet = &request->packet;
	bool v4 = ip_is_v4(&packet->destination);

	if (cli_option(request->cli, "from")) {
		if (!read_address(request, "from", &packet->source))
			return false;
		return ip_is_v4(&packet->source) == v4 ||
		       refuse(request, "--from and --to are of two families, IPv4 and IPv6");
	}
	for (size_t i = 0; i < request->port->n_addresses; i++)
		if (ip_address_parse(request->port->addresses[i], &packet->source) &&
			ip_is_v4(&packet->source) == v4)
			return true;
	return refuse(request,
		"port %s has no %s address of its own; say with --from which one sends",
		request->port->name, v4 ? "IPv4" : "IPv6");
}

static bool choose_source_mac(struct request *request)
{
	if (cli_option(request->cli, "mac-from"))
		return read_mac(request, "mac-from", request->packet.source_mac);
	if (request->port->n_macs && mac_parse(request->port->macs[0], request->packet.source_mac))
		return true;
	return refuse(request, "port %s has no MAC of its own; say with --mac-from which one sends",
		request->port->name);
}

/* The destination's MAC: a group's own, or that of the port which has the address. */
static bool choose_destination_mac(struct request *request)
{
	struct trace_packet *packet = &request->packet;
	struct ovsdb_idl *idl = model_idl(request->model);
	const struct cordonrec_port *port;

	if (cli_option(request->cli, "mac-to"))
		return read_mac(request, "mac-to", packet->destination_mac);
	if (packet->kind == TRACE_ARP) {
		memset(packet->destination_mac, 0xff, 6);
		return true;
	}
	if (packet->kind == TRACE_ND) {
		const uint8_t *a = packet->destination.s6_addr;

		memcpy(packet->destination_mac, (uint8_t[6]){0x33, 0x33, 0xff, a[13], a[14], a[15]},
			6);
		return true;
	}
	if (trace_group_mac(&packet->destination, packet->destination_mac))
		return true;
	CORDONREC_PORT_FOR_EACH (port, idl)
		if (port->n_macs && owns(port, &packet->destination) &&
			mac_parse(port->macs[0], packet->destination_mac))
			return true;
	return refuse(request,
		"no port is known to have %s; say with --mac-to to which MAC the frame goes (its "
		"owner's, or the router's: `cordon mac list`)",
		cli_option(request->cli, "to"));
}

/* --- all of it ------------------------------------------------------------------------------ */

static bool read_rest(struct request *request)
{
	struct trace_packet *packet = &request->packet;
	int64_t ttl = TTL, vlan = -1, payload = 0;

	if (!read_number(request, "ttl", UINT8_MAX, &ttl) ||
		!read_number(request, "vlan", 4094, &vlan) ||
		!read_number(request, "payload", TRACE_FRAME_MAX, &payload))
		return false;
	packet->ttl = (uint8_t)ttl;
	packet->vlan = (int)vlan;
	packet->payload_bytes = (size_t)payload;
	return true;
}

static size_t build(struct request *request, uint8_t *frame)
{
	size_t n;

	if (!read_address(request, "to", &request->packet.destination) || !read_protocol(request) ||
		!choose_source(request) || !choose_source_mac(request) ||
		!choose_destination_mac(request) || !read_rest(request))
		return 0;
	n = trace_packet_build(&request->packet, frame);
	if (!n)
		refuse(request, "--payload '%s': the packet would be too long; give less",
			cli_option(request->cli, "payload"));
	return n;
}

static size_t build_from_words(struct cli *cli, uint8_t *frame, enum cli_status *status)
{
	struct request request = {.cli = cli};
	size_t n = 0;

	request.model = cli_model(cli, status);
	if (!request.model)
		return 0;
	request.port = model_port(request.model, cli->host, cli->arguments[0]);
	if (request.port)
		n = build(&request, frame);
	else
		request.status = cli_fail(cli, CLI_NOT_FOUND,
			"there is no port '%s' on host %s; `cordon port list` shows those that are",
			cli->arguments[0], cli->host);
	model_close(request.model);
	*status = request.status;
	return n;
}

/* Hexadecimal digits, with spaces and colons where one likes. */
static size_t build_from_hex(
	struct cli *cli, const char *text, uint8_t *frame, enum cli_status *status)
{
	size_t n = 0;
	bool ok = true;

	for (; ok && *text; text++) {
		if (strchr(" :\n\t", *text))
			continue;
		ok = text[1] && n < TRACE_FRAME_MAX;
		if (ok)
			frame[n++] = (uint8_t)hexits_value(text, 2, &ok);
		text += ok;
	}
	*status = ok && n ? CLI_OK
			  : cli_fail(cli, CLI_USAGE,
				    "--hex: give the frame from its destination MAC on, two "
				    "hexadecimal digits for each byte");
	return ok ? n : 0;
}

size_t trace_read_options(struct cli *cli, uint8_t frame[TRACE_FRAME_MAX], enum cli_status *status)
{
	const char *pcap = cli_option(cli, "pcap"), *hex = cli_option(cli, "hex");
	const char *to = cli_option(cli, "to");
	int64_t number = 1;

	if (!!pcap + !!hex + !!to != 1) {
		*status = cli_fail(cli, CLI_USAGE,
			"say which packet: --to ADDRESS with what it is, or --pcap FILE, or --hex "
			"BYTES; one of them");
		return 0;
	}
	if (!cli_option_number(cli, "frame", 1, INT64_MAX, &number)) {
		*status = CLI_USAGE;
		return 0;
	}
	if (pcap)
		return trace_pcap_read(cli, pcap, number, frame, status);
	return hex ? build_from_hex(cli, hex, frame, status) : build_from_words(cli, frame, status);
}
