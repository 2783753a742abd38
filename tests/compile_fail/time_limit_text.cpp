// SPDX-License-Identifier: BSL-1.0
// A text is no duration.
// expect: joblot: a time limit has a unit
#include <joblot/joblot.hpp>

#include <chrono>

int main() {
#ifdef JOBLOT_FIXED
    using namespace std::chrono_literals;
    [[maybe_unused]] const joblot::Parallel parallel({.timeout = 5s});
#else
    [[maybe_unused]] const joblot::Parallel parallel({.timeout = "5s"});
#endif
}
