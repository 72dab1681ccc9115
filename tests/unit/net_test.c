/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio-net as its driver sees it: what is offered, the configuration space, the link, and the
 * control queue; the switch is a back end of tests.
 */
#define DRIVER_IS_TRANSPORT
#include "hv/net.h"
#include "tests/unit/vhost_user_back_end.h"
#include "tests/unit/vhost_user_broker.h"
#include "tests/unit/virtio_device_driver.h"

#include <linux/virtio_config.h>
#include <linux/virtio_net.h>
#include <linux/virtio_ring.h>
#include <time.h>

enum { PAIRS = 2, QUEUE_SIZE = 32, MTU = 1400, LONG_MS = 10000 };

#define BIT(number) (UINT64_C(1) << (number))
#define NET(name)   BIT(VIRTIO_NET_F_##name)
#define SWITCH                                                                                     \
	(NET(CSUM) | NET(GUEST_CSUM) | NET(HOST_TSO4) | NET(MRG_RXBUF) | NET(MQ) |                 \
		BIT(VIRTIO_RING_F_EVENT_IDX))
#define OWN                                                                                        \
	(NET(MAC) | NET(STATUS) | NET(CTRL_VQ) | NET(CTRL_RX) | NET(CTRL_RX_EXTRA) |               \
		NET(CTRL_MAC_ADDR) | NET(MQ) | NET(MTU))

static const uint8_t mac[6] = {2, 0, 0, 0, 0, 9};

struct fixture {
	struct driver driver;
	struct broker broker;
	char directory[32], socket[64];
	struct net_options options;
	struct back_end back_end;
	bool plugged;
};

static void fixture_open(struct fixture *fixture)
{
	struct hv_error error = {""};

	memset(fixture, 0, sizeof(*fixture));
	strcpy(fixture->directory, "/tmp/net-test-XXXXXX");
	assert_non_null(mkdtemp(fixture->directory));
	snprintf(fixture->socket, sizeof(fixture->socket), "%s/socket", fixture->directory);
	fixture->options = (struct net_options){
		.socket = fixture->socket,
		.queue_pairs = PAIRS,
		.queue_size = QUEUE_SIZE,
		.mtu = MTU,
	};
	memcpy(fixture->options.mac, mac, sizeof(mac));
	driver_open(&fixture->driver);
	pthread_mutex_lock(&fixture->driver.lock);
	if (net_create(&fixture->driver.device, &fixture->options, 0, &fixture->driver.memory,
		    fixture->driver.loop, &fixture->broker, &error) < 0)
		fail_msg("%s", error.text);
	pthread_mutex_unlock(&fixture->driver.lock);
}

static struct net_status status_of(struct fixture *fixture)
{
	struct net_status status;

	pthread_mutex_lock(&fixture->driver.lock);
	net_status(fixture->driver.device, &status);
	pthread_mutex_unlock(&fixture->driver.lock);
	return status;
}

static void pause_a_little(void)
{
	const struct timespec little = {.tv_nsec = 5000000};

	nanosleep(&little, NULL);
}

static void await_connected(struct fixture *fixture, bool connected)
{
	for (unsigned int ms = 0; status_of(fixture).connected != connected; ms += 5) {
		assert_true(ms < LONG_MS);
		pause_a_little();
	}
}

static void await_link(struct fixture *fixture, bool up)
{
	for (unsigned int ms = 0; status_of(fixture).link_up != up; ms += 5) {
		assert_true(ms < LONG_MS);
		pause_a_little();
	}
}

/* A switch with these features comes. */
static void plug(struct fixture *fixture, uint64_t features, uint64_t n_queues)
{
	struct sockaddr_un address = test_address(fixture->socket);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	fixture->back_end = (struct back_end){
		.features = features | BIT(VIRTIO_F_VERSION_1) | VHOST_USER_F_PROTOCOL_FEATURES,
		.protocol_features = BIT(VHOST_USER_PROTOCOL_MQ) | BIT(VHOST_USER_PROTOCOL_RARP) |
				     BIT(VHOST_USER_PROTOCOL_NET_MTU) |
				     BIT(VHOST_USER_PROTOCOL_REPLY_ACK),
		.n_queues = n_queues,
	};
	assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	back_end_start(&fixture->back_end, fd);
	fixture->plugged = true;
}

