/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio-blk on a raw file: what the guest reads, writes, discards and must not, by the standard's
 * requests.
 */
#define DRIVER_IS_TRANSPORT
#include "tests/unit/virtio_device_driver.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/virtio_blk.h>
#include <stdio.h>
#include <sys/stat.h>

#include "hv/block.h"

enum { SECTOR = 512, DISK_BYTES = 4 << 20, QUEUE_SIZE = 128, NO_ANSWER = 0xee };

#define FLUSH_FEATURE (UINT64_C(1) << VIRTIO_BLK_F_FLUSH)

struct disk {
	struct driver driver;
	char path[64];
	struct disk_options options;
	uint64_t header, status, data; /* Guest memory for one request; 1 MiB of data. */
};

static void make_file_in(const char *folder, char *path, size_t bytes)
{
	int fd;

	sprintf(path, "%s/cordon-block-XXXXXX", folder);
	fd = mkstemp(path);
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, (off_t)bytes), 0);
	close(fd);
}

static void make_file(char *path, size_t bytes)
{
	make_file_in("/var/tmp", path, bytes);
}

/* The guest's disk is the file disk->path. */
static void plug_in(struct disk *disk, bool read_only, enum disk_direct direct)
{
	struct hv_error error = {""};

	disk->options = (struct disk_options){
		.path = disk->path, .read_only = read_only, .direct = direct, .serial = "S-1"};
	driver_open(&disk->driver);
	if (block_create(&disk->driver.device, &disk->options, 0, &disk->driver.memory,
		    disk->driver.loop, &error))
		fail_msg("%s", error.text);
	driver_start(&disk->driver, disk->driver.device->features_offered, QUEUE_SIZE);
	disk->header = driver_allocate(&disk->driver, 4096);
	disk->status = driver_allocate(&disk->driver, 4096);
	disk->data = driver_allocate(&disk->driver, 1 << 20);
}

static struct disk *open_disk(bool read_only, enum disk_direct direct)
{
	struct disk *disk = calloc(1, sizeof(*disk));

	make_file(disk->path, DISK_BYTES);
	plug_in(disk, read_only, direct);
	return disk;
}

static struct disk *open_disk_in(const char *folder, size_t bytes)
{
	struct disk *disk = calloc(1, sizeof(*disk));

	make_file_in(folder, disk->path, bytes);
	plug_in(disk, false, DISK_DIRECT_AUTO);
	return disk;
}

static void close_disk(struct disk *disk)
{
	driver_close(&disk->driver);
	unlink(disk->path);
	free(disk);
}

static uint8_t *data_of(struct disk *disk)
{
	return driver_at(&disk->driver, disk->data, 1 << 20);
}

static void write_header(struct disk *disk, uint32_t type, uint64_t sector)
{
	struct virtio_blk_outhdr header = {.type = htole32(type), .sector = htole64(sector)};

	assert_true(
		guest_memory_write(&disk->driver.memory, disk->header, &header, sizeof(header)));
	*(uint8_t *)driver_at(&disk->driver, disk->status, 1) = NO_ANSWER;
}

static uint8_t ask(struct disk *disk, const struct driver_buffer *buffers, unsigned int n)
{
	uint16_t head = driver_request(&disk->driver, 0, buffers, n);

	assert_int_equal(driver_answer(&disk->driver, 0, NULL), head);
	return *(uint8_t *)driver_at(&disk->driver, disk->status, 1);
}

/* One request with `bytes` of data at `offset` into the data's memory; its status. */
static uint8_t transfer(
	struct disk *disk, uint32_t type, uint64_t sector, uint32_t bytes, uint32_t offset)
{
	const bool in = type == VIRTIO_BLK_T_IN || type == VIRTIO_BLK_T_GET_ID;
	const struct driver_buffer buffers[] = {
		{disk->header, 16, false},
		{disk->data + offset, bytes, in},
		{disk->status, 1, true},
	};
	const struct driver_buffer without_data[] = {buffers[0], buffers[2]};

	write_header(disk, type, sector);
	return bytes ? ask(disk, buffers, 3) : ask(disk, without_data, 2);
}

