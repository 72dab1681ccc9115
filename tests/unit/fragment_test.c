/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A datagram leaves whole and in order, or not at all; whatever can be put together in two ways is
 * refused by name, with all that belongs to it; what is held is bounded, and no port can take it
 * all.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "datapath/fragment.h"
#include "tests/unit/valid_frames.h"

enum { DATAGRAMS = 64, BUFFERS = 256, PARTS = 512 };

static const uint64_t now = 1000 * UINT64_C(1000000000);
static const uint64_t lifetime = FRAGMENT_MS * UINT64_C(1000000);

/* A fragment, and what became of it. */
struct part {
	struct frame frame;
	struct packet packet;
	struct fragment fragment;
	const char *fate; /* "held", "sent", or the name of a drop. */
};

struct fixture {
	struct fragment_table *table;
	struct fragment_datagram whole;
	struct part parts[PARTS];
	unsigned int n;
};

/* --- The table's user ----------------------------------------------------------------------- */

static bool same(const struct fragment *a, const struct fragment *b)
{
	const struct part *left = a->frame, *right = b->frame;

	assert_int_equal(a->bytes, b->bytes);
	return memcmp(left->frame.bytes + a->payload_at, right->frame.bytes + b->payload_at,
		       a->bytes) == 0;
}

static void drop(
	void *context, const struct fragment *fragment, uint16_t in_port, enum drop_reason reason)
{
	struct part *part = fragment->frame;

	assert_non_null(context);
	assert_int_equal(in_port, part->packet.key.in_port);
	assert_true(part->fate == NULL || strcmp(part->fate, "held") == 0);
	part->fate = drop_name(reason);
}

static int set_up(void **state)
{
	struct fixture *fixture = calloc(1, sizeof(*fixture));
	const struct fragment_user user = {.context = fixture, .same = same, .drop = drop};

	*state = fixture;
	if (fixture == NULL)
		return -1;
	fixture->table = fragment_table_create(DATAGRAMS, BUFFERS, &user);
	return fixture->table == NULL;
}

static int tear_down(void **state)
{
	struct fixture *fixture = *state;

	fragment_flush(fixture->table);
	assert_int_equal(fragment_held(fixture->table), 0);
	assert_int_equal(fragment_datagrams(fixture->table), 0);
	fragment_table_destroy(fixture->table);
	free(fixture);
	return 0;
}

/* --- Fragments ------------------------------------------------------------------------------ */

/* What a fragment of a test's datagram is. */
struct shape {
	uint32_t offset, bytes;
	bool last;
	uint8_t ecn;
	bool dont_fragment;
	uint8_t fill; /* Added to each byte. */
	bool v6;
	uint32_t id;
	uint16_t in_port; /* 0: 1. */
	uint16_t options; /* IPv4's, or IPv6's before the fragment header. */
};

static void begin_ip(struct frame *f, const struct shape *shape)
{
	uint8_t options[40];

	memset(options, 1, sizeof(options)); /* No operation; a Pad1, of which 0 is the kind. */
	frame_begin(f, MAC_B, MAC_A);
	if (!shape->v6) {
		frame_ip4_options(f, "10.0.0.1", "10.0.0.2", IPPROTO_UDP, options, shape->options);
		frame_ip4_fragment(f, shape->id, shape->offset, !shape->last);
		return;
	}
	frame_ip6(f, "2001:db8::1", "2001:db8::2", IPPROTO_UDP);
	memset(options, 0, sizeof(options));
	if (shape->options != 0)
		frame_extension(f, IPPROTO_DSTOPTS, shape->options, options);
	frame_ip6_fragment(f, shape->id, shape->offset, !shape->last);
}

/* Makes a fragment as the parser and reassembly.c describe it. */
static struct part *make_part(struct fixture *fixture, const struct shape *shape)
{
	assert_true(fixture->n < PARTS);
	struct part *part = &fixture->parts[fixture->n++];
	struct frame *f = &part->frame;

