// SPDX-License-Identifier: BSL-1.0
// The streaming calls say the same as the plain one where `delayed` is missing.
// expect: joblot: the range's elements are not tasks
#include <joblot/joblot.hpp>

#include <ranges>

int square(int x);

int square(int x) { return x * x; }

int main() {
    joblot::Parallel p;
#ifdef JOBLOT_FIXED
    auto function = joblot::delayed(square);
#else
    auto function = square;
#endif
    for (int x : p.generator(std::views::iota(0, 10) | std::views::transform(function)))
        if (x > 10) break;
}
