// SPDX-License-Identifier: BSL-1.0
// Frames over a socket pair, with shared memory beside it for large blocks. Both sides use it: the one that owns a
// worker and the worker.
// Templates, so that only what uses them compiles them: see init.hpp.
#pragma once

#include <joblot/error.hpp>
#include <joblot/process/arena.hpp>
#include <joblot/system/descriptor.hpp>
#include <joblot/system/visibility.hpp>
#include <joblot/wire/frame.hpp>
#include <joblot/wire/segment.hpp>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include <poll.h>
#include <sys/socket.h>
#include <sys/uio.h>

namespace joblot::detail {

/// The other side has closed the connection, or died.
class JOBLOT_ONE_TYPE disconnected : public backend_error {
public:
    disconnected() : backend_error("joblot: the other process has closed the connection") {}
};

/// What `channel` reads and writes: one socket, and a shared file in each direction. For one thread at a time.
template <class = void>
class basic_channel {
public:
    basic_channel(descriptor socket, descriptor outbox, descriptor inbox)
        : socket_(std::move(socket)), outbox_(std::move(outbox)), inbox_(std::move(inbox)), writer_(outbox_.get()),
          reader_(inbox_.get()) {}
    basic_channel(const basic_channel&) = delete;
    basic_channel& operator=(const basic_channel&) = delete;

    /// From now on, what other processes say on the socket is thrown away: a forked child has a copy of all descriptors
    /// that its parent has.
    /// The socket must have had SO_PASSCRED before anything was sent.
    void listen_only_to(pid_t sender) noexcept { sender_ = sender; }

    void close() noexcept {
        socket_.close();
        outbox_.close();
        inbox_.close();
    }
    [[nodiscard]] int socket() const noexcept { return socket_.get(); }
    [[nodiscard]] int outbox() const noexcept { return outbox_.get(); }
    [[nodiscard]] int inbox() const noexcept { return inbox_.get(); }
    [[nodiscard]] arena_writer& shared_out() noexcept { return writer_; }

    /// Sends a message. While the socket takes no more, `meanwhile()` is called, which waits for it (and may do
    /// something else besides). @throws disconnected The other side is gone.
    /// @param images Files that go with it.
    template <class Meanwhile>
    void send(frame_kind kind, const outgoing& message, std::uint64_t number, std::span<const int> images,
              Meanwhile meanwhile) {
        const std::vector<block_place> places = writer_.place(message, number);
        const frame_pieces frame(kind, message, places, images.size());
        std::vector<iovec> left;
        for (const bytes_view p : frame.pieces())
            left.push_back({const_cast<std::byte*>(p.data()), p.size()}); // sendmsg only reads
        std::span<iovec> rest(left);
        bool with_images = !images.empty();
        while (!rest.empty()) {
            const auto sent = send_some(rest, with_images ? images : std::span<const int>());
            if (sent == 0) {
                meanwhile();
                continue;
            }
            with_images = false;
            advance(rest, sent);
        }
    }

    /// Reads what has come, up to the end of a frame. True when one is complete; then it stays until `next_frame`.
    /// @param wait Whether to block until the frame is complete. @throws disconnected, serialization_error.
    bool receive(bool wait) {
        while (!frame_.complete()) {
            if (unread_.empty() && !fill(wait)) return false;
            unread_ = unread_.subspan(frame_.feed(unread_));
        }
        return true;
    }
    [[nodiscard]] const frame_reader& frame() const noexcept { return frame_; }
    /// The message in the frame. What it refers to stays until `next_frame`.
    incoming message() {
        blocks_ = frame_.blocks(reader_.up_to(frame_.shared_end()));
        return {frame_.stream(), blocks_};
    }
    /// The files that came with the frame. @throws serialization_error where they did not.
    std::vector<descriptor> take_images() {
        if (images_.size() < frame_.image_count())
            throw serialization_error("joblot: a broken frame from another process: files are missing", "a frame");
        std::vector<descriptor> taken;
        for (std::size_t i = 0; i != frame_.image_count(); ++i) taken.push_back(std::move(images_[i]));
        images_.erase(images_.begin(), images_.begin() + static_cast<std::ptrdiff_t>(frame_.image_count()));
        return taken;
    }
    void next_frame() noexcept { frame_.restart(); }

private:
    static void advance(std::span<iovec>& rest, std::size_t sent) noexcept {
        while (!rest.empty() && sent >= rest.front().iov_len) {
            sent -= rest.front().iov_len;
            rest = rest.subspan(1);
        }
        if (sent == 0) return;
        rest.front().iov_base = static_cast<std::byte*>(rest.front().iov_base) + sent;
        rest.front().iov_len -= sent;
    }

