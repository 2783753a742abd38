// SPDX-License-Identifier: BSL-1.0
// Addresses of a host by name. On a thread of its own that nobody waits for: a name server that does not answer must
// not keep a connection's end, and the I/O library's own look-up cannot be given up.
#pragma once

#include <joblot/dask/net/sleep.hpp>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/address.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/system/error_code.hpp>

#include <chrono>
#include <cstring>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <netdb.h>
#include <sys/socket.h>

namespace joblot::dask::engine {

using boost::system::error_code;

/// One look-up: written by its thread, read by the connection's.
struct name_lookup {
    std::mutex mutex;
    bool done = false;
    std::vector<asio::ip::address> found;
    std::string error;

    static void run(const std::shared_ptr<name_lookup>& lookup, const std::string& host) {
        addrinfo hints{};
        hints.ai_socktype = SOCK_STREAM;
        hints.ai_flags = AI_ADDRCONFIG;
        addrinfo* list = nullptr;
        const int failed = ::getaddrinfo(host.c_str(), nullptr, &hints, &list);
        const std::lock_guard lock(lookup->mutex);
        for (const addrinfo* a = list; a; a = a->ai_next) {
            asio::ip::tcp::endpoint e;
            if (a->ai_addrlen > e.capacity()) continue;
            std::memcpy(e.data(), a->ai_addr, a->ai_addrlen);
            lookup->found.push_back(e.address());
        }
        if (list) ::freeaddrinfo(list);
        if (failed) lookup->error = ::gai_strerror(failed);
        lookup->done = true;
    }
};

/// The addresses of a host. @param given_up Becomes true where nobody wants to know any more; outlives the look-up.
/// @return Also why there are none.
inline asio::awaitable<std::pair<std::vector<asio::ip::address>, std::string>>
resolve(std::string host, std::chrono::steady_clock::time_point deadline, const bool& given_up) {
    using result = std::pair<std::vector<asio::ip::address>, std::string>;
    error_code failed;
    const auto number = asio::ip::make_address(host, failed);
    if (!failed) co_return result{{number}, ""};
    auto lookup = std::make_shared<name_lookup>();
    std::thread([lookup, host] { name_lookup::run(lookup, host); }).detach();
    // Asked again and again: the thread may outlive everything that it could tell.
    for (auto pause = std::chrono::milliseconds(1); !given_up && std::chrono::steady_clock::now() < deadline;) {
        {
            const std::lock_guard lock(lookup->mutex);
            if (lookup->done) co_return result{lookup->found, lookup->error};
        }
        co_await sleep_for(pause);
        if (pause < std::chrono::milliseconds(20)) pause *= 2;
    }
    co_return result{{}, given_up ? "nobody waits for it any more" : "no name server answered in time"};
}

} // namespace joblot::dask::engine
