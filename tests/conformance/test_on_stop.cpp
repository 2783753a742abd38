// SPDX-License-Identifier: BSL-1.0
// options::on_stop = keep: outcomes of a call that was stopped, on every backend.

#include "../support/backends.hpp"
#include "../support/waiting.hpp"

#include <catch2/catch_test_macros.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <list>
#include <memory>
#include <ranges>
#include <sstream>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <thread>
#include <vector>

namespace {

namespace views = std::views;
using namespace std::chrono_literals;
using joblot::cancelled;
using joblot::delayed;
using joblot::keep;
using joblot::Parallel;

constexpr int quick_ones = 6;

// The first tasks end at once, the others wait for the stop; `3` fails on its own.
int some_wait(int i) {
    if (i == 3) throw std::runtime_error("its own failure");
    if (i >= quick_ones) support::eventually([] { return joblot::this_task::stop_requested(); });
    if (i >= quick_ones) throw std::runtime_error("because it was told");
    return 10 * i;
}

template <class R>
bool is_cancelled(const joblot::outcome<R>& o) {
    if (o.has_value()) return false;
    try {
        std::rethrow_exception(o.error());
    } catch (const cancelled&) {
        return true;
    } catch (...) {
        return false;
    }
}

template <class R>
void check_left(const joblot::outcome<R>& o, std::size_t index, const std::string& label) {
    INFO("task " << index << ": " << o.message());
    CHECK(is_cancelled(o));
    CHECK(o.index() == index);
    CHECK(o.label() == label);
    CHECK(o.tries() == 0);
    CHECK(o.message().find("was cancelled") != std::string::npos);
    const auto task = joblot::failed_task(o.error());
    REQUIRE(task.has_value());
    CHECK(task->index == index);
}

// What the call above leaves when it is stopped after all that is quick has ended: one outcome for each task.
void check_kept(const std::vector<joblot::outcome<int>>& all, std::size_t n, const std::string& label) {
    REQUIRE(all.size() == n);
    for (std::size_t i = 0; i != n; ++i) {
        const auto& o = all[i];
        INFO("task " << i << ": " << o.message());
        CHECK(o.index() == i);
        if (i == 3) {
            CHECK(o.message() == "its own failure");
            CHECK(o.tries() == 1);
        } else if (i < quick_ones) {
            CHECK((o.has_value() && o.value() == 10 * static_cast<int>(i)));
        } else {
            check_left(o, i, label);
        }
    }
}

auto labelled(int n) { return views::iota(0, n) | views::transform(delayed(some_wait, "sweep")); }

// Fires when so many tasks have ended, as the progress of the call tells.
struct stop_after {
    std::size_t done;
    std::stop_source source{};
    void operator()(const joblot::progress_event& e) const {
        if (e.done >= done) std::stop_source(source).request_stop();
    }
};

} // namespace

TEST_CASE("after a stop outcomes has what is there, and the rest is cancelled", "[keep][stop]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    const int n_jobs = JOBLOT_FOR_EACH_N_JOBS(backend);
    const stop_after trigger{quick_ones};
    const auto all = Parallel({.n_jobs = n_jobs,
                               .progress = trigger,
                               .batch_size = 1, // or progress would wait for a batch
                               .stop = trigger.source.get_token(),
                               .on_stop = keep})
                         .outcomes(labelled(40));
    check_kept(all, 40, "sweep");
}

TEST_CASE("after a deadline likewise", "[keep][deadline]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    const int n_jobs = JOBLOT_FOR_EACH_N_JOBS(backend);
    // The quick ones must be through by then, even on a machine that stalls: try again with more time.
    std::vector<joblot::outcome<int>> all;
    for (auto limit = 200ms; limit <= 30s; limit *= 3) {
        all = Parallel({.n_jobs = n_jobs, .deadline = limit, .on_stop = keep}).outcomes(labelled(40));
        if (std::ranges::count_if(all, is_cancelled<int>) == 40 - quick_ones) break;
    }
    check_kept(all, 40, "sweep");
}

TEST_CASE("batches that are stopped in the middle lose nothing that ended", "[keep][stop]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    const int batch = GENERATE(1, 7, 40);
    const stop_after trigger{quick_ones};
    const auto all = Parallel({.n_jobs = 1,
                               .progress = trigger,
                               .batch_size = batch,
                               .stop = trigger.source.get_token(),
                               .on_stop = keep})
                         .outcomes(labelled(40));
    check_kept(all, 40, "sweep");
}

