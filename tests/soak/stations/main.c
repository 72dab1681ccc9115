/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The stations' program: reads commands from its standard input, a line each, and answers each with
 * a line; `commands` below lists them.  Between them it sends and receives.  One thread.  It ends
 * with its input.  stations.py starts it: stations RUN SEED FLOWS-FILE VIOLATIONS-FILE.
 */
#include "stations.h"

#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

enum { WORDS_MAX = 8, TICK_MS = 2, REST_MS = 100, LINE_BYTES = 1 << 14 };

uint64_t clock_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

void watch_add(struct soak *soak, int fd, struct watch *watch)
{
	struct epoll_event event = {.events = EPOLLIN, .data.ptr = watch};

	if (epoll_ctl(soak->epoll, EPOLL_CTL_ADD, fd, &event) != 0) {
		perror("epoll_ctl");
		exit(1);
	}
}

void watch_remove(struct soak *soak, int fd)
{
	(void)epoll_ctl(soak->epoll, EPOLL_CTL_DEL, fd, NULL);
}

/* --- answers -------------------------------------------------------------------------------- */

static void answer(const char *text)
{
	printf("%s\n", text);
	fflush(stdout);
}

static void answer_result(int result)
{
	printf(result == 0 ? "ok\n" : "error %s\n", strerror(-result));
	fflush(stdout);
}

/* --- wires ---------------------------------------------------------------------------------- */

static struct wire *find_wire(struct soak *soak, const char *name)
{
	for (unsigned int i = 0; i < WIRES_MAX; i++) {
		if (soak->wires[i].open && strcmp(soak->wires[i].name, name) == 0)
			return &soak->wires[i];
	}
	return NULL;
}

/* The wire of that name, as it was left, or a new one. */
static struct wire *place_for_wire(struct soak *soak, const char *name)
{
	struct wire *wire = NULL;

	for (unsigned int i = 0; i < WIRES_MAX; i++) {
		if (strcmp(soak->wires[i].name, name) == 0)
			return soak->wires[i].open ? NULL : &soak->wires[i];
		if (wire == NULL && soak->wires[i].name[0] == '\0')
			wire = &soak->wires[i];
	}
	return wire;
}

static void plug(struct soak *soak, int n, char *words[])
{
	struct wire *wire = place_for_wire(soak, words[1]);
	int result;

	if (wire == NULL) {
		answer("error this wire is plugged in already, or there are too many");
		return;
	}
	wire->soak = soak;
	wire->socket = -1;
	wire->trunk = n > 4 && strcmp(words[4], "trunk") == 0;
	result = strcmp(words[0], "kernel") == 0
			 ? kernel_wire_open(wire, words[2], words[3])
			 : guest_wire_open(wire, words[2], (unsigned int)atoi(words[3]));
	if (result == 0) {
		snprintf(wire->name, sizeof(wire->name), "%s", words[1]);
		wire->open = true;
	}
	answer_result(result);
}

static void unplug(struct soak *soak, int n, char *words[])
{
	struct wire *wire = find_wire(soak, words[1]);

	(void)n;
	if (wire == NULL) {
		answer("error no such wire");
		return;
	}
	wire->kind->close(wire);
	wire->open = false;
	answer("ok");
}

/* --- endpoints and cells -------------------------------------------------------------------- */

static bool read_mac(const char *text, uint8_t mac[6])
{
	return sscanf(text, "%2hhx:%2hhx:%2hhx:%2hhx:%2hhx:%2hhx", &mac[0], &mac[1], &mac[2],
		       &mac[3], &mac[4], &mac[5]) == 6;
}

static void set_endpoint(struct soak *soak, int n, char *words[])
{
	unsigned int id = (unsigned int)atoi(words[1]);
	struct wire *wire = find_wire(soak, words[2]);
	struct endpoint endpoint = {.exists = true,
		.wire = wire,
		.vlan = (uint16_t)atoi(words[3]),
		.since_ns = strcmp(words[7], "settled") == 0 ? clock_ns() : UINT64_MAX};

	if (n != 8 || id >= ENDPOINTS_MAX || (wire == NULL && strcmp(words[2], "-") != 0) ||
		!read_mac(words[4], endpoint.mac) ||
		inet_pton(AF_INET, words[5], &endpoint.ipv4) != 1 ||
		inet_pton(AF_INET6, words[6], &endpoint.ipv6) != 1) {
		answer("error not an endpoint");
		return;
	}
	soak->endpoints[id] = endpoint;
	answer("ok");
}

