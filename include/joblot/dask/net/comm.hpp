// SPDX-License-Identifier: BSL-1.0
// One connection to a scheduler or a worker, over TCP or TLS: messages in, messages out.
#pragma once

#include <joblot/dask/net/fork_guard.hpp>
#include <joblot/dask/net/resolve.hpp>
#include <joblot/dask/net/tls.hpp>
#include <joblot/dask/protocol/address.hpp>
#include <joblot/dask/protocol/message.hpp>
#include <joblot/error.hpp>
#include <joblot/system/visibility.hpp>

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <boost/system/system_error.hpp>

#include <array>
#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <sys/socket.h>

namespace joblot::dask::engine {

/// A connection could not be made, or ended.
class JOBLOT_ONE_TYPE comm_error : public backend_error {
public:
    /// @param worth_retrying Whether it may help to try again, e.g. as nobody listens yet.
    comm_error(const std::string& what, bool worth_retrying) : backend_error(what), worth_retrying_(worth_retrying) {}
    [[nodiscard]] bool worth_retrying() const noexcept { return worth_retrying_; }

private:
    bool worth_retrying_;
};

inline namespace JOBLOT_DASK_TLS_KIND {

/// For the session's thread alone. At most one coroutine reads, and one writes.
class comm : public std::enable_shared_from_this<comm> {
public:
    using clock = std::chrono::steady_clock;
    using tcp = asio::ip::tcp;

    /// @param heard Called whenever bytes have come.
    comm(const asio::any_io_executor& executor, address peer, std::function<void()> heard)
        : peer_(std::move(peer)), heard_(std::move(heard)), socket_(executor), timer_(executor) {}
    comm(const comm&) = delete;
    comm& operator=(const comm&) = delete;
    ~comm() { close(); }

    /// Connects, up to and with the handshakes. @param tls Needed for a tls:// address. @throws comm_error The
    /// connection has failed.
    asio::awaitable<void> open(std::shared_ptr<tls_context> tls, clock::time_point deadline) {
        tls_context_ = std::move(tls);
        co_await reach(deadline);
        end_at(deadline);
        co_await start_tls();
        message_writer writer;
        const encoded_message hello = writer.finish(handshake());
        doing_ = "shaking hands";
        // One that does not like our certificate says so instead of its greeting, and then resets the connection if we
        // have written; one that expects TLS where we use none waits for us.
        if (peer_.tls) static_cast<void>(co_await read());
        co_await write(hello);
        if (!peer_.tls) static_cast<void>(co_await read());
        doing_ = "talking";
        end_at(std::nullopt);
    }

    /// The next message. @throws comm_error The connection has failed.
    asio::awaitable<message> read() {
        std::string failed;
        bool odd = false;
        try {
            for (;;) {
                used_ += reader_.feed(std::span(buffer_).subspan(used_, filled_ - used_));
                if (reader_.complete()) co_return reader_.take();
                const std::span<std::byte> direct = reader_.space();
                const bool large = direct.size() >= buffer_.size();
                const std::size_t n = co_await read_some(large ? direct : std::span<std::byte>(buffer_));
                if (large) reader_.filled(n);
                used_ = 0;
                filled_ = large ? 0 : n;
                if (idle_limit_) end_at(clock::now() + *idle_limit_);
                heard_();
            }
        } catch (const boost::system::system_error& e) {
            failed = in_words(e.code());
        } catch (const serialization_error& e) {
            failed = e.what();
            odd = true;
        }
        fail(failed, odd);
    }

    /// @param what Must live until then. @throws comm_error The connection has failed.
    asio::awaitable<void> write(const encoded_message& what) {
        std::vector<asio::const_buffer> buffers;
        for (const bytes_view piece : what.pieces()) buffers.emplace_back(piece.data(), piece.size());
        std::string failed;
        try {
            co_await write_all(buffers);
            co_return;
        } catch (const boost::system::system_error& e) {
            failed = in_words(e.code());
        }
        fail(failed);
    }

    /// The connection is given up then, if it is not told otherwise before.
    void end_at(std::optional<clock::time_point> when) {
        if (!when) {
            timer_.cancel();
            return;
        }
        timer_.expires_at(*when);
        timer_.async_wait([weak = weak_from_this()](error_code cancelled) {
            const auto self = weak.lock();
            if (cancelled || !self || self->timer_.expiry() > clock::now()) return;
            self->timed_out_ = true;
            self->close();
        });
    }
    /// The connection is given up when nothing has come for so long; nothing: never.
    void limit_silence(std::optional<std::chrono::milliseconds> limit) {
        idle_limit_ = limit;
        end_at(limit ? std::optional(clock::now() + *limit) : std::nullopt);
    }

    /// Closes it, also where it only looks for a way there, and keeps it closed.
    void give_up() noexcept {
        given_up_ = true;
        close();
    }
    /// What waits for it fails.
    void close() noexcept {
        if (!open_) return;
        open_ = false;
        fork_guard::close(socket_.native_handle(), [this] {
            error_code ignored;
            socket_.close(ignored);
        });
        timer_.cancel();
    }
    [[nodiscard]] bool is_open() const noexcept { return open_; }
    [[nodiscard]] const address& peer() const noexcept { return peer_; }

private:
    asio::awaitable<void> reach(clock::time_point deadline) {
        doing_ = "connecting";
        auto [addresses, why] = co_await resolve(peer_.host, deadline, given_up_);
        if (addresses.empty())
            throw comm_error("joblot: there is no host \"" + peer_.host + "\" (" + peer_.text() + "): " + why, false);
        for (const asio::ip::address& a : addresses) {
            if (given_up_) break;
            const tcp::endpoint endpoint(a, peer_.port);
            open_socket(endpoint);
            end_at(deadline);
            error_code failed;
            co_await socket_.async_connect(endpoint, asio::redirect_error(asio::use_awaitable, failed));
            if (!failed) {
                socket_.set_option(tcp::no_delay(true), failed);
                co_return;
            }
            why = in_words(failed);
            close();
            if (timed_out_) break;
        }
        throw comm_error("joblot: nobody answers at " + peer_.text() + ": " + why, true);
    }
    /// Not by the socket itself: that would be inherited by programs that are started meanwhile.
    void open_socket(const tcp::endpoint& endpoint) {
        const int number =
            fork_guard::open([&] { return ::socket(endpoint.protocol().family(), SOCK_STREAM | SOCK_CLOEXEC, 0); });
        if (number < 0) {
            const error_code failed(errno, boost::system::system_category());
            throw comm_error("joblot: no socket can be made: " + failed.message(), true);
        }
        socket_.assign(endpoint.protocol(), number);
        open_ = true;
    }

#if defined(JOBLOT_DASK_TLS)
    asio::awaitable<void> start_tls() {
        if (!peer_.tls) co_return;
        doing_ = "starting TLS";
        tls_.emplace(socket_, *tls_context_);
        error_code failed;
        co_await tls_->async_handshake(asio::ssl::stream_base::client,
                                       asio::redirect_error(asio::use_awaitable, failed));
        if (failed) fail(in_words(failed));
    }
    asio::awaitable<std::size_t> read_some(std::span<std::byte> to) {
        const auto buffer = asio::buffer(to.data(), to.size());
        if (tls_) co_return co_await tls_->async_read_some(buffer, asio::use_awaitable);
        co_return co_await socket_.async_read_some(buffer, asio::use_awaitable);
    }
    asio::awaitable<void> write_all(const std::vector<asio::const_buffer>& buffers) {
        if (tls_)
            co_await asio::async_write(*tls_, buffers, asio::use_awaitable);
        else
            co_await asio::async_write(socket_, buffers, asio::use_awaitable);
    }
#else
    asio::awaitable<void> start_tls() { co_return; }
    asio::awaitable<std::size_t> read_some(std::span<std::byte> to) {
        co_return co_await socket_.async_read_some(asio::buffer(to.data(), to.size()), asio::use_awaitable);
    }
    asio::awaitable<void> write_all(const std::vector<asio::const_buffer>& buffers) {
        co_await asio::async_write(socket_, buffers, asio::use_awaitable);
    }
#endif

    /// @param odd Whether something came that was no message.
    [[noreturn]] void fail(const std::string& why, bool odd = false) {
        const bool in_handshake = doing_ == std::string_view("shaking hands");
        const bool ended_by_peer = !timed_out_ && open_;
        close();
        std::string text = "joblot: the connection to " + peer_.text() + " failed while " + doing_ + ": " + why;
        if (in_handshake && odd)
            text += " (is it no Dask scheduler?)";
        else if (in_handshake && ended_by_peer && !peer_.tls)
            text += " (does it want tls://, or is it no Dask scheduler?)";
        else if (in_handshake && ended_by_peer && why.find("certificate") == std::string::npos)
            text += " (does it accept the certificate of tls_options::certificate?)";
        throw comm_error(text, false);
    }
    [[nodiscard]] std::string in_words(const error_code& e) const {
        if (timed_out_) return "no answer in time";
        if (e == asio::error::operation_aborted || e == asio::error::bad_descriptor)
            return "it was closed on this side";
        if (e == asio::error::eof) return "it was closed by the other side";
#if defined(JOBLOT_DASK_TLS)
        if (e == asio::ssl::error::stream_truncated) return "it was closed by the other side";
        if (e.category() == asio::error::get_ssl_category()) return tls_in_words(e);
#endif
        return e.message();
    }
#if defined(JOBLOT_DASK_TLS)
    static std::string tls_in_words(const error_code& e) {
        switch (ERR_GET_REASON(static_cast<unsigned long>(e.value()))) {
        case SSL_R_CERTIFICATE_VERIFY_FAILED:
            return "its certificate is not signed by the authority of tls_options::ca (" + e.message() + ")";
        case SSL_R_WRONG_VERSION_NUMBER:
        case SSL_R_HTTP_REQUEST:
            return "it does not speak TLS; is it a tcp:// address? (" + e.message() + ")";
        case SSL_R_TLSV1_ALERT_UNKNOWN_CA:
        case SSL_R_TLSV13_ALERT_CERTIFICATE_REQUIRED:
        case SSL_R_SSLV3_ALERT_BAD_CERTIFICATE:
        case SSL_R_SSLV3_ALERT_CERTIFICATE_UNKNOWN:
            return "it does not accept the certificate of tls_options::certificate (" + e.message() + ")";
        default:
            return e.message();
        }
    }
#endif

    address peer_;
    std::function<void()> heard_;
    tcp::socket socket_;
    std::shared_ptr<tls_context> tls_context_;
#if defined(JOBLOT_DASK_TLS)
    std::optional<asio::ssl::stream<tcp::socket&>> tls_;
#endif
    asio::steady_timer timer_;
    std::optional<std::chrono::milliseconds> idle_limit_;
    message_reader reader_;
    std::array<std::byte, 1U << 16> buffer_{}; // what has come and was not asked for yet
    std::size_t used_ = 0, filled_ = 0;        // of the buffer
    const char* doing_ = "connecting";
    bool open_ = false;
    bool timed_out_ = false;
    bool given_up_ = false; // by its owner
};

} // namespace JOBLOT_DASK_TLS_KIND
} // namespace joblot::dask::engine
