// SPDX-License-Identifier: BSL-1.0
// options::deadline: a limit for a whole call, on every backend and in every kind of call.

#include "../support/backends.hpp"
#include "../support/waiting.hpp"

#include <catch2/catch_test_macros.hpp>

#include <atomic>
#include <chrono>
#include <ranges>
#include <stdexcept>
#include <stop_token>
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

int return_when_told(int i) {
    support::eventually([] { return stop_requested(); });
    return i;
}
void end_when_told(int i) { return_when_told(i); }
// Ends soon; without a deadline a call of very many does not end before the test's watchdog.
int short_step(int i) {
    std::this_thread::sleep_for(1ms);
    return i;
}
constexpr int far_too_many = 10'000'000;
auto steps() { return views::iota(0, far_too_many) | views::transform(delayed(short_step)); }
auto unsized_steps() {
    return views::iota(0) | views::take_while([](int i) { return i < far_too_many; }) |
           views::transform(delayed(short_step));
}

using deadline_call = void (*)(const joblot::options&);
const std::vector<deadline_call> kinds_of_call{
    [](const joblot::options& o) { Parallel{o}(steps()); },
    [](const joblot::options& o) { Parallel{o}(unsized_steps()); },
    [](const joblot::options& o) { Parallel(o).map(end_when_told, views::iota(0, 4)); },
    [](const joblot::options& o) { Parallel(o).map(return_when_told, std::vector{1, 2, 3}); },
    [](const joblot::options& o) { Parallel{o}(delayed(return_when_told)(0), delayed(end_when_told)(1)); },
    [](const joblot::options& o) { (void)Parallel(o).outcomes(unsized_steps()); },
    [](const joblot::options& o) {
        (void)Parallel(o).outcomes(views::iota(0, 4) | views::transform(delayed(return_when_told)));
    },
    [](const joblot::options& o) {
        for ([[maybe_unused]] const int i : Parallel(o).generator(steps())) continue;
    },
    [](const joblot::options& o) {
        for ([[maybe_unused]] const auto& one : Parallel(o).generator_unordered(unsized_steps())) continue;
    },
    [](const joblot::options& o) {
        for ([[maybe_unused]] const int i :
             Parallel(o).generator(views::iota(0, 3) | views::transform(delayed(return_when_told))))
            continue;
    },
};

int inner_call(int) {
    Parallel{}.map(return_when_told, views::iota(0, 4));
    return 0;
}
int inner_deadline(int) {
    Parallel({.deadline = 20ms}).map(return_when_told, views::iota(0, 4));
    return 0;
}
int three_deep(int) {
    Parallel({.n_jobs = 2}).map(inner_call, views::iota(0, 4));
    return 0;
}

} // namespace

TEST_CASE("a deadline ends calls of every kind with timeout_error", "[deadline]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    const int n_jobs = GENERATE(1, 2);
    const std::size_t kind = GENERATE(range(std::size_t{0}, std::size_t{10}));
    INFO("kind: " << kind);
    try {
        kinds_of_call[kind]({.n_jobs = n_jobs, .deadline = 60ms});
        FAIL("the call must throw");
    } catch (const timeout_error& e) {
        CHECK(e.of_call());
        CHECK(e.limit() == 60ms);
        CHECK(e.index() == timeout_error::no_task);
        CHECK(e.label().empty());
        const std::string text = e.what();
        CHECK(text.find("deadline of 0.06 s") != text.npos);
        CHECK(text.find(std::to_string(e.completed()) + " completed") != text.npos);
        CHECK_FALSE(joblot::failed_task(e).has_value());
    }
    CHECK(Parallel({.n_jobs = n_jobs}).map(short_step, views::iota(0, 4)) == std::vector{0, 1, 2, 3});
}

TEST_CASE("a deadline that passes at once lets nothing start and reads nothing", "[deadline]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    JOBLOT_NEEDS(backend.closures);
    const int n_jobs = JOBLOT_FOR_EACH_N_JOBS(backend);
    std::atomic<int> touched{0};
    const auto make = [&touched](int i) {
        ++touched;
        return delayed([&touched](int) { ++touched; })(i);
    };
    const Parallel parallel({.n_jobs = n_jobs, .deadline = 1ns});
    try {
        parallel(views::iota(0, 10) | views::transform(make));
        FAIL("the call must throw");
    } catch (const timeout_error& e) {
        CHECK(e.completed() == 0);
    }
    CHECK(touched == 0);
}

TEST_CASE("a deadline far away changes nothing", "[deadline]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    const int n_jobs = JOBLOT_FOR_EACH_N_JOBS(backend);
    const joblot::time_limit limit = GENERATE(joblot::time_limit{1h}, joblot::time_limit{std::chrono::hours::max()});
    const Parallel parallel({.n_jobs = n_jobs, .deadline = limit});
    for (int round = 0; round != 3; ++round)
        CHECK(parallel.map(short_step, views::iota(0, 8)) == std::vector{0, 1, 2, 3, 4, 5, 6, 7});
    int sum = 0;
    for (const int i : parallel.generator(views::iota(0, 8) | views::transform(delayed(short_step)))) sum += i;
    CHECK(sum == 28);
    CHECK(parallel.outcomes(views::iota(0, 8) | views::transform(delayed(short_step))).size() == 8);
}