	begin_ip(f, shape);
	uint32_t payload_at = f->n;
	for (uint32_t i = 0; i < shape->bytes; i++)
		*frame_zero(f, 1) = (uint8_t)(shape->offset + i + shape->fill);
	if (shape->offset == 0 && shape->bytes >= 8) {
		frame_set16(f, payload_at, 1000);
		frame_set16(f, payload_at + 2, 53);
	}
	f->protocol = IPPROTO_NONE; /* No checksum and no length of its own. */
	frame_end(f);
	if (shape->offset == 0)
		frame_set16(f, payload_at + 4, 64);
	assert_string_equal(drop_name(packet_parse(f->bytes, f->n, f->n, &part->packet)), "none");
	part->packet.key.net = 10;
	part->packet.key.in_port = shape->in_port == 0 ? 1 : shape->in_port;
	assert_int_equal(packet_fragment_payload(f->bytes, &part->packet), payload_at);
	part->fragment = (struct fragment){
		.frame = part,
		.payload_at = (uint16_t)payload_at,
		.bytes = (uint16_t)shape->bytes,
		.buffers = 1,
		.header_bytes =
			(uint16_t)(shape->v6 ? shape->options : payload_at - part->frame.l3),
		.ecn = shape->ecn,
		.dont_fragment = shape->dont_fragment,
	};
	part->fate = NULL;
	return part;
}

static const char *add_at(struct fixture *fixture, struct part *part, uint64_t now_ns)
{
	uint32_t end = 0;

	if (!fragment_add(fixture->table, &part->packet, part->frame.bytes, &part->fragment, now_ns,
		    &fixture->whole)) {
		if (part->fate == NULL)
			part->fate = "held";
		return part->fate;
	}
	for (uint16_t i = 0; i < fixture->whole.n; i++) {
		const struct fragment *fragment = &fixture->whole.fragments[i];
		struct part *one = fragment->frame;

		assert_int_equal(fragment->offset, end);
		assert_int_equal(fragment->bytes, one->fragment.bytes);
		end += fragment->bytes;
		assert_true(one == part || strcmp(one->fate, "held") == 0);
		one->fate = "sent";
	}
	assert_int_equal(end, fixture->whole.bytes);
	return part->fate;
}

static const char *add(struct fixture *fixture, struct part *part)
{
	return add_at(fixture, part, now);
}

static struct part *make(struct fixture *fixture, uint32_t offset, uint32_t bytes, bool last)
{
	return make_part(
		fixture, &(struct shape){.offset = offset, .bytes = bytes, .last = last, .id = 7});
}

static unsigned int count_fate(const struct fixture *fixture, const char *fate)
{
	unsigned int n = 0;

	for (unsigned int i = 0; i < fixture->n; i++)
		n += fixture->parts[i].fate != NULL && strcmp(fixture->parts[i].fate, fate) == 0;
	return n;
}

/* --- Tests ---------------------------------------------------------------------------------- */

static void test_create(void **state)
{
	const struct fragment_user user = {.same = same, .drop = drop};

	(void)state;
	assert_null(fragment_table_create(15, 100, &user));
	assert_int_equal(errno, EINVAL);
	assert_null(fragment_table_create(100, 15, &user));
	assert_null(fragment_table_create((1 << 24) + 1, 100, &user));
	assert_null(fragment_table_create(100, (1 << 24) + 1, &user));
	fragment_table_destroy(NULL);
}

static void swap(unsigned int *a, unsigned int *b)
{
	unsigned int old = *a;

	*a = *b;
	*b = old;
}

/* Calls `use` with each order of n things. */
static void each_order(struct fixture *fixture, unsigned int *order, unsigned int n,
	unsigned int at, bool v6,
	void (*use)(struct fixture *, const unsigned int *, unsigned int, bool))
{
	if (at == n) {
		use(fixture, order, n, v6);
		return;
	}
	for (unsigned int i = at; i < n; i++) {
		swap(&order[at], &order[i]);
		each_order(fixture, order, n, at + 1, v6, use);
		swap(&order[at], &order[i]);
	}
}

