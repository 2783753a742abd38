// SPDX-License-Identifier: BSL-1.0
// One block, sent to another process that reads it and answers: the time of a round trip, over the channel that worker
// processes use. Whether blocks go through the socket or through shared memory is decided when it is compiled (see
// `crossover` in bench/run_processes.py, which compiles it both ways).
#include "command_line.hpp"

#include <joblot/process/channel.hpp>

#include <cstdint>
#include <cstdio>
#include <exception>
#include <numeric>

#include <poll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

namespace {

namespace jd = joblot::detail;

void wait_for(int socket, short what) {
    pollfd ready{socket, what, 0};
    ::poll(&ready, 1, -1);
}

void send(jd::channel& link, jd::frame_kind kind, const jd::outgoing& message, std::uint64_t number) {
    link.send(kind, message, number, {}, [&] { wait_for(link.socket(), POLLOUT); });
}

/// Reads each block and answers with its sum, until the other side is gone.
void answer(jd::channel& link) {
    try {
        while (link.receive(true)) {
            jd::incoming message = link.message();
            const auto size = message.get<std::uint64_t>();
            const jd::bytes_view block = message.take_block(size, 8, "a block");
            const std::span words(reinterpret_cast<const std::uint64_t*>(block.data()), size / 8);
            jd::outgoing reply;
            reply.put(std::accumulate(words.begin(), words.end(), std::uint64_t{0}));
            link.next_frame();
            send(link, jd::frame_kind::results, reply, 0);
        }
    } catch (const jd::disconnected&) { // the end
    }
}

class asker {
public:
    explicit asker(jd::channel& link) : link_(link) {}

    /// Seconds per block, `in_flight` of them on their way at once.
    double seconds_per_block(std::span<const std::uint64_t> block, std::size_t count, int in_flight) {
        const auto start = bench::steady::now();
        std::size_t asked = 0;
        for (std::size_t answered = 0; answered != count; ++answered) {
            for (; asked != count && asked - answered < static_cast<std::size_t>(in_flight); ++asked) ask(block);
            take_answer(block);
        }
        return bench::seconds_since(start) / static_cast<double>(count);
    }

private:
    void ask(std::span<const std::uint64_t> block) {
        jd::outgoing message;
        message.put(std::uint64_t{block.size_bytes()});
        message.put_block(block.data(), block.size_bytes(), 8, true);
        send(link_, jd::frame_kind::run, message, ++sent_);
    }
    void take_answer(std::span<const std::uint64_t> block) {
        link_.receive(true);
        if (link_.message().get<std::uint64_t>() != block.size()) throw std::runtime_error("a wrong sum");
        link_.next_frame();
        link_.shared_out().release(++taken_);
    }

    jd::channel& link_;
    std::uint64_t sent_ = 0, taken_ = 0;
};

/// 'bytes seconds' for each power of two from 4 KiB to 16 MiB.
void measure(jd::channel& link, const bench::parameters& p) {
    asker a(link);
    for (std::size_t bytes = 4U << 10; bytes <= 16U << 20; bytes *= 2) {
        const std::vector<std::uint64_t> block(bytes / 8, 1); // words of 1: the sum is their number
        const std::size_t count = std::clamp<std::size_t>((64U << 20) / bytes, 16, 500);
        std::vector<double> times;
        for (int rep = -1; rep < p.reps; ++rep) {
            const double seconds = a.seconds_per_block(block, count, p.in_flight);
            if (rep >= 0) times.push_back(seconds);
        }
        std::printf("%zu %.9f\n", bytes, bench::median(times));
    }
}

} // namespace

int main(int argc, char** argv) try {
    const bench::parameters p = bench::parse(argc, argv);
    int pair[2];
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0) throw std::runtime_error("socketpair");
    jd::descriptor there = jd::shared_memory("bench-there"), back = jd::shared_memory("bench-back");
    const pid_t child = ::fork();
    jd::descriptor mine(pair[child == 0 ? 1 : 0]);
    jd::descriptor(pair[child == 0 ? 0 : 1]).close();
    if (child == 0) {
        jd::channel link(std::move(mine), std::move(back), std::move(there));
        answer(link);
        ::_exit(0);
    }
    {
        jd::channel link(std::move(mine), std::move(there), std::move(back));
        measure(link, p);
    }
    ::waitpid(child, nullptr, 0);
    return 0;
} catch (const std::exception& e) {
    std::fprintf(stderr, "%s: %s\n", argv[0], e.what());
    return 2;
}
