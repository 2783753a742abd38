// SPDX-License-Identifier: BSL-1.0
// The second file of programs of two: it includes joblot, makes a call on threads, and does not call init.
#include <joblot/joblot.hpp>

#include <ranges>
#include <vector>

std::vector<int> squares_on_threads();

static int square(int x) { return x * x; }

std::vector<int> squares_on_threads() {
    return joblot::Parallel({.n_jobs = 2})(std::views::iota(0, 10) | std::views::transform(joblot::delayed(square)));
}
