/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The desired-state model against a real ovsdb-server, which each test starts on a socket in a
 * directory of its own.  Run by `make unit` from the top of the tree.
 */
#include "tests/unit/model_fixture.h"

static void add_port(struct model *model, const char *name)
{
	struct model_port_change change = port_change(name);
	struct model_error error;

	change.type = "kernel";
	if (model_port_add(model, &change, &error) != MODEL_OK)
		fail_msg("%s", error.message);
}

static int64_t number_of(struct model *model, const char *name)
{
	const struct cordonrec_port *port = model_port(model, "alpha", name);

	assert_non_null(port);
	assert_int_equal(port->n_number, 1);
	return *port->number;
}

static void test_initialize(void **state)
{
	struct fixture *fixture = *state;
	struct model *model = fixture->model;
	struct model_error error;

	assert_non_null(model_root(model));
	assert_int_equal(model_root(model)->policy_wanted, 0);
	assert_non_null(model_host(model, "alpha"));
	assert_string_equal(cordonrec_log_sink_first(model_idl(model))->type, "sqlite");

	/* Once more: nothing doubles, and another host comes beside the first. */
	assert_int_equal(model_initialize(model, "alpha", &error), MODEL_OK);
	assert_int_equal(model_initialize(model, "beta", &error), MODEL_OK);
	assert_non_null(model_host(model, "alpha"));
	assert_non_null(model_host(model, "beta"));
	assert_null(cordonrec_log_sink_next(cordonrec_log_sink_first(model_idl(model))));
	assert_int_equal(model_initialize(model, "no spaces", &error), MODEL_INVALID);
}

static void test_port_numbers(void **state)
{
	struct fixture *fixture = *state;
	struct model *model = fixture->model;
	struct model_error error;

	add_port(model, "a");
	add_port(model, "b");
	add_port(model, "c");
	assert_int_equal(number_of(model, "a"), 1);
	assert_int_equal(number_of(model, "b"), 2);
	assert_int_equal(number_of(model, "c"), 3);

	/* A free number is used again; the others keep theirs. */
	assert_int_equal(model_port_delete(model, "alpha", "b", &error), MODEL_OK);
	assert_null(model_port(model, "alpha", "b"));
	add_port(model, "d");
	assert_int_equal(number_of(model, "d"), 2);
	assert_int_equal(number_of(model, "c"), 3);
}

static void test_port_columns(void **state)
{
	struct fixture *fixture = *state;
	struct model *model = fixture->model;
	struct model_port_change change = port_change("web1");
	const struct cordonrec_port *port;
	struct model_error error;

	assert_int_equal(model_network_add(model, "shop", 20, -1, "the shop", &error), MODEL_OK);
	change.type = "vhost";
	change.options = "queues=2,devargs=net_pcap0\\,iface=lo";
	change.network = "shop";
	change.macs = "52:54:00:00:00:01,52:54:00:AA:00:02";
	change.addresses = "10.0.0.1,2001:DB8::1";
	change.tags = "tier=web,shop";
	change.vm_name = "Web server 1";
	change.spoof_guard = 0;
	change.half_open_limit = 100;
	change.mac_limit = 4;
	assert_int_equal(model_port_add(model, &change, &error), MODEL_OK);
	port = model_port(model, "alpha", "web1");
	assert_non_null(port);
	assert_string_equal(port->role, "vnic");
	assert_string_equal(port->vlan_mode, "access");
	assert_string_equal(port->network->name, "shop");
	assert_string_equal(smap_get(&port->options, "queues"), "2");
	assert_string_equal(smap_get(&port->options, "devargs"), "net_pcap0,iface=lo");
	assert_int_equal(port->n_macs, 2);
	assert_string_equal(port->macs[1], "52:54:00:aa:00:02");
	assert_string_equal(port->addresses[1], "2001:db8::1");
	assert_int_equal(port->n_tags, 2);
	assert_string_equal(port->vm_name, "Web server 1");
	assert_int_equal(port->n_spoof_guard, 1);
	assert_false(*port->spoof_guard);
	assert_int_equal(port->n_limits, 2);

	/* Only what is named changes; "" empties, a limit of 0 is none. */
	change = port_change("web1");
	change.addresses = "";
	change.trunks = "10,20-22";
	change.serves = "router,dhcp,router";
	change.vlan_mode = "trunk";
	change.network = "";
	change.mac_limit = 0;
	assert_int_equal(model_port_set(model, &change, &error), MODEL_OK);
	port = model_port(model, "alpha", "web1");
	assert_int_equal(port->n_addresses, 0);
	assert_int_equal(port->n_macs, 2);
	assert_int_equal(port->n_trunks, 4);
	assert_int_equal(port->n_serves, 2);
	assert_string_equal(port->serves[0], "dhcp");
	assert_string_equal(port->serves[1], "router");
	assert_string_equal(port->vlan_mode, "trunk");
	assert_null(port->network);
	assert_int_equal(port->n_limits, 2);
	assert_string_equal(port->key_limits[0], "half-open");
	assert_int_equal(port->value_limits[0], 100);
	assert_string_equal(port->key_limits[1], "macs");
	assert_int_equal(port->value_limits[1], 0);
	assert_string_equal(port->type, "vhost");
}

