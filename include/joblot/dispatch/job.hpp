// SPDX-License-Identifier: BSL-1.0
// The dispatcher: one call, as a backend sees it. Workers pull batches from it and run them.
#pragma once

#include <joblot/core/task_stop.hpp>
#include <joblot/core/thread_end.hpp>
#include <joblot/dispatch/batch.hpp>
#include <joblot/dispatch/settings.hpp>
#include <joblot/dispatch/worker.hpp>
#include <joblot/error.hpp>
#include <joblot/progress/reporter.hpp>
#include <joblot/this_task.hpp>

#include <atomic>
#include <cstddef>
#include <exception>
#include <functional>
#include <limits>
#include <mutex>
#include <optional>
#include <string>
#include <system_error>
#include <thread>
#include <utility>

namespace joblot {

namespace detail {
class runner_entry; // wire/: what runs tasks in another process
template <class>
class basic_remote_batches;
} // namespace detail

/// One call of a `Parallel`: reads the user's range, hands out batches, collects results, errors and progress.
///
/// A backend gets a `job&` in `backend::run` and lets its workers, at most `n_jobs()` at a time, do
/// `do j.work(id); while (j.wait());`, each on a thread and with an id of its own. Every member is thread-safe.
class job {
public:
    static constexpr std::size_t none = std::numeric_limits<std::size_t>::max();

    job(const job&) = delete;
    job& operator=(const job&) = delete;
    virtual ~job() = default;

    /// How many workers the call is meant to have, >= 1.
    [[nodiscard]] int n_jobs() const noexcept { return settings_.workers; }

    /// For a backend whose workers come and go: how many there are now. The input is read ahead for as many.
    void workers_are(int n) noexcept { workers_now_.store(n, std::memory_order_relaxed); }

    /// At most so many tasks are still to be claimed; `none` where that is not known.
    [[nodiscard]] virtual std::size_t tasks_left() const noexcept = 0;

    /// Takes part in the call on this thread: claims batches and runs them until none can be had at the moment.
    /// Never throws: what tasks throw is kept in the job.
    /// @param worker_id 0 to `n_jobs() - 1`; no two threads may use the same one at the same time.
    /// @return Whether there was anything to run.
    bool work(int worker_id) {
        worker w(*this, worker_id);
        bool worked = false;
        try {
            while (const batch b = claim(w)) {
                worked = true;
                run(b, w);
            }
        } catch (...) { // of claiming: memory, or a task that is moved out of what was read before
            if (detail::thread_ends()) throw;
            abort(std::current_exception());
        }
        return worked;
    }

    /// Blocks until there may be something to claim again. False when there never will be: the call is over.
    [[nodiscard]] virtual bool wait() = 0;

    /// The next tasks, read from the user's range where they come from there; an empty batch if there are none now.
    [[nodiscard]] virtual batch claim(worker& w) = 0;

    /// Runs a claimed batch on this thread.
    void run(const batch& b, worker& w) {
        try {
            if (in_steps_) {
                for (std::size_t k = 0; k != b.size(); ++k) run_step(batch(b.first() + k, 1, b.tasks()), w);
            } else {
                run_step(b, w);
            }
        } catch (...) {
            if (detail::thread_ends()) finish_elsewhere(b, w);
            throw;
        }
        settle(b);
        if (!w.sizer_.adapts() || few_tasks_left()) return;
        // Where batches get shorter as the call ends, the clock is read when as many tasks have run as at the last
        // time: 35 ns for each of those are too much.
        w.unmeasured_ += b.size();
        if (w.unmeasured_ < w.measured_ && b.size() < w.sizer_.so_far().usual) return;
        const auto now = detail::task_context::clock::now();
        w.sizer_.measured(w.unmeasured_, now - w.lap_);
        w.lap_ = now;
        w.measured_ = std::exchange(w.unmeasured_, 0);
        if (!publishes_) shared_.note(w.sizer_.so_far());
    }

    // --- for a backend whose workers are other processes, which has `detail::remote_batches` do the rest

    /// What runs the tasks of this job in another process.
    /// @throws serialization_error naming the type and the ways out, where they cannot be sent.
    [[nodiscard]] virtual const detail::runner_entry& remote_runner() const = 0;
    /// The same for a process that was forked, from which only results are sent.
    virtual void check_results_travel() const = 0;
    /// What combines the results where they are made, or null where each is sent.
    [[nodiscard]] virtual detail::any_reduction* reduction() noexcept { return nullptr; }

