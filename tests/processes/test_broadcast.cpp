// SPDX-License-Identifier: BSL-1.0
// broadcast: the workers read the caller's values in place, from one physical copy that is freed with the last handle.

#include "support.hpp"

#include <catch2/generators/catch_generators.hpp>

#include <cstddef>
#include <map>
#include <numeric>
#include <span>
#include <string>
#include <thread>
#include <vector>

namespace {

namespace views = std::views;
using joblot::broadcasted;
using joblot::delayed;
using joblot::Parallel;

using table_handle = broadcasted<std::vector<double>>;

std::vector<double> table_of(std::size_t count) {
    std::vector<double> table(count);
    std::iota(table.begin(), table.end(), 0.5);
    return table;
}

double sum_of(std::span<const double> values) { return std::accumulate(values.begin(), values.end(), 0.0); }

bool is_right(std::span<const double> values, std::size_t count) {
    if (values.size() != count) return false;
    for (std::size_t i = 0; i != count; ++i)
        if (values[i] != 0.5 + static_cast<double>(i)) return false;
    return true;
}

// --- tasks

double sum_by_handle(int, const table_handle& table) { return sum_of(table.span()); }
double sum_in_place(int, const table_handle& table) {
    double sum = 0;
    for (const double x : table) sum += x;
    for (std::size_t i = 0; i != table.size(); ++i) sum += table[i] - *(table.data() + i);
    return sum;
}
double sum_by_span(int, std::span<const double> table) { return sum_of(table); }
double sum_by_value(int, const table_handle& table) { return sum_of(table.get()); }
bool check_all(int, const table_handle& table, std::size_t count) { return is_right(table.span(), count); }

std::size_t look_up(int i, const broadcasted<std::map<int, std::string>>& names) { return names->at(i).size(); }

struct memory_use {
    pid_t pid = 0;
    std::size_t proportional = 0; // Pss: what is shared counts once, divided among those who map it
    std::size_t own = 0;
    bool right = false;
};
/// Reads the whole table, waits until the other has, too, and looks at how much memory this process uses.
memory_use use_of_memory(int i, const table_handle& table, std::size_t count, const std::string& dir) {
    memory_use use{.pid = ::getpid(), .right = is_right(table.span(), count) && sum_in_place(i, table) > 0};
    support::meet(dir, i, 2);
    use.proportional = support::kilobytes_in("/proc/self/smaps_rollup", "Pss");
    use.own = support::kilobytes_in("/proc/self/smaps_rollup", "Private_Dirty");
    support::meet(dir, i + 2, 4);
    return use;
}

/// How many broadcast values this process has mapped or open.
std::size_t images_here(int) {
    std::size_t count = 0;
    std::ifstream maps("/proc/self/maps");
    for (std::string line; std::getline(maps, line);) count += line.find("joblot-broadcast") != line.npos;
    for (const std::string& open : support::open_descriptors()) count += open.find("joblot-broadcast") != open.npos;
    return count;
}
std::size_t images_in_worker() {
    return Parallel({.n_jobs = 1, .backend = "processes"}).map(images_here, views::iota(0, 1)).front();
}

bool writes_to_it(int, const table_handle& table) {
    *const_cast<volatile double*>(table.span().data()) = 1;
    return true;
}

template <class F, class T>
auto call(F f, const broadcasted<T>& value) {
    return Parallel({.n_jobs = 2, .backend = "processes"})(
        views::iota(0, 8) | views::transform([&](int i) { return delayed(f)(i, value); }));
}

} // namespace

TEST_CASE("workers read a broadcast table's own values, as a handle, a span, or a value", "[broadcast]") {
    const std::size_t count = GENERATE(std::size_t{0}, std::size_t{1}, std::size_t{1000}, std::size_t{1} << 20);
    const auto table = joblot::broadcast(table_of(count));
    const double right = sum_of(table.span());
    for (const auto function : {&sum_by_handle, &sum_by_value, &sum_in_place})
        for (const double sum : call(function, table)) CHECK(sum == right);
    for (const double sum : call(sum_by_span, table)) CHECK(sum == right);
}

TEST_CASE("workers get a broadcast value that is no table", "[broadcast]") {
    std::map<int, std::string> names;
    for (int i = 0; i != 8; ++i) names[i] = std::string(static_cast<std::size_t>(10 * i), 'x');
    const auto sizes = call(look_up, joblot::broadcast(names));
    for (std::size_t i = 0; i != sizes.size(); ++i) CHECK(sizes[i] == 10 * i);
}

