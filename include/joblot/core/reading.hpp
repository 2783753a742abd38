// SPDX-License-Identifier: BSL-1.0
// Tells an element of the input that could not be read from a task that failed, where both happen in one expression.
#pragma once

#include <joblot/core/thread_end.hpp>

#include <exception>

namespace joblot::detail {

/// The input could not be read, which fails the call (`job::fail_input`) and is no task's failure. Never leaves the
/// library: what the range threw does.
struct unreadable {
    std::exception_ptr why;
};

/// What `read()` gives. It reads an element of the input, or copies a task so that the copy can be called.
/// @throws unreadable with what it throws.
template <class Read>
constexpr decltype(auto) reading(Read&& read) {
    try { // costs nothing until it throws
        return read();
    } catch (...) {
        if (thread_ends()) throw;
        throw unreadable{std::current_exception()};
    }
}

} // namespace joblot::detail
