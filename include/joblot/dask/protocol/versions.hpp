// SPDX-License-Identifier: BSL-1.0
// What a scheduler understands, told from the version of distributed that it runs: `dialect`. The numbers are from its
// releases; each form of graph is tested with one of them.
#pragma once

#include <joblot/error.hpp>

#include <charconv>
#include <compare>
#include <string>
#include <string_view>
#include <system_error>

namespace joblot::dask::engine {

/// A release of distributed: "2024.5.0".
struct distributed_version {
    int year = 0, month = 0, patch = 0;

    friend auto operator<=>(const distributed_version&, const distributed_version&) = default;

    [[nodiscard]] std::string text() const {
        return std::to_string(year) + '.' + std::to_string(month) + '.' + std::to_string(patch);
    }
    /// Reads what `distributed.__version__` is; what follows the numbers ("rc1", "+4.gabcdef") does not count.
    /// @return Zeros where it does not begin with numbers.
    [[nodiscard]] static distributed_version of(std::string_view text) noexcept {
        distributed_version result;
        for (int* const part : {&result.year, &result.month, &result.patch}) {
            const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), *part);
            if (error != std::errc() || *part < 0) break;
            text.remove_prefix(static_cast<std::size_t>(end - text.data()));
            if (!text.starts_with('.')) break;
            text.remove_prefix(1);
        }
        return result;
    }
};

/// How a client hands over tasks.
enum class graph_form {
    tasks,              ///< until 2023.3: each task by itself, its function and arguments as pickles
    pickled_graph,      ///< 2023.4.0 to 2024.5.1: a pickle of all, which the scheduler reads
    pickled_with_spans, ///< 2024.5.2 to 2025.3: the same, and `span_metadata`
    expression          ///< from 2025.4.0 on: a pickled expression
};

/// What a scheduler understands. Versions that are newer than all known ones are taken for the newest.
class dialect {
public:
    static constexpr distributed_version oldest{2022, 12, 0};

    /// @param version `distributed.__version__` of the scheduler.
    /// @throws backend_error where it is older than 2022.12, or no version.
    explicit dialect(std::string_view version) : version_(distributed_version::of(version)) {
        if (version_.year == 0) {
            throw backend_error("joblot: the scheduler runs Dask's distributed of an unknown version (\"" +
                                std::string(version) + "\"); 2022.12 or newer is needed");
        }
        if (version_ < oldest) {
            throw backend_error("joblot: the scheduler runs Dask's distributed " + std::string(version) +
                                ", which is too old; 2022.12 or newer is needed");
        }
    }

    [[nodiscard]] const distributed_version& version() const noexcept { return version_; }
    [[nodiscard]] graph_form form() const noexcept {
        if (since(2025, 4, 0)) return graph_form::expression;
        if (since(2024, 5, 2)) return graph_form::pickled_with_spans;
        return since(2023, 4, 0) ? graph_form::pickled_graph : graph_form::tasks;
    }
    /// A task's argument that is another key's value: a `TaskRef`, before that a `WrappedKey`, or (form `tasks`) its
    /// name.
    [[nodiscard]] bool has_task_ref() const noexcept { return since(2024, 11, 0); }
    /// Keys are cancelled by a message of the client's stream, not by a request.
    [[nodiscard]] bool cancels_by_stream() const noexcept { return since(2023, 3, 1); }
    [[nodiscard]] bool cancel_has_reason() const noexcept { return since(2025, 3, 0); }
    [[nodiscard]] bool identity_has_n_workers() const noexcept { return since(2025, 4, 0); }
    [[nodiscard]] bool worker_plugin_has_idempotent() const noexcept { return since(2023, 9, 2); }
    /// Datasets are published in lists, after a message of the client's stream.
    [[nodiscard]] bool publishes_several() const noexcept { return since(2026, 6, 0); }
    /// A worker that is given data tells the scheduler, unless it is told not to.
    [[nodiscard]] bool worker_reports_data() const noexcept { return !since(2023, 2, 1); }
    /// The scheduler reads the pickles of functions, so it needs their modules too.
    [[nodiscard]] bool scheduler_needs_modules() const noexcept { return since(2023, 4, 0); }

private:
    [[nodiscard]] bool since(int year, int month, int patch) const noexcept {
        return version_ >= distributed_version{year, month, patch};
    }

    distributed_version version_;
};

} // namespace joblot::dask::engine
