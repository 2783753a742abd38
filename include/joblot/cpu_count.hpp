// SPDX-License-Identifier: BSL-1.0
// How many CPUs this process may use: affinity mask, cgroup quota, and an override.
#pragma once

#include <joblot/core/requirements.hpp>

#include <joblot/system/privileges.hpp>
#include <joblot/system/visibility.hpp>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>

#if defined(__linux__)
#include <sched.h>
#endif

namespace joblot {

namespace detail {

/// The text of a small file, or nothing where it cannot be read.
inline std::optional<std::string> read_small_file(const std::string& path) {
    const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen(path.c_str(), "re"), &std::fclose);
    if (!file) return std::nullopt;
    char buffer[4096];
    return std::string(buffer, std::fread(buffer, 1, sizeof buffer, file.get()));
}

/// CPUs that a quota of `quota` microseconds in each `period` allows, rounded up; nothing for "no limit" or nonsense.
inline std::optional<int> cpus_of_quota(long long quota, long long period) {
    if (quota <= 0 || period <= 0) return std::nullopt;
    return static_cast<int>(std::clamp<long long>((quota - 1) / period + 1, 1, 1 << 20));
}

/// The limit that one cgroup sets. `dir` is a folder of a v2 hierarchy (`cpu.max`) or of v1's cpu controller.
inline std::optional<int> cgroup_limit(const std::string& dir) {
    if (const auto v2 = read_small_file(dir + "/cpu.max")) {
        long long quota = 0, period = 0;
        if (std::sscanf(v2->c_str(), "%lld %lld", &quota, &period) == 2) return cpus_of_quota(quota, period);
        return std::nullopt; // "max 100000", or empty
    }
    const auto quota = read_small_file(dir + "/cpu.cfs_quota_us");
    const auto period = read_small_file(dir + "/cpu.cfs_period_us");
    if (!quota || !period) return std::nullopt;
    return cpus_of_quota(std::atoll(quota->c_str()), std::atoll(period->c_str()));
}

/// The tightest limit of the cgroup `path` and its parents, under the mount point `mount`.
inline std::optional<int> cgroup_limit_upwards(const std::string& mount, std::string path) {
    std::optional<int> tightest;
    for (;;) {
        if (const auto limit = cgroup_limit(mount + path)) tightest = std::min(tightest.value_or(*limit), *limit);
        if (path.empty()) return tightest;
        const auto slash = path.rfind('/');
        path.resize(slash == path.npos ? 0 : slash);
    }
}

/// CPUs allowed by the cgroups of this process. `root` is prefixed to /proc and /sys, for tests.
inline std::optional<int> cgroup_cpus(const std::string& root = {}) {
    const auto membership = read_small_file(root + "/proc/self/cgroup");
    if (!membership) return std::nullopt;
    std::optional<int> tightest;
    std::string_view rest = *membership;
    while (!rest.empty()) { // lines of "id:controllers:path"; v2 has no controllers
        const std::string_view line = rest.substr(0, rest.find('\n'));
        rest.remove_prefix(std::min(rest.size(), line.size() + 1));
        const auto first = line.find(':'), second = line.find(':', first + 1);
        if (first == line.npos || second == line.npos) continue;
        const std::string_view controllers = line.substr(first + 1, second - first - 1);
        const bool v1_cpu = ("," + std::string(controllers) + ",").find(",cpu,") != std::string::npos;
        if (!v1_cpu && !controllers.empty()) continue;
        const auto limit = cgroup_limit_upwards(root + (v1_cpu ? "/sys/fs/cgroup/cpu" : "/sys/fs/cgroup"),
                                                std::string(line.substr(second + 1)));
        if (limit) tightest = std::min(tightest.value_or(*limit), *limit);
    }
    return tightest;
}

/// A positive whole number from the environment. @throws std::invalid_argument naming variable and value otherwise.
inline std::optional<int> positive_from_environment(const char* name) {
    const char* text = trusted_variable(name);
    if (!text || !*text) return std::nullopt;
    char* end = nullptr;
    errno = 0;
    const long value = std::strtol(text, &end, 10);
    if (*end || errno || value < 1 || value > (1 << 20))
        throw std::invalid_argument("joblot: " + std::string(name) + "=" + text +
                                    " in the environment is not a number from 1 to 1048576");
    return static_cast<int>(value);
}

inline int machine_cpus() {
    int count = static_cast<int>(std::max(1U, std::thread::hardware_concurrency()));
#if defined(__linux__)
    cpu_set_t allowed;
    if (::sched_getaffinity(0, sizeof allowed, &allowed) == 0) count = std::max(1, CPU_COUNT(&allowed));
#endif
    if (const auto quota = cgroup_cpus()) count = std::min(count, *quota);
    return count;
}

} // namespace detail

/// How many CPUs this process may use: those of its affinity mask, at most its cgroup's CPU quota (v1 or v2, rounded
/// up), at least 1. `JOBLOT_CPU_COUNT` in the environment overrides both. Read at the first use and kept, as OpenMP
/// and oneTBB do. Thread-safe.
/// @throws std::invalid_argument if `JOBLOT_CPU_COUNT` is no positive number.
JOBLOT_ONE_PER_PROCESS [[nodiscard]] inline int cpu_count() {
    // No static's guard: a process may fork while another thread holds that. Whoever comes at the same time finds the
    // same number; relaxed, as nothing else comes with it.
    static constinit std::atomic<int> known{0};
    int count = known.load(std::memory_order_relaxed);
    if (count == 0) {
        const auto override_ = detail::positive_from_environment("JOBLOT_CPU_COUNT");
        count = override_ ? *override_ : detail::machine_cpus();
        known.store(count, std::memory_order_relaxed);
    }
    return count;
}

} // namespace joblot
