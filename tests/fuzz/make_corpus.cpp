// SPDX-License-Identifier: BSL-1.0
// Writes the seeds of the fuzz targets: good inputs of every kind. make_corpus FOLDER fills FOLDER/fuzz_codec,
// FOLDER/fuzz_frame, FOLDER/fuzz_answer, FOLDER/fuzz_board and FOLDER/fuzz_block.

#include "fuzz_block_types.hpp"
#include "fuzz_types.hpp"

#include <joblot/process/worker_config.hpp>
#include <joblot/wire/batch_protocol.hpp>
#include <joblot/wire/block.hpp>
#include <joblot/wire/frame.hpp>
#include <joblot/wire/remote_exception.hpp>
#include <joblot/wire/segment.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <stdexcept>
#include <string>
#include <tuple>
#include <type_traits>
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

/// The number of a type, and a message with the sizes of its blocks.
std::string numbered(std::size_t number, const outgoing& message) {
    std::string input{static_cast<char>(number), static_cast<char>(message.blocks.size())};
    for (const bytes_view b : message.blocks) {
        const std::size_t size = b.size() - out_of_band_from;
        input += {static_cast<char>(size & 0xff), static_cast<char>(size >> 8)};
    }
    return input + text_of(message.stream);
}

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
        to.add("type_" + std::to_string(number) + (empty ? "_empty" : "_full"), numbered(number, message));
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
    const bool combines = runner == 3;
    message.put(run_request{.sequence = 1, .runner = {.offset = runner}, .count = 3, .combines = combines});
    if (combines) {
        const std::size_t part = message.begin_part();
        encode(to, std::uint8_t{0}); // another one
        message.end_part(part, 0, 0);
    }
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

std::string combined_results() {
    outgoing message;
    encoder to(message);
    message.put(run_results{.sequence = 1, .count = 3, .last = 1});
    for (const auto kind : {task_result_kind::skipped, task_result_kind::skipped, task_result_kind::skipped})
        message.end_part(message.begin_part(), 0, static_cast<std::uint32_t>(kind));
    const std::size_t part = message.begin_part();
    for (const std::uint64_t number : {1U, 1U, 0U, 1U}) message.put(number); // a node and a run; the node: task 0
    encode(to, 0.5);
    for (const std::uint64_t number : {2U, 3U}) message.put(number); // the run: task 2
    encode(to, 1.5);
    message.end_part(part, 0, 0);
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
    to.add("combined", pieces + request(3, false, few, text));
    to.add("results", bytes + results());
    to.add("combined_results", bytes + combined_results());
    to.add("hello", pieces + hello());
    outgoing numbers_of_images;
    for (std::uint64_t i = 0; i != 3; ++i) numbers_of_images.put(i);
    to.add("several", pieces + frame(frame_kind::forget, numbers_of_images) + results() +
                          frame(frame_kind::images, numbers_of_images) + frame(frame_kind::quit, outgoing()));
}

/// What happens in calls of each kind: the numbers are those of `call::step` in fuzz_answer.cpp.
void add_answers(const folder& to) {
    const std::string claim("\0", 1), read("\6"), lost("\3\0", 2), stop("\4");
    const std::string next("\x9\0\0\0\1", 5), two("\x9\0\0\1\1\2", 6); // one right result of the last batch, and two
    const std::string again("\x9\0\2\0\0\1", 6), ahead("\x9\0\2\0\1\1", 6), early("\x9\0\x10\0\1", 5);
    const std::string thrown("\x9\0\0\0\x9", 5), skipped("\x9\0\0\0\x8", 5), large("\x9\0\0\0\xd", 5);
    const std::string slow("\x9\0\x20\0\xff\xff\xff\xff\xff\xff\xff\x7f\1", 13), first("\x9\1\0\0\1", 5);
    for (char kind = 0; kind != 6; ++kind) {
        const std::string three{kind, 2, 0, 3, 0}, many{kind, 15, 1, 2, 6}, adapted{kind, 9, 2, 0, 1};
        const auto add = [&](const char* name, const std::string& script) {
            to.add(name + std::to_string(kind), script + '\1');
        };
        add("right", three + claim + next + read + two + read + read);
        add("twice", three + claim + next + again + two);
        add("ahead", three + claim + ahead + early);
        add("out_of_order", many + claim + claim + claim + next + first + read + next + first + read + read);
        add("failing", many + claim + thrown + next + claim + skipped + lost + next);
        add("lost", adapted + claim + next + lost + claim + slow + slow + large + read);
        const std::string tried_twice{kind, 0, 2, 1, 0}; // each try as long as can be
        add("durations", tried_twice + claim + slow.substr(0, 12) + '\x9' + slow);
        add("stopped", adapted + claim + claim + next + stop + next + first);
    }
}

/// What workers say, then what stands on their boards, which is read from the end: see fuzz_board.cpp.
void add_boards(const folder& to) {
    const std::string three("\2\0\0", 3), limited("\2\1\x29", 3), kept("\7\2\x2c", 3);
    const std::string all("\1\x10\0\0", 4), one("\1\0\1\0", 4), none("\0", 1), thrown("\1\x10\4\0", 4);
    const std::string raw("\x0f\xff\0", 3), on_first("\1"), on_second("\x21"), started("\x24"), late("\x9");
    to.add("right", three + all);
    to.add("dies_on_task", kept + none + one + on_second + on_first);
    to.add("dies_between", three + none + none + none);
    to.add("timed_out", limited + none + late + started + on_first);
    to.add("left_in_time", limited + one + late + on_second + late + started + on_first);
    to.add("thrown", kept + thrown + raw);
    to.add("heed", kept + one + one + '\x0c' + '\x8' + on_second);
}

template <class T>
void add_block(const folder& to, std::size_t number) {
    T value{};
    if constexpr (requires { value.resize(3); }) value.resize(3);
    outgoing message;
    encoder writer(message);
    encode_as_block(writer, value);
    to.add("value_" + std::to_string(number), numbered(number, message));
    const segment image(7, message);
    const mapping content(image.file(), file_size(image.file()), false);
    const std::string shared = text_of({content.data(), content.size()});
    to.add("persisted_" + std::to_string(number), static_cast<char>(128 + number) + shared);
}
template <class T>
void add_chunk(const folder& to, std::size_t number) {
    const std::vector<std::array<T, 2>> value(3);
    outgoing message;
    encoder writer(message);
    encode_as_block(writer, value);
    const segment image(7, message);
    const mapping content(image.file(), file_size(image.file()), false);
    to.add("chunk_" + std::to_string(number),
           static_cast<char>(192 + number) + text_of({content.data(), content.size()}));
}
template <std::size_t... I, std::size_t... K>
void add_blocks(const folder& to, std::index_sequence<I...>, std::index_sequence<K...>) {
    (add_block<std::tuple_element_t<I, fuzz::values>>(to, I), ...);
    (add_chunk<std::tuple_element_t<K, fuzz::numbers>>(to, K), ...);
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
    add_answers(folder(root / "fuzz_answer"));
    add_boards(folder(root / "fuzz_board"));
    add_blocks(folder(root / "fuzz_block"), std::make_index_sequence<std::tuple_size_v<fuzz::values>>(),
               std::make_index_sequence<std::tuple_size_v<fuzz::numbers>>());
}
