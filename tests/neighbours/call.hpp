// SPDX-License-Identifier: BSL-1.0
// What each program here does with joblot: a call with options whose names are macros elsewhere, one that fails, and a
// guard. Behind all other includes.
#pragma once

#include "../support/engine.hpp"

inline int third_of(int x) {
    if (x < 0) throw std::invalid_argument("negative");
    return x / 3;
}

inline int make_calls() {
    const joblot::parallel_backend guard{joblot::threads{.n_jobs = 2, .inner_max_num_threads = 1}};
    const joblot::Parallel parallel{
        {.timeout = std::chrono::seconds{600}, .require = joblot::sharedmem, .label = "thirds"}};
    const std::vector<int> thirds = parallel.map(third_of, std::vector{3, 6, 9});
    const auto outcomes = parallel.outcomes(std::views::iota(-1, 2) | std::views::transform(joblot::delayed(third_of)));
    return thirds == std::vector{1, 2, 3} && !outcomes[0] && outcomes[1] ? 0 : 1;
}