/* What must be refused, and which word the message must hold. */
static const struct refused {
	const char *why, *type, *role, *macs, *addresses, *tags, *trunks, *options, *network;
	const char *serves;
	enum model_result result;
	const char *word;
} refused[] = {
	{.why = "no type", .result = MODEL_INVALID, .word = "no type"},
	{.why = "type", .type = "veth", .result = MODEL_INVALID, .word = "'veth'"},
	{.why = "role", .role = "boss", .result = MODEL_INVALID, .word = "'boss'"},
	{.why = "MAC", .macs = "52:54:00:00:00", .result = MODEL_INVALID, .word = "six bytes"},
	{.why = "group MAC", .macs = "01:00:5e:00:00:01", .result = MODEL_INVALID, .word = "group"},
	{.why = "MAC twice",
		.macs = "52:54:00:00:00:01,52:54:00:00:00:01",
		.result = MODEL_INVALID,
		.word = "twice"},
	{.why = "address", .addresses = "10.0.0", .result = MODEL_INVALID, .word = "'10.0.0'"},
	{.why = "prefix",
		.addresses = "10.0.0.1/24",
		.result = MODEL_INVALID,
		.word = "prefix length"},
	{.why = "multicast",
		.addresses = "224.0.0.1",
		.result = MODEL_INVALID,
		.word = "cannot belong"},
	{.why = "loopback", .addresses = "::1", .result = MODEL_INVALID, .word = "cannot belong"},
	{.why = "tag", .tags = "=web", .result = MODEL_INVALID, .word = "'=web'"},
	{.why = "tag value", .tags = "tier=", .result = MODEL_INVALID, .word = "'tier='"},
	{.why = "tag space", .tags = "tier=w b", .result = MODEL_INVALID, .word = "KEY=VALUE"},
	{.why = "trunk", .trunks = "10,4095", .result = MODEL_INVALID, .word = "'4095'"},
	{.why = "service", .serves = "dhcp,dns", .result = MODEL_INVALID, .word = "'dns'"},
	{.why = "none and", .serves = "none,dhcp", .result = MODEL_INVALID, .word = "'none'"},
	{.why = "range", .trunks = "30-20", .result = MODEL_INVALID, .word = "'30-20'"},
	{.why = "trunk rest", .trunks = "30x", .result = MODEL_INVALID, .word = "'30x'"},
	{.why = "option", .options = "queues", .result = MODEL_INVALID, .word = "KEY=VALUE"},
	{.why = "option twice", .options = "a=1,a=2", .result = MODEL_INVALID, .word = "twice"},
	{.why = "network", .network = "nowhere", .result = MODEL_NOT_FOUND, .word = "'nowhere'"},
};

