/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Commands of the control socket: a table, and how a line becomes one of them.  Called by
 * control_clients.c on the thread of the event loop, with the machine's lock held.
 */
#include "hv/control.h"

#include <errno.h>
#include <inttypes.h>
#include <linux/virtio_ids.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hv/balloon.h"

/* What a command is asked with, and what it gives back beside its answer. */
struct call {
	struct control_subject *subject;
	const json_t *argument; /* The member that the command's row names, or NULL. */
	struct terminal *terminal;
};

struct command {
	const char *name;
	const char *argument; /* Its one member beside "command", or NULL. */
	const char *help;
	json_t *(*answer)(struct call *call);
};

json_t *control_string(const char *text)
{
	json_t *string = text ? json_string(text) : NULL;
	char *copy;

	if (string || !text)
		return string;
	copy = strdup(text);
	for (char *at = copy; at && *at; at++)
		if ((unsigned char)*at >= 0x80)
			*at = '?';
	string = copy ? json_string(copy) : NULL;
	free(copy);
	return string;
}

json_t *control_refuse(const char *format, ...)
{
	char sentence[HV_ERROR_BYTES];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(sentence, sizeof(sentence), format, arguments);
	va_end(arguments);
	return json_pack("{s:b, s:o}", "ok", 0, "error", control_string(sentence));
}

static json_t *done(void)
{
	return json_pack("{s:b}", "ok", 1);
}

/* --- Commands --------------------------------------------------------------------------------- */

static json_t *status(struct call *call)
{
	return control_status(call->subject);
}

static json_t *metrics(struct call *call)
{
	return control_metrics(call->subject);
}

static json_t *change_state(struct machine *machine, int (*change)(struct machine *machine))
{
	enum machine_state before = machine->state;
	int result = change(machine);

	if (result == -EINVAL)
		return control_refuse(
			"the guest is %s, and only a guest that is running can be paused, and only "
			"one that is paused resumed",
			machine_state_name(before));
	return result < 0 ? control_refuse(
				    "the guest's state cannot be changed: %s", strerror(-result))
			  : done();
}

static json_t *pause_guest(struct call *call)
{
	return change_state(call->subject->machine, machine_pause);
}

static json_t *resume(struct call *call)
{
	return change_state(call->subject->machine, machine_resume);
}

static json_t *press_power_button(struct call *call)
{
	if (call->subject->machine->state != MACHINE_RUNNING)
		return control_refuse("the guest is %s, so that it would not notice the button",
			machine_state_name(call->subject->machine->state));
	machine_press_power_button(call->subject->machine);
	return done();
}

static json_t *stop(struct call *call)
{
	machine_end(call->subject->machine, MACHINE_STOPPED, "stopped by the control socket");
	return done();
}

static struct virtio_device *find_balloon(const struct control_subject *subject)
{
	for (unsigned int i = 0; i < subject->n_devices; i++)
		if (subject->devices[i]->type->id == VIRTIO_ID_BALLOON)
			return subject->devices[i];
	return NULL;
}

static json_t *inflate_balloon(struct call *call)
{
	struct virtio_device *device = find_balloon(call->subject);
	json_int_t bytes = json_integer_value(call->argument);

	if (!device)
		return control_refuse("this guest has no balloon (--no-balloon)");
	if (!json_is_integer(call->argument) || bytes < 0)
		return control_refuse(
			"'bytes' must be the number of bytes that the guest is to give back");
	if (balloon_set_target(device, (uint64_t)bytes) < 0)
		return control_refuse("the guest has %" PRIu64
				      " bytes of memory and cannot give back %" JSON_INTEGER_FORMAT,
			call->subject->machine->memory.bytes, bytes);
	return done();
}

