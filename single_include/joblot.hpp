// SPDX-License-Identifier: BSL-1.0
// Written by scripts/single_include.py from include/joblot/: change the headers there.
// All of joblot/joblot.hpp in one file: threads and worker processes. For clusters take the folder include/.
#pragma once

// ---- joblot/joblot.hpp
// All of joblot but the cluster: the front end, and the backends sequential, threads and processes.

// ---- joblot/core/requirements.hpp
// What joblot needs of the compilation. Every header that users name includes it before anything else.

#if __cplusplus >= 202002L
#include <version>
#endif

// A missing file, and not an `#error` alone: compilers go on behind that, and the one line that helps would stand above
// hundreds that do not. Behind a missing file they stop, and the message shows its name. The `#error` is for tools to
// which a missing file is no error.
// clang-format off
#if __cplusplus < 202002L
#include <#error joblot needs C++20: compile with -std=c++20>
#error joblot needs C++20: compile with -std=c++20
#elif !defined(__cpp_exceptions)
#include <#error joblot needs exceptions: compile without -fno-exceptions>
#error joblot needs exceptions: compile without -fno-exceptions
#elif !defined(__cpp_rtti)
#include <#error joblot needs run-time type information: compile without -fno-rtti>
#error joblot needs run-time type information: compile without -fno-rtti
#elif !defined(__cpp_lib_jthread) && defined(_LIBCPP_VERSION)
#include <#error joblot needs std::stop_token, which this libc++ calls experimental: compile and link with -fexperimental-library>
#error joblot needs std::stop_token, which this libc++ calls experimental: compile and link with -fexperimental-library
#elif !defined(__cpp_lib_jthread)
#include <#error joblot needs a standard library with std::stop_token, such as that of g++ 12>
#error joblot needs a standard library with std::stop_token, such as that of g++ 12
#endif
// clang-format on

// ---- joblot/core/macros_off.hpp
// Puts macros of other headers aside that have names which joblot uses, too: `min`, `check`, curses' `timeout`.
// macros_back.hpp brings them back; each header that users name has both around what it includes. Not included once.

#pragma push_macro("F")
#undef F
#pragma push_macro("I")
#undef I
#pragma push_macro("M")
#undef M
#pragma push_macro("N")
#undef N
#pragma push_macro("abs")
#undef abs
#pragma push_macro("bit")
#undef bit
#pragma push_macro("box")
#undef box
#pragma push_macro("check")
#undef check
#pragma push_macro("clear")
#undef clear
#pragma push_macro("columns")
#undef columns
#pragma push_macro("complex")
#undef complex
#pragma push_macro("count")
#undef count
#pragma push_macro("direct")
#undef direct
#pragma push_macro("ensure")
#undef ensure
#pragma push_macro("erase")
#undef erase
#pragma push_macro("error")
#undef error
#pragma push_macro("exception")
#undef exception
#pragma push_macro("expect")
#undef expect
#pragma push_macro("fail")
#undef fail
#pragma push_macro("fork")
#undef fork
#pragma push_macro("global")
#undef global
#pragma push_macro("index")
#undef index
#pragma push_macro("length")
#undef length
#pragma push_macro("lines")
#undef lines
#pragma push_macro("local")
#undef local
#pragma push_macro("log")
#undef log
#pragma push_macro("lookup")
#undef lookup
#pragma push_macro("max")
#undef max
#pragma push_macro("min")
#undef min
#pragma push_macro("move")
#undef move
#pragma push_macro("opaque")
#undef opaque
#pragma push_macro("pulse")
#undef pulse
#pragma push_macro("refresh")
#undef refresh
#pragma push_macro("require")
#undef require
#pragma push_macro("reserved")
#undef reserved
#pragma push_macro("round")
#undef round
#pragma push_macro("self")
#undef self
#pragma push_macro("swap")
#undef swap
#pragma push_macro("timeout")
#undef timeout
#pragma push_macro("unused")
#undef unused
#pragma push_macro("value")
#undef value
#pragma push_macro("verify")
#undef verify
#pragma push_macro("word")
#undef word
#pragma push_macro("yield")
#undef yield

// ---- joblot/backend/backend.hpp
// The contract of a backend: something that runs the batches of a job.

// ---- joblot/dispatch/job.hpp
// The dispatcher: one call, as a backend sees it. Workers pull batches from it and run them.

// ---- joblot/core/task_stop.hpp
// The stop tokens of a call's tasks: made when a task first asks for one, or makes a call of its own, and fired when
// the task's result is not wanted any more.

// ---- joblot/core/stop_alarm.hpp
// Fires stop sources at a given time: time limits of tasks and of calls. One thread for the whole process does it,
// started by the first time limit that needs it.

// ---- joblot/system/fork.hpp
// What `fork` does to the library: the mutexes that are held meanwhile, always in the same order, and what a child has
// of its own.

// ---- joblot/system/visibility.hpp
// Marks what a process has once, so that its executable and its libraries share it whatever they were compiled with.

#include <version> // for the macro that names the standard library

// With `-fvisibility=hidden` each library would have its own copy of what the marked declarations stand for: a guard
// would not reach the calls of a library, and these would not know that they are made in a task. Of equal symbols that
// can be seen the loader uses one. docs/guide/shared_libraries.md says where it does not.

#if defined(__GNUC__) && !defined(_WIN32)

// Those only may share that agree on the layout of joblot's types. So the symbols carry the version and what else
// decides; a library with other headers inside has its own of everything.
#if defined(_LIBCPP_VERSION)
#define JOBLOT_LAYOUT "joblot_0_1_0_libcpp"
#elif defined(_GLIBCXX_DEBUG)
#define JOBLOT_LAYOUT "joblot_0_1_0_debug"
#else
#define JOBLOT_LAYOUT "joblot_0_1_0"
#endif

/// Before a variable that a process, or each of its threads, has once; or before the function that holds it as a static
/// one. The class around that, if it is a template, needs JOBLOT_ONE_TYPE besides. `tests/support/one_per_process.py`
/// finds static variables that nobody marked.
#define JOBLOT_ONE_PER_PROCESS [[gnu::visibility("default"), gnu::abi_tag(JOBLOT_LAYOUT)]]

/// Behind `class`, for an exception and for what is cast dynamically: where the standard library compares types by
/// address, no library could catch or cast what another one made.
#define JOBLOT_ONE_TYPE [[gnu::visibility("default")]]

#else
#define JOBLOT_ONE_PER_PROCESS
#define JOBLOT_ONE_TYPE
#endif

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

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <memory>
#include <mutex>
#include <stop_token>
#include <thread>
#include <utility>

namespace joblot::detail {

class stop_alarm;

/// The thread that fires, and what it has to look after. A child process after `fork` gets one of its own.
class alarm_clock {
public:
    using clock = std::chrono::steady_clock;
    static constexpr std::chrono::milliseconds look_every{10}; ///< at marks that another process writes

    JOBLOT_ONE_PER_PROCESS static alarm_clock& instance() {
        static constinit per_process<alarm_clock> one; // never destroyed: its thread ends with the program
        return one.get();
    }
    [[nodiscard]] bool is_current() const noexcept { return static_cast<bool>(here_); }

    /// @throws std::system_error where the thread cannot be started.
    void add(stop_alarm& a);
    void remove(stop_alarm& a) noexcept;

private:
    friend class per_process<alarm_clock>;
    alarm_clock() = default;

    [[noreturn]] void run();
    /// The source of an alarm that is due, taken off the list; else none, and the time of the next look.
    std::stop_source next_due(clock::time_point now) noexcept;

    std::mutex mutex_; // guards everything below, and what alarms say; never held while a source fires
    std::condition_variable changed_;
    stop_alarm* first_ = nullptr;
    clock::time_point next_look_ = clock::time_point::max();
    bool started_ = false;
    const made_here here_;
};

/// Fires a stop source when its time has come. For one thread; it must live where it was made.
class stop_alarm {
public:
    using clock = alarm_clock::clock;

    explicit stop_alarm(std::stop_source source) : source_(std::move(source)) {}
    /// A source that is being fired at that moment is not waited for: who reacts to it has a `stop_callback`.
    ~stop_alarm() {
        if (clock_ && clock_->is_current()) clock_->remove(*this);
    }
    stop_alarm(const stop_alarm&) = delete;
    stop_alarm& operator=(const stop_alarm&) = delete;

    /// To be called once.
    /// @param mark If given, fires also soon after it has fallen to `index` or below; looked at while this lives.
    void set(clock::time_point when, const std::atomic<std::size_t>* mark = nullptr, std::size_t index = 0) {
        when_ = when;
        mark_ = mark;
        index_ = index;
        clock_ = &alarm_clock::instance();
        clock_->add(*this);
    }

private:
    friend class alarm_clock;

    [[nodiscard]] bool is_due(clock::time_point now) const noexcept {
        return now >= when_ || (mark_ && index_ >= mark_->load(std::memory_order_relaxed)); // no data comes with it
    }
    [[nodiscard]] clock::time_point next_look(clock::time_point now) const noexcept {
        return mark_ ? std::min(when_, now + alarm_clock::look_every) : when_;
    }

    std::stop_source source_;
    clock::time_point when_{};
    const std::atomic<std::size_t>* mark_ = nullptr;
    std::size_t index_ = 0;
    alarm_clock* clock_ = nullptr; // where it was set
    // The clock's list; guarded by its mutex.
    stop_alarm* before_ = nullptr;
    stop_alarm* after_ = nullptr;
    bool listed_ = false;
};

inline void alarm_clock::add(stop_alarm& a) {
    const std::lock_guard lock(mutex_);
    if (!started_) {
        std::thread([this] { run(); }).detach();
        started_ = true;
    }
    a.after_ = first_;
    if (first_) first_->before_ = &a;
    first_ = &a;
    a.listed_ = true;
    const auto look = a.next_look(clock::now());
    if (look >= next_look_) return;
    next_look_ = look;
    changed_.notify_one();
}

inline void alarm_clock::remove(stop_alarm& a) noexcept {
    const std::lock_guard lock(mutex_);
    if (!std::exchange(a.listed_, false)) return;
    (a.before_ ? a.before_->after_ : first_) = a.after_;
    if (a.after_) a.after_->before_ = a.before_;
}

inline std::stop_source alarm_clock::next_due(clock::time_point now) noexcept {
    next_look_ = clock::time_point::max();
    for (stop_alarm* a = first_; a; a = a->after_) {
        if (!a->is_due(now)) {
            next_look_ = std::min(next_look_, a->next_look(now));
            continue;
        }
        (a->before_ ? a->before_->after_ : first_) = a->after_;
        if (a->after_) a->after_->before_ = a->before_;
        a->listed_ = false;
        return a->source_;
    }
    return std::stop_source(std::nostopstate);
}

inline void alarm_clock::run() {
    std::unique_lock lock(mutex_);
    for (;;) {
        if (std::stop_source due = next_due(clock::now()); due.stop_possible()) {
            lock.unlock();
            due.request_stop(); // runs callbacks, the user's too
            due = std::stop_source(std::nostopstate);
            lock.lock();
        } else if (next_look_ == clock::time_point::max()) {
            changed_.wait(lock);
        } else {
            const auto until = next_look_;
            changed_.wait_until(lock, until);
        }
    }
}

} // namespace joblot::detail

#include <atomic>
#include <chrono>
#include <cstddef>
#include <mutex>
#include <stop_token>

namespace joblot::detail {

class task_stop;

/// The tokens of one call's tasks. Thread-safe. Who stops the call lowers its mark first, and then fires them; who
/// asks for a token enters it first, and then looks at the mark. The mutex sees to it that one of both sees the other.
class stop_registry {
public:
    /// Fires the tokens of the tasks at `limit` and above, and runs their callbacks: no lock may be held.
    void fire_from(std::size_t limit) noexcept;

private:
    friend class task_stop;
    std::mutex mutex_; // guards the list and what entries say of being fired; not held while a token fires
    task_stop* first_ = nullptr;
};

/// The token of one task, or of one attempt at it. Lives in the `task_context` and is made and destroyed by its thread.
class task_stop {
public:
    /// @param limit The mark of the call: tasks at it and above are not wanted.
    /// @param foreign Whether another process writes the mark, so that nobody here fires.
    task_stop(stop_registry& call, const std::atomic<std::size_t>& limit, std::size_t index,
              stop_alarm::clock::time_point deadline, bool foreign)
        : call_(call), index_(index), alarm_(source_) {
        if (foreign || deadline != stop_alarm::clock::time_point::max())
            alarm_.set(deadline, foreign ? &limit : nullptr, index);
        enter();
        if (index >= limit.load(std::memory_order_relaxed)) source_.request_stop(); // nobody has its token yet
    }
    ~task_stop() {
        const std::lock_guard lock(call_.mutex_);
        (before_ ? before_->after_ : call_.first_) = after_;
        if (after_) after_->before_ = before_;
    }
    task_stop(const task_stop&) = delete;
    task_stop& operator=(const task_stop&) = delete;

    [[nodiscard]] std::size_t index() const noexcept { return index_; }
    [[nodiscard]] std::stop_token token() const noexcept { return source_.get_token(); }

private:
    friend class stop_registry;

    void enter() noexcept {
        const std::lock_guard lock(call_.mutex_);
        after_ = call_.first_;
        if (after_) after_->before_ = this;
        call_.first_ = this;
    }

    stop_registry& call_;
    const std::size_t index_;
    std::stop_source source_;
    stop_alarm alarm_;
    // The call's list; guarded by its mutex.
    task_stop* before_ = nullptr;
    task_stop* after_ = nullptr;
    bool fired_ = false;
};

inline void stop_registry::fire_from(std::size_t limit) noexcept {
    for (;;) {
        std::stop_source next(std::nostopstate);
        {
            const std::lock_guard lock(mutex_);
            task_stop* t = first_;
            while (t && (t->fired_ || t->index_ < limit)) t = t->after_;
            if (!t) return;
            t->fired_ = true;
            next = t->source_; // shared: the task may end meanwhile
        }
        next.request_stop();
    }
}

} // namespace joblot::detail
// ---- joblot/core/thread_end.hpp
// What the library does where a task ends the thread that runs it: `pthread_exit`, or `pthread_cancel` on itself.

// ---- joblot/error.hpp
// What a call can throw of its own, and which task an exception came from.

#include <chrono>
#include <concepts>
#include <cstddef>
#include <cstdio>
#include <exception>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

namespace joblot {

/// Which task of a call: its position in the input, counted from 0, and its label.
struct task_info {
    std::size_t index = 0;
    std::string label;
};

/// Base of everything that joblot throws, except misuse, which is `std::invalid_argument` or `std::logic_error`,
/// and the user's own exceptions, which come out of a call as they are.
class JOBLOT_ONE_TYPE error : public std::runtime_error {
public:
    using std::runtime_error::runtime_error;
};

/// A task took longer than `options::timeout`, or a call longer than `options::deadline`.
class JOBLOT_ONE_TYPE timeout_error : public error {
public:
    static constexpr std::size_t no_task = static_cast<std::size_t>(-1); ///< `index()` where it was the call's limit

    /// Of a task.
    timeout_error(task_info task, std::chrono::nanoseconds limit)
        : error("joblot: task " + std::to_string(task.index) + " (" + task.label +
                ") took longer than its time limit of " + in_seconds(limit)),
          task_(std::make_shared<const task_info>(std::move(task))), limit_(limit) {}
    /// Of a whole call.
    /// @param completed How many of its tasks had ended well.
    timeout_error(std::chrono::nanoseconds deadline, std::size_t completed)
        : error("joblot: the call took longer than its deadline of " + in_seconds(deadline) +
                "; it was stopped after " + std::to_string(completed) + " completed tasks"),
          task_(std::make_shared<const task_info>(task_info{no_task, {}})), limit_(deadline), completed_(completed) {}

    /// Whether it was the call's deadline, not the time limit of a task.
    [[nodiscard]] bool of_call() const noexcept { return task_->index == no_task; }
    /// Position of the task in the input, counted from 0; `no_task` for a deadline.
    [[nodiscard]] std::size_t index() const noexcept { return task_->index; }
    /// The task's label; "" for a deadline.
    [[nodiscard]] const std::string& label() const noexcept { return task_->label; }
    /// For a deadline: how many tasks had completed when the call ended. Else 0.
    [[nodiscard]] std::size_t completed() const noexcept { return completed_; }
    /// The limit that was passed.
    [[nodiscard]] std::chrono::nanoseconds limit() const noexcept { return limit_; }

private:
    static std::string in_seconds(std::chrono::nanoseconds time) {
        char text[40];
        std::snprintf(text, sizeof text, "%g s", std::chrono::duration<double>(time).count());
        return text;
    }

    std::shared_ptr<const task_info> task_; // shared: copying an exception must not throw
    std::chrono::nanoseconds limit_;
    std::size_t completed_ = 0;
};

/// `options::stop` fired before the call was over. Also what outcomes hold that were not to be waited for, with
/// `options::on_stop`.
class JOBLOT_ONE_TYPE cancelled : public error {
public:
    explicit cancelled(std::size_t completed)
        : error("joblot: the call was cancelled after " + std::to_string(completed) + " completed tasks"),
          completed_(completed) {}

    /// How many tasks had completed when the call ended.
    [[nodiscard]] std::size_t completed() const noexcept { return completed_; }

private:
    std::size_t completed_;
};

/// A backend could not do its work: no workers, no connection, or a contract that it broke.
class JOBLOT_ONE_TYPE backend_error : public error {
public:
    using error::error;
};

/// A task in another process or on another machine threw something that cannot be rebuilt here as its own type: neither
/// a standard exception nor one made known with `register_exception`.
class JOBLOT_ONE_TYPE remote_error : public error {
public:
    /// @param type   Name of the thrown type.
    /// @param text   What its `what()` said; "" where it is no `std::exception`.
    /// @param worker Where it was thrown, e.g. "process 4711".
    remote_error(const std::string& type, const std::string& text, const std::string& worker)
        : error("joblot: a task threw " + type + (text.empty() ? "" : ": " + text) + " (in " + worker + ")"),
          facts_(std::make_shared<const facts>(facts{type, text, worker})) {}

    [[nodiscard]] const std::string& type_name() const noexcept { return facts_->type; }
    [[nodiscard]] const std::string& text() const noexcept { return facts_->text; }
    [[nodiscard]] const std::string& worker() const noexcept { return facts_->worker; }

private:
    struct facts {
        std::string type, text, worker;
    };
    std::shared_ptr<const facts> facts_; // shared: copying an exception must not throw
};

/// How a process ended: by a signal, by `exit`, or nobody knows.
struct process_end {
    std::optional<int> signal{};
    std::optional<int> exit_status{};
    bool closed_connection = false; ///< a task had closed the worker's connection, so that it had to end
};

/// A worker process died under a task.
class JOBLOT_ONE_TYPE worker_crashed : public error {
public:
    /// @param stderr_tail The last of what the worker wrote to stderr.
    worker_crashed(task_info task, process_end end, std::string stderr_tail)
        : error(describe(task, end, stderr_tail)),
          facts_(std::make_shared<const facts>(facts{std::move(task), end, std::move(stderr_tail)})) {}

    /// Position in the input of the task that the worker was on.
    [[nodiscard]] std::size_t index() const noexcept { return facts_->task.index; }
    /// That task's label.
    [[nodiscard]] const std::string& label() const noexcept { return facts_->task.label; }
    /// The signal that ended the worker, if one did.
    [[nodiscard]] std::optional<int> signal() const noexcept { return facts_->end.signal; }
    /// The status that the worker exited with, if it did.
    [[nodiscard]] std::optional<int> exit_status() const noexcept { return facts_->end.exit_status; }
    /// The last of what the worker wrote to stderr.
    [[nodiscard]] const std::string& stderr_tail() const noexcept { return facts_->tail; }

private:
    struct facts {
        task_info task;
        process_end end;
        std::string tail;
    };

    static std::string describe(const task_info& task, const process_end& end, const std::string& tail) {
        std::string text =
            "joblot: the worker process of task " + std::to_string(task.index) + " (" + task.label + ") ";
        if (end.closed_connection)
            text += "lost its connection to the program: its task has closed descriptors that are not its own";
        else if (end.signal)
            text += "was ended by signal " + std::to_string(*end.signal) + signal_name(*end.signal);
        else if (end.exit_status)
            text += "exited with status " + std::to_string(*end.exit_status);
        else
            text += "is gone";
        if (tail.empty()) return text;
        text += "; the last of its stderr:\n" + tail;
        if (text.back() == '\n') text.pop_back();
        return text;
    }
    static std::string signal_name(int signal) {
        switch (signal) {
        case 4:
            return " (SIGILL)";
        case 6:
            return " (SIGABRT)";
        case 7:
            return " (SIGBUS)";
        case 8:
            return " (SIGFPE)";
        case 9:
            return " (SIGKILL)";
        case 11:
            return " (SIGSEGV)";
        case 15:
            return " (SIGTERM)";
        default:
            return {};
        }
    }

    std::shared_ptr<const facts> facts_;
};

/// Something cannot be sent to another process, or bytes that came from there make no sense.
class JOBLOT_ONE_TYPE serialization_error : public error {
public:
    /// @param what   The whole message.
    /// @param type   The type that was to be written or read.
    /// @param offset Where in the message, in bytes.
    serialization_error(const std::string& what, std::string type, std::size_t offset = 0)
        : error(what), type_(std::make_shared<const std::string>(std::move(type))), offset_(offset) {}

    [[nodiscard]] const std::string& type_name() const noexcept { return *type_; }
    [[nodiscard]] std::size_t offset() const noexcept { return offset_; }

private:
    std::shared_ptr<const std::string> type_;
    std::size_t offset_;
};

namespace detail {

/// An exception and the task that it came from.
struct failure {
    std::exception_ptr error;
    task_info task;
    int tries = 1; // how many times the task was tried
};

// The failure that last left a call on this thread. It owns the exception, so that a later exception can never have
// the same address; only this thread touches it.
JOBLOT_ONE_PER_PROCESS inline std::optional<failure>& last_failure() {
    thread_local std::optional<failure> last;
    return last;
}

/// Throws what a task threw, the same object, after noting for `failed_task` where it came from.
[[noreturn]] inline void throw_failure(const failure& f) {
    last_failure() = f;
    std::rethrow_exception(f.error);
}

} // namespace detail

/// Which task an exception came from.
///
/// @param e What a call threw (or what `outcome::error()` gave) on this thread.
/// @return  Index and label of the task, or nothing when `e` is not the last failure that left a call, or an outcome,
///          on this thread. That last exception is kept alive until the thread's next one.
[[nodiscard]] inline std::optional<task_info> failed_task(const std::exception_ptr& e) {
    const auto& last = detail::last_failure();
    if (e && last && last->error == e) return last->task;
    return std::nullopt;
}

/// The same for the exception that is being handled: for use in `catch (...)`.
[[nodiscard]] inline std::optional<task_info> failed_task() { return failed_task(std::current_exception()); }

/// The same for an exception caught by reference, of any type.
template <class E>
    requires(!std::same_as<E, std::exception_ptr>)
[[nodiscard]] std::optional<task_info> failed_task(const E& e) {
    const auto& last = detail::last_failure();
    if (!last) return std::nullopt;
    // The only portable way from an exception_ptr to the object's address.
    try {
        std::rethrow_exception(last->error);
    } catch (const E& kept) {
        if (std::addressof(kept) == std::addressof(e)) return last->task;
    } catch (...) { // another type: not this one
    }
    return std::nullopt;
}

} // namespace joblot

#include <exception>

namespace joblot::detail {

// Such an end unwinds the stack as an exception does, and enters each `catch (...)` on its way. It is none: the thread
// ends, and the C library ends the program where somebody does not throw it on, by `throw;`.

/// In a `catch (...)`: whether what is handled is the end of this thread, which must be thrown on.
inline bool thread_ends() noexcept {
    return std::current_exception() == nullptr; // of the unwinding of other languages there is no pointer
}

/// What is told of it.
inline std::exception_ptr thread_end_error() {
    return std::make_exception_ptr(error("joblot: the thread of this task was ended by the task itself (pthread_exit "
                                         "or pthread_cancel); to end a task early, return or throw"));
}

/// In a `catch (...)`: what to tell of what is handled, be it an exception or the end of this thread.
inline std::exception_ptr caught_error() { return thread_ends() ? thread_end_error() : std::current_exception(); }

} // namespace joblot::detail
// ---- joblot/dispatch/batch.hpp
// What a worker claims: some consecutive tasks of a call; and what may be done with them, whatever their types.

#include <cstddef>
#include <memory>
#include <string>

namespace joblot {

class batch;
class job;
class worker;

namespace detail {

// wire/: what tasks and results are written to and read from, where they run in another process
class encoder;
class decoder;
class result_listener;
class any_partial;

/// How the results of a call are combined into one, without their types; see reduction.hpp. Thread-safe.
class any_reduction {
public:
    any_reduction(const any_reduction&) = delete;
    any_reduction& operator=(const any_reduction&) = delete;

    /// Writes what a worker has to know before it runs tasks of the call.
    virtual void write_opening(encoder& to) const = 0;
    /// What a process that was forked off combines its results in.
    [[nodiscard]] virtual std::unique_ptr<any_partial> partial() const = 0;
    /// Reads what a worker made of `count` results of tasks `first` to `last`, and combines it with what is there.
    /// @throws serialization_error It is not that.
    virtual void take(decoder& from, std::size_t first, std::size_t last, std::size_t count) = 0;

protected:
    any_reduction() = default;
    ~any_reduction() = default;
};

/// Tasks and the places of their results, without their types: all of a call, or those that were read for one batch.
/// They are named by their indices in the call. Thread-safe for different tasks.
class any_tasks {
public:
    any_tasks() = default;
    virtual ~any_tasks() = default;
    any_tasks(const any_tasks&) = delete;
    any_tasks& operator=(const any_tasks&) = delete;

    /// Runs the tasks of a batch on this thread. Gives how many of them ended.
    /// @param careful Whether there are time limits, retries or outcomes.
    virtual std::size_t run(job& j, worker& w, const batch& b, bool careful) = 0;
    /// Makes a task's call and keeps its result. Throws what the task throws.
    /// @param keep_task Whether it may be made again.
    virtual void attempt(std::size_t index, bool keep_task) = 0;
    /// A result, if there is one, came too late.
    virtual void drop_result(std::size_t index) = 0;
    /// Keeps a failure as a result, where the call wants that.
    virtual bool keep_failure(std::size_t index, failure f) = 0;
    /// The result of an attempt stands. It was made at that try.
    virtual void result_stands(std::size_t index, int tries) = 0;
    [[nodiscard]] virtual std::string label(std::size_t index) noexcept = 0;

    // --- for tasks that run in other processes, see remote_batches.hpp

    /// Writes a task. What it refers to stays until the batch is settled.
    virtual void encode(std::size_t index, encoder& to) = 0;
    /// Runs a task in a process that was forked off, and writes its result. Throws what the task throws.
    virtual void run_forked(std::size_t index, encoder& to, result_listener& then) = 0;
    /// Reads and keeps a result. @throws serialization_error It is not one.
    virtual void decode(std::size_t index, decoder& from) = 0;
};

} // namespace detail

/// Some consecutive tasks of a call, claimed by one worker. Whoever claims a batch must run it.
class batch {
public:
    batch() = default;
    batch(std::size_t first, std::size_t size, detail::any_tasks* tasks = nullptr) noexcept
        : first_(first), size_(size), tasks_(tasks) {}

    /// Index of its first task.
    [[nodiscard]] std::size_t first() const noexcept { return first_; }
    /// How many tasks it holds; 0 means that there was nothing to claim.
    [[nodiscard]] std::size_t size() const noexcept { return size_; }
    explicit operator bool() const noexcept { return size_ != 0; }

    /// What its tasks are among; of no meaning to a backend.
    [[nodiscard]] detail::any_tasks* tasks() const noexcept { return tasks_; }

private:
    std::size_t first_ = 0;
    std::size_t size_ = 0;
    detail::any_tasks* tasks_ = nullptr;
};

} // namespace joblot
// ---- joblot/dispatch/settings.hpp
// One call's options after every default, guard and backend has had its say.

// ---- joblot/core/scope.hpp
// What is in force on a thread: the innermost guard's settings, and how deep in nested calls the thread is.

// ---- joblot/options.hpp
// The options of a call, and the small types that make them readable: `{.n_jobs = 2, .timeout = 5s}`.

// ---- joblot/core/typed_option.hpp
// What an option says, in one line, where it is given something of a wrong type; and options that are a value and that.

#include <concepts>
#include <limits>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

namespace joblot {

namespace detail {

/// Kinds of options, as far as they take different things.
enum class option_kind {
    number,
    batch_size,
    pre_dispatch,
    time_limit,
    backend,
    address,
    progress,
    stop,
    on_stop,
    require,
    prefer,
    label,
    worker_init,
    start_method
};

/// Ends the compilation with the line that tells what an option of this kind takes. Compilers name the user's own line
/// beside it. @tparam Given What it was given instead.
template <option_kind K, class Given>
constexpr void mistyped() {
    using enum option_kind;
    static_assert(K != number, "joblot: this option is a whole number, not a text: .n_jobs = 2, .verbose = 10, "
                               ".retries = 1 (and no fraction)");
    static_assert(K != batch_size, "joblot: a batch size is a whole number of tasks, or .batch_size = "
                                   "joblot::auto_batch");
    static_assert(K != pre_dispatch, "joblot: read ahead a whole number of tasks, or .pre_dispatch = "
                                     "joblot::per_job(2), or joblot::everything");
    static_assert(K != time_limit, "joblot: a time limit has a unit: .timeout = std::chrono::seconds{5}, or 5s with "
                                   "using namespace std::chrono_literals");
    static_assert(K != backend, "joblot: a backend is a name or a description: .backend = \"processes\", "
                                ".backend = joblot::threads{}; or a std::shared_ptr<joblot::backend>");
    static_assert(K != address, "joblot: an address is a text: .address = \"tcp://10.0.0.1:8786\"");
    static_assert(K != progress, "joblot: a progress callback takes a const joblot::progress_event&, and can be "
                                 "copied: .progress = [](const joblot::progress_event& e) { ... }, or .progress = "
                                 "joblot::progress_bar()");
    static_assert(K != stop, "joblot: a call is stopped by a token: .stop = source.get_token()");
    static_assert(K != on_stop, "joblot: what a stop leaves is said by a constant: .on_stop = joblot::keep");
    static_assert(K != require, "joblot: what a backend must offer is a constant: .require = joblot::sharedmem");
    static_assert(K != prefer, "joblot: which backend is preferred is a constant: .prefer = joblot::prefer::threads");
    static_assert(K != label, "joblot: a label is a text: .label = \"fit\"");
    static_assert(K != worker_init, "joblot: worker_init is a function without parameters and result, or a lambda "
                                    "without captures, as it runs in another process: .worker_init = [] { ... }");
    static_assert(K != start_method, "joblot: how a worker starts is a constant: .start_method = "
                                     "joblot::start_method::fork");
}

/// The number; or the nearest one that an `I` can be.
template <class I, std::integral N>
constexpr I saturated(N n) noexcept {
    const auto number = +n; // no bool or character: std::in_range takes none
    if (std::in_range<I>(number)) return static_cast<I>(number);
    return number < 0 ? std::numeric_limits<I>::min() : std::numeric_limits<I>::max();
}

/// @throws std::invalid_argument for a null pointer, such as `std::getenv` gives.
inline const char* text_given(const char* field, const char* text) {
    if (!text) throw std::invalid_argument("joblot: " + std::string(field) + " = a null pointer: give a text");
    return text;
}

template <option_kind K>
inline constexpr bool is_text = K == option_kind::label || K == option_kind::address;

/// Whether an option of this type and kind can be made of a `U`.
template <class T, option_kind K, class U>
constexpr bool takes() {
    using plain = std::remove_cvref_t<U>;
    if constexpr (K == option_kind::number && std::is_floating_point_v<plain>) return false; // cut off, in silence
    if constexpr (is_text<K> && std::is_null_pointer_v<plain>) return false; // a std::string takes it, and fails
    if constexpr (is_text<K> && std::is_convertible_v<U, std::string_view>) return true;
    if constexpr (K == option_kind::progress && !std::is_copy_constructible_v<std::decay_t<U>>) return false;
    return std::is_convertible_v<U, T>;
}

/// What an option of this type and kind is when it is given `value`.
template <class T, option_kind K, class U>
constexpr T taken(U&& value) {
    using plain = std::remove_cvref_t<U>;
    if constexpr (!takes<T, K, U>()) {
        mistyped<K, U>();
        return T();
    } else if constexpr (K == option_kind::number && std::is_integral_v<plain>) {
        return saturated<int>(value);
    } else if constexpr (is_text<K> && std::is_pointer_v<plain>) {
        return text_given(K == option_kind::label ? "label" : "address", value);
    } else if constexpr (is_text<K> && !std::is_convertible_v<U, T>) {
        return T(std::string_view(std::forward<U>(value)));
    } else {
        return std::forward<U>(value);
    }
}

/// A value that is no base of an option: it is no class, or one that takes whatever is derived from it for something
/// else, as `std::function` does.
template <class T>
class held {
public:
    constexpr held() = default;
    constexpr explicit held(T value) : value_(std::move(value)) {}
    constexpr operator const T&() const noexcept { return value_; }
    constexpr operator T&() noexcept { return value_; }
    constexpr explicit operator bool() const noexcept
        requires std::is_class_v<T>
    {
        return static_cast<bool>(value_);
    }

private:
    T value_{};
};

template <class T, option_kind K>
using option_base = std::conditional_t<std::is_class_v<T> && K != option_kind::progress, T, held<T>>;

} // namespace detail

/// As good as a `T`, made of whatever a `T` is made of; and what is no `T` is answered by one line that says what to
/// write instead.
template <class T, detail::option_kind K>
class typed_option : public detail::option_base<T, K> {
    using base = detail::option_base<T, K>;

public:
    constexpr typed_option() = default;
    template <class U>
        requires(!std::is_same_v<std::remove_cvref_t<U>, typed_option>)
    constexpr typed_option(U&& value) : base(detail::taken<T, K>(std::forward<U>(value))) {}
};

/// A whole number, or nothing: a `std::optional<int>`. Numbers that an `int` cannot hold become the nearest one.
using number_option = typed_option<std::optional<int>, detail::option_kind::number>;

} // namespace joblot
// ---- joblot/progress/event.hpp
// What a progress callback is told about its call: a snapshot of counts, times and state.

#include <chrono>
#include <cstddef>
#include <optional>
#include <string_view>

namespace joblot {

/// How far a call has come. A call ends with exactly one event that is not `running`.
enum class progress_state { running, finished, failed, cancelled };

/// A snapshot of one call's progress, given to `options::progress`.
///
/// The callback is called once at the start (`done` 0), after every completed batch, and once at the end.
/// Calls are serialised, come from whichever thread completed the batch, and `done` never goes down. What the
/// callback throws is ignored. It must not wait for tasks of its own call.
/// The views are valid during the callback only.
struct progress_event {
    std::size_t done = 0;                                   ///< tasks completed so far
    std::optional<std::size_t> total;                       ///< tasks of the call, once that is known
    std::chrono::duration<double> elapsed{0};               ///< seconds since the call began
    std::optional<std::chrono::duration<double>> remaining; ///< seconds; known once `total` is and a task is done
    std::string_view label;                                 ///< the call's label, else its task's name; may be empty
    progress_state state = progress_state::running;         ///< how far the call has come
    std::string_view line;                                  ///< the verbose line due now, newline included; else empty
};

} // namespace joblot

#include <chrono>
#include <concepts>
#include <cstddef>
#include <functional>
#include <limits>
#include <memory>
#include <optional>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <type_traits>
#include <utility>

namespace joblot {

class backend; // backend/backend.hpp

/// Defaults that a `parallel_backend` guard carries besides the backend, and what a registered factory is given.
struct backend_options {
    number_option n_jobs{};                ///< for calls that do not say theirs
    number_option verbose{};               ///< likewise
    number_option inner_max_num_threads{}; ///< threads of OpenMP and its kin inside a task
    /// Where a remote backend's cluster is, e.g. "tcp://10.0.0.1:8786".
    typed_option<std::string, detail::option_kind::address> address{};
};

/// A typed description of a backend, such as `threads{.n_jobs = 4}`: anything with a `make()` that gives the backend.
/// Its optional members `n_jobs`, `verbose` and `inner_max_num_threads` become defaults of the guard or call.
template <class D>
concept backend_description = requires(const D& d) {
    { d.make() } -> std::convertible_to<std::shared_ptr<backend>>;
};

/// Names a backend: by a description (`threads{}`), by a registered name (`"threads"`, or `"name:address"`),
/// or as an object of a class derived from `joblot::backend`. Default-constructed: no choice.
class backend_choice {
    template <class T>
    static constexpr bool is_choice() {
        using plain = std::remove_cvref_t<T>;
        if constexpr (std::is_same_v<plain, backend_choice> || backend_description<plain>)
            return true;
        else
            return std::is_convertible_v<T, std::string> || std::is_same_v<plain, std::string_view> ||
                   std::is_convertible_v<T, std::shared_ptr<backend>> || std::is_convertible_v<T, backend_options>;
    }

public:
    backend_choice() = default;
    template <class B>
        requires std::convertible_to<std::shared_ptr<B>, std::shared_ptr<backend>>
    backend_choice(std::shared_ptr<B> engine) : engine_(std::move(engine)) {}
    backend_choice(std::string name) : name_(std::move(name)) {}
    backend_choice(const char* name) : name_(detail::text_given("backend", name)) {}
    template <std::same_as<std::string_view> Text>
    backend_choice(Text name) : name_(name) {}
    template <backend_description D>
    backend_choice(const D& description) : engine_(description.make()) {
        using number = std::optional<int>;
        if constexpr (requires { number(description.n_jobs); }) defaults_.n_jobs = description.n_jobs;
        if constexpr (requires { number(description.verbose); }) defaults_.verbose = description.verbose;
        if constexpr (requires { number(description.inner_max_num_threads); })
            defaults_.inner_max_num_threads = description.inner_max_num_threads;
    }
    template <class T>
        requires(!is_choice<T>())
    backend_choice(T&&) {
        detail::mistyped<detail::option_kind::backend, T>();
    }

    /// Whether nothing was chosen.
    [[nodiscard]] bool empty() const noexcept { return !engine_ && name_.empty(); }
    /// The backend itself, or null where it was chosen by name.
    [[nodiscard]] const std::shared_ptr<backend>& engine() const noexcept { return engine_; }
    /// The name, or "" where the backend itself was given.
    [[nodiscard]] const std::string& name() const noexcept { return name_; }
    /// What the description said besides the backend.
    [[nodiscard]] const backend_options& defaults() const noexcept { return defaults_; }

private:
    std::shared_ptr<backend> engine_;
    std::string name_;
    backend_options defaults_;
};

/// Tag: let the dispatcher adapt the batch size to measured task durations.
struct auto_batch_t {};
inline constexpr auto_batch_t auto_batch{};

/// How many tasks are handed to a worker at a time: `auto_batch`, or a number >= 1.
class batch_size_option {
public:
    constexpr batch_size_option(auto_batch_t = {}) noexcept {}
    template <std::integral N>
    constexpr batch_size_option(N tasks) noexcept : tasks_(detail::saturated<long long>(tasks)) {}
    template <class T>
        requires(!std::integral<T> && !std::is_convertible_v<T, auto_batch_t>)
    constexpr batch_size_option(T) noexcept {
        detail::mistyped<detail::option_kind::batch_size, T>();
    }

    /// The number, or nothing for `auto_batch`.
    [[nodiscard]] constexpr std::optional<long long> tasks() const noexcept { return tasks_; }

private:
    std::optional<long long> tasks_;
};

/// `pre_dispatch = per_job(k)`: read ahead k batches for each worker.
struct per_job {
    double batches;
    constexpr explicit per_job(double k) noexcept : batches(k) {}
};

/// Tag: read the whole input before the first task starts.
struct everything_t {};
inline constexpr everything_t everything{};

/// How far the input range may be read ahead of the completed tasks (for generators: ahead of the reader):
/// `per_job(k)` batches, a number of tasks >= 1, or `everything`.
class pre_dispatch_option {
public:
    constexpr pre_dispatch_option(per_job k = per_job(2)) noexcept : batches_per_job_(k.batches) {}
    constexpr pre_dispatch_option(everything_t) noexcept : everything_(true) {}
    template <std::integral N>
    constexpr pre_dispatch_option(N tasks) noexcept : tasks_(detail::saturated<long long>(tasks)) {}
    template <class T>
        requires(!std::integral<T> && !std::is_convertible_v<T, per_job> && !std::is_convertible_v<T, everything_t>)
    constexpr pre_dispatch_option(T) noexcept {
        detail::mistyped<detail::option_kind::pre_dispatch, T>();
    }

    [[nodiscard]] constexpr bool is_everything() const noexcept { return everything_; }
    /// The number of tasks, or nothing where it was given in batches.
    [[nodiscard]] constexpr std::optional<long long> tasks() const noexcept { return tasks_; }
    /// Batches for each worker; meaningful where the two above are not set.
    [[nodiscard]] constexpr double batches_per_job() const noexcept { return batches_per_job_; }

private:
    bool everything_ = false;
    std::optional<long long> tasks_;
    double batches_per_job_ = 2;
};

/// A time limit: none, or any `std::chrono` duration (saturated to the 292 years that nanoseconds can hold).
class time_limit {
public:
    constexpr time_limit() noexcept = default;
    template <class T>
    constexpr time_limit(T) noexcept {
        detail::mistyped<detail::option_kind::time_limit, T>();
    }
    template <class Rep, class Period>
    constexpr time_limit(std::chrono::duration<Rep, Period> d) noexcept {
        using seconds = std::chrono::duration<long double>;
        using std::chrono::nanoseconds;
        if (seconds(d) >= seconds(nanoseconds::max()))
            limit_ = nanoseconds::max();
        else if (seconds(d) > seconds::zero()) // a positive limit stays positive: 0.1 ns is not "no time at all"
            limit_ = std::max(nanoseconds(1), std::chrono::duration_cast<nanoseconds>(d));
        else if (seconds(d) > seconds(nanoseconds::min())) // this and what follows is refused by `check`
            limit_ = std::chrono::duration_cast<nanoseconds>(d);
        else
            limit_ = seconds(d) <= seconds::zero() ? nanoseconds::min() + nanoseconds(1) : not_a_number;
    }

    /// The limit, or nothing.
    [[nodiscard]] constexpr std::optional<std::chrono::nanoseconds> limit() const noexcept { return limit_; }

    /// What a limit of NaN seconds is stored as.
    static constexpr std::chrono::nanoseconds not_a_number = std::chrono::nanoseconds::min();

private:
    std::optional<std::chrono::nanoseconds> limit_;
};

/// What happens when a call is stopped, by its token, its deadline, or from the task that it is made in. `raise`: it
/// throws. `keep`, with `outcomes` alone: it returns what is there, and the rest holds `cancelled`.
enum class on_stop { raise, keep };
inline constexpr on_stop keep = on_stop::keep;

/// `require = sharedmem`: the tasks need the caller's memory, so only backends with shared memory will do.
enum class require { none, sharedmem };
inline constexpr require sharedmem = require::sharedmem;

/// A hint which kind of backend suits the tasks; an explicit backend or an active guard overrides it.
enum class prefer { none, threads, processes };

/// The options of a call. An aggregate for designated initialisers; the order of its members is part of the interface.
/// What is not set takes the active `parallel_backend`'s value, then the default.
struct options {
    /// Workers: n > 0 that many; -1 all CPUs; -k all + 1 - k, at least 1. Default: all. 0 is refused.
    number_option n_jobs{};
    /// A backend for this call alone. Default: the active one.
    backend_choice backend{};
    /// joblib's verbosity: 0 nothing, up to 10 more and more lines, above 10 one for each completion. Default: 0.
    number_option verbose{};
    /// Called after each batch, by one thread at a time; what it throws is ignored. `progress_bar()` is one.
    typed_option<std::function<void(const progress_event&)>, detail::option_kind::progress> progress{};
    /// Tasks per dispatch. Default: adapts to measured durations.
    batch_size_option batch_size{};
    /// How far the input is read ahead. Default: two batches for each worker.
    pre_dispatch_option pre_dispatch{};
    /// Limit for each task, from the moment it starts on its worker. Default: none.
    time_limit timeout{};
    /// Limit for the whole call, from its start: then it is stopped, and throws `timeout_error`. Default: none.
    time_limit deadline{};
    /// How many more times a task is tried after it failed. Default: 0.
    typed_option<int, detail::option_kind::number> retries{};
    /// When it fires, nothing more starts and the call throws `cancelled`.
    typed_option<std::stop_token, detail::option_kind::stop> stop{};
    /// Whether what is there is thrown away when the call is stopped. Default: yes, the call throws.
    typed_option<joblot::on_stop, detail::option_kind::on_stop> on_stop = joblot::on_stop::raise;
    /// What the backend must offer.
    typed_option<joblot::require, detail::option_kind::require> require = joblot::require::none;
    /// What the backend had better offer.
    typed_option<joblot::prefer, detail::option_kind::prefer> prefer = joblot::prefer::none;
    /// Name of the whole call in progress. Default: the first task's label.
    typed_option<std::string, detail::option_kind::label> label{};
};

namespace detail {

// Cold: kept out of the way of calls whose options are fine.
[[noreturn, gnu::cold, gnu::noinline]] inline void refuse(const char* field, const std::string& value,
                                                          const char* way_out) {
    throw std::invalid_argument("joblot: " + std::string(field) + " = " + value + ": " + way_out);
}
[[noreturn, gnu::cold, gnu::noinline]] inline void refuse(const char* field, long long value, const char* way_out) {
    refuse(field, std::to_string(value), way_out);
}

inline void check_n_jobs(const std::optional<int>& n) {
    if (n && *n == 0) refuse("n_jobs", 0, "no workers would do no work; give 1 or more, or -1 for all CPUs");
}
inline void check_verbose(const std::optional<int>& verbose) {
    if (verbose && *verbose < 0) refuse("verbose", *verbose, "give 0 for silence, or a higher level");
}

/// A duration that is no time limit.
inline std::string in_words(std::chrono::nanoseconds t) {
    if (t == time_limit::not_a_number) return "nan s";
    if (t > std::chrono::milliseconds(-1) && t < std::chrono::nanoseconds::zero())
        return std::to_string(t.count()) + " ns"; // std::to_string has six digits
    return std::to_string(std::chrono::duration<double>(t).count()) + " s";
}

inline void check_limit(const char* field, const time_limit& given) {
    if (const auto t = given.limit(); t && *t <= std::chrono::nanoseconds::zero())
        refuse(field, in_words(*t), "give a positive duration, or leave it out for no limit");
}

inline void check_defaults(const backend_options& o) {
    check_n_jobs(o.n_jobs);
    check_verbose(o.verbose);
    if (o.inner_max_num_threads && *o.inner_max_num_threads < 1)
        refuse("inner_max_num_threads", *o.inner_max_num_threads, "give 1 or more");
}

/// @throws std::invalid_argument naming the first option that makes no sense, its value, and what would.
inline void check(const options& o) {
    check_n_jobs(o.n_jobs);
    check_verbose(o.verbose);
    check_defaults(o.backend.defaults());
    if (const auto b = o.batch_size.tasks(); b && *b < 1)
        refuse("batch_size", *b, "give 1 or more tasks, or auto_batch");
    if (const auto p = o.pre_dispatch.tasks(); p && *p < 1)
        refuse("pre_dispatch", *p, "give 1 or more tasks, per_job(k) batches, or everything");
    if (!o.pre_dispatch.is_everything() && !(o.pre_dispatch.batches_per_job() > 0))
        refuse("pre_dispatch", "per_job(" + std::to_string(o.pre_dispatch.batches_per_job()) + ")",
               "give more than 0 batches for each worker");
    check_limit("timeout", o.timeout);
    check_limit("deadline", o.deadline);
    if (o.retries < 0) refuse("retries", o.retries, "give 0 or more");
    if (o.require == require::sharedmem && o.prefer == prefer::processes)
        refuse("prefer", "processes", "processes share no memory, which require = sharedmem asks for");
}

} // namespace detail

} // namespace joblot
// ---- joblot/system/stay_loaded.hpp
// Keeps a shared library that has joblot in it loaded until the process ends, whatever `dlclose` is told.

#if defined(__ELF__) && defined(__PIC__) && !defined(__PIE__) // what shared libraries are compiled with
#define JOBLOT_IN_A_LIBRARY 1
#include <dlfcn.h>

namespace joblot::detail {

/// The library that `place` is in will not be unloaded. The helpers of the pool run code of the part of the program
/// that made the first call, tables hold functions of whoever filled them, and the list of task types leads through
/// all libraries: unloaded, they would take the program down at some later call.
inline bool stay_loaded(const void* place) noexcept {
    Dl_info library;
    return ::dladdr(place, &library) && ::dlopen(library.dli_fname, RTLD_LAZY | RTLD_NOLOAD | RTLD_NODELETE);
}

// Hidden, whatever the rest is: each library asks for itself, when it is loaded.
[[gnu::visibility("hidden")]] inline const bool stays_loaded = stay_loaded(&stays_loaded);

} // namespace joblot::detail

#endif

#include <memory>
#include <optional>

namespace joblot::detail {

/// One level of settings; each overlays the one before. Guards and running tasks install theirs on their own thread.
struct scope {
    std::shared_ptr<backend> engine{};          // null: the default one
    std::optional<int> n_jobs{};                // for calls that do not say theirs
    std::optional<int> verbose{};               // likewise
    std::optional<int> inner_max_num_threads{}; // likewise
    bool in_task = false;                       // a task of a backend with workers: no nested call gets new threads
    bool own_process = false;                   // in a worker process: its first calls may start threads after all
    int depth = 0;                              // how many calls the running code is nested in

    /// Whether calls made here must do with the threads that there are.
    [[nodiscard]] bool may_not_add_threads() const noexcept { return in_task && !own_process; }
};

// Null: nothing is set and no call is running on this thread.
JOBLOT_ONE_PER_PROCESS inline constinit thread_local const scope* current_scope = nullptr;

/// The settings in force here; default-constructed ones outside of guards and tasks.
JOBLOT_ONE_PER_PROCESS inline const scope& scope_here() {
    static constinit made_once<const scope> nothing_set;
    return current_scope ? *current_scope : nothing_set.get();
}

} // namespace joblot::detail

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <limits>
#include <stop_token>
#include <string>

namespace joblot::detail {

/// What the dispatcher needs to know of a call. Refers to the call's options, which must outlive it.
struct call_settings {
    static constexpr std::size_t unlimited = std::numeric_limits<std::size_t>::max();

    const options* given = nullptr;          // checked; for what needs no backend or guard to be resolved
    int requested_n_jobs = -1;               // as the user wrote it; shown in progress lines
    int workers = 1;                         // in effect, >= 1
    bool in_caller = false;                  // the backend runs everything on the calling thread
    std::chrono::nanoseconds batch_target{}; // how long an adapted batch is meant to last
    std::chrono::nanoseconds batch_cost{};   // what it costs by itself; 0: next to nothing
    int verbose = 0;
    std::string backend_name{}; // only where progress is shown
    scope inside{};             // what is in force inside this call's tasks
    std::stop_token outer{};    // of the task that makes the call, if a task does
    std::chrono::steady_clock::time_point deadline = std::chrono::steady_clock::time_point::max(); // max: none
    bool remote = false;            // tasks run on other machines
    bool persists_results = false;  // they stay where they are made, as handles of type `persisted` say,
    bool persists_messages = false; // in a form that nobody else can read

    /// Tasks per batch, or 0 to adapt.
    [[nodiscard]] std::size_t batch_size() const noexcept {
        // Each result is persisted, or kept on a stop, by itself. What has ended of a batch under way would be lost
        // where it is taken back.
        if (remote && (persists_results || keeps_on_stop())) return 1;
        return static_cast<std::size_t>(given->batch_size.tasks().value_or(0));
    }

    /// How many tasks may be read and not yet done (generators: not yet taken) when batches hold `batch` tasks.
    /// @param now How many workers there are now.
    [[nodiscard]] std::size_t ahead(std::size_t batch, int now) const noexcept {
        const pre_dispatch_option& p = given->pre_dispatch;
        if (p.is_everything()) return unlimited;
        if (p.tasks()) return static_cast<std::size_t>(*p.tasks());
        const auto batches = static_cast<std::size_t>(std::clamp(p.batches_per_job() * now, 1.0, 1e15));
        return batch > unlimited / batches ? unlimited : batches * batch;
    }

    /// Largest batch that leaves every worker its share of what may be read ahead.
    [[nodiscard]] std::size_t largest_batch() const noexcept {
        const auto tasks = given->pre_dispatch.tasks();
        if (!tasks) return unlimited;
        return std::max<std::size_t>(1, static_cast<std::size_t>(*tasks) / static_cast<std::size_t>(workers));
    }

    /// Whether it is to end before it has begun: was stopped, or its time is up.
    [[nodiscard]] bool is_over() const {
        using clock = std::chrono::steady_clock;
        return given->stop.stop_requested() || outer.stop_requested() ||
               (deadline != clock::time_point::max() && clock::now() >= deadline);
    }

    /// The name that the user gave the call, or "".
    [[nodiscard]] const std::string& label() const noexcept { return given->label; }

    /// Whether a stop leaves the call with what is there.
    [[nodiscard]] bool keeps_on_stop() const noexcept { return given->on_stop == on_stop::keep; }

    [[nodiscard]] bool observed() const noexcept { return verbose > 0 || static_cast<bool>(given->progress); }
};

} // namespace joblot::detail
// ---- joblot/dispatch/worker.hpp
// A thread's place in a call. Made by job.hpp, which is to be included.

// ---- joblot/core/inner_threads.hpp
// Caps the OpenMP threads that a task may start on the calling thread, where the program links OpenMP at all.

#if defined(__ELF__) && defined(__GNUC__)
#define JOBLOT_HAS_WEAK_OMP 1
#endif

namespace joblot::detail {

#if defined(JOBLOT_HAS_WEAK_OMP)
// Names of our own for OpenMP's functions: its own names belong to <omp.h>, which may come before or after this and
// declares them as each compiler likes. weakref: null, and harmless, in a program that is not linked with an OpenMP
// runtime; and, unlike a weak declaration, it leaves alone what else in this file calls them.
static void openmp_set_num_threads(int) __attribute__((weakref("omp_set_num_threads")));
static int openmp_get_max_threads() __attribute__((weakref("omp_get_max_threads")));
#endif

/// While it lives, OpenMP regions that this thread opens get at most `limit` threads; afterwards as many as before.
class inner_threads_limit {
public:
    /// @param limit 0: there is none.
    explicit inner_threads_limit([[maybe_unused]] int limit) {
#if defined(JOBLOT_HAS_WEAK_OMP)
        if (!limit || !&openmp_set_num_threads || !&openmp_get_max_threads) return;
        before_ = openmp_get_max_threads();
        openmp_set_num_threads(limit);
#endif
    }
    ~inner_threads_limit() {
#if defined(JOBLOT_HAS_WEAK_OMP)
        if (before_) openmp_set_num_threads(before_);
#endif
    }
    inner_threads_limit(const inner_threads_limit&) = delete;
    inner_threads_limit& operator=(const inner_threads_limit&) = delete;

private:
    int before_ = 0; // 0: nothing was changed
};

} // namespace joblot::detail
// ---- joblot/dispatch/batching.hpp
// How many tasks a worker takes at a time: a pure policy, durations in, sizes out.

#include <algorithm>
#include <chrono>
#include <cstddef>

namespace joblot::detail {

/// Chooses the sizes of one worker's batches. Each worker has its own, so nothing here is shared.
///
/// A batch is meant to last `target`: long against the cost of taking one (some 50 ns on threads, some 100 us from
/// another process), short against the call. The first ones are single tasks, whatever an earlier call measured: this
/// call's tasks may be different ones. No batch is more than a fair share of what is left, as in guided self-scheduling
/// (Polychronopoulos, Kuck: "Guided self-scheduling", IEEE Trans. Computers 1987): also where the first tasks were not
/// like the others, no worker is left with most of the work, and the last batches are short: but not so short that what
/// they cost would show.
class batch_sizer {
public:
    using duration = std::chrono::nanoseconds;
    static constexpr duration target_of_threads = std::chrono::microseconds(30);
    static constexpr std::size_t max_growth = 8; // from one batch to the next; a first measure may be a lucky one
    static constexpr int shortest = 5;           // times its cost, where that is known
    // Where a batch costs next to nothing: what the cache lines cost that workers pass to each other, some 100 ns.
    static constexpr duration shortest_of_threads = std::chrono::nanoseconds(500);

    /// @param fixed   The size asked for, or 0 to adapt.
    /// @param workers Workers of the call, >= 1.
    /// @param trials  How many single tasks come first.
    /// @param target  How long a batch is meant to last.
    /// @param cost    What a batch costs by itself; 0: next to nothing.
    batch_sizer(std::size_t fixed, std::size_t workers, int trials = 1, duration target = target_of_threads,
                duration cost = {}) noexcept
        : batch_sizer(rules{fixed, target, cost, static_cast<int>(workers), trials}) {}

    /// What is the same for all workers of a call: the parameters above.
    struct rules {
        std::size_t fixed;
        duration target, cost;
        int workers, trials;
    };
    explicit batch_sizer(const rules& r) noexcept
        : fixed_(r.fixed), workers_(static_cast<std::size_t>(r.workers)), trials_(r.trials), target_(r.target),
          cost_(r.cost) {}

    /// Some have come, or left.
    void workers_are(std::size_t workers) noexcept { workers_ = workers; }

    /// Size of the next batch, 1 to `remaining` (but `remaining` of 0 gives 1, and a fixed size is only cut off).
    [[nodiscard]] std::size_t next(std::size_t remaining) const noexcept {
        if (fixed_) return std::max<std::size_t>(1, std::min(fixed_, remaining));
        // Where a batch costs next to nothing, no worker takes more than a share for its sake: the short tasks may have
        // been the first ones only.
        const std::size_t worth_it = cost_.count() ? smallest_ : std::min(smallest_, remaining / workers_);
        const std::size_t fair = std::max(std::min(size_, remaining / (2 * workers_)), worth_it);
        return std::max<std::size_t>(1, std::min(fair, remaining));
    }

    /// A batch of `tasks` tasks took `took`.
    void measured(std::size_t tasks, duration took) noexcept {
        if (trials_ > 1) {
            --trials_;
            return;
        }
        // in floating point: tasks * target overflows only for absurd sizes, but it costs nothing to be safe
        const double done = static_cast<double>(std::max<std::size_t>(1, tasks));
        const double per_task = static_cast<double>(std::max<duration::rep>(1, took.count())) / done;
        const double wanted = std::min(static_cast<double>(target_.count()) / per_task, done * max_growth);
        size_ = static_cast<std::size_t>(std::clamp(wanted, 1.0, 1e18));
        const duration least = cost_.count() ? shortest * cost_ : shortest_of_threads;
        const double worth_it = std::min(static_cast<double>(least.count()) / per_task, 1e18);
        smallest_ = std::min(size_, static_cast<std::size_t>(worth_it));
    }

    /// What others have measured of the same call.
    struct sizes {
        std::size_t usual = 1;    ///< what lasts for the target, as far as is known
        std::size_t smallest = 1; ///< what is worth its cost
    };
    [[nodiscard]] sizes so_far() const noexcept { return {size_, smallest_}; }
    void begin_with(sizes s) noexcept {
        size_ = s.usual;
        smallest_ = s.smallest;
    }
    /// Whether the size adapts, so that batches must be timed.
    [[nodiscard]] bool adapts() const noexcept { return fixed_ == 0; }

private:
    std::size_t fixed_;
    std::size_t workers_;
    int trials_;
    duration target_;
    duration cost_;
    std::size_t size_ = 1; // see `sizes`
    std::size_t smallest_ = 1;
};

} // namespace joblot::detail
// ---- joblot/this_task.hpp
// What a running task can ask about itself.

// ---- joblot/core/worker_values.hpp
// What the workers of one call keep from task to task, see per_worker.hpp.

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

namespace joblot::detail {

/// Values of a call, one of each kind for each worker. Thread-safe: no two threads are the same worker at a time.
class worker_values {
public:
    /// The value of a kind for a worker; `make()` gives it at the first time, as a `std::shared_ptr`.
    template <class Make>
    void* get(std::uint64_t kind, int worker, Make make) {
        if (void* const there = find(kind, worker)) return there;
        std::shared_ptr<void> fresh = make(); // the user's code: no lock is held
        const std::lock_guard lock(mutex_);
        return values_.emplace_back(value{kind, worker, std::move(fresh)}).it.get();
    }
    /// A thread that was a worker and used values is no longer: what it wrote is there for the next one.
    void hand_over() noexcept { const std::lock_guard lock(mutex_); }
    /// The call is over.
    void clear() noexcept {
        std::vector<value> gone;
        const std::lock_guard lock(mutex_);
        gone.swap(values_);
    }

private:
    struct value {
        std::uint64_t kind;
        int worker;
        std::shared_ptr<void> it;
    };

    void* find(std::uint64_t kind, int worker) {
        const std::lock_guard lock(mutex_);
        for (const value& v : values_) {
            if (v.kind == kind && v.worker == worker) return v.it.get();
        }
        return nullptr;
    }

    std::mutex mutex_;
    std::vector<value> values_;
};

/// Whether kinds of values were ever sent to other processes, so that these must be told when a call is over.
JOBLOT_ONE_PER_PROCESS inline std::atomic<bool>& values_travel() noexcept {
    static constinit std::atomic<bool> any{false}; // relaxed: who sends a kind sends what follows, too
    return any;
}

/// A number for a kind, or a call, that no other one of this process has.
JOBLOT_ONE_PER_PROCESS inline std::uint64_t fresh_number() noexcept {
    static constinit std::atomic<std::uint64_t> last{0};
    return last.fetch_add(1, std::memory_order_relaxed) + 1;
}

} // namespace joblot::detail

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <stdexcept>
#include <stop_token>
#include <string>

namespace joblot {

namespace detail {

/// What the dispatcher knows of the task that runs on a thread. Lives on that thread's stack; only `limit` is shared.
struct task_context {
    using clock = std::chrono::steady_clock;

    std::size_t index = 0;
    int worker_id = 0;
    // Tasks at or above this index are not wanted any more. Written by whoever fails or stops the call.
    const std::atomic<std::size_t>* limit = nullptr;
    clock::time_point deadline = clock::time_point::max(); // max: no time limit
    stop_registry* tokens = nullptr;                       // of the call's tasks
    bool limit_is_foreign = false;                         // another process lowers it
    std::unique_ptr<task_stop> stop{};                     // of a task that asked for it; it may have ended since
    worker_values* values = nullptr;                       // of the call's workers
    std::uint64_t kind_at_hand = 0;                        // of the value that was used last; 0: none was
    void* value_at_hand = nullptr;

    /// The token of the task that runs; its own thread only.
    [[nodiscard]] std::stop_token stop_token() {
        if (!stop || stop->index() != index) {
            stop.reset(); // that of an earlier task
            stop = std::make_unique<task_stop>(*tokens, *limit, index, deadline, limit_is_foreign);
        }
        return stop->token();
    }
};

/// What is over `limit` after `begin`; saturated, as a limit of centuries must not overflow the clock.
inline task_context::clock::time_point deadline_after(task_context::clock::time_point begin,
                                                      std::chrono::nanoseconds limit) noexcept {
    constexpr auto never = task_context::clock::time_point::max();
    return limit < never - begin ? begin + limit : never;
}

// The innermost task of this thread, or null.
JOBLOT_ONE_PER_PROCESS inline constinit thread_local task_context* current_task = nullptr;

inline const task_context& require_task(const char* what) {
    if (!current_task)
        throw std::logic_error("joblot: this_task::" + std::string(what) + "() was called outside of a task");
    return *current_task;
}

/// Finaliser of SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", OOPSLA 2014).
constexpr std::uint64_t mix64(std::uint64_t x) noexcept {
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9U;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebU;
    return x ^ (x >> 31);
}

} // namespace detail

/// About the task that runs on the calling thread; in nested calls, the innermost one. All are thread-safe.
namespace this_task {

/// Position of the task in the call's input, counted from 0. @throws std::logic_error outside of a task.
[[nodiscard]] inline std::size_t index() { return detail::require_task("index").index; }

/// The worker that runs the task: 0 to `effective_n_jobs - 1`. No two tasks of one call that run at the same time
/// share it, so it can index per-worker scratch data. @throws std::logic_error outside of a task.
[[nodiscard]] inline int worker_id() { return detail::require_task("worker_id").worker_id; }

/// Whether the task's result is not wanted any more: its time limit or the call's deadline has passed, the call's stop
/// token has fired, another task failed, the generator was dropped, or any of this is so for a task that the call was
/// made in, at any level. A long task should poll it and return or throw.
/// False outside of a task.
[[nodiscard]] inline bool stop_requested() noexcept {
    const detail::task_context* t = detail::current_task;
    if (!t) return false;
    // relaxed: a hint to stop, no data comes with it
    if (t->index >= t->limit->load(std::memory_order_relaxed)) return true;
    return t->deadline != detail::task_context::clock::time_point::max() &&
           detail::task_context::clock::now() >= t->deadline;
}

/// A token that fires when `stop_requested()` turns true, to be handed on to other libraries and to what waits for
/// `std::stop_token`s. It is made when it is first asked for; tasks that do not ask pay nothing. Its callbacks run on
/// the thread that stops the call, or on the one that watches over time limits, and no lock of the library is held;
/// they should be short. In worker processes it fires within some 10 ms. After the end of the task it means nothing.
/// Never fires outside of a task. @throws std::system_error where no thread can be started to watch over a time limit.
[[nodiscard]] inline std::stop_token stop_token() {
    detail::task_context* t = detail::current_task;
    return t ? t->stop_token() : std::stop_token();
}

/// 64 random bits for this task: a function of `call_seed` and the task's index alone, hence the same on every backend
/// and for any `n_jobs`. Tasks' values differ from each other. @throws std::logic_error outside of a task.
[[nodiscard]] inline std::uint64_t seed(std::uint64_t call_seed) {
    const auto i = static_cast<std::uint64_t>(detail::require_task("seed").index);
    return detail::mix64(detail::mix64(call_seed + 0x9e3779b97f4a7c15U) + (i + 1) * 0x9e3779b97f4a7c15U);
}

} // namespace this_task

} // namespace joblot

#include <atomic>
#include <cstddef>

namespace joblot {

class job;

/// One thread's seat in a call. While it lives, the thread's `this_task` and settings are those of the call's tasks.
/// Lives on the worker's stack and is used by that thread alone.
class worker {
public:
    /// @param id 0 to `job::n_jobs() - 1`, held by no other live worker of that job.
    worker(job& j, int id);
    ~worker();
    worker(const worker&) = delete;
    worker& operator=(const worker&) = delete;

    // What follows is for the dispatcher's own parts.

    /// Notes that task `index` is next; false when it must not start any more.
    [[nodiscard]] bool may_start(std::size_t index) noexcept {
        context_.index = index;
        return index < limit_.load(std::memory_order_relaxed); // relaxed: see job::halt
    }
    /// How many tasks of a batch may start for one look at the mark that tells to stop. More than one where measuring
    /// has made a batch so long that they take some 30 ns each: 2^8 bins of 1e8 samples took 0.067 s with a look before
    /// each, and take 0.043 s. Between looks the compiler may also leave out the stores of `index`.
    [[nodiscard]] std::size_t stride(const batch& b) const noexcept {
        return sizer_.adapts() && b.size() >= 1024 ? 64 : 1;
    }
    /// Notes that task `index`, for which the mark need not be looked at, is next.
    void starts(std::size_t index) noexcept { context_.index = index; }
    detail::task_context& context() noexcept { return context_; }
    detail::batch_sizer& sizer() noexcept { return sizer_; }
    /// Tells how many tasks ended well in the batch that runs.
    void add_completed(std::size_t tasks) noexcept { completed_ += tasks; }

private:
    friend class job;

    // A reader waits for every single result: only after many short tasks may one be held back by others of its batch.
    static constexpr int cautious_trials = 32;

    job& job_;
    const std::atomic<std::size_t>& limit_; // the job's
    detail::task_context context_;
    detail::batch_sizer sizer_;
    detail::task_context::clock::time_point lap_{}; // when the clock was read last
    std::size_t unmeasured_ = 0;                    // tasks that have ended since
    std::size_t measured_ = 0;                      // between the last two times
    std::size_t completed_ = 0;
    detail::task_context* outer_task_;
    const detail::scope* outer_scope_;
    detail::inner_threads_limit inner_threads_;
};

} // namespace joblot
// ---- joblot/progress/reporter.hpp
// Counts a call's completed tasks and reports them: verbose lines when one is due, and the user's callback.

// ---- joblot/progress/stderr_sink.hpp
// Writes one line of progress to stderr in one system call, and never harms the program when stderr is gone.

#include <cerrno>
#include <cstddef>
#include <string_view>

#if defined(__unix__) || defined(__APPLE__)
#define JOBLOT_POSIX_STDERR 1
#include <csignal>
#include <ctime>
#include <poll.h>
#include <sys/ioctl.h>
#include <unistd.h>
#else
#define JOBLOT_POSIX_STDERR 0
#include <cstdio>
#endif

namespace joblot::detail {

#if JOBLOT_POSIX_STDERR

/// Keeps a write to a closed pipe from ending the program: blocks SIGPIPE on this thread and takes what was raised.
class sigpipe_guard {
public:
    sigpipe_guard() noexcept {
        sigemptyset(&pipe_);
        sigaddset(&pipe_, SIGPIPE);
        armed_ = !pending() && pthread_sigmask(SIG_BLOCK, &pipe_, &before_) == 0;
    }
    sigpipe_guard(const sigpipe_guard&) = delete;
    sigpipe_guard& operator=(const sigpipe_guard&) = delete;
    ~sigpipe_guard() {
        if (!armed_) return;
        if (pending()) take();
        pthread_sigmask(SIG_SETMASK, &before_, nullptr);
    }

private:
    static bool pending() noexcept {
        sigset_t set;
        sigemptyset(&set);
        return sigpending(&set) == 0 && sigismember(&set, SIGPIPE) == 1;
    }
    void take() noexcept {
#if defined(__APPLE__) // has no sigtimedwait
        int number = 0;
        sigwait(&pipe_, &number);
#else
        const timespec at_once{};
        sigtimedwait(&pipe_, nullptr, &at_once);
#endif
    }

    sigset_t pipe_;
    sigset_t before_;
    bool armed_ = false;
};

/// Waits until a non-blocking descriptor takes bytes again; false where it does not in time.
/// @param patience In milliseconds; -1: as long as it takes.
inline bool wait_writable(int descriptor, int patience) noexcept {
    pollfd entry{descriptor, POLLOUT, 0};
    return poll(&entry, 1, patience) > 0;
}

/// Writes `text` with one write(2), more only where the system takes less. Gives up on any error.
inline void write_descriptor(int descriptor, std::string_view text, int patience = 100) noexcept {
    const int errno_before = errno; // progress is no reason for a task to see another errno
    {
        const sigpipe_guard guard;
        while (!text.empty()) {
            const auto written = ::write(descriptor, text.data(), text.size());
            if (written > 0)
                text.remove_prefix(static_cast<std::size_t>(written));
            else if (written < 0 && errno == EINTR)
                continue;
            else if (written == 0 || (errno != EAGAIN && errno != EWOULDBLOCK) || !wait_writable(descriptor, patience))
                break;
        }
    }
    errno = errno_before;
}

inline void write_stderr(std::string_view text) noexcept { write_descriptor(STDERR_FILENO, text); }

inline bool stderr_is_terminal() noexcept {
    const int errno_before = errno;
    const bool terminal = ::isatty(STDERR_FILENO) == 1;
    errno = errno_before;
    return terminal;
}

/// Columns of the terminal behind stderr; 80 where that is not known.
inline int stderr_columns() noexcept {
    const int errno_before = errno;
    winsize size{};
    const bool known = ::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0;
    errno = errno_before;
    return known ? size.ws_col : 80;
}

#else

inline void write_stderr(std::string_view text) noexcept { std::fwrite(text.data(), 1, text.size(), stderr); }
inline bool stderr_is_terminal() noexcept { return false; }
inline int stderr_columns() noexcept { return 80; }

#endif

} // namespace joblot::detail

#undef JOBLOT_POSIX_STDERR
// ---- joblot/progress/text.hpp
// joblib's verbose lines as pure functions of an event, and `progress_text`, which sends them to a stream.

#include <algorithm>
#include <charconv>
#include <concepts>
#include <cstddef>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>

namespace joblot {

namespace detail {

/// Where lines go: called with one whole line, its newline included.
using line_sink = std::function<void(std::string_view line)>;

/// `text` right-aligned in `width` columns; a longer one is kept whole.
inline std::string right_aligned(std::string_view text, std::size_t width) {
    std::string out(width > text.size() ? width - text.size() : 0, ' ');
    return out.append(text);
}

inline std::string right_aligned(std::size_t count, std::size_t width) {
    return right_aligned(std::string_view(std::to_string(count)), width);
}

/// `value` with that many decimals, whatever the locale. Not a number and negative values count as 0.
inline std::string fixed_decimals(double value, int decimals) {
    constexpr double largest = 1e15; // far beyond any time or rate, far below what would overflow the buffer
    char buffer[40];
    const double bounded = value > 0 ? std::min(value, largest) : 0.0;
    const auto end = std::to_chars(buffer, buffer + sizeof buffer, bounded, std::chars_format::fixed, decimals).ptr;
    return std::string(buffer, end);
}

/// A time as joblib prints it: `   9.9s`, above a minute `12.5min`; never hours.
inline std::string format_time(double seconds) {
    if (seconds > 60) return right_aligned(fixed_decimals(seconds / 60, 1), 4) + "min";
    return " " + right_aligned(fixed_decimals(seconds, 1), 5) + "s";
}

/// Columns of the counts: the digits of a total that is known before the call starts, else 3.
inline std::size_t count_width(std::optional<std::size_t> initial_total) {
    return initial_total && *initial_total > 0 ? std::to_string(*initial_total).size() : 3;
}

/// `[Parallel(n_jobs=2)]: `, with the number of jobs that the user asked for.
inline std::string line_prefix(int n_jobs) { return "[Parallel(n_jobs=" + std::to_string(n_jobs) + ")]: "; }

/// The line that opens a call, without prefix and newline.
inline std::string backend_line(std::string_view backend, int workers) {
    return std::string("Using backend ").append(backend) + " with " + std::to_string(workers) + " concurrent workers.";
}

inline std::string_view state_word(progress_state state) noexcept {
    switch (state) {
    case progress_state::running:
        break;
    case progress_state::finished:
        return "finished";
    case progress_state::failed:
        return "failed";
    case progress_state::cancelled:
        return "cancelled";
    }
    return "";
}

/// The line of one event, without prefix and newline: counts, elapsed time, and then either the remaining time
/// (where known) or, at the end, how the call ended.
inline std::string progress_line(const progress_event& event, std::size_t width) {
    std::string line = "Done " + right_aligned(event.done, width);
    if (event.total)
        line += " out of " + right_aligned(*event.total, width);
    else
        line.append(" tasks").append(2 + width, ' '); // as wide as "out of " and a total
    line += " | elapsed: " + format_time(event.elapsed.count());
    if (event.state != progress_state::running)
        line.append(" ").append(state_word(event.state));
    else if (event.remaining)
        line += " remaining: " + format_time(event.remaining->count());
    return line;
}

} // namespace detail

/// Sends a call's verbose lines to a stream instead of stderr:
/// `Parallel({.verbose = 10, .progress = progress_text(log)})`. Where no level is set, level 10 is taken.
///
/// The stream is flushed after each line and must outlive the call; two calls that run at the same time need two
/// streams. What the stream throws is ignored. Called from a callback of your own, it writes the lines there as
/// well as to stderr.
class progress_text {
public:
    static constexpr int default_verbose = 10;

    /// @param stream A `std::ostream`, or anything else with its `write(const char*, std::streamsize)` and `flush()`.
    // A template, so that a program without streams does not pay for <ostream>.
    template <class Stream>
        requires(!std::same_as<Stream, progress_text> && !std::is_const_v<Stream>)
    explicit progress_text(Stream& stream) noexcept
        : stream_(&stream), write_([](void* to, std::string_view line) {
              auto& out = *static_cast<Stream*>(to);
              out.write(line.data(), static_cast<std::ptrdiff_t>(line.size()));
              out.flush();
          }) {}

    void operator()(const progress_event& event) const { write(event.line); }

    /// Writes one line, which brings its own newline; nothing if it is empty.
    void write(std::string_view line) const {
        if (!line.empty()) write_(stream_, line);
    }

private:
    void* stream_;
    void (*write_)(void*, std::string_view);
};

} // namespace joblot
// ---- joblot/progress/verbosity.hpp
// Decides after which completions a verbose line is due: joblib's two filters in closed form, on counts alone.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>

namespace joblot::detail {

/// The largest root whose square is at most `x`.
constexpr std::uint64_t integer_sqrt(std::uint64_t x) noexcept {
    std::uint64_t root = 0;
    for (std::uint64_t bit = std::uint64_t{1} << 31; bit != 0; bit >>= 1) {
        const std::uint64_t candidate = root | bit;
        if (candidate * candidate <= x) root = candidate;
    }
    return root;
}

/// Which completions print a line, counted in tasks as though every batch held one.
///
/// While tasks are being dispatched, lines come further and further apart (joblib's filter on the number of
/// dispatched tasks); once the input is exhausted they are evenly spaced, about `verbose` over the whole call.
/// The last completion is the closing line's and never due here. Not thread-safe; cheap to copy.
class verbosity {
public:
    static constexpr std::size_t never = std::numeric_limits<std::size_t>::max();

    verbosity() = default;

    /// `pre_dispatch` is a number of tasks, 0 meaning everything; `total` the number of tasks if known beforehand.
    verbosity(int verbose, std::size_t pre_dispatch, bool sequential,
              std::optional<std::size_t> total = std::nullopt) noexcept
        : verbose_(verbose), sequential_(sequential), pre_dispatch_(bounded(pre_dispatch)) {
        if (total) set_total(*total, 0);
    }

    /// Tells that the input ended after `total` tasks, noticed when `done` tasks were complete.
    void set_total(std::size_t total, std::size_t done) noexcept {
        total_ = bounded(total);
        if (sequential_) return; // joblib's sequential loop never knows that it drains
        if (pre_dispatch_ == 0) {
            drain_from_ = bounded(done) + 1;
            return;
        }
        // A full pipeline is refilled by each completion; the first refill that finds nothing is this one.
        drain_from_ = std::max<std::int64_t>({bounded(done) + 1, total_ - pre_dispatch_ + 2, 2});
    }

    /// The smallest count above `done` at which a line is due, `never` if there is none.
    std::size_t next(std::size_t done) const noexcept {
        if (verbose_ <= 0 || done >= static_cast<std::size_t>(limit)) return never;
        std::int64_t count = static_cast<std::int64_t>(done) + 1;
        if (count < drain_from_) count = next_dispatching(count);
        if (count >= drain_from_) count = next_draining(std::max(drain_from_, static_cast<std::int64_t>(done) + 1));
        return count < total_ ? static_cast<std::size_t>(count) : never;
    }

    /// Whether a line is due at any count of (`done_before`, `done_now`], and the call is not complete by then.
    bool should_print(std::size_t done_before, std::size_t done_now) const noexcept {
        return next(done_before) <= done_now && bounded(done_now) < total_;
    }

private:
    // Counts are kept far enough below 2^63 that no sum or square here overflows.
    static constexpr std::int64_t limit = std::int64_t{1} << 60;

    static constexpr std::int64_t bounded(std::size_t count) noexcept {
        return count < static_cast<std::size_t>(limit) ? static_cast<std::int64_t>(count) : limit;
    }

    /// joblib looks at the number of tasks dispatched: with a full pipeline, what it holds beyond those done.
    std::int64_t ahead() const noexcept { return sequential_ ? 0 : std::min(pre_dispatch_, total_) - 1; }

    /// Due where floor(sqrt((i + 1) / s)) > floor(sqrt(i / s)) for i dispatched tasks and s = (11 - verbose)^2 / 2,
    /// that is at i = ceil(s * m * m) - 1 for m = 1, 2, 3..., and at i = 0. Above level 10, everywhere.
    std::int64_t next_dispatching(std::int64_t count) const noexcept {
        const std::int64_t dispatched = count + ahead();
        if (verbose_ > 10 || dispatched <= 0) return count;
        const auto step = static_cast<std::uint64_t>(11 - verbose_);
        // ceil(x / 2) - 1 >= i  <=>  x >= 2 * i + 1; x is the square of a multiple of step.
        const std::uint64_t root = integer_sqrt(2 * static_cast<std::uint64_t>(dispatched)) + 1;
        const std::uint64_t multiple = (root + step - 1) / step * step;
        return static_cast<std::int64_t>((multiple * multiple + 1) / 2) - 1 - ahead();
    }

    /// Due where total - count + 1 - pre_dispatch is a multiple of the period, but not just before the end.
    std::int64_t next_draining(std::int64_t count) const noexcept {
        const std::int64_t period = total_ / verbose_ + 1;
        const std::int64_t phase = (total_ + 1 - pre_dispatch_) % period;
        std::int64_t due = count + (phase - count % period + 2 * period) % period;
        if (due == total_ - 1) due += period;
        return due;
    }

    int verbose_ = 0;
    bool sequential_ = false;
    std::int64_t pre_dispatch_ = 0;
    std::int64_t total_ = limit;
    std::int64_t drain_from_ = limit;
};

} // namespace joblot::detail

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace joblot::detail {

/// What a call tells its reporter.
struct progress_config {
    int n_jobs = 1;                                        ///< as the user gave it, for the prefix
    int workers = 1;                                       ///< in effect
    std::string backend{};                                 ///< "ThreadingBackend"
    int verbose = 0;                                       ///< joblib's level
    std::size_t pre_dispatch = 0;                          ///< in tasks; 0: everything
    bool sequential = false;                               ///< one task after the other in the caller
    std::optional<std::size_t> total{};                    ///< if known before the call starts
    std::function<std::string()> label{};                  ///< asked, with the reporter locked, until not empty
    std::function<void(const progress_event&)> callback{}; ///< the user's
    line_sink sink{};                                      ///< where lines go; default stderr
    std::function<std::chrono::steady_clock::time_point()> clock{}; ///< default: the steady clock
};

/// Whether a call has anything to report at all.
inline bool wants_progress(int verbose, const std::function<void(const progress_event&)>& callback) noexcept {
    return verbose > 0 || static_cast<bool>(callback);
}

/// Reports the progress of one call. Every method may be called by any thread at any time and none throws.
///
/// `add` costs one atomic addition and one comparison unless a line is due or a callback is set. Reports are made
/// one at a time, under a lock, so that lines do not interleave and counts do not go down.
class progress_reporter {
public:
    /// Above this many lines of one call, at most one in `line_pause` is printed: a million tiny batches at
    /// verbose = 100 shall not drown the terminal. So it is from the second line on after batches of many tasks: these
    /// are so short that writing lines would be most of the work. The closing line always comes.
    static constexpr std::size_t unpaced_lines = 1000;
    static constexpr std::size_t many_tasks = 64;
    static constexpr std::chrono::milliseconds line_pause{10};

    /// A reporter that counts and says nothing.
    progress_reporter() = default;

    /// Starts the clock.
    explicit progress_reporter(progress_config config)
        : config_(std::move(config)), total_(config_.total), width_(count_width(config_.total)) {
        redirect();
        if (!wants_progress(config_.verbose, config_.callback)) return;
        policy_ = verbosity(config_.verbose, config_.pre_dispatch, config_.sequential, config_.total);
        next_line_ = policy_.next(0);
        next_.store(threshold(), std::memory_order_relaxed);
        started_at_ = now();
    }

    progress_reporter(const progress_reporter&) = delete;
    progress_reporter& operator=(const progress_reporter&) = delete;

    /// Prints the line that names the backend and shows the callback a first event with `done` 0.
    void start() noexcept {
        if (!wants_progress(config_.verbose, config_.callback)) return;
        guarded([this] {
            std::string line;
            if (config_.verbose > 0) line = prefixed(backend_line(config_.backend, config_.workers));
            show(snapshot(0, progress_state::running), line);
        });
    }

    /// Counts `tasks` more as completed.
    void add(std::size_t tasks) noexcept {
        // Where a report is expected anyway the addition is made under the lock: each report then shows its own count.
        if (due(done_.load(std::memory_order_relaxed) + tasks)) {
            bool counted = false;
            guarded([&] {
                const std::size_t before = done_.fetch_add(tasks, std::memory_order_relaxed);
                counted = true;
                advance(before, before + tasks);
            });
            if (counted) return;
        }
        const std::size_t before = done_.fetch_add(tasks, std::memory_order_relaxed);
        if (due(before + tasks)) guarded([&] { advance(before, before + tasks); });
    }

    /// Tells how many tasks an input of unknown length turned out to hold. Takes no lock: it may be called with
    /// the input's own lock held. The next `add` takes notice.
    void total_known(std::size_t total) noexcept {
        if (!wants_progress(config_.verbose, config_.callback)) return;
        found_total_.store(total);
        next_.store(0);
    }

    /// Closes the report: the last line and the last event. Only the first call of it does anything.
    void finish(progress_state state) noexcept {
        if (!wants_progress(config_.verbose, config_.callback)) return;
        guarded([this, state] {
            if (closed_) return;
            closed_ = true;
            notice_total(done());
            const std::size_t count = done();
            if (state == progress_state::finished) total_ = count;
            next_line_ = verbosity::never;
            next_.store(verbosity::never);
            report(snapshot(count, state), config_.verbose > 0);
        });
    }

    /// Tasks completed so far.
    std::size_t done() const noexcept { return done_.load(std::memory_order_relaxed); }

private:
    using time_point = std::chrono::steady_clock::time_point;
    static constexpr std::size_t no_total = verbosity::never;

    /// `progress_text` asks for the lines instead of events: it becomes the sink.
    void redirect() {
        const auto* text = config_.callback.target<progress_text>();
        if (text == nullptr) return;
        config_.sink = [stream = *text](std::string_view line) { stream.write(line); };
        config_.callback = nullptr;
        if (config_.verbose <= 0) config_.verbose = progress_text::default_verbose;
    }

    time_point now() const { return config_.clock ? config_.clock() : std::chrono::steady_clock::now(); }

    /// Whether the count `done` has to be looked at under the lock.
    bool due(std::size_t done) const noexcept { return done >= next_.load(std::memory_order_relaxed); }

    /// Runs `f` under the lock, and swallows what it throws: progress is never a reason for a call to fail.
    template <class F>
    void guarded(F&& f) noexcept {
        try {
            const std::scoped_lock lock(mutex_);
            f();
        } catch (...) {
        }
    }

    // From here on: with mutex_ held.

    std::size_t threshold() const noexcept { return config_.callback ? 0 : next_line_; }

    /// Reports that the count went from `before` to `done`, unless a later count was reported already.
    void advance(std::size_t before, std::size_t done) {
        if (closed_ || done <= reported_) return;
        notice_total(before);
        const bool complete = total_ && done >= *total_; // which is for the closing line to say
        const bool wanted = done >= next_line_ && !complete;
        const bool line_due = wanted && !paused(done - before);
        if (done >= next_line_) next_line_ = policy_.next(line_due ? done : done + stride(done));
        publish_threshold();
        if (!line_due && !config_.callback) return;
        reported_ = done;
        if (line_due) line_at_ = done;
        report(snapshot(done, progress_state::running), line_due);
    }

    /// Takes over what `total_known` left, noticed when `before` tasks were complete.
    void notice_total(std::size_t before) {
        const std::size_t found = found_total_.exchange(no_total);
        if (found == no_total || total_ == found) return;
        total_ = found;
        policy_.set_total(found, before);
        next_line_ = policy_.next(before);
    }

    /// A total found meanwhile sets the threshold to 0 and must not be overwritten; hence the second look.
    void publish_threshold() {
        next_.store(threshold());
        if (found_total_.load() != no_total) next_.store(0);
    }

    bool paused(std::size_t tasks) const {
        return (lines_ >= unpaced_lines || tasks >= many_tasks) && now() < quiet_until_;
    }

    /// How many counts to pass over before a paused line is looked at again, so that a flood of tiny batches costs
    /// few locks and clock reads; few enough that hardly a line is lost should the tasks slow down.
    std::size_t stride(std::size_t done) const noexcept { return std::min<std::size_t>(16, (done - line_at_) / 8); }

    progress_event snapshot(std::size_t done, progress_state state) const {
        progress_event event;
        event.done = done;
        if (total_) event.total = std::max(*total_, done);
        event.elapsed = std::max(event.elapsed, std::chrono::duration<double>(now() - started_at_));
        const bool open = state == progress_state::running || state == progress_state::finished;
        if (event.total && done > 0 && open)
            event.remaining = event.elapsed / static_cast<double>(done) * static_cast<double>(*event.total - done);
        event.state = state;
        return event;
    }

    std::string prefixed(const std::string& text) const { return line_prefix(config_.n_jobs) + text + "\n"; }

    void report(const progress_event& event, bool with_line) {
        show(event, with_line ? prefixed(progress_line(event, width_)) : std::string());
    }

    /// Writes the line, if any, then calls the callback.
    void show(progress_event event, const std::string& line) {
        if (!line.empty()) print(line);
        if (!config_.callback) return;
        find_label();
        event.label = label_;
        event.line = line;
        config_.callback(event);
    }

    void find_label() noexcept {
        try {
            if (label_.empty() && config_.label) label_ = config_.label();
        } catch (...) {
        }
    }

    void print(std::string_view line) noexcept {
        try {
            ++lines_;
            quiet_until_ = now() + line_pause;
            if (config_.sink)
                config_.sink(line);
            else
                write_stderr(line);
        } catch (...) {
        }
    }

    progress_config config_;
    std::mutex mutex_;
    std::optional<std::size_t> total_;
    verbosity policy_;
    std::size_t next_line_ = verbosity::never; // the count at which a line is due
    std::size_t reported_ = 0;                 // the last count shown
    std::size_t line_at_ = 0;                  // the last count that had a line
    std::size_t lines_ = 0;                    // printed so far
    time_point quiet_until_{};                 // see unpaced_lines
    std::size_t width_ = 3;
    bool closed_ = false;
    std::string label_;
    time_point started_at_{}; // constant once constructed

    // Read and written without the lock, together by every `add`. done_ counts; at next_ the lock has to be taken.
    // Stores to next_ and found_total_ are ordered with each other, see publish_threshold.
    alignas(64) std::atomic<std::size_t> done_{0};
    std::atomic<std::size_t> next_{verbosity::never};
    std::atomic<std::size_t> found_total_{no_total}; // left by total_known, taken by notice_total
};

} // namespace joblot::detail

#include <atomic>
#include <cstddef>
#include <exception>
#include <functional>
#include <limits>
#include <mutex>
#include <optional>
#include <string>
#include <system_error>
#include <thread>
#include <utility>

namespace joblot {

namespace detail {
class runner_entry; // wire/: what runs tasks in another process
template <class>
class basic_remote_batches;
} // namespace detail

/// One call of a `Parallel`: reads the user's range, hands out batches, collects results, errors and progress.
///
/// A backend gets a `job&` in `backend::run` and lets its workers, at most `n_jobs()` at a time, do
/// `do j.work(id); while (j.wait());`, each on a thread and with an id of its own. Every member is thread-safe.
class job {
public:
    static constexpr std::size_t none = std::numeric_limits<std::size_t>::max();

    job(const job&) = delete;
    job& operator=(const job&) = delete;
    virtual ~job() = default;

    /// How many workers the call is meant to have, >= 1.
    [[nodiscard]] int n_jobs() const noexcept { return settings_.workers; }

    /// For a backend whose workers come and go: how many there are now. The input is read ahead for as many.
    void workers_are(int n) noexcept { workers_now_.store(n, std::memory_order_relaxed); }

    /// At most so many tasks are still to be claimed; `none` where that is not known.
    [[nodiscard]] virtual std::size_t tasks_left() const noexcept = 0;

    /// Takes part in the call on this thread: claims batches and runs them until none can be had at the moment.
    /// Never throws: what tasks throw is kept in the job.
    /// @param worker_id 0 to `n_jobs() - 1`; no two threads may use the same one at the same time.
    /// @return Whether there was anything to run.
    bool work(int worker_id) {
        worker w(*this, worker_id);
        bool worked = false;
        try {
            while (const batch b = claim(w)) {
                worked = true;
                run(b, w);
            }
        } catch (...) { // of claiming: memory, or a task that is moved out of what was read before
            if (detail::thread_ends()) throw;
            abort(std::current_exception());
        }
        return worked;
    }

    /// Blocks until there may be something to claim again. False when there never will be: the call is over.
    [[nodiscard]] virtual bool wait() = 0;

    /// The next tasks, read from the user's range where they come from there; an empty batch if there are none now.
    [[nodiscard]] virtual batch claim(worker& w) = 0;

    /// Runs a claimed batch on this thread.
    void run(const batch& b, worker& w) {
        try {
            if (in_steps_) {
                for (std::size_t k = 0; k != b.size(); ++k) run_step(batch(b.first() + k, 1, b.tasks()), w);
            } else {
                run_step(b, w);
            }
        } catch (...) {
            if (detail::thread_ends()) finish_elsewhere(b, w);
            throw;
        }
        settle(b);
        if (!w.sizer_.adapts() || few_tasks_left()) return;
        // Where batches get shorter as the call ends, the clock is read when as many tasks have run as at the last
        // time: 35 ns for each of those are too much.
        w.unmeasured_ += b.size();
        if (w.unmeasured_ < w.measured_ && b.size() < w.sizer_.so_far().usual) return;
        const auto now = detail::task_context::clock::now();
        w.sizer_.measured(w.unmeasured_, now - w.lap_);
        w.lap_ = now;
        w.measured_ = std::exchange(w.unmeasured_, 0);
        if (!publishes_) shared_.note(w.sizer_.so_far());
    }

    // --- for a backend whose workers are other processes, which has `detail::remote_batches` do the rest

    /// What runs the tasks of this job in another process.
    /// @throws serialization_error naming the type and the ways out, where they cannot be sent.
    [[nodiscard]] virtual const detail::runner_entry& remote_runner() const = 0;
    /// The same for a process that was forked, from which only results are sent.
    virtual void check_results_travel() const = 0;
    /// What combines the results where they are made, or null where each is sent.
    [[nodiscard]] virtual detail::any_reduction* reduction() noexcept { return nullptr; }

    /// No task at this index or above may start any more.
    [[nodiscard]] std::size_t limit() const noexcept { return limit_.load(std::memory_order_relaxed); }
    /// Tasks at this index or above need not even end, where they can be ended by force.
    [[nodiscard]] std::size_t unwanted_from() const noexcept {
        return unwanted_from_.load(std::memory_order_relaxed); // a hint, as limit_ is
    }

    /// The backend failed: nothing more starts, and the call throws `why` unless a task failed before.
    void abort(std::exception_ptr why) {
        {
            const std::lock_guard lock(outcome_mutex_);
            if (stopped_ && settings_.keeps_on_stop()) return; // what is there is wanted, whatever happens now
            if (!backend_failure_) backend_failure_ = std::move(why);
        }
        halt(0, 0);
    }

    // What follows is for the dispatcher's own parts and the front end.

    [[nodiscard]] const detail::call_settings& settings() const noexcept { return settings_; }

    /// A task of a batch failed for good. Thread-safe.
    /// @param tries How many times it was tried.
    /// @return Whether that is a result like others, so that the batch goes on.
    bool task_failed(const batch& b, std::size_t index, std::exception_ptr why, int tries) {
        std::string label = b.tasks()->label(index);
        if (!was_stopped() && b.tasks()->keep_failure(index, detail::failure{why, {index, label}, tries})) return true;
        fail(index, std::move(why), std::move(label));
        return false;
    }

    /// The same where no failure is a result.
    void fail(std::size_t index, std::exception_ptr why, std::string label) {
        note_failure(index, std::move(why), std::move(label), publishes_ ? index : 0);
    }

    /// The input could not be read at that index. The tasks before it are there, and run.
    void fail_input(std::size_t index, std::exception_ptr why) {
        note_failure(index, std::move(why), "reading the input", index);
    }

    /// The stop token fired, or the deadline has passed. The first of both is what the call reports.
    void stop(bool deadline_passed = false) noexcept {
        {
            const std::lock_guard lock(outcome_mutex_);
            if (!std::exchange(stopped_, true)) deadline_passed_ = deadline_passed;
        }
        halt(0, 0);
    }
    /// What a task throws after that is no failure: it may have been told to stop.
    [[nodiscard]] bool was_stopped() const noexcept {
        if (!is_halted()) return false;
        const std::lock_guard lock(outcome_mutex_);
        return stopped_;
    }

    /// No task at `limit` or above starts any more; those at `unwanted_from` or above may be ended by force.
    void halt(std::size_t limit, std::size_t unwanted_from) noexcept {
        // relaxed: whoever reads them decides only whether to start a task, or to end it. The data of a failure has its
        // own mutex, and the caller reads it after the workers have left, which the backend synchronises.
        lower(unwanted_from_, unwanted_from);
        lower(limit_, limit);
        halted();
        call_waker();
        // Calls of tasks, too. No lock may be held here. What callbacks do is not done by the task of this thread.
        detail::task_context* const inside = std::exchange(detail::current_task, nullptr);
        tokens_.fire_from(limit_.load(std::memory_order_relaxed));
        detail::current_task = inside;
    }

    [[nodiscard]] bool is_halted() const noexcept { return limit_.load(std::memory_order_relaxed) != none; }

    /// Tasks that ended well so far; exact when no worker is inside.
    [[nodiscard]] std::size_t completed_tasks() const noexcept {
        return shared_.completed.load(std::memory_order_relaxed);
    }

    /// Whether every task has ended well; for when no worker is inside any more.
    [[nodiscard]] virtual bool all_done() const noexcept = 0;

    /// How the call ended. For when no worker is inside any more.
    [[nodiscard]] progress_state state() const {
        if (!is_halted()) return progress_state::finished; // whatever goes wrong halts
        const std::lock_guard lock(outcome_mutex_);
        if (failure_ || backend_failure_) return progress_state::failed;
        return stopped_ ? progress_state::cancelled : progress_state::finished;
    }

    /// Prints the closing line. Call once, when no worker is inside any more.
    void report_end(progress_state how) noexcept {
        if (reporter_) reporter_->finish(how);
    }

    /// Throws what the call must throw, if anything.
    void throw_if_failed() const {
        if (!is_halted()) return;
        std::unique_lock lock(outcome_mutex_);
        const std::optional<detail::failure> failure = failure_;
        const std::exception_ptr backend_failure = backend_failure_;
        const bool stopped = stopped_ && !settings_.keeps_on_stop();
        const bool late = deadline_passed_;
        lock.unlock(); // an earlier failure goes now, and exceptions are the user's
        if (failure) detail::throw_failure(*failure);
        if (backend_failure) std::rethrow_exception(backend_failure);
        if (stopped && late) throw timeout_error(*settings_.given->deadline.limit(), completed_tasks());
        if (stopped) throw cancelled(completed_tasks());
    }

protected:
    /// @param settings             Must outlive the job.
    /// @param total                Number of tasks, or `none` where it is not known.
    /// @param publishes            Whether results are handed out while the call runs. Then tasks before a failing one
    ///                             still run.
    /// @param careful              Whether there are time limits, retries or outcomes.
    job(const detail::call_settings& settings, std::size_t total, bool publishes, bool careful)
        : settings_(settings), publishes_(publishes), careful_(careful),
          // Readers are told of each task; progress too where batches have a fixed size and may take long.
          in_steps_(publishes || (settings_.batch_size() > 1 && settings_.observed())),
          inner_threads_(settings.inside.inner_max_num_threads.value_or(0)),
          batches_{settings.batch_size(), settings.batch_target, settings.batch_cost, settings.workers,
                   publishes ? worker::cautious_trials : 1},
          workers_now_(settings.workers) {
        if (settings_.observed()) reporter_.emplace(progress(total));
    }

    /// What workers write when they claim a batch, measure one, or leave, one after the other: on one line, which they
    /// have at hand then. relaxed, all of them: none says anything of other data.
    struct alignas(64) shared_line {
        std::atomic<std::size_t> claimed{0};            ///< tasks, where the input is indexed
        std::atomic<std::size_t> usual{1}, smallest{1}; ///< batches; see batch_sizer::sizes
        std::atomic<std::size_t> completed{0};          ///< tasks; each worker adds once, when it leaves

        void note(const detail::batch_sizer::sizes& s) noexcept {
            usual.store(s.usual, std::memory_order_relaxed);
            smallest.store(s.smallest, std::memory_order_relaxed);
        }
        [[nodiscard]] detail::batch_sizer::sizes sizes() const noexcept {
            return {usual.load(std::memory_order_relaxed), smallest.load(std::memory_order_relaxed)};
        }
    };
    [[nodiscard]] bool batches_adapt() const noexcept { return batches_.fixed == 0; }
    [[nodiscard]] std::atomic<std::size_t>& claimed() noexcept { return shared_.claimed; }
    [[nodiscard]] const std::atomic<std::size_t>& claimed() const noexcept { return shared_.claimed; }

    /// All tasks of a claimed batch have ended, or will not start.
    virtual void settle(const batch&) {}
    /// The next `count` results of the batch may be handed out.
    virtual void publish(const batch&, std::size_t /* count */) {}
    /// How many workers there are at the moment, as far as the backend says.
    [[nodiscard]] int workers_now() const noexcept { return workers_now_.load(std::memory_order_relaxed); }
    /// Calls the waker's function, if there is one.
    void call_waker() noexcept {
        const std::lock_guard lock(waker_mutex_);
        if (waker_) waker_();
    }
    /// `halt` was called: wakes whoever waits for work or results.
    virtual void halted() noexcept {}
    /// Label of the call's first task, for progress.
    virtual std::string first_label() = 0;

    /// The end of an input of unknown length was found.
    void total_is_known(std::size_t total) noexcept {
        if (reporter_) reporter_->total_known(total);
    }
    void report_start() noexcept {
        if (reporter_) reporter_->start();
    }

private:
    friend class worker;
    friend class waker;
    template <class>
    friend class detail::basic_remote_batches;

    /// No more than one for each worker: there is nothing to adapt, and the clock need not be read.
    [[nodiscard]] bool few_tasks_left() const noexcept {
        return tasks_left() <= static_cast<std::size_t>(batches_.workers);
    }

    void note_failure(std::size_t index, std::exception_ptr why, std::string label, std::size_t start_only_below) {
        std::optional<detail::failure> less{detail::failure{std::move(why), {index, std::move(label)}}};
        {
            const std::lock_guard lock(outcome_mutex_);
            if (stopped_) return; // what a task throws because it was told to stop is no failure
            // Told because of a failure, a task's own call was cancelled: that is not why the call failed.
            if (failure_ && is_cancelled(less->error)) return;
            // what is not kept goes when the lock is given back: exceptions are the user's
            if (!failure_ || index < failure_->task.index) failure_.swap(less);
        }
        halt(start_only_below, index);
    }

    static bool is_cancelled(const std::exception_ptr& why) noexcept {
        try {
            std::rethrow_exception(why);
        } catch (const cancelled&) {
            return true;
        } catch (...) {
            return false;
        }
    }

    static void lower(std::atomic<std::size_t>& value, std::size_t to) noexcept {
        std::size_t now = value.load(std::memory_order_relaxed);
        while (to < now && !value.compare_exchange_weak(now, to, std::memory_order_relaxed)) {
        }
    }

    /// A task of the batch ends this thread: those after it, if the call goes on, are run by another one.
    void finish_elsewhere(const batch& b, worker& w) {
        const std::size_t next = w.context().index + 1;
        const batch rest(next, b.first() + b.size() - next, b.tasks());
        settle(batch(b.first(), next - b.first(), b.tasks()));
        if (reporter_) reporter_->add(in_steps_ ? 1 : next - b.first());
        if (!rest) return;
        if (next >= limit()) return settle(rest);
        try {
            std::thread([&, id = w.context().worker_id] {
                worker other(*this, id);
                run(rest, other);
            }).join();
        } catch (const std::system_error&) { // no thread is to be had
            abort(std::current_exception());
        }
    }

    void run_step(const batch& b, worker& w) {
        const std::size_t ended = b.tasks()->run(*this, w, b, careful_);
        if ((publishes_ || reporter_) && ended) tell(b, ended, w);
    }
    void tell(const batch& b, std::size_t ended, worker& w) {
        if (publishes_) publish(b, ended);
        if (!reporter_) return;
        // Not counted as the tasks' time: batches would get shorter by it, and lines more.
        const auto before = detail::task_context::clock::now();
        reporter_->add(ended);
        w.lap_ += detail::task_context::clock::now() - before;
    }

    [[nodiscard]] detail::progress_config progress(std::size_t total) {
        return {.n_jobs = settings_.requested_n_jobs,
                .workers = settings_.workers,
                .backend = settings_.backend_name,
                .verbose = settings_.verbose,
                .pre_dispatch =
                    settings_.given->pre_dispatch.is_everything() ? 0 : settings_.ahead(1, settings_.workers),
                .sequential = settings_.workers == 1,
                .total = total == none ? std::nullopt : std::optional(total),
                .label = [this] { return settings_.label().empty() ? first_label() : settings_.label(); },
                .callback = settings_.given->progress};
    }

    // What every worker reads comes first, and together: a worker that comes from another core fetches each line.
    const detail::call_settings& settings_;
    // Read before every task, written at most a few times.
    std::atomic<std::size_t> limit_{none};
    bool publishes_;
    bool careful_;
    bool in_steps_;
    int inner_threads_; // 0: as many as they like
    detail::batch_sizer::rules batches_;
    shared_line shared_;
    std::atomic<std::size_t> unwanted_from_{none}; // as limit_
    std::atomic<int> workers_now_;                 // relaxed: a hint how far to read ahead
    std::optional<detail::progress_reporter> reporter_;

    mutable std::mutex outcome_mutex_; // guards the five below; taken only when something goes wrong, and at the end
    bool stopped_ = false;
    bool deadline_passed_ = false; // and that is why it was stopped
    std::optional<detail::failure> failure_;
    std::exception_ptr backend_failure_;

    detail::stop_registry tokens_;
    detail::worker_values values_;

    std::mutex waker_mutex_; // taken last of all
    std::function<void()> waker_;
};

inline worker::worker(job& j, int id)
    : job_(j), limit_(j.limit_), sizer_(j.batches_), outer_task_(detail::current_task),
      outer_scope_(detail::current_scope), inner_threads_(j.inner_threads_) {
    context_.worker_id = id;
    context_.limit = &j.limit_;
    context_.tokens = &j.tokens_;
    context_.values = &j.values_;
    detail::current_task = &context_;
    detail::current_scope = &j.settings_.inside;
    if (!sizer_.adapts() || j.few_tasks_left()) return;
    if (!j.publishes_) sizer_.begin_with(j.shared_.sizes());
    lap_ = detail::task_context::clock::now();
}

inline worker::~worker() {
    if (context_.kind_at_hand) job_.values_.hand_over();
    detail::current_task = outer_task_;
    detail::current_scope = outer_scope_;
    if (completed_) job_.shared_.completed.fetch_add(completed_, std::memory_order_relaxed);
}

} // namespace joblot

#include <chrono>
#include <string>

namespace joblot {

/// What a backend's workers can do.
struct backend_traits {
    bool shared_memory = true; ///< tasks see the caller's memory
    bool can_kill = false;     ///< a task that overruns its time limit, or is cancelled, is stopped by force
    bool remote = false;       ///< workers may be on other machines
    bool in_caller = false;    ///< every task runs on the calling thread; a generator then works when it is read
    /// How long an adapted batch is meant to last: long against what it costs to hand one to a worker.
    std::chrono::nanoseconds batch_target = detail::batch_sizer::target_of_threads;
    /// What a batch costs by itself, where that is much: none is made so short that this would show.
    std::chrono::nanoseconds batch_cost{};
};

/// Runs jobs. One object serves many calls, also at the same time: all members must be thread-safe.
class JOBLOT_ONE_TYPE backend {
public:
    backend() = default;
    backend(const backend&) = delete;
    backend& operator=(const backend&) = delete;
    virtual ~backend() = default;

    /// Its name in progress lines, e.g. "ThreadingBackend".
    [[nodiscard]] virtual std::string name() const = 0;

    [[nodiscard]] virtual backend_traits traits() const noexcept { return {}; }

    /// How many workers a call with `n_jobs = n` gets: `n > 0` as many; -1 all; -k all + 1 - k, at least 1.
    /// 0 or less as the answer means that there is no worker now, and the call is refused with a `backend_error`.
    /// @param n Not 0.
    [[nodiscard]] virtual int effective_n_jobs(int n) const = 0;

    /// The same for a call that begins, with its `requested_n_jobs`: for backends that wait here for their workers.
    /// They ask `call.is_over()` meanwhile; once it is, any number from 1 on will do.
    [[nodiscard]] virtual int effective_n_jobs_of(const detail::call_settings& call) const {
        return effective_n_jobs(call.requested_n_jobs);
    }

    /// Runs the whole job and returns when it is over: at most `j.n_jobs()` workers, each on its own thread and with
    /// its own id from 0 on, do `do j.work(id); while (j.wait());`. When it returns, no worker may be inside `j` any
    /// more.
    /// @throws backend_error (or anything else) where it cannot; the call then throws that, unless a task had failed.
    virtual void run(job& j) = 0;
};

namespace detail {
/// joblib's rule for negative numbers of jobs, where `all` workers could be had.
constexpr int resolve_n_jobs(int n, int all) noexcept { return n > 0 ? n : (all + 1 + n > 1 ? all + 1 + n : 1); }
} // namespace detail

} // namespace joblot
// ---- joblot/backend/processes.hpp
// The processes backend: tasks run in worker processes of the program's own executable.

// ---- joblot/backend/process_options.hpp
// How the worker processes of a call are to be, and the way from here to what runs them.

// ---- joblot/core/one_form.hpp
// The two forms of joblot: headers only, or with the engines in a static library (JOBLOT_COMPILED, which the CMake
// targets define). A program has one of them; the linker says so where files differ.

namespace joblot::detail {

// Files of one form share the variable, as it is inline. A linker takes none that is a thread's in one file and not in
// another, and shows its name; only that of clang's -flto is silent. (Assembler as in dask/net/tls.hpp would not be,
// but there it is an error in two files of one form, too.) `used`, as nothing else keeps it. Hidden: a shared library
// may have the other form, for what it shares with the program is the same in both, and the engine is that of who calls
// `init`.
#if defined(JOBLOT_COMPILED)
#define JOBLOT_OF_THIS_FORM thread_local
#else
#define JOBLOT_OF_THIS_FORM
#endif
[[gnu::used]] [[gnu::visibility("hidden")]] inline const JOBLOT_OF_THIS_FORM char
    joblot_is_compiled_and_header_only_here_define_JOBLOT_COMPILED_in_all_files_or_in_none = 0;
#undef JOBLOT_OF_THIS_FORM

} // namespace joblot::detail

#include <atomic>
#include <chrono>
#include <cstddef>
#include <optional>
#include <string>

namespace joblot::detail {

/// Workers of equal configuration can stand in for each other.
struct worker_config {
    void (*init)() = nullptr;         ///< runs once in each new worker
    std::size_t max_tasks = 0;        ///< a worker is replaced after so many; 0: never
    std::size_t memory_limit = 0;     ///< bytes of memory of its own; 0: none
    std::optional<int> inner_threads; ///< `inner_max_num_threads`
    std::chrono::milliseconds idle_timeout{};

    friend bool operator==(const worker_config&, const worker_config&) = default;
};

struct process_options {
    worker_config config;
    bool forked = false; ///< a process for each batch, forked from this one, instead of a persistent worker
};

/// Runs a job on worker processes; null until `joblot::init` was called. So only the source file that calls `init`
/// compiles the engine, and a program without that line cannot start itself again by mistake.
JOBLOT_ONE_PER_PROCESS inline std::atomic<void (*)(job&, const process_options&)>& process_engine() noexcept {
    static constinit std::atomic<void (*)(job&, const process_options&)> run{nullptr};
    return run;
}

/// The error of a program without that line. @param who What needs it, e.g. "worker processes".
[[noreturn, gnu::cold]] inline void refuse_without_init(const std::string& who) {
    throw backend_error("joblot: " + who +
                        " need a line at the start of main, before anything else:\n"
                        "    int main(int argc, char** argv) {\n"
                        "        joblot::init(argc, argv);"
#if defined(JOBLOT_IN_A_LIBRARY)
                        "\nA library that was loaded with dlopen does not see that line unless the program was linked "
                        "with -rdynamic."
#endif
    );
}

} // namespace joblot::detail
// ---- joblot/cpu_count.hpp
// How many CPUs this process may use: affinity mask, cgroup quota, and an override.

// ---- joblot/system/privileges.hpp
// Programs that run with more rights than whoever started them (set-uid, set-gid, file capabilities): what that user
// says by way of arguments and the environment must not choose whose code runs.

#include <cstdlib>

#if __has_include(<sys/auxv.h>)
#include <sys/auxv.h>
#endif

namespace joblot::detail {

/// Whether the program has rights that whoever started it has not, as the kernel tells it at the start. Thread-safe.
inline bool is_privileged() noexcept {
#if __has_include(<sys/auxv.h>)
    return ::getauxval(AT_SECURE) != 0;
#else
    return false;
#endif
}

/// How an error begins that says what such a program does not do.
inline constexpr const char* privileged_program =
    "joblot: a program that runs with the rights of another user (set-uid, set-gid or file capabilities) ";

/// A variable of the environment; null where it is not set, or where it may not be trusted.
inline const char* trusted_variable(const char* name) noexcept { return is_privileged() ? nullptr : std::getenv(name); }

} // namespace joblot::detail

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>

#if defined(__linux__)
#include <sched.h>
#endif

namespace joblot {

namespace detail {

/// The text of a small file, or nothing where it cannot be read.
inline std::optional<std::string> read_small_file(const std::string& path) {
    const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen(path.c_str(), "re"), &std::fclose);
    if (!file) return std::nullopt;
    char buffer[4096];
    return std::string(buffer, std::fread(buffer, 1, sizeof buffer, file.get()));
}

/// CPUs that a quota of `quota` microseconds in each `period` allows, rounded up; nothing for "no limit" or nonsense.
inline std::optional<int> cpus_of_quota(long long quota, long long period) {
    if (quota <= 0 || period <= 0) return std::nullopt;
    return static_cast<int>(std::clamp<long long>((quota - 1) / period + 1, 1, 1 << 20));
}

/// The limit that one cgroup sets. `dir` is a folder of a v2 hierarchy (`cpu.max`) or of v1's cpu controller.
inline std::optional<int> cgroup_limit(const std::string& dir) {
    if (const auto v2 = read_small_file(dir + "/cpu.max")) {
        long long quota = 0, period = 0;
        if (std::sscanf(v2->c_str(), "%lld %lld", &quota, &period) == 2) return cpus_of_quota(quota, period);
        return std::nullopt; // "max 100000", or empty
    }
    const auto quota = read_small_file(dir + "/cpu.cfs_quota_us");
    const auto period = read_small_file(dir + "/cpu.cfs_period_us");
    if (!quota || !period) return std::nullopt;
    return cpus_of_quota(std::atoll(quota->c_str()), std::atoll(period->c_str()));
}

/// The tightest limit of the cgroup `path` and its parents, under the mount point `mount`.
inline std::optional<int> cgroup_limit_upwards(const std::string& mount, std::string path) {
    std::optional<int> tightest;
    for (;;) {
        if (const auto limit = cgroup_limit(mount + path)) tightest = std::min(tightest.value_or(*limit), *limit);
        if (path.empty()) return tightest;
        const auto slash = path.rfind('/');
        path.resize(slash == path.npos ? 0 : slash);
    }
}

/// CPUs allowed by the cgroups of this process. `root` is prefixed to /proc and /sys, for tests.
inline std::optional<int> cgroup_cpus(const std::string& root = {}) {
    const auto membership = read_small_file(root + "/proc/self/cgroup");
    if (!membership) return std::nullopt;
    std::optional<int> tightest;
    std::string_view rest = *membership;
    while (!rest.empty()) { // lines of "id:controllers:path"; v2 has no controllers
        const std::string_view line = rest.substr(0, rest.find('\n'));
        rest.remove_prefix(std::min(rest.size(), line.size() + 1));
        const auto first = line.find(':'), second = line.find(':', first + 1);
        if (first == line.npos || second == line.npos) continue;
        const std::string_view controllers = line.substr(first + 1, second - first - 1);
        const bool v1_cpu = ("," + std::string(controllers) + ",").find(",cpu,") != std::string::npos;
        if (!v1_cpu && !controllers.empty()) continue;
        const auto limit = cgroup_limit_upwards(root + (v1_cpu ? "/sys/fs/cgroup/cpu" : "/sys/fs/cgroup"),
                                                std::string(line.substr(second + 1)));
        if (limit) tightest = std::min(tightest.value_or(*limit), *limit);
    }
    return tightest;
}

/// A positive whole number from the environment. @throws std::invalid_argument naming variable and value otherwise.
inline std::optional<int> positive_from_environment(const char* name) {
    const char* text = trusted_variable(name);
    if (!text || !*text) return std::nullopt;
    char* end = nullptr;
    errno = 0;
    const long value = std::strtol(text, &end, 10);
    if (*end || errno || value < 1 || value > (1 << 20))
        throw std::invalid_argument("joblot: " + std::string(name) + "=" + text +
                                    " in the environment is not a number from 1 to 1048576");
    return static_cast<int>(value);
}

inline int machine_cpus() {
    int count = static_cast<int>(std::max(1U, std::thread::hardware_concurrency()));
#if defined(__linux__)
    cpu_set_t allowed;
    if (::sched_getaffinity(0, sizeof allowed, &allowed) == 0) count = std::max(1, CPU_COUNT(&allowed));
#endif
    if (const auto quota = cgroup_cpus()) count = std::min(count, *quota);
    return count;
}

} // namespace detail

/// How many CPUs this process may use: those of its affinity mask, at most its cgroup's CPU quota (v1 or v2, rounded
/// up), at least 1. `JOBLOT_CPU_COUNT` in the environment overrides both. Read at the first use and kept, as OpenMP
/// and oneTBB do. Thread-safe.
/// @throws std::invalid_argument if `JOBLOT_CPU_COUNT` is no positive number.
JOBLOT_ONE_PER_PROCESS [[nodiscard]] inline int cpu_count() {
    // No static's guard: a process may fork while another thread holds that. Whoever comes at the same time finds the
    // same number; relaxed, as nothing else comes with it.
    static constinit std::atomic<int> known{0};
    int count = known.load(std::memory_order_relaxed);
    if (count == 0) {
        const auto override_ = detail::positive_from_environment("JOBLOT_CPU_COUNT");
        count = override_ ? *override_ : detail::machine_cpus();
        known.store(count, std::memory_order_relaxed);
    }
    return count;
}

} // namespace joblot

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <utility>

namespace joblot {

/// How worker processes come to be.
enum class start_method {
    spawn, ///< the executable is started anew; workers are kept for later calls; tasks are sent to them
    fork   ///< a copy of this process for each batch; nothing is sent but results
};

namespace detail {

class processes_backend final : public backend {
public:
    explicit processes_backend(process_options o) : options_(std::move(o)) {}

    [[nodiscard]] std::string name() const override { return "ProcessBackend"; }
    [[nodiscard]] backend_traits traits() const noexcept override {
        using namespace std::chrono_literals;
        return {.shared_memory = false, .can_kill = true, .batch_target = options_.forked ? 50ms : 5ms};
    }
    [[nodiscard]] int effective_n_jobs(int n) const override {
        return std::min(resolve_n_jobs(n, cpu_count()), most_workers);
    }

    void run(job& j) override {
        auto* const run_on_workers = process_engine().load(std::memory_order_acquire);
        if (!run_on_workers) refuse_without_init("worker processes");
        run_on_workers(j, options_);
    }

private:
    static constexpr int most_workers = 1024;

    const process_options options_;
};

} // namespace detail

/// Describes the processes backend, by name `"processes"`, `"loky"` or `"multiprocessing"`: tasks run in worker
/// processes that are kept for later calls. What a task does to its process is felt by nobody else: a crash is a
/// `worker_crashed` for that task, a time limit ends it by force.
///
/// The program must call `joblot::init` first in `main`. With `start_method::spawn` functions, arguments and results
/// must be able to travel (`is_remotable_v`); with `start_method::fork` only results must. Workers of equal
/// descriptions are shared by all calls, nested worker processes are possible one deep, and everything ends with the
/// program.
struct processes {
    number_option n_jobs{};                ///< default for calls that do not say theirs
    number_option inner_max_num_threads{}; ///< OMP_NUM_THREADS and its kin in workers; default: a fair share
    typed_option<joblot::start_method, detail::option_kind::start_method> start_method = joblot::start_method::spawn;
    /// Runs once in each new worker; what it throws is a `backend_error`.
    typed_option<void (*)(), detail::option_kind::worker_init> worker_init{};
    std::size_t max_tasks_per_worker = 0; ///< a worker is replaced after so many tasks; 0: never
    std::size_t memory_limit = 0;         ///< bytes that a worker may allocate; beyond is `std::bad_alloc`; 0: no limit
    std::chrono::milliseconds idle_timeout = std::chrono::minutes(5); ///< a worker ends when unused for so long

    /// The backend object of a description that says nothing.
    JOBLOT_ONE_PER_PROCESS [[nodiscard]] static const std::shared_ptr<backend>& shared() {
        static constinit detail::made_once<const std::shared_ptr<backend>> one;
        return one.get([] { return processes{}.make(); });
    }

    /// @throws std::invalid_argument for an `idle_timeout` that is not positive.
    [[nodiscard]] std::shared_ptr<backend> make() const {
        if (idle_timeout.count() <= 0)
            detail::refuse("idle_timeout", std::to_string(idle_timeout.count()) + " ms", "give a positive duration");
        return std::make_shared<detail::processes_backend>(detail::process_options{
            {worker_init, max_tasks_per_worker, memory_limit, inner_max_num_threads, idle_timeout},
            start_method == joblot::start_method::fork});
    }
};

} // namespace joblot
// ---- joblot/backend/registry.hpp
// Backends by name: for guards, options, and the environment.

#include <algorithm>
#include <concepts>
#include <functional>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace joblot {

/// Makes a backend for `"name"` or `"name:address"`.
using backend_factory = std::function<std::shared_ptr<backend>(const backend_options&)>;

namespace detail {

/// The process-wide table of names. Thread-safe.
class backend_registry {
public:
    JOBLOT_ONE_PER_PROCESS static backend_registry& instance() {
        static constinit made_once<backend_registry> registry;
        return registry.get();
    }

    void set(const std::string& name, backend_factory factory) {
        auto shared = share(std::move(factory));
        const std::lock_guard lock(table_mutex());
        const auto known = find(name);
        if (known != entries_.end())
            known->factory.swap(shared); // the one before it goes when the lock is given back
        else
            entries_.push_back({name, std::move(shared)});
    }

    /// Adds a name unless it is there: for the library's own backends, which a program may have replaced.
    void set_default(const std::string& name, backend_factory factory) {
        auto shared = share(std::move(factory));
        const std::lock_guard lock(table_mutex());
        if (find(name) == entries_.end()) entries_.push_back({name, std::move(shared)});
    }

    /// @param name "name" or "name:address"; the address, if there is one, replaces that of the options.
    /// @throws std::invalid_argument for a name that is not known, listing those that are.
    std::shared_ptr<backend> make(std::string_view name, backend_options options) {
        const auto colon = name.find(':');
        if (colon != name.npos) options.address = name.substr(colon + 1);
        const std::string bare(name.substr(0, colon));
        const auto factory = factory_of(bare);
        std::shared_ptr<backend> made = (*factory)(options); // not under the lock: it may connect somewhere
        if (!made) throw backend_error("joblot: the factory of backend \"" + bare + "\" returned a null pointer");
        return made;
    }

private:
    using shared_factory = std::shared_ptr<const backend_factory>; // copied and destroyed without the user's code
    struct entry {
        std::string name;
        shared_factory factory;
    };
    static shared_factory share(backend_factory factory) {
        return std::make_shared<const backend_factory>(std::move(factory));
    }

    std::vector<entry>::iterator find(std::string_view name) {
        return std::find_if(entries_.begin(), entries_.end(), [&](const entry& e) { return e.name == name; });
    }

    shared_factory factory_of(const std::string& name) {
        const std::lock_guard lock(table_mutex());
        if (const auto known = find(name); known != entries_.end()) return known->factory;
        std::string names;
        for (const entry& e : entries_) names += (names.empty() ? "" : ", ") + e.name;
        throw std::invalid_argument("joblot: unknown backend \"" + name + "\"; known are: " + names);
    }

    std::vector<entry> entries_; // guarded by table_mutex; few: in the order of registration
};

} // namespace detail

/// Makes a backend known by name, to guards (`parallel_backend g{"name"}`), `options::backend` and `JOBLOT_BACKEND`.
/// A name that is known already is replaced. Thread-safe.
///
/// @param name    What users write; without a colon, as what follows one is the address.
/// @param factory Called for each use of the name: `std::shared_ptr<backend>(const backend_options&)`, or without
///                parameters. Return the same object each time where the backend keeps workers or connections.
template <class Factory>
void register_backend(const std::string& name, Factory factory) {
    if (name.empty() || name.find(':') != name.npos)
        throw std::invalid_argument("joblot: \"" + name + "\" cannot name a backend: it is empty or has a colon in it");
    using made = std::shared_ptr<backend>;
    constexpr bool is_factory =
        std::is_invocable_r_v<made, Factory&, const backend_options&> || std::is_invocable_r_v<made, Factory&>;
    static_assert(is_factory,
                  "joblot: a backend's factory is a function that gives a std::shared_ptr<joblot::backend>, "
                  "with a const joblot::backend_options& or nothing as its parameter");
    if constexpr (!is_factory)
        return;
    else if constexpr (std::invocable<Factory&, const backend_options&>)
        detail::backend_registry::instance().set(name, std::move(factory));
    else
        detail::backend_registry::instance().set(
            name, [factory = std::move(factory)](const backend_options&) mutable { return factory(); });
}

} // namespace joblot
// ---- joblot/backend/sequential.hpp
// The sequential backend: every task runs on the calling thread, in order. For debugging and for comparison.

#include <memory>
#include <string>

namespace joblot {

namespace detail {

class sequential_backend final : public backend {
public:
    [[nodiscard]] std::string name() const override { return "SequentialBackend"; }
    [[nodiscard]] backend_traits traits() const noexcept override { return {.in_caller = true}; }
    [[nodiscard]] int effective_n_jobs(int) const override { return 1; }
    void run(job& j) override {
        do j.work(0);
        while (j.wait());
    }
};

} // namespace detail

/// Describes the sequential backend, by name `"sequential"`: one task after the other on the calling thread, whatever
/// `n_jobs` says.
struct sequential {
    JOBLOT_ONE_PER_PROCESS [[nodiscard]] std::shared_ptr<backend> make() const {
        static constinit detail::made_once<const std::shared_ptr<backend>> shared;
        return shared.get([] { return std::make_shared<detail::sequential_backend>(); });
    }
};

} // namespace joblot
// ---- joblot/backend/threads.hpp
// The threads backend: the calling thread and the process's one pool of helpers.

// ---- joblot/dispatch/waker.hpp
// How a backend hears of a job without waiting in it.

#include <functional>
#include <mutex>
#include <utility>

namespace joblot {

/// For a backend whose workers do something else than `job::wait()` while nothing can be claimed. While one lives, its
/// function is called when a generator's reader has made room for more tasks, and when tasks are not wanted any more
/// (`job::limit` and `job::unwanted_from` tell which). A job has one at a time.
class waker {
public:
    /// @param f Any thread calls it, with the job locked: it must not throw, nor call the job back, but for those two.
    waker(job& j, std::function<void()> f) : job_(j) { set(std::move(f)); }
    /// When this returns, no call of the function is under way, and none will come.
    ~waker() { set(nullptr); }
    waker(const waker&) = delete;
    waker& operator=(const waker&) = delete;

private:
    void set(std::function<void()> f) {
        const std::lock_guard lock(job_.waker_mutex_);
        job_.waker_.swap(f);
    }

    job& job_;
};

} // namespace joblot
// ---- joblot/pool/thread_pool.hpp
// The process's one pool of helper threads: callers open their job to it and go on working; idle helpers join.

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

#include <algorithm>
#include <memory>
#include <optional>
#include <string>

namespace joblot {

namespace detail {

class threads_backend final : public backend {
public:
    [[nodiscard]] std::string name() const override { return "ThreadingBackend"; }

    [[nodiscard]] int effective_n_jobs(int n) const override {
        return std::min(resolve_n_jobs(n, cpu_count()), thread_pool::max_helpers + 1);
    }

    void run(job& j) override {
        const std::size_t useful = std::min(static_cast<std::size_t>(j.n_jobs()), j.tasks_left());
        if (useful > 1) return run_with_helpers(j, static_cast<int>(useful) - 1);
        do j.work(0);
        while (j.wait());
    }

private:
    static void run_with_helpers(job& j, int helpers) {
        // Both stand until the call is over: a helper's slow task must not keep the others from coming back.
        thread_pool::invitation invitation(thread_pool::instance(), j, helpers);
        // Helpers do not wait until a generator's reader has made room. Where the input is at hand nobody need be
        // called.
        std::optional<waker> renewal;
        if (j.tasks_left() == job::none) renewal.emplace(j, [&invitation] { invitation.renew(); });
        do {
            worker w(j, 0);
            while (const batch b = j.claim(w)) {
                if (j.tasks_left() == 0) invitation.withdraw();
                j.run(b, w);
                invitation.ring_if_it_lasts();
            }
        } while (j.wait());
    }
};

} // namespace detail

/// Describes the threads backend, by name `"threads"` or `"threading"`: tasks run on the calling thread and on helpers
/// of one process-wide pool, which is started by the first call, grows to the largest `n_jobs` that was asked for, and
/// is shared by nested and simultaneous calls. At most 1024 workers a call.
struct threads {
    number_option n_jobs{};                ///< default for calls that do not say theirs
    number_option inner_max_num_threads{}; ///< OpenMP threads inside a task, where the program links OpenMP

    [[nodiscard]] std::shared_ptr<backend> make() const { return shared(); }

    /// The one backend object that all descriptions stand for.
    JOBLOT_ONE_PER_PROCESS [[nodiscard]] static const std::shared_ptr<backend>& shared() {
        static constinit detail::made_once<const std::shared_ptr<backend>> one;
        return one.get([] { return std::make_shared<detail::threads_backend>(); });
    }
};

} // namespace joblot
// ---- joblot/broadcast.hpp
// `broadcast(value)`: a handle to one value that many tasks read, wherever they run.

#include <atomic>
#include <cstddef>
#include <memory>
#include <mutex>
#include <ranges>
#include <span>
#include <type_traits>
#include <utility>

namespace joblot {

namespace detail {

/// Containers whose elements can be read in place, wherever the bytes are.
template <class T>
concept broadcast_block = std::ranges::contiguous_range<const T> && requires { typename T::value_type; } &&
                          std::is_trivially_copyable_v<std::ranges::range_value_t<const T>>;

template <class T>
struct broadcast_view {
    using type = std::span<const std::byte>; // never filled
};
template <broadcast_block T>
struct broadcast_view<T> {
    using type = std::span<const std::ranges::range_value_t<const T>>;
};

/// Where a broadcast value is. All members are thread-safe.
template <class T>
class broadcast_source {
public:
    using view_type = typename broadcast_view<T>::type;

    broadcast_source() = default;
    broadcast_source(const broadcast_source&) = delete;
    broadcast_source& operator=(const broadcast_source&) = delete;
    virtual ~broadcast_source() = default;

    /// The value; in a worker process made from what was sent when it is first asked for.
    virtual const T& get() = 0;
    /// The elements where they are; for a `broadcast_block` only. Cheap: it is asked for each element.
    [[nodiscard]] view_type elements() {
        if (!was_viewed_.load(std::memory_order_acquire)) { // release below: who sees it sees viewed_
            const std::lock_guard lock(mutex_);
            if (!was_viewed_.load(std::memory_order_relaxed)) viewed_ = view();
            was_viewed_.store(true, std::memory_order_release);
        }
        return viewed_;
    }

    /// What a backend made of the value in order to send it; made once, by the first one that needs it.
    template <class Make>
    std::shared_ptr<void> image(Make make) {
        const std::lock_guard lock(mutex_);
        if (!image_) image_ = make();
        return image_;
    }

private:
    /// Finds the elements; called once, but again where it threw.
    virtual view_type view() = 0;

    std::mutex mutex_;
    std::shared_ptr<void> image_; // guarded by mutex_
    std::atomic<bool> was_viewed_{false};
    view_type viewed_; // written under mutex_, always the same; read when was_viewed_ is seen
};

/// In the process that called `broadcast`.
template <class T>
class local_broadcast final : public broadcast_source<T> {
public:
    explicit local_broadcast(T value) : value_(std::move(value)) {}
    const T& get() override { return value_; }
    typename broadcast_source<T>::view_type view() override {
        if constexpr (broadcast_block<T>)
            return {std::ranges::data(value_), std::ranges::size(value_)};
        else
            return {};
    }

private:
    const T value_;
};

} // namespace detail

/// A cheap handle to a value that was given to `broadcast`; pass it to tasks as an argument.
///
/// On threads it refers to the caller's own value. Worker processes map one read-only copy for all of them: elements of
/// a contiguous container are read there in place, by `v[i]`, a loop over `v`, or `span()`; `get()`, `*v` and `v->`
/// make a value of its own in each worker, once. Converts to `const T&` and, for contiguous containers, to `std::span`,
/// so that a task may take either. Copyable, thread-safe; the memory is freed with the last handle.
template <class T>
class broadcasted {
public:
    using value_type = T;

    explicit broadcasted(std::shared_ptr<detail::broadcast_source<T>> source) : source_(std::move(source)) {}

    /// The value. @throws serialization_error in a worker that cannot make it from what was sent.
    [[nodiscard]] const T& get() const { return source_->get(); }
    [[nodiscard]] const T& operator*() const { return get(); }
    [[nodiscard]] const T* operator->() const { return std::addressof(get()); }
    operator const T&() const { return get(); }

    /// The elements, in place: no copy, whatever the backend.
    [[nodiscard]] auto span() const
        requires detail::broadcast_block<T>
    {
        return source_->elements();
    }
    operator typename detail::broadcast_view<T>::type() const
        requires detail::broadcast_block<T>
    {
        return source_->elements();
    }
    [[nodiscard]] auto data() const
        requires detail::broadcast_block<T>
    {
        return source_->elements().data();
    }
    [[nodiscard]] std::size_t size() const
        requires detail::broadcast_block<T>
    {
        return source_->elements().size();
    }
    [[nodiscard]] const auto& operator[](std::size_t i) const // i < size()
        requires detail::broadcast_block<T>
    {
        return source_->elements()[i];
    }
    [[nodiscard]] auto begin() const
        requires detail::broadcast_block<T>
    {
        return data();
    }
    [[nodiscard]] auto end() const
        requires detail::broadcast_block<T>
    {
        return data() + size();
    }

    // For the library's own parts.
    [[nodiscard]] const std::shared_ptr<detail::broadcast_source<T>>& source() const noexcept { return source_; }

private:
    std::shared_ptr<detail::broadcast_source<T>> source_;
};

/// Makes a value available to all tasks: `delayed(f)(broadcast(table), i)`, or one handle for many calls.
/// @param value Copied or moved in; must not be changed through a reference afterwards.
template <class T>
[[nodiscard]] broadcasted<std::decay_t<T>> broadcast(T&& value) {
    using V = std::decay_t<T>;
    return broadcasted<V>(std::make_shared<detail::local_broadcast<V>>(std::forward<T>(value)));
}

namespace detail {
template <class T>
inline constexpr bool is_broadcasted = false;
template <class T>
inline constexpr bool is_broadcasted<broadcasted<T>> = true;
} // namespace detail

} // namespace joblot
// ---- joblot/delayed.hpp
// `delayed(f)(args...)`: a call that is made later, perhaps somewhere else.

#include <concepts>
#include <functional>
#include <memory>
#include <ranges>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>

namespace joblot {

namespace detail {

/// A callable with a name of its own.
template <class F>
struct labelled {
    F function;
    std::shared_ptr<const std::string> label; // shared: one string for all tasks that are made from one `delayed`

    template <class... Args>
        requires std::invocable<F&&, Args...>
    constexpr decltype(auto) operator()(Args&&... args) && {
        return std::invoke(std::move(function), std::forward<Args>(args)...);
    }
    template <class... Args>
        requires std::invocable<const F&, Args...>
    constexpr decltype(auto) operator()(Args&&... args) const& {
        return std::invoke(function, std::forward<Args>(args)...);
    }
};

/// What a call is made with: what `std::ref` and `std::cref` refer to, and other arguments as they are.
template <class T>
constexpr T&& unwrapped(T&& argument) noexcept {
    return std::forward<T>(argument);
}
template <class T>
constexpr T& unwrapped(const std::reference_wrapper<T>& argument) noexcept {
    return argument.get();
}
template <class T>
constexpr T& unwrapped(std::reference_wrapper<T>&& argument) noexcept {
    return argument.get();
}
template <class T>
constexpr T& unwrapped(std::reference_wrapper<T>& argument) noexcept {
    return argument.get();
}
/// Whether `f` can be called with stored arguments of these types, given as `std::forward` would give them.
template <class F, class... Args>
concept callable_with = std::invocable<F, decltype(unwrapped(std::declval<Args>()))...>;

// Not invoke_result_t alone: for a call that cannot be made the one diagnostic is the static_assert in `delayed`.
template <class F, class... Args>
struct task_result {
    using type = void;
};
template <class F, class... Args>
    requires callable_with<F, Args...>
struct task_result<F, Args...> {
    using type = std::decay_t<std::invoke_result_t<F, decltype(unwrapped(std::declval<Args>()))...>>;
};

} // namespace detail

/// A function and decayed copies of its arguments, not yet called. Made by `delayed(f)(args...)`.
///
/// A plain value: copyable and movable where `F` and `Args` are. The call is made with the arguments as rvalues, as
/// `std::thread` does: `f` may take them by value, by `const&` or by `&&`, and by `&` only through `std::ref`. What
/// `std::ref` and `std::cref` refer to is passed itself.
template <class F, class... Args>
class task {
public:
    /// What the call returns, decayed.
    using result_type = typename detail::task_result<F, Args...>::type;
    /// Whether the call can be made at all; `delayed` refuses to make other tasks.
    static constexpr bool callable = detail::callable_with<F, Args...>;

    constexpr task(F f, std::tuple<Args...> args) : function_(std::move(f)), arguments_(std::move(args)) {}

    /// Makes the call, with the stored arguments moved into it.
    constexpr decltype(auto) operator()() && {
        return std::apply(
            [&](Args&... args) -> decltype(auto) {
                return std::invoke(std::move(function_), detail::unwrapped(std::move(args))...);
            },
            arguments_);
    }
    /// Makes the call and leaves the task as it was, so that it can be made again.
    constexpr decltype(auto) operator()() const&
        requires detail::callable_with<const F&, const Args&...>
    {
        return std::apply(
            [&](const Args&... args) -> decltype(auto) { return std::invoke(function_, detail::unwrapped(args)...); },
            arguments_);
    }

    /// The function.
    [[nodiscard]] constexpr const F& function() const& noexcept { return function_; }
    [[nodiscard]] constexpr F&& function() && noexcept { return std::move(function_); }
    /// The stored arguments.
    [[nodiscard]] constexpr const std::tuple<Args...>& arguments() const& noexcept { return arguments_; }
    [[nodiscard]] constexpr std::tuple<Args...>&& arguments() && noexcept { return std::move(arguments_); }

private:
    [[no_unique_address]] F function_;
    std::tuple<Args...> arguments_;
};

/// What `delayed` returns: called with arguments, it gives a `task`. Copyable where `F` is; const calls are thread-safe
/// where copying `F` is.
template <class F>
class delayed_function {
public:
    constexpr explicit delayed_function(F f) : function_(std::move(f)) {}

    /// Captures the arguments, decayed, as `std::make_tuple` would, but keeps `std::reference_wrapper`s.
    template <class... Args>
    [[nodiscard]] constexpr task<F, std::decay_t<Args>...> operator()(Args&&... args) const&
        requires std::copy_constructible<F>
    {
        check_arguments<std::decay_t<Args>...>();
        if constexpr (can_be_stored<Args...>())
            return {function_, std::tuple<std::decay_t<Args>...>(std::forward<Args>(args)...)};
        else
            __builtin_unreachable();
    }
    template <class... Args>
    [[nodiscard]] constexpr task<F, std::decay_t<Args>...> operator()(Args&&... args) && {
        check_arguments<std::decay_t<Args>...>();
        if constexpr (can_be_stored<Args...>())
            return {std::move(function_), std::tuple<std::decay_t<Args>...>(std::forward<Args>(args)...)};
        else
            __builtin_unreachable();
    }

private:
    template <class... Args>
    static constexpr void check_arguments() {
        static_assert(detail::callable_with<F, Args...>,
                      "joblot: the function cannot be called with these arguments (they are passed as rvalues of their "
                      "decayed types; use std::ref for a parameter that is a non-const reference, and give the object "
                      "first to a pointer to member)");
    }

    // Says in one diagnostic what the tuple would say in many.
    template <class... Args>
    static constexpr bool can_be_stored() {
        constexpr bool storable = (std::is_constructible_v<std::decay_t<Args>, Args> && ...);
        static_assert(storable, "joblot: an argument can only be moved, and this one is not ours to move from; pass it "
                                "with std::move, or as std::ref(argument)");
        return storable;
    }

    [[no_unique_address]] F function_;
};

namespace detail {
template <class T>
inline constexpr bool looks_callable = std::is_class_v<T> || std::is_union_v<T> || std::is_member_pointer_v<T> ||
                                       (std::is_pointer_v<T> && std::is_function_v<std::remove_pointer_t<T>>);
template <class F>
constexpr void check_callable() {
    static_assert(looks_callable<std::decay_t<F>>,
                  "joblot: delayed() needs something callable: a function, a lambda, a functor or a pointer to member");
}
} // namespace detail

/// Makes a function's calls deferred: `delayed(f)(args...)` is a `task`, to be run by a `Parallel`.
///
/// @param f Anything `std::invoke` takes: a function, a lambda, a functor, a pointer to member. Copied or moved in.
template <class F>
[[nodiscard]] constexpr auto delayed(F&& f) {
    detail::check_callable<F>();
    return delayed_function<std::decay_t<F>>(std::forward<F>(f));
}

/// The same, with the name that progress, errors and dashboards show instead of the function's own.
template <class F>
[[nodiscard]] auto delayed(F&& f, std::string label) {
    detail::check_callable<F>();
    using named = detail::labelled<std::decay_t<F>>;
    return delayed_function<named>(named{std::forward<F>(f), std::make_shared<const std::string>(std::move(label))});
}

/// Says where the arguments belong.
template <class F, class A, class... As>
    requires(sizeof...(As) > 0 || !std::is_convertible_v<A, std::string>)
[[nodiscard]] auto delayed(F&& f, A&& first, As&&... others) {
    static_assert(std::is_void_v<A>, "joblot: arguments go into parentheses of their own: delayed(f)(1) instead of "
                                     "delayed(f, 1); behind f stands nothing but a label: delayed(f, \"label\")");
    return delayed(std::forward<F>(f))(std::forward<A>(first), std::forward<As>(others)...);
}

namespace detail {
template <class T>
inline constexpr bool is_delayed = false;
template <class F>
inline constexpr bool is_delayed<delayed_function<F>> = true;

template <class T>
inline constexpr bool is_task = false;
template <class F, class... Args>
inline constexpr bool is_task<task<F, Args...>> = true;
} // namespace detail

/// Any input range of tasks: a view pipeline, a container of tasks, a range of unknown or infinite length.
template <class R>
concept task_range =
    std::ranges::input_range<R> && detail::is_task<std::remove_cvref_t<std::ranges::range_reference_t<R>>>;

/// The decayed result type of a task.
template <class T>
using task_result_t = typename std::remove_cvref_t<T>::result_type;

} // namespace joblot
// ---- joblot/generator.hpp
// Results as they come: the input ranges that `Parallel::generator` and `generator_unordered` return.

// ---- joblot/outcome.hpp
// What became of one task: a value or the exception that it threw.

#include <cstddef>
#include <exception>
#include <memory>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <variant>

namespace joblot {

namespace detail {
/// How a result is stored: `void` has no values, so it is kept as `std::monostate`.
template <class R>
using stored_t = std::conditional_t<std::is_void_v<R>, std::monostate, R>;

/// What an exception says.
inline std::string text_of(const std::exception_ptr& error) {
    try {
        std::rethrow_exception(error);
    } catch (const std::exception& e) {
        return e.what();
    } catch (const std::string& text) {
        return text;
    } catch (const char* text) {
        return text ? text : "";
    } catch (...) {
        return "an exception that is no std::exception";
    }
}

template <class R>
class outcome_results; // makes them, see dispatch/results.hpp
} // namespace detail

/// The value of a task, or why there is none; what `Parallel::outcomes` returns for each task.
///
/// A plain value type: copyable and movable where `R` is; not synchronised.
///
/// @tparam R The task's decayed result type; may be move-only or `void`.
template <class R>
class outcome {
public:
    using value_type = R;

    /// A success, holding `value`.
    explicit outcome(std::in_place_t, detail::stored_t<R> value) : value_(std::move(value)) {}
    /// A failure.
    explicit outcome(detail::failure f)
        : failure_(std::make_shared<const detail::failure>(std::move(f))), index_(failure_->task.index),
          tries_(failure_->tries) {}

    /// Whether the task gave a value.
    [[nodiscard]] bool has_value() const noexcept { return value_.has_value(); }
    explicit operator bool() const noexcept { return has_value(); }

    /// The task's value. @throws the task's own exception where there is none.
    std::add_lvalue_reference_t<R> value() & { return get(*this); }
    std::add_lvalue_reference_t<const R> value() const& { return get(*this); }
    std::add_rvalue_reference_t<R> value() && {
        if constexpr (std::is_void_v<R>)
            get(*this);
        else
            return std::move(get(*this));
    }

    /// The task's exception, or a null pointer where there is a value. `failed_task` knows which task it came from.
    [[nodiscard]] std::exception_ptr error() const {
        if (has_value()) return nullptr;
        detail::last_failure() = *failure_;
        return failure_->error;
    }

    /// What the task's exception says: its `what()`, or the text that was thrown; "" where there is a value.
    [[nodiscard]] std::string message() const { return has_value() ? std::string() : detail::text_of(failure_->error); }

    /// Position of the task in the input, counted from 0.
    [[nodiscard]] std::size_t index() const noexcept { return index_; }

    /// The task's label where it failed. "" where there is a value: names are looked up for failures only.
    [[nodiscard]] std::string label() const { return has_value() ? std::string() : failure_->task.label; }

    /// How many times the task was tried; more than 1 only with `options::retries`.
    [[nodiscard]] int tries() const noexcept { return tries_; }

private:
    friend class detail::outcome_results<R>;

    template <class Self>
    static decltype(auto) get(Self& self) {
        if (!self.has_value()) detail::throw_failure(*self.failure_);
        if constexpr (!std::is_void_v<R>) return *self.value_;
    }

    std::optional<detail::stored_t<R>> value_;
    std::shared_ptr<const detail::failure> failure_; // null where there is a value
    std::size_t index_ = 0;
    int tries_ = 1;
};

/// A result together with the position of its task in the input; what `Parallel::generator_unordered` yields.
/// The value of a `void` task is `std::monostate`.
template <class R>
struct completed {
    std::size_t index;
    detail::stored_t<R> value;
};

} // namespace joblot

#include <cstddef>
#include <iterator>
#include <memory>
#include <optional>
#include <utility>

namespace joblot {

namespace detail {

/// Where a generator's values come from: a call that goes on while they are read. Destroying it ends the call.
template <class T>
class result_stream {
public:
    virtual ~result_stream() = default;
    /// The next value, or nothing when all were given. @throws what the call throws.
    virtual std::optional<T> next() = 0;
};

} // namespace detail

/// An input range of values of type `T` that a call computes while they are read; move-only, single pass, for one
/// thread at a time. `*it` is a `T&&`, to be moved from or bound by `auto&&`.
///
/// Reading blocks until the next value is there and throws what the call throws, after all values before it.
/// Destroying it early cancels the tasks that have not started and waits for those that run. What the tasks refer to,
/// and a range that was passed as an lvalue, must outlive it.
template <class T>
class result_range {
    struct state;

public:
    class iterator {
    public:
        using value_type = T;
        using difference_type = std::ptrdiff_t;

        /// @throws what the call throws.
        T&& operator*() const { return std::move(*range_->current()); }
        iterator& operator++() {
            range_->current(); // each step is one value, also where nobody looked at it
            range_->stale_ = true;
            return *this;
        }
        void operator++(int) { ++*this; }
        /// @throws what the call throws.
        friend bool operator==(const iterator& it, std::default_sentinel_t) { return !it.range_->current(); }

    private:
        friend class result_range;
        explicit iterator(state* s) : range_(s) {}
        state* range_;
    };

    explicit result_range(std::unique_ptr<detail::result_stream<T>> stream)
        : state_(std::make_unique<state>(std::move(stream))) {}

    result_range(const result_range&) = delete;
    result_range& operator=(const result_range&) = delete;
    result_range(result_range&&) = default;
    result_range& operator=(result_range&&) = default;
    ~result_range() = default;

    /// Where reading goes on: the first value, or after some were read the current one.
    [[nodiscard]] iterator begin() { return iterator(state_.get()); }
    [[nodiscard]] std::default_sentinel_t end() const noexcept { return {}; }

private:
    struct state {
        explicit state(std::unique_ptr<detail::result_stream<T>> s) : stream_(std::move(s)) {}

        // Values are fetched when they are looked at, not by ++: `views::take(3)` must not wait for a fourth one.
        std::optional<T>& current() {
            if (stale_) fetch();
            return value_;
        }

        void fetch() {
            stale_ = false;
            value_.reset();
            auto stream = std::move(stream_); // put back where there is a value; else the call is over, and forgotten
            if (!stream) return;
            if (std::optional<T> next = stream->next()) {
                value_.emplace(std::move(*next)); // not assigned: a type with const members has no assignment
                stream_ = std::move(stream);
            }
        }

        std::unique_ptr<detail::result_stream<T>> stream_;
        std::optional<T> value_;
        bool stale_ = true;
    };

    std::unique_ptr<state> state_;
};

/// What `Parallel::generator` returns for tasks of result type `R`; `void` tasks yield `std::monostate`.
template <class R>
using generator = result_range<detail::stored_t<R>>;

/// What `Parallel::generator_unordered` returns.
template <class R>
using unordered_generator = result_range<completed<R>>;

} // namespace joblot
// ---- joblot/init.hpp
// `joblot::init`: the line in `main` that worker processes need.

#if defined(JOBLOT_COMPILED)
#else
// ---- joblot/process/start.hpp
// What `joblot::init` does: the engine of worker processes is told to the backend, and a worker becomes one.
// Templates, so that only what uses them compiles them: see init.hpp.

// ---- joblot/core/catalogue.hpp
// Says what a program exports, where Python asks for that: see dask/exported.hpp.
// Templates, so that only what uses them compiles them: see init.hpp.

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <string_view>

namespace joblot::detail {

/// The only argument of a program that is asked.
inline constexpr std::string_view catalogue_argument = "--joblot-exports";

/// Prints what there is, as JSON; null where the program exports nothing.
JOBLOT_ONE_PER_PROCESS inline std::atomic<void (*)()>& catalogue_printer() noexcept {
    static constinit std::atomic<void (*)()> print{nullptr};
    return print;
}

/// If this program was asked, answers, and never returns.
template <class = void>
void print_catalogue_if_asked(int argc, char** argv) {
    if (argc != 2 || argv[1] != catalogue_argument || is_privileged()) return;
    if (const auto print = catalogue_printer().load())
        print();
    else
        std::puts("{\"functions\": []}");
    std::fflush(stdout);
    std::_Exit(0); // static objects are left alone
}

} // namespace joblot::detail
// ---- joblot/process/engine.hpp
// Runs a job on worker processes: a driver for each, on a thread of its own.
// Templates, so that only what uses them compiles them: see init.hpp.

// ---- joblot/process/driver.hpp
// Drives one worker process for one call: claims batches, sends them, takes results, and knows what to do when the
// worker dies, takes too long, or is not wanted any more. Each runs on a thread of its own.
// Templates, so that only what uses them compiles them: see init.hpp.

// ---- joblot/dispatch/remote_batches.hpp
// What happens to the batches of a call whose tasks run in other processes, whatever carries the bytes: turns tasks
// into requests and answers into results, and decides what becomes of tasks that failed.
// Templates, so that only what uses them compiles them: see init.hpp.

// ---- joblot/core/reading.hpp
// Tells an element of the input that could not be read from a task that failed, where both happen in one expression.

#include <exception>

namespace joblot::detail {

/// The input could not be read, which fails the call (`job::fail_input`) and is no task's failure. Never leaves the
/// library: what the range threw does.
struct unreadable {
    std::exception_ptr why;
};

/// What `read()` gives. It reads an element of the input, or copies a task so that the copy can be called.
/// @throws unreadable with what it throws.
template <class Read>
constexpr decltype(auto) reading(Read&& read) {
    try { // costs nothing until it throws
        return read();
    } catch (...) {
        if (thread_ends()) throw;
        throw unreadable{std::current_exception()};
    }
}

} // namespace joblot::detail
// ---- joblot/dispatch/claimed_batch.hpp
// What has become of the tasks of one batch that was sent to another process: which are done, which must be sent
// (again), and how often each was tried. Pure bookkeeping.
// Templates, so that only what uses them compiles them: see init.hpp.

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <utility>
#include <vector>

namespace joblot::detail {

/// For the thread that claimed the batch. Positions count from the batch's first task.
template <class = void>
class basic_claimed_batch {
public:
    struct range {
        std::size_t begin = 0, end = 0;
        [[nodiscard]] std::size_t size() const noexcept { return end - begin; }
    };

    basic_claimed_batch(const batch& b, int retries) : batch_(b), retries_(retries), done_(b.size()) {
        unsent_.push_back({0, b.size()});
    }

    [[nodiscard]] const batch& of() const noexcept { return batch_; }
    [[nodiscard]] std::size_t index(std::size_t k) const noexcept { return batch_.first() + k; }

    static constexpr std::size_t most_in_message = std::size_t{1} << 31; ///< the wire counts with 32 bits

    /// The tasks that are to be sent next: at most `most`, and none at index `limit` or above. Empty if there are none.
    range next_range(std::size_t limit, std::size_t most) {
        while (!unsent_.empty()) {
            range& front = unsent_.front();
            if (index(front.begin) >= limit) {
                unsent_.pop_front();
                continue;
            }
            const range taken{
                front.begin, front.begin + std::min({front.size(), most, most_in_message, limit - index(front.begin)})};
            front.begin = taken.end;
            if (front.size() == 0) unsent_.pop_front();
            return taken;
        }
        return {};
    }
    /// Tasks that were taken by `next_range` after all are to be sent later.
    void put_back(range r) {
        if (r.size()) unsent_.push_front(r);
    }

    /// The range that a worker has been given, until `answered`.
    [[nodiscard]] range sent() const noexcept { return sent_; }
    void note_sent(range r, std::uint64_t sequence) noexcept {
        sent_ = r;
        sequence_ = sequence;
        received_ = 0;
    }
    /// Notes that `count` results have come for what was sent, from position `begin` of it on. False where they cannot
    /// have: they come in order, each once, and the last ones are the last of all.
    [[nodiscard]] bool note_received(std::size_t begin, std::size_t count, bool last) noexcept {
        if (begin != received_ || count > sent_.size() - begin || (last && begin + count != sent_.size())) return false;
        received_ += count;
        return true;
    }
    /// Number of the request that asked for it.
    [[nodiscard]] std::uint64_t sequence() const noexcept { return sequence_; }
    /// The worker has nothing more to say of it.
    void answered(std::chrono::nanoseconds took) noexcept {
        sent_ = {};
        took_ += std::min(took, std::chrono::nanoseconds::max() - took_); // who answers says how long it took
    }
    /// The worker is gone: what it was given and had not done is to be sent again.
    void lost(std::size_t limit) {
        // those that were to be tried again are not done either
        std::erase_if(unsent_, [&](const range& r) { return r.begin >= sent_.begin && r.end <= sent_.end; });
        for (std::size_t k = sent_.end; k != sent_.begin; --k) {
            if (done_[k - 1] || index(k - 1) >= limit) continue;
            if (!unsent_.empty() && unsent_.front().begin == k)
                unsent_.front().begin = k - 1;
            else
                unsent_.push_front({k - 1, k});
        }
        sent_ = {};
    }

    [[nodiscard]] bool is_done(std::size_t k) const noexcept { return done_[k]; }
    /// Task k ended well, or its failure was kept.
    void note_done(std::size_t k) { done_[k] = true; }
    /// Task k failed. Whether it may be tried again; then it is among those to be sent.
    bool try_again(std::size_t k, std::size_t limit) {
        if (retries_ == 0 || index(k) >= limit) return false;
        if (tries_.empty()) tries_.resize(batch_.size());
        if (tries_[k] == retries_) return false;
        ++tries_[k];
        return true;
    }
    /// How many times task k has been tried, the try that is going on among them.
    [[nodiscard]] int tries(std::size_t k) const noexcept { return tries_.empty() ? 1 : tries_[k] + 1; }
    void send_again(std::size_t k) {
        if (!unsent_.empty() && unsent_.front().end == k) // with the one before it: one message for both
            ++unsent_.front().end;
        else
            unsent_.push_front({k, k + 1});
    }

    /// How many tasks more than at the last call are done without a gap from the first on.
    std::size_t newly_complete() noexcept {
        const std::size_t before = complete_;
        while (complete_ != done_.size() && done_[complete_]) ++complete_;
        return complete_ - before;
    }

    /// The worker says that it has done so many of those that it was given, whose results come later.
    void note_progress(std::size_t done) noexcept {
        const auto known = static_cast<std::size_t>(std::count(done_.begin(), done_.end(), true));
        seen_ = std::max(seen_, known + std::min(done, sent_.size()));
    }
    /// How many tasks more than at the last call are done, for all that is known: for showing progress.
    std::size_t newly_seen() noexcept {
        seen_ = std::min(std::max(seen_, complete_), done_.size());
        return seen_ - std::exchange(shown_, seen_);
    }

    /// Whether nothing is to be sent and nothing is under way.
    [[nodiscard]] bool is_over(std::size_t limit) const noexcept {
        return sent_.size() == 0 &&
               std::none_of(unsent_.begin(), unsent_.end(), [&](const range& r) { return index(r.begin) < limit; });
    }
    [[nodiscard]] std::chrono::nanoseconds took() const noexcept { return took_; }

private:
    batch batch_;
    int retries_;
    std::deque<range> unsent_;
    range sent_;
    std::size_t received_ = 0; // results of it
    std::uint64_t sequence_ = 0;
    std::vector<bool> done_;
    std::vector<int> tries_; // empty as long as nothing was tried again
    std::size_t complete_ = 0;
    std::size_t seen_ = 0, shown_ = 0; // for progress; never less, even where a worker is lost with its results
    std::chrono::nanoseconds took_{};
};
using claimed_batch = basic_claimed_batch<>;

} // namespace joblot::detail
// ---- joblot/wire/batch_protocol.hpp
// What a batch is on the wire: the request that asks a worker for some tasks, and the results that it gives.

// ---- joblot/wire/archive.hpp
// The archives that values are written to and read from. To functions of users they look like archives of cereal;
// everything that a user's `serialize` gives them goes through joblot's own codec again.

// ---- joblot/wire/bools.hpp
// Where in a type that travels as its bytes there are values of `bool`. A byte that arrives for one may be any, but a
// `bool` that is neither 0 nor 1 is undefined behaviour wherever it is looked at.

// ---- joblot/wire/padding.hpp
// Which bits of a value that travels as its bytes hold the value. What is between and behind its members, and in a
// `long double` beside the number, is whatever was in memory before: it leaves the process as zeros.

// ---- joblot/wire/dtype.hpp
// What numpy calls C++'s types.

#include <concepts>
#include <cstddef>
#include <string>
#include <type_traits>

namespace joblot::detail {

/// `std::complex`, whose header is costly to compile.
template <class T>
inline constexpr bool is_complex = requires(const T& z) {
    requires std::floating_point<typename T::value_type>;
    { z.real() } -> std::same_as<typename T::value_type>;
    { z.imag() } -> std::same_as<typename T::value_type>;
    requires sizeof(T) == 2 * sizeof(typename T::value_type);
};

/// Types that a numpy array of numbers can have: `bool`, `std::byte`, integers, `float`, `double`, `std::complex` of
/// these.
template <class T>
concept numeric = (std::is_arithmetic_v<T> || std::same_as<T, std::byte> || is_complex<T>) &&
                  !std::same_as<T, long double> && sizeof(T) <= 16;

/// numpy's name of a type: "<f8" for `double`, "<i4" for `int`, "|u1" for `std::byte`.
template <numeric T>
[[nodiscard]] std::string dtype_of() {
    const char kind = std::same_as<T, bool>         ? 'b'
                      : std::same_as<T, std::byte>  ? 'u'
                      : is_complex<T>               ? 'c'
                      : std::is_floating_point_v<T> ? 'f'
                      : std::is_signed_v<T>         ? 'i'
                                                    : 'u';
    return std::string(sizeof(T) == 1 ? "|" : "<") + kind + std::to_string(sizeof(T));
}

/// The same type in the other byte order: blocks are brought into this machine's when they are read.
inline std::string in_this_order(std::string dtype) {
    if (dtype.starts_with('>')) dtype[0] = '<';
    return dtype;
}

} // namespace joblot::detail
// ---- joblot/wire/fields.hpp
// The fields of an aggregate, one by one. Boost.PFR does the same, but what it cannot take apart (C arrays, base
// classes, with g++ 12 even a std::array of strings) is a hard error, and every task type of every program comes by
// here.

// ---- joblot/wire/shape.hpp
// What a type is made of, as far as its name and its initialisation tell: whether it is a pointer in disguise, and
// whether its bytes say all.

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <cstdlib>
#include <functional>
#include <initializer_list>
#include <iterator>
#include <ranges>
#include <string_view>
#include <type_traits>
#include <utility>

namespace joblot::detail {

/// `T` as the compiler spells it, with what the compiler puts around it.
template <class T>
constexpr std::string_view spelled() noexcept {
    constexpr std::string_view text = __PRETTY_FUNCTION__;
    return text.substr(text.find("T = ") + 4);
}

template <class T>
inline constexpr bool is_std_type = spelled<T>().starts_with("std::") || spelled<T>().starts_with("__gnu_cxx::");

/// Whether the class is defined where this is asked: of one that is only declared nothing can be known.
template <class T>
concept complete = requires { sizeof(T); };

template <class T>
inline constexpr bool is_type_template = false;
template <template <class...> class C, class... Args>
inline constexpr bool is_type_template<C<Args...>> = true;

/// Lambdas with captures. They may hold references, which nobody can see from outside.
template <class T>
inline constexpr bool is_closure_with_captures =
    std::is_class_v<T> && !std::is_empty_v<T> && !std::is_aggregate_v<T> && !is_type_template<T> &&
    (spelled<T>().find("<lambda") != std::string_view::npos || spelled<T>().find("(lambda") != std::string_view::npos ||
     spelled<T>().find("'lambda") != std::string_view::npos);

/// Classes without a name that are no lambdas: "<unnamed struct>" with g++, "(unnamed struct at ...)" or
/// "(anonymous struct at ...)" with clang, which also writes "(anonymous namespace)".
template <class T>
inline constexpr bool is_nameless = [] {
    for (const char* const mark : {"<unnamed ", "(unnamed ", "(anonymous struct", "(anonymous class"}) {
        if (spelled<T>().find(mark) != std::string_view::npos) return std::is_class_v<T>;
    }
    return false;
}();

/// Standard types that are views of memory that belongs to somebody else, or other pointers in disguise.
template <class T>
inline constexpr bool is_disguised_pointer =
    std::is_class_v<T> && is_std_type<T> &&
    (std::input_or_output_iterator<T> || (std::ranges::range<T> && std::ranges::borrowed_range<T>) ||
     requires(const T& t) { t.category(); } || spelled<T>().starts_with("std::type_index") ||
     spelled<T>().starts_with("std::source_location") ||
     spelled<T>().find("coroutine_handle<") != std::string_view::npos);
template <class T>
inline constexpr bool is_disguised_pointer<std::reference_wrapper<T>> = true;
template <class T>
inline constexpr bool is_disguised_pointer<std::initializer_list<T>> = true;
template <class F, class... Args>
inline constexpr bool is_disguised_pointer<task<F, Args...>> = true; // may hold a function

// --- whether an aggregate can be copied by its bytes: it can be initialised from values that convert to nothing else

template <class T>
constexpr bool is_plain_leaf();
template <class T>
constexpr bool says_how_it_travels();

// Converts to whatever cannot be opened into parts of its own; aggregates take the parts one by one (brace elision). A
// union counts as one part, as nobody can see which of its members is there, and so does what says itself how it
// travels. Such conversions are never called, but clang wants a definition where a class has no linkage.
template <bool Anything>
struct any_leaf {
    template <class T>
        requires((!std::is_aggregate_v<T> || std::is_union_v<T> || says_how_it_travels<T>()) &&
                 (Anything || is_plain_leaf<T>()))
    operator T() const noexcept {
        std::abort();
    }
};

// Converts to what counts as one part and is not plain: brace elision would look into it all the same.
struct any_closed {
    template <class T>
        requires((std::is_union_v<T> || says_how_it_travels<T>()) && !is_plain_leaf<T>())
    operator T() const noexcept {
        std::abort();
    }
};

template <class T, class Leaf, std::size_t... I>
constexpr bool takes_leaves(std::index_sequence<I...>) {
    return requires { T{(static_cast<void>(I), Leaf())...}; };
}
template <class T, std::size_t... I>
constexpr bool takes_closed_after(std::index_sequence<I...>) {
    return requires { T{(static_cast<void>(I), any_leaf<true>())..., any_closed()}; };
}
template <class T, std::size_t... I>
constexpr bool takes_closed_among(std::index_sequence<I...>) {
    return (takes_closed_after<T>(std::make_index_sequence<I>()) || ...);
}

/// How many leaves an aggregate has, counted up from the largest number that is known to fit.
template <class T, std::size_t Low, std::size_t High>
constexpr std::size_t leaf_count() {
    if constexpr (High - Low <= 1) {
        return Low;
    } else {
        constexpr std::size_t middle = Low + (High - Low) / 2;
        if constexpr (takes_leaves<T, any_leaf<true>>(std::make_index_sequence<middle>()))
            return leaf_count<T, middle, High>();
        else
            return leaf_count<T, Low, middle>();
    }
}

inline constexpr std::size_t most_leaves = 4096; // the compiler's time grows with their square

/// How many leaves an aggregate has: at most one for each byte, unless they are bit-fields.
template <class T>
constexpr std::size_t all_leaves() {
    constexpr std::size_t n = leaf_count<T, 0, std::min(sizeof(T), most_leaves) + 1>();
    if constexpr (n == sizeof(T) && n < most_leaves) {
        if constexpr (takes_leaves<T, any_leaf<true>>(std::make_index_sequence<n + 1>()))
            return leaf_count<T, n + 1, std::min(8 * sizeof(T), most_leaves) + 1>();
    }
    return n;
}

// A reference can be bound to a leaf's value; what has one cannot be assigned, nor made of nothing.
template <class T>
inline constexpr bool may_hold_reference =
    !std::is_copy_assignable_v<T> && !std::is_move_assignable_v<T> && !requires { T{}; };

// Up to here each leaf is asked whether it is a union or the like, the first member of which would be taken for all.
inline constexpr std::size_t most_leaves_asked = 256;

/// Too small for a pointer, or at an address that no pointer may have; unless it is packed.
template <class T>
inline constexpr bool too_small_for_pointers = alignof(T) < alignof(void*) || sizeof(T) < sizeof(void*);

template <std::size_t N>
struct bytes_of {
    std::byte bytes[N];
};
/// A bit_cast is constant only where nothing is a pointer, a reference or a union (or, for the compiler's own limits,
/// a bit-field, an array of pointers with g++ 12): it says so of packed classes, too.
template <class T>
concept constant_bits =
    requires { typename std::bool_constant<(static_cast<void>(__builtin_bit_cast(T, bytes_of<sizeof(T)>{})), true)>; };

/// For trivially copyable aggregates. Ones with too many parts to look into, or that cannot be made from their parts,
/// are taken for free of pointers only where they could not hold one for their alignment. What says itself how it
/// travels counts as a pointer: it is not to be copied unseen.
template <class T>
constexpr bool holds_pointers() {
    constexpr bool too_small = too_small_for_pointers<T> && (sizeof(T) < sizeof(void*) || constant_bits<T>);
    if constexpr (!too_small && may_hold_reference<T>) {
        return true;
    } else if constexpr (too_small && takes_leaves<T, any_leaf<true>>(std::make_index_sequence<65>())) {
        return false; // a large array of small numbers
    } else {
        constexpr std::size_t leaves = all_leaves<T>();
        if constexpr (leaves == 0 || leaves == most_leaves)
            return !too_small;
        else if constexpr (leaves > most_leaves_asked)
            return !constant_bits<T> || !takes_leaves<T, any_leaf<false>>(std::make_index_sequence<leaves>());
        else
            return !takes_leaves<T, any_leaf<false>>(std::make_index_sequence<leaves>()) ||
                   takes_closed_among<T>(std::make_index_sequence<leaves>());
    }
}

} // namespace joblot::detail

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <cstdlib>
#include <tuple>
#include <type_traits>
#include <utility>

namespace joblot::detail {

inline constexpr std::size_t most_fields = 64;

// Conversions are never called, but clang wants a definition where a class has no linkage.
struct any_value {
    template <class T>
    operator T() const noexcept {
        std::abort();
    }
};
// Converts to base classes of T only.
template <class T>
struct any_base {
    template <class B>
        requires(std::is_base_of_v<B, T> && !std::same_as<B, T>)
    operator B() const noexcept {
        std::abort();
    }
};
// Converts to what cannot be named when an aggregate is taken apart: unions and structs without a name. (A union that
// has one can be named, but nobody knows which of its members is there.)
struct any_nameless {
    template <class T>
        requires(std::is_union_v<T> || is_nameless<T>)
    operator T() const noexcept {
        std::abort();
    }
};

template <class T, std::size_t... I>
constexpr bool takes_values(std::index_sequence<I...>) {
    return requires { T{(static_cast<void>(I), any_value())...}; };
}

/// The largest number of values that an aggregate takes in braces, from `Low`, which it takes, to `High`. `Each`: it
/// takes every smaller number, too.
template <class T, bool Each, std::size_t Low, std::size_t High>
constexpr std::size_t largest_count() {
    if constexpr (Low == High) {
        return Low;
    } else {
        constexpr std::size_t next = !Each ? High : std::min(Low == 0 ? 1 : 2 * Low, Low + (High - Low + 1) / 2);
        if constexpr (takes_values<T>(std::make_index_sequence<next>()))
            return largest_count<T, Each, next, High>();
        else
            return largest_count<T, Each, Low, next - 1>();
    }
}

/// How many values an aggregate takes in braces; `most_fields + 1` where there are more.
template <class T>
constexpr std::size_t initializer_count() {
    return largest_count<T, requires { T{}; }, 0, most_fields + 1>(); // members without a value are made of nothing
}

/// Whether there are more fields than values were counted: some types cannot be made from just any value.
template <class T, std::size_t... I>
constexpr bool has_more_fields(std::index_sequence<I...>) {
    return requires { T{(static_cast<void>(I), any_value())..., {}}; } ||
           requires { T{(static_cast<void>(I), any_value())..., {any_value()}}; };
}

/// Whether a field's place can be taken by what has no name.
template <class T, std::size_t Before>
constexpr bool is_nameless_field() {
    return []<std::size_t... B>(std::index_sequence<B...>) {
        return requires { T{(static_cast<void>(B), any_value())..., any_nameless()}; };
    }(std::make_index_sequence<Before>());
}
template <class T, std::size_t... I>
constexpr bool has_nameless_field(std::index_sequence<I...>) {
    return (is_nameless_field<T, I>() || ...);
}

// Converts to parts of T, not to T itself.
template <class T>
struct any_part {
    template <class U>
        requires(!std::same_as<U, T>)
    operator U() const noexcept {
        std::abort();
    }
};
/// In parentheses there is one value for each field, and none that an array could be made of. In braces an array takes
/// one for each element. (Braces in braces would tell them, too, but have clang compile the constructors that could
/// take them, which fails for a vector of what can only be moved.)
template <class T, std::size_t... I>
constexpr bool has_c_array(std::index_sequence<I...>) {
    return !requires { T((static_cast<void>(I), any_part<T>())...); };
}

/// How many fields an aggregate has, or 0 where they cannot be named one by one: C arrays, base classes, references,
/// unions, too many.
template <class T>
constexpr std::size_t plain_field_count() {
    constexpr std::size_t n = initializer_count<T>();
    if constexpr (n == 0 || n > most_fields || may_hold_reference<T> || requires { T{any_base<T>()}; })
        return 0;
    else if constexpr (has_more_fields<T>(std::make_index_sequence<n>()) ||
                       has_nameless_field<T>(std::make_index_sequence<n>()))
        return 0;
    else
        return has_c_array<T>(std::make_index_sequence<n>()) ? 0 : n;
}

#define JOBLOT_EIGHT(x) x##0, x##1, x##2, x##3, x##4, x##5, x##6, x##7
#define JOBLOT_FIELDS(n, ...)                                                                                          \
    if constexpr (N == n) {                                                                                            \
        const auto& [__VA_ARGS__] = value;                                                                             \
        return use(__VA_ARGS__);                                                                                       \
    }

/// Calls `use(field...)` with all fields of an aggregate that has `N` of them. A bit-field, or one that is packed, is
/// copied for that.
template <std::size_t N, class T, class Use>
constexpr decltype(auto) with_fields(const T& value, Use&& use) {
    // clang-format off
    JOBLOT_FIELDS(1, a0)
    JOBLOT_FIELDS(2, a0, a1)
    JOBLOT_FIELDS(3, a0, a1, a2)
    JOBLOT_FIELDS(4, a0, a1, a2, a3)
    JOBLOT_FIELDS(5, a0, a1, a2, a3, a4)
    JOBLOT_FIELDS(6, a0, a1, a2, a3, a4, a5)
    JOBLOT_FIELDS(7, a0, a1, a2, a3, a4, a5, a6)
    JOBLOT_FIELDS(8, JOBLOT_EIGHT(a))
    JOBLOT_FIELDS(9, JOBLOT_EIGHT(a), b0)
    JOBLOT_FIELDS(10, JOBLOT_EIGHT(a), b0, b1)
    JOBLOT_FIELDS(11, JOBLOT_EIGHT(a), b0, b1, b2)
    JOBLOT_FIELDS(12, JOBLOT_EIGHT(a), b0, b1, b2, b3)
    JOBLOT_FIELDS(13, JOBLOT_EIGHT(a), b0, b1, b2, b3, b4)
    JOBLOT_FIELDS(14, JOBLOT_EIGHT(a), b0, b1, b2, b3, b4, b5)
    JOBLOT_FIELDS(15, JOBLOT_EIGHT(a), b0, b1, b2, b3, b4, b5, b6)
    JOBLOT_FIELDS(16, JOBLOT_EIGHT(a), JOBLOT_EIGHT(b))
    JOBLOT_FIELDS(17, JOBLOT_EIGHT(a), JOBLOT_EIGHT(b), c0)
    JOBLOT_FIELDS(18, JOBLOT_EIGHT(a), JOBLOT_EIGHT(b), c0, c1)
    JOBLOT_FIELDS(19, JOBLOT_EIGHT(a), JOBLOT_EIGHT(b), c0, c1, c2)
    JOBLOT_FIELDS(20, JOBLOT_EIGHT(a), JOBLOT_EIGHT(b), c0, c1, c2, c3)
    JOBLOT_FIELDS(21, JOBLOT_EIGHT(a), JOBLOT_EIGHT(b), c0, c1, c2, c3, c4)
    JOBLOT_FIELDS(22, JOBLOT_EIGHT(a), JOBLOT_EIGHT(b), c0, c1, c2, c3, c4, c5)
    JOBLOT_FIELDS(23, JOBLOT_EIGHT(a), JOBLOT_EIGHT(b), c0, c1, c2, c3, c4, c5, c6)
    JOBLOT_FIELDS(24, JOBLOT_EIGHT(a), JOBLOT_EIGHT(b), JOBLOT_EIGHT(c))
    JOBLOT_FIELDS(25, JOBLOT_EIGHT(a), JOBLOT_EIGHT(b), JOBLOT_EIGHT(c), d0)
    JOBLOT_FIELDS(26, JOBLOT_EIGHT(a), JOBLOT_EIGHT(b), JOBLOT_EIGHT(c), d0, d1)
    JOBLOT_FIELDS(27, JOBLOT_EIGHT(a), JOBLOT_EIGHT(b), JOBLOT_EIGHT(c), d0, d1, d2)
    JOBLOT_FIELDS(28, JOBLOT_EIGHT(a), JOBLOT_EIGHT(b), JOBLOT_EIGHT(c), d0, d1, d2, d3)
    JOBLOT_FIELDS(29, JOBLOT_EIGHT(a), JOBLOT_EIGHT(b), JOBLOT_EIGHT(c), d0, d1, d2, d3, d4)
    JOBLOT_FIELDS(30, JOBLOT_EIGHT(a), JOBLOT_EIGHT(b), JOBLOT_EIGHT(c), d0, d1, d2, d3, d4, d5)
    JOBLOT_FIELDS(31, JOBLOT_EIGHT(a), JOBLOT_EIGHT(b), JOBLOT_EIGHT(c), d0, d1, d2, d3, d4, d5, d6)
    JOBLOT_FIELDS(32, JOBLOT_EIGHT(a), JOBLOT_EIGHT(b), JOBLOT_EIGHT(c), JOBLOT_EIGHT(d))
    JOBLOT_FIELDS(33, JOBLOT_EIGHT(a), JOBLOT_EIGHT(b), JOBLOT_EIGHT(c), JOBLOT_EIGHT(d), e0)
    JOBLOT_FIELDS(34, JOBLOT_EIGHT(a), JOBLOT_EIGHT(b), JOBLOT_EIGHT(c), JOBLOT_EIGHT(d), e0, e1)
    JOBLOT_FIELDS(35, JOBLOT_EIGHT(a), JOBLOT_EIGHT(b), JOBLOT_EIGHT(c), JOBLOT_EIGHT(d), e0, e1, e2)
    JOBLOT_FIELDS(36, JOBLOT_EIGHT(a), JOBLOT_EIGHT(b), JOBLOT_EIGHT(c), JOBLOT_EIGHT(d), e0, e1, e2, e3)
    JOBLOT_FIELDS(37, JOBLOT_EIGHT(a), JOBLOT_EIGHT(b), JOBLOT_EIGHT(c), JOBLOT_EIGHT(d), e0, e1, e2, e3, e4)
    JOBLOT_FIELDS(38, JOBLOT_EIGHT(a), JOBLOT_EIGHT(b), JOBLOT_EIGHT(c), JOBLOT_EIGHT(d), e0, e1, e2, e3, e4, e5)
    JOBLOT_FIELDS(39, JOBLOT_EIGHT(a), JOBLOT_EIGHT(b), JOBLOT_EIGHT(c), JOBLOT_EIGHT(d), e0, e1, e2, e3, e4, e5, e6)
    JOBLOT_FIELDS(40, JOBLOT_EIGHT(a), JOBLOT_EIGHT(b), JOBLOT_EIGHT(c), JOBLOT_EIGHT(d), JOBLOT_EIGHT(e))
    JOBLOT_FIELDS(41, JOBLOT_EIGHT(a), JOBLOT_EIGHT(b), JOBLOT_EIGHT(c), JOBLOT_EIGHT(d), JOBLOT_EIGHT(e), f0)
    JOBLOT_FIELDS(42, JOBLOT_EIGHT(a), JOBLOT_EIGHT(b), JOBLOT_EIGHT(c), JOBLOT_EIGHT(d), JOBLOT_EIGHT(e), f0, f1)
    JOBLOT_FIELDS(43, JOBLOT_EIGHT(a), JOBLOT_EIGHT(b), JOBLOT_EIGHT(c), JOBLOT_EIGHT(d), JOBLOT_EIGHT(e), f0, f1, f2)
    JOBLOT_FIELDS(44, JOBLOT_EIGHT(a), JOBLOT_EIGHT(b), JOBLOT_EIGHT(c), JOBLOT_EIGHT(d), JOBLOT_EIGHT(e), f0, f1, f2, f3)
    JOBLOT_FIELDS(45, JOBLOT_EIGHT(a), JOBLOT_EIGHT(b), JOBLOT_EIGHT(c), JOBLOT_EIGHT(d), JOBLOT_EIGHT(e), f0, f1, f2, f3, f4)
    JOBLOT_FIELDS(46, JOBLOT_EIGHT(a), JOBLOT_EIGHT(b), JOBLOT_EIGHT(c), JOBLOT_EIGHT(d), JOBLOT_EIGHT(e), f0, f1, f2, f3, f4, f5)
    JOBLOT_FIELDS(47, JOBLOT_EIGHT(a), JOBLOT_EIGHT(b), JOBLOT_EIGHT(c), JOBLOT_EIGHT(d), JOBLOT_EIGHT(e), f0, f1, f2, f3, f4, f5, f6)
    JOBLOT_FIELDS(48, JOBLOT_EIGHT(a), JOBLOT_EIGHT(b), JOBLOT_EIGHT(c), JOBLOT_EIGHT(d), JOBLOT_EIGHT(e), JOBLOT_EIGHT(f))
    JOBLOT_FIELDS(49, JOBLOT_EIGHT(a), JOBLOT_EIGHT(b), JOBLOT_EIGHT(c), JOBLOT_EIGHT(d), JOBLOT_EIGHT(e), JOBLOT_EIGHT(f), g0)
    JOBLOT_FIELDS(50, JOBLOT_EIGHT(a), JOBLOT_EIGHT(b), JOBLOT_EIGHT(c), JOBLOT_EIGHT(d), JOBLOT_EIGHT(e), JOBLOT_EIGHT(f), g0, g1)
    JOBLOT_FIELDS(51, JOBLOT_EIGHT(a), JOBLOT_EIGHT(b), JOBLOT_EIGHT(c), JOBLOT_EIGHT(d), JOBLOT_EIGHT(e), JOBLOT_EIGHT(f), g0, g1, g2)
    JOBLOT_FIELDS(52, JOBLOT_EIGHT(a), JOBLOT_EIGHT(b), JOBLOT_EIGHT(c), JOBLOT_EIGHT(d), JOBLOT_EIGHT(e), JOBLOT_EIGHT(f), g0, g1, g2, g3)
    JOBLOT_FIELDS(53, JOBLOT_EIGHT(a), JOBLOT_EIGHT(b), JOBLOT_EIGHT(c), JOBLOT_EIGHT(d), JOBLOT_EIGHT(e), JOBLOT_EIGHT(f), g0, g1, g2, g3, g4)
    JOBLOT_FIELDS(54, JOBLOT_EIGHT(a), JOBLOT_EIGHT(b), JOBLOT_EIGHT(c), JOBLOT_EIGHT(d), JOBLOT_EIGHT(e), JOBLOT_EIGHT(f), g0, g1, g2, g3, g4, g5)
    JOBLOT_FIELDS(55, JOBLOT_EIGHT(a), JOBLOT_EIGHT(b), JOBLOT_EIGHT(c), JOBLOT_EIGHT(d), JOBLOT_EIGHT(e), JOBLOT_EIGHT(f), g0, g1, g2, g3, g4, g5, g6)
    JOBLOT_FIELDS(56, JOBLOT_EIGHT(a), JOBLOT_EIGHT(b), JOBLOT_EIGHT(c), JOBLOT_EIGHT(d), JOBLOT_EIGHT(e), JOBLOT_EIGHT(f), JOBLOT_EIGHT(g))
    JOBLOT_FIELDS(57, JOBLOT_EIGHT(a), JOBLOT_EIGHT(b), JOBLOT_EIGHT(c), JOBLOT_EIGHT(d), JOBLOT_EIGHT(e), JOBLOT_EIGHT(f), JOBLOT_EIGHT(g), h0)
    JOBLOT_FIELDS(58, JOBLOT_EIGHT(a), JOBLOT_EIGHT(b), JOBLOT_EIGHT(c), JOBLOT_EIGHT(d), JOBLOT_EIGHT(e), JOBLOT_EIGHT(f), JOBLOT_EIGHT(g), h0, h1)
    JOBLOT_FIELDS(59, JOBLOT_EIGHT(a), JOBLOT_EIGHT(b), JOBLOT_EIGHT(c), JOBLOT_EIGHT(d), JOBLOT_EIGHT(e), JOBLOT_EIGHT(f), JOBLOT_EIGHT(g), h0, h1, h2)
    JOBLOT_FIELDS(60, JOBLOT_EIGHT(a), JOBLOT_EIGHT(b), JOBLOT_EIGHT(c), JOBLOT_EIGHT(d), JOBLOT_EIGHT(e), JOBLOT_EIGHT(f), JOBLOT_EIGHT(g), h0, h1, h2, h3)
    JOBLOT_FIELDS(61, JOBLOT_EIGHT(a), JOBLOT_EIGHT(b), JOBLOT_EIGHT(c), JOBLOT_EIGHT(d), JOBLOT_EIGHT(e), JOBLOT_EIGHT(f), JOBLOT_EIGHT(g), h0, h1, h2, h3, h4)
    JOBLOT_FIELDS(62, JOBLOT_EIGHT(a), JOBLOT_EIGHT(b), JOBLOT_EIGHT(c), JOBLOT_EIGHT(d), JOBLOT_EIGHT(e), JOBLOT_EIGHT(f), JOBLOT_EIGHT(g), h0, h1, h2, h3, h4, h5)
    JOBLOT_FIELDS(63, JOBLOT_EIGHT(a), JOBLOT_EIGHT(b), JOBLOT_EIGHT(c), JOBLOT_EIGHT(d), JOBLOT_EIGHT(e), JOBLOT_EIGHT(f), JOBLOT_EIGHT(g), h0, h1, h2, h3, h4, h5, h6)
    JOBLOT_FIELDS(64, JOBLOT_EIGHT(a), JOBLOT_EIGHT(b), JOBLOT_EIGHT(c), JOBLOT_EIGHT(d), JOBLOT_EIGHT(e), JOBLOT_EIGHT(f), JOBLOT_EIGHT(g), JOBLOT_EIGHT(h))
    // clang-format on
}

#undef JOBLOT_FIELDS
#undef JOBLOT_EIGHT

// No lambda: one in an unevaluated operand leads g++ 12 to forget that the function around it returns a value.
struct types_of_fields {
    template <class... F>
    constexpr std::type_identity<std::tuple<F...>> operator()(const F&...) const noexcept {
        return {}; // never called; clang wants a definition where a class has no linkage
    }
};

/// The types of the fields, as a `std::tuple` that is never made.
template <class T>
using field_types =
    typename decltype(with_fields<plain_field_count<T>()>(std::declval<const T&>(), types_of_fields()))::type;

} // namespace joblot::detail

#include <algorithm>
#include <array>
#include <concepts>
#include <cstddef>
#include <new>
#include <tuple>
#include <type_traits>

namespace joblot::detail {

/// What a type is a row of, without anything in between: itself, or for arrays and complex numbers their parts.
template <class T>
struct row_part : std::type_identity<T> {};
template <class E, std::size_t N>
    requires(N > 0 && sizeof(std::array<E, N>) == N * sizeof(E))
struct row_part<std::array<E, N>> : row_part<std::remove_cv_t<E>> {};
template <class T>
    requires is_complex<T>
struct row_part<T> : std::type_identity<typename T::value_type> {};
template <class T>
using row_part_t = typename row_part<std::remove_cv_t<T>>::type;

/// Whether all bits are known to hold the value. Two zeros or NaNs of `double` differ, but nothing is beside them.
template <class T>
inline constexpr bool all_bits_count = std::has_unique_object_representations_v<row_part_t<T>> ||
                                       std::same_as<row_part_t<T>, float> || std::same_as<row_part_t<T>, double>;

/// Set bits are those that hold the value.
template <class T>
struct value_mask {
    alignas(T) std::array<unsigned char, sizeof(T)> bytes;

    [[nodiscard]] constexpr bool whole() const noexcept {
        return std::ranges::all_of(bytes, [](unsigned char byte) { return byte == 0xff; });
    }
};

#if __has_builtin(__builtin_clear_padding)

template <class T>
value_mask<T> find_value_mask() noexcept {
    value_mask<T> mask;
    mask.bytes.fill(0xff);
    __builtin_clear_padding(reinterpret_cast<T*>(mask.bytes.data()));
    return mask;
}

#else

// clang, up to some version. Where a value is a constant, what its bytes are is a constant but for the padding. (It
// cannot say so of bit-fields and unions. Of a class with bit-fields its fields tell, if they can be named.)
template <class T>
constexpr value_mask<T> constant_value_mask() noexcept {
    const auto copy = __builtin_bit_cast(bytes_of<sizeof(T)>, __builtin_bit_cast(T, bytes_of<sizeof(T)>{}));
    value_mask<T> mask{};
    for (std::size_t i = 0; i != sizeof(T); ++i) mask.bytes[i] = __builtin_constant_p(copy.bytes[i]) ? 0xff : 0;
    return mask;
}
template <class T>
concept has_constant_value_mask =
    constant_bits<T> && requires { typename std::bool_constant<(constant_value_mask<T>().bytes[0], true)>; };

template <class T>
value_mask<T> find_value_mask() noexcept;

/// A field with all bits of its value set. An enumeration need not have such a value.
template <class F>
inline constexpr bool can_be_all_ones = std::is_class_v<F> || std::is_arithmetic_v<F> || requires { F{1}; };
template <class F>
F all_ones() noexcept {
    if constexpr (std::same_as<F, bool>) {
        return true;
    } else {
        const auto mask = find_value_mask<F>();
        return __builtin_bit_cast(F, mask.bytes);
    }
}
template <class Fields>
inline constexpr bool all_can_be_all_ones = false;
template <class... F>
inline constexpr bool all_can_be_all_ones<std::tuple<F...>> = (can_be_all_ones<std::remove_cv_t<F>> && ...);

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wconversion" // a bit-field gets all that it can hold
template <class T, class... F>
void make_of_ones(void* place, std::type_identity<std::tuple<F...>>) noexcept {
    ::new (place) T{all_ones<std::remove_cv_t<F>>()...};
}
#pragma GCC diagnostic pop

template <class T>
value_mask<T> find_value_mask() noexcept {
    if constexpr (has_constant_value_mask<T>) {
        constexpr value_mask<T> constant = constant_value_mask<T>();
        return constant;
    } else {
        value_mask<T> mask;
        mask.bytes.fill(0xff);
        if constexpr (std::is_class_v<T> && std::is_aggregate_v<T>) {
            if constexpr (plain_field_count<T>() != 0) {
                if constexpr (all_can_be_all_ones<field_types<T>>) {
                    mask.bytes.fill(0);
                    make_of_ones<T>(mask.bytes.data(), std::type_identity<field_types<T>>());
                }
            }
        }
        return mask;
    }
}

#endif

template <class T>
const value_mask<T>& value_mask_of() noexcept {
    static constinit made_once<const value_mask<T>> mask;
    return mask.get(find_value_mask<T>);
}

/// Whether values of a type that travels as its bytes have some that say nothing.
template <class T>
bool has_padding() noexcept {
    if constexpr (all_bits_count<T>) {
        return false;
    } else {
        static constinit made_once<const bool> has;
        return has.get([] { return !value_mask_of<row_part_t<T>>().whole(); });
    }
}

/// Copies the bytes of values that have padding: zeros instead of it. @param to Need not be aligned.
template <class T>
void copy_without_padding(const T* from, std::size_t n, std::byte* __restrict to) noexcept {
    using part = row_part_t<T>;
    const auto* bytes = reinterpret_cast<const std::byte*>(from);
    const value_mask<part>& mask = value_mask_of<part>();
    for (const std::byte* const end = bytes + n * sizeof(T); bytes != end; bytes += sizeof(part), to += sizeof(part)) {
        for (std::size_t i = 0; i != sizeof(part); ++i) to[i] = bytes[i] & std::byte{mask.bytes[i]};
    }
}

} // namespace joblot::detail

#include <algorithm>
#include <array>
#include <concepts>
#include <cstddef>
#include <cstdlib>
#include <new>
#include <type_traits>
#include <utility>

namespace joblot::detail {

struct any_leaf_but_bool {
    template <class T>
        requires((!std::is_aggregate_v<T> || std::is_union_v<T> || says_how_it_travels<T>()) && !std::same_as<T, bool>)
    operator T() const noexcept {
        std::abort(); // never called
    }
};

// A `bool` is `Value`; a number is all ones, so that a bit-field beside one is seen.
template <bool Value>
struct probing_leaf {
    template <class T>
        requires(!std::is_aggregate_v<T> || std::is_union_v<T> || says_how_it_travels<T>())
    operator T() const noexcept {
        if constexpr (std::same_as<T, bool>)
            return Value;
        else if constexpr (std::is_integral_v<T>)
            return static_cast<T>(~T{});
        else if constexpr (std::is_enum_v<T>)
            return static_cast<T>(1);
        else
            return __builtin_bit_cast(T, bytes_of<sizeof(T)>{});
    }
};

/// How many leaves a class has, as far as they are looked at. More than `most_leaves_asked` are not: 0.
template <class T>
constexpr std::size_t leaves_looked_at() {
    if constexpr (!std::is_class_v<T> || !std::is_aggregate_v<T> || may_hold_reference<T>) {
        return 0;
    } else if constexpr (sizeof(T) > most_leaves_asked &&
                         takes_leaves<T, any_leaf<true>>(std::make_index_sequence<most_leaves_asked + 1>())) {
        return 0;
    } else {
        return all_leaves<T>();
    }
}

template <class T>
inline constexpr bool part_has_bools =
    !takes_leaves<T, any_leaf_but_bool>(std::make_index_sequence<leaves_looked_at<T>()>());
template <class T>
    requires(leaves_looked_at<T>() == 0)
inline constexpr bool part_has_bools<T> = std::same_as<T, bool>;

/// Whether a type that travels as its bytes has values of `bool` in it, as far as can be seen.
template <class T>
inline constexpr bool has_bools = part_has_bools<row_part_t<T>>;

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wconversion"
#pragma GCC diagnostic ignored "-Wmissing-braces"
template <class T, bool Value, std::size_t... I>
void make_of_leaves(void* place, std::index_sequence<I...>) noexcept {
    ::new (place) T{(static_cast<void>(I), probing_leaf<Value>())...};
}
#pragma GCC diagnostic pop

/// 0xff for each byte that is a `bool`; one that shares its byte with others is a bit-field, and always valid.
template <class T>
const std::array<unsigned char, sizeof(T)>& bool_places() noexcept {
    static constinit made_once<const std::array<unsigned char, sizeof(T)>> places;
    return places.get([] {
        value_mask<T> with{}, without{};
        if constexpr (std::same_as<T, bool>) {
            with.bytes[0] = 1;
        } else {
            constexpr auto leaves = std::make_index_sequence<leaves_looked_at<T>()>();
            make_of_leaves<T, true>(with.bytes.data(), leaves);
            make_of_leaves<T, false>(without.bytes.data(), leaves);
        }
        for (std::size_t i = 0; i != sizeof(T); ++i) {
            const bool is_one = with.bytes[i] == 1 && without.bytes[i] == 0;
            with.bytes[i] = is_one && value_mask_of<T>().bytes[i] == 0xff ? 0xff : 0;
        }
        return with.bytes;
    });
}

/// Whether all values of `bool` are 0 or 1, in the bytes of values of a type that has some.
template <class T>
bool bools_are_valid(const std::byte* bytes, std::size_t n) noexcept {
    using part = row_part_t<T>;
    value_mask<part> any{}; // the bits that are set in any of them: nothing else is done in the loop, it may be long
    for (const std::byte* const end = bytes + n * sizeof(T); bytes != end; bytes += sizeof(part)) {
        for (std::size_t i = 0; i != sizeof(part); ++i) any.bytes[i] |= std::to_integer<unsigned char>(bytes[i]);
    }
    const auto& places = bool_places<part>();
    for (std::size_t i = 0; i != sizeof(part); ++i) {
        if (places[i] && any.bytes[i] > 1) return false;
    }
    return true;
}

/// Whatever is not 0 becomes 1.
template <class T>
void make_bools_valid(std::byte* bytes, std::size_t n) noexcept {
    using part = row_part_t<T>;
    const auto& places = bool_places<part>();
    for (std::byte* const end = bytes + n * sizeof(T); bytes != end; bytes += sizeof(part)) {
        for (std::size_t i = 0; i != sizeof(part); ++i) {
            if (places[i] && bytes[i] != std::byte{}) bytes[i] = std::byte{1};
        }
    }
}

} // namespace joblot::detail
// ---- joblot/wire/cereal_names.hpp
// The names of cereal that a user's functions may hand to joblot's archives. Declared, not included: who wrote
// functions for cereal includes cereal, and nobody else needs it. As cereal 1.2 and 1.3 declare them
// (details/helpers.hpp, types/base_class.hpp); joblot/cereal.hpp compiles both together.

namespace cereal {

class access;
template <class T>
class NameValuePair;
template <class T>
class SizeTag;
template <class T>
struct BinaryData;
template <class T>
class DeferredData;
template <class Base>
struct base_class;
template <class Base>
struct virtual_base_class;

namespace detail {
namespace { // as there: the number that CEREAL_CLASS_VERSION gives is one for each file
struct version_binding_tag;
}
template <class T, class Tag>
struct Version;
} // namespace detail

} // namespace cereal
// ---- joblot/wire/kinds.hpp
// Which types can travel to another process, and in which way: decided at compile time, for every type of a task.

// ---- joblot/travel.hpp
// What the author of a class says of how its values travel to other processes: as a container, as their bytes, by
// functions of their own, or never.

namespace joblot {

/// Base of a `travel` for a container of one's own: it has `value_type`, `begin()` and `end()`, is made of a pair of
/// iterators (or of a pointer and a length), and its elements are all that there is to it.
struct travels_as_container {};

/// Base of a `travel` for a class that is trivially copyable and means the same in every process: no pointer, no
/// reference, no descriptor. joblot cannot see into private members, so somebody must say so.
struct travels_as_bytes {};

/// Base of a `travel` for a class that must stay in its process, whatever it is made of.
struct never_travels {};

/// To be specialised for a class, or a family of them, where joblot cannot see how it travels, or sees it wrong:
/// ```
/// template <> struct joblot::travel<ring_buffer> : joblot::travels_as_container {};
/// template <> struct joblot::travel<file_lock> : joblot::never_travels {};
/// template <> struct joblot::travel<matrix> {
///     template <class Archive> static void save(Archive& to, const matrix& m) {
///         to(m.rows(), m.columns());                       // any values that travel
///         to.elements(m.data(), m.rows() * m.columns());   // plain ones, as a block that is not copied
///     }
///     template <class Archive> static matrix load(Archive& from) {
///         const auto rows = from.template read<std::size_t>(), columns = from.template read<std::size_t>();
///         return matrix(rows, columns, from.template elements<double>(rows * columns).data());
///     }
/// };
/// ```
/// `to.elements(first, n)` takes elements that belong to the value and travel as their bytes; `from.elements<E>(n)`
/// gives a `std::span<const E>` of them, where they have arrived, and throws `serialization_error` where there are not
/// so many. A specialisation goes before everything else, a `serialize` too. It must be seen before the first task of
/// that type is made, in every file alike. With `static constexpr bool possible`, it travels only if that is true.
template <class T>
struct travel;

} // namespace joblot

// ---- joblot/wire/error_codes.hpp
// `std::error_code` and `std::error_condition` between processes: a number, and the name of a category that both know.
// Templates, so that only what uses them compiles them: see init.hpp.

#include <ios>
#include <mutex>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <type_traits>
#include <vector>

namespace joblot {

namespace detail {

/// The process's table of error categories. Entries are added, never removed. Thread-safe.
template <class = void>
class JOBLOT_ONE_TYPE basic_category_table {
public:
    JOBLOT_ONE_PER_PROCESS static basic_category_table& instance() {
        static constinit made_once<basic_category_table> table;
        return table.get([] { return basic_category_table(); });
    }

    /// @throws std::invalid_argument where another category has that name.
    void add(const std::error_category& category) {
        const std::string name = category.name(); // the user's code: before the lock
        {
            const std::lock_guard lock(table_mutex());
            const entry* const known = find_entry(name);
            if (!known) return static_cast<void>(entries_.push_back({name, &category}));
            if (known->category == &category) return;
        }
        throw std::invalid_argument("joblot: there are two error categories with the name \"" + name +
                                    "\"; give one of them another name()");
    }
    /// The one of that name, or null.
    const std::error_category* find(std::string_view name) {
        const std::lock_guard lock(table_mutex());
        const entry* const known = find_entry(name);
        return known ? known->category : nullptr;
    }
    /// Whether it is in the table itself, and not only one of the same name.
    bool has(const std::error_category& category) { return find(category.name()) == &category; }

private:
    struct entry {
        std::string name;
        const std::error_category* category;
    };

    basic_category_table()
        : entries_{{std::generic_category().name(), &std::generic_category()},
                   {std::system_category().name(), &std::system_category()},
                   {std::iostream_category().name(), &std::iostream_category()}} {}

    const entry* find_entry(std::string_view name) const {
        for (const entry& e : entries_) {
            if (e.name == name) return &e;
        }
        return nullptr;
    }

    std::vector<entry> entries_; // guarded by table_mutex
};
using category_table = basic_category_table<>;

/// @throws serialization_error: a code of that category is on its way between processes, and one does not know it.
template <class = void>
[[noreturn]] void refuse_category(const std::string& name, const char* type) {
    throw serialization_error("joblot: " + std::string(type) + " of the category \"" + name +
                                  "\" cannot travel between processes: that category is not known; call "
                                  "joblot::register_error_category in all of them, before joblot::init",
                              type);
}

/// How both of them travel.
template <class Code>
struct travel_of_code {
    static constexpr const char* type =
        std::is_same_v<Code, std::error_code> ? "std::error_code" : "std::error_condition";

    template <class Archive>
    static void save(Archive& to, const Code& code) {
        if (!category_table::instance().has(code.category())) refuse_category(code.category().name(), type);
        to(std::string(code.category().name()), code.value());
    }
    template <class Archive>
    static Code load(Archive& from) {
        const auto name = from.template read<std::string>();
        const auto value = from.template read<int>();
        const std::error_category* const category = category_table::instance().find(name);
        if (!category) refuse_category(name, type);
        return {value, *category};
    }
};

} // namespace detail

template <>
struct travel<std::error_code> : detail::travel_of_code<std::error_code> {};
template <>
struct travel<std::error_condition> : detail::travel_of_code<std::error_condition> {};

/// Makes an error category known, so that its codes mean the same in all processes: `std::error_code` and
/// `std::error_condition` of it travel, and a `std::system_error` with such a code arrives as what it is and not as a
/// `remote_error`. To be called where a worker comes by as well: before `joblot::init`, at best. The generic, system
/// and iostream categories are known always, that of futures after `register_std_exceptions`. Thread-safe.
///
/// @param category Is referred to, and must live as long as the program. Its `name()` is what is sent.
/// @throws std::invalid_argument where another category of that name is known.
template <class = void>
void register_error_category(const std::error_category& category) {
    detail::category_table::instance().add(category);
}

} // namespace joblot
// ---- joblot/wire/user_functions.hpp
// Which classes have functions that write and read them: `serialize`, or `save` and `load`, in the forms of cereal,
// beside the class or in it. Asking never fails to compile, whatever functions of the same names a class has for other
// libraries.

// ---- joblot/wire/foreign_calls.hpp
// What functions named `serialize`, `save` or `load` call on their archives where they were written for other libraries
// than cereal. With these such a class compiles, as every class must; to send it is refused.

#include <cstddef>
#include <string>

namespace joblot::detail {

/// A value of any type that there never is.
struct no_value {
    template <class T>
    operator T() const {
        throw error("joblot: there is no such value");
    }
};

/// Base of our archives. Nobody can ask whether the body of a function compiles, so the names of the usual libraries
/// are there: bitsery's, those of writers of JSON, of byte streams, of Boost.Serialization.
class foreign_calls {
public:
#define JOBLOT_FOREIGN(name)                                                                                           \
    template <std::size_t... Sizes, class... Ts>                                                                       \
    no_value name(Ts&&...) {                                                                                           \
        refuse(#name);                                                                                                 \
    }
    // clang-format off
    JOBLOT_FOREIGN(value) JOBLOT_FOREIGN(value1b) JOBLOT_FOREIGN(value2b) JOBLOT_FOREIGN(value4b)
    JOBLOT_FOREIGN(value8b) JOBLOT_FOREIGN(value16b) JOBLOT_FOREIGN(text) JOBLOT_FOREIGN(text1b)
    JOBLOT_FOREIGN(text2b) JOBLOT_FOREIGN(text4b) JOBLOT_FOREIGN(container) JOBLOT_FOREIGN(container1b)
    JOBLOT_FOREIGN(container2b) JOBLOT_FOREIGN(container4b) JOBLOT_FOREIGN(container8b) JOBLOT_FOREIGN(container16b)
    JOBLOT_FOREIGN(object) JOBLOT_FOREIGN(ext) JOBLOT_FOREIGN(ext1b) JOBLOT_FOREIGN(ext2b) JOBLOT_FOREIGN(ext4b)
    JOBLOT_FOREIGN(ext8b) JOBLOT_FOREIGN(boolValue) JOBLOT_FOREIGN(adapter) JOBLOT_FOREIGN(enableBitPacking)
    JOBLOT_FOREIGN(context)
    JOBLOT_FOREIGN(StartObject) JOBLOT_FOREIGN(EndObject) JOBLOT_FOREIGN(StartArray) JOBLOT_FOREIGN(EndArray)
    JOBLOT_FOREIGN(Key) JOBLOT_FOREIGN(String) JOBLOT_FOREIGN(Int) JOBLOT_FOREIGN(Uint) JOBLOT_FOREIGN(Int64)
    JOBLOT_FOREIGN(Uint64) JOBLOT_FOREIGN(Double)
    JOBLOT_FOREIGN(begin_object) JOBLOT_FOREIGN(end_object) JOBLOT_FOREIGN(key) JOBLOT_FOREIGN(field)
    JOBLOT_FOREIGN(member) JOBLOT_FOREIGN(add) JOBLOT_FOREIGN(visit) JOBLOT_FOREIGN(io)
    JOBLOT_FOREIGN(write) JOBLOT_FOREIGN(read) JOBLOT_FOREIGN(put) JOBLOT_FOREIGN(get) JOBLOT_FOREIGN(append)
    JOBLOT_FOREIGN(pack) JOBLOT_FOREIGN(unpack)
    JOBLOT_FOREIGN(register_type) JOBLOT_FOREIGN(save_binary) JOBLOT_FOREIGN(load_binary)
    // clang-format on
#undef JOBLOT_FOREIGN

                                                                protected :
    /// The class whose functions run.
    const char* whose_functions_ = "class";

    [[noreturn, gnu::cold]] void refuse(const char* call) const {
        throw serialization_error("joblot: a " + std::string(whose_functions_) +
                                      " cannot be sent to another process: its function for archives was not written "
                                      "for cereal, as it calls `" +
                                      call + "`. Specialise joblot::travel for it",
                                  whose_functions_);
    }
};

} // namespace joblot::detail

#include <cstdint>
#include <type_traits>
#include <utility>

namespace joblot::detail {

namespace probe {
// Archives that are only asked whether functions take them. Not cereal's: those for its own types are not meant.
struct output : foreign_calls {
    using is_saving = std::true_type;
    using is_loading = std::false_type;
    template <class... Ts>
    output& operator()(Ts&&...);
    template <class T>
    output& operator&(T&&);
    template <class T>
    output& operator<<(T&&);
};
struct input : foreign_calls {
    using is_saving = std::false_type;
    using is_loading = std::true_type;
    template <class... Ts>
    input& operator()(Ts&&...);
    template <class T>
    input& operator&(T&&);
    template <class T>
    input& operator>>(T&&);
};

// The functions beside a class are found by its namespace; these make the names known.
void serialize(); // NOLINT: never defined
void save();
void load();
void save_minimal();

// `V` is the number of a class's version where it has one, or nothing.
template <class T, class... V>
concept free_serialize = requires(T& t, output& out, V... v) { serialize(out, t, v...); };
template <class T, class... V>
concept free_save_load = requires(const T& t, T& to, output& out, input& in, V... v) {
    save(out, t, v...);
    load(in, to, v...);
};
template <class T, class... V>
concept free_save_minimal = requires(const T& t, output& out, V... v) { save_minimal(out, t, v...); };

template <class Access, class T, class... V>
concept member_serialize = requires(T& t, output& out, V... v) { Access::member_serialize(out, t, v...); };
template <class Access, class T, class... V>
concept member_save_load = requires(const T& t, T& to, output& out, input& in, V... v) {
    Access::member_save(out, t, v...);
    Access::member_load(in, to, v...);
};
template <class Access, class T, class... V>
concept member_save_minimal = requires(const T& t, output& out, V... v) { Access::member_save_minimal(out, t, v...); };
} // namespace probe

/// Calls members that are public, by the names that cereal's friend has for it.
struct public_access {
    template <class Archive, class T, class... V>
    static auto member_serialize(Archive& archive, T& t, V... version) -> decltype(t.serialize(archive, version...)) {
        return t.serialize(archive, version...);
    }
    template <class Archive, class T, class... V>
    static auto member_save(Archive& archive, const T& t, V... version) -> decltype(t.save(archive, version...)) {
        return t.save(archive, version...);
    }
    template <class Archive, class T, class... V>
    static auto member_load(Archive& archive, T& t, V... version) -> decltype(t.load(archive, version...)) {
        return t.load(archive, version...);
    }
    template <class Archive, class T, class... V>
    static auto member_save_minimal(const Archive& archive, const T& t, V... version)
        -> decltype(t.save_minimal(archive, version...)) {
        return t.save_minimal(archive, version...);
    }
    template <class Archive, class T, class M, class... V>
    static auto member_load_minimal(const Archive& archive, T& t, const M& value, V... version)
        -> decltype(t.load_minimal(archive, value, version...)) {
        return t.load_minimal(archive, value, version...);
    }
};

// What a member function is a member of: not the class that is asked where that has inherited it. Overloads, as access
// is not part of what a requires-expression of g++ 12 looks at; what is private is asked by cereal's friend alone.
template <class R, class C, class... A>
std::type_identity<C> class_of(R (C::*)(A...));
template <class R, class C, class... A>
std::type_identity<C> class_of(R (C::*)(A...) const);
template <class T>
auto owner_of_serialize(int) -> decltype(class_of(&T::template serialize<probe::output>));
template <class T>
std::type_identity<T> owner_of_serialize(...);
template <class T>
auto owner_of_save(int) -> decltype(class_of(&T::template save<probe::output>));
template <class T>
std::type_identity<T> owner_of_save(...);

/// A base class's functions know nothing of what the class has besides.
template <class T>
inline constexpr bool serialize_is_inherited = sizeof(typename decltype(owner_of_serialize<T>(0))::type) != sizeof(T);
template <class T>
inline constexpr bool save_is_inherited = sizeof(typename decltype(owner_of_save<T>(0))::type) != sizeof(T);

// What cereal::traits would find out, with a fraction of its templates: every task type of every program comes by here.
// A `serialize` of a const object only writes (JSON, for example). A `save` that takes a temporary takes no archive,
// but the name of a file. What is private is reached by cereal's friend, where cereal is included.
template <class T, class... V>
concept has_member_serialize =
    (probe::member_serialize<public_access, T, V...> || probe::member_serialize<cereal::access, T, V...>) &&
    !requires(const T& t, probe::output& out, V... v) { t.serialize(out, v...); } && !serialize_is_inherited<T>;
template <class T, class... V>
concept has_member_save_load =
    (probe::member_save_load<public_access, T, V...> || probe::member_save_load<cereal::access, T, V...>) &&
    !requires(const T& t, V... v) { t.save(std::declval<probe::output>(), v...); } && !save_is_inherited<T>;
template <class T, class... V>
concept has_member_save_minimal =
    probe::member_save_minimal<public_access, T, V...> || probe::member_save_minimal<cereal::access, T, V...>;

template <class T, class... V>
inline constexpr bool has_functions_that_take =
    has_member_serialize<T, V...> || has_member_save_load<T, V...> || probe::free_serialize<T, V...> ||
    probe::free_save_load<T, V...> || has_member_save_minimal<T, V...> || probe::free_save_minimal<T, V...>;

/// `serialize(archive, version)` is Boost.Serialization's form, too. It is taken for cereal's where the class was given
/// a version for cereal.
template <class T>
concept has_cereal_version = requires {
    cereal::detail::Version<T, cereal::detail::version_binding_tag>::registerVersion();
} && has_functions_that_take<T, std::uint32_t>;

template <class T>
inline constexpr bool has_user_functions = false;
template <class T>
    requires(std::is_class_v<T> && complete<T> && !is_std_type<T>)
inline constexpr bool has_user_functions<T> = has_functions_that_take<T> || has_cereal_version<T>;

/// Who calls members: `public_access` where that can.
template <bool IsPublic>
using access_if = std::conditional_t<IsPublic, public_access, cereal::access>;

/// Calls functions that take what cereal calls minimal: one number or text that says it all.
template <class Archive, class T, class Save, class Load>
void call_minimal_functions(Archive& archive, T& value, Save save, Load load) {
    if constexpr (std::is_const_v<T>)
        archive(save(archive, value));
    else
        load(archive, value, archive.template read<std::decay_t<decltype(save(archive, value))>>());
}

/// Calls them. @param archive Ours. @param version The number of the class's version, if it has one.
template <class Archive, class T, class... V>
void call_user_functions(Archive& archive, T& value, V... version) {
    using plain = std::remove_const_t<T>;
    plain& writable = const_cast<plain&>(value); // as cereal does
    if constexpr (has_member_serialize<plain, V...>) {
        access_if<probe::member_serialize<public_access, plain, V...>>::member_serialize(archive, writable, version...);
    } else if constexpr (has_member_save_load<plain, V...>) {
        using access = access_if<probe::member_save_load<public_access, plain, V...>>;
        if constexpr (std::is_const_v<T>)
            access::member_save(archive, value, version...);
        else
            access::member_load(archive, value, version...);
    } else if constexpr (probe::free_serialize<plain, V...>) {
        serialize(archive, writable, version...);
    } else if constexpr (probe::free_save_load<plain, V...>) {
        if constexpr (std::is_const_v<T>)
            save(archive, value, version...);
        else
            load(archive, value, version...);
    } else if constexpr (has_member_save_minimal<plain, V...>) {
        using access = access_if<probe::member_save_minimal<public_access, plain, V...>>;
        call_minimal_functions(
            archive, value, [&](auto& a, auto& v) { return access::member_save_minimal(a, v, version...); },
            [&](auto& a, auto& v, const auto& from) { access::member_load_minimal(a, v, from, version...); });
    } else {
        call_minimal_functions(
            archive, value, [&](const auto& a, auto& v) { return save_minimal(a, v, version...); },
            [&](const auto& a, auto& v, const auto& from) { load_minimal(a, v, from, version...); });
    }
}

/// Writes or reads a class by its author's functions, and before it the number of its version if it has one.
template <class Archive, class T>
void by_user_functions(Archive& archive, T& value) {
    using plain = std::remove_const_t<T>;
    if constexpr (has_cereal_version<plain>) {
        std::uint32_t version = cereal::detail::Version<plain, cereal::detail::version_binding_tag>::registerVersion();
        archive(version);
        call_user_functions(archive, value, version);
    } else {
        call_user_functions(archive, value);
    }
}

} // namespace joblot::detail

#include <array>
#include <concepts>
#include <cstddef>
#include <iterator>
#include <memory>
#include <ranges>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>
#include <variant>

namespace joblot::detail {

// --- what a class's author says of it

template <class T>
concept declared = complete<travel<T>>;
template <class T>
inline constexpr bool declared_as_container = false;
template <declared T>
inline constexpr bool declared_as_container<T> = std::is_base_of_v<travels_as_container, travel<T>>;

// --- ways of travelling

/// How values of a type are written.
enum class way {
    none,            ///< not at all, as far as can be seen
    empty,           ///< nothing is written: the type says it all
    raw,             ///< its bytes
    function,        ///< a function by module and offset
    member_function, ///< likewise
    declared,        ///< by the functions of its `travel`
    user,            ///< by its cereal functions
    handle,          ///< a `broadcasted`
    array,           ///< `std::array` of elements that are not raw
    pair,            ///< `std::pair`
    tuple,           ///< `std::tuple`
    optional,        ///< a flag, and the value
    variant,         ///< the alternative's number and value
    pointer,         ///< `std::unique_ptr`: a flag, and the value
    shared,          ///< `std::shared_ptr`: a number, and at the first time the value
    text,            ///< a path: as its string
    block,           ///< a contiguous container of raw elements: out of band where it is large
    sequence,        ///< any other container: its elements
    adaptor,         ///< `std::queue` and its kin: the container inside
    fields           ///< an aggregate: field by field
};

// `Outer` are the aggregates that a type is part of, so that a tree's nodes, which hold nodes, have an end: a type
// travels if it does as long as its own parts of the same type do.
template <class T, class... Outer>
constexpr way way_of();
template <class T, class... Outer>
inline constexpr way way_v = way_of<std::remove_cv_t<T>, Outer...>();

template <class T, class... Outer>
constexpr bool travels_within() {
    if constexpr ((std::same_as<std::remove_cv_t<T>, Outer> || ...))
        return true;
    else
        return way_v<T, Outer...> != way::none;
}
template <class T, class... Outer>
inline constexpr bool travels = travels_within<T, Outer...>();

template <class T, class... Outer>
constexpr bool raw_within() {
    if constexpr ((std::same_as<std::remove_cv_t<T>, Outer> || ...))
        return false; // what holds more of its own kind does so by a container or a pointer
    else
        return way_v<T, Outer...> == way::raw || way_v<T, Outer...> == way::empty;
}
template <class T, class... Outer>
inline constexpr bool is_raw = raw_within<T, Outer...>();

template <class T>
constexpr bool is_plain_leaf() {
    return is_raw<T>;
}
template <class T>
constexpr bool says_how_it_travels() {
    return declared<T> || has_user_functions<T>;
}

template <class T>
inline constexpr bool is_empty_class = false;
template <complete T>
inline constexpr bool is_empty_class<T> = std::is_empty_v<T>;

/// Whether all type arguments of a standard template travel; its allocators and comparators are empty and do.
template <class T, class... Outer>
inline constexpr bool arguments_travel = true;
template <template <class...> class C, class... Args, class... Outer>
inline constexpr bool arguments_travel<C<Args...>, Outer...> =
    ((travels<Args, Outer...> || is_empty_class<Args>) && ...);

template <class T, class... Outer>
inline constexpr bool arguments_are_raw = true;
template <template <class...> class C, class... Args, class... Outer>
inline constexpr bool arguments_are_raw<C<Args...>, Outer...> =
    ((is_raw<Args, Outer...> || is_empty_class<Args>) && ...);

// A comparator, a hash, an allocator is made anew on the other side: one with a state of its own would be another one
// there. (Which memory a pmr container used is nobody's business there.)
template <class T>
inline constexpr bool rules_travel = [] {
    bool all = true;
    if constexpr (requires { typename T::allocator_type; })
        all = is_empty_class<typename T::allocator_type> ||
              spelled<typename T::allocator_type>().starts_with("std::pmr::polymorphic_allocator<");
    if (!all) return false;
    if constexpr (requires { typename T::key_compare; })
        all = std::is_empty_v<typename T::key_compare>;
    else if constexpr (requires { typename T::value_compare; }) // of a priority queue
        all = std::is_empty_v<typename T::value_compare>;
    if constexpr (requires { typename T::hasher; })
        all = std::is_empty_v<typename T::hasher> && std::is_empty_v<typename T::key_equal>;
    return all;
}();

template <class T>
inline constexpr bool is_std_pair = false;
template <class A, class B>
inline constexpr bool is_std_pair<std::pair<A, B>> = true;
template <class T>
inline constexpr bool is_std_tuple = false;
template <class... Ts>
inline constexpr bool is_std_tuple<std::tuple<Ts...>> = true;
template <class T>
inline constexpr bool is_std_variant = false;
template <class... Ts>
inline constexpr bool is_std_variant<std::variant<Ts...>> = true;
// What a pointer points to: the object itself, and not one of a derived class.
template <class T>
inline constexpr bool is_plain_object = false;
template <complete T>
inline constexpr bool is_plain_object<T> = !std::is_array_v<T> && !std::is_polymorphic_v<T>;
template <class T>
inline constexpr bool is_unique_pointer = false;
template <class T>
inline constexpr bool is_unique_pointer<std::unique_ptr<T>> = is_plain_object<T>;
template <class T>
inline constexpr bool is_shared_pointer = false;
template <class T>
inline constexpr bool is_shared_pointer<std::shared_ptr<T>> = is_plain_object<T>;
template <class T>
inline constexpr bool is_std_array = false;
template <class T, std::size_t N>
inline constexpr bool is_std_array<std::array<T, N>> = true;

template <class T>
concept path_like = is_std_type<T> && std::ranges::range<T> && requires(const T& t, typename T::string_type s) {
    { t.native() } -> std::same_as<const typename T::string_type&>;
    T(std::move(s));
};

template <class T>
concept optional_like = is_std_type<T> && requires(T& t, const T& c) {
    typename T::value_type;
    { c.has_value() } -> std::same_as<bool>;
    { *c } -> std::convertible_to<const typename T::value_type&>;
    t.reset();
};

// An owner of elements that can be made from a pair of iterators: a standard one, or one that its author calls so. What
// only looks like one, or derives from one, may hold more than its elements.
template <class T>
concept container = (is_std_type<T> || declared_as_container<T>) && std::ranges::input_range<T> &&
                    !std::ranges::view<T> && !std::ranges::borrowed_range<T> && requires { typename T::value_type; };

/// The element type in the form in which one is decoded: a map's keys are not const then.
template <class T>
struct decoded_element {
    using type = std::remove_cv_t<T>;
};
template <class K, class V>
struct decoded_element<std::pair<const K, V>> {
    using type = std::pair<K, V>;
};
template <container C>
using element_of = typename decoded_element<typename C::value_type>::type;

template <class C>
inline constexpr bool made_from_elements =
    std::constructible_from<C, std::move_iterator<element_of<C>*>, std::move_iterator<element_of<C>*>>;

template <class C, class... Outer>
inline constexpr bool made_from_block = [] {
    using element = std::remove_cv_t<typename C::value_type>;
    return std::ranges::contiguous_range<const C> && is_raw<element, Outer...> && !std::same_as<element, bool> &&
           (std::constructible_from<C, const element*, const element*> ||
            std::constructible_from<C, const element*, std::size_t>);
}();

template <class T>
concept container_adaptor = is_std_type<T> && !std::ranges::range<T> && requires(T& t) {
    typename T::container_type;
    t.pop();
} && container<typename T::container_type>;

template <class T, class... Outer>
constexpr way way_of_container() {
    if constexpr (path_like<T>)
        return way::text;
    else if constexpr (!travels<element_of<T>, Outer..., T>) // it may be made of its own kind
        return way::none;
    else if constexpr (made_from_block<T, Outer..., T>)
        return way::block;
    else
        return made_from_elements<T> ? way::sequence : way::none;
}

template <class Fields, class... Outer>
inline constexpr bool all_travel = false;
template <class... F, class... Outer>
inline constexpr bool all_travel<std::tuple<F...>, Outer...> =
    ((travels<F, Outer...> && !std::is_volatile_v<F>) && ...);

template <class T>
inline constexpr bool copied_by_bytes =
    std::is_trivially_copyable_v<T> && !std::is_polymorphic_v<T> && std::is_move_constructible_v<T>;

template <class T>
constexpr bool is_raw_aggregate() {
    if constexpr (!copied_by_bytes<T>)
        return false;
    else if constexpr (is_std_array<T>)
        return is_raw<typename T::value_type>;
    else
        return !holds_pointers<T>();
}

template <class T, class... Outer>
constexpr way way_of_aggregate() {
    if constexpr (is_raw_aggregate<T>()) {
        return way::raw;
    } else if constexpr (is_std_array<T>) {
        return travels<typename T::value_type, Outer...> ? way::array : way::none;
    } else if constexpr (!std::is_move_constructible_v<T>) {
        return way::none;
    } else if constexpr (plain_field_count<T>() == 0) {
        return way::none;
    } else {
        return all_travel<field_types<T>, Outer..., T> ? way::fields : way::none;
    }
}

template <class T, class... Outer>
constexpr way way_of_std_template() {
    if constexpr (!arguments_travel<T, Outer...> || !rules_travel<T>) {
        return way::none;
    } else {
        if constexpr (container<T>) return way_of_container<T, Outer...>();
        // never raw: a map's pairs have const keys, and are trivially copyable where a decoded pair is not
        if constexpr (is_std_pair<T>) return way::pair;
        if constexpr (is_std_tuple<T>) return way::tuple;
        // nor these: what says which value is there must be checked
        if constexpr (is_std_variant<T>) return way::variant;
        if constexpr (optional_like<T>) return way::optional;
        if constexpr (copied_by_bytes<T>) {
            if constexpr (arguments_are_raw<T, Outer...>) return way::raw;
        }
        if constexpr (is_unique_pointer<T>) return way::pointer;
        if constexpr (is_shared_pointer<T>) return way::shared;
        if constexpr (container_adaptor<T>) return way::adaptor;
        return way::none;
    }
}

template <class T, class... Outer>
constexpr way way_of_std_class() {
    if constexpr (is_disguised_pointer<T>)
        return way::none;
    else if constexpr (is_type_template<T>)
        return way_of_std_template<T, Outer...>();
    else if constexpr (container<T>)
        return way_of_container<T, Outer...>();
    else
        return copied_by_bytes<T> && !may_hold_reference<T> ? way::raw : way::none;
}

template <declared T, class... Outer>
constexpr way way_of_declared() {
    using how = travel<T>;
    if constexpr (std::is_base_of_v<never_travels, how>) {
        return way::none;
    } else if constexpr (std::is_base_of_v<travels_as_bytes, how>) {
        static_assert(copied_by_bytes<T>, "joblot: a class that is not trivially copyable cannot travel as its bytes");
        return way::raw;
    } else if constexpr (std::is_base_of_v<travels_as_container, how>) {
        static_assert(container<T>, "joblot: travels_as_container is for a class with value_type, begin() and end()");
        return way_of_container<T, Outer...>();
    } else if constexpr (requires { how::possible; }) {
        return how::possible ? way::declared : way::none;
    } else {
        return way::declared;
    }
}

template <class T, class... Outer>
constexpr way way_of_class() {
    if constexpr (!complete<T>)
        return way::none;
    else if constexpr (declared<T>)
        return way_of_declared<T, Outer...>();
    else if constexpr (is_broadcasted<T>)
        return travels<typename T::value_type, Outer...> ? way::handle : way::none;
    else if constexpr (std::is_empty_v<T> && std::is_trivially_copyable_v<T>)
        return way::empty;
    else if constexpr (is_closure_with_captures<T> || is_disguised_pointer<T>)
        return way::none;
    else if constexpr (has_user_functions<T>)
        return std::is_default_constructible_v<T> ? way::user : way::none;
    else if constexpr (std::is_union_v<T>)
        return copied_by_bytes<T> && too_small_for_pointers<T> ? way::raw : way::none;
    else if constexpr (std::is_aggregate_v<T>)
        return way_of_aggregate<T, Outer...>();
    else if constexpr (is_std_type<T>)
        return way_of_std_class<T, Outer...>();
    else // nobody can see into it: only its author can say that its bytes mean the same elsewhere
        return copied_by_bytes<T> && too_small_for_pointers<T> ? way::raw : way::none;
}

// The standard's numbers, and those that compilers add (128 bits, vectors): whatever is no class and refers to nothing.
template <class T>
inline constexpr bool is_number =
    std::is_object_v<T> && !std::is_class_v<T> && !std::is_union_v<T> && !std::is_array_v<T> && !std::is_pointer_v<T> &&
    !std::is_null_pointer_v<T> && !std::is_member_function_pointer_v<T>;

template <class T, class... Outer>
constexpr way way_of() {
    if constexpr (is_number<T>)
        return way::raw;
    else if constexpr (std::is_pointer_v<T>)
        return std::is_function_v<std::remove_pointer_t<T>> ? way::function : way::none;
    else if constexpr (std::is_member_function_pointer_v<T>)
        return way::member_function;
    else if constexpr (std::is_class_v<T> || std::is_union_v<T>)
        return way_of_class<T, Outer...>();
    else
        return way::none;
}

} // namespace joblot::detail
// ---- joblot/wire/parcel.hpp
// What a message carries: a stream of small values, and large blocks of memory beside it that are not copied into it.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <deque>
#include <memory>
#include <new>
#include <span>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace joblot::detail {

class segment; // wire/segment.hpp

using bytes_view = std::span<const std::byte>;

/// Blocks from this size on travel beside the stream. Below, one more entry in a table costs more than the copy.
inline constexpr std::size_t out_of_band_from = 4096;
/// Alignment of a block that travels beside the stream.
inline constexpr std::size_t block_alignment = 64;
/// Nothing in the stream is aligned to more.
inline constexpr std::size_t stream_alignment = 16;

[[nodiscard]] constexpr std::size_t round_up(std::size_t n, std::size_t alignment) noexcept {
    return (n + alignment - 1) / alignment * alignment;
}

/// What stands before a part of a message that can be read, or passed over, on its own.
struct part_header {
    std::uint64_t size = 0; // of its stream
    std::uint32_t blocks = 0;
    std::uint32_t mark = 0; // whatever the writer wants to say of it
};
static_assert(sizeof(part_header) % stream_alignment == 0);

/// Bytes that grow at the end, a few at a time. A `std::vector` would be told twice of each few: it calls functions for
/// that, which were a fifth of what a trivial task cost.
class growing_bytes {
public:
    [[nodiscard]] std::size_t size() const noexcept { return size_; }
    [[nodiscard]] const std::byte* data() const noexcept { return bytes_.get(); }
    [[nodiscard]] std::byte* data() noexcept { return bytes_.get(); }
    [[nodiscard]] const std::byte* begin() const noexcept { return data(); }
    [[nodiscard]] const std::byte* end() const noexcept { return data() + size_; }
    [[nodiscard]] std::byte* begin() noexcept { return data(); }
    [[nodiscard]] std::byte* end() noexcept { return data() + size_; }
    void clear() noexcept { size_ = 0; }

    void append(const void* from, std::size_t n) {
        if (n != 0) std::memcpy(more(n), from, n);
    }
    template <class T>
    void put(const T& value) {
        std::memcpy(more(sizeof value), std::addressof(value), sizeof value);
    }
    /// Zeros up to the next multiple of `Alignment`.
    template <std::size_t Alignment>
    void align() {
        const std::size_t to = round_up(size_, Alignment);
        std::memset(more(Alignment), 0, Alignment);
        size_ = to;
    }
    /// Exactly that much memory, where there is less.
    void reserve(std::size_t size) {
        if (size > room_) move_to(size);
    }
    /// New bytes are 0.
    void resize(std::size_t size) {
        if (size <= size_) {
            size_ = size;
        } else {
            const std::size_t n = size - size_;
            std::memset(more(n), 0, n);
        }
    }

    growing_bytes() noexcept = default;
    growing_bytes(growing_bytes&& other) noexcept
        : bytes_(std::move(other.bytes_)), size_(std::exchange(other.size_, 0)), room_(std::exchange(other.room_, 0)) {}
    growing_bytes& operator=(growing_bytes&& other) noexcept {
        bytes_ = std::move(other.bytes_);
        size_ = std::exchange(other.size_, 0);
        room_ = std::exchange(other.room_, 0);
        return *this;
    }

private:
    /// Room for so many more at the end; what is there is yet to be written.
    std::byte* more(std::size_t n) {
        if (n > room_ - size_) grow(n);
        return bytes_.get() + std::exchange(size_, size_ + n);
    }
    [[gnu::noinline]] void grow(std::size_t n) {
        if (n > static_cast<std::size_t>(-1) / 4 - size_) throw std::bad_alloc();
        move_to(std::max({2 * room_, size_ + n, std::size_t{256}}));
    }
    void move_to(std::size_t room) {
        std::unique_ptr<std::byte[]> larger(new std::byte[room]);
        if (size_ != 0) std::memcpy(larger.get(), bytes_.get(), size_);
        bytes_ = std::move(larger);
        room_ = room;
    }

    std::unique_ptr<std::byte[]> bytes_;
    std::size_t size_ = 0;
    std::size_t room_ = 0;
};

/// A message that is being written.
struct outgoing {
    growing_bytes stream;
    std::vector<bytes_view> blocks;                  // of the values themselves, or of `owned`
    std::deque<std::vector<std::byte>> owned;        // copies of what would not live until the message is sent
    std::vector<std::shared_ptr<segment>> images;    // broadcast values that the message speaks of
    std::vector<std::shared_ptr<const void>> owners; // of what blocks refer to, where that is nobody else's
    // A function that is named once for the whole message, as most of its tasks are made of it; 0 where there is none
    // yet. Its place goes into the head of the message.
    std::uintptr_t common_function = 0;
    bool names_common_function = false;

    void clear() noexcept {
        common_function = 0;
        names_common_function = false;
        stream.clear();
        blocks.clear();
        owned.clear();
        images.clear();
        owners.clear();
    }
    [[nodiscard]] std::size_t block_bytes() const noexcept {
        std::size_t sum = 0;
        for (const bytes_view b : blocks) sum += b.size();
        return sum;
    }

    void append(const void* data, std::size_t size) { stream.append(data, size); }
    /// Only what has no padding: that would be whatever was in memory before.
    template <class T>
        requires std::is_trivially_copyable_v<T> && std::has_unique_object_representations_v<T>
    void put(const T& value) {
        stream.put(value);
    }
    /// Overwrites what was put at `position`.
    template <class T>
        requires std::is_trivially_copyable_v<T> && std::has_unique_object_representations_v<T>
    void patch(std::size_t position, const T& value) noexcept {
        std::memcpy(stream.data() + position, std::addressof(value), sizeof value);
    }
    /// Whether a function is the one that is named for the whole message, or becomes it as it is the first.
    [[nodiscard]] bool is_common_function(std::uintptr_t address) noexcept {
        if (names_common_function && common_function == 0) common_function = address;
        return common_function == address;
    }
    /// Starts a part of the message that can be read on its own, after its `part_header`.
    [[nodiscard]] std::size_t begin_part() {
        const std::size_t at = stream.size();
        put(part_header{});
        return at;
    }
    /// Ends the part that began at `at`, when there were `blocks_before` blocks.
    void end_part(std::size_t at, std::size_t blocks_before, std::uint32_t mark) {
        stream.align<stream_alignment>();
        patch(at, part_header{stream.size() - at - sizeof(part_header),
                              static_cast<std::uint32_t>(blocks.size() - blocks_before), mark});
    }
    /// Takes back what was written since.
    void cut_back(std::size_t stream_size, std::size_t block_count) noexcept {
        stream.resize(stream_size);
        blocks.resize(block_count);
    }
    /// @param lasting Whether the memory stays as it is until the message has been sent.
    void put_block(const void* data, std::size_t size, std::size_t alignment, bool lasting) {
        if (size < out_of_band_from) {
            stream.resize(round_up(stream.size(), std::min(alignment, stream_alignment)));
            if (size) append(data, size);
            return;
        }
        bytes_view block(static_cast<const std::byte*>(data), size);
        if (!lasting) block = owned.emplace_back(block.begin(), block.end());
        blocks.push_back(block);
    }
    /// The same for bytes that are nobody else's.
    void put_block(std::vector<std::byte> bytes, std::size_t alignment) {
        if (bytes.size() < out_of_band_from)
            put_block(bytes.data(), bytes.size(), alignment, true);
        else
            blocks.emplace_back(owned.emplace_back(std::move(bytes)));
    }
};

/// A message that is being read. Refers to memory of somebody else. Whatever it is asked for is checked against what
/// is there before it is used.
class incoming {
public:
    incoming() = default;
    incoming(bytes_view stream, std::span<const bytes_view> blocks) noexcept : stream_(stream), blocks_(blocks) {}

    [[nodiscard]] std::size_t position() const noexcept { return at_; }
    [[nodiscard]] std::size_t remaining() const noexcept { return stream_.size() - at_; }
    /// The same, and what is in the blocks that were not read yet.
    [[nodiscard]] std::size_t remaining_with_blocks() const noexcept {
        std::size_t sum = remaining();
        for (const bytes_view b : blocks_.subspan(next_block_)) sum += b.size();
        return sum;
    }

    /// @throws serialization_error where the message ends too early.
    bytes_view take(std::size_t size, const char* type) {
        if (size > remaining()) fail("the message ends in the middle of a value", type);
        const bytes_view taken = stream_.subspan(at_, size);
        at_ += size;
        return taken;
    }
    template <class T>
        requires std::is_trivially_copyable_v<T> && std::is_default_constructible_v<T>
    T get(const char* type = "a number") {
        T value;
        std::memcpy(std::addressof(value), take(sizeof value, type).data(), sizeof value);
        return value;
    }
    /// What `outgoing::put_block` put, in place.
    bytes_view take_block(std::size_t size, std::size_t alignment, const char* type) {
        if (size < out_of_band_from) {
            const std::size_t aligned = round_up(at_, std::min(alignment, stream_alignment));
            if (aligned > stream_.size()) fail("the message ends in the middle of a value", type);
            at_ = aligned;
            return take(size, type);
        }
        if (next_block_ == blocks_.size()) fail("a block of data is missing", type);
        if (blocks_[next_block_].size() != size) fail("a block of data has another size than announced", type);
        return blocks_[next_block_++];
    }
    /// The one block that there is, whatever its size.
    bytes_view only_block(const char* type) {
        if (next_block_ + 1 != blocks_.size()) fail("there is not exactly one block of data", type);
        return blocks_[next_block_++];
    }
    /// The next part, as a message of its own.
    /// @param mark What the writer said of it.
    incoming part(std::uint32_t& mark) {
        const auto header = get<part_header>("the head of a part");
        if (header.size % stream_alignment || at_ % stream_alignment)
            fail("a part is not aligned", "a part of a message");
        const bytes_view stream = take(header.size, "a part of a message");
        if (header.blocks > blocks_.size() - next_block_) fail("blocks of data are missing", "a part of a message");
        const auto own = blocks_.subspan(next_block_, header.blocks);
        next_block_ += header.blocks;
        mark = header.mark;
        return {stream, own};
    }

    [[noreturn, gnu::cold]] void fail(const char* why, const char* type) const {
        throw serialization_error("joblot: bytes that do not decode: " + std::string(why) + ", reading " + type +
                                      " at offset " + std::to_string(at_),
                                  type, at_);
    }

private:
    bytes_view stream_;
    std::span<const bytes_view> blocks_;
    std::size_t at_ = 0;
    std::size_t next_block_ = 0;
};

} // namespace joblot::detail
// ---- joblot/wire/shared_objects.hpp
// Which shared objects a message has already: a hash table by address. Not the standard's, whose header every user
// would pay for.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

namespace joblot::detail {

class shared_objects {
public:
    /// The number of an object, 1, 2, and so on, and whether it is new. Number 0: another object is at its address, the
    /// first member of this one or the other way round; it is not known again later.
    /// @param type Stands for the object's type.
    std::pair<std::uint32_t, bool> number_of(const std::shared_ptr<const void>& object, const void* type) {
        if (objects_.size() * 2 >= places_.size()) grow();
        std::uint32_t& place = place_of(object.get());
        if (place == 0) {
            objects_.push_back({object, type});
            place = static_cast<std::uint32_t>(objects_.size());
            return {place, true};
        }
        if (objects_[place - 1].type == type) return {place, false};
        return {0, true};
    }

private:
    struct known {
        std::shared_ptr<const void> object; // kept, so that no other one comes to its address
        const void* type;
    };

    /// Where the number of what is at an address stands, or is to stand: 0 there. Steps on from its hash.
    std::uint32_t& place_of(const void* address) {
        const std::uint64_t spread = reinterpret_cast<std::uintptr_t>(address) * 0x9E3779B97F4A7C15U;
        const std::size_t last = places_.size() - 1;
        std::size_t at = spread >> 32U & last;
        while (places_[at] != 0 && objects_[places_[at] - 1].object.get() != address) at = (at + 1) & last;
        return places_[at];
    }
    void grow() {
        places_.assign(places_.empty() ? 16 : places_.size() * 2, 0);
        for (std::size_t i = 0; i != objects_.size(); ++i)
            place_of(objects_[i].object.get()) = static_cast<std::uint32_t>(i + 1);
    }

    std::vector<known> objects_;        // by number, less one
    std::vector<std::uint32_t> places_; // a power of two of them, at least half of them free; 0: free
};

} // namespace joblot::detail

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace joblot::detail {

/// Values nested deeper than this are refused, before a hostile or endless one overflows the stack.
inline constexpr int deepest_value = 500;

/// Counts how deep a value is nested, for as long as it lives.
template <class Archive>
class nesting {
public:
    nesting(Archive& archive, const char* type) : depth_(archive.depth()) {
        if (depth_ == deepest_value)
            throw serialization_error("joblot: a value is nested more than " + std::to_string(deepest_value) +
                                          " deep, or refers to itself; the innermost type is " + type,
                                      type);
        ++depth_;
    }
    nesting(const nesting&) = delete;
    nesting& operator=(const nesting&) = delete;
    ~nesting() { --depth_; }

private:
    int& depth_;
};

/// Gives a variable another value for as long as this lives.
template <class T>
class set_for_now {
public:
    set_for_now(T& variable, T value) : variable_(variable), before_(std::exchange(variable, value)) {}
    set_for_now(const set_for_now&) = delete;
    set_for_now& operator=(const set_for_now&) = delete;
    ~set_for_now() { variable_ = before_; }

private:
    T& variable_;
    T before_;
};

inline constexpr const char* invalid_bool = "a bool that is neither true nor false";

class encoder;
class decoder;
template <class T>
void encode(encoder& to, const T& value);
template <class T>
T decode(decoder& from);

/// Writes values into a message. For one thread, and for one part of a message if it has parts: each is read on its
/// own, and knows no shared pointer of another one.
class encoder : public foreign_calls {
public:
    using is_saving = std::true_type; // for functions of users
    using is_loading = std::false_type;

    explicit encoder(outgoing& to) : to_(to) {}

    [[nodiscard]] outgoing& message() noexcept { return to_; }
    [[nodiscard]] int& depth() noexcept { return depth_; }

    /// The number of a shared object, and whether the object must follow. Number 0: it is not known again later.
    std::pair<std::uint32_t, bool> shared_number(const std::shared_ptr<const void>& object, const void* type) {
        return shared_.number_of(object, type);
    }

    /// A contiguous block of memory.
    void block(const void* data, std::size_t size, std::size_t alignment) {
        to_.put_block(data, size, alignment, in_user_code_ == 0);
    }
    /// Contiguous elements that travel as their bytes: where they are, or a copy without the padding that they have.
    template <class E>
    void plain_elements(const E* first, std::size_t n, bool lasting) {
        if (has_padding<E>()) {
            std::vector<std::byte> copy(n * sizeof(E));
            copy_without_padding(first, n, copy.data());
            to_.put_block(std::move(copy), alignof(E));
        } else {
            to_.put_block(first, n * sizeof(E), alignof(E), lasting);
        }
    }
    template <class E>
    void plain_elements(const E* first, std::size_t n) {
        plain_elements(first, n, in_user_code_ == 0);
    }

    /// What cereal calls `archive(...)`: for the `serialize` and `save` functions of users.
    template <class... Ts>
    encoder& operator()(Ts&&... values) {
        (one(values), ...);
        return *this;
    }
    template <class T>
    encoder& operator&(T&& value) {
        one(value);
        return *this;
    }
    template <class T>
    encoder& operator<<(T&& value) {
        one(value);
        return *this;
    }

    /// For the `save` of a `travel`: elements of the value, or of `owner`. They are not copied into the stream.
    /// @param first May be null where `n` is 0.
    /// @param owner What they belong to, if that is not the value itself.
    template <class E>
    void elements(const E* first, std::size_t n, std::shared_ptr<const void> owner = nullptr) {
        static_assert(is_raw<E> && alignof(E) <= stream_alignment, "joblot: these do not travel as their bytes");
        plain_elements(first, n, owner ? true : value_lasts_);
        if (owner) to_.owners.push_back(std::move(owner));
    }

    /// Writes a value by functions of its author. What they hand on may be a temporary.
    /// @param type For errors.
    template <class T>
    void by_user(const T& value, const char* type) {
        const set_for_now name(whose_functions_, type);
        passing([&] { by_user_functions(*this, value); });
    }
    /// The same by the functions of its `travel`.
    template <class T>
    void by_travel(const T& value) {
        const set_for_now lasts(value_lasts_, in_user_code_ == 0);
        passing([&] { travel<T>::save(*this, value); });
    }
    /// Writes what will not be there any more when the message is sent.
    template <class Write>
    void passing(Write write) {
        struct back {
            int& n;
            ~back() { --n; }
        } const at_end{++in_user_code_};
        write();
    }

private:
    template <class T>
    void one(const T& value) {
        encode(*this, value);
    }
    template <class T, std::size_t N>
    void one(const T (&values)[N]) {
        for (const T& value : values) one(value);
    }
    template <class T>
    void one(const cereal::DeferredData<T>& later) { // nothing of ours needs to come later
        one(later.value);
    }
    template <class T>
    void one(const cereal::virtual_base_class<T>& part) {
        base_part(*part.base_ptr);
    }
    template <class T>
    void one(const cereal::NameValuePair<T>& pair) {
        one(pair.value);
    }
    template <class T>
    void one(const cereal::SizeTag<T>& tag) {
        to_.put(static_cast<std::uint64_t>(tag.size));
    }
    template <class T>
    void one(const cereal::BinaryData<T>& data) {
        to_.put(data.size);
        block(data.data, static_cast<std::size_t>(data.size), stream_alignment);
    }
    template <class T>
    void one(const cereal::base_class<T>& part) {
        base_part(*part.base_ptr);
    }

    template <class T>
    void base_part(const T& part);

    outgoing& to_;
    int depth_ = 0;
    int in_user_code_ = 0;     // or in what passes otherwise
    bool value_lasts_ = false; // the one that `travel` writes
    shared_objects shared_;
};

/// Writes a part of a message. @param write Is given an encoder of the part's own, as parts are read by themselves.
template <class Write>
void write_part(outgoing& message, std::uint32_t mark, Write write) {
    const std::size_t blocks = message.blocks.size();
    const std::size_t part = message.begin_part();
    encoder to(message);
    write(to);
    message.end_part(part, blocks, mark);
}

/// Reads values from a message. For one thread. Broadcast values are looked up by their number.
class decoder : public foreign_calls {
public:
    using is_saving = std::false_type; // for functions of users
    using is_loading = std::true_type;
    using image_finder = std::function<std::shared_ptr<segment>(std::uint64_t)>;

    /// @param find Gives a broadcast value's shared memory, or null. Must outlive the decoder; may be null.
    /// @param common_function What the message names for all its parts; 0: none.
    explicit decoder(incoming from, const image_finder* find = nullptr, std::uintptr_t common_function = 0)
        : from_(from), find_(find), common_function_(common_function) {}

    [[nodiscard]] incoming& message() noexcept { return from_; }
    [[nodiscard]] int& depth() noexcept { return depth_; }
    [[nodiscard]] std::uintptr_t common_function() const noexcept { return common_function_; }
    [[nodiscard]] std::shared_ptr<segment> image(std::uint64_t id) const {
        return find_ && *find_ ? (*find_)(id) : nullptr;
    }

    /// The next shared object begins. False where that should not be this number.
    [[nodiscard]] bool expect_shared(std::uint32_t number) {
        if (number != 0) shared_.emplace_back();
        return number == 0 || number == shared_.size();
    }
    /// It was read.
    void keep_shared(std::uint32_t number, std::shared_ptr<void> object, const void* type) {
        if (number != 0) shared_[number - 1] = {std::move(object), type};
    }
    /// Null where none of this type has the number.
    [[nodiscard]] std::shared_ptr<void> shared(std::uint32_t number, const void* type) const {
        if (number == 0 || number > shared_.size() || shared_[number - 1].second != type) return nullptr;
        return shared_[number - 1].first;
    }

    template <class... Ts>
    decoder& operator()(Ts&&... values) {
        (one(values), ...);
        return *this;
    }
    template <class T>
    decoder& operator&(T&& value) {
        one(value);
        return *this;
    }
    template <class T>
    decoder& operator>>(T&& value) {
        one(value);
        return *this;
    }

    /// For the `load` of a `travel`: the next value, which was written by `to(value)`. @throws serialization_error It
    /// is none of this type.
    template <class T>
    [[nodiscard]] T read() {
        return decode<T>(*this);
    }
    /// Likewise: what `to.elements` wrote, where it arrived; for as long as `load` runs.
    /// @throws serialization_error where there are not so many, or one has a `bool` that is neither 0 nor 1.
    template <class E>
    [[nodiscard]] std::span<const E> elements(std::size_t n) {
        static_assert(is_raw<E> && alignof(E) <= stream_alignment, "joblot: these do not travel as their bytes");
        if (n > from_.remaining_with_blocks() / sizeof(E)) from_.fail("more elements than bytes are left", "elements");
        const bytes_view bytes = from_.take_block(n * sizeof(E), alignof(E), "elements");
        if constexpr (has_bools<E>) {
            if (!bools_are_valid<E>(bytes.data(), n)) from_.fail(invalid_bool, "elements");
        }
        return {reinterpret_cast<const E*>(bytes.data()), n};
    }

    /// Reads a value by functions of its author.
    template <class T>
    void by_user(T& value, const char* type) {
        const set_for_now name(whose_functions_, type);
        by_user_functions(*this, value);
    }

private:
    template <class T>
    void one(T& value) {
        if constexpr (std::is_move_assignable_v<T>)
            value = decode<T>(*this);
        else
            refuse("an archive for what cannot be assigned");
    }
    template <class T, std::size_t N>
    void one(T (&values)[N]) {
        for (T& value : values) one(value);
    }
    template <class T>
    void one(cereal::NameValuePair<T>& pair) {
        one(pair.value);
    }
    template <class T>
    void one(cereal::DeferredData<T>& later) {
        one(later.value);
    }
    template <class T>
    void one(cereal::virtual_base_class<T>& part) {
        base_part(*part.base_ptr);
    }
    template <class T>
    void one(cereal::SizeTag<T>& tag) {
        const auto size = from_.get<std::uint64_t>("a size");
        if (size > from_.remaining_with_blocks()) from_.fail("a size is larger than the message", "a size");
        tag.size = static_cast<std::remove_reference_t<decltype(tag.size)>>(size);
    }
    template <class T>
    void one(cereal::BinaryData<T>& data) {
        if (from_.get<std::uint64_t>("a size") != data.size)
            from_.fail("a block of data has another size than expected", "binary data");
        const auto size = static_cast<std::size_t>(data.size);
        const bytes_view bytes = from_.take_block(size, stream_alignment, "binary data"); // empty ones are aligned, too
        if (size) std::memcpy(data.data, bytes.data(), size);
    }
    template <class T>
    void one(cereal::base_class<T>& part) {
        base_part(*part.base_ptr);
    }

    template <class T>
    void base_part(T& part);

    incoming from_;
    const image_finder* find_;
    std::uintptr_t common_function_;
    int depth_ = 0;
    std::vector<std::pair<std::shared_ptr<void>, const void*>> shared_; // and their types; by number, less one
};

} // namespace joblot::detail
// ---- joblot/wire/entry.hpp
// Which code to run, in a form that another process of the same build understands: a module's identity and an offset.
// Only runners that were compiled for a task are ever called.

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <exception>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include <elf.h>
#include <link.h>

namespace joblot::detail {

class encoder;
class decoder;

/// Identity of an executable or shared library: its build-id, or a digest of its code where it has none.
using module_id = std::array<std::byte, 20>;

/// A place in a module.
struct code_location {
    module_id module{};
    std::uint32_t unused = 0; // no padding: that would be sent as it is
    std::uint64_t offset = 0;
};

/// A loaded module: where it is, and which parts of it are code.
struct loaded_module {
    module_id id{};
    std::string name;
    std::uintptr_t base = 0;
    struct range {
        std::uintptr_t begin, end;
        bool code;
    };
    std::vector<range> ranges;

    [[nodiscard]] bool has(std::uintptr_t address, bool code) const noexcept {
        return std::any_of(ranges.begin(), ranges.end(),
                           [&](const range& r) { return address >= r.begin && address < r.end && (!code || r.code); });
    }
};

/// FNV-1a, over a module's code: it is the same wherever the module is loaded.
inline void digest(module_id& id, const std::byte* data, std::size_t size) noexcept {
    std::uint64_t h = 0xcbf29ce484222325;
    for (std::size_t i = 0; i != size; ++i) h = (h ^ static_cast<std::uint64_t>(data[i])) * 0x100000001b3;
    std::memcpy(id.data(), &h, sizeof h);
    const std::uint64_t length = size;
    std::memcpy(id.data() + sizeof h, &length, sizeof length);
}

inline bool read_build_id(module_id& id, const std::byte* notes, std::size_t size) noexcept {
    for (std::size_t at = 0; at + sizeof(ElfW(Nhdr)) <= size;) {
        ElfW(Nhdr) note;
        std::memcpy(&note, notes + at, sizeof note);
        const std::size_t name = at + sizeof note;
        const std::size_t content = name + (note.n_namesz + 3U) / 4 * 4;
        if (note.n_type == NT_GNU_BUILD_ID && note.n_namesz == 4 && content + note.n_descsz <= size &&
            std::memcmp(notes + name, "GNU", 4) == 0) {
            std::memcpy(id.data(), notes + content, std::min<std::size_t>(note.n_descsz, id.size()));
            return true;
        }
        at = content + (note.n_descsz + 3U) / 4 * 4;
    }
    return false;
}

inline loaded_module describe_module(const dl_phdr_info& info) {
    loaded_module m;
    m.name = info.dlpi_name && *info.dlpi_name ? info.dlpi_name : "the executable";
    m.base = info.dlpi_addr;
    bool has_id = false;
    for (int i = 0; i != info.dlpi_phnum; ++i) {
        const auto& h = info.dlpi_phdr[i];
        const std::uintptr_t at = info.dlpi_addr + h.p_vaddr;
        if (h.p_type == PT_LOAD) m.ranges.push_back({at, at + h.p_memsz, (h.p_flags & PF_X) != 0});
        if (h.p_type == PT_NOTE && !has_id)
            has_id = read_build_id(m.id, reinterpret_cast<const std::byte*>(at), h.p_memsz);
    }
    for (const auto& r : m.ranges) {
        if (!has_id && r.code) digest(m.id, reinterpret_cast<const std::byte*>(r.begin), r.end - r.begin);
    }
    return m;
}

/// `dl_iterate_phdr`, when no thread forks.
inline void visit_modules(int (*visit)(dl_phdr_info*, std::size_t, void*), void* state) {
    const std::lock_guard lock(forks.mutex(fork_level::loader));
    ::dl_iterate_phdr(visit, state);
}

/// The first loaded module that `wanted(description)` is true for, or nothing.
template <class Wanted>
std::optional<loaded_module> find_module(Wanted wanted) {
    struct state {
        Wanted* wanted;
        std::optional<loaded_module> found;
    } s{&wanted, {}};
    visit_modules(
        [](dl_phdr_info* info, std::size_t, void* p) {
            auto& out = *static_cast<state*>(p);
            loaded_module m = describe_module(*info);
            if (!(*out.wanted)(m)) return 0;
            out.found = std::move(m);
            return 1;
        },
        &s);
    return s.found;
}

/// The executable that runs.
JOBLOT_ONE_PER_PROCESS inline const loaded_module& main_module() {
    static constinit made_once<const loaded_module> main; // the first one that the loader names
    return main.get([] { return *find_module([](const loaded_module&) { return true; }); });
}

/// How many libraries have been unloaded so far.
inline unsigned long long unloaded_modules() noexcept {
    unsigned long long count = 0;
    visit_modules(
        [](dl_phdr_info* info, std::size_t, void* to) {
            *static_cast<unsigned long long*>(to) = info->dlpi_subs;
            return 1; // each says the same
        },
        &count);
    return count;
}

/// The module that was looked up last on this thread: look-ups come in rows. Nothing where it may have been unloaded,
/// and another one may be in its place. (A library with joblot in it stays, see stay_loaded.hpp, and so do its
/// runners.)
JOBLOT_ONE_PER_PROCESS inline std::optional<loaded_module>& recent_module() {
    struct known {
        std::optional<loaded_module> module;
        unsigned long long unloaded = 0;
    };
    thread_local known recent;
    if (const auto now = unloaded_modules(); std::exchange(recent.unloaded, now) != now) recent.module.reset();
    return recent.module;
}

/// Where `address` is. @throws serialization_error where it is in no module.
inline code_location locate(std::uintptr_t address) {
    const loaded_module* m = &main_module();
    if (!m->has(address, false)) {
        auto& recent = recent_module();
        if (!recent || !recent->has(address, false))
            recent = find_module([&](const loaded_module& x) { return x.has(address, false); });
        if (!recent)
            throw serialization_error("joblot: a function that belongs to no executable and no shared library (made at "
                                      "run time?) cannot be sent to another process",
                                      "a function");
        m = &*recent;
    }
    return {.module = m->id, .offset = address - m->base};
}

/// The address that `where` has in this process. @throws serialization_error where the module is not loaded here.
/// @param code Whether there must be code at the address.
inline std::uintptr_t resolve(const code_location& where, bool code) {
    const loaded_module* m = &main_module();
    if (m->id != where.module) {
        auto& recent = recent_module();
        if (!recent || recent->id != where.module)
            recent = find_module([&](const loaded_module& x) { return x.id == where.module; });
        if (!recent)
            throw serialization_error("joblot: the code of a task is in a shared library that this worker process has "
                                      "not loaded, or in another build of it; link it, or load it before "
                                      "joblot::init is called",
                                      "a function");
        m = &*recent;
    }
    const std::uintptr_t address = m->base + where.offset;
    if (where.offset == 0 || !m->has(address, code))
        throw serialization_error("joblot: a message names code that " + m->name + " does not have", "a function");
    return address;
}

/// What a worker has combined of the results of one request; see dispatch/reduction.hpp. Used by one thread.
class any_partial {
public:
    any_partial() = default;
    any_partial(const any_partial&) = delete;
    any_partial& operator=(const any_partial&) = delete;
    virtual ~any_partial() = default;

    /// Writes what is there. What it refers to stays until `clear`.
    virtual void write(encoder& to) = 0;
    virtual void clear() noexcept = 0;
};

/// Is told what became of a result, while what it refers to is still there.
class result_listener {
public:
    /// Whether the task has run for too long, so that its result does not count; it has failed then.
    virtual bool refuses() = 0;
    /// The result counts. It was written, or is among those of `partial`.
    virtual void result_stands() = 0;
    /// Where results are combined.
    virtual any_partial& partial() = 0;

    void result_written() {
        if (!refuses()) result_stands();
    }

protected:
    ~result_listener() = default;
};

/// Results could not be combined, which fails the call and is no task's failure. Never leaves the library.
struct not_combined {
    std::exception_ptr why;
};

/// What runs tasks of one type in a worker.
///
/// All of them are known from the start of the program, or of the library that has them: they are linked into a list by
/// static initialisation.
class runner_entry {
public:
    /// Reads one task, makes its call and writes the result. Throws what the call throws.
    using function = void (*)(decoder& task, encoder& result, result_listener& then);
    /// Reads what the request says before its tasks, and makes what their results are combined in.
    using opening = std::unique_ptr<any_partial> (*)(decoder& from);

    /// @param o Null where each result is sent.
    explicit runner_entry(function f, opening o = nullptr) noexcept
        : run_(f), open_(o), next_(list().load(std::memory_order_relaxed)) {
        // release: whoever finds the entry sees what is in it. Libraries may be loaded by several threads.
        while (!list().compare_exchange_weak(next_, this, std::memory_order_release, std::memory_order_relaxed)) {
        }
    }
    runner_entry(const runner_entry&) = delete;
    runner_entry& operator=(const runner_entry&) = delete;

    void run(decoder& task, encoder& result, result_listener& then) const { run_(task, result, then); }

    [[nodiscard]] bool combines() const noexcept { return open_ != nullptr; }
    [[nodiscard]] std::unique_ptr<any_partial> open(decoder& from) const { return open_(from); }

    [[nodiscard]] code_location location() const { return locate(reinterpret_cast<std::uintptr_t>(this)); }

    /// The entry at a place that another process named. @throws serialization_error where there is none.
    static const runner_entry& at(const code_location& where) {
        const auto address = resolve(where, false);
        for (const runner_entry* e = list().load(std::memory_order_acquire); e; e = e->next_) {
            if (reinterpret_cast<std::uintptr_t>(e) == address) return *e;
        }
        throw serialization_error("joblot: a message names code that was not compiled to run tasks", "a function");
    }

private:
    JOBLOT_ONE_PER_PROCESS static std::atomic<const runner_entry*>& list() noexcept {
        static constinit std::atomic<const runner_entry*> first{nullptr};
        return first;
    }

    function run_;
    opening open_;
    const runner_entry* next_;
};

} // namespace joblot::detail

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <limits>

namespace joblot::detail {

/// Head of a `run` frame. It is followed by a part for each task; where results are combined, by one before them that
/// says how.
struct run_request {
    std::uint64_t sequence = 0;     ///< number of the request; comes back with its results
    code_location runner{};         ///< what runs the tasks
    std::uint64_t first = 0;        ///< index of the first task in the call; the others follow
    std::uint32_t count = 0;        ///< how many tasks
    std::int32_t worker_id = 0;     ///< what `this_task::worker_id()` gives
    std::int64_t timeout = 0;       ///< for each task, in nanoseconds; 0: none
    std::int32_t depth = 0;         ///< how many calls the tasks are nested in
    std::int32_t inner_threads = 0; ///< `inner_max_num_threads`; 0: not set
    std::uint32_t one_by_one = 0;   ///< 1: somebody waits for each single result
    std::uint32_t combines = 0;     ///< 1: the worker combines the results
    std::uint64_t call = 0;         ///< number of the call: its workers keep values from batch to batch
    std::uint64_t unused = 0;
    code_location common{}; ///< the function that is named for all parts; offset 0: none
};
static_assert(sizeof(run_request) % stream_alignment == 0); // what follows is aligned

/// Head of a `results` frame. It is followed by a part for each task; where results are combined, those of the tasks
/// hold no values, and one part more holds what was made of them.
struct run_results {
    std::uint64_t sequence = 0; ///< of the request
    std::uint32_t begin = 0;    ///< position of the first task in the request
    std::uint32_t count = 0;    ///< how many tasks
    std::uint32_t last = 0;     ///< 1: these are the last ones of the request
    std::uint32_t failed = 0;   ///< how many tasks of the request have failed so far: known without reading the parts
    std::int64_t took = 0;      ///< nanoseconds that the tasks of the request have run so far
};
static_assert(sizeof(run_results) % stream_alignment == 0);

/// What a part of a `results` frame holds; its mark.
enum class task_result_kind : std::uint32_t {
    value = 1,  ///< the encoded result
    exception,  ///< an encoded exception
    skipped,    ///< nothing: the task was not started, as nobody wants it any more
    unreadable, ///< an encoded exception: the input could not be read (in a process that was forked)
    uncombined  ///< an encoded exception: results could not be combined
};

/// What a worker and its owner tell each other while tasks run, without a message. Lives in memory that both share; for
/// a worker that shares none, in its own.
struct task_board {
    static constexpr std::uint64_t nothing = std::numeric_limits<std::uint64_t>::max();

    // Written by the worker. seq_cst with `limit`: either the worker sees the limit before it starts a task, or the
    // owner sees which task it is on.
    std::atomic<std::uint64_t> current{nothing}; ///< index of the task that runs
    std::atomic<std::int64_t> started{0};        ///< when it started, on the steady clock, in nanoseconds
    // Written by the owner.
    std::atomic<std::size_t> limit{nothing}; ///< tasks at this index or above must not start
    std::atomic<std::uint64_t> consumed{0};  ///< how many `results` frames have been read to their end
};
static_assert(std::atomic<std::uint64_t>::is_always_lock_free && std::atomic<std::size_t>::is_always_lock_free);

} // namespace joblot::detail
// ---- joblot/wire/remote_exception.hpp
// Exceptions between processes: standard ones, joblot's own and registered ones come back as what they were.
// Templates, so that only what uses them compiles them: see init.hpp.

// ---- joblot/wire/codec.hpp
// Values to bytes and back. What is contiguous and plain is never copied on the way out, and can be read in place.

// ---- joblot/wire/image.hpp
// Broadcast values between processes: how one is written once, and what it is where it has arrived.

// ---- joblot/wire/segment.hpp
// Shared memory without a name: what is in it is gone with the last process that has it, however that ends.

// ---- joblot/system/descriptor.hpp
// An open file descriptor that is closed with its owner. It is never 0, 1 or 2: a program may be started without these,
// and what is written to stdout would go into whatever had got its number.

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

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

namespace joblot::detail {

/// A part of a file that is mapped into memory. Not thread-safe.
class mapping {
public:
    mapping() = default;
    /// Maps the first `size` bytes. Empty where that fails.
    mapping(int file, std::size_t size, bool writable) noexcept {
        if (size == 0) return;
        void* const at = ::mmap(nullptr, size, writable ? PROT_READ | PROT_WRITE : PROT_READ, MAP_SHARED, file, 0);
        if (at == MAP_FAILED) return;
        data_ = static_cast<std::byte*>(at);
        size_ = size;
    }
    mapping(mapping&& other) noexcept
        : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}
    mapping& operator=(mapping&& other) noexcept {
        std::swap(data_, other.data_);
        std::swap(size_, other.size_);
        return *this;
    }
    ~mapping() {
        if (data_) ::munmap(data_, size_);
    }

    explicit operator bool() const noexcept { return data_ != nullptr; }
    [[nodiscard]] std::byte* data() const noexcept { return data_; }
    [[nodiscard]] std::size_t size() const noexcept { return size_; }

private:
    std::byte* data_ = nullptr;
    std::size_t size_ = 0;
};

/// A nameless file in memory that can grow but never shrink: who has it mapped cannot be hurt by the other side.
/// An invalid descriptor where the system has none to give.
inline descriptor shared_memory(const char* name) noexcept {
    descriptor file(::memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING));
    if (file) ::fcntl(file.get(), F_ADD_SEALS, F_SEAL_SHRINK);
    return file;
}

/// Whether a descriptor is one that `shared_memory` made.
inline bool is_shared_memory(int file) noexcept {
    const int seals = ::fcntl(file, F_GET_SEALS);
    return seals >= 0 && (seals & F_SEAL_SHRINK) != 0;
}

/// Gives a shared file at least `size` bytes that are really there: without that, memory that has run out would show
/// as a SIGBUS when the bytes are touched. False, with `errno`, where they cannot be had.
inline bool reserve_shared(int file, std::size_t size) noexcept {
    rlimit limit{};
    if (::getrlimit(RLIMIT_FSIZE, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY && size > limit.rlim_cur) {
        errno = EFBIG; // to try would raise SIGXFSZ
        return false;
    }
    int result = 0;
    do result = ::posix_fallocate(file, 0, static_cast<off_t>(size));
    while (result == EINTR);
    if (result != 0) errno = result; // posix_fallocate does not set it
    return result == 0;
}

/// Why there is no shared memory, and what can be done.
inline std::string why_no_memory(int error) {
    std::string text = std::strerror(error);
    if (error == EFBIG) text += " (the limit of file sizes, `ulimit -f`, is reached; it holds for shared memory, too)";
    if (error == ENOSPC || error == ENOMEM) text += " (the memory of the machine or of the container is used up)";
    if (error == EMFILE || error == ENFILE) text += " (the limit of open files, `ulimit -n`, is reached)";
    return text;
}

inline std::size_t file_size(int file) noexcept {
    struct stat facts{};
    return ::fstat(file, &facts) == 0 && facts.st_size > 0 ? static_cast<std::size_t>(facts.st_size) : 0;
}

class segment;

/// Who owns data on a cluster, which messages are made of: it stays there as long as this lives. Thread-safe.
class data_owner {
public:
    data_owner() = default;
    data_owner(const data_owner&) = delete;
    data_owner& operator=(const data_owner&) = delete;
    virtual ~data_owner() = default;

    /// The message, brought to this process. Blocks. @throws backend_error Nobody has it any more.
    [[nodiscard]] virtual std::shared_ptr<segment> fetch(const segment& place) const = 0;
};

/// A message in shared memory that many processes read: a broadcast value. Immutable once made.
class segment {
public:
    /// A message that is made where it is read, of data on a cluster.
    /// @param key   The data's, as the engine of that cluster writes it.
    /// @param owner The data's.
    /// @param is_message Whether the data are a message already, which nobody else can read.
    segment(std::uint64_t id, std::string key, std::shared_ptr<const data_owner> owner, bool is_message = false)
        : id_(id), key_(std::move(key)), owner_(std::move(owner)), is_message_(is_message) {}

    /// Copies a message into shared memory. @throws backend_error where there is no room for it.
    segment(std::uint64_t id, const outgoing& message) : id_(id), file_(shared_memory("joblot-broadcast")) {
        std::size_t end = round_up(sizeof(header) + message.blocks.size() * sizeof(place), block_alignment);
        const header head{magic, message.stream.size(), message.blocks.size(), end};
        std::vector<place> places;
        end += message.stream.size();
        for (const bytes_view b : message.blocks) {
            end = round_up(end, block_alignment);
            places.push_back({end, b.size()});
            end += b.size();
        }
        if (!file_ || !reserve_shared(file_.get(), end))
            throw backend_error("joblot: there is no shared memory for a broadcast value of " + std::to_string(end) +
                                " bytes: " + why_no_memory(errno));
        // Written, not mapped and copied: the pages need not be mapped one by one, which takes as long as the copy.
        write_at(0, &head, sizeof head);
        write_at(sizeof head, places.data(), places.size() * sizeof(place));
        write_at(head.stream_at, message.stream.data(), message.stream.size());
        for (std::size_t i = 0; i != places.size(); ++i)
            write_at(places[i].offset, message.blocks[i].data(), message.blocks[i].size());
        ::fcntl(file_.get(), F_ADD_SEALS, F_SEAL_GROW);
    }

    /// Takes over the file that another process made. @throws serialization_error where it makes no sense.
    segment(std::uint64_t id, descriptor file) : id_(id), file_(std::move(file)) {
        map_ = mapping(file_.get(), file_size(file_.get()), false);
        header head{};
        if (map_.size() < sizeof head) broken();
        std::memcpy(&head, map_.data(), sizeof head);
        const std::size_t size = map_.size();
        if (head.magic != magic || head.blocks > (size - sizeof head) / sizeof(place) || head.stream_at > size ||
            head.stream_at % block_alignment != 0 || head.stream_size > size - head.stream_at)
            broken();
        stream_ = {map_.data() + head.stream_at, head.stream_size};
        for (std::size_t i = 0; i != head.blocks; ++i) {
            place p{};
            std::memcpy(&p, map_.data() + sizeof head + i * sizeof p, sizeof p);
            if (p.offset > size || p.size > size - p.offset || p.offset % block_alignment != 0) broken();
            blocks_.push_back({map_.data() + p.offset, p.size});
        }
    }

    segment(const segment&) = delete;
    segment& operator=(const segment&) = delete;
    ~segment() {
        if (forget_) forget_(id_);
    }

    [[nodiscard]] std::uint64_t id() const noexcept { return id_; }
    [[nodiscard]] int file() const noexcept { return file_.get(); }
    /// Of data on a cluster; "" for all others.
    [[nodiscard]] const std::string& key() const noexcept { return key_; }
    [[nodiscard]] const std::shared_ptr<const data_owner>& owner() const noexcept { return owner_; }
    [[nodiscard]] bool is_message() const noexcept { return is_message_; }
    /// Where it is mapped: what to read. Only for a segment that was taken over.
    [[nodiscard]] incoming message() const noexcept { return {stream_, blocks_}; }

    /// What was made of the message in this process; made once, and shared by all who ask.
    template <class Make>
    std::shared_ptr<void> decoded(Make make) {
        const std::lock_guard lock(mutex_);
        if (!decoded_) decoded_ = make();
        return decoded_;
    }
    /// Ends the circle of a segment that keeps what keeps the segment.
    void drop_decoded() {
        std::shared_ptr<void> dropped;
        const std::lock_guard lock(mutex_);
        dropped.swap(decoded_);
    }
    /// Is called with the id when the segment is destroyed. Set by the engine that gave it to other processes, before
    /// anybody else has it.
    void on_destruction(void (*forget)(std::uint64_t)) noexcept { forget_ = forget; }

private:
    struct header {
        std::uint64_t magic, stream_size, blocks, stream_at;
    };
    struct place {
        std::uint64_t offset, size;
    };
    static constexpr std::uint64_t magic = 0x6a6f626c6f745347; // "joblotSG"

    void write_at(std::size_t offset, const void* data, std::size_t size) const {
        const auto* const bytes = static_cast<const std::byte*>(data);
        for (std::size_t done = 0; done != size;) {
            const ssize_t n = ::pwrite(file_.get(), bytes + done, size - done, static_cast<off_t>(offset + done));
            if (n < 0 && errno == EINTR) continue;
            if (n <= 0) throw backend_error("joblot: a broadcast value cannot be written: " + why_no_memory(errno));
            done += static_cast<std::size_t>(n);
        }
    }
    [[noreturn]] static void broken() {
        throw serialization_error("joblot: the shared memory of a broadcast value makes no sense", "broadcast value");
    }

    const std::uint64_t id_;
    const std::string key_;
    const std::shared_ptr<const data_owner> owner_;
    const bool is_message_ = false;
    descriptor file_;
    mapping map_;
    bytes_view stream_;
    std::vector<bytes_view> blocks_;
    void (*forget_)(std::uint64_t) = nullptr;
    std::mutex mutex_;
    std::shared_ptr<void> decoded_; // guarded by mutex_
};

} // namespace joblot::detail

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>

#include <unistd.h>

namespace joblot::detail {

/// A number for a broadcast value that no other one has, in this process or in its workers.
JOBLOT_ONE_PER_PROCESS inline std::uint64_t fresh_image_id() noexcept {
    static constinit std::atomic<std::uint64_t> last{0};
    return static_cast<std::uint64_t>(::getpid()) << 32 | (last.fetch_add(1, std::memory_order_relaxed) + 1);
}

/// What is called with the number of a broadcast value that nobody has a handle of any more. All is thread-safe.
class image_forgetters {
public:
    using function = void (*)(std::uint64_t id);

    /// For an engine that gives values to other processes. To add a function again changes nothing.
    static void add(function forget) noexcept {
        for (std::atomic<function>& place : all()) {
            function there = nullptr;
            // release: whoever calls it sees what it refers to
            if (place.compare_exchange_strong(there, forget, std::memory_order_release, std::memory_order_relaxed) ||
                there == forget)
                return;
        }
    }
    static void call(std::uint64_t id) noexcept {
        for (const std::atomic<function>& place : all()) {
            const function forget = place.load(std::memory_order_acquire);
            if (!forget) return;
            forget(id);
        }
    }

private:
    using places = std::array<std::atomic<function>, 8>; // there are two engines; a library may have its own copy

    JOBLOT_ONE_PER_PROCESS static places& all() noexcept {
        static constinit places functions{};
        return functions;
    }
};

/// Writes a value into shared memory. @param write Writes it into the encoder that it is given.
template <class Write>
std::shared_ptr<segment> make_image(Write write) {
    outgoing message;
    encoder to(message);
    write(to);
    if (!message.images.empty())
        throw serialization_error(
            "joblot: a broadcast value that holds handles of other broadcast values cannot be sent", "broadcasted");
    auto image = std::make_shared<segment>(fresh_image_id(), message);
    image->on_destruction(&image_forgetters::call);
    return image;
}

/// In a process that was sent the value. The bodies are in codec.hpp.
template <class T>
class mapped_broadcast final : public broadcast_source<T> {
public:
    explicit mapped_broadcast(std::shared_ptr<segment> image) : image_(std::move(image)) {}
    const T& get() override;
    typename broadcast_source<T>::view_type view() override;

private:
    std::shared_ptr<segment> image_;
    std::once_flag decoded_;
    std::optional<const T> value_; // made by the first get()
};

} // namespace joblot::detail
// ---- joblot/wire/refusal.hpp
// Why a value cannot travel: which part of it, for what reason, and the way out that fits. Compiled only for types that
// do not.

#include <cctype>
#include <concepts>
#include <cstddef>
#include <functional>
#include <iterator>
#include <memory>
#include <ranges>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>

namespace joblot::detail {

/// The type's name for messages.
template <class T>
const char* name_for_errors() {
    static constinit made_once<const std::string> name;
    const auto make = [] {
        const std::string_view text = spelled<T>();
        auto end = text.find("; std::");
        if (end == text.npos) end = text.rfind(']');
        return std::string(text.substr(0, end));
    };
    return name.get(make).c_str();
}

// --- names of members, as the compiler spells the address of one

template <class T>
struct never_made {
    const T value;
};
template <class T>
struct address_of_member {
    const T* where;
};
template <auto Address>
constexpr std::string_view spelled_address() noexcept {
    return __PRETTY_FUNCTION__;
}

#if defined(__clang__)
#pragma clang diagnostic push
#pragma clang diagnostic ignored "-Wundefined-var-template" // only its address is asked for
#pragma clang diagnostic ignored "-Wundefined-internal"
#endif
template <class T>
extern const never_made<T> object_without_definition;
template <class T, std::size_t I>
constexpr auto member_address() {
    const auto* const where =
        with_fields<plain_field_count<T>()>(object_without_definition<T>.value, [](const auto&... fields) {
            return std::get<I>(std::tuple(std::addressof(fields)...));
        });
    return address_of_member{where};
}

/// The member's name with a dot; its number where it has no address (bit-fields).
template <class T, std::size_t I>
std::string member_name() {
    if constexpr (requires { typename std::bool_constant<(spelled_address<member_address<T, I>()>(), true)>; }) {
        const std::string_view all = spelled_address<member_address<T, I>()>();
        const auto is_part = [](char c) { return std::isalnum(static_cast<unsigned char>(c)) || c == '_'; };
        std::size_t end = all.rfind('}');
        while (end && !is_part(all[end - 1])) --end;
        std::size_t begin = end;
        while (begin && is_part(all[begin - 1])) --begin;
        return "." + std::string(all.substr(begin, end - begin));
    } else {
        return ", member " + std::to_string(I + 1);
    }
}
#if defined(__clang__)
#pragma clang diagnostic pop
#endif

// --- reasons

struct refusal {
    const char* reason;
    const char* way_out; // @ stands for the type
};

template <class T>
constexpr bool has_elements = requires(const T& t) { t.begin(); } || requires(const T& t) { t.data(); };

// Whether its author could say that it is a container: neither one of itself, nor one of pairs.
template <class T>
constexpr bool could_be_container() {
    if constexpr (requires(const T& t) {
                      typename T::value_type;
                      t.begin();
                  })
        return !std::same_as<typename T::value_type, T> && !requires { typename T::key_type; };
    else
        return false;
}

template <class T>
constexpr refusal refusal_of_std_class() {
    constexpr std::string_view name = spelled<T>();
    if constexpr (name.starts_with("std::reference_wrapper<"))
        return {"it refers to the caller's memory", "pass the value, or std::cref where it is only read"};
    else if constexpr (std::input_or_output_iterator<T>)
        return {"an iterator refers to the caller's memory", "pass the elements in a container"};
    else if constexpr (is_disguised_pointer<T> && !std::ranges::range<T>)
        return {"what it stands for is at an address of this process",
                "pass what can be told from it: a number, a name"};
    else if constexpr (is_disguised_pointer<T>)
        return {"it refers to memory that is not its own", "pass an owner, such as std::string or std::vector"};
    else if constexpr (name.starts_with("std::function<") || name.starts_with("std::any") ||
                       name.starts_with("std::move_only_function<"))
        return {"it may hold anything", "pass a function, or a functor that has a name"};
    else if constexpr (name.starts_with("std::unique_ptr<") || name.starts_with("std::shared_ptr<") ||
                       name.starts_with("std::weak_ptr<"))
        return {
            "it has a deleter of its own, no single owner, or points to an array, to what is only declared, or to a "
            "class with virtual functions",
            "pass the value, or a class with cereal's `serialize`"};
    else if constexpr (!rules_travel<T>)
        return {"its comparator, hash or allocator has a state of its own",
                "give that no members, or pass the elements in another container"};
    else
        return {"it belongs to this process", "make it in the task"};
}

template <class T>
constexpr refusal refusal_of_class() {
    constexpr const char* say = "give it cereal's `serialize`, or specialise joblot::travel for it";
    constexpr std::string_view name = spelled<T>();
    if constexpr (!complete<T>)
        return {"it is only declared where the task is made", "include its definition, or pass what it is made from"};
    else if constexpr (declared<T>)
        return {"joblot::travel says that it does not travel", "make it in the task, from what does"};
    else if constexpr (is_closure_with_captures<T>)
        return {"it captures variables, perhaps by reference",
                "pass what it captures as arguments, or use a functor that has a name"};
    else if constexpr (has_user_functions<T>)
        return {"it has functions for archives, but no default constructor to read it into",
                "give it one, or specialise joblot::travel for it"};
    else if constexpr (serialize_is_inherited<T> || save_is_inherited<T>)
        return {"its functions for archives are those of a base class, which know nothing of its own members",
                "give it its own `serialize`"};
    else if constexpr (is_std_type<T>)
        return refusal_of_std_class<T>();
    else if constexpr (name.starts_with("Eigen::Matrix<") || name.starts_with("Eigen::Array<") ||
                       name.starts_with("Eigen::SparseMatrix<"))
        return {"joblot knows Eigen's classes only where it is told of them", "include <joblot/eigen.hpp>"};
    else if constexpr (name.starts_with("Eigen::"))
        return {"it may refer to other matrices, or joblot/eigen.hpp does not know it",
                "pass the Eigen::Matrix that it is made of; of an expression, what `eval()` gives"};
    else if constexpr (std::is_union_v<T>)
        return {"nobody can see which member of a union is there", "pass a std::variant"};
    else if constexpr (std::is_polymorphic_v<T>)
        return {"it has virtual functions", say};
    else if constexpr (std::is_aggregate_v<T>)
        return {"it cannot be taken apart: it has a C array or a union beside what is not plain data, a base class, a "
                "reference, a volatile member, or more than 64 members",
                say};
    else if constexpr (std::is_trivially_copyable_v<T> && has_elements<T>)
        return {"it looks like a view of memory that is not its own",
                "pass an owner; if its elements are in it, specialise joblot::travel for it"};
    else if constexpr (std::is_trivially_copyable_v<T>)
        return {"it may hold a pointer, which cannot be seen from outside",
                "if it holds none: template <> struct joblot::travel<@> : joblot::travels_as_bytes {};"};
    else if constexpr (could_be_container<T>())
        return {"it is no standard container: it may hold more than its elements",
                "give it cereal's `serialize`, or, if it does not: template <> struct joblot::travel<@> : "
                "joblot::travels_as_container {};"};
    else
        return {"its members cannot be seen from outside", say};
}

template <class T>
constexpr refusal refusal_of() {
    if constexpr (std::is_pointer_v<T>) {
        using target = std::remove_cv_t<std::remove_pointer_t<T>>;
        if constexpr (std::same_as<target, char>) return {"it is a pointer", "pass a std::string"};
        return {"it is a pointer", "pass what it points to, or share that with joblot::broadcast"};
    } else if constexpr (std::is_class_v<T> || std::is_union_v<T>) {
        return refusal_of_class<T>();
    } else {
        return {"it is no value", "pass one"};
    }
}

// --- which part

template <class T, class... Outer>
std::string what_does_not_travel(std::string path);

template <class T, class... Outer, class... F, std::size_t... I>
std::string bad_member(const std::string& path, std::type_identity<std::tuple<F...>>, std::index_sequence<I...>) {
    std::string found;
    const auto look = [&]<class M, std::size_t K>() {
        if constexpr (std::is_volatile_v<M>)
            found = path + member_name<T, K>() + ": it is volatile; copy it to one that is not";
        else if constexpr (!travels<M, Outer..., T>)
            found = what_does_not_travel<std::remove_cv_t<M>, Outer..., T>(path + member_name<T, K>());
        return !found.empty();
    };
    static_cast<void>((look.template operator()<F, I>() || ...));
    return found;
}

template <class T>
struct template_arguments {
    using type = std::tuple<>;
};
template <template <class...> class C, class... Args>
struct template_arguments<C<Args...>> {
    using type = std::tuple<std::type_identity<Args>...>;
};

/// How one says which part of a standard type's value the type's argument K stands for.
template <class T>
std::string part_name(std::size_t k) {
    if constexpr (is_std_pair<T>)
        return k == 0 ? ".first" : ".second";
    else if constexpr (is_std_tuple<T> || is_std_variant<T>)
        return "<" + std::to_string(k) + ">";
    else if constexpr (requires { typename T::iterator; } || requires { typename T::container_type; })
        return "[]";
    else
        return "*";
}
template <class T, class... Outer, class... Args, std::size_t... I>
std::string bad_argument(const std::string& path, std::type_identity<std::tuple<Args...>>, std::index_sequence<I...>) {
    std::string found;
    const auto look = [&]<class A, std::size_t K>() {
        if constexpr (!travels<A, Outer...> && !is_empty_class<A>)
            found = what_does_not_travel<std::remove_cv_t<A>, Outer...>(path + part_name<T>(K));
        return !found.empty();
    };
    static_cast<void>((look.template operator()<typename Args::type, I>() || ...));
    return found;
}

template <class T>
constexpr bool is_taken_apart() {
    if constexpr (!std::is_class_v<T> || !complete<T>)
        return false;
    else if constexpr (says_how_it_travels<T>() || is_closure_with_captures<T> || !std::is_aggregate_v<T> ||
                       !std::is_move_constructible_v<T>)
        return false;
    else
        return plain_field_count<T>() != 0;
}

template <class T>
inline constexpr bool is_default_pointer = false;
template <class T>
inline constexpr bool is_default_pointer<std::unique_ptr<T>> = !std::is_array_v<T>;
template <class T>
inline constexpr bool is_default_pointer<std::shared_ptr<T>> = !std::is_array_v<T>;

/// Whether a standard type is made of values of its arguments, so that one of these is what does not travel.
template <class T>
constexpr bool has_parts() {
    if constexpr (!std::is_class_v<T> || !complete<T> || !is_std_type<T> || is_disguised_pointer<T>)
        return false;
    else
        return is_std_pair<T> || is_std_tuple<T> || is_std_variant<T> || optional_like<T> || is_default_pointer<T> ||
               std::ranges::range<T> || requires { typename T::container_type; };
}

/// "path: type: reason; way out", where the path leads to the first part that does not travel.
template <class T, class... Outer>
std::string what_does_not_travel(std::string path) {
    std::string found;
    if constexpr (is_taken_apart<T>()) {
        path += " (" + std::string(name_for_errors<T>()) + ")";
        found = bad_member<T, Outer...>(path, std::type_identity<field_types<T>>(),
                                        std::make_index_sequence<plain_field_count<T>()>());
    } else if constexpr (has_parts<T>()) {
        using arguments = typename template_arguments<T>::type;
        found = bad_argument<T, Outer...>(path, std::type_identity<arguments>(),
                                          std::make_index_sequence<std::tuple_size_v<arguments>>());
    }
    if (!found.empty()) return found;
    const std::string name = name_for_errors<T>();
    constexpr refusal why = refusal_of<T>();
    std::string way_out = why.way_out;
    if (const auto at = way_out.find('@'); at != way_out.npos) way_out.replace(at, 1, name);
    return path + ": " + name + ": " + why.reason + "; " + way_out;
}

/// A class's own functions have asked for something that does not travel.
template <class T>
[[noreturn, gnu::cold]] void refuse_value() {
    throw serialization_error("joblot: a value cannot be sent to another process: " + what_does_not_travel<T>("it"),
                              name_for_errors<T>());
}

} // namespace joblot::detail

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <iterator>
#include <limits>
#include <memory>
#include <optional>
#include <ranges>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

namespace joblot::detail {

/// A trivially copyable object from its bytes; its class need not have a default constructor.
template <class T>
T from_bytes(const std::byte* bytes) noexcept {
    std::array<std::byte, sizeof(T)> copy;
    std::memcpy(copy.data(), bytes, sizeof(T));
    if constexpr (has_bools<T>) make_bools_valid<T>(copy.data(), 1);
    return std::bit_cast<T>(copy);
}

/// Reaches the container inside `std::queue` and its kin, a protected member.
template <class Adaptor>
struct adaptor_inside : Adaptor {
    static typename Adaptor::container_type& of(Adaptor& a) { return a.*(&adaptor_inside::c); }
    static const typename Adaptor::container_type& of(const Adaptor& a) { return a.*(&adaptor_inside::c); }
};

// Itanium C++ ABI, 2.3: a pointer to a member function is a function's address, or 1 + an offset into the virtual
// table, and what is to be added to `this`.
struct member_function_bits {
    std::uintptr_t function;
    std::ptrdiff_t adjustment;
};

// --- writing

enum class function_kind : std::uint8_t {
    null,
    located, ///< its place follows
    common   ///< the one that the message names for all its parts
};

inline void encode_function(encoder& to, std::uintptr_t address) {
    outgoing& message = to.message();
    if (address == 0) return message.put(function_kind::null);
    if (message.is_common_function(address)) return message.put(function_kind::common);
    message.put(function_kind::located);
    message.put(locate(address));
}

template <class T>
void encode_raw(outgoing& to, const T& value) {
    if (has_padding<T>()) {
        const std::size_t at = to.stream.size();
        to.stream.resize(at + sizeof value);
        copy_without_padding(std::addressof(value), 1, to.stream.data() + at);
    } else {
        to.append(std::addressof(value), sizeof value);
    }
}

template <class T>
void encode_elements(encoder& to, const T& value) {
    std::size_t n = 0;
    if constexpr (std::ranges::sized_range<const T>)
        n = static_cast<std::size_t>(std::ranges::size(value));
    else
        n = static_cast<std::size_t>(std::ranges::distance(value));
    to.message().put<std::uint64_t>(n);
    for (auto&& element : value) {
        const auto write = [&] { encode<std::remove_cvref_t<decltype(element)>>(to, element); };
        if constexpr (std::is_reference_v<std::ranges::range_reference_t<const T>>)
            write();
        else
            to.passing(write); // the range makes its elements as they are asked for
    }
}

template <class T>
void encode_block(encoder& to, const T& value) {
    const auto n = static_cast<std::size_t>(std::ranges::size(value));
    to.message().put<std::uint64_t>(n);
    const typename T::value_type* const first = n ? std::to_address(std::ranges::begin(value)) : nullptr;
    to.plain_elements(first, n);
}

inline constexpr std::uint32_t first_time = 1U << 31; // the object itself follows
template <class T>
inline constexpr char type_mark = 0; // its address stands for the type

template <class T>
void encode_shared(encoder& to, const T& pointer) {
    if (!pointer) return to.message().put(std::uint32_t{0});
    const auto [number, first] = to.shared_number(pointer, &type_mark<std::remove_const_t<typename T::element_type>>);
    to.message().put(first ? number | first_time : number);
    if (first) encode(to, *pointer);
}

template <class T>
void encode_handle(encoder& to, const T& handle) {
    using value = typename T::value_type;
    const auto image = std::static_pointer_cast<segment>(
        handle.source()->image([&] { return make_image([&](encoder& e) { encode<value>(e, handle.get()); }); }));
    to.message().put(image->id());
    to.message().images.push_back(image);
}

/// Writes a value. @throws serialization_error, or what the value's own functions throw.
template <class T>
void encode(encoder& to, const T& value) {
    constexpr way how = way_v<T>;
    if constexpr (how == way::none) {
        refuse_value<T>(); // asked for by a class's own functions: tasks are refused before
    } else if constexpr (how == way::empty) {
        to.message().put(std::uint8_t{0}); // so that no number of elements takes no bytes
    } else if constexpr (how == way::raw) {
        encode_raw(to.message(), value);
    } else if constexpr (how == way::function) {
        encode_function(to, reinterpret_cast<std::uintptr_t>(value));
    } else if constexpr (how == way::member_function) {
        const auto bits = std::bit_cast<member_function_bits>(value);
        const bool is_virtual = (bits.function & 1) != 0;
        to.message().put(bits.adjustment);
        to.message().put(is_virtual ? bits.function : 0);
        if (!is_virtual) encode_function(to, bits.function);
    } else if constexpr (how == way::block) {
        encode_block(to, value);
    } else if constexpr (how == way::text) {
        encode(to, value.native());
    } else if constexpr (how == way::optional || how == way::pointer) {
        to.message().put(static_cast<std::uint8_t>(static_cast<bool>(value)));
        const nesting<encoder> deeper(to, name_for_errors<T>());
        if (value) encode<std::remove_cvref_t<decltype(*value)>>(to, *value);
    } else if constexpr (how == way::handle) {
        encode_handle(to, value);
    } else {
        const nesting<encoder> deeper(to, name_for_errors<T>());
        if constexpr (how == way::user) {
            to.message().put(std::uint8_t{0}); // its functions may write nothing
            to.by_user(value, name_for_errors<T>());
        } else if constexpr (how == way::declared) {
            to.message().put(std::uint8_t{0});
            to.by_travel(value);
        } else if constexpr (how == way::sequence) {
            encode_elements(to, value);
        } else if constexpr (how == way::array) {
            for (const auto& element : value) encode(to, element);
        } else if constexpr (how == way::pair) {
            encode(to, value.first);
            encode(to, value.second);
        } else if constexpr (how == way::tuple) {
            std::apply([&](const auto&... parts) { (encode(to, parts), ...); }, value);
        } else if constexpr (how == way::variant) {
            if (value.valueless_by_exception())
                throw serialization_error("joblot: a std::variant without a value cannot be sent to another process",
                                          name_for_errors<T>());
            to.message().put(static_cast<std::uint32_t>(value.index()));
            std::visit([&](const auto& alternative) { encode(to, alternative); }, value);
        } else if constexpr (how == way::shared) {
            encode_shared(to, value);
        } else if constexpr (how == way::adaptor) {
            encode(to, adaptor_inside<T>::of(value));
        } else if constexpr (how == way::fields) {
            with_fields<plain_field_count<T>()>(
                value, [&](const auto&... f) { (encode<std::remove_cvref_t<decltype(f)>>(to, f), ...); });
        }
    }
}

// --- reading

inline std::uintptr_t decode_function(decoder& from) {
    const auto kind = from.message().get<function_kind>("a function");
    if (kind == function_kind::null) return 0;
    if (kind == function_kind::located) return resolve(from.message().get<code_location>("a function"), true);
    if (kind != function_kind::common || from.common_function() == 0)
        from.message().fail("a function of an unknown kind", "a function");
    return from.common_function();
}

/// How many elements follow. Each takes a byte or more: a larger number is refused before anything is allocated.
template <class T>
std::size_t decode_count(decoder& from) {
    const auto n = from.message().get<std::uint64_t>(name_for_errors<T>());
    if (n > from.message().remaining()) from.message().fail("more elements than bytes are left", name_for_errors<T>());
    return static_cast<std::size_t>(n);
}

/// The elements of a block, where they are in the message. A `bool` in them may be anything.
template <class Element>
std::span<const Element> decode_unchecked_view(decoder& from, const char* type) {
    const auto n = from.message().get<std::uint64_t>(type);
    if (n > std::numeric_limits<std::size_t>::max() / sizeof(Element)) from.message().fail("an absurd size", type);
    const bytes_view bytes =
        from.message().take_block(static_cast<std::size_t>(n) * sizeof(Element), alignof(Element), type);
    return {reinterpret_cast<const Element*>(bytes.data()), static_cast<std::size_t>(n)};
}

/// The same, for whoever reads them there.
template <class Element>
std::span<const Element> decode_view(decoder& from, const char* type) {
    const auto view = decode_unchecked_view<Element>(from, type);
    if constexpr (has_bools<Element>) {
        if (!bools_are_valid<Element>(std::as_bytes(view).data(), view.size())) from.message().fail(invalid_bool, type);
    }
    return view;
}

template <class T, class Element>
T made_of_block(std::span<const Element> elements) {
    if constexpr (std::constructible_from<T, const Element*, const Element*>)
        return T(elements.data(), elements.data() + elements.size());
    else
        return T(elements.data(), elements.size());
}

template <class T>
T decode_block(decoder& from) {
    using element = std::remove_cv_t<typename T::value_type>;
    const std::span<const element> view = decode_unchecked_view<element>(from, name_for_errors<T>());
    const auto* const bytes = reinterpret_cast<const std::byte*>(view.data());
    bool as_it_is = alignof(element) <= stream_alignment; // only blocks beside the stream are aligned so far
    if constexpr (has_bools<element>) as_it_is = as_it_is && bools_are_valid<element>(bytes, view.size());
    if (as_it_is) return made_of_block<T>(view);
    std::vector<element> copy;
    copy.reserve(view.size());
    for (std::size_t i = 0; i != view.size(); ++i) copy.push_back(from_bytes<element>(bytes + i * sizeof(element)));
    return made_of_block<T>(std::span<const element>(copy));
}

template <class T>
T decode_elements(decoder& from) {
    using element = element_of<T>;
    const std::size_t n = decode_count<T>(from);
    std::vector<element> elements;
    elements.reserve(std::min<std::size_t>(n, 4096)); // more only as they come
    for (std::size_t i = 0; i != n; ++i) elements.push_back(decode<element>(from));
    if constexpr (std::same_as<T, std::vector<element>>)
        return elements;
    else if constexpr (std::same_as<element, bool>)
        return T(elements.begin(), elements.end());
    else
        return T(std::move_iterator<element*>(elements.data()),
                 std::move_iterator<element*>(elements.data() + elements.size()));
}

template <class T, std::size_t... I>
T decode_variant(decoder& from, std::index_sequence<I...>) {
    const auto index = from.message().get<std::uint32_t>(name_for_errors<T>());
    std::optional<T> result;
    static_cast<void>(
        ((I == index &&
          (result.emplace(std::in_place_index<I>, decode<std::variant_alternative_t<I, T>>(from)), true)) ||
         ...));
    if (!result) from.message().fail("no such alternative", name_for_errors<T>());
    return std::move(*result);
}

template <class T>
T decode_shared(decoder& from) {
    using element = std::remove_const_t<typename T::element_type>;
    const auto number = from.message().get<std::uint32_t>(name_for_errors<T>());
    if (number == 0) return nullptr;
    if (number & first_time) {
        if (!from.expect_shared(number & ~first_time)) from.message().fail("a wrong number", name_for_errors<T>());
        auto fresh = std::make_shared<element>(decode<element>(from));
        from.keep_shared(number & ~first_time, fresh, &type_mark<element>);
        return fresh;
    }
    if (auto known = std::static_pointer_cast<element>(from.shared(number, &type_mark<element>))) return known;
    from.message().fail("a shared pointer to nothing that came before", name_for_errors<T>());
}

template <class T>
T decode_handle(decoder& from) {
    using value = typename T::value_type;
    const auto id = from.message().get<std::uint64_t>(name_for_errors<T>());
    const auto image = from.image(id);
    if (!image) from.message().fail("a broadcast value that did not arrive", name_for_errors<T>());
    return T(std::static_pointer_cast<broadcast_source<value>>(image->decoded([&]() -> std::shared_ptr<void> {
        return std::static_pointer_cast<void>(
            std::static_pointer_cast<broadcast_source<value>>(std::make_shared<mapped_broadcast<value>>(image)));
    })));
}

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wconversion" // a bit-field gets what a bit-field had
template <class T, class... F>
T decode_fields(decoder& from, std::type_identity<std::tuple<F...>>) {
    return T{decode<std::remove_cv_t<F>>(from)...}; // braces: in this order
}
#pragma GCC diagnostic pop
template <class T, std::size_t... I>
T decode_tuple(decoder& from, std::index_sequence<I...>) {
    return T{decode<std::remove_cv_t<std::tuple_element_t<I, T>>>(from)...};
}

/// Reads a value. @throws serialization_error where the bytes make no sense; what the value's own functions throw.
template <class T>
T decode(decoder& from) {
    constexpr way how = way_v<T>;
    const char* const type = name_for_errors<T>();
    incoming& in = from.message();
    if constexpr (how == way::none) {
        refuse_value<T>();
    } else if constexpr (how == way::empty) {
        static_cast<void>(in.get<std::uint8_t>(type));
        constexpr std::array<std::byte, sizeof(T)> nothing{};
        return std::bit_cast<T>(nothing);
    } else if constexpr (how == way::raw) {
        return from_bytes<T>(in.take(sizeof(T), type).data());
    } else if constexpr (how == way::function) {
        return reinterpret_cast<T>(decode_function(from));
    } else if constexpr (how == way::member_function) {
        member_function_bits bits{};
        bits.adjustment = in.get<std::ptrdiff_t>(type);
        bits.function = in.get<std::uintptr_t>(type);
        if (bits.function == 0)
            bits.function = decode_function(from);
        else if (bits.function % 2 == 0)
            in.fail("not a virtual function", type);
        return std::bit_cast<T>(bits);
    } else if constexpr (how == way::block) {
        return decode_block<T>(from);
    } else if constexpr (how == way::text) {
        return T(decode<typename T::string_type>(from));
    } else if constexpr (how == way::handle) {
        return decode_handle<T>(from);
    } else if constexpr (how == way::optional) {
        if (in.get<std::uint8_t>(type) == 0) return T();
        const nesting<decoder> deeper(from, type);
        return T(decode<typename T::value_type>(from));
    } else if constexpr (how == way::pointer) {
        if (in.get<std::uint8_t>(type) == 0) return nullptr;
        const nesting<decoder> deeper(from, type);
        using element = std::remove_const_t<typename T::element_type>;
        return std::make_unique<element>(decode<element>(from));
    } else {
        const nesting<decoder> deeper(from, type);
        if constexpr (how == way::user) {
            static_cast<void>(in.get<std::uint8_t>(type));
            T value;
            from.by_user(value, type);
            return value;
        } else if constexpr (how == way::declared) {
            static_cast<void>(in.get<std::uint8_t>(type));
            return travel<T>::load(from);
        } else if constexpr (how == way::sequence) {
            return decode_elements<T>(from);
        } else if constexpr (how == way::array || how == way::tuple || how == way::pair) {
            return decode_tuple<T>(from, std::make_index_sequence<std::tuple_size_v<T>>());
        } else if constexpr (how == way::variant) {
            return decode_variant<T>(from, std::make_index_sequence<std::variant_size_v<T>>());
        } else if constexpr (how == way::shared) {
            return decode_shared<T>(from);
        } else if constexpr (how == way::adaptor) {
            T value;
            adaptor_inside<T>::of(value) = decode<typename T::container_type>(from);
            return value;
        } else {
            static_assert(how == way::fields);
            return decode_fields<T>(from, std::type_identity<field_types<T>>());
        }
    }
}

// A base class need not be one that a value can be made of: it may be abstract.
template <class T>
void encoder::base_part(const T& part) {
    if constexpr (has_user_functions<T>)
        by_user(part, name_for_errors<T>());
    else
        encode(*this, part);
}
template <class T>
void decoder::base_part(T& part) {
    if constexpr (has_user_functions<T>)
        by_user(part, name_for_errors<T>());
    else
        part = decode<T>(*this);
}

// --- broadcast values that came from another process

template <class T>
const T& mapped_broadcast<T>::get() {
    std::call_once(decoded_, [this] {
        decoder from(image_->message());
        value_.emplace(decode<T>(from));
    });
    return *value_;
}

template <class T>
typename broadcast_source<T>::view_type mapped_broadcast<T>::view() {
    if constexpr (broadcast_block<T> && way_v<T> == way::block && alignof(typename T::value_type) <= stream_alignment) {
        decoder from(image_->message());
        return decode_view<std::remove_cv_t<typename T::value_type>>(from, name_for_errors<T>()); // looks through bools
    } else if constexpr (broadcast_block<T>) {
        return {std::ranges::data(get()), std::ranges::size(get())};
    } else {
        return {};
    }
}

} // namespace joblot::detail

#include <any>
#include <cstdint>
#include <cstdlib>
#include <exception>
#include <functional>
#include <ios>
#include <mutex>
#include <new>
#include <optional>
#include <stdexcept>
#include <string>
#include <system_error>
#include <type_traits>
#include <typeinfo>
#include <utility>
#include <variant>
#include <vector>

#include <cxxabi.h>

namespace joblot {

namespace detail {

/// How exceptions of one type are written and read. They are told apart by their `key`.
struct exception_codec {
    std::string name;
    bool (*is)(const std::type_info&);
    void (*write)(encoder&, std::exception_ptr);
    std::exception_ptr (*read)(decoder&);              ///< null where it cannot be made here
    bool (*fits)(const std::exception_ptr&) = nullptr; ///< whether this one can be made again; null: all can
    std::exception_ptr (*nest)(const std::exception_ptr&, const std::exception_ptr&); ///< the first, around the second
    std::string key{}; ///< the type's own name; in a nameless namespace with the place of its code, which is its alone
};

/// A name in a nameless namespace may be there in each source file, and in each library.
inline std::string key_of(const exception_codec& codec) {
    if (codec.name.find("_GLOBAL__N_") == codec.name.npos) return codec.name;
    try {
        const code_location where = locate(reinterpret_cast<std::uintptr_t>(codec.is));
        return codec.name + '@' + std::string(reinterpret_cast<const char*>(where.module.data()), where.module.size()) +
               std::to_string(where.offset);
    } catch (const serialization_error&) { // code that was made at run time
        return codec.name;
    }
}

/// What `std::throw_with_nested` makes of an `E` while `inner` is handled.
template <class E>
std::exception_ptr nested_around(const std::exception_ptr& outer, const std::exception_ptr& inner) {
    try {
        std::rethrow_exception(outer);
    } catch (const E& thrown) {
        E copy = thrown; // not const: what is thrown would be an exception of "const E"
        try {
            try {
                std::rethrow_exception(inner);
            } catch (...) {
                std::throw_with_nested(copy);
            }
        } catch (...) {
            return std::current_exception();
        }
    } catch (...) { // not one that its codec should have made
        return std::current_exception();
    }
}

template <class E>
inline constexpr bool exception_from_text =
    std::is_base_of_v<std::exception, E> && std::is_constructible_v<E, const std::string&>;

/// An exception that is made of the text that its `what()` gave.
template <class E>
exception_codec codec_by_text() {
    return {typeid(E).name(),
            [](const std::type_info& type) { return type == typeid(E); },
            [](encoder& to, std::exception_ptr e) {
                try {
                    std::rethrow_exception(e);
                } catch (const E& thrown) {
                    encode(to, std::string(thrown.what()));
                }
            },
            [](decoder& from) {
                if constexpr (std::is_constructible_v<E, const std::string&>)
                    return std::make_exception_ptr(E(decode<std::string>(from)));
                else
                    return static_cast<void>(decode<std::string>(from)), std::make_exception_ptr(E());
            },
            nullptr,
            nested_around<E>};
}

/// Facts are the values that an exception is made of again: `take` gets them from it, `make` makes it.
template <class E, class Facts, Facts (*Take)(const E&), E (*Make)(Facts)>
exception_codec codec_by_facts() {
    return {typeid(E).name(),
            [](const std::type_info& type) { return type == typeid(E); },
            [](encoder& to, std::exception_ptr e) {
                try {
                    std::rethrow_exception(e);
                } catch (const E& thrown) {
                    encode(to, Take(thrown));
                }
            },
            [](decoder& from) { return std::make_exception_ptr(Make(decode<Facts>(from))); },
            nullptr,
            nested_around<E>};
}

template <class E>
E copy_of(const E& value) {
    return value;
}
template <class E>
E same(E value) {
    return value;
}

// --- joblot's own and the standard exceptions that are more than a text

struct remote_facts {
    std::string type, text, worker;
};
inline remote_facts facts_of_remote(const remote_error& e) { return {e.type_name(), e.text(), e.worker()}; }
inline remote_error make_remote(remote_facts f) { return {f.type, f.text, f.worker}; }

struct timeout_facts {
    bool of_call;
    std::uint64_t number; // of tasks that were done, or of the task
    std::string label;
    std::int64_t limit; // in nanoseconds
};
inline timeout_facts facts_of_timeout(const timeout_error& e) {
    return {e.of_call(), e.of_call() ? e.completed() : e.index(), e.label(), e.limit().count()};
}
inline timeout_error make_timeout(timeout_facts f) {
    const std::chrono::nanoseconds limit(f.limit);
    return f.of_call ? timeout_error(limit, f.number) : timeout_error({f.number, f.label}, limit);
}

struct crash_facts {
    std::uint64_t index;
    std::string label;
    std::optional<int> signal, exit_status;
    std::string stderr_tail;
};
inline crash_facts facts_of_crash(const worker_crashed& e) {
    return {e.index(), e.label(), e.signal(), e.exit_status(), e.stderr_tail()};
}
inline worker_crashed make_crash(crash_facts f) {
    return {{f.index, f.label}, {f.signal, f.exit_status}, f.stderr_tail};
}

inline std::uint64_t facts_of_cancelled(const cancelled& e) { return e.completed(); }
inline cancelled make_cancelled(std::uint64_t n) { return cancelled(n); }

struct serialization_facts {
    std::string text, type;
    std::uint64_t offset;
};
inline serialization_facts facts_of_serialization(const serialization_error& e) {
    return {e.what(), e.type_name(), e.offset()};
}
inline serialization_error make_serialization(serialization_facts f) { return {f.text, f.type, f.offset}; }

struct system_facts {
    std::string category;
    int value;
    std::string text;
};
struct unknown_category {};
/// @throws unknown_category: in the other process there is one of that name.
inline std::error_code make_code(const std::string& category, int value) {
    const std::error_category* const c = category_table::instance().find(category);
    if (!c) throw unknown_category{};
    return {value, *c};
}
/// Codes of other libraries' categories would mean something else here.
template <class E>
bool has_known_category(const std::exception_ptr& error) {
    try {
        std::rethrow_exception(error);
    } catch (const E& e) {
        return category_table::instance().has(e.code().category());
    }
}

/// The text that a system_error was made with, of its "text: message of the code"; the second part is made again.
inline std::string own_text(std::string whole, const std::error_code& code) {
    const std::string message = code.message();
    if (whole == message) return {};
    if (whole.ends_with(": " + message)) whole.resize(whole.size() - message.size() - 2);
    return whole;
}
inline system_facts facts_of_system(const std::system_error& e) {
    return {e.code().category().name(), e.code().value(), own_text(e.what(), e.code())};
}
inline std::system_error make_system(system_facts f) {
    const std::error_code code = make_code(f.category, f.value);
    return f.text.empty() ? std::system_error(code) : std::system_error(code, f.text);
}

inline system_facts facts_of_stream(const std::ios_base::failure& e) { return facts_of_system(e); }
inline std::ios_base::failure make_stream(system_facts f) {
    return std::ios_base::failure(f.text, make_code(f.category, f.value));
}

template <class E, class Facts, Facts (*Take)(const E&), E (*Make)(Facts)>
exception_codec codec_by_code() {
    exception_codec codec = codec_by_facts<E, Facts, Take, Make>();
    codec.fits = has_known_category<E>;
    codec.read = [](decoder& from) -> std::exception_ptr {
        auto facts = decode<Facts>(from);
        try {
            return std::make_exception_ptr(Make(std::move(facts)));
        } catch (const unknown_category&) {
            return nullptr;
        }
    };
    return codec;
}

/// `mangled` in the form that people write.
inline std::string readable_type(const char* mangled) {
    int status = 0;
    const std::unique_ptr<char, void (*)(void*)> text(abi::__cxa_demangle(mangled, nullptr, nullptr, &status),
                                                      std::free);
    return text ? text.get() : mangled;
}

/// The process's table of exception types. Entries are added, never removed. Thread-safe.
template <class = void>
class JOBLOT_ONE_TYPE basic_exception_table {
public:
    JOBLOT_ONE_PER_PROCESS static basic_exception_table& instance() {
        static constinit made_once<basic_exception_table> table;
        return table.get([] { return basic_exception_table(); });
    }

    void add(exception_codec codec) {
        codec.key = key_of(codec);
        const std::lock_guard lock(table_mutex());
        for (exception_codec& known : codecs_) {
            if (known.key == codec.key) {
                known = std::move(codec);
                return;
            }
        }
        codecs_.push_back(std::move(codec));
    }
    std::optional<exception_codec> find(const std::type_info& type) {
        return find_if([&](const exception_codec& c) { return c.is(type); });
    }
    /// @param type  The name as people write it. More than one type may have it.
    /// @param error One of that type.
    std::optional<exception_codec> find_readable(const std::string& type, const std::exception_ptr& error) {
        std::vector<exception_codec> found;
        {
            const std::lock_guard lock(table_mutex());
            for (const exception_codec& c : codecs_) {
                if (readable_type(c.name.c_str()) == type) found.push_back(c);
            }
        }
        if (found.empty()) return std::nullopt;
        while (found.size() != 1 && !can_write(found.back(), error)) found.pop_back();
        return found.back();
    }
    std::optional<exception_codec> find(const std::string& key) {
        return find_if([&](const exception_codec& c) { return c.key == key; });
    }

private:
    basic_exception_table()
        : codecs_{
              codec_by_text<std::exception>(),
              codec_by_text<std::bad_exception>(),
              codec_by_text<std::bad_any_cast>(),
              codec_by_text<std::logic_error>(),
              codec_by_text<std::domain_error>(),
              codec_by_text<std::invalid_argument>(),
              codec_by_text<std::length_error>(),
              codec_by_text<std::out_of_range>(),
              codec_by_text<std::runtime_error>(),
              codec_by_text<std::range_error>(),
              codec_by_text<std::overflow_error>(),
              codec_by_text<std::underflow_error>(),
              codec_by_text<std::bad_alloc>(),
              codec_by_text<std::bad_array_new_length>(),
              codec_by_text<std::bad_cast>(),
              codec_by_text<std::bad_typeid>(),
              codec_by_text<std::bad_function_call>(),
              codec_by_text<std::bad_optional_access>(),
              codec_by_text<std::bad_variant_access>(),
              codec_by_text<std::bad_weak_ptr>(),
              codec_by_text<error>(),
              codec_by_text<backend_error>(),
              codec_by_code<std::system_error, system_facts, facts_of_system, make_system>(),
              codec_by_code<std::ios_base::failure, system_facts, facts_of_stream, make_stream>(),
              codec_by_facts<remote_error, remote_facts, facts_of_remote, make_remote>(),
              codec_by_facts<timeout_error, timeout_facts, facts_of_timeout, make_timeout>(),
              codec_by_facts<worker_crashed, crash_facts, facts_of_crash, make_crash>(),
              codec_by_facts<cancelled, std::uint64_t, facts_of_cancelled, make_cancelled>(),
              codec_by_facts<serialization_error, serialization_facts, facts_of_serialization, make_serialization>()} {
        for (exception_codec& c : codecs_) c.key = c.name;
    }

    static bool can_write(const exception_codec& codec, const std::exception_ptr& error) {
        outgoing nowhere;
        encoder to(nowhere);
        try {
            to.passing([&] { codec.write(to, error); });
            return true;
        } catch (...) { // it is another type
            return false;
        }
    }

    template <class Wanted>
    std::optional<exception_codec> find_if(Wanted wanted) {
        const std::lock_guard lock(table_mutex());
        for (const exception_codec& c : codecs_) {
            if (wanted(c)) return c;
        }
        return std::nullopt;
    }

    std::vector<exception_codec> codecs_; // guarded by table_mutex
};
using exception_table = basic_exception_table<>;

/// Type and text of the exception that is being handled.
inline std::pair<std::string, std::string> describe_current_exception() {
    const std::type_info* const type = abi::__cxa_current_exception_type();
    std::string name = type ? readable_type(type->name()) : "an unknown type";
    try {
        throw;
    } catch (const std::exception& e) {
        return {std::move(name), e.what()};
    } catch (...) {
        return {std::move(name), {}};
    }
}

/// Exceptions inside of exceptions that are sent; those further in are left out.
inline constexpr int most_exceptions_inside = 32;

/// What `std::throw_with_nested` makes of an exception has a type of the library's own: the name of the one that was
/// given to it, or `type` itself.
inline std::string without_nesting(std::string type) {
    const auto begin = type.find('<');
    if (begin == type.npos) return type;
    const std::string_view mixed(type.data(), begin);
    if (!mixed.starts_with("std::") || !(mixed.ends_with("_Nested_exception") || mixed.ends_with("__nested")))
        return type;
    return type.substr(begin + 1, type.rfind('>') - begin - 1);
}

/// The exception that the one being handled was thrown around, or null.
inline std::exception_ptr nested_in_current() {
    try {
        throw;
    } catch (const std::nested_exception& e) {
        return e.nested_ptr();
    } catch (...) {
        return nullptr;
    }
}

/// Writes an exception: its type's name, and either what it is made of, or what can be said of it; and those in it.
template <class = void>
void encode_exception(encoder& to, const std::exception_ptr& error, int depth = 0) {
    try {
        std::rethrow_exception(error);
    } catch (...) {
        auto description = describe_current_exception();
        description.first = without_nesting(std::move(description.first));
        const std::type_info* const type = abi::__cxa_current_exception_type();
        std::optional<exception_codec> codec;
        if (type) codec = exception_table::instance().find(*type);
        if (type && !codec) codec = exception_table::instance().find_readable(description.first, error);
        if (codec && codec->fits && !codec->fits(error)) codec.reset();
        const std::exception_ptr inner = depth < most_exceptions_inside ? nested_in_current() : nullptr;
        to.passing([&] { // texts are made here, and gone before the message is sent
            encode(to, codec ? codec->key : std::string());
            encode(to, description.first);
            encode(to, description.second);
            encode(to, inner != nullptr);
        });
        if (inner) encode_exception(to, inner, depth + 1);
        if (codec) to.passing([&] { codec->write(to, error); });
    }
}

/// Reads an exception. @param worker Where it was thrown, for those that cannot be rebuilt.
template <class = void>
std::exception_ptr decode_exception(decoder& from, const std::string& worker, int depth = 0) {
    const auto key = decode<std::string>(from);
    const auto name = decode<std::string>(from);
    const auto text = decode<std::string>(from);
    const bool nested = decode<bool>(from);
    if (nested && depth == most_exceptions_inside)
        throw serialization_error("joblot: an exception in too many others", "an exception");
    const std::exception_ptr inner = nested ? decode_exception(from, worker, depth + 1) : nullptr;
    std::optional<exception_codec> codec;
    if (!key.empty()) codec = exception_table::instance().find(key);
    const auto make = [&] {
        std::exception_ptr made = codec ? codec->read(from) : nullptr;
        if (!made) codec.reset();
        return made ? made : std::make_exception_ptr(remote_error(name, text, worker));
    };
    if (!inner) return make();
    std::exception_ptr outer;
    try {
        std::rethrow_exception(inner);
    } catch (...) {
        outer = make(); // here, as a type that is a std::nested_exception itself takes what is being handled
    }
    return codec ? codec->nest(outer, inner) : nested_around<remote_error>(outer, inner);
}

} // namespace detail

/// Makes an exception type known, so that one thrown in a worker process arrives as what it is and not as a
/// `remote_error`. To be called where a worker comes by as well: before `joblot::init`, at best. Thread-safe.
///
/// @tparam E Sent like any other value where it can be (it has cereal's `serialize`, or is a plain aggregate); else a
///           `std::exception` that can be made from the text that its `what()` gives.
template <class E>
void register_exception() {
    static_assert(detail::travels<E> || detail::exception_from_text<E>,
                  "joblot: an exception can be registered if it can be sent like any other value (give it cereal's "
                  "`serialize`), or if it is a std::exception that can be made from its text");
    if constexpr (detail::travels<E>)
        detail::exception_table::instance().add(detail::codec_by_facts<E, E, detail::copy_of<E>, detail::same<E>>());
    else
        detail::exception_table::instance().add(detail::codec_by_text<E>());
}

} // namespace joblot

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <optional>
#include <string>
#include <utility>

namespace joblot::detail {

/// Serves a driver, which keeps the batches and knows where they are sent. What it holds does not change: threads may
/// share it, as long as each batch is with one of them at a time.
template <class = void>
class basic_remote_batches {
public:
    /// @param entry      What runs the tasks; `job::remote_runner()`'s, or nothing for processes that were forked.
    /// @param one_by_one Whether single results can be handed out while the others of the batch are on their way. They
    ///                   are where somebody waits for each, and where a stop must not take those that are there.
    basic_remote_batches(job& j, const code_location& entry, bool one_by_one)
        : job_(j), timeout_(j.settings().given->timeout.limit()), entry_(entry),
          one_by_one_(one_by_one && (j.publishes_ || j.settings().keeps_on_stop())) {}

    /// The limit for each task.
    [[nodiscard]] const std::optional<std::chrono::nanoseconds>& timeout() const noexcept { return timeout_; }

    [[nodiscard]] std::string label(const claimed_batch& c, std::size_t k) const noexcept {
        return c.of().tasks()->label(c.index(k));
    }

    /// The next batch of the call, if one can be had now.
    [[nodiscard]] std::optional<claimed_batch> claim(worker& seat) const {
        const batch b = job_.claim(seat);
        if (!b) return std::nullopt;
        return claimed_batch(b, job_.settings().given->retries);
    }

    // --- what is sent

    /// The head of the message that asks for the tasks of `range`.
    [[nodiscard]] run_request request_for(const claimed_batch& c, claimed_batch::range range, std::uint64_t sequence,
                                          int worker_id) const noexcept {
        const scope& inside = job_.settings().inside;
        return {.sequence = sequence,
                .runner = entry_,
                .first = c.index(range.begin),
                .count = static_cast<std::uint32_t>(range.size()),
                .worker_id = worker_id,
                .timeout = timeout_ ? timeout_->count() : 0,
                .depth = inside.depth,
                .inner_threads = inside.inner_max_num_threads.value_or(0),
                .one_by_one = one_by_one_,
                .combines = job_.reduction() != nullptr,
                .call = call_};
    }

    /// Writes the message that asks for the tasks of `range`, up to one that cannot be written. That one fails when it
    /// is the first. An element of the input that cannot be read fails the call, wherever it is.
    /// @return The tasks that are asked for; if there are none, nothing is to be sent.
    claimed_batch::range write_request(claimed_batch& c, claimed_batch::range range, std::uint64_t sequence,
                                       int worker_id, outgoing& message) const {
        message.put(request_for(c, range, sequence, worker_id));
        message.names_common_function = true;
        if (const any_reduction* const r = job_.reduction())
            write_part(message, 0, [r](encoder& to) { r->write_opening(to); });
        range = write_tasks(c, range, message);
        run_request head = request_for(c, range, sequence, worker_id);
        if (message.common_function != 0) head.common = locate(message.common_function);
        message.patch(0, head);
        return range;
    }

    // --- what comes back

    /// From now on each result is a message of its own, so that what happens after one is known to be of the next.
    void tell_results_apart() noexcept { one_by_one_ = true; }

    /// Keeps the results that a message has of the tasks that were asked for last. With the last ones `c` is answered.
    /// @param where Where the tasks ran, for errors.
    /// @param find  Gives what results refer to, if they do.
    /// @return The head of the message. @throws serialization_error where the message makes no sense.
    run_results take_results(claimed_batch& c, incoming message, const std::string& where, worker& seat,
                             const decoder::image_finder* find = nullptr) const {
        const claimed_batch::range sent = c.sent();
        const auto head = message.get<run_results>("the head of results");
        if (head.sequence != c.sequence() || !c.note_received(head.begin, head.count, head.last != 0) || head.took < 0)
            throw serialization_error("joblot: a worker gave results of tasks that it was not asked for, or has given",
                                      "a frame");
        const std::size_t begin = sent.begin + head.begin;
        const std::size_t end = begin + head.count;
        std::size_t values = 0;
        for (std::size_t k = begin; k != end; ++k) {
            std::uint32_t mark = 0;
            decoder from(message.part(mark), find);
            if (static_cast<task_result_kind>(mark) == task_result_kind::value) ++values;
            take_result(c, k, static_cast<task_result_kind>(mark), from, where);
        }
        if (any_reduction* const r = job_.reduction()) {
            std::uint32_t mark = 0;
            decoder from(message.part(mark), find);
            try {
                r->take(from, c.index(begin), c.index(end), values);
            } catch (...) { // the tasks count as done: nothing else may come of the call
                job_.abort(caught_error());
                if (thread_ends()) throw;
            }
        }
        advance(c, seat);
        if (head.last) c.answered(std::chrono::nanoseconds(head.took));
        return head;
    }

    /// Hands out the results that can be, and shows progress.
    void advance(claimed_batch& c, worker& seat) const {
        if (const std::size_t n = c.newly_complete()) {
            seat.add_completed(n);
            if (job_.publishes_) job_.publish(c.of(), n);
        }
        show_progress(c.newly_seen());
    }
    /// So many more tasks have ended, as far as is known.
    void show_progress(std::size_t count) const noexcept {
        if (job_.reporter_ && count) job_.reporter_->add(count);
    }

    /// Nothing more comes of the batch.
    void settle(claimed_batch& c, worker& seat) const {
        advance(c, seat);
        job_.settle(c.of());
        if (seat.sizer().adapts() && c.took().count() > 0) seat.sizer().measured(c.of().size(), c.took());
    }

    /// Task k failed, and is tried again where that may help and the call allows it.
    /// @param retry Whether trying again may help.
    void task_failed(claimed_batch& c, std::size_t k, std::exception_ptr why, bool retry) const {
        if (retry && c.try_again(k, job_.limit()))
            c.send_again(k);
        else if (job_.task_failed(c.of(), c.index(k), std::move(why), c.tries(k)))
            c.note_done(k);
    }

    // --- whose fault it was that a worker has ended

    /// The unfinished task that a worker was on when it ended, if it was on one of those that it was asked for.
    /// @param current The task's index in the call.
    [[nodiscard]] static std::optional<std::size_t> task_at(const claimed_batch& c, std::uint64_t current) noexcept {
        const claimed_batch::range sent = c.sent();
        if (current == task_board::nothing || current < c.index(sent.begin) || current >= c.index(sent.end))
            return std::nullopt;
        const std::size_t k = current - c.of().first();
        return c.is_done(k) ? std::nullopt : std::optional(k);
    }

    /// The worker ended because of task k, which fails unless it may be tried again. To be followed by `c.lost`, which
    /// has it sent again with the others.
    /// @param why Makes the error from the task's description.
    template <class Why>
    void task_ended_worker(claimed_batch& c, std::size_t k, worker& seat, Why why) const {
        if (c.try_again(k, job_.limit())) return;
        const task_info info{c.index(k), label(c, k)};
        if (!job_.task_failed(c.of(), c.index(k), why(info), c.tries(k))) return;
        c.note_done(k);
        advance(c, seat);
    }
    /// The error of a task that ran for too long.
    [[nodiscard]] std::exception_ptr timed_out(const task_info& info) const {
        return std::make_exception_ptr(timeout_error(info, *timeout_));
    }

private:
    claimed_batch::range write_tasks(claimed_batch& c, claimed_batch::range range, outgoing& message) const {
        for (std::size_t k = range.begin; k != range.end; ++k) {
            const std::size_t blocks = message.blocks.size();
            const std::size_t part = message.begin_part();
            try {
                encoder to(message); // each part is read on its own: it must not refer to what came before
                c.of().tasks()->encode(c.index(k), to);
            } catch (const unreadable& e) { // the tasks before it run
                message.cut_back(part, blocks);
                job_.fail_input(c.index(k), e.why);
                return {range.begin, k};
            } catch (...) {
                message.cut_back(part, blocks);
                const bool is_first = k == range.begin;
                c.put_back({is_first ? k + 1 : k, range.end});
                if (is_first) task_failed(c, k, std::current_exception(), false);
                return {range.begin, k};
            }
            message.end_part(part, blocks, 0);
        }
        return range;
    }

    void take_result(claimed_batch& c, std::size_t k, task_result_kind kind, decoder& from,
                     const std::string& where) const {
        if (kind < task_result_kind::value || kind > task_result_kind::uncombined)
            throw serialization_error("joblot: a worker gave a result of an unknown kind", "a frame");
        if (kind == task_result_kind::skipped) { // it was told a limit, and limits only fall
            if (c.index(k) >= job_.limit()) return;
            throw serialization_error("joblot: a worker left out a task that it was to run", "a frame");
        }
        if (kind == task_result_kind::uncombined) return job_.abort(decode_exception(from, where));
        if (kind == task_result_kind::unreadable) return job_.fail_input(c.index(k), decode_exception(from, where));
        try {
            if (kind == task_result_kind::exception) std::rethrow_exception(decode_exception(from, where));
            c.of().tasks()->decode(c.index(k), from);
            c.of().tasks()->result_stands(c.index(k), c.tries(k));
            c.note_done(k);
        } catch (const timeout_error& e) {
            const bool from_worker = timeout_ && e.label().empty() && e.index() == c.index(k);
            task_failed(c, k, from_worker ? timed_out({c.index(k), label(c, k)}) : std::current_exception(), true);
        } catch (...) { // the task's own, or that of what was to be rebuilt
            task_failed(c, k, std::current_exception(), true);
        }
    }

    job& job_;
    const std::optional<std::chrono::nanoseconds> timeout_;
    const code_location entry_;
    bool one_by_one_;
    // A worker of a cluster may serve several programs.
    const std::uint64_t call_ =
        mix64(fresh_number() ^ static_cast<std::uint64_t>(std::chrono::system_clock::now().time_since_epoch().count()));
};
using remote_batches = basic_remote_batches<>;

} // namespace joblot::detail
// ---- joblot/process/forked.hpp
// A worker that is forked off: it has all that its parent had at that moment, closures and inputs included.
// Templates, so that only what uses them compiles them: see init.hpp.

// ---- joblot/process/lifeline.hpp
// How a worker learns that its owner is gone, whoever it has become since.
// Templates, so that only what uses them compiles them: see init.hpp.

#include <csignal>
#include <mutex>
#include <string>
#include <utility>

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

namespace joblot::detail {

/// A pipe that nobody writes to. Its writing end is the owner's alone: when that is closed, which the kernel does
/// however a process ends, workers are sent SIGKILL.
///
/// PR_SET_PDEATHSIG does the same, but is undone where a task changes the user or group of its process. This one is
/// not: what may be sent was settled when it was asked for. It needs no thread. Thread-safe.
template <class = void>
class JOBLOT_ONE_TYPE basic_lifeline {
public:
    /// The reading end, for workers; invalid when there are no descriptors left. Closed with what is given.
    static descriptor for_worker() noexcept {
        const std::lock_guard lock(forks.mutex(fork_level::descriptors));
        if (one().reading < 0) make(one());
        return descriptor(::fcntl(one().reading, F_DUPFD_CLOEXEC, 3));
    }

    /// In a forked child, while it has one thread: its parent's end is to close with the parent.
    static void begin_in_child() noexcept { close(one()); }

private:
    struct state {                      // guarded by the mutex that no fork comes in between
        int reading = -1, writing = -1; // never closed: workers end later
    };
    static void make(state& s) noexcept {
        int ends[2];
        if (::pipe2(ends, O_CLOEXEC) != 0) return;
        s.reading = ::fcntl(ends[0], F_DUPFD_CLOEXEC, 3);
        s.writing = ::fcntl(ends[1], F_DUPFD_CLOEXEC, 3);
        ::close(ends[0]);
        ::close(ends[1]);
        if (s.reading < 0 || s.writing < 0) close(s); // what has no other end looks like an owner that is gone
    }
    static void close(state& s) noexcept {
        for (int* const end : {&s.reading, &s.writing})
            if (*end >= 0) ::close(std::exchange(*end, -1));
    }
    JOBLOT_ONE_PER_PROCESS static state& one() noexcept {
        static constinit state s;
        return s;
    }
};
using lifeline = basic_lifeline<>;

/// In a worker: asks to be ended when the pipe's other end closes.
/// @param inherited Its reading end; where the process has none, nothing happens.
template <class = void>
void hold_lifeline(descriptor inherited) {
    if (!inherited || ::fcntl(inherited.get(), F_GETFD) < 0) return;
    // opened anew: whom to signal belongs to what was opened, which all workers of an owner have in common
    const std::string path = "/proc/self/fd/" + std::to_string(inherited.get());
    const int own = ::open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC); // stays open
    if (own < 0) return; // no /proc: what remains is PR_SET_PDEATHSIG
    ::fcntl(own, F_SETSIG, SIGKILL);
    ::fcntl(own, F_SETOWN, ::getpid());
    ::fcntl(own, F_SETFL, O_RDONLY | O_NONBLOCK | O_ASYNC);
    pollfd end{inherited.get(), 0, 0}; // not of `own`: opened after the end, it would not know of it
    if (::poll(&end, 1, 0) > 0 && (end.revents & POLLHUP)) ::_exit(1);
}

} // namespace joblot::detail
// ---- joblot/process/worker_main.hpp
// What a worker process does: it takes batches from its socket and gives results, until its owner is gone.
// Templates, so that only what uses them compiles them: see init.hpp.

// ---- joblot/process/channel.hpp
// Frames over a socket pair, with shared memory beside it for large blocks. Both sides use it: the one that owns a
// worker and the worker.
// Templates, so that only what uses them compiles them: see init.hpp.

// ---- joblot/process/arena.hpp
// Shared memory in which one side of a channel puts large blocks and the other one reads them in place; used again for
// every message.
// Templates, so that only what uses them compiles them: see init.hpp.

// ---- joblot/wire/frame.hpp
// Messages as frames of a byte stream: what is written before a message's bytes, and a reader that takes the stream in
// pieces of any size. No input or output happens here.
// Templates, so that only what uses them compiles them: see init.hpp.

// ---- joblot/wire/feed.hpp
// How a reader that says where the next bytes of a stream belong is given bytes that are elsewhere.

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <span>

namespace joblot::detail {

/// Copies bytes of a stream to `reader.space()`, up to the end of what it reads. @return How many were taken.
/// Throws what `reader.filled` throws.
template <class Reader>
std::size_t feed_copies(Reader& reader, bytes_view bytes) {
    std::size_t taken = 0;
    while (taken != bytes.size() && !reader.complete()) {
        const std::span<std::byte> free = reader.space();
        const std::size_t n = std::min(free.size(), bytes.size() - taken);
        std::memcpy(free.data(), bytes.data() + taken, n);
        taken += n;
        reader.filled(n);
    }
    return taken;
}

} // namespace joblot::detail

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <new>
#include <span>
#include <utility>
#include <vector>

namespace joblot::detail {

/// Version of the frames and of what is in them. A worker of another one is refused.
inline constexpr std::uint32_t protocol_version = 1;

/// What a frame is for.
enum class frame_kind : std::uint32_t {
    hello = 1, ///< worker: who it is
    setup,     ///< to a worker: how it is to run
    images,    ///< to a worker: broadcast values, as files
    run,       ///< to a worker: a batch
    results,   ///< worker: results of some tasks of a batch
    forget,    ///< to a worker: numbers of broadcast values that nobody needs any more
    quit,      ///< to a worker: end
    call_over  ///< to a worker: what it kept for its tasks is not needed any more
};

// A frame is: the head; an entry for each block; the stream; the blocks that are not elsewhere. Each starts at a
// multiple of block_alignment, so that values can be read in place. Both sides are the same build: byte order and sizes
// are the machine's.
struct frame_head {
    static constexpr std::uint32_t expected_magic = 0x746c626a; // "jblt"

    std::uint32_t magic = expected_magic;
    frame_kind kind = frame_kind::quit;
    std::uint64_t stream_size = 0;
    std::uint64_t block_count = 0;
    std::uint64_t image_count = 0; // file descriptors that come with the frame
    std::uint64_t unused[4] = {};
};
static_assert(sizeof(frame_head) == block_alignment);

struct block_place {
    static constexpr std::uint64_t in_frame = ~std::uint64_t{0};

    std::uint64_t size = 0;
    std::uint64_t offset = in_frame; // in the sender's shared memory, or `in_frame`
};

/// The pieces that a message consists of on the wire, in order; they refer to `head`, `table` and the message.
template <class = void>
class basic_frame_pieces {
public:
    basic_frame_pieces(frame_kind kind, const outgoing& message, std::span<const block_place> places,
                       std::size_t images) {
        head_.kind = kind;
        head_.stream_size = message.stream.size();
        head_.block_count = places.size();
        head_.image_count = images;
        add({reinterpret_cast<const std::byte*>(&head_), sizeof head_});
        add(std::as_bytes(places));
        add(message.stream);
        for (std::size_t i = 0; i != places.size(); ++i) {
            if (places[i].offset == block_place::in_frame) add(message.blocks[i]);
        }
    }
    basic_frame_pieces(const basic_frame_pieces&) = delete;
    basic_frame_pieces& operator=(const basic_frame_pieces&) = delete;

    [[nodiscard]] std::span<const bytes_view> pieces() const noexcept { return pieces_; }

private:
    void add(bytes_view piece) {
        static constexpr std::byte zeros[block_alignment] = {};
        if (piece.empty()) return;
        pieces_.push_back(piece);
        const std::size_t padding = round_up(piece.size(), block_alignment) - piece.size();
        if (padding) pieces_.emplace_back(zeros, padding);
    }

    frame_head head_;
    std::vector<bytes_view> pieces_;
};
using frame_pieces = basic_frame_pieces<>;

/// Memory for a frame's content: aligned, not initialised, and kept from one frame to the next.
template <class = void>
class basic_frame_buffer {
public:
    [[nodiscard]] std::byte* data() const noexcept { return data_.get(); }
    [[nodiscard]] std::size_t capacity() const noexcept { return capacity_; }
    /// Makes room for `size` bytes and keeps the first `used`.
    void grow(std::size_t size, std::size_t used) {
        if (size <= capacity_) return;
        storage fresh(static_cast<std::byte*>(::operator new(size, std::align_val_t(block_alignment))));
        if (used) std::memcpy(fresh.get(), data_.get(), used);
        data_ = std::move(fresh);
        capacity_ = size;
    }
    /// Gives back what one large frame needed.
    void shrink(std::size_t most) noexcept {
        if (capacity_ <= most) return;
        data_.reset();
        capacity_ = 0;
    }

private:
    struct release {
        void operator()(std::byte* p) const noexcept { ::operator delete(p, std::align_val_t(block_alignment)); }
    };
    using storage = std::unique_ptr<std::byte, release>;
    storage data_;
    std::size_t capacity_ = 0;
};
using frame_buffer = basic_frame_buffer<>;

/// Puts frames together from the bytes of a stream. What the other side announces is checked before it is used, and
/// memory is taken as bytes arrive, not as they are announced.
template <class = void>
class basic_frame_reader {
public:
    static constexpr std::uint64_t most_bytes = std::uint64_t{1} << 46;
    static constexpr std::uint64_t most_blocks = most_bytes / sizeof(block_place); // their table is read as it arrives
    static constexpr std::uint64_t most_images = 64;
    static constexpr std::size_t kept_memory = 32U << 20; // between frames: to take it anew costs more than the copy

    /// Takes some bytes of the stream, up to the end of the frame. @return How many were taken.
    /// @throws serialization_error where they are no frame.
    std::size_t feed(bytes_view bytes) { return feed_copies(*this, bytes); }

    /// Where the next bytes of the frame belong: for readers that put them there themselves. Never empty before the
    /// frame is complete.
    [[nodiscard]] std::span<std::byte> space() {
        if (stage_ == stage::head) return {reinterpret_cast<std::byte*>(&head_) + have_, sizeof head_ - have_};
        if (have_ == body_.capacity()) body_.grow(std::min(wanted_, std::max<std::size_t>(have_ * 2, 1U << 16)), have_);
        return {body_.data() + have_, std::min(wanted_, body_.capacity()) - have_};
    }
    /// So many bytes were put there. @throws serialization_error where they are no frame.
    void filled(std::size_t n) {
        have_ += n;
        while (stage_ != stage::done && have_ == wanted_) next_stage();
    }

    [[nodiscard]] bool complete() const noexcept { return stage_ == stage::done; }
    /// Whether nothing of a frame has come yet.
    [[nodiscard]] bool at_start() const noexcept { return stage_ == stage::head && have_ == 0; }

    // Of a complete frame; what they refer to stays until `restart`.
    [[nodiscard]] frame_kind kind() const noexcept { return head_.kind; }
    [[nodiscard]] std::size_t image_count() const noexcept { return static_cast<std::size_t>(head_.image_count); }
    [[nodiscard]] bytes_view stream() const noexcept {
        return {body_.data() + table_size(), static_cast<std::size_t>(head_.stream_size)};
    }
    /// The blocks. @param shared The sender's shared memory, where some of them are.
    [[nodiscard]] std::vector<bytes_view> blocks(bytes_view shared) const {
        std::vector<bytes_view> all;
        all.reserve(places_.size());
        std::size_t at = table_size() + round_up(stream().size(), block_alignment);
        for (const block_place& p : places_) {
            const auto size = static_cast<std::size_t>(p.size);
            if (p.offset == block_place::in_frame) {
                all.emplace_back(body_.data() + at, size);
                at += round_up(size, block_alignment);
            } else if (p.offset > shared.size() || size > shared.size() - p.offset || p.offset % block_alignment) {
                broken("a block is outside of the shared memory");
            } else {
                all.push_back(shared.subspan(static_cast<std::size_t>(p.offset), size));
            }
        }
        return all;
    }
    /// How much of the sender's shared memory the frame speaks of.
    [[nodiscard]] std::size_t shared_end() const noexcept {
        std::uint64_t end = 0;
        for (const block_place& p : places_) {
            if (p.offset != block_place::in_frame && p.offset + p.size >= p.offset)
                end = std::max(end, p.offset + p.size);
        }
        return end;
    }

    /// Begins with the next frame.
    void restart() noexcept {
        body_.shrink(kept_memory);
        places_.clear();
        stage_ = stage::head;
        have_ = 0;
        wanted_ = sizeof head_;
    }

private:
    enum class stage { head, table, content, done };

    [[noreturn, gnu::cold]] static void broken(const char* why) {
        throw serialization_error("joblot: a broken frame from another process: " + std::string(why), "a frame");
    }

    [[nodiscard]] std::size_t table_size() const noexcept {
        return round_up(static_cast<std::size_t>(head_.block_count) * sizeof(block_place), block_alignment);
    }

    void next_stage() {
        if (stage_ == stage::head) {
            if (head_.magic != frame_head::expected_magic) broken("it does not begin as one");
            if (head_.kind < frame_kind::hello || head_.kind > frame_kind::call_over) broken("there is no such kind");
            if (head_.block_count > most_blocks || head_.image_count > most_images || head_.stream_size > most_bytes)
                broken("it is too large");
            stage_ = stage::table;
            have_ = 0;
            wanted_ = table_size();
        } else if (stage_ == stage::table) {
            places_.resize(head_.block_count);
            if (!places_.empty()) std::memcpy(places_.data(), body_.data(), places_.size() * sizeof(block_place));
            std::uint64_t content = round_up(head_.stream_size, block_alignment);
            for (const block_place& p : places_) {
                if (p.size > most_bytes) broken("it is too large");
                if (p.offset == block_place::in_frame)
                    content += round_up(static_cast<std::size_t>(p.size), block_alignment);
                if (content > most_bytes) broken("it is too large");
            }
            stage_ = stage::content;
            wanted_ = table_size() + content;
        } else {
            stage_ = stage::done;
        }
    }

    frame_head head_{};
    frame_buffer body_;
    std::vector<block_place> places_;
    stage stage_ = stage::head;
    std::size_t have_ = 0;                    // bytes of the head, or of the body
    std::size_t wanted_ = sizeof(frame_head); // up to the end of the stage
};
using frame_reader = basic_frame_reader<>;

} // namespace joblot::detail

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <deque>
#include <utility>
#include <vector>

namespace joblot::detail {

/// Blocks of a message that are smaller than this together go through the socket: see bench/run_processes.py,
/// crossover.
inline constexpr std::size_t shared_from = 32U << 10;

/// So much of it is kept from one use to the next.
inline constexpr std::size_t kept_shared = 32U << 20;

/// The writing side. For one thread.
template <class = void>
class basic_arena_writer {
public:
    explicit basic_arena_writer(int file) : file_(file) {}

    /// Copies the blocks of a message into shared memory and tells where they are. Where there is none to be had, they
    /// stay in the frame.
    /// @param number Of the message; it keeps its room until `release(number)`.
    std::vector<block_place> place(const outgoing& message, std::uint64_t number) {
        std::vector<block_place> places;
        places.reserve(message.blocks.size());
        for (const bytes_view b : message.blocks) places.push_back({b.size(), block_place::in_frame});
        const std::size_t needed = size_of(message);
        if (needed < shared_from || file_ < 0) return places;
        std::size_t at = find_room(needed);
        if (!map_up_to(at + needed)) return places;
        taken_.push_back({number, at, at + needed});
        for (std::size_t i = 0; i != places.size(); ++i) {
            places[i].offset = at;
            std::memcpy(memory_.data() + at, message.blocks[i].data(), message.blocks[i].size());
            at += round_up(message.blocks[i].size(), block_alignment);
        }
        return places;
    }

    /// Nobody reads the blocks of messages up to this number any more.
    void release(std::uint64_t number) {
        while (!taken_.empty() && taken_.front().number <= number) taken_.pop_front();
    }
    /// Gives back what large messages needed, when nobody reads any.
    void trim() noexcept {
        if (!taken_.empty() || memory_.size() <= kept_shared || !is_shared_memory(file_)) return;
        ::fallocate(file_, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, static_cast<off_t>(memory_.size()));
        memory_ = {}; // to be reserved again
    }

private:
    struct room {
        std::uint64_t number;
        std::size_t begin, end;
    };

    static std::size_t size_of(const outgoing& message) noexcept {
        std::size_t sum = 0;
        for (const bytes_view b : message.blocks) sum += round_up(b.size(), block_alignment);
        return sum;
    }
    /// The start if it is free, else behind all that is taken.
    [[nodiscard]] std::size_t find_room(std::size_t needed) const noexcept {
        std::size_t begin = static_cast<std::size_t>(-1), end = 0;
        for (const room& r : taken_) {
            begin = std::min(begin, r.begin);
            end = std::max(end, r.end);
        }
        return needed <= begin ? 0 : end;
    }
    bool map_up_to(std::size_t end) {
        if (end <= memory_.size()) return true;
        const std::size_t size = round_up(std::max(end, memory_.size() * 2), 1U << 20);
        // a task may have closed our descriptors, and the number is that of a file of its own now
        if (!is_shared_memory(file_) || !reserve_shared(file_, size)) return false;
        mapping larger(file_, size, true);
        if (!larger) return false;
        memory_ = std::move(larger);
        return true;
    }

    int file_; // the channel's
    mapping memory_;
    std::deque<room> taken_;
};
using arena_writer = basic_arena_writer<>;

/// The reading side. For one thread.
template <class = void>
class basic_arena_reader {
public:
    explicit basic_arena_reader(int file) noexcept : file_(file) {}

    /// The memory up to `end`, as far as it is there. What an earlier call gave is of no use any more.
    bytes_view up_to(std::size_t end) {
        if (end > memory_.size() && end <= file_size(file_)) memory_ = mapping(file_, file_size(file_), false);
        return {memory_.data(), memory_.size()};
    }

private:
    int file_; // the channel's
    mapping memory_;
};
using arena_reader = basic_arena_reader<>;

} // namespace joblot::detail

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
// ---- joblot/process/worker_config.hpp
// What a worker process finds when it starts.

// ---- joblot/wire/worker_greeting.hpp
// What a worker process is told when it starts, and what it answers.

#include <cstdint>

namespace joblot::detail {

/// Content of a `setup` frame.
struct worker_setup {
    std::uint64_t memory_limit = 0;
    code_location init{};   ///< offset 0: none
    std::int32_t level = 0; ///< how many worker processes are above this one, itself included
    std::uint32_t unused = 0;
};

/// Content of a `hello` frame.
struct worker_hello {
    std::uint32_t version = 0;
    std::int32_t pid = 0;
    module_id build{};
    std::uint32_t failed = 0; ///< 1: `init` threw; the exception follows
};

/// How deep worker processes may be nested: those of the program, and those of its workers.
inline constexpr int deepest_level = 2;

/// How deep this process is: 0 in the program that the user started.
JOBLOT_ONE_PER_PROCESS inline int& process_level() noexcept {
    static constinit int level = 0; // written before the worker runs anything
    return level;
}

} // namespace joblot::detail

namespace joblot::detail {

// Descriptors that a worker starts with.
inline constexpr int worker_socket = 3, worker_board = 4, worker_inbox = 5, worker_outbox = 6, worker_lifeline = 7;

/// First part of the argument that makes a program a worker; the owner's process number follows.
inline constexpr const char* worker_argument = "--joblot-worker=";

/// Exit status of a worker that cannot speak to its owner any more, though that is still there.
inline constexpr int connection_lost = 79;

} // namespace joblot::detail
// ---- joblot/process/worker_output.hpp
// What tasks write through C and C++ streams leaves the worker in time, and once.
// Templates, so that only what uses them compiles them: see init.hpp.

#include <cstdio>
#include <cstring>
#include <ios>
#include <iostream> // a few lines: <chrono> has brought what they need
#include <streambuf>
#include <string_view>
#include <typeinfo>

#include <dlfcn.h>
#include <fcntl.h>
#include <stdio_ext.h>
#include <unistd.h>

namespace joblot::detail {

/// Passes everything on to a C stream, which sends lines when they are written. Has no buffer of its own.
template <class = void>
class basic_stdio_forwarder final : public std::streambuf {
public:
    explicit basic_stdio_forwarder(std::FILE* to) noexcept : to_(to) {}

protected:
    int_type overflow(int_type c) override {
        if (traits_type::eq_int_type(c, traits_type::eof())) return sync() == 0 ? traits_type::not_eof(c) : c;
        return std::putc(c, to_); // the same end mark
    }
    std::streamsize xsputn(const char* text, std::streamsize size) override {
        return static_cast<std::streamsize>(std::fwrite(text, 1, static_cast<std::size_t>(size), to_));
    }
    int sync() override { return std::fflush(to_); }

private:
    std::FILE* to_;
};

/// Whether a stream has the buffer that libstdc++ gives it after `sync_with_stdio(false)`, and not one of the user's.
/// By name: the header that has the type is a large one. libc++ always writes through stdio.
template <class Stream>
bool has_own_buffer(const Stream& stream) {
    const auto* const buffer = stream.rdbuf();
    return buffer && std::strstr(typeid(*buffer).name(), "13stdio_filebuf") != nullptr;
}

/// Lines that tasks write to the standard streams leave the process as they are written, so that they arrive also if
/// the task then dies. To be called again whenever tasks may have changed that.
template <class = void>
JOBLOT_ONE_PER_PROCESS void send_lines_at_once() {
    static constinit made_once<basic_stdio_forwarder<>> out, err;
    const auto redirect = [](std::ostream& stream, auto& forwarder, std::FILE* to) {
        if (!has_own_buffer(stream)) return;
        stream.flush();
        stream.rdbuf(&forwarder.get([to] { return basic_stdio_forwarder<>(to); }));
    };
    redirect(std::cout, out, stdout);
    redirect(std::cerr, err, stderr);
    redirect(std::clog, err, stderr);
    // through stdio they would make the C stream a wide one, and bytes could not be written to it any more
    for (std::wostream* const wide : {&std::wcout, &std::wclog}) {
        if (has_own_buffer(*wide)) wide->setf(std::ios_base::unitbuf);
    }
}

/// What tasks wrote so far leaves the process.
template <class = void>
void flush_output() {
    std::cout.flush();
    std::clog.flush();
    std::wcout.flush();
    std::wclog.flush();
    std::fflush(stdout);
}

/// In a forked child, before anything is written, and with its stdout and stderr still those of the parent: drops what
/// the parent had not written yet. That is for the parent to write.
template <class = void>
void drop_inherited_output() {
#if defined(__GLIBC__)
    // glibc's list of all C streams, which is whole, as fork() holds its lock. Looked up, as a program that refers to
    // it gets a copy of where it began. Input that was read ahead stays.
    auto* const* const first = static_cast<std::FILE**>(::dlsym(RTLD_DEFAULT, "_IO_list_all"));
    for (std::FILE* file = first ? *first : nullptr; file; file = file->_chain) {
        if (::__fwritable(file) && ::__fpending(file) != 0) ::__fpurge(file);
    }
#endif
    ::__fpurge(stdout);
    // a C++ stream cannot drop what it holds, so it is written where nobody reads it
    const int nowhere = ::open("/dev/null", O_WRONLY | O_CLOEXEC);
    if (nowhere < 0) return;
    ::dup2(nowhere, STDOUT_FILENO);
    ::dup2(nowhere, STDERR_FILENO);
    if (nowhere > STDERR_FILENO) ::close(nowhere);
    for (std::ostream* const stream : {&std::cout, &std::clog}) {
        if (has_own_buffer(*stream)) stream->flush();
    }
    for (std::wostream* const stream : {&std::wcout, &std::wclog}) {
        if (has_own_buffer(*stream)) stream->flush();
    }
}

} // namespace joblot::detail
// ---- joblot/wire/batch_runner.hpp
// Runs the tasks of a request in a worker and gives their results, some at a time. Where the messages come from and go
// to is somebody else's matter: a process of this machine, or one under a cluster's worker.
// Templates, so that only what uses them compiles them: see init.hpp.

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <new>
#include <optional>
#include <string>
#include <utility>

namespace joblot::detail {

/// Where results go.
class results_sink {
public:
    /// Sends a `results` message; everything that it refers to may be gone afterwards.
    virtual void send_results(const outgoing& message) = 0;
    /// A task ran out of memory. Frees what was kept for telling so. True when no other task had better run in this
    /// process, as what the task has leaked is not there for them; `end_process` is called next then.
    virtual bool out_of_memory() noexcept { return false; }
    virtual void end_process() noexcept {}
    /// Whether nothing can be sent any more.
    [[nodiscard]] virtual bool is_cut_off() const noexcept { return false; }
    /// Called when a task is over: a forked copy of the worker, which a task let go on, must end there.
    virtual void end_copy() noexcept {}

protected:
    ~results_sink() = default;
};

/// While it lives, the thread's `this_task` and settings are those of a worker's tasks.
template <class = void>
class basic_worker_seat {
public:
    /// @param values What this worker keeps from task to task; null where it runs none.
    basic_worker_seat(task_board& board, int id, int depth, std::optional<int> inner_threads, worker_values* values)
        : board_(board), inside_(scope{.n_jobs = 1,
                                       .inner_max_num_threads = inner_threads,
                                       .in_task = true,
                                       .own_process = true,
                                       .depth = depth}),
          inner_threads_(inner_threads.value_or(0)), outer_task_(std::exchange(current_task, &context_)),
          outer_scope_(std::exchange(current_scope, &inside_)) {
        context_.worker_id = id;
        context_.limit = &board.limit;
        context_.limit_is_foreign = true;
        context_.tokens = &tokens_;
        context_.values = values;
    }
    ~basic_worker_seat() {
        current_task = outer_task_;
        current_scope = outer_scope_;
    }
    basic_worker_seat(const basic_worker_seat&) = delete;
    basic_worker_seat& operator=(const basic_worker_seat&) = delete;

    /// Says on the board that task `index` runs now. False when it must not start any more.
    bool start(std::uint64_t index, std::int64_t timeout) {
        context_.stop.reset();
        context_.index = index;
        if (timeout > 0) {
            const auto now = task_context::clock::now();
            context_.deadline = deadline_after(now, std::chrono::nanoseconds(timeout));
            // relaxed: the owner reads it after `current`, which is stored below
            board_.started.store(std::chrono::nanoseconds(now.time_since_epoch()).count(), std::memory_order_relaxed);
        }
        board_.current.store(index, std::memory_order_seq_cst);
        return index < board_.limit.load(std::memory_order_seq_cst);
    }
    [[nodiscard]] bool passed_deadline() const noexcept {
        return has_limit() && task_context::clock::now() >= context_.deadline;
    }
    /// Whether the task has passed its time limit, or was told so: where nobody lowered the mark, its token says that.
    [[nodiscard]] bool is_late() const noexcept {
        const bool told = has_limit() && context_.stop && context_.stop->token().stop_requested();
        return passed_deadline() || (told && context_.index < board_.limit.load(std::memory_order_seq_cst));
    }
    /// Says on the board that it was this task which must have closed the connection.
    void blame(std::uint64_t index) const noexcept { board_.current.store(index, std::memory_order_release); }
    void stop() noexcept {
        context_.stop.reset();
        board_.current.store(task_board::nothing, std::memory_order_release);
    }

private:
    [[nodiscard]] bool has_limit() const noexcept {
        return context_.deadline != task_context::clock::time_point::max();
    }

    task_board& board_;
    stop_registry tokens_;
    task_context context_;
    scope inside_;
    inner_threads_limit inner_threads_;
    task_context* outer_task_;
    const scope* outer_scope_;
};
using worker_seat = basic_worker_seat<>;

/// Collects the results of one request and hands them on: large ones at once, as what they refer to goes away; where a
/// reader waits for each, one by one; else together, those of slow tasks as they come.
template <class = void>
class basic_results_writer final : public result_listener {
    using clock = task_context::clock;

public:
    static constexpr std::chrono::milliseconds longest_wait{5};
    static constexpr std::size_t most_bytes = 1U << 20; ///< of a message's stream, where results come faster

    /// @param seat    Where the tasks run: it knows which are late.
    /// @param partial What results are combined in, or null.
    basic_results_writer(results_sink& sink, const run_request& request, const worker_seat& seat, any_partial* partial)
        : sink_(sink), request_(request), seat_(seat), partial_(partial) {
        head_.sequence = request.sequence;
        message_.stream.reserve(std::min(request.count * typical_bytes, most_bytes));
        begin_message();
    }

    /// Where the next result is to be written; to be followed by one of those below.
    encoder& begin_result() {
        blocks_before_ = message_.blocks.size();
        part_at_ = message_.begin_part();
        return to_.emplace(message_); // each part is read on its own: it must not refer to what came before
    }
    bool refuses() override {
        const bool late = seat_.passed_deadline();
        if (late) result_failed(late_error()); // its owner was not quick enough to end it
        return late;
    }
    void result_stands() override { end_result(task_result_kind::value); }
    any_partial& partial() override { return *partial_; }
    /// That the task whose result was begun is late. The owner, which knows its label, adds that.
    [[nodiscard]] std::exception_ptr late_error() const {
        const std::size_t index = request_.first + head_.begin + head_.count;
        return std::make_exception_ptr(
            timeout_error({index, std::string()}, std::chrono::nanoseconds(request_.timeout)));
    }
    void result_failed(const std::exception_ptr& error, task_result_kind kind = task_result_kind::exception) {
        if (part_at_ == nowhere) begin_result(); // the value was sent already, and its destructor threw
        message_.cut_back(part_at_ + sizeof(part_header), blocks_before_);
        try {
            encode_exception(to_.emplace(message_), error);
        } catch (...) { // a registered type whose own functions throw
            message_.cut_back(part_at_ + sizeof(part_header), blocks_before_);
            encode_exception(to_.emplace(message_),
                             std::make_exception_ptr(serialization_error("joblot: what a task threw cannot be sent: " +
                                                                             describe_current_exception().second,
                                                                         "an exception")));
        }
        end_result(kind);
    }
    void skip() {
        begin_result();
        end_result(task_result_kind::skipped);
    }
    /// Whether a result was written since the last `begin_result`.
    [[nodiscard]] bool has_written() const noexcept { return part_at_ == nowhere; }

    /// Sends what is there so far.
    void flush() {
        if (head_.count != 0) send();
    }
    /// Sends what is left.
    void finish() {
        head_.last = 1;
        send();
    }

private:
    static constexpr std::size_t nowhere = static_cast<std::size_t>(-1);
    static constexpr std::size_t typical_bytes = 2 * sizeof(part_header); ///< of a result that is a number
    static constexpr std::chrono::microseconds trivial_tasks{4};
    static constexpr int unseen_trivial_tasks = 7; ///< after one, or as many, that took less

    void begin_message() {
        message_.clear();
        message_.put(run_results{});
        head_.begin += head_.count;
        head_.count = 0;
        last_sent_ = clock::now();
    }

    void end_result(task_result_kind kind) {
        message_.end_part(part_at_, blocks_before_, static_cast<std::uint32_t>(kind));
        part_at_ = nowhere;
        ++head_.count;
        if (kind == task_result_kind::exception) ++head_.failed;
        if (request_.one_by_one || !message_.blocks.empty() || message_.stream.size() > most_bytes || is_time()) send();
    }

    /// Whether the results had better wait no longer. Reading the clock after each task would be a third of what a
    /// trivial one costs.
    bool is_time() {
        if (unseen_ != 0) {
            --unseen_;
            return false;
        }
        const auto now = clock::now();
        if (now - seen_at_ < trivial_tasks) unseen_ = unseen_trivial_tasks;
        seen_at_ = now;
        return now - last_sent_ > longest_wait;
    }

    void send() {
        head_.took = std::chrono::nanoseconds(clock::now() - began_).count();
        message_.patch(0, head_);
        if (partial_) write_part(message_, 0, [this](encoder& to) { partial_->write(to); });
        try {
            sink_.send_results(message_);
        } catch (...) { // what was sent before went well: it was a task of this message
            if (sink_.is_cut_off()) seat_.blame(head_.count == 1 ? request_.first + head_.begin : task_board::nothing);
            throw;
        }
        if (partial_) partial_->clear();
        begin_message();
    }

    results_sink& sink_;
    const run_request& request_;
    const worker_seat& seat_;
    any_partial* const partial_;
    outgoing message_;
    std::optional<encoder> to_;
    run_results head_{};
    std::size_t part_at_ = nowhere;
    std::size_t blocks_before_ = 0;
    const clock::time_point began_ = clock::now();
    clock::time_point last_sent_{};
    clock::time_point seen_at_{}; // when the clock was read last
    int unseen_ = 0;              // results until it is read again
};
using results_writer = basic_results_writer<>;

/// Runs tasks one after the other and gives their results to a writer. Never throws what a task throws.
/// @param values  What this worker keeps from task to task.
/// @param partial What results are combined in, or null.
/// @param run_one Runs task k of the request: writes its result, or throws.
template <class RunOne>
void run_tasks(const run_request& request, task_board& board, results_sink& sink, worker_values& values,
               any_partial* partial, RunOne run_one) {
    worker_seat seat(board, request.worker_id, request.depth,
                     request.inner_threads ? std::optional<int>(request.inner_threads) : std::nullopt, &values);
    results_writer writer(sink, request, seat, partial);
    for (std::uint32_t k = 0; k != request.count; ++k) {
        if (!seat.start(request.first + k, request.timeout)) {
            writer.skip();
            continue;
        }
        encoder& to = writer.begin_result();
        try {
            run_one(k, to, writer);
            sink.end_copy();
        } catch (const unreadable& e) {
            sink.end_copy();
            writer.result_failed(e.why, task_result_kind::unreadable);
        } catch (const not_combined& e) {
            sink.end_copy();
            writer.result_failed(e.why, task_result_kind::uncombined);
        } catch (const std::bad_alloc&) {
            sink.end_copy();
            const bool ends = sink.out_of_memory();
            if (!writer.has_written()) writer.result_failed(std::current_exception());
            if (!ends) continue;
            seat.stop(); // the task has been answered for: it is not to blame for the end of the process
            writer.flush();
            sink.end_process();
        } catch (...) {
            sink.end_copy();
            if (thread_ends()) {
                if (!writer.has_written()) writer.result_failed(thread_end_error());
                seat.stop(); // the task has been answered for: it is not to blame for the end of the process
                writer.flush();
                sink.end_process();
                throw;
            }
            if (sink.is_cut_off()) throw;
            if (writer.has_written()) continue;
            // it may have thrown because it was told
            writer.result_failed(seat.is_late() ? writer.late_error() : std::current_exception());
        }
    }
    seat.stop();
    writer.finish();
}

/// What a worker process keeps from task to task of a call.
struct values_of_call {
    std::uint64_t call = 0;
    worker_values values{};
};

/// Runs a request that came as a message.
/// @param find Gives the shared memory of a broadcast value. @throws serialization_error where the message is broken.
template <class = void>
void run_request_message(incoming message, const decoder::image_finder& find, task_board& board, results_sink& sink,
                         values_of_call& kept) {
    const auto request = message.get<run_request>("the head of a batch");
    if (std::exchange(kept.call, request.call) != request.call) kept.values.clear();
    const runner_entry& runner = runner_entry::at(request.runner);
    if (request.count > message.remaining() / sizeof(part_header))
        message.fail("more tasks than parts", "the head of a batch");
    if (runner.combines() != (request.combines != 0))
        message.fail("results are to be combined, or not, otherwise than the code does", "the head of a batch");
    const std::uintptr_t common = request.common.offset != 0 ? resolve(request.common, true) : 0;
    std::unique_ptr<any_partial> partial;
    if (runner.combines()) {
        std::uint32_t mark = 0;
        decoder from(message.part(mark), &find, common);
        partial = runner.open(from);
    }
    run_tasks(request, board, sink, kept.values, partial.get(),
              [&](std::uint32_t, encoder& to, results_writer& writer) {
                  std::uint32_t mark = 0;
                  decoder from(message.part(mark), &find, common);
                  runner.run(from, to, writer);
              });
}

} // namespace joblot::detail

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <memory>
#include <new>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

namespace joblot::detail {

/// A task may fork and return in both processes. The child ends as soon as the worker's own code runs in it: it must
/// not take what the worker is sent, speak for it, or say on the board what it does. Nothing is flushed and no
/// destructor runs, as all that is the parent's.
template <class = void>
void end_forked_copy(pid_t worker) noexcept {
    if (::getpid() != worker) ::_exit(0);
}

/// Sends results over a channel; what tasks wrote goes out before them.
template <class = void>
class basic_channel_sink final : public results_sink {
public:
    basic_channel_sink(channel& link, task_board& board) noexcept : link_(link), board_(board) {}

    void send_results(const outgoing& message) override {
        end_forked_copy(self_);
        flush_output();
        send_lines_at_once(); // a task may have called sync_with_stdio
        // acquire: the owner has read what the earlier messages had in shared memory
        link_.shared_out().release(board_.consumed.load(std::memory_order_acquire));
        try {
            link_.send(frame_kind::results, message, ++sent_, {}, [&] {
                pollfd ready{link_.socket(), POLLOUT, 0};
                ::poll(&ready, 1, -1);
            });
        } catch (const disconnected&) {
            cut_off_ = true;
            throw;
        }
    }

    /// Gives back what large results needed, if they have been read.
    void trim() noexcept {
        link_.shared_out().release(board_.consumed.load(std::memory_order_acquire));
        link_.shared_out().trim();
    }

    /// To be called when memory was limited: from now on a task that reaches the limit ends the process.
    void memory_is_limited() { reserve_ = std::make_unique<std::byte[]>(reserve_size); }
    bool out_of_memory() noexcept override {
        const bool limited = reserve_ != nullptr;
        reserve_.reset();
        return limited;
    }
    void end_process() noexcept override {
        flush_output();
        ::_exit(1);
    }
    /// After each task: it must cost less than a system call. What is forked behind the C library's back is noticed
    /// before it sends something.
    void end_copy() noexcept override {
        if (!here_) end_forked_copy(self_);
    }
    [[nodiscard]] bool is_cut_off() const noexcept override { return cut_off_; }

private:
    static constexpr std::size_t reserve_size = 1U << 20; ///< far more than the message takes

    std::unique_ptr<std::byte[]> reserve_; // null: memory is not limited
    channel& link_;
    task_board& board_;
    const pid_t self_ = ::getpid();
    const made_here here_;
    std::uint64_t sent_ = 0;
    bool cut_off_ = false;
};
using channel_sink = basic_channel_sink<>;

/// The broadcast values that a worker was given.
template <class = void>
class basic_image_store {
public:
    basic_image_store() : find_([this](std::uint64_t id) { return find(id); }) {}
    basic_image_store(const basic_image_store&) = delete;
    basic_image_store& operator=(const basic_image_store&) = delete;

    void add(std::uint64_t id, descriptor file) { images_.push_back(std::make_shared<segment>(id, std::move(file))); }
    void forget(std::uint64_t id) {
        std::erase_if(images_, [&](const std::shared_ptr<segment>& image) {
            if (image->id() == id) image->drop_decoded();
            return image->id() == id;
        });
    }
    [[nodiscard]] const decoder::image_finder& finder() const noexcept { return find_; }

private:
    std::shared_ptr<segment> find(std::uint64_t id) const {
        for (const auto& image : images_) {
            if (image->id() == id) return image;
        }
        return nullptr;
    }

    std::vector<std::shared_ptr<segment>> images_;
    decoder::image_finder find_;
};
using image_store = basic_image_store<>;

/// Ctrl-C reaches the whole process group, but what it means is the owner's to say. A handler, as other programs that
/// tasks may start would inherit it if the signal were ignored.
template <class = void>
void leave_interrupts_to_owner() noexcept {
    struct sigaction nothing{};
    nothing.sa_handler = [](int) {};
    nothing.sa_flags = SA_RESTART;
    ::sigaction(SIGINT, &nothing, nullptr);
    sigset_t interrupt;
    sigemptyset(&interrupt);
    sigaddset(&interrupt, SIGINT);
    ::sigprocmask(SIG_UNBLOCK, &interrupt, nullptr);
}

/// The process ends with its owner, however that ends.
template <class = void>
void end_with_owner(pid_t owner) noexcept {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (::getppid() != owner) ::_exit(1); // it has died already
}

template <class = void>
void limit_memory(std::uint64_t bytes) noexcept {
    if (bytes == 0) return;
    // Of its own: not of what it shares, or only has mapped from files.
    rlimit limit{};
    ::getrlimit(RLIMIT_DATA, &limit);
    limit.rlim_cur = std::min<rlim_t>(bytes, limit.rlim_max);
    ::setrlimit(RLIMIT_DATA, &limit);
}

/// Runs `worker_init`, if there is one, and tells the owner who the worker is, and whether that went well.
/// @return Whether it did.
template <class = void>
bool greet(channel& link, void (*init)()) {
    outgoing hello;
    hello.put(worker_hello{});
    const pid_t self = ::getpid();
    worker_hello content{.version = protocol_version, .pid = self, .build = main_module().id};
    const auto tell = [&] {
        hello.patch(0, content);
        link.send(frame_kind::hello, hello, 0, {}, [] {});
    };
    try {
        task_board idle;
        const worker_seat seat(idle, 0, 0, std::nullopt, nullptr);
        if (init) init();
        end_forked_copy(self);
        send_lines_at_once(); // it may have called sync_with_stdio
    } catch (...) {
        end_forked_copy(self);
        encoder to(hello);
        encode_exception(to, caught_error());
        content.failed = 1;
        if (thread_ends()) { // it was the only one
            tell();
            ::_exit(1);
        }
    }
    tell();
    return content.failed == 0;
}

/// The loop of a worker.
template <class = void>
class basic_worker_loop {
public:
    /// `outbox` and `inbox` are shared memory for what it sends and receives; without, all of it goes through the
    /// socket.
    basic_worker_loop(descriptor socket, descriptor board, descriptor outbox, descriptor inbox)
        : link_(std::move(socket), std::move(outbox), std::move(inbox)), board_file_(std::move(board)),
          board_memory_(board_file_.get(), sizeof(task_board), true),
          board_(std::launder(reinterpret_cast<task_board*>(board_memory_.data()))), sink_(link_, *board_) {
        board_file_.close();
    }

    /// Until the owner wants no more, or is gone.
    /// @param status How the process ends when it is sent what makes no sense to it.
    /// @return How it is to end else.
    int run(int status) {
        const pid_t owner = ::getppid();
        try {
            set_up();
            while (link_.receive(true)) {
                if (link_.frame().kind() == frame_kind::quit) return 0;
                handle();
                link_.next_frame();
                sink_.trim();
            }
        } catch (const disconnected&) { // the owner has gone, or a task has closed what is not its own
            return ::getppid() == owner ? connection_lost : 0;
        } catch (const std::exception& e) {
            std::fprintf(stderr, "%s\n", e.what()); // the owner shows it as the end of our stderr
            std::fflush(nullptr);
            ::_exit(status);
        }
        return 0;
    }

private:
    void set_up() {
        link_.receive(true);
        const auto setup = link_.message().get<worker_setup>("the setup of a worker");
        link_.next_frame();
        process_level() = setup.level;
        limit_memory(setup.memory_limit);
        if (setup.memory_limit) sink_.memory_is_limited();
        auto* const init = setup.init.offset ? reinterpret_cast<void (*)()>(resolve(setup.init, true))
                                             : static_cast<void (*)()>(nullptr);
        greet(link_, init);
    }

    void handle() {
        incoming message = link_.message();
        std::vector<descriptor> files = link_.take_images();
        if (link_.frame().kind() == frame_kind::forget) {
            while (message.remaining()) images_.forget(message.get<std::uint64_t>("a broadcast value"));
        } else if (link_.frame().kind() == frame_kind::images) {
            for (descriptor& file : files)
                images_.add(message.get<std::uint64_t>("a broadcast value"), std::move(file));
        } else if (link_.frame().kind() == frame_kind::call_over) {
            kept_.values.clear();
        } else if (link_.frame().kind() == frame_kind::run) {
            run_request_message(message, images_.finder(), *board_, sink_, kept_);
        } else {
            throw serialization_error("joblot: a worker was sent a frame of an unexpected kind", "a frame");
        }
    }

    channel link_;
    descriptor board_file_;
    mapping board_memory_;
    task_board* board_;
    channel_sink sink_;
    image_store images_;
    values_of_call kept_;
};
using worker_loop = basic_worker_loop<>;

/// A descriptor that this process was started with. Not for programs that tasks start.
template <class = void>
descriptor take_inherited(int number) noexcept {
    ::fcntl(number, F_SETFD, FD_CLOEXEC);
    return descriptor(number);
}

/// Whether the program was started with `mark` and a process number; if so, it belongs to that process from now on.
///
/// Whoever holds the other end of a worker's socket says what it calls: `worker_init` and the functions of tasks may be
/// anything in the program. Anybody can start the program with `mark` and a socket of his own. That gives him nothing,
/// unless the program has more rights than he has; so such a one is nobody's worker (and starts none, see
/// spawn_worker), and no list has to say which functions it would call.
template <class = void>
bool belongs_to_owner(int argc, char** argv, std::string_view mark) noexcept {
    if (argc < 2 || !argv[1] || !std::string_view(argv[1]).starts_with(mark) || is_privileged()) return false;
    end_with_owner(static_cast<pid_t>(std::atol(argv[1] + mark.size())));
    hold_lifeline(descriptor(worker_lifeline));
    leave_interrupts_to_owner();
    std::setvbuf(stdout, nullptr, _IOLBF, 1U << 16); // lines arrive when they are written, also if the task then dies
    send_lines_at_once();
    return true;
}

/// If this program was started as a worker, is one, and never returns.
template <class = void>
void be_worker_if_asked(int argc, char** argv) {
    if (!belongs_to_owner(argc, argv, worker_argument)) return;
    int status = 0;
    {
        worker_loop loop(take_inherited(worker_socket), take_inherited(worker_board), take_inherited(worker_outbox),
                         take_inherited(worker_inbox));
        status = loop.run(1);
    }
    std::exit(status);
}

} // namespace joblot::detail
// ---- joblot/process/worker_process.hpp
// A worker process as its owner sees it: started, spoken to, listened to, ended.
// Templates, so that only what uses them compiles them: see init.hpp.

// ---- joblot/process/line_relay.hpp
// Passes on what a worker writes to stdout or stderr: whole lines, and keeps the last of it.
// Templates, so that only what uses them compiles them: see init.hpp.

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
// ---- joblot/system/child_handle.hpp
// A child process, to be ended and waited for by what stays its own: not by its number, which may be another's soon.

#include <cerrno>
#include <csignal>

#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

namespace joblot::detail {

/// A process that this one has just started. A program may wait for all of its children, ours included, in a handler of
/// SIGCHLD or by ignoring that: the number of one that has ended is free then. A descriptor (pidfd) still means it.
/// Before Linux 5.4 there is none, and it is the number after all, where that is seen to be a child of ours.
class child_handle {
public:
    child_handle() = default;
    explicit child_handle(pid_t pid) noexcept : pid_(pid), file_(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0))) {}

    [[nodiscard]] pid_t pid() const noexcept { return pid_; }
    /// Can be read once the process has ended; or -1.
    [[nodiscard]] int file() const noexcept { return file_.get(); }
    void close() noexcept { file_.close(); }

    /// SIGKILL, where it has not ended.
    void kill() const noexcept { send(0, pid_); }
    /// The same for all of the process group that it leads.
    void kill_group() const noexcept { send(of_group, -pid_); }

    /// As `waitid`, but for EINTR. ECHILD: somebody else has waited for it.
    int wait(siginfo_t& facts, int flags) const noexcept {
        for (;;) {
            int result = -1;
            if (file_) result = ::waitid(by_file, static_cast<id_t>(file_.get()), &facts, flags);
            if (!file_ || (result < 0 && errno == EINVAL)) // a kernel that cannot
                result = ::waitid(P_PID, static_cast<id_t>(pid_), &facts, flags);
            if (result == 0 || errno != EINTR) return result;
        }
    }

private:
    static constexpr auto by_file = static_cast<idtype_t>(3); // P_PIDFD; older C libraries do not have the name
    static constexpr unsigned of_group = 4;                   // PIDFD_SIGNAL_PROCESS_GROUP, since Linux 6.9

    void send(unsigned flags, pid_t number) const noexcept {
        if (file_) {
            if (::syscall(SYS_pidfd_send_signal, file_.get(), SIGKILL, nullptr, flags) == 0 || errno == ESRCH) return;
        }
        // A child that nobody has waited for keeps its number, and that of its group.
        siginfo_t facts{};
        if (wait(facts, WEXITED | WNOWAIT | WNOHANG) == 0) ::kill(number, SIGKILL);
    }

    pid_t pid_ = -1;
    descriptor file_;
};

} // namespace joblot::detail

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstring>
#include <memory>
#include <mutex>
#include <new>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

namespace joblot::detail {

template <class = void>
[[noreturn, gnu::cold]] void cannot_start(const char* step, int error) {
    std::string text = "joblot: a worker process cannot be started: " + std::string(step) + ": " + std::strerror(error);
    if (error == EAGAIN) text += " (the limit of processes, `ulimit -u`, or of the container is reached?)";
    if (error == EMFILE || error == ENFILE) text += " (the limit of open files, `ulimit -n`, is reached)";
    throw backend_error(text);
}

/// The descriptors of both ends of a worker's connections.
template <class = void>
struct basic_worker_ends {
    descriptor socket[2], out[2], err[2]; // 0: the owner's, 1: the worker's
    descriptor board, inbox, outbox;      // of the worker; both map them
    mapping board_memory;                 // made, and the board in it, before the worker can look at it

    basic_worker_ends() {
        int pair[2];
        if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0) cannot_start("socketpair", errno);
        socket[0] = descriptor(pair[0]);
        socket[1] = descriptor(pair[1]);
        if (!socket[0] || !socket[1]) cannot_start("socketpair", errno);
        const int on = 1; // with each piece of a message comes who sent it
        if (::setsockopt(socket[0].get(), SOL_SOCKET, SO_PASSCRED, &on, sizeof on) != 0)
            cannot_start("setsockopt", errno);
        open_pipe(out);
        open_pipe(err);
        board = shared("joblot-board");
        inbox = shared("joblot-inbox");
        outbox = shared("joblot-outbox");
        if (!reserve_shared(board.get(), sizeof(task_board))) cannot_start("shared memory", errno);
        board_memory = mapping(board.get(), sizeof(task_board), true);
        if (!board_memory) cannot_start("mmap", errno);
        ::new (board_memory.data()) task_board;
    }

private:
    static void open_pipe(descriptor (&ends)[2]) {
        int pair[2];
        if (::pipe2(pair, O_CLOEXEC) != 0) cannot_start("pipe", errno);
        ends[0] = descriptor(pair[0]);
        ends[1] = descriptor(pair[1]);
        if (!ends[0] || !ends[1]) cannot_start("pipe", errno);
        ::fcntl(ends[0].get(), F_SETFL, O_NONBLOCK); // the owner must not wait for output
    }
    static descriptor shared(const char* name) {
        descriptor file = shared_memory(name);
        if (!file) cannot_start("shared memory", errno);
        return file;
    }
};
using worker_ends = basic_worker_ends<>;

/// For the thread that has leased it, but for `end_by_force`.
template <class = void>
class basic_worker_process {
public:
    /// Takes over a process that was just started.
    basic_worker_process(pid_t pid, worker_ends ends, const worker_config& config)
        : process_(pid), config_(config),
          link_(std::move(ends.socket[0]), std::move(ends.inbox), std::move(ends.outbox)),
          out_(std::move(ends.out[0]), STDOUT_FILENO), err_(std::move(ends.err[0]), STDERR_FILENO),
          board_memory_(std::move(ends.board_memory)),
          board_(std::launder(reinterpret_cast<task_board*>(board_memory_.data()))) {
        link_.listen_only_to(pid);
    }
    basic_worker_process(const basic_worker_process&) = delete;
    basic_worker_process& operator=(const basic_worker_process&) = delete;
    ~basic_worker_process() {
        if (!end_) {
            end_by_force();
            reap();
        }
    }

    [[nodiscard]] const worker_config& config() const noexcept { return config_; }
    [[nodiscard]] pid_t pid() const noexcept { return process_.pid(); }
    [[nodiscard]] channel& link() noexcept { return link_; }
    [[nodiscard]] task_board& board() noexcept { return *board_; }

    /// Waits for a message, output, the process's death, or a point in time, and passes output on.
    /// @param also_writable Whether to come back when the socket takes bytes again as well.
    void wait(std::optional<std::chrono::steady_clock::time_point> until, bool also_writable = false) {
        std::array<pollfd, 4> watched{
            {{link_.socket(), static_cast<short>(also_writable ? POLLIN | POLLOUT : POLLIN), 0},
             {process_.file(), POLLIN, 0},
             {out_.pipe(), POLLIN, 0},
             {err_.pipe(), POLLIN, 0}}};
        timespec left{};
        if (until) {
            const auto ns = std::max(std::chrono::nanoseconds::zero(),
                                     std::chrono::nanoseconds(*until - std::chrono::steady_clock::now()));
            left.tv_sec = ns.count() / 1'000'000'000;
            left.tv_nsec = ns.count() % 1'000'000'000;
        }
        ::ppoll(watched.data(), watched.size(), until ? &left : nullptr, nullptr);
        hung_up_ = (watched[0].revents & (POLLHUP | POLLERR)) != 0;
        if (watched[1].revents) died_ = true;
        if (watched[2].revents) out_.relay();
        if (watched[3].revents) err_.relay();
    }
    /// Whether the process is known to have ended; messages of it may still be unread.
    [[nodiscard]] bool has_died() const noexcept { return died_; }
    /// Whether it has closed its end of the socket.
    [[nodiscard]] bool hung_up() const noexcept { return hung_up_; }
    /// Whether it has said something that nobody has read. Only while nobody has leased it.
    [[nodiscard]] bool has_something_to_say() const noexcept {
        pollfd socket{link_.socket(), POLLIN, 0};
        return ::poll(&socket, 1, 0) > 0;
    }
    /// Waits for its end, no longer than until a point in time, and passes its output on. False where it has not ended.
    bool wait_for_end(std::chrono::steady_clock::time_point until) {
        while (!look_for_end()) {
            const auto now = std::chrono::steady_clock::now();
            if (now >= until) return false;
            std::array<pollfd, 3> watched{
                {{process_.file(), POLLIN, 0}, {out_.pipe(), POLLIN, 0}, {err_.pipe(), POLLIN, 0}}};
            ::poll(watched.data(), watched.size(), 10);
            relay_output();
        }
        return true;
    }
    /// Looks whether it has ended.
    bool look_for_end() noexcept {
        const std::lock_guard lock(ending_);
        siginfo_t facts{};
        const int result = end_ ? 0 : process_.wait(facts, WEXITED | WNOWAIT | WNOHANG);
        if (end_ || facts.si_pid == pid() || (result < 0 && errno == ECHILD)) died_ = true;
        return died_;
    }
    /// What can be waited for while nobody has leased the worker; some may be -1.
    [[nodiscard]] std::array<int, 4> watched() const noexcept { // the socket is the first
        return {link_.socket(), process_.file(), out_.pipe(), err_.pipe()};
    }

    /// Passes on what was written so far. To be called when results have come: what their tasks wrote came before.
    void relay_output() {
        out_.relay();
        err_.relay();
    }

    /// SIGKILL. Any thread may call it.
    void end_by_force() noexcept {
        const std::lock_guard lock(ending_);
        if (!end_) process_.kill();
    }

    /// Waits for the end of a process that has died, or is about to.
    process_end reap() {
        siginfo_t facts{};
        if (end_) return *end_; // this thread alone sets it
        process_.wait(facts, WEXITED | WNOWAIT);
        const std::lock_guard lock(ending_);
        end_.emplace();
        if (process_.wait(facts, WEXITED) == 0) // else somebody else waits for all children
            (facts.si_code == CLD_EXITED ? end_->exit_status : end_->signal) = facts.si_status;
        died_ = true;
        out_.finish();
        err_.finish();
        return *end_;
    }
    [[nodiscard]] std::string stderr_tail() const { return err_.tail(); }

    /// In a child of the owner: closes what it inherited. The process is none of its business.
    void abandon() noexcept {
        link_.close();
        out_.close();
        err_.close();
        process_.close();
        end_.emplace();
    }

    // --- notes of the owner

    bool greeted = false;              ///< its `hello` was read
    bool reusable = true;              ///< may be given another batch
    std::size_t tasks_given = 0;       ///< for `max_tasks`
    std::uint64_t next_request = 1;    ///< numbers of requests: none is used twice in a worker's life
    std::uint64_t frames_read = 0;     ///< `results` frames
    std::vector<std::uint64_t> images; ///< broadcast values that it has
    std::chrono::steady_clock::time_point idle_since{};

private:
    child_handle process_;
    const worker_config config_;
    channel link_;
    line_relay out_, err_;
    mapping board_memory_;
    task_board* const board_;
    bool died_ = false;
    bool hung_up_ = false;
    std::mutex ending_; // guards end_, and process_ from being used after it
    std::optional<process_end> end_;
};
using worker_process = basic_worker_process<>;

/// Takes over a process that was just started. Where there is no memory for that, nobody would own it: it ends.
template <class = void>
std::unique_ptr<worker_process> take_over(pid_t pid, worker_ends ends, const worker_config& config) {
    try {
        return std::make_unique<worker_process>(pid, std::move(ends), config);
    } catch (...) {
        const child_handle nobodys(pid);
        siginfo_t facts{};
        nobodys.kill();
        nobodys.wait(facts, WEXITED);
        throw;
    }
}

} // namespace joblot::detail
// ---- joblot/system/signals_blocked.hpp
// Keeps signals from a thread for a while.

#include <csignal>

#include <signal.h>

namespace joblot::detail {

/// While it lives, the calling thread, and threads and processes that it starts, are sent none of the signals that can
/// be blocked.
class signals_blocked {
public:
    signals_blocked() noexcept {
        sigset_t all;
        sigfillset(&all);
        ::pthread_sigmask(SIG_BLOCK, &all, &before_);
    }
    ~signals_blocked() { lift(); }
    signals_blocked(const signals_blocked&) = delete;
    signals_blocked& operator=(const signals_blocked&) = delete;

    /// Lets them in again before the end.
    void lift() noexcept { ::pthread_sigmask(SIG_SETMASK, &before_, nullptr); }

private:
    sigset_t before_;
};

} // namespace joblot::detail

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <exception>
#include <memory>
#include <string>
#include <utility>

#include <fcntl.h>
#include <unistd.h>

namespace joblot::detail {

/// In the child: connects stdout and stderr with the owner, and lets go of what is the owner's.
template <class = void>
JOBLOT_ONE_PER_PROCESS void enter_forked_worker(worker_ends& ends, const worker_config& config, pid_t owner) {
    end_with_owner(owner);
    leave_interrupts_to_owner();
    drop_inherited_output();
    ::dup2(ends.out[1].get(), STDOUT_FILENO);
    ::dup2(ends.err[1].get(), STDERR_FILENO);
    const descriptor nothing(::open("/dev/null", O_RDONLY | O_CLOEXEC));
    ::dup2(nothing.get(), STDIN_FILENO);
    for (descriptor* d : {&ends.socket[0], &ends.out[0], &ends.err[0], &ends.out[1], &ends.err[1]}) d->close();
    static constinit char lines[BUFSIZ]{}; // with the old buffer glibc's putc would not see the ends of lines
    std::setvbuf(stdout, lines, _IOLBF, sizeof lines);
    send_lines_at_once();
    process_level() += 1;
    limit_memory(config.memory_limit);
}

/// Forks a process that runs `body(board, sink)` and ends. @throws backend_error It cannot be started.
template <class Body>
std::unique_ptr<worker_process> fork_worker_process(const worker_config& config, Body body) {
    worker_ends ends;
    descriptor life = lifeline::for_worker();
    const pid_t owner = ::getpid();
    // What signals mean to the program, they must not mean to a child that was just forked: a handler of its own would
    // run there where no lock of the C library is free yet, and the owner may be gone. Lifted when it is a worker.
    signals_blocked held_back;
    const pid_t pid = ::fork();
    if (pid < 0) cannot_start("fork", errno);
    if (pid != 0) return take_over(pid, std::move(ends), config);
    int status = 1;
    const pid_t self = ::getpid();
    try {
        enter_forked_worker(ends, config, owner);
        held_back.lift();
        hold_lifeline(std::move(life));
        channel link(std::move(ends.socket[1]), std::move(ends.outbox), std::move(ends.inbox));
        auto& board = *std::launder(reinterpret_cast<task_board*>(ends.board_memory.data()));
        channel_sink sink(link, board);
        if (config.memory_limit) sink.memory_is_limited();
        if (greet(link, config.init)) body(board, sink);
        status = 0;
    } catch (const disconnected&) { // the owner has gone, or a task has closed what is not its own
        end_forked_copy(self);
        status = ::getppid() == owner ? connection_lost : 0;
    } catch (...) { // nothing may leave: the child must not go on as a second copy of the program
        end_forked_copy(self);
        std::fprintf(stderr, "%s\n", describe_current_exception().second.c_str());
    }
    flush_output();
    std::fflush(nullptr); // files that the task wrote to
    ::_exit(status);      // not exit: destructors and atexit functions are the parent's
}

} // namespace joblot::detail
// ---- joblot/process/pool.hpp
// The process's worker processes: leased for a call, kept for the next one, ended when nobody has needed them for long.
// Templates, so that only what uses them compiles them: see init.hpp.

// ---- joblot/process/spawn.hpp
// Starts the program's own executable once more, as a worker.
// Templates, so that only what uses them compiles them: see init.hpp.

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <spawn.h>
#include <unistd.h>

namespace joblot::detail {

/// The environment of a worker: that of this process, and how many threads OpenMP and its kin may start in it.
template <class = void>
class basic_worker_environment {
public:
    /// @param inner_threads If set, for all of them; else `fair` for those that the environment says nothing of.
    basic_worker_environment(std::optional<int> inner_threads, int fair) {
        constexpr std::array names{"OMP_NUM_THREADS",       "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS",
                                   "BLIS_NUM_THREADS",      "NUMEXPR_NUM_THREADS",  "NUMBA_NUM_THREADS",
                                   "VECLIB_MAXIMUM_THREADS"};
        for (char** e = environ; e && *e; ++e) {
            const std::string_view entry(*e);
            const auto named = [&](const char* n) { return entry.substr(0, entry.find('=')) == n; };
            if (!inner_threads || std::none_of(names.begin(), names.end(), named)) pointers_.push_back(*e);
        }
        own_.reserve(names.size()); // their addresses must stay
        for (const char* name : names) {
            if (!inner_threads && std::getenv(name)) continue;
            own_.push_back(std::string(name) + "=" + std::to_string(inner_threads.value_or(fair)));
            pointers_.push_back(own_.back().data());
        }
        pointers_.push_back(nullptr);
    }
    [[nodiscard]] char** get() noexcept { return pointers_.data(); }

private:
    std::vector<std::string> own_;
    std::vector<char*> pointers_;
};
using worker_environment = basic_worker_environment<>;

/// posix_spawn's lists, freed with their owner.
template <class = void>
class basic_spawn_plan {
public:
    basic_spawn_plan() {
        ::posix_spawn_file_actions_init(&actions_);
        ::posix_spawnattr_init(&attributes_);
    }
    basic_spawn_plan(const basic_spawn_plan&) = delete;
    basic_spawn_plan& operator=(const basic_spawn_plan&) = delete;
    ~basic_spawn_plan() {
        ::posix_spawn_file_actions_destroy(&actions_);
        ::posix_spawnattr_destroy(&attributes_);
    }

    /// The worker finds `d` at `number`. It is moved out of the way of such numbers first.
    void give(const descriptor& d, int number) {
        descriptor high(::fcntl(d.get(), F_DUPFD_CLOEXEC, worker_outbox + 1));
        if (!high) cannot_start("fcntl", errno == EINVAL ? EMFILE : errno); // EINVAL: the limit is below that number
        ::posix_spawn_file_actions_adddup2(&actions_, high.get(), number);
        moved_.push_back(std::move(high));
    }
    void no_input() { ::posix_spawn_file_actions_addopen(&actions_, STDIN_FILENO, "/dev/null", O_RDONLY, 0); }
    void close_from(int number) { ::posix_spawn_file_actions_addclosefrom_np(&actions_, number); }
    /// No signal is blocked but SIGINT, which the worker lets in when it knows what to do about it.
    void hold_back_interrupts() {
        sigset_t held;
        sigemptyset(&held);
        sigaddset(&held, SIGINT);
        ::posix_spawnattr_setsigmask(&attributes_, &held);
        ::posix_spawnattr_setflags(&attributes_, POSIX_SPAWN_SETSIGMASK);
    }
    pid_t run(const char* file, char** arguments, char** environment) {
        pid_t pid = -1;
        const int error = ::posix_spawn(&pid, file, &actions_, &attributes_, arguments, environment);
        if (error == ENOENT || error == EACCES)
            cannot_start("/proc/self/exe cannot be used (is /proc mounted here, in this chroot or container?)", error);
        if (error != 0) cannot_start("posix_spawn", error);
        return pid;
    }

private:
    posix_spawn_file_actions_t actions_;
    posix_spawnattr_t attributes_;
    std::vector<descriptor> moved_;
};
using spawn_plan = basic_spawn_plan<>;

/// A program that was started by way of the loader (`ld.so ./program`) would start the loader again, without a program.
template <class = void>
void check_not_started_by_loader() {
    std::array<char, 4096> path{};
    const auto size = ::readlink("/proc/self/exe", path.data(), path.size());
    if (size <= 0) return;
    std::string_view name(path.data(), static_cast<std::size_t>(size));
    name.remove_prefix(name.rfind('/') + 1);
    if (!name.starts_with("ld-") && !name.starts_with("ld.so")) return;
    throw backend_error("joblot: a worker process cannot be started: /proc/self/exe is the loader (" +
                        std::string(name) + "), not the program: start the program itself, not by way of the loader");
}

/// Starts a worker. It is not known yet whether it will come up. @throws backend_error It cannot be started.
/// @param siblings How many workers share the machine's CPUs.
template <class = void>
std::unique_ptr<worker_process> spawn_worker(const worker_config& config, int siblings) {
    check_not_started_by_loader();
    if (is_privileged()) // the new process could not tell us from anybody who starts the program as a worker of theirs
        throw backend_error(std::string(privileged_program) +
                            "starts no worker processes; use threads, or start_method::fork");
    worker_ends ends;
    spawn_plan plan;
    plan.no_input();
    plan.give(ends.out[1], STDOUT_FILENO);
    plan.give(ends.err[1], STDERR_FILENO);
    plan.give(ends.socket[1], worker_socket);
    plan.give(ends.board, worker_board);
    plan.give(ends.inbox, worker_inbox);
    plan.give(ends.outbox, worker_outbox);
    const descriptor life = lifeline::for_worker();
    if (life) plan.give(life, worker_lifeline);
    plan.close_from(life ? worker_lifeline + 1 : worker_lifeline);
    plan.hold_back_interrupts();
    worker_environment environment(config.inner_threads, std::max(1, cpu_count() / std::max(1, siblings)));
    std::string mark = worker_argument + std::to_string(::getpid());
    std::array<char*, 3> arguments{program_invocation_name, mark.data(), nullptr};
    // the file that runs, even where it has been replaced on disk since
    const pid_t pid = plan.run("/proc/self/exe", arguments.data(), environment.get());
    std::unique_ptr<worker_process> worker = take_over(pid, std::move(ends), config);

    outgoing setup;
    worker_setup content{.memory_limit = config.memory_limit, .level = process_level() + 1};
    if (config.init) content.init = locate(reinterpret_cast<std::uintptr_t>(config.init));
    setup.put(content);
    worker->link().send(frame_kind::setup, setup, 0, {}, [] {}); // a new socket takes it at once
    return worker;
}

} // namespace joblot::detail

#include <algorithm>
#include <array>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <deque>
#include <exception>
#include <memory>
#include <mutex>
#include <new>
#include <span>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include <sys/epoll.h>
#include <sys/eventfd.h>

namespace joblot::detail {

/// One for each process. A thread of its own, the keeper, starts workers, since they are to end with the thread that
/// started them (PR_SET_PDEATHSIG), and looks after those that nobody has leased.
template <class = void>
class JOBLOT_ONE_TYPE basic_worker_pool {
    using clock = std::chrono::steady_clock;

public:
    /// For a worker that was told to end: its static destructors and atexit functions run meanwhile.
    static constexpr std::chrono::seconds grace{5};

    static basic_worker_pool& instance() { return one().get(); }

    /// In a child process, as it begins, with the mutex held: the workers are the parent's. Their connections are
    /// closed, or they would not notice its end.
    static void abandon() noexcept {
        basic_worker_pool* const pool = one().peek();
        if (!pool) return;
        for (worker_process* worker : pool->all_) worker->abandon();
        pool->bell_.close();
        pool->events_.close();
    }

    /// A worker for the calling thread: an idle one, or a new one. @throws backend_error None can be started.
    /// @param siblings How many workers the call will have.
    std::unique_ptr<worker_process> lease(const worker_config& config, int siblings) {
        std::unique_lock lock(mutex_);
        if (stopping_) throw backend_error("joblot: worker processes cannot be used any more: the program is ending");
        for (auto it = idle_.rbegin(); it != idle_.rend(); ++it) { // the one that was used last is the warmest
            if ((*it)->config() != config || (*it)->has_died()) continue;
            if ((*it)->has_something_to_say()) continue; // nobody asked it: the keeper ends it
            std::unique_ptr<worker_process> worker = std::move(*it);
            idle_.erase(std::next(it).base());
            watch(*worker, false);
            return worker;
        }
        return start(lock, config, siblings);
    }

    /// Takes a worker back; one that is not to be used again ends.
    void give_back(std::unique_ptr<worker_process> worker) {
        std::unique_ptr<worker_process> ended; // after the lock
        const std::lock_guard lock(mutex_);
        worker->idle_since = clock::now();
        if (worker->has_died() || !send_forgotten(*worker)) {
            ended = discard(std::move(worker));
        } else if (stopping_ || !worker->reusable || !worker->greeted) { // nobody would read its greeting
            dismiss(std::move(worker));
        } else {
            watch(*worker, true);
            idle_.push_back(std::move(worker));
            if (keeper_sleeps_ < 0 || keeper_sleeps_ > milliseconds_to_next()) wake_keeper();
        }
    }
    /// Takes back one that has died, or is to die at once.
    void discard_now(std::unique_ptr<worker_process> worker) {
        const std::lock_guard lock(mutex_);
        worker = discard(std::move(worker));
    }

    /// Notes that a worker is given a broadcast value. False where the worker has it already.
    bool note_image(worker_process& worker, std::uint64_t id) {
        const std::lock_guard lock(mutex_);
        if (std::find(worker.images.begin(), worker.images.end(), id) != worker.images.end()) return false;
        worker.images.push_back(id);
        return true;
    }

    /// Numbers of the worker's idle processes. For tests.
    [[nodiscard]] std::vector<pid_t> idle_workers() {
        const std::lock_guard lock(mutex_);
        std::vector<pid_t> pids;
        for (const auto& w : idle_) pids.push_back(w->pid());
        return pids;
    }

private:
    struct spawn_request {
        const worker_config& config;
        int siblings;
        std::unique_ptr<worker_process> worker{};
        std::exception_ptr error{};
        bool done = false;
    };

    basic_worker_pool() : bell_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)), events_(::epoll_create1(EPOLL_CLOEXEC)) {
        if (!bell_) cannot_start("eventfd", errno);
        if (!events_) cannot_start("epoll_create1", errno);
        epoll_event woken{};
        woken.events = EPOLLIN;
        ::epoll_ctl(events_.get(), EPOLL_CTL_ADD, bell_.get(), &woken);
        image_forgetters::add([](std::uint64_t id) {
            if (basic_worker_pool* const pool = one().peek()) pool->forget_image(id);
        });
        std::atexit([] {
            if (basic_worker_pool* const pool = one().peek()) pool->shut_down();
        });
    }
    friend class per_process<basic_worker_pool>;
    JOBLOT_ONE_PER_PROCESS static per_process<basic_worker_pool>& one() noexcept {
        static constinit per_process<basic_worker_pool> pool;
        return pool;
    }

    // --- with the mutex held

    std::unique_ptr<worker_process> start(std::unique_lock<std::mutex>& lock, const worker_config& config,
                                          int siblings) {
        start_keeper();
        spawn_request request{config, siblings};
        requests_.push_back(&request);
        wake_keeper();
        started_.wait(lock, [&] { return request.done; });
        if (request.error) std::rethrow_exception(request.error);
        return std::move(request.worker);
    }

    void start_keeper() {
        if (keeper_.joinable()) return;
        try {
            keeper_ = std::thread([this] { keep(); });
        } catch (const std::system_error& e) {
            cannot_start("no thread can be started", e.code().value());
        }
    }

    void wake_keeper() noexcept {
        const std::uint64_t one = 1;
        [[maybe_unused]] const auto written = ::write(bell_.get(), &one, sizeof one); // full is as good as rung
    }

    /// Lets the keeper see what an idle worker says.
    void watch(worker_process& worker, bool on, bool socket = true) noexcept {
        const auto all = worker.watched();
        for (const int number : std::span(all).subspan(socket ? 0 : 1)) {
            if (number < 0) continue;
            epoll_event event{};
            event.events = EPOLLIN;
            event.data.ptr = &worker;
            ::epoll_ctl(events_.get(), on ? EPOLL_CTL_ADD : EPOLL_CTL_DEL, number, &event);
        }
    }

    /// Tells a worker to end; the keeper sees to it that it does.
    void dismiss(std::unique_ptr<worker_process> worker) noexcept {
        try {
            worker->link().send(frame_kind::quit, {}, 0, {}, [] { throw disconnected(); });
        } catch (const backend_error&) { // it is ending already
        } catch (const std::bad_alloc&) {
            worker->end_by_force();
        }
        worker->idle_since = clock::now();
        watch(*worker, true, false); // it closes the socket long before it has ended
        leaving_.push_back(std::move(worker));
        wake_keeper();
    }

    /// Forgets a worker, which ends with what is returned. That waits for it, and passes on what it has written to whom
    /// may be slow: not with the mutex held, which others wait for, and whoever forks.
    [[nodiscard]] std::unique_ptr<worker_process> discard(std::unique_ptr<worker_process> worker) noexcept {
        std::erase(all_, worker.get());
        return worker;
    }

    void forget_image(std::uint64_t id) noexcept {
        const std::lock_guard lock(mutex_);
        for (const auto& worker : idle_)
            static_cast<void>(send_forget(*worker, [id](std::uint64_t i) { return i == id; }));
        if (!somebody_has(id)) return;
        try {
            forgotten_.push_back(id);     // those that work now are told when they come back
        } catch (const std::bad_alloc&) { // it stays theirs
        }
    }
    /// @return False where the worker could not be told, for lack of memory.
    bool send_forgotten(worker_process& worker) noexcept {
        const auto gone = [this](std::uint64_t i) {
            return std::find(forgotten_.begin(), forgotten_.end(), i) != forgotten_.end();
        };
        if (!send_forget(worker, gone)) return false;
        std::erase_if(forgotten_, [this](std::uint64_t id) { return !somebody_has(id); });
        return true;
    }
    [[nodiscard]] bool somebody_has(std::uint64_t id) const noexcept {
        return std::any_of(all_.begin(), all_.end(), [id](const worker_process* w) {
            return std::find(w->images.begin(), w->images.end(), id) != w->images.end();
        });
    }
    template <class Gone>
    static bool send_forget(worker_process& worker, Gone gone) noexcept {
        if (std::none_of(worker.images.begin(), worker.images.end(), gone)) return true;
        try {
            outgoing message;
            for (const std::uint64_t id : worker.images)
                if (gone(id)) message.put(id);
            worker.link().send(frame_kind::forget, message, 0, {}, [] { throw disconnected(); });
        } catch (const backend_error&) { // it has died: nothing to free
        } catch (const std::bad_alloc&) {
            return false;
        }
        std::erase_if(worker.images, gone);
        return true;
    }

    // --- the keeper

    void keep() {
        std::array<epoll_event, 32> events{};
        std::vector<std::unique_ptr<worker_process>> ended;
        std::unique_lock lock(mutex_);
        while (!stopping_ || !idle_.empty() || !leaving_.empty() || !ended_.empty()) {
            const int wait = keeper_sleeps_ = milliseconds_to_next();
            ended.swap(ended_);
            lock.unlock();
            ended.clear();
            const int n = ::epoll_wait(events_.get(), events.data(), static_cast<int>(events.size()), wait);
            lock.lock();
            try {
                for (int i = 0; i < n; ++i) attend(events[static_cast<std::size_t>(i)].data.ptr);
                end_the_unneeded();
            } catch (const std::bad_alloc&) { // of what workers write; it is read the next time
            }
            answer_requests(lock);
        }
    }

    [[nodiscard]] int milliseconds_to_next() const {
        if (!requests_.empty() || !ended_.empty()) return 0;
        if (!leaving_.empty()) return 50;
        auto soonest = std::chrono::milliseconds::max();
        for (const auto& w : idle_) soonest = std::min(soonest, w->config().idle_timeout);
        if (idle_.empty()) return -1;
        return static_cast<int>(std::clamp<std::chrono::milliseconds::rep>(soonest.count() / 4, 10, 10'000));
    }

    /// Something has come from an idle worker, or the keeper was woken.
    void attend(void* whom) {
        if (!whom) {
            std::uint64_t count = 0;
            [[maybe_unused]] const auto got = ::read(bell_.get(), &count, sizeof count);
            return;
        }
        for (auto* list : {&idle_, &leaving_}) {
            const auto it = std::find_if(list->begin(), list->end(), [&](const auto& w) { return w.get() == whom; });
            if (it == list->end()) continue;                                        // leased meanwhile
            (*it)->wait(clock::now());                                              // what is there, and no longer
            const bool of_no_use = list == &idle_ && (*it)->has_something_to_say(); // or it has hung up
            if (!(*it)->has_died() && !of_no_use) return;
            watch(**it, false);
            std::unique_ptr<worker_process> worker = std::move(*it);
            list->erase(it);
            ended_.push_back(discard(std::move(worker)));
            return;
        }
    }

    void end_the_unneeded() {
        const auto now = clock::now();
        for (std::size_t i = 0; i < idle_.size();) {
            if (!stopping_ && now - idle_[i]->idle_since < idle_[i]->config().idle_timeout) {
                ++i;
                continue;
            }
            std::unique_ptr<worker_process> worker = std::move(idle_[i]);
            idle_.erase(idle_.begin() + static_cast<std::ptrdiff_t>(i));
            watch(*worker, false);
            dismiss(std::move(worker));
        }
        for (std::size_t i = 0; i < leaving_.size();) {
            if (now - leaving_[i]->idle_since >= grace) leaving_[i]->end_by_force();
            if (!leaving_[i]->look_for_end()) { // also where the kernel has no pidfd to wait for
                ++i;
                continue;
            }
            std::unique_ptr<worker_process> worker = std::move(leaving_[i]);
            leaving_.erase(leaving_.begin() + static_cast<std::ptrdiff_t>(i));
            watch(*worker, false);
            ended_.push_back(discard(std::move(worker)));
        }
    }

    void answer_requests(std::unique_lock<std::mutex>& lock) {
        while (!requests_.empty()) {
            spawn_request& request = *requests_.front();
            requests_.pop_front();
            lock.unlock();
            try {
                request.worker = spawn_worker(request.config, request.siblings);
            } catch (...) {
                request.error = std::current_exception();
            }
            lock.lock();
            enter(request);
            request.done = true;
            started_.notify_all();
        }
    }

    void enter(spawn_request& request) noexcept {
        if (!request.worker) return;
        try { // no list needs memory later on: a worker that is in one of them must not be lost on the way to another
            idle_.reserve(all_.size() + 1);
            leaving_.reserve(all_.size() + 1);
            all_.push_back(request.worker.get());
        } catch (const std::bad_alloc&) {
            request.error = std::current_exception();
            request.worker.reset();
        }
    }

    /// At exit: lets the workers end, and waits for it. Those that are leased by threads that still run end with us.
    void shut_down() {
        {
            const std::lock_guard lock(mutex_);
            if (stopping_) return;
            stopping_ = true;
            wake_keeper();
        }
        if (keeper_.joinable()) keeper_.join();
    }

    std::mutex& mutex_ = forks.mutex(fork_level::workers); // guards all below; not held while a worker is started
    std::condition_variable started_;
    std::deque<spawn_request*> requests_;
    std::vector<std::unique_ptr<worker_process>> idle_;    // in the order in which they came back
    std::vector<std::unique_ptr<worker_process>> leaving_; // were told to end
    std::vector<std::unique_ptr<worker_process>> ended_;   // to be destroyed without the mutex
    std::vector<worker_process*> all_;                     // the leased ones, too
    std::vector<std::uint64_t> forgotten_;                 // broadcast values that some leased worker still has
    bool stopping_ = false;
    int keeper_sleeps_ = 0; // milliseconds at most, until it looks again by itself; -1: until it is woken

    descriptor bell_;   // wakes the keeper
    descriptor events_; // what the keeper waits for
    std::thread keeper_;
};
using worker_pool = basic_worker_pool<>;

} // namespace joblot::detail

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <exception>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace joblot::detail {

template <class = void>
class basic_process_driver {
    using clock = std::chrono::steady_clock;

public:
    basic_process_driver(job& j, const process_options& o, int id, int siblings)
        : job_(j), options_(o), id_(id), siblings_(siblings),
          batches_(j, o.forked ? code_location{} : j.remote_runner().location(), true) {}

    basic_process_driver(const basic_process_driver&) = delete;
    basic_process_driver& operator=(const basic_process_driver&) = delete;
    ~basic_process_driver() {
        drop_worker(); // left by an exception
    }

    /// Until there is nothing more to claim. @throws backend_error, or what `worker_init` threw.
    void run() {
        worker seat(job_, id_);
        do {
            while (refill(seat)) take_part();
        } while (job_.wait());
        release_worker();
    }

    /// Tasks are not wanted any more: keeps the worker from starting them, and ends it if it is on one. Any thread.
    void heed_limits() noexcept {
        const std::lock_guard lock(worker_mutex_);
        if (!worker_) return;
        task_board& board = worker_->board();
        board.limit.store(job_.limit(), std::memory_order_seq_cst); // before the look at what runs, see task_board
        const std::uint64_t current = board.current.load(std::memory_order_seq_cst);
        const bool unwanted = current != task_board::nothing && current >= job_.unwanted_from();
        if (unwanted || (starting_ && job_.unwanted_from() == 0)) end_worker();
    }

private:
    static constexpr std::chrono::milliseconds short_batch{2}; ///< the next one had better wait at the worker

    // --- claiming and sending

    /// Sees to it that the worker has something to do. False when nothing can be claimed at the moment.
    bool refill(worker& seat) {
        seat_ = &seat;
        for (;;) {
            while (!claimed_.empty() && claimed_.front().is_over(job_.limit())) settle();
            while (claimed_.size() < depth()) {
                std::optional<claimed_batch> c = batches_.claim(seat);
                if (!c) break;
                claimed_.push_back(std::move(*c));
            }
            for (claimed_batch& c : claimed_) send_next(c);
            if (claimed_.empty() || claimed_.front().sent().size() != 0) return !claimed_.empty();
        }
    }

    /// How many batches may be claimed at once. One that waits behind a long one might be run by somebody else.
    [[nodiscard]] std::size_t depth() const noexcept {
        const std::size_t left = job_.tasks_left();
        const bool plain = !options_.forked && options_.config.max_tasks == 0 && left != job::none;
        const bool enough = left > static_cast<std::size_t>(siblings_); // or another worker might be without one
        return plain && enough && last_took_ && *last_took_ < short_batch ? 2 : 1;
    }

    void send_next(claimed_batch& c) {
        while (c.sent().size() == 0 && !c.is_over(job_.limit())) {
            if (!options_.forked) ensure_worker();
            const claimed_batch::range range = c.next_range(job_.limit(), most_tasks());
            if (options_.forked)
                fork_worker(c, range);
            else
                send(c, range);
        }
    }

    /// How many tasks the worker may still be given.
    [[nodiscard]] std::size_t most_tasks() const noexcept {
        const std::size_t most = options_.config.max_tasks;
        return most == 0 ? job::none : options_.forked ? most : most - worker_->tasks_given;
    }

    void send(claimed_batch& c, claimed_batch::range range) {
        outgoing& message = request_;
        message.clear();
        range = batches_.write_request(c, range, worker_->next_request, id_, message);
        if (range.size() == 0) return; // the first one could not be written, and has failed
        const std::uint64_t number = worker_->next_request++;
        std::exception_ptr broken;
        try {
            heed_limits();
            send_images(message);
            worker_->link().send(frame_kind::run, message, number, {}, [this] { wait_for_room(); });
        } catch (const disconnected&) {        // seen again where messages are read, and dealt with there
        } catch (const serialization_error&) { // what was read meanwhile
            broken = std::current_exception();
        }
        message.clear();
        c.note_sent(range, number);
        worker_->tasks_given += range.size();
        if (broken) stream_is_broken(std::move(broken));
    }

    void send_images(const outgoing& message) {
        for (const auto& image : message.images) {
            if (!image->key().empty())
                throw backend_error("joblot: the data " + image->key() +
                                    " is on a Dask cluster: tasks that read it run there, with a dask::backend");
            if (!worker_pool::instance().note_image(*worker_, image->id())) continue;
            outgoing announcement;
            announcement.put(image->id());
            const int file = image->file();
            worker_->link().send(frame_kind::images, announcement, 0, {&file, 1}, [this] { wait_for_room(); });
        }
    }

    /// The worker's socket is full: it may be that it waits for us to read.
    void wait_for_room() {
        if (worker_->has_died()) throw disconnected();
        worker_->wait(current_deadline(), true);
        read_messages();
        check_deadline();
    }

    // --- the worker

    void ensure_worker() {
        if (worker_) return;
        auto fresh = worker_pool::instance().lease(options_.config, siblings_);
        const std::lock_guard lock(worker_mutex_);
        starting_ = !fresh->greeted;
        worker_ = std::move(fresh);
    }

    void fork_worker(claimed_batch& c, claimed_batch::range range) {
        const run_request request = batches_.request_for(c, range, 1, id_);
        auto fresh = fork_worker_process(options_.config, [&](task_board& board, results_sink& sink) {
            const any_reduction* const reduction = job_.reduction();
            const auto partial = reduction ? reduction->partial() : nullptr;
            worker_values values; // the process ends with its batch
            run_tasks(request, board, sink, values, partial.get(),
                      [&](std::uint32_t k, encoder& to, results_writer& writer) {
                          c.of().tasks()->run_forked(c.index(range.begin + k), to, writer);
                      });
        });
        {
            const std::lock_guard lock(worker_mutex_);
            starting_ = true;
            worker_ = std::move(fresh);
        }
        c.note_sent(range, worker_->next_request++);
        heed_limits();
    }

    void end_worker() noexcept {
        ended_by_us_.store(true, std::memory_order_relaxed);
        worker_->end_by_force();
    }

    std::unique_ptr<worker_process> take_worker() {
        const std::lock_guard lock(worker_mutex_);
        ended_by_us_.store(false, std::memory_order_relaxed);
        starting_ = false;
        return std::move(worker_);
    }

    /// Not to be used again. The pool knows its own by address, so none must go without this.
    void drop_worker() {
        std::unique_ptr<worker_process> dropped = take_worker();
        if (dropped && !options_.forked) worker_pool::instance().discard_now(std::move(dropped));
    }

    void tell_that_call_is_over() noexcept {
        if (!values_travel().load(std::memory_order_relaxed) || !worker_->greeted) return;
        try {
            worker_->link().send(frame_kind::call_over, outgoing(), 0, {}, [] { throw disconnected(); });
        } catch (const backend_error&) { // it has died, or takes nothing
            worker_->reusable = false;
        } catch (const std::bad_alloc&) { // what it keeps goes when it begins another call
        }
    }
    void release_worker() {
        if (!worker_) return;
        tell_that_call_is_over();
        if (options_.config.max_tasks && worker_->tasks_given >= options_.config.max_tasks) worker_->reusable = false;
        worker_->link().shared_out().trim();
        worker_pool::instance().give_back(take_worker());
    }

    // --- what comes from it

    /// Waits for the worker to say something, and deals with it.
    void take_part() {
        try {
            const auto deadline = current_deadline();
            if (!read_messages() && worker_ && !worker_->has_died()) {
                worker_->wait(deadline);
                if (!read_messages() && !worker_->has_died()) check_deadline();
            }
            if (worker_ && worker_->has_died()) {
                read_messages(); // what it said before
                if (worker_) worker_died(nullptr);
            }
        } catch (const disconnected&) { // it is about to end: how, is for it to say
            worker_->wait_for_end(clock::now() + worker_pool::grace);
            worker_died(nullptr);
        } catch (const serialization_error&) {
            stream_is_broken(std::current_exception());
        }
    }

    /// Whether there was anything.
    bool read_messages() {
        bool any = false;
        while (worker_ && worker_->link().receive(false)) {
            any = true;
            take_message();
        }
        return any;
    }

    void take_message() {
        channel& link = worker_->link();
        if (link.frame().kind() == frame_kind::hello && !worker_->greeted)
            take_hello(link.message());
        else if (link.frame().kind() == frame_kind::results && worker_->greeted && at_work())
            take_results(*at_work(), link.message());
        else
            throw serialization_error("joblot: a worker sent a frame of an unexpected kind", "a frame");
        if (worker_) link.next_frame();
    }

    void take_hello(incoming message) {
        const auto hello = message.get<worker_hello>("the greeting of a worker");
        if (hello.version != protocol_version || hello.build != main_module().id)
            throw backend_error("joblot: a worker process runs another build of the program; was the executable "
                                "replaced, or is it started by a launcher that changes it?");
        worker_->greeted = true;
        {
            const std::lock_guard lock(worker_mutex_);
            starting_ = false;
        }
        if (!hello.failed) return;
        decoder from(message);
        const std::exception_ptr why = decode_exception(from, where());
        drop_worker();
        try {
            std::rethrow_exception(why);
        } catch (...) {
            const auto [type, text] = describe_current_exception();
            throw backend_error("joblot: worker_init failed in a new worker process: " + (text.empty() ? type : text));
        }
    }

    /// The batch that the worker is on, if it is on one: what was sent first. Not always the front one: tasks of that
    /// may have been sent again, behind the next.
    [[nodiscard]] claimed_batch* at_work() noexcept {
        claimed_batch* first = nullptr;
        for (claimed_batch& c : claimed_) {
            if (c.sent().size() != 0 && (!first || c.sequence() < first->sequence())) first = &c;
        }
        return first;
    }

    void take_results(claimed_batch& c, incoming message) {
        const run_results head = batches_.take_results(c, message, where(), *seat_);
        // release: what the message had in shared memory has been read
        worker_->board().consumed.store(++worker_->frames_read, std::memory_order_release);
        worker_->relay_output();
        deaths_without_task_ = 0;
        if (head.last) answered(c);
    }
    [[nodiscard]] std::string where() const { return "process " + std::to_string(worker_->pid()); }

    /// The worker has done what it was given of a batch.
    void answered(const claimed_batch& c) {
        worker_->link().shared_out().release(c.sequence());
        if (options_.forked) {
            worker_->reap();
            take_worker();
        } else if (options_.config.max_tasks && worker_->tasks_given >= options_.config.max_tasks) {
            release_worker();
        }
    }

    void settle() {
        claimed_batch& c = claimed_.front();
        last_took_ = c.took();
        batches_.settle(c, *seat_);
        claimed_.pop_front();
    }

    // --- time limits

    /// When the task that runs will have run for too long; or before that, if none runs yet.
    [[nodiscard]] std::optional<clock::time_point> current_deadline() const {
        if (!batches_.timeout() || !worker_) return std::nullopt;
        const auto now = clock::now();
        const auto running = what_runs();
        return deadline_after(running ? running->started : now, *batches_.timeout());
    }

    struct running_task {
        std::uint64_t index;
        clock::time_point started;
    };
    /// The task that runs, if one does: one look at the board, as the worker goes on.
    [[nodiscard]] std::optional<running_task> what_runs() const {
        const task_board& board = worker_->board();
        for (;;) { // the worker writes `started` before `current`: both belong together if `current` stays
            const std::uint64_t current = board.current.load(std::memory_order_seq_cst);
            if (current == task_board::nothing) return std::nullopt;
            const std::chrono::nanoseconds started( // any number may be there: no sum of it overflows
                std::max(std::int64_t{0}, board.started.load(std::memory_order_acquire)));
            if (board.current.load(std::memory_order_seq_cst) == current)
                return running_task{current, clock::time_point(std::chrono::duration_cast<clock::duration>(started))};
        }
    }

    void check_deadline() {
        if (!batches_.timeout() || !worker_) return;
        const auto running = what_runs();
        if (!running || clock::now() - running->started < *batches_.timeout()) return;
        timed_out_ = running->index;
        worker_->end_by_force();
    }

    // --- death

    /// Nothing that the worker says from now on makes sense.
    void stream_is_broken(std::exception_ptr why) {
        worker_->end_by_force();
        worker_died(std::move(why));
    }

    /// @param why If known, why the worker had to be ended.
    void worker_died(std::exception_ptr why) {
        const bool by_us = ended_by_us_.load(std::memory_order_relaxed);
        worker_->end_by_force(); // if it has only closed its socket
        process_end end = worker_->reap();
        end.closed_connection = end.exit_status == connection_lost;
        const std::string tail = worker_->stderr_tail();
        const std::uint64_t current = worker_->board().current.load(std::memory_order_acquire);
        const bool was_up = worker_->greeted;
        drop_worker();
        const std::optional<std::uint64_t> timed_out = std::exchange(timed_out_, std::nullopt);
        blame(current, timed_out, by_us, end, tail, std::move(why), was_up);
        for (claimed_batch& c : claimed_) c.lost(job_.limit());
    }

    /// Finds out whose fault it was, and lets that task fail.
    void blame(std::uint64_t current, std::optional<std::uint64_t> timed_out, bool by_us, process_end end,
               const std::string& tail, std::exception_ptr why, bool was_up) {
        if (!at_work()) return;
        claimed_batch& c = *at_work();
        // Ended by us, for a task that it may have left since: whatever it had come to is innocent, and runs again.
        if (by_us && !timed_out) return;
        const auto blamed = remote_batches::task_at(c, timed_out.value_or(current));
        if (blamed) {
            batches_.task_ended_worker(c, *blamed, *seat_, [&](const task_info& info) {
                if (timed_out) return batches_.timed_out(info);
                return why ? why : std::make_exception_ptr(worker_crashed(info, end, tail));
            });
        }
        if (blamed || timed_out) {
            deaths_without_task_ = 0;
            return;
        }
        if (end.closed_connection) batches_.tell_results_apart(); // the next time it is known which task does it
        if (++deaths_without_task_ < 3 && was_up) return;
        if (why) std::rethrow_exception(why);
        throw backend_error("joblot: worker processes " +
                            std::string(was_up ? "die between tasks" : "die before they can be used") + how(end) +
                            (tail.empty() ? "" : "; the last of their stderr:\n" + tail));
    }
    static std::string how(process_end end) {
        if (end.closed_connection) return ": a task has closed descriptors that are not its own";
        if (end.signal) return ", by signal " + std::to_string(*end.signal);
        return end.exit_status ? ", with exit status " + std::to_string(*end.exit_status) : std::string();
    }

    job& job_;
    const process_options& options_;
    const int id_;
    const int siblings_;
    remote_batches batches_;

    outgoing request_;                                  // empty but while it is sent: its memory is used again
    std::deque<claimed_batch> claimed_;                 // the front one is at work, the other one waits at the worker
    std::optional<std::chrono::nanoseconds> last_took_; // by the batch before
    int deaths_without_task_ = 0;
    std::optional<std::uint64_t> timed_out_; // index of the task that the worker was ended for
    worker* seat_ = nullptr;

    // Guards the two below against `heed_limits`; this thread alone changes them, and may read them without.
    std::mutex worker_mutex_;
    bool starting_ = false; // the worker has not greeted yet: it may be held up in `worker_init`
    std::unique_ptr<worker_process> worker_;
    std::atomic<bool> ended_by_us_{false}; // set by heed_limits; relaxed: read after the process has ended
};
using process_driver = basic_process_driver<>;

} // namespace joblot::detail

#include <algorithm>
#include <cstddef>
#include <deque>
#include <exception>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace joblot::detail {

/// A child process, however it comes to be, begins without its parent's workers, their lines and their lifeline.
template <class = void>
void workers_are_not_inherited() {
    const std::lock_guard lock(forks.mutex(fork_level::workers));
    forks.set_handler(fork_level::workers, [](fork_phase when) noexcept {
        if (when != fork_phase::in_child) return;
        worker_pool::abandon();
        line_relay::begin_in_child();
        lifeline::begin_in_child();
    });
}

template <class = void>
void drive(job& j, process_driver& driver) noexcept {
    try {
        driver.run();
    } catch (...) {
        j.abort(std::current_exception());
    }
}

template <class = void>
void drive_all(job& j, std::deque<process_driver>& drivers) {
    std::vector<std::jthread> threads;
    const scope* const here = current_scope;
    try {
        for (std::size_t i = 1; i < drivers.size(); ++i) {
            threads.emplace_back([&j, &driver = drivers[i], here] {
                current_scope = here;
                drive(j, driver);
            });
        }
    } catch (const std::exception&) { // no more threads or memory to be had: the call goes on with fewer workers
    }
    drive(j, drivers[0]);
}

/// @throws what keeps the job from worker processes.
template <class = void>
void check_processes_possible(const job& j, const process_options& o) {
    if (o.forked)
        j.check_results_travel();
    else
        static_cast<void>(j.remote_runner()); // throws for tasks that cannot be sent
    if (process_level() >= deepest_level)
        throw backend_error("joblot: worker processes are nested " + std::to_string(deepest_level) +
                            " deep already; use threads inside of their tasks");
    if (o.forked && scope_here().may_not_add_threads())
        throw backend_error("joblot: start_method::fork cannot be used inside of a task of a thread: others may hold "
                            "locks that the copy of the process would wait for; use start_method::spawn, or threads");
}

/// The whole of `backend::run` for worker processes.
template <class = void>
void run_on_processes(job& j, const process_options& o) {
    check_processes_possible(j, o);
    const int workers = static_cast<int>(std::min(static_cast<std::size_t>(j.n_jobs()), j.tasks_left()));
    if (workers == 0) return;
    std::deque<process_driver> drivers; // they do not move
    for (int id = 0; id != workers; ++id) drivers.emplace_back(j, o, id, workers);
    const waker heed(j, [&drivers] {
        for (process_driver& d : drivers) d.heed_limits();
    });
    drive_all(j, drivers);
}

} // namespace joblot::detail
// ---- joblot/process/hosted_main.hpp
// The program as a child of a Dask worker, where python/worker_shim/joblot_shim.py starts it: the same loop as that of
// a worker process, but everything goes through the socket, as frames arrive from a network. Templates, so that only
// what uses them compiles them: see init.hpp.

#include <cstdlib>

namespace joblot::detail {

/// First part of the argument that makes a program such a child; the process number of the Dask worker follows.
inline constexpr const char* hosted_argument = "--joblot-hosted=";

/// Exit status of a program that was sent what it has no code for; the shim knows it.
inline constexpr int not_our_code = 78;

/// If this program was started by a Dask worker, serves it, and never returns.
template <class = void>
void be_hosted_if_asked(int argc, char** argv) {
    if (!belongs_to_owner(argc, argv, hosted_argument)) return;
    {
        worker_loop loop(take_inherited(worker_socket), take_inherited(worker_board), descriptor(), descriptor());
        loop.run(not_our_code);
    }
    std::exit(0);
}

} // namespace joblot::detail

#include <atomic>

namespace joblot::detail {

template <class = void>
void start(int argc, char** argv) {
    fill_standard_descriptors(); // before anything is opened
    // before the rest: a worker's own tasks may use workers, too. release: whoever calls it sees what it refers to
    process_engine().store(&run_on_processes, std::memory_order_release);
    workers_are_not_inherited();
    be_worker_if_asked(argc, argv);
    be_hosted_if_asked(argc, argv);
    print_catalogue_if_asked(argc, argv);
}

} // namespace joblot::detail
#endif

namespace joblot {

/// To be called first in `main`: `joblot::init(argc, argv);`
///
/// Worker processes are the program's own executable, started again; in one of those, this runs the tasks that it is
/// given and never returns. In the program that the user started it only notes that this works. What `main` does before
/// it, and static initialisation, happens in every worker as well; static destructors run when a worker ends (it
/// is killed if that takes more than 5 seconds). Where the program was started without stdin, stdout or stderr, as
/// daemons are, /dev/null takes their place: whatever is opened next would get what is printed.
/// Programs that use neither worker processes nor a cluster need not call it.
///
/// A template that needs no argument, as are the functions and classes that it takes: a compiler does next to nothing
/// for them in a file that includes joblot.hpp and does not call it, which is most files of a program. With
/// JOBLOT_COMPILED it is a function of the library, and so is all that it takes.
#if defined(JOBLOT_COMPILED)
JOBLOT_ONE_PER_PROCESS void init(int argc, char** argv);
#else
template <class = void>
void init(int argc, char** argv) {
    detail::start(argc, argv);
}
#endif

} // namespace joblot

// ---- joblot/parallel.hpp
// `Parallel`: runs tasks on the active backend and gives their results, as a whole or as they come.

// ---- joblot/call/run_call.hpp
// From options to a running call: resolves guard, defaults and backend, picks the job for the input, and drives it.

// ---- joblot/dispatch/indexed_job.hpp
// The job over an input that workers may index at once: batches are claimed from an atomic counter, without a lock.

// ---- joblot/dispatch/claim_groups.hpp
// How many workers claim tasks without all of them writing to one cache line: each group of workers takes several
// batches at a time from the counter that all share, and hands them out among its own.

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>

namespace joblot::detail {

/// Where the indices of a call come from when it has many workers.
///
/// A worker takes from what its group has in hand, on a line that only this group writes. Where that is nothing, it
/// takes the group's next share from the counter: `of_group` batches, but no more than half of what is fair, so that
/// little is in hand when the counter runs out; then workers take from what other groups still have. The workers of a
/// group should share a cache. Indices come nearly in order. Thread-safe.
class claim_groups {
public:
    static constexpr std::size_t of_group = 8;                          ///< workers
    static constexpr std::size_t most_tasks = std::size_t{1} << 40;     ///< of a call
    static constexpr bool pay(std::size_t workers, std::size_t tasks) { ///< One line is right for a few workers.
        return workers > 2 * of_group && tasks < most_tasks;
    }

    claim_groups(std::size_t workers, std::size_t tasks)
        : groups_((workers + of_group - 1) / of_group), tasks_(tasks), lines_(new line[groups_]) {}

    struct claimed {
        std::size_t first = 0, count = 0;
        bool wrote_counter = false; ///< for counting
    };

    /// @param counter Of what was handed out; written to by this alone.
    claimed claim(std::atomic<std::size_t>& counter, std::size_t group, const batch_sizer& sizer) {
        line& own = lines_[group % groups_];
        for (;;) {
            const std::size_t left = tasks_ - std::min(tasks_, counter.load(std::memory_order_relaxed));
            const std::size_t in_hand = count_of(own.in_hand.load(std::memory_order_relaxed));
            const std::size_t wanted = sizer.next(left + in_hand * groups_);
            if (const claimed c = take(own, wanted); c.count != 0) return c;
            if (left == 0) return take_from_others(group, wanted);
            if (const claimed c = take_from_counter(counter, own, wanted, left); c.count != 0) return c;
        }
    }

    /// Tasks that groups have in hand.
    [[nodiscard]] std::size_t in_hand() const noexcept {
        std::size_t sum = 0;
        for (std::size_t g = 0; g != groups_; ++g) sum += count_of(lines_[g].in_hand.load(std::memory_order_relaxed));
        return sum;
    }

private:
    // Of what a group has in hand: how many (23 bits), whether one of it is on its way to the counter, index of the
    // first.
    static constexpr std::uint64_t most_in_hand = (std::uint64_t{1} << 23) - 1;
    static constexpr std::uint64_t on_its_way = std::uint64_t{1} << 23;
    static constexpr std::size_t count_of(std::uint64_t word) noexcept { return word & most_in_hand; }
    static constexpr std::size_t first_of(std::uint64_t word) noexcept { return word >> 24; }
    static constexpr std::uint64_t word_of(std::size_t first, std::size_t count) noexcept {
        return first << 24 | count;
    }

    // relaxed, all of it: indices are handed out and nothing else.
    struct alignas(64) line {
        std::atomic<std::uint64_t> in_hand{0};
    };

    static claimed take(line& from, std::size_t wanted) noexcept {
        std::uint64_t word = from.in_hand.load(std::memory_order_relaxed);
        while (count_of(word) != 0) {
            const std::size_t n = std::min(wanted, count_of(word));
            if (from.in_hand.compare_exchange_weak(word, word_of(first_of(word) + n, count_of(word) - n),
                                                   std::memory_order_relaxed))
                return {first_of(word), n};
        }
        return {};
    }

    claimed take_from_others(std::size_t group, std::size_t wanted) noexcept {
        for (std::size_t k = 1; k != groups_; ++k) {
            if (const claimed c = take(lines_[(group + k) % groups_], wanted); c.count != 0) return c;
        }
        return {};
    }

    /// No worker waits for the one that fetches the group's share: meanwhile the others take single batches.
    claimed take_from_counter(std::atomic<std::size_t>& counter, line& own, std::size_t wanted,
                              std::size_t left) noexcept {
        const std::size_t share = std::min({wanted * of_group, left / (2 * groups_), std::size_t{most_in_hand}});
        std::uint64_t word = own.in_hand.load(std::memory_order_relaxed);
        const bool fetches = share > wanted && count_of(word) == 0 && (word & on_its_way) == 0 &&
                             own.in_hand.compare_exchange_strong(word, on_its_way, std::memory_order_relaxed);
        const std::size_t asked = fetches ? share : wanted;
        const std::size_t first = counter.fetch_add(asked, std::memory_order_relaxed);
        const std::size_t got = std::min(asked, tasks_ - std::min(tasks_, first));
        const std::size_t n = std::min(wanted, got);
        if (fetches) own.in_hand.store(word_of(first + n, got - n), std::memory_order_relaxed);
        return {first, n, true};
    }

    std::size_t groups_;
    std::size_t tasks_;
    std::unique_ptr<line[]> lines_;
};

} // namespace joblot::detail
// ---- joblot/dispatch/typed_tasks.hpp
// Tasks and the places of their results, of known types: what both kinds of job have in common.

// ---- joblot/dispatch/execute.hpp
// Runs the tasks of a batch on the calling thread: the plain loop, and the one with time limits and retries.

// ---- joblot/dispatch/results.hpp
// Where the results of a call are kept until all are there.

// ---- joblot/dispatch/size.hpp
// How many tasks a range has: sizes wider than a machine word, and negative ones, are seen for what they are.

#include <cstddef>
#include <iterator>
#include <limits>
#include <optional>
#include <ranges>
#include <stdexcept>
#include <string>
#include <type_traits>

namespace joblot::detail {

/// The largest size of a range that counts as one: the largest number stands for "not known" elsewhere.
inline constexpr std::size_t largest_size = std::numeric_limits<std::size_t>::max() - 1;

/// An integer of any width, also of a class that only behaves like one.
template <class N>
std::string in_digits(N n) {
    const bool negative = n < N(0);
    std::string text;
    do { // digit by digit: the smallest number has no positive counterpart
        const int digit = static_cast<int>(n % N(10));
        text.insert(text.begin(), static_cast<char>('0' + (digit < 0 ? -digit : digit)));
        n = static_cast<N>(n / N(10));
    } while (n != N(0));
    return negative ? "-" + text : text;
}

template <class N>
[[noreturn, gnu::cold]] void refuse_negative_size(N n) {
    throw std::invalid_argument("joblot: the size of the range is " + in_digits(n) + ": does it end before it begins?");
}

/// The size of a range, or nothing where it is more than `largest_size`.
/// @throws std::invalid_argument where it is negative.
template <std::ranges::sized_range R>
std::optional<std::size_t> size_that_fits(R& range) {
    if constexpr (std::ranges::random_access_range<R> &&
                  std::sized_sentinel_for<std::ranges::sentinel_t<R>, std::ranges::iterator_t<R>>) {
        // views::iota(10, 0) says that it has some 2^32 elements
        using length_type = std::ranges::range_difference_t<R>;
        const length_type length = std::ranges::end(range) - std::ranges::begin(range);
        if (length < length_type(0)) refuse_negative_size(length);
    }
    const auto n = std::ranges::size(range);
    using size_type = std::remove_cv_t<decltype(n)>;
    if constexpr (size_type(-1) < size_type(0)) {
        if (n < size_type(0)) refuse_negative_size(n);
    }
    if constexpr (sizeof(size_type) > sizeof(std::size_t)) {
        if (n > static_cast<size_type>(largest_size)) return std::nullopt;
    } else if (static_cast<std::size_t>(n) > largest_size) {
        return std::nullopt;
    }
    return static_cast<std::size_t>(n);
}

/// The size of a range all of whose tasks are to run in one call.
/// @param most How many a call can have.
/// @throws std::length_error where it is more, std::invalid_argument where it is negative.
template <std::ranges::sized_range R>
std::size_t number_of_tasks(R& range, std::size_t most) {
    const std::optional<std::size_t> n = size_that_fits(range);
    if (!n || *n > most)
        throw std::length_error("joblot: the range has " + in_digits(std::ranges::size(range)) +
                                " elements, more than one call can have results for (" + in_digits(most) +
                                "): take fewer, or read the results by a generator");
    return *n;
}

} // namespace joblot::detail
// ---- joblot/wire/remote_task.hpp
// Tasks between processes: which can be sent, how one is written, and what runs it where it has arrived.

// ---- joblot/persisted.hpp
// `persisted<T>`: the result of a task that stays where it was made. To have a task leave it so is to *persist* it.

// ---- joblot/wire/block.hpp
// Values in a form that other languages read: arrays of numbers as numpy has them, single numbers, and bytes; all
// others as the codec writes them.

#include <algorithm>
#include <array>
#include <charconv>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <memory>
#include <ranges>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <vector>

namespace joblot::detail {

// On the wire: the head, at a multiple of `stream_alignment`; its shape, an u64 for each dimension; then a block
// (`outgoing::put_block`). python/worker_shim/joblot_datasets.py reads and writes the same. Beside numpy's, dtypes are
// "bytes", "O" (what the codec writes follows), and "!": there is no value, and `dimensions` is the length of the text
// that follows and says why.
struct block_head {
    std::array<char, 16> dtype{};
    std::uint32_t dimensions = 0;
    std::uint32_t fortran = 0; ///< 1: the first index is the one that changes from number to number
};
inline constexpr std::string_view bytes_dtype = "bytes", opaque_dtype = "O", missing_dtype = "!";

/// The numbers of a block, where they are in the memory that a worker was given.
struct block_view {
    std::string dtype;
    std::vector<std::size_t> shape;
    bool fortran = false;
    bytes_view bytes;
};

/// Bytes of one element; 0 where the dtype has no such size.
inline std::size_t item_size(std::string_view dtype) noexcept {
    if (dtype == bytes_dtype) return 1;
    std::size_t size = 0;
    if (dtype.size() > 2) std::from_chars(dtype.data() + 2, dtype.data() + dtype.size(), size);
    return size <= 16 ? size : 0;
}

[[noreturn, gnu::cold]] inline void refuse_block(const std::string& name, const std::string& wanted,
                                                 const std::string& why) {
    throw serialization_error("joblot: " + name + " cannot be read as " + wanted + ": " + why, "block");
}

/// Reads the head of a value. @throws serialization_error where there is none, or it is said to be missing.
inline block_view read_block_head(incoming& from, const std::string& name, const std::string& wanted) {
    static_cast<void>(from.take(round_up(from.position(), stream_alignment) - from.position(), "a block"));
    const auto head = from.get<block_head>("a block");
    block_view result;
    result.dtype.assign(head.dtype.data(), ::strnlen(head.dtype.data(), head.dtype.size()));
    if (result.dtype == missing_dtype) {
        const bytes_view why = from.take(head.dimensions, "a block");
        refuse_block(name, wanted, {reinterpret_cast<const char*>(why.data()), why.size()});
    }
    result.fortran = head.fortran != 0;
    if (head.dimensions > from.remaining() / sizeof(std::uint64_t))
        refuse_block(name, wanted, "its shape makes no sense");
    for (std::uint32_t i = 0; i != head.dimensions; ++i) result.shape.push_back(from.get<std::uint64_t>("a block"));
    return result;
}

/// Reads an array, a number or bytes. The bytes are not trusted.
/// @param name   What it is, for errors.
/// @param wanted What it should be, for errors.
/// @throws serialization_error where it is none of these.
[[nodiscard]] inline block_view read_block(incoming& from, const std::string& name, const std::string& wanted) {
    block_view result = read_block_head(from, name, wanted);
    std::size_t bytes = item_size(result.dtype);
    if (bytes == 0) refuse_block(name, wanted, "its dtype is " + result.dtype);
    for (const std::size_t n : result.shape) {
        if (n != 0 && bytes > std::numeric_limits<std::size_t>::max() / n)
            refuse_block(name, wanted, "its shape makes no sense");
        bytes *= n;
    }
    if (bytes > from.remaining_with_blocks()) refuse_block(name, wanted, "its size is not that of its shape");
    result.bytes = from.take_block(bytes, stream_alignment, "a block");
    return result;
}

// --- which types have such a form

enum class block_kind { none, number, bytes, array };

/// The numbers that an array's elements are made of, and the shape of one element.
template <class E>
struct array_element {
    using number = E;
    static void add_shape(std::vector<std::size_t>&) {}
};
template <class E, std::size_t N>
    requires(N > 0)
struct array_element<std::array<E, N>> {
    using number = typename array_element<E>::number;
    static void add_shape(std::vector<std::size_t>& shape) {
        shape.push_back(N);
        array_element<E>::add_shape(shape);
    }
};

template <class T>
constexpr block_kind block_kind_of() {
    if constexpr (numeric<T>) {
        return block_kind::number;
    } else if constexpr (std::same_as<T, std::string> || std::same_as<T, std::vector<std::byte>>) {
        return block_kind::bytes;
    } else if constexpr (is_std_array<T>) {
        return numeric<typename array_element<T>::number> ? block_kind::array : block_kind::none;
    } else if constexpr (way_v<T> == way::block) {
        using element = std::remove_cv_t<typename T::value_type>;
        return numeric<typename array_element<element>::number> ? block_kind::array : block_kind::none;
    } else {
        return block_kind::none;
    }
}

/// What the elements of a type's form are called: a dtype.
template <class T>
std::string block_dtype() {
    if constexpr (block_kind_of<T>() == block_kind::bytes)
        return std::string(bytes_dtype);
    else if constexpr (block_kind_of<T>() == block_kind::number)
        return dtype_of<T>();
    else if constexpr (is_std_array<T>)
        return dtype_of<typename array_element<T>::number>();
    else
        return dtype_of<typename array_element<std::remove_cv_t<typename T::value_type>>::number>();
}
/// The same for people.
template <class T>
std::string block_description() {
    if constexpr (block_kind_of<T>() == block_kind::none)
        return std::string("a ") + name_for_errors<T>();
    else if constexpr (block_kind_of<T>() == block_kind::bytes)
        return "bytes";
    else
        return (block_kind_of<T>() == block_kind::number ? "a number of dtype " : "an array of dtype ") +
               block_dtype<T>();
}

// --- writing and reading them

/// Writes a value. @param value Must last until the message is sent, unless `to.passing` says that it does not.
template <class T>
void encode_as_block(encoder& to, const T& value) {
    constexpr block_kind kind = block_kind_of<T>(); // numbers have no padding
    outgoing& message = to.message();
    message.stream.align<stream_alignment>();
    const auto put_head = [&](std::string_view dtype, const std::vector<std::size_t>& shape) {
        block_head head;
        dtype.copy(head.dtype.data(), head.dtype.size() - 1);
        head.dimensions = static_cast<std::uint32_t>(shape.size());
        message.put(head);
        for (const std::size_t n : shape) message.put(static_cast<std::uint64_t>(n));
    };
    if constexpr (kind == block_kind::none) {
        put_head(opaque_dtype, {});
        encode(to, value);
    } else if constexpr (kind == block_kind::number) {
        put_head(block_dtype<T>(), {});
        message.put_block(&value, sizeof value, stream_alignment, true);
    } else {
        using element = std::remove_cv_t<typename T::value_type>;
        const auto n = static_cast<std::size_t>(std::ranges::size(value));
        std::vector<std::size_t> shape{n};
        array_element<element>::add_shape(shape);
        put_head(block_dtype<T>(), shape);
        message.put_block(n ? std::to_address(std::ranges::begin(value)) : nullptr, n * sizeof(element),
                          stream_alignment, true);
    }
}

/// The elements of a block as those of a contiguous container, where they are.
/// @throws serialization_error where it is of another shape or dtype.
template <class T>
auto block_elements(const block_view& block, const std::string& name) {
    using element = std::remove_cv_t<typename T::value_type>;
    const auto refuse = [&](const std::string& why) { refuse_block(name, block_description<T>(), why); };
    const std::string wanted = block_dtype<T>();
    const bool is_bytes = wanted == bytes_dtype && block.dtype == "|u1";
    if (block.dtype != wanted && !is_bytes) refuse("its dtype is " + block.dtype);
    std::vector<std::size_t> shape(1, block.shape.empty() ? 0 : block.shape[0]);
    array_element<element>::add_shape(shape);
    if (shape != block.shape) refuse("it has another shape");
    if (block.fortran && shape.size() > 1) refuse("it is in the order of Fortran");
    if constexpr (has_bools<element>) {
        if (!bools_are_valid<element>(block.bytes.data(), shape[0])) refuse(std::string("it has ") + invalid_bool);
    }
    return std::span(reinterpret_cast<const element*>(block.bytes.data()), shape[0]);
}

/// A number. Python's own ones have the widest types: they are taken where they have a value of `T`.
/// @throws serialization_error It is none, or has no value of `T`.
template <numeric T>
T block_number(const block_view& block, const std::string& name) {
    const auto refuse = [&](const std::string& why) { refuse_block(name, block_description<T>(), why); };
    if (!block.shape.empty()) refuse("it is an array");
    if (block.dtype == dtype_of<T>()) return from_bytes<T>(block.bytes.data());
    const bool is_real = block.dtype == "<f8", is_integer = block.dtype == "<i8" || block.dtype == "<u8";
    if constexpr (is_complex<T>) {
        using part = typename T::value_type;
        if (block.dtype == "<c16") {
            const auto parts = from_bytes<std::array<double, 2>>(block.bytes.data());
            return T(static_cast<part>(parts[0]), static_cast<part>(parts[1]));
        }
        if (is_real || is_integer) return T(block_number<part>(block, name));
    } else if constexpr (std::floating_point<T>) {
        if (is_real) return static_cast<T>(from_bytes<double>(block.bytes.data()));
        if (is_integer) return static_cast<T>(block_number<std::int64_t>(block, name));
    } else if constexpr (std::integral<T> && !std::same_as<T, bool>) {
        const auto narrow = [&](auto wide) {
            const auto n = static_cast<T>(wide);
            if (static_cast<decltype(wide)>(n) != wide || (n < T{}) != (wide < 0))
                refuse("it is " + std::to_string(wide));
            return n;
        };
        if (block.dtype == "<i8") return narrow(from_bytes<std::int64_t>(block.bytes.data()));
        if (block.dtype == "<u8") return narrow(from_bytes<std::uint64_t>(block.bytes.data()));
    }
    refuse("its dtype is " + block.dtype);
    return T();
}

/// Reads what `encode_as_block` wrote, or Python. @throws serialization_error where it is no `T`.
/// @param name What it is, for errors.
template <class T>
T decode_as_block(decoder& from, const std::string& name) {
    constexpr block_kind kind = block_kind_of<T>();
    const std::string wanted = block_description<T>();
    if constexpr (kind == block_kind::none) {
        const block_view head = read_block_head(from.message(), name, wanted);
        if (head.dtype != opaque_dtype) refuse_block(name, wanted, "its dtype is " + head.dtype);
        return decode<T>(from);
    } else {
        const block_view block = read_block(from.message(), name, wanted);
        if constexpr (kind == block_kind::number) {
            return block_number<T>(block, name);
        } else {
            const auto elements = block_elements<T>(block, name);
            const auto* const first = elements.data();
            if constexpr (is_std_array<T>) {
                if (elements.size() != std::tuple_size_v<T>) refuse_block(name, wanted, "it has another shape");
                T value;
                std::copy_n(first, elements.size(), value.begin());
                return value;
            } else if constexpr (std::constructible_from<T, decltype(first), decltype(first)>) {
                return T(first, first + elements.size());
            } else {
                return T(first, elements.size());
            }
        }
    }
}

} // namespace joblot::detail

#include <concepts>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <type_traits>
#include <utility>
#include <variant>

namespace joblot {

namespace detail {

/// Types that can be read as a `std::span` of numbers, wherever the bytes are.
template <class T>
concept number_array = block_kind_of<T>() == block_kind::array && !is_std_array<T>;

template <class T>
struct number_span {
    using type = std::span<const std::byte>; // never filled
};
template <number_array T>
struct number_span<T> {
    using type = std::span<const std::remove_cv_t<typename T::value_type>>;
};

inline constexpr const char* persisted_name = "a persisted result";

/// What follows in a message.
enum class persisted_form : std::uint32_t { nothing, value, place };

inline void put_place(outgoing& message, const segment& place) {
    message.put(persisted_form::place);
    message.put(place.id());
}

/// A result, here or elsewhere. All members are thread-safe.
template <class T>
class persisted_value {
public:
    explicit persisted_value(T value) : value_(std::move(value)) {}
    /// @param image What the value is made of, here; or with a key: elsewhere.
    explicit persisted_value(std::shared_ptr<segment> image) : image_(std::move(image)) {}

    [[nodiscard]] const T& get() {
        std::call_once(made_, [this] {
            if (value_) return;
            if constexpr (travels<T>) { // what does not is always here
                const std::shared_ptr<segment> here = message();
                decoder from(here->message());
                value_.emplace(decode_as_block<T>(from, persisted_name));
            }
        });
        return *value_;
    }
    /// The elements; where they came as a block, in place.
    [[nodiscard]] typename number_span<T>::type elements() {
        if (!image_) return {std::ranges::data(*value_), std::ranges::size(*value_)};
        if (!image_->key().empty()) return {std::ranges::data(get()), std::ranges::size(get())};
        incoming message = image_->message();
        return block_elements<T>(read_block(message, persisted_name, block_description<T>()), persisted_name);
    }
    /// Where it is, if that is elsewhere; else null.
    [[nodiscard]] std::shared_ptr<segment> place() const { return image_ && !image_->key().empty() ? image_ : nullptr; }

private:
    [[nodiscard]] std::shared_ptr<segment> message() const {
        return image_->key().empty() ? image_ : image_->owner()->fetch(*image_);
    }

    const std::shared_ptr<segment> image_; // null: the value is here
    std::once_flag made_;
    std::optional<T> value_;
};

} // namespace detail

/// The result of a task that `Parallel::persist` ran; it stays where it was made: on a Dask cluster in the memory of a
/// worker, elsewhere in this process. Pass it to later tasks with `std::cref(handle)`: a function that takes a
/// `const T&`, or a `std::span` of a container's numbers, gets the value, which does not pass through this process.
///
/// Can be moved, not copied; the value is freed with it. On a cluster, whatever needs the value again after a worker
/// was lost computes it again, as long as what its task needed is there or can be computed; broadcast values are
/// brought there again. All const members are thread-safe.
template <class T>
class persisted {
public:
    using value_type = T;

    persisted() = default; ///< no result
    explicit persisted(T value) : value_(std::make_shared<detail::persisted_value<T>>(std::move(value))) {}
    explicit persisted(std::shared_ptr<detail::segment> image)
        : value_(std::make_shared<detail::persisted_value<T>>(std::move(image))) {}
    persisted(persisted&&) noexcept = default;
    persisted& operator=(persisted&&) noexcept = default;
    ~persisted() = default;

    /// Whether it has a result.
    [[nodiscard]] explicit operator bool() const noexcept { return value_ != nullptr; }

    /// The value, brought here when it is first asked for; it lives as long as the handle. Blocks for that.
    /// @throws backend_error where it was lost, or its cluster is gone; serialization_error where there is a value of
    /// another type; error where there is no result.
    [[nodiscard]] const T& get() const { return value().get(); }
    [[nodiscard]] const T& operator*() const { return get(); }
    [[nodiscard]] const T* operator->() const { return std::addressof(get()); }
    operator const T&() const { return get(); }

    /// The elements of a container of numbers; in a task where they arrived, without a copy.
    [[nodiscard]] auto span() const
        requires detail::number_array<T>
    {
        return value().elements();
    }
    operator typename detail::number_span<T>::type() const
        requires detail::number_array<T>
    {
        return value().elements();
    }

    // For the library's own parts.

    /// Where it is, if that is not in this process; else null.
    [[nodiscard]] std::shared_ptr<detail::segment> place() const { return value_ ? value_->place() : nullptr; }

    template <class Archive>
    void save(Archive& to) const
        requires detail::travels<T>
    {
        if constexpr (std::same_as<Archive, detail::encoder>) {
            detail::outgoing& message = to.message();
            const std::shared_ptr<detail::segment> image = place();
            if (image) {
                detail::put_place(message, *image);
                message.images.push_back(image);
            } else if (value_) {
                message.put(detail::persisted_form::value);
                detail::encode_as_block(to, value_->get());
                message.owners.push_back(value_);
            } else {
                message.put(detail::persisted_form::nothing);
            }
        }
    }
    template <class Archive>
    void load(Archive& from)
        requires detail::travels<T>
    {
        if constexpr (std::same_as<Archive, detail::decoder>) {
            const auto form = from.message().template get<detail::persisted_form>(detail::persisted_name);
            if (form == detail::persisted_form::value) {
                *this = persisted(detail::decode_as_block<T>(from, detail::persisted_name));
            } else if (form == detail::persisted_form::place) {
                auto image = from.image(from.message().template get<std::uint64_t>(detail::persisted_name));
                if (!image) from.message().fail("a result that did not arrive", detail::persisted_name);
                *this = persisted(std::move(image));
            } else if (form != detail::persisted_form::nothing) {
                from.message().fail("a result of an unknown form", detail::persisted_name);
            }
        }
    }

private:
    [[nodiscard]] detail::persisted_value<T>& value() const {
        if (!value_) throw error("joblot: this persisted handle has no result: it was moved from, or never had one");
        return *value_;
    }

    std::shared_ptr<detail::persisted_value<T>> value_;
};

namespace detail {

template <class T>
inline constexpr bool is_persisted = false;
template <class T>
inline constexpr bool is_persisted<persisted<T>> = true;

/// A function whose result is persisted where it is called.
template <class F>
struct persisting_call {
    F function;

    template <class... Args>
        requires std::invocable<F&&, Args...>
    auto operator()(Args&&... args) && {
        return persist(
            [&]() -> decltype(auto) { return std::invoke(std::move(function), std::forward<Args>(args)...); });
    }
    template <class... Args>
        requires std::invocable<const F&, Args...>
    auto operator()(Args&&... args) const& {
        return persist([&]() -> decltype(auto) { return std::invoke(function, std::forward<Args>(args)...); });
    }

private:
    template <class Call>
    static auto persist(Call call) {
        using result = std::decay_t<std::invoke_result_t<Call>>;
        if constexpr (std::is_void_v<result>) {
            call();
            return persisted<std::monostate>(std::monostate());
        } else {
            return persisted<result>(call());
        }
    }
};

/// Makes a task one whose result is persisted. Its name stays.
struct persist_result {
    template <class F, class... Args>
    task<persisting_call<F>, Args...> operator()(task<F, Args...> t) const {
        return {persisting_call<F>{std::move(t).function()}, std::move(t).arguments()};
    }
    template <class F, class... Args>
    task<labelled<persisting_call<F>>, Args...> operator()(task<labelled<F>, Args...> t) const {
        labelled<F> named = std::move(t).function();
        return {labelled<persisting_call<F>>{{std::move(named.function)}, std::move(named.label)},
                std::move(t).arguments()};
    }
};

template <class Task>
inline constexpr bool persists_result = false;
template <class F, class... Args>
inline constexpr bool persists_result<task<persisting_call<F>, Args...>> = true;
template <class F, class... Args>
inline constexpr bool persists_result<task<labelled<persisting_call<F>>, Args...>> = true;

} // namespace detail

} // namespace joblot

#include <concepts>
#include <cstddef>
#include <functional>
#include <span>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>

namespace joblot {

namespace detail {

// --- what the function takes, where it says so

template <class F>
struct parameters {
    using type = void; // overloaded or generic: it takes what it is given
};
template <class R, class... P>
struct parameters<R (*)(P...)> {
    using type = std::tuple<std::type_identity<P>...>;
};
template <class R, class... P>
struct parameters<R (*)(P...) noexcept> : parameters<R (*)(P...)> {};
template <class M>
struct call_operator;
template <class R, class C, class... P>
struct call_operator<R (C::*)(P...)> : parameters<R (*)(P...)> {};
template <class R, class C, class... P>
struct call_operator<R (C::*)(P...) const> : parameters<R (*)(P...)> {};
template <class R, class C, class... P>
struct call_operator<R (C::*)(P...) noexcept> : parameters<R (*)(P...)> {};
template <class R, class C, class... P>
struct call_operator<R (C::*)(P...) const noexcept> : parameters<R (*)(P...)> {};
template <class F>
    requires requires { typename call_operator<decltype(&F::operator())>::type; }
struct parameters<F> : call_operator<decltype(&F::operator())> {};

template <class F>
struct parameters<persisting_call<F>> : parameters<F> {};

/// The decayed type of parameter I, or void.
template <class F, std::size_t I>
constexpr auto parameter_of() {
    using list = typename parameters<F>::type;
    if constexpr (std::is_void_v<list>)
        return std::type_identity<void>();
    else if constexpr (I < std::tuple_size_v<list>)
        return std::type_identity<std::decay_t<typename std::tuple_element_t<I, list>::type>>();
    else
        return std::type_identity<void>();
}
template <class F, std::size_t I>
using parameter_t = typename decltype(parameter_of<F, I>())::type;

// --- arguments

/// How an argument is held where the call is made.
template <class Arg, class Parameter>
struct received {
    using value = Arg;
    static constexpr bool possible = travels<Arg>;
    static value read(decoder& from) { return decode<Arg>(from); }
    static value&& pass(value& v) { return std::move(v); }
};
/// `std::cref`: the original is written, and the call gets a reference to what has arrived.
template <class T, class Parameter>
struct received<std::reference_wrapper<const T>, Parameter> {
    using value = T;
    static constexpr bool possible = travels<T>;
    static value read(decoder& from) { return decode<T>(from); }
    static const T& pass(const value& v) { return v; }
};
/// A function that takes `std::span<const E>` reads a container's elements where they arrived.
template <class Arg, class E>
    requires(way_v<Arg> == way::block && std::same_as<std::remove_cv_t<typename Arg::value_type>, E> &&
             alignof(E) <= stream_alignment)
struct received<Arg, std::span<const E>> {
    using value = std::span<const E>;
    static constexpr bool possible = true;
    static value read(decoder& from) { return decode_view<E>(from, name_for_errors<Arg>()); }
    static value pass(value v) { return v; }
};
template <class T, class E>
    requires(way_v<T> == way::block && std::same_as<std::remove_cv_t<typename T::value_type>, E> &&
             alignof(E) <= stream_alignment)
struct received<std::reference_wrapper<const T>, std::span<const E>> : received<T, std::span<const E>> {};

template <class Arg>
void encode_argument(encoder& to, const Arg& argument) {
    encode(to, argument);
}
template <class T>
void encode_argument(encoder& to, const std::reference_wrapper<const T>& argument) {
    encode(to, argument.get());
}

// A label stays at home.
template <class F>
const F& bare_function(const F& f) {
    return f;
}
template <class F>
const F& bare_function(const labelled<F>& f) {
    return f.function;
}

template <class R>
inline constexpr bool result_travels = std::is_void_v<R> || travels<R>;
template <>
inline constexpr bool result_travels<void> = true;

// What becomes of a task's result in the process that made it. All have the same members: whether it is possible for a
// result, also whether from a process that was forked, which needs to be sent nothing; if not, why; how a request is
// opened (see runner_entry); and what takes the result of a call.

/// It is sent.
struct result_sent {
    template <class R>
    static constexpr bool returns = result_travels<R>;
    template <class R>
    static constexpr bool possible = returns<R>;
    template <class R>
    static std::string refusal() {
        return what_does_not_travel<R>("its result");
    }
    static constexpr runner_entry::opening open = nullptr;

    template <class Call>
    static void take(encoder& to, result_listener& then, Call call) {
        if constexpr (std::is_void_v<std::invoke_result_t<Call>>) {
            call();
        } else {
            const std::decay_t<std::invoke_result_t<Call>> value = call();
            encode(to, value);
            return then.result_written();
        }
        then.result_written();
    }
};
/// It is dropped: it need not travel.
struct result_dropped {
    template <class R>
    static constexpr bool returns = true;
    template <class R>
    static constexpr bool possible = true;
    template <class R>
    static std::string refusal() {
        return {};
    }
    static constexpr runner_entry::opening open = nullptr;

    template <class Call>
    static void take(encoder&, result_listener& then, Call call) {
        static_cast<void>(call());
        then.result_written();
    }
};

/// Writes, reads and runs tasks of one type.
template <class Task, class Indices>
struct remote_task;
template <class F, class... Args, std::size_t... I>
struct remote_task<task<F, Args...>, std::index_sequence<I...>> {
    using function = std::remove_cvref_t<decltype(bare_function(std::declval<const F&>()))>;
    template <std::size_t K, class Arg>
    using arrival = received<Arg, parameter_t<function, K>>;
    using result = task_result_t<task<F, Args...>>;

    static constexpr bool callable = [] {
        if constexpr (travels<function> && (arrival<I, Args>::possible && ...))
            return std::invocable<function, decltype(arrival<I, Args>::pass(
                                                std::declval<typename arrival<I, Args>::value&>()))...>;
        else
            return false;
    }();
    static constexpr bool possible = callable && result_travels<result>;

    /// Whether a task may have blocks of memory beside the stream, so that it must live until it has been sent.
    static constexpr bool may_have_blocks =
        !((is_raw<Args> && ...) && (is_raw<function> || std::is_pointer_v<function>));

    static void write(encoder& to, const task<F, Args...>& t) {
        encode(to, bare_function(t.function()));
        std::apply([&](const Args&... args) { (encode_argument(to, args), ...); }, t.arguments());
    }

    /// @tparam How What becomes of the result.
    template <class How = result_sent>
    static void run(decoder& from, encoder& to, result_listener& then) {
        function f = decode<function>(from);
        std::tuple<typename arrival<I, Args>::value...> args{arrival<I, Args>::read(from)...}; // braces: in this order
        How::take(to, then,
                  [&]() -> result { return std::invoke(std::move(f), arrival<I, Args>::pass(std::get<I>(args))...); });
    }

    static result read_result(decoder& from) {
        if constexpr (!std::is_void_v<result>) return decode<result>(from);
    }

    template <class How = result_sent>
    static const runner_entry& entry() noexcept {
        return entry_<How>;
    }

private:
    template <class How>
    static inline const runner_entry entry_{&run<How>, How::open};
};

template <class Task>
struct remote_form;
template <class F, class... Args>
struct remote_form<task<F, Args...>> {
    using type = remote_task<task<F, Args...>, std::index_sequence_for<Args...>>;
};
/// The `remote_task` of a task type.
template <class Task>
using remote_form_t = typename remote_form<std::remove_cvref_t<Task>>::type;

template <class Task, class How = result_sent>
[[noreturn]] void refuse_to_send();
template <class Task, class How>
[[noreturn]] void refuse_result();

/// What every kind of source of tasks of type `Task` offers to a backend whose workers are other processes. `How` is
/// what becomes of the results.
template <class Task>
class remotable_tasks {
    using form = remote_form_t<Task>;
    using result = task_result_t<Task>;

public:
    template <class How>
    static const runner_entry& runner(How) {
        if constexpr (form::callable && How::template possible<result>)
            return form::template entry<How>();
        else
            refuse_to_send<Task, How>();
    }
    template <class How>
    static void check_results_travel(How) {
        if constexpr (!How::template returns<result>) refuse_result<Task, How>();
    }
    static result decode_result([[maybe_unused]] decoder& from) {
        if constexpr (result_travels<result>)
            return form::read_result(from);
        else
            refuse_result<Task, result_sent>();
    }

protected:
    /// Writes a task that somebody else owns, or one that was made for this and must live until it has been sent.
    template <class T>
    static void encode_one([[maybe_unused]] encoder& to, T&& t) {
        if constexpr (!form::callable) {
            refuse_to_send<Task>();
        } else if constexpr (!std::is_lvalue_reference_v<T> && form::may_have_blocks) {
            const auto owner = std::make_shared<const Task>(std::forward<T>(t));
            form::write(to, *owner);
            to.message().owners.push_back(owner);
        } else {
            form::write(to, t);
        }
    }
    template <class How, class Call>
    static void run_and_encode(How, [[maybe_unused]] encoder& to, [[maybe_unused]] result_listener& then, Call call) {
        if constexpr (How::template returns<result>)
            How::take(to, then, call);
        else
            refuse_result<Task, How>();
    }
};

template <class T>
struct referred : std::type_identity<T> {};
template <class T>
struct referred<std::reference_wrapper<const T>> : std::type_identity<T> {};

template <class Task>
struct unremotable_part_of;

/// What of a task's parts does not travel, and why.
template <class Task, class Indices>
struct unremotable_part;
template <class F, class... Args, std::size_t... I>
struct unremotable_part<task<F, Args...>, std::index_sequence<I...>> {
    using form = remote_task<task<F, Args...>, std::index_sequence<I...>>;
    using function = typename form::function;
    using result = typename form::result;

    template <class How>
    static std::string text() {
        if constexpr (!travels<function>) return what_does_not_travel<function>("its function");
        std::string found;
        [[maybe_unused]] const auto look = [&]<class Arg, std::size_t K>() {
            if constexpr (!form::template arrival<K, Arg>::possible)
                found = what_does_not_travel<typename referred<Arg>::type>("argument " + std::to_string(K + 1));
            return !found.empty();
        };
        if ((look.template operator()<Args, I>() || ...)) return found;
        if constexpr (!How::template possible<result>)
            return How::template refusal<result>();
        else
            return "its function cannot be called with the values that its arguments become; let it take them as "
                   "values, "
                   "or by reference to const";
    }
};

template <class F, class... Args>
struct unremotable_part_of<task<F, Args...>> : unremotable_part<task<F, Args...>, std::index_sequence_for<Args...>> {};

template <class Task>
[[noreturn, gnu::cold]] void refuse_part(const std::string& part) {
    throw serialization_error("joblot: a task cannot be sent to another process: " + part, name_for_errors<Task>());
}
/// Names the part of a task that keeps it at home, the reason, and the way out.
template <class Task, class How>
[[noreturn, gnu::cold]] void refuse_to_send() {
    refuse_part<Task>(unremotable_part_of<std::remove_cvref_t<Task>>::template text<How>());
}
/// The same for a task that need not be sent, but whose result must be.
template <class Task, class How>
[[noreturn, gnu::cold]] void refuse_result() {
    refuse_part<Task>(How::template refusal<task_result_t<Task>>());
}

} // namespace detail

/// Whether tasks of this type can run in worker processes that were not forked, and on a cluster:
/// `static_assert(joblot::is_remotable_v<decltype(joblot::delayed(f)(1))>);`
template <class Task>
inline constexpr bool is_remotable_v = detail::remote_form_t<Task>::possible;

} // namespace joblot

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <type_traits>
#include <utility>
#include <vector>

namespace joblot::detail {

// All have the same members: `put(k, make)` keeps what `make()` returns as result k; different threads may put
// different results at the same time. `take()` gives them all, `take(list)` appends them; for when nobody puts any
// more. `most` is how many there can be.

/// As many as memory has addresses for.
template <class T>
inline constexpr std::size_t most_values = static_cast<std::size_t>(PTRDIFF_MAX) / sizeof(T);

/// Where results share nothing.
struct nothing_shared {};

/// What holds of most results.
struct plain_results {
    using how = result_sent;                      ///< what becomes of a result in another process
    using shared = nothing_shared;                ///< what all tasks of a call refer to
    static constexpr bool keeps_failures = false; ///< whether a failure is a result, too
};

/// For tasks without a result.
class no_results : public plain_results {
public:
    static constexpr std::size_t most = largest_size;

    explicit no_results(std::size_t) {}
    template <class Make>
    void put(std::size_t, Make&& make) {
        static_cast<void>(std::forward<Make>(make)());
    }
    void take() {}
};

/// For numbers and the like: they are written where the caller will find them.
template <class R>
class direct_results : public plain_results {
    struct pointer {
        R* values;
        template <class Make>
        void put(std::size_t k, Make&& make) const {
            values[k] = std::forward<Make>(make)();
        }
    };

public:
    static constexpr std::size_t most = most_values<R>;

    explicit direct_results(std::size_t n) : values_(n) {}
    template <class Make>
    void put(std::size_t k, Make&& make) {
        bare().put(k, std::forward<Make>(make));
    }
    std::vector<R> take() { return std::move(values_); }
    void take(std::vector<R>& all) { all.insert(all.end(), values_.begin(), values_.end()); }
    pointer bare() noexcept { return {values_.data()}; }

private:
    std::vector<R> values_;
};

/// For everything else that can be moved. An optional of its own for each result, so `bool`s share no byte.
template <class R>
class movable_results : public plain_results {
public:
    static constexpr std::size_t most = most_values<std::optional<R>>;

    explicit movable_results(std::size_t n) : values_(n) {}
    template <class Make>
    void put(std::size_t k, Make&& make) {
        values_[k].emplace(std::forward<Make>(make)());
    }
    std::vector<R> take() {
        std::vector<R> all;
        all.reserve(values_.size());
        take(all);
        return all;
    }
    void take(std::vector<R>& all) {
        for (auto& v : values_) all.push_back(std::move(*v));
    }
    std::optional<R>& operator[](std::size_t k) { return values_[k]; }

private:
    std::vector<std::optional<R>> values_;
};

/// For results that are handed out one by one; `void` becomes `std::monostate`.
template <class R>
class streamed_results : public plain_results {
public:
    explicit streamed_results(std::size_t n) : values_(n) {}
    template <class Make>
    void put(std::size_t k, Make&& make) {
        if constexpr (std::is_void_v<R>) {
            std::forward<Make>(make)();
            values_[k].emplace();
        } else {
            values_[k].emplace(std::forward<Make>(make)());
        }
    }
    std::optional<stored_t<R>>& operator[](std::size_t k) { return values_[k]; }

private:
    std::vector<std::optional<stored_t<R>>> values_;
};

/// For `outcomes`: failures are results too.
template <class R>
class outcome_results : public plain_results {
public:
    static constexpr bool keeps_failures = true;
    static constexpr std::size_t most = most_values<std::optional<outcome<R>>>;
    using list = std::vector<outcome<R>>;

    explicit outcome_results(std::size_t n) : values_(n) {}
    template <class Make>
    void put(std::size_t k, Make&& make) {
        if constexpr (std::is_void_v<R>) {
            std::forward<Make>(make)();
            values_[k].emplace(std::in_place, std::monostate{});
        } else {
            values_[k].emplace(std::in_place, std::forward<Make>(make)());
        }
    }
    void put_failure(std::size_t k, failure f) { values_[k].emplace(std::move(f)); }
    /// Value k, which is there, came at that try.
    void note_tries(std::size_t k, int tries) { values_[k]->tries_ = tries; }
    /// Fills in what a stopped call has left; not in `take`, where it costs each task of every call 12 instructions.
    /// @param missing Gives the failure of task k, which did not end.
    template <class Missing>
    void fill(Missing missing) {
        for (std::size_t k = 0; k != values_.size(); ++k) {
            if (!values_[k]) put_failure(k, missing(k));
        }
    }
    /// Appends all of them to `all`, where they have the indices that they have in the call.
    void take(list& all) {
        for (auto& v : values_) {
            v->index_ = all.size();
            all.push_back(std::move(*v));
        }
    }
    std::optional<outcome<R>>& operator[](std::size_t k) { return values_[k]; }

private:
    std::vector<std::optional<outcome<R>>> values_;
};

template <class R>
concept plain_number_like = std::is_trivially_default_constructible_v<R> && std::is_trivially_copyable_v<R> &&
                            std::is_move_assignable_v<R> && !std::same_as<R, bool>;

template <class R>
struct list_results_of {
    using type = movable_results<R>;
};
template <plain_number_like R>
struct list_results_of<R> {
    using type = direct_results<R>;
};
template <>
struct list_results_of<void> {
    using type = no_results;
};

/// What keeps the results of a call that returns a `std::vector<R>`, or nothing for `void`.
template <class R>
using list_results = typename list_results_of<R>::type;

/// For tasks whose results nobody wants.
class dropped_results : public no_results {
public:
    using no_results::no_results;
    using how = result_dropped;
};

template <class Results>
inline constexpr bool keeps_failures = Results::keeps_failures;
template <class Results>
inline constexpr bool combines = !std::is_same_v<typename Results::shared, nothing_shared>;
/// Whether there is nothing to be taken from a task that has ended.
template <class Results>
inline constexpr bool keeps_nothing = combines<Results> || std::is_base_of_v<no_results, Results>;

} // namespace joblot::detail

#include <algorithm>
#include <cstddef>
#include <exception>
#include <string>
#include <utility>

namespace joblot::detail {

template <class Tasks>
std::string label_or_nothing(Tasks& tasks, std::size_t k) noexcept {
    try {
        return tasks.label(k); // may have to make the task anew, and that may be what failed
    } catch (...) {
        return {};
    }
}

/// What the fast loop uses instead of `x`: where it offers one, a copy of its bare pointers, which the compiler can
/// keep in registers. Through `x` itself they would be read anew for each task, as looking at the halt mark might
/// change them.
template <class X>
decltype(auto) bare(X& x) {
    if constexpr (requires { x.bare(); })
        return x.bare();
    else
        return static_cast<X&>(x);
}

/// Calls `run(k)` for the tasks from `i` up to `last` that may start; `i` is always the one that runs, or is next.
template <class Run>
void run_started(worker& w, std::size_t& i, std::size_t last, std::size_t stride, Run run) {
    while (i != last && w.may_start(i)) {
        const std::size_t stop = std::min(last, i + stride);
        do {
            w.starts(i);
            run(i);
        } while (++i != stop);
    }
}

/// Runs the loop over a batch in which a failure fails the call: `loop(i, last)`. Gives how many tasks ended.
/// @param offset Index in the call of the first of `tasks`.
template <class Tasks, class Loop>
std::size_t run_until_failure(job& j, worker& w, const batch& b, Tasks& tasks, std::size_t offset, Loop loop) {
    std::size_t i = b.first();
    try {
        loop(i, i + b.size());
    } catch (const unreadable& e) {
        j.fail_input(i, e.why);
    } catch (...) {
        w.context().stop.reset();
        j.fail(i, caught_error(), label_or_nothing(tasks, i - offset));
        if (thread_ends()) {
            w.add_completed(i - b.first());
            throw;
        }
    }
    w.add_completed(i - b.first());
    return i - b.first();
}

/// The fast loop: nothing per task but the call itself and a look at the halt mark (see worker::stride). Gives how many
/// tasks ended.
/// @param offset Index in the call of the first of `tasks` and `results`.
template <class Tasks, class Results>
std::size_t run_plain(job& j, worker& w, const batch& b, Tasks& tasks, Results& results, std::size_t offset) {
    return run_until_failure(j, w, b, tasks, offset, [&](std::size_t& i, std::size_t last) {
        auto&& from = bare(tasks);
        auto&& to = bare(results);
        run_started(w, i, last, w.stride(b), [&](std::size_t k) {
            to.put(k - offset, [&]() -> decltype(auto) { return from.call(k - offset); });
        });
    });
}

/// Makes the failures of the tasks that a stopped call has left; for when no worker is inside any more. They share one
/// exception.
class left_tasks {
public:
    explicit left_tasks(const job& j) : job_(j) {}

    [[nodiscard]] failure at(std::size_t index, std::string label = {}) {
        if (!why_) why_ = std::make_exception_ptr(cancelled(job_.completed_tasks()));
        return {why_, {index, std::move(label)}, 0};
    }

private:
    const job& job_;
    std::exception_ptr why_; // null as long as there is none: most calls leave no task
};

// The loop with time limits, retries and outcomes is compiled once, for all tasks: what it does per task is long
// against the call of a virtual function.

/// How a task ended: its last exception, or null, and at which try.
struct task_end {
    std::exception_ptr error{};
    int tries = 0;
};

/// Runs a task of a batch until it succeeds or may not be tried again.
/// @throws unreadable, which no other try would mend.
inline void try_task(job& j, worker& w, const batch& b, std::size_t index, task_end& end) {
    using clock = task_context::clock;
    const auto limit = j.settings().given->timeout.limit();
    const int retries = j.settings().given->retries;
    for (int tries_left = retries;; --tries_left) {
        if (limit) w.context().deadline = deadline_after(clock::now(), *limit);
        end = {nullptr, retries - tries_left + 1};
        try {
            b.tasks()->attempt(index, tries_left > 0);
        } catch (const unreadable&) {
            throw;
        } catch (...) {
            if (thread_ends()) throw;
            end.error = std::current_exception();
        }
        w.context().stop.reset(); // the next attempt has a time limit of its own
        // A late task timed out, also when it threw: it may have done so because it was told to stop.
        if (limit && clock::now() >= w.context().deadline)
            end.error = std::make_exception_ptr(timeout_error({index, b.tasks()->label(index)}, *limit));
        if (!end.error || tries_left == 0 || !w.may_start(index)) return;
    }
}

/// The task ends its thread. That fails it, and the call as well where the thread is the caller's own.
inline void fail_with_thread(job& j, worker& w, const batch& b, std::size_t index, int tries) {
    w.context().stop.reset();
    if (w.context().worker_id == 0) return j.fail(index, thread_end_error(), b.tasks()->label(index));
    if (j.task_failed(b, index, thread_end_error(), tries)) w.add_completed(1);
}

/// Runs the tasks of a batch with time limits, retries and outcomes. Gives how many of them ended.
inline std::size_t run_careful(job& j, worker& w, const batch& b) {
    std::size_t i = b.first();
    for (; i != b.first() + b.size() && w.may_start(i); ++i) {
        task_end end;
        std::exception_ptr input_error;
        try {
            try_task(j, w, b, i, end);
        } catch (const unreadable& e) {
            input_error = e.why;
        } catch (...) { // nothing else leaves try_task
            fail_with_thread(j, w, b, i, end.tries);
            throw;
        }
        w.context().deadline = task_context::clock::time_point::max();
        if (input_error) {
            j.fail_input(i, std::move(input_error));
            break;
        }
        if (end.error) {
            b.tasks()->drop_result(i); // a late one may have left a value
            if (!j.task_failed(b, i, std::move(end.error), end.tries)) break;
        } else {
            b.tasks()->result_stands(i, end.tries);
        }
        w.add_completed(1);
    }
    return i - b.first();
}

/// Whether a call needs the careful loop.
template <class Results>
bool needs_care(const call_settings& s) noexcept {
    return keeps_failures<Results> || s.given->timeout.limit() || s.given->retries > 0;
}

} // namespace joblot::detail

#include <cstddef>
#include <string>
#include <type_traits>
#include <utility>

namespace joblot::detail {

/// Tasks without their results.
/// @tparam How What becomes of results in another process.
template <class Base, class Tasks, class How>
class bare_tasks : public Base {
    using tasks_type = std::remove_reference_t<Tasks>;

public:
    using result_type = typename tasks_type::result_type;

    [[nodiscard]] std::string label(std::size_t index) noexcept override {
        const std::size_t k = index - Base::first;
        return k < tasks_.size() ? label_or_nothing(tasks_, k) : std::string(); // they may be gone already
    }
    void encode(std::size_t index, encoder& to) override { tasks_.encode(index - Base::first, to); }
    void run_forked(std::size_t index, encoder& to, result_listener& then) override {
        tasks_.run_forked(index - Base::first, to, then, How());
    }

    [[nodiscard]] tasks_type& tasks() noexcept { return tasks_; }

protected:
    explicit bare_tasks(Tasks tasks) : tasks_(tasks) {}
    /// Tasks that are still to come.
    explicit bare_tasks(std::size_t first_index) : Base(first_index) {}

    /// Makes a task's call. @param keep_task Whether it may be made again.
    result_type call(std::size_t index, [[maybe_unused]] bool keep_task) {
        const std::size_t k = index - Base::first;
        if constexpr (tasks_type::repeatable) {
            if (keep_task) return tasks_.call_again(k);
        }
        return tasks_.call(k);
    }

    Tasks tasks_;
};

/// @tparam Base    Of `any_tasks`; its member `first` is the index of the first of the tasks.
/// @tparam Tasks   Where they come from (see source.hpp); a reference, if it is the job's.
/// @tparam Results Where results go (see results.hpp).
template <class Base, class Tasks, class Results>
class typed_tasks : public bare_tasks<Base, Tasks, typename Results::how> {
    using base = bare_tasks<Base, Tasks, typename Results::how>;

public:
    typed_tasks(Tasks tasks, std::size_t size, nothing_shared) : base(tasks), results_(size) {}
    /// Tasks that are still to come.
    typed_tasks(std::size_t first_index, nothing_shared) : base(first_index), results_(0) {}

    std::size_t run(job& j, worker& w, const batch& b, bool careful) override {
        return careful ? run_careful(j, w, b) : run_plain(j, w, b, this->tasks_, results_, Base::first);
    }
    void attempt(std::size_t index, bool keep_task) override {
        results_.put(index - Base::first, [&]() -> decltype(auto) { return this->call(index, keep_task); });
    }
    void drop_result([[maybe_unused]] std::size_t index) override {
        if constexpr (keeps_failures<Results>) results_[index - Base::first].reset();
    }
    bool keep_failure([[maybe_unused]] std::size_t index, [[maybe_unused]] failure f) override {
        if constexpr (keeps_failures<Results>) results_.put_failure(index - Base::first, std::move(f));
        return keeps_failures<Results>;
    }
    void result_stands([[maybe_unused]] std::size_t index, [[maybe_unused]] int tries) override {
        if constexpr (keeps_failures<Results>) {
            if (tries > 1) results_.note_tries(index - Base::first, tries);
        }
    }
    void decode([[maybe_unused]] std::size_t index, [[maybe_unused]] decoder& from) override {
        if constexpr (std::is_same_v<typename Results::how, result_sent>) {
            const std::size_t k = index - Base::first;
            results_.put(k, [&]() -> decltype(auto) { return this->tasks_.decode(k, from); });
        }
    }

    [[nodiscard]] Results& results() noexcept { return results_; }

protected:
    Results results_;
};

} // namespace joblot::detail
// ---- joblot/system/cpu_here.hpp
// Which CPU a thread is on, where the system says so without a system call.

#if defined(__linux__)
#include <sched.h>
#endif

namespace joblot::detail {

/// Its number, or -1 where it is not known. It may be another one at the next moment.
inline int cpu_here() noexcept {
#if defined(__linux__)
    return ::sched_getcpu();
#else
    return -1;
#endif
}

} // namespace joblot::detail

#include <algorithm>
#include <atomic>
#include <bit>
#include <cstddef>
#include <memory>
#include <string>

namespace joblot::detail {

/// All tasks of a call.
struct all_tasks : any_tasks {
    static constexpr std::size_t first = 0;
};

/// @tparam Source  Tasks by index, all members thread-safe (see `indexed_source`).
/// @tparam Results Where results go (see results.hpp).
template <class Source, class Results>
class indexed_job final : public job {
public:
    indexed_job(const call_settings& settings, Source& source, typename Results::shared all)
        : job(settings, source.size(), false, needs_care<Results>(settings)), size_(source.size()),
          tasks_(source, source.size(), all) {
        const auto workers = static_cast<std::size_t>(n_jobs());
        if (!combines<Results> && batches_adapt() && claim_groups::pay(workers, size_))
            groups_ = std::make_unique<claim_groups>(workers, size_);
        report_start();
    }

    [[nodiscard]] std::size_t tasks_left() const noexcept override {
        const std::size_t left = size_ - std::min(size_, claimed().load(std::memory_order_relaxed));
        return left == 0 && groups_ ? groups_->in_hand() : left;
    }

    [[nodiscard]] batch claim(worker& w) override {
        // relaxed: the counter hands out indices and nothing else; tasks and results are published by the backend's
        // start and end of a worker.
        if (is_halted()) return {};
        if (groups_) return claim_in_group(w);
        const std::size_t seen = claimed().load(std::memory_order_relaxed);
        if (seen >= size_) return {};
        const std::size_t wanted = w.sizer().next(size_ - seen);
        if constexpr (combines<Results>) {
            if (w.sizer().adapts()) return claim_aligned(seen, wanted, static_cast<std::size_t>(n_jobs()));
        }
        const std::size_t first = claimed().fetch_add(wanted, std::memory_order_relaxed);
        if (first >= size_) return {};
        return {first, std::min(wanted, size_ - first), &tasks_};
    }

    [[nodiscard]] bool wait() override { return false; }

    [[nodiscard]] bool all_done() const noexcept override { return completed_tasks() == size_; }

    [[nodiscard]] const runner_entry& remote_runner() const override { return Source::runner(typename Results::how()); }
    void check_results_travel() const override { Source::check_results_travel(typename Results::how()); }
    [[nodiscard]] any_reduction* reduction() noexcept override {
        if constexpr (combines<Results>)
            return &tasks_.results();
        else
            return nullptr;
    }

    /// The results, in order; for when the call is over and `throw_if_failed` let it pass.
    auto take() {
        if constexpr (combines<Results>) {
            return tasks_.results().take_all();
        } else if constexpr (keeps_failures<Results>) {
            left_tasks left(*this);
            typename Results::list all;
            all.reserve(size_);
            if (is_halted()) tasks_.results().fill([&](std::size_t k) { return left.at(k, tasks_.label(k)); });
            tasks_.results().take(all);
            return all;
        } else {
            return tasks_.results().take();
        }
    }

protected:
    std::string first_label() override { return tasks_.label(0); }

private:
    /// A batch that ends where a large node of the reduction does, so that few are left to be combined with those of
    /// others. A leaf is not torn as long as all have enough to do: its results would have to wait for the rest.
    batch claim_aligned(std::size_t first, std::size_t wanted, std::size_t workers) {
        constexpr std::size_t leaf = Results::aligned_to;
        const std::size_t to = std::max(leaf, std::bit_floor(wanted) / 4);
        std::size_t end = 0;
        do {
            if (first >= size_) return {};
            const std::size_t left = size_ - first;
            end = first + std::min(wanted, left);
            if (wanted >= to || (wanted >= leaf / 8 && left / 4 >= to * workers)) end += (to - end % to) % to;
            end = std::min(end, size_);
        } while (!claimed().compare_exchange_weak(first, end, std::memory_order_relaxed)); // as in `claim`
        return {first, end - first, &tasks_};
    }

    batch claim_in_group(worker& w) {
        const auto c = groups_->claim(claimed(), group_of(w), w.sizer());
        return {c.first, c.count, &tasks_};
    }
    /// CPUs with consecutive numbers share a cache, mostly.
    static std::size_t group_of(worker& w) noexcept {
        const int cpu = cpu_here();
        return static_cast<std::size_t>(cpu < 0 ? w.context().worker_id : cpu) / claim_groups::of_group;
    }

    // What a worker reads of it is on one line.
    alignas(64) std::size_t size_;
    std::unique_ptr<claim_groups> groups_; // null where there are few workers
    typed_tasks<all_tasks, Source&, Results> tasks_;
};

} // namespace joblot::detail
// ---- joblot/dispatch/purity.hpp
// Which ranges several threads may read at once: the ones where reading an element runs no code that could mind.

#include <ranges>
#include <type_traits>

namespace joblot {

namespace detail {
// Functions known to do nothing but copy what they are given.
template <class F>
inline constexpr bool is_pure_function = false;
template <class F>
inline constexpr bool is_pure_function<delayed_function<F>> = true;
template <>
inline constexpr bool is_pure_function<persist_result> = true;
} // namespace detail

/// Whether different elements of a random-access range `R` may be read by different threads at the same time. True for
/// contiguous ranges, `iota`, and for `delayed` and the plain adaptors over them; specialise it for a view of your own
/// whose `operator[]` touches nothing shared. Where it is false, elements are read under a lock.
template <class R>
inline constexpr bool enable_concurrent_read = std::ranges::contiguous_range<R>;

template <class W, class Bound>
inline constexpr bool enable_concurrent_read<std::ranges::iota_view<W, Bound>> = true;
template <class V, class F>
inline constexpr bool enable_concurrent_read<std::ranges::transform_view<V, F>> =
    detail::is_pure_function<F> && enable_concurrent_read<V>;
template <class V>
inline constexpr bool enable_concurrent_read<std::ranges::ref_view<V>> = enable_concurrent_read<V>;
template <class V>
inline constexpr bool enable_concurrent_read<std::ranges::owning_view<V>> = enable_concurrent_read<V>;
template <class V>
inline constexpr bool enable_concurrent_read<std::ranges::take_view<V>> = enable_concurrent_read<V>;
template <class V>
inline constexpr bool enable_concurrent_read<std::ranges::drop_view<V>> = enable_concurrent_read<V>;
template <class V>
inline constexpr bool enable_concurrent_read<std::ranges::reverse_view<V>> = enable_concurrent_read<V>;
template <class V>
inline constexpr bool enable_concurrent_read<std::ranges::common_view<V>> = enable_concurrent_read<V>;

namespace detail {
/// A range of known length that workers may index without a lock.
template <class R>
concept indexable = std::ranges::random_access_range<R> && std::ranges::sized_range<R> &&
                    enable_concurrent_read<std::remove_cvref_t<R>>;
} // namespace detail

} // namespace joblot
// ---- joblot/dispatch/reducing_tasks.hpp
// Tasks whose results are combined where they are made: on the workers' threads, or in other processes.

// ---- joblot/dispatch/reduction.hpp
// Combines the results of a call into one value as they come, in an order that depends on their indices alone: the same
// bits whoever runs which task, in whatever batches. Pure: knows no job and no message.

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <type_traits>
#include <utility>
#include <vector>

namespace joblot::detail {

// The order. Indices are cut into leaves of a fixed size; in a leaf, results are combined from the first to the last.
// Leaves are combined as the nodes of one binary tree: two neighbours become a node of twice the size that begins at a
// multiple of its size. What is left at the end, for the number of tasks is seldom a power of two, is combined from the
// left. So each worker combines what it has of a leaf and of whole nodes by itself; what is torn between two workers,
// at most a leaf at each end of a batch, waits for its neighbours.

/// How values of a reduction are made and combined.
/// @tparam R       Result of a task; not void.
/// @tparam Init    What the user gave as the first value: it, or a function that makes it.
/// @tparam Combine `combine(T, T)`, and `combine(T, R)` where an R is no T; gives a T, or changes the first one.
template <class R, class Init, class Combine>
struct reduction_rules {
    static constexpr bool is_made = std::invocable<const Init&>;
    using result = R;
    using init_type = Init;
    using combine_type = Combine;
    using value = std::remove_cvref_t<
        typename std::conditional_t<is_made, std::invoke_result<const Init&>, std::type_identity<Init>>::type>;
    /// Whether a result is a value by itself. Otherwise each leaf starts with what `init` says, and takes results up.
    static constexpr bool is_value = std::convertible_to<R, value>;
    /// What is kept of a result that waits for those before it.
    using element = std::conditional_t<is_value, value, R>;

    template <class X>
    static constexpr bool is_small = std::is_trivially_copyable_v<X> && sizeof(X) <= 64;
    /// Results in a leaf. What cannot be combined yet waits, so that leaves of large results are short. Where a leaf
    /// starts with a copy of something, as a histogram, it is long: 256 counters cost 2 % of 4096 samples.
    static constexpr std::size_t leaf = is_value ? (is_small<value> ? 1024 : 1) : (is_small<R> ? 4096 : 64);

    /// a = combine(a, b), in place where `combine` can.
    template <class X>
    static void combine_into(const Combine& combine, value& a, X&& b) {
        if constexpr (std::invocable<const Combine&, value&&, X&&>)
            assign(combine, std::move(a), std::forward<X>(b));
        else
            assign(combine, a, std::forward<X>(b));
    }

private:
    // A is what `combine` gets: the value itself, as a copy would be dear.
    template <class A, class X>
    static void assign(const Combine& combine, A&& a, X&& b) {
        using given = std::invoke_result_t<const Combine&, A&&, X&&>;
        if constexpr (std::is_void_v<given>) {
            std::invoke(combine, std::forward<A>(a), std::forward<X>(b));
        } else if constexpr (std::is_reference_v<given>) {
            given same = std::invoke(combine, std::forward<A>(a), std::forward<X>(b));
            if (static_cast<const void*>(std::addressof(same)) != static_cast<const void*>(std::addressof(a)))
                a = std::forward<given>(same);
        } else {
            a = std::invoke(combine, std::forward<A>(a), std::forward<X>(b));
        }
    }
};

/// Whether numbers of type `From` are more than those of type `To` can hold.
template <class To, class From>
constexpr bool loses_digits() {
    if constexpr (std::is_arithmetic_v<To> && std::is_arithmetic_v<From>)
        return !std::is_same_v<std::common_type_t<To, From>, To>;
    else
        return false;
}

/// Whether values can be made and combined so; if not, says why in one diagnostic.
template <class Rules>
constexpr bool check_rules() {
    using value = typename Rules::value;
    using result = typename Rules::result;
    using combine = const typename Rules::combine_type;
    if constexpr (loses_digits<value, result>()) {
        static_assert(std::is_void_v<value>, "joblot: the first value of the reduction is of a type that does not hold "
                                             "all that results hold, as 0 with results of type double: give 0.0");
        return false;
    } else if constexpr (!std::movable<value>) {
        static_assert(std::movable<value>, "joblot: the value of a reduction must be movable and assignable");
        return false;
    } else {
        constexpr bool joins = std::invocable<combine&, value&&, value&&> || std::invocable<combine&, value&, value&&>;
        static_assert(joins, "joblot: a reduction needs combine(T, T), where T is the type of the first value; it is "
                             "called as const, with rvalues, or with a T& that it changes");
        constexpr bool takes = Rules::is_value || std::invocable<combine&, value&&, result&&> ||
                               std::invocable<combine&, value&, result&&>;
        static_assert(takes, "joblot: these results are no T, the type of the first value, and combine(T, result) "
                             "cannot be called either");
        constexpr bool starts = Rules::is_value || Rules::is_made || std::copy_constructible<value>;
        static_assert(starts, "joblot: the first value of this reduction must be copied; give a function that makes "
                              "one: [] { return T(); }");
        return joins && takes && starts;
    }
}

/// The user's function and first value. Refers to them.
template <class Rules>
struct reduction_tools {
    using value = typename Rules::value;

    const typename Rules::combine_type& combine;
    const typename Rules::init_type* init; // may be null where results are values

    /// The value of a leaf of which `first` is the first result.
    template <class X>
    [[nodiscard]] value begin_leaf(X&& first) const {
        if constexpr (Rules::is_value) {
            return static_cast<value>(std::forward<X>(first));
        } else {
            value made = empty_leaf();
            combine_into(made, std::forward<X>(first));
            return made;
        }
    }
    /// What a leaf starts with where results are no values.
    [[nodiscard]] value empty_leaf() const {
        if constexpr (Rules::is_made)
            return (*init)();
        else
            return *init;
    }
    /// a = combine(a, b), in place where `combine` can.
    template <class X>
    void combine_into(value& a, X&& b) const {
        if constexpr (!std::is_same_v<std::remove_cvref_t<X>, value> && Rules::is_value)
            Rules::combine_into(combine, a, static_cast<value>(std::forward<X>(b)));
        else
            Rules::combine_into(combine, a, std::forward<X>(b));
    }
};

/// What was made of the results of consecutive indices: nodes of the tree, the beginning of a leaf, and single results
/// of a leaf whose beginning is elsewhere. Used by one thread.
template <class Rules>
class partial_reduction {
public:
    using value = typename Rules::value;
    using element = typename Rules::element;
    using tools_type = reduction_tools<Rules>;

    /// Results `begin` to `end` of the call; no value where none of these tasks gave one.
    struct node {
        std::size_t begin, end;
        std::optional<value> made;

        [[nodiscard]] std::size_t size() const noexcept { return end - begin; }
        [[nodiscard]] bool is_whole() const noexcept { return size() >= Rules::leaf; }
        /// Whether it is the first half of a node of twice its size.
        [[nodiscard]] bool is_left() const noexcept { return begin / size() % 2 == 0; }
        /// Whether it makes a node of twice the size with what is right of it.
        [[nodiscard]] bool is_neighbour_of(std::size_t right_begin, std::size_t right_end) const noexcept {
            const std::size_t right_size = right_end - right_begin;
            return right_size >= Rules::leaf && end == right_begin && size() == right_size && is_left();
        }
        [[nodiscard]] bool is_neighbour_of(const node& right) const noexcept {
            return is_neighbour_of(right.begin, right.end);
        }
        /// Takes up what is right of it.
        void join(const tools_type& tools, node& right) {
            end = right.end;
            if (right.made) join(tools, right.end, std::move(*right.made));
        }
        void join(const tools_type& tools, std::size_t right_end, value&& right) {
            end = right_end;
            if (made)
                tools.combine_into(*made, std::move(right));
            else
                made.emplace(std::move(right));
        }
    };
    /// Results `begin` to `end` that are not combined yet, all of one leaf; or no results at all, where there are none.
    struct run {
        std::size_t begin, end;
        std::vector<element> results;
    };

    explicit partial_reduction(const tools_type& tools) : tools_(tools) {}

    [[nodiscard]] const tools_type& tools() const noexcept { return tools_; }

    /// Takes a result up. Indices only rise.
    template <class X>
    void add(std::size_t index, X&& result) {
        if (open_ && index == open_->end) {
            tools_.combine_into(*open_->made, std::forward<X>(result));
            ++open_->end;
        } else {
            close();
            if (index % Rules::leaf != 0) return keep(index, std::forward<X>(result));
            open_.emplace(node{index, index + 1, tools_.begin_leaf(std::forward<X>(result))});
        }
        if (open_->end % Rules::leaf == 0) close();
    }
    /// There will be no result for an index.
    void skip(std::size_t index) {
        close();
        runs_.push_back({index, index + 1, {}});
    }
    /// What follows what is there, and begins with a leaf.
    void append(std::size_t begin, std::size_t end, value&& made) {
        // Not moved before it is combined: values that are all in one place, as counters, would be copied.
        if (!nodes_.empty() && nodes_.back().is_neighbour_of(begin, end))
            nodes_.back().join(tools_, end, std::move(made));
        else
            nodes_.push_back({begin, end, std::move(made)});
        while (nodes_.size() > 1 && nodes_[nodes_.size() - 2].is_neighbour_of(nodes_.back())) {
            nodes_[nodes_.size() - 2].join(tools_, nodes_.back());
            nodes_.pop_back();
        }
    }
    /// What comes next is not combined with what is there.
    void close() {
        if (!open_) return;
        append(open_->begin, open_->end, std::move(*open_->made));
        open_.reset();
    }
    void clear() noexcept {
        nodes_.clear();
        runs_.clear();
        open_.reset();
    }

    [[nodiscard]] std::vector<node>& nodes() noexcept { return nodes_; }
    [[nodiscard]] std::vector<run>& runs() noexcept { return runs_; }

private:
    template <class X>
    void keep(std::size_t index, X&& result) {
        if (runs_.empty() || runs_.back().end != index || runs_.back().results.empty())
            runs_.push_back({index, index, {}});
        runs_.back().results.push_back(static_cast<element>(std::forward<X>(result)));
        ++runs_.back().end;
    }

    const tools_type tools_;
    std::vector<node> nodes_;  // in order
    std::vector<run> runs_;    // in order
    std::optional<node> open_; // the leaf that `add` is in
};

/// All that was made so far. Thread-safe. `combine` is the user's: it may be slow, make calls of its own, and throw; no
/// lock is held while it runs. When it has thrown, what is here is of no use any more.
template <class Rules>
class reduction_tree {
    using partial = partial_reduction<Rules>;
    using node = typename partial::node;
    using value = typename Rules::value;
    using element = typename Rules::element;
    using run = typename partial::run;

public:
    explicit reduction_tree(const reduction_tools<Rules>& tools) : tools_(tools) {}

    /// Takes what a worker has made, which is empty then. Each index comes once.
    void add(partial& p) {
        p.close();
        std::unique_lock lock(mutex_);
        for (run& r : p.runs()) {
            torn_leaf& l = leaf_of(r.begin);
            l.waiting.push_back(std::move(r));
            advance(lock, l);
        }
        for (node& n : p.nodes()) {
            if (n.is_whole()) {
                insert(lock, std::make_unique<node>(std::move(n)));
            } else {
                torn_leaf& l = leaf_of(n.begin);
                l.done = std::move(n); // nothing was there: the first result of the leaf is among these
                advance(lock, l);
            }
        }
        p.clear();
    }

    /// What has been made of all, from the left; nothing where no task gave a result. For when all have been added.
    [[nodiscard]] std::optional<value> take() {
        node all{0, 0, std::nullopt};
        for (auto& n : nodes_) all.join(tools_, *n);
        for (auto& l : leaves_) all.join(tools_, l->done); // no more than one: the last
        return std::move(all.made);
    }

private:
    /// A leaf of which results have come from several sides.
    struct torn_leaf {
        node done;                  // what is combined: from the leaf's first index on
        std::vector<run> waiting{}; // a few: of each batch under way no more than one
        bool in_progress = false;   // whether some thread combines; `done.made` is its own then
    };

    torn_leaf& leaf_of(std::size_t index) {
        const std::size_t begin = index - index % Rules::leaf;
        for (auto& l : leaves_) { // a few: of each batch under way no more than two
            if (l->done.begin == begin) return *l;
        }
        leaves_.push_back(std::make_unique<torn_leaf>(torn_leaf{.done = {begin, begin, std::nullopt}}));
        return *leaves_.back();
    }

    /// Combines the results of a leaf that are no longer waiting for others.
    void advance(std::unique_lock<std::mutex>& lock, torn_leaf& l) {
        if (l.in_progress) return; // whoever does it looks again
        l.in_progress = true;
        const auto is_next = [&](const run& r) { return r.begin == l.done.end; };
        for (auto at = l.waiting.begin();
             (at = std::find_if(l.waiting.begin(), l.waiting.end(), is_next)) != l.waiting.end();) {
            run next = std::move(*at);
            l.waiting.erase(at);
            lock.unlock();
            for (element& one : next.results) take_up(l.done, std::move(one));
            lock.lock();
            l.done.end = next.end;
        }
        l.in_progress = false;
        if (l.done.size() != Rules::leaf) return;
        auto whole = std::make_unique<node>(std::move(l.done));
        std::erase_if(leaves_, [&](const auto& other) { return other.get() == &l; });
        insert(lock, std::move(whole));
    }

    void take_up(node& n, element&& one) {
        if (n.made)
            tools_.combine_into(*n.made, std::move(one));
        else
            n.made.emplace(tools_.begin_leaf(std::move(one)));
    }

    void insert(std::unique_lock<std::mutex>& lock, std::unique_ptr<node> n) {
        const auto place = [this](std::size_t begin) {
            return std::lower_bound(nodes_.begin(), nodes_.end(), begin,
                                    [](const auto& x, std::size_t i) { return x->begin < i; });
        };
        for (;;) {
            const std::size_t neighbour = n->is_left() ? n->end : n->begin - n->size();
            const auto at = place(neighbour);
            if (at == nodes_.end() || (*at)->begin != neighbour || (*at)->size() != n->size()) break;
            std::unique_ptr<node> right = std::move(*at);
            nodes_.erase(at);
            lock.unlock();
            if (!n->is_left()) n.swap(right);
            n->join(tools_, *right);
            right.reset();
            lock.lock();
        }
        nodes_.insert(place(n->begin), std::move(n));
    }

    const reduction_tools<Rules> tools_;
    std::mutex mutex_;                         // guards all below
    std::vector<std::unique_ptr<node>> nodes_; // by index; each two that belong together have become one
    std::vector<std::unique_ptr<torn_leaf>> leaves_;
};

} // namespace joblot::detail

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace joblot {

/// What `Parallel::reduce_outcomes` gives.
/// @tparam T The type of the combined value.
template <class T>
struct reduced {
    T value;                             ///< of the results of the tasks that gave one
    std::vector<outcome<void>> failures; ///< of the others, by index
};

namespace detail {

/// What a partial reduction is on the wire.
template <class Rules>
void write_partial(encoder& to, partial_reduction<Rules>& from) {
    from.close();
    outgoing& message = to.message();
    message.put(static_cast<std::uint64_t>(from.nodes().size()));
    message.put(static_cast<std::uint64_t>(from.runs().size()));
    for (const auto& n : from.nodes()) {
        message.put(static_cast<std::uint64_t>(n.begin));
        message.put(static_cast<std::uint64_t>(n.end));
        encode(to, *n.made);
    }
    for (const auto& r : from.runs()) {
        message.put(static_cast<std::uint64_t>(r.begin));
        message.put(static_cast<std::uint64_t>(r.end));
        for (const auto& one : r.results) encode(to, one);
    }
}

/// Reads it.
/// @param to Is empty.
/// @throws serialization_error where it is not that of `count` of the tasks `first` to `last`.
template <class Rules>
void read_partial(decoder& from, partial_reduction<Rules>& to, std::size_t first, std::size_t last, std::size_t count) {
    constexpr const char* what = "a part of a reduction";
    incoming& message = from.message();
    const auto next = [&]() -> std::size_t { return message.get<std::uint64_t>(what); };
    const std::size_t nodes = next();
    const std::size_t runs = next();
    std::size_t found = 0;
    std::size_t at = first;
    std::size_t end = 0;
    const auto next_range = [&] {
        const std::size_t begin = next();
        end = next();
        if (begin < at || end <= begin || end > last) message.fail("results of tasks that were not asked for", what);
        at = end;
        found += end - begin;
        return begin;
    };
    for (std::size_t k = 0; k != nodes; ++k) {
        const std::size_t begin = next_range();
        const std::size_t size = end - begin;
        const bool is_node = size % Rules::leaf == 0 && std::has_single_bit(size / Rules::leaf) && begin % size == 0;
        if (begin % Rules::leaf != 0 || (size > Rules::leaf && !is_node))
            message.fail("a number of results that no node has", what);
        to.nodes().push_back({begin, end, decode<typename Rules::value>(from)});
    }
    at = first;
    for (std::size_t k = 0; k != runs; ++k) {
        const std::size_t begin = next_range();
        if (begin / Rules::leaf != (end - 1) / Rules::leaf) message.fail("results of more than one leaf", what);
        auto& r = to.runs().emplace_back(typename partial_reduction<Rules>::run{begin, end, {}});
        for (std::size_t i = begin; i != end; ++i) r.results.push_back(decode<typename Rules::element>(from));
    }
    if (found != count) message.fail("more or fewer results than tasks that have ended", what);
}

/// What another process combines the results of a request in.
template <class Rules>
class request_partial final : public any_partial {
public:
    struct rules {
        typename Rules::combine_type combine;
        std::optional<typename Rules::init_type> init; // none where results are values
    };

    /// With what came in the request.
    explicit request_partial(std::unique_ptr<const rules> own)
        : own_(std::move(own)), made_({own_->combine, own_->init ? &*own_->init : nullptr}) {}
    /// In a process that was forked: with what the caller has.
    explicit request_partial(const reduction_tools<Rules>& tools) : made_(tools) {}

    void write(encoder& to) override { write_partial(to, made_); }
    void clear() noexcept override { made_.clear(); }
    [[nodiscard]] partial_reduction<Rules>& made() noexcept { return made_; }

private:
    const std::unique_ptr<const rules> own_;
    partial_reduction<Rules> made_;
};

/// What becomes of a result in another process (see remote_task.hpp): it is combined there.
template <class Rules>
struct result_combined {
    using combine = typename Rules::combine_type;
    using init = typename Rules::init_type;

    template <class R>
    static constexpr bool returns = travels<typename Rules::value> && travels<typename Rules::element>;
    template <class R>
    static constexpr bool possible = returns<R> && travels<combine> && (Rules::is_value || travels<init>);

    template <class R>
    static std::string refusal() {
        if constexpr (!travels<typename Rules::value>)
            return what_does_not_travel<typename Rules::value>("the value of the reduction");
        else if constexpr (!travels<typename Rules::element>)
            return what_does_not_travel<R>("its result");
        else if constexpr (!travels<combine>)
            return what_does_not_travel<combine>("the function that combines results");
        else
            return what_does_not_travel<init>("the first value of the reduction");
    }

    static std::unique_ptr<any_partial> open_request(decoder& from) {
        using rules = typename request_partial<Rules>::rules;
        auto own = std::make_unique<rules>(rules{decode<combine>(from), std::nullopt});
        if constexpr (!Rules::is_value) own->init.emplace(decode<init>(from));
        return std::make_unique<request_partial<Rules>>(std::move(own));
    }
    static constexpr runner_entry::opening open = &open_request;

    template <class Call>
    static void take(encoder&, result_listener& then, Call call) {
        auto&& result = call();
        if (then.refuses()) return;
        try {
            static_cast<request_partial<Rules>&>(then.partial())
                .made()
                .add(current_task->index, std::forward<decltype(result)>(result));
        } catch (...) {
            if (thread_ends()) throw;
            throw not_combined{std::current_exception()};
        }
        then.result_stands();
    }
};

/// What all tasks of a call that combines its results share; stands where other calls have their results.
/// @tparam Keep Whether a task that fails is left out, and told of.
template <class Rules, bool Keep>
class combined_results final : public any_reduction {
    using init_type = typename Rules::init_type;
    using combine_type = typename Rules::combine_type;

public:
    using value = typename Rules::value;
    using how = result_combined<Rules>;
    using shared = combined_results&;
    static constexpr bool keeps_failures = Keep;
    static constexpr std::size_t most = largest_size;
    static constexpr std::size_t aligned_to = Rules::leaf;

    combined_results(init_type init, combine_type combine)
        : init_(std::move(init)), combine_(std::move(combine)), tree_({combine_, &init_}) {}

    [[nodiscard]] partial_reduction<Rules> empty() const { return partial_reduction<Rules>({combine_, &init_}); }
    void add(partial_reduction<Rules>& p) { tree_.add(p); }
    /// A task failed, and that is kept; what becomes of its index is the caller's to say.
    void note_failure(failure f) {
        const std::lock_guard lock(mutex_);
        failures_.emplace_back(std::move(f));
    }

    void write_opening(encoder& to) const override {
        encode(to, combine_);
        if constexpr (!Rules::is_value) encode(to, init_);
    }
    [[nodiscard]] std::unique_ptr<any_partial> partial() const override {
        return std::make_unique<request_partial<Rules>>(reduction_tools<Rules>{combine_, &init_});
    }
    void take(decoder& from, std::size_t first, std::size_t last, std::size_t count) override {
        partial_reduction<Rules> p = empty();
        read_partial(from, p, first, last, count);
        add(p);
    }

    /// What the call gives; for when it is over and `throw_if_failed` let it pass.
    auto take_all() {
        if constexpr (Keep) {
            std::sort(failures_.begin(), failures_.end(),
                      [](const auto& a, const auto& b) { return a.index() < b.index(); });
            return reduced<value>{take_value(), std::move(failures_)};
        } else {
            return take_value();
        }
    }

private:
    value take_value() {
        std::optional<value> all = tree_.take();
        if constexpr (!Rules::is_value) {
            if (all) return std::move(*all); // each leaf began with it
        }
        value first = make_first();
        if (all) Rules::combine_into(combine_, first, std::move(*all));
        return first;
    }
    value make_first() {
        if constexpr (Rules::is_made)
            return init_();
        else
            return std::move(init_);
    }

    init_type init_;
    const combine_type combine_;
    reduction_tree<Rules> tree_;
    std::mutex mutex_; // guards failures_
    std::vector<outcome<void>> failures_;
};

/// The fast loop: as `run_plain`, but combines results. What a leaf comes to is kept where the compiler can hold it in
/// a register.
template <class Tasks, class Rules>
std::size_t run_combining(job& j, worker& w, const batch& b, Tasks& tasks, partial_reduction<Rules>& made,
                          std::size_t offset) {
    return run_until_failure(j, w, b, tasks, offset, [&](std::size_t& i, std::size_t last) {
        const std::size_t stride = w.stride(b);
        auto&& from = bare(tasks);
        while (i != last && w.may_start(i)) {
            const std::size_t begin = i;
            const std::size_t end = std::min(last, begin - begin % Rules::leaf + Rules::leaf);
            if (begin % Rules::leaf != 0) {
                run_started(w, i, end, stride, [&](std::size_t k) { made.add(k, from.call(k - offset)); });
            } else if constexpr (Rules::is_value) {
                auto value = made.tools().begin_leaf(from.call(i - offset));
                run_started(w, ++i, end, stride,
                            [&](std::size_t k) { made.tools().combine_into(value, from.call(k - offset)); });
                made.append(begin, i, std::move(value));
            } else {
                auto value = made.tools().empty_leaf();
                run_started(w, i, end, stride,
                            [&](std::size_t k) { made.tools().combine_into(value, from.call(k - offset)); });
                if (i != begin) made.append(begin, i, std::move(value));
            }
        }
    });
}

template <class Base, class Tasks, class Rules, bool Keep>
class typed_tasks<Base, Tasks, combined_results<Rules, Keep>>
    : public bare_tasks<Base, Tasks, typename combined_results<Rules, Keep>::how> {
    using base = bare_tasks<Base, Tasks, typename combined_results<Rules, Keep>::how>;
    using shared = combined_results<Rules, Keep>;
    using partial = partial_reduction<Rules>;

public:
    typed_tasks(Tasks tasks, std::size_t, shared& all) : base(tasks), all_(all) {}
    /// Tasks that are still to come.
    typed_tasks(std::size_t first_index, shared& all) : base(first_index), all_(all) {}

    std::size_t run(job& j, worker& w, const batch& b, bool careful) override {
        partial made = all_.empty();
        std::size_t ended = 0;
        try {
            if (careful) {
                held_task held(*this, made);
                ended = run_careful(j, w, batch(b.first(), b.size(), &held));
            } else {
                ended = run_combining(j, w, b, this->tasks_, made, Base::first);
            }
        } catch (...) {
            if (thread_ends()) all_.add(made); // the call may go on without this thread
            throw;
        }
        all_.add(made);
        return ended;
    }
    bool keep_failure([[maybe_unused]] std::size_t index, [[maybe_unused]] failure f) override {
        if constexpr (Keep) {
            partial none = all_.empty();
            none.skip(index);
            all_.note_failure(std::move(f));
            all_.add(none);
        }
        return Keep;
    }
    void result_stands(std::size_t, int) override {} // it comes with others, by `take`
    void decode(std::size_t, decoder&) override {}

    // What other processes do.
    void attempt(std::size_t, bool) override { std::terminate(); }
    void drop_result(std::size_t) override {}

    [[nodiscard]] shared& results() noexcept { return all_; }

private:
    /// For tasks with time limits and retries: holds a result until it is known to stand. On the worker's stack.
    class held_task final : public any_tasks {
    public:
        held_task(typed_tasks& all, partial& made) : tasks_(all), made_(made) {}

        void attempt(std::size_t index, bool keep_task) override { result_.emplace(tasks_.call(index, keep_task)); }
        void drop_result(std::size_t) override { result_.reset(); }
        bool keep_failure([[maybe_unused]] std::size_t index, [[maybe_unused]] failure f) override {
            if constexpr (Keep) {
                made_.skip(index);
                tasks_.all_.note_failure(std::move(f));
            }
            return Keep;
        }
        void result_stands(std::size_t index, int) override {
            made_.add(index, std::move(*result_));
            result_.reset();
        }
        [[nodiscard]] std::string label(std::size_t index) noexcept override { return tasks_.label(index); }

        // What is asked of the tasks themselves.
        std::size_t run(job&, worker&, const batch&, bool) override { std::terminate(); }
        void encode(std::size_t, encoder&) override { std::terminate(); }
        void run_forked(std::size_t, encoder&, result_listener&) override { std::terminate(); }
        void decode(std::size_t, decoder&) override { std::terminate(); }

    private:
        typed_tasks& tasks_;
        partial& made_;
        std::optional<typename base::result_type> result_;
    };

    shared& all_;
};

} // namespace detail

} // namespace joblot
// ---- joblot/dispatch/source.hpp
// Where a call's tasks come from: ranges that workers may index at once, and ranges that are read one by one.

// ---- joblot/dispatch/copyable.hpp
// Whether a value can be copied: a std::vector says yes whatever its elements are, and to try is then an error. And
// which tasks can be called again without a copy, so that nobody has to try.

#include <concepts>
#include <functional>
#include <ranges>
#include <string>
#include <tuple>
#include <type_traits>

namespace joblot {

/// Whether joblot may copy values of a class that says it can be copied. A class with a private
/// `std::vector<std::unique_ptr<X>>` says so, and to try does not compile. Delete its copy constructor, or specialise:
/// `template <> inline constexpr bool joblot::enable_copy<mesh> = false;`. Tasks that would need a copy to be tried
/// again then refuse `retries`.
template <class T>
inline constexpr bool enable_copy = true;

namespace detail {

// `Outer`: what the type is a part of, so that types which hold their own kind have an end.
template <class T, class... Outer>
constexpr bool can_be_copied();

template <class Parts, class... Outer>
inline constexpr bool all_can_be_copied = false;
template <template <class...> class C, class... Parts, class... Outer>
inline constexpr bool all_can_be_copied<C<Parts...>, Outer...> =
    (can_be_copied<std::remove_cv_t<Parts>, Outer...>() && ...);

template <class T>
inline constexpr bool is_task_type = false;
template <class F, class... Args>
inline constexpr bool is_task_type<task<F, Args...>> = true;

template <class T, class... Outer>
constexpr bool parts_can_be_copied() {
    if constexpr (is_task_type<T> || is_std_pair<T> || is_std_tuple<T> || is_std_variant<T> || optional_like<T>)
        return all_can_be_copied<T, Outer...>;
    else if constexpr (is_std_array<T>)
        return can_be_copied<typename T::value_type, Outer...>();
    else if constexpr (is_std_type<T> && requires { typename T::container_type; })
        return can_be_copied<typename T::container_type, Outer...>();
    else if constexpr (is_std_type<T> && is_type_template<T> && requires { typename T::allocator_type; })
        return can_be_copied<std::remove_cv_t<typename T::value_type>, Outer...>();
    else if constexpr (!std::is_aggregate_v<T> || std::is_union_v<T> || std::is_trivially_copyable_v<T>)
        return true; // as it says
    else if constexpr (plain_field_count<T>() != 0)
        return all_can_be_copied<field_types<T>, Outer...>;
    else
        return true; // it cannot be taken apart
}

/// Classes of users are believed; of aggregates and standard types each part is asked.
template <class T, class... Outer>
constexpr bool can_be_copied() {
    if constexpr ((std::same_as<T, Outer> || ...))
        return true;
    else if constexpr (!enable_copy<T> || !std::is_copy_constructible_v<T>)
        return false;
    else if constexpr (std::is_class_v<T>)
        return parts_can_be_copied<T, Outer..., T>();
    else
        return true;
}

/// What a callable takes, where it has one signature and its call leaves it as it was; else `void`.
template <class Call>
struct parameters_of {
    using type = void;
};
template <class R, class... Ps>
struct parameters_of<R (*)(Ps...)> {
    using type = std::tuple<Ps...>*;
};
template <class R, class... Ps>
struct parameters_of<R (*)(Ps...) noexcept> : parameters_of<R (*)(Ps...)> {};
template <class R, class C, class... Ps>
struct parameters_of<R (C::*)(Ps...) const> : parameters_of<R (*)(Ps...)> {};
template <class R, class C, class... Ps>
struct parameters_of<R (C::*)(Ps...) const noexcept> : parameters_of<R (*)(Ps...)> {};
template <class F>
    requires requires { &F::operator(); }
struct parameters_of<F> : parameters_of<decltype(&F::operator())> {};
template <class F>
struct parameters_of<labelled<F>> : parameters_of<F> {};

/// Whether to pass a const `Arg` to a parameter `P` copies nothing but what surely can be copied.
template <class P, class Arg>
inline constexpr bool passed_as_it_is =
    std::is_trivially_copyable_v<Arg> || std::same_as<Arg, std::string> ||
    (std::is_lvalue_reference_v<P> && std::same_as<std::remove_reference_t<P>, const Arg>);

template <class Parameters, class... Args>
inline constexpr bool all_passed_as_they_are = false;
template <class... Ps, class... Args>
    requires(sizeof...(Ps) == sizeof...(Args))
inline constexpr bool all_passed_as_they_are<std::tuple<Ps...>*, Args...> = (passed_as_it_is<Ps, Args> && ...);

/// Whether a task can be called again as it is: a copy is neither made for the call nor by it.
template <class Task>
inline constexpr bool can_be_called_again = false;
template <class F, class... Args>
    requires all_passed_as_they_are<typename parameters_of<F>::type, Args...>
inline constexpr bool can_be_called_again<task<F, Args...>> = callable_with<const F&, const Args&...>;

/// Whether a task can be tried again.
template <class Task>
constexpr bool can_be_repeated() {
    if constexpr (can_be_called_again<Task>)
        return true;
    else
        return can_be_copied<Task>();
}

} // namespace detail

} // namespace joblot
// ---- joblot/dispatch/label.hpp
// What a task is called when nobody gave it a label: its function's symbol, or a readable form of its type.

// ---- joblot/dispatch/symbol.hpp
// The name of a function, found by its address in the program's own symbol tables.

#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#if __has_include(<dlfcn.h>) && __has_include(<cxxabi.h>)
#define JOBLOT_HAS_DLADDR 1
#include <cxxabi.h>
#include <dlfcn.h>
#endif
#if defined(__linux__) && __has_include(<elf.h>) && __has_include(<link.h>)
#define JOBLOT_HAS_ELF 1
#include <elf.h>
#include <link.h>
#endif

namespace joblot::detail {

#if defined(JOBLOT_HAS_ELF)
/// Looks a function up in the full symbol table of an ELF file, which also has what is not exported; "" if it was
/// stripped, or is no file that makes sense.
class elf_symbols {
public:
    explicit elf_symbols(const char* path) : file_(std::fopen(path, "re"), &std::fclose) {}

    /// @param value The function's address as the file has it: where it is in memory less where the file is loaded.
    std::string name_at(ElfW(Addr) value) {
        ElfW(Ehdr) header{};
        if (!file_ || !read(0, &header, 1) || header.e_shentsize != sizeof(ElfW(Shdr))) return {};
        std::vector<ElfW(Shdr)> sections(header.e_shnum);
        if (!read(header.e_shoff, sections.data(), sections.size())) return {};
        for (const auto& s : sections) {
            if (s.sh_type != SHT_SYMTAB || s.sh_link >= sections.size()) continue;
            return find(s, sections[s.sh_link], value);
        }
        return {};
    }

private:
    std::string find(const ElfW(Shdr) & table, const ElfW(Shdr) & names, ElfW(Addr) value) {
        ElfW(Sym) some[256];
        std::size_t left = table.sh_size / sizeof some[0];
        for (auto at = table.sh_offset; left != 0; at += sizeof some) {
            const std::size_t n = left < 256 ? left : 256;
            if (!read(at, some, n)) return {};
            for (std::size_t i = 0; i != n; ++i) {
                if (some[i].st_value != value || (some[i].st_info & 0xf) != STT_FUNC) continue;
                char name[1024] = {};
                if (!seek(names.sh_offset + some[i].st_name)) return {};
                if (std::fread(name, 1, sizeof name - 1, file_.get()) != 0) return name;
            }
            left -= n;
        }
        return {};
    }

    bool seek(std::size_t offset) { return std::fseek(file_.get(), static_cast<long>(offset), SEEK_SET) == 0; }

    template <class T>
    bool read(std::size_t offset, T* to, std::size_t count) {
        return seek(offset) && std::fread(to, sizeof(T), count, file_.get()) == count;
    }

    std::unique_ptr<std::FILE, int (*)(std::FILE*)> file_;
};
#endif

/// The symbol as the linker has it, or "".
inline std::string mangled_name([[maybe_unused]] const void* address) {
#if defined(JOBLOT_HAS_DLADDR)
    Dl_info info{};
    const bool found = ::dladdr(address, &info) != 0;
    if (found && info.dli_sname && info.dli_saddr == address) return info.dli_sname; // exported
#if defined(JOBLOT_HAS_ELF)
    const auto where = reinterpret_cast<ElfW(Addr)>(address);
    if (!found) return elf_symbols("/proc/self/exe").name_at(where); // a static executable
    const auto base = reinterpret_cast<ElfW(Addr)>(info.dli_fbase);
    const char* path = info.dli_fname && info.dli_fname[0] == '/' ? info.dli_fname : "/proc/self/exe";
    // a file that is loaded where it was linked to be (no PIE) has absolute addresses
    const bool movable = reinterpret_cast<const ElfW(Ehdr)*>(info.dli_fbase)->e_type == ET_DYN;
    return elf_symbols(path).name_at(movable ? where - base : where);
#endif
#endif
    return {};
}

/// `mangled` as the source has it, without parameters, which say nothing to a user who knows the function.
inline std::string readable_name(std::string mangled) {
#if defined(JOBLOT_HAS_DLADDR)
    int status = 0;
    const std::unique_ptr<char, void (*)(void*)> text(abi::__cxa_demangle(mangled.c_str(), nullptr, nullptr, &status),
                                                      std::free);
    if (text) mangled = text.get();
#endif
    constexpr std::string_view unnamed = "(anonymous namespace)::";
    for (auto at = mangled.find(unnamed); at != mangled.npos; at = mangled.find(unnamed))
        mangled.erase(at, unnamed.size());
    return mangled.substr(0, mangled.find('('));
}

/// The name of the function at `address`, or "" where it cannot be found. Looked up once; thread-safe.
JOBLOT_ONE_PER_PROCESS inline std::string symbol_name(const void* address) {
    const std::lock_guard lock(table_mutex());
    using names = std::vector<std::pair<const void*, std::string>>; // few: the functions that tasks are made of
    static constinit made_once<names> table;
    names& known = table.get();
    for (const auto& [where, name] : known) {
        if (where == address) return name;
    }
    known.emplace_back(address, readable_name(mangled_name(address)));
    return known.back().second;
}

} // namespace joblot::detail

#include <cstddef>
#include <string>
#include <string_view>
#include <type_traits>
#include <typeinfo>

namespace joblot::detail {

/// `T` as the compiler spells it.
template <class T>
std::string type_name() {
#if defined(__clang__) || defined(__GNUC__)
    const std::string_view text = __PRETTY_FUNCTION__; // "... [T = int]" or "... [with T = int; std::string = ...]"
    const auto begin = text.find("T = ") + 4;
    auto end = text.find("; std::", begin);
    if (end == text.npos) end = text.rfind(']');
    std::string name(text.substr(begin, end - begin));
    // clang names a lambda after its file: the folders say nothing about the task
    if (const auto at = name.find("(lambda at "); at != name.npos) {
        const auto slash = name.find_last_of('/');
        if (slash != name.npos && slash > at) name.erase(at + 11, slash - at - 10);
    }
    return name;
#else
    return typeid(T).name();
#endif
}

template <class F>
std::string function_label(const F& f) {
    if constexpr (std::is_pointer_v<F>) {
        // a function pointer is no object pointer to the standard, but it is one to every system with symbol tables
        if (std::string name = symbol_name(reinterpret_cast<const void*>(f)); !name.empty()) return name;
    }
    return type_name<F>();
}
template <class F>
std::string function_label(const labelled<F>& f) {
    return *f.label;
}

template <class F>
std::string function_label(const persisting_call<F>& f) {
    return function_label(f.function);
}

/// The label of a task.
template <class F, class... Args>
std::string label_of(const task<F, Args...>& t) {
    return function_label(t.function());
}

} // namespace joblot::detail

#include <concepts>
#include <cstddef>
#include <exception>
#include <iterator>
#include <optional>
#include <ranges>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace joblot::detail {

// What a task's call returns may refer to its arguments, and the task may be a temporary: by value.

/// Makes a task's call. A task that is not ours to consume is left as it was.
/// @throws what the call throws; unreadable where the task has to be copied for it, and that fails.
///
/// @tparam Own Whether a task seen through an lvalue may be moved from.
template <bool Own, class T>
constexpr task_result_t<T> call_task(T&& t) {
    using Task = std::remove_cvref_t<T>;
    if constexpr (!std::is_lvalue_reference_v<T>) {
        return std::move(t)();
    } else if constexpr (Own) {
        return std::move(const_cast<Task&>(t))();
    } else if constexpr (requires { std::as_const(t)(); }) {
        return std::as_const(t)();
    } else {
        return reading([&] { return Task(t); })();
    }
}

/// Whether the tasks of a range of type `R` can be run, given whether they may be moved from and whether they are read
/// one by one (and then have to be kept somewhere else until they run).
template <class R, bool Own, bool OneByOne>
inline constexpr bool can_run_tasks = [] {
    using reference = std::ranges::range_reference_t<R>;
    using Task = std::remove_cvref_t<reference>;
    if constexpr (Own || !std::is_lvalue_reference_v<reference>)
        return true; // and nothing is asked of copies, which may not even compile
    else if constexpr (can_be_copied<Task>())
        return true;
    else
        return !OneByOne && requires(const Task& t) { t(); };
}();

/// Makes a task's call so that it can be made again.
template <class T>
constexpr task_result_t<T> call_and_keep(const T& t) {
    if constexpr (can_be_called_again<T>)
        return t();
    else
        return reading([&] { return T(t); })(); // no copy of yours compiles? See joblot::enable_copy
}

/// Tasks of a random-access range that any thread may read at any time: every member is thread-safe, and throws
/// `unreadable` where an element cannot be read.
///
/// @tparam Own Whether the range is ours, so that its tasks may be moved from.
template <std::random_access_iterator It, bool Own>
class indexed_source : public remotable_tasks<std::remove_cvref_t<std::iter_reference_t<It>>> {
    using reference = std::iter_reference_t<It>;
    using task_type = std::remove_cvref_t<reference>;
    // An element that is made anew each time it is read needs no copy to be called again.
    static constexpr bool made_anew = !std::is_lvalue_reference_v<reference>;

public:
    using result_type = task_result_t<task_type>;
    static constexpr bool repeatable = made_anew || can_be_repeated<task_type>();

    indexed_source(It begin, std::size_t size) : begin_(std::move(begin)), size_(size) {}

    [[nodiscard]] std::size_t size() const noexcept { return size_; }
    result_type call(std::size_t i) { return call_task<Own>(at(i)); }
    result_type call_again(std::size_t i) {
        if constexpr (made_anew)
            return call_task<Own>(at(i));
        else
            return call_and_keep(at(i));
    }
    [[nodiscard]] std::string label(std::size_t i) { return label_of(at(i)); }
    void encode(std::size_t i, encoder& to) { this->encode_one(to, at(i)); }
    template <class How>
    void run_forked(std::size_t i, encoder& to, result_listener& then, How how) {
        this->run_and_encode(how, to, then, [&]() -> decltype(auto) { return call(i); });
    }
    result_type decode(std::size_t, decoder& from) { return this->decode_result(from); }
    /// For the loop that runs tasks, see execute.hpp.
    [[nodiscard]] indexed_source bare() const { return *this; }

private:
    decltype(auto) at(std::size_t i) {
        return reading([&]() -> decltype(auto) { return begin_[static_cast<std::iter_difference_t<It>>(i)]; });
    }

    It begin_;
    std::size_t size_;
};

/// Some tasks that were read from a range and belong to one batch.
template <class Task>
class task_buffer : public remotable_tasks<Task> {
public:
    using result_type = task_result_t<Task>;
    static constexpr bool repeatable = can_be_repeated<Task>();

    [[nodiscard]] std::size_t size() const noexcept { return tasks_.size(); }
    result_type call(std::size_t k) { return std::move(tasks_[k])(); }
    result_type call_again(std::size_t k) { return call_and_keep(tasks_[k]); }
    [[nodiscard]] std::string label(std::size_t k) { return label_of(tasks_[k]); }
    void encode(std::size_t k, encoder& to) { this->encode_one(to, std::as_const(tasks_[k])); }
    template <class How>
    void run_forked(std::size_t k, encoder& to, result_listener& then, How how) {
        this->run_and_encode(how, to, then, [&]() -> decltype(auto) { return call(k); });
    }
    result_type decode(std::size_t, decoder& from) { return this->decode_result(from); }
    [[nodiscard]] Task&& take(std::size_t k) { return std::move(tasks_[k]); }
    void reserve(std::size_t n) { tasks_.reserve(n); }
    template <class T>
    void push_back(T&& t) {
        tasks_.push_back(std::forward<T>(t));
    }

private:
    std::vector<Task> tasks_;
};

/// How far a range was read.
struct reading_state {
    bool exhausted = false;     ///< whether the end, or an error, was met
    std::size_t count = 0;      ///< tasks read
    std::exception_ptr error{}; ///< what the range threw, or null
};

/// Reads a range of tasks, one after the other and no further than asked. Not thread-safe: the job locks around it.
/// The first error ends the input; tasks before it count.
template <task_range View, bool Own>
class task_reader {
public:
    using task_type = std::remove_cvref_t<std::ranges::range_reference_t<View>>;

    /// @param view Is borrowed and must outlive the reader.
    explicit task_reader(View& view) : view_(view) {}

    /// Reads up to `n` tasks, fewer only at the end.
    void read(std::size_t n, task_buffer<task_type>& out) {
        try {
            for (; n != 0; --n) {
                if (!advance()) return;
                take(out);
                ++state_.count;
            }
        } catch (...) {
            state_.exhausted = true;
            state_.error = caught_error();
            if (thread_ends()) throw;
        }
    }

    /// How far it has come; at the same place as long as the reader lives.
    [[nodiscard]] const reading_state& state() const noexcept { return state_; }

private:
    // The increment is put off until the next task is wanted: the range of a slow producer must not be made to wait
    // for an element that nobody asked for.
    bool advance() {
        if (state_.exhausted) return false;
        if (!at_)
            at_.emplace(std::ranges::begin(view_));
        else
            ++*at_;
        state_.exhausted = *at_ == std::ranges::end(view_);
        return !state_.exhausted;
    }

    void take(task_buffer<task_type>& out) {
        if constexpr (Own || !std::is_lvalue_reference_v<std::ranges::range_reference_t<View>>) {
            out.push_back(std::ranges::iter_move(*at_));
        } else {
            out.push_back(**at_);
        }
    }

    View& view_;
    std::optional<std::ranges::iterator_t<View>> at_;
    reading_state state_; // its own: g++ 12 takes a store through a reference for one to `at_`, and warns
};

} // namespace joblot::detail
// ---- joblot/dispatch/stop_link.hpp
// What stops a call from outside: its stop token, that of the task that makes the call, and its deadline.

#include <chrono>
#include <memory>
#include <stop_token>
#include <string>
#include <system_error>

namespace joblot::detail {

/// When a call must be over that begins now; `max` where it has no deadline.
inline stop_alarm::clock::time_point end_of_call(const options& o) {
    using clock = stop_alarm::clock;
    const auto limit = o.deadline.limit();
    return limit ? deadline_after(clock::now(), *limit) : clock::time_point::max();
}

/// Stops a job at its deadline, from the thread that watches over time limits.
class deadline_watch {
public:
    /// @throws backend_error where no such thread can be started.
    explicit deadline_watch(job& j) : stop_(source_.get_token(), stopper{&j}), alarm_(source_) {
        const auto when = j.settings().deadline;
        if (stop_alarm::clock::now() >= when) { // no task starts, whoever is the faster
            source_.request_stop();
            return;
        }
        try {
            alarm_.set(when);
        } catch (const std::system_error& e) {
            throw backend_error(std::string("joblot: no thread can be started for a deadline: ") + e.what());
        }
    }

private:
    struct stopper {
        job* target;
        void operator()() const noexcept { target->stop(true); }
    };

    std::stop_source source_;
    std::stop_callback<stopper> stop_; // its destructor waits for a stop that is under way
    stop_alarm alarm_;
};

/// Lets all of them stop a job, for as long as this lives.
class stop_link {
public:
    /// @throws backend_error No thread can be had for the time limit.
    explicit stop_link(job& j)
        : by_user_(link(j.settings().given->stop, j)), by_outer_task_(link(j.settings().outer, j)),
          by_deadline_(has_deadline(j) ? std::make_unique<deadline_watch>(j) : nullptr) {}

    /// A call that ends late was too long, however fast the watching thread is.
    static void check_deadline(job& j) noexcept {
        if (has_deadline(j) && stop_alarm::clock::now() >= j.settings().deadline) j.stop(true);
    }

private:
    struct stopper {
        job* target;
        void operator()() const noexcept { target->stop(); }
    };
    using callback = std::stop_callback<stopper>;

    static bool has_deadline(const job& j) noexcept {
        return j.settings().deadline != stop_alarm::clock::time_point::max();
    }
    static std::unique_ptr<callback> link(const std::stop_token& token, job& j) {
        return token.stop_possible() ? std::make_unique<callback>(token, stopper{&j}) : nullptr;
    }

    // on the heap, as most calls have none
    std::unique_ptr<callback> by_user_;
    std::unique_ptr<callback> by_outer_task_;
    std::unique_ptr<deadline_watch> by_deadline_;
};

} // namespace joblot::detail
// ---- joblot/dispatch/stream_job.hpp
// The job over any input range: read lazily, under a lock, by whichever worker is free, never far ahead.

// ---- joblot/dispatch/stream_core.hpp
// What the job over any input range does whatever its tasks and results are: who may read, how far ahead, and which
// results may be taken. What depends on their types is in stream_job.hpp.

#include <algorithm>
#include <condition_variable>
#include <cstddef>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

namespace joblot::detail {

/// What happens to the results: all at the end, one by one in the order of the tasks, or one by one as they come; or
/// they are not here.
enum class delivery { at_end, ordered, unordered, none };

/// Whether they are handed out while the call runs.
constexpr bool is_read_from(delivery how) noexcept { return how == delivery::ordered || how == delivery::unordered; }

/// The tasks and results of one batch, without their types. The worker that claimed it writes; `settled` and what is
/// before it belongs to the job's state mutex.
class stream_node : public any_tasks {
public:
    explicit stream_node(std::size_t index) : first(index) {}

    const std::size_t first; ///< index of its first task in the call
    std::size_t settled = 0; ///< its tasks of which nothing more comes: their results may be taken
    std::size_t taken = 0;   ///< results that were taken
    std::size_t number = 0;  ///< of the batch, counted from 0

    /// How many tasks are in it; none any more after `drop_tasks`.
    [[nodiscard]] virtual std::size_t size() const noexcept = 0;
    virtual void reserve(std::size_t n) = 0;
    /// Moves a task of another one, at position k there, to the end of this one.
    virtual void take_task(stream_node& from, std::size_t k) = 0;
    /// Makes room for the results of the tasks that are in it now.
    virtual void expect_results() = 0;
    virtual void drop_tasks() noexcept = 0;
};

/// A template, so that only files with such a call compile it, and each of them once.
template <class = void>
class basic_stream_job : public job {
public:
    [[nodiscard]] std::size_t tasks_left() const noexcept override { return none; }

    [[nodiscard]] batch claim(worker& w) override {
        std::unique_lock reading(read_mutex_);
        if (settings().given->pre_dispatch.is_everything() && !backlog_) read_backlog();
        const std::size_t n = room_for(w);
        if (n == 0) return {};
        std::unique_ptr<stream_node> fresh = make_node(claimed_);
        read(n, *fresh);
        const std::size_t got = fresh->size();
        claimed_ += got;
        if (got == 0) return end_of_input(reading);
        if (nothing_left()) total_is_known(input_->count);
        fresh->expect_results();
        const batch claimed(fresh->first, got, fresh.get());
        const std::lock_guard lock(state_mutex_);
        if (fresh->first == 0 && settings().observed()) first_label_ = fresh->label(0);
        if (nothing_left()) note_exhausted();
        fresh->number = dropped_ + nodes_.size();
        nodes_.push_back(std::move(fresh));
        in_use_ += got;
        return claimed;
    }

    [[nodiscard]] bool all_done() const noexcept override { return exhausted_ && completed_tasks() == claimed_; }

    [[nodiscard]] bool wait() override {
        std::unique_lock lock(state_mutex_);
        work_or_end_.wait(lock, [&] { return is_over() || has_room(); });
        return !is_over();
    }

    /// For a generator: the backend has left the call, no more results will come.
    void end() {
        report_end(state());
        const std::lock_guard lock(state_mutex_);
        ended_ = true;
        result_or_end_.notify_all();
    }

protected:
    /// @param total How many tasks the range has, or `none`.
    basic_stream_job(const call_settings& settings, std::size_t total, delivery how, bool careful)
        : job(settings, total, is_read_from(how), careful), how_(how), total_(total) {
        report_start();
    }

    [[nodiscard]] virtual std::unique_ptr<stream_node> make_node(std::size_t first) = 0;
    /// Reads up to `n` tasks, fewer only at the end.
    virtual void read_range(std::size_t n, stream_node& out) = 0;

    void publish(const batch& b, std::size_t ended) override {
        stream_node& n = node_of(b);
        const std::lock_guard lock(state_mutex_);
        if (how_ == delivery::unordered) {
            for (std::size_t k = 0; k != ended; ++k) ready_.emplace_back(&n, n.settled + k);
        }
        n.settled += ended;
        if (has_result()) result_or_end_.notify_one();
    }

    void settle(const batch& b) override {
        if (is_read_from(how_)) return;
        stream_node& n = node_of(b);
        n.settled += b.size(); // at the end it is the worker's; a part of the batch may still have to run
        // A long input must not stay in memory; but tasks that a stop has left are still asked for their names.
        const bool is_over = n.settled == n.size();
        if (is_over && (!settings().keeps_on_stop() || !is_halted())) n.drop_tasks();
        const std::lock_guard lock(state_mutex_);
        in_use_ -= b.size();
        if (is_over && how_ == delivery::none) drop(n);
        work_or_end_.notify_all();
    }

    void halted() noexcept override {
        const std::lock_guard lock(state_mutex_); // so that no waiter is between its test and its sleep
        work_or_end_.notify_all();
    }

    std::string first_label() override {
        const std::lock_guard lock(state_mutex_);
        return first_label_;
    }

    /// A result that may be taken, by the one reader there is, and batches that were taken to the end. They are the
    /// user's, and so is the code of their destructors: no lock is held while they go.
    struct handed_out {
        stream_node* from = nullptr;
        std::size_t k = 0;
        std::vector<std::unique_ptr<stream_node>> done; // among them `from`, perhaps
    };

    /// The next result, in the order of the tasks or as they come. False when the call is over; then `throw_if_failed`
    /// knows whether it ended well. Blocks; where the backend runs on the caller's thread, works.
    bool next_result(handed_out& to) {
        for (;;) {
            {
                std::unique_lock lock(state_mutex_);
                if (!settings().in_caller) result_or_end_.wait(lock, [&] { return has_result() || ended_; });
                if (has_result()) {
                    take_one(to);
                    return true;
                }
                if (ended_) return false;
            }
            work_one_batch();
        }
    }

    // For when the call is over.

    /// All batches, in order.
    [[nodiscard]] const std::deque<std::unique_ptr<stream_node>>& nodes() const noexcept { return nodes_; }
    /// How many tasks were handed out to workers.
    [[nodiscard]] std::size_t tasks_claimed() const noexcept { return claimed_; }
    /// How many results `outcomes` gives.
    [[nodiscard]] std::size_t number_of_outcomes() const noexcept {
        const bool all_read = input_->exhausted && !input_->error;
        return all_read || total_ == none ? input_->count : total_;
    }
    /// Label of the next task that was read ahead and that no worker was given; empty where it was not even read.
    [[nodiscard]] std::string next_label_ahead() {
        const std::size_t k = backlog_used_++;
        return backlog_ && k < backlog_->size() ? backlog_->label(k) : std::string();
    }

    /// How far the range was read; set by the constructor of what reads it, and guarded by read_mutex_.
    const reading_state* input_ = nullptr;

private:
    static stream_node& node_of(const batch& b) noexcept { return *static_cast<stream_node*>(b.tasks()); }

    // --- under read_mutex_

    void read_backlog() {
        backlog_ = make_node(0);
        read_users_range(none, *backlog_);
        if (!input_->error) total_is_known(input_->count);
    }

    void read(std::size_t n, stream_node& out) {
        out.reserve(std::min<std::size_t>(n, 1024));
        if (!backlog_) return read_users_range(n, out);
        for (; n != 0 && backlog_used_ != backlog_->size(); --n) out.take_task(*backlog_, backlog_used_++);
    }

    // The range's code is the user's, but it is no task.
    void read_users_range(std::size_t n, stream_node& out) {
        task_context* const inside = std::exchange(current_task, nullptr);
        read_range(n, out);
        current_task = inside;
    }

    /// Whether it is known, without another look at the range, that all tasks have been handed out.
    [[nodiscard]] bool nothing_left() const noexcept {
        if (input_->error || (backlog_ && backlog_used_ != backlog_->size())) return false;
        return input_->exhausted || claimed_ == total_;
    }

    batch end_of_input(std::unique_lock<std::mutex>& reading) {
        if (input_->error) {
            reading.unlock(); // who is told of it may want to read; what is read here stays as it is
            fail_input(input_->count, input_->error);
        } else {
            total_is_known(input_->count);
        }
        const std::lock_guard lock(state_mutex_);
        note_exhausted();
        return {};
    }

    /// How many tasks this worker may read now.
    std::size_t room_for(worker& w) {
        const std::lock_guard lock(state_mutex_);
        if (is_over()) return 0;
        wanted_ = std::min({w.sizer().next(total_ == none ? none : total_ - std::min(total_, claimed_)),
                            settings().largest_batch(), largest_adapted()});
        most_ahead_ = std::max(most_ahead_, settings().ahead(wanted_, workers_now()));
        return std::min(wanted_, room());
    }

    /// A generator's adapted batches are bounded in tasks, not in time alone: a few thousand results in memory that
    /// nobody asked for yet are no gain. Longer ones would save little of the microsecond that a batch costs.
    [[nodiscard]] std::size_t largest_adapted() const noexcept {
        return is_read_from(how_) && settings().batch_size() == 0 ? 256 : none;
    }

    // --- under state_mutex_

    [[nodiscard]] bool is_over() const noexcept { return exhausted_ || is_halted(); }
    /// Nothing is kept of a batch whose results are elsewhere: there may be any number of them.
    void drop(const stream_node& n) noexcept {
        nodes_[n.number - dropped_].reset();
        for (; !nodes_.empty() && !nodes_.front(); ++dropped_) nodes_.pop_front();
    }
    /// From now on nothing but this wakes the workers that wait for room: readers do not, once the call is over.
    void note_exhausted() noexcept {
        exhausted_ = true;
        work_or_end_.notify_all();
    }

    [[nodiscard]] std::size_t room() const noexcept { return most_ahead_ - std::min(most_ahead_, in_use_); }

    /// Room for a whole batch, or for half of what may be ahead: a reader must not wake the workers for every result.
    [[nodiscard]] bool has_room() const noexcept {
        return room() >= std::min(wanted_, std::max<std::size_t>(1, most_ahead_ / 2));
    }

    [[nodiscard]] bool has_result() const noexcept {
        if (how_ == delivery::unordered) return !ready_.empty();
        return !nodes_.empty() && nodes_.front()->taken < nodes_.front()->settled;
    }

    void take_one(handed_out& to) {
        if (how_ == delivery::unordered) {
            std::tie(to.from, to.k) = ready_.front();
            ready_.pop_front();
        } else {
            to.from = nodes_.front().get();
            to.k = to.from->taken;
        }
        ++to.from->taken;
        --in_use_;
        while (!nodes_.empty() && nodes_.front()->taken == nodes_.front()->size()) {
            to.done.push_back(std::move(nodes_.front()));
            nodes_.pop_front();
        }
        if (has_room() && !is_over()) {
            work_or_end_.notify_all();
            call_waker();
        }
    }

    /// For a backend that runs on the caller's thread: the reader does the work.
    void work_one_batch() {
        bool worked = false;
        {
            worker w(*this, 0);
            if (const batch b = claim(w)) {
                run(b, w);
                worked = true;
            }
        }
        if (!worked && is_over_now()) end();
    }

    [[nodiscard]] bool is_over_now() {
        const std::lock_guard lock(state_mutex_);
        return is_over();
    }

    const delivery how_;

    // Two mutexes, as reading may block for long while results must still be handed out. read_mutex_ is taken first.
    std::mutex read_mutex_;
    std::unique_ptr<stream_node> backlog_; // pre_dispatch = everything: all tasks, read before the first one starts
    std::size_t backlog_used_ = 0;
    std::size_t claimed_ = 0; // tasks handed out to workers

    std::mutex state_mutex_;
    std::condition_variable work_or_end_;   // for workers: something can be claimed again, or never
    std::condition_variable result_or_end_; // for the reader
    std::deque<std::unique_ptr<stream_node>> nodes_;
    std::size_t dropped_ = 0; // batches that are not in nodes_ any more, where nothing is kept
    std::deque<std::pair<stream_node*, std::size_t>> ready_; // unordered: results in the order of completion
    std::size_t in_use_ = 0;     // tasks read and not yet done (generators: whose result was not yet taken)
    std::size_t wanted_ = 1;     // size of the batch that a worker last wanted
    std::size_t most_ahead_ = 1; // what in_use_ may come to
    std::string first_label_;
    bool exhausted_ = false;
    bool ended_ = false;

    const std::size_t total_;
};

} // namespace joblot::detail

#include <cstddef>
#include <memory>
#include <optional>
#include <ranges>
#include <string>
#include <type_traits>
#include <utility>

namespace joblot::detail {

/// The tasks and results of one batch.
/// @tparam Results What keeps the results.
template <class Task, class Results>
class typed_node final : public typed_tasks<stream_node, task_buffer<Task>, Results> {
public:
    using typed_tasks<stream_node, task_buffer<Task>, Results>::typed_tasks;

    [[nodiscard]] std::size_t size() const noexcept override { return this->tasks_.size(); }
    void reserve(std::size_t n) override { this->tasks_.reserve(n); }
    void take_task(stream_node& from, std::size_t k) override {
        this->tasks_.push_back(static_cast<typed_node&>(from).tasks_.take(k));
    }
    void expect_results() override {
        if constexpr (!combines<Results>) this->results_ = Results(size());
    }
    void drop_tasks() noexcept override { this->tasks_ = {}; }
};

/// @tparam View    A range of tasks, borrowed: it must outlive the job.
/// @tparam Own     Whether its tasks may be moved from.
/// @tparam Results What keeps the results of a batch.
template <task_range View, bool Own, class Results>
class stream_job final : public basic_stream_job<> {
    using reader = task_reader<View, Own>;
    using task_type = typename reader::task_type;
    using tasks_type = task_buffer<task_type>;
    using node = typed_node<task_type, Results>;

public:
    using result_type = typename tasks_type::result_type;
    static constexpr bool repeatable = tasks_type::repeatable;

    stream_job(const call_settings& settings, View& view, delivery how, typename Results::shared all)
        : basic_stream_job<>(settings, size_of(view), how, needs_care<Results>(settings)), reader_(view), all_(all) {
        input_ = &reader_.state();
    }

    [[nodiscard]] const runner_entry& remote_runner() const override {
        return tasks_type::runner(typename Results::how());
    }
    void check_results_travel() const override { tasks_type::check_results_travel(typename Results::how()); }
    [[nodiscard]] any_reduction* reduction() noexcept override {
        if constexpr (combines<Results>)
            return &all_;
        else
            return nullptr;
    }

    /// All results in order; for when the call is over and `throw_if_failed` let it pass.
    auto take() {
        if constexpr (combines<Results>) {
            return all_.take_all();
        } else if constexpr (keeps_failures<Results>) {
            return take_outcomes();
        } else if constexpr (!keeps_nothing<Results>) {
            std::vector<result_type> all;
            all.reserve(tasks_claimed());
            for (const auto& n : nodes()) static_cast<node&>(*n).results().take(all);
            return all;
        }
    }

    /// For a generator, and one reader at a time: the next result, see `next_result`.
    std::optional<completed<result_type>> next() {
        handed_out from;
        if (!next_result(from)) return std::nullopt;
        // no worker touches a result that was published, and there is one reader
        auto& result = static_cast<node&>(*from.from).results()[from.k];
        completed<result_type> one{from.from->first + from.k, std::move(*result)};
        result.reset();
        return one;
    }

protected:
    [[nodiscard]] std::unique_ptr<stream_node> make_node(std::size_t first) override {
        return std::make_unique<node>(first, all_);
    }
    void read_range(std::size_t n, stream_node& out) override { reader_.read(n, static_cast<node&>(out).tasks()); }

private:
    /// What `outcomes` gives: of tasks that a stop has left, too, also where the input was not read that far.
    auto take_outcomes() {
        left_tasks left(*this);
        typename Results::list all;
        const std::size_t size = number_of_outcomes();
        all.reserve(size);
        for (const auto& each : nodes()) {
            node& n = static_cast<node&>(*each);
            if (is_halted())
                n.results().fill([&](std::size_t k) { return left.at(n.first + k, n.label(n.first + k)); });
            n.results().take(all);
        }
        while (all.size() < size) all.emplace_back(left.at(all.size(), next_label_ahead()));
        return all;
    }

    static std::size_t size_of(View& view) {
        if constexpr (std::ranges::sized_range<View>)
            return size_that_fits(view).value_or(none); // longer ones are as good as endless
        else
            return none;
    }

    reader reader_;
    typename Results::shared all_;
};

} // namespace joblot::detail
// ---- joblot/parallel_backend.hpp
// The scoped guard that chooses the backend and defaults for the calls below it, and what is in force without one.

#include <concepts>
#include <cstdlib>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

namespace joblot {

namespace detail {

/// A backend by its name, the library's own ones included.
inline std::shared_ptr<backend> backend_by_name(std::string_view name, const backend_options& options = {}) {
    backend_registry& registry = backend_registry::instance();
    // Each time, and not once behind a static's guard: a process may fork while another thread holds that.
    registry.set_default("sequential", [](const backend_options&) { return sequential{}.make(); });
    for (const char* threading : {"threads", "threading"})
        registry.set_default(threading, [](const backend_options&) { return threads{}.make(); });
#if defined(__linux__)
    for (const char* process : {"processes", "loky", "multiprocessing"})
        registry.set_default(process, [](const backend_options& o) {
            return processes{.inner_max_num_threads = o.inner_max_num_threads}.make();
        });
#endif
    return registry.make(name, options);
}

/// The backend that was chosen, or null.
inline std::shared_ptr<backend> engine_of(const backend_choice& choice, const backend_options& options = {}) {
    return choice.engine() || choice.empty() ? choice.engine() : backend_by_name(choice.name(), options);
}

/// What the environment sets below any guard: JOBLOT_BACKEND=name[:address] and JOBLOT_N_JOBS. Read at the first use.
struct environment_defaults {
    std::shared_ptr<backend> engine; // null: nothing was set
    std::optional<int> n_jobs;

    JOBLOT_ONE_PER_PROCESS static const environment_defaults& get() {
        static constinit made_once<const environment_defaults> known;
        return known.get(read);
    }

private:
    static environment_defaults read() {
        environment_defaults d;
        if (const char* name = trusted_variable("JOBLOT_BACKEND"); name && *name) d.engine = backend_by_name(name);
        d.n_jobs = n_jobs_from(trusted_variable("JOBLOT_N_JOBS"));
        return d;
    }
    static std::optional<int> n_jobs_from(const char* text) {
        if (!text || !*text) return std::nullopt;
        char* end = nullptr;
        const long n = std::strtol(text, &end, 10);
        if (*end || n == 0 || n < -(1L << 20) || n > (1L << 20))
            throw std::invalid_argument("joblot: JOBLOT_N_JOBS=" + std::string(text) +
                                        " in the environment is not a number of jobs: 1 or more, or -1 for all CPUs");
        return static_cast<int>(n);
    }
};

/// The backend in force where neither guard nor option names one. Inside a task that is the threads backend, whatever
/// the environment says: a nested call stays in its process.
inline const std::shared_ptr<backend>& default_engine(const scope& here) {
    if (!here.in_task) {
        if (const auto& engine = environment_defaults::get().engine) return engine;
    }
    return threads::shared();
}

/// The number of jobs in force where the call does not say, as the user would write it.
inline int default_n_jobs(const scope& here) {
    if (here.n_jobs) return *here.n_jobs;
    if (!here.in_task) return environment_defaults::get().n_jobs.value_or(-1);
    return -1;
}

} // namespace detail

/// While it lives, `Parallel` calls made on its thread use this backend and these defaults. What it does not set stays
/// as the guards around it have it. For this thread only; guards must be destroyed in the reverse order of their
/// construction, which scopes do by themselves.
///
/// @throws std::invalid_argument (constructors) for a value that makes no sense, or an unknown name, listing the known.
class [[nodiscard]] parallel_backend {
public:
    /// @param backend  `threads{.n_jobs = 4}`, `"threads"`, `"name:address"`, or a `std::shared_ptr<joblot::backend>`.
    /// @param defaults Values for the calls below; they go before those of a description.
    [[nodiscard("joblot: a guard without a name ends at once; give it one: parallel_backend "
                "guard{...}")]] explicit parallel_backend(const backend_choice& backend,
                                                          const backend_options& defaults = {})
        : parallel_backend(merged(backend.defaults(), defaults), &backend) {}

    /// Keeps the backend and sets defaults only.
    template <std::same_as<backend_options> Defaults = backend_options> // a template, as {"threads"} names a backend
    [[nodiscard("joblot: a guard without a name ends at once; give it one: parallel_backend "
                "guard{...}")]] explicit parallel_backend(const Defaults& defaults)
        : parallel_backend(defaults, nullptr) {}

    /// Says what the defaults look like where something else is given.
    template <class C, class T, class... Ts>
        requires(std::is_convertible_v<C, backend_choice> &&
                 !std::is_arithmetic_v<std::remove_cvref_t<C>> && // so that {5, 3} is n_jobs and verbose
                 (sizeof...(Ts) > 0 || !std::is_convertible_v<T, backend_options>))
    explicit parallel_backend(C&&, T&&, Ts&&...) : parallel_backend(backend_options{}, nullptr) {
        static_assert(std::is_void_v<T>, "joblot: defaults have names, and braces: parallel_backend guard{\"threads\", "
                                         "{.n_jobs = 4}}");
    }

    parallel_backend(const parallel_backend&) = delete;
    parallel_backend& operator=(const parallel_backend&) = delete;

    ~parallel_backend() { detail::current_scope = outer_; }

private:
    parallel_backend(const backend_options& defaults, const backend_choice* choice)
        : here_(detail::scope_here()), outer_(detail::current_scope) {
        detail::check_defaults(defaults);
        if (choice && choice->empty()) throw std::invalid_argument("joblot: parallel_backend: no backend was named");
        if (choice) here_.engine = detail::engine_of(*choice, defaults);
        if (defaults.n_jobs) here_.n_jobs = defaults.n_jobs;
        if (defaults.verbose) here_.verbose = defaults.verbose;
        if (defaults.inner_max_num_threads) here_.inner_max_num_threads = defaults.inner_max_num_threads;
        detail::current_scope = &here_;
    }

    static backend_options merged(backend_options description, const backend_options& given) {
        if (given.n_jobs) description.n_jobs = given.n_jobs;
        if (given.verbose) description.verbose = given.verbose;
        if (given.inner_max_num_threads) description.inner_max_num_threads = given.inner_max_num_threads;
        if (!given.address.empty()) description.address = given.address;
        return description;
    }

    detail::scope here_;
    const detail::scope* outer_;
};

/// How many workers a call with `n_jobs = n` would have here: what the active backend answers.
/// Without an argument: a call that says nothing about `n_jobs`. A guess for splitting work, not a reservation.
/// @throws std::invalid_argument for 0.
[[nodiscard]] inline int effective_n_jobs(number_option n = {}) {
    detail::check_n_jobs(n);
    const detail::scope& here = detail::scope_here();
    const auto& engine = here.engine ? here.engine : detail::default_engine(here);
    return engine->effective_n_jobs(n ? *n : detail::default_n_jobs(here));
}

} // namespace joblot

#include <exception>
#include <memory>
#include <optional>
#include <ranges>
#include <stdexcept>
#include <stop_token>
#include <system_error>
#include <thread>
#include <type_traits>
#include <utility>

namespace joblot::detail {

/// A call that is ready to run: who runs it, and how.
struct prepared_call {
    backend* engine = nullptr;
    std::shared_ptr<backend> keep; // keeps the engine alive where nothing else does
    call_settings settings;
};

/// Calls nested deeper than this are taken for an endless recursion: better an error than a stack overflow.
inline constexpr int deepest_nesting = 100;

/// The backend that the hint asks for, as far as it can be had here, or else the default one.
inline const std::shared_ptr<backend>& hinted_engine(const options& o, const scope& here) {
    if (o.prefer == prefer::threads) return threads::shared();
    const bool can_start = !here.in_task && process_engine().load(std::memory_order_acquire);
    return o.prefer == prefer::processes && can_start ? processes::shared() : default_engine(here);
}

/// The backend that a call gets: its own, the guard's, the hinted or the default one, with shared memory if it must be.
/// @param own The call's own, or null.
inline const std::shared_ptr<backend>& choose_engine(const options& o, const std::shared_ptr<backend>& own,
                                                     const scope& here) {
    const auto& engine = own ? own : here.engine ? here.engine : hinted_engine(o, here);
    if (o.require != require::sharedmem || engine->traits().shared_memory) return engine;
    if (own)
        throw std::invalid_argument("joblot: require = sharedmem: backend " + own->name() +
                                    " shares no memory with its workers; leave the backend out, or give threads{}");
    return threads::shared();
}

/// What is in force inside a call's tasks. A backend without workers of its own is as if it were not there. Inside a
/// worker the default is threads, as many as this call has; all calls share the one pool.
inline scope scope_inside(const call_settings& s, const options& o, const scope& here) {
    scope inside = s.in_caller ? here : scope{.n_jobs = s.workers, .in_task = true, .depth = here.depth};
    const auto& own = o.backend.defaults().inner_max_num_threads;
    inside.inner_max_num_threads = own ? own : here.inner_max_num_threads;
    ++inside.depth;
    return inside;
}

/// @param o       Must outlive the prepared call.
/// @param outlive Whether the call goes on when the guard in force is gone.
inline prepared_call prepare(const options& o, bool outlive = false) {
    const scope& here = scope_here();
    if (here.depth >= deepest_nesting)
        throw error("joblot: calls are nested " + std::to_string(deepest_nesting) +
                    " deep; is this an endless recursion?");
    prepared_call call{};
    call.settings.deadline = end_of_call(o);
    if (!o.backend.name().empty()) call.keep = backend_by_name(o.backend.name());
    const auto& chosen = choose_engine(o, call.keep ? call.keep : o.backend.engine(), here);
    backend& engine = *(call.engine = chosen.get());
    if (outlive) call.keep = chosen;

    call_settings& s = call.settings;
    s.given = &o;
    const auto& described = o.backend.defaults().n_jobs;
    s.requested_n_jobs = o.n_jobs ? *o.n_jobs : described ? *described : default_n_jobs(here);
    s.outer = this_task::stop_token();
    s.workers = engine.effective_n_jobs_of(s);
    if (s.workers < 1) throw backend_error("joblot: " + engine.name() + " has no active worker");
    const backend_traits traits = engine.traits();
    s.in_caller = traits.in_caller;
    s.remote = traits.remote;
    s.batch_target = traits.batch_target;
    s.batch_cost = traits.batch_cost;
    const auto& loud = o.backend.defaults().verbose;
    s.verbose = o.verbose ? *o.verbose : loud ? *loud : here.verbose.value_or(0);
    if (s.observed()) s.backend_name = engine.name();
    s.inside = scope_inside(s, o, here);
    return call;
}

/// Lets the backend run the job to its end; afterwards the job knows how it ended. Throws nothing, but unwinds where a
/// task ends this thread.
inline void run_to_end(backend& engine, job& j) {
    try {
        const stop_link link(j);
        engine.run(j);
        stop_link::check_deadline(j);
        if (j.state() == progress_state::finished && !j.all_done())
            j.abort(std::make_exception_ptr(
                backend_error("joblot: " + engine.name() + " returned before all tasks were done")));
    } catch (...) {
        j.abort(caught_error());
        if (thread_ends()) throw;
    }
}

// Whether a range of type R&& belongs to us, its elements included: a container that was moved in, but not a span.
template <class R>
inline constexpr bool owns_elements = !std::is_reference_v<R> && !std::is_const_v<R> && !std::ranges::view<R>;
template <class C>
inline constexpr bool owns_elements<std::ranges::owning_view<C>> = true;

template <class Tasks>
void check_repeatable(const options& o) {
    if (!Tasks::repeatable && o.retries > 0)
        refuse("retries", o.retries, "tasks that cannot be copied cannot be tried again; give 0");
}

/// For calls that return values: they have no place for what is not there.
inline void check_gives_all(const options& o) {
    if (o.on_stop == on_stop::keep)
        refuse("on_stop", "keep", "only outcomes() can tell what was not done; call that, or leave the option out");
}

/// Runs a job whose results are wanted at the end.
template <class Job>
auto run_job(backend& engine, Job& j) {
    run_to_end(engine, j);
    j.report_end(j.state());
    j.throw_if_failed();
    return j.take();
}

/// Runs the tasks of a range; `Results` says what is kept of them.
template <class Results, class R>
auto run_range_into(const options& o, R&& range, typename Results::shared all) {
    using range_type = std::remove_reference_t<R>;
    using task_type = std::remove_cvref_t<std::ranges::range_reference_t<range_type>>;
    if constexpr (combines<Results> || !keeps_failures<Results>) check_gives_all(o);
    prepared_call call = prepare(o);
    if constexpr (persists_result<task_type>) {
        call.settings.persists_results = true;
        call.settings.persists_messages =
            block_kind_of<typename task_result_t<task_type>::value_type>() == block_kind::none;
    }
    if constexpr (indexable<range_type>) {
        using source = indexed_source<std::ranges::iterator_t<range_type>, owns_elements<R>>;
        check_repeatable<source>(o);
        const std::size_t n = number_of_tasks(range, Results::most);
        source tasks(std::ranges::begin(range), n);
        indexed_job<source, Results> j(call.settings, tasks, all);
        return run_job(*call.engine, j);
    } else {
        using job_type = stream_job<range_type, owns_elements<R>, Results>;
        check_repeatable<job_type>(o);
        if constexpr (std::ranges::sized_range<range_type>) static_cast<void>(number_of_tasks(range, Results::most));
        job_type j(call.settings, range, keeps_nothing<Results> ? delivery::none : delivery::at_end, all);
        return run_job(*call.engine, j);
    }
}

/// The same; `Results<R>` is what keeps results of type R.
template <template <class> class Results, class R>
auto run_range(const options& o, R&& range) {
    using result = task_result_t<std::ranges::range_reference_t<std::remove_reference_t<R>>>;
    return run_range_into<Results<result>>(o, std::forward<R>(range), {});
}

/// Runs the tasks of a range and combines their results.
/// @tparam Keep Whether those that fail are left out, and told of.
template <bool Keep, class R, class Init, class Combine>
auto run_reduction(const options& o, R&& range, Init init, Combine combine) {
    using result = task_result_t<std::ranges::range_reference_t<std::remove_reference_t<R>>>;
    using all_type = combined_results<reduction_rules<result, Init, Combine>, Keep>;
    all_type all(std::move(init), std::move(combine));
    return run_range_into<all_type>(o, std::forward<R>(range), all);
}

/// A call whose results are read while it goes on, without their types. A thread of its own drives the backend, so that
/// the reader is free and a nested generator never waits for a free helper; where the backend works on the caller's
/// thread, the reader does. A template, so that only files with a generator compile it.
template <class = void>
class basic_live_call {
public:
    basic_live_call(const basic_live_call&) = delete;
    basic_live_call& operator=(const basic_live_call&) = delete;

protected:
    explicit basic_live_call(const options& o) : options_(o), call_(prepare(options_, true)) {}
    ~basic_live_call() = default;

    [[nodiscard]] const call_settings& settings() const noexcept { return call_.settings; }

    void start(basic_stream_job<>& job) {
        job_ = &job;
        if (call_.settings.in_caller)
            link_.emplace(job);
        else
            driver_ = start_driver();
    }
    /// For the destructor: the job must not go while it runs.
    void cancel() {
        if (ended_) return;
        job_->stop();
        wait_for_end();
    }
    void wait_for_end() {
        ended_ = true;
        if (driver_.joinable())
            driver_.join();
        else
            job_->end();
        link_.reset();
    }

private:
    std::thread start_driver() {
        try {
            return std::thread([this, in_task = scope_here().in_task] {
                const scope outside{.in_task = in_task}; // a generator inside a task adds no threads to the pool either
                current_scope = &outside;
                const at_end end{*job_}; // also where a task ends this thread
                run_to_end(*call_.engine, *job_);
            });
        } catch (const std::system_error& e) {
            throw backend_error(std::string("joblot: no thread can be started for a generator: ") + e.what());
        }
    }

    struct at_end {
        basic_stream_job<>& ended;
        ~at_end() { ended.end(); }
    };

    options options_;
    prepared_call call_;
    basic_stream_job<>* job_ = nullptr;
    std::optional<stop_link> link_;
    std::thread driver_;
    bool ended_ = false;
};

template <class View, bool Own, class R, class T>
class live_call final : public result_stream<T>, private basic_live_call<> {
    using job_type = stream_job<View, Own, streamed_results<R>>;

public:
    live_call(const options& o, View view, delivery how)
        : basic_live_call<>(o), view_(std::move(view)), job_(settings(), view_, how, {}) {
        start(job_);
    }
    ~live_call() override { cancel(); }

    std::optional<T> next() override {
        if (auto one = job_.next()) {
            if constexpr (std::is_same_v<T, completed<R>>)
                return one;
            else
                return std::move(one->value);
        }
        wait_for_end();
        job_.throw_if_failed();
        return std::nullopt;
    }

private:
    View view_;
    job_type job_;
};

template <class T, class R>
result_range<T> start_live_call(const options& o, R&& range, delivery how) {
    using view = std::views::all_t<R>;
    using result = task_result_t<std::ranges::range_reference_t<view>>;
    using call = live_call<view, owns_elements<view>, result, T>;
    check_gives_all(o);
    check_repeatable<task_buffer<std::remove_cvref_t<std::ranges::range_reference_t<view>>>>(o);
    return result_range<T>(std::make_unique<call>(o, std::views::all(std::forward<R>(range)), how));
}

} // namespace joblot::detail
// ---- joblot/dispatch/tuple_source.hpp
// A few tasks of different types, as one input: for `p(task1, task2, ...)`.

#include <array>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <optional>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>

namespace joblot::detail {

/// Owns the tasks and keeps their results, which differ in type; to the job they are tasks without results.
/// Different indices may be called by different threads at the same time.
template <class... Tasks>
class tuple_source {
public:
    using result_type = void;
    static constexpr bool repeatable = (can_be_repeated<Tasks>() && ...);

    explicit tuple_source(Tasks... tasks) : tasks_(std::move(tasks)...) {}

    [[nodiscard]] std::size_t size() const noexcept { return sizeof...(Tasks); }
    void call(std::size_t i) {
        visit(i, []<class T>(T& task, auto& result) {
            keep<T>(result, [&]() -> decltype(auto) { return std::move(task)(); });
        });
    }
    void call_again(std::size_t i) {
        visit(i, []<class T>(T& task, auto& result) {
            keep<T>(result, [&]() -> decltype(auto) { return call_and_keep(task); });
        });
    }
    [[nodiscard]] std::string label(std::size_t i) {
        std::string name;
        visit(i, [&](auto& task, auto&) { name = label_of(task); });
        return name;
    }

    // --- between processes: a task's number, and the task

    static const runner_entry& runner(result_sent how) {
        static_cast<void>((remotable_tasks<Tasks>::runner(how), ...)); // throws for one that cannot be sent
        if constexpr ((remote_form_t<Tasks>::possible && ...)) return entry_;
        std::terminate(); // not reached
    }
    static void check_results_travel(result_sent how) { (remotable_tasks<Tasks>::check_results_travel(how), ...); }
    void encode(std::size_t i, encoder& to) {
        to.message().put(static_cast<std::uint32_t>(i));
        visit(i, [&]<class T>(T& task, auto&) {
            if constexpr (remote_form_t<T>::possible) remote_form_t<T>::write(to, task);
        });
    }
    void run_forked(std::size_t i, encoder& to, result_listener& then, result_sent) {
        visit(i, [&]<class T>(T& task, auto&) {
            if constexpr (result_travels<task_result_t<T>>)
                result_sent::take(to, then, [&]() -> decltype(auto) { return std::move(task)(); });
        });
    }
    void decode(std::size_t i, decoder& from) {
        visit(i, [&]<class T>(T&, auto& result) {
            keep<T>(result, [&]() -> decltype(auto) { return remotable_tasks<T>::decode_result(from); });
        });
    }

    /// The results; for when all tasks have ended well.
    std::tuple<stored_t<task_result_t<Tasks>>...> take() {
        return std::apply([](auto&... r) { return std::tuple<stored_t<task_result_t<Tasks>>...>(std::move(*r)...); },
                          results_);
    }

private:
    template <class T, class Result, class Call>
    static void keep(Result& result, Call call) {
        if constexpr (std::is_void_v<task_result_t<T>>) {
            call();
            result.emplace();
        } else {
            result.emplace(call());
        }
    }

    template <class Visitor>
    void visit(std::size_t i, Visitor&& visitor) {
        [&]<std::size_t... I>(std::index_sequence<I...>) {
            static_cast<void>(((I == i && (visitor(std::get<I>(tasks_), std::get<I>(results_)), true)) || ...));
        }(std::index_sequence_for<Tasks...>{});
    }

    static void run_remote(decoder& from, encoder& to, result_listener& then) {
        const auto i = from.message().get<std::uint32_t>("the number of a task");
        bool known = false;
        [&]<std::size_t... I>(std::index_sequence<I...>) {
            static_cast<void>(((I == i && (remote_form_t<std::tuple_element_t<I, std::tuple<Tasks...>>>::template run<>(
                                               from, to, then),
                                           known = true)) ||
                               ...));
        }(std::index_sequence_for<Tasks...>());
        if (!known) from.message().fail("there is no such task", "the number of a task");
    }
    static inline const runner_entry entry_{&run_remote};

    std::tuple<Tasks...> tasks_;
    std::tuple<std::optional<stored_t<task_result_t<Tasks>>>...> results_;
};

} // namespace joblot::detail
// ---- joblot/dispatch/zip.hpp
// Tasks of one function over several ranges in step: for `p.map(f, ranges...)`. C++20 has no `zip` yet.

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <iterator>
#include <limits>
#include <ranges>
#include <tuple>
#include <utility>

namespace joblot::detail {

// Indexable, or without an end: what `zip_tasks` can index without a lock as long as one of them has an end.
template <class V>
concept zip_indexable =
    std::ranges::random_access_range<V> && enable_concurrent_read<V> &&
    (std::ranges::sized_range<V> || std::same_as<std::ranges::sentinel_t<V>, std::unreachable_sentinel_t>);

/// `f(a[i], b[i], ...)` as a task for each i up to the end of the shortest range. A view that owns what it was given.
/// Random access where all ranges allow it, else a single pass.
template <class F, std::ranges::view... Vs>
class zip_tasks {
    static constexpr bool indexed = (zip_indexable<Vs> && ...) && (std::ranges::sized_range<Vs> || ...);

public:
    zip_tasks(F f, Vs... views) : make_(std::move(f)), views_(std::move(views)...) {}

    class iterator {
    public:
        using difference_type = std::ptrdiff_t;
        using value_type =
            decltype(std::declval<const delayed_function<F>&>()(*std::declval<std::ranges::iterator_t<Vs>&>()...));

        explicit iterator(zip_tasks& z)
            : zip_(&z), at_(std::apply([](auto&... v) { return std::tuple(std::ranges::begin(v)...); }, z.views_)) {}

        value_type operator*() const {
            return std::apply([&](auto&... at) { return zip_->make_(*at...); }, at_);
        }
        iterator& operator++() {
            std::apply([](auto&... at) { (++at, ...); }, at_);
            return *this;
        }
        void operator++(int) { ++*this; }
        bool operator==(std::default_sentinel_t) const {
            return [&]<std::size_t... I>(std::index_sequence<I...>) {
                return ((std::get<I>(at_) == std::ranges::end(std::get<I>(zip_->views_))) || ...);
            }(std::index_sequence_for<Vs...>{});
        }

    private:
        zip_tasks* zip_;
        mutable std::tuple<std::ranges::iterator_t<Vs>...> at_; // input iterators may be readable only when not const
    };

    iterator begin() { return iterator(*this); }
    std::default_sentinel_t end() { return {}; }

    /// The tasks by index, as the dispatcher wants them.
    [[nodiscard]] auto by_index()
        requires indexed
    {
        return std::views::iota(std::size_t{0}, size()) | std::views::transform(at_index{this});
    }

    static constexpr bool is_indexed = indexed;

private:
    struct at_index {
        zip_tasks* zip;
        auto operator()(std::size_t i) const {
            return std::apply(
                [&](auto&... v) {
                    return zip->make_(
                        std::ranges::begin(v)[static_cast<std::ranges::range_difference_t<decltype(v)>>(i)]...);
                },
                zip->views_);
        }
        using reads_only = void; // see is_pure_function below
    };

    std::size_t size() {
        std::size_t shortest = std::numeric_limits<std::size_t>::max();
        const auto look = [&](auto& v) {
            if constexpr (std::ranges::sized_range<decltype(v)>) {
                if (const auto n = size_that_fits(v)) shortest = std::min(shortest, *n);
            }
        };
        std::apply([&](auto&... v) { (look(v), ...); }, views_);
        if (shortest > largest_size) std::apply([&](auto&... v) { (refuse(v), ...); }, views_);
        return shortest;
    }
    template <class V>
    static void refuse(V& v) {
        if constexpr (std::ranges::sized_range<V>) static_cast<void>(number_of_tasks(v, largest_size));
    }

    delayed_function<F> make_;
    std::tuple<Vs...> views_;
};

// zip_tasks only indexes ranges that may be read by several threads.
template <class F>
    requires requires { typename F::reads_only; }
inline constexpr bool is_pure_function<F> = true;

} // namespace joblot::detail

#include <concepts>
#include <cstddef>
#include <functional>
#include <ranges>
#include <tuple>
#include <type_traits>
#include <utility>

namespace joblot {

/// Runs tasks in parallel: `Parallel({.n_jobs = 2})(views::iota(0, 10) | views::transform(delayed(f)))`.
///
/// A set of options and nothing else: cheap, copyable, reusable, and every member is thread-safe, also for calls at
/// the same time. Workers belong to the backend and outlive it.
///
/// All calls throw what a task threw (of those that failed, the one with the lowest index; `failed_task` tells which),
/// what the range threw while it was read, `timeout_error`, `cancelled`, `backend_error`, or `std::invalid_argument`
/// for options that do not go together. When a call has returned or thrown, none of its tasks is running any more.
///
/// A range is read lazily, by whichever worker is free, never by two at once, and no further ahead than `pre_dispatch`
/// says; unless all its elements can be indexed at the same time, as those of `transform` by a `delayed` over `iota` or
/// a container (`enable_concurrent_read`). Tasks in a range that is passed as an lvalue are left as they are.
class Parallel {
public:
    /// @throws std::invalid_argument naming an option that makes no sense, and its value.
    explicit Parallel(options o = {}) // which options there are: struct options, in options.hpp
        : options_(std::move(o)) {
        detail::check(options_);
    }

    template <class T>
        requires(!std::is_convertible_v<T, options> && !std::is_convertible_v<T, Parallel>)
    explicit Parallel(T&&) {
        static_assert(std::is_void_v<T>, "joblot: options have names, and braces: Parallel({.n_jobs = 4})");
    }

    /// Runs all tasks of a range.
    /// @return `std::vector` of their results in the order of the tasks; nothing for `void` tasks.
    template <class R>
        requires(!detail::is_task<std::remove_cvref_t<R>>)
    auto operator()(R&& range) const {
        if constexpr (check_range<R>())
            return detail::run_range<detail::list_results>(options_, std::forward<R>(range));
        else
            return misused(range);
    }

    /// Runs the given tasks. @return `std::tuple` of their results; `std::monostate` for a `void` task.
    template <class... Tasks>
        requires(sizeof...(Tasks) > 0 && (detail::is_task<std::remove_cvref_t<Tasks>> && ...))
    auto operator()(Tasks&&... tasks) const {
        if constexpr ((check_task<std::remove_cvref_t<Tasks>>() && ...))
            return run_tuple(std::forward<Tasks>(tasks)...);
        else
            return misuse{};
    }

    template <class... Others>
        requires(sizeof...(Others) > 1 && !(detail::is_task<std::remove_cvref_t<Others>> && ...))
    std::tuple<std::decay_t<Others>...> operator()(Others&&...) const {
        static_assert(sizeof...(Others) == 0, "joblot: these are not all tasks; write delayed(f)(1) instead of f(1) or "
                                              "delayed(f), and map(f, range) instead of (f, range)");
        __builtin_unreachable();
    }
    template <class T, std::size_t N>
    auto operator()(T (&&)[N]) const {
        return in_braces<T>();
    }

    /// Runs `f(a, b, ...)` for the elements of the ranges in step, up to the end of the shortest one.
    /// @return as for a range of `delayed(f)(a, b, ...)`.
    template <class F, class... Rs>
    auto map(F&& f, Rs&&... ranges) const {
        if constexpr (check_mapped<F, Rs...>())
            return run_zipped(std::forward<F>(f), std::forward<Rs>(ranges)...);
        else
            return misuse{};
    }
    template <class F, class T, std::size_t N>
    auto map(F&&, T (&&)[N]) const {
        return in_braces<T>();
    }

    /// Runs all tasks of a range and keeps what they throw: no task's failure stops another.
    /// @return `std::vector<outcome<R>>` in the order of the tasks.
    template <class R, class... Others>
    auto outcomes(R&& range, const Others&...) const {
        if constexpr (check_range<R, false, Others...>())
            return detail::run_range<detail::outcome_results>(options_, std::forward<R>(range));
        else
            return misused(range);
    }

    /// Runs all tasks of a range and combines their results as they come: no list of them is made, and on other
    /// processes and clusters workers combine what they have before they send it.
    ///
    /// The value is `combine(...combine(combine(init, r0), r1)..., rn)`, in another bracketing, which depends on the
    /// number of tasks alone: the same bits on every backend, for any `n_jobs` and any size of batches. `combine` must
    /// be associative as far as that matters to you; results are never swapped.
    ///
    /// @param init    What the value is where there is no task. Where a result is no T (nor becomes one by itself), T
    ///                is what results are taken up in, as samples in a histogram: then many copies of `init` are made,
    ///                and it must be neutral. A function without parameters that makes one is called instead.
    /// @param combine `combine(T, T)` gives a T, or changes its first argument, a `T&`, in place. Where a result is no
    ///                T, `combine(T, result)` does, too. It is called by several threads at the same time.
    /// @return T, the type of `init`. @throws what `combine` throws, besides what each call throws.
    template <class R, class Init, class Combine>
    auto reduce(R&& range, Init init, Combine combine) const {
        if constexpr (check_reduction<R, Init, Combine>())
            return detail::run_reduction<false>(options_, std::forward<R>(range), std::move(init), std::move(combine));
        else
            return misuse{};
    }

    /// The same, but a task that fails is left out, and told of. @return `reduced<T>`, of the value and the failures.
    template <class R, class Init, class Combine>
    auto reduce_outcomes(R&& range, Init init, Combine combine) const {
        if constexpr (check_reduction<R, Init, Combine>())
            return detail::run_reduction<true>(options_, std::forward<R>(range), std::move(init), std::move(combine));
        else
            return misuse{};
    }

    /// Runs all tasks of a range for what they do: results are dropped where they are made, and need not travel.
    template <class R, class... Others>
    void for_each(R&& range, const Others&...) const {
        if constexpr (check_range<R, false, Others...>())
            detail::run_range_into<detail::dropped_results>(options_, std::forward<R>(range), {});
        else
            misused(range);
    }

    /// Runs all tasks of a range, which may be endless, and calls `sink(index, result)` on this thread for each as it
    /// comes; `sink(index)` for `void` tasks. No more than `pre_dispatch` results wait for it. What it throws ends the
    /// call, and comes out of it.
    template <class R, class Sink>
    void into(R&& range, Sink&& sink) const {
        if constexpr (check_range<R, one_by_one>()) {
            using result = task_result_t<std::ranges::range_reference_t<R>>;
            for (auto&& each : generator_unordered(std::forward<R>(range))) {
                if constexpr (std::is_void_v<result>)
                    std::invoke(sink, each.index);
                else
                    std::invoke(sink, each.index, std::move(each.value));
            }
        } else {
            misused(range);
        }
    }

    /// Runs all tasks of a range, and leaves each result where it was made: on a Dask cluster in the memory of a
    /// worker, where later tasks, and Python, can read it; elsewhere in this process. There each task is a Dask task of
    /// its own.
    /// @return `std::vector<persisted<R>>` in the order of the tasks.
    template <class R, class... Others>
    auto persist(R&& range, const Others&...) const {
        if constexpr (check_range<R, false, Others...>()) {
            using result = task_result_t<std::ranges::range_reference_t<R>>;
            static_assert(!std::is_void_v<result>, "joblot: these tasks have no results that could be persisted");
            if constexpr (!std::is_void_v<result>)
                return detail::run_range<detail::list_results>(options_,
                                                               std::views::all(std::forward<R>(range)) |
                                                                   std::views::transform(detail::persist_result{}));
        } else {
            return misused(range);
        }
    }

    /// Starts the tasks of a range, which may be endless, and gives their results in the order of the tasks, each as
    /// soon as it and all before it are there. No more than `pre_dispatch` tasks are ahead of the reader.
    /// @return `generator<R>`. A range that is passed as an lvalue must outlive it.
    template <class R, class... Others>
    auto generator(R&& range, const Others&...) const {
        if constexpr (check_range<R, one_by_one, Others...>()) {
            using value = detail::stored_t<task_result_t<std::ranges::range_reference_t<R>>>;
            return detail::start_live_call<value>(options_, std::forward<R>(range), detail::delivery::ordered);
        } else {
            return misused(range);
        }
    }

    /// The same, as they complete. @return `unordered_generator<R>`, of `completed<R>{index, value}`.
    template <class R, class... Others>
    auto generator_unordered(R&& range, const Others&...) const {
        if constexpr (check_range<R, one_by_one, Others...>()) {
            using value = completed<task_result_t<std::ranges::range_reference_t<R>>>;
            return detail::start_live_call<value>(options_, std::forward<R>(range), detail::delivery::unordered);
        } else {
            return misused(range);
        }
    }

private:
    // What a misused call returns: it fits everywhere, so that the diagnostic of the misuse stays the only one.
    struct misuse {
        struct element { // also of a generator_unordered
            std::size_t index;
            int value;
            template <class T>
            operator T() const;
        };
        template <class T>
        operator T() const;
        element* begin() const;
        element* end() const;
    };

    static constexpr bool one_by_one = true; // the range is read so, whatever it is

    template <class T>
    static misuse in_braces() {
        static_assert(std::is_void_v<T>, "joblot: a list in braces is no range; put its elements into a std::vector, "
                                         "or give tasks without braces: (task1, task2)");
        return {};
    }

    /// Whether a range can be run; if not, says why in one diagnostic.
    /// @tparam Others What stands behind it in the call: there must be nothing.
    template <class R, bool OneByOne = false, class... Others>
    static constexpr bool check_range() {
        if constexpr (sizeof...(Others) > 0) {
            static_assert(sizeof...(Others) == 0, "joblot: this call takes one range of tasks: put them into a "
                                                  "std::vector, or make them with "
                                                  "std::views::transform(joblot::delayed(f))");
            return false;
        } else if constexpr (detail::is_delayed<std::remove_cvref_t<R>>) {
            static_assert(std::is_void_v<R>, "joblot: delayed(f) is no task before it is called with the arguments of "
                                             "f: delayed(f)(1)");
            return false;
        } else if constexpr (!std::ranges::input_range<R>) {
            static_assert(std::is_void_v<R>, "joblot: this is neither a task nor a range of tasks; write delayed(f)(1) "
                                             "instead of f(1), and for many calls std::views::transform(delayed(f))");
            return false;
        } else if constexpr (!task_range<R>) {
            static_assert(task_range<R>, "joblot: the range's elements are not tasks; make them with "
                                         "std::views::transform(joblot::delayed(f)), or call map(f, range)");
            return false;
        } else {
            using view = std::conditional_t<OneByOne, std::views::all_t<R>, R>;
            constexpr bool read_one_by_one = OneByOne || !detail::indexable<std::remove_reference_t<R>>;
            constexpr bool runnable = detail::can_run_tasks<R, detail::owns_elements<view>, read_one_by_one>;
            static_assert(runnable, "joblot: these tasks can only be moved, and the range is not ours to move from; "
                                    "pass it with std::move");
            return runnable && check_task<std::remove_cvref_t<std::ranges::range_reference_t<R>>>();
        }
    }

    /// Whether a function can be called with the elements of these ranges; if not, says why in one diagnostic.
    template <class F, class... Rs>
    static constexpr bool check_mapped() {
        constexpr bool are_ranges = sizeof...(Rs) > 0 && (std::ranges::input_range<Rs> && ...);
        constexpr bool is_delayed = detail::is_delayed<std::remove_cvref_t<F>>;
        if constexpr (!are_ranges) {
            static_assert(are_ranges, "joblot: map takes the function first, and then ranges: map(f, range)");
            return false;
        } else if constexpr (is_delayed) {
            static_assert(!is_delayed, "joblot: map makes the tasks itself: map(f, range), without delayed");
            return false;
        } else {
            detail::check_callable<F>();
            constexpr bool callable =
                std::invocable<std::decay_t<F>, std::decay_t<std::ranges::range_reference_t<Rs>>...>;
            static_assert(callable,
                          "joblot: the function cannot be called with these arguments: one element of each range");
            return callable;
        }
    }

    /// Whether the results of a range of tasks can be combined so; if not, says why in one diagnostic.
    template <class R, class Init, class Combine>
    static constexpr bool check_reduction() {
        if constexpr (!check_range<R>()) {
            return false;
        } else if constexpr (std::is_void_v<task_result_t<std::ranges::range_reference_t<R>>>) {
            static_assert(std::is_void_v<Init>, "joblot: these tasks have no results that could be combined; for what "
                                                "they do, call for_each(tasks)");
            return false;
        } else {
            return detail::check_rules<
                detail::reduction_rules<task_result_t<std::ranges::range_reference_t<R>>, Init, Combine>>();
        }
    }

    template <class Task>
    static constexpr bool check_task() {
        using result = task_result_t<Task>;
        constexpr bool movable = std::is_void_v<result> || std::move_constructible<result>;
        static_assert(movable, "joblot: the result of a task must be movable; return a std::unique_ptr to it instead");
        return movable && Task::callable; // `delayed` itself says what is wrong with the arguments
    }

    template <class... Tasks>
    auto run_tuple(Tasks&&... tasks) const {
        using source = detail::tuple_source<std::remove_cvref_t<Tasks>...>;
        detail::check_gives_all(options_);
        const detail::prepared_call call = detail::prepare(options_);
        detail::check_repeatable<source>(options_);
        source all(std::forward<Tasks>(tasks)...);
        detail::indexed_job<source, detail::no_results> j(call.settings, all, {});
        detail::run_job(*call.engine, j);
        return all.take();
    }

    template <class F, class... Rs>
    auto run_zipped(F&& f, Rs&&... ranges) const {
        detail::zip_tasks<std::decay_t<F>, std::views::all_t<Rs>...> tasks(
            std::forward<F>(f), std::views::all(std::forward<Rs>(ranges))...);
        if constexpr (decltype(tasks)::is_indexed)
            return (*this)(tasks.by_index());
        else
            return (*this)(tasks);
    }

    // Reads an element, so that `delayed` is compiled for it and says what is wrong.
    template <class R>
    static misuse misused(R& range) {
        if constexpr (task_range<R>) static_cast<void>(*std::ranges::begin(range));
        return {};
    }

    options options_;
};

} // namespace joblot
// ---- joblot/progress/bar.hpp
// `progress_bar()`: a callback that keeps one line of a terminal up to date, and writes a line now and then elsewhere.

#include <algorithm>
#include <cstddef>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace joblot {

namespace detail {

/// `0.3s`, `59.9s`, `1m05s`, `2h03m`.
inline std::string short_time(double seconds) {
    if (!(seconds >= 59.95)) return fixed_decimals(seconds, 1) + "s";
    const auto whole = static_cast<unsigned long long>(std::min(seconds, 1e15) + 0.5);
    const auto two_digits = [](unsigned long long n) { return (n < 10 ? "0" : "") + std::to_string(n); };
    if (whole < 3600) return std::to_string(whole / 60) + "m" + two_digits(whole % 60) + "s";
    return std::to_string(whole / 3600) + "h" + two_digits(whole / 60 % 60) + "m";
}

/// `0.25 tasks/s`, `12.5 tasks/s`, `340 tasks/s`, `12.3k tasks/s`, `1.5M tasks/s`; nothing before a task is done.
inline std::string rate(const progress_event& event) {
    const double seconds = event.elapsed.count();
    if (event.done == 0 || !(seconds > 0)) return "";
    const double per_second = static_cast<double>(event.done) / seconds;
    std::string number;
    if (per_second >= 999.5e3)
        number = fixed_decimals(per_second / 1e6, 1) + "M";
    else if (per_second >= 9999.5)
        number = fixed_decimals(per_second / 1e3, 1) + "k";
    else
        number = fixed_decimals(per_second, per_second >= 99.95 ? 0 : per_second >= 0.995 ? 1 : 2);
    return number + " tasks/s";
}

/// Share done, 0 to 1; a call without tasks is complete.
inline double fraction(const progress_event& event) noexcept {
    if (!event.total || *event.total == 0) return 1;
    return std::min(1.0, static_cast<double>(event.done) / static_cast<double>(*event.total));
}

/// `37%`; never 100 before the last task is done.
inline std::string percent(const progress_event& event) {
    const int whole = static_cast<int>(fraction(event) * 100);
    return std::to_string(event.done < event.total.value_or(0) ? std::min(whole, 99) : whole) + "%";
}

/// ` 370/1000`, as wide as it will ever be so that the line does not wobble; `370 tasks` without a total.
inline std::string counts(const progress_event& event) {
    if (!event.total) return std::to_string(event.done) + " tasks";
    const std::string total = std::to_string(*event.total);
    return right_aligned(event.done, total.size()) + "/" + total;
}

inline bool continues_character(char byte) noexcept { return (static_cast<unsigned char>(byte) & 0xC0) == 0x80; }

/// Columns that `text` (UTF-8) takes, at one for each character.
inline std::size_t columns(std::string_view text) noexcept {
    return static_cast<std::size_t>(std::ranges::count_if(text, [](char c) { return !continues_character(c); }));
}

/// At most `limit` columns of `text`, its control characters (which would move the cursor) as `?`.
inline std::string printable(std::string_view text, std::size_t limit) {
    std::string out;
    std::size_t used = 0;
    for (const char c : text) {
        if (!continues_character(c) && ++used > limit) break;
        const auto byte = static_cast<unsigned char>(c);
        out += byte < 0x20 || byte == 0x7F ? '?' : c;
    }
    return out;
}

/// `[=====>    ]` in `width` columns, of which two are the brackets.
inline std::string gauge(double share, std::size_t width) {
    const std::size_t inside = width - 2;
    const auto filled = std::min(inside, static_cast<std::size_t>(share * static_cast<double>(inside)));
    std::string bar(inside, ' ');
    std::fill_n(bar.begin(), filled, '=');
    if (filled < inside) bar[filled] = '>';
    return "[" + bar + "]";
}

/// One of four strokes, turning at the pace of the redraws.
inline std::string spinner(double seconds) {
    return std::string(1, "|/-\\"[static_cast<std::size_t>(std::clamp(seconds, 0.0, 1e9) * 10) % 4]);
}

/// One line, without its end, of at most `width` columns: label, bar, percent, counts, times, rate, closing word.
/// What does not fit is left out, the least important first: rate, times, label, bar, percent.
inline std::string render_bar(const progress_event& event, std::size_t width) {
    constexpr std::size_t shortest_gauge = 10;
    constexpr std::size_t longest_gauge = 40;
    constexpr std::size_t longest_label = 30;
    const bool running = event.state == progress_state::running;
    const std::string share = event.total ? right_aligned(percent(event), 4) : std::string();
    std::string times = short_time(event.elapsed.count());
    if (running && event.remaining) times += ", " + short_time(event.remaining->count()) + " left";

    std::string line = counts(event); // grows on both sides by what there is room for
    const auto fits = [&](std::size_t more) { return columns(line) + more <= width; };
    const auto append = [&](std::string_view part, std::string_view gap) {
        if (!part.empty() && fits(columns(part) + gap.size())) line.append(gap).append(part);
    };
    const auto prepend = [&](const std::string& part) {
        if (!part.empty() && fits(columns(part) + 1)) line = part + " " + line;
    };
    append(state_word(event.state), " ");
    prepend(share);
    const std::size_t reserved = event.total ? shortest_gauge + 1 : 0;
    const std::string label = printable(event.label, longest_label);
    const bool with_label = !label.empty() && fits(reserved + columns(label) + 1);
    const std::size_t label_room = with_label ? columns(label) + 1 : 0;
    if (fits(reserved + label_room + columns(times) + 3)) append(times, " | ");
    if (fits(reserved + label_room + columns(rate(event)) + 3)) append(rate(event), " | ");
    if (event.total && fits(reserved + label_room))
        prepend(gauge(fraction(event), std::min(longest_gauge, width - columns(line) - label_room - 1)));
    else if (!event.total && running)
        prepend(spinner(event.elapsed.count()));
    if (with_label) prepend(label);
    return printable(line, width);
}

/// The same facts for a log: no bar, no limit.
inline std::string render_plain(const progress_event& event) {
    std::string line = printable(event.label, event.label.size());
    if (!line.empty()) line += ": ";
    line += std::to_string(event.done) + (event.total ? "/" + std::to_string(*event.total) : " tasks");
    if (event.total) line += " (" + percent(event) + ")";
    line += ", elapsed " + short_time(event.elapsed.count());
    if (event.state == progress_state::running && event.remaining)
        line += ", remaining " + short_time(event.remaining->count());
    if (const std::string speed = rate(event); !speed.empty()) line += ", " + speed;
    if (event.state != progress_state::running) line.append(", ").append(state_word(event.state));
    return line;
}

/// Where a bar is drawn; the default is stderr.
struct bar_target {
    bool terminal = stderr_is_terminal();
    std::function<int()> width = stderr_columns; ///< columns, asked at each redraw as windows are resized
    line_sink write = write_stderr;              ///< given whole writes: a redraw, or a line
};

} // namespace detail

/// A progress callback that draws a bar: `Parallel({.progress = progress_bar()})`.
///
/// On a terminal it keeps one line up to date with label, bar, counts, elapsed and remaining time and rate, redrawn
/// when batches complete but at most ten times a second; the final state stays, on a line of its own. Where stderr
/// is no terminal it writes a plain line every five seconds at most and one at the end. Copies share one bar; calls
/// that run at the same time had better have a bar each. With `verbose` lines on the same terminal it would mix:
/// use one of the two. Thread-safe.
class progress_bar {
public:
    static constexpr double redraw_period = 0.1; ///< seconds between redraws on a terminal
    static constexpr double line_period = 5;     ///< seconds between lines elsewhere

    progress_bar() : progress_bar(detail::bar_target{}) {}
    /// For output elsewhere, such as a test's.
    explicit progress_bar(detail::bar_target target) : state_(std::make_shared<state>(std::move(target))) {}

    void operator()(const progress_event& event) const {
        const std::scoped_lock lock(state_->mutex);
        if (event.elapsed.count() < state_->drawn_at) state_->forget(); // another call has begun
        if (!state_->due(event)) return;
        state_->drawn_at = event.elapsed.count();
        if (state_->target.terminal)
            state_->redraw(event);
        else
            state_->target.write(detail::render_plain(event) + "\n");
        if (event.state != progress_state::running) state_->forget();
    }

private:
    struct state {
        explicit state(detail::bar_target t) : target(std::move(t)) { forget(); }

        void forget() noexcept {
            drawn_at = target.terminal ? -redraw_period : 0; // a terminal shows the first event at once
            drawn_columns = 0;
        }

        bool due(const progress_event& event) const noexcept {
            const double period = target.terminal ? redraw_period : line_period;
            return event.state != progress_state::running || event.elapsed.count() - drawn_at >= period;
        }

        void redraw(const progress_event& event) {
            // One column stays free: a full line would wrap, and the next redraw would start below it.
            const auto width = static_cast<std::size_t>(std::max(target.width() - 1, 1));
            const std::string line = detail::render_bar(event, width);
            const std::size_t used = detail::columns(line);
            const std::size_t before = std::min(drawn_columns, width);
            std::string text = "\r" + line;
            if (used < before) text.append(before - used, ' '); // wipes the rest of a longer line
            if (event.state != progress_state::running) text += '\n';
            drawn_columns = used;
            target.write(text);
        }

        std::mutex mutex;
        const detail::bar_target target;
        double drawn_at = 0;           // seconds since the call began, of the last drawing
        std::size_t drawn_columns = 0; // of the last drawing
    };

    std::shared_ptr<state> state_;
};

} // namespace joblot
// ---- joblot/version.hpp
// The library's version, for the preprocessor and for programs. CMakeLists.txt reads it from here.

#define JOBLOT_VERSION_MAJOR 0
#define JOBLOT_VERSION_MINOR 1
#define JOBLOT_VERSION_PATCH 0

namespace joblot {

/// The version of these headers, as `"major.minor.patch"` (semantic versioning).
inline constexpr const char* version = "0.1.0";

} // namespace joblot

// ---- joblot/core/macros_back.hpp
// Brings back what macros_off.hpp has put aside. Not included once.

#pragma pop_macro("F")
#pragma pop_macro("I")
#pragma pop_macro("M")
#pragma pop_macro("N")
#pragma pop_macro("abs")
#pragma pop_macro("bit")
#pragma pop_macro("box")
#pragma pop_macro("check")
#pragma pop_macro("clear")
#pragma pop_macro("columns")
#pragma pop_macro("complex")
#pragma pop_macro("count")
#pragma pop_macro("direct")
#pragma pop_macro("ensure")
#pragma pop_macro("erase")
#pragma pop_macro("error")
#pragma pop_macro("exception")
#pragma pop_macro("expect")
#pragma pop_macro("fail")
#pragma pop_macro("fork")
#pragma pop_macro("global")
#pragma pop_macro("index")
#pragma pop_macro("length")
#pragma pop_macro("lines")
#pragma pop_macro("local")
#pragma pop_macro("log")
#pragma pop_macro("lookup")
#pragma pop_macro("max")
#pragma pop_macro("min")
#pragma pop_macro("move")
#pragma pop_macro("opaque")
#pragma pop_macro("pulse")
#pragma pop_macro("refresh")
#pragma pop_macro("require")
#pragma pop_macro("reserved")
#pragma pop_macro("round")
#pragma pop_macro("self")
#pragma pop_macro("swap")
#pragma pop_macro("timeout")
#pragma pop_macro("unused")
#pragma pop_macro("value")
#pragma pop_macro("verify")
#pragma pop_macro("word")
#pragma pop_macro("yield")
