#include "sdk/core/base/units.h"

#include "sdk/core/base/macros.h"

#include <ctype.h>
#include <stddef.h>
#include <string.h>

const struct cairn_unit cairn_units_size[] = {
    { "PiB", UINT64_C(1) << 50 },
    { "TiB", UINT64_C(1) << 40 },
    { "GiB", 1 << 30 },
    { "MiB", 1 << 20 },
    { "KiB", 1 << 10 },
    { "PB", UINT64_C(1000000000000000) },
    { "TB", UINT64_C(1000000000000) },
    { "GB", 1000000000 },
    { "MB", 1000000 },
    { "kB", 1000 },
    { "KB", 1000 },
    { "B", 1 },
    { NULL, 0 },
};

const struct cairn_unit cairn_units_duration[] = {
    { "d", 86400 * CAIRN_NS_PER_S },
    { "h", 3600 * CAIRN_NS_PER_S },
    { "min", 60 * CAIRN_NS_PER_S },
    { "s", CAIRN_NS_PER_S },
    { "ms", CAIRN_NS_PER_MS },
    { "us", 1000 },
    { "ns", 1 },
    { "m", 60 * CAIRN_NS_PER_S },
    { "\xc2\xb5s", 1000 },
    { NULL, 0 },
};

enum { FRACTION_DIGITS_MAX = 9 };

/* Digits, with at most 9 behind a point: value * 10^9 in @out. NULL if there are none or it does not fit. */
static const char *parse_decimal(const char *s, bool fraction, unsigned __int128 *out)
{
    unsigned __int128 v = 0;
    uint32_t digits = 0, behind = 0;

    for (; isdigit((unsigned char)*s); s++, digits++) {
        if (digits == 20)
            return NULL;
        v = v * 10 + (unsigned)(*s - '0');
    }
    if (digits == 0)
        return NULL;
    if (fraction && s[0] == '.' && isdigit((unsigned char)s[1])) {
        for (s++; isdigit((unsigned char)*s); s++, behind++) {
            if (behind == FRACTION_DIGITS_MAX)
                return NULL;
            v = v * 10 + (unsigned)(*s - '0');
        }
    }
    for (; behind < FRACTION_DIGITS_MAX; behind++)
        v *= 10;
    *out = v;
    return s;
}

static enum cairn_units_result scale(unsigned __int128 billionths, uint64_t factor, uint64_t *out)
{
    const uint64_t one = 1000000000;

    if (billionths > (unsigned __int128)UINT64_MAX * one / factor) /* before the product may leave 128 bits */
        return CAIRN_UNITS_TOO_LARGE;
    billionths *= factor;
    *out = (uint64_t)(billionths / one);
    return billionths % one == 0 ? CAIRN_UNITS_GOOD : CAIRN_UNITS_NOT_WHOLE;
}

enum cairn_units_result cairn_units_parse(const char *text, const struct cairn_unit *units, uint64_t *value)
{
    unsigned __int128 v;
    const char *s = parse_decimal(text, true, &v);

    *value = 0;
    if (s == NULL)
        return CAIRN_UNITS_NO_NUMBER;
    while (*s == ' ')
        s++;
    if (*s == '\0') {
        enum cairn_units_result plain = scale(v, 1, value);

        return plain == CAIRN_UNITS_GOOD ? CAIRN_UNITS_NO_UNIT : plain;
    }
    for (; units->name != NULL; units++) {
        if (strcmp(units->name, s) == 0)
            return scale(v, units->factor, value);
    }
    return s[1] == '\0' && strchr("KkMGTP", s[0]) != NULL ? CAIRN_UNITS_AMBIGUOUS : CAIRN_UNITS_UNKNOWN_UNIT;
}

bool cairn_units_parse_whole(const char *text, uint64_t *value)
{
    unsigned __int128 v;
    const char *s = parse_decimal(text, false, &v);

    return s != NULL && *s == '\0' && scale(v, 1, value) == CAIRN_UNITS_GOOD;
}
