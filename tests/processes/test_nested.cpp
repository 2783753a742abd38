// SPDX-License-Identifier: BSL-1.0
// Calls inside of tasks that run in worker processes: by default they stay there, threads and one more level of
// processes can be had, and an endless recursion ends in an error.

#include "../support/thread_count.hpp"
#include "start_methods.hpp"
#include "support.hpp"

#include <catch2/generators/catch_generators.hpp>

#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace {

namespace views = std::views;
using joblot::delayed;
using joblot::Parallel;
using support::forked;
using support::spawned_or_forked;

struct inner_report {
    int effective = 0;
    int effective_all = 0;
    bool in_own_process = false;
    bool right = false;
    int more_threads = 0;
};

inner_report call_by_default(int) {
    const int before = support::thread_count();
    const auto pids = Parallel().map(support::own_pid, views::iota(0, 50));
    return {.effective = joblot::effective_n_jobs(),
            .effective_all = joblot::effective_n_jobs(-1),
            .in_own_process = std::ranges::count(pids, ::getpid()) == 50,
            .right = support::pool_works(Parallel()),
            .more_threads = support::thread_count() - before};
}

bool call_on_threads(int) {
    support::meeting_point both{2};
    const auto meet = [&both](int) { return both.arrive_and_wait() ? ::getpid() : -1; };
    const auto pids = Parallel({.n_jobs = 2, .backend = joblot::threads{}, .batch_size = 1})(
        views::iota(0, 2) | views::transform(delayed(meet)));
    return std::ranges::count(pids, ::getpid()) == 2;
}
bool call_on_two_jobs(int) {
    support::meeting_point both{2};
    const auto meet = [&both](int) { return both.arrive_and_wait(); };
    const auto met = Parallel({.n_jobs = 2, .batch_size = 1})(views::iota(0, 2) | views::transform(delayed(meet)));
    return met[0] && met[1];
}

std::vector<pid_t> call_on_processes(int) {
    auto pids = Parallel({.n_jobs = 2, .backend = "processes"}).map(support::own_pid, views::iota(0, 10));
    pids.push_back(::getpid());
    return pids;
}
int crashes_in_an_inner_worker(int) {
    const auto outcomes = Parallel({.n_jobs = 1, .backend = "processes"})
                              .outcomes(views::iota(0, 5) | views::transform(delayed([](int i) {
                                            if (i == 2) ::_exit(3);
                                            return i;
                                        })));
    return static_cast<int>(std::ranges::count_if(outcomes, [](const auto& o) { return o.has_value(); }));
}

int endless(int depth, const std::string& dir) {
    support::first_to_create(dir + "/level-" + std::to_string(depth));
    const auto deeper = [&](int) { return delayed(endless)(depth + 1, dir); };
    return Parallel({.n_jobs = 2, .backend = "processes"})(views::iota(0, 2) | views::transform(deeper))[0];
}
int endless_by_default(int depth, const std::string& dir) {
    const auto deeper = [&](int) { return delayed(endless_by_default)(depth + 1, dir); };
    return Parallel()(views::iota(0, 2) | views::transform(deeper))[0];
}

joblot::options outer(const joblot::backend_choice& backend = "processes") {
    return {.n_jobs = 2, .backend = backend, .batch_size = 1};
}

} // namespace

TEST_CASE("a call inside of a worker stays in its process and does not multiply the threads", "[nested]") {
    const auto backend = spawned_or_forked();
    for (const inner_report& inner : Parallel(outer(backend)).map(call_by_default, views::iota(0, 4))) {
        CHECK(inner.effective == 1);
        CHECK(inner.in_own_process);
        CHECK(inner.right);
        // the one that tells inner calls when the program wants their task no more, and one of the sanitizer's own
        CHECK(inner.more_threads <= (support::under_tsan ? 2 : 1));
    }
}

