// SPDX-License-Identifier: BSL-1.0
// What headers of others define as macros, in one place: a program that includes joblot behind such a header must
// compile. tests/support/macros_of_others.py reads the list, too, and looks for these names in joblot's headers.
// Included behind all standard headers: those cannot take some of these macros either.
#pragma once

// NOLINTBEGIN
#undef min
#undef max

// ---- Windows, and what imitates it
#define min(a, b) macro_of_others
#define max(a, b) macro_of_others
#define near macro_of_others
#define far macro_of_others
#define small macro_of_others
#define huge macro_of_others
#define interface macro_of_others
#define IN macro_of_others
#define OUT macro_of_others
#define OPTIONAL macro_of_others
#define ERROR macro_of_others
#define DELETE macro_of_others
#define VOID macro_of_others
#define CALLBACK macro_of_others
#define BOOL macro_of_others
#define STRICT macro_of_others
#define NO_ERROR macro_of_others
#define CreateEvent(a) macro_of_others
#define Yield() macro_of_others
#define GetMessage(a) macro_of_others

// ---- X11
#define Bool macro_of_others
#define Status macro_of_others
#define None macro_of_others
#define Success macro_of_others
#define Always macro_of_others
#define True macro_of_others
#define False macro_of_others
#define Complex macro_of_others
#define Unsorted macro_of_others
#define KeyPress macro_of_others
#define Above macro_of_others
#define Below macro_of_others
#define CurrentTime macro_of_others
#define CursorShape macro_of_others
#define DestroyAll macro_of_others
#define GrayScale macro_of_others

// ---- Qt without no_keywords
#define signals macro_of_others
#define slots macro_of_others
#define emit macro_of_others
#define forever macro_of_others
#define foreach(a, b) macro_of_others
#define SIGNAL(a) macro_of_others
#define SLOT(a) macro_of_others
#define Q_UNUSED(a) macro_of_others

// ---- curses
#define timeout(a) macro_of_others
#define erase() macro_of_others
#define clear() macro_of_others
#define move(a, b) macro_of_others
#define border(a, b, c, d, e, f, g, h) macro_of_others
#define refresh() macro_of_others
#define bkgd(a) macro_of_others
#define box(a, b, c) macro_of_others
#define hline(a, b) macro_of_others
#define insch(a) macro_of_others
#define scroll(a) macro_of_others
#define getch() macro_of_others
#define ungetch(a) macro_of_others
#define instr(a) macro_of_others
#define addstr(a) macro_of_others
#define attron(a) macro_of_others
#define filter() macro_of_others
#define OK macro_of_others
#define ERR macro_of_others
#define stdscr macro_of_others
#define lines macro_of_others
#define columns macro_of_others
#define tab macro_of_others
#define newline macro_of_others
#define bell macro_of_others
#define pulse macro_of_others
#define exception macro_of_others

// ---- boost/asio/yield.hpp, rpc, sys/dir.h, X11/Xos.h, pkcs11.h
#define fork macro_of_others
#define yield macro_of_others
#define reenter(a) macro_of_others
#define opaque macro_of_others
#define direct macro_of_others
#define index(a, b) macro_of_others
#define reserved macro_of_others
#define N macro_of_others
#define M macro_of_others

// ---- assertions: CoreServices (check, verify, require), test frameworks, Perl's and Ruby's headers
#define check(a) macro_of_others
#define verify(a) macro_of_others
#define require(a, b) macro_of_others
#define require_noerr(a, b) macro_of_others
#define ensure(a) macro_of_others
#define expect(a) macro_of_others
#define fail(a) macro_of_others
#define panic(a) macro_of_others
#define warn(a) macro_of_others
#define die(a) macro_of_others
#define CHECK(a) macro_of_others
#define REQUIRE(a) macro_of_others
#define LOG(a) macro_of_others
#define DEBUG macro_of_others
#define INFO macro_of_others
#define WARNING macro_of_others
#define TRACE macro_of_others

// ---- glib, and C's usual ones
#define MIN(a, b) macro_of_others
#define MAX(a, b) macro_of_others
#define ABS(a) macro_of_others
#define CLAMP(a, b, c) macro_of_others
#undef TRUE
#undef FALSE
#define TRUE macro_of_others
#define FALSE macro_of_others
#define abs(a) macro_of_others
#define swap(a, b) macro_of_others
#define round(a) macro_of_others
#define log(a) macro_of_others
#define likely(a) macro_of_others
#define unlikely(a) macro_of_others
#define offsetof_member(a, b) macro_of_others
#define container_of(a, b, c) macro_of_others
#define list_for_each(a, b) macro_of_others
#define countof(a) macro_of_others
#define concat(a, b) macro_of_others
#define stringify(a) macro_of_others
#define unused macro_of_others
#define internal macro_of_others
#define global macro_of_others
#define local macro_of_others
#define pi macro_of_others
#define bool_t macro_of_others

// ---- sys/sysmacros.h, sys/param.h, termios.h, complex.h, sys/select.h, and predefined by GNU compilers
#undef major
#undef minor
#undef makedev
#define major(a) macro_of_others
#define minor(a) macro_of_others
#define makedev(a, b) macro_of_others
#define howmany(a, b) macro_of_others
#define roundup(a, b) macro_of_others
#define I macro_of_others
#define complex macro_of_others
#define imaginary macro_of_others
#undef linux
#undef unix
#define linux macro_of_others
#define unix macro_of_others

// ---- Arduino, R, Python.h's neighbours, Boost.Foreach, Eigen's and OpenCV's surroundings
#define F(a) macro_of_others
#define B0 macro_of_others
#define B1 macro_of_others
#define bit(a) macro_of_others
#define sq(a) macro_of_others
#define constrain(a, b, c) macro_of_others
#define degrees(a) macro_of_others
#define radians(a) macro_of_others
#define interrupts() macro_of_others
#define word(a) macro_of_others
#define error(a) macro_of_others
#define length(a) macro_of_others
#define warning(a) macro_of_others
#define install(a) macro_of_others
#define duplicate(a) macro_of_others
#define allocate(a) macro_of_others
#define lookup(a) macro_of_others
#define BOOST_FOREACH(a, b) macro_of_others
#define reverse_foreach(a, b) macro_of_others
#define CV_Assert(a) macro_of_others
#define self macro_of_others
#define nil macro_of_others
#define Nil macro_of_others

// ---- one letter: ctype's and old C headers' own
#define _U macro_of_others
#define _L macro_of_others
#define _N macro_of_others
#define _B macro_of_others
#define _C macro_of_others
#define _S macro_of_others
#define _X macro_of_others
#define _P macro_of_others
// NOLINTEND
