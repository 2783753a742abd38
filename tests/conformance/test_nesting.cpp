// SPDX-License-Identifier: BSL-1.0
// Calls inside of tasks: no deadlock, no growth, a bound on the depth.

#include "../support/backends.hpp"
#include "../support/events.hpp"
#include "../support/sanitizers.hpp"
#include "../support/thread_count.hpp"
#include "../support/waiting.hpp"

#include <catch2/catch_test_macros.hpp>

#include <algorithm>
#include <atomic>
#include <functional>
#include <ranges>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace {

namespace views = std::views;
using joblot::delayed;
using joblot::Parallel;

// Sets `most` to `value` if that is larger.
void raise(std::atomic<int>& most, int value) {
    int seen = most;
    while (seen < value && !most.compare_exchange_weak(seen, value)) {
    }
}

// The number of leaves of a tree of calls: width tasks in each call, so many levels deep.
int leaves(const Parallel& parallel, int depth, int width) {
    if (depth == 0) return 1;
    const auto below = [&parallel, depth, width](int) { return leaves(parallel, depth - 1, width); };
    int sum = 0;
    for (const int count : parallel(views::iota(0, width) | views::transform(delayed(below)))) sum += count;
    return sum;
}

// Starts n threads in the pool, so that it does not grow later for that reason.
void warm_up(int n_jobs) {
    support::meeting_point all{n_jobs};
    Parallel({.n_jobs = n_jobs, .backend = joblot::threads{}, .batch_size = 1})(
        views::iota(0, n_jobs) | views::transform(delayed([&all](int) { all.arrive_and_wait(); })));
}

} // namespace

TEST_CASE("[J62] calls nested four deep finish with the right result", "[nested]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    JOBLOT_NEEDS(backend.closures);
    const Parallel parallel({.n_jobs = JOBLOT_FOR_EACH_N_JOBS(backend)});
    CHECK(leaves(parallel, 4, 4) == 256);
}

TEST_CASE("[J62] nested calls without any option, under whatever is active", "[nested]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    JOBLOT_NEEDS(backend.closures);
    CHECK(leaves(Parallel{}, 3, 5) == 125);
}

TEST_CASE("[J60] [J61] a nested default call stays in the process and gets the outer call's n_jobs", "[nested]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    JOBLOT_NEEDS(backend.shared_memory && backend.parallel);
    const int n_jobs = GENERATE(2, 3, 5);
    std::atomic<int> highest{0};
    const auto inner = [&](int) {
        raise(highest, joblot::this_task::worker_id());
        std::this_thread::yield();
    };
    const auto outer = [&](int) { Parallel{}(views::iota(0, 50) | views::transform(delayed(inner))); };
    Parallel({.n_jobs = n_jobs})(views::iota(0, 10) | views::transform(delayed(outer)));
    CHECK(highest < n_jobs);
}

TEST_CASE("a nested call does run in parallel when there are idle workers", "[nested]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    JOBLOT_NEEDS(backend.shared_memory && backend.parallel);
    warm_up(4);
    support::meeting_point both{2};
    std::atomic<int> met{0};
    const auto inner = [&](int) { met += both.arrive_and_wait(); };
    const auto outer = [&](int i) {
        if (i == 0) Parallel{}(views::iota(0, 2) | views::transform(delayed(inner)));
    };
    Parallel({.n_jobs = 4, .batch_size = 1})(views::iota(0, 2) | views::transform(delayed(outer)));
    CHECK(met == 2);
}

TEST_CASE("nested calls do not add threads to the pool", "[nested][pool]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    JOBLOT_NEEDS(backend.shared_memory && backend.pooled);
    warm_up(4);
    const int before = support::thread_count();
    std::atomic<int> most{0};
    const std::function<void(int)> recurse = [&](int depth) {
        raise(most, support::thread_count());
        if (depth == 0) return;
        Parallel({.n_jobs = 4, .batch_size = 1})(
            views::iota(0, 3) | views::transform(delayed([&recurse, depth](int) { recurse(depth - 1); })));
    };
    recurse(4);
    CHECK(most <= before);
    CHECK(support::thread_count() <= before);
}

