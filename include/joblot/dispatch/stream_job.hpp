// SPDX-License-Identifier: BSL-1.0
// The job over any input range: read lazily, under a lock, by whichever worker is free, never far ahead.
#pragma once

#include <joblot/dispatch/execute.hpp>
#include <joblot/dispatch/source.hpp>

#include <algorithm>
#include <condition_variable>
#include <cstddef>
#include <deque>
#include <functional>
#include <iterator>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <tuple>
#include <utility>

namespace joblot::detail {

/// What happens to the results: all at the end, one by one in the order of the tasks, or one by one as they come.
enum class delivery { at_end, ordered, unordered };

/// @tparam View    A range of tasks, borrowed: it must outlive the job.
/// @tparam Own     Whether its tasks may be moved from.
/// @tparam Results What keeps the results of a batch.
template <task_range View, bool Own, class Results>
class stream_job final : public job {
    using reader = task_reader<View, Own>;
    using tasks_type = task_buffer<typename reader::task_type>;

    // The tasks and results of one batch. The worker that claimed it writes; `settled` and what is before it belongs
    // to the state mutex.
    struct node {
        explicit node(std::size_t index) : first(index) {}

        std::size_t first;
        tasks_type tasks;
        std::optional<Results> results;
        std::size_t settled = 0; // tasks whose results may be taken
        std::size_t taken = 0;   // results that were taken
    };

public:
    using result_type = typename tasks_type::result_type;
    static constexpr bool repeatable = tasks_type::repeatable;

    stream_job(const call_settings& settings, View& view, delivery how)
        : job(settings, size_of(view), how != delivery::at_end), how_(how), reader_(view), total_(size_of(view)),
          careful_(needs_care<Results>(settings)) {
        report_start();
    }

    [[nodiscard]] std::size_t tasks_left() const noexcept override { return none; }