static void arrive(struct fixture *fixture, const unsigned int *order, unsigned int n, bool v6)
{
	static const uint32_t offsets[] = {0, 80, 88, 168, 181};

	fixture->n = 0;
	for (unsigned int i = 0; i < n; i++) {
		struct shape shape = {.offset = offsets[order[i]],
			.bytes = offsets[order[i] + 1] - offsets[order[i]],
			.last = order[i] + 1 == n,
			.v6 = v6,
			.id = 0x1234};
		const char *fate = add(fixture, make_part(fixture, &shape));

		assert_string_equal(fate, i + 1 == n ? "sent" : "held");
		assert_int_equal(fragment_held(fixture->table), i + 1 == n ? 0 : i + 1);
	}
	assert_int_equal(fixture->whole.n, n);
	assert_int_equal(fixture->whole.bytes, offsets[n]);
	assert_int_equal(count_fate(fixture, "sent"), n);
	assert_int_equal(fragment_datagrams(fixture->table), 0);
}

/* Two to four fragments in every order, IPv4 and IPv6. */
static void test_all_orders(void **state)
{
	for (unsigned int n = 2; n <= 4; n++) {
		unsigned int order[] = {0, 1, 2, 3};

		each_order(*state, order, n, 0, false, arrive);
		each_order(*state, order, n, 0, true, arrive);
	}
}

/* What the table says of each fragment, one after another; and what became of those before it that
 * were held. */
struct row {
	struct shape shape;
	const char *fate;
};

struct story {
	const char *name;
	const char *held; /* What becomes of what was held. */
	struct row rows[6];
};

#define PART(at, length, ...)                                                                      \
	{                                                                                          \
		.offset = (at), .bytes = (length), __VA_ARGS__                                     \
	}
#define FIRST                                                                                      \
	{                                                                                          \
		PART(0, 80), "held"                                                                \
	}

