// SPDX-License-Identifier: BSL-1.0
// Keys of Dask tasks: unique, and such that the dashboard shows the function's name.
#pragma once

#include <joblot/system/visibility.hpp>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace joblot::dask::engine {

/// What a task is called on the dashboard, which shows a key up to the first "-" that no word follows.
[[nodiscard]] inline std::string task_group(std::string_view label) {
    constexpr std::size_t most = 100;
    std::string name(label.substr(0, most));
    // UTF-8 that was cut off in the middle of a character, or none at all, would break the connection: ASCII it is
    for (char& c : name) {
        if (c == '-' || c < ' ' || c > '~') c = '_';
    }
    return name.empty() ? "task" : name;
}

/// A key that nothing else on the cluster has.
JOBLOT_ONE_PER_PROCESS [[nodiscard]] inline std::string fresh_key(std::string_view group, std::string_view client) {
    static constinit std::atomic<std::uint64_t> last{0};
    const std::uint64_t number = last.fetch_add(1, std::memory_order_relaxed) + 1;
    return std::string(group) + "-" + std::to_string(number) + "-" + std::string(client);
}

} // namespace joblot::dask::engine
