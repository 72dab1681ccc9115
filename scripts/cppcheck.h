/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What cppcheck is told before every file: it is not shown the headers of the libraries, so it cannot know which of
 * their macros are loops.  `make lint` includes this; no program does.
 */
#define LOOP(variable, ...) for ((variable) = any(); (variable); (variable) = any())

#define SHASH_FOR_EACH LOOP
#define SHASH_FOR_EACH_SAFE LOOP
#define SSET_FOR_EACH LOOP
#define SMAP_FOR_EACH LOOP
#define SVEC_FOR_EACH(index, variable, list) for ((index) = 0, (variable) = any(); (variable); (index)++)
#define HMAP_FOR_EACH LOOP
#define HMAP_FOR_EACH_SAFE LOOP
#define CMAP_FOR_EACH LOOP
#define LIST_FOR_EACH LOOP
#define LIST_FOR_EACH_SAFE LOOP
#define CORDONREC_HOST_FOR_EACH LOOP
#define CORDONREC_PORT_FOR_EACH LOOP
#define CORDONREC_PORT_FOR_EACH_SAFE LOOP
#define CORDONREC_NETWORK_FOR_EACH LOOP
#define CORDONREC_POLICY_REVISION_FOR_EACH LOOP
#define CORDONREC_LOG_SINK_FOR_EACH LOOP
#define LIST_FOR_EACH_POP LOOP
#define CORDONREC_VM_FOR_EACH LOOP
#define CORDONREC_VM_VNIC_FOR_EACH LOOP