static const struct story stories[] = {
	{"the same again", "sent",
		{FIRST, {PART(0, 80), "fragment-duplicate"}, {PART(80, 8, .last = true), "sent"}}},
	{"the last one again", "sent",
		{{PART(80, 8, .last = true), "held"},
			{PART(80, 8, .last = true), "fragment-duplicate"}, {PART(0, 80), "sent"}}},
	{"the same range, other bytes", "fragment-overlap",
		{FIRST, {PART(0, 80, .fill = 1), "fragment-overlap"},
			{PART(80, 8, .last = true), "fragment-overlap"}}},
	{"the same range, more to come", "fragment-overlap",
		{{PART(80, 8, .last = true), "held"}, {PART(80, 8), "fragment-overlap"},
			{PART(0, 80), "fragment-overlap"}}},
	{"onto the ports (RFC 1858)", "fragment-overlap",
		{FIRST, {PART(8, 80), "fragment-overlap"},
			{PART(80, 8, .last = true), "fragment-overlap"}}},
	{"a first one beneath what is there", "fragment-overlap",
		{{PART(8, 72), "held"}, {PART(0, 80), "fragment-overlap"}}},
	{"by its last eight bytes", "fragment-overlap",
		{FIRST, {PART(72, 16, .last = true), "fragment-overlap"}}},
	{"within another", "fragment-overlap", {FIRST, {PART(16, 8), "fragment-overlap"}}},
	{"around another", "fragment-overlap",
		{{PART(80, 8), "held"}, {PART(72, 24), "fragment-overlap"}}},
	{"into the hole and over its rim", "fragment-overlap",
		{FIRST, {PART(160, 8, .last = true), "held"}, {PART(80, 88), "fragment-overlap"}}},
	{"a longer first one", "fragment-overlap", {FIRST, {PART(0, 160), "fragment-overlap"}}},
	{"two ends, the second behind", "fragment-inconsistent",
		{{PART(80, 8, .last = true), "held"},
			{PART(160, 8, .last = true), "fragment-inconsistent"},
			{PART(0, 80), "fragment-inconsistent"}}},
	{"two ends, the second before", "fragment-inconsistent",
		{{PART(160, 8, .last = true), "held"},
			{PART(80, 8, .last = true), "fragment-inconsistent"}}},
	{"behind the end", "fragment-inconsistent",
		{{PART(80, 8, .last = true), "held"}, {PART(88, 8), "fragment-inconsistent"}}},
	{"an end before what is there", "fragment-inconsistent",
		{{PART(160, 8), "held"}, {PART(80, 8, .last = true), "fragment-inconsistent"}}},
	{"don't fragment on one of them", "fragment-inconsistent",
		{FIRST, {PART(80, 8, .last = true, .dont_fragment = true),
				"fragment-inconsistent"}}},
	{"don't fragment on all of them", "sent",
		{{PART(0, 80, .dont_fragment = true), "held"},
			{PART(80, 8, .last = true, .dont_fragment = true), "sent"}}},
	{"congestion on a path, ECN-capable", "sent",
		{{PART(0, 80, .ecn = 2), "held"}, {PART(80, 8, .last = true, .ecn = 3), "sent"}}},
	{"congestion, not ECN-capable", "fragment-inconsistent",
		{FIRST, {PART(80, 8, .last = true, .ecn = 3), "fragment-inconsistent"}}},
	{"not ECN-capable any more", "fragment-inconsistent",
		{{PART(0, 80, .ecn = 1), "held"},
			{PART(80, 8, .last = true), "fragment-inconsistent"}}},
	{"a hole that nobody fills", "fragment-timeout",
		{FIRST, {PART(160, 8), "held"}, {PART(240, 3, .last = true), "held"}}},
	{"no end", "fragment-timeout", {FIRST, {PART(80, 8), "held"}}},
	{"no beginning", "fragment-timeout",
		{{PART(8, 72), "held"}, {PART(80, 3, .last = true), "held"}}},
	{"past the largest packet, by its first header's options", "fragment-oversize",
		{{PART(0, 80, .options = 40), "held"},
			{PART(65504, 8, .last = true), "fragment-oversize"}}},
	{"the same, the first one last", "fragment-oversize",
		{{PART(65504, 8, .last = true), "held"},
			{PART(0, 80, .options = 40), "fragment-oversize"}}},
	{"options on others than the first", "fragment-timeout",
		{{PART(65440, 8, .last = true, .options = 40), "held"}, {PART(0, 80), "held"}}},
};

static void tell(struct fixture *fixture, const struct story *story, bool v6)
{
	unsigned int n_held = 0;

	fixture->n = 0;
	print_message("%s, %s\n", story->name, v6 ? "IPv6" : "IPv4");
	for (const struct row *row = story->rows; row->fate != NULL; row++) {
		struct shape shape = row->shape;

		shape.v6 = v6;
		shape.id = 99;
		n_held += strcmp(row->fate, "held") == 0;
		assert_string_equal(add(fixture, make_part(fixture, &shape)), row->fate);
	}
	fragment_flush(fixture->table);
	for (unsigned int i = 0; i < fixture->n; i++)
		if (strcmp(story->rows[i].fate, "held") == 0)
			assert_string_equal(fixture->parts[i].fate, story->held);
	assert_true(n_held > 0);
	assert_int_equal(fragment_held(fixture->table), 0);
	assert_int_equal(fragment_datagrams(fixture->table), 0);
}

static bool is_about_ip4(const struct story *story)
{
	for (const struct row *row = story->rows; row->fate != NULL; row++)
		if (row->shape.dont_fragment || row->shape.options != 0)
			return true;
	return false;
}

static void test_stories(void **state)
{
	for (unsigned int i = 0; i < sizeof(stories) / sizeof(stories[0]); i++) {
		tell(*state, &stories[i], false);
		if (!is_about_ip4(&stories[i]))
			tell(*state, &stories[i], true);
	}
}

/* RFC 8200, 4.5: extension headers before the fragment header count in the packet's length, so that
 * the largest payload is too large with them. */
