// SPDX-License-Identifier: BSL-1.0
// Drives one worker process for one call: claims batches, sends them, takes results, and knows what to do when the
// worker dies, takes too long, or is not wanted any more. Each runs on a thread of its own.
// Templates, so that only what uses them compiles them: see init.hpp.
#pragma once

#include <joblot/dispatch/remote_batches.hpp>
#include <joblot/process/forked.hpp>
#include <joblot/process/pool.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <exception>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace joblot::detail {

template <class = void>
class basic_process_driver {
    using clock = std::chrono::steady_clock;

public:
    basic_process_driver(job& j, const process_options& o, int id, int siblings)
        : job_(j), options_(o), id_(id), siblings_(siblings),
          batches_(j, o.forked ? code_location{} : j.remote_runner().location(), true) {}

    basic_process_driver(const basic_process_driver&) = delete;
    basic_process_driver& operator=(const basic_process_driver&) = delete;
    ~basic_process_driver() {
        drop_worker(); // left by an exception
    }

    /// Until there is nothing more to claim. @throws backend_error, or what `worker_init` threw.
    void run() {
        worker seat(job_, id_);
        do {
            while (refill(seat)) take_part();
        } while (job_.wait());
        release_worker();
    }

    /// Tasks are not wanted any more: keeps the worker from starting them, and ends it if it is on one. Any thread.
    void heed_limits() noexcept {
        const std::lock_guard lock(worker_mutex_);
        if (!worker_) return;
        task_board& board = worker_->board();
        board.limit.store(job_.limit(), std::memory_order_seq_cst); // before the look at what runs, see task_board
        const std::uint64_t current = board.current.load(std::memory_order_seq_cst);
        const bool unwanted = current != task_board::nothing && current >= job_.unwanted_from();
        if (unwanted || (starting_ && job_.unwanted_from() == 0)) end_worker();
    }

private:
    static constexpr std::chrono::milliseconds short_batch{2}; ///< the next one had better wait at the worker

    // --- claiming and sending

    /// Sees to it that the worker has something to do. False when nothing can be claimed at the moment.
    bool refill(worker& seat) {
        seat_ = &seat;
        for (;;) {
            while (!claimed_.empty() && claimed_.front().is_over(job_.limit())) settle();
            while (claimed_.size() < depth()) {
                std::optional<claimed_batch> c = batches_.claim(seat);
                if (!c) break;
                claimed_.push_back(std::move(*c));
            }
            for (claimed_batch& c : claimed_) send_next(c);
            if (claimed_.empty() || claimed_.front().sent().size() != 0) return !claimed_.empty();
        }
    }

    /// How many batches may be claimed at once. One that waits behind a long one might be run by somebody else.
    [[nodiscard]] std::size_t depth() const noexcept {
        const std::size_t left = job_.tasks_left();
        const bool plain = !options_.forked && options_.config.max_tasks == 0 && left != job::none;
        const bool enough = left > static_cast<std::size_t>(siblings_); // or another worker might be without one
        return plain && enough && last_took_ && *last_took_ < short_batch ? 2 : 1;
    }

    void send_next(claimed_batch& c) {
        while (c.sent().size() == 0 && !c.is_over(job_.limit())) {
            if (!options_.forked) ensure_worker();
            const claimed_batch::range range = c.next_range(job_.limit(), most_tasks());
            if (options_.forked)
                fork_worker(c, range);
            else
                send(c, range);
        }
    }

    /// How many tasks the worker may still be given.
    [[nodiscard]] std::size_t most_tasks() const noexcept {
        const std::size_t most = options_.config.max_tasks;
        return most == 0 ? job::none : options_.forked ? most : most - worker_->tasks_given;
    }

