// SPDX-License-Identifier: BSL-1.0
// A number is not a text.
// expect: joblot: this option is a whole number, not a text: .n_jobs = 2
#include <joblot/joblot.hpp>

int main() {
#ifdef JOBLOT_FIXED
    [[maybe_unused]] const joblot::Parallel parallel({.n_jobs = 2});
#else
    [[maybe_unused]] const joblot::Parallel parallel({.n_jobs = "2"});
#endif
}
