// SPDX-License-Identifier: BSL-1.0
// Data on a cluster that is to stay there for a while.
#pragma once

#include <joblot/dask/images.hpp>
#include <joblot/dask/inbox.hpp>
#include <joblot/dask/requests.hpp>
#include <joblot/dask/session.hpp>
#include <joblot/dask/worker_call.hpp>
#include <joblot/dask/worker_shim.hpp>
#include <joblot/error.hpp>
#include <joblot/wire/segment.hpp>

#include <chrono>
#include <cstddef>
#include <cstring>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace joblot::dask::engine {

/// Wants some keys as long as it lives. All members are thread-safe.
class held_keys final : public detail::cluster_data {
public:
    /// How a result was made.
    struct recipe {
        task_submission task; ///< its arguments stay there as long as its result
        task_options options;
        std::vector<std::shared_ptr<detail::segment>> arguments; ///< what `task.image_keys` name
    };

    /// For data that others have put there. @param name What they are, for errors.
    held_keys(std::shared_ptr<session> cluster, std::string name, std::vector<json> keys)
        : cluster_(std::move(cluster)), name_(std::move(name)), keys_(std::move(keys)) {
        cluster_->desire(keys_);
    }
    /// For a result that was just made, which ended as `kept`.
    held_keys(std::shared_ptr<session> cluster, std::string name, recipe made)
        : cluster_(std::move(cluster)), name_(std::move(name)), keys_(1, json(made.task.key)), made_(std::move(made)) {}
    ~held_keys() override {
        try {
            if (made_again_) cluster_->cancel({made_->task.key}); // it may be under way
            cluster_->stop_desiring(keys_);
            if (made_ && !made_->task.payload_key.empty()) cluster_->release({made_->task.payload_key});
        } catch (const backend_error&) { // its connection is gone, and what it wanted with it
        }
    }

    /// What they are, for errors: "dataset "X"".
    [[nodiscard]] const std::string& name() const noexcept { return name_; }
    [[nodiscard]] const std::vector<json>& keys() const noexcept { return keys_; }
    [[nodiscard]] const std::shared_ptr<session>& cluster() const noexcept { return cluster_; }

    [[nodiscard]] std::shared_ptr<detail::segment> fetch(const detail::segment& place) const override {
        const json key = json::parse(place.key());
        const std::string how = place.is_message() ? "fetch_message" : "fetch_block";
        task_end end = ask_worker(cluster_, how, "", {key});
        for (int i = 0; i != most_losses && end.how == task_end::kind::cancelled && make_sure(key); ++i)
            end = ask_worker(cluster_, how, "", {key});
        if (end.how != task_end::kind::result)
            throw backend_error("joblot: " + name_ + " could not be brought here from the Dask cluster: " + end.type +
                                (end.type.empty() || end.text.empty() ? "" : ": ") + end.text);
        detail::descriptor file = detail::shared_memory("joblot-result");
        const detail::mapping map = file && detail::reserve_shared(file.get(), end.data.size())
                                        ? detail::mapping(file.get(), end.data.size(), true)
                                        : detail::mapping();
        if (!map) throw backend_error("joblot: there is no memory for " + name_);
        std::memcpy(map.data(), end.data.data(), end.data.size());
        return std::make_shared<detail::segment>(place.id(), std::move(file));
    }

    /// Asks whether the cluster has one of the keys, or is about to make it. If it has forgotten a result of ours, as
    /// it does where data was lost that it was made of, the task is sent again, with such data. Blocks, but not until
    /// the result is there. @return False: it is gone for good. @throws backend_error.
    [[nodiscard]] bool make_sure(const json& key) const {
        const std::lock_guard lock(mutex_); // and those of what the result was made of, which was there before it
        if (!key_state(*cluster_, key).is_null()) return true;
        if (!made_) return false;
        task_submission task = made_->task;
        if (!task.payload_key.empty() && key_state(*cluster_, task.payload_key) != "memory") return false;
        for (std::size_t i = 0; i != task.image_keys.size(); ++i) {
            const detail::segment& argument = *made_->arguments[i];
            if (argument.key().empty()) {
                scattered_images::instance().check(argument, cluster_);
                task.image_keys[i] = scattered_images::instance().key_of(argument, cluster_);
            } else if (!static_cast<const held_keys&>(*argument.owner()).make_sure(task.image_keys[i])) {
                return false;
            }
        }
        cluster_->stop_desiring(keys_); // its end as `kept` is a new wish
        made_again_ = true;
        const auto news = std::make_shared<inbox>();
        cluster_->submit(std::move(task), made_->options, news, {std::string(worker_shim_module), "run_kept"});
        while (key_state(*cluster_, key).is_null() && news->wait(std::chrono::milliseconds(5)).ends.empty()) {
        }
        return true; // what needs the result is told how that ends
    }

private:
    static constexpr int most_losses = 10;

    const std::shared_ptr<session> cluster_;
    const std::string name_;
    const std::vector<json> keys_;
    const std::optional<recipe> made_{};
    mutable std::mutex mutex_;
    mutable bool made_again_ = false; // guarded by mutex_
};

/// Whose keys they are that a message in memory is made of. @param image One with a key.
inline const held_keys& held_by(const detail::segment& image) { return static_cast<const held_keys&>(*image.owner()); }
/// Makes sure that it is on the cluster. @throws backend_error where it is gone for good.
inline void check_there(const detail::segment& image) {
    if (held_by(image).make_sure(json::parse(image.key()))) return;
    throw backend_error("joblot: " + image.key() + " of " + held_by(image).name() +
                        " is not on the cluster any more: it was lost with its worker, or cancelled, and cannot be "
                        "computed again");
}

} // namespace joblot::dask::engine
