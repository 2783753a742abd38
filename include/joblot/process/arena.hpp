// SPDX-License-Identifier: BSL-1.0
// Shared memory in which one side of a channel puts large blocks and the other one reads them in place; used again for
// every message.
// Templates, so that only what uses them compiles them: see init.hpp.
#pragma once

#include <joblot/wire/frame.hpp>
#include <joblot/wire/segment.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <deque>
#include <utility>
#include <vector>

namespace joblot::detail {

/// Blocks of a message that are smaller than this together go through the socket: see bench/run_processes.py,
/// crossover.
inline constexpr std::size_t shared_from = 32U << 10;

/// So much of it is kept from one use to the next.
inline constexpr std::size_t kept_shared = 32U << 20;

/// The writing side. For one thread.
template <class = void>
class basic_arena_writer {
public:
    explicit basic_arena_writer(int file) : file_(file) {}

    /// Copies the blocks of a message into shared memory and tells where they are. Where there is none to be had, they
    /// stay in the frame.
    /// @param number Of the message; it keeps its room until `release(number)`.
    std::vector<block_place> place(const outgoing& message, std::uint64_t number) {
        std::vector<block_place> places;
        places.reserve(message.blocks.size());
        for (const bytes_view b : message.blocks) places.push_back({b.size(), block_place::in_frame});
        const std::size_t needed = size_of(message);
        if (needed < shared_from || file_ < 0) return places;
        std::size_t at = find_room(needed);
        if (!map_up_to(at + needed)) return places;
        taken_.push_back({number, at, at + needed});
        for (std::size_t i = 0; i != places.size(); ++i) {
            places[i].offset = at;
            std::memcpy(memory_.data() + at, message.blocks[i].data(), message.blocks[i].size());
            at += round_up(message.blocks[i].size(), block_alignment);
        }
        return places;
    }

    /// Nobody reads the blocks of messages up to this number any more.
    void release(std::uint64_t number) {
        while (!taken_.empty() && taken_.front().number <= number) taken_.pop_front();
    }
    /// Gives back what large messages needed, when nobody reads any.
    void trim() noexcept {
        if (!taken_.empty() || memory_.size() <= kept_shared || !is_shared_memory(file_)) return;
        ::fallocate(file_, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, static_cast<off_t>(memory_.size()));
        memory_ = {}; // to be reserved again
    }

private:
    struct room {
        std::uint64_t number;
        std::size_t begin, end;
    };

    static std::size_t size_of(const outgoing& message) noexcept {
        std::size_t sum = 0;
        for (const bytes_view b : message.blocks) sum += round_up(b.size(), block_alignment);
        return sum;
    }
    /// The start if it is free, else behind all that is taken.
    [[nodiscard]] std::size_t find_room(std::size_t needed) const noexcept {
        std::size_t begin = static_cast<std::size_t>(-1), end = 0;
        for (const room& r : taken_) {
            begin = std::min(begin, r.begin);
            end = std::max(end, r.end);
        }
        return needed <= begin ? 0 : end;
    }
    bool map_up_to(std::size_t end) {
        if (end <= memory_.size()) return true;
        const std::size_t size = round_up(std::max(end, memory_.size() * 2), 1U << 20);
        // a task may have closed our descriptors, and the number is that of a file of its own now
        if (!is_shared_memory(file_) || !reserve_shared(file_, size)) return false;
        mapping larger(file_, size, true);
        if (!larger) return false;
        memory_ = std::move(larger);
        return true;
    }

    int file_; // the channel's
    mapping memory_;
    std::deque<room> taken_;
};
using arena_writer = basic_arena_writer<>;

/// The reading side. For one thread.
template <class = void>
class basic_arena_reader {
public:
    explicit basic_arena_reader(int file) noexcept : file_(file) {}

    /// The memory up to `end`, as far as it is there. What an earlier call gave is of no use any more.
    bytes_view up_to(std::size_t end) {
        if (end > memory_.size() && end <= file_size(file_)) memory_ = mapping(file_, file_size(file_), false);
        return {memory_.data(), memory_.size()};
    }

private:
    int file_; // the channel's
    mapping memory_;
};
using arena_reader = basic_arena_reader<>;

} // namespace joblot::detail