    /// No task at this index or above may start any more.
    [[nodiscard]] std::size_t limit() const noexcept { return limit_.load(std::memory_order_relaxed); }
    /// Tasks at this index or above need not even end, where they can be ended by force.
    [[nodiscard]] std::size_t unwanted_from() const noexcept {
        return unwanted_from_.load(std::memory_order_relaxed); // a hint, as limit_ is
    }

    /// The backend failed: nothing more starts, and the call throws `why` unless a task failed before.
    void abort(std::exception_ptr why) {
        {
            const std::lock_guard lock(outcome_mutex_);
            if (stopped_ && settings_.keeps_on_stop()) return; // what is there is wanted, whatever happens now
            if (!backend_failure_) backend_failure_ = std::move(why);
        }
        halt(0, 0);
    }

    // What follows is for the dispatcher's own parts and the front end.

    [[nodiscard]] const detail::call_settings& settings() const noexcept { return settings_; }

    /// A task of a batch failed for good. Thread-safe.
    /// @param tries How many times it was tried.
    /// @return Whether that is a result like others, so that the batch goes on.
    bool task_failed(const batch& b, std::size_t index, std::exception_ptr why, int tries) {
        std::string label = b.tasks()->label(index);
        if (!was_stopped() && b.tasks()->keep_failure(index, detail::failure{why, {index, label}, tries})) return true;
        fail(index, std::move(why), std::move(label));
        return false;
    }

    /// The same where no failure is a result.
    void fail(std::size_t index, std::exception_ptr why, std::string label) {
        note_failure(index, std::move(why), std::move(label), publishes_ ? index : 0);
    }

    /// The input could not be read at that index. The tasks before it are there, and run.
    void fail_input(std::size_t index, std::exception_ptr why) {
        note_failure(index, std::move(why), "reading the input", index);
    }

    /// The stop token fired, or the deadline has passed. The first of both is what the call reports.
    void stop(bool deadline_passed = false) noexcept {
        {
            const std::lock_guard lock(outcome_mutex_);
            if (!std::exchange(stopped_, true)) deadline_passed_ = deadline_passed;
        }
        halt(0, 0);
    }
    /// What a task throws after that is no failure: it may have been told to stop.
    [[nodiscard]] bool was_stopped() const noexcept {
        if (!is_halted()) return false;
        const std::lock_guard lock(outcome_mutex_);
        return stopped_;
    }

    /// No task at `limit` or above starts any more; those at `unwanted_from` or above may be ended by force.
    void halt(std::size_t limit, std::size_t unwanted_from) noexcept {
        // relaxed: whoever reads them decides only whether to start a task, or to end it. The data of a failure has its
        // own mutex, and the caller reads it after the workers have left, which the backend synchronises.
        lower(unwanted_from_, unwanted_from);
        lower(limit_, limit);
        halted();
        call_waker();
        // Calls of tasks, too. No lock may be held here. What callbacks do is not done by the task of this thread.
        detail::task_context* const inside = std::exchange(detail::current_task, nullptr);
        tokens_.fire_from(limit_.load(std::memory_order_relaxed));
        detail::current_task = inside;
    }

    [[nodiscard]] bool is_halted() const noexcept { return limit_.load(std::memory_order_relaxed) != none; }

    /// Tasks that ended well so far; exact when no worker is inside.
    [[nodiscard]] std::size_t completed_tasks() const noexcept {
        return shared_.completed.load(std::memory_order_relaxed);
    }

    /// Whether every task has ended well; for when no worker is inside any more.
    [[nodiscard]] virtual bool all_done() const noexcept = 0;

    /// How the call ended. For when no worker is inside any more.
    [[nodiscard]] progress_state state() const {
        if (!is_halted()) return progress_state::finished; // whatever goes wrong halts
        const std::lock_guard lock(outcome_mutex_);
        if (failure_ || backend_failure_) return progress_state::failed;
        return stopped_ ? progress_state::cancelled : progress_state::finished;
    }

    /// Prints the closing line. Call once, when no worker is inside any more.
    void report_end(progress_state how) noexcept {
        if (reporter_) reporter_->finish(how);
    }

