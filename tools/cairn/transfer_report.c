/** What a transfer says at its end: failures, and a summary. */
#include "tools/cairn/transfer.h"

#include <string.h>

static void print_failures(struct transfer *t)
{
    enum { SHOWN_MAX = 20 };
    size_t n = json_array_size(t->failures);
    for (size_t i = 0; i < n && i < SHOWN_MAX; i++) {
        const json_t *f = json_array_get(t->failures, i);
        const char *key = json_string_value(json_object_get(f, "key"));
        const char *text = json_string_value(json_object_get(f, "text"));
        if (key == NULL)
            key = json_string_value(json_object_get(f, "key_hex"));
        fprintf(t->cli->err, "cairn %s: ", t->plan->verb);
        cli_put_text(t->cli->err, key);
        fprintf(t->cli->err, ": %s\n", text != NULL ? text : "failed");
    }
    if (n > SHOWN_MAX)
        fprintf(t->cli->err, "cairn %s: ... and %zu more; --json lists them\n", t->plan->verb, n - SHOWN_MAX);
}

static void print_counts(struct transfer *t, uint64_t ns)
{
    char files[CLI_UNIT_BYTES + 8], bytes[CLI_UNIT_BYTES], time[CLI_UNIT_BYTES], rate[CLI_UNIT_BYTES];
    char n[CLI_UNIT_BYTES + 8];
    const char *there = t->plan->sizes_only ? "there already (by size; --compare reads them)" : "there already";
    FILE *to = t->cli->out;
    fprintf(to, "%s: %s file%s, %s in %s (%s)", t->plan->verb, cli_count(files, t->counts.files),
            t->counts.files == 1 ? "" : "s", cli_size(bytes, t->counts.bytes), cli_duration(time, ns),
            cli_rate(rate, t->counts.bytes, ns));
    const struct {
        uint64_t n;
        const char *one, *many;
    } more[] = { { t->counts.skipped, there, there },
                 { t->counts.symlinks, "symbolic link left out", "symbolic links left out" },
                 { t->counts.special, "special file left out", "special files left out" },
                 { t->counts.empty_dirs, "empty directory left out", "empty directories left out" },
                 { t->counts.failed, "failed", "failed" } };
    for (uint32_t i = 0; i < ARRAY_SIZE(more); i++) {
        if (more[i].n > 0)
            fprintf(to, "; %s %s", cli_count(n, more[i].n), more[i].n == 1 ? more[i].one : more[i].many);
    }
    putc('\n', to);
}

static json_t *summary(struct transfer *t, uint64_t ns)
{
    return json_pack("{s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:b, s:b, s:O}", "command", t->plan->verb,
                     "namespace", t->ns_name, "files", (json_int_t)t->counts.files, "bytes",
                     (json_int_t)t->counts.bytes, "skipped", (json_int_t)t->counts.skipped, "symlinks",
                     (json_int_t)t->counts.symlinks, "special", (json_int_t)t->counts.special, "empty_directories",
                     (json_int_t)t->counts.empty_dirs, "failed", (json_int_t)t->counts.failed, "elapsed_ms",
                     (json_int_t)(ns / CAIRN_NS_PER_MS), "sizes_only", (int)t->plan->sizes_only, "complete",
                     !transfer_is_stopped(t) && t->counts.failed == 0, "failures", t->failures);
}

int transfer_report(struct transfer *t, uint64_t ns, int status)
{
    if (!t->cli->g.json)
        print_failures(t);
    if (t->fatal != 0)
        status = cli_fail(t->cli, t->fatal, t->fatal_text, "stopped; the same command goes on where this one ended");
    if (t->cli->g.json)
        cli_json(t->cli, summary(t, ns));
    else if (!t->cli->g.quiet)
        print_counts(t, ns);
    return status;
}
