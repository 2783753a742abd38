// SPDX-License-Identifier: BSL-1.0
// The process's one pool of helper threads: callers open their job to it and go on working; idle helpers join.
#pragma once

#include <joblot/core/requirements.hpp>

#include <joblot/core/scope.hpp>
#include <joblot/cpu_count.hpp>
#include <joblot/dispatch/job.hpp>
#include <joblot/system/fork.hpp>
#include <joblot/system/visibility.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

namespace joblot::detail {

/// Tells the processor that this thread is waiting for another one to write.
inline void pause_cpu() noexcept {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    asm volatile("yield");
#endif
}

/// Repeats `done()` for about as long as a wake-up by the kernel would take several times over. Gives what it gave
/// last. What comes, mostly comes at once: the looks are close together at first, and then ever more rare, as each
/// takes the cache line from the thread that is to write it.
///
/// @param most_pauses Between two looks.
template <class Done>
bool spin_until(int most_pauses, Done done) {
    using clock = std::chrono::steady_clock;
    constexpr auto patience = std::chrono::microseconds(50);
    clock::time_point start{};
    for (int look = 0;; ++look) {
        if (done()) return true;
        const int pauses = std::min(look / 2, most_pauses);
        for (int i = 0; i != pauses; ++i) pause_cpu();
        if (look == 16) start = clock::now();
        if (look > 16 && clock::now() - start >= patience) return done();
    }
}

/// How a call gets help: it opens its job in a slot of the pool and works on it itself. Helpers that find the slot join
/// it and leave when nothing can be claimed any more. At the end the caller closes the slot, after which nobody can
/// join, and waits for those inside only: never for a helper that has not started. As every caller works, nested and
/// simultaneous calls cannot block each other, whatever the size of the pool.
///
/// Calls that follow each other closely cost what the cache lines cost that caller and helper pass to each other, some
/// 100 ns each. So a helper that is done watches the slot that it was in, and says so there: then opening it is all
/// that the caller has to do.
class thread_pool {
    // What a slot's state holds: how many helpers are inside and how many may be (10 bits each), whether one watches
    // the slot, whether it is open for joining, and in the rest how often it was opened.
    static constexpr std::uint32_t inside_mask = 0x3ffU;
    static constexpr std::uint32_t watched_bit = 1U << 20;
    static constexpr std::uint32_t open_bit = 1U << 21;
    static constexpr std::uint32_t once = 1U << 22;
    static constexpr std::uint32_t inside(std::uint32_t state) noexcept { return state & inside_mask; }
    static constexpr std::uint32_t allowed(std::uint32_t state) noexcept { return (state >> 10) & inside_mask; }
    static constexpr std::uint32_t times_opened(std::uint32_t state) noexcept { return state / once; }
    static constexpr bool joinable(std::uint32_t state) noexcept {
        return (state & open_bit) != 0 && inside(state) < allowed(state);
    }

public:
    static constexpr int max_helpers = inside_mask; ///< of one call

private:
    struct alignas(64) slot {
        std::atomic<std::uint32_t> state{0}; // see above; the owner opens and closes it, helpers count themselves
        job* work = nullptr;                 // written by the owner before it opens, read by helpers after they joined
        // Worker ids in use: bit k of word w is id 64 w + k + 1. Helpers only.
        std::array<std::atomic<std::uint64_t>, 16> ids{};
        std::atomic<bool> used{false}; // belongs to some invitation; not on the line that helpers write
    };

public:
    /// The pool, made at its first use; a child process after `fork` gets one of its own.
    static thread_pool& instance() { return one().get(); }

    /// Opens a job to up to `helpers` helpers for as long as it lives. The destructor returns when all have left.
    class invitation {
    public:
        invitation(thread_pool& pool, job& j, int helpers) : pool_(pool), slot_(pool.take_slot()) {
            if (!slot_) return; // more simultaneous calls than slots: this one works alone
            helpers = std::min(helpers, max_helpers);
            pool_.grow(static_cast<std::size_t>(helpers));
            slot_->work = &j;
            const bool watched = open(*slot_, static_cast<std::uint32_t>(helpers));
            if (watched && helpers == 1) return;
            announced_ = true;
            rung_ = pool_.announce(*slot_);
            if (!rung_) opened_at_ = clock::now();
        }
        ~invitation() {
            withdraw();
            if (slot_) pool_.wait_until_empty(*slot_);
        }
        /// There is something to claim again: lets helpers come that have left since. Any thread may call it while the
        /// invitation is neither withdrawn nor destroyed.
        void renew() noexcept {
            if (!slot_) return;
            pool_.open_.fetch_or(pool_.bit_of(*slot_), std::memory_order_seq_cst); // as in announce; close() finds it
            pool_.wake(1);
        }
        /// To be called between batches: wakes a helper if none was woken at the start and the call turns out to last
        /// longer than waking one would take.
        void ring_if_it_lasts() noexcept {
            constexpr auto short_call = std::chrono::microseconds(3);
            if (rung_ || !slot_ || clock::now() - opened_at_ < short_call) return;
            rung_ = true;
            pool_.wake(1);
        }
        /// Nobody may join any more; those inside stay. For when nothing is left to claim: a helper that came now
        /// would only keep the caller waiting.
        void withdraw() noexcept {
            if (!slot_ || !open_) return;
            open_ = false;
            pool_.close(*slot_, announced_);
        }
        invitation(const invitation&) = delete;
        invitation& operator=(const invitation&) = delete;

