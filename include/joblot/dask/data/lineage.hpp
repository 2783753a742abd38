// SPDX-License-Identifier: BSL-1.0
// How a persisted result was computed, so that it can be computed again where a cluster has lost it.
#pragma once

#include <joblot/dask/data/scattered_images.hpp>
#include <joblot/dask/generated/worker_shim.hpp>
#include <joblot/dask/protocol/requests.hpp>
#include <joblot/dask/session/session.hpp>
#include <joblot/dask/session/session_types.hpp>
#include <joblot/wire/segment.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <iterator>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace joblot::dask::engine {

/// The task whose result is persisted on a cluster, and the lineages of the results that it reads; no values. All
/// members are thread-safe.
class lineage : public std::enable_shared_from_this<lineage> {
public:
    /// What one of `task_submission::image_keys` names. Both null: data of Python's, which Dask knows how to make.
    struct argument {
        std::shared_ptr<detail::segment> broadcast;
        std::shared_ptr<const lineage> result;
    };

    /// For a task that was done, and ended as `persisted`. @param task Its `payload_key` is released at the end.
    lineage(std::shared_ptr<session> cluster, task_submission task, task_options options,
            std::vector<argument> arguments)
        : cluster_(std::move(cluster)), task_(std::move(task)), options_(std::move(options)),
          arguments_(std::move(arguments)) {}
    lineage(const lineage&) = delete;
    lineage& operator=(const lineage&) = delete;
    ~lineage() {
        if (!task_.payload_key.empty()) unless_over([&] { cluster_->release({task_.payload_key}); });
        // Not one in the other: results may be computed from results a hundred thousand times.
        std::vector<argument> all = std::move(arguments_);
        while (!all.empty()) {
            const argument last = std::move(all.back());
            all.pop_back();
            if (last.result.use_count() != 1) continue;
            auto& more = last.result->arguments_; // nobody else has it
            std::move(more.begin(), more.end(), std::back_inserter(all));
            more.clear();
        }
    }

    [[nodiscard]] const std::string& key() const noexcept { return task_.key; }

    /// The value is not desired any more, for itself.
    void stop_desiring() const noexcept {
        desired_ = false;
        unless_over([&] {
            cluster_->cancel({key()}); // it may be under way again
            cluster_->stop_desiring({key()});
        });
    }

    /// Asks whether the cluster has the result, or is about to compute it. Where it has forgotten it, as it does when
    /// data was lost that it was computed from, sends the task again, and what it needs. Blocks, but not until the
    /// result is there. @return False: it is gone for good. @throws backend_error The cluster is gone.
    [[nodiscard]] bool make_sure() const {
        const std::lock_guard lock(mutex_); // and then those of arguments, which were computed before
        if (!key_state(*cluster_, key()).is_null()) return true;
        if (!task_.payload_key.empty() && key_state(*cluster_, task_.payload_key) != "memory") return false;
        task_submission task = task_;
        for (std::size_t i = 0; i != arguments_.size(); ++i) {
            if (const auto& image = arguments_[i].broadcast) {
                scattered_images::instance().check(*image, cluster_);
                task.image_keys[i] = scattered_images::instance().key_of(*image, cluster_);
            } else if (arguments_[i].result ? !arguments_[i].result->make_sure()
                                            : key_state(*cluster_, task.image_keys[i]).is_null()) {
                return false;
            }
        }
        cluster_->stop_desiring({key()}); // its end as `persisted` desires it once more
        const auto again = std::make_shared<recomputed>(shared_from_this());
        cluster_->submit(std::move(task), options_, again, {std::string(worker_shim_module), "run_persisted"});
        while (!again->ended && key_state(*cluster_, key()).is_null())
            std::this_thread::sleep_for(std::chrono::milliseconds(2));
        return true; // what needs the result is told how that ends
    }

private:
    /// Is told when the result is there again.
    struct recomputed final : task_listener {
        explicit recomputed(std::shared_ptr<const lineage> r) : of(std::move(r)) {}
        void task_ended(task_end end) noexcept override {
            if (end.how == task_end::kind::persisted && !of->desired_)
                unless_over([&] { of->cluster_->stop_desiring({of->key()}); });
            ended = true;
        }
        const std::shared_ptr<const lineage> of;
        std::atomic<bool> ended = false;
    };

    const std::shared_ptr<session> cluster_;
    const task_submission task_;
    const task_options options_;
    mutable std::vector<argument> arguments_;  // changed in destructors alone
    mutable std::atomic<bool> desired_ = true; // written by who stops desiring it, read by the session's thread
    mutable std::mutex mutex_;                 // one thread has it computed again
};

} // namespace joblot::dask::engine
