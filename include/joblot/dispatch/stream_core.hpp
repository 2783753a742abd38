// SPDX-License-Identifier: BSL-1.0
// What the job over any input range does whatever its tasks and results are: who may read, how far ahead, and which
// results may be taken. What depends on their types is in stream_job.hpp.
#pragma once

#include <joblot/dispatch/execute.hpp>
#include <joblot/dispatch/source.hpp>

#include <algorithm>
#include <condition_variable>
#include <cstddef>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

namespace joblot::detail {

/// What happens to the results: all at the end, one by one in the order of the tasks, or one by one as they come; or
/// they are not here.
enum class delivery { at_end, ordered, unordered, none };

/// Whether they are handed out while the call runs.
constexpr bool is_read_from(delivery how) noexcept { return how == delivery::ordered || how == delivery::unordered; }

/// The tasks and results of one batch, without their types. The worker that claimed it writes; `settled` and what is
/// before it belongs to the job's state mutex.
class stream_node : public any_tasks {
public:
    explicit stream_node(std::size_t index) : first(index) {}

    const std::size_t first; ///< index of its first task in the call
    std::size_t settled = 0; ///< its tasks of which nothing more comes: their results may be taken
    std::size_t taken = 0;   ///< results that were taken
    std::size_t number = 0;  ///< of the batch, counted from 0

    /// How many tasks are in it; none any more after `drop_tasks`.
    [[nodiscard]] virtual std::size_t size() const noexcept = 0;
    virtual void reserve(std::size_t n) = 0;
    /// Moves a task of another one, at position k there, to the end of this one.
    virtual void take_task(stream_node& from, std::size_t k) = 0;
    /// Makes room for the results of the tasks that are in it now.
    virtual void expect_results() = 0;
    virtual void drop_tasks() noexcept = 0;
};

/// A template, so that only files with such a call compile it, and each of them once.
template <class = void>
class basic_stream_job : public job {
public:
    [[nodiscard]] std::size_t tasks_left() const noexcept override { return none; }

    [[nodiscard]] batch claim(worker& w) override {
        std::unique_lock reading(read_mutex_);
        if (settings().given->pre_dispatch.is_everything() && !backlog_) read_backlog();
        const std::size_t n = room_for(w);
        if (n == 0) return {};
        std::unique_ptr<stream_node> fresh = make_node(claimed_);
        read(n, *fresh);
        const std::size_t got = fresh->size();
        claimed_ += got;
        if (got == 0) return end_of_input(reading);
        if (nothing_left()) total_is_known(input_->count);
        fresh->expect_results();
        const batch claimed(fresh->first, got, fresh.get());
        const std::lock_guard lock(state_mutex_);
        if (fresh->first == 0 && settings().observed()) first_label_ = fresh->label(0);
        if (nothing_left()) note_exhausted();
        fresh->number = dropped_ + nodes_.size();
        nodes_.push_back(std::move(fresh));
        in_use_ += got;
        return claimed;
    }

    [[nodiscard]] bool all_done() const noexcept override { return exhausted_ && completed_tasks() == claimed_; }

    [[nodiscard]] bool wait() override {
        std::unique_lock lock(state_mutex_);
        work_or_end_.wait(lock, [&] { return is_over() || has_room(); });
        return !is_over();
    }

    /// For a generator: the backend has left the call, no more results will come.
    void end() {
        report_end(state());
        const std::lock_guard lock(state_mutex_);
        ended_ = true;
        result_or_end_.notify_all();
    }

protected:
    /// @param total How many tasks the range has, or `none`.
    basic_stream_job(const call_settings& settings, std::size_t total, delivery how, bool careful)
        : job(settings, total, is_read_from(how), careful), how_(how), total_(total) {
        report_start();
    }

    [[nodiscard]] virtual std::unique_ptr<stream_node> make_node(std::size_t first) = 0;
    /// Reads up to `n` tasks, fewer only at the end.
    virtual void read_range(std::size_t n, stream_node& out) = 0;

    void publish(const batch& b, std::size_t ended) override {
        stream_node& n = node_of(b);
        const std::lock_guard lock(state_mutex_);
        if (how_ == delivery::unordered) {
            for (std::size_t k = 0; k != ended; ++k) ready_.emplace_back(&n, n.settled + k);
        }
        n.settled += ended;
        if (has_result()) result_or_end_.notify_one();
    }

