// SPDX-License-Identifier: BSL-1.0
// A guard belongs to its scope: it can be neither copied nor moved out of it.
// expect: delete
#include <joblot/joblot.hpp>

int main() {
    joblot::parallel_backend guard{joblot::threads{.n_jobs = 2}};
#ifdef JOBLOT_FIXED
    [[maybe_unused]] auto& other = guard;
#else
    [[maybe_unused]] auto other = guard;
#endif
}
