// SPDX-License-Identifier: BSL-1.0
// Fuzzes what a client reads of a Dask worker's answer to a batch: the report, and the frames of the program behind it.
// Broken ones give a serialization_error, and nothing else.

#include <joblot/dask/protocol/batch_payload.hpp>
#include <joblot/wire/remote_exception.hpp>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace {

using namespace joblot::detail;

void read_frame(frame_kind kind, incoming message) {
    if (kind == frame_kind::hello) {
        static_cast<void>(message.get<worker_hello>("the greeting of a worker"));
        decoder from(message);
        static_cast<void>(decode_exception(from, "a process"));
        return;
    }
    const auto head = message.get<run_results>("the head of results");
    for (std::uint32_t k = 0; k != head.count; ++k) {
        std::uint32_t mark = 0;
        decoder from(message.part(mark));
        static_cast<void>(decode<std::vector<double>>(from));
    }
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    try {
        const joblot::dask::engine::batch_answer answer(std::as_bytes(std::span(data, size)));
        static volatile std::size_t seen = 0;
        seen = seen + answer.report().why.size() + answer.report().stderr_tail.size();
        answer.for_each_frame(read_frame);
    } catch (const joblot::serialization_error&) {
    }
    return 0;
}
