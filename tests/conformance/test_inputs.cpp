// SPDX-License-Identifier: BSL-1.0
// Every kind of input range: pipelines, containers of tasks, single-pass and unsized ranges.

#include "../support/backends.hpp"
#include "../support/inputs.hpp"
#include "../support/waiting.hpp"

#include <catch2/catch_test_macros.hpp>

#include <atomic>
#include <chrono>
#include <deque>
#include <list>
#include <memory>
#include <ranges>
#include <set>
#include <span>
#include <sstream>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace {

namespace views = std::views;
using joblot::delayed;
using joblot::Parallel;

int twice(int x) { return 2 * x; }
std::size_t length(std::string s) { return s.size(); }
int unbox(std::unique_ptr<int> p) { return *p; }

// Long enough to live on the heap: a task that was moved from would give another length.
auto length_tasks() {
    std::vector<decltype(delayed(length)(std::string{}))> tasks;
    for (std::size_t i = 0; i < 30; ++i) tasks.push_back(delayed(length)(std::string(100 + i, 'x')));
    return tasks;
}

std::vector<std::size_t> expected_lengths() {
    std::vector<std::size_t> lengths;
    for (std::size_t i = 0; i < 30; ++i) lengths.push_back(100 + i);
    return lengths;
}

std::vector<int> doubled(int n) {
    std::vector<int> values;
    for (int i = 0; i < n; ++i) values.push_back(2 * i);
    return values;
}

} // namespace

TEST_CASE("a vector of tasks that is an lvalue can be called twice", "[inputs]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    const Parallel parallel({.n_jobs = JOBLOT_FOR_EACH_N_JOBS(backend)});
    auto tasks = length_tasks();
    CHECK(parallel(tasks) == expected_lengths());
    CHECK(parallel(tasks) == expected_lengths());
    CHECK(parallel(std::as_const(tasks)) == expected_lengths());
    CHECK(parallel.outcomes(tasks).back().value() == 129);
    for (std::size_t i = 0; auto&& size : parallel.generator(tasks)) CHECK(size == expected_lengths()[i++]);
    CHECK(parallel(tasks) == expected_lengths());
    CHECK(parallel(std::move(tasks)) == expected_lengths());
}

TEST_CASE("views of a container of tasks do not consume it", "[inputs]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    const Parallel parallel({.n_jobs = JOBLOT_FOR_EACH_N_JOBS(backend)});
    auto tasks = length_tasks();
    CHECK(parallel(std::span{tasks}) == expected_lengths());
    CHECK(parallel(std::span{tasks}) == expected_lengths());
    CHECK(parallel(views::all(tasks)) == expected_lengths());
    CHECK(parallel(tasks | views::take(30)) == expected_lengths());
    CHECK(parallel(tasks | views::take(30)) == expected_lengths());
    CHECK(parallel(std::ranges::subrange(tasks.begin(), tasks.end())) == expected_lengths());
    CHECK(parallel(tasks) == expected_lengths());
}

TEST_CASE("tasks that can only be moved", "[inputs]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    const Parallel parallel({.n_jobs = JOBLOT_FOR_EACH_N_JOBS(backend)});
    std::vector<decltype(delayed(unbox)(std::unique_ptr<int>{}))> tasks;
    for (int i = 0; i < 30; ++i) tasks.push_back(delayed(unbox)(std::make_unique<int>(2 * i)));
    CHECK(parallel(std::move(tasks)) == doubled(30));
    const auto make = [](int i) { return delayed(unbox)(std::make_unique<int>(2 * i)); };
    CHECK(parallel(views::iota(0, 30) | views::transform(make)) == doubled(30));
    CHECK(std::get<0>(parallel(delayed(unbox)(std::make_unique<int>(3)))) == 3);
}

