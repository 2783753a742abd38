// SPDX-License-Identifier: BSL-1.0
// What has become of the tasks of one batch that was sent to another process: which are done, which must be sent
// (again), and how often each was tried. Pure bookkeeping.
// Templates, so that only what uses them compiles them: see init.hpp.
#pragma once

#include <joblot/dispatch/job.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <utility>
#include <vector>

namespace joblot::detail {

/// For the thread that claimed the batch. Positions count from the batch's first task.
template <class = void>
class basic_claimed_batch {
public:
    struct range {
        std::size_t begin = 0, end = 0;
        [[nodiscard]] std::size_t size() const noexcept { return end - begin; }
    };

    basic_claimed_batch(const batch& b, int retries) : batch_(b), retries_(retries), done_(b.size()) {
        unsent_.push_back({0, b.size()});
    }

    [[nodiscard]] const batch& of() const noexcept { return batch_; }
    [[nodiscard]] std::size_t index(std::size_t k) const noexcept { return batch_.first() + k; }

    static constexpr std::size_t most_in_message = std::size_t{1} << 31; ///< the wire counts with 32 bits

    /// The tasks that are to be sent next: at most `most`, and none at index `limit` or above. Empty if there are none.
    range next_range(std::size_t limit, std::size_t most) {
        while (!unsent_.empty()) {
            range& front = unsent_.front();
            if (index(front.begin) >= limit) {
                unsent_.pop_front();
                continue;
            }
            const range taken{
                front.begin, front.begin + std::min({front.size(), most, most_in_message, limit - index(front.begin)})};
            front.begin = taken.end;
            if (front.size() == 0) unsent_.pop_front();
            return taken;
        }
        return {};
    }
    /// Tasks that were taken by `next_range` after all are to be sent later.
    void put_back(range r) {
        if (r.size()) unsent_.push_front(r);
    }

    /// The range that a worker has been given, until `answered`.
    [[nodiscard]] range sent() const noexcept { return sent_; }
    void note_sent(range r, std::uint64_t sequence) noexcept {
        sent_ = r;
        sequence_ = sequence;
        received_ = 0;
    }
    /// Notes that `count` results have come for what was sent, from position `begin` of it on. False where they cannot
    /// have: they come in order, each once, and the last ones are the last of all.
    [[nodiscard]] bool note_received(std::size_t begin, std::size_t count, bool last) noexcept {
        if (begin != received_ || count > sent_.size() - begin || (last && begin + count != sent_.size())) return false;
        received_ += count;
        return true;
    }
    /// Number of the request that asked for it.
    [[nodiscard]] std::uint64_t sequence() const noexcept { return sequence_; }
    /// The worker has nothing more to say of it.
    void answered(std::chrono::nanoseconds took) noexcept {
        sent_ = {};
        took_ += std::min(took, std::chrono::nanoseconds::max() - took_); // who answers says how long it took
    }
    /// The worker is gone: what it was given and had not done is to be sent again.
    void lost(std::size_t limit) {
        // those that were to be tried again are not done either
        std::erase_if(unsent_, [&](const range& r) { return r.begin >= sent_.begin && r.end <= sent_.end; });
        for (std::size_t k = sent_.end; k != sent_.begin; --k) {
            if (done_[k - 1] || index(k - 1) >= limit) continue;
            if (!unsent_.empty() && unsent_.front().begin == k)
                unsent_.front().begin = k - 1;
            else
                unsent_.push_front({k - 1, k});
        }
        sent_ = {};
    }

    [[nodiscard]] bool is_done(std::size_t k) const noexcept { return done_[k]; }
    /// Task k ended well, or its failure was kept.
    void note_done(std::size_t k) { done_[k] = true; }
    /// Task k failed. Whether it may be tried again; then it is among those to be sent.
    bool try_again(std::size_t k, std::size_t limit) {
        if (retries_ == 0 || index(k) >= limit) return false;
        if (tries_.empty()) tries_.resize(batch_.size());
        if (tries_[k] == retries_) return false;
        ++tries_[k];
        return true;
    }
    /// How many times task k has been tried, the try that is going on among them.
    [[nodiscard]] int tries(std::size_t k) const noexcept { return tries_.empty() ? 1 : tries_[k] + 1; }
    void send_again(std::size_t k) {
        if (!unsent_.empty() && unsent_.front().end == k) // with the one before it: one message for both
            ++unsent_.front().end;
        else
            unsent_.push_front({k, k + 1});
    }

    /// How many tasks more than at the last call are done without a gap from the first on.
    std::size_t newly_complete() noexcept {
        const std::size_t before = complete_;
        while (complete_ != done_.size() && done_[complete_]) ++complete_;
        return complete_ - before;
    }

    /// The worker says that it has done so many of those that it was given, whose results come later.
    void note_progress(std::size_t done) noexcept {
        const auto known = static_cast<std::size_t>(std::count(done_.begin(), done_.end(), true));
        seen_ = std::max(seen_, known + std::min(done, sent_.size()));
    }
    /// How many tasks more than at the last call are done, for all that is known: for showing progress.
    std::size_t newly_seen() noexcept {
        seen_ = std::min(std::max(seen_, complete_), done_.size());
        return seen_ - std::exchange(shown_, seen_);
    }

    /// Whether nothing is to be sent and nothing is under way.
    [[nodiscard]] bool is_over(std::size_t limit) const noexcept {
        return sent_.size() == 0 &&
               std::none_of(unsent_.begin(), unsent_.end(), [&](const range& r) { return index(r.begin) < limit; });
    }
    [[nodiscard]] std::chrono::nanoseconds took() const noexcept { return took_; }

private:
    batch batch_;
    int retries_;
    std::deque<range> unsent_;
    range sent_;
    std::size_t received_ = 0; // results of it
    std::uint64_t sequence_ = 0;
    std::vector<bool> done_;
    std::vector<int> tries_; // empty as long as nothing was tried again
    std::size_t complete_ = 0;
    std::size_t seen_ = 0, shown_ = 0; // for progress; never less, even where a worker is lost with its results
    std::chrono::nanoseconds took_{};
};
using claimed_batch = basic_claimed_batch<>;

} // namespace joblot::detail
