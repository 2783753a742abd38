// SPDX-License-Identifier: BSL-1.0
// Programs that run with more rights than whoever started them (set-uid, set-gid, file capabilities): what that user
// says by way of arguments and the environment must not choose whose code runs.
#pragma once

#include <joblot/core/requirements.hpp>

#include <cstdlib>

#if __has_include(<sys/auxv.h>)
#include <sys/auxv.h>
#endif

namespace joblot::detail {

/// Whether the program has rights that whoever started it has not, as the kernel tells it at the start. Thread-safe.
inline bool is_privileged() noexcept {
#if __has_include(<sys/auxv.h>)
    return ::getauxval(AT_SECURE) != 0;
#else
    return false;
#endif
}

/// How an error begins that says what such a program does not do.
inline constexpr const char* privileged_program =
    "joblot: a program that runs with the rights of another user (set-uid, set-gid or file capabilities) ";

/// A variable of the environment; null where it is not set, or where it may not be trusted.
inline const char* trusted_variable(const char* name) noexcept { return is_privileged() ? nullptr : std::getenv(name); }

} // namespace joblot::detail
