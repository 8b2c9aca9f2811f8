/* A strict parser of the Prometheus text format 0.0.4, which fails the test upon whatever the format does not allow: samples
 * without family, families split or declared twice, bad names, escapes or numbers, histograms that shrink. */
#ifndef CAIRN_TESTS_STRICT_PAGE_H
#define CAIRN_TESTS_STRICT_PAGE_H

#include <ctype.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { SAMPLES_MAX = 4096, FAMILIES_MAX = 128 };

struct sample {
    char name[96], labels[320]; /* labels as "a=b;c=d;", unescaped */
    char le[32];                /* apart from the others */
    double value;
    int family;
};

struct parsed {
    struct {
        char name[96], type[16];
        uint32_t nsamples;
    } families[FAMILIES_MAX];
    struct sample samples[SAMPLES_MAX];
    int nfamilies;
    uint32_t nsamples;
};

static inline const char *parse_name(const char *s, char *to, size_t room, bool colon)
{
    size_t n = 0;

    if (!isalpha((unsigned char)*s) && *s != '_' && !(colon && *s == ':'))
        fail_msg("bad name at: %.40s", s);
    while (isalnum((unsigned char)*s) || *s == '_' || (colon && *s == ':')) {
        assert_true(n + 1 < room);
        to[n++] = *s++;
    }
    to[n] = '\0';
    return s;
}

static inline const char *parse_labels(const char *s, struct sample *to)
{
    if (*s != '{')
        return s;
    do {
        char name[64], value[256];
        size_t n = 0, used = strlen(to->labels);

        s = parse_name(s + 1, name, sizeof(name), false);
        if (s[0] != '=' || s[1] != '"')
            fail_msg("bad label at: %.40s", s);
        for (s += 2; *s != '"'; s++) {
            char c = *s;

            if (c == '\0' || c == '\n')
                fail_msg("label value without end: %s", name);
            if (c == '\\') {
                s++;
                if (*s != '\\' && *s != '"' && *s != 'n')
                    fail_msg("bad escape: %.20s", s - 1);
                c = *s == 'n' ? '\n' : *s;
            }
            assert_true(n + 1 < sizeof(value));
            value[n++] = c;
        }
        value[n] = '\0';
        s++;
        if (strcmp(name, "le") == 0)
            snprintf(to->le, sizeof(to->le), "%.31s", value);
        else
            snprintf(to->labels + used, sizeof(to->labels) - used, "%s=%s;", name, value);
    } while (*s == ',');
    if (*s != '}')
        fail_msg("labels without end: %.40s", s);
    return s + 1;
}

static inline double parse_number(const char *s, const char **end)
{
    char *e;
    double v;

    if (strncmp(s, "+Inf", 4) == 0) {
        *end = s + 4;
        return __builtin_inf();
    }
    if (!isdigit((unsigned char)*s) && *s != '-')
        fail_msg("bad number: %.40s", s);
    v = strtod(s, &e);
    *end = e;
    return v;
}

/* The family that a sample belongs to: by its own name, or a histogram's by its suffix. */
static inline bool belongs(const struct parsed *p, int family, const char *name)
{
    static const char *const suffixes[] = { "_bucket", "_sum", "_count" };
    size_t n = strlen(p->families[family].name);
    bool histogram = strcmp(p->families[family].type, "histogram") == 0;

    if (strncmp(p->families[family].name, name, n) != 0)
        return false;
    if (!histogram)
        return name[n] == '\0';
    for (size_t i = 0; i < ARRAY_SIZE(suffixes); i++) {
        if (strcmp(name + n, suffixes[i]) == 0)
            return true;
    }
    return false;
}

