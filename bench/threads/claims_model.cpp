// SPDX-License-Identifier: BSL-1.0
// What claiming costs on more cores than this machine has: the library's own policies, in virtual time. Each worker
// claims a batch and "runs" it; a write to a cache line takes time, and writes to the same line wait for each other.
#include <joblot/dispatch/batching.hpp>
#include <joblot/dispatch/claim_groups.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdio>
#include <functional>
#include <queue>
#include <utility>
#include <vector>

namespace {

using joblot::detail::batch_sizer;
using joblot::detail::claim_groups;

constexpr double between_caches = 150; // ns for a write to a line that a core behind another cache wrote last
constexpr double in_one_cache = 40;    // the same behind one cache

struct result {
    double efficiency = 0; ///< work over workers x time
    std::size_t claims = 0, counter_writes = 0;
};

/// A call of `tasks` tasks of `each` ns.
class model {
public:
    model(std::size_t workers, std::size_t tasks, double each, bool grouped)
        : workers_(workers), tasks_(tasks), each_(each), grouped_(grouped), groups_(workers, tasks),
          line_free_at_((workers + claim_groups::of_group - 1) / claim_groups::of_group),
          sizers_(workers, batch_sizer(0, workers)) {}

    result run() {
        using event = std::pair<double, std::size_t>; // when a worker is free, and which
        std::priority_queue<event, std::vector<event>, std::greater<>> free;
        for (std::size_t w = 0; w != workers_; ++w) free.emplace(0.0, w);
        double end = 0;
        while (!free.empty()) {
            auto [now, w] = free.top();
            free.pop();
            const std::size_t n = claim(w, now);
            end = std::max(end, now);
            if (n == 0) continue;
            const double took = static_cast<double>(n) * each_;
            sizers_[w].measured(n, std::chrono::nanoseconds(static_cast<long long>(took)));
            free.emplace(now + took, w);
        }
        out_.efficiency = static_cast<double>(tasks_) * each_ / (static_cast<double>(workers_) * end);
        return out_;
    }

private:
    std::size_t claim(std::size_t w, double& now) {
        ++out_.claims;
        if (!grouped_) {
            const std::size_t first = counter_.load();
            if (first >= tasks_) return 0;
            const std::size_t n = sizers_[w].next(tasks_ - first);
            counter_ += n;
            write(counter_free_at_, between_caches, now);
            return n;
        }
        const std::size_t group = w / claim_groups::of_group;
        const auto c = groups_.claim(counter_, group, sizers_[w]);
        if (c.count != 0) write(line_free_at_[group], in_one_cache, now);
        if (c.wrote_counter) write(counter_free_at_, between_caches, now);
        return c.count;
    }
    void write(double& free_at, double cost, double& now) {
        now = std::max(now, free_at) + cost;
        free_at = now;
        out_.counter_writes += &free_at == &counter_free_at_;
    }

    std::size_t workers_, tasks_;
    double each_;
    bool grouped_;
    claim_groups groups_;
    std::atomic<std::size_t> counter_{0};
    double counter_free_at_ = 0;
    std::vector<double> line_free_at_;
    std::vector<batch_sizer> sizers_;
    result out_;
};

} // namespace

int main() {
    std::puts("| workers | tasks | batches | writes to the counter | of the time work | with groups: writes | of the "
              "time work |");
    std::puts("|---|---|---|---|---|---|---|");
    for (const std::size_t workers : {8U, 64U, 256U}) {
        for (const double each : {10.0, 1000.0}) {
            const auto tasks = static_cast<std::size_t>(1e6 / each) * workers; // 1 ms for each worker
            const result one = model(workers, tasks, each, false).run();
            std::printf("| %zu | %zu of %g ns | %zu | %zu | %.1f %% | ", workers, tasks, each, one.claims,
                        one.counter_writes, 100 * one.efficiency);
            if (!claim_groups::pay(workers, tasks)) {
                std::puts("- | - |");
                continue;
            }
            const result many = model(workers, tasks, each, true).run();
            std::printf("%zu | %.1f %% |\n", many.counter_writes, 100 * many.efficiency);
        }
    }
}
