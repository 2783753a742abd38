// SPDX-License-Identifier: BSL-1.0
// Nothing outlives its call: tasks, arguments, closures and results are destroyed once, in time, also when their
// copies and moves throw.

#include "../support/backends.hpp"
#include "../support/events.hpp"
#include "../support/sanitizers.hpp"
#include "../support/tracked.hpp"
#include "../support/waiting.hpp"

#include <catch2/catch_test_macros.hpp>

#include <algorithm>
#include <atomic>
#include <memory>
#include <ranges>
#include <stdexcept>
#include <thread>
#include <vector>

namespace {

namespace views = std::views;
using joblot::delayed;
using joblot::Parallel;
using support::copy_failed;
using support::move_failed;
using support::tracked;

tracked next(const tracked& t) { return tracked{t.value() + 1}; }
auto make(int i) { return delayed(next)(tracked{i}); }
auto pipeline(int n) { return views::iota(0, n) | views::transform(make); }

bool counts_up(const std::vector<tracked>& results) {
    for (int i = 0; const tracked& t : results)
        if (t.value() != ++i) return false;
    return true;
}

// Calls `call` with the k-th copy or move made to fail, for every k until none is left to fail.
template <class Call>
void fail_each(bool copies, Call call) {
    constexpr int enough = 2000;
    for (int k = 1; k < enough; ++k) {
        support::lifetime_check lifetime;
        bool right = false;
        bool failed = false;
        copies ? lifetime.fail_copy(k) : lifetime.fail_move(k);
        try {
            right = call();
        } catch (const copy_failed&) {
            failed = true;
        } catch (const move_failed&) {
            failed = true;
        }
        const bool reached = (copies ? support::counters.copies_to_failure : support::counters.moves_to_failure) <= 0;
        lifetime.fail_nothing();
        INFO((copies ? "copy " : "move ") << k);
        REQUIRE(lifetime.balanced());
        REQUIRE(right != failed);
        if (!reached) return; // fewer than k happen in the whole call
        CHECK(failed);
    }
    FAIL("the call makes too many copies or moves");
}

} // namespace

TEST_CASE("everything that a call makes is destroyed exactly once", "[lifetime]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    JOBLOT_NEEDS(backend.shared_memory);
    const int n_jobs = JOBLOT_FOR_EACH_N_JOBS(backend);
    const joblot::batch_size_option batch = GENERATE(joblot::batch_size_option{}, joblot::batch_size_option{7});
    const Parallel parallel({.n_jobs = n_jobs, .batch_size = batch});
    support::lifetime_check lifetime;
    {
        const auto results = parallel(pipeline(100));
        CHECK(counts_up(results));
        CHECK(lifetime.live() == 100); // the results alone: tasks and arguments are gone
    }
    CHECK(lifetime.balanced());
    {
        std::vector<decltype(make(0))> tasks;
        for (int i = 0; i < 50; ++i) tasks.push_back(make(i));
        CHECK(counts_up(parallel(tasks)));
        CHECK(lifetime.live() == 50);
        CHECK(counts_up(parallel(tasks)));
        CHECK(counts_up(parallel(std::move(tasks))));
    }
    CHECK(lifetime.balanced());
    {
        const auto outcomes = parallel.outcomes(pipeline(50));
        CHECK(lifetime.live() == 50);
    }
    {
        auto [a, b] = parallel(make(1), make(2));
        CHECK(lifetime.live() == 2);
    }
    for (auto&& t : parallel.generator(pipeline(50))) CHECK(t.value() > 0);
    for (auto&& [index, t] : parallel.generator_unordered(pipeline(50)))
        CHECK(t.value() == static_cast<int>(index) + 1);
    CHECK(lifetime.balanced());
}

TEST_CASE("results and rvalue tasks are moved, never copied", "[lifetime]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    JOBLOT_NEEDS(backend.shared_memory);
    const Parallel parallel({.n_jobs = JOBLOT_FOR_EACH_N_JOBS(backend)});
    std::vector<decltype(make(0))> tasks;
    for (int i = 0; i < 50; ++i) tasks.push_back(make(i));
    support::lifetime_check lifetime;
    // the vector of tasks was filled before the check: only copies count here
    CHECK(counts_up(parallel(std::move(tasks))));
    CHECK(counts_up(parallel(pipeline(50))));
    for (auto&& t : parallel.generator(pipeline(50))) CHECK(t.value() > 0);
    CHECK(lifetime.copies() == 0);
}