static void read_file(const struct disk *disk, uint64_t offset, void *to, size_t bytes)
{
	int fd = open(disk->path, O_RDONLY);

	assert_true(fd >= 0);
	assert_int_equal(pread(fd, to, bytes, (off_t)offset), bytes);
	close(fd);
}

static void fill(uint8_t *at, size_t bytes, unsigned int seed)
{
	for (size_t i = 0; i < bytes; i++)
		at[i] = (uint8_t)(seed + i * 7 + (i >> 8) * 13);
}

static void test_what_is_written_is_read_again(void **state)
{
	static const enum disk_direct ways[] = {DISK_DIRECT_AUTO, DISK_DIRECT_OFF};

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		struct disk *disk = open_disk(false, ways[i]);
		uint8_t expected[8192], found[8192];

		fill(expected, sizeof(expected), 1);
		memcpy(data_of(disk), expected, sizeof(expected));
		assert_int_equal(
			transfer(disk, VIRTIO_BLK_T_OUT, 8, sizeof(expected), 0), VIRTIO_BLK_S_OK);
		assert_int_equal(transfer(disk, VIRTIO_BLK_T_FLUSH, 0, 0, 0), VIRTIO_BLK_S_OK);
		read_file(disk, 8 * SECTOR, found, sizeof(found));
		assert_memory_equal(found, expected, sizeof(found));
		assert_int_equal(transfer(disk, VIRTIO_BLK_T_IN, 8, sizeof(expected), 65536),
			VIRTIO_BLK_S_OK);
		assert_memory_equal(data_of(disk) + 65536, expected, sizeof(expected));
		close_disk(disk);
	}
}

/* virtio 1.2, 2.7.4: a device may not count on where the driver cuts its buffers. */
static void test_buffers_cut_anywhere(void **state)
{
	struct disk *disk = open_disk(false, DISK_DIRECT_AUTO);
	uint8_t expected[3 * SECTOR], found[3 * SECTOR];
	uint32_t written;

	(void)state;
	fill(expected, sizeof(expected), 5);
	memcpy(data_of(disk), expected, sizeof(expected));
	write_header(disk, VIRTIO_BLK_T_OUT, 1);
	/* The header in two parts, the second with data behind it. */
	memcpy(driver_at(&disk->driver, disk->header + 4096 - 3000, 8),
		driver_at(&disk->driver, disk->header + 8, 8), 8);
	memcpy(driver_at(&disk->driver, disk->header + 4096 - 2992, 100), expected, 100);
	assert_int_equal(ask(disk,
				 (const struct driver_buffer[]){{disk->header, 8, false},
					 {disk->header + 4096 - 3000, 108, false},
					 {disk->data + 100, 1, false},
					 {disk->data + 101, sizeof(expected) - 101, false},
					 {disk->status, 1, true}},
				 5),
		VIRTIO_BLK_S_OK);
	read_file(disk, SECTOR, found, sizeof(found));
	assert_memory_equal(found, expected, sizeof(found));
	/* Data and status in one buffer, at an odd address. */
	write_header(disk, VIRTIO_BLK_T_IN, 1);
	driver_request(&disk->driver, 0,
		(const struct driver_buffer[]){{disk->header, 16, false},
			{disk->data + 70001, 700, true},
			{disk->data + 80001, sizeof(expected) - 700 + 1, true}},
		3);
	driver_answer(&disk->driver, 0, &written);
	assert_int_equal(written, sizeof(expected) + 1);
	assert_memory_equal(data_of(disk) + 70001, expected, 700);
	assert_memory_equal(data_of(disk) + 80001, expected + 700, sizeof(expected) - 700);
	assert_int_equal(data_of(disk)[80001 + sizeof(expected) - 700], VIRTIO_BLK_S_OK);
	close_disk(disk);
}

