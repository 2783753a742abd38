// SPDX-License-Identifier: BSL-1.0
// The file that a scheduler writes about itself.
#pragma once

#include <nlohmann/json.hpp>

#include <fstream>
#include <string>

namespace joblot::dask::engine {

/// The scheduler's address in its file; "" where there is none, or not yet all of it.
inline std::string address_in_file(const std::string& path) {
    std::ifstream in(path);
    const auto content = nlohmann::json::parse(in, nullptr, false);
    if (!content.is_object() || !content.contains("address") || !content["address"].is_string()) return {};
    return content["address"].get<std::string>();
}

} // namespace joblot::dask::engine