TEST_CASE("all workers share one physical copy", "[broadcast]") {
    if (support::under_asan || support::under_tsan) SKIP("a sanitizer's own memory is larger than the table");
    constexpr std::size_t size = 64U << 20, count = size / sizeof(double);
    const auto table = joblot::broadcast(table_of(count));
    const support::scratch_dir dir;
    const auto uses = Parallel({.n_jobs = 2, .backend = "processes", .batch_size = 1})(
        views::iota(0, 2) |
        views::transform([&](int i) { return delayed(use_of_memory)(i, table, count, dir.path()); }));
    REQUIRE(uses[0].pid != uses[1].pid);
    CHECK((uses[0].right && uses[1].right));
    const std::size_t sum = uses[0].proportional + uses[1].proportional;
    CHECK(sum > size / 2); // it is really there
    CHECK(sum < size + size / 4);
    for (const memory_use& use : uses) CHECK(use.own < size / 4);
}

TEST_CASE("a broadcast value is sent once, however many tasks and calls use it", "[broadcast]") {
    const auto table = joblot::broadcast(table_of(100'000));
    const std::size_t before = images_in_worker();
    for (int i = 0; i != 3; ++i) call(sum_by_handle, table);
    const auto after =
        Parallel({.n_jobs = 2, .backend = "processes", .batch_size = 1}).map(images_here, views::iota(0, 10));
    for (const std::size_t images : after) CHECK(images <= before + 2); // its mapping and its descriptor
    CHECK(images_here(0) == 1);                                         // here only the descriptor
}

TEST_CASE("the memory of a broadcast value is freed with the last handle, on both sides", "[broadcast]") {
    const bool was_decoded = GENERATE(false, true);
    const auto function = was_decoded ? &sum_by_value : &sum_by_handle;
    REQUIRE(images_here(0) == 0);
    {
        const auto table = joblot::broadcast(table_of(100'000));
        {
            const table_handle copy = table;
            call(function, copy);
        }
        CHECK(images_here(0) > 0);
        CHECK(images_in_worker() > 0);
        CHECK(call(function, table).front() == sum_of(table.span()));
    }
    CHECK(images_here(0) == 0);
    CHECK(images_in_worker() == 0);
}

TEST_CASE("a broadcast value whose last handle goes while workers use it is freed afterwards", "[broadcast]") {
    const support::scratch_dir dir;
    std::jthread other([&] { // has leased a worker that has the value
        auto table = joblot::broadcast(table_of(1000));
        const auto waits = [](int, const table_handle& values, const std::string& folder) {
            support::publish(folder + "/reading", "");
            support::await(folder + "/go-on");
            return values.span()[0];
        };
        Parallel({.n_jobs = 1, .backend = "processes"})(
            views::iota(0, 1) | views::transform([&](int i) { return delayed(waits)(i, table, dir.path()); }));
    });
    support::await(dir.file("reading"));
    support::publish(dir.file("go-on"), "");
    other.join();
    CHECK(images_here(0) == 0);
    CHECK(images_in_worker() == 0);
}

TEST_CASE("a worker that crashes does not take the broadcast value with it", "[broadcast][crash]") {
    const auto table = joblot::broadcast(table_of(100'000));
    const auto crashes = [](int i, const table_handle& values) {
        if (i == support::victim) ::_exit(1);
        return values.span()[10];
    };
    const auto outcomes = Parallel(support::big_batches()).outcomes(views::iota(0, 20) | views::transform([&](int i) {
                                                                        return delayed(crashes)(i, table);
                                                                    }));
    for (int i = 0; i != 20; ++i) {
        const auto& outcome = outcomes[static_cast<std::size_t>(i)];
        CHECK(outcome.has_value() == (i != support::victim));
        if (outcome.has_value()) CHECK(outcome.value() == 10.5);
    }
}

TEST_CASE("a worker cannot change what others read", "[broadcast]") {
    const auto table = joblot::broadcast(table_of(1000));
    CHECK_THROWS_AS(call(writes_to_it, table), joblot::worker_crashed);
    CHECK(is_right(table.span(), 1000));
    for (const double sum : call(sum_by_handle, table)) CHECK(sum == sum_of(table.span()));
}

TEST_CASE("forked workers read a broadcast value as it is", "[broadcast][fork]") {
    if (support::under_tsan) SKIP("fork with threads is beyond the thread sanitizer");
    const auto table = joblot::broadcast(table_of(10'000));
    const auto results =
        Parallel({.n_jobs = 2, .backend = joblot::processes{.start_method = joblot::start_method::fork}})(
            views::iota(0, 4) | views::transform([&](int i) { return delayed(check_all)(i, table, 10'000); }));
    for (const bool right : results) CHECK(right);
}