static void test_what_is_refused(void **state)
{
	static const struct {
		uint32_t type;
		uint64_t sector;
		uint32_t bytes;
		uint8_t status;
	} requests[] = {
		{VIRTIO_BLK_T_IN, DISK_BYTES / SECTOR - 1, SECTOR, VIRTIO_BLK_S_OK},
		{VIRTIO_BLK_T_IN, DISK_BYTES / SECTOR - 1, 2 * SECTOR, VIRTIO_BLK_S_IOERR},
		{VIRTIO_BLK_T_IN, DISK_BYTES / SECTOR, SECTOR, VIRTIO_BLK_S_IOERR},
		{VIRTIO_BLK_T_OUT, UINT64_MAX, SECTOR, VIRTIO_BLK_S_IOERR},
		{VIRTIO_BLK_T_OUT, UINT64_MAX / SECTOR, SECTOR, VIRTIO_BLK_S_IOERR},
		{VIRTIO_BLK_T_IN, 0, SECTOR + 1, VIRTIO_BLK_S_IOERR},
		{VIRTIO_BLK_T_OUT, 0, 100, VIRTIO_BLK_S_IOERR},
		{VIRTIO_BLK_T_OUT, 0, 0, VIRTIO_BLK_S_IOERR},
		{10 /* Its life time. */, 0, SECTOR, VIRTIO_BLK_S_UNSUPP},
		{99, 0, SECTOR, VIRTIO_BLK_S_UNSUPP},
	};
	struct disk *disk = open_disk(false, DISK_DIRECT_AUTO);

	(void)state;
	for (size_t i = 0; i < sizeof(requests) / sizeof(requests[0]); i++)
		assert_int_equal(
			transfer(disk, requests[i].type, requests[i].sector, requests[i].bytes, 0),
			requests[i].status);
	assert_null(disk->driver.failure);
	close_disk(disk);
}

static void test_identity(void **state)
{
	struct disk *disk = open_disk(false, DISK_DIRECT_AUTO);

	(void)state;
	assert_int_equal(
		transfer(disk, VIRTIO_BLK_T_GET_ID, 0, VIRTIO_BLK_ID_BYTES, 0), VIRTIO_BLK_S_OK);
	assert_string_equal((char *)data_of(disk), "S-1");
	close_disk(disk);
}

static void test_a_read_only_disk_is_not_written(void **state)
{
	struct disk *disk = open_disk(true, DISK_DIRECT_AUTO);
	const uint64_t refused =
		UINT64_C(1) << VIRTIO_BLK_F_DISCARD | UINT64_C(1) << VIRTIO_BLK_F_WRITE_ZEROES;

	(void)state;
	assert_true(disk->driver.device->features_offered >> VIRTIO_BLK_F_RO & 1);
	assert_int_equal(disk->driver.device->features_offered & refused, 0);
	assert_int_equal(transfer(disk, VIRTIO_BLK_T_OUT, 0, SECTOR, 0), VIRTIO_BLK_S_IOERR);
	assert_int_equal(transfer(disk, VIRTIO_BLK_T_DISCARD, 0, 16, 0), VIRTIO_BLK_S_UNSUPP);
	assert_int_equal(transfer(disk, VIRTIO_BLK_T_IN, 0, SECTOR, 0), VIRTIO_BLK_S_OK);
	close_disk(disk);
}

static uint64_t file_blocks(const struct disk *disk)
{
	struct stat status;

	assert_int_equal(stat(disk->path, &status), 0);
	return (uint64_t)status.st_blocks;
}

static uint8_t discard(struct disk *disk, uint32_t type, uint64_t sector, uint32_t sectors,
	uint32_t flags, unsigned int n)
{
	struct virtio_blk_discard_write_zeroes *ranges = (void *)data_of(disk);

	for (unsigned int i = 0; i < n; i++)
		ranges[i] = (struct virtio_blk_discard_write_zeroes){
			htole64(sector + i * UINT64_C(256)), htole32(sectors), htole32(flags)};
	return transfer(disk, type, 0, n * (uint32_t)sizeof(*ranges), 0);
}

