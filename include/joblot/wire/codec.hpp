// SPDX-License-Identifier: BSL-1.0
// Values to bytes and back. What is contiguous and plain is never copied on the way out, and can be read in place.
#pragma once

#include <joblot/broadcast.hpp>
#include <joblot/wire/archive.hpp>
#include <joblot/wire/bools.hpp>
#include <joblot/wire/entry.hpp>
#include <joblot/wire/image.hpp>
#include <joblot/wire/kinds.hpp>
#include <joblot/wire/padding.hpp>
#include <joblot/wire/refusal.hpp>

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <iterator>
#include <limits>
#include <memory>
#include <optional>
#include <ranges>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

namespace joblot::detail {

/// A trivially copyable object from its bytes; its class need not have a default constructor.
template <class T>
T from_bytes(const std::byte* bytes) noexcept {
    std::array<std::byte, sizeof(T)> copy;
    std::memcpy(copy.data(), bytes, sizeof(T));
    if constexpr (has_bools<T>) make_bools_valid<T>(copy.data(), 1);
    return std::bit_cast<T>(copy);
}

/// Reaches the container inside `std::queue` and its kin, a protected member.
template <class Adaptor>
struct adaptor_inside : Adaptor {
    static typename Adaptor::container_type& of(Adaptor& a) { return a.*(&adaptor_inside::c); }
    static const typename Adaptor::container_type& of(const Adaptor& a) { return a.*(&adaptor_inside::c); }
};

// Itanium C++ ABI, 2.3: a pointer to a member function is a function's address, or 1 + an offset into the virtual
// table, and what is to be added to `this`.
struct member_function_bits {
    std::uintptr_t function;
    std::ptrdiff_t adjustment;
};

// --- writing

enum class function_kind : std::uint8_t {
    null,
    located, ///< its place follows
    common   ///< the one that the message names for all its parts
};

inline void encode_function(encoder& to, std::uintptr_t address) {
    outgoing& message = to.message();
    if (address == 0) return message.put(function_kind::null);
    if (message.is_common_function(address)) return message.put(function_kind::common);
    message.put(function_kind::located);
    message.put(locate(address));
}

template <class T>
void encode_raw(outgoing& to, const T& value) {
    if (has_padding<T>()) {
        const std::size_t at = to.stream.size();
        to.stream.resize(at + sizeof value);
        copy_without_padding(std::addressof(value), 1, to.stream.data() + at);
    } else {
        to.append(std::addressof(value), sizeof value);
    }
}

template <class T>
void encode_elements(encoder& to, const T& value) {
    std::size_t n = 0;
    if constexpr (std::ranges::sized_range<const T>)
        n = static_cast<std::size_t>(std::ranges::size(value));
    else
        n = static_cast<std::size_t>(std::ranges::distance(value));
    to.message().put<std::uint64_t>(n);
    for (auto&& element : value) {
        const auto write = [&] { encode<std::remove_cvref_t<decltype(element)>>(to, element); };
        if constexpr (std::is_reference_v<std::ranges::range_reference_t<const T>>)
            write();
        else
            to.passing(write); // the range makes its elements as they are asked for
    }
}

template <class T>
void encode_block(encoder& to, const T& value) {
    const auto n = static_cast<std::size_t>(std::ranges::size(value));
    to.message().put<std::uint64_t>(n);
    const typename T::value_type* const first = n ? std::to_address(std::ranges::begin(value)) : nullptr;
    to.plain_elements(first, n);
}

inline constexpr std::uint32_t first_time = 1U << 31; // the object itself follows
template <class T>
inline constexpr char type_mark = 0; // its address stands for the type

template <class T>
void encode_shared(encoder& to, const T& pointer) {
    if (!pointer) return to.message().put(std::uint32_t{0});
    const auto [number, first] = to.shared_number(pointer, &type_mark<std::remove_const_t<typename T::element_type>>);
    to.message().put(first ? number | first_time : number);
    if (first) encode(to, *pointer);
}

template <class T>
void encode_handle(encoder& to, const T& handle) {
    using value = typename T::value_type;
    const auto image = std::static_pointer_cast<segment>(
        handle.source()->image([&] { return make_image([&](encoder& e) { encode<value>(e, handle.get()); }); }));
    to.message().put(image->id());
    to.message().images.push_back(image);
}

/// Writes a value. @throws serialization_error, or what the value's own functions throw.
template <class T>
void encode(encoder& to, const T& value) {
    constexpr way how = way_v<T>;
    if constexpr (how == way::none) {
        refuse_value<T>(); // asked for by a class's own functions: tasks are refused before
    } else if constexpr (how == way::empty) {
        to.message().put(std::uint8_t{0}); // so that no number of elements takes no bytes
    } else if constexpr (how == way::raw) {
        encode_raw(to.message(), value);
    } else if constexpr (how == way::function) {
        encode_function(to, reinterpret_cast<std::uintptr_t>(value));
    } else if constexpr (how == way::member_function) {
        const auto bits = std::bit_cast<member_function_bits>(value);
        const bool is_virtual = (bits.function & 1) != 0;
        to.message().put(bits.adjustment);
        to.message().put(is_virtual ? bits.function : 0);
        if (!is_virtual) encode_function(to, bits.function);
    } else if constexpr (how == way::block) {
        encode_block(to, value);
    } else if constexpr (how == way::text) {
        encode(to, value.native());
    } else if constexpr (how == way::optional || how == way::pointer) {
        to.message().put(static_cast<std::uint8_t>(static_cast<bool>(value)));
        const nesting<encoder> deeper(to, name_for_errors<T>());
        if (value) encode<std::remove_cvref_t<decltype(*value)>>(to, *value);
    } else if constexpr (how == way::handle) {
        encode_handle(to, value);
    } else {
        const nesting<encoder> deeper(to, name_for_errors<T>());
        if constexpr (how == way::user) {
            to.message().put(std::uint8_t{0}); // its functions may write nothing
            to.by_user(value, name_for_errors<T>());
        } else if constexpr (how == way::declared) {
            to.message().put(std::uint8_t{0});
            to.by_travel(value);
        } else if constexpr (how == way::sequence) {
            encode_elements(to, value);
        } else if constexpr (how == way::array) {
            for (const auto& element : value) encode(to, element);
        } else if constexpr (how == way::pair) {
            encode(to, value.first);
            encode(to, value.second);
        } else if constexpr (how == way::tuple) {
            std::apply([&](const auto&... parts) { (encode(to, parts), ...); }, value);
        } else if constexpr (how == way::variant) {
            if (value.valueless_by_exception())
                throw serialization_error("joblot: a std::variant without a value cannot be sent to another process",
                                          name_for_errors<T>());
            to.message().put(static_cast<std::uint32_t>(value.index()));
            std::visit([&](const auto& alternative) { encode(to, alternative); }, value);
        } else if constexpr (how == way::shared) {
            encode_shared(to, value);
        } else if constexpr (how == way::adaptor) {
            encode(to, adaptor_inside<T>::of(value));
        } else if constexpr (how == way::fields) {
            with_fields<plain_field_count<T>()>(
                value, [&](const auto&... f) { (encode<std::remove_cvref_t<decltype(f)>>(to, f), ...); });
        }
    }
}

// --- reading

inline std::uintptr_t decode_function(decoder& from) {
    const auto kind = from.message().get<function_kind>("a function");
    if (kind == function_kind::null) return 0;
    if (kind == function_kind::located) return resolve(from.message().get<code_location>("a function"), true);
    if (kind != function_kind::common || from.common_function() == 0)
        from.message().fail("a function of an unknown kind", "a function");
    return from.common_function();
}

/// How many elements follow. Each takes a byte or more: a larger number is refused before anything is allocated.
template <class T>
std::size_t decode_count(decoder& from) {
    const auto n = from.message().get<std::uint64_t>(name_for_errors<T>());
    if (n > from.message().remaining()) from.message().fail("more elements than bytes are left", name_for_errors<T>());
    return static_cast<std::size_t>(n);
}

/// The elements of a block, where they are in the message. A `bool` in them may be anything.
template <class Element>
std::span<const Element> decode_unchecked_view(decoder& from, const char* type) {
    const auto n = from.message().get<std::uint64_t>(type);
    if (n > std::numeric_limits<std::size_t>::max() / sizeof(Element)) from.message().fail("an absurd size", type);
    const bytes_view bytes =
        from.message().take_block(static_cast<std::size_t>(n) * sizeof(Element), alignof(Element), type);
    return {reinterpret_cast<const Element*>(bytes.data()), static_cast<std::size_t>(n)};
}

/// The same, for whoever reads them there.
template <class Element>
std::span<const Element> decode_view(decoder& from, const char* type) {
    const auto view = decode_unchecked_view<Element>(from, type);
    if constexpr (has_bools<Element>) {
        if (!bools_are_valid<Element>(std::as_bytes(view).data(), view.size())) from.message().fail(invalid_bool, type);
    }
    return view;
}

template <class T, class Element>
T made_of_block(std::span<const Element> elements) {
    if constexpr (std::constructible_from<T, const Element*, const Element*>)
        return T(elements.data(), elements.data() + elements.size());
    else
        return T(elements.data(), elements.size());
}

template <class T>
T decode_block(decoder& from) {
    using element = std::remove_cv_t<typename T::value_type>;
    const std::span<const element> view = decode_unchecked_view<element>(from, name_for_errors<T>());
    const auto* const bytes = reinterpret_cast<const std::byte*>(view.data());
    bool as_it_is = alignof(element) <= stream_alignment; // only blocks beside the stream are aligned so far
    if constexpr (has_bools<element>) as_it_is = as_it_is && bools_are_valid<element>(bytes, view.size());
    if (as_it_is) return made_of_block<T>(view);
    std::vector<element> copy;
    copy.reserve(view.size());
    for (std::size_t i = 0; i != view.size(); ++i) copy.push_back(from_bytes<element>(bytes + i * sizeof(element)));
    return made_of_block<T>(std::span<const element>(copy));
}

template <class T>
T decode_elements(decoder& from) {
    using element = element_of<T>;
    const std::size_t n = decode_count<T>(from);
    std::vector<element> elements;
    elements.reserve(std::min<std::size_t>(n, 4096)); // more only as they come
    for (std::size_t i = 0; i != n; ++i) elements.push_back(decode<element>(from));
    if constexpr (std::same_as<T, std::vector<element>>)
        return elements;
    else if constexpr (std::same_as<element, bool>)
        return T(elements.begin(), elements.end());
    else
        return T(std::move_iterator<element*>(elements.data()),
                 std::move_iterator<element*>(elements.data() + elements.size()));
}

template <class T, std::size_t... I>
T decode_variant(decoder& from, std::index_sequence<I...>) {
    const auto index = from.message().get<std::uint32_t>(name_for_errors<T>());
    std::optional<T> result;
    static_cast<void>(
        ((I == index &&
          (result.emplace(std::in_place_index<I>, decode<std::variant_alternative_t<I, T>>(from)), true)) ||
         ...));
    if (!result) from.message().fail("no such alternative", name_for_errors<T>());
    return std::move(*result);
}

template <class T>
T decode_shared(decoder& from) {
    using element = std::remove_const_t<typename T::element_type>;
    const auto number = from.message().get<std::uint32_t>(name_for_errors<T>());
    if (number == 0) return nullptr;
    if (number & first_time) {
        if (!from.expect_shared(number & ~first_time)) from.message().fail("a wrong number", name_for_errors<T>());
        auto fresh = std::make_shared<element>(decode<element>(from));
        from.keep_shared(number & ~first_time, fresh, &type_mark<element>);
        return fresh;
    }
    if (auto known = std::static_pointer_cast<element>(from.shared(number, &type_mark<element>))) return known;
    from.message().fail("a shared pointer to nothing that came before", name_for_errors<T>());
}

template <class T>
T decode_handle(decoder& from) {
    using value = typename T::value_type;
    const auto id = from.message().get<std::uint64_t>(name_for_errors<T>());
    const auto image = from.image(id);
    if (!image) from.message().fail("a broadcast value that did not arrive", name_for_errors<T>());
    return T(std::static_pointer_cast<broadcast_source<value>>(image->decoded([&]() -> std::shared_ptr<void> {
        return std::static_pointer_cast<void>(
            std::static_pointer_cast<broadcast_source<value>>(std::make_shared<mapped_broadcast<value>>(image)));
    })));
}

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wconversion" // a bit-field gets what a bit-field had
template <class T, class... F>
T decode_fields(decoder& from, std::type_identity<std::tuple<F...>>) {
    return T{decode<std::remove_cv_t<F>>(from)...}; // braces: in this order
}
#pragma GCC diagnostic pop
template <class T, std::size_t... I>
T decode_tuple(decoder& from, std::index_sequence<I...>) {
    return T{decode<std::remove_cv_t<std::tuple_element_t<I, T>>>(from)...};
}

/// Reads a value. @throws serialization_error where the bytes make no sense; what the value's own functions throw.
template <class T>
T decode(decoder& from) {
    constexpr way how = way_v<T>;
    const char* const type = name_for_errors<T>();
    incoming& in = from.message();
    if constexpr (how == way::none) {
        refuse_value<T>();
    } else if constexpr (how == way::empty) {
        static_cast<void>(in.get<std::uint8_t>(type));
        constexpr std::array<std::byte, sizeof(T)> nothing{};
        return std::bit_cast<T>(nothing);
    } else if constexpr (how == way::raw) {
        return from_bytes<T>(in.take(sizeof(T), type).data());
    } else if constexpr (how == way::function) {
        return reinterpret_cast<T>(decode_function(from));
    } else if constexpr (how == way::member_function) {
        member_function_bits bits{};
        bits.adjustment = in.get<std::ptrdiff_t>(type);
        bits.function = in.get<std::uintptr_t>(type);
        if (bits.function == 0)
            bits.function = decode_function(from);
        else if (bits.function % 2 == 0)
            in.fail("not a virtual function", type);
        return std::bit_cast<T>(bits);
    } else if constexpr (how == way::block) {
        return decode_block<T>(from);
    } else if constexpr (how == way::text) {
        return T(decode<typename T::string_type>(from));
    } else if constexpr (how == way::handle) {
        return decode_handle<T>(from);
    } else if constexpr (how == way::optional) {
        if (in.get<std::uint8_t>(type) == 0) return T();
        const nesting<decoder> deeper(from, type);
        return T(decode<typename T::value_type>(from));
    } else if constexpr (how == way::pointer) {
        if (in.get<std::uint8_t>(type) == 0) return nullptr;
        const nesting<decoder> deeper(from, type);
        using element = std::remove_const_t<typename T::element_type>;
        return std::make_unique<element>(decode<element>(from));
    } else {
        const nesting<decoder> deeper(from, type);
        if constexpr (how == way::user) {
            static_cast<void>(in.get<std::uint8_t>(type));
            T value;
            from.by_user(value, type);
            return value;
        } else if constexpr (how == way::declared) {
            static_cast<void>(in.get<std::uint8_t>(type));
            return travel<T>::load(from);
        } else if constexpr (how == way::sequence) {
            return decode_elements<T>(from);
        } else if constexpr (how == way::array || how == way::tuple || how == way::pair) {
            return decode_tuple<T>(from, std::make_index_sequence<std::tuple_size_v<T>>());
        } else if constexpr (how == way::variant) {
            return decode_variant<T>(from, std::make_index_sequence<std::variant_size_v<T>>());
        } else if constexpr (how == way::shared) {
            return decode_shared<T>(from);
        } else if constexpr (how == way::adaptor) {
            T value;
            adaptor_inside<T>::of(value) = decode<typename T::container_type>(from);
            return value;
        } else {
            static_assert(how == way::fields);
            return decode_fields<T>(from, std::type_identity<field_types<T>>());
        }
    }
}

// A base class need not be one that a value can be made of: it may be abstract.
template <class T>
void encoder::base_part(const T& part) {
    if constexpr (has_user_functions<T>)
        by_user(part, name_for_errors<T>());
    else
        encode(*this, part);
}
template <class T>
void decoder::base_part(T& part) {
    if constexpr (has_user_functions<T>)
        by_user(part, name_for_errors<T>());
    else
        part = decode<T>(*this);
}

// --- broadcast values that came from another process

template <class T>
const T& mapped_broadcast<T>::get() {
    std::call_once(decoded_, [this] {
        decoder from(image_->message());
        value_.emplace(decode<T>(from));
    });
    return *value_;
}

template <class T>
typename broadcast_source<T>::view_type mapped_broadcast<T>::view() {
    if constexpr (broadcast_block<T> && way_v<T> == way::block && alignof(typename T::value_type) <= stream_alignment) {
        decoder from(image_->message());
        return decode_view<std::remove_cv_t<typename T::value_type>>(from, name_for_errors<T>()); // looks through bools
    } else if constexpr (broadcast_block<T>) {
        return {std::ranges::data(get()), std::ranges::size(get())};
    } else {
        return {};
    }
}

} // namespace joblot::detail
