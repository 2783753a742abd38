// SPDX-License-Identifier: BSL-1.0
// An open file descriptor that is closed with its owner. It is never 0, 1 or 2: a program may be started without these,
// and what is written to stdout would go into whatever had got its number.
#pragma once

#include <cerrno>
#include <utility>

#include <fcntl.h>
#include <unistd.h>

namespace joblot::detail {

class descriptor {
public:
    descriptor() = default;
    /// Takes over an open descriptor; the number may change. Invalid, with `errno`, where no higher one is to be had.
    explicit descriptor(int number) noexcept : number_(number) {
        if (number >= 0 && number <= 2) move_up();
    }
    descriptor(descriptor&& other) noexcept : number_(std::exchange(other.number_, -1)) {}
    descriptor& operator=(descriptor&& other) noexcept {
        std::swap(number_, other.number_);
        return *this;
    }
    ~descriptor() { close(); }

    [[nodiscard]] int get() const noexcept { return number_; }
    explicit operator bool() const noexcept { return number_ >= 0; }
    void close() noexcept {
        if (number_ >= 0) ::close(std::exchange(number_, -1));
    }
    [[nodiscard]] int release() noexcept { return std::exchange(number_, -1); }

private:
    void move_up() noexcept {
        const int low = std::exchange(number_, ::fcntl(number_, F_DUPFD_CLOEXEC, 3));
        const int why = number_ < 0 ? errno : 0;
        ::close(low);
        if (why) errno = why;
    }

    int number_ = -1;
};

/// Puts /dev/null where stdin, stdout or stderr is closed. For the beginning of a program: our own descriptors are
/// never among the three, but those that others open in our name may be (Asio, the C library), and for a moment each is
/// open under the lowest number, while another thread prints. The runtime of Go does the same.
template <class = void>
void fill_standard_descriptors() noexcept {
    for (int number = 0; number != 3; ++number) {
        if (::fcntl(number, F_GETFD) >= 0) continue;
        const int null = ::open("/dev/null", O_RDWR); // the lowest number that is free; inherited, as the others are
        if (null > number) ::close(null);             // another thread was faster
        if (null < 0) return;                         // there is no /dev
    }
}

} // namespace joblot::detail