TEST_CASE("the environment's backend is not for calls inside of a worker", "[nested]") {
    ::setenv("JOBLOT_BACKEND", "processes", 1);
    const joblot::processes fresh{.max_tasks_per_worker = 1}; // workers that see the variable
    const auto reports = Parallel(outer(fresh)).map(call_by_default, views::iota(0, 2));
    ::unsetenv("JOBLOT_BACKEND");
    for (const inner_report& inner : reports) CHECK(inner.in_own_process);
}

TEST_CASE("a guard around the call is not for calls inside of a worker", "[nested]") {
    const joblot::parallel_backend guard{"processes", {.n_jobs = 2}};
    for (const inner_report& inner : Parallel().map(call_by_default, views::iota(0, 4))) {
        CHECK(inner.in_own_process);
        CHECK(inner.effective == 1);
    }
}

TEST_CASE("a task of a worker may use threads", "[nested]") {
    const auto backend = spawned_or_forked();
    for (const bool met : Parallel(outer(backend)).map(call_on_threads, views::iota(0, 4))) CHECK(met);
    for (const bool met : Parallel(outer(backend)).map(call_on_two_jobs, views::iota(0, 4))) CHECK(met);
}

TEST_CASE("a task of a worker may use workers of its own", "[nested]") {
    const auto all = Parallel(outer()).map(call_on_processes, views::iota(0, 4));
    std::set<pid_t> inner;
    for (const auto& pids : all) {
        CHECK(pids.size() == 11);
        CHECK(std::ranges::count(pids, pids.back()) == 1); // none of them is the worker itself
        CHECK(!std::ranges::count(pids, ::getpid()));
        inner.insert(pids.begin(), pids.end());
    }
    for (const int right : Parallel(outer()).map(crashes_in_an_inner_worker, views::iota(0, 4))) CHECK(right == 4);
}

TEST_CASE("inner workers end with their owner", "[nested]") {
    std::set<pid_t> all;
    const joblot::processes short_lived{.idle_timeout = std::chrono::milliseconds(50)};
    for (const auto& pids : Parallel(outer(short_lived)).map(call_on_processes, views::iota(0, 2)))
        all.insert(pids.begin(), pids.end());
    CHECK(all.size() >= 2);
    CHECK(support::eventually([&] { return std::ranges::all_of(all, support::is_gone); }));
}

TEST_CASE("an endless recursion of worker processes ends in an error", "[nested]") {
    const support::scratch_dir dir;
    try {
        endless(0, dir.path());
        FAIL("the call must throw");
    } catch (const joblot::backend_error& e) {
        CHECK(std::string(e.what()).find("nested") != std::string::npos);
    }
    CHECK(support::exists(dir.file("level-2")));
    CHECK_FALSE(support::exists(dir.file("level-3")));
    CHECK(support::pool_works(Parallel(outer())));
}

TEST_CASE("an endless recursion of default calls in a worker ends in an error", "[nested]") {
    const support::scratch_dir dir;
    const auto tasks =
        views::iota(0, 2) | views::transform([&](int) { return delayed(endless_by_default)(0, dir.path()); });
    CHECK_THROWS_AS(Parallel(outer())(tasks), joblot::error);
    CHECK(support::pool_works(Parallel(outer())));
}

TEST_CASE("fork inside of a task of a thread is refused", "[nested][fork]") {
    const auto tasks = views::iota(0, 2) | views::transform(delayed([](int i) {
                           return Parallel({.n_jobs = 2, .backend = forked()})
                               .map(support::right_value, views::iota(i, i + 2))
                               .front();
                       }));
    CHECK_THROWS_AS(Parallel({.n_jobs = 2, .backend = joblot::threads{}})(tasks), joblot::backend_error);
    const auto spawned = views::iota(0, 2) | views::transform(delayed([](int i) {
                             return Parallel({.n_jobs = 2, .backend = "processes"})
                                 .map(support::right_value, views::iota(i, i + 2))
                                 .front();
                         }));
    CHECK(Parallel({.n_jobs = 2, .backend = joblot::threads{}})(spawned) ==
          std::vector{support::right_value(0), support::right_value(1)});
}
