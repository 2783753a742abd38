// SPDX-License-Identifier: BSL-1.0
// What a worker may say of the tasks that it was given, as a script wants it: right answers and any others.
#pragma once

#include "fuzz_script.hpp"

#include <joblot/dispatch/claimed_batch.hpp>
#include <joblot/error.hpp>
#include <joblot/wire/batch_protocol.hpp>
#include <joblot/wire/codec.hpp>
#include <joblot/wire/remote_exception.hpp>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <stdexcept>
#include <string>
#include <vector>

namespace fuzz {

using namespace joblot::detail;

/// The right result of a task; long enough to be in memory of its own, so that the sanitizer sees who uses it late.
inline std::string value_of(std::size_t i, unsigned variant = 0) {
    return "the value of task " + std::to_string(i) + " is " + std::to_string(variant);
}

/// What a task may throw, as a worker writes it.
inline const std::vector<std::byte>& thrown(unsigned which) {
    static const auto written = [] {
        std::array<std::vector<std::byte>, 5> all;
        const std::array<std::exception_ptr, 5> errors{
            std::make_exception_ptr(std::out_of_range("a text")),
            std::make_exception_ptr(joblot::timeout_error({1, ""}, std::chrono::nanoseconds(5))),
            std::make_exception_ptr(joblot::cancelled(3)),
            std::make_exception_ptr(joblot::serialization_error("a text", "a type")), std::make_exception_ptr(5)};
        for (std::size_t i = 0; i != all.size(); ++i) {
            outgoing message;
            encoder to(message);
            encode_exception(to, errors[i]);
            all[i].assign(message.stream.begin(), message.stream.end());
        }
        return all;
    }();
    return written[which % written.size()];
}

/// A part that says something of the task with that index.
inline void put_result(script& in, outgoing& message, std::size_t index) {
    encoder to(message);
    const std::size_t at = message.begin_part(), blocks = message.blocks.size();
    auto kind = static_cast<std::uint32_t>(task_result_kind::value);
    const unsigned what = in.next();
    switch (what % 16) {
    case 8:
        kind = static_cast<std::uint32_t>(task_result_kind::skipped);
        break;
    case 9:
        kind = static_cast<std::uint32_t>(task_result_kind::exception);
        message.append(thrown(what / 16).data(), thrown(what / 16).size());
        break;
    case 10:
        kind = static_cast<std::uint32_t>(task_result_kind::unreadable);
        message.append(thrown(what / 16).data(), thrown(what / 16).size());
        break;
    case 11:
        kind = in.next();
        [[fallthrough]];
    case 12: {
        const bytes_view any = in.bytes(what / 16 * 4);
        message.append(any.data(), any.size());
        break;
    }
    case 13: // a block of its own
        to.passing([&] { encode(to, value_of(index) + std::string(out_of_band_from, 'x')); });
        break;
    default:
        to.passing([&] { encode(to, value_of(index, what)); });
    }
    message.end_part(at, blocks, kind);
}

/// Cuts off a message, or changes a byte.
inline void damage(script& in, outgoing& message) {
    const std::size_t at = in.number<std::uint16_t>() % message.stream.size();
    if (in.next() & 1)
        message.stream.resize(at);
    else
        message.stream.data()[at] ^= static_cast<std::byte>(in.next());
    growing_bytes exact; // so that the sanitizer sees every byte too many
    exact.reserve(message.stream.size());
    exact.append(message.stream.data(), message.stream.size());
    message.stream = std::move(exact);
}

/// An answer to what was sent of a batch, of which there were `received` results before. With nothing left in the
/// script: the next result, and the right one.
inline outgoing answer(script& in, const claimed_batch& c, std::size_t received) {
    const unsigned flags = in.next();
    const std::size_t left = c.sent().size() - received;
    run_results head{.sequence = c.sequence(),
                     .begin = static_cast<std::uint32_t>(received),
                     .count = static_cast<std::uint32_t>(std::min<std::size_t>(left, 1 + in.next() % 4))};
    if (flags & 1) head.sequence += in.next();
    if (flags & 2) head.begin = in.next() % 32;
    if (flags & 4) head.count = flags & 8 ? in.number<std::uint32_t>() : in.next() % 32;
    head.last = head.begin + std::size_t{head.count} == c.sent().size();
    if (flags & 16) head.last ^= 1;
    if (flags & 32) head.took = in.number<std::int64_t>();
    outgoing message;
    message.put(head);
    const std::size_t parts = flags & 64 ? in.next() % 32 : std::min<std::size_t>(head.count, 32);
    for (std::size_t i = 0; i != parts; ++i) put_result(in, message, c.index(c.sent().begin + head.begin + i));
    if (flags & 128) damage(in, message);
    return message;
}

} // namespace fuzz