    void settle(const batch& b) override {
        if (is_read_from(how_)) return;
        stream_node& n = node_of(b);
        n.settled += b.size(); // at the end it is the worker's; a part of the batch may still have to run
        // A long input must not stay in memory; but tasks that a stop has left are still asked for their names.
        const bool is_over = n.settled == n.size();
        if (is_over && (!settings().keeps_on_stop() || !is_halted())) n.drop_tasks();
        const std::lock_guard lock(state_mutex_);
        in_use_ -= b.size();
        if (is_over && how_ == delivery::none) drop(n);
        work_or_end_.notify_all();
    }

    void halted() noexcept override {
        const std::lock_guard lock(state_mutex_); // so that no waiter is between its test and its sleep
        work_or_end_.notify_all();
    }

    std::string first_label() override {
        const std::lock_guard lock(state_mutex_);
        return first_label_;
    }

    /// A result that may be taken, by the one reader there is, and batches that were taken to the end. They are the
    /// user's, and so is the code of their destructors: no lock is held while they go.
    struct handed_out {
        stream_node* from = nullptr;
        std::size_t k = 0;
        std::vector<std::unique_ptr<stream_node>> done; // among them `from`, perhaps
    };

    /// The next result, in the order of the tasks or as they come. False when the call is over; then `throw_if_failed`
    /// knows whether it ended well. Blocks; where the backend runs on the caller's thread, works.
    bool next_result(handed_out& to) {
        for (;;) {
            {
                std::unique_lock lock(state_mutex_);
                if (!settings().in_caller) result_or_end_.wait(lock, [&] { return has_result() || ended_; });
                if (has_result()) {
                    take_one(to);
                    return true;
                }
                if (ended_) return false;
            }
            work_one_batch();
        }
    }

    // For when the call is over.

    /// All batches, in order.
    [[nodiscard]] const std::deque<std::unique_ptr<stream_node>>& nodes() const noexcept { return nodes_; }
    /// How many tasks were handed out to workers.
    [[nodiscard]] std::size_t tasks_claimed() const noexcept { return claimed_; }
    /// How many results `outcomes` gives.
    [[nodiscard]] std::size_t number_of_outcomes() const noexcept {
        const bool all_read = input_->exhausted && !input_->error;
        return all_read || total_ == none ? input_->count : total_;
    }
    /// Label of the next task that was read ahead and that no worker was given; empty where it was not even read.
    [[nodiscard]] std::string next_label_ahead() {
        const std::size_t k = backlog_used_++;
        return backlog_ && k < backlog_->size() ? backlog_->label(k) : std::string();
    }

    /// How far the range was read; set by the constructor of what reads it, and guarded by read_mutex_.
    const reading_state* input_ = nullptr;

private:
    static stream_node& node_of(const batch& b) noexcept { return *static_cast<stream_node*>(b.tasks()); }

    // --- under read_mutex_

    void read_backlog() {
        backlog_ = make_node(0);
        read_users_range(none, *backlog_);
        if (!input_->error) total_is_known(input_->count);
    }

    void read(std::size_t n, stream_node& out) {
        out.reserve(std::min<std::size_t>(n, 1024));
        if (!backlog_) return read_users_range(n, out);
        for (; n != 0 && backlog_used_ != backlog_->size(); --n) out.take_task(*backlog_, backlog_used_++);
    }

    // The range's code is the user's, but it is no task.
    void read_users_range(std::size_t n, stream_node& out) {
        task_context* const inside = std::exchange(current_task, nullptr);
        read_range(n, out);
        current_task = inside;
    }

    /// Whether it is known, without another look at the range, that all tasks have been handed out.
    [[nodiscard]] bool nothing_left() const noexcept {
        if (input_->error || (backlog_ && backlog_used_ != backlog_->size())) return false;
        return input_->exhausted || claimed_ == total_;
    }

    batch end_of_input(std::unique_lock<std::mutex>& reading) {
        if (input_->error) {
            reading.unlock(); // who is told of it may want to read; what is read here stays as it is
            fail_input(input_->count, input_->error);
        } else {
            total_is_known(input_->count);
        }
        const std::lock_guard lock(state_mutex_);
        note_exhausted();
        return {};
    }