static void test_oversize6(void **state)
{
	struct fixture *fixture = *state;
	struct shape first = {.bytes = 80, .v6 = true, .options = 8, .id = 1};
	struct shape last = {.offset = 65520, .bytes = 15, .last = true, .v6 = true, .id = 1};

	assert_string_equal(add(fixture, make_part(fixture, &first)), "held");
	assert_string_equal(add(fixture, make_part(fixture, &last)), "fragment-oversize");
	first.options = 0;
	first.id = last.id = 2;
	assert_string_equal(add(fixture, make_part(fixture, &first)), "held");
	assert_string_equal(add(fixture, make_part(fixture, &last)), "held");
}

/* In nothing that identifies a datagram may two fragments differ. */
static void test_other_datagram(void **state)
{
	struct fixture *fixture = *state;
	struct part *last;

	assert_string_equal(add(fixture, make(fixture, 0, 80, false)), "held");
	last = make(fixture, 80, 8, true);
	last->packet.fragment_id++;
	assert_string_equal(add(fixture, last), "held");
	last = make(fixture, 80, 8, true);
	last->packet.key.in_port++;
	assert_string_equal(add(fixture, last), "held");
	last = make(fixture, 80, 8, true);
	last->packet.key.net++;
	assert_string_equal(add(fixture, last), "held");
	last = make(fixture, 80, 8, true);
	last->packet.protocol = IPPROTO_TCP;
	assert_string_equal(add(fixture, last), "held");
	last = make(fixture, 80, 8, true);
	last->packet.key.source.s6_addr[15]++;
	assert_string_equal(add(fixture, last), "held");
	last = make(fixture, 80, 8, true);
	last->packet.key.destination.s6_addr[15]++;
	assert_string_equal(add(fixture, last), "held");
	for (unsigned int i = 0; i < 12; i += 5) { /* A byte of each MAC. */
		last = make(fixture, 80, 8, true);
		last->frame.bytes[i]++;
		assert_string_equal(add(fixture, last), "held");
	}
	assert_string_equal(add(fixture, make(fixture, 80, 8, true)), "sent");
}

/* In IPv6 only the first fragment says what the protocol is (RFC 8200, 4.5). */
static void test_ip6_next_header(void **state)
{
	struct fixture *fixture = *state;
	struct shape shape = {.bytes = 80, .v6 = true};
	struct part *first = make_part(fixture, &shape);

	shape.offset = 80;
	shape.last = true;
	struct part *last = make_part(fixture, &shape);
	last->packet.protocol = last->packet.key.protocol = IPPROTO_TCP;
	assert_string_equal(add(fixture, first), "held");
	assert_string_equal(add(fixture, last), "sent");
}

/* Extension headers may go on behind the fragment header: they are part of the payload. */
static void test_ip6_extension_in_payload(void **state)
{
	static const uint8_t pad[6] = {1, 4};
	struct frame f;
	struct packet packet;

	(void)state;
	frame_begin(&f, MAC_B, MAC_A);
	frame_ip6(&f, "2001:db8::1", "2001:db8::2", IPPROTO_UDP);
	frame_ip6_fragment(&f, 99, 0, 1);
	frame_extension(&f, IPPROTO_DSTOPTS, 8, pad);
	frame_udp(&f, 1000, 53);
	frame_end(&f);
	assert_int_equal(packet_parse(f.bytes, f.n, f.n, &packet), DROP_NONE);
	assert_int_equal(packet.flags, PACKET_FRAGMENT_FIRST);
	assert_int_equal(packet.l4_bytes, 8);
	assert_int_equal(packet_fragment_payload(f.bytes, &packet), f.n - 16);
}

