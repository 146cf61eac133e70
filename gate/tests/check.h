/* SPDX-License-Identifier: GPL-2.0 */
#ifndef TESTS_CHECK_H
#define TESTS_CHECK_H

#include <stdio.h>
#include <stdlib.h>

/* Fails the test with numbers that say why. */
#define CHECK(condition, ...) do {						\
	if (!(condition)) {							\
		fprintf(stderr, "%s:%d: not %s: ", __FILE__, __LINE__, #condition);	\
		fprintf(stderr, __VA_ARGS__);					\
		fputc('\n', stderr);						\
		exit(1);							\
	}									\
} while (0)

/* xorshift: the same numbers in each run */
static inline unsigned long long random_below(unsigned long long *state, unsigned long long n)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state % n;
}

#endif
