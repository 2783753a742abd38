// SPDX-License-Identifier: BSL-1.0
// What the small programs of this folder share: a call that warms the pool up, a check of its results, a watchdog.
// Each program tests something that happens around main(), and returns 0 when it is right.
#pragma once

#include "../support/engine.hpp"

#include <joblot/joblot.hpp>

#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <ranges>

namespace program {

inline int square(int i) { return i * i; }

/// A parallel call; true if its results are right.
inline bool call(int n_jobs = 4, int n = 200) {
    const auto results =
        joblot::Parallel({.n_jobs = n_jobs})(std::views::iota(0, n) | std::views::transform(joblot::delayed(square)));
    return std::ranges::equal(results, std::views::iota(0, n) | std::views::transform(square));
}

/// Ends the program by SIGALRM if it hangs.
inline void watchdog() {
    std::signal(SIGALRM, SIG_DFL);
    ::alarm(100);
}

/// Ends the program with status 1 and a message if `right` is false.
inline void require(bool right, const char* what) {
    if (right) return;
    std::fprintf(stderr, "failed: %s\n", what);
    std::_Exit(1);
}

} // namespace program
