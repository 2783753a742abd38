// SPDX-License-Identifier: BSL-1.0
// What a progress callback is told about its call: a snapshot of counts, times and state.
#pragma once

#include <joblot/core/requirements.hpp>

#include <chrono>
#include <cstddef>
#include <optional>
#include <string_view>

namespace joblot {

/// How far a call has come. A call ends with exactly one event that is not `running`.
enum class progress_state { running, finished, failed, cancelled };

/// A snapshot of one call's progress, given to `options::progress`.
///
/// The callback is called once at the start (`done` 0), after every completed batch, and once at the end.
/// Calls are serialised, come from whichever thread completed the batch, and `done` never goes down. What the
/// callback throws is ignored. It must not wait for tasks of its own call.
/// The views are valid during the callback only.
struct progress_event {
    std::size_t done = 0;                                   ///< tasks completed so far
    std::optional<std::size_t> total;                       ///< tasks of the call, once that is known
    std::chrono::duration<double> elapsed{0};               ///< seconds since the call began
    std::optional<std::chrono::duration<double>> remaining; ///< seconds; known once `total` is and a task is done
    std::string_view label;                                 ///< the call's label, else its task's name; may be empty
    progress_state state = progress_state::running;         ///< how far the call has come
    std::string_view line;                                  ///< the verbose line due now, newline included; else empty
};

} // namespace joblot
