// SPDX-License-Identifier: BSL-1.0
// The dispatcher: one call, as a backend sees it. Workers pull batches from it and run them.
#pragma once

#include <joblot/dispatch/batching.hpp>
#include <joblot/dispatch/inner_threads.hpp>
#include <joblot/dispatch/settings.hpp>
#include <joblot/error.hpp>
#include <joblot/progress/reporter.hpp>
#include <joblot/scope.hpp>
#include <joblot/this_task.hpp>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <exception>
#include <functional>
#include <limits>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>

namespace joblot {

namespace detail {
// wire/: what tasks and results are written to and read from, where they run in another process
class encoder;
class decoder;
class runner_entry;
class result_listener;
} // namespace detail

class job;

/// Some consecutive tasks of a call, claimed by one worker. Whoever claims a batch must run it.
class batch {
public:
    batch() = default;
    batch(std::size_t first, std::size_t size, void* tasks = nullptr) noexcept
        : first_(first), size_(size), tasks_(tasks) {}

    /// Index of its first task.
    [[nodiscard]] std::size_t first() const noexcept { return first_; }
    /// How many tasks it holds; 0 means that there was nothing to claim.
    [[nodiscard]] std::size_t size() const noexcept { return size_; }
    explicit operator bool() const noexcept { return size_ != 0; }

    /// Where the job keeps the batch's tasks; of no meaning to a backend.
    [[nodiscard]] void* tasks() const noexcept { return tasks_; }

private:
    std::size_t first_ = 0;
    std::size_t size_ = 0;
    void* tasks_ = nullptr;
};

/// One thread's seat in a call. While it lives, the thread's `this_task` and settings are those of the call's tasks.
/// Lives on the worker's stack and is used by that thread alone.
class worker {
public:
    /// @param id 0 to `job::n_jobs() - 1`, held by no other live worker of that job.
    worker(job& j, int id);
    ~worker();
    worker(const worker&) = delete;
    worker& operator=(const worker&) = delete;

    // What follows is for the dispatcher's own parts.

    /// Notes that task `index` is next; false when it must not start any more.
    [[nodiscard]] bool may_start(std::size_t index) noexcept {
        context_.index = index;
        return index < limit_.load(std::memory_order_relaxed); // relaxed: see job::halt
    }
    detail::task_context& context() noexcept { return context_; }
    detail::batch_sizer& sizer() noexcept { return sizer_; }
    /// Tells how many tasks ended well in the batch that runs.
    void add_completed(std::size_t tasks) noexcept { completed_ += tasks; }

private:
    friend class job;

    // A reader waits for every single result: only after many short tasks may one be held back by others of its batch.
    static constexpr std::size_t cautious_trials = 32;

