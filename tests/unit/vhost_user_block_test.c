/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A disk of another process's as its driver sees it: what is offered and told, daemons that do not
 * fit, disks that grow, and daemons that go and come.  The daemon is a back end of tests.
 */
#define DRIVER_IS_TRANSPORT
#include "hv/vhost_user_block.h"
#include "tests/unit/vhost_user_back_end.h"
#include "tests/unit/virtio_device_driver.h"

#include <errno.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <stddef.h>
#include <time.h>

enum { QUEUE_SIZE = 32, LONG_MS = 10000, SECTORS = 2048 };

#define BIT(number) (UINT64_C(1) << (number))
#define BLOCK(name) BIT(VIRTIO_BLK_F_##name)
#define DISK                                                                                       \
	(BLOCK(FLUSH) | BLOCK(CONFIG_WCE) | BLOCK(MQ) | BLOCK(DISCARD) |                           \
		BIT(VIRTIO_RING_F_INDIRECT_DESC))

/* The daemons that are there to be connected to: each connection takes the next one. */
struct broker {
	struct back_end daemons[4];
	unsigned int n, next;
	bool present;
	pthread_mutex_t lock;
};

int broker_listen(struct broker *broker, const char *path, struct hv_error *error)
{
	(void)broker;
	return hv_fail(error, EINVAL, "%s", path);
}

int broker_connect(struct broker *broker, const char *path, struct hv_error *error)
{
	int ends[2], result = -ECONNREFUSED;

	pthread_mutex_lock(&broker->lock);
	if (broker->present && broker->next < broker->n &&
		socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0) {
		back_end_start(&broker->daemons[broker->next++], ends[1]);
		result = ends[0];
	}
	pthread_mutex_unlock(&broker->lock);
	return result < 0 ? hv_fail(error, -result, "nobody listens at %s", path) : result;
}

struct fixture {
	struct driver driver;
	struct broker broker;
	struct disk_options options;
	struct hv_error error;
};

static void add_daemon(struct fixture *fixture, uint64_t features, uint64_t protocol_features)
{
	struct back_end *daemon = &fixture->broker.daemons[fixture->broker.n++];
	const uint64_t sectors = SECTORS;

	*daemon = (struct back_end){
		.features = features | BIT(VIRTIO_F_VERSION_1) | VHOST_USER_F_PROTOCOL_FEATURES,
		.protocol_features = protocol_features | BIT(VHOST_USER_PROTOCOL_MQ) |
				     BIT(VHOST_USER_PROTOCOL_REPLY_ACK) |
				     BIT(VHOST_USER_PROTOCOL_BACKEND_REQ),
		.n_queues = 2,
	};
	memcpy(daemon->config, &sectors, sizeof(sectors));
	daemon->config[offsetof(struct virtio_blk_config, num_queues)] = 2;
}

static void fixture_open(struct fixture *fixture)
{
	memset(fixture, 0, sizeof(*fixture));
	pthread_mutex_init(&fixture->broker.lock, NULL);
	fixture->broker.present = true;
	fixture->options.socket = "/disk";
	driver_open(&fixture->driver);
}

static int create(struct fixture *fixture, unsigned int n_queues)
{
	int result;

	pthread_mutex_lock(&fixture->driver.lock);
	result = vhost_user_block_create(&fixture->driver.device, &fixture->options, 0, n_queues,
		&fixture->driver.memory, fixture->driver.loop, &fixture->broker, &fixture->error);
	pthread_mutex_unlock(&fixture->driver.lock);
	return result;
}

static void fixture_close(struct fixture *fixture)
{
	driver_close(&fixture->driver);
	for (unsigned int i = 0; i < fixture->broker.next; i++)
		back_end_join(&fixture->broker.daemons[i]);
	pthread_mutex_destroy(&fixture->broker.lock);
}

static struct vhost_user_block_status status_of(struct fixture *fixture)
{
	struct vhost_user_block_status status;

	pthread_mutex_lock(&fixture->driver.lock);
	vhost_user_block_status(fixture->driver.device, &status);
	pthread_mutex_unlock(&fixture->driver.lock);
	return status;
}

static void pause_a_little(void)
{
	const struct timespec little = {.tv_nsec = 5000000};

	nanosleep(&little, NULL);
}

