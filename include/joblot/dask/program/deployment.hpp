// SPDX-License-Identifier: BSL-1.0
// Brings the program to a cluster's workers before its first task, and again where it got lost there.
#pragma once

#include <joblot/dask/program/program.hpp>
#include <joblot/dask/session/session.hpp>
#include <joblot/system/fork.hpp>
#include <joblot/system/visibility.hpp>

#include <algorithm>
#include <chrono>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

namespace joblot::dask::engine {

/// Knows which clusters have the program. One for each process; all members are thread-safe.
class deployment {
public:
    JOBLOT_ONE_PER_PROCESS static deployment& instance() {
        static constinit detail::per_process<deployment> one;
        return one.get();
    }

    /// Blocks until a cluster's workers have the program; those that join later get it from the scheduler.
    /// @throws backend_error that names the worker, the file and the reason where one cannot take it, also where a
    /// worker does not answer in ten minutes; not_wanted. After an error the next call tries again.
    void ensure(const std::shared_ptr<session>& cluster, const patience& how = {}) {
        const std::shared_ptr<entry> e = entry_of(cluster);
        const auto lock = begin(*e, how);
        if (e->done) return;
        with_retries(*cluster, how, [&] { deploy(*cluster, how); });
        e->done = true;
    }

    /// Some workers do not have it any more, or not as it was: brings it to those of them that do not have it now.
    /// @param workers By address; those that have gone are passed over. None: all.
    /// @throws as `ensure`.
    void bring_again(const std::shared_ptr<session>& cluster, const std::vector<std::string>& workers,
                     const patience& how) {
        const std::shared_ptr<entry> e = entry_of(cluster);
        const auto lock = begin(*e, how);
        with_retries(*cluster, how, [&] {
            if (workers.empty()) return deploy(*cluster, how);
            const std::map<std::string, int> there = cluster->worker_threads(how);
            std::vector<std::string> still = workers;
            std::erase_if(still, [&](const std::string& w) { return !there.contains(w); });
            if (!still.empty()) bring_where_missing(*cluster, still, how);
        });
    }

private:
    static constexpr int most_tries = 3;
    static constexpr std::chrono::minutes most_time{10}; // programs may be large, and the net slow

    struct entry {
        explicit entry(const std::shared_ptr<session>& s) : cluster(s) {}
        const std::weak_ptr<session> cluster;
        std::timed_mutex mutex; // of who brings the program there; others wait until that is done
        bool done = false;
    };

    std::shared_ptr<entry> entry_of(const std::shared_ptr<session>& cluster) {
        const std::lock_guard lock(mutex_);
        std::erase_if(entries_, [](const auto& e) { return e->cluster.expired(); });
        for (const auto& e : entries_) {
            if (is_same(e->cluster, cluster)) return e;
        }
        return entries_.emplace_back(std::make_shared<entry>(cluster));
    }
    static std::unique_lock<std::timed_mutex> begin(entry& e, const patience& how) {
        std::unique_lock lock(e.mutex, std::defer_lock);
        how.lock(lock, "another call has been bringing the program to the cluster");
        return lock;
    }

    /// Tries again what fails: a worker that was just ending is gone then.
    template <class Step>
    static void with_retries(session& cluster, const patience& how, Step step) {
        for (int tries = 1;; ++tries) {
            try {
                return step();
            } catch (const not_wanted&) {
                throw;
            } catch (const backend_error&) {
                if (tries == most_tries || !cluster.alive()) throw;
                how.pause(std::chrono::seconds(1));
            }
        }
    }

    static void deploy(session& cluster, const patience& how) {
        if (cluster.dialect().scheduler_needs_modules()) {
            const plugin module = program::for_scheduler();
            ask(cluster, requests::register_scheduler_plugin(module.name, module.pickle), how);
        }
        const plugin files = program::own().for_workers();
        const json answers =
            ask(cluster, requests::register_worker_plugin(cluster.dialect(), files.name, files.pickle), how);
        if (!answers.is_object() || !answers.empty()) return check(answers);
        // No worker is there yet; or another client was here before, maybe a moment ago, or maybe it could not be
        // stored.
        bring_where_missing(cluster, {}, how);
    }
    /// @param workers None: all.
    static void bring_where_missing(session& cluster, const std::vector<std::string>& workers, const patience& how) {
        const plugin question = program::own().that_asks_for_it();
        const json answers =
            ask(cluster, requests::broadcast_worker_plugin(question.name, question.pickle, workers), how);
        std::vector<std::string> lacking;
        for (const auto& [worker, answer] : answers.items()) {
            if (!has_taken(answer)) lacking.push_back(worker);
        }
        if (lacking.empty()) return;
        const plugin files = program::own().for_workers();
        check(ask(cluster, requests::broadcast_worker_plugin(files.name, files.pickle, lacking), how));
    }

    static json ask(session& cluster, const json& request, const patience& how) {
        return cluster.call(request, how.at_most(most_time),
                            "not all workers of the Dask cluster at " + cluster.scheduler().text() +
                                " have answered whether they have the program,");
    }
    static bool has_taken(const json& answer) { return !answer.is_object() || answer.value("status", json()) == "OK"; }
    static void check(const json& answers) {
        if (!answers.is_object()) return;
        for (const auto& [worker, answer] : answers.items()) {
            if (has_taken(answer)) continue;
            const auto why = answer.find("exception_text");
            throw backend_error(
                "joblot: worker " + worker + " does not take the program: " +
                (why != answer.end() && why->is_string() ? why->get<std::string>() : "its log says why"));
        }
    }

    std::mutex mutex_;
    std::vector<std::shared_ptr<entry>> entries_; // guarded by mutex_
};

} // namespace joblot::dask::engine