static void test_discards_and_zeroes_make_holes(void **state)
{
	struct disk *disk = open_disk(false, DISK_DIRECT_AUTO);
	uint8_t found[65536], zeros[65536] = {0};
	uint64_t full;

	(void)state;
	fill(data_of(disk), 1 << 20, 3);
	assert_int_equal(transfer(disk, VIRTIO_BLK_T_OUT, 0, 1 << 20, 0), VIRTIO_BLK_S_OK);
	assert_int_equal(transfer(disk, VIRTIO_BLK_T_FLUSH, 0, 0, 0), VIRTIO_BLK_S_OK);
	full = file_blocks(disk);
	assert_true(full >= (1 << 20) / SECTOR);
	assert_int_equal(discard(disk, VIRTIO_BLK_T_DISCARD, 0, 128, 0, 4), VIRTIO_BLK_S_OK);
	assert_true(file_blocks(disk) <= full - 4 * 128);
	for (unsigned int i = 0; i < 4; i++) {
		read_file(disk, i * 256 * SECTOR, found, sizeof(found));
		assert_memory_equal(found, zeros, sizeof(found));
		read_file(disk, (i * 256 + 128) * SECTOR, found, SECTOR);
		assert_memory_not_equal(found, zeros, SECTOR);
	}
	/* Without the flag the space stays reserved; with it, it is given back. */
	assert_int_equal(discard(disk, VIRTIO_BLK_T_WRITE_ZEROES, 128, 128, 0, 1), VIRTIO_BLK_S_OK);
	read_file(disk, 128 * SECTOR, found, sizeof(found));
	assert_memory_equal(found, zeros, sizeof(found));
	assert_int_equal(
		discard(disk, VIRTIO_BLK_T_WRITE_ZEROES, 1024, 1024, 1, 1), VIRTIO_BLK_S_OK);
	read_file(disk, 1024 * SECTOR, found, sizeof(found));
	assert_memory_equal(found, zeros, sizeof(found));
	assert_true(file_blocks(disk) <= full - 4 * 128 - 896);
	close_disk(disk);
}

static void test_discards_that_are_refused(void **state)
{
	struct disk *disk = open_disk(false, DISK_DIRECT_AUTO);
	const uint64_t end = DISK_BYTES / SECTOR;

	(void)state;
	assert_int_equal(discard(disk, VIRTIO_BLK_T_DISCARD, 0, 8, 1, 1), VIRTIO_BLK_S_UNSUPP);
	assert_int_equal(discard(disk, VIRTIO_BLK_T_WRITE_ZEROES, 0, 8, 2, 1), VIRTIO_BLK_S_UNSUPP);
	assert_int_equal(discard(disk, VIRTIO_BLK_T_DISCARD, end - 8, 9, 0, 1), VIRTIO_BLK_S_IOERR);
	assert_int_equal(
		discard(disk, VIRTIO_BLK_T_DISCARD, UINT64_MAX - 4, 8, 0, 1), VIRTIO_BLK_S_IOERR);
	assert_int_equal(discard(disk, VIRTIO_BLK_T_DISCARD, 0, 0, 0, 1), VIRTIO_BLK_S_IOERR);
	assert_int_equal(discard(disk, VIRTIO_BLK_T_DISCARD, 0, 8, 0, 17), VIRTIO_BLK_S_IOERR);
	assert_int_equal(transfer(disk, VIRTIO_BLK_T_DISCARD, 0, 15, 0), VIRTIO_BLK_S_IOERR);
	assert_int_equal(transfer(disk, VIRTIO_BLK_T_DISCARD, 0, 0, 0), VIRTIO_BLK_S_IOERR);
	close_disk(disk);
}

static void test_a_file_that_was_cut_is_an_error(void **state)
{
	struct disk *disk = open_disk(false, DISK_DIRECT_AUTO);

	(void)state;
	assert_int_equal(truncate(disk->path, DISK_BYTES / 2), 0);
	assert_int_equal(transfer(disk, VIRTIO_BLK_T_IN, DISK_BYTES / SECTOR - 8, 4096, 0),
		VIRTIO_BLK_S_IOERR);
	assert_int_equal(transfer(disk, VIRTIO_BLK_T_IN, 0, 4096, 0), VIRTIO_BLK_S_OK);
	close_disk(disk);
}