    job& job_;
    const std::atomic<std::size_t>& limit_; // the job's
    detail::task_context context_;
    detail::batch_sizer sizer_;
    detail::task_context::clock::time_point lap_{}; // when the last batch ended
    std::size_t completed_ = 0;
    detail::task_context* outer_task_;
    const detail::scope* outer_scope_;
    detail::inner_threads_limit inner_threads_;
};

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
        while (const batch b = claim(w)) {
            run(b, w);
            worked = true;
        }
        return worked;
    }

    /// Blocks until there may be something to claim again. False when there never will be: the call is over.
    [[nodiscard]] virtual bool wait() = 0;

    /// For a backend whose workers do something else than `wait()` while nothing can be claimed: `wake` is called when
    /// a generator's reader has made room for more tasks, and when tasks are not wanted any more (`limit` and
    /// `unwanted_from` tell which). It is called with the job locked and must not call it back, but for these two.
    /// @param wake Null to have no more calls; when this returns, none is under way.
    void set_waker(std::function<void()> wake) {
        const std::lock_guard lock(waker_mutex_);
        wake_ = std::move(wake);
    }

    /// The next tasks, read from the user's range where they come from there; an empty batch if there are none now.
    [[nodiscard]] virtual batch claim(worker& w) = 0;

    /// Runs a claimed batch on this thread.
    void run(const batch& b, worker& w) {
        if (in_steps_) {
            for (std::size_t k = 0; k != b.size(); ++k) run_step(batch(b.first() + k, 1, b.tasks()), w);
        } else {
            run_step(b, w);
        }
        settle(b);
        if (!w.sizer_.adapts() || few_tasks_left()) return;
        const auto now = detail::task_context::clock::now();
        w.sizer_.measured(b.size(), now - w.lap_);
        w.lap_ = now;
    }

    // --- for a backend whose workers are other processes: instead of `run`, it sends a batch's tasks and takes what
    // comes back. The thread that claimed the batch does all of it; k counts from the first task of the batch.

    /// Whether somebody waits for each single result, so that none may be held back by others of its batch.
    [[nodiscard]] bool hands_out_results() const noexcept { return publishes_; }
    /// What runs the tasks of this job in another process.
    /// @throws serialization_error naming the type and the ways out, where they cannot be sent.
    [[nodiscard]] virtual const detail::runner_entry& remote_runner() const = 0;
    /// The same for a process that was forked, from which only results are sent.
    virtual void check_results_travel() const = 0;
    /// Writes task k. What it refers to stays until `settle_remote`.
    virtual void encode_task(const batch& b, std::size_t k, detail::encoder& to) = 0;
    /// Runs task k in a process that was forked off, and writes its result. Throws what the task throws.
    virtual void run_forked(const batch& b, std::size_t k, detail::encoder& to, detail::result_listener& then) = 0;
    /// Reads and keeps the result of task k. @throws serialization_error.
    virtual void decode_result(const batch& b, std::size_t k, detail::decoder& from) = 0;
    /// Task k failed for good.
    /// @return Whether that is a result like others, so that the batch goes on.
    bool task_failed(const batch& b, std::size_t k, std::exception_ptr why) {
        std::string label = task_label(b, k);
        if (keep_failure(b, k, detail::failure{why, {b.first() + k, label}})) return true;
        fail(b.first() + k, std::move(why), std::move(label));
        return false;
    }
    /// Label of task k of a batch.
    [[nodiscard]] virtual std::string task_label(const batch& b, std::size_t k) noexcept = 0;
    /// The next `count` tasks of the batch have ended well, or their failure was kept.
    void advance_remote(const batch& b, std::size_t count, worker& w) {
        w.add_completed(count);
        publish_results(b, count);
    }
    /// So many more tasks of other processes have ended, as far as is known.
    void show_progress(std::size_t count) noexcept {
        if (reporter_ && count) reporter_->add(count);
    }
    /// Nothing more comes of the batch.
    /// @param took How long its tasks ran; zero where that says nothing.
    void settle_remote(const batch& b, worker& w, std::chrono::nanoseconds took) {
        settle(b);
        if (w.sizer_.adapts() && took.count() > 0) w.sizer_.measured(b.size(), took);
    }

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
            if (!backend_failure_) backend_failure_ = std::move(why);
        }
        halt(0, 0);
    }

    // What follows is for the dispatcher's own parts and the front end.

    [[nodiscard]] const detail::call_settings& settings() const noexcept { return settings_; }

    /// A task failed for good. Thread-safe.
    void fail(std::size_t index, std::exception_ptr why, std::string label) {
        note_failure(index, std::move(why), std::move(label), publishes_ ? index : 0);
    }

    /// The input could not be read at that index. The tasks before it are there, and run.
    void fail_input(std::size_t index, std::exception_ptr why) {
        note_failure(index, std::move(why), "reading the input", index);
    }

    /// The stop token fired.
    void stop() noexcept {
        {
            const std::lock_guard lock(outcome_mutex_);
            stopped_ = true;
        }
        halt(0, 0);
    }

    /// No task at `limit` or above starts any more; those at `unwanted_from` or above may be ended by force.
    void halt(std::size_t limit, std::size_t unwanted_from) noexcept {
        // relaxed: whoever reads them decides only whether to start a task, or to end it. The data of a failure has its
        // own mutex, and the caller reads it after the workers have left, which the backend synchronises.
        lower(unwanted_from_, unwanted_from);
        lower(limit_, limit);
        halted();
        wake();
    }

    [[nodiscard]] bool is_halted() const noexcept { return limit_.load(std::memory_order_relaxed) != none; }

    /// Tasks that ended well so far; exact when no worker is inside.
    [[nodiscard]] std::size_t completed_tasks() const noexcept { return completed_.load(std::memory_order_relaxed); }

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
        const std::lock_guard lock(outcome_mutex_);
        if (failure_) detail::throw_failure(*failure_);
        if (backend_failure_) std::rethrow_exception(backend_failure_);
        if (stopped_) throw cancelled(completed_tasks());
    }

