/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What ThreadSanitizer is told of an order that it cannot see for itself.  Nothing in other builds.
 */
#ifndef DATAPATH_SANITIZER_H
#define DATAPATH_SANITIZER_H

#ifdef __SANITIZE_THREAD__
#define SANITIZER_THREAD 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define SANITIZER_THREAD 1
#endif
#endif

#ifdef SANITIZER_THREAD
#include <sanitizer/tsan_interface.h>
#endif

/* All that the calling thread did before sanitizer_release() comes before all that a thread does
 * after a later sanitizer_acquire() of the same address. */
static inline void sanitizer_release(const void *address)
{
#ifdef SANITIZER_THREAD
	__tsan_release((void *)address);
#else
	(void)address;
#endif
}

static inline void sanitizer_acquire(const void *address)
{
#ifdef SANITIZER_THREAD
	__tsan_acquire((void *)address);
#else
	(void)address;
#endif
}

#endif
