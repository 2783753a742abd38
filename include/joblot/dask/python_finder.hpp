// SPDX-License-Identifier: BSL-1.0
// Finds a Python that has Dask, for local clusters.
#pragma once

#include <joblot/dask/child_process.hpp>
#include <joblot/error.hpp>

#include <chrono>
#include <cstdlib>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace joblot::dask::engine {

/// A Python with Dask.
struct python {
    std::string executable;
    bool has_dashboard = false; // bokeh is there
};

/// What one Python says of itself: nothing where it does not run, else whether it has Dask.
inline std::optional<std::pair<python, bool>> ask_python(const std::string& executable) {
    // Packages are looked for, not imported: that takes a tenth of the time. Those of the current folder do not count.
    const auto said = output_of({executable, "-c",
                                 "import sys\n"
                                 "sys.path[:] = [p for p in sys.path if p]\n"
                                 "from importlib.util import find_spec\n"
                                 "have = [find_spec(m) is not None for m in ('dask', 'distributed', 'bokeh')]\n"
                                 "print('joblot', have[0] and have[1], have[2])\n"},
                                std::chrono::seconds(60));
    if (!said) return std::nullopt;
    const auto at = said->find("joblot "); // after what a start-up file of the user may print
    if (at == std::string::npos) return std::nullopt;
    const std::string answer = said->substr(at);
    return std::pair(python{executable, answer.find(" True\n") != std::string::npos},
                     answer.starts_with("joblot True"));
}

/// Looks in `wanted`; where that is empty in JOBLOT_PYTHON; where that is not set in the active virtual environment,
/// and for python3 in PATH. @throws backend_error that says where it looked.
inline python find_python(const std::string& wanted) {
    const auto variable = [](const char* name) {
        const char* const value = std::getenv(name);
        return std::string(value ? value : "");
    };
    std::vector<std::pair<std::string, std::string>> candidates; // the executable, and who names it
    if (!wanted.empty()) {
        candidates.emplace_back(wanted, "the option `python`");
    } else if (const std::string named = variable("JOBLOT_PYTHON"); !named.empty()) {
        candidates.emplace_back(named, "JOBLOT_PYTHON");
    } else {
        for (const char* folder : {"VIRTUAL_ENV", "CONDA_PREFIX"}) {
            if (const std::string f = variable(folder); !f.empty()) candidates.emplace_back(f + "/bin/python", folder);
        }
        candidates.emplace_back("python3", "PATH");
    }
    std::string tried;
    for (const auto& [executable, origin] : candidates) {
        const auto answer = ask_python(executable);
        if (answer && answer->second) return answer->first;
        tried += "\n  " + executable + " (from " + origin + ") " + (answer ? "has no Dask" : "does not run");
    }
    throw backend_error("joblot: a local Dask cluster needs a Python with the packages dask and distributed:" + tried +
                        "\nInstall them there (python3 -m pip install dask distributed), or name another Python with "
                        "the environment variable JOBLOT_PYTHON, or connect to a cluster that runs already.");
}

} // namespace joblot::dask::engine
