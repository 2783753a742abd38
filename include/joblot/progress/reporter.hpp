// SPDX-License-Identifier: BSL-1.0
// Counts a call's completed tasks and reports them: verbose lines when one is due, and the user's callback.
#pragma once

#include <joblot/progress/event.hpp>
#include <joblot/progress/stderr_sink.hpp>
#include <joblot/progress/text.hpp>
#include <joblot/progress/verbosity.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace joblot::detail {

/// What a call tells its reporter.
struct progress_config {
    int n_jobs = 1;                                        ///< as the user gave it, for the prefix
    int workers = 1;                                       ///< in effect
    std::string backend{};                                 ///< "ThreadingBackend"
    int verbose = 0;                                       ///< joblib's level
    std::size_t pre_dispatch = 0;                          ///< in tasks; 0: everything
    bool sequential = false;                               ///< one task after the other in the caller
    std::optional<std::size_t> total{};                    ///< if known before the call starts
    std::function<std::string()> label{};                  ///< asked, with the reporter locked, until not empty
    std::function<void(const progress_event&)> callback{}; ///< the user's
    line_sink sink{};                                      ///< where lines go; default stderr
    std::function<std::chrono::steady_clock::time_point()> clock{}; ///< default: the steady clock
};

/// Whether a call has anything to report at all.
inline bool wants_progress(int verbose, const std::function<void(const progress_event&)>& callback) noexcept {
    return verbose > 0 || static_cast<bool>(callback);
}

/// Reports the progress of one call. Every method may be called by any thread at any time and none throws.
///
/// `add` costs one atomic addition and one comparison unless a line is due or a callback is set. Reports are made
/// one at a time, under a lock, so that lines do not interleave and counts do not go down.
class progress_reporter {
public:
    /// Above this many lines of one call, at most one in `line_pause` is printed: a million tiny batches at
    /// verbose = 100 shall not drown the terminal. So it is from the second line on after batches of many tasks: these
    /// are so short that writing lines would be most of the work. The closing line always comes.
    static constexpr std::size_t unpaced_lines = 1000;
    static constexpr std::size_t many_tasks = 64;
    static constexpr std::chrono::milliseconds line_pause{10};

    /// A reporter that counts and says nothing.
    progress_reporter() = default;

    /// Starts the clock.
    explicit progress_reporter(progress_config config)
        : config_(std::move(config)), total_(config_.total), width_(count_width(config_.total)) {
        redirect();
        if (!wants_progress(config_.verbose, config_.callback)) return;
        policy_ = verbosity(config_.verbose, config_.pre_dispatch, config_.sequential, config_.total);
        next_line_ = policy_.next(0);
        next_.store(threshold(), std::memory_order_relaxed);
        started_at_ = now();
    }

    progress_reporter(const progress_reporter&) = delete;
    progress_reporter& operator=(const progress_reporter&) = delete;

    /// Prints the line that names the backend and shows the callback a first event with `done` 0.
    void start() noexcept {
        if (!wants_progress(config_.verbose, config_.callback)) return;
        guarded([this] {
            std::string line;
            if (config_.verbose > 0) line = prefixed(backend_line(config_.backend, config_.workers));
            show(snapshot(0, progress_state::running), line);
        });
    }

    /// Counts `tasks` more as completed.
    void add(std::size_t tasks) noexcept {
        // Where a report is expected anyway the addition is made under the lock: each report then shows its own count.
        if (due(done_.load(std::memory_order_relaxed) + tasks)) {
            bool counted = false;
            guarded([&] {
                const std::size_t before = done_.fetch_add(tasks, std::memory_order_relaxed);
                counted = true;
                advance(before, before + tasks);
            });
            if (counted) return;
        }
        const std::size_t before = done_.fetch_add(tasks, std::memory_order_relaxed);
        if (due(before + tasks)) guarded([&] { advance(before, before + tasks); });
    }

    /// Tells how many tasks an input of unknown length turned out to hold. Takes no lock: it may be called with
    /// the input's own lock held. The next `add` takes notice.
    void total_known(std::size_t total) noexcept {
        if (!wants_progress(config_.verbose, config_.callback)) return;
        found_total_.store(total);
        next_.store(0);
    }

    /// Closes the report: the last line and the last event. Only the first call of it does anything.
    void finish(progress_state state) noexcept {
        if (!wants_progress(config_.verbose, config_.callback)) return;
        guarded([this, state] {
            if (closed_) return;
            closed_ = true;
            notice_total(done());
            const std::size_t count = done();
            if (state == progress_state::finished) total_ = count;
            next_line_ = verbosity::never;
            next_.store(verbosity::never);
            report(snapshot(count, state), config_.verbose > 0);
        });
    }

    /// Tasks completed so far.
    std::size_t done() const noexcept { return done_.load(std::memory_order_relaxed); }

private:
    using time_point = std::chrono::steady_clock::time_point;
    static constexpr std::size_t no_total = verbosity::never;

