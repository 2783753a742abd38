// SPDX-License-Identifier: BSL-1.0
// The options of the Dask backend, those of Dask itself as the scheduler understood them.

#include "cluster.hpp"

#include <future>
#include <limits>
#include <set>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

namespace views = std::views;
using joblot::delayed;
using joblot::Parallel;
using support::dask_cluster;
using support::on_cluster;
using support::shared_cluster;

/// Which Dask workers ran a call of many short tasks.
std::set<int> workers_used(const joblot::dask::backend& backend) {
    const auto pids =
        Parallel({.backend = backend, .batch_size = 1})(views::iota(0, 40) | views::transform(delayed([](int) {
                                                            std::this_thread::sleep_for(std::chrono::milliseconds(10));
                                                            return static_cast<int>(::getppid());
                                                        })));
    return {pids.begin(), pids.end()};
}

/// What the scheduler knows of the tasks of a call while that runs.
nlohmann::json seen_by_scheduler(dask_cluster& cluster, const joblot::dask::backend& backend) {
    const support::scratch_dir dir;
    auto call = std::async(std::launch::async, [&] {
        Parallel({.backend = backend, .batch_size = 1})(views::iota(0, 4) | views::transform([&](int i) {
                                                            return delayed(
                                                                [](int me, const std::string& folder) {
                                                                    support::publish(
                                                                        folder + "/here-" + std::to_string(me), "");
                                                                    support::await(folder + "/go");
                                                                },
                                                                "inspected")(i, dir.path());
                                                        }));
    });
    support::await(dir.file("here-0"));
    REQUIRE(support::exists(dir.file("here-0")));
    nlohmann::json inspected = nlohmann::json::array();
    for (const auto& task : cluster.tasks())
        if (task.at("prefix") == "inspected") inspected.push_back(task);
    support::publish(dir.file("go"), "");
    call.get();
    REQUIRE(!inspected.empty());
    return inspected;
}

} // namespace

TEST_CASE("workers: tasks run on those only, by name or by address", "[options]") {
    joblot::dask::backend by_name = on_cluster();
    by_name.workers = {"worker-2"};
    CHECK(workers_used(by_name) == std::set<int>{shared_cluster().worker(2).pid()});
    joblot::dask::backend by_address = on_cluster();
    const nlohmann::json state = shared_cluster().state();
    for (const auto& [address, worker] : state.at("workers").items())
        if (worker.at("name") == "worker-1") by_address.workers = {address};
    CHECK(workers_used(by_address) == std::set<int>{shared_cluster().worker(1).pid()});
    CHECK(workers_used(on_cluster()).size() == 2);
    support::check_clean(shared_cluster());
}

TEST_CASE("allow_other_workers: the choice of workers is a wish", "[options]") {
    joblot::dask::backend backend = on_cluster();
    backend.workers = {"worker-2"};
    for (const auto& task : seen_by_scheduler(shared_cluster(), backend)) CHECK(task.at("loose") == false);
    backend.allow_other_workers = true;
    for (const auto& task : seen_by_scheduler(shared_cluster(), backend)) CHECK(task.at("loose") == true);
    support::check_clean(shared_cluster());
}

TEST_CASE("resources: tasks run where there are enough", "[options]") {
    dask_cluster cluster(1);
    cluster.add_worker({.threads = 2, .resources = "slots=1"});
    REQUIRE(cluster.has_workers(2));
    joblot::dask::backend backend = support::on(cluster);
    backend.resources = {{"slots", 1.0}};
    CHECK(workers_used(backend) == std::set<int>{cluster.worker(2).pid()});
    support::check_clean(cluster);
}

TEST_CASE("priority and retries: the scheduler knows them", "[options]") {
    joblot::dask::backend backend = on_cluster();
    backend.priority = 7;
    backend.retries = 3;
    for (const auto& task : seen_by_scheduler(shared_cluster(), backend)) {
        CHECK(task.at("priority").at(0) == -7.0); // Dask runs the smallest first
        CHECK(task.at("retries") == 3);
    }
    support::check_clean(shared_cluster());
}

