// SPDX-License-Identifier: BSL-1.0
// Descriptors that a forked child must not keep: with a copy of a connection in a child, the other side would not
// notice the parent's end.
#pragma once

#include <joblot/system/descriptor.hpp>
#include <joblot/system/fork.hpp>
#include <joblot/system/visibility.hpp>

#include <algorithm>
#include <mutex>
#include <vector>

#include <unistd.h>

namespace joblot::dask::engine {

/// The process's list of such descriptors. A child closes them as it begins; nothing else of their owners is touched
/// there, so what is registered with them elsewhere (epoll) stays the parent's.
class fork_guard {
public:
    /// Opens a descriptor by `make()`, and notes it. No fork comes in between. @return What `make` gave.
    template <class Make>
    static int open(Make make) {
        const std::lock_guard lock(mutex());
        all().reserve(all().size() + 1);
        detail::forks.set_handler(detail::fork_level::descriptors, [](detail::fork_phase when) noexcept {
            if (when == detail::fork_phase::in_child) abandon();
        });
        const int number = detail::descriptor(make()).release(); // never 0, 1 or 2
        if (number >= 0) all().push_back(number);
        return number;
    }

    /// Closes a descriptor by `close()`.
    template <class Close>
    static void close(int number, Close close) noexcept {
        const std::lock_guard lock(mutex());
        std::erase(all(), number);
        close();
    }
    static void close(int number) noexcept {
        close(number, [number] { ::close(number); });
    }

private:
    static std::mutex& mutex() noexcept { return detail::forks.mutex(detail::fork_level::descriptors); }
    /// Guarded by it.
    JOBLOT_ONE_PER_PROCESS static std::vector<int>& all() {
        static constinit detail::made_once<std::vector<int>> open;
        return open.get();
    }
    static void abandon() noexcept {
        for (const int number : all()) ::close(number);
        all().clear();
    }
};

} // namespace joblot::dask::engine
