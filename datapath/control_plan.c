/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The answer to `cordon policy plan` about live connections: which of them another policy would
 * refuse, or allow.  The command comes and the answer goes on the main thread; what lies between
 * has a thread of its own, since compiling two policies and going through a million connections
 * takes seconds.
 *
 * That thread only reads, and takes the files away.  Both policies are compiled for it alone, from
 * the documents that the command line left in the run directory, so that no commit and no grace
 * period can take them away under its hands; and the endpoints are a copy that the main thread
 * made.  It goes through the connection table in strides, as the commands on connections do, with a
 * quiescent state after each, and lets the workers go before.
 *
 * One evaluation at a time; whoever comes meanwhile waits for his turn, unless there are too many.
 */
#include <config.h>

#include "datapath/control.h"
#include "datapath/expectation.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cordon-idl.h"
#include "openvswitch/poll-loop.h"
#include "openvswitch/vlog.h"
#include "ovs-rcu.h"
#include "ovs-thread.h"
#include "ovsdb-idl.h"
#include "seq.h"
#include "timeval.h"
#include "unixctl.h"
#include "util.h"
#include "zones/policy_impact.h"

VLOG_DEFINE_THIS_MODULE(control_plan);

enum {
	STRIDE = 1 << 13, /* Connections looked at between two quiescent states. */
	DOCUMENT_BYTES_MAX = 64 << 20,
	ROWS_MAX = 200,	  /* Of each kind, in the answer. */
	EXAMPLES_MAX = 3, /* Of each row. */
	REASON_MAX = 320,
	EVALUATIONS_MAX = 8, /* Waiting ones, and the one in progress. */
};

/* An endpoint, as the database had it. */
struct plan_endpoint {
	uint16_t number; /* Of the local port; 0: another host's. */
	char **tags;
	size_t n_tags;
	struct in6_addr *addresses;
	size_t n_addresses;
};

/* One of the two policies, and who is where by it. */
struct plan_side {
	char *path;
	struct zone_policy *policy;
	struct endpoint_map *map;
};

struct policy_evaluation {
	struct policy_evaluation *next; /* Whose turn comes then. */
	struct cordon_switch *sw;
	struct unixctl_conn *reply; /* Main thread. */
	pthread_t thread;
	struct seq *done_seq; /* Changes when `done` is set. */
	_Atomic bool done;

	/* The thread's, from its start to `done`. */
	struct plan_endpoint *endpoints;
	size_t n_endpoints;
	struct plan_side before, after;
	struct policy_impact impact;
	uint64_t now_ns;
	uint32_t now;				  /* The same on conn_clock(). */
	uint64_t connections, refusals, unjudged; /* Allowed ones, refused ones; neither. */
	char *answer;				  /* NULL: see `reason`. */
	char reason[REASON_MAX];
};

/* --- What the main thread prepares ---------------------------------------------------------- */

static void copy_endpoint(struct plan_endpoint *to, const struct cordonrec_port *row, bool local)
{
	*to = (struct plan_endpoint){
		.number = local && row->n_number ? (uint16_t)row->number[0] : 0,
		.tags = xcalloc(row->n_tags + 1, sizeof(*to->tags)),
		.n_tags = row->n_tags,
		.addresses = xcalloc(row->n_addresses + 1, sizeof(*to->addresses)),
	};
	for (size_t i = 0; i < row->n_tags; i++)
		to->tags[i] = xstrdup(row->tags[i]);
	for (size_t i = 0; i < row->n_addresses; i++)
		to->n_addresses +=
			ip_address_parse(row->addresses[i], &to->addresses[to->n_addresses]);
}

static void copy_endpoints(struct policy_evaluation *evaluation, const struct config *config)
{
	const struct cordonrec_host *host = config_host(config);
	const struct cordonrec_port *row;
	size_t n = 0;

	CORDONREC_PORT_FOR_EACH (row, config->idl)
		n++;
	evaluation->endpoints = xcalloc(n + 1, sizeof(*evaluation->endpoints));
	CORDONREC_PORT_FOR_EACH (row, config->idl) {
		if (strcmp(row->role, "uplink"))
			copy_endpoint(&evaluation->endpoints[evaluation->n_endpoints++], row,
				row->host == host);
	}
}