    void send(claimed_batch& c, claimed_batch::range range) {
        outgoing& message = request_;
        message.clear();
        range = batches_.write_request(c, range, worker_->next_request, id_, message);
        if (range.size() == 0) return; // the first one could not be written, and has failed
        const std::uint64_t number = worker_->next_request++;
        std::exception_ptr broken;
        try {
            heed_limits();
            send_images(message);
            worker_->link().send(frame_kind::run, message, number, {}, [this] { wait_for_room(); });
        } catch (const disconnected&) {        // seen again where messages are read, and dealt with there
        } catch (const serialization_error&) { // what was read meanwhile
            broken = std::current_exception();
        }
        message.clear();
        c.note_sent(range, number);
        worker_->tasks_given += range.size();
        if (broken) stream_is_broken(std::move(broken));
    }

    void send_images(const outgoing& message) {
        for (const auto& image : message.images) {
            if (!image->key().empty())
                throw backend_error("joblot: the data " + image->key() +
                                    " is on a Dask cluster: tasks that read it run there, with a dask::backend");
            if (!worker_pool::instance().note_image(*worker_, image->id())) continue;
            outgoing announcement;
            announcement.put(image->id());
            const int file = image->file();
            worker_->link().send(frame_kind::images, announcement, 0, {&file, 1}, [this] { wait_for_room(); });
        }
    }

    /// The worker's socket is full: it may be that it waits for us to read.
    void wait_for_room() {
        if (worker_->has_died()) throw disconnected();
        worker_->wait(current_deadline(), true);
        read_messages();
        check_deadline();
    }

    // --- the worker

    void ensure_worker() {
        if (worker_) return;
        auto fresh = worker_pool::instance().lease(options_.config, siblings_);
        const std::lock_guard lock(worker_mutex_);
        starting_ = !fresh->greeted;
        worker_ = std::move(fresh);
    }

    void fork_worker(claimed_batch& c, claimed_batch::range range) {
        const run_request request = batches_.request_for(c, range, 1, id_);
        auto fresh = fork_worker_process(options_.config, [&](task_board& board, results_sink& sink) {
            const any_reduction* const reduction = job_.reduction();
            const auto partial = reduction ? reduction->partial() : nullptr;
            worker_values values; // the process ends with its batch
            run_tasks(request, board, sink, values, partial.get(),
                      [&](std::uint32_t k, encoder& to, results_writer& writer) {
                          c.of().tasks()->run_forked(c.index(range.begin + k), to, writer);
                      });
        });
        {
            const std::lock_guard lock(worker_mutex_);
            starting_ = true;
            worker_ = std::move(fresh);
        }
        c.note_sent(range, worker_->next_request++);
        heed_limits();
    }

    void end_worker() noexcept {
        ended_by_us_.store(true, std::memory_order_relaxed);
        worker_->end_by_force();
    }

    std::unique_ptr<worker_process> take_worker() {
        const std::lock_guard lock(worker_mutex_);
        ended_by_us_.store(false, std::memory_order_relaxed);
        starting_ = false;
        return std::move(worker_);
    }

    /// Not to be used again. The pool knows its own by address, so none must go without this.
    void drop_worker() {
        std::unique_ptr<worker_process> dropped = take_worker();
        if (dropped && !options_.forked) worker_pool::instance().discard_now(std::move(dropped));
    }

    void tell_that_call_is_over() noexcept {
        if (!values_travel().load(std::memory_order_relaxed) || !worker_->greeted) return;
        try {
            worker_->link().send(frame_kind::call_over, outgoing(), 0, {}, [] { throw disconnected(); });
        } catch (const backend_error&) { // it has died, or takes nothing
            worker_->reusable = false;
        } catch (const std::bad_alloc&) { // what it keeps goes when it begins another call
        }
    }
    void release_worker() {
        if (!worker_) return;
        tell_that_call_is_over();
        if (options_.config.max_tasks && worker_->tasks_given >= options_.config.max_tasks) worker_->reusable = false;
        worker_->link().shared_out().trim();
        worker_pool::instance().give_back(take_worker());
    }

    // --- what comes from it

