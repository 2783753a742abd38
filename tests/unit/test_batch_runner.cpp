// SPDX-License-Identifier: BSL-1.0
// A request for some tasks as a message, what a worker makes of it, and the results that it gives.

#include "support/wire.hpp"

#include <joblot/wire/batch_runner.hpp>
#include <joblot/wire/remote_task.hpp>

#include <catch2/catch_test_macros.hpp>

#include <chrono>
#include <cstdint>
#include <cstring>
#include <exception>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace {

using namespace joblot::detail;
using text = std::shared_ptr<std::string>;

/// Gives back what it got, so that tasks have results in common; fails where it is told to.
struct pass_on {
    text operator()(const text& t, int i) const {
        if (i == 2) throw std::out_of_range("two");
        if (i == 3) throw long{i};
        return t;
    }
};
struct keeps_one {
    text operator()(int) const {
        static const text kept = std::make_shared<std::string>("kept");
        return kept;
    }
};

struct sleeps {
    text operator()(std::chrono::milliseconds time) const {
        std::this_thread::sleep_for(time);
        return std::make_shared<std::string>("awake");
    }
};

text shout(int i) { return std::make_shared<std::string>(std::to_string(i) + "!"); }
using task_of_shout = decltype(joblot::delayed(shout)(1));

template <class Task>
outgoing request_of(const std::vector<Task>& tasks, std::chrono::nanoseconds timeout = {}) {
    using form = remote_form_t<Task>;
    outgoing message;
    message.put(run_request{.sequence = 7,
                            .runner = form::entry().location(),
                            .first = 100,
                            .count = static_cast<std::uint32_t>(tasks.size()),
                            .timeout = timeout.count()});
    for (const Task& t : tasks) joblot::detail::write_part(message, 0, [&](encoder& to) { form::write(to, t); });
    return message;
}

struct collecting final : results_sink {
    void send_results(const outgoing& message) override {
        incoming in(message.stream, message.blocks);
        last = in.get<run_results>();
        for (std::uint32_t k = 0; k != last.count; ++k) {
            std::uint32_t mark = 0;
            decoder from(in.part(mark));
            kinds.push_back(static_cast<task_result_kind>(mark));
            if (kinds.back() == task_result_kind::value) values.push_back(*decode<text>(from));
            if (kinds.back() == task_result_kind::exception) errors.push_back(decode_exception(from, "here"));
        }
    }
    run_results last;
    std::vector<task_result_kind> kinds;
    std::vector<std::string> values;
    std::vector<std::exception_ptr> errors;
};

void run(const outgoing& request, task_board& board, results_sink& sink) {
    const decoder::image_finder none;
    joblot::detail::values_of_call kept;
    run_request_message({request.stream, request.blocks}, none, board, sink, kept);
}

} // namespace

TEST_CASE("tasks that share an argument, and results that are one object, travel one by one", "[wire][batch]") {
    const auto shared = std::make_shared<std::string>(10'000, 'x');
    const std::vector tasks(4, joblot::delayed(pass_on())(shared, 0));
    task_board board;
    collecting sink;
    run(request_of(tasks), board, sink);
    CHECK(sink.values == std::vector<std::string>(4, *shared));
    CHECK(sink.last.sequence == 7);
    CHECK(sink.last.last == 1);
    collecting kept;
    run(request_of(std::vector(3, joblot::delayed(keeps_one())(0))), board, kept);
    CHECK(kept.values == std::vector<std::string>(3, "kept"));
}

TEST_CASE("a task that fails leaves the others alone", "[wire][batch]") {
    const auto shared = std::make_shared<std::string>("x");
    std::vector<decltype(joblot::delayed(pass_on())(shared, 0))> tasks;
    for (int i = 0; i != 5; ++i) tasks.push_back(joblot::delayed(pass_on())(shared, i));
    task_board board;
    collecting sink;
    run(request_of(tasks), board, sink);
    using kind = task_result_kind;
    CHECK(sink.kinds == std::vector{kind::value, kind::value, kind::exception, kind::exception, kind::value});
    REQUIRE(sink.errors.size() == 2);
    CHECK_THROWS_AS(std::rethrow_exception(sink.errors[0]), std::out_of_range);
    CHECK_THROWS_AS(std::rethrow_exception(sink.errors[1]), joblot::remote_error);
    CHECK(board.current == task_board::nothing);
}

TEST_CASE("tasks at the limit are skipped", "[wire][batch]") {
    task_board board;
    board.limit = 102;
    collecting sink;
    run(request_of(std::vector(4, joblot::delayed(keeps_one())(0))), board, sink);
    using kind = task_result_kind;
    CHECK(sink.kinds == std::vector{kind::value, kind::value, kind::skipped, kind::skipped});
}

TEST_CASE("a function that tasks are made of is named once, in the head of the request", "[wire][batch]") {
    const std::vector tasks(3, joblot::delayed(shout)(1));
    outgoing named, each = request_of(tasks);
    named.put(run_request{});
    named.names_common_function = true;
    for (const auto& t : tasks)
        joblot::detail::write_part(named, 0,
                                   [&](encoder& to) { joblot::detail::remote_form_t<task_of_shout>::write(to, t); });
    run_request head;
    std::memcpy(&head, each.stream.data(), sizeof head);
    REQUIRE(named.common_function == reinterpret_cast<std::uintptr_t>(&shout));
    CHECK(named.stream.size() < each.stream.size());
    task_board board;
    collecting without;
    named.patch(0, head); // it does not say which
    run(named, board, without);
    CHECK(without.errors.size() == 3);
    collecting sink;
    head.common = joblot::detail::locate(named.common_function);
    named.patch(0, head);
    run(named, board, sink);
    CHECK(sink.values == std::vector<std::string>(3, "1!"));
    head.common.offset += 1U << 30U;
    named.patch(0, head);
    CHECK_THROWS_AS(run(named, board, sink), joblot::serialization_error);
}

TEST_CASE("requests that make no sense", "[wire][batch][hostile]") {
    const std::vector tasks(2, joblot::delayed(keeps_one())(0));
    const outgoing good = request_of(tasks);
    task_board board;
    collecting sink;
    run_request head;
    std::memcpy(&head, good.stream.data(), sizeof head);
    for (const std::uint32_t count : {1000U, 1'000'000U, ~0U}) { // else a worker would give that many results
        outgoing message = request_of(tasks);
        run_request wrong = head;
        wrong.count = count;
        message.patch(0, wrong);
        CHECK_THROWS_AS(run(message, board, sink), joblot::serialization_error);
    }
    outgoing elsewhere = request_of(tasks);
    run_request no_runner = head;
    no_runner.runner.offset += 1;
    elsewhere.patch(0, no_runner);
    CHECK_THROWS_AS(run(elsewhere, board, sink), joblot::serialization_error);
    outgoing cut;
    cut.append(good.stream.data(), sizeof head - 1);
    CHECK_THROWS_AS(run(cut, board, sink), joblot::serialization_error);
    CHECK(sink.kinds.empty());
}

TEST_CASE("a task that ends after its time limit is late, whoever looked", "[wire][batch][timeout]") {
    task_board board;
    collecting sink;
    using namespace std::chrono_literals;
    run(request_of(std::vector{joblot::delayed(sleeps())(0ms), joblot::delayed(sleeps())(500ms)}, 400ms), board, sink);
    using kind = task_result_kind;
    CHECK(sink.kinds == std::vector{kind::value, kind::exception});
    REQUIRE(sink.errors.size() == 1);
    CHECK_THROWS_AS(std::rethrow_exception(sink.errors[0]), joblot::timeout_error);
}
