// SPDX-License-Identifier: BSL-1.0
// `map` over more ranges than the function has parameters.
// expect: joblot: the function cannot be called with these arguments
#include <joblot/joblot.hpp>

#include <vector>

int add(int x, int y);

int add(int x, int y) { return x + y; }

int main() {
    const std::vector<int> a{1, 2, 3}, b{4, 5, 6};
    joblot::Parallel p;
#ifdef JOBLOT_FIXED
    [[maybe_unused]] const std::vector<int> sums = p.map(add, a, b);
#else
    [[maybe_unused]] const std::vector<int> sums = p.map(add, a, b, a);
#endif
}
