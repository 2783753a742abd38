// SPDX-License-Identifier: BSL-1.0
// Throws what joblot throws, and catches it by its type: in both parts of the program.
#pragma once

#include "hidden.hpp"

#include <joblot/joblot.hpp>

#include <chrono>
#include <ranges>

namespace problems {

inline void throw_as_it_is(hidden::problem what) {
    using enum hidden::problem;
    switch (what) {
    case cancelled:
        throw joblot::cancelled(0);
    case timeout:
        throw joblot::timeout_error({}, std::chrono::seconds(1));
    case backend:
        throw joblot::backend_error("a backend");
    case crash:
        throw joblot::worker_crashed({}, {}, "");
    case remote:
        throw joblot::remote_error("a", "b", "c");
    case serialization:
        throw joblot::serialization_error("a", "b");
    }
}

/// From the task with index 3 of a call.
inline void throws(hidden::problem what) {
    const auto fail = [what](int i) {
        if (i == 3) throw_as_it_is(what);
        return i;
    };
    joblot::Parallel({.backend = "sequential"}).map(fail, std::views::iota(0, 5));
}

template <class E>
bool is_caught(hidden::problem what, void (*thrower)(hidden::problem)) {
    try {
        thrower(what);
    } catch (const E&) {
        return true;
    } catch (...) {
    }
    return false;
}

inline bool are_caught(hidden::problem what, void (*thrower)(hidden::problem)) {
    using enum hidden::problem;
    if (!is_caught<joblot::error>(what, thrower)) return false;
    switch (what) {
    case cancelled:
        return is_caught<joblot::cancelled>(what, thrower);
    case timeout:
        return is_caught<joblot::timeout_error>(what, thrower);
    case backend:
        return is_caught<joblot::backend_error>(what, thrower);
    case crash:
        return is_caught<joblot::worker_crashed>(what, thrower);
    case remote:
        return is_caught<joblot::remote_error>(what, thrower);
    case serialization:
        return is_caught<joblot::serialization_error>(what, thrower);
    }
    return false;
}

} // namespace problems
