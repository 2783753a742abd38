// SPDX-License-Identifier: BSL-1.0
// After fork() the child can make calls of its own, whatever the parent's pool was doing.
// The thread sanitizer does not support new threads in the child of a program with threads: nothing runs there.

#include "../support/backends.hpp"
#include "../support/child.hpp"
#include "../support/sanitizers.hpp"
#include "../support/waiting.hpp"

#include <catch2/catch_test_macros.hpp>

#include <algorithm>
#include <atomic>
#include <mutex>
#include <ranges>
#include <string>
#include <thread>
#include <vector>

namespace {

namespace views = std::views;
using joblot::delayed;
using joblot::Parallel;
using support::run_in_child;

bool call_is_right(int n_jobs, int n) {
    const auto tasks = views::iota(0, n) | views::transform(delayed([](int i) { return 3 * i; }));
    const auto right = [](int i, int result) { return result == 3 * i; };
    const Parallel parallel({.n_jobs = n_jobs});
    const auto results = parallel(tasks);
    int read = 0;
    for (auto&& value : parallel.generator(tasks)) read += right(read, value);
    return std::ranges::equal(views::iota(0, n), results, right) && read == n;
}

// True if n tasks can be in a call at the same time: the child has helpers of its own.
bool runs_at_once(int n) {
    support::meeting_point all{n};
    std::atomic<int> met{0};
    Parallel({.n_jobs = n, .batch_size = 1})(views::iota(0, n) |
                                             views::transform(delayed([&](int) { met += all.arrive_and_wait(); })));
    return met == n;
}

} // namespace

TEST_CASE("a child of a process with a warm pool makes calls", "[fork]") {
    if (support::under_tsan) SKIP("fork with threads is beyond the thread sanitizer");
    JOBLOT_FOR_EACH_BACKEND(backend);
    const int n_jobs = GENERATE(1, 2, 4);
    const int n = backend.fewer(100);
    REQUIRE(call_is_right(4, n));
    CHECK(run_in_child([&] { return call_is_right(n_jobs, n); }) == "");
    CHECK(call_is_right(n_jobs, n));
}

TEST_CASE("the child's pool has threads of its own", "[fork][pool]") {
    if (support::under_tsan) SKIP("fork with threads is beyond the thread sanitizer");
    JOBLOT_FOR_EACH_BACKEND(backend);
    JOBLOT_NEEDS(backend.shared_memory && backend.parallel);
    REQUIRE(runs_at_once(4));
    CHECK(run_in_child([] { return runs_at_once(4); }) == "");
    CHECK(run_in_child([] { return run_in_child([] { return runs_at_once(3); }).empty() && runs_at_once(5); }) == "");
    CHECK(runs_at_once(4));
}

TEST_CASE("a task may fork, and its child may make calls", "[fork][nested]") {
    if (support::under_tsan) SKIP("fork with threads is beyond the thread sanitizer");
    JOBLOT_FOR_EACH_BACKEND(backend);
    JOBLOT_NEEDS(backend.closures);
    const int n_jobs = GENERATE(1, 2, 4);
    const auto ended = Parallel({.n_jobs = n_jobs, .batch_size = 1})(
        views::iota(0, 4) |
        views::transform(delayed([](int) { return run_in_child([] { return call_is_right(2, 50); }); })));
    for (const std::string& how : ended) CHECK(how == "");
    CHECK(call_is_right(n_jobs, backend.fewer(100)));
}

TEST_CASE("fork while a generator is being read", "[fork][generator]") {
    if (support::under_tsan) SKIP("fork with threads is beyond the thread sanitizer");
    JOBLOT_FOR_EACH_BACKEND(backend);
    int read = 0;
    for ([[maybe_unused]] auto&& value :
         Parallel({.n_jobs = 3}).generator(views::iota(0) | views::transform(delayed([](int i) { return i; })))) {
        if (++read == 5) CHECK(run_in_child([] { return call_is_right(3, 50); }) == "");
        if (read == 10) break;
    }
    CHECK(call_is_right(3, 50));
}

TEST_CASE("fork while other threads make calls and guards", "[fork][stress]") {
    if (support::under_tsan) SKIP("fork with threads is beyond the thread sanitizer");
    JOBLOT_FOR_EACH_BACKEND(backend);
    JOBLOT_NEEDS(backend.pooled); // a backend without atfork handling of its own has the C library's limits
    std::atomic<bool> over{false};
    std::atomic<int> wrong{0};
    std::vector<std::jthread> callers;
    for (int caller = 0; caller < 2; ++caller)
        callers.emplace_back([&] {
            while (!over) {
                const joblot::parallel_backend by_name{"threads"};
                wrong += !call_is_right(3, 20);
            }
        });
    for (int round = 0; round < support::rounds(40); ++round)
        CHECK(run_in_child([] {
                  const joblot::parallel_backend by_name{"threads"};
                  return call_is_right(2, 20);
              }) == "");
    over = true;
    callers.clear();
    CHECK(wrong == 0);
}
