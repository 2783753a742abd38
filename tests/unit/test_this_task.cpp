// SPDX-License-Identifier: BSL-1.0
// this_task, with contexts made by hand: index, limit, deadline and seeds.

#include <joblot/this_task.hpp>

#include <catch2/catch_test_macros.hpp>

#include <atomic>
#include <bit>
#include <chrono>
#include <cstdint>
#include <set>
#include <stdexcept>

namespace {

namespace this_task = joblot::this_task;
using joblot::detail::current_task;
using joblot::detail::task_context;
using clock_type = task_context::clock;

constexpr std::size_t none = static_cast<std::size_t>(-1);

// Puts a task on this thread for the rest of the scope.
struct inside {
    explicit inside(std::size_t index) {
        context.index = index;
        context.worker_id = 2;
        context.limit = &limit;
        current_task = &context;
    }
    ~inside() { current_task = nullptr; }
    inside(const inside&) = delete;
    inside& operator=(const inside&) = delete;

    std::atomic<std::size_t> limit{none};
    task_context context;
};

std::uint64_t seed_of(std::uint64_t call_seed, std::size_t index) {
    const inside task{index};
    return this_task::seed(call_seed);
}

} // namespace

TEST_CASE("outside of a task", "[this_task]") {
    CHECK_THROWS_AS(this_task::index(), std::logic_error);
    CHECK_THROWS_AS(this_task::worker_id(), std::logic_error);
    CHECK_THROWS_AS(this_task::seed(0), std::logic_error);
    CHECK_FALSE(this_task::stop_requested());
}

TEST_CASE("inside of a task", "[this_task]") {
    inside task{7};
    CHECK(this_task::index() == 7);
    CHECK(this_task::worker_id() == 2);
    CHECK_FALSE(this_task::stop_requested());
    task.limit = 8;
    CHECK_FALSE(this_task::stop_requested());
    task.limit = 7;
    CHECK(this_task::stop_requested());
    task.limit = 0;
    CHECK(this_task::stop_requested());
}

TEST_CASE("a deadline that has passed is a request to stop", "[this_task]") {
    inside task{0};
    task.context.deadline = clock_type::now() + std::chrono::hours{1};
    CHECK_FALSE(this_task::stop_requested());
    task.context.deadline = clock_type::now() - std::chrono::nanoseconds{1};
    CHECK(this_task::stop_requested());
}

TEST_CASE("seeds are functions of call seed and index, all different", "[this_task]") {
    std::set<std::uint64_t> seeds;
    for (std::uint64_t call = 0; call < 20; ++call)
        for (std::size_t index = 0; index < 500; ++index) seeds.insert(seed_of(call, index));
    CHECK(seeds.size() == 20 * 500);
    CHECK(seed_of(1, 2) == seed_of(1, 2));
    CHECK(seed_of(1, 2) != seed_of(2, 1));
    CHECK(seed_of(0, 0) != 0);
}

TEST_CASE("neighbouring seeds share no pattern: about half of their bits differ", "[this_task]") {
    int differing = 0;
    for (std::size_t index = 0; index < 1000; ++index)
        differing += std::popcount(seed_of(42, index) ^ seed_of(42, index + 1));
    CHECK(differing > 1000 * 30);
    CHECK(differing < 1000 * 34);
}