TEST_CASE("max_concurrency: no more tasks at once than that", "[options]") {
    const support::scratch_dir dir;
    joblot::dask::backend backend = on_cluster();
    backend.max_concurrency = 2;
    const auto places = Parallel({.backend = backend, .batch_size = 1})(
        views::iota(0, 40) | views::transform([&](int i) {
            return delayed([](int, const std::string& folder) {
                int place = 0;
                while (!support::first_to_create(folder + "/place-" + std::to_string(place))) ++place;
                std::this_thread::sleep_for(std::chrono::milliseconds(10));
                std::filesystem::remove(folder + "/place-" + std::to_string(place));
                return place;
            })(i, dir.path());
        }));
    CHECK(std::ranges::max(places) <= 1);
    support::check_clean(shared_cluster());
}

TEST_CASE("wait_for_workers_timeout: a cluster without workers is an error that says so", "[options]") {
    dask_cluster cluster(0);
    joblot::dask::backend backend{.scheduler_host = cluster.address()};
    backend.wait_for_workers_timeout = std::chrono::seconds(1);
    try {
        Parallel({.backend = backend}).map(support::right_value, views::iota(0, 4));
        FAIL("there are no workers");
    } catch (const joblot::backend_error& e) {
        CHECK(std::string(e.what()).find("worker") != std::string::npos);
        CHECK(std::string(e.what()).find(cluster.address()) != std::string::npos);
    }
    support::check_clean(cluster);
}

TEST_CASE("workers that come within wait_for_workers_timeout get the tasks", "[options]") {
    dask_cluster cluster(0);
    cluster.add_worker();
    CHECK(support::pool_works(Parallel({.backend = support::on(cluster)})));
    support::check_clean(cluster);
}

TEST_CASE("text that is not UTF-8 is refused where it is given, and harms nobody", "[options]") {
    const std::string text = "caf\xe9";
    const auto refusal = [](const auto& what) -> std::string {
        try {
            what();
        } catch (const std::invalid_argument& e) {
            return e.what();
        }
        return "nothing was refused";
    };
    const auto names = [](const std::string& told, const std::string& value) {
        INFO(told);
        return told.starts_with("joblot: " + value + " = \"caf\\xe9");
    };
    joblot::dask::backend by_worker = on_cluster(), by_resource = on_cluster(), nan = on_cluster();
    by_worker.workers = {"worker-1", text};
    by_resource.resources = {{text, 1}};
    nan.resources = {{"GPU", std::numeric_limits<double>::quiet_NaN()}};
    CHECK(names(refusal([&] { static_cast<void>(by_worker.make()); }), "workers"));
    CHECK(names(refusal([&] { static_cast<void>(by_resource.make()); }), "resources"));
    CHECK(refusal([&] { static_cast<void>(nan.make()); }).starts_with("joblot: resources = GPU nan"));
    CHECK(names(refusal([&] { static_cast<void>(support::on(text).make()); }), "scheduler_host"));
    const joblot::dask::Client client(shared_cluster().address());
    CHECK(names(refusal([&] { static_cast<void>(client.dataset(text)); }), "name"));
    CHECK(names(refusal([&] { client.unpublish_dataset(text); }), "name"));
    CHECK(names(refusal([&] { const joblot::dask::exported function(text, support::right_value); }), "name"));
    CHECK(names(refusal([&] { const joblot::dask::exported function("f", support::right_value, {text}); }),
                "parameters"));
    // Labels may be any bytes: only what can be shown of them goes there.
    CHECK(Parallel({.backend = on_cluster()})(views::iota(0, 4) | views::transform(delayed(support::right_value, text)))
              .size() == 4);
    support::check_clean(shared_cluster());
}
