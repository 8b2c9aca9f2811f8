/* Error texts: see err.h. */
#include "sdk/core/base/err.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int cairn_err_set(struct cairn_err *err, int code, const char *fmt, ...)
{
    if (err != NULL) {
        va_list ap;

        err->code = code;
        va_start(ap, fmt);
        vsnprintf(err->text, sizeof(err->text), fmt, ap);
        va_end(ap);
    }
    return code;
}

int cairn_err_wrap(struct cairn_err *err, int code, const char *fmt, ...)
{
    char old[CAIRN_ERR_TEXT_MAX];
    size_t n;
    va_list ap;

    if (err == NULL || code == 0)
        return code;
    memcpy(old, err->text, sizeof(old));
    old[sizeof(old) - 1] = '\0';
    err->code = code;
    va_start(ap, fmt);
    vsnprintf(err->text, sizeof(err->text), fmt, ap);
    va_end(ap);
    n = strlen(err->text);
    snprintf(err->text + n, sizeof(err->text) - n, ": %s", old[0] != '\0' ? old : cairn_error_text(code));
    return code;
}

int cairn_err_of_errno(int errnum)
{
    switch (errnum) {
    case 0:
        return 0;
    case ENOMEM:
        return CAIRN_E_NOMEM;
    case ENOSPC:
    case EDQUOT:
        return CAIRN_E_NOSPACE;
    case ENOENT:
        return CAIRN_E_NOTFOUND;
    case EEXIST:
        return CAIRN_E_EXISTS;
    case EACCES:
    case EPERM:
        return CAIRN_E_DENIED;
    case EINVAL:
    case ENAMETOOLONG:
        return CAIRN_E_INVAL;
    case ETIMEDOUT:
        return CAIRN_E_TIMEOUT;
    case ECONNREFUSED:
    case EHOSTUNREACH:
    case ENETUNREACH:
        return CAIRN_E_UNREACHABLE;
    case ECONNRESET:
    case EPIPE:
    case ENOTCONN:
        return CAIRN_E_CLOSED;
    case EMFILE:
    case ENFILE:
        return CAIRN_E_LIMIT;
    case EFAULT:
        return CAIRN_E_FAULT;
    case EADDRINUSE:
        return CAIRN_E_LOCKED;
    case ENOTEMPTY:
        return CAIRN_E_NOTEMPTY;
    case ENOSYS:
    case EOPNOTSUPP:
        return CAIRN_E_UNSUPPORTED;
    default:
        return CAIRN_E_IO;
    }
}

int cairn_err_errno(struct cairn_err *err, int errnum, const char *fmt, ...)
{
    int code = cairn_err_of_errno(errnum);

    if (err != NULL) {
        size_t n;
        va_list ap;

        err->code = code;
        va_start(ap, fmt);
        vsnprintf(err->text, sizeof(err->text), fmt, ap);
        va_end(ap);
        n = strlen(err->text);
        snprintf(err->text + n, sizeof(err->text) - n, ": %s", strerror(errnum));
    }
    return code;
}
