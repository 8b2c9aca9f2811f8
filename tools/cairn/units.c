/** Sizes, numbers and times as people write and read them. */
#include "sdk/core/base/units.h"
#include "tools/cairn/cli.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

uint64_t cli_now_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * CAIRN_NS_PER_S + (uint64_t)ts.tv_nsec;
}

/* Three significant digits: 1.23, 12.3, 123. Rounding may carry into the next unit, so the caller passes its base. */
static bool fits(double value, double base)
{
    return value < base - 0.5;
}

static const char *digits(double value)
{
    if (value >= 99.95)
        return "%.0f %s";
    return value >= 9.995 ? "%.1f %s" : "%.2f %s";
}

char *cli_size(char buf[CLI_UNIT_BYTES], uint64_t bytes)
{
    static const char *const units[] = { "B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB" };
    double value = (double)bytes;
    uint32_t unit = 0;
    while (!fits(value, 1024) && unit + 1 < ARRAY_SIZE(units)) {
        value /= 1024;
        unit++;
    }
    if (unit == 0)
        snprintf(buf, CLI_UNIT_BYTES, "%" PRIu64 " B", bytes);
    else
        snprintf(buf, CLI_UNIT_BYTES, value >= 99.95 ? "%.0f %s" : "%.1f %s", value, units[unit]);
    return buf;
}

char *cli_count(char buf[CLI_UNIT_BYTES + 8], uint64_t n)
{
    char plain[CLI_UNIT_BYTES];
    int len = snprintf(plain, sizeof(plain), "%" PRIu64, n);
    char *to = buf;
    for (int i = 0; i < len; i++) {
        if (i > 0 && (len - i) % 3 == 0)
            *to++ = ',';
        *to++ = plain[i];
    }
    *to = '\0';
    return buf;
}

char *cli_duration(char buf[CLI_UNIT_BYTES], uint64_t ns)
{
    static const struct {
        const char *name;
        double ns;
    } units[] = { { "ns", 1 }, { "us", 1e3 }, { "ms", 1e6 }, { "s", 1e9 } };
    uint64_t s = (ns + CAIRN_NS_PER_S / 2) / CAIRN_NS_PER_S;
    if (s < 60) {
        uint32_t unit = 0;
        while (unit + 1 < ARRAY_SIZE(units) && !fits((double)ns / units[unit].ns, 1000))
            unit++;
        if (unit == 0)
            snprintf(buf, CLI_UNIT_BYTES, "%" PRIu64 " ns", ns);
        else
            snprintf(buf, CLI_UNIT_BYTES, digits((double)ns / units[unit].ns), (double)ns / units[unit].ns,
                     units[unit].name);
    } else if (s < 3600) {
        snprintf(buf, CLI_UNIT_BYTES, "%" PRIu64 "m %02" PRIu64 "s", s / 60, s % 60);
    } else if (s < 86400) {
        snprintf(buf, CLI_UNIT_BYTES, "%" PRIu64 "h %02" PRIu64 "m", s / 3600, s / 60 % 60);
    } else {
        snprintf(buf, CLI_UNIT_BYTES, "%" PRIu64 "d %02" PRIu64 "h", s / 86400, s / 3600 % 24);
    }
    return buf;
}

char *cli_rate(char buf[CLI_UNIT_BYTES], uint64_t bytes, uint64_t ns)
{
    char size[CLI_UNIT_BYTES];
    double per_s = ns > 0 ? (double)bytes * 1e9 / (double)ns : 0;
    snprintf(buf, CLI_UNIT_BYTES, "%s/s", cli_size(size, per_s < 1e18 ? (uint64_t)per_s : UINT64_MAX));
    return buf;
}

bool cli_parse_size(const char *text, uint64_t *bytes)
{
    enum cairn_units_result result = cairn_units_parse(text, cairn_units_size, bytes);
    return result == CAIRN_UNITS_GOOD || result == CAIRN_UNITS_NO_UNIT;
}

bool cli_parse_time(const char *text, uint64_t *ms)
{
    uint64_t ns = 0;
    enum cairn_units_result result = cairn_units_parse(text, cairn_units_duration, &ns);
    if (result == CAIRN_UNITS_NO_UNIT && ns <= UINT64_MAX / CAIRN_NS_PER_S)
        ns *= CAIRN_NS_PER_S;
    else if (result != CAIRN_UNITS_GOOD)
        return false;
    *ms = ns / CAIRN_NS_PER_MS + (ns % CAIRN_NS_PER_MS != 0);
    return *ms > 0; /* nothing that takes a time can be done in none */
}

bool cli_parse_number(const char *text, uint64_t *n)
{
    if (text[0] < '0' || text[0] > '9' || strlen(text) > 19)
        return false;
    char *end;
    *n = strtoull(text, &end, 10);
    return *end == '\0';
}
