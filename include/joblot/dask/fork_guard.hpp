// SPDX-License-Identifier: BSL-1.0
// Descriptors that a forked child must not keep: with a copy of a connection in a child, the other side would not
// notice the parent's end.
#pragma once

#include <algorithm>
#include <mutex>
#include <vector>

#include <pthread.h>
#include <unistd.h>

namespace joblot::dask::engine {

/// The process's list of such descriptors. A child closes them as it begins; nothing else of their owners is touched
/// there, so what is registered with them elsewhere (epoll) stays the parent's.
class fork_guard {
public:
    static fork_guard& instance() {
        static fork_guard* const guard = [] {
            auto* const fresh = new fork_guard; // never destroyed: threads may still use it while the process ends
            the_one() = fresh;
            pthread_atfork([] { the_one()->mutex_.lock(); }, [] { the_one()->mutex_.unlock(); },
                           [] { the_one()->abandon(); });
            return fresh;
        }();
        return *guard;
    }

    /// Opens a descriptor by `make()`, and notes it. No fork comes in between. @return What `make` gave.
    template <class Make>
    int open(Make make) {
        const std::lock_guard lock(mutex_);
        open_.reserve(open_.size() + 1);
        const int number = make();
        if (number >= 0) open_.push_back(number);
        return number;
    }

    /// Closes a descriptor by `close()`.
    template <class Close>
    void close(int number, Close close) noexcept {
        const std::lock_guard lock(mutex_);
        std::erase(open_, number);
        close();
    }
    void close(int number) noexcept {
        close(number, [number] { ::close(number); });
    }

private:
    fork_guard() = default;
    static fork_guard*& the_one() noexcept {
        static constinit fork_guard* one = nullptr; // the handlers must not wait for the static above
        return one;
    }
    void abandon() noexcept {
        for (const int number : open_) ::close(number);
        open_.clear();
        mutex_.unlock();
    }

    std::mutex mutex_; // held by whoever forks, so it is free in the child
    std::vector<int> open_;
};

} // namespace joblot::dask::engine
