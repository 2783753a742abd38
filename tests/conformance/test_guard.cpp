// SPDX-License-Identifier: BSL-1.0
// parallel_backend: which backend and which defaults a call gets.

#include "../support/backends.hpp"
#include "../support/waiting.hpp"

#include <catch2/catch_test_macros.hpp>

#include <atomic>
#include <memory>
#include <optional>
#include <ranges>
#include <string>
#include <thread>
#include <type_traits>
#include <vector>

namespace {

namespace views = std::views;
using joblot::delayed;
using joblot::effective_n_jobs;
using joblot::Parallel;
using joblot::parallel_backend;

// Runs everything in the caller and counts its calls.
class counting_backend final : public joblot::backend {
public:
    std::string name() const override { return "CountingBackend"; }
    int effective_n_jobs(int n) const override { return n > 0 ? n : 7; }
    void run(joblot::job& job) override {
        ++calls;
        do job.work(0);
        while (job.wait());
    }
    std::atomic<int> calls{0};
};

// Has no worker at all at the moment.
class empty_backend final : public joblot::backend {
public:
    std::string name() const override { return "EmptyBackend"; }
    int effective_n_jobs(int) const override { return 0; }
    void run(joblot::job&) override {}
};

// Its workers cannot be started.
class broken_backend final : public joblot::backend {
public:
    std::string name() const override { return "BrokenBackend"; }
    int effective_n_jobs(int n) const override { return n > 0 ? n : 2; }
    void run(joblot::job&) override { throw joblot::backend_error{"no workers today"}; }
};

// The choice of an object, whatever its own type.
joblot::backend_choice object(std::shared_ptr<joblot::backend> chosen) { return chosen; }

int answer(int i) { return i; }
auto three_tasks() { return views::iota(0, 3) | views::transform(delayed(answer)); }
const std::vector<int> three{0, 1, 2};

} // namespace

TEST_CASE("guards can neither be copied nor moved", "[guard]") {
    static_assert(!std::is_copy_constructible_v<parallel_backend>);
    static_assert(!std::is_move_constructible_v<parallel_backend>);
    static_assert(!std::is_copy_assignable_v<parallel_backend>);
    static_assert(!std::is_move_assignable_v<parallel_backend>);
    SUCCEED();
}

TEST_CASE("a pointer to a backend of one's own class is a choice", "[guard]") {
    CHECK(std::is_convertible_v<std::shared_ptr<counting_backend>, joblot::backend_choice>);
    CHECK(std::is_constructible_v<parallel_backend, std::shared_ptr<counting_backend>>);
}

TEST_CASE("[J47] a guard selects a backend and gives the old one back", "[guard]") {
    const auto counting = std::make_shared<counting_backend>();
    const auto inner = std::make_shared<counting_backend>();
    {
        const parallel_backend guard{object(counting)};
        CHECK(Parallel({.n_jobs = 2})(three_tasks()) == three);
        CHECK(counting->calls == 1);
        {
            const parallel_backend nested{object(inner)};
            CHECK(Parallel({.n_jobs = 2})(three_tasks()) == three);
        }
        CHECK(Parallel({.n_jobs = 2})(three_tasks()) == three);
    }
    CHECK(Parallel({.n_jobs = 2})(three_tasks()) == three);
    CHECK(counting->calls == 2);
    CHECK(inner->calls == 1);
}

TEST_CASE("a backend for one call alone", "[guard]") {
    const auto counting = std::make_shared<counting_backend>();
    CHECK(Parallel({.n_jobs = 2, .backend = object(counting)})(three_tasks()) == three);
    CHECK(Parallel({.n_jobs = 2})(three_tasks()) == three);
    CHECK(counting->calls == 1);
}

TEST_CASE("[J51] every way to choose a backend for a call computes the same", "[guard]") {
    const support::backend_case backend = GENERATE(from_range(support::backends()));
    INFO("backend: " << backend.name);
    const int n_jobs = GENERATE(1, 2, -1, 4);
    CHECK(Parallel({.n_jobs = n_jobs, .backend = backend.choose()})(three_tasks()) == three);
}

