// SPDX-License-Identifier: BSL-1.0
// Runs the tasks of a request in a worker and gives their results, some at a time. Where the messages come from and go
// to is somebody else's matter: a process of this machine, or one under a cluster's worker.
// Templates, so that only what uses them compiles them: see init.hpp.
#pragma once

#include <joblot/core/inner_threads.hpp>
#include <joblot/core/reading.hpp>
#include <joblot/core/scope.hpp>
#include <joblot/core/thread_end.hpp>
#include <joblot/core/worker_values.hpp>
#include <joblot/this_task.hpp>
#include <joblot/wire/batch_protocol.hpp>
#include <joblot/wire/remote_exception.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <new>
#include <optional>
#include <string>
#include <utility>

namespace joblot::detail {

/// Where results go.
class results_sink {
public:
    /// Sends a `results` message; everything that it refers to may be gone afterwards.
    virtual void send_results(const outgoing& message) = 0;
    /// A task ran out of memory. Frees what was kept for telling so. True when no other task had better run in this
    /// process, as what the task has leaked is not there for them; `end_process` is called next then.
    virtual bool out_of_memory() noexcept { return false; }
    virtual void end_process() noexcept {}
    /// Whether nothing can be sent any more.
    [[nodiscard]] virtual bool is_cut_off() const noexcept { return false; }
    /// Called when a task is over: a forked copy of the worker, which a task let go on, must end there.
    virtual void end_copy() noexcept {}

protected:
    ~results_sink() = default;
};

/// While it lives, the thread's `this_task` and settings are those of a worker's tasks.
template <class = void>
class basic_worker_seat {
public:
    /// @param values What this worker keeps from task to task; null where it runs none.
    basic_worker_seat(task_board& board, int id, int depth, std::optional<int> inner_threads, worker_values* values)
        : board_(board), inside_(scope{.n_jobs = 1,
                                       .inner_max_num_threads = inner_threads,
                                       .in_task = true,
                                       .own_process = true,
                                       .depth = depth}),
          inner_threads_(inner_threads.value_or(0)), outer_task_(std::exchange(current_task, &context_)),
          outer_scope_(std::exchange(current_scope, &inside_)) {
        context_.worker_id = id;
        context_.limit = &board.limit;
        context_.limit_is_foreign = true;
        context_.tokens = &tokens_;
        context_.values = values;
    }
    ~basic_worker_seat() {
        current_task = outer_task_;
        current_scope = outer_scope_;
    }
    basic_worker_seat(const basic_worker_seat&) = delete;
    basic_worker_seat& operator=(const basic_worker_seat&) = delete;

    /// Says on the board that task `index` runs now. False when it must not start any more.
    bool start(std::uint64_t index, std::int64_t timeout) {
        context_.stop.reset();
        context_.index = index;
        if (timeout > 0) {
            const auto now = task_context::clock::now();
            context_.deadline = deadline_after(now, std::chrono::nanoseconds(timeout));
            // relaxed: the owner reads it after `current`, which is stored below
            board_.started.store(std::chrono::nanoseconds(now.time_since_epoch()).count(), std::memory_order_relaxed);
        }
        board_.current.store(index, std::memory_order_seq_cst);
        return index < board_.limit.load(std::memory_order_seq_cst);
    }
    [[nodiscard]] bool passed_deadline() const noexcept {
        return has_limit() && task_context::clock::now() >= context_.deadline;
    }
    /// Whether the task has passed its time limit, or was told so: where nobody lowered the mark, its token says that.
    [[nodiscard]] bool is_late() const noexcept {
        const bool told = has_limit() && context_.stop && context_.stop->token().stop_requested();
        return passed_deadline() || (told && context_.index < board_.limit.load(std::memory_order_seq_cst));
    }
    /// Says on the board that it was this task which must have closed the connection.
    void blame(std::uint64_t index) const noexcept { board_.current.store(index, std::memory_order_release); }
    void stop() noexcept {
        context_.stop.reset();
        board_.current.store(task_board::nothing, std::memory_order_release);
    }

private:
    [[nodiscard]] bool has_limit() const noexcept {
        return context_.deadline != task_context::clock::time_point::max();
    }

