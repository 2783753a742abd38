// SPDX-License-Identifier: BSL-1.0
// What a library with hidden visibility lets the program do: it is linked, or loaded at run time, under one name.
#pragma once

#include <cstddef>
#include <stop_token>
#include <vector>

namespace hidden {

/// What can be thrown from one part of a program to the other.
enum class problem { cancelled, timeout, backend, crash, remote, serialization };

/// Each function belongs to the library, and makes its calls there.
struct parts {
    int (*n_jobs)();                       ///< what a call would get that says nothing
    bool (*knows_backend)(const char*);    ///< by name
    std::vector<int> (*processes_used)();  ///< by a call that says nothing, with a task type of the library's own
    bool (*has_task)(std::size_t index);   ///< whether the calling task, with this index, is one to the library
    bool (*stop_requested)();              ///< of the calling task
    int (*threads_after_call)(int n_jobs); ///< of the process
    bool (*is_stopped)(std::stop_token);   ///< whether a call of the library ends by it
    void (*throw_it)(problem);             ///< from a call of the library
    bool (*catches)(problem, void (*thrower)(problem));
    std::size_t (*failed_task)(void (*thrower)(problem)); ///< its index
    void (*throw_own)();                                  ///< a type that the library made known, from a worker process
};

} // namespace hidden

extern "C" [[gnu::visibility("default")]] const hidden::parts* hidden_parts();
