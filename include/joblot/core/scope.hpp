// SPDX-License-Identifier: BSL-1.0
// What is in force on a thread: the innermost guard's settings, and how deep in nested calls the thread is.
#pragma once

#include <joblot/core/requirements.hpp>

#include <joblot/options.hpp>
#include <joblot/system/fork.hpp>
#include <joblot/system/stay_loaded.hpp>
#include <joblot/system/visibility.hpp>

#include <memory>
#include <optional>

namespace joblot::detail {

/// One level of settings; each overlays the one before. Guards and running tasks install theirs on their own thread.
struct scope {
    std::shared_ptr<backend> engine{};          // null: the default one
    std::optional<int> n_jobs{};                // for calls that do not say theirs
    std::optional<int> verbose{};               // likewise
    std::optional<int> inner_max_num_threads{}; // likewise
    bool in_task = false;                       // a task of a backend with workers: no nested call gets new threads
    bool own_process = false;                   // in a worker process: its first calls may start threads after all
    int depth = 0;                              // how many calls the running code is nested in

    /// Whether calls made here must do with the threads that there are.
    [[nodiscard]] bool may_not_add_threads() const noexcept { return in_task && !own_process; }
};

// Null: nothing is set and no call is running on this thread.
JOBLOT_ONE_PER_PROCESS inline constinit thread_local const scope* current_scope = nullptr;

/// The settings in force here; default-constructed ones outside of guards and tasks.
JOBLOT_ONE_PER_PROCESS inline const scope& scope_here() {
    static constinit made_once<const scope> nothing_set;
    return current_scope ? *current_scope : nothing_set.get();
}

} // namespace joblot::detail
