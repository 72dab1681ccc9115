/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The fragments of datagrams that are not all there.  Called by reassembly.c, on the worker that
 * owns the table, for each fragment, and now and then to clear away what nobody completes.
 *
 * Datagrams lie in one array, their fragments in another.  A datagram is in a hash chain, and in
 * two queues in the order in which datagrams began: in that of all, by which they expire, and in
 * that of its input port, by which they give way.  Its fragments are a list in the order of their
 * offsets. All links are indices; NONE ends a chain.
 *
 * A datagram that was refused stays, without fragments, until its time is over, so that what comes
 * of it afterwards is refused as well.
 */
#include "datapath/fragment.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "datapath/keyed_hash.h"

#define NONE UINT32_MAX

enum { LIMIT_MIN = 16, LIMIT_MAX = 1 << 24 };
enum { NOT_ECT = 1 << 0 }; /* In a set of ECN codepoints. */

/* What identifies a datagram (RFC 791, 3.2; RFC 8200, 4.5: there without the protocol), within its
 * port and VLAN.  The MACs are part of it, since all fragments go the way of the first.  Without
 * padding, a whole number of words: hashed and compared as it is. */
struct datagram_key {
	struct in6_addr source, destination;
	uint32_t net, id;
	uint8_t macs[12];
	uint16_t in_port;
	uint8_t protocol, kind;
};

enum { KEY_WORDS = sizeof(struct datagram_key) / sizeof(uint32_t) };
_Static_assert(sizeof(struct datagram_key) == 56, "the key has no padding");

struct held {
	struct fragment fragment;
	uint32_t next; /* Also links the free ones. */
};

struct links {
	uint32_t older, newer;
};

struct datagram {
	struct datagram_key key;
	uint32_t chain;		/* That it is in. */
	uint32_t next_in_chain; /* Also links the free ones. */
	struct links queue[2];	/* enum queue_kind. */
	uint32_t first, last;	/* Of its fragments. */
	uint64_t expires_ns;
	uint32_t bytes;	    /* That are there. */
	uint32_t all_bytes; /* That there are; 0 until the last fragment has come. */
	uint16_t n, buffers;
	uint8_t ecn; /* The set of codepoints that its fragments have. */
	bool dont_fragment;
	uint8_t refused; /* enum drop_reason. */
};

enum queue_kind { QUEUE_ALL, QUEUE_PORT };

/* Datagrams in the order in which they began. */
struct queue {
	uint32_t oldest, newest;
};

/* What one input port has of the table. */
struct share {
	uint32_t datagrams, buffers;
	struct queue queue;
};

struct fragment_table {
	struct datagram *datagrams;
	struct held *held;
	uint32_t *chains; /* Heads, a power of two of them. */
	struct share *shares;
	uint32_t chain_mask;
	uint32_t datagrams_free, buffers_free; /* How many. */
	uint32_t n_datagrams, n_held;
	uint32_t free_datagram, free_held; /* Heads. */
	struct queue queue;
	struct fragment_user user;
	uint64_t secrets[1 + KEY_WORDS];
};

/* --- Making --------------------------------------------------------------------------------- */

static uint32_t power_of_two_from(uint32_t n)
{
	uint32_t power = 1;

	while (power < n)
		power *= 2;
	return power;
}

static bool allocate(struct fragment_table *table, uint32_t datagrams, uint32_t buffers)
{
	uint32_t n_chains = power_of_two_from(datagrams);

	table->chain_mask = n_chains - 1;
	table->datagrams = calloc(datagrams, sizeof(table->datagrams[0]));
	table->held = calloc(buffers, sizeof(table->held[0]));
	table->chains = malloc(n_chains * sizeof(table->chains[0]));
	table->shares = calloc(CONN_PORTS_MAX, sizeof(table->shares[0]));
	return table->datagrams != NULL && table->held != NULL && table->chains != NULL &&
	       table->shares != NULL &&
	       getrandom(table->secrets, sizeof(table->secrets), 0) ==
		       (ssize_t)sizeof(table->secrets);
}

