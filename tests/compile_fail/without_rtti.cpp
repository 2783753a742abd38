// SPDX-License-Identifier: BSL-1.0
// Types that travel are named, and exceptions are told apart.
// expect: #error joblot needs run-time type information: compile without -fno-rtti
// flags: -fno-rtti
#include <joblot/joblot.hpp>

#include <ranges>
#include <vector>

using joblot::Parallel, joblot::delayed;

int square(int x);

int square(int x) { return x * x; }

int main() {
    const std::vector<int> squares =
        Parallel({.n_jobs = 2})(std::views::iota(0, 10) | std::views::transform(delayed(square)));
    return squares[0];
}
