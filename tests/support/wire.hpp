// SPDX-License-Identifier: BSL-1.0
// Values through the codec and back, within one process.
#pragma once

#include <joblot/wire/codec.hpp>

#include <catch2/catch_test_macros.hpp>

#include <cstddef>
#include <memory>
#include <span>
#include <type_traits>
#include <utility>
#include <vector>

namespace support {

using joblot::detail::bytes_view;
using joblot::detail::decoder;
using joblot::detail::encoder;
using joblot::detail::incoming;
using joblot::detail::outgoing;

/// What a value becomes. Its blocks refer to the value; a temporary one is kept by the message.
template <class T>
outgoing written(T&& value) {
    outgoing message;
    encoder to(message);
    if constexpr (std::is_lvalue_reference_v<T>) {
        joblot::detail::encode(to, value);
    } else {
        const auto owner = std::make_shared<const T>(std::forward<T>(value));
        joblot::detail::encode(to, *owner);
        message.owners.push_back(owner);
    }
    return message;
}

/// Reads a value that must be all that there is.
template <class T>
T read(bytes_view stream, std::span<const bytes_view> blocks) {
    decoder from(incoming(stream, blocks));
    T value = joblot::detail::decode<T>(from);
    REQUIRE(from.message().remaining() == 0);
    return value;
}

template <class T>
T round_trip(const T& value) {
    const outgoing message = written(value);
    return read<T>(message.stream, message.blocks);
}

/// A message's bytes, kept apart from what they were made of.
struct message_copy {
    explicit message_copy(const outgoing& message) : stream(message.stream.begin(), message.stream.end()) {
        for (const bytes_view b : message.blocks) kept.emplace_back(b.begin(), b.end());
        for (const auto& b : kept) blocks.emplace_back(b);
    }
    message_copy(const message_copy&) = delete;
    message_copy& operator=(const message_copy&) = delete;

    std::vector<std::byte> stream;
    std::vector<std::vector<std::byte>> kept;
    std::vector<bytes_view> blocks;
};

} // namespace support
