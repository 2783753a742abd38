// SPDX-License-Identifier: BSL-1.0
// What a backend_error says, for tests that look for parts of it.
#pragma once

#include <joblot/error.hpp>

#include <string>

namespace support {

/// The text of the backend_error that `what` throws.
std::string failure_of(const auto& what) {
    try {
        what();
    } catch (const joblot::backend_error& e) {
        return e.what();
    }
    return "nothing was thrown";
}
inline bool contains(const std::string& text, const std::string& part) { return text.find(part) != text.npos; }

} // namespace support
