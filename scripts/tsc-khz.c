// SPDX-License-Identifier: GPL-2.0
/*
 * Prints how fast this machine's time stamp counter runs, in kHz.
 */
#include <stdio.h>
#include <time.h>
#include <x86intrin.h>

struct sample {
	unsigned long long tsc;
	double ns;
};

/*
 * Both clocks at the same moment: of many attempts the one during which the least time passed, as
 * the process may lose the CPU between the two.
 */
static struct sample sample(void)
{
	unsigned long long before, after, least = ~0ULL;
	struct sample best = { 0 };
	struct timespec now;

	for (int i = 0; i < 1000; i++) {
		before = __rdtsc();
		clock_gettime(CLOCK_MONOTONIC, &now);
		after = __rdtsc();
		if (after - before >= least)
			continue;
		least = after - before;
		best.tsc = before + least / 2;
		best.ns = now.tv_sec * 1e9 + now.tv_nsec;
	}
	return best;
}

int main(void)
{
	const struct timespec pause = { .tv_nsec = 50 * 1000 * 1000 };
	struct sample first = sample(), second;

	nanosleep(&pause, NULL);
	second = sample();
	printf("%.0f\n", (second.tsc - first.tsc) / (second.ns - first.ns) * 1e6);
	return 0;
}
