// SPDX-License-Identifier: BSL-1.0
// What `dask::backend` stands for: brings the program to a cluster and runs calls there.
#pragma once

#include <joblot/backend/backend.hpp>
#include <joblot/backend/dask.hpp>
#include <joblot/backend/process_options.hpp>
#include <joblot/dask/call/driver.hpp>
#include <joblot/dask/program/deployment.hpp>
#include <joblot/dask/session/session.hpp>
#include <joblot/error.hpp>
#include <joblot/system/fork.hpp>
#include <joblot/system/privileges.hpp>
#include <joblot/system/visibility.hpp>

#include <nlohmann/json.hpp>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

namespace joblot::dask::engine {

/// Runs the calls of a `dask::backend`. Connects when it is first needed, and again when the connection has been lost
/// since.
class cluster_backend final : public joblot::backend {
public:
    cluster_backend(const dask::backend& o, std::shared_ptr<session> cluster)
        : scheduler_(o.scheduler_host), client_(std::move(cluster)), workers_(o.workers) {
        options_.tasks = {o.workers, o.allow_other_workers, o.resources, o.priority, o.retries};
        options_.max_concurrency = o.max_concurrency;
        options_.min_concurrency = o.min_concurrency;
        options_.wait_for_workers = o.wait_for_workers_timeout;
    }
    ~cluster_backend() override { connection_.clear(); }

    [[nodiscard]] std::string name() const override { return "DaskDistributedBackend"; }
    [[nodiscard]] backend_traits traits() const noexcept override {
        using namespace std::chrono_literals;
        return {.shared_memory = false, .can_kill = true, .remote = true, .batch_target = 200ms, .batch_cost = 2ms};
    }
    /// The cluster's threads. @throws backend_error where there is no cluster, or no worker in time.
    [[nodiscard]] int effective_n_jobs(int) const override { return threads_there({}); }
    [[nodiscard]] int effective_n_jobs_of(const detail::call_settings& call) const override {
        try {
            return threads_there(patience([&call] { return call.is_over(); }));
        } catch (const not_wanted&) {
            return 1; // the call will end by itself
        }
    }

    void run(job& j) override {
        if (!detail::process_engine().load(std::memory_order_acquire))
            detail::refuse_without_init("a cluster's workers");
        if (detail::process_level() > 0)
            throw backend_error("joblot: a task in a worker process cannot use a cluster: it would wait for others "
                                "that may wait in the same way; calls inside of a task use threads by themselves");
        static_cast<void>(j.remote_runner()); // throws for tasks that cannot be sent
        if (j.tasks_left() == 0) return;
        const patience how = patience_of(j);
        try {
            const session_ptr cluster = connected(how);
            deployment::instance().ensure(cluster, how);
            call_options options = options_;
            options.workers = [this, cluster](const patience& wanted) { return workers_of(cluster, wanted); };
            call_driver(j, cluster, std::move(options)).run();
        } catch (const not_wanted&) { // the call is over, and knows why
        }
    }

private:
    using session_ptr = std::shared_ptr<engine::session>;
    struct connection {
        std::timed_mutex mutex;
        session_ptr session; // guarded by it
    };

    [[nodiscard]] session_ptr connected(const patience& how) const {
        if (client_) return client_;
        connection& own = connection_.get();
        session_ptr before, kept; // their ends wait for a thread: after the lock
        std::unique_lock lock(own.mutex, std::defer_lock);
        how.lock(lock, "another call connects"); // without a limit of its own, as that one has one
        if (!own.session || !own.session->alive()) {
            before = std::exchange(own.session, session::shared(address::of(scheduler()), {}, how));
            kept = keep(own.session);
        }
        return own.session;
    }
    [[nodiscard]] std::string scheduler() const {
        if (!scheduler_.empty()) return scheduler_;
        const char* const set = detail::trusted_variable("DASK_SCHEDULER_ADDRESS");
        if (set && *set) return set;
        throw backend_error("joblot: which Dask cluster? Give dask::backend a scheduler_host or a client, \"dask\" an "
                            "address (\"dask:tcp://host:8786\"), or set DASK_SCHEDULER_ADDRESS");
    }