static void check_refused(struct model *model, const struct refused *row)
{
	struct model_port_change change = port_change("p");
	struct model_error error = {.message = ""};

	change.type = row->type ? row->type : strcmp(row->why, "no type") ? "kernel" : NULL;
	change.role = row->role;
	change.macs = row->macs;
	change.addresses = row->addresses;
	change.tags = row->tags;
	change.trunks = row->trunks;
	change.serves = row->serves;
	change.options = row->options;
	change.network = row->network;
	if (model_port_add(model, &change, &error) != row->result ||
		!strstr(error.message, row->word))
		fail_msg("%s: result %d, message \"%s\"", row->why, error.result, error.message);
}

static void test_port_refused(void **state)
{
	struct fixture *fixture = *state;

	for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++)
		check_refused(fixture->model, &refused[i]);
	assert_null(cordonrec_port_first(model_idl(fixture->model)));
}

static void test_port_names(void **state)
{
	static const char *const bad[] = {"", "a b", "-a", "a/b", "ü", "../x",
		"0123456789012345678901234567890123456789012345678901234567890123"};
	struct fixture *fixture = *state;
	struct model_port_change change;
	struct model_error error;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		change = port_change(bad[i]);
		change.type = "kernel";
		assert_int_equal(model_port_add(fixture->model, &change, &error), MODEL_INVALID);
	}
	add_port(fixture->model, "a");
	change = port_change("a");
	change.type = "kernel";
	assert_int_equal(model_port_add(fixture->model, &change, &error), MODEL_EXISTS);
	assert_non_null(strstr(error.message, "port set a"));
	change = port_change("b");
	assert_int_equal(model_port_set(fixture->model, &change, &error), MODEL_NOT_FOUND);
	assert_int_equal(model_port_delete(fixture->model, "alpha", "b", &error), MODEL_NOT_FOUND);
	change.type = "kernel";
	change.host = "gamma";
	assert_int_equal(model_port_add(fixture->model, &change, &error), MODEL_NOT_FOUND);
	assert_non_null(strstr(error.message, "alpha"));
}

static void test_port_addresses_unique(void **state)
{
	struct fixture *fixture = *state;
	struct model_port_change change = port_change("a");
	struct model_error error;

	change.type = "kernel";
	change.macs = "52:54:00:00:00:01";
	change.addresses = "10.0.0.1";
	assert_int_equal(model_port_add(fixture->model, &change, &error), MODEL_OK);
	/* A port may be given again what it has. */
	assert_int_equal(model_port_set(fixture->model, &change, &error), MODEL_OK);
	change.name = "b";
	assert_int_equal(model_port_add(fixture->model, &change, &error), MODEL_INVALID);
	assert_non_null(strstr(error.message, "52:54:00:00:00:01"));
	change.macs = "52:54:00:00:00:02";
	assert_int_equal(model_port_add(fixture->model, &change, &error), MODEL_INVALID);
	assert_non_null(strstr(error.message, "10.0.0.1"));
	change.addresses = NULL;
	assert_int_equal(model_port_add(fixture->model, &change, &error), MODEL_OK);
}

/* Several programs add ports at once: each port gets a number of its own. */
static void test_port_add_concurrently(void **state)
{
	enum { PROCESSES = 4, PORTS = 8 };
	struct fixture *fixture = *state;
	bool used[1 + PROCESSES * PORTS] = {false};
	const struct cordonrec_port *port;
	pid_t children[PROCESSES];
	size_t n = 0;

	for (int i = 0; i < PROCESSES; i++) {
		children[i] = fork();
		if (children[i])
			continue;
		struct model_error error;
		struct model *model = model_open(fixture->remote, TIMEOUT_MS, &error);
		int failed = model ? 0 : 1;

		for (int j = 0; j < PORTS && !failed; j++) {
			char name[32];
			struct model_port_change change;

			snprintf(name, sizeof(name), "p%d-%d", i, j);
			change = port_change(name);
			change.type = "kernel";
			failed = model_port_add(model, &change, &error) != MODEL_OK;
		}
		if (failed)
			fprintf(stderr, "%s\n", error.message);
		_exit(failed);
	}
	for (int i = 0; i < PROCESSES; i++) {
		int status;

		assert_int_equal(waitpid(children[i], &status, 0), children[i]);
		assert_int_equal(status, 0);
	}
	model_close(fixture->model);
	fixture->model = open_model(fixture);
	CORDONREC_PORT_FOR_EACH (port, model_idl(fixture->model)) {
		assert_in_range(*port->number, 1, PROCESSES * PORTS);
		assert_false(used[*port->number]);
		used[*port->number] = true;
		n++;
	}
	assert_int_equal(n, PROCESSES * PORTS);
}

