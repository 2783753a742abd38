// SPDX-License-Identifier: BSL-1.0
// The function that combines changes itself, though several threads call it.
// expect: joblot: a reduction needs combine
#include <joblot/joblot.hpp>

#include <vector>

int square(int x);

int square(int x) { return x * x; }

int main() {
#ifdef JOBLOT_FIXED
    [[maybe_unused]] const int sum =
        joblot::Parallel{}.reduce(std::vector{joblot::delayed(square)(1)}, 0, [](int a, int b) { return a + b; });
#else
    int calls = 0;
    [[maybe_unused]] const int sum = joblot::Parallel{}.reduce(
        std::vector{joblot::delayed(square)(1)}, 0, [calls](int a, int b) mutable { return ++calls, a + b; });
#endif
}
