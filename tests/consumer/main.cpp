// SPDX-License-Identifier: BSL-1.0
// What every little consumer does: one call, whose result it checks, and the version that its build was promised.
#include <joblot/joblot.hpp>

#include <cstdio>
#include <cstring>
#include <ranges>
#include <vector>

static int square(int x) { return x * x; }

int main() {
#ifdef EXPECTED_VERSION
    if (std::strcmp(joblot::version, EXPECTED_VERSION) != 0) {
        std::printf("this is joblot %s, and not %s\n", joblot::version, EXPECTED_VERSION);
        return 1;
    }
#endif
    const std::vector<int> squares =
        joblot::Parallel({.n_jobs = 2})(std::views::iota(0, 10) | std::views::transform(joblot::delayed(square)));
    const bool right = squares == std::vector<int>{0, 1, 4, 9, 16, 25, 36, 49, 64, 81};
    std::printf("joblot %s: %s\n", joblot::version, right ? "ten squares" : "WRONG RESULT");
    return right ? 0 : 1;
}