TEST_CASE("a copy or move constructor that throws, at every point of a call", "[lifetime][errors]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    JOBLOT_NEEDS(backend.shared_memory);
    const int n_jobs = GENERATE(1, 2);
    const bool copies = GENERATE(true, false);
    const Parallel parallel({.n_jobs = n_jobs});
    constexpr int n = 6;
    SECTION("a pipeline") {
        fail_each(copies, [&] { return counts_up(parallel(pipeline(n))); });
    }
    SECTION("a vector of tasks that is kept") {
        fail_each(copies, [&] {
            std::vector<decltype(make(0))> tasks;
            for (int i = 0; i < n; ++i) tasks.push_back(make(i));
            return counts_up(parallel(tasks));
        });
    }
    SECTION("a generator") {
        fail_each(copies, [&] {
            bool right = true;
            for (int i = 0; auto&& t : parallel.generator(pipeline(n))) right &= t.value() == ++i;
            return right;
        });
    }
    SECTION("a tuple") {
        fail_each(copies, [&] {
            auto [a, b, c] = parallel(make(1), make(2), make(3));
            return a.value() == 2 && b.value() == 3 && c.value() == 4;
        });
    }
    SECTION("arguments taken by value, with retries") {
        const auto by_value = [](tracked t) { return t.value(); };
        const Parallel careful({.n_jobs = n_jobs, .retries = 1});
        // a failed attempt is tried again, so that a single failure in a task is not seen by the caller
        constexpr int enough = 200;
        for (int k = 1; k < enough; ++k) {
            support::lifetime_check lifetime;
            copies ? lifetime.fail_copy(k) : lifetime.fail_move(k);
            try {
                careful(views::iota(0, n) | views::transform([&](int i) { return delayed(by_value)(tracked{i}); }));
            } catch (const copy_failed&) {
            } catch (const move_failed&) {
            }
            lifetime.fail_nothing();
            REQUIRE(lifetime.balanced());
        }
    }
}

TEST_CASE("a copy or move that throws while outcomes are made does not upset the others", "[lifetime][outcomes]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    JOBLOT_NEEDS(backend.shared_memory);
    const Parallel parallel({.n_jobs = GENERATE(1, 2)});
    const bool copies = GENERATE(true, false);
    for (int k = 1; k < 80; ++k) {
        support::lifetime_check lifetime;
        copies ? lifetime.fail_copy(k) : lifetime.fail_move(k);
        try {
            const auto outcomes = parallel.outcomes(pipeline(6));
            lifetime.fail_nothing();
            CHECK(outcomes.size() == 6);
        } catch (const copy_failed&) {
        } catch (const move_failed&) {
        }
        lifetime.fail_nothing();
        REQUIRE(lifetime.balanced());
    }
}

TEST_CASE("after the call nobody holds the function or the arguments any more", "[lifetime]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    JOBLOT_NEEDS(backend.closures);
    const Parallel parallel({.n_jobs = JOBLOT_FOR_EACH_N_JOBS(backend)});
    const auto shared = std::make_shared<int>(1);
    int held = 0;
    for (int round = 0; round < support::rounds(backend.shared_memory ? 100 : 20); ++round) { // the others fork
        parallel(views::iota(0, 20) | views::transform(delayed([shared](int i) { return *shared + i; })));
        held += shared.use_count() != 1;
        parallel(views::iota(0, 20) | views::transform([&shared](int) {
                     return delayed([](const std::shared_ptr<int>& p) { return *p; })(shared);
                 }));
        held += shared.use_count() != 1;
        for ([[maybe_unused]] auto&& value : parallel.generator(
                 views::iota(0, 20) | views::transform(delayed([shared](int i) { return *shared + i; }))))
            break;
        held += shared.use_count() != 1;
    }
    CHECK(held == 0);
}

