/* SPDX-License-Identifier: GPL-2.0 */
/*
 * As much of the kernel as the order needs, for its tests in user space. Each
 * <linux/…> that it includes is a file that includes this one.
 */
#ifndef TESTS_KERNEL_H
#define TESTS_KERNEL_H

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

typedef uint64_t u64;
typedef int64_t s64;
typedef s64 ktime_t;

#define NSEC_PER_USEC	1000L
#define NSEC_PER_MSEC	1000000L
#define NSEC_PER_SEC	1000000000L
#define U64_MAX		UINT64_MAX
#define ARRAY_SIZE(a)	(sizeof(a) / sizeof((a)[0]))

#define min(a, b)	({ __auto_type _a = (a); __auto_type _b = (b); _a < _b ? _a : _b; })
#define max(a, b)	({ __auto_type _a = (a); __auto_type _b = (b); _a > _b ? _a : _b; })
#define min_t(t, a, b)	min((t)(a), (t)(b))
#define max_t(t, a, b)	max((t)(a), (t)(b))
#define clamp(v, lo, hi)	min(max(v, lo), hi)
#define clamp_t(t, v, lo, hi)	clamp((t)(v), (t)(lo), (t)(hi))
#define div_u64(a, b)	((u64)(a) / (b))
#define div64_u64(a, b)	((u64)(a) / (b))

/* list.h */
struct list_head {
	struct list_head *next, *prev;
};

#define LIST_HEAD_INIT(name)	{ &(name), &(name) }
#define container_of(p, type, member) ((type *)((char *)(p) - offsetof(type, member)))
#define list_entry		container_of
#define list_first_entry_or_null(head, type, member) \
	(list_empty(head) ? NULL : list_entry((head)->next, type, member))
#define list_for_each_entry(pos, head, member) \
	for (pos = list_entry((head)->next, typeof(*pos), member); &pos->member != (head); \
	     pos = list_entry(pos->member.next, typeof(*pos), member))
#define list_for_each_entry_reverse(pos, head, member) \
	for (pos = list_entry((head)->prev, typeof(*pos), member); &pos->member != (head); \
	     pos = list_entry(pos->member.prev, typeof(*pos), member))

static inline void INIT_LIST_HEAD(struct list_head *head)
{
	head->next = head->prev = head;
}

static inline bool list_empty(const struct list_head *head)
{
	return head->next == head;
}

static inline void list_add(struct list_head *node, struct list_head *after)
{
	node->prev = after;
	node->next = after->next;
	after->next->prev = node;
	after->next = node;
}

static inline void list_del_init(struct list_head *node)
{
	node->prev->next = node->next;
	node->next->prev = node->prev;
	INIT_LIST_HEAD(node);
}

/* Tasks are threads. */
struct pid_namespace;
struct task_struct {
	pid_t tgid;
	pthread_mutex_t lock;	/* of killed, and of a completion that it waits for */
	pthread_cond_t woken;
	bool killed;
};

extern _Thread_local struct task_struct *current;

static inline pid_t task_tgid_nr_ns(const struct task_struct *task, struct pid_namespace *ns)
{
	(void)ns;
	return task->tgid;
}

/* What sleeps and wakes, in runtime.c. */
#define JIFFY_NS		NSEC_PER_MSEC
#define nsecs_to_jiffies(ns)	((unsigned long)((ns) / JIFFY_NS))
/* A task's, called when its wait has ended for another reason, before it says so. */
extern _Thread_local void (*wait_has_ended)(void);

struct completion {
	struct task_struct *task;	/* that will wait for it */
	bool done;
};

void init_completion(struct completion *c);
void complete(struct completion *c);
/* -512 if the task is killed, 0 if the time is up; then perhaps late, see runtime.c */
long wait_for_completion_killable_timeout(struct completion *c, unsigned long jiffies);
void task_init(struct task_struct *task, pid_t tgid);
void kill_task(struct task_struct *task);

typedef pthread_mutex_t spinlock_t;
#define __SPIN_LOCK_UNLOCKED(name)	PTHREAD_MUTEX_INITIALIZER
#define spin_lock		pthread_mutex_lock
#define spin_unlock		pthread_mutex_unlock
#define spin_lock_bh		pthread_mutex_lock
#define spin_unlock_bh		pthread_mutex_unlock

u64 ktime_get_ns(void);
#define ns_to_ktime(ns)		((ktime_t)(ns))

enum hrtimer_restart { HRTIMER_NORESTART };
#define HRTIMER_MODE_ABS_SOFT	0
#ifndef CLOCK_MONOTONIC
#define CLOCK_MONOTONIC		1
#endif

struct hrtimer {
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	enum hrtimer_restart (*function)(struct hrtimer *timer);
	u64 expires;		/* 0: not queued */
	bool cancelled;
};

void hrtimer_setup(struct hrtimer *timer, enum hrtimer_restart (*function)(struct hrtimer *),
		   int clock, int mode);
void hrtimer_start(struct hrtimer *timer, ktime_t expires, int mode);
void hrtimer_cancel(struct hrtimer *timer);

#define KERNEL_VERSION(a, b, c)	(((a) << 16) + ((b) << 8) + (c))
#define LINUX_VERSION_CODE	KERNEL_VERSION(7, 0, 0)

#endif