TEST_CASE("a list, a deque, a set and a C array as input", "[inputs]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    const Parallel parallel({.n_jobs = JOBLOT_FOR_EACH_N_JOBS(backend)});
    const std::set<int> sorted{3, 1, 2};
    CHECK(parallel(sorted | views::transform(delayed(twice))) == std::vector{2, 4, 6});
    std::list<decltype(delayed(twice)(0))> listed;
    std::deque<decltype(delayed(twice)(0))> queued;
    for (int i = 0; i < 20; ++i) {
        listed.push_back(delayed(twice)(i));
        queued.push_back(delayed(twice)(i));
    }
    CHECK(parallel(listed) == doubled(20));
    CHECK(parallel(listed) == doubled(20));
    CHECK(parallel(std::move(listed)) == doubled(20));
    CHECK(parallel(queued) == doubled(20));
    const int values[] = {4, 5};
    CHECK(parallel(values | views::transform(delayed(twice))) == std::vector{8, 10});
}

TEST_CASE("filtered, reversed, joined and cut-off pipelines", "[inputs]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    const Parallel parallel({.n_jobs = JOBLOT_FOR_EACH_N_JOBS(backend)});
    const auto even = [](int i) { return i % 2 == 0; };
    CHECK(parallel(views::iota(0, 7) | views::filter(even) | views::transform(delayed(twice))) ==
          std::vector{0, 4, 8, 12});
    auto kept = views::iota(0, 7) | views::filter(even) | views::transform(delayed(twice));
    CHECK(parallel(kept) == std::vector{0, 4, 8, 12}); // a filter can only be read through a non-const object
    CHECK(parallel(views::iota(0, 3) | views::reverse | views::transform(delayed(twice))) == std::vector{4, 2, 0});
    const std::vector<std::vector<int>> nested{{1}, {}, {2, 3}};
    CHECK(parallel(nested | views::join | views::transform(delayed(twice))) == std::vector{2, 4, 6});
    CHECK(parallel(views::iota(0) | views::take_while([](int i) { return i < 20; }) |
                   views::transform(delayed(twice))) == doubled(20));
    CHECK(parallel(views::iota(0) | views::transform(delayed(twice)) | views::take(20)) == doubled(20));
}

TEST_CASE("single-pass input: a stream and a coroutine", "[inputs]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    const Parallel parallel({.n_jobs = JOBLOT_FOR_EACH_N_JOBS(backend)});
    std::istringstream stream{"1 2 3 4 5 6 7"};
    CHECK(parallel(std::ranges::istream_view<int>(stream) | views::transform(delayed(twice))) ==
          std::vector{2, 4, 6, 8, 10, 12, 14});
    CHECK(parallel(support::numbers(100) | views::transform(delayed(twice))) == doubled(100));
    CHECK(parallel(support::numbers(0) | views::transform(delayed(twice))).empty());
    std::istringstream none;
    CHECK(parallel(std::ranges::istream_view<int>(none) | views::transform(delayed(twice))).empty());
}

TEST_CASE("a coroutine of tasks that can only be moved", "[inputs]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    const Parallel parallel({.n_jobs = JOBLOT_FOR_EACH_N_JOBS(backend)});
    using task = decltype(delayed(unbox)(std::unique_ptr<int>{}));
    const auto make = []() -> support::sequence<task> {
        for (int i = 0; i < 30; ++i) co_yield delayed(unbox)(std::make_unique<int>(2 * i));
    };
    CHECK(parallel(make()) == doubled(30));
}