TEST_CASE("generators inside tasks do not add threads to the pool", "[nested][pool][generator]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    JOBLOT_NEEDS(backend.shared_memory && backend.pooled);
    const auto one = views::iota(0, 1) | views::transform(delayed([](int i) { return i; }));
    const auto use = [&](int n_jobs) {
        return Parallel({.n_jobs = 2})(
            views::iota(0, 4) | views::transform(delayed([&](int) {
                int seen = 0;
                for (auto&& i : Parallel({.n_jobs = n_jobs}).generator(one)) seen += i + 1;
                for (auto&& i :
                     Parallel({.n_jobs = n_jobs}).generator(views::iota(0, 50) | views::transform(delayed([](int k) {
                                                                return k;
                                                            }))))
                    seen += i;
                return seen;
            })));
    };
    CHECK(use(1) == std::vector(4, 1 + 49 * 50 / 2));
    const int warm = support::thread_count();
    CHECK(use(64) == std::vector(4, 1 + 49 * 50 / 2));
    CHECK(support::eventually([&] { return support::thread_count() <= warm; })); // drivers may still be ending
}

TEST_CASE("[J63] unbounded recursion ends in an error and not in a thread bomb", "[nested]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    JOBLOT_NEEDS(backend.shared_memory && backend.pooled);
    const int n_jobs = GENERATE(1, 2, 4);
    const int width = GENERATE(1, 2);
    std::atomic<int> deepest{0};
    std::atomic<int> most_threads{0};
    warm_up(4);
    const int before = support::thread_count();
    const std::function<int(int)> endless = [&](int depth) -> int {
        raise(deepest, depth);
        raise(most_threads, support::thread_count());
        const auto deeper = [&endless](int d) { return endless(d); };
        return Parallel({.n_jobs = n_jobs})(views::iota(0, width) |
                                            views::transform([&](int) { return delayed(deeper)(depth + 1); }))[0];
    };
    try {
        endless(0);
        FAIL("the recursion must end in an error");
    } catch (const joblot::error& e) {
        CHECK(std::string{e.what()}.find("100") != std::string::npos);
    }
    CHECK(deepest >= 99);
    CHECK(deepest <= 101);
    CHECK(most_threads <= before);
    CHECK(leaves(Parallel({.n_jobs = n_jobs}), 2, 3) == 9);
}

TEST_CASE("a hundred levels are allowed", "[nested]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    JOBLOT_NEEDS(backend.shared_memory && backend.pooled);
    const Parallel parallel({.n_jobs = GENERATE(1, 2)});
    CHECK(leaves(parallel, 100, 1) == 1);
}

TEST_CASE("[J64] calls from the user's own threads, inside and outside of tasks", "[nested]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    JOBLOT_NEEDS(backend.closures);
    const Parallel parallel({.n_jobs = JOBLOT_FOR_EACH_N_JOBS(backend)});
    const auto with_own_thread = [](int i) {
        int result = 0;
        std::thread{[&result, i] {
            for (const int value :
                 Parallel({.n_jobs = 2})(views::iota(0, i) | views::transform(delayed([](int k) { return k; }))))
                result += value;
        }}.join();
        return result;
    };
    const auto results = parallel(views::iota(0, 20) | views::transform(delayed(with_own_thread)));
    for (int i = 0; i < 20; ++i) CHECK(results[static_cast<std::size_t>(i)] == i * (i - 1) / 2);
}

TEST_CASE("a task that waits for a sibling's nested call does not deadlock", "[nested]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    JOBLOT_NEEDS(backend.shared_memory && backend.parallel);
    support::gate done;
    std::atomic<int> waited{0};
    const auto task = [&](int i) {
        if (i == 0) {
            Parallel{}(views::iota(0, 50) | views::transform(delayed([](int k) { return k; })));
            done.open();
        } else {
            waited += done.wait();
        }
    };
    Parallel({.n_jobs = 2, .batch_size = 1})(views::iota(0, 2) | views::transform(delayed(task)));
    CHECK(waited == 1);
}
