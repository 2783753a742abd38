// SPDX-License-Identifier: BSL-1.0
// Messages as frames of a byte stream: what is written before a message's bytes, and a reader that takes the stream in
// pieces of any size. No input or output happens here.
// Templates, so that only what uses them compiles them: see init.hpp.
#pragma once

#include <joblot/wire/feed.hpp>
#include <joblot/wire/parcel.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <new>
#include <span>
#include <utility>
#include <vector>

namespace joblot::detail {

/// Version of the frames and of what is in them. A worker of another one is refused.
inline constexpr std::uint32_t protocol_version = 1;

/// What a frame is for.
enum class frame_kind : std::uint32_t {
    hello = 1, ///< worker: who it is
    setup,     ///< to a worker: how it is to run
    images,    ///< to a worker: broadcast values, as files
    run,       ///< to a worker: a batch
    results,   ///< worker: results of some tasks of a batch
    forget,    ///< to a worker: numbers of broadcast values that nobody needs any more
    quit,      ///< to a worker: end
    call_over  ///< to a worker: what it kept for its tasks is not needed any more
};

// A frame is: the head; an entry for each block; the stream; the blocks that are not elsewhere. Each starts at a
// multiple of block_alignment, so that values can be read in place. Both sides are the same build: byte order and sizes
// are the machine's.
struct frame_head {
    static constexpr std::uint32_t expected_magic = 0x746c626a; // "jblt"

    std::uint32_t magic = expected_magic;
    frame_kind kind = frame_kind::quit;
    std::uint64_t stream_size = 0;
    std::uint64_t block_count = 0;
    std::uint64_t image_count = 0; // file descriptors that come with the frame
    std::uint64_t unused[4] = {};
};
static_assert(sizeof(frame_head) == block_alignment);

struct block_place {
    static constexpr std::uint64_t in_frame = ~std::uint64_t{0};

    std::uint64_t size = 0;
    std::uint64_t offset = in_frame; // in the sender's shared memory, or `in_frame`
};

/// The pieces that a message consists of on the wire, in order; they refer to `head`, `table` and the message.
template <class = void>
class basic_frame_pieces {
public:
    basic_frame_pieces(frame_kind kind, const outgoing& message, std::span<const block_place> places,
                       std::size_t images) {
        head_.kind = kind;
        head_.stream_size = message.stream.size();
        head_.block_count = places.size();
        head_.image_count = images;
        add({reinterpret_cast<const std::byte*>(&head_), sizeof head_});
        add(std::as_bytes(places));
        add(message.stream);
        for (std::size_t i = 0; i != places.size(); ++i) {
            if (places[i].offset == block_place::in_frame) add(message.blocks[i]);
        }
    }
    basic_frame_pieces(const basic_frame_pieces&) = delete;
    basic_frame_pieces& operator=(const basic_frame_pieces&) = delete;

    [[nodiscard]] std::span<const bytes_view> pieces() const noexcept { return pieces_; }

private:
    void add(bytes_view piece) {
        static constexpr std::byte zeros[block_alignment] = {};
        if (piece.empty()) return;
        pieces_.push_back(piece);
        const std::size_t padding = round_up(piece.size(), block_alignment) - piece.size();
        if (padding) pieces_.emplace_back(zeros, padding);
    }

    frame_head head_;
    std::vector<bytes_view> pieces_;
};
using frame_pieces = basic_frame_pieces<>;

/// Memory for a frame's content: aligned, not initialised, and kept from one frame to the next.
template <class = void>
class basic_frame_buffer {
public:
    [[nodiscard]] std::byte* data() const noexcept { return data_.get(); }
    [[nodiscard]] std::size_t capacity() const noexcept { return capacity_; }
    /// Makes room for `size` bytes and keeps the first `used`.
    void grow(std::size_t size, std::size_t used) {
        if (size <= capacity_) return;
        storage fresh(static_cast<std::byte*>(::operator new(size, std::align_val_t(block_alignment))));
        if (used) std::memcpy(fresh.get(), data_.get(), used);
        data_ = std::move(fresh);
        capacity_ = size;
    }
    /// Gives back what one large frame needed.
    void shrink(std::size_t most) noexcept {
        if (capacity_ <= most) return;
        data_.reset();
        capacity_ = 0;
    }

private:
    struct release {
        void operator()(std::byte* p) const noexcept { ::operator delete(p, std::align_val_t(block_alignment)); }
    };
    using storage = std::unique_ptr<std::byte, release>;
    storage data_;
    std::size_t capacity_ = 0;
};
using frame_buffer = basic_frame_buffer<>;

/// Puts frames together from the bytes of a stream. What the other side announces is checked before it is used, and
/// memory is taken as bytes arrive, not as they are announced.
template <class = void>
class basic_frame_reader {
public:
    static constexpr std::uint64_t most_bytes = std::uint64_t{1} << 46;
    static constexpr std::uint64_t most_blocks = most_bytes / sizeof(block_place); // their table is read as it arrives
    static constexpr std::uint64_t most_images = 64;
    static constexpr std::size_t kept_memory = 32U << 20; // between frames: to take it anew costs more than the copy

