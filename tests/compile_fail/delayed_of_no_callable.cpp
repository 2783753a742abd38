// SPDX-License-Identifier: BSL-1.0
// `delayed` is given the result of a call instead of the function.
// expect: joblot: delayed\(\) needs something callable
#include <joblot/joblot.hpp>

int square(int x);

int square(int x) { return x * x; }

int main() {
#ifdef JOBLOT_FIXED
    [[maybe_unused]] auto later = joblot::delayed(square);
#else
    [[maybe_unused]] auto later = joblot::delayed(square(3));
#endif
}