    static constexpr std::size_t control_size =
        CMSG_SPACE(sizeof(int) * frame_reader::most_images) + CMSG_SPACE(sizeof(ucred));

    /// @return How many bytes were sent; 0 where the socket takes none at the moment.
    std::size_t send_some(std::span<iovec> pieces, std::span<const int> images) {
        msghdr message{};
        message.msg_iov = pieces.data();
        message.msg_iovlen = std::min<std::size_t>(pieces.size(), 512);
        alignas(cmsghdr) std::array<std::byte, control_size> control{};
        if (!images.empty()) {
            message.msg_control = control.data();
            message.msg_controllen = CMSG_SPACE(images.size_bytes());
            cmsghdr* const head = CMSG_FIRSTHDR(&message);
            head->cmsg_level = SOL_SOCKET;
            head->cmsg_type = SCM_RIGHTS;
            head->cmsg_len = CMSG_LEN(images.size_bytes());
            std::memcpy(CMSG_DATA(head), images.data(), images.size_bytes());
        }
        for (;;) {
            const auto sent = ::sendmsg(socket_.get(), &message, MSG_NOSIGNAL | MSG_DONTWAIT);
            if (sent > 0) return static_cast<std::size_t>(sent);
            if (sent < 0 && errno == EINTR) continue;
            if (sent < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return 0;
            throw disconnected();
        }
    }

    /// Reads some bytes, into the frame itself where much is missing. False where there are none and `wait` is not set.
    bool fill(bool wait) {
        const std::span<std::byte> direct = frame_.space();
        const bool into_frame = direct.size() >= staging_size;
        if (!staging_) staging_ = std::make_unique<std::byte[]>(staging_size);
        const std::span<std::byte> to = into_frame ? direct : std::span(staging_.get(), staging_size);
        const std::size_t n = receive_some(to, wait);
        if (n == 0) return false;
        if (into_frame)
            frame_.filled(n);
        else
            unread_ = to.first(n);
        return true;
    }

    std::size_t receive_some(std::span<std::byte> to, bool wait) {
        iovec piece{to.data(), to.size()};
        alignas(cmsghdr) std::array<std::byte, control_size> control;
        for (;;) {
            msghdr message{};
            message.msg_iov = &piece;
            message.msg_iovlen = 1;
            message.msg_control = control.data();
            message.msg_controllen = control.size();
            const auto got = ::recvmsg(socket_.get(), &message, MSG_CMSG_CLOEXEC | (wait ? 0 : MSG_DONTWAIT));
            if (got > 0) {
                if (!keep_images(message)) continue;
                return static_cast<std::size_t>(got);
            }
            if (got < 0 && errno == EINTR) continue;
            if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
                if (!wait) return 0;
                pollfd ready{socket_.get(), POLLIN, 0};
                ::poll(&ready, 1, -1);
                continue;
            }
            throw disconnected();
        }
    }

    /// @return Whether the bytes are the other side's. The system never puts those of two processes together.
    bool keep_images(msghdr& message) {
        bool right_sender = true;
        for (cmsghdr* head = CMSG_FIRSTHDR(&message); head; head = CMSG_NXTHDR(&message, head)) {
            if (head->cmsg_level != SOL_SOCKET) continue;
            if (head->cmsg_type == SCM_CREDENTIALS && sender_ != 0) {
                ucred from{};
                std::memcpy(&from, CMSG_DATA(head), sizeof from);
                right_sender = from.pid == sender_;
            }
            if (head->cmsg_type != SCM_RIGHTS) continue;
            const std::size_t count = (head->cmsg_len - CMSG_LEN(0)) / sizeof(int);
            for (std::size_t i = 0; i != count; ++i) {
                int number = -1;
                std::memcpy(&number, CMSG_DATA(head) + i * sizeof(int), sizeof number);
                images_.emplace_back(number);
            }
        }
        return right_sender;
    }

    static constexpr std::size_t staging_size = 64U << 10;

    descriptor socket_;
    descriptor outbox_; // shared memory for what is sent
    descriptor inbox_;  // shared memory for what is received
    arena_writer writer_;
    arena_reader reader_;
    frame_reader frame_;
    std::unique_ptr<std::byte[]> staging_; // bytes that were read, perhaps of several frames
    std::span<const std::byte> unread_;    // the part of it that no frame has yet
    std::vector<bytes_view> blocks_;
    std::vector<descriptor> images_;
    pid_t sender_ = 0; // whose bytes count; 0: anybody's
};
using channel = basic_channel<>;

} // namespace joblot::detail
