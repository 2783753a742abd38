// SPDX-License-Identifier: BSL-1.0
// Text of users that goes to a cluster. Its messages hold UTF-8: one that holds anything else ends the connection of
// everybody who uses it. So such text is refused where it is given. Pure.
#pragma once

#include <joblot/core/requirements.hpp>

#include <cstddef>
#include <stdexcept>
#include <string>
#include <string_view>

namespace joblot::dask::engine {

/// Whether text is UTF-8 as Python reads it: nothing overlong, no surrogates, nothing beyond U+10FFFF.
[[nodiscard]] constexpr bool is_utf8(std::string_view text) noexcept {
    for (std::size_t i = 0; i != text.size();) {
        const auto byte = [&](std::size_t at) { return at < text.size() ? static_cast<unsigned char>(text[at]) : 0U; };
        const unsigned first = byte(i);
        if (first < 0x80) {
            ++i;
            continue;
        }
        const std::size_t size = first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
        const unsigned least = first == 0xe0 ? 0xa0 : first == 0xf0 ? 0x90 : 0x80; // of the second byte
        const unsigned most = first == 0xed ? 0x9f : first == 0xf4 ? 0x8f : 0xbf;
        if (first < 0xc2 || first > 0xf4 || byte(i + 1) < least || byte(i + 1) > most) return false;
        for (std::size_t k = 2; k < size; ++k) {
            if (byte(i + k) < 0x80 || byte(i + k) > 0xbf) return false;
        }
        i += size;
    }
    return true;
}

/// Refuses other text. @param what It is, like "workers". @throws std::invalid_argument that names it.
inline void check_utf8(const char* what, std::string_view text) {
    if (is_utf8(text)) return;
    constexpr std::size_t most = 100;
    constexpr std::string_view digits = "0123456789abcdef";
    std::string shown;
    for (const char c : text.substr(0, most)) {
        const auto byte = static_cast<unsigned char>(c);
        if (byte >= ' ' && byte <= '~')
            shown += c;
        else
            shown += {'\\', 'x', digits[byte / 16], digits[byte % 16]};
    }
    throw std::invalid_argument("joblot: " + std::string(what) + " = \"" + shown + (text.size() > most ? "..." : "") +
                                "\": Dask takes text in UTF-8 alone, and this is none; convert it");
}

} // namespace joblot::dask::engine
