// SPDX-License-Identifier: BSL-1.0
// Calls before main, and calls and a live generator in static destructors that run after the pool has been told to end.

#include "program.hpp"

#include <optional>

namespace {

// Made before anything of joblot, so destroyed after it.
struct last_of_all {
    ~last_of_all() {
        program::require(program::call(), "a call in a static destructor");
        program::require(program::call(2), "another one");
        int read = 0;
        for (auto&& value :
             joblot::Parallel({.n_jobs = 2})
                 .generator(std::views::iota(0, 20) | std::views::transform(joblot::delayed(program::square))))
            read += value == read * read;
        program::require(read == 20, "a generator in a static destructor");
    }
} const last;

const bool before_main = program::call();

std::optional<joblot::generator<int>> never_finished;

} // namespace

int main() {
    program::watchdog();
    program::require(before_main, "a call before main");
    program::require(program::call(), "a call in main");
    never_finished.emplace(
        joblot::Parallel({.n_jobs = 3})
            .generator(std::views::iota(0) | std::views::transform(joblot::delayed(program::square))));
    program::require(*never_finished->begin() == 0, "a generator");
}
