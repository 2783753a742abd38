// SPDX-License-Identifier: BSL-1.0
// Dropping a generator at every point, and Parallel::generator_unordered.

#include "../support/backends.hpp"
#include "../support/events.hpp"
#include "../support/inputs.hpp"
#include "../support/sanitizers.hpp"
#include "../support/tracked.hpp"
#include "../support/waiting.hpp"

#include <catch2/catch_test_macros.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <map>
#include <memory>
#include <ranges>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace {

namespace views = std::views;
using joblot::delayed;
using joblot::Parallel;
using support::identity;
using support::tracked;

} // namespace

TEST_CASE("[J34] a generator dropped after any number of results leaves nothing running and nothing alive",
          "[generator][drop]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    JOBLOT_NEEDS(backend.shared_memory);
    const int n_jobs = JOBLOT_FOR_EACH_N_JOBS(backend);
    const bool unordered = GENERATE(false, true);
    constexpr int n = 12;
    for (int k = 0; k <= n; ++k) {
        support::lifetime_check lifetime;
        support::overlap running;
        const auto task = [&running](const tracked& t) {
            const support::counting inside{running};
            return tracked{t.value()};
        };
        const auto make = [&](int i) { return delayed(task)(tracked{i}); };
        const auto drop_after = [k](auto generator) {
            if (k == 0) return;
            int read = 0;
            for ([[maybe_unused]] auto&& value : generator)
                if (++read == k) return;
        };
        const Parallel parallel({.n_jobs = n_jobs});
        if (unordered)
            drop_after(parallel.generator_unordered(views::iota(0, n) | views::transform(make)));
        else
            drop_after(parallel.generator(views::iota(0, n) | views::transform(make)));
        const int entered = running.entered();
        CHECK(running.inside() == 0);
        CHECK(lifetime.balanced());
        CHECK(running.entered() == entered);
    }
}

TEST_CASE("dropping a generator tells the running tasks and waits for them", "[generator][drop]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    JOBLOT_NEEDS(backend.shared_memory && !backend.in_caller);
    const int n_jobs = JOBLOT_FOR_EACH_N_JOBS(backend);
    support::overlap running;
    std::atomic<int> told{0};
    {
        auto generator = Parallel({.n_jobs = n_jobs}).generator(views::iota(0) | views::transform(delayed([&](int i) {
                                                                    const support::counting inside{running};
                                                                    told += support::eventually([] {
                                                                        return joblot::this_task::stop_requested();
                                                                    });
                                                                    return i;
                                                                })));
        CHECK(support::eventually([&] { return running.inside() > 0; }));
    }
    CHECK(running.inside() == 0);
    CHECK(told == running.entered());
    CHECK(running.entered() <= joblot::effective_n_jobs(n_jobs));
}

TEST_CASE("a generator that is never read can be destroyed at once, many times", "[generator][drop]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    const Parallel parallel({.n_jobs = JOBLOT_FOR_EACH_N_JOBS(backend)});
    for (int round = 0; round < (backend.shared_memory ? 100 : 10); ++round) {
        auto dropped = parallel.generator(views::iota(0) | views::transform(delayed(identity)));
        auto also = parallel.generator_unordered(views::iota(0) | views::transform(delayed(identity)));
    }
    CHECK(parallel(views::iota(0, 3) | views::transform(delayed(identity))) == std::vector{0, 1, 2});
}

