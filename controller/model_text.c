/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading what people write in one argument: lists, names, MACs, addresses, tags, VLANs.  Nothing
 * here touches the database.  Called by model_port.c and model_network.c before a transaction.
 */
#include "controller/model_private.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "openvswitch/dynamic-string.h"
#include "util.h"
#include "zones/address.h"

enum { COMMENT_EXCERPT_BYTES = 120 };

enum { TEXT_MAX = 255 };

void model_split(const char *text, struct svec *parts)
{
	struct ds part = DS_EMPTY_INITIALIZER;

	svec_init(parts);
	for (;; text++) {
		if (text[0] == '\\' && text[1] == ',') {
			ds_put_char(&part, ',');
			text++;
		} else if (*text == ',' || !*text) {
			if (part.length)
				svec_add(parts, ds_cstr(&part));
			ds_clear(&part);
			if (!*text)
				break;
		} else {
			ds_put_char(&part, *text);
		}
	}
	ds_destroy(&part);
}

bool model_check_name(const char *what, const char *name, size_t maximum, struct model_error *error)
{
	size_t length = strlen(name);

	for (size_t i = 0; i < length; i++) {
		if (!isalnum((unsigned char)name[i]) && (!i || !strchr("._-", name[i]))) {
			model_fail(error, MODEL_INVALID,
				"%s name '%s': character %zu does not belong in a name; use "
				"letters, "
				"digits, and inside the name also . _ -",
				what, name, i + 1);
			return false;
		}
	}
	if (!length || length > maximum) {
		model_fail(error, MODEL_INVALID, "%s name '%s' has %zu characters; use 1 to %zu",
			what, name, length, maximum);
		return false;
	}
	return true;
}

bool model_check_word(
	const char *what, const char *word, const char *const *words, struct model_error *error)
{
	struct ds known = DS_EMPTY_INITIALIZER;
	const char *const *one;

	if (!word)
		return true;
	for (one = words; *one; one++) {
		if (!strcmp(word, *one))
			break;
		ds_put_format(&known, "%s%s", known.length ? ", " : "", *one);
	}
	if (!*one)
		model_fail(error, MODEL_INVALID, "%s '%s' is not known; use one of: %s", what, word,
			ds_cstr(&known));
	ds_destroy(&known);
	return *one;
}

bool model_check_text(const char *what, const char *text, struct model_error *error)
{
	return model_check_long_text(what, text, TEXT_MAX, error);
}

bool model_check_long_text(
	const char *what, const char *text, size_t maximum, struct model_error *error)
{
	for (const char *c = text; *c; c++) {
		if (iscntrl((unsigned char)*c)) {
			model_fail(error, MODEL_INVALID,
				"%s: character %zu is a control character; leave it out", what,
				(size_t)(c - text) + 1);
			return false;
		}
	}
	if (strlen(text) > maximum) {
		model_fail(error, MODEL_INVALID, "%s has %zu bytes; use at most %zu", what,
			strlen(text), maximum);
		return false;
	}
	return true;
}

bool model_read_options(const char *text, struct smap *options, struct model_error *error)
{
	struct svec parts;
	const char *part;
	size_t i;
	bool good = true;

	model_split(text, &parts);
	SVEC_FOR_EACH (i, part, &parts) {
		const char *equals = strchr(part, '=');
		char *key = equals ? xmemdup0(part, equals - part) : NULL;

		if (!key || !*key)
			good = (model_fail(error, MODEL_INVALID,
					"option '%s' is not KEY=VALUE, e.g. queues=2; write a "
					"comma "
					"within a value as \\,",
					part),
				false);
		else if (smap_get(options, key))
			good = (model_fail(error, MODEL_INVALID,
					"option '%s' is given twice; give it once", key),
				false);
		else
			smap_add(options, key, equals + 1);
		free(key);
		if (!good)
			break;
	}
	svec_destroy(&parts);
	return good;
}

/* One part of a list: checks it, and adds it to `out` in its usual form. */
typedef bool read_part_function(const char *part, struct svec *out, struct model_error *error);

static bool read_list(const char *text, struct svec *out, const char *what,
	read_part_function *read_part, struct model_error *error)
{
	struct svec parts, sorted;
	const char *part;
	size_t i;
	bool good = true;

	model_split(text, &parts);
	SVEC_FOR_EACH (i, part, &parts) {
		good = read_part(part, out, error);
		if (!good)
			break;
	}
	svec_destroy(&parts);
	if (!good)
		return false;
	svec_clone(&sorted, out);
	svec_sort(&sorted);
	if (!svec_is_unique(&sorted)) {
		model_fail(error, MODEL_INVALID, "%s '%s' is given twice; give it once", what,
			svec_get_duplicate(&sorted));
		good = false;
	}
	svec_destroy(&sorted);
	return good;
}