TEST_CASE("map: a function over one or more ranges", "[inputs][map]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    const Parallel parallel({.n_jobs = JOBLOT_FOR_EACH_N_JOBS(backend)});
    const std::vector<int> small{1, 2, 3};
    CHECK(parallel.map(twice, small) == std::vector{2, 4, 6});
    CHECK(parallel.map(twice, std::vector{1, 2}) == std::vector{2, 4});
    CHECK(parallel.map(twice, views::iota(0, 50)) == doubled(50));
    const auto sum = [](int a, int b, int c) { return a + b + c; };
    CHECK(parallel.map(sum, small, views::iota(10), std::list{100, 200, 300, 400}) == std::vector{111, 213, 315});
    CHECK(parallel.map(sum, small, std::vector<int>{}, small).empty());
    CHECK(parallel.map(twice, support::numbers(20)) == doubled(20));
    const std::vector<std::string> words{"a", "bb"};
    CHECK(parallel.map(length, words) == std::vector<std::size_t>{1, 2});
    CHECK(words[1] == "bb");
    const std::vector<bool> bits{true, false, true};
    CHECK(parallel.map([](bool b) { return b ? 1 : 0; }, bits) == std::vector{1, 0, 1});
}

TEST_CASE("map: void functions, the shortest range ends it, the longer ones are not read beyond", "[inputs][map]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    const Parallel parallel({.n_jobs = JOBLOT_FOR_EACH_N_JOBS(backend)});
    static_assert(std::is_void_v<decltype(parallel.map([](int) {}, std::vector<int>{}))>);
    CHECK_NOTHROW(parallel.map([](int) {}, views::iota(0, 10)));
    CHECK(parallel.map([](int a, int b) { return a - b; }, views::iota(5), support::numbers(3)) ==
          std::vector{5, 5, 5});
    CHECK(parallel.map([](int a, int b) { return a - b; }, support::numbers(3), views::iota(0, 2)) ==
          std::vector{0, 0});
}

TEST_CASE("[J18] the user's range is never entered by two threads at once", "[inputs]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    JOBLOT_NEEDS(backend.closures);
    const int n_jobs = GENERATE(2, 4, 12);
    const joblot::batch_size_option batch = GENERATE(joblot::batch_size_option{}, joblot::batch_size_option{1});
    const int n = backend.fewer(backend.shared_memory ? 500 : 200);
    support::exclusive_zone zone;
    const auto guarded_task = [&zone](int i) { return zone.run([i] { return delayed(twice)(i); }); };
    const auto guarded_filter = [&zone](int i) { return zone.run([i] { return i >= 0; }); };
    const Parallel parallel({.n_jobs = n_jobs, .batch_size = batch});
    CHECK(parallel(views::iota(0, n) | views::transform(guarded_task)) == doubled(n));
    CHECK(parallel(views::iota(0, n) | views::filter(guarded_filter) | views::transform(delayed(twice))) == doubled(n));
    CHECK(parallel(support::numbers(n) | views::transform(guarded_task)) == doubled(n));
    int read = 0;
    for (auto&& value : parallel.generator(views::iota(0, n) | views::transform(guarded_task)))
        read += value == 2 * read;
    CHECK(read == n);
    CHECK(zone.violations() == 0);
}

TEST_CASE("each element of the input is read exactly once", "[inputs]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    JOBLOT_NEEDS(backend.closures);
    const int n_jobs = JOBLOT_FOR_EACH_N_JOBS(backend);
    const int n = backend.fewer(300);
    std::vector<std::atomic<int>> reads(static_cast<std::size_t>(n));
    const auto make = [&reads](int i) {
        ++reads[static_cast<std::size_t>(i)];
        return delayed(twice)(i);
    };
    CHECK(Parallel({.n_jobs = n_jobs})(views::iota(0, n) | views::transform(make)) == doubled(n));
    int wrong = 0;
    for (auto& count : reads) wrong += count != 1;
    CHECK(wrong == 0);
}

