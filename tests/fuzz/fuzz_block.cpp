// SPDX-License-Identifier: BSL-1.0
// Fuzzes the readers of what Python writes for C++: blocks of numbers and bytes in a message, and the same in shared
// memory, as chunks of a dataset and as arguments of exported functions. Bad ones give a serialization_error, and
// nothing else; all numbers of good ones can be read, and where they are is what the shape says.
//
// Input: the number of a type; of 256 types half are read from a message: how many blocks, 16 bits for the size of
// each, less out_of_band_from, the stream; the others are in shared memory: its content.

#include "fuzz_block_types.hpp"
#include "fuzz_script.hpp"

#include <joblot/dask/chunk.hpp>
#include <joblot/persisted.hpp>
#include <joblot/wire/block.hpp>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include <unistd.h>

namespace {

using namespace joblot::detail;
using fuzz::require;

/// A copy of its own, aligned as streams are, so that the sanitizer sees every byte too many.
struct copied_stream {
    explicit copied_stream(bytes_view bytes) : bytes_(bytes.begin(), bytes.end()) { bytes_.shrink_to_fit(); }
    [[nodiscard]] bytes_view get() const noexcept { return bytes_; }

private:
    std::vector<std::byte> bytes_;
};

template <class T>
void write_again(const T& value) {
    outgoing first, second;
    encoder to(first), last(second);
    encode_as_block(to, value);
    decoder from(incoming(first.stream, first.blocks));
    const T same = decode_as_block<T>(from, "a value");
    require(from.message().remaining() == 0);
    encode_as_block(last, same);
    require(std::ranges::equal(first.stream, second.stream) && first.block_bytes() == second.block_bytes());
}

template <class T>
void read_value(fuzz::script& in) {
    alignas(block_alignment) static const std::array<std::byte, out_of_band_from + 0x10000> memory{};
    std::vector<bytes_view> blocks(in.next() % 3);
    for (bytes_view& b : blocks) b = std::span(memory).first(out_of_band_from + in.number<std::uint16_t>());
    const copied_stream stream(in.bytes(SIZE_MAX));
    decoder from(incoming(stream.get(), blocks));
    write_again(decode_as_block<T>(from, "a value"));
}

/// Shared memory with this content, as another process gives it.
std::shared_ptr<segment> shared(fuzz::script& in) {
    const bytes_view content = in.bytes(SIZE_MAX);
    descriptor file = shared_memory("joblot-fuzz");
    require(bool(file) && ::write(file.get(), content.data(), content.size()) == static_cast<ssize_t>(content.size()));
    return std::make_shared<segment>(7, std::move(file));
}

template <class T>
void read_persisted(fuzz::script& in) {
    const auto image = shared(in);
    if constexpr (number_array<T>) {
        const joblot::persisted<T> result(image);
        require(result.span().size() == std::size(result.get()));
    }
    write_again(joblot::persisted<T>(image).get());
}

template <class T>
void read_chunk(fuzz::script& in) {
    outgoing handle; // what a task is sent of a chunk
    encoder to(handle);
    encode(to, joblot::dask::chunk<const T>());
    const auto image = shared(in);
    const std::uint64_t id = image->id();
    std::memcpy(handle.stream.data() + handle.stream.size() - sizeof id, &id, sizeof id);
    const decoder::image_finder find = [&](std::uint64_t) { return image; };
    decoder from(incoming(handle.stream, handle.blocks), &find);
    const auto chunk = decode<joblot::dask::chunk<const T>>(from);
    std::size_t last = 0, size = 1;
    const std::vector<std::size_t> strides = chunk.strides();
    for (std::size_t i = 0; i != chunk.ndim(); ++i) {
        size *= chunk.shape()[i];
        last += (chunk.shape()[i] - 1) * strides[i];
    }
    require(chunk.size() == size && (size == 0 || last == size - 1));
    static volatile unsigned sum = 0;
    for (const std::byte b : std::as_bytes(chunk.span())) sum = sum + std::to_integer<unsigned>(b);
}

/// Calls the reader of the type with that number.
template <class Types, class Read, std::size_t... I>
void with_type(std::size_t number, Read read, std::index_sequence<I...>) {
    static_cast<void>(
        ((I == number % sizeof...(I) && (read(std::type_identity<std::tuple_element_t<I, Types>>()), true)) || ...));
}
template <class Types, class Read>
void with_type(std::size_t number, Read read) {
    with_type<Types>(number, read, std::make_index_sequence<std::tuple_size_v<Types>>());
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    fuzz::script in(std::as_bytes(std::span(data, size)));
    const unsigned what = in.next();
    try {
        if (what < 128)
            with_type<fuzz::values>(what, [&]<class T>(std::type_identity<T>) { read_value<T>(in); });
        else if (what < 192)
            with_type<fuzz::values>(what - 128, [&]<class T>(std::type_identity<T>) { read_persisted<T>(in); });
        else
            with_type<fuzz::numbers>(what - 192, [&]<class T>(std::type_identity<T>) { read_chunk<T>(in); });
    } catch (const joblot::serialization_error&) {
    }
    return 0;
}
