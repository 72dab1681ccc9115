/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Says the next message of a script, and hears its answer.  One message is under way at a time:
 * what is said next may depend on the answer.  Called by the event loop and by vhost_user.c, with
 * the machine's lock held.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "hv/vhost_user_private.h"

void vhost_user_begin(struct vhost_user *vhost, const struct vhost_user_script *script)
{
	vhost->script = script;
	vhost->step = 0;
	vhost->ring = 0;
}

/* --- Which message ---------------------------------------------------------------------------- */

static bool is_due(const struct vhost_user *vhost, const struct vhost_user_step *step)
{
	if (step->each_ring && !vhost_user_has_ring(vhost, vhost->ring))
		return false;
	return !step->due || step->due(vhost, vhost->ring);
}

/* The step that is to be said next, for vhost->ring; NULL at the script's end. */
static const struct vhost_user_step *next_step(struct vhost_user *vhost)
{
	for (; vhost->step < vhost->script->n; vhost->step++, vhost->ring = 0) {
		const struct vhost_user_step *step = &vhost->script->steps[vhost->step];
		const struct vhost_user_request_type *type = vhost_user_request_type(step->request);
		unsigned int n = step->each_ring ? vhost->n_rings : 1;

		if (type->protocol_feature >= 0 &&
			!vhost_user_agreed(vhost, (unsigned int)type->protocol_feature))
			continue;
		for (; vhost->ring < n; vhost->ring++) {
			if (is_due(vhost, step))
				return step;
		}
	}
	return NULL;
}

static void fail(struct vhost_user *vhost, const char *reason)
{
	vhost->lost = true;
	vhost->setup.events->failed(vhost->setup.owner, reason);
}

/* True, and hung up, if the driver has accepted what the back end does not know. */
static bool refuse_for_features(struct vhost_user *vhost)
{
	uint64_t lacking = vhost->driver_features & vhost->setup.needed_features & ~vhost->features;
	char reason[HV_ERROR_BYTES];

	if (!vhost->wanted || lacking == 0)
		return false;
	vhost->refusals++;
	snprintf(reason, sizeof(reason),
		"refused: it lacks virtio features %#llx, which the guest uses; let one come that "
		"has them, or reset the guest",
		(unsigned long long)lacking);
	vhost_user_hang_up(vhost, reason);
	return true;
}

/* The script for what is to be done now, if anything. */
static void choose_script(struct vhost_user *vhost)
{
	struct hv_error error;

	if (vhost->met && vhost->wanted && !vhost->told && !vhost->lost) {
		if (refuse_for_features(vhost))
			return;
		if (vhost_user_recover(vhost, &error) < 0) {
			fail(vhost, error.text);
			return;
		}
		vhost_user_begin(vhost, &vhost_user_starting);
		vhost->told = true;
		return;
	}
	vhost_user_begin(vhost, &vhost_user_upkeep);
	if (!vhost->met || !next_step(vhost))
		vhost->script = NULL;
}

/* --- What a script leads to ------------------------------------------------------------------- */

static void finish_meeting(struct vhost_user *vhost)
{
	struct hv_error error = {""};
	char reason[HV_ERROR_BYTES + 16];

	if (refuse_for_features(vhost))
		return;
	if (vhost->setup.events->met(vhost->setup.owner, &error) < 0) {
		vhost->refusals++;
		snprintf(reason, sizeof(reason), "refused: %s", error.text);
		vhost_user_hang_up(vhost, reason);
		return;
	}
	vhost->met = true;
}

/* What the last back end was told by a kick it may have taken with it, and an interrupt that it
 * owed. */
static void finish_starting(struct vhost_user *vhost)
{
	bool again = vhost->begun;

	vhost->running = true;
	vhost->begun = true;
	vhost->retry_ms = 0;
	for (unsigned int ring = 0; ring < vhost->n_rings; ring++) {
		if (!vhost_user_has_ring(vhost, ring))
			continue;
		eventfd_write(vhost->queues[ring].notify_fd, 1);
		if (again)
			eventfd_write(vhost->queues[ring].interrupt_fd, 1);
	}
	vhost->trouble[0] = '\0';
	if (again)
		vhost_user_report_return(vhost);
	vhost->setup.events->started(vhost->setup.owner, again);
}

