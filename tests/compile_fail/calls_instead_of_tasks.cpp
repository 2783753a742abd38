// SPDX-License-Identifier: BSL-1.0
// The function is called here, and not handed over.
// expect: joblot: these are not all tasks
#include <joblot/joblot.hpp>

int square(int x);

int square(int x) { return x * x; }

int main() {
#ifdef JOBLOT_FIXED
    joblot::Parallel{}(joblot::delayed(square)(1), joblot::delayed(square)(2));
#else
    joblot::Parallel{}(square(1), square(2));
#endif
}
