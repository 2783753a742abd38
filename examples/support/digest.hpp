// SPDX-License-Identifier: BSL-1.0
// A digest to tell at a glance whether two runs computed the same bytes: FNV-1a, 64 bits. Not for security.
#pragma once

#include <cstddef>
#include <cstdint>
#include <iomanip>
#include <span>
#include <sstream>
#include <string>

/// The digest of `bytes` in 16 hexadecimal digits.
inline std::string digest(std::span<const std::byte> bytes) {
    std::uint64_t hash = 0xcbf29ce484222325U;
    for (const std::byte b : bytes) hash = (hash ^ std::to_integer<std::uint64_t>(b)) * 0x100000001b3U;
    std::ostringstream text;
    text << std::hex << std::setfill('0') << std::setw(16) << hash;
    return text.str();
}
