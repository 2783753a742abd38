// SPDX-License-Identifier: BSL-1.0
// Reads MessagePack as Dask's processes write it, into JSON. Not the JSON library's own reader, as that one knows only
// maps whose keys are strings, where Dask has tuples too, and goes as deep as the sender wants.
#pragma once

#include <joblot/error.hpp>
#include <joblot/wire/parcel.hpp>

#include <nlohmann/json.hpp>

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
#include <utility>
#include <vector>

namespace joblot::dask::engine {

using json = nlohmann::json;
using detail::bytes_view;

/// Bytes that are no message of Dask's.
[[noreturn, gnu::cold]] inline void broken_message(const std::string& why, std::size_t offset = 0) {
    throw serialization_error("joblot: a broken message from Dask: " + why, "a message of Dask", offset);
}

/// Reads one value. Sizes and depth are checked before they are used; memory is taken as elements come.
///
/// Python's sets become arrays, members of its enumerations their names, keys of maps that are no strings their JSON
/// text. Strings are taken as they are, and need not be UTF-8: give `json::error_handler_t::replace` to `dump`.
class msgpack_reader {
public:
    static constexpr int most_depth = 128;

    /// @throws serialization_error where the bytes are not exactly one value.
    [[nodiscard]] static json read(bytes_view bytes) {
        msgpack_reader reader(bytes);
        json result = reader.value(0);
        if (reader.at_ != bytes.size()) broken_message("bytes after the end", reader.at_);
        return result;
    }

private:
    explicit msgpack_reader(bytes_view bytes) noexcept : bytes_(bytes) {}

    bytes_view take(std::uint64_t n) {
        if (n > bytes_.size() - at_) broken_message("it ends too early", at_);
        const bytes_view result = bytes_.subspan(at_, n);
        at_ += result.size();
        return result;
    }
    template <class T>
    T number() {
        std::uint64_t bits = 0;
        for (const std::byte b : take(sizeof(T))) bits = bits << 8 | std::to_integer<std::uint64_t>(b);
        return static_cast<T>(bits);
    }
    std::string text(std::uint64_t size) {
        const bytes_view b = take(size);
        return {reinterpret_cast<const char*>(b.data()), b.size()};
    }
    json binary(std::uint64_t size) {
        const bytes_view b = take(size);
        const auto* const first = reinterpret_cast<const std::uint8_t*>(b.data());
        return json::binary({first, first + b.size()});
    }
    json extension(std::uint64_t size) {
        const auto kind = number<std::uint8_t>();
        json result = binary(size);
        result.get_binary().set_subtype(kind);
        return result;
    }

    json array(std::uint64_t count, int depth) {
        if (count > bytes_.size() - at_) broken_message("a list is larger than the message", at_);
        json::array_t result;
        result.reserve(std::min<std::size_t>(count, 256));
        for (std::uint64_t i = 0; i != count; ++i) result.push_back(value(depth + 1));
        return result;
    }
    json map(std::uint64_t count, int depth) {
        if (count > (bytes_.size() - at_) / 2) broken_message("a map is larger than the message", at_);
        // As in Python. A key that is a map would have its quotes escaped at each level: exponential growth.
        if (in_key_) broken_message("a map is part of a map's key", at_);
        json::object_t result;
        for (std::uint64_t i = 0; i != count; ++i) {
            in_key_ = true;
            json key = value(depth + 1);
            in_key_ = false;
            std::string name = key.is_string() ? std::move(key.get_ref<std::string&>())
                                               : key.dump(-1, ' ', false, json::error_handler_t::replace);
            result.insert_or_assign(std::move(name), value(depth + 1));
        }
        return without_python(std::move(result));
    }
    /// What Dask marks as an object of Python's.
    static json without_python(json::object_t map) {
        if (const auto set = map.find("as-list"); set != map.end() && map.contains("__Set__")) return set->second;
        if (const auto name = map.find("name"); name != map.end() && map.contains("__Enum__")) return name->second;
        return map;
    }

    json value(int depth) {
        if (depth > most_depth) broken_message("it is too deep", at_);
        const auto kind = number<std::uint8_t>();
        if (kind <= 0x7f) return kind;
        if (kind <= 0x8f) return map(kind & 0x0fU, depth);
        if (kind <= 0x9f) return array(kind & 0x0fU, depth);
        if (kind <= 0xbf) return text(kind & 0x1fU);
        if (kind >= 0xe0) return static_cast<std::int8_t>(kind);
        if (kind <= 0xcf) return scalar(kind);
        return other(kind, depth);
    }
    json scalar(std::uint8_t kind) {
        switch (kind) {
        case 0xc0:
            return nullptr;
        case 0xc2:
            return false;
        case 0xc3:
            return true;
        case 0xc4:
            return binary(number<std::uint8_t>());
        case 0xc5:
            return binary(number<std::uint16_t>());
        case 0xc6:
            return binary(number<std::uint32_t>());
        case 0xc7:
            return extension(number<std::uint8_t>());
        case 0xc8:
            return extension(number<std::uint16_t>());
        case 0xc9:
            return extension(number<std::uint32_t>());
        case 0xca:
            return std::bit_cast<float>(number<std::uint32_t>());
        case 0xcb:
            return std::bit_cast<double>(number<std::uint64_t>());
        case 0xcc:
            return number<std::uint8_t>();
        case 0xcd:
            return number<std::uint16_t>();
        case 0xce:
            return number<std::uint32_t>();
        case 0xcf:
            return number<std::uint64_t>();
        default:
            broken_message("there is no such kind of value", at_ - 1);
        }
    }
    json other(std::uint8_t kind, int depth) {
        switch (kind) {
        case 0xd0:
            return number<std::int8_t>();
        case 0xd1:
            return number<std::int16_t>();
        case 0xd2:
            return number<std::int32_t>();
        case 0xd3:
            return number<std::int64_t>();
        case 0xd4:
        case 0xd5:
        case 0xd6:
        case 0xd7:
        case 0xd8:
            return extension(std::uint64_t{1} << (kind - 0xd4U));
        case 0xd9:
            return text(number<std::uint8_t>());
        case 0xda:
            return text(number<std::uint16_t>());
        case 0xdb:
            return text(number<std::uint32_t>());
        case 0xdc:
            return array(number<std::uint16_t>(), depth);
        case 0xdd:
            return array(number<std::uint32_t>(), depth);
        case 0xde:
            return map(number<std::uint16_t>(), depth);
        default:
            return map(number<std::uint32_t>(), depth);
        }
    }

    bytes_view bytes_;
    std::size_t at_ = 0;
    bool in_key_ = false;
};

} // namespace joblot::dask::engine
