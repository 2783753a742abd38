// SPDX-License-Identifier: BSL-1.0
// How tasks are dispatched: order of results, lazy reading, pre_dispatch and batch sizes.

#include "../support/backends.hpp"
#include "../support/events.hpp"
#include "../support/inputs.hpp"
#include "../support/waiting.hpp"

#include <catch2/catch_test_macros.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <limits>
#include <ranges>
#include <string>
#include <thread>
#include <vector>

namespace {

namespace views = std::views;
using joblot::batch_size_option;
using joblot::delayed;
using joblot::everything;
using joblot::Parallel;
using joblot::per_job;
using joblot::pre_dispatch_option;
using strings = std::vector<std::string>;

// A pipeline of n tasks that logs "P<i>" when item i is read and "C<i>" when its task runs.
auto logged(support::event_log& log, int n) {
    return views::iota(0, n) | views::transform([&log](int i) {
               log.add("P", i);
               return delayed([&log](int k) {
                   log.add("C", k);
                   return k;
               })(i);
           });
}

struct grid_row {
    int tasks;
    int n_jobs;
    pre_dispatch_option pre_dispatch;
    batch_size_option batch_size;
};

} // namespace

TEST_CASE("[J5] results are in input order, whatever the order of completion", "[order]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    const int n_jobs = JOBLOT_FOR_EACH_N_JOBS(backend);
    const auto uneven = [](int i) {
        for (volatile int spin = 0; spin < (i * 7919) % 20000;) spin = spin + 1;
        return i;
    };
    const int n = backend.fewer(200);
    const auto tasks = views::iota(0, n) | views::transform(delayed(uneven));
    std::vector<int> expected(static_cast<std::size_t>(n));
    for (int i = 0; i < n; ++i) expected[static_cast<std::size_t>(i)] = i;
    const Parallel parallel({.n_jobs = n_jobs});
    CHECK(parallel(tasks) == expected);
    std::vector<int> streamed;
    for (auto&& value : parallel.generator(tasks)) streamed.push_back(value);
    CHECK(streamed == expected);
}

TEST_CASE("the first task may be the last to complete", "[order]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    JOBLOT_NEEDS(backend.shared_memory && backend.parallel);
    std::atomic<int> others{0};
    std::atomic<bool> in_time{true};
    const auto task = [&](int i) {
        if (i == 0)
            in_time = support::eventually([&] { return others == 19; });
        else
            ++others;
        return i;
    };
    const auto results = Parallel({.n_jobs = 2, .batch_size = 1})(views::iota(0, 20) | views::transform(delayed(task)));
    CHECK(in_time);
    CHECK(std::ranges::equal(results, views::iota(0, 20)));
}

TEST_CASE("[J6] dispatch is free of races over a grid of sizes, workers, read-ahead and batches", "[order]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    const grid_row row = GENERATE(
        grid_row{2, 2, everything, {}}, grid_row{10, 2, per_job(1), {}}, grid_row{517, 2, per_job(1), {}},
        grid_row{10, 4, per_job(1), {}}, grid_row{200, 12, per_job(1), {}}, grid_row{25, 12, per_job(2), 1},
        grid_row{250, 12, everything, 1}, grid_row{250, 12, per_job(2), 7}, grid_row{200, 12, per_job(2), {}},
        grid_row{200, 3, 1, 50}, grid_row{200, 3, 7, 5}, grid_row{100, 2, 1, 1}, grid_row{30, 12, per_job(0.1), 4});
    const int tasks = backend.fewer(row.tasks);
    const Parallel parallel({.n_jobs = row.n_jobs, .batch_size = row.batch_size, .pre_dispatch = row.pre_dispatch});
    const auto identity = [](int i) { return i; };
    const auto pure = views::iota(0, tasks) | views::transform(delayed(identity));
    CHECK(std::ranges::equal(parallel(pure), views::iota(0, tasks)));
    CHECK(std::ranges::equal(parallel(support::numbers(tasks) | views::transform(delayed(identity))),
                             views::iota(0, tasks)));
    std::vector<int> streamed;
    for (auto&& value : parallel.generator(pure)) streamed.push_back(value);
    CHECK(std::ranges::equal(streamed, views::iota(0, tasks)));
}

TEST_CASE("[J11] one worker reads a batch and runs it before it reads the next", "[order]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    JOBLOT_NEEDS(backend.shared_memory);
    support::event_log one_by_one;
    Parallel({.n_jobs = 1, .batch_size = 1})(logged(one_by_one, 6));
    CHECK(one_by_one.events() == strings{"P0", "C0", "P1", "C1", "P2", "C2", "P3", "C3", "P4", "C4", "P5", "C5"});
    support::event_log by_four;
    Parallel({.n_jobs = 1, .batch_size = 4})(logged(by_four, 6));
    CHECK(by_four.events() == strings{"P0", "P1", "P2", "P3", "C0", "C1", "C2", "C3", "P4", "P5", "C4", "C5"});
}

TEST_CASE("[J11] pre_dispatch smaller than a batch bounds the batch", "[order]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    JOBLOT_NEEDS(backend.shared_memory);
    support::event_log log;
    Parallel({.n_jobs = 1, .batch_size = 4, .pre_dispatch = 2})(logged(log, 4));
    const strings events = log.events();
    int ahead = 0;
    for (const std::string& event : events) {
        ahead += event[0] == 'P' ? 1 : -1;
        CHECK(ahead <= 2);
    }
    CHECK(events.size() == 8);
}

