// SPDX-License-Identifier: BSL-1.0
// Backends by name: for guards, options, and the environment.
#pragma once

#include <joblot/core/requirements.hpp>

#include <joblot/backend/backend.hpp>
#include <joblot/system/fork.hpp>
#include <joblot/system/visibility.hpp>

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
