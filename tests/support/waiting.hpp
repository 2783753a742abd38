// SPDX-License-Identifier: BSL-1.0
// Ways to wait for another thread that fail after two minutes instead of hanging. A passing test never waits that
// long: the limits only turn a deadlock into a message, so they say nothing about the machine's speed.
#pragma once

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <thread>

namespace support {

inline constexpr std::chrono::seconds patience{120};

/// Polls until `condition()` holds; false when it has not held for two minutes.
template <class Condition>
bool eventually(Condition condition) {
    const auto give_up = std::chrono::steady_clock::now() + patience;
    while (!condition()) {
        if (std::chrono::steady_clock::now() > give_up) return false;
        std::this_thread::sleep_for(std::chrono::microseconds{200});
    }
    return true;
}

/// A door that opens once, for all.
class gate {
public:
    void open() {
        const std::lock_guard lock{mutex_};
        open_ = true;
        changed_.notify_all();
    }
    bool wait() {
        std::unique_lock lock{mutex_};
        return changed_.wait_for(lock, patience, [this] { return open_; });
    }

private:
    std::mutex mutex_;
    std::condition_variable changed_;
    bool open_ = false;
};

/// Lets nobody through before `expected` threads have come: the proof that so many tasks run at the same time.
class meeting_point {
public:
    explicit meeting_point(int expected) : missing_{expected} {}
    bool arrive_and_wait() {
        std::unique_lock lock{mutex_};
        if (--missing_ <= 0) changed_.notify_all();
        return changed_.wait_for(lock, patience, [this] { return missing_ <= 0; });
    }

private:
    std::mutex mutex_;
    std::condition_variable changed_;
    int missing_;
};

} // namespace support
