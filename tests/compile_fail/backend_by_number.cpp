// SPDX-License-Identifier: BSL-1.0
// Backends have no numbers.
// expect: joblot: a backend is a name or a description
#include <joblot/joblot.hpp>

int main() {
#ifdef JOBLOT_FIXED
    [[maybe_unused]] const joblot::Parallel parallel({.backend = "threads"});
#else
    [[maybe_unused]] const joblot::Parallel parallel({.backend = 5});
#endif
}
