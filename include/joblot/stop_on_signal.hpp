// SPDX-License-Identifier: BSL-1.0
// `stop_on_signal`: a scope in which Ctrl-C, or another signal, fires a stop token instead of ending the program.
// For POSIX systems.
#pragma once

#include <joblot/core/requirements.hpp>

#include <joblot/system/fork.hpp>
#include <joblot/system/signals_blocked.hpp>
#include <joblot/system/visibility.hpp>

#include <array>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <initializer_list>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <thread>
#include <vector>

#include <poll.h>
#include <semaphore.h>
#include <signal.h>

namespace joblot {

namespace detail {

/// What a scope says and is told. The handler of signals reaches it by the table below, and only with its lock.
struct signal_scope {
    struct entry {
        int signal;
        struct sigaction before; ///< to be put back; our own handler where an older scope waits for that signal, too
    };

    std::vector<entry> entries;
    bool waits = false; // until a signal has come; guarded by the table's lock, as the two below
    signal_scope* older = nullptr;
    signal_scope* newer = nullptr;
    const made_here here;
    std::atomic<int> signal{0};      // the one that came. relaxed: whoever sees it has been woken, or only asks
    std::atomic<bool> ending{false}; // likewise
    sem_t wake_up;                   // of all ways to wake a thread the one that handlers of signals may use
    std::stop_source source;
    std::thread watcher;

    [[nodiscard]] entry* find(int number) noexcept {
        for (entry& e : entries)
            if (e.signal == number) return &e;
        return nullptr;
    }

    /// The watcher's: fires the token, which runs callbacks that take locks, as no handler may.
    void watch() {
        do {
            while (::sem_wait(&wake_up) != 0) {
            }
            if (signal.load(std::memory_order_relaxed) != 0) source.request_stop();
        } while (!ending.load(std::memory_order_relaxed));
    }
};

/// The scopes of this process, the newest first. Its lock is taken with all signals blocked, by handlers, too, so no
/// thread ever waits for itself; it is held for a few system calls.
class signal_table {
public:
    /// @param s Its entries have their signals; those that are ignored are dropped.
    void enter(signal_scope& s) noexcept {
        const signals_blocked quiet;
        lock();
        std::erase_if(s.entries, [](signal_scope::entry& e) {
            ::sigaction(e.signal, nullptr, &e.before);
            return e.before.sa_handler == SIG_IGN; // as under nohup: whoever started the program wants it so
        });
        for (const signal_scope::entry& e : s.entries) listen_to(e.signal);
        s.waits = true;
        s.older = newest_;
        if (newest_) newest_->newer = &s;
        newest_ = &s;
        unlock();
    }
    void leave(signal_scope& s) noexcept {
        const signals_blocked quiet;
        lock();
        put_back(s);
        unlink(s);
        unlock();
    }
    /// A child process has the scope of its parent, but not the thread that belongs to it.
    void note_inherited(signal_scope& s) noexcept {
        s.older = inherited_;
        inherited_ = &s;
    }

    /// In a handler. @return Whether a scope took the signal.
    bool take(int number) noexcept {
        lock();
        signal_scope* s = newest_;
        while (s && !(s->waits && s->find(number))) s = s->older;
        if (s) {
            put_back(*s); // the next one is not ours any more, whatever happens to the watcher
            s->signal.store(number, std::memory_order_relaxed);
            ::sem_post(&s->wake_up);
        } else if (is_ours(number)) {
            static_cast<void>(::signal(number, SIG_DFL)); // kept and put in force again by somebody else
        }
        unlock();
        return s;
    }

    // Around fork: no other thread may be in the midst of a change, and the child has none of its parent's scopes.
    void before_fork() noexcept {
        sigset_t all;
        sigset_t mask;
        sigfillset(&all);
        ::pthread_sigmask(SIG_SETMASK, &all, &mask);
        lock();
        mask_ = mask;
    }
    void after_fork(bool in_child) noexcept {
        for (signal_scope* s = in_child ? newest_ : nullptr; s; s = newest_) {
            put_back(*s);
            unlink(*s);
        }
        const sigset_t mask = mask_;
        unlock();
        ::pthread_sigmask(SIG_SETMASK, &mask, nullptr);
    }

private:
    void lock() noexcept {
        for (int tries = 0; locked_.exchange(true, std::memory_order_acquire); ++tries)
            if (tries > 1000) ::poll(nullptr, 0, 1); // handlers may; the holder may have a lower priority
    }
    void unlock() noexcept { locked_.store(false, std::memory_order_release); }

    static void listen_to(int number) noexcept;
    static bool is_ours(int number) noexcept;
    static bool is_ours(const struct sigaction& a) noexcept;

    /// The signals of a scope mean again what they meant before it.
    static void put_back(signal_scope& s) noexcept {
        if (!s.waits) return;
        s.waits = false;
        for (const signal_scope::entry& e : s.entries) {
            signal_scope* n = s.newer;
            while (n && !(n->waits && n->find(e.signal))) n = n->newer;
            if (!n) {
                if (is_ours(e.signal)) ::sigaction(e.signal, &e.before, nullptr); // else somebody has set their own
            } else if (signal_scope::entry& above = *n->find(e.signal); is_ours(above.before)) {
                above.before = e.before; // it is for the scopes above to put that back
            }
        }
    }
    void unlink(signal_scope& s) noexcept {
        (s.newer ? s.newer->older : newest_) = s.older;
        if (s.older) s.older->newer = s.newer;
        s.newer = s.older = nullptr;
    }

