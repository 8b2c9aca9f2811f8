/* Prometheus' text format, version 0.0.4: https://prometheus.io/docs/instrumenting/exposition_formats/ */
#include "server/node/metrics.h"

#include <inttypes.h>
#include <string.h>

/* Backslash and line feed everywhere, the quote in label values. */
static void print_escaped(FILE *to, const char *s, bool quotes)
{
    for (; *s != '\0'; s++) {
        if (*s == '\n')
            fputs("\\n", to);
        else if (*s == '\\' || (quotes && *s == '"'))
            fprintf(to, "\\%c", *s);
        else
            fputc(*s, to);
    }
}

void cairn_prom__family(struct cairn_prom *p, const char *name, const char *type, const char *help)
{
    fprintf(p->to, "# HELP %s ", name);
    print_escaped(p->to, help, false);
    fprintf(p->to, "\n# TYPE %s %s\n", name, type);
}

static void print_labels(FILE *to, const char *const *labels, const char *le)
{
    const char *sep = "{";

    for (; labels != NULL && labels[0] != NULL; labels += 2, sep = ",") {
        fprintf(to, "%s%s=\"", sep, labels[0]);
        print_escaped(to, labels[1], true);
        fputc('"', to);
    }
    if (le != NULL) {
        fprintf(to, "%sle=\"%s\"", sep, le);
        sep = ",";
    }
    if (sep[0] == ',')
        fputc('}', to);
}

static void print_value(FILE *to, double v)
{
    if (v >= 0 && v < 9007199254740992.0 && v == (double)(uint64_t)v) /* whole, and exact in a double */
        fprintf(to, " %.0f\n", v);
    else
        fprintf(to, " %.9g\n", v);
}

void cairn_prom__sample(struct cairn_prom *p, const char *name, const char *const *labels, double value)
{
    fputs(name, p->to);
    print_labels(p->to, labels, NULL);
    print_value(p->to, value);
}

void cairn_prom__histogram(struct cairn_prom *p, const char *name, const char *const *labels,
                           const struct cairn_hist_sum *h, uint32_t shift, uint32_t first, uint32_t last, uint32_t step,
                           double scale)
{
    uint64_t seen = 0;
    uint32_t i = 0;
    char le[32];

    for (uint32_t e = first; e <= last; e += step) {
        uint64_t bound = UINT64_C(1) << e;

        while (i < CAIRN_HIST_BUCKETS - 1 && cairn_hist_upper(i, shift) <= bound) /* the last one has no upper end */
            seen += h->buckets[i++];
        snprintf(le, sizeof(le), "%.9g", (double)bound / scale);
        fprintf(p->to, "%s_bucket", name);
        print_labels(p->to, labels, le);
        fprintf(p->to, " %" PRIu64 "\n", seen);
    }
    fprintf(p->to, "%s_bucket", name);
    print_labels(p->to, labels, "+Inf");
    fprintf(p->to, " %" PRIu64 "\n%s_sum", h->n, name);
    print_labels(p->to, labels, NULL);
    print_value(p->to, (double)h->sum / scale);
    fprintf(p->to, "%s_count", name);
    print_labels(p->to, labels, NULL);
    fprintf(p->to, " %" PRIu64 "\n", h->n);
}
