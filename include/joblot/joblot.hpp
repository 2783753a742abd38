// SPDX-License-Identifier: BSL-1.0
// All of joblot but the cluster: the front end, and the backends sequential, threads and processes.
#pragma once

#include <joblot/core/requirements.hpp>

#include <joblot/core/macros_off.hpp>

#include <joblot/backend/backend.hpp>
#include <joblot/backend/processes.hpp>
#include <joblot/backend/registry.hpp>
#include <joblot/backend/sequential.hpp>
#include <joblot/backend/threads.hpp>
#include <joblot/broadcast.hpp>
#include <joblot/cpu_count.hpp>
#include <joblot/delayed.hpp>
#include <joblot/error.hpp>
#include <joblot/generator.hpp>
#include <joblot/init.hpp>
#include <joblot/options.hpp>
#include <joblot/outcome.hpp>
#include <joblot/parallel.hpp>
#include <joblot/parallel_backend.hpp>
#include <joblot/progress/bar.hpp>
#include <joblot/progress/text.hpp>
#include <joblot/this_task.hpp>
#include <joblot/version.hpp>
#include <joblot/wire/remote_exception.hpp>

#include <joblot/core/macros_back.hpp>