protected:
    /// @param settings             Must outlive the job.
    /// @param total                Number of tasks, or `none` where it is not known.
    /// @param publishes            Whether results are handed out while the call runs. Then tasks before a failing one
    ///                             still run.
    job(const detail::call_settings& settings, std::size_t total, bool publishes)
        : settings_(settings), workers_now_(settings.workers), publishes_(publishes),
          // Readers are told of each task; progress too where batches have a fixed size and may take long.
          in_steps_(publishes || (settings_.batch_size() > 1 && settings_.observed())) {
        if (settings_.observed()) reporter_.emplace(progress(total));
    }

    /// Runs some tasks of a claimed batch; gives how many of them ended.
    virtual std::size_t execute(const batch& b, worker& w) = 0;
    /// All tasks of a claimed batch have ended, or will not start.
    virtual void settle(const batch&) {}
    /// Keeps a failure as a result, where the call wants that. For tasks of other processes.
    virtual bool keep_failure(const batch&, std::size_t, detail::failure) { return false; }
    /// The next `count` results of the batch may be handed out. For tasks of other processes.
    virtual void publish_results(const batch&, std::size_t) {}
    /// How many workers there are at the moment, as far as the backend says.
    [[nodiscard]] int workers_now() const noexcept { return workers_now_.load(std::memory_order_relaxed); }
    /// Calls the waker, if there is one.
    void wake() noexcept {
        const std::lock_guard lock(waker_mutex_);
        if (wake_) wake_();
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

    /// No more than one for each worker: there is nothing to adapt, and the clock need not be read.
    [[nodiscard]] bool few_tasks_left() const noexcept { return tasks_left() <= static_cast<std::size_t>(n_jobs()); }

    void note_failure(std::size_t index, std::exception_ptr why, std::string label, std::size_t start_only_below) {
        {
            const std::lock_guard lock(outcome_mutex_);
            if (stopped_) return; // what a task throws because it was told to stop is no failure
            if (!failure_ || index < failure_->task.index)
                failure_ = detail::failure{std::move(why), {index, std::move(label)}};
        }
        halt(start_only_below, index);
    }

    static void lower(std::atomic<std::size_t>& value, std::size_t to) noexcept {
        std::size_t now = value.load(std::memory_order_relaxed);
        while (to < now && !value.compare_exchange_weak(now, to, std::memory_order_relaxed)) {
        }
    }

    void run_step(const batch& b, worker& w) {
        const std::size_t ended = execute(b, w);
        if (reporter_ && ended) reporter_->add(ended);
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
                .label = [this] { return settings_.given->label.empty() ? first_label() : settings_.given->label; },
                .callback = settings_.given->progress};
    }

    const detail::call_settings& settings_;
    std::atomic<int> workers_now_; // relaxed: a hint how far to read ahead
    bool publishes_;
    bool in_steps_;
    std::optional<detail::progress_reporter> reporter_;

    // Read by every worker before every task, written at most a few times: on a line of its own.
    alignas(64) std::atomic<std::size_t> limit_{none};
    std::atomic<std::size_t> unwanted_from_{none}; // likewise
    // Each worker adds once, when it leaves. relaxed: read when no worker is inside.
    alignas(64) std::atomic<std::size_t> completed_{0};

    mutable std::mutex outcome_mutex_; // guards the four below; taken only when something goes wrong, and at the end
    bool stopped_ = false;
    std::optional<detail::failure> failure_;
    std::exception_ptr backend_failure_;

    std::mutex waker_mutex_; // taken last of all
    std::function<void()> wake_;
};

inline worker::worker(job& j, int id)
    : job_(j), limit_(j.limit_),
      sizer_(j.settings_.batch_size(), static_cast<std::size_t>(j.settings_.workers),
             j.publishes_ ? cautious_trials : 1, j.settings_.batch_target, j.settings_.batch_cost),
      outer_task_(detail::current_task), outer_scope_(detail::current_scope),
      inner_threads_(j.settings_.inside.inner_max_num_threads) {
    context_.worker_id = id;
    context_.limit = &j.limit_;
    detail::current_task = &context_;
    detail::current_scope = &j.settings_.inside;
    if (sizer_.adapts() && !j.few_tasks_left()) lap_ = detail::task_context::clock::now();
}

inline worker::~worker() {
    detail::current_task = outer_task_;
    detail::current_scope = outer_scope_;
    job_.completed_.fetch_add(completed_, std::memory_order_relaxed);
}

} // namespace joblot