struct fragment_table *fragment_table_create(
	uint32_t datagrams, uint32_t buffers, const struct fragment_user *user)
{
	const struct queue empty = {NONE, NONE};

	if (datagrams < LIMIT_MIN || datagrams > LIMIT_MAX || buffers < LIMIT_MIN ||
		buffers > LIMIT_MAX) {
		errno = EINVAL;
		return NULL;
	}
	struct fragment_table *table = calloc(1, sizeof(*table));
	if (table == NULL || !allocate(table, datagrams, buffers)) {
		fragment_table_destroy(table);
		return NULL;
	}
	for (uint32_t i = 0; i <= table->chain_mask; i++)
		table->chains[i] = NONE;
	for (uint32_t i = 0; i < datagrams; i++)
		table->datagrams[i].next_in_chain = i + 1 < datagrams ? i + 1 : NONE;
	for (uint32_t i = 0; i < buffers; i++)
		table->held[i].next = i + 1 < buffers ? i + 1 : NONE;
	for (uint32_t i = 0; i < CONN_PORTS_MAX; i++)
		table->shares[i].queue = empty;
	table->queue = empty;
	table->datagrams_free = datagrams;
	table->buffers_free = buffers;
	table->user = *user;
	return table;
}

void fragment_table_destroy(struct fragment_table *table)
{
	if (table == NULL)
		return;
	free(table->datagrams);
	free(table->held);
	free(table->chains);
	free(table->shares);
	free(table);
}

uint32_t fragment_held(const struct fragment_table *table)
{
	return table->n_held;
}

uint32_t fragment_datagrams(const struct fragment_table *table)
{
	return table->n_datagrams;
}

/* --- Chains and queues ---------------------------------------------------------------------- */

static struct datagram_key datagram_key(const struct packet *packet, const uint8_t macs[12])
{
	struct datagram_key key = {
		.source = packet->key.source,
		.destination = packet->key.destination,
		.net = packet->key.net,
		.id = packet->fragment_id,
		.in_port = packet->key.in_port,
		.protocol = packet->key.kind == CONN_KEY_IPV4 ? packet->protocol : 0,
		.kind = packet->key.kind,
	};

	memcpy(key.macs, macs, sizeof(key.macs));
	return key;
}

/* The number of the key's chain.  The hash is keyed, so that nobody outside can choose
 * identifications that all fall into one chain. */
static uint32_t chain_of(const struct fragment_table *table, const struct datagram_key *key)
{
	uint32_t words[KEY_WORDS];

	memcpy(words, key, sizeof(words));
	return keyed_hash(table->secrets, words, KEY_WORDS) & table->chain_mask;
}

static struct share *share_of(const struct fragment_table *table, const struct datagram *datagram)
{
	return &table->shares[datagram->key.in_port];
}

static void queue_append(
	struct fragment_table *table, struct queue *queue, enum queue_kind kind, uint32_t at)
{
	struct links *links = &table->datagrams[at].queue[kind];

	*links = (struct links){.older = queue->newest, .newer = NONE};
	if (queue->newest != NONE)
		table->datagrams[queue->newest].queue[kind].newer = at;
	else
		queue->oldest = at;
	queue->newest = at;
}

static void queue_remove(
	struct fragment_table *table, struct queue *queue, enum queue_kind kind, uint32_t at)
{
	const struct links links = table->datagrams[at].queue[kind];

	if (links.older != NONE)
		table->datagrams[links.older].queue[kind].newer = links.newer;
	else
		queue->oldest = links.newer;
	if (links.newer != NONE)
		table->datagrams[links.newer].queue[kind].older = links.older;
	else
		queue->newest = links.older;
}

static struct datagram *find(
	const struct fragment_table *table, const struct datagram_key *key, uint32_t chain)
{
	uint32_t at = table->chains[chain];

	while (at != NONE && memcmp(&table->datagrams[at].key, key, sizeof(*key)) != 0)
		at = table->datagrams[at].next_in_chain;
	return at != NONE ? &table->datagrams[at] : NULL;
}

