// SPDX-License-Identifier: BSL-1.0
// The cases of the thread benchmarks, written once; a program adds its library's way to run a loop, and `run_case`.
//
// A program is one library, so that another one's spinning threads never share its process; bench/run_threads.py runs
// them in turns. `Peer` is a callable: `peer(n, f)` returns `std::vector<double>{f(0), ..., f(n - 1)}`. As a call of
// joblot returns a new vector, its peers allocate theirs inside the measured call too. `peer.sum(n, f)` adds the values
// up; `peer.count(n, f)` gives a `histogram` of them.
#pragma once

#include "bare_threads.hpp"
#include "kernel.hpp"
#include "parameters.hpp"

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <random>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace bench {

using histogram = std::array<std::uint64_t, 256>;

inline void sleep_seconds(double seconds) { std::this_thread::sleep_for(std::chrono::duration<double>(seconds)); }

inline double median(std::vector<double> values) {
    const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
    std::nth_element(values.begin(), middle, values.end());
    return *middle;
}

/// One call of `tasks` tasks of `iterations` each; 0 means the trivial task, chosen outside the loop.
template <class Peer>
void call_once(Peer& peer, std::size_t tasks, std::uint32_t iterations) {
    if (iterations == 0)
        keep(peer(tasks, [](std::size_t i) { return trivial(i); }).data());
    else
        keep(peer(tasks, [iterations](std::size_t i) { return spin(i, iterations); }).data());
}

template <class Body>
double time_of(Body body) {
    const auto start = steady::now();
    body();
    return seconds_since(start);
}

/// ns per iteration with every worker busy: a core alone may clock higher, and no task ever runs like that here.
inline void calibrate(const parameters& p) {
    constexpr std::uint32_t iterations = 2'000'000; // short enough to be left alone now and then on a busy machine
    for (int rep = -1; rep < p.reps; ++rep) {
        const double seconds = bare_threads_seconds(p.workers, [](int worker) {
            const double value = spin(static_cast<std::size_t>(worker), iterations);
            keep(&value);
        });
        if (rep >= 0) std::printf("%.6f\n", seconds / iterations * 1e9);
    }
}

template <class Peer>
void uniform(const parameters& p, Peer& peer) {
    for (int rep = -1; rep < p.reps; ++rep) {
        const double seconds = time_of([&] { call_once(peer, p.tasks, p.iterations); });
        if (rep >= 0) std::printf("%.9f\n", seconds);
    }
}

/// One value of many tasks: a sum of trivial ones, or a histogram.
template <class Peer>
void reduction(const parameters& p, Peer& peer, bool counts) {
    for (int rep = -1; rep < p.reps; ++rep) {
        const double seconds = time_of([&] {
            if (counts) {
                const histogram bins = peer.count(p.tasks, [](std::size_t i) { return sample(i); });
                keep(bins.data());
            } else {
                const double sum = peer.sum(p.tasks, [](std::size_t i) { return trivial(i); });
                keep(&sum);
            }
        });
        if (rep >= 0) std::printf("%.9f\n", seconds);
    }
}

/// Whole calls, as short as they come. Back to back, 16 calls share one pair of clock reads; after a rest each call
/// has its own, because the rest is not measured.
template <class Peer>
void whole_call(const parameters& p, Peer& peer) {
    const int samples = p.rest > 0 ? 300 : 2000;
    const int calls = p.rest > 0 ? 1 : 16;
    for (int rep = -1; rep < p.reps; ++rep) {
        std::vector<double> times;
        for (int sample = 0; sample < (rep < 0 ? samples / 10 : samples); ++sample) {
            if (p.rest > 0) sleep_seconds(p.rest);
            times.push_back(time_of([&] {
                for (int call = 0; call < calls; ++call) call_once(peer, p.tasks, p.iterations);
            }));
        }
        if (rep >= 0) std::printf("%.3f\n", median(std::move(times)) / calls * 1e9);
    }
}

inline std::vector<std::uint32_t> uneven_iterations(const parameters& p) {
    std::vector<std::uint32_t> counts(p.tasks, p.iterations);
    for (std::size_t i = p.tasks - p.tasks / 100; i < p.tasks; ++i) counts[i] *= 100;
    if (p.order == "descending")
        std::ranges::reverse(counts);
    else if (p.order == "shuffled")
        std::ranges::shuffle(counts, std::mt19937_64{42});
    else if (p.order != "ascending")
        throw std::invalid_argument("--order: " + p.order);
    return counts;
}

/// The same tasks on bare threads that are running already, dealt out beforehand so that each has the same work.
inline double ideal_seconds(std::vector<std::uint32_t> counts, int workers) {
    std::ranges::sort(counts);
    std::vector<double> out(counts.size());
    return bare_threads_seconds(workers, [&](int worker) {
        const auto step = static_cast<std::size_t>(workers);
        for (auto i = static_cast<std::size_t>(worker); i < counts.size(); i += step) out[i] = spin(i, counts[i]);
    });
}

/// A rest before each measurement lets the library's threads fall asleep: spinning, they would slow the ideal.
template <class Peer>
void uneven(const parameters& p, Peer& peer) {
    const std::vector<std::uint32_t> counts = uneven_iterations(p);
    const auto body = [data = counts.data()](std::size_t i) { return spin(i, data[i]); };
    for (int rep = -1; rep < p.reps; ++rep) {
        sleep_seconds(0.02);
        const double ideal = ideal_seconds(counts, p.workers);
        const double seconds = time_of([&] { keep(peer(counts.size(), body).data()); });
        if (rep >= 0) std::printf("%.9f %.9f\n", seconds, ideal);
    }
}

/// METG, the minimum effective task granularity of Task Bench (Slaughter et al., SC 2020).
///
/// Their definition: a graph of `steps` x `width` tasks, each of the same count of kernel iterations, runs with smaller
/// and smaller counts. Of each run, efficiency = rate of useful work / the machine's peak rate, and granularity =
/// elapsed time x cores / tasks (so it holds the overhead too). METG(50 %) is the smallest granularity at which the
/// efficiency is still 50 %, linear between the two runs around it. bench/run_threads.py computes it from the lines
/// printed here; its peak is the best rate that any of the libraries reached with large tasks in the same round.
///
/// For a library of parallel loops a step is one call, and the next step may start when it has returned. `metg_steps`
/// does that: with as many tasks as workers (Task Bench's own default) it measures the whole call, with more the call
/// and the hand-out together. `metg_flat` is their pattern "trivial" (no task depends on another), where one call
/// takes all the tasks: what a task costs once the call is under way.
template <class Peer>
void metg(const parameters& p, Peer& peer, bool flat) {
    for (const std::uint32_t iterations : p.sweep) {
        const double task_seconds = iterations * 1.5e-9 + (flat ? 2e-9 : 1e-6 / static_cast<double>(p.tasks));
        const double step_seconds = task_seconds * static_cast<double>(p.tasks) / p.workers;
        const auto steps = static_cast<std::size_t>(std::max(p.seconds / step_seconds, flat ? 1.0 : 200.0));
        for (int rep = -1; rep < p.reps; ++rep) {
            const double seconds = time_of([&] {
                if (flat) return call_once(peer, steps * p.tasks, iterations);
                for (std::size_t step = 0; step < steps; ++step) call_once(peer, p.tasks, iterations);
            });
            if (rep >= 0) std::printf("%u %zu %.9f\n", iterations, steps * p.tasks, seconds);
        }
    }
}

template <class Peer>
void dispatch(const parameters& p, Peer& peer) {
    if (p.kind == "calibrate")
        calibrate(p);
    else if (p.kind == "uniform")
        uniform(p, peer);
    else if (p.kind == "sum" || p.kind == "histogram")
        reduction(p, peer, p.kind == "histogram");
    else if (p.kind == "call")
        whole_call(p, peer);
    else if (p.kind == "uneven")
        uneven(p, peer);
    else if (p.kind == "metg_steps")
        metg(p, peer, false);
    else if (p.kind == "metg_flat")
        metg(p, peer, true);
    else
        throw std::invalid_argument(p.kind.empty() ? "no case given, see --help" : "unknown case " + p.kind);
}

/// `main` of a benchmark program: `make_peer(parameters)` gives the library's way to run a loop.
template <class MakePeer>
int run_case(int argc, char** argv, MakePeer make_peer) try {
    const parameters p = parse(argc, argv);
    auto peer = make_peer(p);
    dispatch(p, peer);
    return 0;
} catch (const std::exception& e) {
    std::fprintf(stderr, "%s: %s\n", argv[0], e.what());
    return 2;
}

} // namespace bench
