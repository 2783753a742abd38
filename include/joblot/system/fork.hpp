// SPDX-License-Identifier: BSL-1.0
// What `fork` does to the library: the mutexes that are held meanwhile, always in the same order, and what a child has
// of its own.
#pragma once

#include <joblot/core/requirements.hpp>

#include <joblot/system/visibility.hpp>

#include <atomic>
#include <iterator>
#include <memory>
#include <mutex>

#if __has_include(<pthread.h>)
#include <pthread.h>
#endif

namespace joblot::detail {

/// The mutexes that whoever forks takes first, in this order: in the child what they guard is whole, and no thread that
/// is gone holds one. Who holds one may take those behind it. No user code runs meanwhile. A mutex that is held for
/// long is not among them; nor are those of what a child does not look at, see `per_process`.
enum class fork_level : unsigned char {
    tables,       // what the whole process shares: backends by name, names of functions, sessions
    workers,      // the pool of worker processes
    descriptors,  // those that a child must not keep
    loader,       // what the C library locks for walks over the modules, and does not unlock in a child
    signal_scopes // last: handlers of signals interrupt whoever holds the others
};
enum class fork_phase : unsigned char { before, in_parent, in_child };

/// Constant-initialised and never destroyed: static constructors and destructors make calls, too.
class fork_registry {
public:
    [[nodiscard]] std::mutex& mutex(fork_level l) noexcept { return at(l).mutex; }

    /// What else is done at each fork, with the level's mutex held. In the child it has the only thread, and must not
    /// allocate. To be called with the mutex held, so that no fork sees half of it; again, it changes nothing.
    void set_handler(fork_level l, void (*handler)(fork_phase) noexcept) noexcept { at(l).handler = handler; }

    /// How many forks led to this process. relaxed: it changes where there is one thread.
    [[nodiscard]] unsigned generation() const noexcept { return generation_.load(std::memory_order_relaxed); }

    void before_fork() noexcept {
        for (level& l : levels_) {
            l.mutex.lock();
            if (l.handler) l.handler(fork_phase::before);
        }
    }
    void after_fork(fork_phase where) noexcept {
        for (auto l = std::rbegin(levels_); l != std::rend(levels_); ++l) {
            if (l->handler) l->handler(where);
            l->mutex.unlock();
        }
        if (where == fork_phase::in_child) generation_.fetch_add(1, std::memory_order_relaxed);
    }

private:
    struct level {
        std::mutex mutex;
        void (*handler)(fork_phase) noexcept = nullptr; // guarded by it
    };
    [[nodiscard]] level& at(fork_level l) noexcept { return levels_[static_cast<unsigned char>(l)]; }

    level levels_[static_cast<unsigned char>(fork_level::signal_scopes) + 1];
    std::atomic<unsigned> generation_{0};
};
JOBLOT_ONE_PER_PROCESS inline constinit fork_registry forks{};

#if __has_include(<pthread.h>)
// When the program is loaded. Then handlers of the program's own come later, and take its locks before ours, as its
// calls do.
JOBLOT_ONE_PER_PROCESS inline const bool forks_are_handled =
    ::pthread_atfork([] { forks.before_fork(); }, [] { forks.after_fork(fork_phase::in_parent); },
                     [] { forks.after_fork(fork_phase::in_child); }) == 0;
#endif

/// Guards the tables that the whole process shares. Held for a look-up only.
[[nodiscard]] inline std::mutex& table_mutex() noexcept { return forks.mutex(fork_level::tables); }

/// What is made when it is first asked for, by `make()` or `T()`, inherited by forked children, and never destroyed:
/// static destructors make calls, too. A function's static would not do, as a child may wait for the thread that held
/// its guard. So it may be made in vain, where two threads ask at once. Thread-safe.
template <class T>
class made_once {
public:
    template <class Make>
    T& get(Make make) {
        T* there = made_.load(std::memory_order_acquire);
        if (there) return *there;
        T* const fresh = new T(make());
        if (made_.compare_exchange_strong(there, fresh, std::memory_order_acq_rel)) return *fresh;
        delete fresh;
        return *there;
    }
    T& get() {
        return get([] { return T(); });
    }

private:
    std::atomic<T*> made_{nullptr};
};

/// A member that tells whether what it belongs to was made in this process, and not in one that this is a fork of.
class made_here {
public:
    [[nodiscard]] explicit operator bool() const noexcept { return generation_ == forks.generation(); }

private:
    unsigned generation_ = forks.generation();
};

/// A value of which a forked child has one of its own: its parent's may be locked for ever, or speak of threads and
/// connections that are the parent's. What a child inherited is never touched there. It is made when it is first asked
/// for, without a lock: no thread waits for one that is gone. So it may be made in vain, where two threads ask at once.
///
/// Thread-safe. The value lives until `clear`, which a static one never sees: static destructors make calls too.
template <class T>
class per_process {
public:
    constexpr per_process() noexcept = default;
    per_process(const per_process&) = delete;
    per_process& operator=(const per_process&) = delete;

    T& get() {
        node* there = last_.load(std::memory_order_acquire);
        while (!there || !there->here) {
            auto fresh = std::make_unique<node>(there);
            if (last_.compare_exchange_strong(there, fresh.get(), std::memory_order_acq_rel)) there = fresh.release();
        }
        return there->value;
    }
    /// Null where this process has none yet.
    [[nodiscard]] T* peek() const noexcept {
        node* const there = last_.load(std::memory_order_acquire);
        return there && there->here ? &there->value : nullptr;
    }
    /// Destroys the value, if it is this process's own. For when nobody uses it any more.
    void clear() noexcept {
        node* const there = last_.exchange(nullptr, std::memory_order_acq_rel);
        if (there && there->here) delete there;
    }

private:
    struct node {
        explicit node(const node* b) : before(b) {}
        const made_here here;
        const node* const before; // a parent's: kept within reach, it is no leak
        T value{};
    };

    std::atomic<node*> last_{nullptr};
};

} // namespace joblot::detail
