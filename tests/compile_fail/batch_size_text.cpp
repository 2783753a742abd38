// SPDX-License-Identifier: BSL-1.0
// "auto" is a constant here, not text as in Python.
// expect: joblot: a batch size is a whole number of tasks
#include <joblot/joblot.hpp>

int main() {
#ifdef JOBLOT_FIXED
    [[maybe_unused]] const joblot::Parallel parallel({.batch_size = joblot::auto_batch});
#else
    [[maybe_unused]] const joblot::Parallel parallel({.batch_size = "auto"});
#endif
}