    /// Throws what the call must throw, if anything.
    void throw_if_failed() const {
        if (!is_halted()) return;
        std::unique_lock lock(outcome_mutex_);
        const std::optional<detail::failure> failure = failure_;
        const std::exception_ptr backend_failure = backend_failure_;
        const bool stopped = stopped_ && !settings_.keeps_on_stop();
        const bool late = deadline_passed_;
        lock.unlock(); // an earlier failure goes now, and exceptions are the user's
        if (failure) detail::throw_failure(*failure);
        if (backend_failure) std::rethrow_exception(backend_failure);
        if (stopped && late) throw timeout_error(*settings_.given->deadline.limit(), completed_tasks());
        if (stopped) throw cancelled(completed_tasks());
    }

protected:
    /// @param settings             Must outlive the job.
    /// @param total                Number of tasks, or `none` where it is not known.
    /// @param publishes            Whether results are handed out while the call runs. Then tasks before a failing one
    ///                             still run.
    /// @param careful              Whether there are time limits, retries or outcomes.
    job(const detail::call_settings& settings, std::size_t total, bool publishes, bool careful)
        : settings_(settings), publishes_(publishes), careful_(careful),
          // Readers are told of each task; progress too where batches have a fixed size and may take long.
          in_steps_(publishes || (settings_.batch_size() > 1 && settings_.observed())),
          inner_threads_(settings.inside.inner_max_num_threads.value_or(0)),
          batches_{settings.batch_size(), settings.batch_target, settings.batch_cost, settings.workers,
                   publishes ? worker::cautious_trials : 1},
          workers_now_(settings.workers) {
        if (settings_.observed()) reporter_.emplace(progress(total));
    }

    /// What workers write when they claim a batch, measure one, or leave, one after the other: on one line, which they
    /// have at hand then. relaxed, all of them: none says anything of other data.
    struct alignas(64) shared_line {
        std::atomic<std::size_t> claimed{0};            ///< tasks, where the input is indexed
        std::atomic<std::size_t> usual{1}, smallest{1}; ///< batches; see batch_sizer::sizes
        std::atomic<std::size_t> completed{0};          ///< tasks; each worker adds once, when it leaves

        void note(const detail::batch_sizer::sizes& s) noexcept {
            usual.store(s.usual, std::memory_order_relaxed);
            smallest.store(s.smallest, std::memory_order_relaxed);
        }
        [[nodiscard]] detail::batch_sizer::sizes sizes() const noexcept {
            return {usual.load(std::memory_order_relaxed), smallest.load(std::memory_order_relaxed)};
        }
    };
    [[nodiscard]] bool batches_adapt() const noexcept { return batches_.fixed == 0; }
    [[nodiscard]] std::atomic<std::size_t>& claimed() noexcept { return shared_.claimed; }
    [[nodiscard]] const std::atomic<std::size_t>& claimed() const noexcept { return shared_.claimed; }

    /// All tasks of a claimed batch have ended, or will not start.
    virtual void settle(const batch&) {}
    /// The next `count` results of the batch may be handed out.
    virtual void publish(const batch&, std::size_t /* count */) {}
    /// How many workers there are at the moment, as far as the backend says.
    [[nodiscard]] int workers_now() const noexcept { return workers_now_.load(std::memory_order_relaxed); }
    /// Calls the waker's function, if there is one.
    void call_waker() noexcept {
        const std::lock_guard lock(waker_mutex_);
        if (waker_) waker_();
    }
    /// `halt` was called: wakes whoever waits for work or results.
    virtual void halted() noexcept {}
    /// Label of the call's first task, for progress.
    virtual std::string first_label() = 0;

    /// The end of an input of unknown length was found.
    void total_is_known(std::size_t total) noexcept {
        if (reporter_) reporter_->total_known(total);
    }
    void report_start() noexcept {
        if (reporter_) reporter_->start();
    }

private:
    friend class worker;
    friend class waker;
    template <class>
    friend class detail::basic_remote_batches;

    /// No more than one for each worker: there is nothing to adapt, and the clock need not be read.
    [[nodiscard]] bool few_tasks_left() const noexcept {
        return tasks_left() <= static_cast<std::size_t>(batches_.workers);
    }

    void note_failure(std::size_t index, std::exception_ptr why, std::string label, std::size_t start_only_below) {
        std::optional<detail::failure> less{detail::failure{std::move(why), {index, std::move(label)}}};
        {
            const std::lock_guard lock(outcome_mutex_);
            if (stopped_) return; // what a task throws because it was told to stop is no failure
            // Told because of a failure, a task's own call was cancelled: that is not why the call failed.
            if (failure_ && is_cancelled(less->error)) return;
            // what is not kept goes when the lock is given back: exceptions are the user's
            if (!failure_ || index < failure_->task.index) failure_.swap(less);
        }
        halt(start_only_below, index);
    }

