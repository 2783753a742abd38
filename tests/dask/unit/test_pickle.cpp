// SPDX-License-Identifier: BSL-1.0
// Pickles that are written, and read without being run.

#include "captured.hpp"

#include <joblot/dask/protocol/pickle_reader.hpp>
#include <joblot/dask/protocol/pickle_writer.hpp>

#include <catch2/catch_test_macros.hpp>

#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

namespace {

using namespace std::string_view_literals;

using namespace joblot::dask::engine;
using captured::bytes_of;

/// A readable form of what a pickle holds.
std::string shown(const pickle_tree& tree, pickle_tree::value v, int depth = 0) {
    using enum pickle_kind;
    const auto inner = [&](const char* open, const char* close) {
        std::string text = open;
        if (depth > 8) return text + "..." + close;
        for (const auto e : tree.elements(v)) text += shown(tree, e, depth + 1) + ' ';
        return text + close;
    };
    switch (tree.kind(v)) {
    case none:
        return "None";
    case boolean:
        return tree.integer(v) ? "True" : "False";
    case integer:
        return std::to_string(tree.integer(v));
    case real:
        return json(tree.real(v)).dump();
    case text:
        return '\'' + std::string(tree.text(v)) + '\'';
    case bytes:
        return 'b' + std::string(tree.text(v));
    case tuple:
        return inner("(", ")");
    case list:
        return inner("[", "]");
    case dict:
        return inner("{", "}");
    case global:
        return std::string(tree.text(v)) + '.' + std::string(tree.name(v));
    case object:
        return inner("<", ">");
    default:
        return "?";
    }
}
std::string shown(std::vector<std::byte> bytes) {
    const pickle_tree tree(std::move(bytes));
    return shown(tree, tree.root());
}
std::string shown(std::string_view bytes) { return shown(bytes_of(bytes)); }

} // namespace

TEST_CASE("what a pickle_writer writes is read", "[dask][pickle]") {
    pickle_writer p;
    p.begin();
    p.none();
    p.boolean(true);
    p.number(std::int64_t{-5});
    p.number(std::numeric_limits<std::int64_t>::min());
    p.number(2.5);
    p.text("t");
    p.bytes("b");
    p.empty_tuple();
    p.empty_dict();
    p.begin_dict();
    p.text("key");
    p.begin();
    p.text("e");
    p.end_list();
    p.end_dict();
    p.global("module", "f");
    p.remember(3);
    p.begin();
    p.again(3);
    p.end_tuple();
    p.call();
    p.global("module", "C");
    p.empty_tuple();
    p.make();
    p.empty_dict();
    p.set_state();
    p.end_tuple();
    CHECK(shown(p.finish()) == "(None True -5 -9223372036854775808 2.5 't' bb () {} {'key' ['e' ] } "
                               "<module.f (module.f ) > <module.C () {} > )");
}

TEST_CASE("pickles as Python writes them are read", "[dask][pickle]") {
    // pickle.dumps([1, -1, 300, 70000, 2**40, "ab", b"cd", (1, 2), {"k": None}, {3}, True], protocol=p)
    CHECK(shown("\x80\x05]\x94(K\x01J\xff\xff\xff\xffM,\x01Jp\x11\x01\x00\x8a\x06\x00\x00\x00\x00\x00\x01\x8c\x02"
                "ab\x94"
                "C\x02"
                "cd\x94K\x01K\x02\x86\x94}\x94\x8c\x01k\x94Ns\x8f\x94(K\x03\x90\x88"
                "e."sv) == "[1 -1 300 70000 1099511627776 'ab' bcd (1 2 ) {'k' None } [3 ] True ]");
    // protocol 2: collections.OrderedDict()
    CHECK(shown("\x80\x02"
                "ccollections\nOrderedDict\nq\x00)Rq\x01."sv) == "<collections.OrderedDict () >");
    CHECK(shown("\x80\x02\x8a\x00."sv) == "0");
    CHECK(shown("\x80\x02\x8a\x01\xff."sv) == "-1");
    CHECK(shown("\x80\x02\x8a\x09\x00\x00\x00\x00\x00\x00\x00\x00\x01."sv) == "?"); // 2**64
}

TEST_CASE("a value that contains itself is read", "[dask][pickle]") {
    const pickle_tree tree(bytes_of("\x80\x04]\x94h\x00"
                                    "a."sv));
    CHECK(tree.elements(tree.root()) == std::vector{tree.root()});
}

TEST_CASE("broken pickles are refused", "[dask][pickle]") {
    using joblot::serialization_error;
    for (const std::string_view bad : {""sv,
                                       "\x80"sv,
                                       "\x80\x04"sv,
                                       "."sv,
                                       "R."sv,
                                       "("sv,
                                       "(."sv,
                                       "t."sv,
                                       "\x86."sv,
                                       "K"sv,
                                       "e."sv,
                                       "]e."sv,
                                       "h\x00."sv,
                                       "\x94."sv,
                                       "0."sv,
                                       "(0."sv,
                                       "N0."sv,
                                       "K\x01"sv,
                                       "\x8c\x05"
                                       "abc."sv,
                                       "cmodule\n"sv,
                                       "\x8e\xff\xff\xff\xff\xff\xff\xff\xff."sv,
                                       "X\xff\xff\xff\xff."sv,
                                       "I1\n."sv,
                                       "\xff."sv,
                                       "N(b."sv}) {
        INFO(bad.size() << " bytes: " << bad);
        CHECK_THROWS_AS(pickle_tree(bytes_of(bad)), serialization_error);
    }
    CHECK_THROWS_AS(pickle_tree(std::vector<std::byte>(pickle_tree::most_operations + 2, std::byte{'N'})),
                    serialization_error);
}

TEST_CASE("what Dask's own client sends as a graph is read", "[dask][pickle]") {
    for (const char* const version : {"2024.5.0", "2025.2.0"}) {
        INFO(version);
        const message m = captured::read(version, "sent-update-graph");
        const json& graph = m.head.at(0).at("graph_frames").at(0);
        const bytes_view view = std::as_bytes(std::span(graph.get_binary()));
        CHECK(shown({view.begin(), view.end()}).starts_with("<distributed.protocol.serialize.ToPickle"));
    }
    message m = captured::read("2026.8.0", "sent-update-graph");
    CHECK(shown(m.value(m.head.at(0).at("expr_ser")).joined()).starts_with("<dask._expr.Expr._reconstruct"));
}
