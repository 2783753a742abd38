// SPDX-License-Identifier: BSL-1.0
// The job over an input that workers may index at once: batches are claimed from an atomic counter, without a lock.
#pragma once

#include <joblot/dispatch/claim_groups.hpp>
#include <joblot/dispatch/typed_tasks.hpp>
#include <joblot/system/cpu_here.hpp>

#include <algorithm>
#include <atomic>
#include <bit>
#include <cstddef>
#include <memory>
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
    indexed_job(const call_settings& settings, Source& source, typename Results::shared all)
        : job(settings, source.size(), false, needs_care<Results>(settings)), size_(source.size()),
          tasks_(source, source.size(), all) {
        const auto workers = static_cast<std::size_t>(n_jobs());
        if (!combines<Results> && batches_adapt() && claim_groups::pay(workers, size_))
            groups_ = std::make_unique<claim_groups>(workers, size_);
        report_start();
    }

    [[nodiscard]] std::size_t tasks_left() const noexcept override {
        const std::size_t left = size_ - std::min(size_, claimed().load(std::memory_order_relaxed));
        return left == 0 && groups_ ? groups_->in_hand() : left;
    }

    [[nodiscard]] batch claim(worker& w) override {
        // relaxed: the counter hands out indices and nothing else; tasks and results are published by the backend's
        // start and end of a worker.
        if (is_halted()) return {};
        if (groups_) return claim_in_group(w);
        const std::size_t seen = claimed().load(std::memory_order_relaxed);
        if (seen >= size_) return {};
        const std::size_t wanted = w.sizer().next(size_ - seen);
        if constexpr (combines<Results>) {
            if (w.sizer().adapts()) return claim_aligned(seen, wanted, static_cast<std::size_t>(n_jobs()));
        }
        const std::size_t first = claimed().fetch_add(wanted, std::memory_order_relaxed);
        if (first >= size_) return {};
        return {first, std::min(wanted, size_ - first), &tasks_};
    }

    [[nodiscard]] bool wait() override { return false; }

    [[nodiscard]] bool all_done() const noexcept override { return completed_tasks() == size_; }

    [[nodiscard]] const runner_entry& remote_runner() const override { return Source::runner(typename Results::how()); }
    void check_results_travel() const override { Source::check_results_travel(typename Results::how()); }
    [[nodiscard]] any_reduction* reduction() noexcept override {
        if constexpr (combines<Results>)
            return &tasks_.results();
        else
            return nullptr;
    }

    /// The results, in order; for when the call is over and `throw_if_failed` let it pass.
    auto take() {
        if constexpr (combines<Results>) {
            return tasks_.results().take_all();
        } else if constexpr (keeps_failures<Results>) {
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
    /// A batch that ends where a large node of the reduction does, so that few are left to be combined with those of
    /// others. A leaf is not torn as long as all have enough to do: its results would have to wait for the rest.
    batch claim_aligned(std::size_t first, std::size_t wanted, std::size_t workers) {
        constexpr std::size_t leaf = Results::aligned_to;
        const std::size_t to = std::max(leaf, std::bit_floor(wanted) / 4);
        std::size_t end = 0;
        do {
            if (first >= size_) return {};
            const std::size_t left = size_ - first;
            end = first + std::min(wanted, left);
            if (wanted >= to || (wanted >= leaf / 8 && left / 4 >= to * workers)) end += (to - end % to) % to;
            end = std::min(end, size_);
        } while (!claimed().compare_exchange_weak(first, end, std::memory_order_relaxed)); // as in `claim`
        return {first, end - first, &tasks_};
    }

    batch claim_in_group(worker& w) {
        const auto c = groups_->claim(claimed(), group_of(w), w.sizer());
        return {c.first, c.count, &tasks_};
    }
    /// CPUs with consecutive numbers share a cache, mostly.
    static std::size_t group_of(worker& w) noexcept {
        const int cpu = cpu_here();
        return static_cast<std::size_t>(cpu < 0 ? w.context().worker_id : cpu) / claim_groups::of_group;
    }

    // What a worker reads of it is on one line.
    alignas(64) std::size_t size_;
    std::unique_ptr<claim_groups> groups_; // null where there are few workers
    typed_tasks<all_tasks, Source&, Results> tasks_;
};

} // namespace joblot::detail
