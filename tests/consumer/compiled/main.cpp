// SPDX-License-Identifier: BSL-1.0
// A program of two files: calls on worker processes, where one crashes, and on threads.
#include <joblot/joblot.hpp>

#include <csignal>
#include <cstdio>
#include <ranges>
#include <vector>

std::vector<int> squares_on_threads();

static int risky_square(int x) {
    if (x == 3) std::raise(SIGKILL);
    return x * x;
}

int main(int argc, char** argv) {
    joblot::init(argc, argv);
    const joblot::Parallel p({.n_jobs = 2, .backend = "processes"});
    const auto outcomes = p.outcomes(std::views::iota(0, 10) | std::views::transform(joblot::delayed(risky_square)));
    const std::vector<int> squares = squares_on_threads();
    bool right = squares.size() == outcomes.size();
    for (int x = 0; right && x != 10; ++x) {
        const auto at = static_cast<std::size_t>(x);
        right = x == 3 ? !outcomes[at].has_value() : outcomes[at].value() == squares[at];
    }
    std::printf("compiled: %s\n", right ? "the same squares" : "WRONG RESULT");
    return right ? 0 : 1;
}
