// SPDX-License-Identifier: BSL-1.0
// Messages as frames, read in pieces of any size; frames that make no sense.

#include "support/wire.hpp"

#include <joblot/wire/frame.hpp>

#include <catch2/catch_test_macros.hpp>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <deque>
#include <span>
#include <string>
#include <vector>

namespace {

using joblot::serialization_error;
using joblot::detail::block_alignment;
using joblot::detail::block_place;
using joblot::detail::frame_head;
using joblot::detail::frame_kind;
using joblot::detail::frame_pieces;
using joblot::detail::frame_reader;
using joblot::detail::round_up;
using support::bytes_view;
using support::outgoing;

using bytes = std::vector<std::byte>;

bytes of_size(std::size_t n, char fill) { return bytes(n, static_cast<std::byte>(fill)); }

/// The message as it goes over the wire, all blocks in the frame.
bytes on_the_wire(frame_kind kind, const outgoing& message, std::size_t images = 0) {
    std::vector<block_place> places;
    for (const bytes_view b : message.blocks) places.push_back({b.size(), block_place::in_frame});
    const frame_pieces frame(kind, message, places, images);
    bytes all;
    for (const bytes_view p : frame.pieces()) all.insert(all.end(), p.begin(), p.end());
    return all;
}
bytes head_only(const frame_head& head) {
    bytes b(sizeof head);
    std::memcpy(b.data(), &head, sizeof head);
    return b;
}
void append_table(bytes& to, std::vector<block_place> places) {
    const std::size_t at = to.size();
    to.resize(at + round_up(places.size() * sizeof(block_place), block_alignment));
    std::memcpy(to.data() + at, places.data(), places.size() * sizeof(block_place));
}

/// Feeds pieces of `piece` bytes until one frame is complete. @return How many bytes that took.
std::size_t feed_in_pieces(frame_reader& reader, bytes_view all, std::size_t piece) {
    std::size_t at = 0;
    while (at != all.size() && !reader.complete()) {
        const bytes_view next = all.subspan(at, std::min(piece, all.size() - at));
        for (std::size_t used = 0; used != next.size() && !reader.complete();) {
            const std::size_t n = reader.feed(next.subspan(used));
            if (n == 0) return at; // it is stuck
            used += n;
            at += n;
        }
    }
    return at;
}

bool same(bytes_view a, bytes_view b) { return std::ranges::equal(a, b); }

struct sample {
    sample(std::size_t stream, std::vector<std::size_t> sizes) {
        const bytes text = of_size(stream, 's');
        message.append(text.data(), text.size());
        char fill = 'a';
        for (const std::size_t n : sizes) data.push_back(of_size(n, fill++));
        for (const bytes& d : data) message.blocks.emplace_back(d);
    }
    void check(const frame_reader& reader) const {
        REQUIRE(reader.complete());
        CHECK(same(reader.stream(), message.stream));
        const std::vector<bytes_view> blocks = reader.blocks({});
        REQUIRE(blocks.size() == data.size());
        for (std::size_t i = 0; i != data.size(); ++i) {
            CHECK(same(blocks[i], data[i]));
            CHECK(reinterpret_cast<std::uintptr_t>(blocks[i].data()) % block_alignment == 0);
        }
    }
    sample(const sample&) = delete;
    sample& operator=(const sample&) = delete;

