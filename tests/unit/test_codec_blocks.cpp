// SPDX-License-Identifier: BSL-1.0
// Large contiguous data: beside the stream, where it is, and not copied on the way out.

#include "support/wire.hpp"

#include <catch2/catch_test_macros.hpp>

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <valarray>
#include <vector>

namespace {

using joblot::detail::decode_view;
using joblot::detail::out_of_band_from;
using support::decoder;
using support::incoming;
using support::outgoing;
using support::round_trip;
using support::written;

struct point {
    double x = 0, y = 0;
};
struct alignas(64) wide {
    double x = 0, more[7] = {};
};
struct holder {
    std::string name;
    std::vector<double> data;
};

const void* address(joblot::detail::bytes_view block) { return block.data(); }

} // namespace

TEST_CASE("from a certain size on, contiguous data stays where it is", "[wire][blocks]") {
    const std::vector<char> below(out_of_band_from - 1), at(out_of_band_from), above(out_of_band_from + 1);
    const outgoing small = written(below);
    CHECK(small.blocks.empty());
    CHECK(small.stream.size() >= below.size());
    for (const auto* const v : {&at, &above}) {
        const outgoing large = written(*v);
        REQUIRE(large.blocks.size() == 1);
        CHECK(address(large.blocks[0]) == v->data());
        CHECK(large.blocks[0].size() == v->size());
        CHECK(large.stream.size() == sizeof(std::uint64_t));
        CHECK(large.owned.empty());
        CHECK(round_trip(*v) == *v);
    }
}

TEST_CASE("whatever the container, and however deep it is", "[wire][blocks]") {
    const std::string text(10'000, 'x');
    CHECK(address(written(text).blocks.at(0)) == text.data());
    const std::valarray<double> numbers(1.0, 10'000);
    CHECK(address(written(numbers).blocks.at(0)) == &numbers[0]);
    const std::vector<point> points(1'000);
    CHECK(address(written(points).blocks.at(0)) == points.data());
    const std::vector<wide> wides(100);
    CHECK(address(written(wides).blocks.at(0)) == wides.data());
    const std::map<int, std::optional<std::vector<holder>>> deep{
        {1, std::vector<holder>{{"a", std::vector<double>(1'000)}, {"b", std::vector<double>(2'000)}}}};
    const outgoing message = written(deep);
    REQUIRE(message.blocks.size() == 2);
    CHECK(address(message.blocks[0]) == deep.at(1)->at(0).data.data());
    CHECK(address(message.blocks[1]) == deep.at(1)->at(1).data.data());
    CHECK(message.owned.empty());
    CHECK(message.block_bytes() == 3'000 * sizeof(double));
    CHECK(round_trip(deep).at(1)->at(1).data.size() == 2'000);
}

TEST_CASE("a view is of the very bytes that arrived", "[wire][blocks]") {
    for (const std::size_t n : {std::size_t{0}, std::size_t{3}, std::size_t{10'000}}) {
        const std::vector<double> v(n, 1.5);
        const outgoing message = written(std::pair(std::string("odd"), v));
        decoder from(incoming(message.stream, message.blocks));
        CHECK(joblot::detail::decode<std::string>(from) == "odd");
        const std::span<const double> view = decode_view<double>(from, "numbers");
        CHECK(std::vector(view.begin(), view.end()) == v);
        CHECK(reinterpret_cast<std::uintptr_t>(view.data()) % alignof(double) == 0);
        if (n >= 1'000) CHECK(static_cast<const void*>(view.data()) == message.blocks.at(0).data());
    }
}

TEST_CASE("small blocks are aligned in the stream", "[wire][blocks]") {
    outgoing message;
    for (const std::size_t alignment :
         {std::size_t{1}, std::size_t{2}, std::size_t{8}, std::size_t{16}, std::size_t{64}}) {
        message.put('x');
        const double value = 1;
        message.put_block(&value, sizeof value, alignment, true);
    }
    incoming in(message.stream, {});
    for (const std::size_t alignment :
         {std::size_t{1}, std::size_t{2}, std::size_t{8}, std::size_t{16}, std::size_t{64}}) {
        CHECK(in.get<char>() == 'x');
        static_cast<void>(in.take_block(sizeof(double), alignment, "a number"));
        CHECK((in.position() - sizeof(double)) % std::min(alignment, joblot::detail::stream_alignment) == 0);
    }
    CHECK(in.remaining() == 0);
}

TEST_CASE("parts have their own blocks", "[wire][blocks]") {
    const std::string first(5'000, 'a'), second(5'000, 'b');
    outgoing message;
    support::encoder to(message);
    for (const std::string* const s : {&first, &second}) {
        const std::size_t blocks = message.blocks.size();
        const std::size_t part = message.begin_part();
        joblot::detail::encode(to, *s);
        joblot::detail::encode(to, 'x');
        message.end_part(part, blocks, 5);
    }
    incoming all(message.stream, message.blocks);
    std::uint32_t mark = 0;
    static_cast<void>(all.part(mark)); // passed over
    CHECK(mark == 5);
    decoder from(all.part(mark));
    CHECK(joblot::detail::decode<std::string>(from) == second);
    CHECK(joblot::detail::decode<char>(from) == 'x');
    CHECK(all.remaining() == 0);
}

TEST_CASE("what was written can be taken back", "[wire][blocks]") {
    outgoing message;
    support::encoder to(message);
    joblot::detail::encode(to, 1);
    const std::string large(10'000, 'x');
    joblot::detail::encode(to, large);
    message.cut_back(sizeof(int), 0);
    CHECK(message.blocks.empty());
    joblot::detail::encode(to, std::string("y"));
    decoder from(incoming(message.stream, message.blocks));
    CHECK(joblot::detail::decode<int>(from) == 1);
    CHECK(joblot::detail::decode<std::string>(from) == "y");
}
