/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of `cordon vm` share.
 *
 * A VM is written down in options or in a file of YAML, with the same words: both put a value
 * behind a key into a draft, which becomes one change of the model.
 */
#ifndef CLI_VM_H
#define CLI_VM_H

#include "cli/cordon.h"

enum { VM_SENTENCE_BYTES = 512 };

/* A VM as far as it was told.  Strings are kept by `cli`. */
struct vm_draft {
	struct cli *cli;
	struct model_vm_change change;
	struct model_vnic vnics[MODEL_VNICS_MAX];
	unsigned int lists_begun[MODEL_VNICS_MAX]; /* Bit per list: what there was is replaced. */
	struct model_disk disks[MODEL_DISKS_MAX];
	char sentence[VM_SENTENCE_BYTES]; /* What is wrong, once something is. */
};

/* All false with draft->sentence if it makes no sense. */

void vm_draft_begin(struct vm_draft *draft, struct cli *cli);
/* What is there, to be changed. */
void vm_draft_from_row(struct vm_draft *draft, const struct cordonrec_vm *vm);
/* A setting of the VM itself: "memory", "512M". */
bool vm_draft_put(struct vm_draft *draft, const char *key, const char *value);
/* One of vNIC or disk `place`, which begins with all defaults when it is put to first. */
bool vm_draft_put_vnic(struct vm_draft *draft, size_t place, const char *key, const char *value);
bool vm_draft_put_disk(struct vm_draft *draft, size_t place, const char *key, const char *value);
bool vm_draft_add_vnic(struct vm_draft *draft, size_t *place);
bool vm_draft_add_disk(struct vm_draft *draft, size_t *place);

/* Reads a file ("-": standard input), adding to the draft.  False after saying what is wrong. */
bool vm_yaml_read(struct vm_draft *draft, const char *path);
/* The same of a text; the name of the file is for messages.  For tests. */
bool vm_yaml_read_text(struct vm_draft *draft, const char *path, const char *text, size_t bytes);

/* A VM's row as a JSON object; the caller frees. */
struct json *cli_vm_json(const struct cli *cli, const struct cordonrec_vm *vm);

/* The named VM, or NULL after saying that there is none. */
const struct cordonrec_vm *cli_vm_find(
	struct cli *cli, struct model *model, enum cli_status *status);

#endif
