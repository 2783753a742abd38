// SPDX-License-Identifier: BSL-1.0
// How a reader that says where the next bytes of a stream belong is given bytes that are elsewhere.
#pragma once

#include <joblot/wire/parcel.hpp>

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <span>

namespace joblot::detail {

/// Copies bytes of a stream to `reader.space()`, up to the end of what it reads. @return How many were taken.
/// Throws what `reader.filled` throws.
template <class Reader>
std::size_t feed_copies(Reader& reader, bytes_view bytes) {
    std::size_t taken = 0;
    while (taken != bytes.size() && !reader.complete()) {
        const std::span<std::byte> free = reader.space();
        const std::size_t n = std::min(free.size(), bytes.size() - taken);
        std::memcpy(free.data(), bytes.data() + taken, n);
        taken += n;
        reader.filled(n);
    }
    return taken;
}

} // namespace joblot::detail