static void finish_script(struct vhost_user *vhost)
{
	const struct vhost_user_script *script = vhost->script;

	vhost->script = NULL;
	if (script == &vhost_user_meeting)
		finish_meeting(vhost);
	else if (script == &vhost_user_starting)
		finish_starting(vhost);
	else if (script == &vhost_user_stopping)
		vhost->told = vhost->running = vhost->stopping = false;
}

/* --- Saying ----------------------------------------------------------------------------------- */

static bool wants_answer(const struct vhost_user *vhost, const struct vhost_user_request_type *type)
{
	return type->answer_bytes > 0 || (vhost->out.message.flags & VHOST_USER_NEED_REPLY);
}

/* It is given away; every other descriptor is only lent. */
void vhost_user_close_given_channel(struct vhost_user *vhost)
{
	struct vhost_user_outgoing *out = &vhost->out;

	if (out->message.request == VHOST_USER_SET_BACKEND_REQ_FD && out->n_descriptors > 0)
		close(out->descriptors[0]);
	out->n_descriptors = 0;
}

/* Sends vhost->out, or as soon as there is room. */
static void send_out(struct vhost_user *vhost)
{
	const struct vhost_user_request_type *type =
		vhost_user_request_type(vhost->out.message.request);
	char reason[HV_ERROR_BYTES];
	int result = vhost_user_message_send(vhost->connection.fd, &vhost->out.message,
		vhost->out.descriptors, vhost->out.n_descriptors);

	if (result == -EAGAIN) {
		vhost->sending = true;
		result = event_loop_add(vhost->setup.loop, &vhost->connection, EPOLLIN | EPOLLOUT);
		vhost_user_set_timer(vhost, vhost->setup.reply_ms);
		if (result == 0)
			return;
	}
	vhost_user_close_given_channel(vhost);
	if (result < 0) {
		snprintf(reason, sizeof(reason), "%s cannot be sent: %s", type->name,
			strerror(-result));
		vhost_user_hang_up(vhost, result == -EPIPE ? NULL : reason);
		return;
	}
	vhost->sending = false;
	vhost->awaiting = wants_answer(vhost, type);
	vhost_user_set_timer(vhost, vhost->awaiting ? vhost->setup.reply_ms : 0);
	if (!vhost->awaiting)
		vhost->ring++;
}

static void say(struct vhost_user *vhost, const struct vhost_user_step *step)
{
	struct vhost_user_outgoing *out = &vhost->out;

	memset(out, 0, sizeof(*out));
	out->message.request = step->request;
	out->message.flags = VHOST_USER_VERSION;
	/* What is agreed is in force when the back end knows of it. */
	if (vhost_user_agreed(vhost, VHOST_USER_PROTOCOL_REPLY_ACK) &&
		step->request != VHOST_USER_SET_PROTOCOL_FEATURES &&
		vhost_user_request_type(step->request)->answer_bytes == 0)
		out->message.flags |= VHOST_USER_NEED_REPLY;
	if (step->say)
		step->say(vhost, vhost->ring, out);
	if (step->request == VHOST_USER_SET_BACKEND_REQ_FD && out->n_descriptors == 0) {
		vhost->ring++;
		return;
	}
	send_out(vhost);
}

void vhost_user_advance(struct vhost_user *vhost)
{
	while (vhost->connection.added && !vhost->awaiting && !vhost->sending) {
		const struct vhost_user_step *step;

		if (!vhost->script)
			choose_script(vhost);
		if (!vhost->script)
			return;
		step = next_step(vhost);
		if (step)
			say(vhost, step);
		else
			finish_script(vhost);
	}
}

/* --- Hearing ---------------------------------------------------------------------------------- */

