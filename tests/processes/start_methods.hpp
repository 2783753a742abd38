// SPDX-License-Identifier: BSL-1.0
// Both ways to start worker processes.
#pragma once

#include "../support/backends.hpp"

namespace support {

/// Each of them in turn; to be asked once in a test.
inline joblot::backend_choice spawned_or_forked() {
    if (under_tsan) return "processes"; // fork with threads is beyond it
    return GENERATE(joblot::backend_choice("processes"), joblot::backend_choice(forked()));
}

} // namespace support
