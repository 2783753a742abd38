// SPDX-License-Identifier: BSL-1.0
// Dask's messages as bytes: written, read in pieces, recorded from real schedulers, and broken.

#include "captured.hpp"

#include <joblot/dask/protocol/message.hpp>

#include <catch2/catch_test_macros.hpp>

#include <cstdint>
#include <initializer_list>
#include <limits>
#include <string>
#include <utility>
#include <vector>

namespace {

using namespace joblot::dask::engine;
using captured::bytes_of;
using captured::text_of;

std::vector<std::byte> all_of(const encoded_message& m) {
    std::vector<std::byte> all;
    for (const bytes_view p : m.pieces()) all.insert(all.end(), p.begin(), p.end());
    CHECK(all.size() == m.size());
    return all;
}
/// A stream with these numbers, and these bytes after them.
std::vector<std::byte> stream_of(std::initializer_list<std::uint64_t> numbers, std::string_view text = "") {
    std::vector<std::byte> all;
    for (const std::uint64_t n : numbers) {
        for (int i = 0; i != 8; ++i) all.push_back(static_cast<std::byte>(n >> (8 * i)));
    }
    const std::vector<std::byte> rest = bytes_of(text);
    all.insert(all.end(), rest.begin(), rest.end());
    return all;
}
json unpacked(std::string_view bytes) { return msgpack_reader::read(bytes_of(bytes)); }

} // namespace

TEST_CASE("what was written is read, however the bytes come", "[dask][message]") {
    message_writer writer;
    const json place = writer.bytes(payload(bytes_of("value")));
    const json empty = writer.bytes(std::vector<payload>{});
    std::vector<payload> pieces;
    pieces.emplace_back(bytes_of("in "));
    pieces.emplace_back(bytes_of("pieces"));
    const json several = writer.bytes(std::move(pieces));
    const json pickle = writer.pickled(bytes_of("pickle"));
    const json head{{"a", {1, -2, 2.5, "text", nullptr, true}},
                    {"data", place},
                    {"empty", empty},
                    {"several", several},
                    {"pickle", pickle}};
    const std::vector<std::byte> all = all_of(writer.finish(head));
    for (const std::size_t piece : {std::size_t{1}, std::size_t{7}, all.size()}) {
        message m = captured::read(all, piece);
        CHECK(m.head == head);
        received_object value = m.value(m.head["data"]);
        CHECK(value.type() == "bytes");
        CHECK_FALSE(value.is_pickle());
        CHECK(text_of(std::move(value).joined()) == "value");
        CHECK(m.value(m.head["empty"]).joined().empty());
        CHECK(text_of(m.value(m.head["several"]).joined()) == "in pieces");
        CHECK(m.value(m.head["pickle"]).is_pickle());
        CHECK(text_of(m.value(m.head["pickle"]).joined()) == "pickle");
    }
}

TEST_CASE("payloads are not copied", "[dask][message]") {
    const std::vector<std::byte> mine = bytes_of("a payload of mine");
    message_writer writer;
    const json place = writer.bytes(payload(mine, nullptr));
    const encoded_message m = writer.finish(place);
    CHECK(m.pieces().back().data() == mine.data());
}

TEST_CASE("a large value arrives whole", "[dask][message]") {
    std::vector<std::byte> large(9U << 20);
    for (std::size_t i = 0; i != large.size(); ++i) large[i] = static_cast<std::byte>(i * 7 + i / 1000);
    message_writer writer;
    const json place = writer.bytes(payload(large, nullptr));
    message m = captured::read(all_of(writer.finish(place)), 100000);
    CHECK(m.value(place).joined() == large);
}

TEST_CASE("a reader takes one message and goes on with the next", "[dask][message]") {
    message_writer writer;
    std::vector<std::byte> two = all_of(writer.finish("first"));
    const std::size_t first = two.size();
    const std::vector<std::byte> second = all_of(writer.finish("second"));
    two.insert(two.end(), second.begin(), second.end());
    message_reader reader;
    CHECK(reader.at_start());
    CHECK(reader.feed(two) == first);
    CHECK_FALSE(reader.at_start());
    CHECK(reader.take().head == "first");
    CHECK(reader.at_start());
    CHECK(reader.feed(bytes_view(two).subspan(first)) == second.size());
    CHECK(reader.take().head == "second");
}

