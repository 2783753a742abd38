// SPDX-License-Identifier: BSL-1.0
// Fuzzes what the owner of workers makes of their answers: results that come in any order, twice, or never, with any
// content, for a live call that gives a vector, outcomes, or a generator. An answer is kept or gives a
// serialization_error, as its head says; what was kept is what the call gives, and each value once.
//
// Input: the kind of call; tasks; retries; size of a batch; flags; then what happens, see `call::step`. All on this
// thread: it does what a driver does, without the processes.

#include "fuzz_results.hpp"
#include "fuzz_script.hpp"

#include <joblot/delayed.hpp>
#include <joblot/dispatch/indexed_job.hpp>
#include <joblot/dispatch/remote_batches.hpp>
#include <joblot/dispatch/stream_job.hpp>
#include <joblot/wire/remote_task.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <deque>
#include <exception>
#include <optional>
#include <ranges>
#include <span>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace {

using namespace joblot::detail;
using fuzz::require;

struct work {
    std::string operator()(int i) const { return std::to_string(i); }
};

/// A batch that was claimed, and how much of an answer to it has come.
struct given {
    explicit given(claimed_batch b) : c(std::move(b)) {}
    claimed_batch c;
    std::size_t received = 0;
    bool settled = false;
};

/// When results of a call can be had.
enum class readable { at_end, in_order, as_they_come };

/// What is the same for all kinds of calls; a kind adds how its results are had.
class call {
public:
    call(joblot::job& j, readable when, std::size_t tasks, fuzz::script& in, unsigned flags)
        : job_(j), when_(when), in_(in), batches_(j, j.remote_runner().location(), true), kept_(tasks) {
        if (flags & 1) batches_.tell_results_apart();
    }

    /// Plays the script, and looks at what the call gives.
    void run() {
        {
            joblot::worker seat(job_, 0);
            seat_ = &seat;
            play();
        }
        if (job_.state() == joblot::progress_state::finished && !job_.all_done()) // as `run_to_end` does
            job_.abort(std::make_exception_ptr(joblot::backend_error("not all tasks were done")));
        bool whole = true;
        try {
            job_.throw_if_failed();
        } catch (...) { // what the call throws: the workers' own lies among it
            whole = false;
        }
        look_at_results(whole);
    }

protected:
    ~call() = default;
    call(const call&) = delete;
    call& operator=(const call&) = delete;

    /// For a generator: reads the next result. False when the call is over.
    virtual bool read_next() { return false; }
    /// @param whole Whether the call throws nothing.
    virtual void look_at_results(bool whole) = 0;

    /// What the call gives is what was kept, and each value once.
    void gave(std::size_t index, const std::string& value) {
        require(kept_.at(index) == value);
        kept_[index].reset();
        ++read_;
    }
    [[nodiscard]] std::size_t tasks() const noexcept { return kept_.size(); }
    [[nodiscard]] std::size_t read() const noexcept { return read_; }
    [[nodiscard]] bool is_kept(std::size_t index) const noexcept { return kept_[index].has_value(); }

private:
    void play() {
        const bool to_its_end = (in_.next_from_back() & 1) != 0;
        while (!in_.empty()) {
            step();
            pump();
        }
        if (to_its_end)
            finish();
        else
            job_.stop();
        for (given& g : given_) {
            if (!g.settled) batches_.settle(g.c, *seat_);
        }
    }

    void step() {
        switch (in_.next() % 16) {
        case 0:
        case 1:
        case 2:
            claim();
            break;
        case 3:
            worker_is_lost();
            break;
        case 4:
            job_.stop();
            break;
        case 5:
            if (!given_.empty()) pick().c.note_progress(in_.next());
            break;
        case 6:
        case 7:
        case 8:
            read_one();
            break;
        default:
            if (!given_.empty()) deliver(pick());
        }
    }

    given& pick() { return given_[given_.size() - 1 - in_.next() % given_.size()]; }

    bool claim() {
        auto c = batches_.claim(*seat_);
        if (c) given_.emplace_back(std::move(*c));
        return c.has_value();
    }

    /// Sends what is to be sent, and settles what is over, as drivers do.
    void pump() {
        for (given& g : given_) {
            while (!g.settled && g.c.sent().size() == 0 && !g.c.is_over(job_.limit())) send(g);
            if (g.settled || !g.c.is_over(job_.limit())) continue;
            batches_.settle(g.c, *seat_);
            g.settled = true;
        }
    }
    void send(given& g) {
        claimed_batch::range range = g.c.next_range(job_.limit(), joblot::job::none);
        outgoing message;
        range = batches_.write_request(g.c, range, ++requests_, 0, message);
        for (std::size_t k = range.begin; k != range.end; ++k) require(!g.c.is_done(k));
        g.c.note_sent(range, requests_);
        g.received = 0;
    }

