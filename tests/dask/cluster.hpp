// SPDX-License-Identifier: BSL-1.0
// A real Dask cluster for tests, made of processes that they know, can kill and can add to, and what Python says of it.
// Which Dask: that of the Python JOBLOT_TEST_DASK_PYTHON.
#pragma once

#include "../support/waiting.hpp"
#include "process.hpp"
#include "python_server.hpp"

#include <joblot/dask.hpp>

#include <catch2/catch_test_macros.hpp>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <memory>
#include <ranges>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace support {

inline const std::string& dask_python() {
    static const std::string python = [] {
        const char* const set = std::getenv("JOBLOT_TEST_DASK_PYTHON");
        return std::string(set ? set : "");
    }();
    return python;
}

inline std::string script(const std::string& name) { return JOBLOT_TEST_DASK_SCRIPTS "/" + name; }

struct worker_shape {
    int threads = 1;
    bool nanny = false; ///< a parent process that starts the worker again when it dies
    std::string name{};
    std::string resources{};       ///< "slots=2"
    std::string folder{};          ///< for its files; "": one in the cluster's
    std::string memory_limit{"0"}; ///< none
    std::string host{"127.0.0.1"};
};

/// A scheduler and workers, each a child of the test program. Their output is in `folder()`. They are forked from a
/// Python that has imported Dask; tests of the clients of Dask's own command lines start those.
class dask_cluster {
public:
    using json = nlohmann::json;

    explicit dask_cluster(int workers = 2, const worker_shape& shape = {}) {
        start({dask_python(), "-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", "0",
               "--no-dashboard", "--scheduler-file", scheduler_file()},
              "scheduler");
        for (int i = 0; i != workers; ++i) add_worker(shape);
        const bool there =
            eventually([&] { return exists(scheduler_file()) && !parsed(scheduler_file()).is_discarded(); });
        if (!there) throw std::runtime_error("no scheduler: " + read_all(folder() + "/scheduler.log"));
        address_ = parsed(scheduler_file()).at("address");
        if (!has_workers(workers) || (shape.nanny && !nannies_ready()))
            throw std::runtime_error("no workers: " + read_all(folder() + "/worker-1.log"));
        all_running().insert(address_);
    }
    dask_cluster(const dask_cluster&) = delete;
    dask_cluster& operator=(const dask_cluster&) = delete;
    ~dask_cluster() { all_running().erase(address_); }

    /// The addresses of those that there are now. For one thread.
    static std::set<std::string>& all_running() {
        static std::set<std::string> addresses;
        return addresses;
    }

    const std::string& address() const { return address_; }
    const std::string& folder() const { return folder_.path(); }
    std::string scheduler_file() const { return folder_.file("scheduler.json"); }
    process& scheduler() { return *processes_.at(0); }
    /// @param i From 1 on, in the order of their start.
    process& worker(std::size_t i) { return *processes_.at(i); }

    /// Starts one more worker, and does not wait for it.
    process& add_worker(const worker_shape& shape = {}) {
        const std::string name = "worker-" + std::to_string(processes_.size());
        const std::string files = shape.folder.empty() ? folder_.file(name) : shape.folder;
        std::filesystem::create_directories(files);
        std::vector<std::string> command{dask_python(),
                                         "-m",
                                         "distributed.cli.dask_worker",
                                         "--scheduler-file",
                                         scheduler_file(),
                                         "--nthreads",
                                         std::to_string(shape.threads),
                                         "--nworkers",
                                         "1",
                                         "--host",
                                         shape.host,
                                         "--local-directory",
                                         files,
                                         "--memory-limit",
                                         shape.memory_limit,
                                         "--no-dashboard",
                                         shape.nanny ? "--nanny" : "--no-nanny",
                                         "--name",
                                         shape.name.empty() ? name : shape.name};
        if (!shape.resources.empty()) command.insert(command.end(), {"--resources", shape.resources});
        return start(std::move(command), name);
    }

