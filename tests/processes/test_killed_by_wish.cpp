// SPDX-License-Identifier: BSL-1.0
// What ends workers because nobody wants their tasks any more: time limits, a stop token, a generator that is dropped,
// a failure elsewhere. Each of the tasks here would run for an hour.

#include "start_methods.hpp"
#include "support.hpp"

#include <catch2/generators/catch_generators.hpp>

#include <csignal>
#include <stop_token>
#include <string>
#include <thread>

namespace {

namespace views = std::views;
using namespace std::chrono_literals;
using joblot::delayed;
using joblot::Parallel;
using support::forked;
using support::right_value;
using support::spawned_or_forked;
using support::victim;

void tell_pid(const std::string& dir) {
    support::publish(dir + "/pid-" + std::to_string(joblot::this_task::index()), std::to_string(::getpid()));
}
/// Waits for the process that task `index` told, and then for its end.
bool ends(const support::scratch_dir& dir, int index) {
    const pid_t pid = support::await_pid(dir.file("pid-" + std::to_string(index)));
    return pid > 0 && support::eventually([&] { return support::is_gone(pid); });
}

int sleeps(int i, const std::string& dir) {
    tell_pid(dir);
    support::sleep_for_ever();
    return i;
}
int only_victim_sleeps(int i, const std::string& dir) {
    if (i == victim) sleeps(i, dir);
    return right_value(i);
}
int only_victim_stops(int i, const std::string&) {
    if (i == victim) std::raise(SIGSTOP);
    return right_value(i);
}
int sleeps_once(int i, const std::string& dir) {
    if (i == victim && support::first_to_create(dir + "/tried")) support::sleep_for_ever();
    return right_value(i);
}
int first_is_quick(int i, const std::string& dir) { return i == 0 ? right_value(i) : sleeps(i, dir); }

int second_waits_for_reader(int i, const std::string& dir) {
    const bool waited = i == 0 || support::eventually([&] { return support::exists(dir + "/first-was-read"); });
    return waited ? right_value(i) : -1;
}

int first_fails_when_second_sleeps(int i, const std::string& dir) {
    if (i != 0) return sleeps(i, dir);
    support::await(dir + "/pid-1");
    throw std::runtime_error("the first one failed");
}
int both_fail_the_second_first(int i, const std::string& dir) {
    if (i == 0) {
        tell_pid(dir);
        support::await(dir + "/second-has-failed");
        std::this_thread::sleep_for(100ms); // time for the news to do harm
        throw std::out_of_range("the first one failed");
    }
    support::await(dir + "/pid-0");
    support::first_to_create(dir + "/second-has-failed");
    throw std::runtime_error("the second one failed");
}

/// A time limit for one task of twenty. The others are quick, but a machine may stall: they have retries.
joblot::options limited(std::chrono::milliseconds limit) {
    joblot::options o = support::big_batches();
    o.timeout = limit;
    return o;
}

} // namespace

TEST_CASE("a time limit ends the worker and names the task; nobody else is harmed", "[timeout]") {
    const auto function = GENERATE(&only_victim_sleeps, &only_victim_stops); // SIGSTOP: it does not answer at all
    const support::scratch_dir dir;
    support::check_isolated<joblot::timeout_error>(
        limited(300ms), [&](int i) { return delayed(function, "ill-fated")(i, dir.path()); },
        [](const joblot::timeout_error& e) {
            CHECK(e.index() == victim);
            CHECK(e.label() == "ill-fated");
            CHECK(e.limit() == 300ms);
        });
    if (function == &only_victim_sleeps) CHECK(ends(dir, victim));
}

TEST_CASE("a time limit ends forked workers", "[timeout][fork]") {
    if (support::under_tsan) SKIP("fork with threads is beyond the thread sanitizer");
    const auto function = GENERATE(&only_victim_sleeps, &only_victim_stops);
    const support::scratch_dir dir;
    joblot::options options = limited(300ms);
    options.backend = forked();
    support::check_isolated<joblot::timeout_error>(
        options, [&](int i) { return delayed(function, "ill-fated")(i, dir.path()); },
        [](const joblot::timeout_error& e) { CHECK(e.limit() == 300ms); });
}

TEST_CASE("a task that is too slow once is tried again with a new clock", "[timeout][retries]") {
    const support::scratch_dir dir;
    support::check_retried(limited(300ms), [&](int i) { return delayed(sleeps_once)(i, dir.path()); });
    CHECK(support::exists(dir.file("tried")));
}

TEST_CASE("every task passes its limit, and each has its outcome", "[timeout]") {
    const support::scratch_dir dir;
    const auto outcomes = Parallel(limited(20ms)).outcomes(views::iota(0, 6) | views::transform([&](int i) {
                                                               return delayed(sleeps)(i, dir.path());
                                                           }));
    REQUIRE(outcomes.size() == 6);
    for (std::size_t i = 0; i != 6; ++i) {
        CHECK_THROWS_AS(outcomes[i].value(), joblot::timeout_error);
        CHECK(joblot::failed_task(outcomes[i].error())->index == i);
    }
}