    // --- answers

    /// What the head says of an answer: whether it can be of what was asked for, and is the next of it.
    static bool fits(const given& g, const run_results& head) noexcept {
        const std::size_t size = g.c.sent().size();
        return size != 0 && head.sequence == g.c.sequence() && head.begin == g.received &&
               head.count <= size - g.received && head.took >= 0 && (head.last == 0 || head.begin + head.count == size);
    }

    /// Takes an answer as drivers do. With nothing left in the script it is the next result, and the right one.
    void deliver(given& g) {
        if (g.c.sent().size() == 0) return; // a driver has no batch to which it might be an answer
        const outgoing message = fuzz::answer(in_, g.c, g.received);
        const std::vector<bytes_view> blocks = message.blocks;
        const incoming arrived(message.stream, blocks);
        run_results head;
        const bool whole = message.stream.size() >= sizeof head;
        if (whole) std::memcpy(&head, message.stream.data(), sizeof head);
        const bool right = whole && fits(g, head);
        left_out_.reset();
        const bool sound = right && note_values(g, arrived, head.count);
        try {
            const run_results taken = batches_.take_results(g.c, arrived, "a process", *seat_);
            require(right && sound && taken.count == head.count && (!left_out_ || *left_out_ >= job_.limit()));
        } catch (const joblot::serialization_error&) {
            require(!right || !sound || left_out_);
            if (right) forget_refused(g, head.count);
            return worker_is_lost();
        }
        g.received += head.count;
    }

    /// Notes what values an answer has, up to a part that makes no sense. @return Whether all make sense.
    bool note_values(const given& g, incoming message, std::size_t count) {
        static_cast<void>(message.get<run_results>());
        const std::size_t first = g.c.index(g.c.sent().begin + g.received);
        try {
            for (std::size_t i = 0; i != count; ++i) {
                std::uint32_t mark = 0;
                decoder from(message.part(mark));
                const auto kind = static_cast<task_result_kind>(mark);
                if (mark == 0 || kind > task_result_kind::unreadable) return false;
                if (kind == task_result_kind::unreadable) static_cast<void>(decode_exception(from, "a process"));
                if (kind == task_result_kind::skipped && !left_out_ && first + i < job_.limit()) left_out_ = first + i;
                if (kind == task_result_kind::value) note_value(first + i, from);
            }
        } catch (const joblot::serialization_error&) {
            return false;
        }
        return true;
    }
    void note_value(std::size_t index, decoder& from) {
        try {
            kept_.at(index) = decode<std::string>(from);
        } catch (const joblot::serialization_error&) { // the task's failure, and no more than that
        }
    }

    /// Values behind one that was refused were not taken.
    void forget_refused(const given& g, std::size_t count) {
        const std::size_t first = g.c.sent().begin + g.received;
        for (std::size_t k = first; k != first + count; ++k) {
            if (!g.c.is_done(k)) kept_.at(g.c.index(k)).reset();
        }
    }

    /// The worker of all batches has died, and somebody may be to blame.
    void worker_is_lost() {
        const unsigned how = in_.next();
        const std::uint64_t current = how & 1 ? in_.number<std::uint64_t>() : how / 2;
        for (given& g : given_) {
            if (g.settled) continue;
            const auto k = remote_batches::task_at(g.c, current);
            if (!k) continue;
            batches_.task_ended_worker(g.c, *k, *seat_, [&](const joblot::task_info& info) {
                return how & 64 && batches_.timeout()
                           ? batches_.timed_out(info)
                           : std::make_exception_ptr(joblot::worker_crashed(info, {.signal = 11}, "tail"));
            });
        }
        for (given& g : given_) {
            if (g.settled) continue;
            g.c.lost(job_.limit());
            g.received = 0;
        }
    }

    // --- reading

    /// How many results a generator's reader can have by now.
    std::size_t published() {
        std::size_t sum = 0;
        for (given& g : given_) {
            if (!g.settled) batches_.advance(g.c, *seat_);
            std::size_t k = 0;
            while (k != g.c.of().size() && g.c.is_done(k)) ++k;
            sum += k;
            if (when_ == readable::in_order && k != g.c.of().size()) break;
        }
        return sum;
    }
    bool read_one() { return when_ != readable::at_end && published() != read_ && read_next(); }
    /// From here on the workers do as they are told.
    void finish() {
        for (bool more = true; more;) {
            more = false;
            pump();
            for (given& g : given_) {
                if (g.c.sent().size() == 0) continue;
                deliver(g);
                more = true;
            }
            while (read_one()) more = true;
            more |= claim();
        }
    }

