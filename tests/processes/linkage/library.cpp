// SPDX-License-Identifier: BSL-1.0
// The library's side: functions, and a parallel call with a lambda that nobody else has seen.

#include "library.hpp"

#include <joblot/joblot.hpp>

#include "own_failure.hpp"

#include <ranges>

namespace library {

int triple(int i) { return 3 * i; }
int doubler::of(int i) const { return 2 * i; }
const char* catches(bool nested) { return catches_own_failure(nested); }

std::vector<int> squares(int n) {
    return joblot::Parallel({.n_jobs = 2, .backend = "processes"})(
        std::views::iota(0, n) | std::views::transform(joblot::delayed([](int i) { return i * i; })));
}

} // namespace library