TEST_CASE("inputs that are read one by one: sized ones to their end, others as far as they were read", "[keep][stop]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    const int n_jobs = JOBLOT_FOR_EACH_N_JOBS(backend);
    const bool everything = GENERATE(false, true);
    const auto ahead = everything ? joblot::pre_dispatch_option{joblot::everything} : joblot::pre_dispatch_option{12};
    const auto run = [&](auto&& range) {
        const stop_after trigger{quick_ones};
        return Parallel({.n_jobs = n_jobs,
                         .progress = trigger,
                         .batch_size = 1,
                         .pre_dispatch = ahead,
                         .stop = trigger.source.get_token(),
                         .on_stop = keep})
            .outcomes(std::forward<decltype(range)>(range));
    };
    std::list<int> numbers;
    for (int i = 0; i != 40; ++i) numbers.push_back(i);
    const auto sized = run(numbers | views::transform(delayed(some_wait, "sweep")));
    REQUIRE(sized.size() == 40);
    for (std::size_t i = quick_ones; i != 40; ++i) {
        CHECK(is_cancelled(sized[i]));
        CHECK(sized[i].index() == i);
        CHECK(sized[i].tries() == 0);
        CHECK((sized[i].label() == "sweep" || (!everything && sized[i].label().empty()))); // "": was never read
    }
    for (std::size_t i = 0; i != quick_ones; ++i) CHECK(sized[i].has_value() == (i != 3));

    std::istringstream text("0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29");
    auto unsized = run(views::istream<int>(text) | views::transform(delayed(some_wait, "sweep")));
    CHECK(unsized.size() >= quick_ones);
    CHECK(unsized.size() <= 30);
    if (everything) CHECK(unsized.size() == 30);
    check_kept(unsized, unsized.size(), "sweep");
}

TEST_CASE("a stop before the call leaves all tasks, and reads no input", "[keep][stop]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    const int n_jobs = JOBLOT_FOR_EACH_N_JOBS(backend);
    std::stop_source source;
    source.request_stop();
    const Parallel parallel({.n_jobs = n_jobs, .stop = source.get_token(), .on_stop = keep});
    const auto all = parallel.outcomes(labelled(10));
    REQUIRE(all.size() == 10);
    for (std::size_t i = 0; i != 10; ++i) check_left(all[i], i, "sweep");
    std::atomic<int> touched{0};
    std::list<int> numbers{1, 2, 3};
    const auto make = [&touched](int i) {
        ++touched;
        return delayed(some_wait)(i);
    };
    CHECK(parallel.outcomes(numbers | views::transform(make)).size() == 3);
    CHECK(touched == 0);
    CHECK(parallel.outcomes(labelled(0)).empty());
    CHECK(Parallel({.n_jobs = n_jobs, .deadline = 1ns, .on_stop = keep}).outcomes(labelled(5)).size() == 5);
}

TEST_CASE("a call that is not stopped gives what it gives without the option", "[keep]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    const int n_jobs = JOBLOT_FOR_EACH_N_JOBS(backend);
    std::stop_source source;
    const auto all = Parallel({.n_jobs = n_jobs, .deadline = 1h, .stop = source.get_token(), .on_stop = keep})
                         .outcomes(labelled(quick_ones));
    check_kept(all, quick_ones, "sweep");
}

TEST_CASE("kept outcomes with time limits and retries of tasks", "[keep][timeout][retries]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    const auto task = [](int i) {
        if (i == 1) throw std::runtime_error("each time");
        if (i == 2 || i > 3) support::eventually([] { return false; }); // until its worker is killed
        return i;
    };
    const auto polls = [](int i) {
        if (i == 1) throw std::runtime_error("each time");
        if (i == 2 || i > 3) support::eventually([] { return joblot::this_task::stop_requested(); });
        if (i > 3) throw std::runtime_error("told");
        return i;
    };
    const auto function = backend.can_kill ? +task : +polls;
    const stop_after trigger{4};
    const auto all = Parallel({.n_jobs = 1,
                               .progress = trigger,
                               .batch_size = 1,
                               .timeout = 500ms,
                               .retries = 1,
                               .stop = trigger.source.get_token(),
                               .on_stop = keep})
                         .outcomes(views::iota(0, 8) | views::transform(delayed(function, "tried")));
    REQUIRE(all.size() == 8);
    std::size_t ended = 0;
    for (std::size_t i = 0; i != 8; ++i) {
        if (is_cancelled(all[i])) {
            check_left(all[i], i, "tried");
            if (backend.in_order) CHECK(i > 3);
            continue;
        }
        ++ended;
        INFO("task " << i << ": " << all[i].message());
        if (i == 1) CHECK(all[i].message() == "each time");
        if (i == 2 || i > 3) CHECK_THROWS_AS(all[i].value(), joblot::timeout_error);
        CHECK(all[i].has_value() == (i == 0 || i == 3));
        CHECK(all[i].tries() == (all[i].has_value() ? 1 : 2));
    }
    CHECK(ended >= 4);
    if (backend.in_order) CHECK(ended == 4);
}

