// SPDX-License-Identifier: BSL-1.0
// Fuzzes what a client reads from a scheduler or a worker of Dask: messages in pieces, the objects beside their heads,
// and what they tell. Broken ones give a serialization_error, and nothing else.
//
// Input: the size of the pieces, less one; the bytes of the connection.

#include <joblot/dask/protocol/events.hpp>
#include <joblot/dask/protocol/requests.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>

namespace {

using namespace joblot::dask::engine;

/// Takes every object that the head speaks of.
void read_objects(message& m, const json& place) {
    if (is_reference(place)) {
        try {
            received_object object = m.value(place);
            static_cast<void>(object.type());
            static_cast<void>(object.is_pickle());
            static_cast<void>(std::move(object).joined());
        } catch (const joblot::serialization_error&) { // of this object; the next may be good
        }
    } else if (place.is_structured()) {
        for (const json& inner : place) read_objects(m, inner);
    }
}
void handle(message m) {
    static_cast<void>(answer_error(m.head));
    try {
        static_cast<void>(requests::dialect_from(m.head));
    } catch (const joblot::backend_error&) { // hardly ever is there a version in it
    }
    static_cast<void>(events_of(m));
    const json head = m.head;
    read_objects(m, head);
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size < 1) return 0;
    const std::size_t piece = data[0] + std::size_t{1};
    bytes_view input = std::as_bytes(std::span(data, size)).subspan(1);
    message_reader reader;
    try {
        while (!input.empty()) {
            input = input.subspan(reader.feed(input.first(std::min(piece, input.size()))));
            if (!reader.complete()) continue;
            try {
                handle(reader.take());
            } catch (const joblot::serialization_error&) { // of this message; the next may be good
            }
        }
    } catch (const joblot::serialization_error&) {
    }
    return 0;
}
