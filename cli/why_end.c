/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who is meant by the words of `cordon why`: a port, a VM or an address; and which zone that is in,
 * and why.  Called by why.c, on its one thread.
 */
#include "cli/why.h"

#include <stdlib.h>
#include <string.h>

#include "openvswitch/dynamic-string.h"
#include "util.h"

/* --- Finding it ----------------------------------------------------------------------------- */

/* True if the endpoint is called so.  A port's name counts on the host that is meant, or behind
 * another one's: "host-b/web1". */
static bool is_called(const struct cli *cli, const struct view_endpoint *endpoint, const char *text)
{
	size_t length = strlen(endpoint->host);

	if (!strcmp(endpoint->vm_name, text) || !strcmp(endpoint->vm_id, text))
		return true;
	if (!strncmp(text, endpoint->host, length) && text[length] == '/' &&
		(!strcmp(text + length + 1, endpoint->port) ||
			!strcmp(text + length + 1, endpoint->vm_name)))
		return true;
	return !strcmp(endpoint->host, cli->host) && !strcmp(endpoint->port, text);
}

/* A port of this host goes before VMs of that name: a port has one name, and it is sure. */
static int find_port(const struct cli *cli, const struct policy_view *view, const char *text)
{
	for (size_t i = 0; i < view->n; i++) {
		if (!strcmp(view->endpoints[i].port, text) &&
			!strcmp(view->endpoints[i].host, cli->host))
			return (int)i;
	}
	return VIEW_NO_ENDPOINT;
}

static enum cli_status fail_ambiguous(
	struct cli *cli, const struct policy_view *view, const char *text)
{
	struct ds ports = DS_EMPTY_INITIALIZER;

	for (size_t i = 0; i < view->n; i++) {
		if (is_called(cli, &view->endpoints[i], text))
			ds_put_format(&ports, "%s%s/%s", ports.length ? ", " : "",
				view->endpoints[i].host, view->endpoints[i].port);
	}
	cli_fail(cli, CLI_USAGE,
		"'%s' is more than one port: %s; name one of these, or give its address", text,
		ds_cstr(&ports));
	ds_destroy(&ports);
	return CLI_USAGE;
}

static enum cli_status fail_unknown(
	struct cli *cli, const struct policy_view *view, const char *text)
{
	const char **names = xcalloc(3 * view->n + 1, sizeof(*names));
	const char *guess;
	size_t n = 0;

	for (size_t i = 0; i < view->n; i++) {
		if (!strcmp(view->endpoints[i].host, cli->host))
			names[n++] = view->endpoints[i].port;
		if (*view->endpoints[i].vm_name)
			names[n++] = view->endpoints[i].vm_name;
		if (*view->endpoints[i].vm_id)
			names[n++] = view->endpoints[i].vm_id;
	}
	guess = cli_did_you_mean(text, names);
	cli_fail(cli, CLI_NOT_FOUND, "no port, VM or address is called '%s'%s%s%s", text,
		guess ? "; did you mean '" : "; `cordon port list` shows those that are",
		guess ? guess : "", guess ? "'?" : "");
	free(names);
	return CLI_NOT_FOUND;
}

static enum cli_status find_named(
	struct cli *cli, const struct policy_view *view, const char *text, struct why_end *end)
{
	size_t n = 0;

	end->endpoint = find_port(cli, view, text);
	for (size_t i = 0; i < view->n && end->endpoint == VIEW_NO_ENDPOINT; i++)
		n += is_called(cli, &view->endpoints[i], text);
	if (n > 1)
		return fail_ambiguous(cli, view, text);
	for (size_t i = 0; n && i < view->n; i++) {
		if (is_called(cli, &view->endpoints[i], text))
			end->endpoint = (int)i;
	}
	if (end->endpoint == VIEW_NO_ENDPOINT)
		return fail_unknown(cli, view, text);
	if (view->endpoints[end->endpoint].is_uplink)
		return cli_fail(cli, CLI_USAGE,
			"port '%s' is an uplink, beyond which anybody may be: give an address",
			text);
	return CLI_OK;
}

/* Who claims an address that two claim: "web-1 and web-2".  The caller frees. */
static char *claimants(
	const struct cli *cli, const struct policy_view *view, const struct in6_addr *address)
{
	struct ds text = DS_EMPTY_INITIALIZER;

	for (size_t i = 0; i < view->n; i++) {
		const struct view_endpoint *endpoint = &view->endpoints[i];

		for (size_t a = 0; a < endpoint->n_addresses && !endpoint->is_uplink; a++) {
			char *name;

			if (memcmp(&endpoint->addresses[a], address, sizeof(*address)))
				continue;
			name = cli_endpoint_name(cli, endpoint);
			ds_put_format(&text, "%s%s", text.length ? " and " : "", name);
			free(name);
		}
	}
	return ds_steal_cstr(&text);
}

/* Which zone that is at its own end depends on who sends. */
static enum cli_status fail_disputed(
	struct cli *cli, const struct policy_view *view, const struct why_end *end)
{
	char *names = claimants(cli, view, &end->address);

	cli_fail(cli, CLI_USAGE,
		"the address %s is claimed by %s, so it belongs to neither, and others take it for "
		"quarantine; name one of them to see what that one may do",
		end->given, names);
	free(names);
	return CLI_USAGE;
}

