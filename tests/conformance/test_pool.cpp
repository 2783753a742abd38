// SPDX-License-Identifier: BSL-1.0
// Where the threads come from: one pool that is kept, started when needed, and never larger than asked for.

#include "../support/backends.hpp"
#include "../support/sanitizers.hpp"
#include "../support/thread_count.hpp"
#include "../support/waiting.hpp"

#include <catch2/catch_test_macros.hpp>

#include <algorithm>
#include <atomic>
#include <barrier>
#include <chrono>
#include <mutex>
#include <ranges>
#include <set>
#include <thread>
#include <vector>

namespace {

namespace views = std::views;
using joblot::delayed;
using joblot::Parallel;

// The threads that run n tasks which all wait for each other.
std::set<std::thread::id> threads_of_meeting(int n) {
    support::meeting_point all{n};
    std::mutex mutex;
    std::set<std::thread::id> ids;
    Parallel({.n_jobs = n, .batch_size = 1})(views::iota(0, n) | views::transform(delayed([&](int) {
                                                 all.arrive_and_wait();
                                                 const std::lock_guard lock{mutex};
                                                 ids.insert(std::this_thread::get_id());
                                             })));
    return ids;
}

} // namespace

TEST_CASE("[J57] the calling thread takes part, and everything else runs beside it", "[pool]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    JOBLOT_NEEDS(backend.shared_memory && backend.parallel);
    const int n = GENERATE(2, 4);
    const auto ids = threads_of_meeting(n);
    CHECK(ids.size() == static_cast<std::size_t>(n));
    CHECK(ids.contains(std::this_thread::get_id()));
}

TEST_CASE("[J57] [J58] the threads of a pool are kept from call to call", "[pool]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    JOBLOT_NEEDS(backend.shared_memory && backend.parallel && backend.pooled);
    threads_of_meeting(4);
    const int warm = support::thread_count();
    for (int round = 0; round < support::rounds(100); ++round) threads_of_meeting(4);
    CHECK(support::thread_count() <= warm);
}

TEST_CASE("one worker means the calling thread and no other", "[pool]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    JOBLOT_NEEDS(backend.shared_memory);
    const int before = support::thread_count();
    std::vector<std::thread::id> ids = Parallel({.n_jobs = 1})(
        views::iota(0, 50) | views::transform(delayed([](int) { return std::this_thread::get_id(); })));
    CHECK(std::ranges::all_of(ids, [](std::thread::id id) { return id == std::this_thread::get_id(); }));
    CHECK(support::thread_count() == before);
}

TEST_CASE("a backend that says it works in the caller does so", "[pool]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    JOBLOT_NEEDS(backend.shared_memory && backend.in_caller);
    const auto tasks = views::iota(0, 50) | views::transform(delayed([](int) { return std::this_thread::get_id(); }));
    const Parallel parallel({.n_jobs = 4});
    const auto here = [](std::thread::id id) { return id == std::this_thread::get_id(); };
    CHECK(std::ranges::all_of(parallel(tasks), here));
    for (auto&& id : parallel.generator(tasks)) CHECK(here(id));
    CHECK(parallel.outcomes(tasks).front().value() == std::this_thread::get_id());
}

TEST_CASE("generators leave no thread behind", "[pool][generator]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    const Parallel parallel({.n_jobs = JOBLOT_FOR_EACH_N_JOBS(backend)});
    const auto tasks = views::iota(0, backend.costly ? 5 : 20) | views::transform(delayed([](int i) { return i; }));
    const auto use = [&] {
        for (int i = 0; i < 5; ++i) {
            auto read = parallel.generator(tasks);
            for ([[maybe_unused]] auto&& value : read) {
            }
            auto dropped = parallel.generator(tasks);
        }
    };
    use(); // whatever is kept for generators is there now
    const int warm = support::thread_count();
    for (int round = 0; round < (backend.shared_memory ? 20 : 4); ++round) use();
    // threads that were joined may still be on the kernel's list for a moment
    CHECK(support::eventually([&] { return support::thread_count() <= warm; }));
}

TEST_CASE("calls that begin while one helper looks for work now and then all get help", "[pool]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    JOBLOT_NEEDS(backend.shared_memory && backend.parallel);
    threads_of_meeting(4); // there are helpers
    for (int round = 0; round != support::rounds(100); ++round) {
        std::this_thread::sleep_for(std::chrono::microseconds(300)); // one of them is half asleep now, the others sleep
        std::atomic<int> started{0}, alone{0};
        const auto meet = [&](int) {
            ++started;
            return support::eventually([&] { return started == 6; }); // the tasks of all three calls
        };
        std::barrier together(3);
        const auto call = [&] {
            together.arrive_and_wait();
            const Parallel parallel({.n_jobs = 2, .backend = backend.choose(), .batch_size = 1});
            for (const bool met : parallel.map(meet, views::iota(0, 2)))
                if (!met) ++alone;
        };
        {
            const std::jthread second(call), third(call);
            call();
        }
        REQUIRE(alone == 0);
    }
}
