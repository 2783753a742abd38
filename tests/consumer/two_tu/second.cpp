// SPDX-License-Identifier: BSL-1.0
// The other of two translation units with everything of joblot in it.
#include "everything.hpp"

#include <ranges>

int sum_in_second(int n);
const void* version_in_second();

static int twice(int x) { return 2 * x; }

int sum_in_second(int n) {
    int sum = 0;
    for (int x :
         joblot::Parallel({.n_jobs = 2})(std::views::iota(0, n) | std::views::transform(joblot::delayed(twice))))
        sum += x;
    return sum;
}

const void* version_in_second() { return &joblot::version; }
