// SPDX-License-Identifier: BSL-1.0
// Parallel::outcomes: a value or an exception for every task, and no failure stops another task.

#include "../support/backends.hpp"
#include "../support/waiting.hpp"

#include <catch2/catch_test_macros.hpp>

#include <atomic>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <iterator>
#include <memory>
#include <ranges>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

namespace views = std::views;
using namespace std::chrono_literals;
using joblot::delayed;
using joblot::failed_task;
using joblot::Parallel;

int fail_on_multiples_of_three(int i) {
    if (i % 3 == 0) throw std::runtime_error{std::to_string(i)};
    return 10 * i;
}

} // namespace

TEST_CASE("[J46] every task runs, and each outcome holds its value or its exception", "[outcomes]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    const int n_jobs = JOBLOT_FOR_EACH_N_JOBS(backend);
    const joblot::batch_size_option batch = GENERATE(joblot::batch_size_option{}, joblot::batch_size_option{7});
    auto outcomes = Parallel({.n_jobs = n_jobs, .batch_size = batch})
                        .outcomes(views::iota(0, 100) | views::transform(delayed(fail_on_multiples_of_three, "third")));
    REQUIRE(outcomes.size() == 100);
    for (int i = 0; i < 100; ++i) {
        auto& outcome = outcomes[static_cast<std::size_t>(i)];
        REQUIRE(outcome.has_value() == (i % 3 != 0));
        CHECK(static_cast<bool>(outcome) == outcome.has_value());
        if (outcome) {
            CHECK(outcome.value() == 10 * i);
            CHECK(outcome.error() == nullptr);
            continue;
        }
        try {
            (void)outcome.value();
            FAIL("value() must throw");
        } catch (const std::runtime_error& e) {
            CHECK(e.what() == std::to_string(i));
            REQUIRE(failed_task(e).has_value());
            CHECK(failed_task(e)->index == static_cast<std::size_t>(i));
            CHECK(failed_task(e)->label == "third");
        }
        const std::exception_ptr error = outcome.error();
        REQUIRE(failed_task(error).has_value());
        CHECK(failed_task(error)->index == static_cast<std::size_t>(i));
    }
}

TEST_CASE("outcomes of void and of move-only tasks", "[outcomes]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    const int n_jobs = JOBLOT_FOR_EACH_N_JOBS(backend);
    const Parallel parallel({.n_jobs = n_jobs});
    const auto silent = [](int i) {
        if (i == 1) throw i;
    };
    auto voids = parallel.outcomes(views::iota(0, 3) | views::transform(delayed(silent)));
    REQUIRE(voids.size() == 3);
    CHECK(voids[0].has_value());
    CHECK_NOTHROW(voids[0].value());
    CHECK_THROWS_AS(voids[1].value(), int);
    CHECK(voids[2].has_value());
    const auto boxed = [](int i) {
        if (i == 1) throw i;
        return std::make_unique<int>(i);
    };
    auto boxes = parallel.outcomes(views::iota(0, 3) | views::transform(delayed(boxed)));
    REQUIRE(boxes.size() == 3);
    const std::unique_ptr<int> taken = std::move(boxes[2]).value();
    CHECK(*taken == 2);
    CHECK_THROWS_AS(std::move(boxes[1]).value(), int);
}

TEST_CASE("all tasks may fail", "[outcomes]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    const int n_jobs = JOBLOT_FOR_EACH_N_JOBS(backend);
    const int n = backend.fewer(500);
    const auto outcomes =
        Parallel({.n_jobs = n_jobs}).outcomes(views::iota(0, n) | views::transform(delayed([](int i) { throw i; })));
    REQUIRE(std::ssize(outcomes) == n);
    int wrong = 0;
    for (std::size_t i = 0; i < outcomes.size(); ++i) {
        try {
            outcomes[i].value();
            ++wrong;
        } catch (int number) {
            wrong += number != static_cast<int>(i);
        }
    }
    CHECK(wrong == 0);
}

TEST_CASE("a time limit makes one outcome a timeout_error and leaves the others alone", "[outcomes][timeout]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    JOBLOT_NEEDS(backend.shared_memory);
    const int n_jobs = JOBLOT_FOR_EACH_N_JOBS(backend);
    const auto slow_third = [](int i) {
        if (i == 3) support::eventually([] { return joblot::this_task::stop_requested(); });
        return i;
    };
    // the limit must be short for task 3, and out of reach for the others even on a machine that stalls: try again
    for (int attempt = 0; attempt < 20; ++attempt) {
        const auto outcomes = Parallel({.n_jobs = n_jobs, .batch_size = 1, .timeout = 100ms})
                                  .outcomes(views::iota(0, 8) | views::transform(delayed(slow_third, "slow")));
        REQUIRE(outcomes.size() == 8);
        REQUIRE_FALSE(outcomes[3].has_value());
        try {
            (void)outcomes[3].value();
        } catch (const joblot::timeout_error& e) {
            CHECK(e.index() == 3);
            CHECK(e.label() == "slow");
            CHECK(e.limit() == 100ms);
        }
        int values = 0;
        for (const auto& outcome : outcomes) values += outcome.has_value();
        if (values == 7) return;
    }
    FAIL("tasks that return at once timed out again and again");
}

