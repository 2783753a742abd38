// SPDX-License-Identifier: BSL-1.0
// A range of plain values where a range of tasks is wanted: the user forgot `delayed`.
// expect: joblot: the range's elements are not tasks
#include <joblot/joblot.hpp>

#include <ranges>
#include <vector>

int square(int x);

int square(int x) { return x * x; }

int main() {
#ifdef JOBLOT_FIXED
    auto function = joblot::delayed(square);
#else
    auto function = square;
#endif
    [[maybe_unused]] const std::vector<int> squares =
        joblot::Parallel()(std::views::iota(0, 10) | std::views::transform(function));
}