static void unplug(struct fixture *fixture)
{
	if (fixture->plugged)
		back_end_join(&fixture->back_end);
	fixture->plugged = false;
}

static void fixture_close(struct fixture *fixture)
{
	unplug(fixture);
	driver_close(&fixture->driver);
	unlink(fixture->socket);
	rmdir(fixture->directory);
}

static struct virtio_net_config config_of(struct fixture *fixture)
{
	struct virtio_device *device = fixture->driver.device;
	struct virtio_net_config config;

	pthread_mutex_lock(&fixture->driver.lock);
	device->type->read_config(device, 0, (uint8_t *)&config, sizeof(config));
	pthread_mutex_unlock(&fixture->driver.lock);
	return config;
}

/* Until the switch has heard of it `times` times. */
static void await_heard(
	struct fixture *fixture, enum vhost_user_request request, unsigned int times)
{
	for (unsigned int ms = 0; back_end_times(&fixture->back_end, request) < times; ms += 5) {
		if (ms >= LONG_MS)
			fail_msg("%s was not said", vhost_user_request_name(request));
		pause_a_little();
	}
}

/* --- What is offered -------------------------------------------------------------------------- */

static void test_offer(void **state)
{
	struct fixture fixture;
	struct virtio_net_config config;
	uint8_t beyond[4] = {1, 2, 3, 4};

	(void)state;
	fixture_open(&fixture);
	assert_int_equal(fixture.driver.device->features_offered, OWN);
	assert_int_equal(fixture.driver.device->n_queues, 2 * PAIRS + 1);
	assert_int_equal(config_of(&fixture).status, 0);
	plug(&fixture, SWITCH, PAIRS);
	await_connected(&fixture, true);
	assert_int_equal(fixture.driver.device->features_offered, OWN | SWITCH);
	config = config_of(&fixture);
	assert_memory_equal(config.mac, mac, sizeof(mac));
	assert_int_equal(config.status, VIRTIO_NET_S_LINK_UP);
	assert_int_equal(config.max_virtqueue_pairs, PAIRS);
	assert_int_equal(config.mtu, MTU);
	fixture.driver.device->type->read_config(
		fixture.driver.device, UINT32_MAX - 1, beyond, sizeof(beyond));
	assert_memory_equal(beyond, "\0\0\0", 4);
	fixture_close(&fixture);
}

static void test_switches_that_do_not_fit(void **state)
{
	struct fixture fixture;

	(void)state;
	fixture_open(&fixture);
	plug(&fixture, SWITCH, PAIRS - 1);
	for (unsigned int ms = 0; !status_of(&fixture).trouble && ms < LONG_MS; ms += 5)
		pause_a_little();
	assert_non_null(
		strstr(status_of(&fixture).trouble, "1 queue pairs, and the network has 2"));
	unplug(&fixture);
	plug(&fixture, SWITCH & ~NET(MQ), PAIRS);
	for (unsigned int ms = 0; !strstr(status_of(&fixture).trouble, "one queue pair only");
		ms += 5) {
		assert_true(ms < LONG_MS);
		pause_a_little();
	}
	unplug(&fixture);
	/* One that lacks what the driver has accepted from another. */
	plug(&fixture, SWITCH, PAIRS);
	await_connected(&fixture, true);
	driver_start(&fixture.driver, NET(MAC) | NET(CSUM), QUEUE_SIZE);
	await_heard(&fixture, VHOST_USER_SET_VRING_ENABLE, 2);
	unplug(&fixture);
	await_connected(&fixture, false);
	plug(&fixture, SWITCH & ~NET(CSUM), PAIRS);
	for (unsigned int ms = 0;
		!strstr(status_of(&fixture).trouble, "lacks virtio features 0x1,"); ms += 5) {
		assert_true(ms < LONG_MS);
		pause_a_little();
	}
	unplug(&fixture);
	plug(&fixture, SWITCH, PAIRS);
	await_heard(&fixture, VHOST_USER_SET_VRING_ENABLE, 2);
	fixture_close(&fixture);
}

/* --- The link --------------------------------------------------------------------------------- */

