// SPDX-License-Identifier: BSL-1.0
// Fuzzes what the owner of a worker process makes of the board that both share, where any content may stand, and of
// what the worker says on its socket, in all of their order. The real driver and channel serve calls; the workers have
// the owner's ends of their connections, and no process. For the death of a worker, or its time, a task is blamed only
// if it was on a board.
//
// Input: tasks; retries; flags; from the front on what each worker says, from the back on what stands on its board,
// whenever the driver reads or writes a task: see `worker_says` and `beside`.

#include "fuzz_script.hpp"

#include <joblot/delayed.hpp>
#include <joblot/dispatch/indexed_job.hpp>
#include <joblot/dispatch/source.hpp>
#include <joblot/process/engine.hpp>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <limits>
#include <memory>
#include <ranges>
#include <set>
#include <span>
#include <stdexcept>
#include <utility>
#include <vector>

#include <sys/socket.h>
#include <unistd.h>

namespace {

using namespace joblot::detail;
using fuzz::require;

// Private parts that are wanted here: an explicit instantiation may name them.
template <auto Member, class Tag>
struct reveal {
    friend constexpr auto revealed(Tag) { return Member; }
};
struct check_deadline {
    friend constexpr auto revealed(check_deadline);
};
struct current_deadline {
    friend constexpr auto revealed(current_deadline);
};
struct idle_workers {
    friend constexpr auto revealed(idle_workers);
};
template struct reveal<&process_driver::check_deadline, check_deadline>;
template struct reveal<&process_driver::current_deadline, current_deadline>;
template struct reveal<&worker_pool::idle_, idle_workers>;

// A task's argument and its result tell when they are written and read.
struct telling {
    int i = 0;
    template <class Archive>
    void save(Archive& to) const;
    template <class Archive>
    void load(Archive& from);
};
struct work {
    telling operator()(const telling& t) const { return t; }
};

constexpr pid_t nobody = 0x3fffffff; // more than any process has: what is done to it finds none

/// One call, with its driver and its workers.
class play {
public:
    /// @param in_haste Whether the call is stopped when the script has ended.
    play(joblot::job& j, const process_options& o, fuzz::script& in, bool in_haste)
        : job_(j), in_(in), in_haste_(in_haste), config_(o.config), driver_(j, o, 0, 1) {
        current = this;
        if (idle().empty()) add_worker();
    }
    ~play() { // the worker that waits is for the next call
        current = nullptr;
        std::erase_if(idle(), [](const auto& w) { return w.get() != waiting; });
    }
    play(const play&) = delete;
    play& operator=(const play&) = delete;

    void run() {
        const joblot::waker heed(job_, [this] { driver_.heed_limits(); });
        drive(job_, driver_);
    }

    /// The driver writes a task: it has a worker, who may be a new one.
    void writes() {
        if (idle().empty()) {
            if (in_.empty() && in_haste_) job_.stop();
            worker_says();
            add_worker();
        }
        beside();
    }
    /// Something happens while the driver is at work.
    void beside() {
        for (;;) {
            const unsigned what = in_.next_from_back();
            switch (what % 16) {
            case 1:
            case 2:
            case 3: {
                const std::uint64_t index = what & 16 ? raw_from_back() : what / 32;
                on_board_.insert(index);
                board_->current.store(index);
                break;
            }
            case 4:
            case 5:
                board_->started.store(started(what / 16));
                break;
            case 6:
                board_->limit.store(raw_from_back());
                break;
            case 7:
                board_->consumed.store(raw_from_back());
                break;
            case 8:
                driver_.heed_limits();
                break;
            case 9:
            case 10:
                (driver_.*revealed(check_deadline()))();
                break;
            case 11:
                static_cast<void>((driver_.*revealed(current_deadline()))());
                break;
            case 12:
                job_.stop();
                break;
            default:
                return;
            }
        }
    }

    [[nodiscard]] bool may_be_blamed(std::size_t index) const { return on_board_.count(index) != 0; }
    /// Whether workers said things of which this does not know what they mean.
    [[nodiscard]] bool is_wild() const noexcept { return wild_; }

    static inline play* current = nullptr;

private:
    // Of the worker that waits to be leased.
    static inline worker_process* waiting = nullptr;
    static inline descriptor other_end;

    static std::vector<std::unique_ptr<worker_process>>& idle() {
        return worker_pool::instance().*revealed(idle_workers());
    }

    std::uint64_t raw_from_back() noexcept {
        std::uint64_t value = 0;
        for (int i = 0; i != 8; ++i) value = value << 8 | in_.next_from_back();
        return value;
    }
    std::int64_t started(unsigned which) noexcept {
        const auto now = std::chrono::nanoseconds(std::chrono::steady_clock::now().time_since_epoch()).count();
        using limits = std::numeric_limits<std::int64_t>;
        const std::array<std::int64_t, 6> known{
            0, now, now - 1'000'000'000, now + 1'000'000'000, limits::max(), limits::min()};
        return which < known.size() ? known.at(which) : static_cast<std::int64_t>(raw_from_back());
    }

