/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of the model share: the connection, the way in which every change is made, and the
 * readers of what people write in one argument.  Included by controller/model*.c only.
 */
#ifndef CONTROLLER_MODEL_PRIVATE_H
#define CONTROLLER_MODEL_PRIVATE_H

#include "controller/model.h"
#include "ovsdb-idl.h"
#include "smap.h"
#include "svec.h"

struct model {
	struct ovsdb_idl *idl;
	char *remote;
	unsigned int timeout_ms;
};

/* Fills in *error and returns `result`. */
enum model_result model_fail(struct model_error *error, enum model_result result,
	const char *format, ...) __attribute__((format(printf, 3, 4)));

/* --- Transactions (model_transaction.c) ----------------------------------------------------- */

/* One change.  build() looks at the replica, refuses or writes rows of the transaction, and is
 * called anew if somebody else's change came between and `retry` is set. */
struct model_change {
	enum model_result (*build)(struct model *model, struct ovsdb_idl_txn *transaction,
		void *context, struct model_error *error);
	void *context;
	const char *what; /* "port web1", for messages. */
	bool retry;
};

/* Makes the change, and waits until it is in the database or was refused.  Without `retry`,
 * another's change that came between is MODEL_CONFLICT. */
enum model_result model_commit(
	struct model *model, const struct model_change *change, struct model_error *error);

/* Waits for the replica to change, until `deadline` (time_msec()).  False once that is past. */
bool model_wait_for_change(struct model *model, long long int deadline);

/* --- What must be there (model.c).  NULL with a message in *error. -------------------------- */

const struct cordonrec_host *model_need_host(
	struct model *model, const char *name, struct model_error *error);
const struct cordonrec_network *model_need_network(
	struct model *model, const char *name, struct model_error *error);

/* --- Endpoints (model_endpoint.c) ----------------------------------------------------------- */

/* Somebody who is to have these MACs and addresses on a host. */
struct model_endpoint {
	const char *who; /* "port web1", for messages. */
	const char *host;
	const struct svec *macs, *addresses;
	const struct cordonrec_port *port; /* Itself, if it is there already, */
	const struct cordonrec_vm *vm;	   /* or itself with its ports. */
};

/* False, with a message, if another port or VM of the host has one of the MACs or addresses. */
bool model_check_unique(
	struct model *model, const struct model_endpoint *endpoint, struct model_error *error);

/* --- Ports (model_port.c) ------------------------------------------------------------------- */

/* A change, read and checked for itself. */
struct model_port_columns {
	const struct model_port_change *change;
	bool adding;
	struct smap options;
	struct svec macs, addresses, tags, serves;
	bool vlans[4096];
};

/* Reads and checks all that depends on no other row.  *columns is to be destroyed in any case. */
bool model_port_columns_read(struct model_port_columns *columns,
	const struct model_port_change *change, bool adding, struct model_error *error);
void model_port_columns_destroy(struct model_port_columns *columns);

/* --- VMs (model_vm_read.c) ------------------------------------------------------------------ */

/* A change of a VM, read and checked for itself. */
struct model_vm_columns {
	const struct model_vm_change *change;
	bool adding;
	struct smap options;		  /* As given; an empty value: the default again. */
	struct model_port_columns *vnics; /* As many as change->n_vnics. */
	size_t n_vnics;			  /* Of them read. */
};

/* Reads and checks all that depends on no other row.  *columns is to be destroyed in any case. */
bool model_vm_columns_read(struct model_vm_columns *columns, const struct model_vm_change *change,
	bool adding, struct model_error *error);
void model_vm_columns_destroy(struct model_vm_columns *columns);

/* --- Text (model_text.c).  All return false with a message in *error. ----------------------- */

/* Splits at commas, without empty parts; "\," is a comma within a part.  The caller destroys. */
void model_split(const char *text, struct svec *parts);

bool model_check_name(
	const char *what, const char *name, size_t maximum, struct model_error *error);
bool model_read_options(const char *text, struct smap *options, struct model_error *error);
bool model_read_macs(const char *text, struct svec *macs, struct model_error *error);
bool model_read_addresses(const char *text, struct svec *addresses, struct model_error *error);
bool model_read_tags(const char *text, struct svec *tags, struct model_error *error);
/* Reads "10,20-29" into bits 1..4094 of vlans[]. */
bool model_read_vlans(const char *text, bool vlans[4096], struct model_error *error);
bool model_check_text(const char *what, const char *text, struct model_error *error);
bool model_check_long_text(
	const char *what, const char *text, size_t maximum, struct model_error *error);
/* `word` is NULL or one of `words`, which end with NULL. */
bool model_check_word(
	const char *what, const char *word, const char *const *words, struct model_error *error);

/* The VLANs of model_read_vlans() as a column has them; the caller frees. */
int64_t *model_trunks(const bool vlans[4096], size_t *n);

/* The limits of a change, by their keys in the database: below 0, as model_port_change says. */
struct model_limit {
	const char *key;
	int64_t value;
};
enum { MODEL_LIMITS = 6 };
void model_limits(const struct model_port_change *change, struct model_limit limits[MODEL_LIMITS]);

/* How many bytes of a comment a message has room for; whole characters. */
int model_comment_excerpt(const char *comment);

#endif