    /// How many tasks this worker may read now.
    std::size_t room_for(worker& w) {
        const std::lock_guard lock(state_mutex_);
        if (is_over()) return 0;
        wanted_ = std::min({w.sizer().next(total_ == none ? none : total_ - std::min(total_, claimed_)),
                            settings().largest_batch(), largest_adapted()});
        most_ahead_ = std::max(most_ahead_, settings().ahead(wanted_, workers_now()));
        return std::min(wanted_, room());
    }

    /// A generator's adapted batches are bounded in tasks, not in time alone: a few thousand results in memory that
    /// nobody asked for yet are no gain. Longer ones would save little of the microsecond that a batch costs.
    [[nodiscard]] std::size_t largest_adapted() const noexcept {
        return is_read_from(how_) && settings().batch_size() == 0 ? 256 : none;
    }

    // --- under state_mutex_

    [[nodiscard]] bool is_over() const noexcept { return exhausted_ || is_halted(); }
    /// Nothing is kept of a batch whose results are elsewhere: there may be any number of them.
    void drop(const stream_node& n) noexcept {
        nodes_[n.number - dropped_].reset();
        for (; !nodes_.empty() && !nodes_.front(); ++dropped_) nodes_.pop_front();
    }
    /// From now on nothing but this wakes the workers that wait for room: readers do not, once the call is over.
    void note_exhausted() noexcept {
        exhausted_ = true;
        work_or_end_.notify_all();
    }

    [[nodiscard]] std::size_t room() const noexcept { return most_ahead_ - std::min(most_ahead_, in_use_); }

    /// Room for a whole batch, or for half of what may be ahead: a reader must not wake the workers for every result.
    [[nodiscard]] bool has_room() const noexcept {
        return room() >= std::min(wanted_, std::max<std::size_t>(1, most_ahead_ / 2));
    }

    [[nodiscard]] bool has_result() const noexcept {
        if (how_ == delivery::unordered) return !ready_.empty();
        return !nodes_.empty() && nodes_.front()->taken < nodes_.front()->settled;
    }

    void take_one(handed_out& to) {
        if (how_ == delivery::unordered) {
            std::tie(to.from, to.k) = ready_.front();
            ready_.pop_front();
        } else {
            to.from = nodes_.front().get();
            to.k = to.from->taken;
        }
        ++to.from->taken;
        --in_use_;
        while (!nodes_.empty() && nodes_.front()->taken == nodes_.front()->size()) {
            to.done.push_back(std::move(nodes_.front()));
            nodes_.pop_front();
        }
        if (has_room() && !is_over()) {
            work_or_end_.notify_all();
            call_waker();
        }
    }

    /// For a backend that runs on the caller's thread: the reader does the work.
    void work_one_batch() {
        bool worked = false;
        {
            worker w(*this, 0);
            if (const batch b = claim(w)) {
                run(b, w);
                worked = true;
            }
        }
        if (!worked && is_over_now()) end();
    }

    [[nodiscard]] bool is_over_now() {
        const std::lock_guard lock(state_mutex_);
        return is_over();
    }

    const delivery how_;

    // Two mutexes, as reading may block for long while results must still be handed out. read_mutex_ is taken first.
    std::mutex read_mutex_;
    std::unique_ptr<stream_node> backlog_; // pre_dispatch = everything: all tasks, read before the first one starts
    std::size_t backlog_used_ = 0;
    std::size_t claimed_ = 0; // tasks handed out to workers

    std::mutex state_mutex_;
    std::condition_variable work_or_end_;   // for workers: something can be claimed again, or never
    std::condition_variable result_or_end_; // for the reader
    std::deque<std::unique_ptr<stream_node>> nodes_;
    std::size_t dropped_ = 0; // batches that are not in nodes_ any more, where nothing is kept
    std::deque<std::pair<stream_node*, std::size_t>> ready_; // unordered: results in the order of completion
    std::size_t in_use_ = 0;     // tasks read and not yet done (generators: whose result was not yet taken)
    std::size_t wanted_ = 1;     // size of the batch that a worker last wanted
    std::size_t most_ahead_ = 1; // what in_use_ may come to
    std::string first_label_;
    bool exhausted_ = false;
    bool ended_ = false;

    const std::size_t total_;
};

} // namespace joblot::detail
