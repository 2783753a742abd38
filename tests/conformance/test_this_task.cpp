// SPDX-License-Identifier: BSL-1.0
// What a task can ask about itself: index, worker and seed.

#include "../support/backends.hpp"
#include "../support/inputs.hpp"

#include <joblot/random.hpp>

#include <catch2/catch_test_macros.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdint>
#include <ranges>
#include <set>
#include <stdexcept>
#include <thread>
#include <vector>

namespace {

namespace views = std::views;
namespace this_task = joblot::this_task;
using joblot::delayed;
using joblot::Parallel;

} // namespace

TEST_CASE("index is the position in the input, in every form of call", "[this_task]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    const Parallel parallel({.n_jobs = JOBLOT_FOR_EACH_N_JOBS(backend)});
    const auto own_index = [](int) { return static_cast<int>(this_task::index()); };
    const auto tasks = views::iota(0, 100) | views::transform(delayed(own_index));
    CHECK(std::ranges::equal(parallel(tasks), views::iota(0, 100)));
    CHECK(std::ranges::equal(parallel(support::numbers(100) | views::transform(delayed(own_index))),
                             views::iota(0, 100)));
    CHECK(std::ranges::equal(parallel.generator(tasks), views::iota(0, 100)));
    for (auto&& done : parallel.generator_unordered(tasks)) CHECK(done.index == static_cast<std::size_t>(done.value));
    for (int i = 0; auto& outcome : parallel.outcomes(tasks)) CHECK(outcome.value() == i++);
    const auto [zero, one] = parallel(delayed(own_index)(0), delayed(own_index)(0));
    CHECK(zero == 0);
    CHECK(one == 1);
}

TEST_CASE("worker_id is below n_jobs and never held by two running tasks", "[this_task]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    JOBLOT_NEEDS(backend.shared_memory);
    const int n_jobs = GENERATE(1, 2, 3, 8);
    const int workers = joblot::effective_n_jobs(n_jobs);
    const joblot::batch_size_option batch = GENERATE(joblot::batch_size_option{}, joblot::batch_size_option{1});
    std::array<std::atomic<int>, 8> holders{};
    std::array<int, 8> scratch{}; // plain ints: the thread sanitizer proves the exclusion, too
    std::atomic<int> wrong{0};
    const auto task = [&](int) {
        const int id = this_task::worker_id();
        if (id < 0 || id >= workers) {
            ++wrong;
            return;
        }
        const auto slot = static_cast<std::size_t>(id);
        if (++holders[slot] != 1) ++wrong;
        ++scratch[slot];
        std::this_thread::yield();
        if (this_task::worker_id() != id) ++wrong;
        --holders[slot];
    };
    const Parallel parallel({.n_jobs = n_jobs, .batch_size = batch});
    parallel(views::iota(0, 500) | views::transform(delayed(task)));
    parallel(support::numbers(500) | views::transform(delayed(task)));
    for ([[maybe_unused]] auto&& done : parallel.generator(views::iota(0, 500) | views::transform(delayed(task)))) {
    }
    CHECK(wrong == 0);
    int total = 0;
    for (const int count : scratch) total += count;
    CHECK(total == 1500);
}

TEST_CASE("seeds depend on the call's seed and the index alone", "[this_task]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    const auto own_seed = [](int) { return this_task::seed(2024); };
    const auto tasks = views::iota(0, 1000) | views::transform(delayed(own_seed));
    static const std::vector<std::uint64_t> reference = [&] {
        const joblot::parallel_backend plain{joblot::sequential{}};
        return Parallel{}(tasks);
    }();
    const int n_jobs = JOBLOT_FOR_EACH_N_JOBS(backend);
    const joblot::batch_size_option small{backend.costly ? 30 : 3};
    const Parallel parallel({.n_jobs = n_jobs, .batch_size = GENERATE_COPY(joblot::batch_size_option{}, small)});
    CHECK(parallel(tasks) == reference);
    CHECK(std::ranges::equal(parallel.generator(tasks), reference));
    CHECK(std::set(reference.begin(), reference.end()).size() == 1000);
    const auto other =
        parallel(views::iota(0, 1000) | views::transform(delayed([](int) { return this_task::seed(2025); })));
    std::set<std::uint64_t> both(reference.begin(), reference.end());
    both.insert(other.begin(), other.end());
    CHECK(both.size() == 2000);
}

namespace {
std::vector<std::uint64_t> drawn(int) {
    auto rng = this_task::rng(2024);
    auto again = this_task::rng(rng.split(7)); // as a task of a call inside would
    std::vector<std::uint64_t> numbers{rng(), rng(), rng(), rng(), rng()};
    numbers.push_back(again());
    return numbers;
}
std::uint64_t sent(joblot::philox4x64 g) { return g(); }
} // namespace

TEST_CASE("random numbers depend on the call's seed and the index alone", "[this_task]") {
    CHECK_THROWS_AS(this_task::rng(1), std::logic_error);
    JOBLOT_FOR_EACH_BACKEND(backend);
    const int n = backend.fewer(100);
    const auto tasks = views::iota(0, n) | views::transform(delayed(drawn));
    const Parallel parallel({.n_jobs = JOBLOT_FOR_EACH_N_JOBS(backend), .batch_size = 5});
    const auto numbers = parallel(tasks);
    std::set<std::uint64_t> all;
    for (std::size_t i = 0; i != numbers.size(); ++i) {
        joblot::philox4x64 expected({2024, 0}, {0, 0, 0, i});
        std::vector<std::uint64_t> here;
        for (int k = 0; k != 5; ++k) here.push_back(expected());
        here.push_back(expected.split(7).split(i)());
        CHECK(numbers[i] == here);
        all.insert(here.begin(), here.end());
    }
    CHECK(all.size() == 6 * numbers.size());
    CHECK(std::ranges::equal(parallel.generator(tasks), numbers));
    // an engine is an argument like others
    joblot::philox4x64 g(5);
    joblot::philox4x64 next(5);
    static_cast<void>(g());
    static_cast<void>(next());
    CHECK(parallel(std::vector{delayed(sent)(g)})[0] == next());
}

TEST_CASE("in nested calls this_task is the innermost task, and the outer one comes back", "[this_task][nested]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    JOBLOT_NEEDS(backend.closures);
    const Parallel parallel({.n_jobs = JOBLOT_FOR_EACH_N_JOBS(backend)});
    const auto inner = [](int i) { return this_task::index() == static_cast<std::size_t>(i); };
    const auto outer = [&](int i) {
        const std::size_t index = this_task::index();
        const int worker = this_task::worker_id();
        const std::uint64_t seed = this_task::seed(5);
        const auto right = parallel(views::iota(0, 10) | views::transform(delayed(inner)));
        for (auto&& ok : parallel.generator(views::iota(0, 10) | views::transform(delayed(inner))))
            if (!ok) return false;
        return std::ranges::count(right, true) == 10 && index == static_cast<std::size_t>(i) &&
               this_task::index() == index && this_task::worker_id() == worker && this_task::seed(5) == seed;
    };
    const auto results = parallel(views::iota(0, 20) | views::transform(delayed(outer)));
    CHECK(std::ranges::count(results, true) == 20);
}

TEST_CASE("the reader of a generator is in no task between its reads", "[this_task][generator]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    const Parallel parallel({.n_jobs = GENERATE(1, 2)});
    for ([[maybe_unused]] auto&& value :
         parallel.generator(views::iota(0, 5) | views::transform(delayed([](int i) { return i; })))) {
        CHECK_THROWS_AS(this_task::index(), std::logic_error);
        CHECK_FALSE(this_task::stop_requested());
    }
}
