// SPDX-License-Identifier: BSL-1.0
// A coroutine's pause.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <chrono>

namespace joblot::dask::engine {

namespace asio = boost::asio;

/// Lets time pass, in which the thread does other work. It cannot be cut short.
inline asio::awaitable<void> sleep_for(std::chrono::milliseconds time) {
    asio::steady_timer timer(co_await asio::this_coro::executor, time);
    co_await timer.async_wait(asio::use_awaitable);
}

} // namespace joblot::dask::engine