TEST_CASE("outcomes with retries hold the value of the attempt that worked", "[outcomes][retries]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    JOBLOT_NEEDS(backend.shared_memory);
    const int n_jobs = JOBLOT_FOR_EACH_N_JOBS(backend);
    std::vector<std::atomic<int>> attempts(20);
    const auto flaky = [&attempts](int i) {
        const int attempt = ++attempts[static_cast<std::size_t>(i)];
        if (attempt <= i % 5) throw std::runtime_error{"attempt " + std::to_string(attempt)};
        return i;
    };
    const auto outcomes =
        Parallel({.n_jobs = n_jobs, .retries = 2}).outcomes(views::iota(0, 20) | views::transform(delayed(flaky)));
    for (int i = 0; i < 20; ++i) {
        const auto& outcome = outcomes[static_cast<std::size_t>(i)];
        CHECK(outcome.has_value() == (i % 5 <= 2));
        CHECK(attempts[static_cast<std::size_t>(i)] == std::min(i % 5 + 1, 3));
        if (outcome) continue;
        try {
            (void)outcome.value();
        } catch (const std::runtime_error& e) {
            CHECK(std::string{e.what()} == "attempt 3");
        }
    }
}

TEST_CASE("a fired stop token still cancels a call for outcomes", "[outcomes][stop]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    JOBLOT_NEEDS(backend.shared_memory);
    const int n_jobs = JOBLOT_FOR_EACH_N_JOBS(backend);
    std::stop_source source;
    const auto task = [&source](int i) {
        if (i == 5) source.request_stop();
        return i;
    };
    CHECK_THROWS_AS(Parallel({.n_jobs = n_jobs, .stop = source.get_token()})
                        .outcomes(views::iota(0, 1000) | views::transform(delayed(task))),
                    joblot::cancelled);
}

namespace {

int fail_with_text(int i) {
    if (i % 2) throw std::runtime_error("no " + std::to_string(i));
    return i;
}
int crash_at_two(int i) {
    if (i == 2) std::raise(SIGKILL);
    return i;
}
void fail_void(int i) { static_cast<void>(fail_with_text(i)); }
std::unique_ptr<int> fail_unique(int i) { return std::make_unique<int>(fail_with_text(i)); }

/// Over input that is indexed, and input that is read.
template <class R>
void check_facts(R (*f)(int), int retries) {
    const Parallel parallel({.n_jobs = 2, .batch_size = 3, .retries = retries});
    const auto check = [&](const auto& outcomes) {
        REQUIRE(outcomes.size() == 20);
        for (std::size_t i = 0; i != 20; ++i) {
            const joblot::outcome<R>& o = outcomes[i];
            CHECK(o.index() == i);
            CHECK(o.tries() == (i % 2 ? retries + 1 : 1));
            CHECK(o.label() == (i % 2 ? "facts" : ""));
            CHECK(o.message() == (i % 2 ? "no " + std::to_string(i) : ""));
        }
    };
    check(parallel.outcomes(views::iota(0, 20) | views::transform(delayed(f, "facts"))));
    const auto one_by_one = [](int i) { return i; };
    check(parallel.outcomes(views::iota(0, 20) | views::transform(one_by_one) | views::transform(delayed(f, "facts"))));
}

} // namespace

TEST_CASE("an outcome knows index, label, message and number of tries", "[outcomes]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    const int retries = GENERATE(0, 2);
    check_facts(fail_with_text, retries);
    check_facts(fail_void, retries);
    check_facts(fail_unique, retries);
}

TEST_CASE("an outcome tells of the tries that a success took", "[outcomes]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    JOBLOT_NEEDS(backend.shared_memory);
    std::atomic<int> calls{0};
    const auto third_time = [&calls](int i) {
        if (i == 4 && ++calls < 3) throw std::runtime_error("not yet");
        return i;
    };
    const auto all =
        Parallel({.n_jobs = 2, .retries = 5}).outcomes(views::iota(0, 9) | views::transform(delayed(third_time)));
    for (const auto& o : all) {
        CHECK(o.has_value());
        CHECK(o.tries() == (o.index() == 4 ? 3 : 1));
    }
}

TEST_CASE("the message of an outcome, for what is thrown and no std::exception", "[outcomes]") {
    const auto throws = [](int i) -> int {
        if (i == 0) throw "a literal";
        if (i == 1) throw std::string("a string");
        throw 42;
    };
    const auto all = Parallel({.n_jobs = 2}).outcomes(views::iota(0, 3) | views::transform(delayed(throws)));
    CHECK(all[0].message() == "a literal");
    CHECK(all[1].message() == "a string");
    CHECK(all[2].message() == "an exception that is no std::exception");
}

TEST_CASE("an outcome tells of the tries that a crash took", "[outcomes]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    JOBLOT_NEEDS(backend.can_kill);
    const auto all = Parallel({.n_jobs = 2, .retries = 1})
                         .outcomes(views::iota(0, 4) | views::transform(delayed(crash_at_two, "crash")));
    REQUIRE(all.size() == 4);
    for (const auto& o : all) CHECK(o.has_value() == (o.index() != 2));
    CHECK(all[2].tries() == 2);
    CHECK(all[2].label() == "crash");
    CHECK(all[2].message().find("signal 9") != std::string::npos);
}
