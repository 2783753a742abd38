// SPDX-License-Identifier: BSL-1.0
// The job over an input that workers may index at once: batches are claimed from one atomic counter, without a lock.
#pragma once

#include <joblot/dispatch/execute.hpp>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <string>
#include <utility>

namespace joblot::detail {

/// @tparam Source  Tasks by index, all members thread-safe (see `indexed_source`).
/// @tparam Results Where results go (see results.hpp).
template <class Source, class Results>
class indexed_job final : public job {
public:
    indexed_job(const call_settings& settings, Source& source)
        : job(settings, source.size(), false), source_(source), results_(source.size()), size_(source.size()),
          careful_(needs_care<Results>(settings)) {
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
        return {first, std::min(wanted, size_ - first)};
    }

    [[nodiscard]] bool wait() override { return false; }

    [[nodiscard]] bool all_done() const noexcept override { return completed_tasks() == size_; }

    // --- for backends whose workers are other processes

    [[nodiscard]] const runner_entry& remote_runner() const override { return Source::runner(); }
    void check_results_travel() const override { Source::check_results_travel(); }
    void encode_task(const batch& b, std::size_t k, encoder& to) override { source_.encode(b.first() + k, to); }
    void run_forked(const batch& b, std::size_t k, encoder& to, result_listener& then) override {
        source_.run_forked(b.first() + k, to, then);
    }
    void decode_result(const batch& b, std::size_t k, decoder& from) override {
        results_.put(b.first() + k, [&]() -> decltype(auto) { return source_.decode(b.first() + k, from); });
    }
    [[nodiscard]] std::string task_label(const batch& b, std::size_t k) noexcept override {
        return label_or_nothing(source_, b.first() + k);
    }

    /// The results, in order; for when the call is over and `throw_if_failed` let it pass.
    auto take() { return results_.take(); }

protected:
    bool keep_failure([[maybe_unused]] const batch& b, [[maybe_unused]] std::size_t k,
                      [[maybe_unused]] failure f) override {
        if constexpr (keeps_failures<Results>) results_.put_failure(b.first() + k, std::move(f));
        return keeps_failures<Results>;
    }

    std::size_t execute(const batch& b, worker& w) override {
        return careful_ ? run_careful(*this, w, b, source_, results_, 0) : run_plain(*this, w, b, source_, results_, 0);
    }

    std::string first_label() override { return size_ ? source_.label(0) : std::string(); }

private:
    Source& source_;
    Results results_;
    std::size_t size_;
    bool careful_;
    // Every worker adds to it for every batch: on a line of its own.
    alignas(64) std::atomic<std::size_t> next_{0};
};

} // namespace joblot::detail
