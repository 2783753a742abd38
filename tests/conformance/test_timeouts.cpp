// SPDX-License-Identifier: BSL-1.0
// Time limits and retries.

#include "../support/backends.hpp"
#include "../support/events.hpp"
#include "../support/waiting.hpp"

#include <catch2/catch_test_macros.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <ranges>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace {

namespace views = std::views;
using namespace std::chrono_literals;
using joblot::delayed;
using joblot::Parallel;
using joblot::timeout_error;
using joblot::this_task::stop_requested;

void until_told() {
    support::eventually([] { return stop_requested(); });
}

} // namespace

TEST_CASE("[J36] a limit that no task reaches changes nothing", "[timeout]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    const int n_jobs = JOBLOT_FOR_EACH_N_JOBS(backend);
    const joblot::time_limit limit =
        GENERATE(joblot::time_limit{1h}, joblot::time_limit{std::chrono::hours::max()},
                 joblot::time_limit{std::chrono::duration<double>(1e300)}, joblot::time_limit{std::chrono::years{200}});
    const auto results = Parallel({.n_jobs = n_jobs, .timeout = limit})(
        views::iota(0, 10) | views::transform(delayed([](int i) { return stop_requested() ? -1 : i; })));
    CHECK(std::ranges::equal(results, views::iota(0, 10)));
}

TEST_CASE("[J37] [J39] a task that passes its limit is told, and the call throws timeout_error", "[timeout]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    JOBLOT_NEEDS(backend.shared_memory);
    const int n_jobs = JOBLOT_FOR_EACH_N_JOBS(backend);
    support::overlap running;
    try {
        Parallel({.n_jobs = n_jobs, .timeout = 10ms})(views::iota(0, 8) | views::transform(delayed(
                                                                              [&](int) {
                                                                                  const support::counting c{running};
                                                                                  until_told();
                                                                              },
                                                                              "sleepy")));
        FAIL("the call must throw");
    } catch (const timeout_error& e) {
        CHECK(e.index() == 0);
        CHECK(e.label() == "sleepy");
        CHECK(e.limit() == 10ms);
        CHECK(std::string{e.what()}.find("sleepy") != std::string::npos);
        REQUIRE(joblot::failed_task(e).has_value());
        CHECK(joblot::failed_task(e)->index == 0);
    }
    CHECK(running.inside() == 0);
}

TEST_CASE("[J37] time limits in generators", "[timeout][generator]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    JOBLOT_NEEDS(backend.closures);
    const Parallel parallel({.n_jobs = JOBLOT_FOR_EACH_N_JOBS(backend), .timeout = 10ms});
    const auto tasks = views::iota(0, 8) | views::transform(delayed([](int) { until_told(); }));
    const auto read = [](auto generator) {
        for ([[maybe_unused]] auto&& value : generator) {
        }
    };
    CHECK_THROWS_AS(read(parallel.generator(tasks)), timeout_error);
    CHECK_THROWS_AS(read(parallel.generator_unordered(tasks)), timeout_error);
}

TEST_CASE("[J38] the clock starts when the task starts, not when the call does", "[timeout]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    const joblot::batch_size_option batch = GENERATE(joblot::batch_size_option{}, joblot::batch_size_option{12});
    // Twelve tasks one after the other take longer than the limit, each of them far less. A machine that stalls for
    // long may still fail one attempt; a clock that starts too early fails every one.
    for (int attempt = 0; attempt < 10; ++attempt) {
        try {
            Parallel({.n_jobs = 1, .batch_size = batch, .timeout = 150ms})(
                views::iota(0, 12) | views::transform(delayed([](int) { std::this_thread::sleep_for(20ms); })));
            return;
        } catch (const timeout_error&) {
        }
    }
    FAIL("tasks of 20 ms pass a limit of 150 ms again and again");
}

TEST_CASE("a task that ends late is late even if it never asked", "[timeout]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    const int n_jobs = GENERATE(1, 2, 4);
    CHECK_THROWS_AS(Parallel({.n_jobs = n_jobs, .timeout = 1ms})(
                        views::iota(0, 2) | views::transform(delayed([](int) { std::this_thread::sleep_for(20ms); }))),
                    timeout_error);
}

