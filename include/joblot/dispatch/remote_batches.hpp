// SPDX-License-Identifier: BSL-1.0
// What happens to the batches of a call whose tasks run in other processes, whatever carries the bytes: turns tasks
// into requests and answers into results, and decides what becomes of tasks that failed.
// Templates, so that only what uses them compiles them: see init.hpp.
#pragma once

#include <joblot/core/reading.hpp>
#include <joblot/core/thread_end.hpp>
#include <joblot/dispatch/claimed_batch.hpp>
#include <joblot/dispatch/job.hpp>
#include <joblot/wire/batch_protocol.hpp>
#include <joblot/wire/remote_exception.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <optional>
#include <string>
#include <utility>

namespace joblot::detail {

/// Serves a driver, which keeps the batches and knows where they are sent. What it holds does not change: threads may
/// share it, as long as each batch is with one of them at a time.
template <class = void>
class basic_remote_batches {
public:
    /// @param entry      What runs the tasks; `job::remote_runner()`'s, or nothing for processes that were forked.
    /// @param one_by_one Whether single results can be handed out while the others of the batch are on their way. They
    ///                   are where somebody waits for each, and where a stop must not take those that are there.
    basic_remote_batches(job& j, const code_location& entry, bool one_by_one)
        : job_(j), timeout_(j.settings().given->timeout.limit()), entry_(entry),
          one_by_one_(one_by_one && (j.publishes_ || j.settings().keeps_on_stop())) {}

    /// The limit for each task.
    [[nodiscard]] const std::optional<std::chrono::nanoseconds>& timeout() const noexcept { return timeout_; }

    [[nodiscard]] std::string label(const claimed_batch& c, std::size_t k) const noexcept {
        return c.of().tasks()->label(c.index(k));
    }

    /// The next batch of the call, if one can be had now.
    [[nodiscard]] std::optional<claimed_batch> claim(worker& seat) const {
        const batch b = job_.claim(seat);
        if (!b) return std::nullopt;
        return claimed_batch(b, job_.settings().given->retries);
    }

    // --- what is sent

    /// The head of the message that asks for the tasks of `range`.
    [[nodiscard]] run_request request_for(const claimed_batch& c, claimed_batch::range range, std::uint64_t sequence,
                                          int worker_id) const noexcept {
        const scope& inside = job_.settings().inside;
        return {.sequence = sequence,
                .runner = entry_,
                .first = c.index(range.begin),
                .count = static_cast<std::uint32_t>(range.size()),
                .worker_id = worker_id,
                .timeout = timeout_ ? timeout_->count() : 0,
                .depth = inside.depth,
                .inner_threads = inside.inner_max_num_threads.value_or(0),
                .one_by_one = one_by_one_,
                .combines = job_.reduction() != nullptr,
                .call = call_};
    }

    /// Writes the message that asks for the tasks of `range`, up to one that cannot be written. That one fails when it
    /// is the first. An element of the input that cannot be read fails the call, wherever it is.
    /// @return The tasks that are asked for; if there are none, nothing is to be sent.
    claimed_batch::range write_request(claimed_batch& c, claimed_batch::range range, std::uint64_t sequence,
                                       int worker_id, outgoing& message) const {
        message.put(request_for(c, range, sequence, worker_id));
        message.names_common_function = true;
        if (const any_reduction* const r = job_.reduction())
            write_part(message, 0, [r](encoder& to) { r->write_opening(to); });
        range = write_tasks(c, range, message);
        run_request head = request_for(c, range, sequence, worker_id);
        if (message.common_function != 0) head.common = locate(message.common_function);
        message.patch(0, head);
        return range;
    }

    // --- what comes back

    /// From now on each result is a message of its own, so that what happens after one is known to be of the next.
    void tell_results_apart() noexcept { one_by_one_ = true; }

    /// Keeps the results that a message has of the tasks that were asked for last. With the last ones `c` is answered.
    /// @param where Where the tasks ran, for errors.
    /// @param find  Gives what results refer to, if they do.
    /// @return The head of the message. @throws serialization_error where the message makes no sense.
    run_results take_results(claimed_batch& c, incoming message, const std::string& where, worker& seat,
                             const decoder::image_finder* find = nullptr) const {
        const claimed_batch::range sent = c.sent();
        const auto head = message.get<run_results>("the head of results");
        if (head.sequence != c.sequence() || !c.note_received(head.begin, head.count, head.last != 0) || head.took < 0)
            throw serialization_error("joblot: a worker gave results of tasks that it was not asked for, or has given",
                                      "a frame");
        const std::size_t begin = sent.begin + head.begin;
        const std::size_t end = begin + head.count;
        std::size_t values = 0;
        for (std::size_t k = begin; k != end; ++k) {
            std::uint32_t mark = 0;
            decoder from(message.part(mark), find);
            if (static_cast<task_result_kind>(mark) == task_result_kind::value) ++values;
            take_result(c, k, static_cast<task_result_kind>(mark), from, where);
        }
        if (any_reduction* const r = job_.reduction()) {
            std::uint32_t mark = 0;
            decoder from(message.part(mark), find);
            try {
                r->take(from, c.index(begin), c.index(end), values);
            } catch (...) { // the tasks count as done: nothing else may come of the call
                job_.abort(caught_error());
                if (thread_ends()) throw;
            }
        }
        advance(c, seat);
        if (head.last) c.answered(std::chrono::nanoseconds(head.took));
        return head;
    }