    /// Waits for the worker to say something, and deals with it.
    void take_part() {
        try {
            const auto deadline = current_deadline();
            if (!read_messages() && worker_ && !worker_->has_died()) {
                worker_->wait(deadline);
                if (!read_messages() && !worker_->has_died()) check_deadline();
            }
            if (worker_ && worker_->has_died()) {
                read_messages(); // what it said before
                if (worker_) worker_died(nullptr);
            }
        } catch (const disconnected&) { // it is about to end: how, is for it to say
            worker_->wait_for_end(clock::now() + worker_pool::grace);
            worker_died(nullptr);
        } catch (const serialization_error&) {
            stream_is_broken(std::current_exception());
        }
    }

    /// Whether there was anything.
    bool read_messages() {
        bool any = false;
        while (worker_ && worker_->link().receive(false)) {
            any = true;
            take_message();
        }
        return any;
    }

    void take_message() {
        channel& link = worker_->link();
        if (link.frame().kind() == frame_kind::hello && !worker_->greeted)
            take_hello(link.message());
        else if (link.frame().kind() == frame_kind::results && worker_->greeted && at_work())
            take_results(*at_work(), link.message());
        else
            throw serialization_error("joblot: a worker sent a frame of an unexpected kind", "a frame");
        if (worker_) link.next_frame();
    }

    void take_hello(incoming message) {
        const auto hello = message.get<worker_hello>("the greeting of a worker");
        if (hello.version != protocol_version || hello.build != main_module().id)
            throw backend_error("joblot: a worker process runs another build of the program; was the executable "
                                "replaced, or is it started by a launcher that changes it?");
        worker_->greeted = true;
        {
            const std::lock_guard lock(worker_mutex_);
            starting_ = false;
        }
        if (!hello.failed) return;
        decoder from(message);
        const std::exception_ptr why = decode_exception(from, where());
        drop_worker();
        try {
            std::rethrow_exception(why);
        } catch (...) {
            const auto [type, text] = describe_current_exception();
            throw backend_error("joblot: worker_init failed in a new worker process: " + (text.empty() ? type : text));
        }
    }

    /// The batch that the worker is on, if it is on one: what was sent first. Not always the front one: tasks of that
    /// may have been sent again, behind the next.
    [[nodiscard]] claimed_batch* at_work() noexcept {
        claimed_batch* first = nullptr;
        for (claimed_batch& c : claimed_) {
            if (c.sent().size() != 0 && (!first || c.sequence() < first->sequence())) first = &c;
        }
        return first;
    }

    void take_results(claimed_batch& c, incoming message) {
        const run_results head = batches_.take_results(c, message, where(), *seat_);
        // release: what the message had in shared memory has been read
        worker_->board().consumed.store(++worker_->frames_read, std::memory_order_release);
        worker_->relay_output();
        deaths_without_task_ = 0;
        if (head.last) answered(c);
    }
    [[nodiscard]] std::string where() const { return "process " + std::to_string(worker_->pid()); }

    /// The worker has done what it was given of a batch.
    void answered(const claimed_batch& c) {
        worker_->link().shared_out().release(c.sequence());
        if (options_.forked) {
            worker_->reap();
            take_worker();
        } else if (options_.config.max_tasks && worker_->tasks_given >= options_.config.max_tasks) {
            release_worker();
        }
    }

    void settle() {
        claimed_batch& c = claimed_.front();
        last_took_ = c.took();
        batches_.settle(c, *seat_);
        claimed_.pop_front();
    }

    // --- time limits

    /// When the task that runs will have run for too long; or before that, if none runs yet.
    [[nodiscard]] std::optional<clock::time_point> current_deadline() const {
        if (!batches_.timeout() || !worker_) return std::nullopt;
        const auto now = clock::now();
        const auto running = what_runs();
        return deadline_after(running ? running->started : now, *batches_.timeout());
    }

    struct running_task {
        std::uint64_t index;
        clock::time_point started;
    };
    /// The task that runs, if one does: one look at the board, as the worker goes on.
    [[nodiscard]] std::optional<running_task> what_runs() const {
        const task_board& board = worker_->board();
        for (;;) { // the worker writes `started` before `current`: both belong together if `current` stays
            const std::uint64_t current = board.current.load(std::memory_order_seq_cst);
            if (current == task_board::nothing) return std::nullopt;
            const std::chrono::nanoseconds started( // any number may be there: no sum of it overflows
                std::max(std::int64_t{0}, board.started.load(std::memory_order_acquire)));
            if (board.current.load(std::memory_order_seq_cst) == current)
                return running_task{current, clock::time_point(std::chrono::duration_cast<clock::duration>(started))};
        }
    }