    /// A worker that waits to be leased. The pool starts none as long as there is one.
    void add_worker() {
        worker_ends ends;
        other_end = std::move(ends.socket[1]);
        auto fresh = std::make_unique<worker_process>(nobody, std::move(ends), config_);
        fresh->link().listen_only_to(::getpid());
        fresh->greeted = true;
        waiting = fresh.get();
        worker_pool::instance().give_back(std::move(fresh));
    }

    /// The worker that was leased has said everything, and closes its end: a driver may never wait for more.
    void worker_says() {
        end_ = std::move(other_end);
        board_ = &waiting->board();
        for (;;) {
            const unsigned what = in_.next();
            if (what % 8 == 0) break;
            if (what % 8 == 7) {
                wild_ = true;
                say(in_.bytes(what / 8 * 8));
            } else {
                say_results();
            }
        }
        ::shutdown(end_.get(), SHUT_WR);
    }
    void say(bytes_view bytes) {
        if (!bytes.empty())
            static_cast<void>(::send(end_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT));
    }

    /// Results of a request, which comes later.
    void say_results() {
        const unsigned where = in_.next(), how = in_.next();
        run_results head{.sequence = 1 + where / 64,
                         .begin = where % 8,
                         .count = 1 + where / 8 % 8,
                         .last = (how & 1) == 0,
                         .took = how & 2 ? in_.number<std::int64_t>() : 1'000'000};
        play* const self = std::exchange(current, nullptr); // it is not the driver who writes these
        outgoing message;
        message.put(head);
        for (std::size_t i = 0; i != head.count; ++i) {
            const std::size_t at = message.begin_part();
            encoder to(message);
            auto kind = task_result_kind::value;
            if (how & 4 && i == how / 64) {
                kind = task_result_kind::exception;
                encode_exception(to, std::make_exception_ptr(std::out_of_range("a text")));
            } else if (how & 8 && i == how / 64) {
                kind = task_result_kind::skipped;
            } else {
                encode(to, telling{static_cast<int>(i)});
            }
            message.end_part(at, 0, static_cast<std::uint32_t>(kind));
        }
        current = self;
        const frame_pieces frame(frame_kind::results, message, {}, 0);
        for (const bytes_view piece : frame.pieces()) say(piece);
    }

    joblot::job& job_;
    fuzz::script& in_;
    const bool in_haste_;
    const worker_config config_;
    process_driver driver_;
    descriptor end_; // the other end of the socket of the worker that was leased last
    task_board* board_ = nullptr;
    std::set<std::uint64_t> on_board_;
    bool wild_ = false;
};

template <class Archive>
void telling::save(Archive& to) const {
    to(i);
    if (play::current) play::current->writes();
}
template <class Archive>
void telling::load(Archive& from) {
    from(i);
    if (play::current) play::current->beside();
}

auto tasks_of(std::size_t n) {
    static const auto named = joblot::delayed(work(), "work");
    return std::views::iota(0, static_cast<int>(n)) | std::views::transform([](int i) { return named(telling{i}); });
}
using task_view = decltype(tasks_of(0));

template <class Results>
void run(const joblot::options& o, fuzz::script& in, std::size_t n, bool in_haste) {
    using source_type = indexed_source<std::ranges::iterator_t<task_view>, true>;
    call_settings settings{.given = &o, .requested_n_jobs = 1, .batch_target = std::chrono::seconds(1)};
    auto view = tasks_of(n);
    source_type source(view.begin(), n);
    indexed_job<source_type, Results> j(settings, source, {});
    const process_options with;
    play one(j, with, in, in_haste);
    one.run();
    if (j.state() == joblot::progress_state::finished && !j.all_done()) return;
    try {
        j.throw_if_failed();
    } catch (...) {
        return;
    }
    const auto all = j.take();
    if constexpr (keeps_failures<Results>) {
        for (std::size_t i = 0; i != n; ++i) {
            try {
                static_cast<void>(all[i].value());
            } catch (const std::out_of_range&) {
            } catch (const joblot::cancelled&) {
            } catch (const joblot::error&) {
                require(one.is_wild() || one.may_be_blamed(i));
            }
        }
    }
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    fuzz::script in(std::as_bytes(std::span(data, size)));
    const std::size_t n = 1 + in.next() % 8;
    const unsigned retries = in.next() % 3, flags = in.next();
    joblot::options o{
        .n_jobs = 1, .batch_size = 1 + static_cast<int>(flags / 32), .retries = static_cast<int>(retries)};
    if (flags & 1) o.timeout = std::chrono::milliseconds(10);
    if (flags & 2) o.timeout = std::chrono::nanoseconds::max();
    if (flags & 4) o.on_stop = joblot::keep;
    if (flags & 4 || flags & 8)
        run<outcome_results<telling>>(o, in, n, (flags & 16) == 0);
    else
        run<list_results<telling>>(o, in, n, (flags & 16) == 0);
    return 0;
}
