// SPDX-License-Identifier: BSL-1.0
// Elements that can only be moved, in a range that is read as it is.
// expect: joblot: an argument can only be moved
#include <joblot/joblot.hpp>

#include <cstddef>
#include <memory>
#include <ranges>
#include <vector>

int value(const std::unique_ptr<int>& number);

int value(const std::unique_ptr<int>& number) { return *number; }

int main() {
    const std::vector<std::unique_ptr<int>> numbers(3);
#ifdef JOBLOT_FIXED
    joblot::Parallel{}.map([&](std::size_t i) { return value(numbers[i]); },
                           std::views::iota(std::size_t{0}, numbers.size()));
#else
    joblot::Parallel{}.map(value, numbers);
#endif
}