static void test_networks(void **state)
{
	struct fixture *fixture = *state;
	struct model *model = fixture->model;
	struct model_port_change change = port_change("a");
	struct model_error error;

	assert_int_equal(model_network_add(model, "n", -1, -1, NULL, &error), MODEL_INVALID);
	assert_int_equal(model_network_add(model, "n", 1, 1, NULL, &error), MODEL_INVALID);
	assert_int_equal(model_network_add(model, "n", 4095, -1, NULL, &error), MODEL_INVALID);
	assert_int_equal(model_network_add(model, "n", -1, 0, NULL, &error), MODEL_INVALID);
	assert_int_equal(model_network_add(model, "n", -1, 1 << 24, NULL, &error), MODEL_INVALID);
	assert_int_equal(model_network_add(model, "n", 10, -1, NULL, &error), MODEL_OK);
	assert_int_equal(model_network_add(model, "n", 11, -1, NULL, &error), MODEL_EXISTS);
	assert_int_equal(model_network_add(model, "m", 10, -1, NULL, &error), MODEL_EXISTS);
	assert_int_equal(model_network_add(model, "o", -1, 5000, "overlay", &error), MODEL_OK);
	assert_int_equal(*model_network(model, "o")->vni, 5000);
	assert_int_equal(model_network_delete(model, "x", &error), MODEL_NOT_FOUND);

	change.type = "kernel";
	change.network = "n";
	assert_int_equal(model_port_add(model, &change, &error), MODEL_OK);
	assert_int_equal(model_network_delete(model, "n", &error), MODEL_INVALID);
	assert_non_null(strstr(error.message, "used by: a"));
	assert_int_equal(model_port_delete(model, "alpha", "a", &error), MODEL_OK);
	assert_int_equal(model_network_delete(model, "n", &error), MODEL_OK);
}

/* Applies a document by `author`; `confirm_seconds` as in struct model_policy_change. */
static enum model_result apply(struct model *model, const char *document, const char *author,
	int64_t expected, unsigned int confirm_seconds, int64_t *number, struct model_error *error)
{
	const struct model_policy_change change = {.document = document,
		.author = author,
		.comment = "why not",
		.expected = expected,
		.confirm_seconds = confirm_seconds};

	return model_policy_apply(model, &change, number, error);
}

static int64_t apply_well(
	struct model *model, const char *document, int64_t expected, unsigned int confirm_seconds)
{
	struct model_error error;
	int64_t number = 0;

	if (apply(model, document, "ada", expected, confirm_seconds, &number, &error) != MODEL_OK)
		fail_msg("%s", error.message);
	return number;
}

static void assert_document(struct model *model, int64_t number, const char *expected)
{
	struct model_error error;
	char *document = model_policy_document(model, number, &error);

	if (!document)
		fail_msg("%s", error.message);
	assert_string_equal(document, expected);
	free(document);
}

static void test_policy(void **state)
{
	struct fixture *fixture = *state;
	struct model *model = fixture->model;
	const struct cordonrec_policy_revision *revision;
	struct model_error error;
	int64_t number = 7;

	assert_int_equal(apply_well(model, "one\n", -1, 0), 1);
	assert_int_equal(apply_well(model, "two\n", 1, 0), 2);
	assert_int_equal(model_root(model)->policy_wanted, 2);
	assert_int_equal(model_root(model)->policy_confirmed, 2);
	assert_int_equal(model_policy_wanted(model), 2);
	revision = model_revision(model, 1);
	assert_non_null(revision);
	assert_string_equal(revision->author, "ada");
	assert_string_equal(revision->comment, "why not");
	assert_true(revision->time > 1600000000);
	assert_document(model, 1, "one\n");
	assert_document(model, 2, "two\n");
	assert_null(model_policy_document(model, 3, &error));
	assert_int_equal(error.result, MODEL_NOT_FOUND);

	/* The author had seen an older one, and is told by whom and why it was replaced. */
	assert_int_equal(apply(model, "x", "bob", 1, 0, &number, &error), MODEL_CONFLICT);
	assert_non_null(strstr(error.message, "revision 2 came in between"));
	assert_non_null(strstr(error.message, "ada"));
	assert_non_null(strstr(error.message, "why not"));
	assert_int_equal(apply(model, "x", "bob", 9, 0, &number, &error), MODEL_CONFLICT);
	assert_non_null(strstr(error.message, "no such revision"));
	assert_int_equal(number, 7);
	assert_null(model_revision(model, 3));
}