    /// Whether the cluster comes to have so many workers.
    bool has_workers(int n) {
        return eventually([&] { return state().at("workers").size() == static_cast<std::size_t>(n); });
    }

    /// Whether all nannies come to know that their workers run. One whose first worker dies before starts no other.
    bool nannies_ready() {
        return eventually([&] { return ask({{"ask", "nannies_ready"}}).get<bool>(); });
    }

    /// Kills the only worker, the nth that was started, and starts another one. Returns when that is there: Dask does
    /// not wait for one as long as a busy machine may take to start it.
    void replace_worker(std::size_t nth) {
        const json before = state().at("workers");
        worker(nth).signal(SIGKILL);
        add_worker();
        const auto only_another = [&] {
            const json now = state().at("workers");
            return now.size() == 1 && !before.contains(now.begin().key());
        };
        if (!eventually(only_another)) throw std::runtime_error("no other worker has come");
    }

    // --- asked from Python

    json ask(json question) {
        if (!oracle_)
            oracle_ = std::make_unique<process>(process::words{dask_python(), script("oracle.py"), address_},
                                                folder_.file("oracle.log"), true, forked_python);
        // Who asks the same again waits for something; an answer costs Python 4 ms of CPU time.
        if (question == asked_last_) std::this_thread::sleep_for(std::chrono::milliseconds(20));
        json answer = json::parse(oracle_->ask(question.dump()));
        asked_last_ = std::move(question);
        if (answer.is_object() && answer.contains("error"))
            throw std::runtime_error(answer.at("error").get<std::string>());
        return answer;
    }
    json state() { return ask({{"ask", "state"}}); }
    json tasks() { return state().at("tasks"); }
    json clients() { return state().at("clients"); }
    /// Whether the scheduler comes to hold no key at all, and so none of ours. Nobody else uses the cluster.
    bool holds_no_keys() {
        return eventually([&] { return tasks().empty(); });
    }
    bool has_no_clients() {
        return eventually([&] { return clients().empty(); });
    }
    /// How many tasks of a name ever came to a state, like "memory" or "erred".
    int history(const std::string& name, const std::string& state_name) {
        return state().at("history").value(name, json::object()).value(state_name, 0);
    }

private:
    static json parsed(const std::string& file) { return json::parse(read_all(file), nullptr, false); }

    process& start(std::vector<std::string> command, const std::string& name) {
        processes_.push_back(
            std::make_unique<process>(std::move(command), folder_.file(name + ".log"), false, forked_python));
        return *processes_.back();
    }

    scratch_dir folder_; // first: the last to go
    std::string address_;
    std::vector<std::unique_ptr<process>> processes_; // the scheduler, then the workers
    std::unique_ptr<process> oracle_;
    json asked_last_;
};

/// The cluster of the tests that leave it as they found it: two workers of two threads each. It ends with the thread
/// that asks for it first.
inline dask_cluster& shared_cluster() {
    static dask_cluster cluster(2, {.threads = 2});
    return cluster;
}

/// With patience: a worker may take long to come up on a busy machine.
inline joblot::dask::backend on(const std::string& address, std::chrono::milliseconds wait = support::patience) {
    return {.scheduler_host = address, .wait_for_workers_timeout = wait};
}
inline joblot::dask::backend on(const dask_cluster& cluster) { return on(cluster.address()); }
inline joblot::dask::backend on_cluster() { return on(shared_cluster()); }

/// Whether these are the results of `right_value` for 0, 1, ..., tasks_in_call - 1.
inline bool all_right(const std::vector<int>& results) {
    return std::ranges::equal(results, std::views::iota(0, tasks_in_call) | std::views::transform(right_value));
}

/// Ends a test with a check that nothing of ours is left on a cluster.
inline void check_clean(dask_cluster& cluster) {
    const bool clean = cluster.holds_no_keys();
    INFO((clean ? std::string() : cluster.tasks().dump(1)));
    CHECK(clean);
}

} // namespace support