static bool read_mac(const char *part, struct svec *out, struct model_error *error)
{
	char text[MAC_TEXT_MAX];
	uint8_t mac[6];

	if (!mac_parse(part, mac)) {
		model_fail(error, MODEL_INVALID,
			"MAC '%s' is not six bytes like 52:54:00:12:34:56; correct it", part);
		return false;
	}
	if (mac[0] & 1 || !(mac[0] | mac[1] | mac[2] | mac[3] | mac[4] | mac[5])) {
		model_fail(error, MODEL_INVALID, "MAC '%s' is %s; give the vNIC's own address",
			part, mac[0] & 1 ? "a group address" : "all zero");
		return false;
	}
	svec_add(out, mac_format(mac, text));
	return true;
}

bool model_read_macs(const char *text, struct svec *macs, struct model_error *error)
{
	return read_list(text, macs, "MAC", read_mac, error);
}

static bool read_address(const char *part, struct svec *out, struct model_error *error)
{
	char text[IP_TEXT_MAX];
	struct in6_addr address;
	bool wrong;

	if (!ip_address_parse(part, &address)) {
		model_fail(error, MODEL_INVALID,
			"address '%s' is not a single IPv4 or IPv6 address%s", part,
			strchr(part, '/') ? "; leave out the prefix length" : "; correct it");
		return false;
	}
	wrong = ip_is_v4(&address)
			? address.s6_addr[12] >= 224 || address.s6_addr[12] == 127 ||
				  address.s6_addr[12] == 0
			: IN6_IS_ADDR_MULTICAST(&address) || IN6_IS_ADDR_LOOPBACK(&address) ||
				  IN6_IS_ADDR_UNSPECIFIED(&address);
	if (wrong) {
		model_fail(error, MODEL_INVALID,
			"address '%s' cannot belong to one vNIC (group, loopback or unspecified); "
			"give the guest's own address",
			part);
		return false;
	}
	svec_add(out, ip_format(&address, text));
	return true;
}

bool model_read_addresses(const char *text, struct svec *addresses, struct model_error *error)
{
	return read_list(text, addresses, "address", read_address, error);
}

static bool read_tag(const char *part, struct svec *out, struct model_error *error)
{
	const char *equals = strchr(part, '=');
	bool good = equals != part && (!equals || equals[1]);

	for (const char *c = part; good && *c; c++)
		good = isalnum((unsigned char)*c) || strchr("._-/:", *c) || c == equals;
	if (!good) {
		model_fail(error, MODEL_INVALID,
			"tag '%s' is not KEY=VALUE or KEY, of letters, digits and . _ - / : "
			"(e.g. tier=web)",
			part);
		return false;
	}
	svec_add(out, part);
	return true;
}

bool model_read_tags(const char *text, struct svec *tags, struct model_error *error)
{
	return read_list(text, tags, "tag", read_tag, error);
}

static bool read_vlan_number(const char **text, long *vlan)
{
	char *end;

	if (!isdigit((unsigned char)**text))
		return false;
	*vlan = strtol(*text, &end, 10);
	*text = end;
	return *vlan >= 1 && *vlan <= 4094;
}

bool model_read_vlans(const char *text, bool vlans[4096], struct model_error *error)
{
	struct svec parts;
	const char *part;
	size_t i;
	bool good = true;

	model_split(text, &parts);
	SVEC_FOR_EACH (i, part, &parts) {
		const char *at = part;
		long first, last;

		good = read_vlan_number(&at, &first);
		last = first;
		if (good && *at == '-') {
			at++;
			good = read_vlan_number(&at, &last) && last >= first;
		}
		if (!good || *at) {
			model_fail(error, MODEL_INVALID,
				"trunk VLANs '%s': use numbers and ranges within 1 to 4094, e.g. "
				"10,20-29",
				part);
			good = false;
			break;
		}
		memset(&vlans[first], true, last - first + 1);
	}
	svec_destroy(&parts);
	return good;
}

int64_t *model_trunks(const bool vlans[4096], size_t *n)
{
	int64_t *trunks = xcalloc(4096, sizeof(*trunks));

	*n = 0;
	for (int64_t vlan = 1; vlan < 4095; vlan++) {
		if (vlans[vlan])
			trunks[(*n)++] = vlan;
	}
	return trunks;
}

int model_comment_excerpt(const char *comment)
{
	size_t n = strlen(comment);

	if (n > COMMENT_EXCERPT_BYTES) {
		n = COMMENT_EXCERPT_BYTES;
		while (n && ((unsigned char)comment[n] & 0xc0) == 0x80)
			n--;
	}
	return (int)n;
}