    task_board& board_;
    stop_registry tokens_;
    task_context context_;
    scope inside_;
    inner_threads_limit inner_threads_;
    task_context* outer_task_;
    const scope* outer_scope_;
};
using worker_seat = basic_worker_seat<>;

/// Collects the results of one request and hands them on: large ones at once, as what they refer to goes away; where a
/// reader waits for each, one by one; else together, those of slow tasks as they come.
template <class = void>
class basic_results_writer final : public result_listener {
    using clock = task_context::clock;

public:
    static constexpr std::chrono::milliseconds longest_wait{5};
    static constexpr std::size_t most_bytes = 1U << 20; ///< of a message's stream, where results come faster

    /// @param seat    Where the tasks run: it knows which are late.
    /// @param partial What results are combined in, or null.
    basic_results_writer(results_sink& sink, const run_request& request, const worker_seat& seat, any_partial* partial)
        : sink_(sink), request_(request), seat_(seat), partial_(partial) {
        head_.sequence = request.sequence;
        message_.stream.reserve(std::min(request.count * typical_bytes, most_bytes));
        begin_message();
    }

    /// Where the next result is to be written; to be followed by one of those below.
    encoder& begin_result() {
        blocks_before_ = message_.blocks.size();
        part_at_ = message_.begin_part();
        return to_.emplace(message_); // each part is read on its own: it must not refer to what came before
    }
    bool refuses() override {
        const bool late = seat_.passed_deadline();
        if (late) result_failed(late_error()); // its owner was not quick enough to end it
        return late;
    }
    void result_stands() override { end_result(task_result_kind::value); }
    any_partial& partial() override { return *partial_; }
    /// That the task whose result was begun is late. The owner, which knows its label, adds that.
    [[nodiscard]] std::exception_ptr late_error() const {
        const std::size_t index = request_.first + head_.begin + head_.count;
        return std::make_exception_ptr(
            timeout_error({index, std::string()}, std::chrono::nanoseconds(request_.timeout)));
    }
    void result_failed(const std::exception_ptr& error, task_result_kind kind = task_result_kind::exception) {
        if (part_at_ == nowhere) begin_result(); // the value was sent already, and its destructor threw
        message_.cut_back(part_at_ + sizeof(part_header), blocks_before_);
        try {
            encode_exception(to_.emplace(message_), error);
        } catch (...) { // a registered type whose own functions throw
            message_.cut_back(part_at_ + sizeof(part_header), blocks_before_);
            encode_exception(to_.emplace(message_),
                             std::make_exception_ptr(serialization_error("joblot: what a task threw cannot be sent: " +
                                                                             describe_current_exception().second,
                                                                         "an exception")));
        }
        end_result(kind);
    }
    void skip() {
        begin_result();
        end_result(task_result_kind::skipped);
    }
    /// Whether a result was written since the last `begin_result`.
    [[nodiscard]] bool has_written() const noexcept { return part_at_ == nowhere; }

    /// Sends what is there so far.
    void flush() {
        if (head_.count != 0) send();
    }
    /// Sends what is left.
    void finish() {
        head_.last = 1;
        send();
    }

private:
    static constexpr std::size_t nowhere = static_cast<std::size_t>(-1);
    static constexpr std::size_t typical_bytes = 2 * sizeof(part_header); ///< of a result that is a number
    static constexpr std::chrono::microseconds trivial_tasks{4};
    static constexpr int unseen_trivial_tasks = 7; ///< after one, or as many, that took less

    void begin_message() {
        message_.clear();
        message_.put(run_results{});
        head_.begin += head_.count;
        head_.count = 0;
        last_sent_ = clock::now();
    }

    void end_result(task_result_kind kind) {
        message_.end_part(part_at_, blocks_before_, static_cast<std::uint32_t>(kind));
        part_at_ = nowhere;
        ++head_.count;
        if (kind == task_result_kind::exception) ++head_.failed;
        if (request_.one_by_one || !message_.blocks.empty() || message_.stream.size() > most_bytes || is_time()) send();
    }

    /// Whether the results had better wait no longer. Reading the clock after each task would be a third of what a
    /// trivial one costs.
    bool is_time() {
        if (unseen_ != 0) {
            --unseen_;
            return false;
        }
        const auto now = clock::now();
        if (now - seen_at_ < trivial_tasks) unseen_ = unseen_trivial_tasks;
        seen_at_ = now;
        return now - last_sent_ > longest_wait;
    }

