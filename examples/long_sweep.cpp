// SPDX-License-Identifier: BSL-1.0
// A long parameter sweep that Ctrl-C, SIGTERM and a deadline end early without losing what is done: the Lyapunov
// exponent of the logistic map x -> r x (1 - x), which tells order (negative) from chaos, for many r from 2.5 to 4.
#include "cli.hpp"

#include <joblot/joblot.hpp>
#include <joblot/stop_on_signal.hpp>

#include <chrono>
#include <cmath>
#include <csignal>
#include <iostream>
#include <limits>
#include <ranges>
#include <stdexcept>
#include <vector>

using joblot::delayed, joblot::Parallel;
namespace views = std::views;

double exponent(double r, long steps) {
    double x = 0.3;
    double sum = 0;
    for (long i = 0; i != steps; ++i) {
        // On threads a task is waited for: it looks now and then whether anybody still wants its result. If not, it
        // throws, as half of a result is none.
        if (i % 10'000 == 0 && joblot::this_task::stop_requested()) throw std::runtime_error("not wanted any more");
        x = r * x * (1 - x);
        sum += std::log(std::abs(r * (1 - 2 * x)) + std::numeric_limits<double>::min());
    }
    return sum / static_cast<double>(steps);
}

struct sweep {
    int points = 1000;
    long steps = 2'000'000;
    int seconds = 0; ///< 0: no deadline

    [[nodiscard]] double parameter(int i) const { return points == 1 ? 4 : 2.5 + 1.5 * i / (points - 1); }

    /// Prints each point that is done. @return The exit status: 1 where some are not.
    int run(joblot::options o) const {
        // The first Ctrl-C ends the call, a second one the program.
        const joblot::stop_on_signal interrupt{SIGINT, SIGTERM};
        o.stop = interrupt;
        o.on_stop = joblot::keep;
        if (seconds > 0) o.deadline = std::chrono::seconds(seconds);
        const auto outcomes = Parallel(o).outcomes(views::iota(0, points) | views::transform([this](int i) {
                                                       return delayed(exponent, "exponent")(parameter(i), steps);
                                                   }));
        int left = 0;
        for (const auto& one : outcomes) {
            if (one)
                std::cout << parameter(static_cast<int>(one.index())) << ' ' << one.value() << '\n';
            else
                ++left;
        }
        if (left == 0) return 0;
        std::cerr << "long_sweep: ended " << (interrupt.signal() ? "by a signal" : "at its deadline") << ", "
                  << points - left << " of " << points << " points are done\n";
        return 1;
    }
};

int main(int argc, char** argv) {
    joblot::init(argc, argv);
    cli::command_line line("Prints r and the Lyapunov exponent of the logistic map for many r. Ctrl-C, SIGTERM and "
                           "--deadline end it early; what is done is printed all the same.");
    sweep all;
    line.option("--points", "N", all.points, "how many r, from 2.5 to 4");
    line.option("--steps", "N", all.steps, "iterations for each of them");
    line.option("--deadline", "S", all.seconds, "end after so many seconds; 0: never", 0);
    return line.run(argc, argv, [&] { return all.run({.n_jobs = line.n_jobs, .backend = line.backend}); });
}