    std::atomic<bool> locked_{false};
    signal_scope* newest_ = nullptr;
    signal_scope* inherited_ = nullptr; // within reach: no leak
    sigset_t mask_{};                   // of the thread that forks
};

JOBLOT_ONE_PER_PROCESS inline constinit signal_table signal_scopes{};

/// What signals are sent to. Nothing in it but what a handler may do.
JOBLOT_ONE_PER_PROCESS inline void on_signal(int number) {
    const int error = errno;
    // Else it came too late for its scope, and means what it means now: when this returns.
    if (!signal_scopes.take(number)) ::raise(number);
    errno = error;
}

inline void signal_table::listen_to(int number) noexcept {
    struct sigaction ours{};
    ours.sa_handler = on_signal;
    ours.sa_flags = SA_RESTART;
    sigfillset(&ours.sa_mask);
    ::sigaction(number, &ours, nullptr);
}
inline bool signal_table::is_ours(const struct sigaction& a) noexcept {
    return !(a.sa_flags & SA_SIGINFO) && a.sa_handler == on_signal;
}
inline bool signal_table::is_ours(int number) noexcept {
    struct sigaction now{};
    return ::sigaction(number, nullptr, &now) == 0 && is_ours(now);
}

inline void guard_signals_at_fork() {
    const std::lock_guard lock(forks.mutex(fork_level::signal_scopes));
    forks.set_handler(fork_level::signal_scopes, [](fork_phase when) noexcept {
        when == fork_phase::before ? signal_scopes.before_fork()
                                   : signal_scopes.after_fork(when == fork_phase::in_child);
    });
}

/// @throws std::invalid_argument A program cannot be stopped by this signal.
inline void check_stop_signal(int number) {
    constexpr std::array never{SIGKILL, SIGSTOP};
    constexpr std::array faults{SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT, SIGSYS};
    const auto refuse = [number](const char* why) {
        throw std::invalid_argument("joblot: stop_on_signal{" + std::to_string(number) + "}: " + why);
    };
    for (const int n : never)
        if (n == number) refuse("no program can handle this signal; use SIGINT or SIGTERM");
    for (const int n : faults)
        if (n == number) refuse("this signal says that the program is broken: it cannot go on; use SIGINT or SIGTERM");
    struct sigaction now{};
    if (number <= 0 || ::sigaction(number, nullptr, &now) != 0)
        refuse("this is no signal that a program can handle; use SIGINT or SIGTERM");
}

} // namespace detail

/// A scope in which signals fire a stop token instead of ending the program:
///
///     joblot::stop_on_signal ctrl_c{SIGINT, SIGTERM};
///     Parallel({.stop = ctrl_c})(tasks);
///
/// The first of them fires the token, from an ordinary thread, so that callbacks may do what they like; and puts back
/// what all of them meant before. So the second Ctrl-C ends the program as usual, also where a task does not heed the
/// stop. The end of the scope puts them back, too, and waits for callbacks that run. Signals that are ignored stay so,
/// as under `nohup`.
///
/// Scopes may be nested, and made by any thread: a signal goes to the newest one that waits for it and has not fired.
/// A signal handler that somebody installs within the scope stays. Child processes after `fork` have what was in force
/// before all scopes. Each scope has a thread. In programs with worker processes it is made after `init`.
///
/// Neither copyable nor movable. Members are thread-safe.
class stop_on_signal {
public:
    /// @throws std::invalid_argument for no signals, for SIGKILL, SIGSTOP, those of faults such as SIGSEGV, and for
    ///         what is no signal; std::system_error where no thread can be started.
    [[nodiscard]] stop_on_signal(std::initializer_list<int> numbers)
        : scope_(std::make_unique<detail::signal_scope>()) {
        if (numbers.size() == 0)
            throw std::invalid_argument("joblot: stop_on_signal{}: no signals; name some, such as SIGINT and SIGTERM");
        for (const int s : numbers) {
            detail::check_stop_signal(s);
            if (!scope_->find(s)) scope_->entries.push_back({s, {}});
        }
        detail::guard_signals_at_fork();
        ::sem_init(&scope_->wake_up, 0, 0);
        {
            const detail::signals_blocked quiet; // the watcher is to get none
            scope_->watcher = std::thread([s = scope_.get()] { s->watch(); });
        }
        detail::signal_scopes.enter(*scope_);
    }
    ~stop_on_signal() {
        if (!scope_->here) {
            detail::signal_scopes.note_inherited(*scope_.release());
            return;
        }
        detail::signal_scopes.leave(*scope_);
        scope_->ending.store(true, std::memory_order_relaxed);
        ::sem_post(&scope_->wake_up);
        scope_->watcher.join();
        ::sem_destroy(&scope_->wake_up);
    }
    stop_on_signal(const stop_on_signal&) = delete;
    stop_on_signal& operator=(const stop_on_signal&) = delete;

    /// The token that fires. It never does after the end of the scope.
    [[nodiscard]] std::stop_token token() const noexcept { return scope_->source.get_token(); }
    /// The same, for `.stop = ctrl_c`.
    operator std::stop_token() const noexcept { return token(); }

    /// The signal that came, or 0.
    [[nodiscard]] int signal() const noexcept { return scope_->signal.load(std::memory_order_relaxed); }

private:
    std::unique_ptr<detail::signal_scope> scope_;
};

} // namespace joblot
