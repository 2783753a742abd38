// SPDX-License-Identifier: BSL-1.0
// Tells Python what functions a program exports: as JSON, on the program's standard output.
#pragma once

#include <joblot/dask/exported.hpp>
#include <joblot/dask/generated/worker_shim.hpp>
#include <joblot/dask/program/program.hpp>
#include <joblot/dask/protocol/batch_payload.hpp>
#include <joblot/version.hpp>
#include <joblot/wire/worker_greeting.hpp>

#include <nlohmann/json.hpp>

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace joblot::dask::engine {

inline std::string base64(std::span<const std::byte> bytes) {
    static constexpr std::string_view digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    std::string text;
    for (std::size_t i = 0; i < bytes.size(); i += 3) {
        std::uint32_t group = 0;
        for (std::size_t k = 0; k != 3; ++k)
            group = group << 8 | (i + k < bytes.size() ? std::to_integer<std::uint32_t>(bytes[i + k]) : 0);
        for (std::size_t k = 0; k != 4; ++k) text += i + k <= bytes.size() ? digits[group >> (18 - 6 * k) & 63] : '=';
    }
    return text;
}

/// The batch of one call, with its arguments as images 1, 2, ...
inline std::vector<std::byte> exported_batch(const exported_functions::entry& e) {
    batch_order order;
    order.program = program::own().name();
    order.digest = program::own().digest();
    for (std::size_t i = 1; i <= e.parameters.size(); ++i) order.images.push_back(i);
    order.foreign = order.images;
    return batch_payload(order, detail::worker_setup{.level = 1}, e.call(e)).joined();
}

inline json in_json(const exported_value& value) {
    json result{{"kind", value.kind}};
    if (!value.name.empty()) result["name"] = value.name;
    if (!value.dtype.empty()) result["dtype"] = value.dtype;
    if (value.kind != std::string_view("array")) return result;
    result["shape"] = nullptr;
    if (!value.shape) return result;
    result["shape"] = json::array();
    for (const auto& length : *value.shape) result["shape"].push_back(length ? json(*length) : json());
    return result;
}

inline void print_catalogue() {
    json functions = json::array();
    for (const exported_functions::entry& e : exported_functions::instance().all()) {
        json parameters = json::array();
        for (const exported_value& p : e.parameters) parameters.push_back(in_json(p));
        functions.push_back({{"name", e.name},
                             {"parameters", std::move(parameters)},
                             {"result", in_json(e.result)},
                             {"payload", base64(exported_batch(e))}});
    }
    const json all{{"joblot", version},
                   {"program", program::own().name()},
                   {"digest", program::own().digest()},
                   {"module", worker_shim_module},
                   {"source", worker_shim_source()},
                   {"functions", std::move(functions)}};
    const std::string text = all.dump() + '\n';
    std::fwrite(text.data(), 1, text.size(), stdout);
}

} // namespace joblot::dask::engine