TEST_CASE("[J47] a guard is seen by its own thread only", "[guard]") {
    const auto counting = std::make_shared<counting_backend>();
    const parallel_backend guard{object(counting)};
    std::vector<int> results;
    std::thread{[&] { results = Parallel({.n_jobs = 2})(three_tasks()); }}.join();
    CHECK(results == three);
    CHECK(counting->calls == 0);
}

TEST_CASE("[J47] [J53] an inner guard inherits what it does not set", "[guard]") {
    const parallel_backend outer{"threads", {.n_jobs = 3}};
    CHECK(effective_n_jobs() == 3);
    const parallel_backend inner{{.n_jobs = 5}};
    CHECK(effective_n_jobs() == 5);
    const auto counting = std::make_shared<counting_backend>();
    {
        const parallel_backend changed{object(counting)};
        CHECK(effective_n_jobs() == 5);   // the guard's number,
        CHECK(effective_n_jobs(-1) == 7); // for which the active backend answers
        CHECK(effective_n_jobs(2) == 2);
    }
    CHECK(effective_n_jobs(-1) == joblot::cpu_count());
}

TEST_CASE("[J48] the number of workers: explicit, then the innermost guard, then all cores", "[guard]") {
    // as many tasks as expected workers meet; with fewer workers they could not
    const auto workers_meet = [](const Parallel& parallel, int n) {
        support::meeting_point all{n};
        std::atomic<int> met{0};
        std::atomic<int> highest{0};
        parallel(views::iota(0, n) | views::transform(delayed([&](int) {
                     met += all.arrive_and_wait();
                     int seen = highest;
                     while (seen < joblot::this_task::worker_id() &&
                            !highest.compare_exchange_weak(seen, joblot::this_task::worker_id())) {
                     }
                 })));
        return met == n && highest == n - 1;
    };
    CHECK(workers_meet(Parallel{}, joblot::cpu_count()));
    const parallel_backend three_jobs{joblot::threads{.n_jobs = 3}};
    CHECK(workers_meet(Parallel{}, 3));
    CHECK(workers_meet(Parallel({.n_jobs = 2}), 2));
    {
        const parallel_backend four{{.n_jobs = 4}};
        CHECK(workers_meet(Parallel{}, 4));
        const parallel_backend by_name{"threads", {.n_jobs = 5}};
        CHECK(workers_meet(Parallel{}, 5));
    }
    CHECK(workers_meet(Parallel{}, 3));
}

TEST_CASE("[J52] negative numbers of jobs count from all cores", "[guard]") {
    const int all = joblot::cpu_count();
    const parallel_backend guard{joblot::threads{}};
    CHECK(effective_n_jobs(-1) == all);
    CHECK(effective_n_jobs(-2) == std::max(all - 1, 1));
    CHECK(effective_n_jobs(-1000) == 1);
    CHECK(effective_n_jobs(1) == 1);
    CHECK(effective_n_jobs(10 * all) == 10 * all);
    CHECK(Parallel({.n_jobs = -1000})(three_tasks()) == three);
    const parallel_backend sequential{joblot::sequential{}};
    CHECK(effective_n_jobs(8) == 1);
}

TEST_CASE("[J54] registered backends: with and without parameters, replaced, the same object each time", "[guard]") {
    static const auto shared = std::make_shared<counting_backend>();
    joblot::register_backend("counting", [] { return shared; });
    shared->calls = 0;
    {
        const parallel_backend guard{"counting"};
        CHECK(Parallel({.n_jobs = 2})(three_tasks()) == three);
    }
    CHECK(Parallel({.n_jobs = 2, .backend = "counting"})(three_tasks()) == three);
    CHECK(shared->calls == 2);
    static joblot::backend_options seen;
    joblot::register_backend("counting", [](const joblot::backend_options& given) {
        seen = given;
        return std::make_shared<counting_backend>();
    });
    const parallel_backend guard{"counting", {.n_jobs = 4, .verbose = 0, .address = "somewhere:1234"}};
    CHECK(Parallel{}(three_tasks()) == three);
    CHECK(seen.n_jobs == 4);
    CHECK(seen.address == "somewhere:1234");
    CHECK(shared->calls == 2);
}

