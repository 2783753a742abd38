// SPDX-License-Identifier: BSL-1.0
// What a call says when it refuses its input.
#pragma once

#include <initializer_list>
#include <stdexcept>
#include <string>

namespace support {

/// The message of the std::invalid_argument that `call` throws; "" if it throws none, or something else.
template <class Call>
std::string refusal(Call call) {
    try {
        call();
    } catch (const std::invalid_argument& e) {
        return e.what();
    } catch (...) {
    }
    return "";
}

/// Whether the message is there and holds all of the parts.
inline bool mentions(const std::string& message, std::initializer_list<const char*> parts) {
    for (const char* part : parts)
        if (message.find(part) == std::string::npos) return false;
    return !message.empty();
}

} // namespace support
