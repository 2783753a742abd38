// SPDX-License-Identifier: BSL-1.0
// Payloads as the module on workers reads them, and answers, good and hostile.
#include <joblot/dask/protocol/batch_payload.hpp>

#include <catch2/catch_test_macros.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <random>
#include <span>
#include <string>
#include <vector>

namespace {

namespace engine = joblot::dask::engine;
using namespace joblot::detail;
using engine::batch_answer;
using engine::batch_end;
using engine::json;
using bytes = std::vector<std::byte>;

bytes frame_of(frame_kind kind, const outgoing& message, std::size_t images = 0) {
    std::vector<block_place> places;
    for (const bytes_view b : message.blocks) places.push_back({b.size(), block_place::in_frame});
    bytes all;
    const frame_pieces frame(kind, message, places, images);
    for (const bytes_view p : frame.pieces()) all.insert(all.end(), p.begin(), p.end());
    return all;
}

bytes with_text(const std::string& text) {
    const auto size = static_cast<std::uint32_t>(text.size());
    bytes all(round_up(12 + text.size(), 8));
    std::memcpy(all.data(), "JOBLOT02", 8);
    std::memcpy(all.data() + 8, &size, sizeof size);
    std::memcpy(all.data() + 12, text.data(), text.size());
    return all;
}

bytes answer_of(const json& report, const std::vector<bytes>& frames) {
    bytes all = with_text(report.dump());
    for (const bytes& f : frames) all.insert(all.end(), f.begin(), f.end());
    return all;
}

json good_report() {
    return {{"end", "died"}, {"signal", 11}, {"exit_status", nullptr}, {"current", 7}, {"stderr", "oh no"},
            {"worker", "w"}, {"pid", 12},    {"why", nullptr}};
}

outgoing results_with(const bytes& block) {
    outgoing message;
    message.put(run_results{.sequence = 3, .count = 1});
    const std::size_t part = message.begin_part();
    message.blocks.emplace_back(block);
    message.end_part(part, 0, 1);
    return message;
}

/// Reads all that is in an answer. What is wrong with it must come as this one exception.
bool reads(bytes_view all) {
    try {
        const batch_answer answer(all);
        answer.for_each_frame([](frame_kind, incoming message) {
            if (message.remaining() >= sizeof(run_results)) static_cast<void>(message.get<run_results>());
            while (message.remaining() >= sizeof(part_header)) {
                std::uint32_t mark = 0;
                static_cast<void>(message.part(mark));
            }
        });
        return true;
    } catch (const joblot::serialization_error&) {
        return false;
    }
}

} // namespace

TEST_CASE("a payload says where its parts are") {
    const bytes block(out_of_band_from * 3, std::byte{5});
    outgoing run;
    run.put(run_request{.first = 9, .count = 1, .worker_id = 77});
    const std::size_t part = run.begin_part();
    run.blocks.emplace_back(block);
    run.end_part(part, 0, 0);

    engine::batch_order order;
    order.program = "joblot-abc";
    order.digest = "abcdef";
    order.timeout = std::chrono::milliseconds(3);
    order.images = {1, ~std::uint64_t{0}};
    order.places = {{"tcp://a:1", 0}, {"tcp://b:2", 4}};
    order.environment = {{"A", "b\"c"}, {"not UTF-8", "\xff"}};
    const auto payload = std::make_shared<const engine::batch_payload>(
        order, worker_setup{.memory_limit = 8, .level = 1}, std::move(run));

    const bytes all = payload->joined();
    CHECK(all.size() == payload->size());
    std::uint32_t size = 0;
    std::memcpy(&size, all.data() + 8, sizeof size);
    REQUIRE(12 + size <= all.size());
    const json head = json::parse(std::string(reinterpret_cast<const char*>(all.data()) + 12, size));
    CHECK(head["program"] == "joblot-abc");
    CHECK(head["digest"] == "abcdef");
    CHECK(head["timeout_ns"] == 3'000'000);
    CHECK(head["images"] == json{1, ~std::uint64_t{0}});
    CHECK(head["places"] == json{{"tcp://a:1", 0}, {"tcp://b:2", 4}});
    CHECK(head["environment"]["A"] == "b\"c");

    const std::size_t begin = round_up(12 + size, 8);
    const std::size_t setup_size = head["setup_size"], run_size = head["run_size"];
    REQUIRE(begin + setup_size + run_size == all.size());
    frame_reader setup;
    CHECK(setup.feed(bytes_view(all).subspan(begin)) == setup_size);
    CHECK(setup.kind() == frame_kind::setup);
    incoming setup_message(setup.stream(), {});
    CHECK(setup_message.get<worker_setup>().memory_limit == 8);
    frame_reader request;
    CHECK(request.feed(bytes_view(all).subspan(begin + setup_size)) == run_size);
    CHECK(request.kind() == frame_kind::run);
    CHECK(request.blocks({}).at(0).size() == block.size());
    std::int32_t worker_id = 0;
    std::memcpy(&worker_id, all.data() + begin + setup_size + head["worker_id_at"].get<std::size_t>(),
                sizeof worker_id);
    CHECK(worker_id == 77);

    const auto in_place = [&](bytes_view p) { return p.data() == block.data(); };
    CHECK(std::any_of(payload->pieces().begin(), payload->pieces().end(), in_place)); // large ones are not copied
    const auto shared = engine::batch_payload::shared(payload);
    CHECK(shared.size() == payload->pieces().size());
    CHECK(payload.use_count() == static_cast<long>(shared.size()) + 1);
}

