// SPDX-License-Identifier: BSL-1.0
// The mutex of the process-wide tables, which a child process can still take after `fork`.
#pragma once

#include <mutex>

#if __has_include(<pthread.h>)
#include <pthread.h>
#endif

namespace joblot::detail {

/// Guards the tables that the whole process shares (backends by name, names of functions). Held for a look-up only,
/// never while code of a user runs. Never destroyed: static destructors make calls too.
inline std::mutex& table_mutex() {
    static std::mutex* const mutex = [] {
        auto* const fresh = new std::mutex;
#if __has_include(<pthread.h>)
        // Forked while another thread holds it, the child would wait for a thread that it does not have. So whoever
        // forks takes it before, and both processes release theirs.
        pthread_atfork([] { table_mutex().lock(); }, [] { table_mutex().unlock(); }, [] { table_mutex().unlock(); });
#endif
        return fresh;
    }();
    return *mutex;
}

} // namespace joblot::detail
