// SPDX-License-Identifier: BSL-1.0
// The archives that values are written to and read from. For user types they are archives of cereal; everything that a
// user's `serialize` gives them goes through joblot's own codec again.
#pragma once

#include <joblot/wire/parcel.hpp>

#include <cereal/cereal.hpp>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <type_traits>
#include <utility>

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

/// Writes values into a message. For one thread.
class encoder : public cereal::OutputArchive<encoder, cereal::AllowEmptyClassElision> {
    using base = cereal::OutputArchive<encoder, cereal::AllowEmptyClassElision>;

public:
    explicit encoder(outgoing& to) : base(this), to_(to) {}

    [[nodiscard]] outgoing& message() noexcept { return to_; }
    [[nodiscard]] int& depth() noexcept { return depth_; }

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
        ++in_user_code_;
        base::operator()(value);
        --in_user_code_;
    }

private:
    template <class T>
    void one(const T& value) {
        encode(*this, value);
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
        by_user(*part.base_ptr);
    }

    outgoing& to_;
    int depth_ = 0;
    int in_user_code_ = 0;
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
    void one(cereal::SizeTag<T>& tag) {
        const auto size = from_.get<std::uint64_t>("a size");
        if (size > from_.remaining()) from_.fail("a size is larger than the message", "a size");
        tag.size = static_cast<std::remove_reference_t<decltype(tag.size)>>(size);
    }
    template <class T>
    void one(cereal::BinaryData<T>& data) {
        if (from_.get<std::uint64_t>("a size") != data.size)
            from_.fail("a block of data has another size than expected", "binary data");
        const auto size = static_cast<std::size_t>(data.size);
        if (size) std::memcpy(data.data, from_.take_block(size, stream_alignment, "binary data").data(), size);
    }
    template <class T>
    void one(cereal::base_class<T>& part) {
        by_user(*part.base_ptr);
    }

    incoming from_;
    const image_finder* find_;
    int depth_ = 0;
};

} // namespace joblot::detail
