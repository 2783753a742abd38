// SPDX-License-Identifier: BSL-1.0
// Reads what a published dataset is made of.
#pragma once

#include <joblot/dask/data/desired_keys.hpp>
#include <joblot/dask/dataset.hpp>
#include <joblot/dask/program/worker_call.hpp>
#include <joblot/dask/session/session.hpp>
#include <joblot/dask/utf8.hpp>
#include <joblot/error.hpp>
#include <joblot/wire/image.hpp>
#include <joblot/wire/segment.hpp>

#include <nlohmann/json.hpp>

#include <cstddef>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace joblot::dask::engine {

/// What a worker says of a published dataset. @throws backend_error where it cannot.
inline json describe_dataset(const std::shared_ptr<session>& cluster, const std::string& name) {
    check_utf8("name", name);
    if (cluster->worker_threads().empty())
        throw backend_error("joblot: the Dask cluster at " + cluster->scheduler().text() +
                            " has no worker that could read dataset \"" + name + "\"; start one");
    const task_end end = ask_worker(cluster, "describe", name);
    if (end.how != task_end::kind::result)
        throw backend_error("joblot: dataset \"" + name + "\" cannot be read: " + end.type + ": " + end.text);
    const auto* const text = reinterpret_cast<const char*>(end.data.data());
    json facts = json::parse(text, text + end.data.size(), nullptr, false);
    if (!facts.is_object() || !facts.value("keys", json::array()).is_array() ||
        !facts.value("chunks", json::array()).is_array())
        throw backend_error("joblot: a worker's description of a dataset makes no sense");
    return facts;
}

[[noreturn]] inline void refuse_dataset(const std::string& name, const std::string& why) {
    throw backend_error("joblot: dataset \"" + name + "\" " + why);
}

/// Where its chunks begin, along each dimension.
inline void read_grid(dataset_parts& to, const json& facts, std::size_t keys) {
    if (!facts.contains("chunks")) {
        to.blocks = {keys};
        return;
    }
    std::size_t product = 1;
    to.shape.emplace();
    for (const json& sizes : facts.at("chunks")) {
        std::vector<std::size_t> begins(1, 0);
        for (const json& n : sizes) {
            if (!n.is_number_unsigned()) {
                to.shape.reset(); // of an unknown size
                break;
            }
            begins.push_back(begins.back() + n.get<std::size_t>());
        }
        to.blocks.push_back(sizes.size());
        product *= sizes.size();
        if (!to.shape) continue;
        to.shape->push_back(begins.back());
        to.begins.push_back(std::move(begins));
    }
    if (!to.shape) to.begins.clear();
    if (product != keys)
        refuse_dataset(to.name, "has " + std::to_string(keys) + " blocks, which are not those of its chunks");
}

/// @throws backend_error where it is nothing that tasks can read.
inline void check_readable(const session& cluster, const std::string& name, const json& facts) {
    const std::string kind = text_at(facts, "kind");
    if (kind == "none")
        throw backend_error("joblot: nothing is published as \"" + name + "\" on the Dask cluster at " +
                            cluster.scheduler().text() + "; in Python: client.publish_dataset(" + name + "=...)");
    if (kind == "table") {
        const json columns = facts.value("columns", json());
        const bool named = columns.is_array() && !columns.empty() && columns[0].is_string();
        refuse_dataset(name, "is a table; publish a column of it, like frame[\"" +
                                 (named ? columns[0].get<std::string>() : std::string("name")) + "\"]");
    }
    if (kind == "other") {
        const std::string type = text_at(facts, "type");
        refuse_dataset(name, "is a " + (type.empty() ? "value" : type) + ", not an array, a column, or futures");
    }
}

/// @throws backend_error where nothing usable is published under that name, which is said, or nothing at all.
inline dask::dataset read_dataset(const std::shared_ptr<session>& cluster, const std::string& name) {
    const json facts = describe_dataset(cluster, name);
    check_readable(*cluster, name, facts);
    std::vector<json> keys = facts.value("keys", json::array()).get<std::vector<json>>();
    for (const json& key : keys) {
        if (key.is_null())
            refuse_dataset(name, "is not there yet, but only planned; persist it before it is published");
    }
    dataset_parts parts{.name = name, .dtype = text_at(facts, "dtype")};
    read_grid(parts, facts, keys.size());
    const auto owner = std::make_shared<const desired_keys>(cluster, "dataset \"" + name + '"', std::move(keys));
    for (const json& key : owner->keys())
        parts.images.push_back(std::make_shared<detail::segment>(detail::fresh_image_id(), key.dump(), owner));
    return dask::dataset(std::move(parts));
}

} // namespace joblot::dask::engine
