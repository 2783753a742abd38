// SPDX-License-Identifier: BSL-1.0
// Fuzzes the codec's readers: a hostile message gives a value or a serialization_error, and nothing else. A value that
// was read can be written and read again.
//
// Input: the number of a type; how many blocks; 16 bits for each block's size, less out_of_band_from; the stream.

#include "fuzz_types.hpp"

#include <joblot/wire/codec.hpp>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <span>
#include <utility>
#include <vector>

namespace {

using namespace joblot::detail;

using bytes = std::span<const std::byte>;

std::size_t take(bytes& input, std::size_t size) {
    std::size_t value = 0;
    const std::size_t n = std::min(size, input.size());
    std::memcpy(&value, input.data(), n);
    input = input.subspan(n);
    return value;
}

/// Blocks of the sizes that the input names; what is in them matters to nobody.
std::vector<bytes_view> take_blocks(bytes& input) {
    alignas(block_alignment) static std::array<std::byte, out_of_band_from + 0x10000> memory{};
    std::vector<bytes_view> blocks(take(input, 1) % 4);
    for (bytes_view& b : blocks) b = std::span(memory).first(out_of_band_from + take(input, 2));
    return blocks;
}

void require(bool good) {
    if (!good) std::abort();
}

template <class T>
void read_one(bytes stream, std::span<const bytes_view> blocks) {
    // a copy of its own, aligned as streams are, so that the sanitizer sees every byte too many
    alignas(block_alignment) thread_local std::vector<std::byte> copy;
    copy.assign(stream.begin(), stream.end());
    copy.shrink_to_fit();
    decoder from(incoming(copy, blocks));
    try {
        const T value = decode<T>(from);
        require(from.depth() == 0);
        outgoing again;
        encoder to(again);
        encode(to, value);
        decoder second(incoming(again.stream, again.blocks));
        const T same = decode<T>(second);
        require(second.message().remaining() == 0);
        outgoing third;
        encoder last(third);
        encode(last, same);
        require(third.stream.size() == again.stream.size() && third.block_bytes() == again.block_bytes());
    } catch (const joblot::serialization_error&) {
        require(from.message().position() <= copy.size());
    }
}

template <std::size_t... I>
void read_type(std::size_t type, bytes stream, std::span<const bytes_view> blocks, std::index_sequence<I...>) {
    static_cast<void>(((I == type && (read_one<std::tuple_element_t<I, fuzz::types>>(stream, blocks), true)) || ...));
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    bytes input = std::as_bytes(std::span(data, size));
    constexpr std::size_t types = std::tuple_size_v<fuzz::types>;
    const std::size_t type = take(input, 1) % types;
    const std::vector<bytes_view> blocks = take_blocks(input);
    read_type(type, input, blocks, std::make_index_sequence<types>());
    return 0;
}