static void assert_outcome(struct model *model, int64_t number, const char *outcome)
{
	const struct cordonrec_policy_revision *revision = model_revision(model, number);

	assert_non_null(revision);
	if (!outcome)
		assert_null(revision->outcome);
	else
		assert_string_equal(revision->outcome, outcome);
}

static void test_policy_confirm(void **state)
{
	struct model *model = ((struct fixture *)*state)->model;
	struct model_policy_pending pending;
	struct model_error error;
	int64_t number = -1;

	/* Before the first one there is nothing to go back to. */
	assert_int_equal(apply(model, "one", "ada", 0, 60, &number, &error), MODEL_INVALID);
	apply_well(model, "one", 0, 0);
	assert_int_equal(model_policy_confirm(model, "ada", &number, &error), MODEL_CONFLICT);
	assert_non_null(strstr(error.message, "no revision waits"));

	assert_int_equal(apply_well(model, "two", 1, 60), 2);
	assert_true(model_policy_pending(model, &pending));
	assert_int_equal(pending.revision, 2);
	assert_int_equal(pending.returns_to, 1);
	assert_in_range(pending.confirm_by, time(NULL) + 55, time(NULL) + 62);

	/* Nobody overlooks it. */
	assert_int_equal(apply(model, "three", "bob", 2, 0, &number, &error), MODEL_CONFLICT);
	assert_non_null(strstr(error.message, "revision 2, applied by ada"));

	/* Another one may wait in its place; the way back stays the same. */
	assert_int_equal(apply_well(model, "three", 2, 60), 3);
	assert_outcome(model, 2, "replaced");
	assert_true(model_policy_pending(model, &pending));
	assert_int_equal(pending.returns_to, 1);

	number = 2;
	assert_int_equal(model_policy_confirm(model, "bob", &number, &error), MODEL_CONFLICT);
	assert_non_null(strstr(error.message, "it is revision 3 that waits"));
	assert_non_null(strstr(error.message, "and not 2"));
	number = -1;
	assert_int_equal(model_policy_confirm(model, "bob", &number, &error), MODEL_OK);
	assert_int_equal(number, 3);
	assert_outcome(model, 3, "confirmed");
	assert_string_equal(model_revision(model, 3)->outcome_author, "bob");
	assert_false(model_policy_pending(model, &pending));
	assert_int_equal(model_root(model)->policy_confirmed, 3);
	assert_int_equal(apply_well(model, "four", 3, 0), 4);
	assert_outcome(model, 4, NULL);
}

/* Nobody has confirmed it, and no switch has written that down. */
static void test_policy_overdue(void **state)
{
	struct model *model = ((struct fixture *)*state)->model;
	struct model_policy_pending pending;
	struct model_error error;
	int64_t number = -1;

	apply_well(model, "one", 0, 0);
	assert_int_equal(apply_well(model, "two", 1, 1), 2);
	while (time(NULL) < model_root(model)->policy_confirm_by)
		nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL);
	assert_false(model_policy_pending(model, &pending));
	assert_int_equal(model_policy_wanted(model), 1);
	assert_int_equal(model_policy_wait(model, 2, 0, &error), MODEL_CONFLICT);
	assert_non_null(strstr(error.message, "not confirmed in time"));
	assert_int_equal(model_policy_confirm(model, "ada", &number, &error), MODEL_CONFLICT);
	assert_non_null(strstr(error.message, "too late"));
	assert_int_equal(apply(model, "three", "bob", 2, 0, &number, &error), MODEL_CONFLICT);
	assert_outcome(model, 2, NULL);
	assert_int_equal(model_root(model)->policy_wanted, 2);

	/* Whoever makes the next change does. */
	assert_int_equal(apply_well(model, "three", 1, 0), 3);
	assert_outcome(model, 2, "returned");
	assert_int_equal(model_root(model)->policy_confirmed, 3);
	assert_int_equal(model_root(model)->policy_confirm_by, 0);
}

