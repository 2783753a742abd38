// SPDX-License-Identifier: BSL-1.0
// joblib's Parallel(4): options have names here.
// expect: joblot: options have names, and braces: Parallel\(\{.n_jobs = 4\}\)
#include <joblot/joblot.hpp>

int main() {
#ifdef JOBLOT_FIXED
    [[maybe_unused]] const joblot::Parallel parallel({.n_jobs = 4});
#else
    [[maybe_unused]] const joblot::Parallel parallel(4);
#endif
}