static void set_cells(struct soak *soak, int n, char *words[])
{
	size_t size = (size_t)atoi(words[1]);
	uint64_t now = clock_ns();

	if (n != 3 || size > ENDPOINTS_MAX || strlen(words[2]) != size * size * SERVICES) {
		answer("error not as many cells as said");
		return;
	}
	for (size_t i = 0; i < size * size * SERVICES; i++)
		ledger_set_cell(&soak->cells[i / size % size][i % size][i / (size * size)],
			(uint8_t)words[2][i], now);
	answer("ok");
}

/* The endpoint's port is about to change: until it is set again, a frame may be in either VLAN. */
static void unsettle(struct soak *soak, int n, char *words[])
{
	unsigned int id = (unsigned int)atoi(words[1]);

	(void)n;
	if (id < ENDPOINTS_MAX)
		soak->endpoints[id].since_ns = UINT64_MAX;
	answer("ok");
}

/* --- traffic -------------------------------------------------------------------------------- */

static void set_rate(struct soak *soak, int n, char *words[])
{
	(void)n;
	soak->rate = (uint32_t)atoi(words[1]);
	soak->owed = 0;
	soak->last_tick_ns = clock_ns();
	answer("ok");
}

static bool probe_waits(const struct soak *soak, unsigned int from, unsigned int to, unsigned int i)
{
	return soak->slots[from][to][i / VERSIONS][i % VERSIONS].probe_waits;
}

static void probe(struct soak *soak, int n, char *words[])
{
	(void)n;
	traffic_probe(soak, strcmp(words[1], "first") == 0);
	answer("ok");
}

/* The probes that have not arrived: "from>to/service/version ...". */
static void list_waiting(struct soak *soak, int n, char *words[])
{
	(void)n;
	(void)words;
	for (unsigned int from = 0; from < ENDPOINTS_MAX; from++) {
		for (unsigned int to = 0; to < ENDPOINTS_MAX; to++) {
			for (unsigned int i = 0; i < SERVICES * VERSIONS; i++) {
				if (probe_waits(soak, from, to, i))
					printf("%u>%u/%u/IPv%u ", from, to, i / VERSIONS,
						i % VERSIONS == 0 ? 4u : 6u);
			}
		}
	}
	answer("");
}

static void print_wires(const struct soak *soak)
{
	const char *comma = "";

	printf("\"wires\": {");
	for (unsigned int i = 0; i < WIRES_MAX; i++) {
		const struct wire *wire = &soak->wires[i];

		if (wire->name[0] == '\0')
			continue;
		printf("%s\"%s\": {\"sent\": %" PRIu64 ", \"received\": %" PRIu64
		       ", \"refused\": %" PRIu64 ", \"foreign\": %" PRIu64 ", \"up\": %s}",
			comma, wire->name, wire->sent, wire->received, wire->refused, wire->foreign,
			wire->open && (wire->guest == NULL || guest_wire_is_connected(wire))
				? "true"
				: "false");
		comma = ", ";
	}
	printf("}");
}

static void report(struct soak *soak, int n, char *words[])
{
	static const char *const kinds[FRAME_KINDS] = {
		"request", "reply", "broadcast", "spoofed", "probe"};

	(void)n;
	(void)words;
	printf("{");
	for (unsigned int i = 0; i < FRAME_KINDS; i++)
		printf("\"%s_sent\": %" PRIu64 ", \"%s_arrived\": %" PRIu64 ", ", kinds[i],
			soak->sent[i], kinds[i], soak->arrived[i]);
	printf("\"denied_tries\": %" PRIu64 ", \"flooded\": %" PRIu64 ", \"wrong\": %" PRIu64
	       ", \"denied_seen\": %" PRIu64 ", \"spoofed_seen\": %" PRIu64
	       ", \"damaged\": %" PRIu64 ", ",
		soak->denied_tries, soak->flooded, soak->wrong, soak->denied_seen,
		soak->spoofed_seen, soak->damaged);
	print_wires(soak);
	answer("}");
}

