// SPDX-License-Identifier: BSL-1.0
// Doubles are added to an int.
// expect: joblot: the first value of the reduction is of a type that does not hold
#include <joblot/joblot.hpp>

#include <functional>
#include <vector>

double half(int x);

double half(int x) { return 0.5 * x; }

int main() {
#ifdef JOBLOT_FIXED
    [[maybe_unused]] const double sum =
        joblot::Parallel{}.reduce(std::vector{joblot::delayed(half)(1)}, 0.0, std::plus<>());
#else
    [[maybe_unused]] const double sum =
        joblot::Parallel{}.reduce(std::vector{joblot::delayed(half)(1)}, 0, std::plus<>());
#endif
}
