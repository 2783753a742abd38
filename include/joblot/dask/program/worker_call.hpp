// SPDX-License-Identifier: BSL-1.0
// Asks a worker something: runs a function of the module for workers, and waits for what it gives.
#pragma once

#include <joblot/dask/generated/worker_shim.hpp>
#include <joblot/dask/program/deployment.hpp>
#include <joblot/dask/protocol/task_key.hpp>
#include <joblot/dask/session/inbox.hpp>
#include <joblot/dask/session/session.hpp>

#include <chrono>
#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace joblot::dask::engine {

/// Runs `function(text, *values)` of the module on a worker. Blocks until there is an answer.
/// @param values Keys of data that it is given.
/// @throws backend_error where the session is lost.
inline task_end ask_worker(const std::shared_ptr<session>& cluster, const std::string& function, std::string_view text,
                           std::vector<json> values = {}) {
    deployment::instance().ensure(cluster);
    task_submission task;
    task.key = fresh_key("joblot_" + function, cluster->client_id());
    const auto bytes = std::as_bytes(std::span(text));
    task.payload.assign(bytes.begin(), bytes.end());
    task.image_keys = std::move(values);
    const auto answers = std::make_shared<inbox>();
    cluster->submit(std::move(task), {}, answers, {std::string(worker_shim_module), function});
    std::vector<task_end> ends;
    while (ends.empty()) ends = answers->wait(std::chrono::seconds(1)).ends;
    return std::move(ends.front());
}

} // namespace joblot::dask::engine