    static bool is_cancelled(const std::exception_ptr& why) noexcept {
        try {
            std::rethrow_exception(why);
        } catch (const cancelled&) {
            return true;
        } catch (...) {
            return false;
        }
    }

    static void lower(std::atomic<std::size_t>& value, std::size_t to) noexcept {
        std::size_t now = value.load(std::memory_order_relaxed);
        while (to < now && !value.compare_exchange_weak(now, to, std::memory_order_relaxed)) {
        }
    }

    /// A task of the batch ends this thread: those after it, if the call goes on, are run by another one.
    void finish_elsewhere(const batch& b, worker& w) {
        const std::size_t next = w.context().index + 1;
        const batch rest(next, b.first() + b.size() - next, b.tasks());
        settle(batch(b.first(), next - b.first(), b.tasks()));
        if (reporter_) reporter_->add(in_steps_ ? 1 : next - b.first());
        if (!rest) return;
        if (next >= limit()) return settle(rest);
        try {
            std::thread([&, id = w.context().worker_id] {
                worker other(*this, id);
                run(rest, other);
            }).join();
        } catch (const std::system_error&) { // no thread is to be had
            abort(std::current_exception());
        }
    }

    void run_step(const batch& b, worker& w) {
        const std::size_t ended = b.tasks()->run(*this, w, b, careful_);
        if ((publishes_ || reporter_) && ended) tell(b, ended, w);
    }
    void tell(const batch& b, std::size_t ended, worker& w) {
        if (publishes_) publish(b, ended);
        if (!reporter_) return;
        // Not counted as the tasks' time: batches would get shorter by it, and lines more.
        const auto before = detail::task_context::clock::now();
        reporter_->add(ended);
        w.lap_ += detail::task_context::clock::now() - before;
    }

    [[nodiscard]] detail::progress_config progress(std::size_t total) {
        return {.n_jobs = settings_.requested_n_jobs,
                .workers = settings_.workers,
                .backend = settings_.backend_name,
                .verbose = settings_.verbose,
                .pre_dispatch =
                    settings_.given->pre_dispatch.is_everything() ? 0 : settings_.ahead(1, settings_.workers),
                .sequential = settings_.workers == 1,
                .total = total == none ? std::nullopt : std::optional(total),
                .label = [this] { return settings_.label().empty() ? first_label() : settings_.label(); },
                .callback = settings_.given->progress};
    }

    // What every worker reads comes first, and together: a worker that comes from another core fetches each line.
    const detail::call_settings& settings_;
    // Read before every task, written at most a few times.
    std::atomic<std::size_t> limit_{none};
    bool publishes_;
    bool careful_;
    bool in_steps_;
    int inner_threads_; // 0: as many as they like
    detail::batch_sizer::rules batches_;
    shared_line shared_;
    std::atomic<std::size_t> unwanted_from_{none}; // as limit_
    std::atomic<int> workers_now_;                 // relaxed: a hint how far to read ahead
    std::optional<detail::progress_reporter> reporter_;

    mutable std::mutex outcome_mutex_; // guards the five below; taken only when something goes wrong, and at the end
    bool stopped_ = false;
    bool deadline_passed_ = false; // and that is why it was stopped
    std::optional<detail::failure> failure_;
    std::exception_ptr backend_failure_;

    detail::stop_registry tokens_;
    detail::worker_values values_;

    std::mutex waker_mutex_; // taken last of all
    std::function<void()> waker_;
};

inline worker::worker(job& j, int id)
    : job_(j), limit_(j.limit_), sizer_(j.batches_), outer_task_(detail::current_task),
      outer_scope_(detail::current_scope), inner_threads_(j.inner_threads_) {
    context_.worker_id = id;
    context_.limit = &j.limit_;
    context_.tokens = &j.tokens_;
    context_.values = &j.values_;
    detail::current_task = &context_;
    detail::current_scope = &j.settings_.inside;
    if (!sizer_.adapts() || j.few_tasks_left()) return;
    if (!j.publishes_) sizer_.begin_with(j.shared_.sizes());
    lap_ = detail::task_context::clock::now();
}

inline worker::~worker() {
    if (context_.kind_at_hand) job_.values_.hand_over();
    detail::current_task = outer_task_;
    detail::current_scope = outer_scope_;
    if (completed_) job_.shared_.completed.fetch_add(completed_, std::memory_order_relaxed);
}

} // namespace joblot
