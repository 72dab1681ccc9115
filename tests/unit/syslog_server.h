/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A syslog server on the loopback for tests, over TCP or TLS, in a thread of its own: it counts
 * octets, reads each message as strictly as RFC 5424 has it, and can be as unhelpful as servers
 * are.  Included after tests/unit/log_fixture.h and tests/unit/syslog_reader.h.
 */
#ifndef TESTS_UNIT_SYSLOG_SERVER_H
#define TESTS_UNIT_SYSLOG_SERVER_H

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <time.h>

enum {
	SERVER_SEQUENCES_MAX = 200000,
	SERVER_BUFFER = 1 << 17,
	SERVER_SLICE_MS = 20,
	SERVER_SLOW_BYTES = 8 << 10,
	SERVER_BABBLE = 1 << 14
};

struct syslog_server {
	/* As the test wants it, before it is started. */
	SSL_CTX *context;	/* NULL: over TCP. */
	bool is_slow;		/* It reads little at a time. */
	bool never_reads;	/* It accepts, and that is all. */
	bool shakes_hands_only; /* And then reads nothing. */
	bool babbles;		/* It says more and more, and never reads. */
	const char *greeting;	/* Said in plain text to whoever connects. */
	size_t close_after;	/* Messages, once; 0: never. */
	/* What it has got. */
	_Atomic size_t n;	    /* Messages. */
	_Atomic size_t connections; /* That were accepted. */
	_Atomic bool closes;	    /* Set by the test: it closes the connection under way. */
	uint64_t sequences[SERVER_SEQUENCES_MAX];
	char refusal[200]; /* Why it has refused a client over TLS. */
	/* Its own. */
	pthread_t thread;
	int listener;
	char endpoint[64];
	_Atomic bool ending;
	char buffer[SERVER_BUFFER];
	size_t used;
	uint64_t next_id;
	struct syslog_read read;
};

static void server_wait_ms(long int ms)
{
	nanosleep(&(struct timespec){ms / 1000, ms % 1000 * 1000000}, NULL);
}

/* Takes the whole messages from the buffer.  False: it has enough of them. */
static bool server_take_messages(struct syslog_server *server)
{
	for (;;) {
		char *space = memchr(server->buffer, ' ', server->used);
		size_t length, frame;

		if (!space)
			return true;
		assert_true(server->buffer[0] >= '1' && server->buffer[0] <= '9');
		length = strtoul(server->buffer, NULL, 10);
		frame = (size_t)(space + 1 - server->buffer) + length;
		if (server->used < frame)
			return true;
		syslog_read(space + 1, length, &server->read);
		assert_int_equal(strtoull(syslog_value(&server->read, "sequenceId"), NULL, 10),
			++server->next_id);
		assert_true(server->n < SERVER_SEQUENCES_MAX);
		server->sequences[server->n] = syslog_sequence(&server->read);
		server->n++;
		server->used -= frame;
		memmove(server->buffer, server->buffer + frame, server->used);
		if (server->n == server->close_after) {
			server->close_after = 0;
			return false;
		}
	}
}

/* Returns false once nothing more comes. */
static bool server_receive(struct syslog_server *server, int fd, SSL *tls)
{
	struct pollfd one = {.fd = fd, .events = POLLIN};
	char *to = server->buffer + server->used;
	int room = (int)(SERVER_BUFFER - server->used), n;

	if (server->is_slow) {
		server_wait_ms(SERVER_SLICE_MS);
		room = room < SERVER_SLOW_BYTES ? room : SERVER_SLOW_BYTES;
	}
	if (!(tls && SSL_pending(tls)) && poll(&one, 1, SERVER_SLICE_MS) <= 0)
		return true;
	if (tls) {
		n = SSL_read(tls, to, room);
		if (n <= 0 && SSL_get_error(tls, n) == SSL_ERROR_WANT_READ)
			return true;
	} else {
		n = (int)recv(fd, to, (size_t)room, 0);
	}
	if (n <= 0)
		return false;
	server->used += (size_t)n;
	return server_take_messages(server);
}

static void server_note_refusal(struct syslog_server *server)
{
	ERR_error_string_n(ERR_get_error(), server->refusal, sizeof(server->refusal));
	ERR_clear_error();
}

