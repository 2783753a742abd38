// SPDX-License-Identifier: BSL-1.0
// Tasks without results are reduced.
// expect: joblot: these tasks have no results that could be combined
#include <joblot/joblot.hpp>

#include <functional>
#include <vector>

void work(int x);

void work(int) {}

int main() {
#ifdef JOBLOT_FIXED
    joblot::Parallel{}.for_each(std::vector{joblot::delayed(work)(1)});
#else
    joblot::Parallel{}.reduce(std::vector{joblot::delayed(work)(1)}, 0, std::plus<>());
#endif
}
