// SPDX-License-Identifier: BSL-1.0
// Writes the seeds of the fuzz targets: good inputs of every kind. make_corpus FOLDER fills FOLDER/fuzz_codec and
// FOLDER/fuzz_frame.

#include "fuzz_types.hpp"

#include <joblot/process/worker_config.hpp>
#include <joblot/wire/batch_protocol.hpp>
#include <joblot/wire/frame.hpp>
#include <joblot/wire/remote_exception.hpp>

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <stdexcept>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

namespace {

using namespace joblot::detail;

class folder {
public:
    explicit folder(std::filesystem::path path) : path_(std::move(path)) { std::filesystem::create_directories(path_); }
    void add(const std::string& name, const std::string& bytes) const {
        std::ofstream(path_ / name, std::ios::binary).write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
    }

private:
    std::filesystem::path path_;
};

std::string text_of(bytes_view bytes) { return {reinterpret_cast<const char*>(bytes.data()), bytes.size()}; }

template <class T>
void add_value(const folder& to, std::size_t number) {
    for (const bool empty : {true, false}) {
        if (empty && !std::is_default_constructible_v<T>) continue;
        const T value = [&] {
            if constexpr (std::is_default_constructible_v<T>) {
                if (empty) return T();
            }
            return fuzz::example<T>::make();
        }();
        outgoing message;
        encoder writer(message);
        encode(writer, value);
        std::string input{static_cast<char>(number), static_cast<char>(message.blocks.size())};
        for (const bytes_view b : message.blocks) {
            const std::size_t size = b.size() - out_of_band_from;
            input += {static_cast<char>(size & 0xff), static_cast<char>(size >> 8)};
        }
        to.add("type_" + std::to_string(number) + (empty ? "_empty" : "_full"), input + text_of(message.stream));
    }
}
template <std::size_t... I>
void add_values(const folder& to, std::index_sequence<I...>) {
    (add_value<std::tuple_element_t<I, fuzz::types>>(to, I), ...);
}

/// A frame with the blocks inside, or in shared memory.
std::string frame(frame_kind kind, const outgoing& message, bool shared = false) {
    std::vector<block_place> places;
    std::uint64_t at = 0;
    for (const bytes_view b : message.blocks) {
        places.push_back({b.size(), shared ? at : block_place::in_frame});
        at += round_up(b.size(), block_alignment);
    }
    const frame_pieces pieces(kind, message, places, 0);
    std::string all;
    for (const bytes_view p : pieces.pieces()) all += text_of(p);
    return all;
}

/// A request for three tasks of a runner that fuzz_frame knows by its number.
template <class... Args>
std::string request(std::uint64_t runner, bool shared, const Args&... args) {
    outgoing message;
    encoder to(message);
    message.put(run_request{.sequence = 1, .runner = {{}, runner}, .count = 3});
    for (int k = 0; k != 3; ++k) {
        const std::size_t blocks = message.blocks.size();
        const std::size_t part = message.begin_part();
        encode(to, std::uint8_t{0}); // a functor without members
        (encode(to, args), ...);
        message.end_part(part, blocks, 0);
    }
    return frame(frame_kind::run, message, shared);
}

std::string results() {
    outgoing message;
    encoder to(message);
    message.put(run_results{.sequence = 1, .count = 3, .last = 1});
    const auto part = [&](task_result_kind kind, auto write) {
        const std::size_t blocks = message.blocks.size();
        const std::size_t at = message.begin_part();
        write();
        message.end_part(at, blocks, static_cast<std::uint32_t>(kind));
    };
    const std::vector<std::string> value{"a", "b"};
    part(task_result_kind::value, [&] { encode(to, value); });
    part(task_result_kind::exception,
         [&] { encode_exception(to, std::make_exception_ptr(std::out_of_range("text"))); });
    part(task_result_kind::skipped, [] {});
    return frame(frame_kind::results, message);
}

std::string hello() {
    outgoing message;
    encoder to(message);
    worker_hello content;
    content.failed = 1;
    message.put(content);
    encode_exception(to, std::make_exception_ptr(joblot::worker_crashed({1, "label"}, {.signal = 11}, "tail")));
    return frame(frame_kind::hello, message);
}

void add_frames(const folder& to) {
    const std::vector<double> numbers(600, 1.0), few(3, 1.0);
    const std::string text = "text", pieces = "\x3f\xff", bytes{'\0', '\x10'};
    to.add("sum", pieces + request(0, false, few, text));
    to.add("sum_blocks", pieces + request(0, false, numbers, text));
    to.add("sum_shared", pieces + request(0, true, numbers, text));
    to.add("copies", pieces + request(1, false, text, static_cast<unsigned char>(3)));
    to.add("fails", bytes + request(2, false, 5));
    to.add("results", bytes + results());
    to.add("hello", pieces + hello());
    outgoing numbers_of_images;
    for (std::uint64_t i = 0; i != 3; ++i) numbers_of_images.put(i);
    to.add("several", pieces + frame(frame_kind::forget, numbers_of_images) + results() +
                          frame(frame_kind::images, numbers_of_images) + frame(frame_kind::quit, outgoing()));
}

} // namespace

int main(int argc, char** argv) {
    if (argc != 2) {
        std::fprintf(stderr, "usage: make_corpus FOLDER\n");
        return 2;
    }
    const std::filesystem::path root(argv[1]);
    add_values(folder(root / "fuzz_codec"), std::make_index_sequence<std::tuple_size_v<fuzz::types>>());
    add_frames(folder(root / "fuzz_frame"));
}
