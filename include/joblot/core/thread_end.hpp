// SPDX-License-Identifier: BSL-1.0
// What the library does where a task ends the thread that runs it: `pthread_exit`, or `pthread_cancel` on itself.
#pragma once

#include <joblot/error.hpp>

#include <exception>

namespace joblot::detail {

// Such an end unwinds the stack as an exception does, and enters each `catch (...)` on its way. It is none: the thread
// ends, and the C library ends the program where somebody does not throw it on, by `throw;`.

/// In a `catch (...)`: whether what is handled is the end of this thread, which must be thrown on.
inline bool thread_ends() noexcept {
    return std::current_exception() == nullptr; // of the unwinding of other languages there is no pointer
}

/// What is told of it.
inline std::exception_ptr thread_end_error() {
    return std::make_exception_ptr(error("joblot: the thread of this task was ended by the task itself (pthread_exit "
                                         "or pthread_cancel); to end a task early, return or throw"));
}

/// In a `catch (...)`: what to tell of what is handled, be it an exception or the end of this thread.
inline std::exception_ptr caught_error() { return thread_ends() ? thread_end_error() : std::current_exception(); }

} // namespace joblot::detail