    [[nodiscard]] batch claim(worker& w) override {
        const std::lock_guard reading(read_mutex_);
        if (settings().given->pre_dispatch.is_everything() && !backlog_) read_backlog();
        const std::size_t n = room_for(w);
        if (n == 0) return {};
        auto fresh = std::make_unique<node>(claimed_);
        read(n, fresh->tasks);
        const std::size_t got = fresh->tasks.size();
        claimed_ += got;
        if (got == 0) return end_of_input();
        if (nothing_left()) total_is_known(reader_.count());
        fresh->results.emplace(got);
        const batch claimed(fresh->first, got, fresh.get());
        const std::lock_guard lock(state_mutex_);
        if (fresh->first == 0 && settings().observed()) first_label_ = fresh->tasks.label(0);
        if (nothing_left()) note_exhausted();
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

    /// All results in order; for when the call is over and `throw_if_failed` let it pass.
    auto take() {
        if constexpr (!std::is_void_v<decltype(std::declval<Results&>().take())>) {
            decltype(std::declval<Results&>().take()) all;
            all.reserve(claimed_);
            for (auto& n : nodes_) {
                auto part = n->results->take();
                std::move(part.begin(), part.end(), std::back_inserter(all));
            }
            return all;
        }
    }

    // --- for backends whose workers are other processes

    [[nodiscard]] const runner_entry& remote_runner() const override { return tasks_type::runner(); }
    void check_results_travel() const override { tasks_type::check_results_travel(); }
    void encode_task(const batch& b, std::size_t k, encoder& to) override { node_of(b).tasks.encode(k, to); }
    void run_forked(const batch& b, std::size_t k, encoder& to, result_listener& then) override {
        node_of(b).tasks.run_forked(k, to, then);
    }
    void decode_result(const batch& b, std::size_t k, decoder& from) override {
        node& n = node_of(b);
        n.results->put(k, [&]() -> decltype(auto) { return n.tasks.decode(k, from); });
    }
    [[nodiscard]] std::string task_label(const batch& b, std::size_t k) noexcept override {
        return label_or_nothing(node_of(b).tasks, k);
    }

    // --- for the generators: one reader at a time

    /// The next result, in the order of the tasks or as they come. Nothing when the call is over; then
    /// `throw_if_failed` knows whether it ended well. Blocks; where the backend runs on the caller's thread, works.
    std::optional<completed<result_type>> next() {
        for (;;) {
            {
                std::unique_lock lock(state_mutex_);
                if (!settings().in_caller) result_or_end_.wait(lock, [&] { return has_result() || ended_; });
                if (has_result()) return take_one();
                if (ended_) return std::nullopt;
            }
            work_one_batch();
        }
    }

    /// The backend has left the call: no more results will come.
    void end() {
        report_end(state());
        const std::lock_guard lock(state_mutex_);
        ended_ = true;
        result_or_end_.notify_all();
    }

protected:
    std::size_t execute(const batch& b, worker& w) override {
        node& n = node_of(b);
        const std::size_t ended = careful_ ? run_careful(*this, w, b, n.tasks, *n.results, n.first)
                                           : run_plain(*this, w, b, n.tasks, *n.results, n.first);
        if (ended) publish_results(b, ended);
        return ended;
    }

    void publish_results(const batch& b, std::size_t ended) override {
        if (how_ != delivery::at_end) publish(node_of(b), ended);
    }

    void settle(const batch& b) override {
        if (how_ != delivery::at_end) return;
        node_of(b).tasks = {}; // a long input must not stay in memory
        const std::lock_guard lock(state_mutex_);
        in_use_ -= b.size();
        work_or_end_.notify_all();
    }

    bool keep_failure([[maybe_unused]] const batch& b, [[maybe_unused]] std::size_t k,
                      [[maybe_unused]] failure f) override {
        if constexpr (keeps_failures<Results>) node_of(b).results->put_failure(k, std::move(f));
        return keeps_failures<Results>;
    }

    void halted() noexcept override {
        const std::lock_guard lock(state_mutex_); // so that no waiter is between its test and its sleep
        work_or_end_.notify_all();
    }

    std::string first_label() override {
        const std::lock_guard lock(state_mutex_);
        return first_label_;
    }

private:
    static node& node_of(const batch& b) noexcept { return *static_cast<node*>(b.tasks()); }

    static std::size_t size_of(View& view) {
        if constexpr (std::ranges::sized_range<View>)
            return static_cast<std::size_t>(std::ranges::size(view));
        else
            return none;
    }

    // --- under read_mutex_

    void read_backlog() {
        backlog_.emplace();
        read_range(none, *backlog_);
        if (!reader_.error()) total_is_known(reader_.count());
    }

    void read(std::size_t n, tasks_type& out) {
        out.reserve(std::min<std::size_t>(n, 1024));
        if (!backlog_) return read_range(n, out);
        for (; n != 0 && backlog_used_ != backlog_->size(); --n) out.push_back(backlog_->take(backlog_used_++));
    }

    // The range's code is the user's, but it is no task.
    void read_range(std::size_t n, tasks_type& out) {
        task_context* const inside = std::exchange(current_task, nullptr);
        reader_.read(n, out);
        current_task = inside;
    }

    /// Whether it is known, without another look at the range, that all tasks have been handed out.
    [[nodiscard]] bool nothing_left() const noexcept {
        if (reader_.error() || (backlog_ && backlog_used_ != backlog_->size())) return false;
        return reader_.exhausted() || claimed_ == total_;
    }

    batch end_of_input() {
        if (reader_.error())
            fail_input(reader_.count(), reader_.error());
        else
            total_is_known(reader_.count());
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
        return how_ != delivery::at_end && settings().batch_size() == 0 ? 256 : none;
    }

    // --- under state_mutex_

    [[nodiscard]] bool is_over() const noexcept { return exhausted_ || is_halted(); }
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

    void publish(node& n, std::size_t ended) {
        const std::lock_guard lock(state_mutex_);
        if (how_ == delivery::unordered) {
            for (std::size_t k = 0; k != ended; ++k) ready_.emplace_back(&n, n.settled + k);
        }
        n.settled += ended;
        if (has_result()) result_or_end_.notify_one();
    }

    [[nodiscard]] bool has_result() const noexcept {
        if (how_ == delivery::unordered) return !ready_.empty();
        return !nodes_.empty() && nodes_.front()->taken < nodes_.front()->settled;
    }

    completed<result_type> take_one() {
        node* n = nullptr;
        std::size_t k = 0;
        if (how_ == delivery::unordered) {
            std::tie(n, k) = ready_.front();
            ready_.pop_front();
        } else {
            n = nodes_.front().get();
            k = n->taken;
        }
        completed<result_type> one{n->first + k, std::move(*(*n->results)[k])};
        (*n->results)[k].reset();
        ++n->taken;
        --in_use_;
        forget_taken_nodes();
        if (has_room() && !is_over()) {
            work_or_end_.notify_all();
            wake();
        }
        return one;
    }

    void forget_taken_nodes() {
        while (!nodes_.empty() && nodes_.front()->taken == nodes_.front()->tasks.size()) nodes_.pop_front();
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
    reader reader_;
    std::optional<tasks_type> backlog_; // pre_dispatch = everything: all tasks, read before the first one starts
    std::size_t backlog_used_ = 0;
    std::size_t claimed_ = 0; // tasks handed out to workers

    std::mutex state_mutex_;
    std::condition_variable work_or_end_;   // for workers: something can be claimed again, or never
    std::condition_variable result_or_end_; // for the reader
    std::deque<std::unique_ptr<node>> nodes_;
    std::deque<std::pair<node*, std::size_t>> ready_; // unordered: results in the order of completion
    std::size_t in_use_ = 0;     // tasks read and not yet done (generators: whose result was not yet taken)
    std::size_t wanted_ = 1;     // size of the batch that a worker last wanted
    std::size_t most_ahead_ = 1; // what in_use_ may come to
    std::string first_label_;
    bool exhausted_ = false;
    bool ended_ = false;

    const std::size_t total_;
    const bool careful_;
};

} // namespace joblot::detail
