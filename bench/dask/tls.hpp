// SPDX-License-Identifier: BSL-1.0
// What TLS costs on a local cluster: the same calls on one with it and on one without it, in turns.
#pragma once

#include "../processes/command_line.hpp"

#include <joblot/dask.hpp>
#include <joblot/joblot.hpp>

#include <cstddef>
#include <cstdio>
#include <functional>
#include <stdexcept>
#include <vector>

namespace bench {

inline int next(int i) { return i + 1; }
inline std::size_t size_of(const std::vector<double>& values) { return values.size(); }
inline std::vector<double> ones(std::size_t n) { return std::vector<double>(n, 1.0); }

/// What is measured, and whether its result was right.
struct tls_case {
    const char* name;
    std::function<bool(const joblot::Parallel&)> call;
    std::vector<double> without{}, with{}; // seconds, a value for each round
};

/// Prints medians over the rounds, and the median of each round's quotient, with quartiles.
inline void compare_tls(int rounds) {
    constexpr std::size_t count = 100'000'000 / sizeof(double);
    const std::vector<std::vector<double>> arrays(1, ones(count));
    std::vector<tls_case> cases{
        {"a call of one task", [](const auto& p) { return p.map(next, std::vector{1}).at(0) == 2; }},
        {"an argument of 100 MB", [&](const auto& p) { return p.map(size_of, arrays).at(0) == count; }},
        {"a result of 100 MB", [](const auto& p) { return p.map(ones, std::vector{count}).at(0).size() == count; }}};
    const joblot::dask::Client without({.threads_per_worker = 1, .dashboard_address = "", .tls = false});
    const joblot::dask::Client with({.threads_per_worker = 1, .dashboard_address = "", .tls = true});
    for (int round = -1; round < rounds; ++round) { // the first sends the program, and starts it
        for (tls_case& c : cases) {
            for (const bool tls : {false, true}) {
                const joblot::Parallel p(
                    {.n_jobs = -1, .backend = joblot::dask::backend{.client = tls ? &with : &without}});
                bool right = false;
                const double seconds = time_of([&] { right = c.call(p); });
                if (!right) throw std::runtime_error("wrong result");
                if (round >= 0) (tls ? c.with : c.without).push_back(seconds);
            }
        }
    }
    std::printf("| %d rounds | without TLS | with TLS | ratio [quartiles] |\n| --- | --- | --- | --- |\n", rounds);
    for (const tls_case& c : cases) {
        std::vector<double> ratios;
        for (std::size_t i = 0; i != c.with.size(); ++i) ratios.push_back(c.with[i] / c.without[i]);
        std::printf("| %s | %.1f ms | %.1f ms | %.2f [%.2f, %.2f] |\n", c.name, median(c.without) * 1e3,
                    median(c.with) * 1e3, median(ratios), quantile(ratios, 0.25), quantile(ratios, 0.75));
    }
}

} // namespace bench