TEST_CASE("a call that ends after its deadline was too long, though nobody polled", "[deadline]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    JOBLOT_NEEDS(backend.shared_memory);
    int ended = 0;
    const auto blind = [&ended] {
        std::this_thread::sleep_for(30ms);
        ++ended;
    };
    CHECK_THROWS_AS(Parallel({.n_jobs = 1, .deadline = 5ms})(delayed(blind)()), timeout_error);
    CHECK(ended == 1); // waited for
}

TEST_CASE("a deadline kills tasks that never ask, where they can be killed", "[deadline]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    JOBLOT_NEEDS(backend.can_kill);
    const auto deaf = [](int) {
        for (;;) std::this_thread::sleep_for(1s);
    };
    CHECK_THROWS_AS(Parallel({.n_jobs = 2, .deadline = 100ms})(views::iota(0, 2) | views::transform(delayed(+deaf))),
                    timeout_error);
}

TEST_CASE("a deadline reaches nested calls, and that of a nested call is its task's failure", "[deadline][nested]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    const int n_jobs = GENERATE(1, 2);
    for (const auto outer : {inner_call, three_deep}) {
        try {
            Parallel({.n_jobs = n_jobs, .deadline = 60ms}).map(outer, views::iota(0, 3));
            FAIL("the call must throw");
        } catch (const timeout_error& e) {
            CHECK(e.limit() == 60ms);
        }
    }
    try {
        Parallel({.n_jobs = n_jobs, .deadline = 1h}).map(inner_deadline, views::iota(0, 3));
        FAIL("the call must throw");
    } catch (const timeout_error& e) { // from another process, too
        CHECK(e.of_call());
        CHECK(e.limit() == 20ms);
        CHECK(joblot::failed_task(e).has_value());
    }
    const auto outcomes = Parallel({.n_jobs = n_jobs, .timeout = 1h})
                              .outcomes(views::iota(0, 2) | views::transform(delayed(inner_deadline)));
    REQUIRE(outcomes.size() == 2);
    for (const auto& o : outcomes) CHECK(o.message().find("deadline of 0.02 s") != std::string::npos);
}

TEST_CASE("of a stop, a failure and a deadline the first one counts", "[deadline][stop]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    JOBLOT_NEEDS(backend.shared_memory);
    const int n_jobs = JOBLOT_FOR_EACH_N_JOBS(backend);
    std::stop_source source;
    const auto stop_then_wait = [&source](int) {
        source.request_stop();
        std::this_thread::sleep_for(20ms);
    };
    CHECK_THROWS_AS(Parallel({.n_jobs = n_jobs, .deadline = 10s, .stop = source.get_token()})
                        .map(stop_then_wait, views::iota(0, 3)),
                    joblot::cancelled);
    std::stop_source late;
    const auto wait_then_stop = [&late](int) {
        support::eventually([] { return stop_requested(); });
        late.request_stop();
        throw std::runtime_error("told to stop");
    };
    CHECK_THROWS_AS(
        Parallel({.n_jobs = n_jobs, .deadline = 20ms, .stop = late.get_token()}).map(wait_then_stop, views::iota(0, 3)),
        timeout_error);
    const auto fail_then_wait = [](int) {
        std::this_thread::sleep_for(1ms);
        throw std::runtime_error("its own");
    };
    CHECK_THROWS_AS(Parallel({.n_jobs = n_jobs, .deadline = 30s}).map(fail_then_wait, views::iota(0, 3)),
                    std::runtime_error);
}

TEST_CASE("retries and time limits of tasks end at the deadline", "[deadline][retries][timeout]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    const auto fails = [](int) -> int {
        std::this_thread::sleep_for(5ms);
        throw std::runtime_error("again");
    };
    try {
        Parallel({.n_jobs = 2, .timeout = 1h, .deadline = 60ms, .retries = 1'000'000})(
            views::iota(0, 2) | views::transform(delayed(+fails)));
        FAIL("the call must throw");
    } catch (const timeout_error& e) {
        CHECK(e.limit() == 60ms);
    }
}

TEST_CASE("a deadline fires the tasks' stop tokens", "[deadline]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    JOBLOT_NEEDS(backend.shared_memory);
    const int n_jobs = JOBLOT_FOR_EACH_N_JOBS(backend);
    std::atomic<int> fired{0};
    const auto task = [&fired](int) {
        const std::stop_token token = joblot::this_task::stop_token();
        if (support::eventually([&] { return token.stop_requested(); })) ++fired;
    };
    CHECK_THROWS_AS(Parallel({.n_jobs = n_jobs, .deadline = 20ms}).map(task, views::iota(0, 1)), timeout_error);
    CHECK(fired == 1);
}

TEST_CASE("a deadline that races with the end gives results or timeout_error, nothing else", "[deadline][stress]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    JOBLOT_NEEDS(backend.shared_memory);
    const int n_jobs = GENERATE(1, 2, 4);
    for (int round = 0; round < 100; ++round) {
        std::atomic<int> finished{0};
        const auto task = [&finished](int i) {
            ++finished;
            return i;
        };
        try {
            const auto results = Parallel({.n_jobs = n_jobs, .deadline = std::chrono::microseconds(round * 3 + 1)})(
                views::iota(0, 100) | views::transform(delayed(task)));
            CHECK(results.size() == 100);
        } catch (const timeout_error& e) {
            CHECK(e.completed() == static_cast<std::size_t>(finished.load()));
        }
    }
}
