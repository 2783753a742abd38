// SPDX-License-Identifier: BSL-1.0
// The first words with a scheduler: who is there, and whether it takes this client.
#pragma once

#include <joblot/dask/net/peer_link.hpp>
#include <joblot/dask/net/sleep.hpp>
#include <joblot/dask/protocol/address.hpp>
#include <joblot/dask/protocol/requests.hpp>
#include <joblot/error.hpp>

#include <algorithm>
#include <chrono>
#include <optional>
#include <string>

namespace joblot::dask::engine {

/// The scheduler's versions, as soon as somebody listens there. @throws comm_error where that is not before `deadline`.
inline asio::awaitable<message> ask_versions(peer_link& scheduler, comm::clock::time_point deadline) {
    message_writer writer;
    const encoded_message request = writer.finish(requests::versions());
    const auto left = [&] { return std::chrono::ceil<std::chrono::milliseconds>(deadline - comm::clock::now()); };
    for (auto pause = std::chrono::milliseconds(10);; pause = std::min(pause * 2, std::chrono::milliseconds(500))) {
        std::optional<comm_error> failed;
        try {
            co_return co_await scheduler.ask(request, {left(), left()});
        } catch (const comm_error& e) {
            failed = e;
        }
        if (!failed->worth_retrying() || left() < pause) throw *failed;
        co_await sleep_for(pause);
    }
}

/// @param answer What the scheduler said to `requests::register_client`. @throws backend_error where it refuses.
inline void check_welcome(const address& scheduler, const json& answer) {
    const std::string refuses = "joblot: the scheduler at " + scheduler.text() + " refuses this client: ";
    if (answer.is_array() && !answer.empty() && answer[0].is_object() &&
        answer[0].value("op", json()) == "stream-start") {
        const json error = answer[0].value("error", json());
        if (error.is_string() && error != "") throw backend_error(refuses + error.get<std::string>());
        return;
    }
    throw backend_error(refuses + "it answered " +
                        answer.dump(-1, ' ', false, json::error_handler_t::replace).substr(0, 400));
}

} // namespace joblot::dask::engine