static void free_endpoints(struct policy_evaluation *evaluation)
{
	for (size_t i = 0; i < evaluation->n_endpoints; i++) {
		struct plan_endpoint *endpoint = &evaluation->endpoints[i];

		for (size_t j = 0; j < endpoint->n_tags; j++)
			free(endpoint->tags[j]);
		free(endpoint->tags);
		free(endpoint->addresses);
	}
	free(evaluation->endpoints);
}

static void free_side(struct plan_side *side)
{
	endpoint_map_destroy(side->map);
	zone_policy_destroy(side->policy);
	free(side->path);
}

static void evaluation_destroy(struct policy_evaluation *evaluation)
{
	free_endpoints(evaluation);
	free_side(&evaluation->before);
	free_side(&evaluation->after);
	policy_impact_free(&evaluation->impact);
	seq_destroy(evaluation->done_seq);
	free(evaluation->answer);
	free(evaluation);
}

/* --- Reading and compiling ------------------------------------------------------------------ */

static bool fail(struct policy_evaluation *evaluation, const char *path, const char *reason)
{
	snprintf(evaluation->reason, sizeof(evaluation->reason), "%s: %s", path, reason);
	return false;
}

/* The whole file, with a NUL behind; NULL with the reason noted. */
static char *read_document(struct policy_evaluation *evaluation, const char *path, size_t *length)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	struct stat status;
	char *text = NULL;
	int error = 0;

	if (fd < 0 || fstat(fd, &status)) {
		error = errno;
	} else if (!S_ISREG(status.st_mode) || status.st_size > DOCUMENT_BYTES_MAX) {
		error = EFBIG;
	} else {
		*length = (size_t)status.st_size;
		text = xmalloc(*length + 1);
		text[*length] = '\0';
		for (size_t at = 0; at < *length && !error;) {
			ssize_t n = read(fd, text + at, *length - at);

			if (n > 0)
				at += (size_t)n;
			else if (n == 0 || errno != EINTR)
				error = n ? errno : EIO;
		}
	}
	if (fd >= 0) {
		close(fd);
		unlink(path); /* It has served, whatever becomes of whoever asks. */
	}
	if (!error)
		return text;
	free(text);
	fail(evaluation, path, ovs_strerror(error));
	return NULL;
}

/* An empty document stands for no policy at all. */
static bool compile(struct policy_evaluation *evaluation, struct plan_side *side)
{
	struct policy_errors *errors = xzalloc(sizeof(*errors));
	size_t length = 0;
	char *text = read_document(evaluation, side->path, &length);

	if (text != NULL && length == 0)
		side->policy = zone_policy_create_empty();
	else if (text != NULL)
		side->policy = zone_policy_create(text, length, 0, time_wall(), errors);
	if (text != NULL && side->policy == NULL)
		fail(evaluation, side->path, errors->at[0].message);
	free(text);
	free(errors);
	return side->policy != NULL;
}

static void make_map(const struct policy_evaluation *evaluation, struct plan_side *side)
{
	struct endpoint_map_entry *entries = xcalloc(evaluation->n_endpoints + 1, sizeof(*entries));

	for (size_t i = 0; i < evaluation->n_endpoints; i++) {
		const struct plan_endpoint *endpoint = &evaluation->endpoints[i];

		entries[i] = (struct endpoint_map_entry){
			.port = endpoint->number,
			.zone = zone_of_tags(side->policy, (const char *const *)endpoint->tags,
				endpoint->n_tags, NULL),
			.addresses = endpoint->addresses,
			.n_addresses = endpoint->n_addresses,
		};
	}
	side->map = endpoint_map_create(side->policy, entries, evaluation->n_endpoints);
	free(entries);
}

/* --- Going through the table ---------------------------------------------------------------- */

/* The VM's name, or else the port's; "" for an uplink, beyond which anybody may be. */
static const char *name_of(const struct cordon_switch *sw, const struct port *port)
{
	const struct port_identity *identity = atomic_load(&sw->identities[port->number]);

	if (identity == NULL || atomic_load(&port->settings)->role == PORT_UPLINK)
		return "";
	return *identity->vm_name != '\0' ? identity->vm_name : identity->name;
}

/* The questions about the connection that announced this one, if it still would be allowed to. */
static size_t control_questions(const struct plan_side *side, const struct port *in,
	const struct port *out, const struct conn_key *key, const struct conn *conn,
	struct zone_question questions[BOTH_ENDS_QUESTIONS_MAX])
{
	struct expectation control;
	struct verdict verdict;