TEST_CASE("messages of every version are read", "[dask][message]") {
    for (const char* const version : captured::versions) {
        INFO(version);
        std::size_t count = 0;
        for (const auto& entry : std::filesystem::directory_iterator(captured::folder() / version)) {
            INFO(entry.path().filename().string());
            const std::vector<std::byte> bytes = captured::file(entry.path());
            CHECK(captured::read(bytes, 11).head == captured::read(bytes).head);
            ++count;
        }
        CHECK(count >= 14);
        CHECK(captured::read(version, "handshake").head.at("compression").is_null());
    }
}

TEST_CASE("gathered bytes are found", "[dask][message]") {
    for (const char* const version : captured::versions) {
        INFO(version);
        message m = captured::read(version, "gather");
        CHECK(m.head.at("status") == "OK");
        received_object value = m.value(m.head.at("data").at("run-done"));
        CHECK(value.type() == "bytes");
        CHECK(text_of(std::move(value).joined()) == "payload");
    }
}

TEST_CASE("what Dask says of its workers is read, also after they worked", "[dask][message]") {
    for (const char* const version : captured::versions) {
        INFO(version);
        const json head = captured::read(version, "identity-used").head;
        CHECK(head.at("type") == "Scheduler");
        REQUIRE(head.at("workers").size() == 1);
        CHECK(head.at("workers").begin()->at("nthreads") == 2);
    }
}

TEST_CASE("Python's values that are none of JSON's", "[dask][message]") {
    // {"__Set__": True, "as-list": [1, 2]}
    CHECK(unpacked("\x82\xa7__Set__\xc3\xa7"
                   "as-list\x92\x01\x02") == json({1, 2}));
    // {"__Enum__": True, "name": "running"}
    CHECK(unpacked("\x82\xa8__Enum__\xc3\xa4name\xa7running") == "running");
    // {("execute", 1): 5, 7: 6}
    CHECK(unpacked("\x82\x92\xa7"
                   "execute\x01\x05\x07\x06") == json({{"[\"execute\",1]", 5}, {"7", 6}}));
    // bytes, and an extension of 2 bytes
    CHECK(unpacked("\xc4\x02"
                   "ab") == json::binary({'a', 'b'}));
    CHECK(unpacked("\xd5\x07"
                   "ab") == json::binary({'a', 'b'}, 7));
    CHECK(unpacked("\xd3\xff\xff\xff\xff\xff\xff\xff\xfe") == -2);
    CHECK(unpacked("\xcf\xff\xff\xff\xff\xff\xff\xff\xff") == std::numeric_limits<std::uint64_t>::max());
    CHECK(unpacked("\xca\x3f\xc0\x01\x01").is_number_float());
    CHECK(unpacked("\xa2\xff\xfe").get<std::string>() == "\xff\xfe"); // no UTF-8
}

TEST_CASE("broken MessagePack is refused", "[dask][message]") {
    using joblot::serialization_error;
    CHECK_THROWS_AS(unpacked(""), serialization_error);
    CHECK_THROWS_AS(unpacked("\xc1"), serialization_error); // no such kind
    CHECK_THROWS_AS(unpacked("\xa5"
                             "abc"),
                    serialization_error);                                       // too short
    CHECK_THROWS_AS(unpacked("\x01\x01"), serialization_error);                 // too long
    CHECK_THROWS_AS(unpacked("\xdd\xff\xff\xff\xff\x01"), serialization_error); // 4 billion elements
    CHECK_THROWS_AS(unpacked("\xdf\xff\xff\xff\xff\x01"), serialization_error);
    CHECK_THROWS_AS(unpacked("\xc6\xff\xff\xff\xff"
                             "a"),
                    serialization_error);
    CHECK_THROWS_AS(unpacked("\x81\x81\x01\x02\x03"), serialization_error);     // {{1: 2}: 3}
    CHECK_THROWS_AS(unpacked("\x81\x91\x81\x01\x02\x03"), serialization_error); // {({1: 2},): 3}
    const std::string nested(100000, '\x91');
    CHECK_THROWS_AS(unpacked(nested), serialization_error);
    CHECK(unpacked(std::string(100, '\x91') + '\x01').is_array());
}

