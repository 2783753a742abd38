// SPDX-License-Identifier: BSL-1.0
// What a call puts on the cluster, how much of it, and what it does when that gets lost.

#include "cluster.hpp"

#include <catch2/generators/catch_generators.hpp>

#include <cstdlib>
#include <numeric>
#include <string>
#include <vector>

namespace {

namespace views = std::views;
using joblot::delayed;
using joblot::Parallel;
using support::dask_cluster;
using support::on;
using support::right_value;
using support::shared_cluster;

using numbers = std::vector<double>;
constexpr std::size_t many = 100'000; // 800 kB: more than travels inside of the graph

/// Kills the Dask worker that it runs under, the first time.
void kill_worker_once(const std::string& dir) {
    if (!support::first_to_create(dir + "/killed")) return;
    ::kill(::getppid(), SIGKILL);
    support::sleep_for_ever();
}
double sum_of(const numbers& values, int i, const std::string& dir) {
    if (i == 3) kill_worker_once(dir);
    return std::accumulate(values.begin(), values.end(), 0.0);
}
double shared_sum(const joblot::broadcasted<numbers>& values, int i, const std::string& dir) {
    return sum_of(*values, i, dir);
}

} // namespace

TEST_CASE("arguments that a dead worker held are brought there again", "[driver]") {
    dask_cluster cluster(2);
    const support::scratch_dir dir;
    const int batch_size = GENERATE(1, 3);
    const auto sums = Parallel({.backend = on(cluster), .batch_size = batch_size})(
        views::iota(0, 12) | views::transform([&](int i) { return delayed(sum_of)(numbers(many, i), i, dir.path()); }));
    for (int i = 0; i != 12; ++i) CHECK(sums.at(static_cast<std::size_t>(i)) == i * static_cast<double>(many));
    CHECK(support::exists(dir.file("killed")));
    support::check_clean(cluster);
}

TEST_CASE("a broadcast value that all workers have lost is brought there again", "[driver]") {
    dask_cluster cluster(1, {.nanny = true});
    const support::scratch_dir dir;
    {
        const auto table = joblot::broadcast(numbers(many, 2.0));
        const auto sums = Parallel({.backend = on(cluster), .batch_size = 1})(
            views::iota(0, 8) | views::transform([&](int i) { return delayed(shared_sum)(table, i, dir.path()); }));
        CHECK(sums == std::vector<double>(8, 2.0 * static_cast<double>(many)));
    }
    CHECK(support::exists(dir.file("killed")));
    support::check_clean(cluster);
}

TEST_CASE("many trivial tasks are few of Dask's", "[driver]") {
    constexpr int n = 100'000;
    const auto results = Parallel({.backend = on(shared_cluster())})(
        views::iota(0, n) | views::transform(delayed([](int i) { return i; }, "trivial")));
    CHECK(std::ranges::equal(results, views::iota(0, n)));
    const int batches = shared_cluster().history("trivial", "memory");
    CHECK(batches >= 8);
    CHECK(batches < 300);
    support::check_clean(shared_cluster());
}

TEST_CASE("large arguments that are tried again are brought there again", "[driver]") {
    const auto fails_once = [](const numbers& values, int i, const std::string& dir) {
        if (support::first_to_create(dir + "/" + std::to_string(i))) throw std::runtime_error("not yet");
        return values.size();
    };
    const support::scratch_dir dir;
    const auto sizes = Parallel({.backend = on(shared_cluster()), .batch_size = 2, .retries = 1})(
        views::iota(0, 6) |
        views::transform([&](int i) { return delayed(fails_once)(numbers(many, 1.0), i, dir.path()); }));
    CHECK(sizes == std::vector<std::size_t>(6, many));
    support::check_clean(shared_cluster());
}

TEST_CASE("a task cannot wait for the cluster that it runs on", "[driver]") {
    const auto nested = [](int i, const std::string& address) {
        const joblot::parallel_backend guard{"dask", {.address = address}};
        return Parallel().map(right_value, views::iota(0, i)).size();
    };
    const auto outcomes =
        Parallel({.backend = on(shared_cluster())}).outcomes(views::iota(1, 3) | views::transform([&](int i) {
                                                                 return delayed(nested)(i, shared_cluster().address());
                                                             }));
    for (const auto& outcome : outcomes) CHECK_THROWS_AS(outcome.value(), joblot::error);
    support::check_clean(shared_cluster());
}

// Run by the next one, in a process of its own: the environment is read once.
TEST_CASE("backend of the environment", "[.environment]") {
    const auto parents =
        Parallel()(views::iota(0, 4) | views::transform(delayed([](int) { return static_cast<int>(::getppid()); })));
    for (const int parent : parents) CHECK(parent != ::getppid());
}

TEST_CASE("JOBLOT_BACKEND names a cluster", "[driver]") {
    const auto run = [](const std::string& backend, const support::scratch_dir& dir) {
        ::setenv("JOBLOT_BACKEND", backend.c_str(), 1);
        support::process program({"/proc/self/exe", "backend of the environment"}, dir.file("log"));
        ::unsetenv("JOBLOT_BACKEND");
        const bool passed = support::eventually([&] {
            const std::string log = support::read_all(dir.file("log"));
            return log.find("All tests passed") != std::string::npos || log.find("failed") != std::string::npos;
        });
        return passed ? support::read_all(dir.file("log")) : std::string("it does not end");
    };
    const support::scratch_dir dir;
    CHECK(run("dask:" + shared_cluster().address(), dir).find("All tests passed") != std::string::npos);
    support::check_clean(shared_cluster());
}
