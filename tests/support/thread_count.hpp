// SPDX-License-Identifier: BSL-1.0
// How many threads this process has, as the kernel sees it (Linux), and the largest number seen while a scope lived.
#pragma once

#include <algorithm>
#include <filesystem>
#include <iterator>

namespace support {

inline int thread_count() {
    const std::filesystem::directory_iterator tasks{"/proc/self/task"};
    return static_cast<int>(std::distance(begin(tasks), end(tasks)));
}

} // namespace support
