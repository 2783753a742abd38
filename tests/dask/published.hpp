// SPDX-License-Identifier: BSL-1.0
// Data that Python publishes on a cluster, for tests that read it.
#pragma once

#include "cluster.hpp"

#include <string>
#include <utility>

namespace support {

/// A dataset that is published as long as this lives.
class published {
public:
    published(dask_cluster& cluster, std::string name, const std::string& value)
        : cluster_(cluster), name_(std::move(name)) {
        cluster_.ask({{"ask", "publish"}, {"name", name_}, {"value", value}});
    }
    published(const published&) = delete;
    published& operator=(const published&) = delete;
    ~published() { unpublish(); }
    void unpublish() {
        if (!std::exchange(there_, false)) return;
        cluster_.ask({{"ask", "unpublish"}, {"name", name_}});
    }

private:
    dask_cluster& cluster_;
    const std::string name_;
    bool there_ = true;
};

} // namespace support