TEST_CASE("retries: as many attempts as asked for, and the last error", "[retries]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    JOBLOT_NEEDS(backend.shared_memory);
    const int n_jobs = JOBLOT_FOR_EACH_N_JOBS(backend);
    const int retries = GENERATE(0, 1, 5);
    std::atomic<int> attempts{0};
    const auto hopeless = [&attempts](int) { throw std::runtime_error{std::to_string(++attempts)}; };
    try {
        Parallel({.n_jobs = n_jobs, .retries = retries})(views::iota(0, 1) | views::transform(delayed(hopeless)));
        FAIL("the call must throw");
    } catch (const std::runtime_error& e) {
        CHECK(e.what() == std::to_string(retries + 1));
        CHECK(joblot::failed_task(e)->index == 0);
    }
    CHECK(attempts == retries + 1);
}

TEST_CASE("retries: a task that works in the end gives its result, its arguments intact each time", "[retries]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    JOBLOT_NEEDS(backend.shared_memory);
    const int n_jobs = JOBLOT_FOR_EACH_N_JOBS(backend);
    std::vector<std::atomic<int>> attempts(30);
    const auto flaky = [&attempts](int i, std::string text) {
        std::string mine = std::move(text);
        if (++attempts[static_cast<std::size_t>(i)] <= 2) throw std::runtime_error{"not yet"};
        return mine;
    };
    const auto make = [&flaky](int i) { return delayed(flaky)(i, std::string(50, static_cast<char>('a' + i % 26))); };
    const Parallel parallel({.n_jobs = n_jobs, .retries = 2});
    const auto results = parallel(views::iota(0, 30) | views::transform(make));
    for (int i = 0; i < 30; ++i) {
        CHECK(results[static_cast<std::size_t>(i)] == std::string(50, static_cast<char>('a' + i % 26)));
        CHECK(attempts[static_cast<std::size_t>(i)] == 3);
    }
    for (auto& count : attempts) count = 0;
    std::vector<decltype(make(0))> tasks;
    for (int i = 0; i < 30; ++i) tasks.push_back(make(i));
    CHECK(parallel(tasks) == results);
    for (auto& count : attempts) count = 0;
    CHECK(parallel(std::move(tasks)) == results);
    for (auto& count : attempts) count = 0;
    std::vector<std::string> streamed;
    for (auto&& value : parallel.generator(views::iota(0, 30) | views::transform(make)))
        streamed.push_back(std::move(value));
    CHECK(streamed == results);
}

TEST_CASE("retries: functions that take rvalues get fresh ones each time", "[retries]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    JOBLOT_NEEDS(backend.shared_memory);
    const int n_jobs = JOBLOT_FOR_EACH_N_JOBS(backend);
    std::atomic<int> attempts{0};
    const auto take = [&attempts](std::string&& text) {
        const std::string mine = std::move(text);
        if (++attempts < 3) throw std::runtime_error{"not yet"};
        return mine.size();
    };
    CHECK(Parallel({.n_jobs = n_jobs, .retries = 2})(std::vector{delayed(take)(std::string(80, 'x'))}) ==
          std::vector<std::size_t>{80});
}

TEST_CASE("retries: a task that timed out is tried again, with a new clock", "[retries][timeout]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    JOBLOT_NEEDS(backend.shared_memory);
    const int n_jobs = JOBLOT_FOR_EACH_N_JOBS(backend);
    std::atomic<int> attempts{0};
    const auto slow_once = [&attempts](int i) {
        if (++attempts == 1) until_told();
        return i;
    };
    // ten attempts: a machine that stalls may make some of the quick ones late, too
    CHECK(Parallel({.n_jobs = n_jobs, .timeout = 50ms, .retries = 10})(
              views::iota(0, 1) | views::transform(delayed(slow_once))) == std::vector{0});
    CHECK(attempts >= 2);
}

TEST_CASE("retries: this_task is the same in every attempt", "[retries]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    JOBLOT_NEEDS(backend.shared_memory);
    const int n_jobs = JOBLOT_FOR_EACH_N_JOBS(backend);
    std::vector<std::vector<std::uint64_t>> seeds(5);
    const auto fail_twice = [&seeds](int i) {
        auto& mine = seeds[static_cast<std::size_t>(i)];
        mine.push_back(joblot::this_task::seed(9) + joblot::this_task::index());
        if (mine.size() < 3) throw 1;
    };
    Parallel({.n_jobs = n_jobs, .retries = 2})(views::iota(0, 5) | views::transform(delayed(fail_twice)));
    for (const auto& mine : seeds) {
        REQUIRE(mine.size() == 3);
        CHECK(mine[0] == mine[1]);
        CHECK(mine[1] == mine[2]);
    }
}
