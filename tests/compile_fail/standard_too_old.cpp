// SPDX-License-Identifier: BSL-1.0
// g++ 12 compiles as C++17 unless it is told otherwise.
// expect: #error joblot needs C\+\+20: compile with -std=c\+\+20
// flags: -std=c++17
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
