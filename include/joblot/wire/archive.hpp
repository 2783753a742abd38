// SPDX-License-Identifier: BSL-1.0
// The archives that values are written to and read from. To functions of users they look like archives of cereal;
// everything that a user's `serialize` gives them goes through joblot's own codec again.
#pragma once

#include <joblot/wire/bools.hpp>
#include <joblot/wire/cereal_names.hpp>
#include <joblot/wire/kinds.hpp>
#include <joblot/wire/padding.hpp>
#include <joblot/wire/parcel.hpp>
#include <joblot/wire/shared_objects.hpp>
#include <joblot/wire/user_functions.hpp>

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace joblot::detail {

/// Values nested deeper than this are refused, before a hostile or endless one overflows the stack.
inline constexpr int deepest_value = 500;

/// Counts how deep a value is nested, for as long as it lives.
template <class Archive>
class nesting {
public:
    nesting(Archive& archive, const char* type) : depth_(archive.depth()) {
        if (depth_ == deepest_value)
            throw serialization_error("joblot: a value is nested more than " + std::to_string(deepest_value) +
                                          " deep, or refers to itself; the innermost type is " + type,
                                      type);
        ++depth_;
    }
    nesting(const nesting&) = delete;
    nesting& operator=(const nesting&) = delete;
    ~nesting() { --depth_; }

private:
    int& depth_;
};

/// Gives a variable another value for as long as this lives.
template <class T>
class set_for_now {
public:
    set_for_now(T& variable, T value) : variable_(variable), before_(std::exchange(variable, value)) {}
    set_for_now(const set_for_now&) = delete;
    set_for_now& operator=(const set_for_now&) = delete;
    ~set_for_now() { variable_ = before_; }

private:
    T& variable_;
    T before_;
};

inline constexpr const char* invalid_bool = "a bool that is neither true nor false";

class encoder;
class decoder;
template <class T>
void encode(encoder& to, const T& value);
template <class T>
T decode(decoder& from);

/// Writes values into a message. For one thread, and for one part of a message if it has parts: each is read on its
/// own, and knows no shared pointer of another one.
class encoder : public foreign_calls {
public:
    using is_saving = std::true_type; // for functions of users
    using is_loading = std::false_type;

    explicit encoder(outgoing& to) : to_(to) {}

    [[nodiscard]] outgoing& message() noexcept { return to_; }
    [[nodiscard]] int& depth() noexcept { return depth_; }

    /// The number of a shared object, and whether the object must follow. Number 0: it is not known again later.
    std::pair<std::uint32_t, bool> shared_number(const std::shared_ptr<const void>& object, const void* type) {
        return shared_.number_of(object, type);
    }

    /// A contiguous block of memory.
    void block(const void* data, std::size_t size, std::size_t alignment) {
        to_.put_block(data, size, alignment, in_user_code_ == 0);
    }
    /// Contiguous elements that travel as their bytes: where they are, or a copy without the padding that they have.
    template <class E>
    void plain_elements(const E* first, std::size_t n, bool lasting) {
        if (has_padding<E>()) {
            std::vector<std::byte> copy(n * sizeof(E));
            copy_without_padding(first, n, copy.data());
            to_.put_block(std::move(copy), alignof(E));
        } else {
            to_.put_block(first, n * sizeof(E), alignof(E), lasting);
        }
    }
    template <class E>
    void plain_elements(const E* first, std::size_t n) {
        plain_elements(first, n, in_user_code_ == 0);
    }

    /// What cereal calls `archive(...)`: for the `serialize` and `save` functions of users.
    template <class... Ts>
    encoder& operator()(Ts&&... values) {
        (one(values), ...);
        return *this;
    }
    template <class T>
    encoder& operator&(T&& value) {
        one(value);
        return *this;
    }
    template <class T>
    encoder& operator<<(T&& value) {
        one(value);
        return *this;
    }

    /// For the `save` of a `travel`: elements of the value, or of `owner`. They are not copied into the stream.
    /// @param first May be null where `n` is 0.
    /// @param owner What they belong to, if that is not the value itself.
    template <class E>
    void elements(const E* first, std::size_t n, std::shared_ptr<const void> owner = nullptr) {
        static_assert(is_raw<E> && alignof(E) <= stream_alignment, "joblot: these do not travel as their bytes");
        plain_elements(first, n, owner ? true : value_lasts_);
        if (owner) to_.owners.push_back(std::move(owner));
    }

    /// Writes a value by functions of its author. What they hand on may be a temporary.
    /// @param type For errors.
    template <class T>
    void by_user(const T& value, const char* type) {
        const set_for_now name(whose_functions_, type);
        passing([&] { by_user_functions(*this, value); });
    }
    /// The same by the functions of its `travel`.
    template <class T>
    void by_travel(const T& value) {
        const set_for_now lasts(value_lasts_, in_user_code_ == 0);
        passing([&] { travel<T>::save(*this, value); });
    }
    /// Writes what will not be there any more when the message is sent.
    template <class Write>
    void passing(Write write) {
        struct back {
            int& n;
            ~back() { --n; }
        } const at_end{++in_user_code_};
        write();
    }

private:
    template <class T>
    void one(const T& value) {
        encode(*this, value);
    }
    template <class T, std::size_t N>
    void one(const T (&values)[N]) {
        for (const T& value : values) one(value);
    }
    template <class T>
    void one(const cereal::DeferredData<T>& later) { // nothing of ours needs to come later
        one(later.value);
    }
    template <class T>
    void one(const cereal::virtual_base_class<T>& part) {
        base_part(*part.base_ptr);
    }
    template <class T>
    void one(const cereal::NameValuePair<T>& pair) {
        one(pair.value);
    }
    template <class T>
    void one(const cereal::SizeTag<T>& tag) {
        to_.put(static_cast<std::uint64_t>(tag.size));
    }
    template <class T>
    void one(const cereal::BinaryData<T>& data) {
        to_.put(data.size);
        block(data.data, static_cast<std::size_t>(data.size), stream_alignment);
    }
    template <class T>
    void one(const cereal::base_class<T>& part) {
        base_part(*part.base_ptr);
    }

    template <class T>
    void base_part(const T& part);

    outgoing& to_;
    int depth_ = 0;
    int in_user_code_ = 0;     // or in what passes otherwise
    bool value_lasts_ = false; // the one that `travel` writes
    shared_objects shared_;
};

/// Writes a part of a message. @param write Is given an encoder of the part's own, as parts are read by themselves.
template <class Write>
void write_part(outgoing& message, std::uint32_t mark, Write write) {
    const std::size_t blocks = message.blocks.size();
    const std::size_t part = message.begin_part();
    encoder to(message);
    write(to);
    message.end_part(part, blocks, mark);
}

/// Reads values from a message. For one thread. Broadcast values are looked up by their number.
class decoder : public foreign_calls {
public:
    using is_saving = std::false_type; // for functions of users
    using is_loading = std::true_type;
    using image_finder = std::function<std::shared_ptr<segment>(std::uint64_t)>;

    /// @param find Gives a broadcast value's shared memory, or null. Must outlive the decoder; may be null.
    /// @param common_function What the message names for all its parts; 0: none.
    explicit decoder(incoming from, const image_finder* find = nullptr, std::uintptr_t common_function = 0)
        : from_(from), find_(find), common_function_(common_function) {}

    [[nodiscard]] incoming& message() noexcept { return from_; }
    [[nodiscard]] int& depth() noexcept { return depth_; }
    [[nodiscard]] std::uintptr_t common_function() const noexcept { return common_function_; }
    [[nodiscard]] std::shared_ptr<segment> image(std::uint64_t id) const {
        return find_ && *find_ ? (*find_)(id) : nullptr;
    }

    /// The next shared object begins. False where that should not be this number.
    [[nodiscard]] bool expect_shared(std::uint32_t number) {
        if (number != 0) shared_.emplace_back();
        return number == 0 || number == shared_.size();
    }
    /// It was read.
    void keep_shared(std::uint32_t number, std::shared_ptr<void> object, const void* type) {
        if (number != 0) shared_[number - 1] = {std::move(object), type};
    }
    /// Null where none of this type has the number.
    [[nodiscard]] std::shared_ptr<void> shared(std::uint32_t number, const void* type) const {
        if (number == 0 || number > shared_.size() || shared_[number - 1].second != type) return nullptr;
        return shared_[number - 1].first;
    }

    template <class... Ts>
    decoder& operator()(Ts&&... values) {
        (one(values), ...);
        return *this;
    }
    template <class T>
    decoder& operator&(T&& value) {
        one(value);
        return *this;
    }
    template <class T>
    decoder& operator>>(T&& value) {
        one(value);
        return *this;
    }

    /// For the `load` of a `travel`: the next value, which was written by `to(value)`. @throws serialization_error It
    /// is none of this type.
    template <class T>
    [[nodiscard]] T read() {
        return decode<T>(*this);
    }
    /// Likewise: what `to.elements` wrote, where it arrived; for as long as `load` runs.
    /// @throws serialization_error where there are not so many, or one has a `bool` that is neither 0 nor 1.
    template <class E>
    [[nodiscard]] std::span<const E> elements(std::size_t n) {
        static_assert(is_raw<E> && alignof(E) <= stream_alignment, "joblot: these do not travel as their bytes");
        if (n > from_.remaining_with_blocks() / sizeof(E)) from_.fail("more elements than bytes are left", "elements");
        const bytes_view bytes = from_.take_block(n * sizeof(E), alignof(E), "elements");
        if constexpr (has_bools<E>) {
            if (!bools_are_valid<E>(bytes.data(), n)) from_.fail(invalid_bool, "elements");
        }
        return {reinterpret_cast<const E*>(bytes.data()), n};
    }

    /// Reads a value by functions of its author.
    template <class T>
    void by_user(T& value, const char* type) {
        const set_for_now name(whose_functions_, type);
        by_user_functions(*this, value);
    }

private:
    template <class T>
    void one(T& value) {
        if constexpr (std::is_move_assignable_v<T>)
            value = decode<T>(*this);
        else
            refuse("an archive for what cannot be assigned");
    }
    template <class T, std::size_t N>
    void one(T (&values)[N]) {
        for (T& value : values) one(value);
    }
    template <class T>
    void one(cereal::NameValuePair<T>& pair) {
        one(pair.value);
    }
    template <class T>
    void one(cereal::DeferredData<T>& later) {
        one(later.value);
    }
    template <class T>
    void one(cereal::virtual_base_class<T>& part) {
        base_part(*part.base_ptr);
    }
    template <class T>
    void one(cereal::SizeTag<T>& tag) {
        const auto size = from_.get<std::uint64_t>("a size");
        if (size > from_.remaining_with_blocks()) from_.fail("a size is larger than the message", "a size");
        tag.size = static_cast<std::remove_reference_t<decltype(tag.size)>>(size);
    }
    template <class T>
    void one(cereal::BinaryData<T>& data) {
        if (from_.get<std::uint64_t>("a size") != data.size)
            from_.fail("a block of data has another size than expected", "binary data");
        const auto size = static_cast<std::size_t>(data.size);
        const bytes_view bytes = from_.take_block(size, stream_alignment, "binary data"); // empty ones are aligned, too
        if (size) std::memcpy(data.data, bytes.data(), size);
    }
    template <class T>
    void one(cereal::base_class<T>& part) {
        base_part(*part.base_ptr);
    }

    template <class T>
    void base_part(T& part);

    incoming from_;
    const image_finder* find_;
    std::uintptr_t common_function_;
    int depth_ = 0;
    std::vector<std::pair<std::shared_ptr<void>, const void*>> shared_; // and their types; by number, less one
};

} // namespace joblot::detail