TEST_CASE("[J12] reading stays within pre_dispatch of the tasks that have ended", "[order]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    JOBLOT_NEEDS(backend.shared_memory);
    const int n_jobs = GENERATE(2, 4);
    const int limit = GENERATE(1, 2, 3, 10);
    const int batch = GENERATE(1, 4);
    std::atomic<int> reads{0};
    std::atomic<int> ended{0};
    std::atomic<int> too_far{0};
    const auto task = [&ended](int) {
        std::this_thread::sleep_for(std::chrono::microseconds{100}); // so that the others do come and read
        ++ended;
    };
    const auto make = [&](int i) {
        if (++reads > ended + limit) ++too_far;
        return delayed(task)(i);
    };
    Parallel({.n_jobs = n_jobs, .batch_size = batch, .pre_dispatch = limit})(views::iota(0, 60) |
                                                                             views::transform(make));
    CHECK(too_far == 0);
    CHECK(ended == 60);
}

TEST_CASE("[J12] the fourth item is not read before the first task has run", "[order]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    JOBLOT_NEEDS(backend.shared_memory);
    support::event_log log;
    Parallel({.n_jobs = 2, .batch_size = 1, .pre_dispatch = 3})(logged(log, 6));
    const strings events = log.events();
    const auto fourth = std::ranges::find(events, "P3");
    CHECK(std::ranges::any_of(events.begin(), fourth, [](const std::string& e) { return e[0] == 'C'; }));
}

TEST_CASE("[J13] pre_dispatch = everything reads the whole input before the first task", "[order]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    JOBLOT_NEEDS(backend.shared_memory);
    const int n_jobs = GENERATE(2, 4);
    support::event_log log;
    Parallel({.n_jobs = n_jobs, .batch_size = 1, .pre_dispatch = everything})(logged(log, 40));
    const strings events = log.events();
    REQUIRE(events.size() == 80);
    CHECK(std::ranges::all_of(events.begin(), events.begin() + 40, [](const std::string& e) { return e[0] == 'P'; }));
}

TEST_CASE("[J13] every valid pre_dispatch computes the same", "[order]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    const pre_dispatch_option ahead =
        GENERATE(pre_dispatch_option{}, pre_dispatch_option{1}, pre_dispatch_option{1'000'000'000},
                 pre_dispatch_option{everything}, pre_dispatch_option{per_job(1.5)},
                 pre_dispatch_option{per_job(0.001)}, pre_dispatch_option{per_job(1e300)});
    const int n_jobs = GENERATE(1, 3);
    const Parallel parallel({.n_jobs = n_jobs, .pre_dispatch = ahead});
    CHECK(std::ranges::equal(parallel(support::numbers(40) | views::transform(delayed([](int i) { return i; }))),
                             views::iota(0, 40)));
}

TEST_CASE("tasks of one call start in input order with one worker", "[order]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    JOBLOT_NEEDS(backend.shared_memory);
    const batch_size_option batch = GENERATE(batch_size_option{}, batch_size_option{1}, batch_size_option{7});
    std::vector<int> order;
    Parallel({.n_jobs = 1, .batch_size = batch})(views::iota(0, 100) |
                                                 views::transform(delayed([&order](int i) { order.push_back(i); })));
    CHECK(std::ranges::equal(order, views::iota(0, 100)));
}

TEST_CASE("a batch size larger than the input, and the largest of all, work", "[order]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    const int n_jobs = JOBLOT_FOR_EACH_N_JOBS(backend);
    const batch_size_option batch =
        GENERATE(batch_size_option{1000}, batch_size_option{std::numeric_limits<long long>::max()},
                 batch_size_option{std::numeric_limits<std::size_t>::max()});
    const Parallel parallel({.n_jobs = n_jobs, .batch_size = batch});
    const auto identity = [](int i) { return i; };
    CHECK(std::ranges::equal(parallel(views::iota(0, 10) | views::transform(delayed(identity))), views::iota(0, 10)));
    CHECK(std::ranges::equal(parallel(support::numbers(10) | views::transform(delayed(identity))), views::iota(0, 10)));
}

TEST_CASE("[T] n_jobs above the number of cores runs that many tasks at once", "[order]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    JOBLOT_NEEDS(backend.shared_memory && backend.parallel);
    const int n_jobs = GENERATE_COPY(2, 4, 2 * joblot::cpu_count() + 3);
    const batch_size_option batch = GENERATE(batch_size_option{}, batch_size_option{1});
    support::meeting_point all{n_jobs};
    std::atomic<int> met{0};
    Parallel({.n_jobs = n_jobs, .batch_size = batch})(
        views::iota(0, n_jobs) | views::transform(delayed([&](int) { met += all.arrive_and_wait(); })));
    CHECK(met == n_jobs);
}

TEST_CASE("never more tasks at once than n_jobs", "[order]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    JOBLOT_NEEDS(backend.shared_memory);
    const int n_jobs = GENERATE(1, 2, 3);
    support::overlap running;
    Parallel({.n_jobs = n_jobs, .batch_size = 1})(views::iota(0, 300) | views::transform(delayed([&](int) {
                                                      const support::counting inside{running};
                                                      std::this_thread::yield();
                                                  })));
    CHECK(running.most() <= n_jobs);
    CHECK(running.left() == 300);
}
