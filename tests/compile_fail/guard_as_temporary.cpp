// SPDX-License-Identifier: BSL-1.0
// A guard without a name is gone before the next line.
// expect: joblot: a guard without a name ends at once
#include <joblot/joblot.hpp>

int main() {
#ifdef JOBLOT_FIXED
    const joblot::parallel_backend guard{"sequential"};
#else
    joblot::parallel_backend{"sequential"};
#endif
}
