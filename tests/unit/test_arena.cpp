// SPDX-License-Identifier: BSL-1.0
// Shared memory for the large blocks of messages: where they are put, and when their room is free again.

#include "support/wire.hpp"

#include <joblot/process/arena.hpp>

#include <catch2/catch_test_macros.hpp>

#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <vector>

#include <sys/stat.h>

namespace {

using joblot::detail::arena_reader;
using joblot::detail::arena_writer;
using joblot::detail::block_alignment;
using joblot::detail::block_place;
using joblot::detail::descriptor;
using joblot::detail::shared_from;
using joblot::detail::shared_memory;
using support::bytes_view;
using support::outgoing;

/// A message with blocks of these sizes, each filled with a letter.
struct sample {
    explicit sample(std::vector<std::size_t> sizes, char fill = 'a') {
        for (const std::size_t n : sizes) data.emplace_back(n, fill++);
        for (const std::string& s : data) message.blocks.push_back(std::as_bytes(std::span(s)));
    }
    std::vector<std::string> data;
    outgoing message;
};

/// Whether the blocks can be read where they are said to be.
bool readable(arena_reader& reader, const sample& s, const std::vector<block_place>& places) {
    for (std::size_t i = 0; i != places.size(); ++i) {
        const std::size_t end = static_cast<std::size_t>(places[i].offset + places[i].size);
        const bytes_view all = reader.up_to(end);
        if (all.size() < end || places[i].offset % block_alignment) return false;
        if (std::memcmp(all.data() + places[i].offset, s.data[i].data(), s.data[i].size()) != 0) return false;
    }
    return places.size() == s.data.size();
}

std::size_t count_in_frame(const std::vector<block_place>& places) {
    std::size_t n = 0;
    for (const block_place& p : places) n += p.offset == block_place::in_frame;
    return n;
}

/// Bytes of memory that a file takes.
std::int64_t allocated(const descriptor& file) {
    struct stat facts{};
    REQUIRE(::fstat(file.get(), &facts) == 0);
    return facts.st_blocks * 512;
}

} // namespace

TEST_CASE("large blocks go to shared memory, small messages do not", "[process][arena]") {
    const descriptor file = shared_memory("test");
    REQUIRE(file);
    arena_writer writer(file.get());
    const sample small({shared_from - block_alignment});
    CHECK(count_in_frame(writer.place(small.message, 1)) == 1);
    const sample large({shared_from});
    CHECK(count_in_frame(writer.place(large.message, 2)) == 0);
    const sample none({});
    CHECK(writer.place(none.message, 3).empty());
}

TEST_CASE("blocks are read where they were put", "[process][arena]") {
    const descriptor file = shared_memory("test");
    arena_writer writer(file.get());
    arena_reader reader(file.get());
    std::uint64_t number = 0;
    for (const std::vector<std::size_t>& sizes : std::vector<std::vector<std::size_t>>{
             {shared_from}, {1, 100'000, 63}, {4'097, 4'097, 4'097, 50'000}, {20'000'000}, {shared_from}}) {
        const sample s(sizes);
        const auto places = writer.place(s.message, ++number);
        CHECK(count_in_frame(places) == 0);
        CHECK(readable(reader, s, places));
        writer.release(number);
    }
}

TEST_CASE("messages under way keep their room", "[process][arena]") {
    const descriptor file = shared_memory("test");
    arena_writer writer(file.get());
    arena_reader reader(file.get());
    const sample a({100'000}, 'a'), b({50'000, 60'000}, 'b'), c({200'000}, 'c'), d({40'000}, 'd');
    const auto at_a = writer.place(a.message, 1);
    const auto at_b = writer.place(b.message, 2);
    const auto at_c = writer.place(c.message, 3);
    CHECK((readable(reader, a, at_a) && readable(reader, b, at_b) && readable(reader, c, at_c)));
    writer.release(1);
    const auto at_d = writer.place(d.message, 4); // where the first one was
    CHECK(at_d.at(0).offset == 0);
    CHECK((readable(reader, b, at_b) && readable(reader, c, at_c) && readable(reader, d, at_d)));
    writer.release(4);
}

TEST_CASE("room that was freed is used again: memory does not grow without need", "[process][arena]") {
    const descriptor file = shared_memory("test");
    arena_writer writer(file.get());
    std::size_t size = 0;
    for (std::uint64_t number = 1; number != 100; ++number) {
        const sample s({300'000});
        CHECK(count_in_frame(writer.place(s.message, number)) == 0);
        if (number > 1) writer.release(number - 1); // two at a time, as with a worker that has the next one waiting
        if (number == 10) size = joblot::detail::file_size(file.get());
    }
    CHECK(joblot::detail::file_size(file.get()) == size);
}

TEST_CASE("what large messages needed is given back when nobody reads it", "[process][arena]") {
    const descriptor file = shared_memory("test");
    arena_writer writer(file.get());
    arena_reader reader(file.get());
    const sample large({joblot::detail::kept_shared + 5'000'000}), small({100'000}, 'b');
    CHECK(readable(reader, large, writer.place(large.message, 1)));
    const std::int64_t before = allocated(file);
    writer.trim(); // somebody may still read
    CHECK(allocated(file) == before);
    writer.release(1);
    writer.trim();
    CHECK(allocated(file) < before);
    CHECK(readable(reader, small, writer.place(small.message, 2)));
    CHECK(readable(reader, large, writer.place(large.message, 3)));
}

TEST_CASE("without shared memory, blocks stay in the frame", "[process][arena]") {
    arena_writer writer(-1);
    const sample s({100'000, 5'000});
    const auto places = writer.place(s.message, 1);
    CHECK(count_in_frame(places) == 2);
    CHECK(places.at(0).size == 100'000);
    arena_reader reader(-1);
    CHECK(reader.up_to(100).empty());
}

TEST_CASE("a reader gives no more than there is", "[process][arena]") {
    const descriptor file = shared_memory("test");
    REQUIRE(joblot::detail::reserve_shared(file.get(), 4'096));
    arena_reader reader(file.get());
    CHECK(reader.up_to(4'097).size() < 4'097);
    CHECK(reader.up_to(4'096).size() == 4'096);
    CHECK(reader.up_to(static_cast<std::size_t>(-1)).size() == 4'096);
    CHECK(reader.up_to(0).size() == 4'096);
}
