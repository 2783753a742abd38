// SPDX-License-Identifier: BSL-1.0
// Values in a form that other languages read: arrays of numbers as numpy has them, single numbers, and bytes; all
// others as the codec writes them.
#pragma once

#include <joblot/error.hpp>
#include <joblot/wire/codec.hpp>
#include <joblot/wire/dtype.hpp>
#include <joblot/wire/kinds.hpp>
#include <joblot/wire/parcel.hpp>

#include <algorithm>
#include <array>
#include <charconv>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <memory>
#include <ranges>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <vector>

namespace joblot::detail {

// On the wire: the head, at a multiple of `stream_alignment`; its shape, an u64 for each dimension; then a block
// (`outgoing::put_block`). python/worker_shim/joblot_datasets.py reads and writes the same. Beside numpy's, dtypes are
// "bytes", "O" (what the codec writes follows), and "!": there is no value, and `dimensions` is the length of the text
// that follows and says why.
struct block_head {
    std::array<char, 16> dtype{};
    std::uint32_t dimensions = 0;
    std::uint32_t fortran = 0; ///< 1: the first index is the one that changes from number to number
};
inline constexpr std::string_view bytes_dtype = "bytes", opaque_dtype = "O", missing_dtype = "!";

/// The numbers of a block, where they are in the memory that a worker was given.
struct block_view {
    std::string dtype;
    std::vector<std::size_t> shape;
    bool fortran = false;
    bytes_view bytes;
};

/// Bytes of one element; 0 where the dtype has no such size.
inline std::size_t item_size(std::string_view dtype) noexcept {
    if (dtype == bytes_dtype) return 1;
    std::size_t size = 0;
    if (dtype.size() > 2) std::from_chars(dtype.data() + 2, dtype.data() + dtype.size(), size);
    return size <= 16 ? size : 0;
}

[[noreturn, gnu::cold]] inline void refuse_block(const std::string& name, const std::string& wanted,
                                                 const std::string& why) {
    throw serialization_error("joblot: " + name + " cannot be read as " + wanted + ": " + why, "block");
}

/// Reads the head of a value. @throws serialization_error where there is none, or it is said to be missing.
inline block_view read_block_head(incoming& from, const std::string& name, const std::string& wanted) {
    static_cast<void>(from.take(round_up(from.position(), stream_alignment) - from.position(), "a block"));
    const auto head = from.get<block_head>("a block");
    block_view result;
    result.dtype.assign(head.dtype.data(), ::strnlen(head.dtype.data(), head.dtype.size()));
    if (result.dtype == missing_dtype) {
        const bytes_view why = from.take(head.dimensions, "a block");
        refuse_block(name, wanted, {reinterpret_cast<const char*>(why.data()), why.size()});
    }
    result.fortran = head.fortran != 0;
    if (head.dimensions > from.remaining() / sizeof(std::uint64_t))
        refuse_block(name, wanted, "its shape makes no sense");
    for (std::uint32_t i = 0; i != head.dimensions; ++i) result.shape.push_back(from.get<std::uint64_t>("a block"));
    return result;
}

/// Reads an array, a number or bytes. The bytes are not trusted.
/// @param name   What it is, for errors.
/// @param wanted What it should be, for errors.
/// @throws serialization_error where it is none of these.
[[nodiscard]] inline block_view read_block(incoming& from, const std::string& name, const std::string& wanted) {
    block_view result = read_block_head(from, name, wanted);
    std::size_t bytes = item_size(result.dtype);
    if (bytes == 0) refuse_block(name, wanted, "its dtype is " + result.dtype);
    for (const std::size_t n : result.shape) {
        if (n != 0 && bytes > std::numeric_limits<std::size_t>::max() / n)
            refuse_block(name, wanted, "its shape makes no sense");
        bytes *= n;
    }
    if (bytes > from.remaining_with_blocks()) refuse_block(name, wanted, "its size is not that of its shape");
    result.bytes = from.take_block(bytes, stream_alignment, "a block");
    return result;
}

// --- which types have such a form

enum class block_kind { none, number, bytes, array };

/// The numbers that an array's elements are made of, and the shape of one element.
template <class E>
struct array_element {
    using number = E;
    static void add_shape(std::vector<std::size_t>&) {}
};
template <class E, std::size_t N>
    requires(N > 0)
struct array_element<std::array<E, N>> {
    using number = typename array_element<E>::number;
    static void add_shape(std::vector<std::size_t>& shape) {
        shape.push_back(N);
        array_element<E>::add_shape(shape);
    }
};

template <class T>
constexpr block_kind block_kind_of() {
    if constexpr (numeric<T>) {
        return block_kind::number;
    } else if constexpr (std::same_as<T, std::string> || std::same_as<T, std::vector<std::byte>>) {
        return block_kind::bytes;
    } else if constexpr (is_std_array<T>) {
        return numeric<typename array_element<T>::number> ? block_kind::array : block_kind::none;
    } else if constexpr (way_v<T> == way::block) {
        using element = std::remove_cv_t<typename T::value_type>;
        return numeric<typename array_element<element>::number> ? block_kind::array : block_kind::none;
    } else {
        return block_kind::none;
    }
}

/// What the elements of a type's form are called: a dtype.
template <class T>
std::string block_dtype() {
    if constexpr (block_kind_of<T>() == block_kind::bytes)
        return std::string(bytes_dtype);
    else if constexpr (block_kind_of<T>() == block_kind::number)
        return dtype_of<T>();
    else if constexpr (is_std_array<T>)
        return dtype_of<typename array_element<T>::number>();
    else
        return dtype_of<typename array_element<std::remove_cv_t<typename T::value_type>>::number>();
}
/// The same for people.
template <class T>
std::string block_description() {
    if constexpr (block_kind_of<T>() == block_kind::none)
        return std::string("a ") + name_for_errors<T>();
    else if constexpr (block_kind_of<T>() == block_kind::bytes)
        return "bytes";
    else
        return (block_kind_of<T>() == block_kind::number ? "a number of dtype " : "an array of dtype ") +
               block_dtype<T>();
}

// --- writing and reading them

/// Writes a value. @param value Must last until the message is sent, unless `to.passing` says that it does not.
template <class T>
void encode_as_block(encoder& to, const T& value) {
    constexpr block_kind kind = block_kind_of<T>(); // numbers have no padding
    outgoing& message = to.message();
    message.stream.align<stream_alignment>();
    const auto put_head = [&](std::string_view dtype, const std::vector<std::size_t>& shape) {
        block_head head;
        dtype.copy(head.dtype.data(), head.dtype.size() - 1);
        head.dimensions = static_cast<std::uint32_t>(shape.size());
        message.put(head);
        for (const std::size_t n : shape) message.put(static_cast<std::uint64_t>(n));
    };
    if constexpr (kind == block_kind::none) {
        put_head(opaque_dtype, {});
        encode(to, value);
    } else if constexpr (kind == block_kind::number) {
        put_head(block_dtype<T>(), {});
        message.put_block(&value, sizeof value, stream_alignment, true);
    } else {
        using element = std::remove_cv_t<typename T::value_type>;
        const auto n = static_cast<std::size_t>(std::ranges::size(value));
        std::vector<std::size_t> shape{n};
        array_element<element>::add_shape(shape);
        put_head(block_dtype<T>(), shape);
        message.put_block(n ? std::to_address(std::ranges::begin(value)) : nullptr, n * sizeof(element),
                          stream_alignment, true);
    }
}

/// The elements of a block as those of a contiguous container, where they are.
/// @throws serialization_error where it is of another shape or dtype.
template <class T>
auto block_elements(const block_view& block, const std::string& name) {
    using element = std::remove_cv_t<typename T::value_type>;
    const auto refuse = [&](const std::string& why) { refuse_block(name, block_description<T>(), why); };
    const std::string wanted = block_dtype<T>();
    const bool is_bytes = wanted == bytes_dtype && block.dtype == "|u1";
    if (block.dtype != wanted && !is_bytes) refuse("its dtype is " + block.dtype);
    std::vector<std::size_t> shape(1, block.shape.empty() ? 0 : block.shape[0]);
    array_element<element>::add_shape(shape);
    if (shape != block.shape) refuse("it has another shape");
    if (block.fortran && shape.size() > 1) refuse("it is in the order of Fortran");
    if constexpr (has_bools<element>) {
        if (!bools_are_valid<element>(block.bytes.data(), shape[0])) refuse(std::string("it has ") + invalid_bool);
    }
    return std::span(reinterpret_cast<const element*>(block.bytes.data()), shape[0]);
}

/// A number. Python's own ones have the widest types: they are taken where they have a value of `T`.
/// @throws serialization_error It is none, or has no value of `T`.
template <numeric T>
T block_number(const block_view& block, const std::string& name) {
    const auto refuse = [&](const std::string& why) { refuse_block(name, block_description<T>(), why); };
    if (!block.shape.empty()) refuse("it is an array");
    if (block.dtype == dtype_of<T>()) return from_bytes<T>(block.bytes.data());
    const bool is_real = block.dtype == "<f8", is_integer = block.dtype == "<i8" || block.dtype == "<u8";
    if constexpr (is_complex<T>) {
        using part = typename T::value_type;
        if (block.dtype == "<c16") {
            const auto parts = from_bytes<std::array<double, 2>>(block.bytes.data());
            return T(static_cast<part>(parts[0]), static_cast<part>(parts[1]));
        }
        if (is_real || is_integer) return T(block_number<part>(block, name));
    } else if constexpr (std::floating_point<T>) {
        if (is_real) return static_cast<T>(from_bytes<double>(block.bytes.data()));
        if (is_integer) return static_cast<T>(block_number<std::int64_t>(block, name));
    } else if constexpr (std::integral<T> && !std::same_as<T, bool>) {
        const auto narrow = [&](auto wide) {
            const auto n = static_cast<T>(wide);
            if (static_cast<decltype(wide)>(n) != wide || (n < T{}) != (wide < 0))
                refuse("it is " + std::to_string(wide));
            return n;
        };
        if (block.dtype == "<i8") return narrow(from_bytes<std::int64_t>(block.bytes.data()));
        if (block.dtype == "<u8") return narrow(from_bytes<std::uint64_t>(block.bytes.data()));
    }
    refuse("its dtype is " + block.dtype);
    return T();
}

/// Reads what `encode_as_block` wrote, or Python. @throws serialization_error where it is no `T`.
/// @param name What it is, for errors.
template <class T>
T decode_as_block(decoder& from, const std::string& name) {
    constexpr block_kind kind = block_kind_of<T>();
    const std::string wanted = block_description<T>();
    if constexpr (kind == block_kind::none) {
        const block_view head = read_block_head(from.message(), name, wanted);
        if (head.dtype != opaque_dtype) refuse_block(name, wanted, "its dtype is " + head.dtype);
        return decode<T>(from);
    } else {
        const block_view block = read_block(from.message(), name, wanted);
        if constexpr (kind == block_kind::number) {
            return block_number<T>(block, name);
        } else {
            const auto elements = block_elements<T>(block, name);
            const auto* const first = elements.data();
            if constexpr (is_std_array<T>) {
                if (elements.size() != std::tuple_size_v<T>) refuse_block(name, wanted, "it has another shape");
                T value;
                std::copy_n(first, elements.size(), value.begin());
                return value;
            } else if constexpr (std::constructible_from<T, decltype(first), decltype(first)>) {
                return T(first, first + elements.size());
            } else {
                return T(first, elements.size());
            }
        }
    }
}

} // namespace joblot::detail
