// SPDX-License-Identifier: BSL-1.0
// Ten tasks of 0.1 s on two workers, with every progress line: a first joblot program.
#include "cli.hpp"

#include <joblot/joblot.hpp>

#include <chrono>
#include <iostream>
#include <ranges>
#include <thread>
#include <vector>

using joblot::delayed, joblot::Parallel;
namespace views = std::views;

int long_running_function(int i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    return i * i;
}

int main(int argc, char** argv) {
    joblot::init(argc, argv);
    cli::command_line cli("Squares ten numbers, 0.1 s each, and shows all of joblot's progress lines.");
    cli.n_jobs = 2;
    return cli.run(argc, argv, [&] {
        const std::vector<int> squares = Parallel({.n_jobs = cli.n_jobs, .backend = cli.backend, .verbose = 100})(
            views::iota(0, 10) | views::transform(delayed(long_running_function)));

        for (const int square : squares) std::cout << square << '\n';
    });
}
