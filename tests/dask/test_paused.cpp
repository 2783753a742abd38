// SPDX-License-Identifier: BSL-1.0
// Workers that Dask has paused because they use too much memory: they run nothing more, and calls end all the same.

#include "cluster.hpp"
#include "failure.hpp"
#include "published.hpp"

#include <chrono>
#include <future>
#include <numeric>
#include <string>
#include <tuple>
#include <vector>

namespace {

namespace views = std::views;
using joblot::delayed;
using joblot::Parallel;
using joblot::dask::chunk;
using joblot::dask::Client;
using support::contains;
using support::dask_cluster;
using support::failure_of;
using support::on;
using support::published;

using namespace std::chrono_literals;

int right(int i) { return i + 1; }
double sum_of(chunk<const double> block) { return std::accumulate(block.span().begin(), block.span().end(), 0.0); }

int when_told(int i, const std::string& folder) {
    support::publish(folder + "/begun", "");
    support::await(folder + "/go");
    return i;
}
joblot::dask::backend impatient(const dask_cluster& cluster) {
    joblot::dask::backend b = on(cluster);
    b.wait_for_workers_timeout = 1s;
    return b;
}

bool comes_to(dask_cluster& cluster, const std::string& worker, const std::string& status) {
    return support::eventually([&] { return cluster.ask({{"ask", "status"}}).at(worker) == status; });
}
/// Has the memory of a worker filled, until Dask pauses it. @return Its address.
std::string pause(dask_cluster& cluster) {
    const std::string worker = cluster.state().at("workers").begin().key();
    cluster.ask({{"ask", "hog"}, {"worker", worker}, {"size", 400'000'000}});
    REQUIRE(comes_to(cluster, worker, "paused"));
    return worker;
}
void resume(dask_cluster& cluster, const std::string& worker) {
    cluster.ask({{"ask", "hog"}, {"worker", worker}, {"size", 0}});
    REQUIRE(comes_to(cluster, worker, "running"));
}

} // namespace

TEST_CASE("a call on a cluster whose workers are all paused for good is an error that names them", "[paused]") {
    dask_cluster cluster(1, {.memory_limit = "400MB"});
    const std::string worker = pause(cluster);
    const auto call = [&] { return Parallel({.backend = impatient(cluster)})(delayed(right)(1), delayed(right)(2)); };
    const std::string why = failure_of(call);
    INFO(why);
    CHECK(contains(why, "paused by Dask"));
    CHECK(contains(why, worker + " uses "));
    CHECK(contains(why, " of its limit of 400 MB"));
    CHECK(contains(why, "--memory-limit"));
    support::check_clean(cluster);
    resume(cluster, worker);
    CHECK(call() == std::tuple(2, 3));
}

TEST_CASE("a paused worker that still runs a task is waited for", "[paused]") {
    dask_cluster cluster(1, {.memory_limit = "400MB"});
    const support::scratch_dir dir;
    auto call = std::async(std::launch::async, [&] {
        return Parallel({.backend = impatient(cluster), .batch_size = 1})(
            views::iota(0, 3) | views::transform([&](int i) { return delayed(when_told)(i, dir.path()); }));
    });
    support::await(dir.file("begun"));
    const std::string worker = pause(cluster);
    CHECK(call.wait_for(6s) == std::future_status::timeout);
    support::publish(dir.file("go"), "");
    REQUIRE(support::eventually([&] { return cluster.history("when_told", "memory") > 0; }));
    resume(cluster, worker);
    CHECK(call.get() == std::vector{0, 1, 2});
}

TEST_CASE("what waits on a paused worker is run by another one", "[paused]") {
    dask_cluster cluster(2, {.memory_limit = "400MB"});
    const support::scratch_dir dir;
    auto call = std::async(std::launch::async, [&] {
        return Parallel({.backend = impatient(cluster), .batch_size = 1})(
            views::iota(0, 4) | views::transform([&](int i) { return delayed(when_told)(i, dir.path()); }));
    });
    // Each has one that runs and one that waits.
    const auto placed = [&] {
        const auto state = cluster.state(); // by name: `items` refers to it
        int full = 0;
        for (const auto& [address, w] : state.at("workers").items()) full += w.at("processing") == 2;
        return full == 2;
    };
    REQUIRE(support::eventually(placed));
    support::await(dir.file("begun"));
    pause(cluster);
    support::publish(dir.file("go"), "");
    CHECK(call.get() == std::vector{0, 1, 2, 3});
}

TEST_CASE("a chunk larger than the memory of its worker: its sum, or why there is none", "[paused]") {
    dask_cluster cluster(1, {.memory_limit = "300MB"});
    {
        const published array(cluster, "large", "client.scatter([numpy.arange(40_000_000.)])");
        const Client client{cluster.address()};
        const auto chunks = client.dataset("large").chunks<double>();
        double sum = 39'999'999.0 * 20'000'000;
        const std::string why = failure_of(
            [&] { sum = std::get<0>(Parallel({.backend = impatient(cluster)})(delayed(sum_of)(chunks[0]))); });
        INFO(why);
        CHECK(sum == 39'999'999.0 * 20'000'000);
        CHECK((contains(why, "nothing was thrown") || contains(why, "dataset \"large\"")));
    }
    support::check_clean(cluster);
}