static void test_policy_rollback(void **state)
{
	struct model *model = ((struct fixture *)*state)->model;
	struct model_policy_change change = {
		.document = "one", .author = "bob", .comment = "", .expected = 2, .rollback = true};
	struct model_policy_pending pending;
	struct model_error error;
	int64_t number;

	apply_well(model, "one", 0, 0);
	apply_well(model, "two", 1, 60);
	assert_int_equal(model_policy_apply(model, &change, &number, &error), MODEL_OK);
	assert_int_equal(number, 3);
	assert_outcome(model, 2, "replaced");
	assert_string_equal(model_revision(model, 2)->outcome_author, "bob");
	assert_false(model_policy_pending(model, &pending));
	assert_int_equal(model_root(model)->policy_confirmed, 3);
	assert_document(model, 3, "one");
}

/* A second program that applies between the look and the commit of the first. */
struct between {
	struct fixture *fixture;
	struct model *other;
};

static enum model_result build_too_late(struct model *model, struct ovsdb_idl_txn *transaction,
	void *context, struct model_error *error)
{
	struct between *between = context;
	const struct cordonrec_cordon *root = model_root(model);
	struct model_error other_error;
	int64_t number;

	(void)transaction;
	(void)error;
	cordonrec_cordon_verify_policy_wanted(root);
	cordonrec_cordon_set_policy_wanted(root, root->policy_wanted + 1);
	assert_int_equal(
		apply(between->other, "quick", "bob", -1, 0, &number, &other_error), MODEL_OK);
	return MODEL_OK;
}

static void test_policy_conflict(void **state)
{
	struct fixture *fixture = *state;
	struct between between = {.fixture = fixture, .other = open_model(fixture)};
	struct model_change change = {
		.build = build_too_late, .context = &between, .what = "the policy"};
	struct model_error error;

	assert_int_equal(model_commit(fixture->model, &change, &error), MODEL_CONFLICT);
	assert_non_null(strstr(error.message, "somebody else"));
	model_close(between.other);
	model_close(fixture->model);
	fixture->model = open_model(fixture);
	assert_int_equal(model_root(fixture->model)->policy_wanted, 1);
	assert_document(fixture->model, 1, "quick");
}

/* Plays the switch: writes what it would have observed. */
struct observation {
	int64_t policy_reached;
	const char *policy_error, *port, *port_error, *link_state;
};

static enum model_result build_observation(struct model *model, struct ovsdb_idl_txn *transaction,
	void *context, struct model_error *error)
{
	const struct observation *observation = context;
	const struct cordonrec_host *host = model_host(model, "alpha");
	const struct cordonrec_port *port =
		observation->port ? model_port(model, "alpha", observation->port) : NULL;

	(void)transaction;
	(void)error;
	cordonrec_host_set_policy_reached(host, observation->policy_reached);
	cordonrec_host_set_policy_error(host, observation->policy_error);
	if (port) {
		cordonrec_port_set_error(port, observation->port_error);
		cordonrec_port_set_link_state(port, observation->link_state);
	}
	return MODEL_OK;
}

/* The fixture's replica is made anew, so that it has seen the observation for certain. */
static void observe(struct fixture *fixture, struct observation observation)
{
	struct model *model = fixture->model;
	struct model_change change = {.build = build_observation,
		.context = &observation,
		.what = "status",
		.retry = true};
	struct model_error error;

	if (model_commit(model, &change, &error) != MODEL_OK)
		fail_msg("%s", error.message);
	model_close(model);
	fixture->model = open_model(fixture);
}

