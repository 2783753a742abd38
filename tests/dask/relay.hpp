// SPDX-License-Identifier: BSL-1.0
// A TCP relay between a client and a scheduler, which can cut a connection in the middle of what it passes on.
#pragma once

#include <boost/asio/buffer.hpp>
#include <boost/asio/connect.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/write.hpp>

#include <array>
#include <atomic>
#include <cstddef>
#include <memory>
#include <string>
#include <thread>

namespace support {

class relay {
public:
    using tcp = boost::asio::ip::tcp;

    enum class direction { to_scheduler, to_client };

    /// @param address "tcp://127.0.0.1:8786", of the scheduler.
    explicit relay(const std::string& address) {
        const auto colon = address.rfind(':');
        target_ = tcp::endpoint(boost::asio::ip::make_address(address.substr(6, colon - 6)),
                                static_cast<unsigned short>(std::stoi(address.substr(colon + 1))));
        accept();
        thread_ = std::jthread([this] { context_.run(); });
    }
    ~relay() { context_.stop(); }
    relay(const relay&) = delete;
    relay& operator=(const relay&) = delete;

    /// What clients connect to instead.
    std::string address() const { return "tcp://127.0.0.1:" + std::to_string(acceptor_.local_endpoint().port()); }

    /// From now on ends, without ceremony, each connection that has a piece of at least `least` bytes in one direction,
    /// after half of that piece. 0: no more.
    void cut(direction which, std::size_t least) { least_[static_cast<std::size_t>(which)] = least; }
    /// Whether that has happened.
    bool has_cut() const { return cuts_ > 0; }

private:
    struct connection {
        explicit connection(tcp::socket from) : client(std::move(from)), scheduler(client.get_executor()) {}
        tcp::socket client, scheduler;
        std::array<std::array<char, 65536>, 2> pieces;
    };

    void accept() {
        acceptor_.async_accept([this](boost::system::error_code failed, tcp::socket socket) {
            if (failed) return;
            auto both = std::make_shared<connection>(std::move(socket));
            both->scheduler.async_connect(target_, [this, both](boost::system::error_code refused) {
                if (refused) return;
                pass(both, direction::to_scheduler);
                pass(both, direction::to_client);
            });
            accept();
        });
    }

    void pass(const std::shared_ptr<connection>& both, direction which) {
        const bool up = which == direction::to_scheduler;
        tcp::socket& from = up ? both->client : both->scheduler;
        auto& piece = both->pieces[static_cast<std::size_t>(which)];
        from.async_read_some(boost::asio::buffer(piece),
                             [this, both, which](boost::system::error_code failed, std::size_t size) {
                                 if (failed) return end(*both);
                                 forward(both, which, size);
                             });
    }

    void forward(const std::shared_ptr<connection>& both, direction which, std::size_t size) {
        const std::size_t limit = least_[static_cast<std::size_t>(which)];
        const bool last = limit != 0 && size >= limit;
        tcp::socket& to = which == direction::to_scheduler ? both->scheduler : both->client;
        boost::asio::async_write(
            to, boost::asio::buffer(both->pieces[static_cast<std::size_t>(which)], last ? size / 2 : size),
            [this, both, which, last](boost::system::error_code failed, std::size_t) {
                if (last) ++cuts_;
                if (failed || last) return end(*both);
                pass(both, which);
            });
    }

    static void end(connection& both) {
        boost::system::error_code ignored;
        both.client.close(ignored);
        both.scheduler.close(ignored);
    }

    boost::asio::io_context context_;
    tcp::acceptor acceptor_{context_, tcp::endpoint(boost::asio::ip::address_v4::loopback(), 0)};
    tcp::endpoint target_;
    std::array<std::atomic<std::size_t>, 2> least_{};
    std::atomic<int> cuts_ = 0;
    std::jthread thread_; // the only one that touches the sockets
};

} // namespace support
