/* Scalars: from text to value and back, and how a kind of value is called in a message. */
#include "sdk/core/base/units.h"
#include "server/node/conf/conf_internal.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdarg.h>
#include <string.h>

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

static void format_unit(uint64_t v, const struct cairn_unit *units, uint32_t n, char *buf, size_t len)
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
        format_unit(u64, cairn_units_size, CAIRN_UNITS_SIZE_PRINTED, buf, len);
        break;
    case CAIRN_CONF_DURATION:
        format_unit(u64, cairn_units_duration, CAIRN_UNITS_DURATION_PRINTED, buf, len);
        break;
    default:
        snprintf(buf, len, "%" PRIu64, u64);
    }
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

static bool parse_with_unit(const struct cairn_conf_key *key, const char *text, uint64_t *u64, char *reason)
{
    bool is_size = key->type == CAIRN_CONF_SIZE;
    enum cairn_units_result result = cairn_units_parse(text, is_size ? cairn_units_size : cairn_units_duration, u64);
    size_t n = strlen(text);
    char found[72];

    cairn_conf__quote(text, found);
    switch (result) {
    case CAIRN_UNITS_GOOD:
        break;
    case CAIRN_UNITS_NO_UNIT:
        if (is_size || *u64 == 0)
            break;
        snprintf(reason, CONF_REASON_MAX,
                 "must be a duration with its unit (ns, us, ms, s, min, h, d), for example %s; found '%s'",
                 cairn_conf__example(key), found);
        return false;
    case CAIRN_UNITS_AMBIGUOUS:
        if (!is_size)
            return wrong(key, text, true, reason);
        snprintf(reason, CONF_REASON_MAX, "is '%s'; write %ciB for powers of 1024 or %cB for powers of 1000", found,
                 toupper((unsigned char)text[n - 1]), text[n - 1] == 'K' ? 'k' : text[n - 1]);
        return false;
    case CAIRN_UNITS_NO_NUMBER:
    case CAIRN_UNITS_UNKNOWN_UNIT:
        return wrong(key, text, true, reason);
    case CAIRN_UNITS_TOO_LARGE:
        snprintf(reason, CONF_REASON_MAX, "is too large: '%s'", found);
        return false;
    case CAIRN_UNITS_NOT_WHOLE:
        snprintf(reason, CONF_REASON_MAX, "is '%s', which is not a whole number of %s", found,
                 is_size ? "bytes" : "nanoseconds");
        return false;
    }
    return !out_of_bounds(key, *u64, reason);
}

static bool parse_uint(const struct cairn_conf_key *key, const char *text, bool plain, uint64_t *u64, char *reason)
{
    if (!plain || !cairn_units_parse_whole(text, u64) ||
        (text[0] == '0' && text[1] != '\0')) /* 010 is 8 to some, 10 to others */
        return wrong(key, text, plain, reason);
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