TEST_CASE("a stop token ends the workers", "[stop]") {
    const auto backend = spawned_or_forked();
    const support::scratch_dir dir;
    std::stop_source stop;
    const std::jthread stopper([&] {
        support::await(dir.file("pid-0"));
        support::await(dir.file("pid-1"));
        stop.request_stop();
    });
    const auto tasks = views::iota(0, 8) | views::transform([&](int i) { return delayed(sleeps)(i, dir.path()); });
    CHECK_THROWS_AS(Parallel({.n_jobs = 2, .backend = backend, .batch_size = 1, .stop = stop.get_token()})(tasks),
                    joblot::cancelled);
    CHECK(ends(dir, 0));
    CHECK(ends(dir, 1));
    CHECK_FALSE(support::exists(dir.file("pid-2")));
    CHECK(support::pool_works(Parallel({.n_jobs = 2, .backend = backend})));
}

TEST_CASE("a stop token that has fired starts nothing", "[stop]") {
    const support::scratch_dir dir;
    std::stop_source stop;
    stop.request_stop();
    const auto tasks = views::iota(0, 8) | views::transform([&](int i) { return delayed(sleeps)(i, dir.path()); });
    CHECK_THROWS_AS(Parallel({.n_jobs = 2, .backend = "processes", .stop = stop.get_token()})(tasks),
                    joblot::cancelled);
    CHECK(std::filesystem::is_empty(dir.path()));
}

TEST_CASE("dropping a generator ends the workers", "[generator]") {
    const auto backend = spawned_or_forked();
    const support::scratch_dir dir;
    {
        auto results = Parallel({.n_jobs = 2, .backend = backend, .batch_size = 1})
                           .generator(views::iota(0, 50) |
                                      views::transform([&](int i) { return delayed(first_is_quick)(i, dir.path()); }));
        CHECK(*results.begin() == right_value(0));
        support::await(dir.file("pid-1"));
    }
    CHECK(ends(dir, 1));
    CHECK(support::pool_works(Parallel({.n_jobs = 2, .backend = backend})));
}

TEST_CASE("a result is not held back by the slow task behind it in its batch", "[generator]") {
    const support::scratch_dir dir;
    auto results = Parallel({.n_jobs = 1, .backend = "processes", .batch_size = 2})
                       .generator(views::iota(0, 2) | views::transform([&](int i) {
                                      return delayed(second_waits_for_reader)(i, dir.path());
                                  }));
    auto at = results.begin();
    CHECK(*at == right_value(0));
    support::publish(dir.file("first-was-read"), "");
    CHECK(*++at == right_value(1));
}

TEST_CASE("the first failure ends the tasks behind it", "[errors]") {
    const auto backend = spawned_or_forked();
    const support::scratch_dir dir;
    const auto tasks = views::iota(0, 8) |
                       views::transform([&](int i) { return delayed(first_fails_when_second_sleeps)(i, dir.path()); });
    CHECK_THROWS_AS(Parallel({.n_jobs = 2, .backend = backend, .batch_size = 1})(tasks), std::runtime_error);
    CHECK(ends(dir, 1));
    CHECK_FALSE(support::exists(dir.file("pid-2")));
    CHECK(support::pool_works(Parallel({.n_jobs = 2, .backend = backend})));
}

TEST_CASE("a failure ends no task before it: that one's failure counts", "[errors]") {
    const auto backend = spawned_or_forked();
    const support::scratch_dir dir;
    const auto tasks =
        views::iota(0, 2) | views::transform([&](int i) { return delayed(both_fail_the_second_first)(i, dir.path()); });
    CHECK_THROWS_AS(Parallel({.n_jobs = 2, .backend = backend, .batch_size = 1})(tasks), std::out_of_range);
}

TEST_CASE("a call that is stopped leaves another call alone", "[stop]") {
    const support::scratch_dir dir;
    std::stop_source stop;
    bool was_cancelled = false;
    std::jthread other([&] {
        const auto tasks = views::iota(0, 2) | views::transform([&](int i) { return delayed(sleeps)(i, dir.path()); });
        try {
            Parallel({.n_jobs = 1, .backend = "processes", .stop = stop.get_token()})(tasks);
        } catch (const joblot::cancelled&) {
            was_cancelled = true;
        }
    });
    support::await(dir.file("pid-0"));
    const auto results = Parallel({.n_jobs = 1, .backend = "processes"}).map(right_value, views::iota(0, 100));
    stop.request_stop();
    other.join();
    CHECK(was_cancelled);
    CHECK(std::ranges::equal(results, views::iota(0, 100) | views::transform(right_value)));
}
