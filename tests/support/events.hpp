// SPDX-License-Identifier: BSL-1.0
// A list of what happened, in order, that any thread may write to; and a counter of how many do a thing at once.
#pragma once

#include <algorithm>
#include <atomic>
#include <mutex>
#include <string>
#include <vector>

namespace support {

class event_log {
public:
    void add(std::string event) {
        const std::lock_guard lock{mutex_};
        events_.push_back(std::move(event));
    }
    void add(const char* what, int index) { add(what + std::to_string(index)); }
    std::vector<std::string> events() const {
        const std::lock_guard lock{mutex_};
        return events_;
    }

private:
    mutable std::mutex mutex_;
    std::vector<std::string> events_;
};

/// Counts the threads inside a scope: `counting c{overlap};`. `most()` is the largest number ever seen.
class overlap {
public:
    int enter() {
        const int now = ++inside_;
        int seen = most_.load();
        while (seen < now && !most_.compare_exchange_weak(seen, now)) {
        }
        ++entered_;
        return now;
    }
    void leave() {
        --inside_;
        ++left_;
    }
    int inside() const { return inside_; }
    int most() const { return most_; }
    int entered() const { return entered_; }
    int left() const { return left_; }

private:
    std::atomic<int> inside_{0}, most_{0}, entered_{0}, left_{0};
};

class counting {
public:
    explicit counting(overlap& counter) : counter_{counter} { counter_.enter(); }
    ~counting() { counter_.leave(); }
    counting(const counting&) = delete;
    counting& operator=(const counting&) = delete;

private:
    overlap& counter_;
};

} // namespace support
