// SPDX-License-Identifier: BSL-1.0
// What is asked of schedulers of each version. That real ones understand it is what the tests on clusters show.

#include "captured.hpp"

#include <joblot/dask/protocol/pickle_reader.hpp>
#include <joblot/dask/protocol/requests.hpp>

#include <catch2/catch_test_macros.hpp>

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace {

using namespace joblot::dask::engine;
using captured::bytes_of;
using captured::text_of;

const python_function run{"joblot_shim", "run"};

/// What arrives of a request.
message sent(message_writer& writer, const json& request) {
    const encoded_message m = writer.finish(request);
    std::vector<std::byte> all;
    for (const bytes_view p : m.pieces()) all.insert(all.end(), p.begin(), p.end());
    return captured::read(all);
}
std::vector<task_submission> two_tasks() {
    std::vector<task_submission> tasks(2);
    tasks[0] = {"f-1", bytes_of("payload"), {}, {"image"}};
    tasks[1] = {"f-2", {}, "scattered", {}};
    return tasks;
}
/// The value of a pickled dict.
pickle_tree::value at(const pickle_tree& tree, pickle_tree::value dict, std::string_view key) {
    REQUIRE(tree.kind(dict) == pickle_kind::dict);
    const auto& all = tree.elements(dict);
    for (std::size_t i = 0; i + 1 < all.size(); i += 2) {
        if (tree.text(all[i]) == key) return all[i + 1];
    }
    FAIL("no " << key);
    return 0;
}
/// "module.name" and arguments of a call.
std::string called(const pickle_tree& tree, pickle_tree::value object) {
    REQUIRE(tree.kind(object) == pickle_kind::object);
    const auto function = tree.elements(object).at(0);
    return std::string(tree.text(function)) + '.' + std::string(tree.name(function));
}
const std::vector<pickle_tree::value>& arguments(const pickle_tree& tree, pickle_tree::value object) {
    return tree.elements(tree.elements(object).at(1));
}
/// Both tasks of `two_tasks` are in a graph.
void check_graph(const pickle_tree& tree, pickle_tree::value graph, const std::string& reference) {
    const auto& first = tree.elements(at(tree, graph, "f-1"));
    REQUIRE(first.size() == 3);
    CHECK(tree.text(first[0]) == "joblot_shim");
    CHECK(tree.name(first[0]) == "run");
    CHECK(tree.kind(first[1]) == pickle_kind::bytes);
    CHECK(tree.text(first[1]) == "payload");
    CHECK(called(tree, first[2]) == reference);
    CHECK(tree.text(arguments(tree, first[2]).at(0)) == "image");
    const auto& second = tree.elements(at(tree, graph, "f-2"));
    REQUIRE(second.size() == 2);
    CHECK(tree.name(second[0]) == "run");
    CHECK(tree.text(arguments(tree, second[1]).at(0)) == "scattered");
}
pickle_tree pickle_at(message& m, const char* field) { return pickle_tree(m.value(m.head.at(field)).joined()); }

} // namespace

TEST_CASE("tasks for schedulers until 2023.3", "[dask][requests]") {
    message_writer writer;
    task_options options;
    options.workers = {"tcp://a:1"};
    options.allow_other_workers = true;
    options.resources = {{"gpu", 1}};
    options.priority = 3;
    options.retries = 2;
    const json m = sent(writer, requests::update_graph(writer, dialect("2022.12.1"), run, two_tasks(), options)).head;
    CHECK(m.at("keys") == json({"f-1", "f-2"}));
    CHECK(m.at("dependencies") == json({{"f-1", {"image"}}, {"f-2", {"scattered"}}}));
    CHECK(m.at("restrictions").at("f-2") == json({"tcp://a:1"}));
    CHECK(m.at("loose_restrictions") == json({"f-1", "f-2"}));
    CHECK(m.at("resources").at("f-1") == json({{"gpu", 1.0}}));
    CHECK(m.at("retries") == json({{"f-1", 2}, {"f-2", 2}}));
    CHECK(m.at("user_priority") == 3);
    const auto pickle = [&](const char* key, const char* part) {
        return pickle_tree([&] {
            const bytes_view view = std::as_bytes(std::span(m.at("tasks").at(key).at(part).get_binary()));
            return std::vector(view.begin(), view.end());
        }());
    };
    const pickle_tree function = pickle("f-1", "function"), args = pickle("f-1", "args");
    CHECK(function.name(function.root()) == "run");
    REQUIRE(args.elements(args.root()).size() == 2);
    CHECK(args.text(args.elements(args.root())[0]) == "payload");
    CHECK(args.kind(args.elements(args.root())[1]) == pickle_kind::text); // a bare key
    CHECK(args.text(args.elements(args.root())[1]) == "image");
}

