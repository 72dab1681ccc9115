/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Commands: from the kernel's command line (behind "-- ", separated by ";"), from the serial port
 * (a line each) and from UDP datagrams to the control port.
 *
 * The answer is a line, on the serial port and to whom the datagram came from.
 */
#include "guest.h"

enum { LINE_BYTES = 256, REPLY_BYTES = 512, UDP_HEADER = 8 };

struct command {
	const char *name;
	void (*run)(char *line, char *reply, size_t size);
};

static char serial_line[LINE_BYTES], kept_line[LINE_BYTES];
static size_t serial_bytes;
static bool kept, stopped;
static struct command_sender kept_sender;
static uint64_t serial_seen = UINT64_MAX; /* No count: the first look is always taken. */

/* --- Short ones --- */

static void stats(char *line, char *reply, size_t size)
{
	const struct net *net = &nets[number(word(&line)) % NETS_MAX];

	format_to(reply, size,
		"stats: received %u bytes %u discarded %u sent %u bytes %u no_room %u interrupts "
		"%u",
		net->received, net->received_bytes, net->discarded, net->sent, net->sent_bytes,
		net->no_room, net_interrupts(net));
}

static void say(char *line, char *reply, size_t size)
{
	format_to(reply, size, "%s", line);
}

static void mask(char *line, char *reply, size_t size)
{
	net_mask(&nets[number(word(&line)) % NETS_MAX], true);
	format_to(reply, size, "masked");
}

static void unmask(char *line, char *reply, size_t size)
{
	struct net *net = &nets[number(word(&line)) % NETS_MAX];
	bool pending = virtio_pending(&net->virtio, 0);
	uint64_t before = interrupts;

	net_mask(net, false);
	wait_ms(20);
	format_to(reply, size, "unmasked: pending %u interrupts %u", (uint64_t)pending,
		interrupts - before);
}

static void again(char *line, char *reply, size_t size)
{
	struct net *net = &nets[number(word(&line)) % NETS_MAX];

	net_open(net);
	format_to(reply, size, "reset and ready");
}

static void wait(char *line, char *reply, size_t size)
{
	uint64_t end = clock_cycles() + number(word(&line)) * cycles_per_ms();

	while (clock_cycles() < end)
		work();
	format_to(reply, size, "waited");
}

static void off(char *line, char *reply, size_t size)
{
	(void)line;
	(void)reply;
	(void)size;
	power_off();
}

static void restart(char *line, char *reply, size_t size)
{
	(void)line;
	(void)reply;
	(void)size;
	reset();
}

static void die(char *line, char *reply, size_t size)
{
	const char *how = word(&line);

	print("dies: %s", how);
	if (same(how, "triple"))
		ring0(CALL_TRIPLE_FAULT);
	else if (same(how, "spin"))
		ring0(CALL_SPIN);
	else if (same(how, "halt"))
		ring0(CALL_HALT);
	else if (same(how, "page"))
		*(volatile uint8_t *)(UINT64_C(1) << 40) = 0;
	else if (same(how, "nowhere"))
		((void (*)(void))UINT64_C(0xd0000000))();
	format_to(reply, size, "nobody dies of %s", how);
}

static void stop(char *line, char *reply, size_t size)
{
	(void)line;
	format_to(reply, size, "stopped");
}

static const struct command commands[] = {
	{"stats", stats},
	{"pci", pci_list},
	{"say", say},
	{"ping", exchange_ping},
	{"udp", exchange_udp},
	{"tcp", exchange_tcp},
	{"flood", flood},
	{"shout", shout},
	{"stop", stop},
	{"wait", wait},
	{"mask", mask},
	{"unmask", unmask},
	{"again", again},
	{"block", block_test},
	{"block-read", block_read},
	{"block-write", block_write},
	{"block-traffic", block_traffic},
	{"rng", rng_test},
	{"balloon", balloon_command},
	{"console", console_command},
	{"misbehave", misbehave},
	{"off", off},
	{"reset", restart},
	{"die", die},
};

static void run(char *line, char *reply)
{
	const char *name = word(&line);

	stopped = false;
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
		if (same(commands[i].name, name)) {
			commands[i].run(line, reply, REPLY_BYTES);
			print("> %s", reply);
			return;
		}
	}
	format_to(reply, REPLY_BYTES, "no command %s", name);
	print("> %s", reply);
}

/* --- From the network --- */

static bool is_stop(const uint8_t *text, size_t bytes)
{
	return bytes >= 4 && memcmp(text, "stop", 4) == 0;
}

bool command_keep(const struct command_sender *sender, const uint8_t *text, size_t bytes)
{
	if (is_stop(text, bytes))
		stopped = true;
	if (kept || bytes >= LINE_BYTES)
		return false;
	memcpy(kept_line, text, bytes);
	while (bytes > 0 && kept_line[bytes - 1] == '\n')
		bytes--;
	kept_line[bytes] = '\0';
	kept_sender = *sender;
	kept = true;
	return true;
}

static void send_reply(const char *reply)
{
	struct command_sender *to = &kept_sender;
	size_t bytes = strlen(reply);
	uint8_t *frame = net_frame(to->net, 0), *udp;

	if (!frame)
		return;
	udp = packet_begin(frame, to->net, to->mac, &to->address, PROTOCOL_UDP);
	memset(udp, 0, UDP_HEADER);
	set_be16(udp, PORT_CONTROL);
	set_be16(udp + 2, to->port);
	memcpy(udp + UDP_HEADER, reply, bytes);
	net_send(to->net, 0, packet_end(frame, UDP_HEADER + bytes));
}

/* --- From the serial port --- */

static bool read_serial(void)
{
	int c;

	while ((c = serial_take()) >= 0) {
		if (c == '\n' || c == '\r') {
			serial_line[serial_bytes] = '\0';
			if (is_stop((const uint8_t *)serial_line, serial_bytes))
				stopped = true;
			if (serial_bytes > 0)
				return true;
		} else if (serial_bytes < LINE_BYTES - 1) {
			serial_line[serial_bytes++] = (char)c;
		}
	}
	return false;
}

/* Looking costs an exit: only after an interrupt. */
static bool serial_waits(void)
{
	uint64_t now = interrupt_counts[FIRST_INTERRUPT + INTERRUPTS - 2];

	if (serial_seen == now)
		return false;
	serial_seen = now;
	return true;
}

bool command_poll(void)
{
	static char reply[REPLY_BYTES];

	if (kept) {
		run(kept_line, reply);
		send_reply(reply);
		kept = false;
		return true;
	}
	if (!serial_waits() || !read_serial())
		return false;
	serial_bytes = 0;
	serial_seen--; /* There may be another line behind it. */
	run(serial_line, reply);
	return true;
}

/* --- From the command line --- */

void command_script(const char *script)
{
	static char line[LINE_BYTES], reply[REPLY_BYTES];

	while (*script) {
		size_t n = 0;

		while (*script == ' ' || *script == ';')
			script++;
		while (*script && *script != ';' && n < LINE_BYTES - 1)
			line[n++] = *script++;
		line[n] = '\0';
		if (n > 0)
			run(line, reply);
	}
}

bool command_stopped(void)
{
	if (!stopped && serial_waits())
		read_serial();
	return stopped;
}
