// SPDX-License-Identifier: BSL-1.0
// The Dask backend: tasks run on the workers of a Dask cluster, on this machine or on others.
#pragma once

#include <joblot/backend/backend.hpp>
#include <joblot/backend/process_options.hpp>
#include <joblot/backend/registry.hpp>
#include <joblot/dask/client.hpp>
#include <joblot/dask/deployment.hpp>
#include <joblot/dask/driver.hpp>
#include <joblot/dask/per_process.hpp>
#include <joblot/table_mutex.hpp>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <limits>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace joblot {

namespace dask {

/// Describes the Dask backend, by name `"dask"` or `"dask.distributed"`: tasks run on the workers of a cluster, which
/// are stock Dask workers. They get the program's own executable once and run it in processes of its own; so it
/// must call `joblot::init` first in `main`, and functions, arguments and results must be able to travel
/// (`is_remotable_v`).
///
/// All threads of the cluster's workers are used, whatever `n_jobs` says, also of those that join in the middle of a
/// call. What a task does to its process is felt by nobody else. Calls inside of a task stay inside of its worker.
struct backend {
    /// The scheduler, e.g. "tcp://10.0.0.1:8786". Default: that of `client`, or else `DASK_SCHEDULER_ADDRESS`.
    std::string scheduler_host{};
    /// A client whose connection is used, instead of an address.
    const Client* client = nullptr;
    /// A call that finds no worker waits for so long, and so does one whose workers are all gone; then it is a
    /// `backend_error`. A cluster that adapts is asked for a worker meanwhile. The same where Dask has paused all
    /// workers for their memory and none does anything; if others run, they get the batches of those that do not.
    std::chrono::milliseconds wait_for_workers_timeout = std::chrono::seconds(10);
    /// So many batches are on the cluster at once, at most. Default: two for each thread of its workers, so that each
    /// has the next one ready.
    std::optional<int> max_concurrency{};
    /// So many are there at least, as long as there are tasks: a cluster that adapts grows when it sees more work than
    /// its workers do in some seconds (`target_duration` of Dask's `Adaptive`). Default: no more than its workers need.
    int min_concurrency = 0;

    // What follows are Dask's own, see there: https://distributed.dask.org/en/stable/api.html

    std::vector<std::string> workers{};        ///< addresses, names or hosts of those that may be used; none: all
    std::map<std::string, double> resources{}; ///< what each batch needs, of what workers were started with
    int priority = 0;                          ///< against other work on the cluster; higher goes first
    int retries = 0;                           ///< how often Dask itself tries a batch again; see `options::retries`
    bool allow_other_workers = false;          ///< `workers` is a wish only

    /// @throws std::invalid_argument for a value that makes no sense.
    [[nodiscard]] std::shared_ptr<joblot::backend> make() const;
};

} // namespace dask

namespace detail {

/// Connects when it is first needed, and again when the connection has been lost since.
class dask_backend final : public backend {
public:
    explicit dask_backend(const dask::backend& o)
        : scheduler_(o.scheduler_host), client_(o.client ? o.client->session() : nullptr), workers_(o.workers) {
        options_.tasks = {o.workers, o.allow_other_workers, o.resources, o.priority, o.retries};
        options_.max_concurrency = o.max_concurrency;
        options_.min_concurrency = o.min_concurrency;
        options_.wait_for_workers = o.wait_for_workers_timeout;
    }
    ~dask_backend() override { connection_.clear(); }

    [[nodiscard]] std::string name() const override { return "DaskDistributedBackend"; }
    [[nodiscard]] backend_traits traits() const noexcept override {
        using namespace std::chrono_literals;
        return {.shared_memory = false, .can_kill = true, .remote = true, .batch_target = 200ms, .batch_cost = 2ms};
    }
    /// The cluster's threads. @throws backend_error where there is no cluster, or no worker in time.
    [[nodiscard]] int effective_n_jobs(int) const override {
        const auto cluster = connected();
        int threads = threads_of(cluster);
        if (threads == 0) threads = wait_for_workers(cluster);
        return std::min(threads, options_.max_concurrency.value_or(threads));
    }

    void run(job& j) override {
        if (!process_engine().load(std::memory_order_acquire)) refuse_without_init("a cluster's workers");
        if (process_level() > 0)
            throw backend_error("joblot: a task in a worker process cannot use a cluster: it would wait for others "
                                "that may wait in the same way; calls inside of a task use threads by themselves");
        j.check_results_travel();
        static_cast<void>(j.remote_runner()); // throws for tasks that cannot be sent
        if (j.tasks_left() == 0) return;
        const auto cluster = connected();
        dask::engine::deployment::instance().ensure(cluster);
        dask::engine::call_options options = options_;
        options.workers = [this, cluster] { return workers_of(cluster); };
        dask::engine::call_driver(j, cluster, std::move(options)).run();
    }

private:
    using session_ptr = std::shared_ptr<dask::engine::session>;
    struct connection {
        std::mutex mutex;
        session_ptr session; // guarded by it
    };