/* A switch that is back soon was never away, for the guest; and hears where the guest is. */
static void test_link(void **state)
{
	struct fixture fixture;
	unsigned int changes;

	(void)state;
	fixture_open(&fixture);
	plug(&fixture, SWITCH, PAIRS);
	await_connected(&fixture, true);
	driver_start(&fixture.driver, NET(MAC) | NET(STATUS), QUEUE_SIZE);
	await_heard(&fixture, VHOST_USER_SET_VRING_ENABLE, 2);
	assert_int_equal(back_end_times(&fixture.back_end, VHOST_USER_SEND_RARP), 0);
	changes = fixture.driver.config_changes;
	unplug(&fixture);
	await_connected(&fixture, false);
	assert_true(status_of(&fixture).link_up);
	plug(&fixture, SWITCH, PAIRS);
	await_heard(&fixture, VHOST_USER_SEND_RARP, 1);
	assert_int_equal(fixture.driver.config_changes, changes);
	unplug(&fixture);
	await_link(&fixture, false);
	assert_int_equal(config_of(&fixture).status, 0);
	assert_int_equal(fixture.driver.config_changes, changes + 1);
	plug(&fixture, SWITCH, PAIRS);
	await_link(&fixture, true);
	assert_int_equal(fixture.driver.config_changes, changes + 2);
	fixture_close(&fixture);
}

/* --- The control queue ------------------------------------------------------------------------ */

/* Says a command; what the device answers. */
static uint8_t command(struct fixture *fixture, unsigned int queue, uint8_t class, uint8_t what,
	const void *data, uint32_t bytes)
{
	struct driver *driver = &fixture->driver;
	const uint64_t address = 0x300000;
	uint8_t *at = driver_at(driver, address, 4096);
	uint32_t written;

	at[0] = class;
	at[1] = what;
	memcpy(at + 2, data, bytes);
	at[2000] = 0xee;
	driver_request(driver, queue,
		(const struct driver_buffer[]){
			{address, 2 + bytes, false}, {address + 2000, 1, true}},
		2);
	driver_answer(driver, queue, &written);
	assert_int_equal(written, 1);
	return at[2000];
}

static void test_commands(void **state)
{
	static const uint8_t table[] = {1, 0, 0, 0, 2, 0, 0, 0, 0, 1, 0, 0, 0, 0};
	static const uint8_t huge[] = {255, 255, 255, 255, 0, 0, 0, 0};
	static const uint8_t other[6] = {2, 0, 0, 0, 0, 10};
	const struct {
		uint8_t class, what;
		const void *data;
		uint32_t bytes;
		uint8_t answer;
	} cases[] = {
		{VIRTIO_NET_CTRL_RX, VIRTIO_NET_CTRL_RX_PROMISC, "\1", 1, VIRTIO_NET_OK},
		{VIRTIO_NET_CTRL_RX, VIRTIO_NET_CTRL_RX_ALLMULTI, "\0", 1, VIRTIO_NET_OK},
		{VIRTIO_NET_CTRL_RX, VIRTIO_NET_CTRL_RX_NOBCAST, "\1", 1, VIRTIO_NET_OK},
		{VIRTIO_NET_CTRL_RX, VIRTIO_NET_CTRL_RX_PROMISC, "\2", 1, VIRTIO_NET_ERR},
		{VIRTIO_NET_CTRL_RX, VIRTIO_NET_CTRL_RX_PROMISC, "", 0, VIRTIO_NET_ERR},
		{VIRTIO_NET_CTRL_RX, 99, "\1", 1, VIRTIO_NET_ERR},
		{VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_TABLE_SET, table, 14, VIRTIO_NET_OK},
		{VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_TABLE_SET, table, 13, VIRTIO_NET_ERR},
		{VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_TABLE_SET, huge, 8, VIRTIO_NET_ERR},
		{VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_ADDR_SET, mac, 6, VIRTIO_NET_OK},
		{VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_ADDR_SET, other, 6, VIRTIO_NET_ERR},
		{VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_ADDR_SET, mac, 5, VIRTIO_NET_ERR},
		{VIRTIO_NET_CTRL_VLAN, VIRTIO_NET_CTRL_VLAN_ADD, "\1\0", 2, VIRTIO_NET_ERR},
		{VIRTIO_NET_CTRL_ANNOUNCE, 0, "", 0, VIRTIO_NET_ERR},
		{VIRTIO_NET_CTRL_MQ, VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET, "\0\0", 2, VIRTIO_NET_ERR},
		{VIRTIO_NET_CTRL_MQ, VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET, "\3\0", 2, VIRTIO_NET_ERR},
		{VIRTIO_NET_CTRL_MQ, VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET, "\1", 1, VIRTIO_NET_ERR},
		{VIRTIO_NET_CTRL_MQ, 1, "\1\0", 2, VIRTIO_NET_ERR},
		{VIRTIO_NET_CTRL_GUEST_OFFLOADS, 0, "\0\0\0\0\0\0\0\0", 8, VIRTIO_NET_ERR},
		{255, 255, "", 0, VIRTIO_NET_ERR},
	};
	struct fixture fixture;

	(void)state;
	fixture_open(&fixture);
	driver_start(&fixture.driver, OWN, QUEUE_SIZE);
	for (unsigned int i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		uint8_t answer = command(&fixture, 2 * PAIRS, cases[i].class, cases[i].what,
			cases[i].data, cases[i].bytes);

		if (answer != cases[i].answer)
			fail_msg("command %u: answer %u", i, answer);
	}
	fixture_close(&fixture);
}