    outgoing message;
    std::vector<bytes> data;
};

// A deque, as a sample's blocks refer to it: it must not be copied.
std::deque<sample> samples() {
    std::deque<sample> all;
    all.emplace_back(0, std::vector<std::size_t>());
    all.emplace_back(1, std::vector<std::size_t>());
    all.emplace_back(64, std::vector<std::size_t>());
    all.emplace_back(0, std::vector<std::size_t>{5'000});
    all.emplace_back(1'000, std::vector<std::size_t>{4'096, 1, 70'000});
    all.emplace_back(200'000, std::vector<std::size_t>{64, 63, 65, 0, 4'097});
    return all;
}

/// Reads a frame that is expected to be refused.
void check_refused(const bytes& frame) {
    frame_reader reader;
    CHECK_THROWS_AS(feed_in_pieces(reader, frame, frame.size()), serialization_error);
}

} // namespace

TEST_CASE("frames arrive, in pieces of any size", "[wire][frame]") {
    const std::deque<sample> all_samples = samples();
    for (const sample& s : all_samples) {
        const bytes all = on_the_wire(frame_kind::run, s.message);
        CHECK(all.size() % block_alignment == 0);
        for (const std::size_t piece : {std::size_t{1}, std::size_t{3}, std::size_t{63}, std::size_t{64},
                                        std::size_t{65}, std::size_t{4'099}, all.size()}) {
            CAPTURE(all.size(), piece);
            frame_reader reader;
            CHECK(reader.at_start());
            CHECK(feed_in_pieces(reader, all, piece) == all.size());
            CHECK(reader.kind() == frame_kind::run);
            CHECK_FALSE(reader.at_start());
            s.check(reader);
        }
    }
}

TEST_CASE("several frames in a row share one reader", "[wire][frame]") {
    const std::deque<sample> all = samples();
    bytes stream;
    for (const sample& s : all) {
        const bytes one = on_the_wire(frame_kind::results, s.message, 3);
        stream.insert(stream.end(), one.begin(), one.end());
    }
    for (const std::size_t piece : {std::size_t{1}, std::size_t{100}, std::size_t{70'001}, stream.size()}) {
        frame_reader reader;
        bytes_view left(stream);
        for (const sample& s : all) {
            left = left.subspan(feed_in_pieces(reader, left, piece));
            s.check(reader);
            CHECK(reader.image_count() == 3);
            reader.restart();
            CHECK(reader.at_start());
        }
        CHECK(left.empty());
    }
}

TEST_CASE("nothing is taken beyond the end of a frame", "[wire][frame]") {
    bytes two = on_the_wire(frame_kind::quit, outgoing());
    const std::size_t one = two.size();
    two.resize(2 * one + 7);
    frame_reader reader;
    CHECK(reader.feed(two) == one);
    CHECK(reader.complete());
    CHECK(reader.feed(two) == 0);
}

TEST_CASE("readers that put bytes in place themselves", "[wire][frame]") {
    const sample s(100'000, {10'000});
    const bytes all = on_the_wire(frame_kind::run, s.message);
    frame_reader reader;
    for (std::size_t at = 0; at != all.size();) {
        const std::span<std::byte> space = reader.space();
        REQUIRE(!space.empty());
        const std::size_t n = std::min({space.size(), all.size() - at, std::size_t{1'001}});
        std::memcpy(space.data(), all.data() + at, n);
        reader.filled(n);
        at += n;
    }
    s.check(reader);
}

TEST_CASE("heads that make no sense", "[wire][frame][hostile]") {
    frame_head bad_magic;
    bad_magic.magic ^= 1;
    check_refused(head_only(bad_magic));
    for (const std::uint32_t kind : {0U, static_cast<std::uint32_t>(frame_kind::call_over) + 1, 0xffffffffU}) {
        frame_head head;
        std::memcpy(&head.kind, &kind, sizeof kind);
        check_refused(head_only(head));
    }
    for (const std::uint64_t huge : {std::uint64_t{1} << 47, ~std::uint64_t{0}, ~std::uint64_t{0} - 62}) {
        frame_head stream, blocks, images;
        stream.stream_size = blocks.block_count = images.image_count = huge;
        check_refused(head_only(stream));
        check_refused(head_only(blocks));
        check_refused(head_only(images));
    }
    check_refused(bytes(200, std::byte{0}));
}

TEST_CASE("tables that make no sense", "[wire][frame][hostile]") {
    frame_head head;
    head.block_count = 2;
    for (const std::uint64_t huge : {std::uint64_t{1} << 47, ~std::uint64_t{0}, ~std::uint64_t{0} - 62}) {
        for (const std::uint64_t offset : {block_place::in_frame, std::uint64_t{0}}) {
            bytes frame = head_only(head);
            append_table(frame, {{64, block_place::in_frame}, {huge, offset}});
            check_refused(frame);
        }
    }
    bytes together = head_only(head); // each is possible, the sum is not
    append_table(together, {{frame_reader::most_bytes, block_place::in_frame}, {64, block_place::in_frame}});
    check_refused(together);
}

TEST_CASE("memory is taken as bytes arrive", "[wire][frame][hostile]") {
    frame_head head;
    head.stream_size = frame_reader::most_bytes; // 64 TiB
    frame_reader reader;
    const bytes frame = head_only(head);
    CHECK(reader.feed(frame) == frame.size());
    CHECK(reader.space().size() <= 1U << 20);
    CHECK(reader.feed(of_size(300'000, 'x')) == 300'000);
    CHECK(reader.space().size() <= 1U << 20);
    CHECK_FALSE(reader.complete());
}

TEST_CASE("a message of more than a million blocks", "[wire][frame]") {
    constexpr std::uint64_t count = (1U << 20) + 3;
    frame_head head;
    head.block_count = count;
    bytes frame = head_only(head);
    append_table(frame, std::vector<block_place>(count, block_place{64, 64}));
    frame_reader reader;
    feed_in_pieces(reader, frame, 1U << 16);
    REQUIRE(reader.complete());
    CHECK(reader.blocks(of_size(128, 'm')).size() == count);
    head.block_count = frame_reader::most_blocks; // memory is taken as the table arrives
    const bytes huge = head_only(head);
    frame_reader fresh;
    CHECK(fresh.feed(huge) == huge.size());
    CHECK(fresh.space().size() <= 1U << 20);
    head.block_count = frame_reader::most_blocks + 1;
    const bytes refused = head_only(head);
    frame_reader refusing;
    CHECK_THROWS_AS(refusing.feed(refused), joblot::serialization_error);
}

TEST_CASE("blocks in shared memory", "[wire][frame]") {
    const bytes shared = of_size(1'000, 'm');
    const auto with_place = [](block_place place) {
        frame_head head;
        head.block_count = 1;
        bytes frame = head_only(head);
        append_table(frame, {place});
        return frame;
    };
    frame_reader reader;
    feed_in_pieces(reader, with_place({100, 128}), 10);
    CHECK(reader.shared_end() == 228);
    CHECK(reader.blocks(shared).at(0).data() == shared.data() + 128);
    for (const block_place outside :
         {block_place{1'001, 0}, block_place{100, 960}, block_place{1, 1'024}, block_place{1, ~std::uint64_t{0} - 63},
          block_place{8, 1}, block_place{1 << 20, 64}}) {
        frame_reader other;
        feed_in_pieces(other, with_place(outside), 10);
        REQUIRE(other.complete());
        CHECK_THROWS_AS(other.blocks(shared), serialization_error);
        CHECK_THROWS_AS(other.blocks({}), serialization_error);
    }
}
