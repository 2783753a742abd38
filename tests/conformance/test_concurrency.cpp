// SPDX-License-Identifier: BSL-1.0
// Many calls at once, call after call, and calls while the pool is busy.

#include "../support/backends.hpp"
#include "../support/events.hpp"
#include "../support/sanitizers.hpp"
#include "../support/waiting.hpp"

#include <catch2/catch_test_macros.hpp>

#include <algorithm>
#include <atomic>
#include <ranges>
#include <stdexcept>
#include <thread>
#include <vector>

namespace {

namespace views = std::views;
using joblot::delayed;
using joblot::Parallel;

int plus_one(int i) { return i + 1; }

// Calls `parallel` again and again, in every form; true if all results were right.
bool exercise(const Parallel& parallel, int calls) {
    for (int round = 0; round < calls; ++round) {
        const int n = 1 + round * 7 % 60;
        const auto tasks = views::iota(0, n) | views::transform(delayed(plus_one));
        const auto expected = views::iota(1, n + 1);
        if (!std::ranges::equal(parallel(tasks), expected)) return false;
        if (round % 4 == 0 && !std::ranges::equal(parallel.generator(tasks), expected)) return false;
        if (round % 4 == 1) auto dropped = parallel.generator(tasks);
        if (round % 4 == 2) {
            try {
                parallel(views::iota(0, n) | views::transform(delayed([](int i) { throw i; })));
                return false;
            } catch (int) {
            }
        }
    }
    return true;
}

// How often each of sixteen threads calls.
int rounds_on(const support::backend_case& backend) { return backend.shared_memory ? 60 : 4; }

} // namespace

TEST_CASE("sixteen threads call at once, each with its own Parallel", "[concurrency][stress]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    const int n_jobs = JOBLOT_FOR_EACH_N_JOBS(backend);
    std::atomic<int> right{0};
    {
        std::vector<std::jthread> callers;
        for (int caller = 0; caller < 16; ++caller)
            callers.emplace_back([&] {
                const support::selected own{backend}; // guards belong to their thread
                right += exercise(Parallel({.n_jobs = n_jobs}), support::rounds(rounds_on(backend)));
            });
    }
    CHECK(right == 16);
}

TEST_CASE("sixteen threads share one Parallel", "[concurrency][stress]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    const int n_jobs = GENERATE(2, 4);
    const Parallel shared({.n_jobs = n_jobs, .backend = backend.choose()});
    std::atomic<int> right{0};
    {
        std::vector<std::jthread> callers;
        for (int caller = 0; caller < 16; ++caller)
            callers.emplace_back([&] { right += exercise(shared, support::rounds(rounds_on(backend))); });
    }
    CHECK(right == 16);
}

TEST_CASE("sixteen calls that are all in a task at the same time", "[concurrency]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    JOBLOT_NEEDS(backend.shared_memory);
    const int n_jobs = GENERATE(1, 2, 4);
    support::meeting_point all{16};
    std::atomic<int> met{0};
    {
        std::vector<std::jthread> callers;
        for (int caller = 0; caller < 16; ++caller)
            callers.emplace_back([&] {
                const support::selected own{backend};
                Parallel({.n_jobs = n_jobs})(views::iota(0, 3) | views::transform(delayed([&](int i) {
                                                 if (i == 0) met += all.arrive_and_wait();
                                             })));
            });
    }
    CHECK(met == 16);
}

TEST_CASE("thousands of small calls back to back", "[concurrency][stress]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    const Parallel parallel({.n_jobs = GENERATE(1, 2, 4)});
    const int calls = support::rounds(backend.costly ? 100 : backend.pooled ? 5000 : 500);
    int wrong = 0;
    for (int round = 0; round < calls; ++round) {
        const int n = round % 5;
        wrong += !std::ranges::equal(parallel(views::iota(0, n) | views::transform(delayed(plus_one))),
                                     views::iota(1, n + 1));
    }
    CHECK(wrong == 0);
}

TEST_CASE("a call of more workers than claim at one place runs each task once", "[concurrency]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    const Parallel parallel({.n_jobs = 20});
    const int n = backend.fewer(backend.shared_memory ? 50'000 : 400);
    const auto tasks = views::iota(0, n) | views::transform(delayed(plus_one));
    CHECK(std::ranges::equal(parallel(tasks), views::iota(1, n + 1)));
    CHECK_THROWS_AS(parallel(views::iota(0, n) | views::transform(delayed([](int i) { return i < 15 ? i : throw i; }))),
                    int);
    const auto all = parallel.outcomes(views::iota(0, n) |
                                       views::transform(delayed([](int i) { return i % 7 == 3 ? throw i : i; })));
    CHECK(std::ranges::count_if(all, [](const auto& o) { return !o.has_value(); }) == (n + 3) / 7);
    JOBLOT_NEEDS(backend.shared_memory);
    std::vector<std::atomic<int>> times(static_cast<std::size_t>(n));
    parallel.for_each(views::iota(std::size_t{0}, times.size()) | views::transform(delayed([&](std::size_t i) {
                          times[i].fetch_add(1, std::memory_order_relaxed);
                      })));
    CHECK(std::ranges::all_of(times, [](const std::atomic<int>& k) { return k.load() == 1; }));
}

TEST_CASE("calls whose n_jobs changes from one to the next", "[concurrency][pool]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    for (int round = 0; round < support::rounds(100); ++round) {
        const int n_jobs = 1 + round * 5 % 9;
        CHECK(std::ranges::equal(Parallel({.n_jobs = n_jobs})(views::iota(0, 30) | views::transform(delayed(plus_one))),
                                 views::iota(1, 31)));
    }
}

TEST_CASE("what the caller wrote before is seen by the tasks, and what they wrote is seen after", "[concurrency]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    JOBLOT_NEEDS(backend.shared_memory);
    const int n_jobs = GENERATE(1, 2, 4);
    std::vector<int> input(64); // plain memory: the thread sanitizer is the judge here
    std::vector<int> output(64);
    int wrong = 0;
    for (int round = 0; round < support::rounds(1000); ++round) {
        std::ranges::fill(input, round);
        Parallel({.n_jobs = n_jobs})(views::iota(std::size_t{0}, input.size()) |
                                     views::transform(delayed([&](std::size_t i) { output[i] = input[i] + 1; })));
        wrong += std::ranges::count(output, round + 1) != 64;
    }
    CHECK(wrong == 0);
}

TEST_CASE("a call in another thread goes on while one is blocked in a task", "[concurrency]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    JOBLOT_NEEDS(backend.shared_memory);
    const int n_jobs = GENERATE(1, 2, 4);
    support::gate open;
    support::meeting_point both{2};
    std::jthread blocked{[&] {
        const support::selected own{backend};
        Parallel({.n_jobs = n_jobs})(views::iota(0, 1) | views::transform(delayed([&](int) {
                                         both.arrive_and_wait();
                                         open.wait();
                                     })));
    }};
    CHECK(both.arrive_and_wait());
    CHECK(std::ranges::equal(Parallel({.n_jobs = n_jobs})(views::iota(0, 50) | views::transform(delayed(plus_one))),
                             views::iota(1, 51)));
    open.open();
}
