// SPDX-License-Identifier: BSL-1.0
// `map` with the range before the function.
// expect: joblot: map takes the function first
#include <joblot/joblot.hpp>

#include <vector>

int square(int x);

int square(int x) { return x * x; }

int main() {
    const std::vector<int> numbers{1, 2, 3};
#ifdef JOBLOT_FIXED
    joblot::Parallel{}.map(square, numbers);
#else
    joblot::Parallel{}.map(numbers, square);
#endif
}
