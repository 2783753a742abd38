// SPDX-License-Identifier: BSL-1.0
// What a worker process finds when it starts.
#pragma once

#include <joblot/backend/process_options.hpp>
#include <joblot/wire/worker_greeting.hpp>

namespace joblot::detail {

// Descriptors that a worker starts with.
inline constexpr int worker_socket = 3, worker_board = 4, worker_inbox = 5, worker_outbox = 6, worker_lifeline = 7;

/// First part of the argument that makes a program a worker; the owner's process number follows.
inline constexpr const char* worker_argument = "--joblot-worker=";

/// Exit status of a worker that cannot speak to its owner any more, though that is still there.
inline constexpr int connection_lost = 79;

} // namespace joblot::detail
