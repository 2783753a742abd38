// SPDX-License-Identifier: BSL-1.0
// The Dask backend: tasks run on the workers of a Dask cluster, on this machine or on others.
#pragma once

#include <joblot/core/requirements.hpp>

#include <joblot/backend/backend.hpp>
#include <joblot/backend/registry.hpp>
#include <joblot/dask/client.hpp>
#include <joblot/dask/engine_access.hpp>
#include <joblot/dask/utf8.hpp>
#include <joblot/system/fork.hpp>
#include <joblot/system/visibility.hpp>

#include <chrono>
#include <limits>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
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

/// The names are known before `main` begins, wherever this header is included. Each gives the same backend for the same
/// address each time, so that the connection is kept.
JOBLOT_ONE_PER_PROCESS inline const bool dask_is_registered = [] {
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
    engine::check_utf8("scheduler_host", scheduler_host);
    for (const std::string& worker : workers) engine::check_utf8("workers", worker);
    for (const auto& [resource, amount] : resources) {
        engine::check_utf8("resources", resource);
        if (!(amount >= 0 && amount <= std::numeric_limits<double>::max()))
            detail::refuse("resources", resource + " " + std::to_string(amount), "give a number of 0 or more");
    }
    return engine::access().make_backend(*this, client ? client->session() : nullptr);
}

} // namespace joblot