/* A datagram of which nothing is there yet.  There is room for it. */
static struct datagram *enter(struct fragment_table *table, const struct datagram_key *key,
	uint32_t chain, uint64_t now_ns)
{
	uint32_t at = table->free_datagram;
	struct datagram *datagram = &table->datagrams[at];

	table->free_datagram = datagram->next_in_chain;
	*datagram = (struct datagram){
		.key = *key,
		.chain = chain,
		.next_in_chain = table->chains[chain],
		.first = NONE,
		.last = NONE,
		.expires_ns = now_ns + FRAGMENT_MS * UINT64_C(1000000),
	};
	table->chains[chain] = at;
	queue_append(table, &table->queue, QUEUE_ALL, at);
	queue_append(table, &share_of(table, datagram)->queue, QUEUE_PORT, at);
	share_of(table, datagram)->datagrams++;
	table->n_datagrams++;
	table->datagrams_free--;
	return datagram;
}

/* Forgets a datagram without fragments. */
static void leave(struct fragment_table *table, struct datagram *datagram)
{
	uint32_t at = (uint32_t)(datagram - table->datagrams);
	uint32_t *link = &table->chains[datagram->chain];

	while (*link != at)
		link = &table->datagrams[*link].next_in_chain;
	*link = datagram->next_in_chain;
	queue_remove(table, &table->queue, QUEUE_ALL, at);
	queue_remove(table, &share_of(table, datagram)->queue, QUEUE_PORT, at);
	share_of(table, datagram)->datagrams--;
	table->n_datagrams--;
	table->datagrams_free++;
	datagram->next_in_chain = table->free_datagram;
	table->free_datagram = at;
}

/* --- What is held --------------------------------------------------------------------------- */

/* Takes the fragment with the lowest offset off the datagram. */
static struct fragment take_first(struct fragment_table *table, struct datagram *datagram)
{
	uint32_t at = datagram->first;
	struct held *held = &table->held[at];

	datagram->first = held->next;
	datagram->n--;
	datagram->buffers -= held->fragment.buffers;
	share_of(table, datagram)->buffers -= held->fragment.buffers;
	table->buffers_free += held->fragment.buffers;
	table->n_held--;
	held->next = table->free_held;
	table->free_held = at;
	return held->fragment;
}

static void drop_held(
	struct fragment_table *table, struct datagram *datagram, enum drop_reason reason)
{
	while (datagram->first != NONE) {
		const struct fragment fragment = take_first(table, datagram);

		table->user.drop(table->user.context, &fragment, datagram->key.in_port, reason);
	}
	datagram->last = NONE;
}

/* Nothing of the datagram is to pass, neither what has come nor what will. */
static void refuse(struct fragment_table *table, struct datagram *datagram, enum drop_reason reason)
{
	drop_held(table, datagram, reason);
	datagram->refused = (uint8_t)reason;
}

static void give_up(
	struct fragment_table *table, struct datagram *datagram, enum drop_reason reason)
{
	drop_held(table, datagram, reason);
	leave(table, datagram);
}

void fragment_expire(struct fragment_table *table, uint64_t now_ns)
{
	while (table->queue.oldest != NONE &&
		table->datagrams[table->queue.oldest].expires_ns <= now_ns)
		give_up(table, &table->datagrams[table->queue.oldest], DROP_FRAGMENT_TIMEOUT);
}

void fragment_flush(struct fragment_table *table)
{
	fragment_expire(table, UINT64_MAX);
}

/* Lets the port's oldest datagrams go, but for `keep`, until with what is to come it has no more
 * than is free then.  False if that is not enough. */
