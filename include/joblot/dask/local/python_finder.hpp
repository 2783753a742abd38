// SPDX-License-Identifier: BSL-1.0
// Finds a Python that has Dask, for local clusters.
#pragma once

#include <joblot/dask/local/child_process.hpp>
#include <joblot/error.hpp>
#include <joblot/system/privileges.hpp>

#include <chrono>
#include <cstdlib>
#include <string>
#include <utility>
#include <vector>

namespace joblot::dask::engine {

/// A Python with Dask.
struct python {
    std::string executable;
    bool has_dashboard = false; // bokeh is there
};

/// Asks a Python whether it has Dask. @param trouble Gets why it will not do; "" otherwise.
inline python ask_python(const std::string& executable, std::string& trouble) {
    // Packages are looked for, not imported: that takes a tenth of the time. Those of the current folder do not count.
    const program_output said =
        output_of({executable, "-c",
                   "import sys\n"
                   "sys.path[:] = [p for p in sys.path if p]\n"
                   "from importlib.util import find_spec\n"
                   "have = [find_spec(m) is not None for m in ('dask', 'distributed', 'bokeh')]\n"
                   "print('joblot', have[0] and have[1], have[2])\n"},
                  std::chrono::seconds(60));
    trouble = said.trouble;
    if (!said.text) return {};
    const auto at = said.text->find("joblot "); // after what a start-up file of the user may print
    const std::string answer = at == std::string::npos ? "" : said.text->substr(at);
    if (answer.empty())
        trouble = "does not run as a Python does: it printed \"" + last_words(*said.text) + '"';
    else if (!answer.starts_with("joblot True"))
        trouble = "has no Dask";
    return {executable, answer.find(" True\n") != std::string::npos};
}

/// Looks in `wanted`; where that is empty in JOBLOT_PYTHON; where that is not set in the active virtual environment,
/// and for python3 in PATH. @throws backend_error that says where it looked; in a privileged program always, as Python
/// and Dask run what the environment names (PYTHONPATH, preload modules, configuration in the user's folder).
inline python find_python(const std::string& wanted) {
    const auto variable = [](const char* name) {
        const char* const value = std::getenv(name);
        return std::string(value ? value : "");
    };
    if (detail::is_privileged())
        throw backend_error(std::string(detail::privileged_program) +
                            "starts no local Dask cluster; connect to one that runs");
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
        std::string trouble;
        const python answer = ask_python(executable, trouble);
        if (trouble.empty()) return answer;
        tried += (tried.empty() ? " " : ", ") + executable + " (from " + origin + ") " + trouble;
    }
    throw backend_error("joblot: a local Dask cluster needs a Python with the packages dask and distributed:" + tried +
                        "; install them there (python3 -m pip install dask distributed), or name another Python with "
                        "the environment variable JOBLOT_PYTHON, or connect to a cluster that runs already");
}

} // namespace joblot::dask::engine
