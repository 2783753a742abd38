// SPDX-License-Identifier: BSL-1.0
// Code of the executable and of a library runs in worker processes: built as a position-independent executable with a
// shared library, at a fixed address, and statically.

#include "../../support/engine.hpp"
#include "library.hpp"
#include "own_failure.hpp"

#include <joblot/joblot.hpp>

#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <ranges>
#include <string>
#include <vector>

namespace {

namespace views = std::views;
using joblot::delayed;
using joblot::Parallel;

int plus_one(int i) { return i + 1; }
int worker(int) { return static_cast<int>(::getpid()); }

struct offset {
    int by;
    int operator()(int i) const { return i + by; }
};

void require(bool right, const char* what) {
    if (right) return;
    std::fprintf(stderr, "failed: %s\n", what);
    std::exit(1);
}

template <class F>
std::vector<int> run(F f) {
    return Parallel({.n_jobs = 2, .backend = "processes"})(views::iota(0, 3) | views::transform(delayed(f)));
}

} // namespace

int main(int argc, char** argv) {
    joblot::init(argc, argv);
    ::alarm(100);
    for (const int pid : run(worker)) require(pid != ::getpid(), "tasks run in other processes");
    require(run(plus_one) == std::vector{1, 2, 3}, "a function of the executable");
    require(run([](int i) { return 10 * i; }) == std::vector{0, 10, 20}, "a lambda of the executable");
    require(run(offset{5}) == std::vector{5, 6, 7}, "a functor with state");
    require(run(library::triple) == std::vector{0, 3, 6}, "a function of the library");
    require(library::squares(3) == std::vector{0, 1, 4}, "a call that the library makes");
    const auto member = [](int i) { return delayed(&library::doubler::of)(library::doubler{}, i); };
    require(Parallel({.n_jobs = 2, .backend = "processes"})(views::iota(0, 3) | views::transform(member)) ==
                std::vector{0, 2, 4},
            "a pointer to a member function of the library");
    for (const bool nested : {false, true}) {
        require(catches_own_failure(nested) == std::string("its own"), "an exception in a nameless namespace");
        require(library::catches(nested) == std::string("its own"), "one of the same name in the library");
    }
    std::puts("all of it ran in worker processes");
}
