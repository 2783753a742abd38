// SPDX-License-Identifier: BSL-1.0
// What a message carries: a stream of small values, and large blocks of memory beside it that are not copied into it.
#pragma once

#include <joblot/error.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <deque>
#include <memory>
#include <new>
#include <span>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace joblot::detail {

class segment; // wire/segment.hpp

using bytes_view = std::span<const std::byte>;

/// Blocks from this size on travel beside the stream. Below, one more entry in a table costs more than the copy.
inline constexpr std::size_t out_of_band_from = 4096;
/// Alignment of a block that travels beside the stream.
inline constexpr std::size_t block_alignment = 64;
/// Nothing in the stream is aligned to more.
inline constexpr std::size_t stream_alignment = 16;

[[nodiscard]] constexpr std::size_t round_up(std::size_t n, std::size_t alignment) noexcept {
    return (n + alignment - 1) / alignment * alignment;
}

/// What stands before a part of a message that can be read, or passed over, on its own.
struct part_header {
    std::uint64_t size = 0; // of its stream
    std::uint32_t blocks = 0;
    std::uint32_t mark = 0; // whatever the writer wants to say of it
};
static_assert(sizeof(part_header) % stream_alignment == 0);

/// Bytes that grow at the end, a few at a time. A `std::vector` would be told twice of each few: it calls functions for
/// that, which were a fifth of what a trivial task cost.
class growing_bytes {
public:
    [[nodiscard]] std::size_t size() const noexcept { return size_; }
    [[nodiscard]] const std::byte* data() const noexcept { return bytes_.get(); }
    [[nodiscard]] std::byte* data() noexcept { return bytes_.get(); }
    [[nodiscard]] const std::byte* begin() const noexcept { return data(); }
    [[nodiscard]] const std::byte* end() const noexcept { return data() + size_; }
    [[nodiscard]] std::byte* begin() noexcept { return data(); }
    [[nodiscard]] std::byte* end() noexcept { return data() + size_; }
    void clear() noexcept { size_ = 0; }

    void append(const void* from, std::size_t n) {
        if (n != 0) std::memcpy(more(n), from, n);
    }
    template <class T>
    void put(const T& value) {
        std::memcpy(more(sizeof value), std::addressof(value), sizeof value);
    }
    /// Zeros up to the next multiple of `Alignment`.
    template <std::size_t Alignment>
    void align() {
        const std::size_t to = round_up(size_, Alignment);
        std::memset(more(Alignment), 0, Alignment);
        size_ = to;
    }
    /// Exactly that much memory, where there is less.
    void reserve(std::size_t size) {
        if (size > room_) move_to(size);
    }
    /// New bytes are 0.
    void resize(std::size_t size) {
        if (size <= size_) {
            size_ = size;
        } else {
            const std::size_t n = size - size_;
            std::memset(more(n), 0, n);
        }
    }

    growing_bytes() noexcept = default;
    growing_bytes(growing_bytes&& other) noexcept
        : bytes_(std::move(other.bytes_)), size_(std::exchange(other.size_, 0)), room_(std::exchange(other.room_, 0)) {}
    growing_bytes& operator=(growing_bytes&& other) noexcept {
        bytes_ = std::move(other.bytes_);
        size_ = std::exchange(other.size_, 0);
        room_ = std::exchange(other.room_, 0);
        return *this;
    }

private:
    /// Room for so many more at the end; what is there is yet to be written.
    std::byte* more(std::size_t n) {
        if (n > room_ - size_) grow(n);
        return bytes_.get() + std::exchange(size_, size_ + n);
    }
    [[gnu::noinline]] void grow(std::size_t n) {
        if (n > static_cast<std::size_t>(-1) / 4 - size_) throw std::bad_alloc();
        move_to(std::max({2 * room_, size_ + n, std::size_t{256}}));
    }
    void move_to(std::size_t room) {
        std::unique_ptr<std::byte[]> larger(new std::byte[room]);
        if (size_ != 0) std::memcpy(larger.get(), bytes_.get(), size_);
        bytes_ = std::move(larger);
        room_ = room;
    }

    std::unique_ptr<std::byte[]> bytes_;
    std::size_t size_ = 0;
    std::size_t room_ = 0;
};

/// A message that is being written.
struct outgoing {
    growing_bytes stream;
    std::vector<bytes_view> blocks;                  // of the values themselves, or of `owned`
    std::deque<std::vector<std::byte>> owned;        // copies of what would not live until the message is sent
    std::vector<std::shared_ptr<segment>> images;    // broadcast values that the message speaks of
    std::vector<std::shared_ptr<const void>> owners; // of what blocks refer to, where that is nobody else's
    // A function that is named once for the whole message, as most of its tasks are made of it; 0 where there is none
    // yet. Its place goes into the head of the message.
    std::uintptr_t common_function = 0;
    bool names_common_function = false;

    void clear() noexcept {
        common_function = 0;
        names_common_function = false;
        stream.clear();
        blocks.clear();
        owned.clear();
        images.clear();
        owners.clear();
    }
    [[nodiscard]] std::size_t block_bytes() const noexcept {
        std::size_t sum = 0;
        for (const bytes_view b : blocks) sum += b.size();
        return sum;
    }

