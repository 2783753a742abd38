// SPDX-License-Identifier: BSL-1.0
// A result that can neither be moved nor copied cannot be handed back in a vector.
// expect: joblot: the result of a task must be movable
#include <joblot/joblot.hpp>

#include <ranges>

struct pinned {
    int value;
    explicit pinned(int v) : value(v) {}
#ifndef JOBLOT_FIXED
    pinned(pinned&&) = delete;
#endif
};

int main() {
    auto make = joblot::delayed([](int i) { return pinned(i); });
    [[maybe_unused]] const auto made = joblot::Parallel()(std::views::iota(0, 10) | std::views::transform(make));
}
