// SPDX-License-Identifier: BSL-1.0
// The job over an input that workers may index at once: batches are claimed from one atomic counter, without a lock.
#pragma once

#include <joblot/dispatch/typed_tasks.hpp>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <string>

namespace joblot::detail {

/// All tasks of a call.
struct all_tasks : any_tasks {
    static constexpr std::size_t first = 0;
};

/// @tparam Source  Tasks by index, all members thread-safe (see `indexed_source`).
/// @tparam Results Where results go (see results.hpp).
template <class Source, class Results>
class indexed_job final : public job {
public:
    indexed_job(const call_settings& settings, Source& source)
        : job(settings, source.size(), false, needs_care<Results>(settings)), tasks_(source, source.size()),
          size_(source.size()) {
        report_start();
    }

    [[nodiscard]] std::size_t tasks_left() const noexcept override {
        return size_ - std::min(size_, next_.load(std::memory_order_relaxed));
    }

    [[nodiscard]] batch claim(worker& w) override {
        // relaxed: the counter hands out indices and nothing else; tasks and results are published by the backend's
        // start and end of a worker.
        const std::size_t seen = next_.load(std::memory_order_relaxed);
        if (seen >= size_ || is_halted()) return {};
        const std::size_t wanted = w.sizer().next(size_ - seen);
        const std::size_t first = next_.fetch_add(wanted, std::memory_order_relaxed);
        if (first >= size_) return {};
        return {first, std::min(wanted, size_ - first), &tasks_};
    }

    [[nodiscard]] bool wait() override { return false; }

    [[nodiscard]] bool all_done() const noexcept override { return completed_tasks() == size_; }

    [[nodiscard]] const runner_entry& remote_runner() const override { return Source::runner(); }
    void check_results_travel() const override { Source::check_results_travel(); }

    /// The results, in order; for when the call is over and `throw_if_failed` let it pass.
    auto take() {
        if constexpr (keeps_failures<Results>) {
            left_tasks left(*this);
            typename Results::list all;
            all.reserve(size_);
            if (is_halted()) tasks_.results().fill([&](std::size_t k) { return left.at(k, tasks_.label(k)); });
            tasks_.results().take(all);
            return all;
        } else {
            return tasks_.results().take();
        }
    }

protected:
    std::string first_label() override { return tasks_.label(0); }

private:
    typed_tasks<all_tasks, Source&, Results> tasks_;
    std::size_t size_;
    // Every worker adds to it for every batch: on a line of its own.
    alignas(64) std::atomic<std::size_t> next_{0};
};

} // namespace joblot::detail
