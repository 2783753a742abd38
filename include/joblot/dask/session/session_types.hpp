// SPDX-License-Identifier: BSL-1.0
// What a session with a scheduler takes and tells.
#pragma once

#include <joblot/dask/net/tls.hpp>
#include <joblot/dask/options.hpp>
#include <joblot/dask/protocol/requests.hpp>
#include <joblot/error.hpp>
#include <joblot/system/visibility.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace joblot::dask::engine {

using connect_options = client_options;

/// What workers tell about batches that run, as events of that name: {"key": ..., "done": number of tasks}.
inline constexpr const char* progress_topic = "joblot-progress";

/// The end of a submitted key. There is exactly one for each.
struct task_end {
    enum class kind {
        result,         ///< `data` is its value, `type` Python's name of the value's class
        persisted,      ///< its value is there, and stays on the cluster, desired once: until `session::stop_desiring`
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

/// Who waited for a cluster does not want to any more: the call was stopped, or has failed.
class JOBLOT_ONE_TYPE not_wanted final : public backend_error {
public:
    not_wanted() : backend_error("joblot: nobody waits for the Dask cluster any more: the call is over") {}
};

/// How long something on a cluster is waited for. For one thread, the one that waits.
class patience {
public:
    using clock = std::chrono::steady_clock;

    /// Until it is there, or the session is over.
    patience() = default;
    /// @param unwanted Is asked now and then. @param most After that waiting is an error.
    explicit patience(std::function<bool()> unwanted, clock::duration most = clock::duration::max())
        : unwanted_(std::move(unwanted)),
          end_(most == clock::duration::max() ? clock::time_point::max() : clock::now() + most) {}

    /// The same, which ends `most` from now, unless it ends before.
    [[nodiscard]] patience at_most(clock::duration most) const {
        patience other = *this;
        other.end_ = std::min(end_, clock::now() + most);
        return other;
    }
    /// Waits until `ready(time)`, which waits for so long at most, is true.
    /// @param what Is waited for, in words. @throws not_wanted, backend_error.
    template <class Ready>
    void wait(const std::string& what, Ready ready) const {
        const auto begin = clock::now();
        while (!ready(interval)) {
            if (unwanted_ && unwanted_()) throw not_wanted();
            if (clock::now() < end_) continue;
            const auto seconds = std::chrono::round<std::chrono::seconds>(clock::now() - begin).count();
            throw backend_error("joblot: " + what + " for " + std::to_string(seconds) +
                                " s; a worker that does not answer any more has to be ended");
        }
    }
    /// @throws not_wanted, backend_error.
    void lock(std::unique_lock<std::timed_mutex>& lock, const std::string& what) const {
        wait(what, [&](auto time) { return lock.try_lock_for(time); });
    }
    /// @throws not_wanted Nobody wants the result any more.
    void pause(clock::duration time) const {
        if (unwanted_ && unwanted_()) throw not_wanted(); // also where the pause is shorter than an interval
        const auto end = clock::now() + time;
        wait("", [&](auto some) {
            std::this_thread::sleep_for(std::min<clock::duration>(some, end - clock::now()));
            return clock::now() >= end;
        });
    }

private:
    static constexpr std::chrono::milliseconds interval{20};

    std::function<bool()> unwanted_{};
    clock::time_point end_ = clock::time_point::max();
};

} // namespace joblot::dask::engine