static void test_a_request_that_cannot_be_answered_fails_the_device(void **state)
{
	struct disk *disk = open_disk(false, DISK_DIRECT_AUTO);
	uint16_t used;

	(void)state;
	driver_request(
		&disk->driver, 0, (const struct driver_buffer[]){{disk->header, 16, false}}, 1);
	for (unsigned int i = 0; i < 1000; i++) {
		bool failed;

		pthread_mutex_lock(&disk->driver.lock);
		failed = disk->driver.failure != NULL;
		pthread_mutex_unlock(&disk->driver.lock);
		if (failed)
			break;
		usleep(10000);
	}
	assert_non_null(disk->driver.failure);
	/* Until it is reset, nothing that follows is looked at. */
	used = driver_used_index(&disk->driver.rings[0]);
	write_header(disk, VIRTIO_BLK_T_GET_ID, 0);
	driver_request(&disk->driver, 0,
		(const struct driver_buffer[]){
			{disk->header, 16, false}, {disk->data, 20, true}, {disk->status, 1, true}},
		3);
	usleep(50000);
	assert_int_equal(driver_used_index(&disk->driver.rings[0]), used);
	close_disk(disk);
}

/* More requests than there are slots; all are answered. */
static void test_many_at_once(void **state)
{
	struct disk *disk = open_disk(false, DISK_DIRECT_AUTO);
	const unsigned int n = QUEUE_SIZE / 2;
	struct virtio_blk_outhdr header = {.type = htole32(VIRTIO_BLK_T_GET_ID)};

	(void)state;
	for (unsigned int round = 0; round < 50; round++) {
		header.type = htole32(round % 2 ? VIRTIO_BLK_T_GET_ID : VIRTIO_BLK_T_IN);
		assert_true(guest_memory_write(
			&disk->driver.memory, disk->header, &header, sizeof(header)));
		for (unsigned int i = 0; i < n; i++)
			driver_request(&disk->driver, 0,
				(const struct driver_buffer[]){{disk->header, 16, false},
					{disk->data + i * 4096, SECTOR + 1, true}},
				2);
		for (unsigned int i = 0; i < n; i++)
			driver_answer(&disk->driver, 0, NULL);
	}
	close_disk(disk);
}

/* Once the reset has returned, the guest's memory is the guest's. */
static void test_a_reset_waits_for_what_is_under_way(void **state)
{
	struct disk *disk = open_disk(false, DISK_DIRECT_AUTO);
	uint8_t *data = data_of(disk);

	(void)state;
	write_header(disk, VIRTIO_BLK_T_IN, 0);
	for (unsigned int i = 0; i < 32; i++)
		driver_request(&disk->driver, 0,
			(const struct driver_buffer[]){{disk->header, 16, false},
				{disk->data + i * 16384, 16384, true}, {disk->status, 1, true}},
			3);
	driver_stop(&disk->driver);
	memset(data, 0x5a, 32 * 16384);
	usleep(50000);
	for (unsigned int i = 0; i < 32 * 16384; i++)
		assert_int_equal(data[i], 0x5a);
	driver_start(
		&disk->driver, disk->driver.device->features_offered & ~FLUSH_FEATURE, QUEUE_SIZE);
	assert_int_equal(transfer(disk, VIRTIO_BLK_T_OUT, 0, 4096, 0), VIRTIO_BLK_S_OK);
	assert_int_equal(discard(disk, VIRTIO_BLK_T_DISCARD, 0, 8, 0, 1), VIRTIO_BLK_S_OK);
	close_disk(disk);
}

/* A file system in memory makes no zeros by itself: they are written, a piece after the other. */
static void test_a_reset_does_not_wait_for_a_gigabyte_of_zeros(void **state)
{
	struct disk *disk = open_disk_in("/dev/shm", 64 << 20);
	const uint8_t *answer = driver_at(&disk->driver, disk->status, 1);

	(void)state;
	for (unsigned int i = 0; i < 16; i++)
		((struct virtio_blk_discard_write_zeroes *)data_of(disk))[i] =
			(struct virtio_blk_discard_write_zeroes){
				0, htole32((64 << 20) / SECTOR), 0};
	write_header(disk, VIRTIO_BLK_T_WRITE_ZEROES, 0);
	/* So many that they are not done with when this looks again, however late that is. */
	for (unsigned int i = 0; i < QUEUE_SIZE / 3; i++)
		driver_request(&disk->driver, 0,
			(const struct driver_buffer[]){{disk->header, 16, false},
				{disk->data, 16 * sizeof(struct virtio_blk_discard_write_zeroes),
					false},
				{disk->status, 1, true}},
			3);
	for (unsigned int i = 0; i < 20000 && !file_blocks(disk); i++)
		usleep(500);
	assert_true(file_blocks(disk) > 0);
	driver_stop(&disk->driver);
	assert_int_equal(*answer, VIRTIO_BLK_S_IOERR);
	close_disk(disk);
}

