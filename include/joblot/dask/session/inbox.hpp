// SPDX-License-Identifier: BSL-1.0
// Where the ends of a call's Dask tasks wait for the thread that drives the call.
#pragma once

#include <joblot/dask/session/session_types.hpp>

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

namespace joblot::dask::engine {

/// Filled by the session's thread, emptied by the call's; rung by any. All members are thread-safe.
class inbox final : public task_listener {
public:
    /// What has come since the last look.
    struct content {
        std::vector<task_end> ends;
        std::vector<std::pair<std::string, std::size_t>> progress; // keys, and how many of their tasks are done
        bool workers_changed = false;
        bool woken = false;
        [[nodiscard]] bool from_tasks() const noexcept { return !ends.empty() || !progress.empty(); }
        [[nodiscard]] bool empty() const noexcept {
            return ends.empty() && progress.empty() && !workers_changed && !woken;
        }
    };

    void task_ended(task_end end) noexcept override {
        note([&] { content_.ends.push_back(std::move(end)); }); // without memory there is no way on: terminate
    }
    void progressed(const std::string& key, std::size_t done) noexcept override {
        note([&] { content_.progress.emplace_back(key, done); });
    }
    void workers_changed() noexcept override {
        note([&] { content_.workers_changed = true; });
    }
    /// Wakes whoever waits.
    void wake() noexcept {
        note([&] { content_.woken = true; });
    }

    /// Waits for something to come, but not for longer than `most`. Empty when that has passed.
    [[nodiscard]] content wait(std::chrono::nanoseconds most) {
        std::unique_lock lock(mutex_);
        something_.wait_for(lock, most, [&] { return !content_.empty(); });
        return std::exchange(content_, {});
    }

private:
    template <class Change>
    void note(Change change) noexcept {
        {
            const std::lock_guard lock(mutex_);
            change();
        }
        something_.notify_one();
    }

    std::mutex mutex_;
    std::condition_variable something_;
    content content_; // guarded by mutex_
};

} // namespace joblot::dask::engine
