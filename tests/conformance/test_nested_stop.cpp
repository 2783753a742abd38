// SPDX-License-Identifier: BSL-1.0
// Stops, failures and time limits reach the tasks of nested calls, through all levels; this_task::stop_token().

#include "../support/backends.hpp"
#include "../support/waiting.hpp"

#include <catch2/catch_test_macros.hpp>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <optional>
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
using joblot::this_task::stop_requested;

using rendering = int (*)(int);

// Heeds requests. Without one, a call of very many of them does not end before the test's watchdog.
int step(int i) {
    if (!stop_requested()) std::this_thread::sleep_for(10ms);
    return i;
}
constexpr int very_many = 100'000;

int plain_call(int) {
    Parallel{}.map(step, views::iota(0, very_many));
    return 0;
}
int single_call(int) {
    Parallel({.n_jobs = 1}).map(step, views::iota(0, very_many));
    return 0;
}
int sequential_call(int) {
    Parallel({.backend = joblot::sequential{}}).map(step, views::iota(0, very_many));
    return 0;
}
int outcomes_call(int) {
    return static_cast<int>(Parallel{}.outcomes(views::iota(0, very_many) | views::transform(delayed(step))).size());
}
int unsized_call(int) {
    Parallel{}(views::iota(0) | views::take_while([](int i) { return i < very_many; }) |
               views::transform(delayed(step)));
    return 0;
}
int reader(int) {
    int sum = 0;
    for (const int i : Parallel{}.generator(views::iota(0) | views::transform(delayed(step)))) sum += i & 1;
    return sum;
}
int unordered_reader(int) {
    std::size_t sum = 0;
    for (const auto& one : Parallel{}.generator_unordered(views::iota(0) | views::transform(delayed(step))))
        sum += one.index & 1;
    return static_cast<int>(sum);
}
int wait_for_stop(int) {
    support::eventually([] { return stop_requested(); });
    return 0;
}
// Its reader is blocked until the stop reaches the task that it waits for.
int blocked_reader(int) {
    int sum = 0;
    for (const int i : Parallel{}.generator(views::iota(0, 4) | views::transform(delayed(wait_for_stop)))) sum += i;
    return sum;
}
int three_levels(int) {
    Parallel({.batch_size = 1}).map(plain_call, views::iota(0, 100));
    return 0;
}
int four_levels(int) {
    Parallel({.n_jobs = 1}).map(three_levels, views::iota(0, 100));
    return 0;
}
// Blocks on the token, as other libraries do.
int wait_for_token(int) {
    std::mutex mutex;
    std::condition_variable_any changed;
    std::unique_lock lock{mutex};
    changed.wait_for(lock, joblot::this_task::stop_token(), support::patience, [] { return false; });
    return joblot::this_task::stop_token().stop_requested() ? 1 : 0;
}
int wait_for_tokens_below(int) {
    for (const int told : Parallel({.batch_size = 1}).map(wait_for_token, views::iota(0, 4)))
        if (told == 0) return 0;
    return 1;
}

const std::vector<rendering> all_kinds{plain_call,   single_call, sequential_call,  outcomes_call,
                                       unsized_call, reader,      unordered_reader, blocked_reader,
                                       three_levels, four_levels, wait_for_token,   wait_for_tokens_below};

} // namespace

TEST_CASE("a time limit reaches the tasks of nested calls of every kind", "[nested][timeout]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    const std::size_t kind = GENERATE(range(std::size_t{0}, std::size_t{12}));
    INFO("kind: " << kind);
    CHECK_THROWS_AS(Parallel({.n_jobs = 2, .timeout = 50ms}).map(all_kinds[kind], views::iota(0, 2)),
                    joblot::timeout_error);
}

TEST_CASE("a stop reaches the tasks of nested calls of every kind", "[nested][stop]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    const std::size_t kind = GENERATE(range(std::size_t{0}, std::size_t{12}));
    INFO("kind: " << kind);
    std::stop_source source;
    std::jthread stopper{[&] {
        std::this_thread::sleep_for(20ms);
        source.request_stop();
    }};
    CHECK_THROWS_AS(Parallel({.n_jobs = 2, .stop = source.get_token()}).map(all_kinds[kind], views::iota(0, 2)),
                    joblot::cancelled);
}

TEST_CASE("a failure reaches the tasks of nested calls of siblings, and is what the call throws", "[nested][errors]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    JOBLOT_NEEDS(backend.shared_memory && backend.parallel);
    const std::size_t kind = GENERATE(range(std::size_t{0}, std::size_t{12}));
    INFO("kind: " << kind);
    support::meeting_point both{2}; // else the endless call below might get the only helper
    // The task that fails has a higher index than the one whose nested call is cancelled because of it.
    const auto task = [&both, kind](int i) {
        both.arrive_and_wait();
        if (i == 0) return all_kinds[kind](i);
        std::this_thread::sleep_for(20ms);
        throw std::runtime_error("its own cause");
    };
    try {
        Parallel({.n_jobs = 2, .batch_size = 1}).map(task, views::iota(0, 2));
        FAIL("the call must throw");
    } catch (const std::runtime_error& e) {
        CHECK(e.what() == std::string("its own cause"));
    }
}

