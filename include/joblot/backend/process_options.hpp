// SPDX-License-Identifier: BSL-1.0
// How the worker processes of a call are to be, and the way from here to what runs them.
#pragma once

#include <joblot/core/requirements.hpp>

#include <joblot/core/one_form.hpp>
#include <joblot/dispatch/job.hpp>
#include <joblot/system/stay_loaded.hpp>
#include <joblot/system/visibility.hpp>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <optional>
#include <string>

namespace joblot::detail {

/// Workers of equal configuration can stand in for each other.
struct worker_config {
    void (*init)() = nullptr;         ///< runs once in each new worker
    std::size_t max_tasks = 0;        ///< a worker is replaced after so many; 0: never
    std::size_t memory_limit = 0;     ///< bytes of memory of its own; 0: none
    std::optional<int> inner_threads; ///< `inner_max_num_threads`
    std::chrono::milliseconds idle_timeout{};

    friend bool operator==(const worker_config&, const worker_config&) = default;
};

struct process_options {
    worker_config config;
    bool forked = false; ///< a process for each batch, forked from this one, instead of a persistent worker
};

/// Runs a job on worker processes; null until `joblot::init` was called. So only the source file that calls `init`
/// compiles the engine, and a program without that line cannot start itself again by mistake.
JOBLOT_ONE_PER_PROCESS inline std::atomic<void (*)(job&, const process_options&)>& process_engine() noexcept {
    static constinit std::atomic<void (*)(job&, const process_options&)> run{nullptr};
    return run;
}

/// The error of a program without that line. @param who What needs it, e.g. "worker processes".
[[noreturn, gnu::cold]] inline void refuse_without_init(const std::string& who) {
    throw backend_error("joblot: " + who +
                        " need a line at the start of main, before anything else:\n"
                        "    int main(int argc, char** argv) {\n"
                        "        joblot::init(argc, argv);"
#if defined(JOBLOT_IN_A_LIBRARY)
                        "\nA library that was loaded with dlopen does not see that line unless the program was linked "
                        "with -rdynamic."
#endif
    );
}

} // namespace joblot::detail
