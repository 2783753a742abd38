// SPDX-License-Identifier: BSL-1.0
// Five of what?
// expect: joblot: a time limit has a unit
#include <joblot/joblot.hpp>

#include <chrono>

int main() {
#ifdef JOBLOT_FIXED
    [[maybe_unused]] const joblot::Parallel parallel({.timeout = std::chrono::seconds{5}});
#else
    [[maybe_unused]] const joblot::Parallel parallel({.timeout = 5});
#endif
}
