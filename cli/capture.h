/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of `cordon capture` share.
 *
 *      capture.c         the command: what the line asks for, and what comes from the switch
 *      capture_filter.c  --filter as a program that the switch can run
 *      capture_file.c    packets into a file or a pipe
 *      capture_print.c   packets on the terminal, a line each
 *
 * The switch sends messages, by a socket of type SOCK_SEQPACKET: whole blocks of pcapng, or lines
 * of JSON.  The last message is an object with member "end".
 */
#ifndef CLI_CAPTURE_H
#define CLI_CAPTURE_H

#include "cli/cordon.h"

/* --- capture_filter.c ----------------------------------------------------------------------- */

/* Compiles `text` of libpcap's language.  An array of [code, jt, jf, k]; NULL after a message. */
struct json *capture_compile(struct cli *cli, const char *text);

/* --- capture_file.c ------------------------------------------------------------------------- */

/* A file, or what reads from a pipe. */
struct capture_file {
	int fd;
	const char *name;
	bool is_regular;
	bool reader_gone;	 /* Of a pipe: it wants no more. */
	int error;		 /* errno of a write that failed; 0. */
	uint64_t bytes, packets; /* Written, in whole blocks. */
};

/* Opens `name`, with "-" the output.  Not CLI_OK: the reason was said. */
enum cli_status capture_file_open(struct cli *cli, const char *name, struct capture_file *file);

/* Writes whole blocks.  False if that failed: a regular file then ends with its last whole block.
 */
bool capture_file_write(struct capture_file *file, const uint8_t *blocks, size_t n);

/* Closes it.  False, with file->error, if not all of it is safe. */
bool capture_file_close(struct capture_file *file);

/* --- capture_print.c ------------------------------------------------------------------------ */

/* The table of packets; rows are the switch's objects. */
struct cli_table *capture_table(struct cli *cli);

#endif
