// SPDX-License-Identifier: BSL-1.0
// There is no such option.
// expect: Parallel
#include <joblot/joblot.hpp>

int main() {
#ifdef JOBLOT_FIXED
    [[maybe_unused]] const joblot::Parallel parallel({.n_jobs = 2});
#else
    [[maybe_unused]] const joblot::Parallel parallel({.njobs = 2});
#endif
}