TEST_CASE("[J55] a backend without workers is refused with its name", "[guard]") {
    const parallel_backend guard{object(std::make_shared<empty_backend>())};
    try {
        Parallel({.n_jobs = 2})(three_tasks());
        FAIL("the call must throw");
    } catch (const joblot::backend_error& e) {
        CHECK(std::string{e.what()}.find("EmptyBackend") != std::string::npos);
    }
}

TEST_CASE("what a backend throws comes out of the call, and the object works on", "[guard]") {
    const Parallel parallel({.n_jobs = 2});
    {
        const parallel_backend guard{object(std::make_shared<broken_backend>())};
        CHECK_THROWS_AS(parallel(three_tasks()), joblot::backend_error);
        CHECK_THROWS_AS(parallel.outcomes(three_tasks()), joblot::backend_error);
        CHECK_THROWS_AS(
            [&] {
                for ([[maybe_unused]] auto&& value : parallel.generator(three_tasks())) {
                }
            }(),
            joblot::backend_error);
        [[maybe_unused]] auto dropped = parallel.generator(three_tasks());
    }
    CHECK(parallel(three_tasks()) == three);
}

TEST_CASE("[J50] hints: prefer yields to a guard, require = sharedmem is met by threads", "[guard]") {
    const joblot::prefer hint = GENERATE(joblot::prefer::none, joblot::prefer::threads, joblot::prefer::processes);
    const int n_jobs = GENERATE(1, 2);
    CHECK(Parallel({.n_jobs = n_jobs, .prefer = joblot::prefer::threads})(three_tasks()) == three);
    const auto counting = std::make_shared<counting_backend>();
    {
        const parallel_backend guard{object(counting)};
        CHECK(Parallel({.n_jobs = n_jobs, .prefer = hint})(three_tasks()) == three);
        CHECK(counting->calls == 1);
    }
    std::vector<int> filled(3);
    const auto fill = [&filled](int i) { filled[static_cast<std::size_t>(i)] = i; };
    Parallel({.n_jobs = n_jobs, .require = joblot::sharedmem})(views::iota(0, 3) | views::transform(delayed(fill)));
    CHECK(filled == three);
}

TEST_CASE("[J49] require = sharedmem refuses an explicit backend that shares no memory, and replaces an active one",
          "[guard]") {
    class remote_backend final : public joblot::backend {
    public:
        std::string name() const override { return "RemoteBackend"; }
        joblot::backend_traits traits() const noexcept override { return {.shared_memory = false, .remote = true}; }
        int effective_n_jobs(int) const override { return 2; }
        void run(joblot::job& job) override {
            used = true;
            job.work(0);
        }
        bool used = false;
    };
    const auto remote = std::make_shared<remote_backend>();
    CHECK_THROWS_AS(Parallel({.n_jobs = 2, .backend = object(remote), .require = joblot::sharedmem})(three_tasks()),
                    std::invalid_argument);
    const parallel_backend guard{object(remote)};
    CHECK(Parallel({.n_jobs = 2, .require = joblot::sharedmem})(three_tasks()) == three);
    CHECK_FALSE(remote->used);
}

TEST_CASE("guards that end in another order than they began, on the heap", "[guard]") {
    const int before = effective_n_jobs(-1);
    auto outer = std::make_unique<parallel_backend>(joblot::threads{});
    auto inner = std::make_unique<parallel_backend>(joblot::sequential{});
    CHECK(effective_n_jobs(-1) == 1);
    inner.reset();
    CHECK(effective_n_jobs(-1) == before);
    outer.reset();
    CHECK(effective_n_jobs(-1) == before);
}

TEST_CASE("a guard inside of a task is in force for the task's own calls, and gone after it", "[guard][nested]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    JOBLOT_NEEDS(backend.shared_memory);
    const auto counting = std::make_shared<counting_backend>();
    const Parallel parallel({.n_jobs = JOBLOT_FOR_EACH_N_JOBS(backend)});
    const auto guarded = [&](int i) {
        if (i % 2 == 1) return effective_n_jobs(-1) != 7; // no guard was left behind on this thread
        const parallel_backend guard{object(counting)};
        return Parallel({.n_jobs = 2})(three_tasks()) == three;
    };
    const auto results = parallel(views::iota(0, 40) | views::transform(delayed(guarded)));
    CHECK(std::ranges::count(results, true) == 40);
    CHECK(counting->calls == 20);
}