/* The driver says how many pairs it uses: the switch works those. */
static void test_queue_pairs(void **state)
{
	struct fixture fixture;

	(void)state;
	fixture_open(&fixture);
	plug(&fixture, SWITCH, PAIRS);
	await_connected(&fixture, true);
	driver_start(&fixture.driver, OWN, QUEUE_SIZE);
	await_heard(&fixture, VHOST_USER_SET_VRING_ENABLE, 4);
	for (int ring = 0; ring < 4; ring++)
		assert_int_equal(
			back_end_heard(&fixture.back_end, VHOST_USER_SET_VRING_ENABLE, ring)
				->message.payload.state.number,
			ring < 2);
	assert_int_equal(command(&fixture, 2 * PAIRS, VIRTIO_NET_CTRL_MQ,
				 VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET, "\2\0", 2),
		VIRTIO_NET_OK);
	await_heard(&fixture, VHOST_USER_SET_VRING_ENABLE, 6);
	for (int ring = 2; ring < 4; ring++)
		assert_int_equal(
			back_end_heard(&fixture.back_end, VHOST_USER_SET_VRING_ENABLE, ring)
				->message.payload.state.number,
			1);
	assert_int_equal(status_of(&fixture).queue_pairs_set, 2);
	/* The next switch is told what is in force. */
	unplug(&fixture);
	await_connected(&fixture, false);
	plug(&fixture, SWITCH, PAIRS);
	await_heard(&fixture, VHOST_USER_SET_VRING_ENABLE, 4);
	assert_int_equal(back_end_heard(&fixture.back_end, VHOST_USER_SET_VRING_ENABLE, 3)
				 ->message.payload.state.number,
		1);
	fixture_close(&fixture);
}

/* To a driver that knows one pair the control queue is the third. */
static void test_one_pair(void **state)
{
	struct fixture fixture;

	(void)state;
	fixture_open(&fixture);
	plug(&fixture, SWITCH, PAIRS);
	await_connected(&fixture, true);
	driver_start(&fixture.driver, OWN & ~NET(MQ), QUEUE_SIZE);
	await_heard(&fixture, VHOST_USER_SET_VRING_ENABLE, 2);
	assert_int_equal(
		command(&fixture, 2, VIRTIO_NET_CTRL_RX, VIRTIO_NET_CTRL_RX_PROMISC, "\1", 1),
		VIRTIO_NET_OK);
	assert_int_equal(command(&fixture, 2, VIRTIO_NET_CTRL_MQ, VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET,
				 "\1\0", 2),
		VIRTIO_NET_ERR);
	assert_null(back_end_heard(&fixture.back_end, VHOST_USER_SET_VRING_NUM, 2));
	driver_stop(&fixture.driver);
	assert_int_equal(back_end_times(&fixture.back_end, VHOST_USER_GET_VRING_BASE), 2);
	fixture_close(&fixture);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_offer),
		cmocka_unit_test(test_switches_that_do_not_fit),
		cmocka_unit_test(test_link),
		cmocka_unit_test(test_commands),
		cmocka_unit_test(test_queue_pairs),
		cmocka_unit_test(test_one_pair),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
