// SPDX-License-Identifier: BSL-1.0
// Messages of real schedulers, recorded by captured/capture.py.
#pragma once

#include <joblot/dask/protocol/message.hpp>

#include <catch2/catch_test_macros.hpp>

#include <cstddef>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace captured {

using joblot::dask::engine::bytes_view;
using joblot::dask::engine::message;
using joblot::dask::engine::message_reader;

/// One version for each form of Dask's wire.
inline constexpr const char* versions[] = {"2022.12.1", "2024.5.0", "2025.2.0", "2026.8.0"};

inline std::filesystem::path folder() { return std::filesystem::path(JOBLOT_TEST_DASK_SCRIPTS) / "captured"; }

inline std::vector<std::byte> bytes_of(std::string_view text) {
    const bytes_view view = std::as_bytes(std::span(text));
    return {view.begin(), view.end()};
}
inline std::string text_of(bytes_view bytes) { return {reinterpret_cast<const char*>(bytes.data()), bytes.size()}; }

inline std::vector<std::byte> file(const std::filesystem::path& path) {
    std::ifstream in(path, std::ios::binary);
    REQUIRE(in);
    const std::string content(std::istreambuf_iterator<char>(in), {});
    return bytes_of(content);
}
inline std::vector<std::byte> file(const char* version, const std::string& name) {
    return file(folder() / version / (name + ".bin"));
}
/// Reads exactly one message, in pieces of `piece` bytes.
inline message read(bytes_view bytes, std::size_t piece = ~std::size_t{0}) {
    message_reader reader;
    while (!bytes.empty()) {
        REQUIRE_FALSE(reader.complete());
        const bytes_view next = bytes.first(std::min(piece, bytes.size()));
        REQUIRE(reader.feed(next) == next.size());
        bytes = bytes.subspan(next.size());
    }
    REQUIRE(reader.complete());
    return reader.take();
}
inline message read(const char* version, const std::string& name) { return read(file(version, name)); }

} // namespace captured
