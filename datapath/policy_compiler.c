/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The thread that compiles policies.  Called by config_policy.c, on the main thread.
 *
 * It has the main thread's precedence over the log and the sweep: a new policy is waited for.
 */
#include <config.h>

#include "datapath/policy_compiler.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "ovs-rcu.h"
#include "ovs-thread.h"
#include "seq.h"
#include "timeval.h"
#include "util.h"

enum state { IDLE, ASKED, DONE, ENDING };

struct policy_compiler {
	pthread_t thread;
	struct seq *news; /* Changes when a result is there. */
	uint64_t seen;	  /* The main thread's. */

	pthread_mutex_t mutex;
	pthread_cond_t asked;
	enum state state;
	struct policy_result result; /* In ASKED the thread's, else the main thread's. */
};

static void compile(struct policy_result *result)
{
	const struct policy_request *request = &result->request;
	long long int began = time_msec();

	result->policy = zone_policy_create(request->document, strlen(request->document),
		request->revision, request->at, &result->errors);
	result->took_ms = time_msec() - began;
}

static void *compiler_main(void *compiler_)
{
	struct policy_compiler *compiler = compiler_;

	ovsrcu_quiesce_start(); /* It holds nothing that others could wait for. */
	pthread_mutex_lock(&compiler->mutex);
	while (compiler->state != ENDING) {
		if (compiler->state != ASKED) {
			pthread_cond_wait(&compiler->asked, &compiler->mutex);
			continue;
		}
		pthread_mutex_unlock(&compiler->mutex);
		compile(&compiler->result);
		pthread_mutex_lock(&compiler->mutex);
		if (compiler->state == ASKED)
			compiler->state = DONE;
		seq_change(compiler->news);
	}
	pthread_mutex_unlock(&compiler->mutex);
	return NULL;
}

struct policy_compiler *policy_compiler_start(void)
{
	struct policy_compiler *compiler = xzalloc(sizeof(*compiler));

	compiler->news = seq_create();
	pthread_mutex_init(&compiler->mutex, NULL);
	pthread_cond_init(&compiler->asked, NULL);
	compiler->thread = ovs_thread_create("policy", compiler_main, compiler);
	return compiler;
}

void policy_compiler_join(struct policy_compiler *compiler)
{
	if (compiler == NULL)
		return;
	pthread_mutex_lock(&compiler->mutex);
	compiler->state = ENDING;
	pthread_cond_signal(&compiler->asked);
	pthread_mutex_unlock(&compiler->mutex);
	pthread_join(compiler->thread, NULL);
	zone_policy_destroy(compiler->result.policy);
	pthread_cond_destroy(&compiler->asked);
	pthread_mutex_destroy(&compiler->mutex);
	seq_destroy(compiler->news);
	free(compiler);
}

static enum state state_of(const struct policy_compiler *compiler_)
{
	struct policy_compiler *compiler = CONST_CAST(struct policy_compiler *, compiler_);

	pthread_mutex_lock(&compiler->mutex);
	enum state state = compiler->state;
	pthread_mutex_unlock(&compiler->mutex);
	return state;
}

bool policy_compiler_is_busy(const struct policy_compiler *compiler, struct policy_request *request)
{
	if (state_of(compiler) == IDLE)
		return false;
	*request = compiler->result.request; /* Which the thread only reads. */
	return true;
}

void policy_compiler_begin(struct policy_compiler *compiler, const struct policy_request *request)
{
	pthread_mutex_lock(&compiler->mutex);
	compiler->result = (struct policy_result){.request = *request};
	compiler->state = ASKED;
	compiler->seen = seq_read(compiler->news);
	pthread_cond_signal(&compiler->asked);
	pthread_mutex_unlock(&compiler->mutex);
}

bool policy_compiler_take(struct policy_compiler *compiler, struct policy_result *result)
{
	if (state_of(compiler) != DONE)
		return false;
	*result = compiler->result;
	compiler->result.policy = NULL;
	pthread_mutex_lock(&compiler->mutex);
	compiler->state = IDLE;
	pthread_mutex_unlock(&compiler->mutex);
	return true;
}

void policy_compiler_wait(struct policy_compiler *compiler)
{
	if (state_of(compiler) != IDLE)
		seq_wait(compiler->news, compiler->seen);
}