static bool make_room(struct fragment_table *table, struct share *share,
	const struct datagram *keep, uint32_t datagrams, uint32_t buffers)
{
	while (share->datagrams + 2 * datagrams > table->datagrams_free ||
		share->buffers + 2 * buffers > table->buffers_free) {
		uint32_t oldest = share->queue.oldest;

		if (keep != NULL && oldest != NONE && &table->datagrams[oldest] == keep)
			oldest = keep->queue[QUEUE_PORT].newer;
		if (oldest == NONE)
			return false;
		give_up(table, &table->datagrams[oldest], DROP_FRAGMENT_TABLE_FULL);
	}
	return true;
}

/* --- Fragments ------------------------------------------------------------------------------ */

static uint32_t end_of(const struct fragment *fragment)
{
	return (uint32_t)fragment->offset + fragment->bytes;
}

/* Finds the fragment behind which this one belongs (NONE: it is the first).  DROP_NONE; or
 * DROP_FRAGMENT_DUPLICATE if it is there already, DROP_FRAGMENT_OVERLAP if only part of it is. */
static enum drop_reason find_place(const struct fragment_table *table,
	const struct datagram *datagram, const struct fragment *fragment, uint32_t *behind)
{
	*behind = datagram->last;
	if (*behind == NONE || fragment->offset >= end_of(&table->held[*behind].fragment))
		return DROP_NONE;
	*behind = NONE;
	for (uint32_t at = datagram->first; at != NONE; at = table->held[at].next) {
		const struct fragment *other = &table->held[at].fragment;

		if (other->offset >= end_of(fragment))
			break;
		if (end_of(other) <= fragment->offset) {
			*behind = at;
			continue;
		}
		return other->offset == fragment->offset && other->bytes == fragment->bytes &&
				       other->more == fragment->more &&
				       table->user.same(other, fragment)
			       ? DROP_FRAGMENT_DUPLICATE
			       : DROP_FRAGMENT_OVERLAP;
	}
	return DROP_NONE;
}

/* Does the datagram end in two places, or does anything lie behind its end?  Do header fields
 * differ that no sender or router changes for one fragment alone?  Of ECN, a packet that is not
 * ECN-capable and one that is never were one (RFC 3168, 5.3). */
static bool contradicts(const struct fragment_table *table, const struct datagram *datagram,
	const struct fragment *fragment)
{
	uint8_t ecn = datagram->ecn | (uint8_t)(1 << (fragment->ecn & 3));

	if (datagram->all_bytes != 0 && (!fragment->more || end_of(fragment) > datagram->all_bytes))
		return true;
	if (datagram->n == 0)
		return false;
	if (!fragment->more && end_of(&table->held[datagram->last].fragment) > end_of(fragment))
		return true;
	return (ecn & NOT_ECT && ecn != NOT_ECT) ||
	       fragment->dont_fragment != datagram->dont_fragment;
}

/* Is it more than an IP packet can be, with the headers that its first fragment has? */
static bool is_oversize(const struct fragment_table *table, const struct datagram *datagram,
	const struct fragment *fragment)
{
	const struct fragment *first = fragment, *last = fragment;

	if (datagram->n != 0 && fragment->offset != 0)
		first = &table->held[datagram->first].fragment;
	if (datagram->n != 0 && end_of(&table->held[datagram->last].fragment) > end_of(fragment))
		last = &table->held[datagram->last].fragment;
	return first->offset == 0 && first->header_bytes + end_of(last) > UINT16_MAX;
}

/* Puts the fragment behind another one of the datagram's. */
static void hold(struct fragment_table *table, struct datagram *datagram,
	const struct fragment *fragment, uint32_t behind)
{
	uint32_t at = table->free_held;
	struct held *held = &table->held[at];
	uint32_t *link = behind == NONE ? &datagram->first : &table->held[behind].next;

	table->free_held = held->next;
	held->fragment = *fragment;
	held->next = *link;
	*link = at;
	if (held->next == NONE)
		datagram->last = at;
	table->n_held++;
	table->buffers_free -= fragment->buffers;
	share_of(table, datagram)->buffers += fragment->buffers;
	datagram->buffers += fragment->buffers;
	datagram->n++;
	datagram->bytes += fragment->bytes;
	datagram->ecn |= (uint8_t)(1 << (fragment->ecn & 3));
	datagram->dont_fragment = fragment->dont_fragment;
	if (!fragment->more)
		datagram->all_bytes = end_of(fragment);
}

