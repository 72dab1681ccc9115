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

/* How many bytes of a comment a message has room for; whole characters. */
int model_comment_excerpt(const char *comment);

#endif