enum cli_status why_find_end(
	struct cli *cli, const struct policy_view *view, const char *text, struct why_end *end)
{
	*end = (struct why_end){.given = text, .endpoint = VIEW_NO_ENDPOINT};
	if (!ip_address_parse(text, &end->address))
		return find_named(cli, view, text, end);
	end->endpoint = policy_view_owner(view, &end->address, &end->disputed);
	return end->disputed ? fail_disputed(cli, view, end) : CLI_OK;
}

/* --- Addresses ------------------------------------------------------------------------------ */

static bool has_address(const struct why_end *end)
{
	return !IN6_IS_ADDR_UNSPECIFIED(&end->address);
}

/* Its first address, of IPv4 if `v4`; false if it has none. */
static bool choose_address(const struct policy_view *view, struct why_end *end, bool v4)
{
	const struct view_endpoint *endpoint = &view->endpoints[end->endpoint];

	for (size_t i = 0; i < endpoint->n_addresses; i++) {
		if (ip_is_v4(&endpoint->addresses[i]) == v4) {
			end->address = endpoint->addresses[i];
			policy_view_owner(view, &end->address, &end->disputed);
			return true;
		}
	}
	return false;
}

void why_choose_addresses(
	const struct policy_view *view, struct why_end *source, struct why_end *destination)
{
	if (has_address(source) && !has_address(destination)) {
		choose_address(view, destination, ip_is_v4(&source->address));
	} else if (has_address(destination) && !has_address(source)) {
		choose_address(view, source, ip_is_v4(&destination->address));
	} else if (!has_address(source)) {
		bool v4 = choose_address(view, source, true) &&
			  choose_address(view, destination, true);

		if (!v4 && choose_address(view, source, false))
			choose_address(view, destination, false);
	}
}

struct connection_end why_connection_end(const struct policy_view *view, const struct why_end *end)
{
	bool is_vnic = end->endpoint != VIEW_NO_ENDPOINT;

	return policy_view_end(view, end->endpoint, is_vnic,
		is_vnic ? view->zones[end->endpoint] : ZONE_QUARANTINE, &end->address);
}

/* --- The zone, and why ---------------------------------------------------------------------- */

/* The longest prefix of the zone that holds the address. */
static char *prefix_reason(
	const struct policy_view *view, uint16_t zone, const struct in6_addr *address)
{
	struct zone_info info = zone_info(view->policy, zone);
	const struct ip_prefix *best = NULL;
	char text[IP_TEXT_MAX];

	for (size_t i = 0; i < info.n_prefixes; i++) {
		if (ip_prefix_contains(&info.prefixes[i], address) &&
			(!best || info.prefixes[i].length > best->length))
			best = &info.prefixes[i];
	}
	if (!best)
		return xstrdup("nobody owns the address, and no zone's prefix holds it");
	return xasprintf(
		"nobody owns the address, and it lies in %s", ip_prefix_format(best, text));
}

static char *tags_reason(const struct policy_view *view, int endpoint)
{
	const uint16_t *conflict = view->conflicts[endpoint];
	struct zone_info info = zone_info(view->policy, view->zones[endpoint]);

	if (conflict[0] != conflict[1])
		return xasprintf("its tags fit two zones, %s and %s",
			zone_info(view->policy, conflict[0]).name,
			zone_info(view->policy, conflict[1]).name);
	if (view->zones[endpoint] == ZONE_QUARANTINE)
		return xstrdup("its tags fit no zone");
	return xasprintf("its tags fit %s", info.match ? info.match : "");
}

static struct json *texts_json(const char *const *texts, size_t n)
{
	struct json *array = json_array_create_empty();

	for (size_t i = 0; i < n; i++)
		json_array_add(array, json_string_create(texts[i]));
	return array;
}

static void put_endpoint(struct json *object, const struct view_endpoint *endpoint)
{
	struct json *addresses = json_array_create_empty();
	char text[IP_TEXT_MAX];

	for (size_t i = 0; i < endpoint->n_addresses; i++)
		json_array_add(
			addresses, json_string_create(ip_format(&endpoint->addresses[i], text)));
	json_object_put_string(object, "host", endpoint->host);
	json_object_put_string(object, "port", endpoint->port);
	json_object_put_string(object, "vm_name", endpoint->vm_name);
	json_object_put_string(object, "vm_id", endpoint->vm_id);
	json_object_put(object, "addresses", addresses);
	json_object_put(object, "tags", texts_json(endpoint->tags, endpoint->n_tags));
}

struct json *why_end_json(
	struct cli *cli, const struct policy_view *view, const struct why_end *end)
{
	struct connection_end seen = why_connection_end(view, end);
	struct json *object = json_object_create();
	char text[IP_TEXT_MAX];
	bool is_vnic = end->endpoint != VIEW_NO_ENDPOINT;
	char *reason = is_vnic ? tags_reason(view, end->endpoint)
			       : prefix_reason(view, seen.far, &end->address);
	char *names = end->disputed ? claimants(cli, view, &end->address) : xstrdup("");

	json_object_put_string(object, "given", end->given);
	json_object_put_string(
		object, "address", has_address(end) ? ip_format(&end->address, text) : "");
	json_object_put_string(
		object, "zone", zone_info(view->policy, is_vnic ? seen.near : seen.far).name);
	json_object_put(object, "claimed_by", json_string_create_nocopy(names));
	json_object_put(object, "why", json_string_create_nocopy(reason));
	if (is_vnic)
		put_endpoint(object, &view->endpoints[end->endpoint]);
	return object;
}