TEST_CASE("tasks as a pickled graph", "[dask][requests]") {
    for (const char* const version : {"2023.4.0", "2024.5.0", "2024.5.2", "2025.2.0"}) {
        INFO(version);
        const dialect to(version);
        message_writer writer;
        message m = sent(writer, requests::update_graph(writer, to, run, two_tasks(), {}));
        CHECK(m.head.at("keys") == json({"f-1", "f-2"}));
        CHECK(m.head.contains("span_metadata") == (to.form() == graph_form::pickled_with_spans));
        CHECK(m.head.at("graph_header").at("serializer") == "pickle");
        const bytes_view frame = std::as_bytes(std::span(m.head.at("graph_frames").at(0).get_binary()));
        const pickle_tree tree({frame.begin(), frame.end()});
        CHECK(called(tree, tree.root()) == "distributed.protocol.serialize.ToPickle");
        const auto graph = arguments(tree, tree.root()).at(0);
        CHECK(called(tree, graph) == "dask.highlevelgraph.HighLevelGraph.from_collections");
        check_graph(tree, arguments(tree, graph).at(1),
                    to.has_task_ref() ? "dask._task_spec.TaskRef" : "distributed.utils_comm.WrappedKey");
    }
}

TEST_CASE("tasks as an expression", "[dask][requests]") {
    message_writer writer;
    message m = sent(writer, requests::update_graph(writer, dialect("2026.8.0"), run, two_tasks(), {}));
    CHECK(m.head.at("keys") == json({"f-1", "f-2"}));
    const pickle_tree tree = pickle_at(m, "expr_ser");
    CHECK(called(tree, tree.root()) == "dask._expr.Expr._reconstruct");
    REQUIRE(arguments(tree, tree.root()).size() == 4);
    check_graph(tree, arguments(tree, tree.root())[1], "dask._task_spec.TaskRef");
    CHECK(pickle_at(m, "span_metadata").elements(0).empty());
    const pickle_tree code = pickle_at(m, "code");
    CHECK(code.kind(code.root()) == pickle_kind::tuple);
}

TEST_CASE("the fields of a graph are those that Dask's own client sends", "[dask][requests]") {
    for (const char* const version : {"2024.5.0", "2025.2.0", "2026.8.0"}) {
        INFO(version);
        message_writer writer;
        const json mine = sent(writer, requests::update_graph(writer, dialect(version), run, two_tasks(), {})).head;
        const json theirs = captured::read(version, "sent-update-graph").head.at(0);
        const auto names = [](const json& object) {
            std::vector<std::string> all;
            for (const auto& [name, value] : object.items()) all.push_back(name);
            return all;
        };
        CHECK(names(mine) == names(theirs));
    }
}

TEST_CASE("options of tasks as annotations", "[dask][requests]") {
    message_writer writer;
    task_options options;
    options.workers = {"tcp://a:1", "b"};
    options.allow_other_workers = true;
    options.resources = {{"gpu", 0.5}};
    options.priority = -3;
    options.retries = 2;
    message m = sent(writer, requests::update_graph(writer, dialect("2026.8.0"), run, two_tasks(), options));
    const pickle_tree tree = pickle_at(m, "annotations");
    const auto root = tree.root();
    CHECK(tree.elements(at(tree, root, "workers")).size() == 2);
    CHECK(tree.integer(at(tree, root, "allow_other_workers")) == 1);
    CHECK(tree.real(at(tree, at(tree, root, "resources"), "gpu")) == 0.5);
    CHECK(tree.integer(at(tree, root, "priority")) == -3);
    CHECK(tree.integer(at(tree, root, "retries")) == 2);
    message none = sent(writer, requests::update_graph(writer, dialect("2026.8.0"), run, two_tasks(), {}));
    const pickle_tree empty = pickle_at(none, "annotations");
    CHECK(empty.elements(empty.root()).empty());
}

