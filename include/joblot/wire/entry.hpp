// SPDX-License-Identifier: BSL-1.0
// Which code to run, in a form that another process of the same build understands: a module's identity and an offset.
// Only runners that were compiled for a task are ever called.
#pragma once

#include <joblot/error.hpp>
#include <joblot/system/fork.hpp>
#include <joblot/system/visibility.hpp>

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