TEST_CASE("an answer is read") {
    const bytes block(out_of_band_from, std::byte{6});
    const bytes all = answer_of(good_report(), {frame_of(frame_kind::results, results_with(block)),
                                                frame_of(frame_kind::results, results_with(block))});
    const batch_answer answer(all);
    CHECK(answer.report().end == batch_end::died);
    CHECK(answer.report().signal == 11);
    CHECK(answer.report().exit_status == std::nullopt);
    CHECK(answer.report().current == 7);
    CHECK(answer.report().pid == 12);
    CHECK(answer.report().stderr_tail == "oh no");
    CHECK(answer.report().worker == "w");
    CHECK(answer.report().why.empty());
    int frames = 0;
    answer.for_each_frame([&](frame_kind kind, incoming message) {
        ++frames;
        CHECK(kind == frame_kind::results);
        CHECK(message.get<run_results>().sequence == 3);
        std::uint32_t mark = 0;
        incoming part = message.part(mark);
        CHECK(part.take_block(block.size(), 1, "a block")[0] == std::byte{6});
    });
    CHECK(frames == 2);
}

TEST_CASE("each way to end has its name") {
    const char* const names[] = {"done", "died", "timed_out", "cancelled", "refused", "missing"};
    for (int i = 0; i != 6; ++i)
        CHECK(batch_answer(answer_of({{"end", names[i]}}, {})).report().end == static_cast<batch_end>(i));
}

TEST_CASE("an answer of the wrong types is taken for one that says nothing") {
    const json odd{{"end", "done"}, {"signal", "x"}, {"current", -1.5}, {"stderr", 5}, {"worker", {1}}, {"pid", true}};
    const bytes all = answer_of(odd, {});
    const batch_answer answer(all);
    CHECK(answer.report().signal == std::nullopt);
    CHECK(answer.report().current == std::nullopt);
    CHECK(answer.report().pid == std::nullopt);
    CHECK(answer.report().stderr_tail.empty());
}

TEST_CASE("answers that are none are refused") {
    CHECK_FALSE(reads({}));
    CHECK_FALSE(reads(bytes(11, std::byte{0})));
    CHECK_FALSE(reads(bytes(4000, std::byte{0xff})));
    CHECK_FALSE(reads(with_text("")));
    CHECK_FALSE(reads(with_text("[]")));
    CHECK_FALSE(reads(with_text("{\"end\": \"won\"}")));
    CHECK_FALSE(reads(with_text("{\"end\": 1}")));
    CHECK_FALSE(reads(with_text(std::string(100000, '['))));
    CHECK(reads(with_text("{\"end\": \"done\"}")));

    bytes huge = with_text("{}");
    std::memset(huge.data() + 8, 0xff, 4); // the size of the text
    CHECK_FALSE(reads(huge));
    outgoing empty;
    CHECK_FALSE(reads(answer_of(good_report(), {frame_of(frame_kind::run, empty)})));
    CHECK_FALSE(reads(answer_of(good_report(), {frame_of(frame_kind::results, empty, 1)})));
    CHECK(reads(answer_of(good_report(), {frame_of(frame_kind::hello, empty)})));
    bytes elsewhere = frame_of(frame_kind::results, results_with(bytes(out_of_band_from)));
    const std::uint64_t offset = 64;
    std::memcpy(elsewhere.data() + sizeof(frame_head) + 8, &offset, sizeof offset); // in shared memory
    elsewhere.resize(elsewhere.size() - out_of_band_from);
    CHECK_FALSE(reads(answer_of(good_report(), {elsewhere})));
}

TEST_CASE("no byte of an answer is trusted") {
    const bytes block(out_of_band_from, std::byte{7});
    const bytes good = answer_of(good_report(), {frame_of(frame_kind::results, results_with(block))});
    REQUIRE(reads(good));
    for (std::size_t size = 0; size != good.size(); ++size) {
        const bool whole = size == good.size() - frame_of(frame_kind::results, results_with(block)).size();
        CHECK(reads(bytes_view(good).first(size)) == whole); // without its frame it is one, too
    }
    std::mt19937 random(1);
    for (int i = 0; i != 20000; ++i) {
        bytes bad = good;
        const std::size_t interesting = good.size() - block.size();
        for (auto n = random() % 3 + 1; n != 0; --n) bad[random() % interesting] = static_cast<std::byte>(random());
        static_cast<void>(reads(bad)); // whatever it is, it is told by the one exception
    }
}
