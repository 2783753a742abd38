// SPDX-License-Identifier: BSL-1.0
// Results that stay where they are made, and what later tasks make of them.

#include "../support/backends.hpp"

#include <catch2/catch_test_macros.hpp>

#include <array>
#include <complex>
#include <cstdint>
#include <functional>
#include <map>
#include <numeric>
#include <ranges>
#include <span>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace {

namespace views = std::views;
using joblot::delayed;
using joblot::Parallel;
using joblot::persisted;

/// Tasks that read results: `f(*results[i])` for each of them.
template <class F>
auto reading(F f) {
    return views::transform([f](const auto& result) { return delayed(f)(std::cref(result)); });
}

std::vector<double> row(int i) { return std::vector<double>(static_cast<std::size_t>(i), 0.5 * i); }
double sum_of(std::span<const double> numbers) { return std::accumulate(numbers.begin(), numbers.end(), 0.0); }
std::vector<double> doubled(std::vector<double> numbers) {
    for (double& x : numbers) x *= 2;
    return numbers;
}

struct ledger { // nothing that another language could read
    std::map<int, std::string> entries;
    std::vector<std::int64_t> large;
};
ledger ledger_of(int i) {
    ledger result;
    result.entries[i] = "entry";
    result.large.assign(10'000, i);
    return result;
}
std::int64_t check(const ledger& l) { return l.entries.begin()->first + l.large.back(); }

int failing(int i) {
    if (i == 3) throw std::out_of_range("no three");
    return i;
}

static_assert(std::is_move_constructible_v<persisted<int>> && !std::is_copy_constructible_v<persisted<int>>);

} // namespace

TEST_CASE("persist: results in the order of the tasks, to be read here and by later tasks", "[persist]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    const Parallel p({.n_jobs = 2});
    std::vector<persisted<std::vector<double>>> rows = p.persist(views::iota(0, 20) | views::transform(delayed(row)));
    REQUIRE(rows.size() == 20);
    const auto sums = p(rows | reading(sum_of));
    for (int i = 0; i != 20; ++i) CHECK(sums[static_cast<std::size_t>(i)] == 0.5 * i * i);
    // A graph of calls: what it holds in between is never asked for here.
    auto twice = p.persist(rows | reading(doubled));
    const auto four_times = p.persist(twice | reading(doubled));
    twice.clear();
    CHECK(four_times[7].get() == std::vector<double>(7, 4 * 3.5));
    CHECK(four_times[7]->size() == 7);
    CHECK(four_times[7].span().back() == 14);
    CHECK(sum_of(rows[3]) == 4.5); // converts as it does in a task
}

TEST_CASE("persist: results of every kind", "[persist]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    const Parallel p({.n_jobs = 2});
    const auto persisted_one = [&](auto f) {
        return p.persist(views::iota(1, 4) | views::transform(delayed(f)))[1].get(); // that of 2
    };
    CHECK(persisted_one([](int i) { return i; }) == 2);
    CHECK(persisted_one([](int i) { return i % 2 == 0; }));
    CHECK(persisted_one([](int i) { return static_cast<std::uint8_t>(200 + i); }) == 202);
    CHECK(persisted_one([](int i) { return 0.1F * static_cast<float>(i); }) == 0.1F * 2);
    CHECK(persisted_one([](int i) { return (std::uint64_t{1} << 63) + static_cast<std::uint64_t>(i); }) ==
          (std::uint64_t{1} << 63) + 2);
    CHECK(persisted_one([](int i) { return std::complex<float>(1, static_cast<float>(i)); }) ==
          std::complex<float>(1, 2));
    CHECK(persisted_one([](int i) { return std::string(static_cast<std::size_t>(i), '\0') + "text"; }) ==
          std::string("\0\0text", 6));
    CHECK(persisted_one([](int i) { return std::vector<std::byte>(5000, static_cast<std::byte>(i)); }) ==
          std::vector<std::byte>(5000, std::byte{2}));
    CHECK(persisted_one([](int i) { return std::array<int, 3>{i, i, i}; }) == std::array<int, 3>{2, 2, 2});
    CHECK(persisted_one([](int i) { return std::vector<std::array<float, 2>>{{1, 2}, {3, static_cast<float>(i)}}; }) ==
          std::vector<std::array<float, 2>>{{1, 2}, {3, 2}});
    CHECK(persisted_one([](int) { return std::vector<double>(); }).empty());
    CHECK(check(persisted_one(ledger_of)) == 4);
    const auto ledgers = p.persist(views::iota(0, 5) | views::transform(delayed(ledger_of)));
    CHECK(p(ledgers | reading(check)) == std::vector<std::int64_t>{0, 2, 4, 6, 8});
}

TEST_CASE("persist: a task that fails ends the call, and the others' results are freed", "[persist]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    try {
        static_cast<void>(Parallel({.n_jobs = 2}).persist(views::iota(0, 8) | views::transform(delayed(failing))));
        FAIL("nothing was thrown");
    } catch (const std::out_of_range& e) {
        CHECK(std::string(e.what()) == "no three");
        CHECK(joblot::failed_task(e)->index == 3);
    }
}

TEST_CASE("persist: a handle can be moved into a task, and one without a result says so", "[persist]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    const Parallel p({.n_jobs = 2});
    auto rows = p.persist(views::iota(0, 4) | views::transform(delayed(row)));
    persisted<std::vector<double>> last = std::move(rows[3]);
    CHECK(!rows[3]);
    CHECK(last);
    CHECK_THROWS_AS(rows[3].get(), joblot::error);
    CHECK(std::get<0>(p(delayed(sum_of)(std::move(last)))) == 4.5);
    CHECK(persisted<int>(7).get() == 7);
}

TEST_CASE("persist: labels and sizes are those of the tasks", "[persist]") {
    JOBLOT_FOR_EACH_BACKEND(backend);
    try {
        static_cast<void>(Parallel({.n_jobs = 2})
                              .persist(views::iota(3, 4) | views::transform(delayed(failing, "a name of its own"))));
        FAIL("nothing was thrown");
    } catch (const std::out_of_range& e) {
        CHECK(joblot::failed_task(e)->label == "a name of its own");
    }
    CHECK(Parallel({.n_jobs = 2}).persist(views::iota(0, 0) | views::transform(delayed(row))).empty());
    std::vector<decltype(delayed(row)(1))> tasks{delayed(row)(1), delayed(row)(2)};
    CHECK(Parallel({.n_jobs = 2}).persist(tasks)[1]->size() == 2);
    CHECK(Parallel({.n_jobs = 2}).persist(std::move(tasks))[0]->size() == 1);
}