/* --- Opening ---------------------------------------------------------------------------------- */

static int try_open(
	struct driver *driver, const struct disk_options *options, struct hv_error *error)
{
	int result;

	driver->device = NULL;
	*error = (struct hv_error){""};
	pthread_mutex_lock(&driver->lock);
	result = block_create(&driver->device, options, 0, &driver->memory, driver->loop, error);
	pthread_mutex_unlock(&driver->lock);
	return result;
}

static void test_two_guests_do_not_write_one_disk(void **state)
{
	struct disk *disk = open_disk(false, DISK_DIRECT_AUTO);
	struct disk_options reader = {.path = disk->path, .read_only = true};
	struct driver others[2];
	struct hv_error error;

	(void)state;
	driver_open(&others[0]);
	driver_open(&others[1]);
	assert_int_equal(try_open(&others[0], &disk->options, &error), -EBUSY);
	assert_non_null(strstr(error.text, disk->path));
	assert_int_equal(try_open(&others[0], &reader, &error), -EBUSY);
	driver_stop(&disk->driver);
	pthread_mutex_lock(&disk->driver.lock);
	disk->driver.device->type->destroy(disk->driver.device);
	pthread_mutex_unlock(&disk->driver.lock);
	disk->driver.device = NULL;
	assert_int_equal(try_open(&others[0], &reader, &error), 0);
	assert_int_equal(try_open(&others[1], &reader, &error), 0);
	driver_close(&others[0]);
	driver_close(&others[1]);
	close_disk(disk);
}

static void test_files_that_are_no_disks(void **state)
{
	static const struct {
		const char *path, *says;
	} files[] = {
		{"/nowhere/disk", "No such file"},
		{"/var", "cannot be"},
		{"/dev/null", "neither a file nor a block device"},
	};
	struct disk_options options = {0};
	struct driver driver;
	struct hv_error error;
	char path[64];

	(void)state;
	driver_open(&driver);
	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		options.path = files[i].path;
		assert_true(try_open(&driver, &options, &error) < 0);
		assert_non_null(strstr(error.text, files[i].path));
		assert_non_null(strstr(error.text, files[i].says));
	}
	options.path = path;
	make_file(path, 0);
	assert_int_equal(try_open(&driver, &options, &error), -EINVAL);
	unlink(path);
	make_file(path, 1000);
	assert_int_equal(try_open(&driver, &options, &error), -EINVAL);
	assert_non_null(strstr(error.text, "1000 bytes"));
	unlink(path);
	/* Nobody waits for its other end. */
	assert_int_equal(mkfifo(path, 0600), 0);
	options.read_only = true;
	assert_int_equal(try_open(&driver, &options, &error), -EINVAL);
	assert_non_null(strstr(error.text, "neither a file nor a block device"));
	unlink(path);
	driver_close(&driver);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_what_is_written_is_read_again),
		cmocka_unit_test(test_buffers_cut_anywhere),
		cmocka_unit_test(test_what_is_refused),
		cmocka_unit_test(test_identity),
		cmocka_unit_test(test_a_read_only_disk_is_not_written),
		cmocka_unit_test(test_discards_and_zeroes_make_holes),
		cmocka_unit_test(test_discards_that_are_refused),
		cmocka_unit_test(test_a_file_that_was_cut_is_an_error),
		cmocka_unit_test(test_a_request_that_cannot_be_answered_fails_the_device),
		cmocka_unit_test(test_many_at_once),
		cmocka_unit_test(test_a_reset_waits_for_what_is_under_way),
		cmocka_unit_test(test_a_reset_does_not_wait_for_a_gigabyte_of_zeros),
		cmocka_unit_test(test_two_guests_do_not_write_one_disk),
		cmocka_unit_test(test_files_that_are_no_disks),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
