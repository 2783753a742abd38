// SPDX-License-Identifier: BSL-1.0
// Fuzzes what a worker and its owner read from their socket: frames in pieces, and the messages in them, with tasks
// that are run and results that are read. Broken ones give a serialization_error, and nothing else.
//
// Input: the size of the pieces, less one; how much shared memory there is, in blocks of 64; the bytes of the socket.

#include <joblot/delayed.hpp>
#include <joblot/dispatch/reducing_tasks.hpp>
#include <joblot/process/worker_config.hpp>
#include <joblot/wire/batch_runner.hpp>
#include <joblot/wire/frame.hpp>
#include <joblot/wire/remote_task.hpp>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

using namespace joblot::detail;

// Functors: of a function, the message would name the place, and there is no protection against a wrong one.
struct sum {
    double operator()(std::span<const double> values, const std::string& text) const {
        double s = static_cast<double>(text.size());
        for (const double x : values) s += x;
        return s;
    }
};
struct copies {
    std::vector<std::string> operator()(const std::string& text, unsigned char n) const { return {n, text}; }
};
struct fails {
    void operator()(int i) const { throw std::out_of_range(std::to_string(i)); }
};

using sum_task = decltype(joblot::delayed(sum())(std::vector<double>(), std::string()));
using copies_task = decltype(joblot::delayed(copies())(std::string(), static_cast<unsigned char>(1)));
using fails_task = decltype(joblot::delayed(fails())(1));

using sums = reduction_rules<double, double, std::plus<>>;

/// What the owner does with results that a worker has combined.
void read_combined(incoming message) {
    const std::plus<> combine;
    const reduction_tools<sums> tools{combine, nullptr};
    partial_reduction<sums> made(tools);
    decoder from(message);
    read_partial(from, made, 0, 3, 2);
    reduction_tree<sums> tree(tools);
    tree.add(made);
    static_cast<void>(tree.take());
}

/// What the owner does with results.
void read_results(incoming message) {
    const auto head = message.get<run_results>("the head of results");
    for (std::uint32_t k = 0; k != head.count; ++k) {
        std::uint32_t mark = 0;
        decoder from(message.part(mark));
        if (mark == static_cast<std::uint32_t>(task_result_kind::exception))
            static_cast<void>(decode_exception(from, "a process"));
        else if (mark == static_cast<std::uint32_t>(task_result_kind::value))
            static_cast<void>(decode<std::vector<std::string>>(from));
    }
    std::uint32_t mark = 0;
    if (message.remaining()) read_combined(message.part(mark));
}

struct reading_sink final : results_sink {
    void send_results(const outgoing& message) override {
        const auto head = incoming(message.stream, message.blocks).get<run_results>();
        results += head.count;
        if (head.count && last_runner == 1) read_results({message.stream, message.blocks});
    }
    std::uint64_t results = 0;
    std::size_t last_runner = 0;
};

/// Runs a request. The corpus cannot know where the runners of this build are: a request with an empty module is given
/// the runner with the number that it has as an offset.
void run(bytes_view stream, std::span<const bytes_view> blocks) {
    std::vector<std::byte> copy(stream.begin(), stream.end());
    reading_sink sink;
    run_request head;
    if (copy.size() >= sizeof head) {
        std::memcpy(&head, copy.data(), sizeof head);
        if (head.runner.module == module_id{}) {
            static const std::array runners{&remote_form_t<sum_task>::entry(), &remote_form_t<copies_task>::entry(),
                                            &remote_form_t<fails_task>::entry(),
                                            &remote_form_t<sum_task>::entry<result_combined<sums>>()};
            sink.last_runner = head.runner.offset % runners.size();
            head.runner = runners.at(sink.last_runner)->location();
            std::memcpy(copy.data(), &head, sizeof head);
        }
    }
    task_board board;
    const decoder::image_finder none;
    values_of_call kept;
    run_request_message({copy, blocks}, none, board, sink, kept);
    if (sink.results != head.count) std::abort();
}

void handle(const frame_reader& frame, bytes_view shared) {
    static_cast<void>(frame.shared_end());
    const std::vector<bytes_view> blocks = frame.blocks(shared);
    incoming message(frame.stream(), blocks);
    switch (frame.kind()) {
    case frame_kind::run:
        return run(frame.stream(), blocks);
    case frame_kind::results:
        return read_results(message);
    case frame_kind::hello: {
        const auto hello = message.get<worker_hello>("the greeting of a worker");
        decoder from(message);
        if (hello.failed) static_cast<void>(decode_exception(from, "a process"));
        return;
    }
    default:
        while (message.remaining()) static_cast<void>(message.get<std::uint64_t>("a broadcast value"));
    }
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size < 2) return 0;
    alignas(block_alignment) static std::array<std::byte, 256 * 64> memory{};
    const std::size_t piece = data[0] + std::size_t{1};
    const bytes_view shared = std::span(memory).first(data[1] * std::size_t{64});
    bytes_view input = std::as_bytes(std::span(data, size)).subspan(2);
    frame_reader reader;
    try {
        while (!input.empty()) {
            input = input.subspan(reader.feed(input.first(std::min(piece, input.size()))));
            if (!reader.complete()) continue;
            try {
                handle(reader, shared);
            } catch (const joblot::serialization_error&) { // of this message; the next frame may be good
            }
            reader.restart();
        }
    } catch (const joblot::serialization_error&) {
    }
    return 0;
}