    private:
        using clock = std::chrono::steady_clock;

        thread_pool& pool_;
        slot* slot_;
        bool open_ = true;
        bool announced_ = false; // to all helpers, not only to the one that watches
        bool rung_ = true;       // a sleeper was woken, or none has to be
        clock::time_point opened_at_{};
    };

    /// How many helpers were started. For tests.
    [[nodiscard]] std::size_t size() const noexcept { return started_.load(std::memory_order_relaxed); }

private:
    struct helper {
        std::thread thread;
        std::atomic<bool> busy{false}; // may be inside a slot; written by the helper, read by shut_down
        // The helper's own: the slot that it watches, or null, and how often that had been opened when it left.
        slot* watched = nullptr;
        std::uint32_t seen = 0;
    };

    friend class per_process<thread_pool>;
    JOBLOT_ONE_PER_PROCESS static per_process<thread_pool>& one() noexcept {
        static constinit per_process<thread_pool> pool; // never destroyed: helpers may still run tasks
        return pool;
    }
    thread_pool() {
        std::atexit([] {
            if (thread_pool* const pool = one().peek()) pool->shut_down();
        });
    }

    /// At exit: ends the helpers that are idle. One that is inside a task, or is the thread that called `exit`, cannot
    /// be waited for and is left to the end of the process. Later calls work without help.
    void shut_down() {
        const std::lock_guard lock(growth_);
        if (stopping_.exchange(true, std::memory_order_seq_cst)) return; // against helper::busy, see take_part
        bell_.fetch_add(1, std::memory_order_seq_cst);
        bell_.notify_all();
        for (const auto& h : helpers_) {
            if (h->thread.get_id() == std::this_thread::get_id() || h->busy.load(std::memory_order_seq_cst))
                h->thread.detach();
            else
                h->thread.join();
        }
        // helpers_ stays as it is: those that were detached still use theirs
    }

    // --- the caller's side

    JOBLOT_ONE_PER_PROCESS slot* take_slot() noexcept {
        // Each thread tries the slot that it had last: no contention where callers do not change.
        thread_local std::size_t mine = 0;
        for (std::size_t tried = 0; tried != slots_.size(); ++tried, mine = (mine + 1) % slots_.size()) {
            slot& s = slots_[mine];
            if (!s.used.load(std::memory_order_relaxed) && !s.used.exchange(true, std::memory_order_acquire)) return &s;
        }
        return nullptr;
    }

    /// Sees to it that `wanted` helpers exist. Calls from inside tasks do not add any, nor does a failing system.
    void grow(std::size_t wanted) noexcept {
        if (started_.load(std::memory_order_relaxed) >= wanted || scope_here().may_not_add_threads()) return;
        const std::lock_guard lock(growth_);
        try {
            while (!stopping_.load(std::memory_order_relaxed) && helpers_.size() < wanted) {
                auto h = std::make_unique<helper>();
                helpers_.reserve(helpers_.size() + 1); // so that nothing can fail once the thread runs
                start(*h, helpers_.size());
                helpers_.push_back(std::move(h));
                started_.store(helpers_.size(), std::memory_order_relaxed);
            }
        } catch (const std::exception&) { // no more threads or memory to be had: the call goes on with fewer
        }
    }

    // With growth_ held.
    void start(helper& self, std::size_t number) {
        self.thread = std::thread([this, &self, number] { help(self, number); });
    }

    /// A task ends this helper's thread: another one takes its place, if there is one to be had. The helper stays
    /// busy until then, so that shut_down does not wait for it while it waits here.
    void replace(helper& self, std::size_t number) noexcept {
        const std::lock_guard lock(growth_);
        if (stopping_.load(std::memory_order_relaxed)) return; // the thread was let go
        self.thread.detach();
        self.busy.store(false, std::memory_order_relaxed);
        try {
            start(self, number);
        } catch (const std::exception&) { // the next call tries again
            std::erase_if(helpers_, [&](const auto& h) { return h.get() == &self; });
            started_.store(helpers_.size(), std::memory_order_relaxed);
        }
    }