TEST_CASE("[J34] large results of a dropped generator are freed", "[generator][drop]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    const Parallel parallel({.n_jobs = GENERATE(1, 2, -1, -2)});
    for (int k = 0; k < 4; ++k) {
        int read = 0;
        for (auto&& blob : parallel.generator(
                 views::iota(0, 20) | views::transform(delayed([](int) { return std::string(500'000, 'x'); })))) {
            CHECK(blob.size() == 500'000);
            if (++read > k) break;
        }
    }
}

TEST_CASE("a generator whose error was never read is dropped quietly", "[generator][drop][errors]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    JOBLOT_NEEDS(backend.shared_memory);
    const int n_jobs = JOBLOT_FOR_EACH_N_JOBS(backend);
    support::lifetime_check lifetime;
    std::atomic<bool> thrown{false};
    {
        auto generator = Parallel({.n_jobs = n_jobs}).generator(views::iota(0, 10) | views::transform(delayed([&](int) {
                                                                    thrown = true;
                                                                    throw tracked{1};
                                                                })));
        if (!backend.in_caller) CHECK(support::eventually([&] { return thrown.load(); }));
    }
    CHECK(lifetime.balanced());
}

TEST_CASE("generator_unordered yields each result once, with its index", "[generator][unordered]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    const int n_jobs = JOBLOT_FOR_EACH_N_JOBS(backend);
    const int n = backend.fewer(GENERATE(0, 1, 10, 1000));
    const joblot::batch_size_option batch = GENERATE(joblot::batch_size_option{}, joblot::batch_size_option{7});
    std::vector<int> seen(static_cast<std::size_t>(n));
    const auto boxed = [](int i) { return std::make_unique<int>(3 * i); };
    for (auto&& [index, value] : Parallel({.n_jobs = n_jobs, .batch_size = batch})
                                     .generator_unordered(views::iota(0, n) | views::transform(delayed(boxed)))) {
        REQUIRE(index < static_cast<std::size_t>(n));
        ++seen[index];
        CHECK(*value == 3 * static_cast<int>(index));
    }
    CHECK(std::ranges::all_of(seen, [](int times) { return times == 1; }));
}

TEST_CASE("[J40] a slow task does not hold back the results of the others", "[generator][unordered]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    JOBLOT_NEEDS(backend.shared_memory && backend.parallel && !backend.in_caller);
    const int n_jobs = GENERATE(2, 4);
    support::gate slow_may_end;
    bool opened_in_time = true;
    const auto task = [&](int i) {
        if (i == 1) opened_in_time = slow_may_end.wait();
        return i;
    };
    std::vector<std::size_t> order;
    for (auto&& done : Parallel({.n_jobs = n_jobs, .batch_size = 1})
                           .generator_unordered(views::iota(0, 10) | views::transform(delayed(task)))) {
        order.push_back(done.index);
        if (order.size() == 9) slow_may_end.open();
    }
    CHECK(opened_in_time);
    REQUIRE(order.size() == 10);
    CHECK(order.back() == 1);
}

TEST_CASE("[J40] whichever worker has the slow task, the others go on", "[generator][unordered]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    JOBLOT_NEEDS(backend.shared_memory && backend.parallel && !backend.in_caller);
    for (int round = 0; round < support::rounds(20); ++round) {
        for (int slow = 0; slow < 4; ++slow) {
            support::gate slow_may_end;
            bool opened_in_time = true;
            const auto task = [&](int i) {
                if (i == slow) opened_in_time = slow_may_end.wait();
                return i;
            };
            int delivered = 0;
            for (auto&& done : Parallel({.n_jobs = 2, .batch_size = 1})
                                   .generator_unordered(views::iota(0, 40) | views::transform(delayed(task)))) {
                static_cast<void>(done);
                if (++delivered == 39) slow_may_end.open();
                // a reader that is slower than the workers: now and then they find no room, and leave
                if (round % 2) std::this_thread::sleep_for(std::chrono::microseconds(20));
            }
            REQUIRE(opened_in_time);
            REQUIRE(delivered == 40);
        }
    }
}

TEST_CASE("generator_unordered of void tasks, and of an input that throws", "[generator][unordered][errors]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    const Parallel parallel({.n_jobs = JOBLOT_FOR_EACH_N_JOBS(backend)});
    std::size_t sum = 0;
    for (auto&& done : parallel.generator_unordered(views::iota(0, 10) | views::transform(delayed([](int) {}))))
        sum += done.index;
    CHECK(sum == 45);
    std::map<std::size_t, int> values;
    try {
        for (auto&& done : parallel.generator_unordered(support::numbers(20, 7) | views::transform(delayed(identity))))
            values[done.index] = done.value;
        FAIL("the generator must throw");
    } catch (const support::input_failed& e) {
        REQUIRE(joblot::failed_task(e).has_value());
        CHECK(joblot::failed_task(e)->index == 7);
    }
    CHECK(values.size() == 7);
}

TEST_CASE("generator_unordered rethrows a task's error", "[generator][unordered][errors]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    const Parallel parallel({.n_jobs = JOBLOT_FOR_EACH_N_JOBS(backend)});
    const auto task = [](int i) {
        if (i == 4) throw std::runtime_error{"four"};
        return i;
    };
    std::vector<std::size_t> before;
    try {
        for (auto&& done : parallel.generator_unordered(views::iota(0, 20) | views::transform(delayed(task))))
            before.push_back(done.index);
        FAIL("the generator must throw");
    } catch (const std::runtime_error& e) {
        CHECK(joblot::failed_task(e)->index == 4);
    }
    for (std::size_t i = 0; i < 4; ++i) CHECK(std::ranges::count(before, i) == 1);
}

TEST_CASE("generator_unordered holds back as generator does", "[generator][unordered]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    JOBLOT_NEEDS(backend.closures);
    const int n_jobs = GENERATE(1, 2, 4);
    const int limit = GENERATE(1, 3);
    std::atomic<int> asked{0};
    std::atomic<int> reads{0};
    std::atomic<int> too_far{0};
    const auto make = [&](int i) {
        if (++reads > asked + limit) ++too_far;
        return delayed(identity)(i);
    };
    auto generator = Parallel({.n_jobs = n_jobs, .pre_dispatch = limit})
                         .generator_unordered(views::iota(0) | views::transform(make));
    ++asked;
    auto next = generator.begin();
    for (int i = 0; i < 50; ++i) {
        ++asked;
        ++next;
    }
    CHECK(too_far == 0);
}