TEST_CASE("an input that throws fails the call with its own error, after the tasks before it have run",
          "[inputs][errors]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    JOBLOT_NEEDS(backend.shared_memory);
    const int n_jobs = JOBLOT_FOR_EACH_N_JOBS(backend);
    const int fails_at = GENERATE(0, 1, 7, 19, 20);
    const joblot::batch_size_option batch =
        GENERATE(joblot::batch_size_option{}, joblot::batch_size_option{1}, joblot::batch_size_option{6});
    std::atomic<int> ran{0};
    const auto count = [&ran](int) { ++ran; };
    const Parallel parallel({.n_jobs = n_jobs, .batch_size = batch});
    try {
        parallel(support::numbers(20, fails_at) | views::transform(delayed(count)));
        FAIL("the call must throw");
    } catch (const support::input_failed& e) {
        const auto task = joblot::failed_task(e);
        REQUIRE(task.has_value());
        CHECK(task->index == static_cast<std::size_t>(fails_at));
    }
    CHECK(ran == fails_at);
    CHECK(parallel(views::iota(0, 10) | views::transform(delayed(twice))) == doubled(10));
}

TEST_CASE("[J24] an input whose function throws, at the first item, in the middle and at the last",
          "[inputs][errors]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    JOBLOT_NEEDS(backend.closures);
    const int n_jobs = JOBLOT_FOR_EACH_N_JOBS(backend);
    const int fails_at = GENERATE(0, 5, 19);
    const auto make = [fails_at](int i) {
        if (i == fails_at) throw support::input_failed{};
        return delayed(twice)(i);
    };
    const Parallel parallel({.n_jobs = n_jobs});
    for (int round = 0; round < 3; ++round) {
        CHECK_THROWS_AS(parallel(views::iota(0, 20) | views::transform(make)), support::input_failed);
        CHECK_THROWS_AS(parallel.outcomes(views::iota(0, 20) | views::transform(make)), support::input_failed);
        CHECK(parallel(views::iota(0, 10) | views::transform(delayed(twice))) == doubled(10));
    }
}

TEST_CASE("tasks that were read before the input threw still run, also those of a batch that has begun",
          "[inputs][errors]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    JOBLOT_NEEDS(backend.shared_memory && backend.parallel);
    std::atomic<bool> thrown{false};
    std::atomic<int> ran{0};
    const auto make = [&](int i) {
        if (i == 4) {
            thrown = true;
            throw support::input_failed{};
        }
        return delayed([&](int k) {
            if (k == 0) {
                support::eventually([&] { return thrown.load(); });
                // time enough for a wrong halt to arrive: these tasks are wanted, so nothing may tell them to stop
                for (int spin = 0; spin < 50 && !joblot::this_task::stop_requested(); ++spin)
                    std::this_thread::sleep_for(std::chrono::milliseconds{1});
            }
            ++ran;
        })(i);
    };
    CHECK_THROWS_AS(Parallel({.n_jobs = 2, .batch_size = 4})(support::numbers(20) | views::transform(make)),
                    support::input_failed);
    CHECK(ran == 4);
}

namespace {

struct only_moved { // its copy constructor is there, and does not compile
    std::vector<std::unique_ptr<int>> parts;
    int k = 7;
};
int k_of(only_moved m) { return m.k + static_cast<int>(m.parts.size()); }
only_moved two_parts() {
    only_moved m;
    m.parts.push_back(std::make_unique<int>(1));
    m.parts.push_back(nullptr);
    return m;
}

} // namespace

TEST_CASE("arguments that can only be moved, deep inside, are taken by every form of a call", "[inputs]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    const Parallel parallel({.n_jobs = 2});
    const auto [one] = parallel(delayed(k_of)(two_parts()));
    CHECK(one == 9);
    std::vector<decltype(delayed(k_of)(two_parts()))> tasks;
    for (int i = 0; i != 5; ++i) tasks.push_back(delayed(k_of)(two_parts()));
    CHECK(parallel(std::move(tasks)) == std::vector(5, 9));
    const auto made = std::views::iota(0, 5) | std::views::transform([](int) { return delayed(k_of)(two_parts()); });
    CHECK(parallel(made) == std::vector(5, 9));
    int sum = 0;
    for (const int k : parallel.generator(made)) sum += k;
    CHECK(sum == 45);
    CHECK_THROWS_AS(Parallel({.n_jobs = 2, .retries = 1})(delayed(k_of)(two_parts())), std::invalid_argument);
}