	if (!related_of(conn, &control) ||
		!related_allows(side->map, in, out, key, &control, &verdict))
		return 0;
	const struct port *client = control.server_opens ? out : in;
	const struct port *server = control.server_opens ? in : out;
	const struct conn_key asked = related_control_key(key, &control, client->number);

	return verdict_questions(side->map, client, server, &asked, 0, 0, questions);
}

static void ask(const struct plan_side *side, const struct port *in, const struct port *out,
	const struct conn_key *key, const struct conn *conn, struct impact_question *question)
{
	question->policy = side->policy;
	question->n = control_questions(side, in, out, key, conn, question->questions);
	if (question->n != 0)
		return;
	question->n = verdict_questions(side->map, in, out, key, atomic_load(&conn->icmp_type),
		atomic_load(&conn->icmp_code), question->questions);
}

/* When the last packet of a connection passed, by the clock on the wall. */
static uint64_t last_ns(
	const struct policy_evaluation *evaluation, struct conn_table *table, uint32_t number)
{
	uint32_t forward = atomic_load(&conn_flow(table, 2 * number)->last_seen);
	uint32_t reverse = atomic_load(&conn_flow(table, 2 * number + 1)->last_seen);
	uint32_t seen = MAX(forward, reverse);
	uint64_t idle = evaluation->now > seen ? evaluation->now - seen : 0;

	return evaluation->now_ns - idle * UINT64_C(1000000000);
}

static void judge(struct conn_table *table, uint32_t number, void *evaluation_)
{
	struct policy_evaluation *evaluation = evaluation_;
	const struct cordon_switch *sw = evaluation->sw;
	const struct conn *conn = conn_of_flow(table, 2 * number);
	const struct conn_key *key = &conn_flow(table, 2 * number)->key;
	const struct port *in = switch_port(sw, key->in_port);
	const struct port *out = switch_port(sw, atomic_load(&conn->out_port));
	bool is_ip = key->kind != CONN_KEY_ETHERNET;
	struct impact_question before, after;

	if (in == NULL || out == NULL) {
		evaluation->unjudged++;
		return;
	}
	if (atomic_load(&conn->verdict) == CONN_ALLOWED)
		evaluation->connections++;
	else
		evaluation->refusals++;
	ask(&evaluation->before, in, out, key, conn, &before);
	ask(&evaluation->after, in, out, key, conn, &after);
	const struct impact_end source = {
		.name = name_of(sw, in), .address = is_ip ? key->source : in6addr_any};
	const struct impact_end destination = {
		.name = name_of(sw, out), .address = is_ip ? key->destination : in6addr_any};
	policy_impact_add(&evaluation->impact, &before, &after, &source, &destination, 1,
		last_ns(evaluation, table, number));
}

static void judge_all(struct policy_evaluation *evaluation)
{
	struct conn_table *table = evaluation->sw->connections;
	uint32_t at = 0, end = conn_high_water(table);

	ovsrcu_quiesce_end();
	while (at < end && !atomic_load(&evaluation->sw->stop)) {
		uint32_t next = end - at > STRIDE ? at + STRIDE : end;

		conn_for_each(table, at, next, judge, evaluation);
		ovsrcu_quiesce(); /* Others wait for that. */
		at = next;
	}
	ovsrcu_quiesce_start();
}

/* The impact, with what else there is to say in front. */
static void write_answer(struct policy_evaluation *evaluation, long long int began)
{
	size_t size = 0;
	FILE *stream = open_memstream(&evaluation->answer, &size);

	if (stream == NULL)
		out_of_memory();
	fprintf(stream,
		"{\"connections\": %llu, \"refusals\": %llu, \"unjudged\": %llu, "
		"\"took_ms\": %lld, \"impact\": ",
		(unsigned long long int)evaluation->connections,
		(unsigned long long int)evaluation->refusals,
		(unsigned long long int)evaluation->unjudged, time_msec() - began);
	policy_impact_write(&evaluation->impact, evaluation->before.policy,
		evaluation->after.policy, ROWS_MAX, EXAMPLES_MAX, stream);
	fputs("}", stream);
	fclose(stream);
}