    /// `progress_text` asks for the lines instead of events: it becomes the sink.
    void redirect() {
        const auto* text = config_.callback.target<progress_text>();
        if (text == nullptr) return;
        config_.sink = [stream = *text](std::string_view line) { stream.write(line); };
        config_.callback = nullptr;
        if (config_.verbose <= 0) config_.verbose = progress_text::default_verbose;
    }

    time_point now() const { return config_.clock ? config_.clock() : std::chrono::steady_clock::now(); }

    /// Whether the count `done` has to be looked at under the lock.
    bool due(std::size_t done) const noexcept { return done >= next_.load(std::memory_order_relaxed); }

    /// Runs `f` under the lock, and swallows what it throws: progress is never a reason for a call to fail.
    template <class F>
    void guarded(F&& f) noexcept {
        try {
            const std::scoped_lock lock(mutex_);
            f();
        } catch (...) {
        }
    }

    // From here on: with mutex_ held.

    std::size_t threshold() const noexcept { return config_.callback ? 0 : next_line_; }

    /// Reports that the count went from `before` to `done`, unless a later count was reported already.
    void advance(std::size_t before, std::size_t done) {
        if (closed_ || done <= reported_) return;
        notice_total(before);
        const bool complete = total_ && done >= *total_; // which is for the closing line to say
        const bool wanted = done >= next_line_ && !complete;
        const bool line_due = wanted && !paused(done - before);
        if (done >= next_line_) next_line_ = policy_.next(line_due ? done : done + stride(done));
        publish_threshold();
        if (!line_due && !config_.callback) return;
        reported_ = done;
        if (line_due) line_at_ = done;
        report(snapshot(done, progress_state::running), line_due);
    }

    /// Takes over what `total_known` left, noticed when `before` tasks were complete.
    void notice_total(std::size_t before) {
        const std::size_t found = found_total_.exchange(no_total);
        if (found == no_total || total_ == found) return;
        total_ = found;
        policy_.set_total(found, before);
        next_line_ = policy_.next(before);
    }

    /// A total found meanwhile sets the threshold to 0 and must not be overwritten; hence the second look.
    void publish_threshold() {
        next_.store(threshold());
        if (found_total_.load() != no_total) next_.store(0);
    }

    bool paused(std::size_t tasks) const {
        return (lines_ >= unpaced_lines || tasks >= many_tasks) && now() < quiet_until_;
    }

    /// How many counts to pass over before a paused line is looked at again, so that a flood of tiny batches costs
    /// few locks and clock reads; few enough that hardly a line is lost should the tasks slow down.
    std::size_t stride(std::size_t done) const noexcept { return std::min<std::size_t>(16, (done - line_at_) / 8); }

    progress_event snapshot(std::size_t done, progress_state state) const {
        progress_event event;
        event.done = done;
        if (total_) event.total = std::max(*total_, done);
        event.elapsed = std::max(event.elapsed, std::chrono::duration<double>(now() - started_at_));
        const bool open = state == progress_state::running || state == progress_state::finished;
        if (event.total && done > 0 && open)
            event.remaining = event.elapsed / static_cast<double>(done) * static_cast<double>(*event.total - done);
        event.state = state;
        return event;
    }

    std::string prefixed(const std::string& text) const { return line_prefix(config_.n_jobs) + text + "\n"; }

    void report(const progress_event& event, bool with_line) {
        show(event, with_line ? prefixed(progress_line(event, width_)) : std::string());
    }

    /// Writes the line, if any, then calls the callback.
    void show(progress_event event, const std::string& line) {
        if (!line.empty()) print(line);
        if (!config_.callback) return;
        find_label();
        event.label = label_;
        event.line = line;
        config_.callback(event);
    }

    void find_label() noexcept {
        try {
            if (label_.empty() && config_.label) label_ = config_.label();
        } catch (...) {
        }
    }

    void print(std::string_view line) noexcept {
        try {
            ++lines_;
            quiet_until_ = now() + line_pause;
            if (config_.sink)
                config_.sink(line);
            else
                write_stderr(line);
        } catch (...) {
        }
    }

    progress_config config_;
    std::mutex mutex_;
    std::optional<std::size_t> total_;
    verbosity policy_;
    std::size_t next_line_ = verbosity::never; // the count at which a line is due
    std::size_t reported_ = 0;                 // the last count shown
    std::size_t line_at_ = 0;                  // the last count that had a line
    std::size_t lines_ = 0;                    // printed so far
    time_point quiet_until_{};                 // see unpaced_lines
    std::size_t width_ = 3;
    bool closed_ = false;
    std::string label_;
    time_point started_at_{}; // constant once constructed

    // Read and written without the lock, together by every `add`. done_ counts; at next_ the lock has to be taken.
    // Stores to next_ and found_total_ are ordered with each other, see publish_threshold.
    alignas(64) std::atomic<std::size_t> done_{0};
    std::atomic<std::size_t> next_{verbosity::never};
    std::atomic<std::size_t> found_total_{no_total}; // left by total_known, taken by notice_total
};

} // namespace joblot::detail