/* RFC 6980: never in fragments.  And an error fits into any link's MTU. */
static void test_icmp(void **state)
{
	static const struct {
		uint8_t type;
		const char *fate;
	} rows[] = {{135, "fragment-icmp"}, {136, "fragment-icmp"}, {134, "fragment-icmp"},
		{137, "fragment-icmp"}, {1, "fragment-icmp"}, {3, "fragment-icmp"}, {128, "held"},
		{143, "held"}};
	struct fixture *fixture = *state;

	for (unsigned int i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct shape shape = {.offset = 24, .bytes = 8, .last = true, .v6 = true, .id = i};
		struct part *last = make_part(fixture, &shape),
			    *part = &fixture->parts[fixture->n++];
		struct frame *f = &part->frame;

		frame_begin(f, MAC_B, MAC_A);
		frame_ip6(f, "2001:db8::1", "2001:db8::2", IPPROTO_ICMPV6);
		frame_ip6_fragment(f, i, 0, 1);
		frame_icmp(f, rows[i].type, 0, 0, 0);
		frame_fill(f, 8);
		frame_end(f);
		assert_int_equal(packet_parse(f->bytes, f->n, f->n, &part->packet), DROP_NONE);
		part->packet.key.net = 10;
		part->packet.key.in_port = 1;
		part->fragment = (struct fragment){
			.frame = part, .payload_at = (uint16_t)f->l4, .bytes = 16, .buffers = 1};
		part->fate = NULL;
		assert_string_equal(add(fixture, last), "held");
		assert_string_equal(add(fixture, part), rows[i].fate);
		assert_string_equal(last->fate, rows[i].fate);
	}
}

/* A port may hold one part of each of many datagrams; its time is over for each by itself. */
static void test_timeout(void **state)
{
	struct fixture *fixture = *state;

	assert_string_equal(add_at(fixture, make(fixture, 0, 80, false), now), "held");
	struct part *other = make(fixture, 0, 80, false);
	other->packet.fragment_id++;
	assert_string_equal(add_at(fixture, other, now + 5), "held");
	fragment_expire(fixture->table, now + lifetime - 1);
	assert_int_equal(fragment_held(fixture->table), 2);
	fragment_expire(fixture->table, now + lifetime);
	assert_string_equal(fixture->parts[0].fate, "fragment-timeout");
	assert_string_equal(other->fate, "held");
	/* What comes too late begins anew. */
	assert_string_equal(add_at(fixture, make(fixture, 80, 8, true), now + lifetime), "held");
	/* The last byte of time, and without a word from anybody else. */
	struct part *last = make(fixture, 80, 8, true);
	last->packet.fragment_id++;
	assert_string_equal(add_at(fixture, last, now + 5 + lifetime - 1), "sent");
}

/* What was refused is refused until its time is over, and then forgotten. */
static void test_refused_for_its_time(void **state)
{
	struct fixture *fixture = *state;

	assert_string_equal(add(fixture, make(fixture, 0, 80, false)), "held");
	assert_string_equal(add(fixture, make(fixture, 8, 8, false)), "fragment-overlap");
	assert_int_equal(fragment_held(fixture->table), 0);
	assert_int_equal(fragment_datagrams(fixture->table), 1);
	assert_string_equal(add_at(fixture, make(fixture, 0, 80, false), now + lifetime - 1),
		"fragment-overlap");
	assert_string_equal(add_at(fixture, make(fixture, 0, 80, false), now + lifetime), "held");
	assert_string_equal(add_at(fixture, make(fixture, 80, 8, true), now + lifetime), "sent");
}

static void test_too_many(void **state)
{
	struct fixture *fixture = *state;

	/* 128 may be, in whatever order; */
	for (uint32_t i = FRAGMENTS_MAX - 1; i > 0; i--)
		assert_string_equal(
			add(fixture, make(fixture, 8 * i, 8, i + 1 == FRAGMENTS_MAX)), "held");
	assert_string_equal(add(fixture, make(fixture, 0, 8, false)), "sent");
	assert_int_equal(fixture->whole.n, FRAGMENTS_MAX);
	/* one more may not. */
	fixture->n = 0;
	for (uint32_t i = 0; i < FRAGMENTS_MAX; i++)
		assert_string_equal(add(fixture, make(fixture, 8 * i, 8, false)), "held");
	assert_string_equal(
		add(fixture, make(fixture, 8 * FRAGMENTS_MAX, 8, true)), "fragment-too-many");
	assert_int_equal(count_fate(fixture, "fragment-too-many"), FRAGMENTS_MAX + 1);
	assert_int_equal(fragment_held(fixture->table), 0);
}

