// SPDX-License-Identifier: BSL-1.0
// options::stop: at every point of a call, from inside and outside of it.

#include "../support/backends.hpp"
#include "../support/events.hpp"
#include "../support/inputs.hpp"
#include "../support/waiting.hpp"

#include <catch2/catch_test_macros.hpp>

#include <algorithm>
#include <atomic>
#include <ranges>
#include <stop_token>
#include <thread>
#include <vector>

namespace {

namespace views = std::views;
using joblot::batch_size_option;
using joblot::cancelled;
using joblot::delayed;
using joblot::Parallel;
using joblot::this_task::stop_requested;

} // namespace

TEST_CASE("a token that fired before the call cancels it before any task or read", "[stop]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    JOBLOT_NEEDS(backend.closures);
    const int n_jobs = JOBLOT_FOR_EACH_N_JOBS(backend);
    std::stop_source source;
    source.request_stop();
    std::atomic<int> touched{0};
    const auto make = [&touched](int i) {
        ++touched;
        return delayed([&touched](int) { ++touched; })(i);
    };
    const Parallel parallel({.n_jobs = n_jobs, .stop = source.get_token()});
    try {
        parallel(views::iota(0, 10) | views::transform(make));
        FAIL("the call must throw");
    } catch (const cancelled& e) {
        CHECK(e.completed() == 0);
    }
    CHECK(touched == 0);
    CHECK_THROWS_AS(parallel(views::iota(0, 10) | views::transform(delayed([](int) {}))), cancelled);
    CHECK_THROWS_AS(parallel(delayed([] { return 1; })()), cancelled);
    CHECK_THROWS_AS(parallel(views::iota(0, 0) | views::transform(delayed([](int) {}))), cancelled);
}

TEST_CASE("stop from inside task k, for every k: one worker", "[stop]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    JOBLOT_NEEDS(backend.shared_memory);
    const int k = GENERATE(range(0, 10));
    const batch_size_option batch = GENERATE(batch_size_option{}, batch_size_option{1}, batch_size_option{4});
    std::stop_source source;
    int ran = 0;
    const auto task = [&](int i) {
        ++ran;
        if (i == k) source.request_stop();
        return i;
    };
    try {
        Parallel({.n_jobs = 1, .batch_size = batch, .stop = source.get_token()})(views::iota(0, 10) |
                                                                                 views::transform(delayed(task)));
        FAIL("the call must throw");
    } catch (const cancelled& e) {
        CHECK(e.completed() == static_cast<std::size_t>(k + 1));
    }
    CHECK(ran == k + 1);
}

TEST_CASE("stop from inside task k, for every k: several workers", "[stop]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    JOBLOT_NEEDS(backend.shared_memory);
    const int n_jobs = GENERATE(2, 4);
    const int k = GENERATE(0, 1, 2, 5, 17, 38, 39);
    const batch_size_option batch = GENERATE(batch_size_option{}, batch_size_option{1}, batch_size_option{6});
    std::stop_source source;
    support::overlap running;
    std::atomic<int> started_late{0};
    const auto task = [&](int i) {
        const support::counting inside{running};
        if (i == k) {
            source.request_stop();
            return;
        }
        // whoever started after task k waits for the stop: nobody may start another one after that
        if (i > k && support::eventually([] { return stop_requested(); })) ++started_late;
    };
    try {
        Parallel({.n_jobs = n_jobs, .batch_size = batch, .stop = source.get_token()})(views::iota(0, 40) |
                                                                                      views::transform(delayed(task)));
        FAIL("the call must throw");
    } catch (const cancelled& e) {
        CHECK(e.completed() == static_cast<std::size_t>(running.left()));
    }
    CHECK(running.inside() == 0);
    CHECK(started_late < n_jobs);
}

TEST_CASE("stop from another thread while tasks run", "[stop]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    JOBLOT_NEEDS(backend.shared_memory);
    const int n_jobs = JOBLOT_FOR_EACH_N_JOBS(backend);
    std::stop_source source;
    support::overlap running;
    std::jthread stopper{[&] {
        support::eventually([&] { return running.entered() > 0; });
        source.request_stop();
    }};
    const auto task = [&](int) {
        const support::counting inside{running};
        support::eventually([] { return stop_requested(); });
    };
    try {
        Parallel({.n_jobs = n_jobs, .stop = source.get_token()})(views::iota(0, 1000) |
                                                                 views::transform(delayed(task)));
        FAIL("the call must throw");
    } catch (const cancelled& e) {
        CHECK(e.completed() == static_cast<std::size_t>(running.left()));
    }
    CHECK(running.inside() == 0);
    CHECK(running.entered() <= joblot::effective_n_jobs(n_jobs));
}