TEST_CASE("a dropped generator stops the calls of its tasks", "[nested][generator]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    JOBLOT_NEEDS(backend.closures);
    const auto task = [](int i) { return i == 0 ? 0 : three_levels(i); };
    auto generator =
        Parallel({.n_jobs = 2, .batch_size = 1}).generator(views::iota(0) | views::transform(delayed(task)));
    CHECK(*generator.begin() == 0);
}

TEST_CASE("what a nested call throws then is cancelled", "[nested][stop]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    JOBLOT_NEEDS(backend.shared_memory);
    std::atomic<int> cancelled{0}, others{0};
    const auto task = [&](int i) {
        try {
            plain_call(i);
        } catch (const joblot::cancelled&) {
            ++cancelled;
        } catch (...) {
            ++others;
        }
    };
    CHECK_THROWS_AS(Parallel({.n_jobs = 1, .timeout = 20ms}).map(task, views::iota(0, 1)), joblot::timeout_error);
    CHECK(cancelled == 1);
    CHECK(others == 0);
    // with outcomes the time limit is the outcome of its task, and the next task has a token of its own
    const auto each =
        Parallel({.n_jobs = 1, .timeout = 20ms}).outcomes(views::iota(0, 3) | views::transform(delayed(task)));
    CHECK(cancelled == 4);
    for (const auto& o : each) CHECK_THROWS_AS(o.value(), joblot::timeout_error);
}

TEST_CASE("each attempt of a task has a time limit, and a token, of its own", "[nested][retries]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    JOBLOT_NEEDS(backend.shared_memory);
    std::atomic<int> attempts{0}, told_early{0};
    const auto task = [&](int) {
        const std::stop_token token = joblot::this_task::stop_token();
        if (token.stop_requested()) ++told_early;
        if (++attempts < 3) support::eventually([&] { return token.stop_requested(); });
    };
    Parallel({.n_jobs = 1, .timeout = 500ms, .retries = 5}).map(task, views::iota(0, 1));
    CHECK(attempts >= 3);
    CHECK(told_early == 0);
}

TEST_CASE("the token of a task that has ended does not fire any more", "[nested][stop]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    JOBLOT_NEEDS(backend.shared_memory);
    std::stop_token kept;
    const auto task = [&](int i) {
        if (i == 0) kept = joblot::this_task::stop_token();
        if (i == 1) CHECK(joblot::this_task::stop_token() != kept);
        if (i == 2) throw 7;
    };
    CHECK_THROWS_AS(Parallel({.n_jobs = 1}).map(task, views::iota(0, 3)), int);
    CHECK_FALSE(kept.stop_requested());
}

TEST_CASE("outside of tasks the token never fires", "[nested][stop]") {
    CHECK_FALSE(joblot::this_task::stop_token().stop_possible());
}

TEST_CASE("tokens that are asked for while the call is stopped all fire", "[nested][stop][stress]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    JOBLOT_NEEDS(backend.shared_memory && backend.parallel);
    for (int round = 0; round < 50; ++round) {
        std::stop_source source;
        std::atomic<int> entered{0}, told{0}, asked{0};
        std::jthread stopper{[&] {
            while (entered < 1) std::this_thread::yield();
            source.request_stop();
        }};
        const auto task = [&](int) {
            ++entered;
            const std::stop_token token = joblot::this_task::stop_token();
            ++asked;
            const std::stop_callback count(token, [&] { ++told; });
            support::eventually([&] { return token.stop_requested(); });
        };
        CHECK_THROWS_AS(
            Parallel({.n_jobs = 4, .batch_size = 1, .stop = source.get_token()}).map(task, views::iota(0, 100)),
            joblot::cancelled);
        CHECK(told == asked);
    }
}

TEST_CASE("a callback of the token may make calls", "[nested][stop]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    JOBLOT_NEEDS(backend.shared_memory && backend.parallel);
    std::atomic<int> sum{0};
    support::meeting_point both{2};
    const auto task = [&](int i) {
        const std::stop_callback react(joblot::this_task::stop_token(), [&] {
            for (const int k :
                 Parallel({.n_jobs = 2, .backend = joblot::threads{}}).map([](int n) { return n; }, views::iota(0, 4)))
                sum += k;
        });
        both.arrive_and_wait();
        if (i == 1) throw 7;
        support::eventually([&] { return sum >= 6; }); // a task that is told may be over before its token fires
    };
    CHECK_THROWS_AS(Parallel({.n_jobs = 2, .batch_size = 1}).map(task, views::iota(0, 2)), int);
    CHECK(sum >= 6);
}