static void await_heard(
	struct back_end *daemon, enum vhost_user_request request, unsigned int times)
{
	for (unsigned int ms = 0; back_end_times(daemon, request) < times; ms += 5) {
		if (ms >= LONG_MS)
			fail_msg("%s was not said", vhost_user_request_name(request));
		pause_a_little();
	}
}

static void await_bytes(struct fixture *fixture, uint64_t bytes)
{
	for (unsigned int ms = 0; status_of(fixture).bytes != bytes; ms += 5) {
		assert_true(ms < LONG_MS);
		pause_a_little();
	}
}

static void test_offer(void **state)
{
	struct fixture fixture;
	struct virtio_blk_config config;

	(void)state;
	fixture_open(&fixture);
	add_daemon(&fixture, DISK | BIT(63), BIT(VHOST_USER_PROTOCOL_CONFIG));
	assert_int_equal(create(&fixture, 8), 0);
	/* Nothing that nobody here knows of. */
	assert_int_equal(fixture.driver.device->features_offered, DISK);
	assert_int_equal(fixture.driver.device->n_queues, 2);
	fixture.driver.device->type->read_config(
		fixture.driver.device, 0, (uint8_t *)&config, sizeof(config));
	assert_int_equal(config.capacity, SECTORS);
	assert_int_equal(status_of(&fixture).bytes, SECTORS * 512);
	assert_true(status_of(&fixture).connected);
	driver_start(&fixture.driver, DISK, QUEUE_SIZE);
	await_heard(&fixture.broker.daemons[0], VHOST_USER_SET_VRING_ENABLE, 2);
	fixture_close(&fixture);
}

/* No more queues than asked for, whatever the daemon's configuration says. */
static void test_fewer_queues(void **state)
{
	struct fixture fixture;
	uint8_t queues[2];

	(void)state;
	fixture_open(&fixture);
	add_daemon(&fixture, DISK, BIT(VHOST_USER_PROTOCOL_CONFIG));
	assert_int_equal(create(&fixture, 1), 0);
	assert_int_equal(fixture.driver.device->n_queues, 1);
	fixture.driver.device->type->read_config(fixture.driver.device,
		offsetof(struct virtio_blk_config, num_queues), queues, sizeof(queues));
	assert_memory_equal(queues, "\1", 2);
	fixture_close(&fixture);
}

static void test_daemons_that_do_not_fit(void **state)
{
	static const struct {
		uint64_t protocol_features;
		bool present, read_only;
		const char *words;
	} cases[] = {
		{0, true, false, "does not tell a disk's size"},
		{BIT(VHOST_USER_PROTOCOL_CONFIG), true, true, "serves the disk for writing"},
		{BIT(VHOST_USER_PROTOCOL_CONFIG), false, false, "nobody listens at /disk"},
	};

	(void)state;
	for (unsigned int i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct fixture fixture;

		fixture_open(&fixture);
		add_daemon(&fixture, DISK, cases[i].protocol_features);
		fixture.broker.present = cases[i].present;
		fixture.options.read_only = cases[i].read_only;
		assert_int_equal(create(&fixture, 1), -ENOTCONN);
		assert_null(fixture.driver.device);
		if (!strstr(fixture.error.text, cases[i].words))
			fail_msg("case %u: %s", i, fixture.error.text);
		assert_non_null(strstr(fixture.error.text, "/disk"));
		fixture_close(&fixture);
	}
}

