// SPDX-License-Identifier: BSL-1.0
// One of two translation units with everything of joblot in it.
#include "everything.hpp"

#include <cstdio>
#include <ranges>

int sum_in_second(int n);
const void* version_in_second();

static int twice(int x) { return 2 * x; }

int main() {
    int sum = 0;
    for (int x :
         joblot::Parallel({.n_jobs = 2})(std::views::iota(0, 10) | std::views::transform(joblot::delayed(twice))))
        sum += x;
    const bool right = sum == 90 && sum_in_second(10) == 90;
    const bool one_library = version_in_second() == static_cast<const void*>(&joblot::version);
    std::printf("two translation units: %s, %s\n", right ? "right results" : "WRONG RESULTS",
                one_library ? "one library" : "TWO COPIES of the library's variables");
    return right && one_library ? 0 : 1;
}
