// SPDX-License-Identifier: BSL-1.0
// A generator owns a running call: it can be moved, not copied.
// expect: delete
#include <joblot/joblot.hpp>

#include <ranges>
#include <utility>

int square(int x);

int square(int x) { return x * x; }

int main() {
    joblot::Parallel p;
    auto results = p.generator(std::views::iota(0, 10) | std::views::transform(joblot::delayed(square)));
#ifdef JOBLOT_FIXED
    [[maybe_unused]] auto other = std::move(results);
#else
    [[maybe_unused]] auto other = results;
#endif
}