TEST_CASE("an exception does not keep the tasks alive, and dies with its last handle", "[lifetime][errors]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    JOBLOT_NEEDS(backend.closures);
    const Parallel parallel({.n_jobs = JOBLOT_FOR_EACH_N_JOBS(backend)});
    const auto shared = std::make_shared<int>(1);
    int held = 0;
    for (int round = 0; round < support::rounds(100); ++round) {
        try {
            parallel(views::iota(0, 20) | views::transform(delayed([shared](int) { throw 1; })));
        } catch (int) {
            held += shared.use_count() != 1;
        }
    }
    CHECK(held == 0);
}

TEST_CASE("no task runs after the call has returned", "[lifetime]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    JOBLOT_NEEDS(backend.shared_memory);
    const int n_jobs = JOBLOT_FOR_EACH_N_JOBS(backend);
    const int how = GENERATE(0, 1, 2, 3); // returns, fails, is cancelled, is dropped
    for (int round = 0; round < support::rounds(100); ++round) {
        support::overlap running; // on the stack: a late task would write to a dead frame
        std::stop_source source;
        const auto task = [&](int i) {
            const support::counting inside{running};
            if (i == 5 && how == 1) throw 1;
            if (i == 5 && how == 2) source.request_stop();
            std::this_thread::yield();
            return i;
        };
        const Parallel parallel({.n_jobs = n_jobs, .stop = source.get_token()});
        const auto tasks = views::iota(0, 50) | views::transform(delayed(task));
        try {
            if (how == 3)
                for ([[maybe_unused]] auto&& value : parallel.generator(tasks)) break;
            else
                parallel(tasks);
        } catch (int) {
        } catch (const joblot::cancelled&) {
        }
        const int entered = running.entered();
        if (running.inside() != 0 || running.left() != entered) FAIL("a task was still running");
        std::this_thread::yield();
        if (running.entered() != entered) FAIL("a task started after the call");
    }
    SUCCEED();
}

TEST_CASE("results that were made before a failure are destroyed", "[lifetime][errors]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    JOBLOT_NEEDS(backend.closures);
    const Parallel parallel({.n_jobs = JOBLOT_FOR_EACH_N_JOBS(backend)});
    const int fails_at = GENERATE(0, 10, 49);
    support::lifetime_check lifetime;
    const auto task = [fails_at](tracked t) {
        if (t.value() == fails_at) throw std::runtime_error{"failed"};
        return t;
    };
    CHECK_THROWS_AS(
        parallel(views::iota(0, 50) | views::transform([&task](int i) { return delayed(task)(tracked{i}); })),
        std::runtime_error);
    CHECK(lifetime.balanced());
}

namespace {

/// Throws when it is moved by a thread other than the one that made the call, as soon as it is told to.
class stays_here {
public:
    struct facts {
        std::thread::id caller = std::this_thread::get_id();
        std::atomic<bool> armed{false}, thrown{false};
    };
    explicit stays_here(facts& f) : facts_(&f) {}
    stays_here(stays_here&& other) : facts_(other.facts_) {
        if (!facts_->armed || std::this_thread::get_id() == facts_->caller) return;
        facts_->thrown = true;
        throw move_failed();
    }
    stays_here& operator=(stays_here&&) = delete;
    ~stays_here() = default;

private:
    facts* facts_;
};

} // namespace

TEST_CASE("a task that cannot be moved by the worker that claims it fails the call", "[lifetime]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    JOBLOT_NEEDS(backend.shared_memory && backend.parallel);
    stays_here::facts facts;
    const auto task = [&facts](int i, const stays_here&) {
        facts.armed = true;
        if (std::this_thread::get_id() == facts.caller) // leaves the others to those who help
            support::eventually([&] { return facts.thrown.load() || joblot::this_task::stop_requested(); });
        return i;
    };
    const auto read = [&](int i) { return delayed(task)(i, stays_here(facts)); };
    const auto one_by_one = views::iota(0, 100) | views::transform([](int i) { return i; });
    CHECK_THROWS_AS(Parallel({.n_jobs = 3, .batch_size = 1, .pre_dispatch = joblot::everything})(
                        one_by_one | views::transform(read)),
                    move_failed);
}
