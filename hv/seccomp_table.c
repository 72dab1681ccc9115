/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The system calls that cordon-vmm may make once it runs a guest, and why each.  Read by seccomp.c.
 *
 *	M	the main thread: devices' queues, back ends, control
 *	V	a vCPU's thread
 *	B	the broker
 *
 * What glibc does on its own is here as well, under its name.  No call opens a file, but for the
 * broker's lock on a folder; none starts a thread or a program; none makes memory executable.
 */
#include <asm/termbits.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include "hv/seccomp.h"

#define M SECCOMP_MAIN
#define V SECCOMP_VCPU
#define B SECCOMP_BROKER

/* Any arguments; the argument equal to a value; the argument without these bits; the argument the
 * number of this process. */
#define ALLOW(call, threads, reason)                                                               \
	{                                                                                          \
		SYS_##call, #call, threads, SECCOMP_ANY, 0, 0, reason                              \
	}
#define EQUAL(call, threads, argument, value, reason)                                              \
	{                                                                                          \
		SYS_##call, #call, threads, SECCOMP_EQUAL, argument, value, reason                 \
	}
#define WITHOUT(call, threads, argument, bits, reason)                                             \
	{                                                                                          \
		SYS_##call, #call, threads, SECCOMP_WITHOUT, argument, bits, reason                \
	}

#define OWN(call, threads, argument, reason)                                                       \
	{                                                                                          \
		SYS_##call, #call, threads, SECCOMP_OWN, argument, 0, reason                       \
	}

enum { PROCESS = 0, REQUEST = 1, COMMAND = 1, PROTECTION = 2 }; /* Places of arguments. */

/* clang-format off */
const struct seccomp_rule seccomp_rules[] = {
	/* The guest itself.  vCPU threads write devices' registers, so that they attach interrupts too. */
	EQUAL(ioctl, V, REQUEST, KVM_RUN, "runs the guest"),
	EQUAL(ioctl, M | V, REQUEST, KVM_IRQFD, "attaches a device's interrupt, as MSI-X vectors are masked and unmasked"),
	EQUAL(ioctl, M | V, REQUEST, KVM_IOEVENTFD, "moves a queue's notification, as the guest moves its BAR"),
	EQUAL(ioctl, M | V, REQUEST, KVM_SET_GSI_ROUTING, "says which message an MSI-X vector sends"),
	EQUAL(ioctl, V, REQUEST, KVM_GET_REGS, "a guest's fault is told with its registers"),
	EQUAL(ioctl, V, REQUEST, KVM_GET_SREGS, "the same: control registers and segments"),
	EQUAL(ioctl, V, REQUEST, KVM_TRANSLATE, "the same: where the bytes at RIP are"),
	EQUAL(ioctl, V, REQUEST, KVM_GET_VCPU_EVENTS, "the same: the exception that was on its way"),
	EQUAL(ioctl, V, REQUEST, KVM_KVMCLOCK_CTRL, "tells a guest's watchdogs that it was paused"),

	/* Descriptors. */
	ALLOW(read, M | V, "eventfds, timers, stdin, the control socket's clients"),
	ALLOW(write, M | V, "eventfds, stdout, the serial port's file"),
	ALLOW(pwrite64, M | V, "the outcome"),
	ALLOW(writev, M | V, "glibc: its last words, when malloc finds its memory corrupted"),
	ALLOW(close, M | V | B, "clients and back ends that are gone, also as a driver stops a device"),
	EQUAL(fcntl, M, COMMAND, F_DUPFD_CLOEXEC, "the control socket keeps a spare descriptor for when there are no others"),
	ALLOW(ftruncate, M | V, "the serial port's file is begun anew when it is full; the outcome gets its length"),
	ALLOW(epoll_wait, M, "the event loop"),
	ALLOW(epoll_ctl, M | V, "what the event loop waits for, also as a driver starts a device"),
	ALLOW(timerfd_settime, M | V, "time limits of back ends"),
	ALLOW(io_uring_enter, M | V, "disks: their rings are restricted to reads, writes, fsync and fallocate on the disk"),
	EQUAL(fallocate, M, 1, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, "memory that the guest gives back is punched out of its file"),
	ALLOW(getrandom, M, "virtio-rng; glibc's malloc"),

	/* Sockets that exist, and new connections to them. */
	ALLOW(accept4, M, "a client of the control socket, the switch"),
	ALLOW(sendto, M, "send(): answers to clients, requests to the broker"),
	ALLOW(recvfrom, M | B, "recv(): commands of clients, requests to the broker"),
	ALLOW(sendmsg, M | V | B, "vhost-user messages with descriptors, the broker's answers"),
	ALLOW(recvmsg, M | V, "the same, from the other end"),
	EQUAL(socketpair, M, 0, AF_UNIX, "a channel for the requests of a disk's back end that has come again"),
	ALLOW(poll, M | V, "an answer of a back end is waited for, with a limit"),

	/* Threads: their lock, their ends, their signals. */
	ALLOW(futex, M | V, "the machine's lock; glibc's own"),
	OWN(tgkill, M | V, PROCESS, "gets a vCPU out of KVM_RUN; glibc's abort()"),
	ALLOW(getpid, M | V, "glibc: for tgkill"),
	ALLOW(gettid, M | V, "glibc: abort()"),
	ALLOW(rt_sigprocmask, M | V, "glibc: around tgkill, and at a thread's end"),
	ALLOW(rt_sigreturn, M | V, "the end of a signal's handler"),
	ALLOW(restart_syscall, M | V | B, "the kernel: a call goes on after the process was stopped and continued"),
	ALLOW(exit, V, "a thread's end"),
	ALLOW(exit_group, M | V | B, "the process's end"),

	/* Memory of this process: glibc's malloc. */
	ALLOW(brk, M | V, "malloc"),
	WITHOUT(mmap, M | V, PROTECTION, PROT_EXEC, "malloc: large pieces"),
	WITHOUT(mprotect, M | V, PROTECTION, PROT_EXEC, "malloc: a thread's arena grows"),
	ALLOW(mremap, M | V, "realloc"),
	ALLOW(munmap, M | V, "free"),
	EQUAL(madvise, M | V, 2, MADV_DONTNEED, "malloc: an arena shrinks; a thread's stack at its end"),

	/* Time. */
	ALLOW(clock_gettime, M | V, "processor time of threads; all clocks where the kernel's page for them is missing"),
	ALLOW(clock_nanosleep, B, "a short wait for a folder's lock"),

	/* The broker. */
	EQUAL(socket, B, 0, AF_UNIX, "connects again to a disk's back end"),
	ALLOW(connect, B, "the same"),
	ALLOW(newfstatat, B, "whether a socket is still the one that was made here"),
	ALLOW(unlink, B, "removes it"),
	EQUAL(openat, B, 2, O_RDONLY | O_DIRECTORY | O_CLOEXEC, "its folder, to lock it"),
	ALLOW(flock, B, "locks it"),
	EQUAL(ioctl, B, REQUEST, TCGETS, "glibc: tcsetattr() asks first"),
	EQUAL(ioctl, B, REQUEST, TCSETS, "gives a terminal back as it was"),
};
/* clang-format on */

const unsigned int seccomp_n_rules = sizeof(seccomp_rules) / sizeof(seccomp_rules[0]);