/* The whole of an answer is there. */
static int take_answer(struct vhost_user *vhost, struct hv_error *error)
{
	const struct vhost_user_step *step = &vhost->script->steps[vhost->step];
	const struct vhost_user_request_type *type = vhost_user_request_type(step->request);
	uint32_t bytes = type->answer_bytes;
	int result;

	if (step->request == VHOST_USER_GET_CONFIG)
		bytes += vhost->setup.config_bytes;
	if (bytes == 0)
		bytes = sizeof(uint64_t);
	result = vhost_user_answer_check(&vhost->answer, type, bytes, error);
	if (result < 0)
		return result;
	if (step->hear)
		return step->hear(vhost, vhost->ring, &vhost->answer, error);
	if (type->answer_bytes == 0 && vhost->answer.message.payload.value != 0)
		return hv_fail(error, EPROTO, "it refused %s", type->name);
	return 0;
}

/* Reads, and ends the wait if the answer is there. */
static int hear(struct vhost_user *vhost, struct hv_error *error)
{
	int result = vhost_user_message_receive(vhost->connection.fd, &vhost->answer, error);

	if (result <= 0)
		return result;
	if (!vhost->awaiting)
		return hv_fail(error, EBADMSG, "it said something (request %u) without being asked",
			vhost->answer.message.request);
	result = take_answer(vhost, error);
	vhost_user_reader_reset(&vhost->answer);
	if (result < 0)
		return result;
	vhost->awaiting = false;
	vhost_user_set_timer(vhost, 0);
	vhost->ring++;
	if (vhost->stopping && vhost->script != &vhost_user_stopping)
		vhost_user_begin(vhost, &vhost_user_stopping);
	return 1;
}

void vhost_user_connection_ready(struct event_source *source, uint32_t events)
{
	struct vhost_user *vhost =
		(struct vhost_user *)((char *)source - offsetof(struct vhost_user, connection));
	struct hv_error error;
	int result;

	if (vhost->sending && (events & EPOLLOUT)) {
		(void)event_loop_add(vhost->setup.loop, &vhost->connection, EPOLLIN);
		send_out(vhost);
	}
	if (vhost->connection.added && (events & (EPOLLIN | EPOLLHUP | EPOLLERR))) {
		result = hear(vhost, &error);
		if (result < 0) {
			bool left = result == -ECONNRESET && !vhost->awaiting;

			vhost_user_hang_up(vhost, left ? NULL : error.text);
		}
	}
	vhost_user_advance(vhost);
}

/* --- The back end's own requests -------------------------------------------------------------- */

static void answer_request(struct vhost_user *vhost, uint64_t number)
{
	struct vhost_user_message answer = {
		.request = vhost->request.message.request,
		.flags = VHOST_USER_VERSION | VHOST_USER_REPLY,
		.bytes = sizeof(uint64_t),
		.payload.value = number,
	};

	/* A back end that asks for answers and does not take them goes without. */
	if (vhost->request.message.flags & VHOST_USER_NEED_REPLY)
		(void)vhost_user_message_send(vhost->channel.fd, &answer, NULL, 0);
}

/* One message a call, so that who sends many does not keep others from their turn. */
void vhost_user_channel_ready(struct event_source *source, uint32_t events)
{
	struct vhost_user *vhost =
		(struct vhost_user *)((char *)source - offsetof(struct vhost_user, channel));
	int result = vhost_user_message_receive(source->fd, &vhost->request, NULL);

	(void)events;
	if (result == 0)
		return;
	if (result < 0) {
		event_loop_remove(vhost->setup.loop, source);
		close(source->fd);
		source->fd = -1;
	} else if (vhost->request.message.request == VHOST_USER_BACK_END_CONFIG_CHANGED) {
		vhost->config_stale = true;
		answer_request(vhost, 0);
	} else {
		answer_request(vhost, 1);
	}
	vhost_user_reader_reset(&vhost->request);
	vhost_user_advance(vhost);
}