    void check_deadline() {
        if (!batches_.timeout() || !worker_) return;
        const auto running = what_runs();
        if (!running || clock::now() - running->started < *batches_.timeout()) return;
        timed_out_ = running->index;
        worker_->end_by_force();
    }

    // --- death

    /// Nothing that the worker says from now on makes sense.
    void stream_is_broken(std::exception_ptr why) {
        worker_->end_by_force();
        worker_died(std::move(why));
    }

    /// @param why If known, why the worker had to be ended.
    void worker_died(std::exception_ptr why) {
        const bool by_us = ended_by_us_.load(std::memory_order_relaxed);
        worker_->end_by_force(); // if it has only closed its socket
        process_end end = worker_->reap();
        end.closed_connection = end.exit_status == connection_lost;
        const std::string tail = worker_->stderr_tail();
        const std::uint64_t current = worker_->board().current.load(std::memory_order_acquire);
        const bool was_up = worker_->greeted;
        drop_worker();
        const std::optional<std::uint64_t> timed_out = std::exchange(timed_out_, std::nullopt);
        blame(current, timed_out, by_us, end, tail, std::move(why), was_up);
        for (claimed_batch& c : claimed_) c.lost(job_.limit());
    }

    /// Finds out whose fault it was, and lets that task fail.
    void blame(std::uint64_t current, std::optional<std::uint64_t> timed_out, bool by_us, process_end end,
               const std::string& tail, std::exception_ptr why, bool was_up) {
        if (!at_work()) return;
        claimed_batch& c = *at_work();
        // Ended by us, for a task that it may have left since: whatever it had come to is innocent, and runs again.
        if (by_us && !timed_out) return;
        const auto blamed = remote_batches::task_at(c, timed_out.value_or(current));
        if (blamed) {
            batches_.task_ended_worker(c, *blamed, *seat_, [&](const task_info& info) {
                if (timed_out) return batches_.timed_out(info);
                return why ? why : std::make_exception_ptr(worker_crashed(info, end, tail));
            });
        }
        if (blamed || timed_out) {
            deaths_without_task_ = 0;
            return;
        }
        if (end.closed_connection) batches_.tell_results_apart(); // the next time it is known which task does it
        if (++deaths_without_task_ < 3 && was_up) return;
        if (why) std::rethrow_exception(why);
        throw backend_error("joblot: worker processes " +
                            std::string(was_up ? "die between tasks" : "die before they can be used") + how(end) +
                            (tail.empty() ? "" : "; the last of their stderr:\n" + tail));
    }
    static std::string how(process_end end) {
        if (end.closed_connection) return ": a task has closed descriptors that are not its own";
        if (end.signal) return ", by signal " + std::to_string(*end.signal);
        return end.exit_status ? ", with exit status " + std::to_string(*end.exit_status) : std::string();
    }

    job& job_;
    const process_options& options_;
    const int id_;
    const int siblings_;
    remote_batches batches_;

    outgoing request_;                                  // empty but while it is sent: its memory is used again
    std::deque<claimed_batch> claimed_;                 // the front one is at work, the other one waits at the worker
    std::optional<std::chrono::nanoseconds> last_took_; // by the batch before
    int deaths_without_task_ = 0;
    std::optional<std::uint64_t> timed_out_; // index of the task that the worker was ended for
    worker* seat_ = nullptr;

    // Guards the two below against `heed_limits`; this thread alone changes them, and may read them without.
    std::mutex worker_mutex_;
    bool starting_ = false; // the worker has not greeted yet: it may be held up in `worker_init`
    std::unique_ptr<worker_process> worker_;
    std::atomic<bool> ended_by_us_{false}; // set by heed_limits; relaxed: read after the process has ended
};
using process_driver = basic_process_driver<>;

} // namespace joblot::detail
