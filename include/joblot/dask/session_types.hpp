// SPDX-License-Identifier: BSL-1.0
// What a session with a scheduler takes and tells.
#pragma once

#include <joblot/dask/requests.hpp>
#include <joblot/dask/tls.hpp>

#include <chrono>
#include <cstddef>
#include <string>
#include <vector>

namespace joblot::dask {

/// How to connect with a scheduler.
struct client_options {
    tls_options tls{};
    std::chrono::milliseconds timeout{10'000}; ///< until the connection stands; a scheduler may come up meanwhile
    std::chrono::milliseconds liveness_timeout{30'000}; ///< after which a scheduler that answers nothing is given up
};

} // namespace joblot::dask

namespace joblot::dask::engine {

using connect_options = client_options;

/// What workers tell about batches that run, as events of that name: {"key": ..., "done": number of tasks}.
inline constexpr const char* progress_topic = "joblot-progress";

/// The end of a submitted key. There is exactly one for each.
struct task_end {
    enum class kind {
        result,         ///< `data` is its value, `type` Python's name of the value's class
        kept,           ///< it is there, and stays on the cluster, wanted once: until `session::stop_desiring`
        erred,          ///< it raised `type`; `data` are the bytes in the exception's arguments, if there are any
        worker_killed,  ///< Dask gave up as several workers died with it
        cancelled,      ///< by `session::cancel` (`text` is empty), or by another hand
        not_sent,       ///< the data that it needs could not be brought to the cluster
        connection_lost ///< nobody knows what became of it
    };
    std::string key;
    kind how = kind::connection_lost;
    std::vector<std::byte> data{};
    std::string type{}, text{};
    std::chrono::steady_clock::duration upload{}; ///< how long it took to bring its data to the cluster
};

/// Is told what happens, on the session's thread. Must not wait for anything.
class task_listener {
public:
    task_listener() = default;
    task_listener(const task_listener&) = delete;
    task_listener& operator=(const task_listener&) = delete;
    virtual ~task_listener() = default;

    virtual void task_ended(task_end end) noexcept = 0;
    /// So many tasks of that key's batch are done, while it runs on; told where `session::watch_progress` was called.
    virtual void progressed(const std::string& key, std::size_t done) noexcept {
        static_cast<void>(key), static_cast<void>(done);
    }
    /// `session::worker_threads` has changed. Told to the listeners of keys that have not ended.
    virtual void workers_changed() noexcept {}
};

} // namespace joblot::dask::engine