    /// Keeps a connection, and what the cluster was given over it, for the guard that comes next; until then, or the
    /// end.
    /// @return The one before: who lets go of it may be its last owner, and holds no lock then.
    [[nodiscard]] JOBLOT_ONE_PER_PROCESS static session_ptr keep(session_ptr last) {
        static constinit detail::per_process<connection> kept;
        connection& one = kept.get();
        const std::lock_guard lock(one.mutex);
        one.session.swap(last);
        return last;
    }

    /// The workers that may be used, and their threads.
    [[nodiscard]] std::map<std::string, int> workers_of(const session_ptr& cluster, const patience& how) const {
        if (workers_.empty() || options_.tasks.allow_other_workers) return cluster->worker_threads(how);
        std::map<std::string, int> threads;
        const nlohmann::json all = cluster->identity(how); // by name: `items` refers to it
        for (const auto& [address, facts] : all.at("workers").items()) {
            const auto is = [&](const char* what, const std::string& wanted) {
                const auto found = facts.find(what);
                return found != facts.end() && (found->is_string() ? *found == wanted : found->dump() == wanted);
            };
            for (const std::string& wanted : workers_) {
                const nlohmann::json n = facts.value("nthreads", nlohmann::json());
                if (n.is_number_integer() && (address == wanted || is("name", wanted) || is("host", wanted)))
                    threads[address] = n.get<int>();
            }
        }
        return threads;
    }
    [[nodiscard]] int threads_of(const session_ptr& cluster, const patience& how) const {
        int sum = 0;
        for (const auto& [address, threads] : workers_of(cluster, how)) sum += threads;
        return sum;
    }
    /// The cluster's threads, at least 1. @throws backend_error, not_wanted.
    [[nodiscard]] int threads_there(const patience& how) const {
        const auto cluster = connected(how);
        int threads = threads_of(cluster, how);
        if (threads == 0) threads = wait_for_workers(cluster, how);
        return std::min(threads, options_.max_concurrency.value_or(threads));
    }

    /// A task that does nothing, as long as it lives: it makes a cluster that adapts to its work start a worker.
    class probe {
    public:
        probe(session_ptr cluster, const task_options& options)
            : cluster_(std::move(cluster)), key_(fresh_key("joblot_probe", cluster_->client_id())) {
            task_submission nothing;
            nothing.key = key_;
            cluster_->submit(std::move(nothing), options, std::make_shared<inbox>(), {"builtins", "bytes"});
        }
        ~probe() {
            unless_over([this] { cluster_->cancel({key_}); });
        }
        probe(const probe&) = delete;
        probe& operator=(const probe&) = delete;

    private:
        const session_ptr cluster_;
        const std::string key_;
    };

    int wait_for_workers(const session_ptr& cluster, const patience& how) const {
        const probe work(cluster, options_.tasks);
        const auto end = detail::deadline_after(std::chrono::steady_clock::now(), options_.wait_for_workers);
        for (; std::chrono::steady_clock::now() < end; how.pause(std::chrono::milliseconds(20))) {
            if (const int threads = threads_of(cluster, how)) return threads;
        }
        throw backend_error("joblot: the Dask cluster at " + cluster->scheduler().text() + " has no worker after " +
                            std::to_string(options_.wait_for_workers.count()) +
                            " ms; start workers that can reach the scheduler, or give dask::backend a longer "
                            "wait_for_workers_timeout");
    }

    const std::string scheduler_;
    const session_ptr client_;
    const std::vector<std::string> workers_;
    call_options options_;
    mutable detail::per_process<connection> connection_;
};

} // namespace joblot::dask::engine
