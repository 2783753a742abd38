// SPDX-License-Identifier: BSL-1.0
// `std::error_code` and `std::error_condition` between processes: a number, and the name of a category that both know.
// Templates, so that only what uses them compiles them: see init.hpp.
#pragma once

#include <joblot/core/requirements.hpp>

#include <joblot/error.hpp>
#include <joblot/system/fork.hpp>
#include <joblot/system/visibility.hpp>
#include <joblot/travel.hpp>

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
