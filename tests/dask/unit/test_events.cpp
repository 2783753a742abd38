// SPDX-License-Identifier: BSL-1.0
// What schedulers of every version told their clients, and exceptions of Python's.

#include "captured.hpp"

#include <joblot/dask/protocol/events.hpp>

#include <catch2/catch_test_macros.hpp>

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

namespace {

using namespace joblot::dask::engine;
using captured::bytes_of;
using captured::text_of;
using captured::versions;
using keys = std::vector<std::string>;

/// The first event of that kind in a recorded message.
event first(enum event::kind kind, const char* version, const std::string& name) {
    std::vector<event> all = events_of(captured::read(version, name));
    const auto found = std::find_if(all.begin(), all.end(), [&](const event& e) { return e.what == kind; });
    REQUIRE(found != all.end());
    return std::move(*found);
}
std::vector<event> events(const json& head) { return events_of({head, std::vector<std::vector<std::byte>>(1)}); }

} // namespace

TEST_CASE("a stream starts, values get ready, keys are cancelled: in every version", "[dask][events]") {
    using enum event::kind;
    for (const char* const version : versions) {
        INFO(version);
        CHECK(first(started, version, "stream-start-start").text.empty());
        CHECK(first(in_memory, version, "key-in-memory-done").keys == keys{"run-done"});
        const std::string cancel = std::string(version) < "2023" ? "cancelled-key-cancel" : "cancelled-keys-cancel";
        CHECK(first(cancelled, version, cancel).keys == keys{"run-sleep"});
        const event gone = first(lost, version, "lost-data-killed");
        CHECK((gone.keys == keys{"run-done"} || gone.keys == keys{"run-dependent"}));
    }
}

TEST_CASE("a task's failure is read in every version, and nothing of it is run", "[dask][events]") {
    for (const char* const version : versions) {
        INFO(version);
        const event failed = first(event::kind::erred, version, "task-erred-fail");
        CHECK(failed.keys == keys{"run-fail"});
        CHECK(failed.exception.type == "captured_tasks.TaskFailed");
        CHECK(failed.exception.text == "two of three tasks failed");
        CHECK(text_of(failed.exception.data) == "JOBLOT02 and the results");
        CHECK_FALSE(failed.exception.killed_worker);

        const event other = first(event::kind::erred, version, "task-erred-value");
        CHECK(other.exception.type == "ValueError");
        CHECK(other.exception.text == "text, 3, 2.5, None");
        CHECK(other.exception.data.empty());
    }
}

TEST_CASE("a task that killed too many workers is told from others", "[dask][events]") {
    for (const char* const version : versions) {
        INFO(version);
        const event failed = first(event::kind::erred, version, "task-erred-killed");
        CHECK(failed.keys == keys{"run-die"});
        CHECK(failed.exception.killed_worker);
        CHECK(failed.exception.type == "distributed.scheduler.KilledWorker");
        CHECK(failed.exception.last_worker.starts_with("tcp://127.0.0.1:"));
        CHECK(failed.exception.text.find(failed.exception.last_worker) != std::string::npos);
    }
}

TEST_CASE("answers that say what went wrong", "[dask][events]") {
    for (const char* const version : versions) {
        INFO(version);
        const auto text = answer_error(captured::read(version, "error-refused").head);
        REQUIRE(text);
        CHECK(text->find("no such plugin") != std::string::npos);
        CHECK_FALSE(answer_error(captured::read(version, "gather").head));
        CHECK_FALSE(answer_error(captured::read(version, "identity-used").head));
    }
    CHECK(answer_error({{"status", "error"}, {"keys", {"a"}}}) == "[\"a\"]");
    CHECK(answer_error({{"status", "uncaught-error"}, {"text", "why"}}) == "why");
    CHECK(answer_error({{"status", "error"}}) == "error");
    CHECK_FALSE(answer_error({{"status", "busy"}}));
    CHECK_FALSE(answer_error({{"status", 1}}));
    CHECK_FALSE(answer_error(nullptr));
    CHECK_FALSE(answer_error("OK"));
}

TEST_CASE("events of all kinds, one message or several", "[dask][events]") {
    using enum event::kind;
    const json told = json::array({{{"op", "cancelled-keys"}, {"keys", {"a", "b", {1, 2}}}, {"reason", "lost"}},
                                   {{"op", "task-retried"}, {"key", "c"}},
                                   {{"op", "something-new"}, {"key", "d"}},
                                   {{"op", "restart"}},
                                   {{"op", "error"}, {"exception", "why"}},
                                   {{"status", "uncaught-error"}, {"text", "broken"}},
                                   {{"op", "stream-closed"}}});
    const std::vector<event> all = events(told);
    REQUIRE(all.size() == 6);
    CHECK(all[0].what == cancelled);
    CHECK(all[0].keys == keys{"a", "b"});
    CHECK(all[0].text == "lost");
    CHECK(all[1].what == retried);
    CHECK(all[1].keys == keys{"c"});
    CHECK(all[2].what == restarted);
    CHECK(all[3].what == failed);
    CHECK(all[3].text == "why");
    CHECK(all[4].what == failed);
    CHECK(all[4].text == "broken");
    CHECK(all[5].what == closed);
    CHECK(events({{"op", "close"}}).at(0).what == closed);
    CHECK(events(json::array()).empty());
    CHECK_THROWS_AS(events(1), joblot::serialization_error);
    CHECK_THROWS_AS(events(json::array({"text"})), joblot::serialization_error);
}

TEST_CASE("an exception that cannot be read is one nevertheless", "[dask][events]") {
    const std::vector<event> all =
        events(json::array({{{"op", "task-erred"}, {"key", "a"}, {"exception", json::binary({'x'})}},
                            {{"op", "task-erred"}, {"key", "b"}, {"exception", nullptr}}}));
    REQUIRE(all.size() == 2);
    CHECK(all[0].exception.type.empty());
    CHECK(all[0].exception.text.find("cannot be read") != std::string::npos);
    CHECK(all[1].what == event::kind::erred);
    CHECK(describe_exception(bytes_of("N.")).type.empty());
}

TEST_CASE("exceptions as older versions of tblib pickle them", "[dask][events]") {
    pickle_writer p;
    p.global("tblib.pickling_support", "unpickle_exception");
    p.begin();
    p.global("joblot_shim", "TaskFailed");
    p.begin();
    p.text("short");
    p.bytes("data");
    p.end_tuple();
    p.none();
    p.none();
    p.end_tuple();
    p.call();
    const python_exception e = describe_exception(p.finish());
    CHECK(e.type == "joblot_shim.TaskFailed");
    CHECK(e.text == "short");
    CHECK(text_of(e.data) == "data");
}

TEST_CASE("how far a batch is, and events that say something else", "[dask][events]") {
    const auto told = [](json content) {
        return events(json::array({{{"op", "event"}, {"topic", "t"}, {"event", content}}}));
    };
    const auto all = told({1.5, {{"key", "run-1"}, {"done", 7U}}});
    REQUIRE(all.size() == 1);
    CHECK(all[0].what == event::kind::progress);
    CHECK(all[0].keys == keys{"run-1"});
    CHECK(all[0].done == 7);
    const json strange[] = {nullptr,
                            json::array(),
                            json::array({1, 2}),
                            {1, {{"key", "run-1"}}},
                            {1, {{"key", "run-1"}, {"done", -1}}},
                            {1, {{"key", 5}, {"done", 1}}},
                            "text"};
    for (const json& content : strange) {
        INFO(content);
        for (const event& e : told(content)) CHECK(e.keys.empty());
    }
}
