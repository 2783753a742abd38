// SPDX-License-Identifier: BSL-1.0
// Writes the seeds of fuzz_dask_message and fuzz_pickle: messages recorded from real schedulers, and the pickles in
// them; and answers to batches for fuzz_dask_answer. make_dask_corpus CAPTURED FOLDER fills FOLDER/fuzz_TARGET.

#include <joblot/dask/protocol/batch_payload.hpp>
#include <joblot/dask/protocol/message.hpp>
#include <joblot/wire/codec.hpp>

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace {

namespace fs = std::filesystem;
using namespace joblot::dask::engine;

void write(const fs::path& path, bytes_view bytes, const std::string& before = {}) {
    fs::create_directories(path.parent_path());
    std::ofstream out(path, std::ios::binary);
    out << before;
    out.write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
}

/// Writes all pickles below a place in a message.
void write_pickles(message& m, const json& place, const fs::path& stem, int& number) {
    const auto next = [&] { return stem.string() + '_' + std::to_string(number++); };
    if (is_reference(place))
        write(next(), m.value(place).joined());
    else if (place.is_binary())
        write(next(), std::as_bytes(std::span(place.get_binary())));
    else if (place.is_structured())
        for (const json& inner : place) write_pickles(m, inner, stem, number);
}

/// Answers that end in each way, with results of two tasks, one of them in a block.
void write_answers(const fs::path& to) {
    using namespace joblot::detail;
    outgoing message;
    message.put(run_results{.sequence = 1, .count = 2, .last = 1, .took = 5});
    const std::vector<double> few(3), many(600);
    for (const auto* value : {&few, &many}) {
        const std::size_t at = message.begin_part(), blocks = message.blocks.size();
        encoder writer(message);
        encode(writer, *value);
        message.end_part(at, blocks, static_cast<std::uint32_t>(task_result_kind::value));
    }
    const std::vector<block_place> places(message.blocks.size(), {message.block_bytes(), block_place::in_frame});
    const frame_pieces frame(frame_kind::results, message, places, 0);
    for (const char* end : {"done", "died", "timed_out", "cancelled", "refused", "missing"}) {
        const std::string text =
            json{{"end", end},    {"signal", 11}, {"exit_status", nullptr}, {"current", 7}, {"stderr", "text"},
                 {"worker", "w"}, {"pid", 12},    {"why", "text"},          {"key", "key"}}
                .dump();
        const auto size = static_cast<std::uint32_t>(text.size());
        std::string all(payload_magic);
        all.append(reinterpret_cast<const char*>(&size), sizeof size);
        all += text;
        all.resize(round_up(all.size(), 8));
        for (const bytes_view piece : frame.pieces())
            all.append(reinterpret_cast<const char*>(piece.data()), piece.size());
        write(to / end, std::as_bytes(std::span(all)));
    }
}

} // namespace

int main(int argc, char** argv) {
    if (argc != 3) {
        std::fprintf(stderr, "usage: make_dask_corpus CAPTURED FOLDER\n");
        return 2;
    }
    const fs::path captured(argv[1]), to(argv[2]);
    write_answers(to / "fuzz_dask_answer");
    for (const auto& entry : fs::recursive_directory_iterator(captured)) {
        if (entry.path().extension() != ".bin") continue;
        std::ifstream in(entry.path(), std::ios::binary);
        const std::string text(std::istreambuf_iterator<char>(in), {});
        const bytes_view bytes = std::as_bytes(std::span(text));
        const std::string name = entry.path().parent_path().filename().string() + '_' + entry.path().stem().string();
        write(to / "fuzz_dask_message" / name, bytes, "\x3f");
        message_reader reader;
        reader.feed(bytes);
        message m = reader.take();
        const json head = m.head;
        int number = 0;
        write_pickles(m, head, to / "fuzz_pickle" / name, number);
    }
}
