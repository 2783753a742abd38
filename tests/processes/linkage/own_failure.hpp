// SPDX-License-Identifier: BSL-1.0
// An exception in a nameless namespace, as several source files and libraries have one, each another type.
#pragma once

#include <joblot/joblot.hpp>

#include <exception>
#include <ranges>
#include <stdexcept>

namespace { // NOLINT: that is what is tested

struct own_failure : std::runtime_error {
    using std::runtime_error::runtime_error;
};
[[maybe_unused]] const bool own_failure_is_known = (joblot::register_exception<own_failure>(), true);

int fail_alone(int) { throw own_failure("alone"); }
int fail_around_another(int) {
    try {
        throw std::out_of_range("inside");
    } catch (...) {
        std::throw_with_nested(own_failure("outside"));
    }
}

/// Which type the exception of a worker process has here.
const char* catches_own_failure(bool nested) {
    try {
        joblot::Parallel({.n_jobs = 2, .backend = "processes"})(
            std::views::iota(0, 1) | std::views::transform(joblot::delayed(nested ? fail_around_another : fail_alone)));
    } catch (const own_failure& e) {
        try {
            std::rethrow_if_nested(e);
            return nested ? "its own, with nothing inside" : "its own";
        } catch (const std::out_of_range&) {
            return "its own";
        }
    } catch (const std::exception&) {
        return "another type";
    }
    return "nothing";
}

} // namespace
