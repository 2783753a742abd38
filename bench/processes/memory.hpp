// SPDX-License-Identifier: BSL-1.0
// How much memory a process has, and a place where two processes wait for each other before they look.
#pragma once

#include <chrono>
#include <cstddef>
#include <filesystem>
#include <fstream>
#include <stdexcept>
#include <string>
#include <thread>

#include <unistd.h>

namespace bench {

/// Bytes of a process, from /proc/self/smaps_rollup.
struct memory {
    int pid = 0;
    double resident = 0;     ///< all that is in memory, shared or not
    double proportional = 0; ///< Pss: what is shared counts by its share
    double own = 0;          ///< what is shared with nobody
};

inline memory memory_now() {
    memory m{.pid = ::getpid()};
    std::ifstream file("/proc/self/smaps_rollup");
    std::string word;
    while (file >> word) {
        double kilobytes = 0;
        if (word == "Rss:" && file >> kilobytes) m.resident = kilobytes * 1024;
        if (word == "Pss:" && file >> kilobytes) m.proportional = kilobytes * 1024;
        if ((word == "Private_Clean:" || word == "Private_Dirty:") && file >> kilobytes) m.own += kilobytes * 1024;
    }
    return m;
}

/// Waits until `workers` processes are at this stage: each leaves a file with its number.
inline void meet(const std::string& folder, const std::string& stage, int workers) {
    const std::filesystem::path place = std::filesystem::path(folder) / stage;
    std::filesystem::create_directories(place);
    std::ofstream(place / std::to_string(::getpid())).flush();
    const auto arrived = [&] {
        return std::distance(std::filesystem::directory_iterator(place), std::filesystem::directory_iterator());
    };
    for (int tries = 0; arrived() < workers; ++tries) {
        if (tries == 60'000) throw std::runtime_error("the other worker has not come in a minute");
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
}

} // namespace bench