    /// Hands out the results that can be, and shows progress.
    void advance(claimed_batch& c, worker& seat) const {
        if (const std::size_t n = c.newly_complete()) {
            seat.add_completed(n);
            if (job_.publishes_) job_.publish(c.of(), n);
        }
        show_progress(c.newly_seen());
    }
    /// So many more tasks have ended, as far as is known.
    void show_progress(std::size_t count) const noexcept {
        if (job_.reporter_ && count) job_.reporter_->add(count);
    }

    /// Nothing more comes of the batch.
    void settle(claimed_batch& c, worker& seat) const {
        advance(c, seat);
        job_.settle(c.of());
        if (seat.sizer().adapts() && c.took().count() > 0) seat.sizer().measured(c.of().size(), c.took());
    }

    /// Task k failed, and is tried again where that may help and the call allows it.
    /// @param retry Whether trying again may help.
    void task_failed(claimed_batch& c, std::size_t k, std::exception_ptr why, bool retry) const {
        if (retry && c.try_again(k, job_.limit()))
            c.send_again(k);
        else if (job_.task_failed(c.of(), c.index(k), std::move(why), c.tries(k)))
            c.note_done(k);
    }

    // --- whose fault it was that a worker has ended

    /// The unfinished task that a worker was on when it ended, if it was on one of those that it was asked for.
    /// @param current The task's index in the call.
    [[nodiscard]] static std::optional<std::size_t> task_at(const claimed_batch& c, std::uint64_t current) noexcept {
        const claimed_batch::range sent = c.sent();
        if (current == task_board::nothing || current < c.index(sent.begin) || current >= c.index(sent.end))
            return std::nullopt;
        const std::size_t k = current - c.of().first();
        return c.is_done(k) ? std::nullopt : std::optional(k);
    }

    /// The worker ended because of task k, which fails unless it may be tried again. To be followed by `c.lost`, which
    /// has it sent again with the others.
    /// @param why Makes the error from the task's description.
    template <class Why>
    void task_ended_worker(claimed_batch& c, std::size_t k, worker& seat, Why why) const {
        if (c.try_again(k, job_.limit())) return;
        const task_info info{c.index(k), label(c, k)};
        if (!job_.task_failed(c.of(), c.index(k), why(info), c.tries(k))) return;
        c.note_done(k);
        advance(c, seat);
    }
    /// The error of a task that ran for too long.
    [[nodiscard]] std::exception_ptr timed_out(const task_info& info) const {
        return std::make_exception_ptr(timeout_error(info, *timeout_));
    }

private:
    claimed_batch::range write_tasks(claimed_batch& c, claimed_batch::range range, outgoing& message) const {
        for (std::size_t k = range.begin; k != range.end; ++k) {
            const std::size_t blocks = message.blocks.size();
            const std::size_t part = message.begin_part();
            try {
                encoder to(message); // each part is read on its own: it must not refer to what came before
                c.of().tasks()->encode(c.index(k), to);
            } catch (const unreadable& e) { // the tasks before it run
                message.cut_back(part, blocks);
                job_.fail_input(c.index(k), e.why);
                return {range.begin, k};
            } catch (...) {
                message.cut_back(part, blocks);
                const bool is_first = k == range.begin;
                c.put_back({is_first ? k + 1 : k, range.end});
                if (is_first) task_failed(c, k, std::current_exception(), false);
                return {range.begin, k};
            }
            message.end_part(part, blocks, 0);
        }
        return range;
    }

    void take_result(claimed_batch& c, std::size_t k, task_result_kind kind, decoder& from,
                     const std::string& where) const {
        if (kind < task_result_kind::value || kind > task_result_kind::uncombined)
            throw serialization_error("joblot: a worker gave a result of an unknown kind", "a frame");
        if (kind == task_result_kind::skipped) { // it was told a limit, and limits only fall
            if (c.index(k) >= job_.limit()) return;
            throw serialization_error("joblot: a worker left out a task that it was to run", "a frame");
        }
        if (kind == task_result_kind::uncombined) return job_.abort(decode_exception(from, where));
        if (kind == task_result_kind::unreadable) return job_.fail_input(c.index(k), decode_exception(from, where));
        try {
            if (kind == task_result_kind::exception) std::rethrow_exception(decode_exception(from, where));
            c.of().tasks()->decode(c.index(k), from);
            c.of().tasks()->result_stands(c.index(k), c.tries(k));
            c.note_done(k);
        } catch (const timeout_error& e) {
            const bool from_worker = timeout_ && e.label().empty() && e.index() == c.index(k);
            task_failed(c, k, from_worker ? timed_out({c.index(k), label(c, k)}) : std::current_exception(), true);
        } catch (...) { // the task's own, or that of what was to be rebuilt
            task_failed(c, k, std::current_exception(), true);
        }
    }

    job& job_;
    const std::optional<std::chrono::nanoseconds> timeout_;
    const code_location entry_;
    bool one_by_one_;
    // A worker of a cluster may serve several programs.
    const std::uint64_t call_ =
        mix64(fresh_number() ^ static_cast<std::uint64_t>(std::chrono::system_clock::now().time_since_epoch().count()));
};
using remote_batches = basic_remote_batches<>;

} // namespace joblot::detail
