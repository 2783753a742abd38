// SPDX-License-Identifier: BSL-1.0
// Writes the seeds of fuzz_dask_message and fuzz_pickle: messages recorded from real schedulers, and the pickles in
// them. make_dask_corpus CAPTURED FOLDER fills FOLDER/fuzz_dask_message and FOLDER/fuzz_pickle.

#include <joblot/dask/message.hpp>

#include <cstddef>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <span>
#include <string>
#include <utility>

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

} // namespace

int main(int argc, char** argv) {
    if (argc != 3) {
        std::fprintf(stderr, "usage: make_dask_corpus CAPTURED FOLDER\n");
        return 2;
    }
    const fs::path captured(argv[1]), to(argv[2]);
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