TEST_CASE("kept outcomes of void and of move-only tasks, and of tasks that are ours to move", "[keep][stop]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    JOBLOT_NEEDS(backend.shared_memory);
    const int n_jobs = JOBLOT_FOR_EACH_N_JOBS(backend);
    std::stop_source source;
    const Parallel parallel({.n_jobs = n_jobs, .batch_size = 1, .stop = source.get_token(), .on_stop = keep});
    const auto boxed = [&source](std::unique_ptr<int> p) {
        if (*p == 0) source.request_stop();
        return p;
    };
    std::vector<decltype(delayed(boxed, "box")(std::make_unique<int>(0)))> tasks;
    for (int i = 0; i != 20; ++i) tasks.push_back(delayed(boxed, "box")(std::make_unique<int>(i)));
    auto boxes = parallel.outcomes(std::move(tasks));
    REQUIRE(boxes.size() == 20);
    for (std::size_t i = 0; i != 20; ++i) {
        CHECK(boxes[i].index() == i);
        if (boxes[i])
            CHECK(*boxes[i].value() == static_cast<int>(i));
        else
            check_left(boxes[i], i, "box");
    }
    CHECK(boxes[0].has_value());
    const auto voids = parallel.outcomes(views::iota(0, 3) | views::transform(delayed([](int) {}, "nothing")));
    REQUIRE(voids.size() == 3);
    for (std::size_t i = 0; i != 3; ++i) check_left(voids[i], i, "nothing");
    CHECK_THROWS_AS(voids[0].value(), cancelled);
}

TEST_CASE("a call in a task keeps what is there when the outer call is stopped", "[keep][nested]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    JOBLOT_NEEDS(backend.shared_memory);
    std::stop_source source;
    std::atomic<int> kept{0};
    const auto outer = [&](int) {
        const auto all = Parallel({.n_jobs = 1, .on_stop = keep}).outcomes(labelled(20));
        for (const auto& o : all) kept += o.has_value();
        return all.size();
    };
    std::jthread stopper{[&] {
        std::this_thread::sleep_for(50ms);
        source.request_stop();
    }};
    CHECK_THROWS_AS(Parallel({.n_jobs = 2, .stop = source.get_token()}).map(outer, views::iota(0, 1)), cancelled);
    CHECK(kept <= quick_ones - 1);
}

TEST_CASE("an input that throws before the stop is the call's error all the same", "[keep][errors]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    const int n_jobs = JOBLOT_FOR_EACH_N_JOBS(backend);
    std::list<int> numbers{0, 1, 2};
    const auto make = [](int i) {
        if (i == 2) throw std::runtime_error("cannot be read");
        return delayed(some_wait)(i);
    };
    CHECK_THROWS_AS(Parallel({.n_jobs = n_jobs, .on_stop = keep}).outcomes(numbers | views::transform(make)),
                    std::runtime_error);
}

TEST_CASE("on_stop = keep is refused where there is no place for what is not there", "[keep]") {
    const Parallel parallel({.on_stop = keep});
    const auto refused = [](auto call) {
        try {
            call();
        } catch (const std::invalid_argument& e) {
            const std::string text = e.what();
            return text.find("on_stop = keep") != text.npos && text.find("outcomes") != text.npos;
        }
        return false;
    };
    CHECK(refused([&] { parallel(labelled(3)); }));
    CHECK(refused([&] { parallel.map(some_wait, views::iota(0, 3)); }));
    CHECK(refused([&] { parallel.map([](int) {}, views::iota(0, 3)); }));
    CHECK(refused([&] { parallel(delayed(some_wait)(0), delayed(some_wait)(1)); }));
    CHECK(refused([&] { (void)parallel.generator(labelled(3)); }));
    CHECK(refused([&] { (void)parallel.generator_unordered(labelled(3)); }));
    CHECK(refused([&] { (void)parallel.persist(labelled(3)); }));
}