    /// Opens a slot to so many helpers. Whether one was watching it: that one will see it, as it gives up watching by
    /// an atomic operation on the same word (see stop_watching).
    static bool open(slot& s, std::uint32_t helpers) noexcept {
        std::uint32_t before = s.state.load(std::memory_order_relaxed); // closed, and nobody is inside
        const auto opened = [&] { return ((times_opened(before) + 1) * once) | open_bit | helpers << 10; };
        // release: who joins sees the job
        while (!s.state.compare_exchange_weak(before, opened() | (before & watched_bit), std::memory_order_release,
                                              std::memory_order_relaxed)) {
        }
        return (before & watched_bit) != 0;
    }

    /// Lets the helpers see an opened slot. False where nobody was woken, though some sleep, as one is dozing: it will
    /// look in a moment.
    bool announce(slot& s) noexcept {
        // seq_cst: a helper that goes to sleep, or ends its doze, sees the bit, or we see that it does (see sleep,
        // doze).
        open_.fetch_or(bit_of(s), std::memory_order_seq_cst);
        if (dozing_.load(std::memory_order_seq_cst)) return sleepers_.load(std::memory_order_relaxed) == 0;
        wake(1);
        return true;
    }

    /// Nobody may join any more. Where nobody can, as all that may be inside are, the state is left as it is: its line
    /// is with a helper, who closes the slot when it leaves.
    void close(slot& s, bool announced) noexcept {
        if (joinable(s.state.load(std::memory_order_relaxed))) s.state.fetch_and(~open_bit, std::memory_order_relaxed);
        if (announced || (open_.load(std::memory_order_relaxed) & bit_of(s)) != 0) // or renewed
            open_.fetch_and(~bit_of(s), std::memory_order_relaxed);
    }

    void wait_until_empty(slot& s) noexcept {
        // acquire: what the helpers wrote is seen by whoever reads the results
        std::uint32_t state = 0;
        const auto empty = [&] {
            state = s.state.load(std::memory_order_acquire);
            if (joinable(state)) // somebody has left who could not know that nothing will come any more
                state = s.state.fetch_and(~open_bit, std::memory_order_acquire) & ~open_bit;
            return inside(state) == 0;
        };
        if (!spin_until(4, empty)) {
            while (!empty()) s.state.wait(state, std::memory_order_acquire);
        }
        s.used.store(false, std::memory_order_release);
    }

    /// Wakes up to so many sleeping helpers. Whoever rings takes the sleeper off the count, as the helper itself may
    /// run only much later: calls until then must not ring in vain.
    void wake(int helpers) noexcept {
        for (; helpers > 0 && take_sleeper(); --helpers) {
            bell_.fetch_add(1, std::memory_order_seq_cst);
            bell_.notify_one();
        }
    }

    bool take_sleeper() noexcept {
        int asleep = sleepers_.load(std::memory_order_seq_cst);
        while (asleep > 0) {
            if (sleepers_.compare_exchange_weak(asleep, asleep - 1, std::memory_order_seq_cst)) return true;
        }
        return false;
    }

    // --- the helpers' side

    void help(helper& self, std::size_t number) {
        try {
            while (!stopping_.load(std::memory_order_relaxed)) {
                if (take_part(self, number) || look_out(self) || stop_watching(self)) continue;
                if (!doze()) sleep();
            }
        } catch (...) {
            if (thread_ends()) replace(self, number);
            throw;
        }
    }

    /// Joins an open job, if there is one, and works until it has nothing more to claim.
    bool take_part(helper& self, std::size_t number) {
        if (!opened_again(self) && !open_.load(std::memory_order_relaxed)) return false;
        // seq_cst, here and in shut_down: either we see that the pool stops, or it sees that we are busy.
        self.busy.store(true, std::memory_order_seq_cst);
        slot* joined = nullptr;
        if (!stopping_.load(std::memory_order_seq_cst)) {
            joined = join_watched(self);
            if (!joined) joined = join_any(number);
            if (joined) work_in(*joined, self);
        }
        self.busy.store(false, std::memory_order_release);
        return joined != nullptr;
    }

