// SPDX-License-Identifier: BSL-1.0
// "auto" is a constant here, not text as in Python.
// expect: batch_size_option
#include <joblot/joblot.hpp>

int main() {
#ifdef JOBLOT_FIXED
    [[maybe_unused]] joblot::options o{.batch_size = joblot::auto_batch};
#else
    [[maybe_unused]] joblot::options o{.batch_size = "auto"};
#endif
}