TEST_CASE("streams that are none of Dask's are refused before memory is taken for them", "[dask][message]") {
    using joblot::serialization_error;
    const auto refused = [](const std::vector<std::byte>& bytes) {
        message_reader reader;
        CHECK_THROWS_AS(reader.feed(bytes), serialization_error);
    };
    refused(bytes_of("HTTP/1.1 400 Bad Request\r\n\r\n"));
    refused(stream_of({16, 0}));                         // no frame
    refused(stream_of({16, std::uint64_t{1} << 40}));    // so many frames
    refused(stream_of({16, 1, std::uint64_t{1} << 62})); // so large
    refused(stream_of({16, 1, std::uint64_t{1} << 30})); // so large a head
    refused(stream_of({24, 2, ~std::uint64_t{0}, 2}));   // a sum that wraps around
    refused(stream_of({15, 1, 1}));                      // less than the sizes
    refused(stream_of({18, 1, 1}));                      // more than the frames
    message_reader reader;
    CHECK(reader.feed(stream_of({24, 2, 1, std::uint64_t{1} << 45}, "\x01")) == 33); // its bytes may still come
    CHECK(reader.space().size() <= message_reader::taken_at_once);
    constexpr std::uint64_t many = std::uint64_t{1} << 40;
    message_reader other;
    CHECK(other.feed(stream_of({8 * many + 8, many})) == 16); // so may these
    CHECK(other.space().size() <= message_reader::taken_at_once);
}

TEST_CASE("a message has as many frames as there are", "[dask][message]") {
    constexpr std::uint64_t count = (1U << 20) + 3;
    std::vector<std::uint64_t> numbers(count + 2, 1); // each has one byte
    numbers[0] = 8 * count + 8 + count;
    numbers[1] = count;
    const bytes_view head = std::as_bytes(std::span(numbers));
    std::vector<std::byte> all(head.begin(), head.end());
    all.resize(all.size() + count, std::byte{0x07});
    message m = captured::read(all, 100001);
    CHECK(m.head == 7);
    CHECK(m.frames.size() == count);
    CHECK(m.frames.back() == std::vector{std::byte{0x07}});
}

TEST_CASE("the first number may count only some frames", "[dask][message]") {
    message m = captured::read(stream_of({25, 2, 1, 3}, "\x01"
                                                        "abc"));
    CHECK(m.head == 1);
    CHECK(text_of(m.frames[1]) == "abc");
}

TEST_CASE("objects that are not in their message are refused", "[dask][message]") {
    using joblot::serialization_error;
    const auto with_header = [](const json& header) {
        const std::vector<std::uint8_t> packed = json::to_msgpack(header);
        message m{{{"__Serialized__", 1}}, std::vector<std::vector<std::byte>>(3)};
        for (const std::uint8_t b : packed) m.frames[1].push_back(std::byte{b});
        return m;
    };
    const auto refused = [](message m, const json& place) { CHECK_THROWS_AS(m.value(place), serialization_error); };
    const json good{{"num-sub-frames", 1}, {"compression", {nullptr}}};
    CHECK(with_header(good).value({{"__Serialized__", 1}}).frames.size() == 1);
    CHECK(with_header({{"num-sub-frames", 1}, {"compression", false}}).value({{"__Serialized__", 1}}).frames.size() ==
          1);
    for (const json& odd : {json::object(), json(1), json(nullptr)}) {
        const json header{{"num-sub-frames", 1}, {"serializer", odd}, {"type", odd}};
        const auto object = with_header(header).value({{"__Serialized__", 1}});
        CHECK_FALSE(object.is_pickle());
        CHECK(object.type().empty());
    }
    for (const json& at : {json(0), json(-1), json(3), json("1"), json(nullptr), json(~std::uint64_t{0})})
        refused(with_header(good), {{"__Serialized__", at}});
    refused(with_header(good), 1);
    refused(with_header(good), {{"__Pickled__", 1}}); // without a pickle
    refused(with_header(1), {{"__Serialized__", 1}});
    refused(with_header({{"num-sub-frames", 2}}), {{"__Serialized__", 1}});
    refused(with_header({{"num-sub-frames", -1}}), {{"__Serialized__", 1}});
    refused(with_header(json::object()), {{"__Serialized__", 1}});
    refused(with_header({{"num-sub-frames", 1}, {"compression", {"lz4"}}}), {{"__Serialized__", 1}});
    refused(with_header({{"num-sub-frames", 1}, {"compression", "lz4"}}), {{"__Serialized__", 1}});
}
