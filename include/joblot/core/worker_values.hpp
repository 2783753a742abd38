// SPDX-License-Identifier: BSL-1.0
// What the workers of one call keep from task to task, see per_worker.hpp.
#pragma once

#include <joblot/system/visibility.hpp>

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

namespace joblot::detail {

/// Values of a call, one of each kind for each worker. Thread-safe: no two threads are the same worker at a time.
class worker_values {
public:
    /// The value of a kind for a worker; `make()` gives it at the first time, as a `std::shared_ptr`.
    template <class Make>
    void* get(std::uint64_t kind, int worker, Make make) {
        if (void* const there = find(kind, worker)) return there;
        std::shared_ptr<void> fresh = make(); // the user's code: no lock is held
        const std::lock_guard lock(mutex_);
        return values_.emplace_back(value{kind, worker, std::move(fresh)}).it.get();
    }
    /// A thread that was a worker and used values is no longer: what it wrote is there for the next one.
    void hand_over() noexcept { const std::lock_guard lock(mutex_); }
    /// The call is over.
    void clear() noexcept {
        std::vector<value> gone;
        const std::lock_guard lock(mutex_);
        gone.swap(values_);
    }

private:
    struct value {
        std::uint64_t kind;
        int worker;
        std::shared_ptr<void> it;
    };

    void* find(std::uint64_t kind, int worker) {
        const std::lock_guard lock(mutex_);
        for (const value& v : values_) {
            if (v.kind == kind && v.worker == worker) return v.it.get();
        }
        return nullptr;
    }

    std::mutex mutex_;
    std::vector<value> values_;
};

/// Whether kinds of values were ever sent to other processes, so that these must be told when a call is over.
JOBLOT_ONE_PER_PROCESS inline std::atomic<bool>& values_travel() noexcept {
    static constinit std::atomic<bool> any{false}; // relaxed: who sends a kind sends what follows, too
    return any;
}

/// A number for a kind, or a call, that no other one of this process has.
JOBLOT_ONE_PER_PROCESS inline std::uint64_t fresh_number() noexcept {
    static constinit std::atomic<std::uint64_t> last{0};
    return last.fetch_add(1, std::memory_order_relaxed) + 1;
}

} // namespace joblot::detail