    void append(const void* data, std::size_t size) { stream.append(data, size); }
    /// Only what has no padding: that would be whatever was in memory before.
    template <class T>
        requires std::is_trivially_copyable_v<T> && std::has_unique_object_representations_v<T>
    void put(const T& value) {
        stream.put(value);
    }
    /// Overwrites what was put at `position`.
    template <class T>
        requires std::is_trivially_copyable_v<T> && std::has_unique_object_representations_v<T>
    void patch(std::size_t position, const T& value) noexcept {
        std::memcpy(stream.data() + position, std::addressof(value), sizeof value);
    }
    /// Whether a function is the one that is named for the whole message, or becomes it as it is the first.
    [[nodiscard]] bool is_common_function(std::uintptr_t address) noexcept {
        if (names_common_function && common_function == 0) common_function = address;
        return common_function == address;
    }
    /// Starts a part of the message that can be read on its own, after its `part_header`.
    [[nodiscard]] std::size_t begin_part() {
        const std::size_t at = stream.size();
        put(part_header{});
        return at;
    }
    /// Ends the part that began at `at`, when there were `blocks_before` blocks.
    void end_part(std::size_t at, std::size_t blocks_before, std::uint32_t mark) {
        stream.align<stream_alignment>();
        patch(at, part_header{stream.size() - at - sizeof(part_header),
                              static_cast<std::uint32_t>(blocks.size() - blocks_before), mark});
    }
    /// Takes back what was written since.
    void cut_back(std::size_t stream_size, std::size_t block_count) noexcept {
        stream.resize(stream_size);
        blocks.resize(block_count);
    }
    /// @param lasting Whether the memory stays as it is until the message has been sent.
    void put_block(const void* data, std::size_t size, std::size_t alignment, bool lasting) {
        if (size < out_of_band_from) {
            stream.resize(round_up(stream.size(), std::min(alignment, stream_alignment)));
            if (size) append(data, size);
            return;
        }
        bytes_view block(static_cast<const std::byte*>(data), size);
        if (!lasting) block = owned.emplace_back(block.begin(), block.end());
        blocks.push_back(block);
    }
    /// The same for bytes that are nobody else's.
    void put_block(std::vector<std::byte> bytes, std::size_t alignment) {
        if (bytes.size() < out_of_band_from)
            put_block(bytes.data(), bytes.size(), alignment, true);
        else
            blocks.emplace_back(owned.emplace_back(std::move(bytes)));
    }
};

/// A message that is being read. Refers to memory of somebody else. Whatever it is asked for is checked against what
/// is there before it is used.
class incoming {
public:
    incoming() = default;
    incoming(bytes_view stream, std::span<const bytes_view> blocks) noexcept : stream_(stream), blocks_(blocks) {}

    [[nodiscard]] std::size_t position() const noexcept { return at_; }
    [[nodiscard]] std::size_t remaining() const noexcept { return stream_.size() - at_; }
    /// The same, and what is in the blocks that were not read yet.
    [[nodiscard]] std::size_t remaining_with_blocks() const noexcept {
        std::size_t sum = remaining();
        for (const bytes_view b : blocks_.subspan(next_block_)) sum += b.size();
        return sum;
    }

    /// @throws serialization_error where the message ends too early.
    bytes_view take(std::size_t size, const char* type) {
        if (size > remaining()) fail("the message ends in the middle of a value", type);
        const bytes_view taken = stream_.subspan(at_, size);
        at_ += size;
        return taken;
    }
    template <class T>
        requires std::is_trivially_copyable_v<T> && std::is_default_constructible_v<T>
    T get(const char* type = "a number") {
        T value;
        std::memcpy(std::addressof(value), take(sizeof value, type).data(), sizeof value);
        return value;
    }
    /// What `outgoing::put_block` put, in place.
    bytes_view take_block(std::size_t size, std::size_t alignment, const char* type) {
        if (size < out_of_band_from) {
            const std::size_t aligned = round_up(at_, std::min(alignment, stream_alignment));
            if (aligned > stream_.size()) fail("the message ends in the middle of a value", type);
            at_ = aligned;
            return take(size, type);
        }
        if (next_block_ == blocks_.size()) fail("a block of data is missing", type);
        if (blocks_[next_block_].size() != size) fail("a block of data has another size than announced", type);
        return blocks_[next_block_++];
    }
    /// The one block that there is, whatever its size.
    bytes_view only_block(const char* type) {
        if (next_block_ + 1 != blocks_.size()) fail("there is not exactly one block of data", type);
        return blocks_[next_block_++];
    }
    /// The next part, as a message of its own.
    /// @param mark What the writer said of it.
    incoming part(std::uint32_t& mark) {
        const auto header = get<part_header>("the head of a part");
        if (header.size % stream_alignment || at_ % stream_alignment)
            fail("a part is not aligned", "a part of a message");
        const bytes_view stream = take(header.size, "a part of a message");
        if (header.blocks > blocks_.size() - next_block_) fail("blocks of data are missing", "a part of a message");
        const auto own = blocks_.subspan(next_block_, header.blocks);
        next_block_ += header.blocks;
        mark = header.mark;
        return {stream, own};
    }

    [[noreturn, gnu::cold]] void fail(const char* why, const char* type) const {
        throw serialization_error("joblot: bytes that do not decode: " + std::string(why) + ", reading " + type +
                                      " at offset " + std::to_string(at_),
                                  type, at_);
    }

private:
    bytes_view stream_;
    std::span<const bytes_view> blocks_;
    std::size_t at_ = 0;
    std::size_t next_block_ = 0;
};

} // namespace joblot::detail
