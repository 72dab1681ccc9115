/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the virtual machine monitor and its broker say to each other, a datagram each.
 */
#ifndef HV_BROKER_PROCESS_H
#define HV_BROKER_PROCESS_H

#include <stdint.h>
#include <termios.h>

#include "hv/seccomp.h"

enum broker_command {
	BROKER_OWN,	/* The path's socket was made here: remove it at the end. */
	BROKER_CONNECT, /* Connect to the path; the descriptor comes with the answer. */
	BROKER_FINISH,	/* Remove what is owned, answer, and end. */
};

struct broker_request {
	uint32_t sequence; /* Repeated in the answer. */
	uint16_t command, path;
};

struct broker_answer {
	uint32_t sequence;
	int32_t status; /* 0 or a negative errno. */
};

/* The broker's life, in the child.  `fd` is its end of the socket pair; `terminal` are the settings
 * of stdin that are to be restored, or NULL. */
_Noreturn void broker_run(int fd, const char *const *paths, unsigned int n,
	const struct termios *terminal, const struct seccomp *seccomp);

/*
 * Holds the folder of `path` against others who make or remove sockets there, for a second at most.
 * The descriptor that holds it, to be closed; -1 if it could not be held.
 */
int broker_lock_folder(const char *path);

#endif
