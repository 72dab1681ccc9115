/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Disks that QEMU's storage daemon serves, in the formats that it is used for: what is written is
 * there again, also after the daemon was stopped or killed and started anew, and a disk that was
 * made larger meanwhile is larger for the guest.
 *
 *	driver of tests === rings in guest memory === qemu-storage-daemon --- qcow2 or VMDK file
 */
#define DRIVER_IS_TRANSPORT
#include "hv/vhost_user_block.h"
#include "tests/unit/vhost_user_broker.h"
#include "tests/unit/virtio_device_driver.h"

#include <fcntl.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>

enum { SECTOR = 512, QUEUE_SIZE = 64, DISK_BYTES = 16 << 20, LARGER_BYTES = 32 << 20, MS = 20000 };

struct fixture {
	const char *format;
	char directory[40], image[64], socket[64];
	pid_t daemon;
	struct driver driver;
	struct broker broker;
	struct disk_options options;
};

static void pause_a_little(void)
{
	const struct timespec little = {.tv_nsec = 5000000};

	nanosleep(&little, NULL);
}

/* It ends with this process, however that ends, and holds none of its output open. */
static pid_t spawn(const char *const *arguments)
{
	pid_t pid = fork();

	if (pid != 0)
		return pid;
	int nowhere = open("/dev/null", O_RDWR);

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	dup2(nowhere, 0);
	dup2(nowhere, 1);
	dup2(nowhere, 2);
	execvp(arguments[0], (char *const *)arguments);
	_exit(127);
}

