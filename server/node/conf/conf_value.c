/* Scalars: from text to value and back, and how a kind of value is called in a message. */
#include "server/node/conf/conf_internal.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdarg.h>
#include <string.h>

struct unit {
    const char *name;
    uint64_t factor;
};

static const struct unit size_units[] = {
    /* the largest that fits is what we print */
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
enum { SIZE_UNITS_PRINTED = 5 };

static const struct unit duration_units[] = {
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
enum { DURATION_UNITS_PRINTED = 7 };

enum { FRACTION_DIGITS_MAX = 9 };

const char *cairn_conf__quote(const char *s, char buf[72])
{
    size_t n = 0;

    for (; *s != '\0' && n < 60; s++)
        buf[n++] = (unsigned char)*s < ' ' || *s == 0x7f ? '?' : *s;
    while (n > 0 && ((unsigned char)*s & 0xc0) == 0x80) { /* do not cut a character in two */
        s--;
        n--;
    }
    snprintf(buf + n, 72 - n, "%s", *s != '\0' ? "..." : "");
    return buf;
}

const char *cairn_conf__example(const struct cairn_conf_key *key)
{
    switch (key->type) {
    case CAIRN_CONF_BOOL:
        return "true";
    case CAIRN_CONF_UINT:
        return key->fallback != NULL ? key->fallback : "4";
    case CAIRN_CONF_SIZE:
        return key->fallback != NULL && isdigit((unsigned char)key->fallback[0]) && key->fallback[0] != '0'
                   ? key->fallback
                   : "64MiB";
    case CAIRN_CONF_DURATION:
        return key->fallback != NULL && key->fallback[0] != '0' ? key->fallback : "500ms";
    default:
        return "text";
    }
}

static void append(char *buf, size_t len, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
static void append(char *buf, size_t len, const char *fmt, ...)
{
    size_t n = strlen(buf);
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(buf + n, len - n, fmt, ap);
    va_end(ap);
}

static void append_bounds(const struct cairn_conf_key *key, char *buf, size_t len)
{
    char lo[32], hi[32];

    cairn_conf__format(key, key->min, lo, sizeof(lo));
    cairn_conf__format(key, key->max, hi, sizeof(hi));
    if (key->max != 0)
        append(buf, len, " from %s to %s", lo, hi);
    else if (key->min != 0)
        append(buf, len, " of at least %s", lo);
}

void cairn_conf__describe(const struct cairn_conf_key *key, char *buf, size_t len)
{
    buf[0] = '\0';
    switch (key->type) {
    case CAIRN_CONF_BOOL:
        append(buf, len, "true or false");
        break;
    case CAIRN_CONF_UINT:
        append(buf, len, "a number");
        append_bounds(key, buf, len);
        break;
    case CAIRN_CONF_SIZE:
        append(buf, len, "a size");
        append_bounds(key, buf, len);
        break;
    case CAIRN_CONF_DURATION:
        append(buf, len, "a duration");
        append_bounds(key, buf, len);
        break;
    case CAIRN_CONF_STRING:
        append(buf, len, "a text");
        break;
    case CAIRN_CONF_CHOICE:
        append(buf, len, "one of");
        for (uint32_t i = 0; key->choices[i] != NULL; i++)
            append(buf, len, "%s %s", i > 0 ? "," : "", key->choices[i]);
        break;
    case CAIRN_CONF_LIST:
        append(buf, len, "%s", key->sub != NULL ? "a list of sections" : "a list of texts");
        break;
    case CAIRN_CONF_SECTION:
        append(buf, len, "a section");
        break;
    }
}

static void format_unit(uint64_t v, const struct unit *units, uint32_t n, char *buf, size_t len)
{
    for (uint32_t i = 0; i < n && v != 0; i++) {
        if (v % units[i].factor == 0) {
            snprintf(buf, len, "%" PRIu64 "%s", v / units[i].factor, units[i].name);
            return;
        }
    }
    snprintf(buf, len, "%" PRIu64, v);
}

void cairn_conf__format(const struct cairn_conf_key *key, uint64_t u64, char *buf, size_t len)
{
    switch (key->type) {
    case CAIRN_CONF_BOOL:
        snprintf(buf, len, "%s", u64 != 0 ? "true" : "false");
        break;
    case CAIRN_CONF_SIZE:
        format_unit(u64, size_units, SIZE_UNITS_PRINTED, buf, len);
        break;
    case CAIRN_CONF_DURATION:
        format_unit(u64, duration_units, DURATION_UNITS_PRINTED, buf, len);
        break;
    default:
        snprintf(buf, len, "%" PRIu64, u64);
    }
}

/* Digits, with at most 9 behind a point: value * 10^9 in @out. False if there are none or it does not fit. */
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

static bool out_of_bounds(const struct cairn_conf_key *key, uint64_t v, char *reason)
{
    char is[32], what[128];

    if (v >= key->min && (key->max == 0 || v <= key->max))
        return false;
    cairn_conf__format(key, v, is, sizeof(is));
    cairn_conf__describe(key, what, sizeof(what));
    snprintf(reason, CONF_REASON_MAX, "is %s; it must be %s", is, what);
    return true;
}

/* The text of a wrong type: what it must be, an example, what was found. */
static bool wrong(const struct cairn_conf_key *key, const char *text, bool plain, char *reason)
{
    char what[128], found[72];

    cairn_conf__describe(key, what, sizeof(what));
    cairn_conf__quote(text, found);
    snprintf(reason, CONF_REASON_MAX, "must be %s, for example %s; found %s%s%s", what, cairn_conf__example(key),
             plain ? "'" : "the text \"", found, plain ? "'" : "\" (leave out the quotes)");
    return false;
}

enum scaled { SCALED, SCALED_TOO_LARGE, SCALED_NOT_WHOLE };

static enum scaled scale(unsigned __int128 billionths, uint64_t factor, uint64_t *out)
{
    const uint64_t one = 1000000000;

    if (billionths > (unsigned __int128)UINT64_MAX * one / factor) /* before the product may leave 128 bits */
        return SCALED_TOO_LARGE;
    billionths *= factor;
    *out = (uint64_t)(billionths / one);
    return billionths % one == 0 ? SCALED : SCALED_NOT_WHOLE;
}

static bool parse_with_unit(const struct cairn_conf_key *key, const char *text, uint64_t *u64, char *reason)
{
    static const struct unit none = { "", 1 };
    bool is_size = key->type == CAIRN_CONF_SIZE;
    const struct unit *unit = is_size ? size_units : duration_units;
    unsigned __int128 v;
    const char *s = parse_decimal(text, true, &v);
    char found[72];

    if (s == NULL)
        return wrong(key, text, true, reason);
    cairn_conf__quote(text, found);
    while (*s == ' ')
        s++;
    while (unit->name != NULL && strcmp(unit->name, s) != 0)
        unit++;
    if (*s == '\0' && (is_size || v == 0))
        unit = &none;
    if (unit->name == NULL && *s == '\0') {
        snprintf(reason, CONF_REASON_MAX,
                 "must be a duration with its unit (ns, us, ms, s, min, h, d), for example %s; found '%s'",
                 cairn_conf__example(key), found);
        return false;
    }
    if (unit->name == NULL && is_size && strchr("KkMGTP", s[0]) != NULL && s[1] == '\0') {
        snprintf(reason, CONF_REASON_MAX, "is '%s'; write %ciB for powers of 1024 or %cB for powers of 1000", found,
                 toupper((unsigned char)s[0]), s[0] == 'K' ? 'k' : s[0]);
        return false;
    }
    if (unit->name == NULL)
        return wrong(key, text, true, reason);
    switch (scale(v, unit->factor, u64)) {
    case SCALED_TOO_LARGE:
        snprintf(reason, CONF_REASON_MAX, "is too large: '%s'", found);
        return false;
    case SCALED_NOT_WHOLE:
        snprintf(reason, CONF_REASON_MAX, "is '%s', which is not a whole number of %s", found,
                 is_size ? "bytes" : "nanoseconds");
        return false;
    case SCALED:
        break;
    }
    return !out_of_bounds(key, *u64, reason);
}

static bool parse_uint(const struct cairn_conf_key *key, const char *text, bool plain, uint64_t *u64, char *reason)
{
    unsigned __int128 v = 0;
    const char *s = plain ? parse_decimal(text, false, &v) : NULL;

    v /= 1000000000;
    if (s == NULL || *s != '\0' || (text[0] == '0' && text[1] != '\0') ||
        v > UINT64_MAX) /* 010 is 8 to some, 10 to others */
        return wrong(key, text, plain, reason);
    *u64 = (uint64_t)v;
    return !out_of_bounds(key, *u64, reason);
}

static bool parse_bool(const struct cairn_conf_key *key, const char *text, bool plain, uint64_t *u64, char *reason)
{
    static const char *const no_yes[][2] = { { "false", "true" }, { "no", "yes" }, { "off", "on" } };

    for (uint32_t i = 0; plain && i < ARRAY_SIZE(no_yes); i++) {
        for (uint32_t j = 0; j < 2; j++) {
            if (strcmp(text, no_yes[i][j]) == 0) {
                *u64 = j;
                return true;
            }
        }
    }
    return wrong(key, text, plain, reason);
}

static bool parse_choice(const struct cairn_conf_key *key, const char *text, uint64_t *u64, char *reason)
{
    struct conf_near near;
    char what[200], found[72];

    cairn_conf__near_init(&near, text);
    for (uint32_t i = 0; key->choices[i] != NULL; i++) {
        if (strcmp(key->choices[i], text) == 0) {
            *u64 = i;
            return true;
        }
        cairn_conf__near_offer(&near, key->choices[i]);
    }
    cairn_conf__describe(key, what, sizeof(what));
    snprintf(reason, CONF_REASON_MAX, "must be %s; found '%s'%s%s%s", what, cairn_conf__quote(text, found),
             near.best != NULL ? ", did you mean '" : "", near.best != NULL ? near.best : "",
             near.best != NULL ? "'?" : "");
    return false;
}

bool cairn_conf__parse_scalar(const struct cairn_conf_key *key, const char *text, bool plain, uint64_t *u64,
                              char reason[CONF_REASON_MAX])
{
    *u64 = 0;
    switch (key->type) {
    case CAIRN_CONF_BOOL:
        return parse_bool(key, text, plain, u64, reason);
    case CAIRN_CONF_UINT:
        return parse_uint(key, text, plain, u64, reason);
    case CAIRN_CONF_SIZE:
    case CAIRN_CONF_DURATION:
        return parse_with_unit(key, text, u64, reason);
    case CAIRN_CONF_CHOICE:
        return parse_choice(key, text, u64, reason);
    default:
        return true;
    }
}
