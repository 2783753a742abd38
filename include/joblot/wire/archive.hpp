// SPDX-License-Identifier: BSL-1.0
// The archives that values are written to and read from. For user types they are archives of cereal; everything that a
// user's `serialize` gives them goes through joblot's own codec again.
#pragma once

#include <joblot/wire/parcel.hpp>

#include <cereal/cereal.hpp>

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
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

class encoder;
class decoder;
template <class T>
void encode(encoder& to, const T& value);
template <class T>
T decode(decoder& from);

/// Writes values into a message. For one thread, and for one part of a message if it has parts: each is read on its
/// own, and knows no shared pointer and no class version of another one.
class encoder : public cereal::OutputArchive<encoder, cereal::AllowEmptyClassElision> {
    using base = cereal::OutputArchive<encoder, cereal::AllowEmptyClassElision>;

public:
    explicit encoder(outgoing& to) : base(this), to_(to) {}

    [[nodiscard]] outgoing& message() noexcept { return to_; }
    [[nodiscard]] int& depth() noexcept { return depth_; }

    /// The number of a shared object, and whether the object must follow. Number 0: it is not known again later.
    std::pair<std::uint32_t, bool> shared_number(const std::shared_ptr<const void>& object, const void* type) {
        const std::uint32_t n = this->registerSharedPointer(object); // 1, 2, and so on
        const std::uint32_t number = n & ~cereal::detail::msb_32bit;
        if (n & cereal::detail::msb_32bit) {
            shared_types_.push_back(type);
            return {number, true};
        }
        if (shared_types_[number - 1] == type) return {number, false};
        return {0, true}; // another object at the same address: the first member of one
    }

    /// A contiguous block of memory.
    void block(const void* data, std::size_t size, std::size_t alignment) {
        to_.put_block(data, size, alignment, in_user_code_ == 0);
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

    /// Writes a value by its user's own functions. What they hand on may be a temporary.
    template <class T>
    void by_user(const T& value) {
        passing([&] { base::operator()(value); });
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
    int in_user_code_ = 0;                  // or in what passes otherwise
    std::vector<const void*> shared_types_; // by number, less one
};

/// Reads values from a message. For one thread. Broadcast values are looked up by their number.
class decoder : public cereal::InputArchive<decoder, cereal::AllowEmptyClassElision> {
    using base = cereal::InputArchive<decoder, cereal::AllowEmptyClassElision>;

public:
    using image_finder = std::function<std::shared_ptr<segment>(std::uint64_t)>;

    /// @param find Gives a broadcast value's shared memory, or null. Must outlive the decoder; may be null.
    explicit decoder(incoming from, const image_finder* find = nullptr) : base(this), from_(from), find_(find) {}

    [[nodiscard]] incoming& message() noexcept { return from_; }
    [[nodiscard]] int& depth() noexcept { return depth_; }
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

    template <class T>
    void by_user(T& value) {
        base::operator()(value);
    }

private:
    template <class T>
    void one(T& value) {
        value = decode<T>(*this);
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
    int depth_ = 0;
    std::vector<std::pair<std::shared_ptr<void>, const void*>> shared_; // and their types; by number, less one
};

// What cereal itself hands on: a class's version, and the values of `save_minimal`.
template <class T>
void save(encoder& to, const cereal::NameValuePair<T>& pair) {
    to(pair);
}
template <class T>
void load(decoder& from, cereal::NameValuePair<T>& pair) {
    from(pair);
}
template <class T>
    requires(std::is_arithmetic_v<T> || std::same_as<T, std::string>)
void save(encoder& to, const T& value) {
    to(value);
}
template <class T>
    requires(std::is_arithmetic_v<T> || std::same_as<T, std::string>)
void load(decoder& from, T& value) {
    from(value);
}

} // namespace joblot::detail

CEREAL_SETUP_ARCHIVE_TRAITS(joblot::detail::decoder, joblot::detail::encoder)
