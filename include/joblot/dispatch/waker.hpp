// SPDX-License-Identifier: BSL-1.0
// How a backend hears of a job without waiting in it.
#pragma once

#include <joblot/dispatch/job.hpp>

#include <functional>
#include <mutex>
#include <utility>

namespace joblot {

/// For a backend whose workers do something else than `job::wait()` while nothing can be claimed. While one lives, its
/// function is called when a generator's reader has made room for more tasks, and when tasks are not wanted any more
/// (`job::limit` and `job::unwanted_from` tell which). A job has one at a time.
class waker {
public:
    /// @param f Any thread calls it, with the job locked: it must not throw, nor call the job back, but for those two.
    waker(job& j, std::function<void()> f) : job_(j) { set(std::move(f)); }
    /// When this returns, no call of the function is under way, and none will come.
    ~waker() { set(nullptr); }
    waker(const waker&) = delete;
    waker& operator=(const waker&) = delete;

private:
    void set(std::function<void()> f) {
        const std::lock_guard lock(job_.waker_mutex_);
        job_.waker_.swap(f);
    }

    job& job_;
};

} // namespace joblot
