/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The control plane of cordon-switchd: the files that make the database's wish real and write back
 * what was observed.  All of it is the main thread's; policies of the past may be read by others.
 *
 *      config.c          the loop, and this host's row
 *      config_port.c     ports opened, changed and closed
 *      config_policy.c   which revision is in force, and when another one is
 *      config_zones.c    the map of endpoints, swapped in with its policy
 *      policies.c        revisions that connections still name
 *      status.c          what was observed, written back
 *      control.c         answers to `cordon` and ovs-appctl
 */
#ifndef DATAPATH_CONFIG_H
#define DATAPATH_CONFIG_H

#include "datapath/switch.h"
#include "openvswitch/shash.h"
#include "smap.h"

struct cordonrec_host;
struct cordonrec_port;

/* --- config.c: the database's wish made real ------------------------------------------------ */

/* One port of the database. */
struct config_port {
	char *name;
	uint16_t number;
	char *type;
	struct smap options; /* What it was opened with. */
	struct port *port;   /* NULL if it could not be opened. */
	char *error;	     /* What is wrong with the row, or NULL; it does not name the port. */
	long long int retry_at; /* time_msec() of the next attempt. */
	char *endpoint; /* What the log and the zones know of it, as text, to see changes. */
};

struct config {
	struct cordon_switch *sw;
	struct ovsdb_idl *idl;
	unsigned int seen;			     /* IDL sequence number of what is in force. */
	struct shash ports;			     /* Of struct config_port, by name. */
	struct known_endpoints *endpoints;	     /* As the database had them last. */
	char *endpoints_text;			     /* The endpoint map's entries. */
	uint64_t n_kept, kept_since[POLICIES_KEPT];  /* In which order sw->policies came... */
	long long int unneeded_since[POLICIES_KEPT]; /* ...and time_msec() when, or 0. */
	struct config_policy *policy;
	uint32_t revision;	   /* Of the policy in force. */
	char *policy_error;	   /* What is wrong with the revision wanted, or NULL. */
	int64_t policy_failed;	   /* That revision. */
	bool ports_held;	   /* No port is opened before a policy was looked for. */
	struct ovsdb_idl_txn *txn; /* In progress, or NULL. */
	long long int next_status, next_answer, next_poll, next_statistics, next_retry;
	bool status_changed;
	struct policy_evaluation *evaluation; /* In progress and waiting; control_plan.c. */
	struct shash sink_errors;	      /* What is wrong with a row of Log_Sink, by name. */
	struct shash sinks_seen;	      /* What was last said of a sink that fails. */
	uint64_t news;			      /* Of the ports, as far as status.c has seen them. */
};

struct config *config_create(struct cordon_switch *sw, const char *remote);
void config_run(struct config *config);
void config_wait(struct config *config);
void config_destroy(struct config *config);

/* This host's row; NULL until there is one. */
const struct cordonrec_host *config_host(const struct config *config);

/* --- config_port.c: ports opened, changed and closed ---------------------------------------- */

/* Says who the ports of this host are, before any is opened: what the last process has left ends
 * under their names. */
void config_port_identities(struct config *config, const struct cordonrec_host *host);

/* Makes the ports of this host match their rows.  Returns true if any came, went or changed. */
bool config_ports(struct config *config, const struct cordonrec_host *host);
void config_ports_close(struct config *config);

/* Gives the queues of all ports to the workers' poll lists, after ports have come or gone. */
void config_assign_queues(struct cordon_switch *sw);

/* The settings that the row asks for; NULL with a sentence in *error. */
struct port_settings *config_port_settings(
	const struct cordonrec_port *row, uint32_t capacity, char **error);

/* --- config_policy.c: which policy is in force, and when another one is ------------------------
 */

/* Before the replica is first run. */
void config_policy_start(struct config *config);
void config_policy_stop(struct config *config);

/* Puts the policy into force that should be at this moment, by database and clock. */
void config_policy_run(struct config *config);
void config_policy_wait(struct config *config);

/* True once the policy that the database wants is in force, or is known not to be to be had. */
bool config_policy_is_settled(const struct config *config);

/* A revision that is wanted until `confirm_by`, in seconds since 1970, unless it is confirmed. */
struct policy_pending {
	int64_t revision, returns_to, confirm_by;
	bool returned; /* It was not, and this host has gone back. */
};

/* False if nothing waits for confirmation, as far as this host knows. */
bool config_policy_pending(const struct config *config, struct policy_pending *pending);

/* The revision that is being compiled, for now or for later; 0: none. */
uint32_t config_policy_compiling(const struct config *config);

/* The next second at which other rules of the revision in force are; or ZONE_NO_CHANGE. */
int64_t config_policy_next_change(const struct config *config);

/* --- policy_return.c: a revision that was not confirmed, written down --------------------------
 */

/* Adds to config->txn that hosts have gone back, and nothing else.  False if there is nothing to
 * write. */
bool policy_return_write(struct config *config);

/* --- config_zones.c: the policy in force and who is in which zone ------------------------------
 */

/* Rebuilds the map of endpoints if any has changed. */
void config_zones(struct config *config, const struct cordonrec_host *host);

/* Puts `policy` into force, which then is the switch's, in place of whatever was. */
void config_zones_swap(struct config *config, struct zone_policy *policy);
void config_zones_destroy(struct config *config);

/* --- policies.c: policies of past revisions ------------------------------------------------- */

/* Keeps the policy, which is about to be put into force, and gives its rules their slots among the
 * rule hits. */
void policies_keep(struct config *config, struct zone_policy *policy);

/* Lets go of those that no connection names any more.  Now and then. */
void policies_forget(struct config *config);

/* --- config_log.c: where the log's records go ------------------------------------------------- */

/* Gives the log's sinks what the database says of them. */
void config_log(struct config *config);

/* Says in the switch's own log what has changed. */
void config_log_watch(struct config *config, const struct sinks_row *rows, size_t n);
void config_log_destroy(struct config *config);

/* --- status.c: what was observed, written back ---------------------------------------------- */

void status_run(struct config *config);
void status_wait(struct config *config);

/* --- control.c: answers to `cordon` and ovs-appctl ------------------------------------------ */

void control_register(struct config *config);

#endif
