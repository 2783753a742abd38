// SPDX-License-Identifier: BSL-1.0
// Passes on what a worker writes to stdout or stderr: whole lines, and keeps the last of it.
// Templates, so that only what uses them compiles them: see init.hpp.
#pragma once

#include <joblot/progress/stderr_sink.hpp>
#include <joblot/system/descriptor.hpp>
#include <joblot/system/visibility.hpp>

#include <cerrno>
#include <cstddef>
#include <mutex>
#include <new>
#include <string>
#include <string_view>
#include <utility>

#include <unistd.h>

namespace joblot::detail {

/// Reads a worker's pipe. For one thread at a time.
template <class = void>
class JOBLOT_ONE_TYPE basic_line_relay {
public:
    static constexpr std::size_t longest_line = 64U << 10; ///< longer ones are passed on in pieces
    static constexpr std::size_t tail_size = 4096;

    /// @param pipe The reading end; must not block.
    /// @param to   The descriptor of this process that lines go to.
    basic_line_relay(descriptor pipe, int to) noexcept : pipe_(std::move(pipe)), to_(to) {}

    /// What to wait for, or -1 when the other end is closed.
    [[nodiscard]] int pipe() const noexcept { return pipe_.get(); }

    /// Passes on what is there. Never blocks but for the own stdout or stderr.
    void relay() {
        char buffer[16U << 10];
        while (pipe_) {
            const auto n = ::read(pipe_.get(), buffer, sizeof buffer);
            if (n > 0) {
                take({buffer, static_cast<std::size_t>(n)});
            } else if (n == 0 || (errno != EINTR && errno != EAGAIN && errno != EWOULDBLOCK)) {
                pipe_.close();
            } else if (errno != EINTR) {
                return;
            }
        }
    }
    void close() noexcept { pipe_.close(); }
    /// Nothing more will come: passes on a last line without an end.
    void finish() {
        relay();
        if (!pending_.empty()) write_whole(std::exchange(pending_, {}) + "\n");
    }

    /// The last that was written.
    [[nodiscard]] std::string tail() const { return tail_; }

    /// In a forked child: a thread of the parent may have been in the middle of its turn, and will not end it here.
    static void begin_in_child() noexcept { new (&turn()) std::mutex; }

private:
    void take(std::string_view text) {
        keep(text);
        pending_ += text;
        auto end = pending_.rfind('\n');
        if (end == pending_.npos) {
            if (pending_.size() < longest_line) return;
            end = pending_.size() - 1;
        }
        write_whole(std::string_view(pending_).substr(0, end + 1));
        pending_.erase(0, end + 1);
    }
    /// One worker's lines at a time: the system cuts up what does not fit into a pipe at once.
    void write_whole(std::string_view lines) const {
        const std::lock_guard lock(turn());
        write_descriptor(to_, lines, -1);
    }
    JOBLOT_ONE_PER_PROCESS static std::mutex& turn() noexcept {
        static constinit std::mutex one;
        return one;
    }
    void keep(std::string_view text) {
        tail_ += text;
        if (tail_.size() > tail_size) tail_.erase(0, tail_.size() - tail_size);
    }

    descriptor pipe_;
    int to_;
    std::string pending_; // a line that has not ended yet
    std::string tail_;
};
using line_relay = basic_line_relay<>;

} // namespace joblot::detail