    joblot::job& job_;
    const readable when_;
    fuzz::script& in_;
    remote_batches batches_;
    joblot::worker* seat_ = nullptr;
    std::deque<given> given_;
    std::uint64_t requests_ = 0;
    std::vector<std::optional<std::string>> kept_; // the values of tasks, as long as they were not read
    std::size_t read_ = 0;
    std::optional<std::size_t>
        left_out_; // the first task of an answer that may be missing only if one before it failed
};

/// A call that gives all results at its end.
template <class Job>
class whole_call final : public call {
public:
    whole_call(Job& j, std::size_t tasks, fuzz::script& in, unsigned flags)
        : call(j, readable::at_end, tasks, in, flags), job_(j) {}

private:
    void look_at_results(bool whole) override {
        if (!whole) return;
        const auto all = job_.take();
        require(all.size() == tasks());
        for (std::size_t i = 0; i != all.size(); ++i) look_at(i, all[i]);
    }
    void look_at(std::size_t i, const std::string& value) { gave(i, value); }
    void look_at(std::size_t i, const joblot::outcome<std::string>& one) {
        require(one.index() == i && one.has_value() == is_kept(i));
        if (one) gave(i, one.value());
    }

    Job& job_;
};

template <class Job>
class generator_call final : public call {
public:
    generator_call(Job& j, readable when, std::size_t tasks, fuzz::script& in, unsigned flags)
        : call(j, when, tasks, in, flags), job_(j), in_order_(when == readable::in_order) {}

private:
    bool read_next() override {
        const auto one = job_.next();
        if (!one) return false;
        require(!in_order_ || one->index == read());
        gave(one->index, one->value);
        return true;
    }
    void look_at_results(bool whole) override {
        job_.end();
        while (read_next()) continue;
        require(!whole || read() == tasks());
    }

    Job& job_;
    const bool in_order_;
};

auto tasks_of(std::size_t n) {
    static const auto named = joblot::delayed(work(), "work");
    return std::views::iota(0, static_cast<int>(n)) | std::views::transform(named);
}
using task_view = decltype(tasks_of(0));
using indexed = indexed_source<std::ranges::iterator_t<task_view>, true>;

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    fuzz::script in(std::as_bytes(std::span(data, size)));
    const unsigned kind = in.next() % 6;
    const std::size_t n = 1 + in.next() % 16;
    const unsigned retries = in.next() % 3, batch = in.next() % 6, flags = in.next();
    joblot::options o{.n_jobs = 2, .retries = static_cast<int>(retries)};
    if (batch) o.batch_size = static_cast<int>(batch); // 0: adapted, to durations from the wire
    if (flags & 2) o.pre_dispatch = joblot::everything;
    if (flags & 4) o.timeout = std::chrono::seconds(1);
    if (flags & 8 && kind < 2) o.on_stop = joblot::keep;
    call_settings settings{.given = &o, .requested_n_jobs = 2, .workers = 2, .batch_target = std::chrono::seconds(1)};
    auto view = tasks_of(n);
    const auto on_index = [&]<class Results>(std::type_identity<Results>) {
        indexed source(view.begin(), n);
        indexed_job<indexed, Results> j(settings, source, {});
        whole_call(j, n, in, flags).run();
    };
    const auto on_stream = [&]<class Results>(std::type_identity<Results>) {
        stream_job<task_view, true, Results> j(settings, view, delivery::at_end, {});
        whole_call(j, n, in, flags).run();
    };
    const auto on_generator = [&](delivery how, readable when) {
        stream_job<task_view, true, streamed_results<std::string>> j(settings, view, how, {});
        generator_call(j, when, n, in, flags).run();
    };
    constexpr std::type_identity<list_results<std::string>> list;
    constexpr std::type_identity<outcome_results<std::string>> outcomes;
    if (kind == 0) on_index(outcomes);
    if (kind == 1) on_stream(outcomes);
    if (kind == 2) on_index(list);
    if (kind == 3) on_stream(list);
    if (kind == 4) on_generator(delivery::ordered, readable::in_order);
    if (kind == 5) on_generator(delivery::unordered, readable::as_they_come);
    return 0;
}
