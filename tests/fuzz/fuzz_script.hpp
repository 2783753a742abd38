// SPDX-License-Identifier: BSL-1.0
// An input as a script: bytes that say what happens next, from the front and from the back.
#pragma once

#include <joblot/wire/parcel.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>

namespace fuzz {

/// What has run out gives zeros.
class script {
public:
    explicit script(joblot::detail::bytes_view bytes) noexcept : left_(bytes) {}

    [[nodiscard]] bool empty() const noexcept { return left_.empty(); }
    /// The next byte, from the front.
    unsigned next() noexcept {
        if (left_.empty()) return 0;
        const auto value = std::to_integer<unsigned>(left_.front());
        left_ = left_.subspan(1);
        return value;
    }
    /// The next byte, from the back: for what happens beside.
    unsigned next_from_back() noexcept {
        if (left_.empty()) return 0;
        const auto value = std::to_integer<unsigned>(left_.back());
        left_ = left_.first(left_.size() - 1);
        return value;
    }
    joblot::detail::bytes_view bytes(std::size_t most) noexcept {
        const auto taken = left_.first(std::min(most, left_.size()));
        left_ = left_.subspan(taken.size());
        return taken;
    }
    /// Any number.
    template <class T>
    T number() noexcept {
        T value{};
        const auto from = bytes(sizeof value);
        if (!from.empty()) std::memcpy(&value, from.data(), from.size());
        return value;
    }

private:
    joblot::detail::bytes_view left_;
};

/// Ends the run as a fault.
inline void require(bool good) {
    if (!good) std::abort();
}

} // namespace fuzz