static struct part *of_port(struct fixture *fixture, uint16_t in_port, uint32_t id, bool last)
{
	struct shape shape = {.offset = last ? 80 : 0,
		.bytes = last ? 8 : 80,
		.last = last,
		.in_port = in_port,
		.id = id};

	return make_part(fixture, &shape);
}

/* One port alone gets half of the table, the next one half of the rest.  What a port sends beyond
 * that costs it its own oldest, so that a whole datagram still comes through. */
static void test_shares(void **state)
{
	enum { PORTS = 4 };
	struct fixture *fixture = *state;
	uint32_t held = 0;

	for (uint16_t port = 1; port <= PORTS; port++) {
		uint32_t share = DATAGRAMS >> port, first = fixture->n;

		for (uint32_t id = 0; id < share + 10; id++)
			assert_string_equal(
				add(fixture, of_port(fixture, port, id, false)), "held");
		held += share;
		assert_int_equal(fragment_held(fixture->table), held);
		for (uint32_t id = 0; id < share + 10; id++)
			assert_string_equal(fixture->parts[first + id].fate,
				id < 10 ? "fragment-table-full" : "held");
		assert_string_equal(add(fixture, of_port(fixture, port, share + 9, true)), "sent");
		held--;
		assert_string_equal(
			add(fixture, of_port(fixture, port, share + 99, false)), "held");
		held++;
	}
	fragment_expire(fixture->table, now + lifetime);
	assert_int_equal(fragment_held(fixture->table), 0);
}

/* Buffers are shared like datagrams: one that has more than a port may hold takes nothing from
 * others, and is refused. */
static void test_buffers(void **state)
{
	struct fixture *fixture = *state;
	struct part *other = of_port(fixture, 2, 1, false);

	other->fragment.buffers = 10;
	assert_string_equal(add(fixture, other), "held");
	for (uint32_t i = 0; i < 4; i++) {
		struct part *part = make(fixture, 80 * i, 80, false);

		part->fragment.buffers = 40;
		assert_string_equal(add(fixture, part), i < 3 ? "held" : "fragment-table-full");
	}
	assert_int_equal(count_fate(fixture, "fragment-table-full"), 4);
	assert_string_equal(add(fixture, make(fixture, 320, 8, true)), "fragment-table-full");
	assert_string_equal(add(fixture, of_port(fixture, 2, 1, true)), "sent");
	assert_string_equal(other->fate, "sent");
	/* A single one that is too large. */
	struct part *large = of_port(fixture, 3, 5, false);
	large->fragment.buffers = BUFFERS / 2 + 1;
	assert_string_equal(add(fixture, large), "fragment-table-full");
}

/* --- Against a plain reference -------------------------------------------------------------- */

enum { IDS = 24, UNITS = 20, STEPS = 60000 };

/* What has come of a datagram, by units of eight bytes. */
struct reference {
	uint8_t owner[UNITS + 1]; /* 1 + the fragment's number, 0: none. */
	struct shape shapes[64];
	struct part *parts[64];
	uint8_t n;
	uint32_t end; /* 0: unknown. */
	enum { OPEN, REFUSED } state;
	uint64_t began;
	const char *why;
};

static uint32_t units_of(const struct shape *shape)
{
	return (shape->bytes + 7) / 8;
}