/* The daemon tells of a disk that has grown; the driver sets the cache's mode. */
static void test_configuration(void **state)
{
	const struct vhost_user_message changed = {
		.request = VHOST_USER_BACK_END_CONFIG_CHANGED, .flags = VHOST_USER_VERSION};
	struct virtio_device *device;
	struct back_end *daemon;
	struct fixture fixture;

	(void)state;
	fixture_open(&fixture);
	add_daemon(&fixture, DISK, BIT(VHOST_USER_PROTOCOL_CONFIG));
	assert_int_equal(create(&fixture, 2), 0);
	daemon = &fixture.broker.daemons[0];
	device = fixture.driver.device;
	driver_start(&fixture.driver, DISK, QUEUE_SIZE);
	await_heard(daemon, VHOST_USER_SET_VRING_ENABLE, 2);
	daemon->config[1]++;
	assert_true(send(daemon->channel, &changed, VHOST_USER_HEADER_BYTES, 0) > 0);
	await_bytes(&fixture, (SECTORS + 256) * 512);
	assert_int_equal(fixture.driver.config_changes, 1);
	pthread_mutex_lock(&fixture.driver.lock);
	device->type->write_config(device, 0, (const uint8_t *)"\1", 1);
	device->type->write_config(
		device, offsetof(struct virtio_blk_config, wce), (const uint8_t *)"\1", 1);
	pthread_mutex_unlock(&fixture.driver.lock);
	await_heard(daemon, VHOST_USER_SET_CONFIG, 1);
	assert_int_equal(
		back_end_heard(daemon, VHOST_USER_SET_CONFIG, -1)->message.payload.config.offset,
		offsetof(struct virtio_blk_config, wce));
	fixture_close(&fixture);
}

/* One daemon goes, a worse one comes and is refused, then a good one. */
static void test_next_daemon(void **state)
{
	struct fixture fixture;

	(void)state;
	fixture_open(&fixture);
	add_daemon(&fixture, DISK, BIT(VHOST_USER_PROTOCOL_CONFIG));
	add_daemon(&fixture, BLOCK(FLUSH), BIT(VHOST_USER_PROTOCOL_CONFIG));
	add_daemon(&fixture, DISK, BIT(VHOST_USER_PROTOCOL_CONFIG));
	fixture.broker.daemons[2].config[1]++;
	assert_int_equal(create(&fixture, 2), 0);
	driver_start(&fixture.driver, DISK, QUEUE_SIZE);
	await_heard(&fixture.broker.daemons[0], VHOST_USER_SET_VRING_ENABLE, 2);
	shutdown(fixture.broker.daemons[0].socket, SHUT_RDWR);
	await_heard(&fixture.broker.daemons[2], VHOST_USER_SET_VRING_ENABLE, 2);
	assert_null(back_end_heard(&fixture.broker.daemons[1], VHOST_USER_SET_MEM_TABLE, -1));
	await_bytes(&fixture, (SECTORS + 256) * 512);
	assert_null(fixture.driver.failure);
	fixture_close(&fixture);
}

/* Requests that nobody knows the fate of: the device says that it needs a reset, and gets it. */
static void test_lost_requests(void **state)
{
	struct fixture fixture;
	struct virtio_queue *queue;
	uint16_t available = 2, used = 1;
	uint32_t finished = 1;

	(void)state;
	fixture_open(&fixture);
	for (unsigned int i = 0; i < 2; i++)
		add_daemon(&fixture, DISK, BIT(VHOST_USER_PROTOCOL_CONFIG));
	assert_int_equal(create(&fixture, 1), 0);
	driver_start(&fixture.driver, DISK, QUEUE_SIZE);
	await_heard(&fixture.broker.daemons[0], VHOST_USER_SET_VRING_ENABLE, 1);
	/* Requests 0 and 1 are available, and 1 was finished first. */
	queue = &fixture.driver.queues[0];
	guest_memory_write(queue->memory, queue->available + 6, &finished, 2);
	guest_memory_write(queue->memory, queue->available + 2, &available, 2);
	guest_memory_write(queue->memory, queue->used + 4, &finished, 4);
	guest_memory_write(queue->memory, queue->used + 2, &used, 2);
	shutdown(fixture.broker.daemons[0].socket, SHUT_RDWR);
	for (unsigned int ms = 0; !__atomic_load_n(&fixture.driver.failure, __ATOMIC_ACQUIRE);
		ms += 5) {
		assert_true(ms < LONG_MS);
		pause_a_little();
	}
	assert_true(status_of(&fixture).connected);
	driver_stop(&fixture.driver);
	driver_start(&fixture.driver, DISK, QUEUE_SIZE);
	await_heard(&fixture.broker.daemons[1], VHOST_USER_SET_VRING_ENABLE, 1);
	fixture_close(&fixture);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_offer),
		cmocka_unit_test(test_fewer_queues),
		cmocka_unit_test(test_daemons_that_do_not_fit),
		cmocka_unit_test(test_configuration),
		cmocka_unit_test(test_next_daemon),
		cmocka_unit_test(test_lost_requests),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
