/** Sizes and times as people write them, in files and on command lines: one meaning for each unit everywhere. */
#ifndef CAIRN_CORE_BASE_UNITS_H
#define CAIRN_CORE_BASE_UNITS_H

#include <stdbool.h>
#include <stdint.h>

struct cairn_unit {
    const char *name;
    uint64_t factor;
};

/** KiB, MiB ... are powers of 1024, kB, MB ... of 1000. Those to print by come first, the largest in front; a NULL name
 * ends the table. */
extern const struct cairn_unit cairn_units_size[];     /* in bytes */
extern const struct cairn_unit cairn_units_duration[]; /* in nanoseconds */
enum { CAIRN_UNITS_SIZE_PRINTED = 5, CAIRN_UNITS_DURATION_PRINTED = 7 };

enum cairn_units_result {
    CAIRN_UNITS_GOOD,
    CAIRN_UNITS_NO_NUMBER,    /* it does not begin with digits, perhaps a point and at most 9 more */
    CAIRN_UNITS_NO_UNIT,      /* a number alone; *@value is that number if it is whole */
    CAIRN_UNITS_UNKNOWN_UNIT, /* "1x" */
    CAIRN_UNITS_AMBIGUOUS,    /* "1M": of 1000 or of 1024? */
    CAIRN_UNITS_TOO_LARGE,
    CAIRN_UNITS_NOT_WHOLE, /* "1.5B" */
};

/** "64KiB", "1.5 GiB": a decimal number, spaces, a unit of @units exactly as it is written there. No signs, no
 * exponents. */
enum cairn_units_result cairn_units_parse(const char *text, const struct cairn_unit *units, uint64_t *value);
/** Digits alone. False: there is something else, or it does not fit. */
bool cairn_units_parse_whole(const char *text, uint64_t *value);

#endif