static void run(const char *const *arguments)
{
	int status = -1;
	pid_t pid = spawn(arguments);

	assert_true(pid > 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

static void start_daemon(struct fixture *fixture)
{
	char file[128], format[128], export[192];
	const char *const arguments[] = {"qemu-storage-daemon", "--blockdev", file, "--blockdev",
		format, "--export", export, NULL};

	snprintf(file, sizeof(file), "driver=file,node-name=file,filename=%s", fixture->image);
	snprintf(format, sizeof(format), "driver=%s,node-name=disk,file=file", fixture->format);
	snprintf(export, sizeof(export),
		"type=vhost-user-blk,id=export,node-name=disk,addr.type=unix,addr.path=%s,"
		"writable=on,num-queues=2",
		fixture->socket);
	unlink(fixture->socket);
	fixture->daemon = spawn(arguments);
	assert_true(fixture->daemon > 0);
}

static void end_daemon(struct fixture *fixture, int sig)
{
	kill(fixture->daemon, sig);
	waitpid(fixture->daemon, NULL, 0);
	fixture->daemon = 0;
}

static bool is_installed(const char *program)
{
	char path[64];

	snprintf(path, sizeof(path), "/usr/bin/%s", program);
	return access(path, X_OK) == 0;
}

/* With all that is offered, as a modern driver, but for event indexes, which the driver of tests
 * does not set. */
static void start_driver(struct fixture *fixture)
{
	struct virtio_device *device = fixture->driver.device;

	/* The transport's part of the offer. */
	device->features_offered |= UINT64_C(1) << VIRTIO_F_VERSION_1;
	driver_start(&fixture->driver,
		device->features_offered & ~(UINT64_C(1) << VIRTIO_RING_F_EVENT_IDX), QUEUE_SIZE);
}

static void fixture_open(struct fixture *fixture, const char *format)
{
	struct hv_error error = {""};

	if (!is_installed("qemu-storage-daemon") || !is_installed("qemu-img"))
		skip();
	memset(fixture, 0, sizeof(*fixture));
	fixture->format = format;
	strcpy(fixture->directory, "/tmp/storage-test-XXXXXX");
	assert_non_null(mkdtemp(fixture->directory));
	snprintf(fixture->image, sizeof(fixture->image), "%s/image", fixture->directory);
	snprintf(fixture->socket, sizeof(fixture->socket), "%s/socket", fixture->directory);
	fixture->options.socket = fixture->socket;
	run((const char *const[]){
		"qemu-img", "create", "-q", "-f", format, fixture->image, "16M", NULL});
	start_daemon(fixture);
	driver_open(&fixture->driver);
	pthread_mutex_lock(&fixture->driver.lock);
	if (vhost_user_block_create(&fixture->driver.device, &fixture->options, 0, 2,
		    &fixture->driver.memory, fixture->driver.loop, &fixture->broker, &error) < 0)
		fail_msg("%s", error.text);
	pthread_mutex_unlock(&fixture->driver.lock);
	start_driver(fixture);
}

static void fixture_close(struct fixture *fixture)
{
	driver_close(&fixture->driver);
	if (fixture->daemon > 0)
		end_daemon(fixture, SIGKILL);
	unlink(fixture->socket);
	unlink(fixture->image);
	rmdir(fixture->directory);
}

/* --- Requests --------------------------------------------------------------------------------- */

/* One request; its status.  `data` lies in guest memory. */
static uint8_t request(struct fixture *fixture, unsigned int queue, uint32_t type, uint64_t sector,
	uint64_t data, uint32_t bytes)
{
	struct driver *driver = &fixture->driver;
	const uint64_t header = 0x380000;
	struct virtio_blk_outhdr *out = driver_at(driver, header, 4096);
	uint8_t *status = (uint8_t *)out + 64;
	const struct driver_buffer buffers[] = {
		{header, sizeof(*out), false},
		{data, bytes, type == VIRTIO_BLK_T_IN},
		{header + 64, 1, true},
	};
	const struct driver_buffer without_data[] = {buffers[0], buffers[2]};

	*out = (struct virtio_blk_outhdr){.type = type, .sector = sector};
	*status = 0xee;
	driver_request(driver, queue, bytes ? buffers : without_data, bytes ? 3 : 2);
	driver_answer(driver, queue, NULL);
	return *status;
}

static void write_pattern(
	struct fixture *fixture, unsigned int queue, uint64_t sector, uint8_t pattern)
{
	memset(driver_at(&fixture->driver, 0x390000, 8192), pattern, 8192);
	assert_int_equal(
		request(fixture, queue, VIRTIO_BLK_T_OUT, sector, 0x390000, 8192), VIRTIO_BLK_S_OK);
}

static void read_pattern(
	struct fixture *fixture, unsigned int queue, uint64_t sector, uint8_t pattern)
{
	uint8_t *data = driver_at(&fixture->driver, 0x3a0000, 8192);

	memset(data, 0xaa, 8192);
	assert_int_equal(
		request(fixture, queue, VIRTIO_BLK_T_IN, sector, 0x3a0000, 8192), VIRTIO_BLK_S_OK);
	for (unsigned int i = 0; i < 8192; i++)
		assert_int_equal(data[i], pattern);
}

static struct vhost_user_block_status status_of(struct fixture *fixture)
{
	struct vhost_user_block_status status;

	pthread_mutex_lock(&fixture->driver.lock);
	vhost_user_block_status(fixture->driver.device, &status);
	pthread_mutex_unlock(&fixture->driver.lock);
	return status;
}

/* --- Stories ---------------------------------------------------------------------------------- */

static void work_on(const char *format)
{
	struct fixture fixture;

	fixture_open(&fixture, format);
	assert_int_equal(status_of(&fixture).bytes, DISK_BYTES);
	write_pattern(&fixture, 0, 100, 0x11);
	write_pattern(&fixture, 1, 20000, 0x22);
	read_pattern(&fixture, 0, 20000, 0x22);
	assert_int_equal(request(&fixture, 0, VIRTIO_BLK_T_FLUSH, 0, 0, 0), VIRTIO_BLK_S_OK);
	/* Behind the end of the disk. */
	assert_int_equal(request(&fixture, 0, VIRTIO_BLK_T_IN, DISK_BYTES / SECTOR, 0x3a0000, 4096),
		VIRTIO_BLK_S_IOERR);
	/* Stopped, and a request waits for the next one. */
	end_daemon(&fixture, SIGTERM);
	start_daemon(&fixture);
	read_pattern(&fixture, 1, 100, 0x11);
	write_pattern(&fixture, 0, 300, 0x33);
	assert_int_equal(request(&fixture, 1, VIRTIO_BLK_T_FLUSH, 0, 0, 0), VIRTIO_BLK_S_OK);
	/* Killed. */
	end_daemon(&fixture, SIGKILL);
	start_daemon(&fixture);
	read_pattern(&fixture, 0, 300, 0x33);
	read_pattern(&fixture, 1, 100, 0x11);
	assert_null(fixture.driver.failure);
	/* The driver resets its device, and starts it again. */
	driver_stop(&fixture.driver);
	start_driver(&fixture);
	read_pattern(&fixture, 0, 20000, 0x22);
	fixture_close(&fixture);
}

static void test_qcow2(void **state)
{
	(void)state;
	work_on("qcow2");
}

static void test_vmdk(void **state)
{
	(void)state;
	work_on("vmdk");
}

static void test_larger_disk(void **state)
{
	struct fixture fixture;

	(void)state;
	fixture_open(&fixture, "qcow2");
	write_pattern(&fixture, 0, 100, 0x44);
	end_daemon(&fixture, SIGTERM);
	run((const char *const[]){"qemu-img", "resize", "-q", fixture.image, "32M", NULL});
	start_daemon(&fixture);
	for (unsigned int ms = 0; status_of(&fixture).bytes != LARGER_BYTES; ms += 5) {
		if (ms >= MS)
			fail_msg("the disk has %llu bytes",
				(unsigned long long)status_of(&fixture).bytes);
		pause_a_little();
	}
	assert_int_equal(fixture.driver.config_changes, 1);
	write_pattern(&fixture, 1, LARGER_BYTES / SECTOR - 16, 0x55);
	read_pattern(&fixture, 0, LARGER_BYTES / SECTOR - 16, 0x55);
	fixture_close(&fixture);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_qcow2),
		cmocka_unit_test(test_vmdk),
		cmocka_unit_test(test_larger_disk),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