    /// Takes some bytes of the stream, up to the end of the frame. @return How many were taken.
    /// @throws serialization_error where they are no frame.
    std::size_t feed(bytes_view bytes) { return feed_copies(*this, bytes); }

    /// Where the next bytes of the frame belong: for readers that put them there themselves. Never empty before the
    /// frame is complete.
    [[nodiscard]] std::span<std::byte> space() {
        if (stage_ == stage::head) return {reinterpret_cast<std::byte*>(&head_) + have_, sizeof head_ - have_};
        if (have_ == body_.capacity()) body_.grow(std::min(wanted_, std::max<std::size_t>(have_ * 2, 1U << 16)), have_);
        return {body_.data() + have_, std::min(wanted_, body_.capacity()) - have_};
    }
    /// So many bytes were put there. @throws serialization_error where they are no frame.
    void filled(std::size_t n) {
        have_ += n;
        while (stage_ != stage::done && have_ == wanted_) next_stage();
    }

    [[nodiscard]] bool complete() const noexcept { return stage_ == stage::done; }
    /// Whether nothing of a frame has come yet.
    [[nodiscard]] bool at_start() const noexcept { return stage_ == stage::head && have_ == 0; }

    // Of a complete frame; what they refer to stays until `restart`.
    [[nodiscard]] frame_kind kind() const noexcept { return head_.kind; }
    [[nodiscard]] std::size_t image_count() const noexcept { return static_cast<std::size_t>(head_.image_count); }
    [[nodiscard]] bytes_view stream() const noexcept {
        return {body_.data() + table_size(), static_cast<std::size_t>(head_.stream_size)};
    }
    /// The blocks. @param shared The sender's shared memory, where some of them are.
    [[nodiscard]] std::vector<bytes_view> blocks(bytes_view shared) const {
        std::vector<bytes_view> all;
        all.reserve(places_.size());
        std::size_t at = table_size() + round_up(stream().size(), block_alignment);
        for (const block_place& p : places_) {
            const auto size = static_cast<std::size_t>(p.size);
            if (p.offset == block_place::in_frame) {
                all.emplace_back(body_.data() + at, size);
                at += round_up(size, block_alignment);
            } else if (p.offset > shared.size() || size > shared.size() - p.offset || p.offset % block_alignment) {
                broken("a block is outside of the shared memory");
            } else {
                all.push_back(shared.subspan(static_cast<std::size_t>(p.offset), size));
            }
        }
        return all;
    }
    /// How much of the sender's shared memory the frame speaks of.
    [[nodiscard]] std::size_t shared_end() const noexcept {
        std::uint64_t end = 0;
        for (const block_place& p : places_) {
            if (p.offset != block_place::in_frame && p.offset + p.size >= p.offset)
                end = std::max(end, p.offset + p.size);
        }
        return end;
    }

    /// Begins with the next frame.
    void restart() noexcept {
        body_.shrink(kept_memory);
        places_.clear();
        stage_ = stage::head;
        have_ = 0;
        wanted_ = sizeof head_;
    }

private:
    enum class stage { head, table, content, done };

    [[noreturn, gnu::cold]] static void broken(const char* why) {
        throw serialization_error("joblot: a broken frame from another process: " + std::string(why), "a frame");
    }

    [[nodiscard]] std::size_t table_size() const noexcept {
        return round_up(static_cast<std::size_t>(head_.block_count) * sizeof(block_place), block_alignment);
    }

    void next_stage() {
        if (stage_ == stage::head) {
            if (head_.magic != frame_head::expected_magic) broken("it does not begin as one");
            if (head_.kind < frame_kind::hello || head_.kind > frame_kind::call_over) broken("there is no such kind");
            if (head_.block_count > most_blocks || head_.image_count > most_images || head_.stream_size > most_bytes)
                broken("it is too large");
            stage_ = stage::table;
            have_ = 0;
            wanted_ = table_size();
        } else if (stage_ == stage::table) {
            places_.resize(head_.block_count);
            if (!places_.empty()) std::memcpy(places_.data(), body_.data(), places_.size() * sizeof(block_place));
            std::uint64_t content = round_up(head_.stream_size, block_alignment);
            for (const block_place& p : places_) {
                if (p.size > most_bytes) broken("it is too large");
                if (p.offset == block_place::in_frame)
                    content += round_up(static_cast<std::size_t>(p.size), block_alignment);
                if (content > most_bytes) broken("it is too large");
            }
            stage_ = stage::content;
            wanted_ = table_size() + content;
        } else {
            stage_ = stage::done;
        }
    }

    frame_head head_{};
    frame_buffer body_;
    std::vector<block_place> places_;
    stage stage_ = stage::head;
    std::size_t have_ = 0;                    // bytes of the head, or of the body
    std::size_t wanted_ = sizeof(frame_head); // up to the end of the stage
};
using frame_reader = basic_frame_reader<>;

} // namespace joblot::detail