static void test_policy_wait(void **state)
{
	struct fixture *fixture = *state;
	struct model_error error;
	int64_t number;

	observe(fixture, (struct observation){.policy_error = "about an older revision"});
	number = apply_well(fixture->model, "one", -1, 0);
	assert_int_equal(model_policy_wait(fixture->model, number, 50, &error), MODEL_UNREACHABLE);
	assert_non_null(strstr(error.message, "alpha"));
	observe(fixture, (struct observation){.policy_error = "no memory"});
	assert_int_equal(
		model_policy_wait(fixture->model, number, TIMEOUT_MS, &error), MODEL_FAILED);
	assert_non_null(strstr(error.message, "no memory"));
	/* A higher number, of a revision that hosts went back from, is not that one. */
	observe(fixture, (struct observation){.policy_reached = 2});
	assert_int_equal(model_policy_wait(fixture->model, number, 50, &error), MODEL_UNREACHABLE);
	assert_non_null(strstr(error.message, "alpha (at 2)"));
	observe(fixture, (struct observation){.policy_reached = 1});
	assert_int_equal(model_policy_wait(fixture->model, number, TIMEOUT_MS, &error), MODEL_OK);
	apply_well(fixture->model, "two", 1, 0);
	assert_int_equal(
		model_policy_wait(fixture->model, number, TIMEOUT_MS, &error), MODEL_CONFLICT);
	assert_non_null(strstr(error.message, "replaced by 2"));
}

static void test_port_wait(void **state)
{
	struct fixture *fixture = *state;
	struct model_error error;

	add_port(fixture->model, "a");
	assert_int_equal(
		model_port_wait(fixture->model, "alpha", "a", 50, &error), MODEL_UNREACHABLE);
	observe(fixture, (struct observation){.port = "a", .port_error = "no such device"});
	assert_int_equal(
		model_port_wait(fixture->model, "alpha", "a", TIMEOUT_MS, &error), MODEL_FAILED);
	assert_string_equal(error.message, "port a: no such device");
	observe(fixture, (struct observation){.port = "a", .link_state = "down"});
	assert_int_equal(
		model_port_wait(fixture->model, "alpha", "a", TIMEOUT_MS, &error), MODEL_OK);
	assert_int_equal(
		model_port_wait(fixture->model, "alpha", "b", TIMEOUT_MS, &error), MODEL_NOT_FOUND);
}

static void test_database_gone(void **state)
{
	struct fixture *fixture = *state;
	struct model_port_change change = port_change("a");
	struct model_error error;

	/* Nobody listens: said at once, not after the time-out. */
	assert_null(model_open("unix:/tmp/cordon-no-such-socket", 60000, &error));
	assert_int_equal(error.result, MODEL_UNREACHABLE);
	assert_non_null(strstr(error.message, "cordon up"));

	stop_server(fixture);
	fixture->model->timeout_ms = 300;
	change.type = "kernel";
	assert_int_equal(model_port_add(fixture->model, &change, &error), MODEL_UNREACHABLE);

	/* It comes back, and the same model goes on. */
	start_server(fixture);
	fixture->model->timeout_ms = 10000;
	assert_int_equal(model_port_add(fixture->model, &change, &error), MODEL_OK);
}

#define MODEL_TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		MODEL_TEST(test_initialize),
		MODEL_TEST(test_port_numbers),
		MODEL_TEST(test_port_columns),
		MODEL_TEST(test_port_refused),
		MODEL_TEST(test_port_names),
		MODEL_TEST(test_port_addresses_unique),
		MODEL_TEST(test_port_add_concurrently),
		MODEL_TEST(test_networks),
		MODEL_TEST(test_policy),
		MODEL_TEST(test_policy_confirm),
		MODEL_TEST(test_policy_overdue),
		MODEL_TEST(test_policy_rollback),
		MODEL_TEST(test_policy_conflict),
		MODEL_TEST(test_policy_wait),
		MODEL_TEST(test_port_wait),
		MODEL_TEST(test_database_gone),
	};

	return cmocka_run_group_tests_name("model", tests, NULL, NULL);
}
