// SPDX-License-Identifier: BSL-1.0
// Data of others on a cluster that is to stay there for a while.
#pragma once

#include <joblot/dask/requests.hpp>
#include <joblot/dask/session.hpp>
#include <joblot/error.hpp>
#include <joblot/wire/segment.hpp>

#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace joblot::dask::engine {

/// Wants some keys as long as it lives.
class held_keys {
public:
    /// @param name What they are called together, for errors.
    held_keys(std::shared_ptr<session> cluster, std::string name, std::vector<json> keys)
        : cluster_(std::move(cluster)), name_(std::move(name)), keys_(std::move(keys)) {
        cluster_->desire(keys_);
    }
    held_keys(const held_keys&) = delete;
    held_keys& operator=(const held_keys&) = delete;
    ~held_keys() {
        try {
            cluster_->stop_desiring(keys_);
        } catch (const backend_error&) { // its connection is gone, and what it wanted with it
        }
    }
    [[nodiscard]] const std::string& name() const noexcept { return name_; }
    [[nodiscard]] const std::vector<json>& keys() const noexcept { return keys_; }
    [[nodiscard]] const std::shared_ptr<session>& cluster() const noexcept { return cluster_; }

private:
    const std::shared_ptr<session> cluster_;
    const std::string name_;
    const std::vector<json> keys_;
};

/// Whose keys they are that a message in memory is made of. @param image One with a key.
inline const held_keys& held_by(const detail::segment& image) {
    return *static_cast<const held_keys*>(image.owner().get());
}
/// @throws backend_error where such data is gone from the cluster for good.
inline void check_there(const detail::segment& image, session& cluster) {
    const json states = cluster.call(requests::task_status(std::vector<json>(1, json::parse(image.key()))));
    if (states.is_object() && std::any_of(states.begin(), states.end(), [](const json& s) { return !s.is_null(); }))
        return;
    throw backend_error("joblot: a part of dataset \"" + held_by(image).name() + "\", " + image.key() +
                        ", is not on the cluster any more: it was lost with its worker, or cancelled, and Dask "
                        "cannot compute it again");
}

} // namespace joblot::dask::engine