    slot* join_any(std::size_t number) noexcept {
        // helpers start at different slots, so that simultaneous calls all get some
        const int start = static_cast<int>(number % slots_.size());
        for (std::uint64_t left = std::rotr(open_.load(std::memory_order_acquire), start); left; left &= left - 1) {
            slot& s = slots_[(static_cast<std::size_t>(std::countr_zero(left)) + number) % slots_.size()];
            if (join(s)) return &s;
        }
        return nullptr;
    }

    // --- watching a slot. The bit may be gone while somebody watches: then the owner announces as if nobody did. It is
    // never there for nobody, but where the pool stops.

    [[nodiscard]] static bool is_new(const helper& self, std::uint32_t state) noexcept {
        return joinable(state) && times_opened(state) != self.seen;
    }
    [[nodiscard]] static bool opened_again(const helper& self) noexcept {
        return self.watched && is_new(self, self.watched->state.load(std::memory_order_relaxed));
    }
    /// Ends watching. Gives the slot if it was opened meanwhile, and has joined it then.
    static slot* join_watched(helper& self) noexcept {
        slot* const s = std::exchange(self.watched, nullptr);
        if (!s) return nullptr;
        std::uint32_t state = s->state.load(std::memory_order_relaxed);
        for (;;) {
            const bool in = is_new(self, state);
            // acquire: the owner's job is seen
            if (s->state.compare_exchange_weak(state, (state & ~watched_bit) + (in ? 1 : 0), std::memory_order_acquire,
                                               std::memory_order_relaxed))
                return in ? s : nullptr;
        }
    }
    /// Ends watching, unless the slot was opened meanwhile: then true.
    static bool stop_watching(helper& self) noexcept {
        if (!self.watched) return false;
        std::uint32_t state = self.watched->state.load(std::memory_order_relaxed);
        do {
            if (is_new(self, state)) return true;
        } while (!self.watched->state.compare_exchange_weak(state, state & ~watched_bit, std::memory_order_relaxed));
        self.watched = nullptr;
        return false;
    }

    static bool join(slot& s) noexcept {
        std::uint32_t state = s.state.load(std::memory_order_relaxed);
        // acquire: the owner's job is seen
        while (joinable(state)) {
            if (s.state.compare_exchange_weak(state, state + 1, std::memory_order_acquire, std::memory_order_relaxed))
                return true;
        }
        return false;
    }

    /// A helper's place in a slot that it has joined. It leaves at the end, also where a task ends the thread.
    class seat {
    public:
        explicit seat(slot& s) noexcept : slot_(s), id_(take_id(s)) {}
        ~seat() {
            free_id(slot_, id_);
            // release: our results are seen by the owner
            std::uint32_t state = slot_.state.load(std::memory_order_relaxed), left = 0;
            do left = ((state - 1) & ~closes_) | (watcher_ ? watched_bit : 0);
            while (
                !slot_.state.compare_exchange_weak(state, left, std::memory_order_acq_rel, std::memory_order_relaxed));
            if (watcher_) watcher_->seen = times_opened(left);
            // The owner may wait for the last one, or to close the slot. The slot itself never goes away.
            if ((left & open_bit) ? allowed(left) == inside(left) + 1 : inside(left) == 0) slot_.state.notify_all();
        }
        seat(const seat&) = delete;
        seat& operator=(const seat&) = delete;
        [[nodiscard]] int id() const noexcept { return id_; }
        /// The helper watches the slot from when it leaves.
        void watch_as(helper& self) noexcept {
            watcher_ = &self;
            self.watched = &slot_;
        }
        /// Nothing will come any more: the slot is closed when the helper leaves.
        void close_at_end() noexcept { closes_ = open_bit; }

    private:
        slot& slot_;
        int id_;
        helper* watcher_ = nullptr;
        std::uint32_t closes_ = 0;
    };

    void work_in(slot& s, helper& self) {
        if (joinable(s.state.load(std::memory_order_relaxed))) wake(2); // a tree: nobody wakes all the others alone
        seat here(s);
        s.work->work(here.id());
        // Nothing can be claimed now: nobody else need come. But it may be that the invitation was renewed before we
        // took the bit away; then there is something to claim again. The slot is still the owner's, as we are inside.
        while ((open_.load(std::memory_order_relaxed) & bit_of(s)) != 0) {
            open_.fetch_and(~bit_of(s), std::memory_order_seq_cst);
            if (!s.work->work(here.id())) break;
        }
        if (s.work->tasks_left() == 0) here.close_at_end();
        here.watch_as(self);
    }

