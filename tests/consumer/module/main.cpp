// SPDX-License-Identifier: BSL-1.0
// A program that imports joblot in one file and includes it in the other: calls, generators, guards and errors.
#include <cstdio>
#include <ranges>
#include <stdexcept>
#include <string>
#include <vector>

import joblot;

std::vector<int> squares_on_threads();

static int square(int x) { return x * x; }
static int no_three(int x) {
    if (x == 3) throw std::runtime_error("three");
    return x + static_cast<int>(joblot::this_task::index());
}

static bool works(const char* name) {
    using joblot::delayed;
    const joblot::parallel_backend guard{name};
    const joblot::Parallel p({.n_jobs = 2, .retries = 1});
    const auto numbers = std::views::iota(0, 10);
    const std::vector<int> squares = p(numbers | std::views::transform(delayed(square)));
    int sum = 0;
    for (const int x : p.generator(numbers | std::views::transform(delayed(square, "square")))) sum += x;
    const auto outcomes = p.outcomes(numbers | std::views::transform(delayed(no_three)));
    try {
        p(numbers | std::views::transform(delayed(no_three)));
    } catch (const std::runtime_error& e) {
        const auto where = joblot::failed_task(std::current_exception());
        return squares == squares_on_threads() && sum == 285 && outcomes[4].value() == 8 && !outcomes[3].has_value() &&
               e.what() == std::string("three") && where && where->index == 3;
    }
    return false;
}

int main(int argc, char** argv) {
    joblot::init(argc, argv);
    const bool right = works("threads") && works("processes") && works("sequential");
    std::printf("import joblot (%s): %s\n", joblot::version, right ? "right" : "WRONG RESULTS");
    return right ? 0 : 1;
}
