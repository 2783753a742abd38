// SPDX-License-Identifier: BSL-1.0
// A value of which a forked child has one of its own: its parent's may be locked for ever, or speak of connections that
// are the parent's.
#pragma once

#include <atomic>
#include <memory>

#include <unistd.h>

namespace joblot::dask::engine {

/// Makes its value when it is first asked for, in each process. Thread-safe. What a child inherited is never touched
/// there. The value lives until `clear`, which a static one never sees: static destructors make calls too.
template <class T>
class per_process {
public:
    constexpr per_process() noexcept = default;
    per_process(const per_process&) = delete;
    per_process& operator=(const per_process&) = delete;
    T& get() {
        node* there = last_.load(std::memory_order_acquire);
        while (!there || there->owner != ::getpid()) {
            auto fresh = std::make_unique<node>(there);
            if (last_.compare_exchange_strong(there, fresh.get(), std::memory_order_acq_rel)) there = fresh.release();
        }
        return there->value;
    }

    /// Destroys the value, if it is this process's own. For when nobody uses it any more.
    void clear() noexcept {
        node* const there = last_.exchange(nullptr, std::memory_order_acq_rel);
        if (there && there->owner == ::getpid()) delete there;
    }

private:
    struct node {
        explicit node(const node* b) : before(b) {}
        const pid_t owner = ::getpid();
        const node* const before; // a parent's: kept within reach, it is no leak
        T value{};
    };

    std::atomic<node*> last_{nullptr};
};

} // namespace joblot::dask::engine
