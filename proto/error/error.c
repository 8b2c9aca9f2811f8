/* Names, texts and hints of the error codes. */
#include "cairn/error.h"

#include <stddef.h>

struct error_row {
    const char *name, *text, *hint;
};

static const struct error_row error_rows[] = { { "CAIRN_OK", "success", "" },
#define X(name, number, text, hint) [number] = { "CAIRN_E_" #name, text, hint },
                                               CAIRN_ERRORS(X)
#undef X
};

static const struct error_row *error_row(int code)
{
    static const struct error_row unknown = { "CAIRN_E_?", "unknown error", "client and server may differ in version" };

    if (code > 0 || code < CAIRN_E_LAST || error_rows[-code].name == NULL)
        return &unknown;
    return &error_rows[-code];
}

const char *cairn_error_name(int code)
{
    return error_row(code)->name;
}

const char *cairn_error_text(int code)
{
    return error_row(code)->text;
}

const char *cairn_error_hint(int code)
{
    return error_row(code)->hint;
}