/* Holds the fragment if it goes with what is there of its datagram: DROP_NONE. */
static enum drop_reason hold_if_it_fits(struct fragment_table *table, struct datagram *datagram,
	const struct packet *packet, const struct fragment *fragment)
{
	uint32_t behind;

	/* Neighbour discovery never comes in fragments (RFC 6980), and errors, which fit into what
	 * any link carries (RFC 1812, 4.3.2.3; RFC 4443, 2.4), have no reason to. */
	if (packet->flags & (PACKET_ND | PACKET_ICMP_ERROR))
		return DROP_FRAGMENT_ICMP;
	enum drop_reason reason = find_place(table, datagram, fragment, &behind);
	if (reason != DROP_NONE)
		return reason;
	if (contradicts(table, datagram, fragment))
		return DROP_FRAGMENT_INCONSISTENT;
	if (is_oversize(table, datagram, fragment))
		return DROP_FRAGMENT_OVERSIZE;
	if (datagram->n == FRAGMENTS_MAX)
		return DROP_FRAGMENT_TOO_MANY;
	if (!make_room(table, share_of(table, datagram), datagram, 0, fragment->buffers))
		return DROP_FRAGMENT_TABLE_FULL;
	hold(table, datagram, fragment, behind);
	return DROP_NONE;
}

/* Adds a fragment to its datagram.  DROP_NONE: it is held. */
static enum drop_reason add(struct fragment_table *table, struct datagram *datagram,
	const struct packet *packet, const struct fragment *fragment)
{
	if (datagram->refused != DROP_NONE)
		return (enum drop_reason)datagram->refused;
	enum drop_reason reason = hold_if_it_fits(table, datagram, packet, fragment);
	if (reason != DROP_NONE && reason != DROP_FRAGMENT_DUPLICATE)
		refuse(table, datagram, reason);
	return reason;
}

/* All bytes are there once there are as many as must be, since none is there twice. */
static bool is_whole(const struct datagram *datagram)
{
	return datagram->all_bytes != 0 && datagram->bytes == datagram->all_bytes;
}

/* The datagram with this key, or a new one; NULL if there is no room for it. */
static struct datagram *find_or_enter(struct fragment_table *table, const struct datagram_key *key,
	uint32_t buffers, uint64_t now_ns)
{
	uint32_t chain = chain_of(table, key);
	struct datagram *datagram = find(table, key, chain);

	if (datagram == NULL && make_room(table, &table->shares[key->in_port], NULL, 1, buffers))
		datagram = enter(table, key, chain, now_ns);
	return datagram;
}

static void hand_over(
	struct fragment_table *table, struct datagram *datagram, struct fragment_datagram *whole)
{
	whole->n = 0;
	whole->bytes = datagram->all_bytes;
	while (datagram->first != NONE)
		whole->fragments[whole->n++] = take_first(table, datagram);
	leave(table, datagram);
}

bool fragment_add(struct fragment_table *table, const struct packet *packet, const uint8_t macs[12],
	const struct fragment *fragment, uint64_t now_ns, struct fragment_datagram *whole)
{
	const struct datagram_key key = datagram_key(packet, macs);
	struct fragment mine = *fragment;

	mine.offset = packet->fragment_offset;
	mine.more = !(packet->flags & PACKET_FRAGMENT_LAST);
	fragment_expire(table, now_ns);
	struct datagram *datagram = find_or_enter(table, &key, mine.buffers, now_ns);
	enum drop_reason reason = DROP_FRAGMENT_TABLE_FULL;
	if (datagram != NULL)
		reason = add(table, datagram, packet, &mine);
	if (reason != DROP_NONE) {
		table->user.drop(table->user.context, &mine, key.in_port, reason);
		return false;
	}
	if (!is_whole(datagram))
		return false;
	hand_over(table, datagram, whole);
	return true;
}