TEST_CASE("fields that only some versions know", "[dask][requests]") {
    const dialect old("2022.12.1"), middle("2024.5.0"), newest("2026.8.0");
    CHECK_FALSE(requests::identity(middle).contains("n_workers"));
    CHECK(requests::identity(newest).at("n_workers") == -1);
    CHECK_FALSE(requests::register_worker_plugin(old, "name", {}).contains("idempotent"));
    CHECK(requests::register_worker_plugin(middle, "name", {}).at("idempotent") == true);
    CHECK(requests::cancel(old, "me", {"k"}).at("op") == "cancel");
    CHECK(requests::cancel(old, "me", {"k"}).at("reply") == true);
    CHECK(requests::cancel(middle, "me", {"k"}).at("op") == "cancel-keys");
    CHECK_FALSE(requests::cancel(middle, "me", {"k"}).contains("reason"));
    CHECK(requests::cancel(newest, "me", {"k"}).contains("reason"));
    CHECK(requests::cancel(newest, "me", {"k"}).contains("msg"));
}

TEST_CASE("the dialect is told from the scheduler's versions", "[dask][requests]") {
    const json answer{{"host", json::object()}, {"packages", {{"distributed", "2024.5.0"}, {"dask", "2024.5.0"}}}};
    CHECK(requests::dialect_from(answer).version().text() == "2024.5.0");
    CHECK(requests::register_client("me", answer).at("versions").at("packages") == answer.at("packages"));
    for (const json& other : {json(nullptr), json("x"), json::object(), json{{"packages", 1}},
                              json{{"packages", {{"distributed", nullptr}}}}}) {
        CHECK_THROWS_AS(requests::dialect_from(other), joblot::backend_error);
    }
}

TEST_CASE("scattered data is bytes of several pieces, not copied", "[dask][requests]") {
    const std::vector<std::byte> mine = bytes_of("of mine");
    std::vector<payload> pieces;
    pieces.emplace_back(bytes_of("bytes "));
    pieces.emplace_back(mine, nullptr);
    message_writer writer;
    const json request = requests::scatter(writer, "me", "key", std::move(pieces), true, {"tcp://a:1"});
    const encoded_message encoded = writer.finish(request);
    CHECK(encoded.pieces().back().data() == mine.data());
    std::vector<std::byte> all;
    for (const bytes_view p : encoded.pieces()) all.insert(all.end(), p.begin(), p.end());
    message m = captured::read(all);
    CHECK(m.head.at("broadcast") == true);
    CHECK(m.head.at("workers") == json({"tcp://a:1"}));
    received_object value = m.value(m.head.at("data").at("key"));
    CHECK(value.type() == "bytes");
    CHECK(value.header.at("split-num-sub-frames") == json({2}));
    CHECK(text_of(std::move(value).joined()) == "bytes of mine");
}

TEST_CASE("data for one worker, which the scheduler is told of", "[dask][requests]") {
    const python_class blob{"shim", "Blob"};
    for (const char* const version : {"2022.12.1", "2026.8.0"}) {
        message_writer writer;
        std::vector<payload> pieces;
        pieces.emplace_back(bytes_of("bytes "));
        pieces.emplace_back(bytes_of("of mine"));
        const encoded_message all =
            writer.finish(requests::put_data(writer, dialect(version), "key", std::move(pieces), blob));
        std::vector<std::byte> bytes;
        for (const bytes_view p : all.pieces()) bytes.insert(bytes.end(), p.begin(), p.end());
        message m = captured::read(bytes);
        CHECK(m.head.at("op") == "update_data");
        CHECK(m.head.contains("report") == (std::string(version) == "2022.12.1"));
        received_object value = m.value(m.head.at("data").at("key"));
        CHECK(value.type() == "Blob");
        CHECK(text_of(std::move(value).joined()) == "bytes of mine");
    }
    const json told = requests::tell_of_data("me", "key", "tcp://a:1", 13);
    CHECK(told.at("who_has") == json{{"key", json::array({"tcp://a:1"})}});
    CHECK(told.at("nbytes") == json{{"key", 13}});
    CHECK(told.at("client") == "me");
}