static inline void parse_sample(struct parsed *p, const char *line)
{
    struct sample *s = &p->samples[p->nsamples++];
    const char *end;

    assert_true(p->nsamples <= SAMPLES_MAX);
    memset(s, 0, sizeof(*s));
    line = parse_name(line, s->name, sizeof(s->name), true);
    line = parse_labels(line, s);
    assert_int_equal(*line, ' ');
    s->value = parse_number(line + 1, &end);
    assert_int_equal(*end, '\0');
    s->family = p->nfamilies - 1; /* its samples follow a family at once, so it is the last one */
    if (s->family < 0 || !belongs(p, s->family, s->name))
        fail_msg("sample without its family: %s", s->name);
    p->families[s->family].nsamples++;
    for (const struct sample *o = p->samples; o != s; o++) {
        if (strcmp(o->name, s->name) == 0 && strcmp(o->labels, s->labels) == 0 && strcmp(o->le, s->le) == 0)
            fail_msg("twice: %s{%s} %s", s->name, s->labels, s->le);
    }
}

static inline void parse_comment(struct parsed *p, const char *line)
{
    char name[96];

    if (strncmp(line, "# HELP ", 7) == 0) {
        line = parse_name(line + 7, name, sizeof(name), true);
        assert_int_equal(*line, ' ');
        for (int i = 0; i < p->nfamilies; i++)
            assert_string_not_equal(p->families[i].name, name);
        assert_true(p->nfamilies < FAMILIES_MAX);
        strcpy(p->families[p->nfamilies++].name, name);
        for (line++; *line != '\0'; line++) {
            if (*line == '\\')
                assert_true(line[1] == '\\' || line[1] == 'n');
        }
        return;
    }
    assert_int_equal(strncmp(line, "# TYPE ", 7), 0);
    line = parse_name(line + 7, name, sizeof(name), true);
    assert_true(p->nfamilies > 0);
    assert_string_equal(p->families[p->nfamilies - 1].name, name); /* right behind its HELP */
    assert_int_equal(p->families[p->nfamilies - 1].type[0], '\0');
    if (strcmp(line, " counter") != 0 && strcmp(line, " gauge") != 0 && strcmp(line, " histogram") != 0)
        fail_msg("bad type:%s", line);
    strcpy(p->families[p->nfamilies - 1].type, line + 1);
    if (strcmp(line, " counter") == 0)
        assert_string_equal(name + strlen(name) - 6, "_total");
}

/* Buckets rise with their bounds, the last is +Inf and equals _count. */
static inline void check_histograms(const struct parsed *p)
{
    for (uint32_t i = 0; i < p->nsamples; i++) {
        const struct sample *s = &p->samples[i];
        const char *end;

        if (s->le[0] == '\0') {
            assert_string_not_equal(s->name + strlen(s->name) - 7, "_bucket");
            continue;
        }
        if (strcmp(s->le, "+Inf") == 0) {
            assert_int_equal(strcmp(s[1].name + strlen(s[1].name) - 4, "_sum"), 0);
            assert_int_equal(strcmp(s[2].name + strlen(s[2].name) - 6, "_count"), 0);
            assert_true(s->value == s[2].value);
            assert_string_equal(s->labels, s[2].labels);
        } else {
            assert_string_equal(s->labels, s[1].labels);
            assert_true(parse_number(s->le, &end) < parse_number(s[1].le, &end));
            assert_true(s->value <= s[1].value);
        }
    }
}

/* The caller's to free(). */
static inline struct parsed *parse(const char *text)
{
    struct parsed *p = calloc(1, sizeof(*p));
    char *copy = strdup(text), *line = copy, *next;

    assert_int_equal(text[strlen(text) - 1], '\n');
    for (; *line != '\0'; line = next) {
        next = strchr(line, '\n');
        *next++ = '\0';
        if (line[0] == '#')
            parse_comment(p, line);
        else
            parse_sample(p, line);
    }
    check_histograms(p);
    free(copy);
    return p;
}

static inline double value_of(const struct parsed *p, const char *name, const char *labels, const char *le)
{
    for (uint32_t i = 0; i < p->nsamples; i++) {
        const struct sample *s = &p->samples[i];

        if (strcmp(s->name, name) == 0 && strcmp(s->labels, labels) == 0 && strcmp(s->le, le) == 0)
            return s->value;
    }
    fail_msg("no %s{%s} le=%s", name, labels, le);
    return 0;
}

static inline const char *type_of(const struct parsed *p, const char *name)
{
    for (int i = 0; i < p->nfamilies; i++) {
        if (strcmp(p->families[i].name, name) == 0)
            return p->families[i].type;
    }
    return "";
}

#endif