/* As fast as it is taken.  Returns false once nobody takes it any more. */
static bool server_babble(struct syslog_server *server, int fd, SSL *tls)
{
	struct pollfd one = {.fd = fd, .events = POLLOUT};
	int n;

	if (poll(&one, 1, SERVER_SLICE_MS) <= 0)
		return true;
	n = tls ? SSL_write(tls, server->buffer, SERVER_BABBLE)
		: (int)send(fd, server->buffer, SERVER_BABBLE, MSG_NOSIGNAL | MSG_DONTWAIT);
	return n > 0 || (!tls && errno == EAGAIN);
}

static void server_talk(struct syslog_server *server, int fd)
{
	SSL *tls = server->context ? SSL_new(server->context) : NULL;
	bool go_on = true;

	if (server->greeting)
		send(fd, server->greeting, strlen(server->greeting), MSG_NOSIGNAL);
	if (tls && !server->never_reads) {
		SSL_set_fd(tls, fd);
		go_on = SSL_accept(tls) == 1;
		if (!go_on)
			server_note_refusal(server);
	}
	server->used = 0;
	server->next_id = 0;
	while (go_on && !server->ending && !server->closes) {
		if (server->never_reads || server->shakes_hands_only)
			server_wait_ms(SERVER_SLICE_MS);
		else if (server->babbles)
			go_on = server_babble(server, fd, tls);
		else
			go_on = server_receive(server, fd, tls);
	}
	SSL_free(tls);
	ERR_clear_error();
	close(fd);
	server->closes = false; /* Now that it is closed. */
}

static void *server_main(void *server_)
{
	struct syslog_server *server = server_;
	sigset_t pipe_signal;

	sigemptyset(&pipe_signal);
	sigaddset(&pipe_signal, SIGPIPE);
	pthread_sigmask(SIG_BLOCK, &pipe_signal, NULL);
	while (!server->ending) {
		struct pollfd one = {.fd = server->listener, .events = POLLIN};
		int fd = poll(&one, 1, SERVER_SLICE_MS) > 0 ? accept(server->listener, NULL, NULL)
							    : -1;
		if (fd < 0)
			continue;
		/* Not for ever, if a client says nothing. */
		setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &(struct timeval){.tv_sec = 3},
			sizeof(struct timeval));
		server->connections++;
		server_talk(server, fd);
	}
	return NULL;
}

/* On a port that the system chooses. */
static void start_server(struct syslog_server *server)
{
	struct sockaddr_in address = {
		.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t length = sizeof(address);

	server->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (server->is_slow || server->never_reads)
		setsockopt(server->listener, SOL_SOCKET, SO_RCVBUF, &(int){SERVER_SLOW_BYTES},
			sizeof(int));
	assert_int_equal(bind(server->listener, (struct sockaddr *)&address, length), 0);
	assert_int_equal(getsockname(server->listener, (struct sockaddr *)&address, &length), 0);
	assert_int_equal(listen(server->listener, 8), 0);
	snprintf(server->endpoint, sizeof(server->endpoint), "127.0.0.1:%u",
		ntohs(address.sin_port));
	assert_int_equal(pthread_create(&server->thread, NULL, server_main, server), 0);
}

static void stop_server(struct syslog_server *server)
{
	server->ending = true;
	pthread_join(server->thread, NULL);
	close(server->listener);
	SSL_CTX_free(server->context);
	free(server);
}

/* Waits until it has got n messages. */
static void server_await(const struct syslog_server *server, size_t n)
{
	for (int i = 0; server->n < n && i < 1000; i++)
		server_wait_ms(5);
	assert_int_equal(server->n, n);
}

/* It has got first...last, once and in this order. */
__attribute__((unused)) static void server_has(
	const struct syslog_server *server, uint64_t first, uint64_t last)
{
	server_await(server, last + 1 - first);
	for (uint64_t i = 0; i <= last - first; i++)
		assert_int_equal(server->sequences[i], first + i);
}

/* It has got first...last, each at least once. */
__attribute__((unused)) static void server_has_all(
	const struct syslog_server *server, uint64_t first, uint64_t last)
{
	bool *got = calloc(last + 1, sizeof(*got));

	assert_non_null(got);
	for (size_t i = 0; i < server->n; i++)
		if (server->sequences[i] <= last)
			got[server->sequences[i]] = true;
	for (uint64_t sequence = first; sequence <= last; sequence++)
		if (!got[sequence])
			fail_msg("record %llu is lost", (unsigned long long)sequence);
	free(got);
}

#endif