/* What is to become of a fragment, told by looking at every unit. */
static const char *expect(struct reference *reference, const struct shape *shape)
{
	uint32_t from = shape->offset / 8, to = from + units_of(shape), covered = 0;

	if (reference->state == REFUSED)
		return reference->why;
	for (uint32_t u = from; u < to; u++) {
		if (reference->owner[u] == 0)
			continue;
		const struct shape *other = &reference->shapes[reference->owner[u] - 1];
		if (other->offset == shape->offset && other->bytes == shape->bytes &&
			other->last == shape->last && other->fill == shape->fill)
			return "fragment-duplicate";
		return "fragment-overlap";
	}
	if (reference->end != 0 && (shape->last || to > (reference->end + 7) / 8))
		return "fragment-inconsistent";
	for (uint32_t u = to; shape->last && u <= UNITS; u++)
		if (reference->owner[u] != 0)
			return "fragment-inconsistent";
	for (uint32_t u = from; u < to; u++)
		reference->owner[u] = reference->n + 1;
	reference->shapes[reference->n++] = *shape;
	if (shape->last)
		reference->end = shape->offset + shape->bytes;
	for (uint32_t u = 0; u < (reference->end + 7) / 8; u++)
		covered += reference->owner[u] != 0;
	return reference->end != 0 && covered == (reference->end + 7) / 8 ? "sent" : "held";
}

static struct shape random_shape(uint32_t id)
{
	/* One datagram's pieces, and now and then anything. */
	static const struct shape pieces[] = {
		PART(0, 32), PART(32, 48), PART(80, 16), PART(96, 61, .last = true)};
	struct shape shape = pieces[random() % 4];

	if (random() % 32 == 0) {
		shape.offset = (uint32_t)random() % (UNITS - 4) * 8;
		shape.bytes = 8 + (uint32_t)random() % 3 * 8;
		shape.last = shape.offset != 0 && random() % 4 == 0;
	}
	shape.fill = random() % 64 == 0;
	shape.v6 = id & 1;
	shape.id = id;
	return shape;
}

/* Random fragments of many datagrams at once. */
static void test_against_reference(void **state)
{
	struct fixture *fixture = *state;
	struct reference *references = calloc(IDS, sizeof(*references));
	unsigned int sent = 0, refused = 0, expired = 0;
	uint64_t clock = now;

	srandom(1);
	for (unsigned int step = 0; step < STEPS; step++) {
		uint32_t id = (uint32_t)random() % IDS;
		struct reference *reference = &references[id];
		struct shape shape = random_shape(id);

		clock += (uint64_t)random() % 20 * 1000000;
		fragment_expire(fixture->table, clock);
		if (reference->began != 0 && clock >= reference->began + lifetime) {
			*reference = (struct reference){0};
			expired++;
		}
		if (reference->began == 0)
			reference->began = clock;
		const char *fate = expect(reference, &shape);
		/* Each fragment has a place of its own until its datagram is over. */
		fixture->n = id * 20 + (reference->n == 0 ? 0 : reference->n - 1);
		if (strcmp(fate, "held") != 0)
			fixture->n = PARTS - 1;
		struct part *part = make_part(fixture, &shape);
		assert_string_equal(add_at(fixture, part, clock), fate);
		if (strcmp(fate, "sent") == 0) {
			*reference = (struct reference){0};
			sent++;
		} else if (strcmp(fate, "held") != 0 && strcmp(fate, "fragment-duplicate") != 0) {
			refused += reference->state == OPEN;
			reference->state = REFUSED;
			reference->why = fate;
		}
	}
	free(references);
	print_message("%u sent, %u refused, %u expired\n", sent, refused, expired);
	assert_true(sent > 500 && refused > 500 && expired > 500);
}

#define TEST(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_create),
		TEST(test_all_orders),
		TEST(test_stories),
		TEST(test_oversize6),
		TEST(test_other_datagram),
		TEST(test_ip6_next_header),
		TEST(test_ip6_extension_in_payload),
		TEST(test_icmp),
		TEST(test_timeout),
		TEST(test_refused_for_its_time),
		TEST(test_too_many),
		TEST(test_shares),
		TEST(test_buffers),
		TEST(test_against_reference),
	};

	return cmocka_run_group_tests_name("fragment", tests, NULL, NULL);
}