static json_t *attach_console(struct call *call)
{
	const char *device = call->argument ? json_string_value(call->argument) : "serial";
	bool is_serial = device && !strcmp(device, "serial");

	if (!is_serial && (!device || strcmp(device, "console") != 0))
		return control_refuse("'device' must be \"serial\" or \"console\"");
	call->terminal = is_serial ? call->subject->serial : call->subject->console;
	if (!call->terminal)
		return control_refuse("this guest has no %s",
			is_serial ? "serial port" : "virtio console (--no-console)");
	return done();
}

static json_t *help(struct call *call);

static const struct command commands[] = {
	{"status", NULL, "what the guest is and has", status},
	{"metrics", NULL, "counters of devices and processors", metrics},
	{"pause", NULL, "stop the guest's processors", pause_guest},
	{"resume", NULL, "let them go on", resume},
	{"power-button", NULL, "ask the guest to shut down", press_power_button},
	{"stop", NULL, "end the guest at once", stop},
	{"balloon", "bytes", "ask the guest to give back this much of its memory", inflate_balloon},
	{"console", "device",
		"become a cable to the port \"serial\" (if none is named) or \"console\"",
		attach_console},
	{"help", NULL, "list the commands", help},
};

enum { N_COMMANDS = sizeof(commands) / sizeof(commands[0]) };

static json_t *help(struct call *call)
{
	json_t *list = json_array();

	(void)call;
	for (unsigned int i = 0; i < N_COMMANDS; i++)
		json_array_append_new(
			list, json_pack("{s:s, s:s*, s:s}", "command", commands[i].name, "argument",
				      commands[i].argument, "help", commands[i].help));
	return json_pack("{s:b, s:o}", "ok", 1, "commands", list);
}

/* --- From a line to a command ----------------------------------------------------------------- */

static json_t *refuse_command(const char *name)
{
	char known[256] = "";
	size_t used = 0;

	for (unsigned int i = 0; i < N_COMMANDS && used < sizeof(known); i++)
		used += (size_t)snprintf(known + used, sizeof(known) - used, "%s%s", i ? ", " : "",
			commands[i].name);
	return control_refuse("there is no command '%.64s'; commands are %s", name, known);
}

static const struct command *find_command(const char *name)
{
	for (unsigned int i = 0; i < N_COMMANDS; i++)
		if (!strcmp(commands[i].name, name))
			return &commands[i];
	return NULL;
}

/* A member that the command does not have would be overlooked, and the command do something else
 * than was meant. */
static const char *find_stranger(json_t *request, const struct command *command)
{
	const char *key;
	json_t *value;

	json_object_foreach(request, key,
		value) if (strcmp(key, "command") != 0 &&
			   (!command->argument || strcmp(key, command->argument) != 0)) return key;
	return NULL;
}

static json_t *obey(struct call *call, json_t *request)
{
	const char *name = json_string_value(json_object_get(request, "command"));
	const struct command *command = name ? find_command(name) : NULL;
	const char *stranger;

	if (!name)
		return control_refuse("a request is an object with a member \"command\", as "
				      "{\"command\":\"status\"}");
	if (!command)
		return refuse_command(name);
	stranger = find_stranger(request, command);
	if (stranger && command->argument)
		return control_refuse("the command '%s' knows no '%.64s', but '%s'", name, stranger,
			command->argument);
	if (stranger)
		return control_refuse(
			"the command '%s' knows no '%.64s', and nothing else", name, stranger);
	call->argument = command->argument ? json_object_get(request, command->argument) : NULL;
	return command->answer(call);
}

json_t *control_answer(
	struct control_subject *subject, const char *line, size_t bytes, struct terminal **terminal)
{
	struct call call = {.subject = subject};
	json_error_t error;
	json_t *request = json_loadb(line, bytes, JSON_REJECT_DUPLICATES, &error);
	json_t *answer;

	*terminal = NULL;
	if (!request)
		return control_refuse("this line is no JSON: at byte %d, %s", error.position,
			strchr(error.text, '\'') ? "there is something else" : error.text);
	answer = obey(&call, request);
	json_decref(request);
	*terminal = call.terminal;
	return answer;
}
