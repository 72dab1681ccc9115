/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of `cordon port` share.
 */
#ifndef CLI_PORT_H
#define CLI_PORT_H

#include "cli/cordon.h"

/* A port's row as a JSON object, without its zone.  The caller frees. */
struct json *cli_port_json(const struct cordonrec_port *port);

/* Where a vhost port's socket is: the option, or the switch's default.  The caller frees. */
char *cli_port_socket(const struct cli *cli, const struct cordonrec_port *port);

#endif