/* --- commands ------------------------------------------------------------------------------- */

struct command {
	const char *name;
	int n_words;
	void (*run)(struct soak *soak, int n, char *words[]);
};

static const struct command commands[] = {
	/* WIRE NETNS-FILE DEVICE trunk|access: plugs a packet socket in. */
	{"kernel", 5, plug},
	/* WIRE SOCKET QUEUE-PAIRS: makes a guest, and waits for the switch. */
	{"guest", 4, plug},
	/* WIRE: as a cable that is pulled, or a VMM that dies. */
	{"unwire", 2, unplug},
	/* ID WIRE|- VLAN MAC IPV4 IPV6 settled|changing: who is where. */
	{"endpoint", 8, set_endpoint},
	/* ID: its port is about to change. */
	{"unsettled", 2, unsettle},
	/* N STATES: for each service N x N of A, D and ?, a row for each source. */
	{"cells", 3, set_cells},
	/* FRAMES-PER-SECOND. */
	{"rate", 2, set_rate},
	/* first|again: sends what must arrive; later, what of it has not arrived yet. */
	{"probe", 2, probe},
	/* The probes that have not arrived. */
	{"waiting", 1, list_waiting},
	/* All counters, as JSON. */
	{"report", 1, report},
};

static void obey(struct soak *soak, char *line)
{
	char *words[WORDS_MAX], *rest = NULL;
	int n = 0;

	for (char *word = strtok_r(line, " \n", &rest); word != NULL && n < WORDS_MAX;
		word = strtok_r(NULL, " \n", &rest))
		words[n++] = word;
	for (size_t i = 0; n > 0 && i < sizeof(commands) / sizeof(commands[0]); i++) {
		if (strcmp(words[0], commands[i].name) == 0 && n == commands[i].n_words) {
			commands[i].run(soak, n, words);
			return;
		}
	}
	answer("error no such command");
}

/* Commands come one at a time, each after the answer to the one before. */
static void input_ready(void *soak_)
{
	struct soak *soak = soak_;
	char line[LINE_BYTES];

	if (fgets(line, sizeof(line), stdin) == NULL)
		soak->quit = true;
	else
		obey(soak, line);
}

static void run(struct soak *soak)
{
	struct watch input = {input_ready, soak};

	watch_add(soak, STDIN_FILENO, &input);
	while (!soak->quit) {
		/* One at a time: handling one may close the next. */
		struct epoll_event event;
		int n = epoll_wait(soak->epoll, &event, 1, soak->rate != 0 ? TICK_MS : REST_MS);

		if (n == 1) {
			struct watch *watch = event.data.ptr;
			watch->handle(watch->context);
		}
		uint64_t now = clock_ns();
		if (soak->rate != 0 && now - soak->last_tick_ns >= TICK_MS * 1000000u / 2)
			traffic_tick(soak, now);
	}
	for (unsigned int i = 0; i < WIRES_MAX; i++) {
		if (soak->wires[i].open)
			soak->wires[i].kind->close(&soak->wires[i]);
	}
}

int main(int argc, char *argv[])
{
	if (argc != 5) {
		fprintf(stderr, "usage: stations RUN SEED FLOWS-FILE VIOLATIONS-FILE\n");
		return 2;
	}
	struct soak *soak = calloc(1, sizeof(*soak));
	if (soak == NULL)
		return 1;
	soak->run = (uint32_t)strtoul(argv[1], NULL, 0);
	soak->random[0] = strtoull(argv[2], NULL, 0) | 1;
	soak->random[1] = UINT64_C(0x9e3779b97f4a7c15);
	soak->flows = fopen(argv[3], "w");
	soak->violations = fopen(argv[4], "w");
	soak->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (soak->flows == NULL || soak->violations == NULL || soak->epoll < 0) {
		perror("stations");
		exit(1);
	}
	setvbuf(stdin, NULL, _IONBF, 0);
	run(soak);
	fclose(soak->flows);
	fclose(soak->violations);
	close(soak->epoll);
	free(soak);
	return 0;
}
