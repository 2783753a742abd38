// SPDX-License-Identifier: BSL-1.0
// Which CPU a thread is on, where the system says so without a system call.
#pragma once

#if defined(__linux__)
#include <sched.h>
#endif

namespace joblot::detail {

/// Its number, or -1 where it is not known. It may be another one at the next moment.
inline int cpu_here() noexcept {
#if defined(__linux__)
    return ::sched_getcpu();
#else
    return -1;
#endif
}

} // namespace joblot::detail
