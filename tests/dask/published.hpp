// SPDX-License-Identifier: BSL-1.0
// Data that Python publishes on a test's cluster.
#pragma once

#include "cluster.hpp"

#include <string>
#include <utility>

namespace support {

/// A dataset that is published as long as this lives.
class published {
public:
    /// @param value What is published: a Python expression.
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

/// What a Python expression gives, as text. It may use `client` and `numpy`.
inline std::string evaluated(dask_cluster& cluster, const std::string& expression) {
    return cluster.ask({{"ask", "evaluate"}, {"expression", expression}}).get<std::string>();
}

} // namespace support
