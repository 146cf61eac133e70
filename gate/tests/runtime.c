// SPDX-License-Identifier: GPL-2.0
/* Completions, kills and timers with threads. */
#include "kernel.h"

#include <errno.h>
#include <time.h>
#include <unistd.h>

_Thread_local struct task_struct *current;
_Thread_local void (*wait_has_ended)(void);

u64 ktime_get_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (u64)now.tv_sec * NSEC_PER_SEC + now.tv_nsec;
}

static struct timespec timespec_of(u64 ns)
{
	return (struct timespec){ .tv_sec = ns / NSEC_PER_SEC, .tv_nsec = ns % NSEC_PER_SEC };
}

static void init_cond(pthread_cond_t *cond)
{
	pthread_condattr_t attributes;

	pthread_condattr_init(&attributes);
	pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	pthread_cond_init(cond, &attributes);
	pthread_condattr_destroy(&attributes);
}

void task_init(struct task_struct *task, pid_t tgid)
{
	*task = (struct task_struct){ .tgid = tgid, .lock = PTHREAD_MUTEX_INITIALIZER };
	init_cond(&task->woken);
}

void kill_task(struct task_struct *task)
{
	pthread_mutex_lock(&task->lock);
	task->killed = true;
	pthread_cond_signal(&task->woken);
	pthread_mutex_unlock(&task->lock);
}

void init_completion(struct completion *c)
{
	*c = (struct completion){ .task = current };
}

/* As in the kernel, the completion may be gone as soon as its task sees that it is done. */
void complete(struct completion *c)
{
	struct task_struct *task = c->task;

	pthread_mutex_lock(&task->lock);
	c->done = true;
	pthread_cond_signal(&task->woken);
	pthread_mutex_unlock(&task->lock);
}

/*
 * A task that gives up may be preempted before it says so. Meanwhile the completion
 * may be completed, which its task has to find out.
 */
long wait_for_completion_killable_timeout(struct completion *c, unsigned long jiffies)
{
	struct timespec until = timespec_of(ktime_get_ns() + jiffies * JIFFY_NS);
	int ret = 0;
	long left;

	pthread_mutex_lock(&current->lock);
	while (!c->done && !current->killed && ret != ETIMEDOUT)
		ret = pthread_cond_timedwait(&current->woken, &current->lock, &until);
	left = c->done ? 1 : current->killed ? -512 : 0;
	pthread_mutex_unlock(&current->lock);
	if (left <= 0 && wait_has_ended)
		wait_has_ended();
	else if (left <= 0)
		usleep(500);
	return left;
}

static void *run_timer(void *argument)
{
	struct hrtimer *timer = argument;

	pthread_mutex_lock(&timer->lock);
	while (!timer->cancelled) {
		struct timespec until = timespec_of(timer->expires);

		if (!timer->expires) {
			pthread_cond_wait(&timer->changed, &timer->lock);
		} else if (ktime_get_ns() < timer->expires) {
			pthread_cond_timedwait(&timer->changed, &timer->lock, &until);
		} else {
			timer->expires = 0;
			pthread_mutex_unlock(&timer->lock);
			timer->function(timer);
			pthread_mutex_lock(&timer->lock);
		}
	}
	pthread_mutex_unlock(&timer->lock);
	return NULL;
}

void hrtimer_setup(struct hrtimer *timer, enum hrtimer_restart (*function)(struct hrtimer *),
		   int clock, int mode)
{
	(void)clock;
	(void)mode;
	pthread_mutex_init(&timer->lock, NULL);
	init_cond(&timer->changed);
	timer->function = function;
	timer->expires = 0;
	timer->cancelled = false;
	pthread_create(&timer->thread, NULL, run_timer, timer);
}

void hrtimer_start(struct hrtimer *timer, ktime_t expires, int mode)
{
	(void)mode;
	pthread_mutex_lock(&timer->lock);
	timer->expires = expires;
	pthread_cond_signal(&timer->changed);
	pthread_mutex_unlock(&timer->lock);
}

void hrtimer_cancel(struct hrtimer *timer)
{
	pthread_mutex_lock(&timer->lock);
	timer->cancelled = true;
	pthread_cond_signal(&timer->changed);
	pthread_mutex_unlock(&timer->lock);
	pthread_join(timer->thread, NULL);
}
