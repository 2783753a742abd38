// SPDX-License-Identifier: BSL-1.0
// A program of two files that has of joblot one file: calls on threads and on worker processes.
#include <joblot/joblot.hpp>

#include <cstdio>
#include <ranges>
#include <vector>

std::vector<int> squares_on_threads();

static int square(int x) { return x * x; }

int main(int argc, char** argv) {
    joblot::init(argc, argv);
    const joblot::Parallel p({.n_jobs = 2, .backend = "processes"});
    const std::vector<int> squares = p(std::views::iota(0, 10) | std::views::transform(joblot::delayed(square)));
    const bool right = squares == squares_on_threads() && squares[9] == 81;
    std::printf("single_include: %s\n", right ? "the same squares" : "WRONG RESULT");
    return right ? 0 : 1;
}
