// SPDX-License-Identifier: BSL-1.0
// What else a hanging test is to say before the watchdog ends it.
#pragma once

namespace support {

/// Set once, before tests run; called in the handler of a signal, by a program that is about to end.
inline void (*on_hang)() = nullptr;

} // namespace support
