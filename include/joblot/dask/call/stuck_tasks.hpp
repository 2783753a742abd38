// SPDX-License-Identifier: BSL-1.0
// Tasks of a call that wait on workers that Dask has paused for their memory: where another worker can run them they
// are to be sent again, where none can the call ends.
#pragma once

#include <joblot/dask/call/paused_workers.hpp>
#include <joblot/dask/protocol/requests.hpp>
#include <joblot/dask/session/session.hpp>
#include <joblot/error.hpp>

#include <chrono>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace joblot::dask::engine {

/// For the thread that drives the call. Asks the cluster for no more than it must: nothing while tasks come back, two
/// numbers for each worker while they do not, and all about the workers only if some are paused.
class stuck_tasks {
public:
    /// @param patience How long workers are to be paused, and do nothing.
    stuck_tasks(std::shared_ptr<session> cluster, std::chrono::milliseconds patience)
        : cluster_(std::move(cluster)), patience_(patience), paused_(patience) {}

    /// Something has come back.
    void none() noexcept {
        paused_.forget();
        all_were_stuck_ = false;
    }

    /// Nothing has come back for a while. @param workers Those that count, by address.
    /// @return Keys of tasks, others' among them, that wait where nothing has run for so long. They move to another
    /// worker when they are sent again: Dask gives tasks to none that is paused.
    /// @throws backend_error where there is no other worker; not_wanted.
    [[nodiscard]] std::vector<std::string> find(const std::map<std::string, int>& workers, const patience& how) {
        if (all_run(workers, how)) {
            none();
            return {};
        }
        auto reports = reports_of(cluster_->identity(how));
        std::erase_if(reports, [&](const auto& report) { return !workers.contains(report.first); });
        paused_.update(reports, paused_workers::clock::now());
        if (paused_.all_stuck()) return all_are_stuck();
        if (!paused_.any_stuck()) return {};
        std::vector<std::string> keys = keys_there(how);
        none();
        return keys;
    }

private:
    [[nodiscard]] json ask(const json& request, const patience& how) const {
        return cluster_->call(request, how, "the Dask scheduler has not said what its workers do");
    }
    [[nodiscard]] bool all_run(const std::map<std::string, int>& workers, const patience& how) const {
        const json running = ask(requests::ncores_running(), how);
        for (const auto& [address, number] : workers) {
            if (!running.contains(address)) return false;
        }
        return true;
    }
    [[nodiscard]] std::vector<std::string> keys_there(const patience& how) const {
        std::vector<std::string> keys;
        const json processing = ask(requests::processing(), how); // by name: `items` refers to it
        for (const auto& [address, tasks] : processing.items()) {
            if (!paused_.is_stuck(address)) continue;
            for (const json& key : tasks) {
                if (key.is_string()) keys.push_back(key.get<std::string>()); // others are not of joblot
            }
        }
        return keys;
    }
    /// The second time that it is so it is believed: a worker may just have come.
    std::vector<std::string> all_are_stuck() {
        if (!std::exchange(all_were_stuck_, true)) return {};
        throw backend_error("joblot: the Dask cluster at " + cluster_->scheduler().text() +
                            " runs nothing: all its workers have been paused by Dask for " +
                            std::to_string(patience_.count()) +
                            " ms, as they use too much memory: " + paused_.in_words() +
                            "; make the chunks and other data smaller, start workers with a larger --memory-limit, or "
                            "give dask::backend a longer wait_for_workers_timeout");
    }

    const std::shared_ptr<session> cluster_;
    const std::chrono::milliseconds patience_;
    paused_workers paused_;
    bool all_were_stuck_ = false;
};

} // namespace joblot::dask::engine