static void *evaluate(void *evaluation_)
{
	struct policy_evaluation *evaluation = evaluation_;
	long long int began = time_msec();

	ovsrcu_quiesce_start();
	worker_give_way(evaluation->sw);
	if (compile(evaluation, &evaluation->before) && compile(evaluation, &evaluation->after)) {
		make_map(evaluation, &evaluation->before);
		make_map(evaluation, &evaluation->after);
		evaluation->now_ns = (uint64_t)time_wall_msec() * 1000000u;
		evaluation->now = conn_clock();
		judge_all(evaluation);
		write_answer(evaluation, began);
	}
	atomic_store(&evaluation->done, true);
	seq_change(evaluation->done_seq);
	return NULL;
}

/* --- The command ---------------------------------------------------------------------------- */

/* The path of a file of the run directory; NULL if the name leads elsewhere. */
static char *path_of(const struct config *config, const char *name)
{
	if (strncmp(name, "plan-", 5) != 0 || strchr(name, '/') != NULL)
		return NULL;
	return xasprintf("%s/%s", config->sw->options->run_directory, name);
}

/* Puts it behind those that wait.  False if there are too many. */
static bool enqueue(struct config *config, struct policy_evaluation *evaluation)
{
	struct policy_evaluation **last = &config->evaluation;
	unsigned int n = 0;

	for (; *last != NULL; last = &(*last)->next)
		n++;
	if (n < EVALUATIONS_MAX)
		*last = evaluation;
	return n < EVALUATIONS_MAX;
}

/* Begins with the first that waits, if there is one.  Endpoints are those of now. */
static void start_first(struct config *config)
{
	struct policy_evaluation *evaluation = config->evaluation;

	if (evaluation == NULL)
		return;
	copy_endpoints(evaluation, config);
	evaluation->thread = ovs_thread_create("plan", evaluate, evaluation);
}

static void evaluate_policy(
	struct unixctl_conn *reply, int argc OVS_UNUSED, const char *argv[], void *config_)
{
	struct config *config = config_;
	char *before = path_of(config, argv[1]), *after = path_of(config, argv[2]);

	if (before == NULL || after == NULL) {
		unixctl_command_reply_error(
			reply, "the documents must be files plan-* of the run directory");
		free(before);
		free(after);
		return;
	}
	struct policy_evaluation *evaluation = xzalloc(sizeof(*evaluation));
	evaluation->sw = config->sw;
	evaluation->reply = reply;
	evaluation->done_seq = seq_create();
	evaluation->before.path = before;
	evaluation->after.path = after;
	policy_impact_init(&evaluation->impact);
	if (!enqueue(config, evaluation)) {
		unixctl_command_reply_error(
			reply, "too many plans are being evaluated; try again in a moment");
		evaluation_destroy(evaluation);
	} else if (config->evaluation == evaluation) {
		start_first(config);
	}
}

void control_plan_run(struct config *config)
{
	struct policy_evaluation *evaluation = config->evaluation;

	if (evaluation == NULL || !atomic_load(&evaluation->done))
		return;
	pthread_join(evaluation->thread, NULL);
	if (evaluation->answer != NULL)
		unixctl_command_reply(evaluation->reply, evaluation->answer);
	else
		unixctl_command_reply_error(evaluation->reply, evaluation->reason);
	if (evaluation->answer == NULL)
		VLOG_WARN("a plan could not be evaluated: %s", evaluation->reason);
	config->evaluation = evaluation->next;
	evaluation_destroy(evaluation);
	start_first(config);
}

void control_plan_wait(struct config *config)
{
	struct policy_evaluation *evaluation = config->evaluation;

	if (evaluation == NULL)
		return;
	seq_wait(evaluation->done_seq, seq_read(evaluation->done_seq));
	if (atomic_load(&evaluation->done))
		poll_immediate_wake();
}

void control_plan_destroy(struct config *config)
{
	struct policy_evaluation *evaluation = config->evaluation;

	if (evaluation != NULL)
		pthread_join(evaluation->thread, NULL);
	while (config->evaluation != NULL) {
		evaluation = config->evaluation;
		config->evaluation = evaluation->next;
		evaluation_destroy(evaluation);
	}
}

void control_plan_register(struct config *config)
{
	unixctl_command_register(
		"cordon/policy-evaluate", "BEFORE AFTER", 2, 2, evaluate_policy, config);
}