    // There are no more helpers inside than ids, so one is always free. relaxed: an id is a number and nothing else;
    // that its last holder has left is seen through the atomic operation itself.
    static int take_id(slot& s) noexcept {
        for (std::size_t w = 0;; w = (w + 1) % s.ids.size()) {
            const int bit = std::countr_one(s.ids[w].load(std::memory_order_relaxed));
            if (bit == 64) continue;
            const std::uint64_t mine = std::uint64_t{1} << bit;
            if (!(s.ids[w].fetch_or(mine, std::memory_order_acq_rel) & mine)) return static_cast<int>(w) * 64 + bit + 1;
            w = s.ids.size() - 1; // somebody was faster: start over, ids must stay below the number of workers
        }
    }
    static void free_id(slot& s, int id) noexcept {
        const auto n = static_cast<std::size_t>(id - 1);
        s.ids[n / 64].fetch_and(~(std::uint64_t{1} << (n % 64)), std::memory_order_acq_rel);
    }

    /// Watches for work for some tens of microseconds: the next call often comes soon, and costs no wake-up then.
    bool look_out(const helper& self) {
        // As many as there are other CPUs: more would only keep working threads from theirs.
        if (watchers_.fetch_add(1, std::memory_order_relaxed) >= cpu_count() - 1) {
            watchers_.fetch_sub(1, std::memory_order_relaxed);
            return false;
        }
        const bool found = spin_until(
            32, [&] { return opened_again(self) || something_to_join() || stopping_.load(std::memory_order_relaxed); });
        watchers_.fetch_sub(1, std::memory_order_relaxed);
        return found;
    }

    /// After it has looked out in vain, one helper looks again every now and then, for some milliseconds: calls that
    /// come in such bursts, too short to be worth a helper, need not pay for waking one (see ring_if_it_lasts).
    bool doze() {
        constexpr auto nap = std::chrono::microseconds(50); // and as long again until the kernel is back
        constexpr int naps = 100;
        if (dozing_.exchange(true, std::memory_order_relaxed)) return false;
        bool found = false;
        for (int i = 0; i != naps && !found && !stopping_.load(std::memory_order_relaxed); ++i) {
            std::this_thread::sleep_for(nap);
            found = something_to_join();
        }
        // seq_cst: before the last look at open_, in sleep; who counted on our doze opened a slot before this
        dozing_.store(false, std::memory_order_seq_cst);
        wake(jobs_to_join() - 1); // whoever opened a slot meanwhile has woken nobody: one of them is for us
        return found;
    }

    void sleep() noexcept {
        // In this order: a ring that counts on us comes after we are counted, so it changes what we wait on; and
        // whoever opens a slot before that is seen below (both seq_cst, see announce).
        const std::uint32_t ticket = bell_.load(std::memory_order_seq_cst);
        sleepers_.fetch_add(1, std::memory_order_seq_cst);
        if (!something_to_join() && !stopping_.load(std::memory_order_seq_cst))
            bell_.wait(ticket, std::memory_order_seq_cst); // who rang has taken us off the count
        else
            take_sleeper(); // or a ringer has done so already
    }

    /// How many there are, up to `enough`.
    [[nodiscard]] int jobs_to_join(int enough = static_cast<int>(max_slots)) const noexcept {
        int found = 0;
        for (std::uint64_t left = open_.load(std::memory_order_seq_cst); left && found != enough; left &= left - 1) {
            const slot& s = slots_[static_cast<std::size_t>(std::countr_zero(left))];
            found += joinable(s.state.load(std::memory_order_relaxed)) ? 1 : 0;
        }
        return found;
    }
    [[nodiscard]] bool something_to_join() const noexcept { return jobs_to_join(1) != 0; }

    std::uint64_t bit_of(const slot& s) const noexcept { return std::uint64_t{1} << (&s - slots_.data()); }

    static constexpr std::size_t max_slots = 64; // as many as open_ has bits
    std::array<slot, max_slots> slots_{};
    // Bit i: slot i may be worth a look. Set by owners, cleared by owners and by helpers inside.
    alignas(64) std::atomic<std::uint64_t> open_{0};
    // Helpers sleep on the bell; it is rung for one of them by adding 1.
    alignas(64) std::atomic<std::uint32_t> bell_{0};
    std::atomic<int> sleepers_{0};    // never fewer than sleep and were not rung for; may be one more for a moment
    std::atomic<bool> dozing_{false}; // some helper looks at open_ every now and then
    alignas(64) std::atomic<int> watchers_{0}; // helpers that look out for work without sleeping
    alignas(64) std::atomic<bool> stopping_{false};
    std::atomic<std::size_t> started_{0}; // == helpers_.size(), to be read without the mutex
    std::mutex growth_;                   // guards helpers_
    std::vector<std::unique_ptr<helper>> helpers_;
};

} // namespace joblot::detail
