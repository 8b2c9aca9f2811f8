/** An error code with a text for people that grows on its way up. */
#ifndef CAIRN_CORE_BASE_ERR_H
#define CAIRN_CORE_BASE_ERR_H

#include "cairn/error.h"

enum { CAIRN_ERR_TEXT_MAX = 512 };

/** Caller-held; zero-initialised is "no error". Every function that takes one accepts NULL. Longer texts are cut. */
struct cairn_err {
    int code;
    char text[CAIRN_ERR_TEXT_MAX];
};

/** Sets code and text, and returns @code. */
int cairn_err_set(struct cairn_err *err, int code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/** Puts "FMT: " before the text that is there; does nothing when @code is 0. Returns @code. */
int cairn_err_wrap(struct cairn_err *err, int code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/** Code for an errno (ENOSPC -> CAIRN_E_NOSPACE ...), with "FMT: strerror" as the text. */
int cairn_err_errno(struct cairn_err *err, int errnum, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
int cairn_err_of_errno(int errnum);

#endif