    [[nodiscard]] session_ptr connected() const {
        if (client_) return client_;
        connection& own = connection_.get();
        const std::lock_guard lock(own.mutex);
        if (!own.session || !own.session->alive()) {
            own.session = dask::engine::session::shared(dask::engine::address::of(scheduler()), {});
            keep(own.session);
        }
        return own.session;
    }
    [[nodiscard]] std::string scheduler() const {
        if (!scheduler_.empty()) return scheduler_;
        const char* const set = std::getenv("DASK_SCHEDULER_ADDRESS");
        if (set && *set) return set;
        throw backend_error("joblot: which Dask cluster? Give dask::backend a scheduler_host or a client, \"dask\" an "
                            "address (\"dask:tcp://host:8786\"), or set DASK_SCHEDULER_ADDRESS");
    }

    /// Keeps a connection, and what the cluster was given over it, for the guard that comes next; until then, or the
    /// end.
    static void keep(session_ptr last) {
        static constinit dask::engine::per_process<connection> kept;
        connection& one = kept.get();
        const std::lock_guard lock(one.mutex);
        one.session.swap(last);
    }

    /// The workers that may be used, and their threads.
    [[nodiscard]] std::map<std::string, int> workers_of(const session_ptr& cluster) const {
        if (workers_.empty() || options_.tasks.allow_other_workers) return cluster->worker_threads();
        std::map<std::string, int> threads;
        const nlohmann::json all = cluster->identity(); // by name: `items` refers to it
        for (const auto& [address, facts] : all.at("workers").items()) {
            const auto is = [&](const char* what, const std::string& wanted) {
                const auto found = facts.find(what);
                return found != facts.end() && (found->is_string() ? *found == wanted : found->dump() == wanted);
            };
            for (const std::string& wanted : workers_) {
                if (address == wanted || is("name", wanted) || is("host", wanted))
                    threads[address] = facts.value("nthreads", 0);
            }
        }
        return threads;
    }
    [[nodiscard]] int threads_of(const session_ptr& cluster) const {
        int sum = 0;
        for (const auto& [address, threads] : workers_of(cluster)) sum += threads;
        return sum;
    }

    /// A task that does nothing makes a cluster that adapts to its work start a worker.
    int wait_for_workers(const session_ptr& cluster) const {
        dask::engine::task_submission nothing;
        nothing.key = dask::engine::fresh_key("joblot_probe", cluster->client_id());
        const std::string key = nothing.key;
        cluster->submit(std::move(nothing), options_.tasks, std::make_shared<dask::engine::inbox>(),
                        {"builtins", "bytes"});
        const auto end = std::chrono::steady_clock::now() + options_.wait_for_workers;
        for (;;) {
            const int threads = threads_of(cluster);
            const bool late = std::chrono::steady_clock::now() >= end;
            if (threads > 0 || late) cluster->cancel({key});
            if (threads > 0) return threads;
            if (late) break;
            std::this_thread::sleep_for(std::chrono::milliseconds(20));
        }
        throw backend_error("joblot: the Dask cluster at " + cluster->scheduler().text() + " has no worker after " +
                            std::to_string(options_.wait_for_workers.count()) +
                            " ms; start workers that can reach the scheduler, or give dask::backend a longer "
                            "wait_for_workers_timeout");
    }

    const std::string scheduler_;
    const session_ptr client_;
    const std::vector<std::string> workers_;
    dask::engine::call_options options_;
    mutable dask::engine::per_process<connection> connection_;
};

/// The names are known before `main` begins, wherever this header is included. Each gives the same backend for the same
/// address each time, so that the connection is kept.
inline const bool dask_is_registered = [] {
    auto* const known =
        new std::map<std::string, std::shared_ptr<backend>>; // to the end: static destructors make calls
    for (const char* name : {"dask", "dask.distributed"}) {
        backend_registry::instance().set_default(name, [known](const backend_options& o) {
            const std::lock_guard lock(table_mutex());
            std::shared_ptr<backend>& one = (*known)[o.address];
            if (!one) one = dask::backend{.scheduler_host = o.address}.make();
            return one;
        });
    }
    return true;
}();

} // namespace detail

inline std::shared_ptr<joblot::backend> dask::backend::make() const {
    if (max_concurrency && *max_concurrency < 1)
        detail::refuse("max_concurrency", *max_concurrency, "give 1 or more, or leave it out");
    if (min_concurrency < 0 || min_concurrency > max_concurrency.value_or(min_concurrency))
        detail::refuse("min_concurrency", min_concurrency, "give 0 or more, and not more than max_concurrency");
    if (wait_for_workers_timeout.count() < 0)
        detail::refuse("wait_for_workers_timeout", wait_for_workers_timeout.count(), "give a duration of 0 or more");
    if (retries < 0) detail::refuse("retries", retries, "give 0 or more");
    return std::make_shared<detail::dask_backend>(*this);
}

} // namespace joblot