    void send() {
        head_.took = std::chrono::nanoseconds(clock::now() - began_).count();
        message_.patch(0, head_);
        if (partial_) write_part(message_, 0, [this](encoder& to) { partial_->write(to); });
        try {
            sink_.send_results(message_);
        } catch (...) { // what was sent before went well: it was a task of this message
            if (sink_.is_cut_off()) seat_.blame(head_.count == 1 ? request_.first + head_.begin : task_board::nothing);
            throw;
        }
        if (partial_) partial_->clear();
        begin_message();
    }

    results_sink& sink_;
    const run_request& request_;
    const worker_seat& seat_;
    any_partial* const partial_;
    outgoing message_;
    std::optional<encoder> to_;
    run_results head_{};
    std::size_t part_at_ = nowhere;
    std::size_t blocks_before_ = 0;
    const clock::time_point began_ = clock::now();
    clock::time_point last_sent_{};
    clock::time_point seen_at_{}; // when the clock was read last
    int unseen_ = 0;              // results until it is read again
};
using results_writer = basic_results_writer<>;

/// Runs tasks one after the other and gives their results to a writer. Never throws what a task throws.
/// @param values  What this worker keeps from task to task.
/// @param partial What results are combined in, or null.
/// @param run_one Runs task k of the request: writes its result, or throws.
template <class RunOne>
void run_tasks(const run_request& request, task_board& board, results_sink& sink, worker_values& values,
               any_partial* partial, RunOne run_one) {
    worker_seat seat(board, request.worker_id, request.depth,
                     request.inner_threads ? std::optional<int>(request.inner_threads) : std::nullopt, &values);
    results_writer writer(sink, request, seat, partial);
    for (std::uint32_t k = 0; k != request.count; ++k) {
        if (!seat.start(request.first + k, request.timeout)) {
            writer.skip();
            continue;
        }
        encoder& to = writer.begin_result();
        try {
            run_one(k, to, writer);
            sink.end_copy();
        } catch (const unreadable& e) {
            sink.end_copy();
            writer.result_failed(e.why, task_result_kind::unreadable);
        } catch (const not_combined& e) {
            sink.end_copy();
            writer.result_failed(e.why, task_result_kind::uncombined);
        } catch (const std::bad_alloc&) {
            sink.end_copy();
            const bool ends = sink.out_of_memory();
            if (!writer.has_written()) writer.result_failed(std::current_exception());
            if (!ends) continue;
            seat.stop(); // the task has been answered for: it is not to blame for the end of the process
            writer.flush();
            sink.end_process();
        } catch (...) {
            sink.end_copy();
            if (thread_ends()) {
                if (!writer.has_written()) writer.result_failed(thread_end_error());
                seat.stop(); // the task has been answered for: it is not to blame for the end of the process
                writer.flush();
                sink.end_process();
                throw;
            }
            if (sink.is_cut_off()) throw;
            if (writer.has_written()) continue;
            // it may have thrown because it was told
            writer.result_failed(seat.is_late() ? writer.late_error() : std::current_exception());
        }
    }
    seat.stop();
    writer.finish();
}

/// What a worker process keeps from task to task of a call.
struct values_of_call {
    std::uint64_t call = 0;
    worker_values values{};
};

/// Runs a request that came as a message.
/// @param find Gives the shared memory of a broadcast value. @throws serialization_error where the message is broken.
template <class = void>
void run_request_message(incoming message, const decoder::image_finder& find, task_board& board, results_sink& sink,
                         values_of_call& kept) {
    const auto request = message.get<run_request>("the head of a batch");
    if (std::exchange(kept.call, request.call) != request.call) kept.values.clear();
    const runner_entry& runner = runner_entry::at(request.runner);
    if (request.count > message.remaining() / sizeof(part_header))
        message.fail("more tasks than parts", "the head of a batch");
    if (runner.combines() != (request.combines != 0))
        message.fail("results are to be combined, or not, otherwise than the code does", "the head of a batch");
    const std::uintptr_t common = request.common.offset != 0 ? resolve(request.common, true) : 0;
    std::unique_ptr<any_partial> partial;
    if (runner.combines()) {
        std::uint32_t mark = 0;
        decoder from(message.part(mark), &find, common);
        partial = runner.open(from);
    }
    run_tasks(request, board, sink, kept.values, partial.get(),
              [&](std::uint32_t, encoder& to, results_writer& writer) {
                  std::uint32_t mark = 0;
                  decoder from(message.part(mark), &find, common);
                  runner.run(from, to, writer);
              });
}

} // namespace joblot::detail
