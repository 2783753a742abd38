// SPDX-License-Identifier: BSL-1.0
// Brings the program to a cluster's workers, once, before its first task.
#pragma once

#include <joblot/dask/per_process.hpp>
#include <joblot/dask/program.hpp>
#include <joblot/dask/session.hpp>

#include <algorithm>
#include <chrono>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace joblot::dask::engine {

/// Knows which clusters have the program. One for each process; all members are thread-safe.
class deployment {
public:
    static deployment& instance() {
        static constinit per_process<deployment> one;
        return one.get();
    }

    /// Blocks until a cluster's workers have the program; those that join later get it from the scheduler.
    /// @throws backend_error.
    void ensure(const std::shared_ptr<session>& cluster) {
        const std::lock_guard lock(mutex_); // a second call waits until the first one's upload is done
        std::erase_if(done_, [](const auto& s) { return s.expired(); });
        const auto is_it = [&](const auto& s) { return s.lock() == cluster; };
        if (std::any_of(done_.begin(), done_.end(), is_it)) return;
        for (int tries = 1;; ++tries) {
            try {
                deploy(*cluster);
                break;
            } catch (const backend_error&) {
                if (tries == most_tries || !cluster->alive()) throw;
                std::this_thread::sleep_for(std::chrono::seconds(1)); // a worker that was just ending is gone then
            }
        }
        done_.push_back(cluster);
    }

private:
    static constexpr int most_tries = 3;

    static void deploy(session& cluster) {
        if (cluster.dialect().scheduler_needs_modules()) {
            const plugin module = program::for_scheduler();
            static_cast<void>(cluster.call(requests::register_scheduler_plugin(module.name, module.pickle)));
        }
        const plugin files = program::own().for_workers();
        json answers = cluster.call(requests::register_worker_plugin(cluster.dialect(), files.name, files.pickle));
        if (answers.is_object() && answers.empty()) { // no worker is there yet; or another client was here before,
            const plugin ready = program::own().for_workers_that_wait(); // maybe a moment ago
            answers = cluster.call(requests::broadcast_worker_plugin(ready.name, ready.pickle));
        }
        check(answers);
    }
    static void check(const json& answers) {
        if (!answers.is_object()) return;
        for (const auto& [worker, answer] : answers.items()) {
            if (!answer.is_object() || answer.value("status", json()) == "OK") continue;
            const auto why = answer.is_object() ? answer.find("exception_text") : answer.end();
            throw backend_error("joblot: worker " + worker + " does not take the program (is its disk full?)" +
                                (why != answer.end() && why->is_string() ? ": " + why->get<std::string>() : "") +
                                "; its log says more");
        }
    }

    std::mutex mutex_;
    std::vector<std::weak_ptr<session>> done_; // guarded by mutex_
};

} // namespace joblot::dask::engine
