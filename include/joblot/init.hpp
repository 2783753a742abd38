// SPDX-License-Identifier: BSL-1.0
// `joblot::init`: the line in `main` that worker processes need.
#pragma once

#include <joblot/core/requirements.hpp>

#include <joblot/core/macros_off.hpp>

#include <joblot/core/one_form.hpp>

#if defined(JOBLOT_COMPILED)
#include <joblot/system/visibility.hpp>
#else
#include <joblot/process/start.hpp>
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

#include <joblot/core/macros_back.hpp>