TEST_CASE("stop from the input range and from the progress callback", "[stop]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    JOBLOT_NEEDS(backend.closures);
    const int n_jobs = JOBLOT_FOR_EACH_N_JOBS(backend);
    std::stop_source source;
    std::atomic<int> reads{0};
    const auto make = [&](int i) {
        ++reads;
        if (i == 10) source.request_stop();
        return delayed([](int k) { return k; })(i);
    };
    CHECK_THROWS_AS(Parallel({.n_jobs = n_jobs, .batch_size = 1, .stop = source.get_token()})(views::iota(0, 1000) |
                                                                                              views::transform(make)),
                    cancelled);
    CHECK(reads < 1000);
    std::stop_source by_callback;
    const auto stop_soon = [&](const joblot::progress_event& e) {
        if (e.done >= 3) by_callback.request_stop();
    };
    CHECK_THROWS_AS(
        Parallel({.n_jobs = n_jobs, .progress = stop_soon, .batch_size = 1, .stop = by_callback.get_token()})(
            views::iota(0, 100'000) | views::transform(delayed([](int i) { return i; }))),
        cancelled);
}

TEST_CASE("a failure recorded before the stop wins; a stop before the failure wins too", "[stop][errors]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    JOBLOT_NEEDS(backend.shared_memory);
    const int n_jobs = JOBLOT_FOR_EACH_N_JOBS(backend);
    std::stop_source after;
    const auto fail_first = [&](int i) {
        if (i == 0) throw 7;
        support::eventually([] { return stop_requested(); }); // the failure has been recorded
        after.request_stop();
    };
    CHECK_THROWS_AS(Parallel({.n_jobs = n_jobs, .batch_size = 1, .stop = after.get_token()})(
                        views::iota(0, 4) | views::transform(delayed(fail_first))),
                    int);
    std::stop_source before;
    const auto stop_first = [&](int i) {
        if (i > 0) return;
        before.request_stop();
        throw 7;
    };
    CHECK_THROWS_AS(Parallel({.n_jobs = n_jobs, .batch_size = 1, .stop = before.get_token()})(
                        views::iota(0, 4) | views::transform(delayed(stop_first))),
                    cancelled);
}

TEST_CASE("a stop after the call has returned touches nothing", "[stop]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    const int n_jobs = JOBLOT_FOR_EACH_N_JOBS(backend);
    std::stop_source source;
    {
        const Parallel parallel({.n_jobs = n_jobs, .stop = source.get_token()});
        for (int round = 0; round < 50; ++round)
            CHECK(parallel(views::iota(0, 3) | views::transform(delayed([](int i) { return i; }))) ==
                  std::vector{0, 1, 2});
    }
    CHECK(source.request_stop());
}

TEST_CASE("a stop that races with the end of the call gives results or cancelled, nothing else", "[stop][stress]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    JOBLOT_NEEDS(backend.shared_memory);
    const int n_jobs = GENERATE(1, 2, 4);
    for (int round = 0; round < 100; ++round) {
        std::stop_source source;
        std::atomic<int> finished{0};
        std::jthread stopper{[&] {
            while (finished < round) std::this_thread::yield();
            source.request_stop();
        }};
        try {
            const auto results = Parallel({.n_jobs = n_jobs, .stop = source.get_token()})(
                views::iota(0, 100) | views::transform(delayed([&](int i) {
                    ++finished;
                    return i;
                })));
            CHECK(std::ranges::equal(results, views::iota(0, 100)));
        } catch (const cancelled& e) {
            CHECK(e.completed() == static_cast<std::size_t>(finished.load()));
        }
        finished = 1000;
    }
}

TEST_CASE("[J33] a signal handler's stop source ends a call", "[stop]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    JOBLOT_NEEDS(backend.shared_memory);
    const int n_jobs = JOBLOT_FOR_EACH_N_JOBS(backend);
    std::stop_source source;
    const Parallel parallel({.n_jobs = n_jobs, .stop = source.get_token()});
    const auto until_stopped = [&](int i) {
        if (i == 0) source.request_stop();
        support::eventually([] { return stop_requested(); });
    };
    CHECK_THROWS_AS(parallel(views::iota(0, 100) | views::transform(delayed(until_stopped))), cancelled);
    const Parallel again({.n_jobs = n_jobs});
    CHECK(std::ranges::equal(again(views::iota(0, 10) | views::transform(delayed([](int i) { return i; }))),
                             views::iota(0, 10)));
}

TEST_CASE("generators throw cancelled when the token fires", "[stop][generator]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    JOBLOT_NEEDS(backend.closures);
    const int n_jobs = JOBLOT_FOR_EACH_N_JOBS(backend);
    const int k = GENERATE(0, 1, 5);
    std::stop_source source;
    const Parallel parallel({.n_jobs = n_jobs, .stop = source.get_token()});
    const auto read_all = [&](auto generator) {
        int read = 0;
        if (k == 0) source.request_stop();
        for ([[maybe_unused]] auto&& value : generator)
            if (++read == k) source.request_stop();
    };
    const auto tasks = views::iota(0, 100'000) | views::transform(delayed([](int i) { return i; }));
    CHECK_THROWS_AS(read_all(parallel.generator(tasks)), cancelled);
    source = std::stop_source{};
    CHECK_THROWS_AS(
        [&] {
            const Parallel fresh({.n_jobs = n_jobs, .stop = source.get_token()});
            read_all(fresh.generator_unordered(tasks));
        }(),
        cancelled);
}
