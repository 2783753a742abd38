// SPDX-License-Identifier: BSL-1.0
// Headers that are known for their macros, where this machine has them. Each of them may come before and after
// joblot's.
#pragma once

#include <complex.h>
#include <error.h>
#include <resolv.h>
#include <sys/param.h>
#include <sys/select.h>
#include <sys/sysmacros.h>
#include <syslog.h>
#include <termios.h>

#if __has_include(<omp.h>)
#include <omp.h>
#endif
#if __has_include(<glib.h>) && defined(JOBLOT_TEST_GLIB)
#include <glib.h>
#endif
#if __has_include(<boost/asio/yield.hpp>)
#include <boost/asio/yield.hpp>
#endif
#if __has_include(<curses.h>)
#include <curses.h>
#endif
#if __has_include(<term.h>)
#include <term.h>
#endif
#if __has_include(<X11/Xlib.h>)
#include <X11/Xlib.h>
#include <X11/Xutil.h>
#endif
