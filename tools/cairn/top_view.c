/** What `cairn top` shows: a screen of text, of no more lines than there are. */
#include "tools/cairn/top.h"

#include "tools/cairn/cluster.h"
#include "tools/cairn/out.h"

#include <stdlib.h>
#include <string.h>

enum { CELLS_MAX = 12, CELL_BYTES = 96, WIDE_COLUMNS = 120 };

struct view {
    struct cli *cli;
    FILE *to;
    uint32_t width, left; /* lines; UINT32_MAX: as many as there are */
};

static double real_of(const json_t *o, const char *key)
{
    return json_real_value(json_object_get(o, key));
}

/* Bytes of nodes are not to lead the terminal astray, and a line ends where the screen does. */
static void line(struct view *v, enum cli_color color, const char *text)
{
    if (v->left == 0)
        return;
    size_t len = strlen(text);
    if (v->width > 0 && len > v->width)
        len = v->width;
    fputs(cli_color(v->cli, color), v->to);
    cli_put_printable(v->to, text, len);
    fputs(cli_color(v->cli, CLI_PLAIN), v->to);
    fputs("\n", v->to);
    if (v->left != UINT32_MAX)
        v->left--;
}

/* ---- tables: all but the first @ntexts columns are figures ---- */

struct table {
    uint32_t ncols, ntexts, nrows;
    char (*rows)[CELLS_MAX][CELL_BYTES]; /* the first is the heading */
    enum cli_color *colors;
};

static bool table_init(struct table *t, uint32_t rows, uint32_t ntexts, const char *const *titles)
{
    *t = (struct table){ .ntexts = ntexts, .nrows = 1 };
    t->rows = calloc(rows + 1, sizeof(*t->rows));
    t->colors = calloc(rows + 1, sizeof(*t->colors));
    if (t->rows == NULL || t->colors == NULL)
        return false;
    for (; titles[t->ncols] != NULL; t->ncols++)
        snprintf(t->rows[0][t->ncols], CELL_BYTES, "%s", titles[t->ncols]);
    t->colors[0] = CLI_BOLD;
    return true;
}

static void table_draw(struct view *v, struct table *t)
{
    size_t widths[CELLS_MAX] = { 0 };
    for (uint32_t r = 0; r < t->nrows; r++) {
        for (uint32_t c = 0; c < t->ncols; c++)
            widths[c] = MAX(widths[c], strlen(t->rows[r][c]));
    }
    for (uint32_t r = 0; r < t->nrows; r++) {
        char text[CELLS_MAX * (CELL_BYTES + 2) + 1];
        size_t n = 0;
        for (uint32_t c = 0; c < t->ncols; c++) {
            bool is_text = c < t->ntexts || c == CELLS_MAX - 1;
            int width = (int)(c == t->ncols - 1 && is_text ? 0 : widths[c]);
            n += (size_t)snprintf(text + n, sizeof(text) - n, "%s%*s", c > 0 ? "  " : "", is_text ? -width : width,
                                  t->rows[r][c]);
        }
        line(v, t->colors[r], text);
    }
}

static void table_fini(struct table *t)
{
    free(t->rows);
    free(t->colors);
}

/* "0", "4.2", "1,234": rates below ten have a figure behind the point. */
static void put_rate(char *to, double x)
{
    char text[CLI_UNIT_BYTES + 8];
    if (x > 0.05 && x < 9.95)
        snprintf(to, CELL_BYTES, "%.1f", x);
    else
        snprintf(to, CELL_BYTES, "%s", cli_count(text, (uint64_t)(x + 0.5)));
}

static void put_size(char *to, double bytes)
{
    char text[CLI_UNIT_BYTES];
    snprintf(to, CELL_BYTES, "%s", bytes >= 0.5 ? cli_size(text, (uint64_t)(bytes + 0.5)) : "0");
}

static void put_time(char *to, json_int_t ns)
{
    char text[CLI_UNIT_BYTES];
    snprintf(to, CELL_BYTES, "%s", ns > 0 ? cli_duration(text, (uint64_t)ns) : "-");
}

static void put_count(char *to, const json_t *o, const char *key)
{
    char text[CLI_UNIT_BYTES + 8];
    const json_t *x = json_object_get(o, key);
    snprintf(to, CELL_BYTES, "%s", x != NULL ? cli_count(text, (uint64_t)json_integer_value(x)) : "-");
}

/* ---- the parts of the screen ---- */

static void draw_slots(struct view *v, const json_t *slots)
{
    char said[CLI_SLOTS_TEXT_BYTES], text[CLI_SLOTS_TEXT_BYTES + 8];
    enum cli_color color = cli_cluster_slots_text(slots, said);
    snprintf(text, sizeof(text), "slots  %s", said);
    line(v, color, text);
}

static void draw_moves(struct view *v, const json_t *moves)
{
    char text[256], now[CLI_UNIT_BYTES + 8], left[CLI_UNIT_BYTES + 8], unit[CLI_UNIT_BYTES], end[CLI_UNIT_BYTES + 8];
    json_int_t n = cli_number_of(moves, "left"), under_way = cli_number_of(moves, "under_way");
    json_int_t left_ms = cli_number_of(moves, "left_ms");
    if (n + under_way == 0)
        return;
    snprintf(end, sizeof(end), "time left unknown");
    if (left_ms > 0)
        snprintf(end, sizeof(end), "%s left", cli_duration(unit, (uint64_t)left_ms * CAIRN_NS_PER_MS));
    snprintf(text, sizeof(text), "moves  %s slots now, %s to come, %.1f/s, %s", cli_count(now, (uint64_t)under_way),
             cli_count(left, (uint64_t)n), real_of(moves, "per_s"), end);
    line(v, CLI_PLAIN, text);
}

static bool is_silent(const json_t *node)
{
    return cli_text_of(node, "problem")[0] != '\0';
}

static bool is_being_asked(const json_t *node)
{
    return !json_is_true(json_object_get(node, "answers")) && !is_silent(node);
}

/* Of which time the figures are: nobody has to take an average for what goes on now. */
static void draw_window(struct view *v, const json_t *report, size_t being_asked)
{
    uint64_t ns = (uint64_t)cli_number_of(report, "window_ms") * CAIRN_NS_PER_MS;
    char text[128], unit[CLI_UNIT_BYTES];
    cli_duration(unit, ns);
    if (!json_is_true(json_object_get(report, "since_start")))
        snprintf(text, sizeof(text), "rates  of the last %s", unit);
    else if (ns > 0)
        snprintf(text, sizeof(text), "rates  on average since each node started, the first %s ago", unit);
    else
        snprintf(text, sizeof(text), "rates  %s", being_asked > 0 ? "being asked for" : "no node has told any");
    line(v, CLI_PLAIN, text);
}

static void draw_head(struct view *v, const json_t *report)
{
    const json_t *nodes = json_object_get(report, "nodes"), *cluster = json_object_get(report, "cluster");
    double requests = 0, in = 0, out = 0;
    size_t n = json_array_size(nodes), silent = 0, being_asked = 0;
    char text[512], rate[CELL_BYTES], ins[CELL_BYTES], outs[CELL_BYTES];
    for (size_t i = 0; i < n; i++) {
        const json_t *o = json_array_get(nodes, i);
        requests += real_of(o, "requests_per_s");
        in += real_of(o, "in_bytes_per_s");
        out += real_of(o, "out_bytes_per_s");
        silent += is_silent(o);
        being_asked += is_being_asked(o);
    }
    put_rate(rate, requests);
    put_size(ins, in);
    put_size(outs, out);
    snprintf(text, sizeof(text), "nodes  %zu%s", n + (size_t)cli_number_of(report, "not_asked"),
             silent + being_asked > 0 ? "" : ", all answer");
    if (silent > 0)
        snprintf(text + strlen(text), sizeof(text) - strlen(text), ", %zu without an answer", silent);
    snprintf(text + strlen(text), sizeof(text) - strlen(text), "; %s requests/s, %s/s in, %s/s out", rate, ins, outs);
    line(v, silent > 0 ? CLI_BAD : CLI_PLAIN, text);
    if (cluster != NULL) {
        draw_slots(v, json_object_get(cluster, "slots"));
        draw_moves(v, json_object_get(cluster, "moves"));
    }
    if (cli_text_of(report, "problem")[0] != '\0') {
        snprintf(text, sizeof(text), "slots  as they were; no word from a coordinator: %s",
                 cli_text_of(report, "problem"));
        line(v, CLI_BAD, text);
    }
    draw_window(v, report, being_asked);
    line(v, CLI_PLAIN, "");
}

/* As far as the cluster knows; who is silent or has left is so in the word that says more. */
static bool is_expected(const json_t *o)
{
    const char *state = cli_text_of(o, "state");
    return strcmp(state, "silent") != 0 && strcmp(state, "lost") != 0 && strcmp(state, "left") != 0;
}

static bool wants_a_look(const json_t *o)
{
    return is_silent(o) || strcmp(cli_text_of(o, "state"), "up") != 0;
}

static void node_cells(char (*c)[CELL_BYTES], const json_t *o, bool is_wide)
{
    snprintf(c[0], CELL_BYTES, "%.24s", cli_text_of(o, "name"));
    snprintf(c[1], CELL_BYTES, "%s", is_expected(o) && is_silent(o) ? "no answer" : cli_text_of(o, "state"));
    put_rate(c[2], real_of(o, "requests_per_s"));
    put_rate(c[3], real_of(o, "failed_per_s"));
    put_size(c[4], real_of(o, "in_bytes_per_s"));
    put_size(c[5], real_of(o, "out_bytes_per_s"));
    put_count(c[6], o, "leads");
    put_count(c[7], o, "slots");
    put_size(c[8], (double)cli_number_of(o, "resident_bytes"));
    put_time(c[9], cli_number_of(o, "uptime_ms") * (json_int_t)CAIRN_NS_PER_MS);
    put_count(c[10], o, "connections");
    if (is_wide)
        snprintf(c[11], CELL_BYTES, "%.80s", cli_text_of(o, is_silent(o) ? "problem" : "address"));
}

/* Where no column has room for them: of the first nodes that cannot be asked, why. */
static void draw_problems(struct view *v, const json_t *nodes)
{
    enum { PROBLEMS_MAX = 3 };
    uint32_t shown = 0;
    for (size_t i = 0; i < json_array_size(nodes) && shown < PROBLEMS_MAX; i++) {
        const json_t *o = json_array_get(nodes, i);
        char text[256];
        if (!is_silent(o) || !is_expected(o))
            continue;
        snprintf(text, sizeof(text), "%.24s: %s", cli_text_of(o, "name"), cli_text_of(o, "problem"));
        line(v, CLI_BAD, text);
        shown++;
    }
}

static void draw_nodes(struct view *v, const json_t *report, size_t most)
{
    static const char *const titles[] = { "NODE",  "STATE", "REQ/S", "FAIL/S", "IN/S",    "OUT/S", "LEADS",
                                          "HOLDS", "MEM",   "UP",    "CONNS",  "ADDRESS", NULL };
    static const char *const narrow[] = { "NODE",  "STATE", "REQ/S", "FAIL/S", "IN/S", "OUT/S",
                                          "LEADS", "HOLDS", "MEM",   "UP",     NULL };
    const json_t *nodes = json_object_get(report, "nodes");
    size_t n = json_array_size(nodes), shown = MIN(n, most);
    bool is_wide = v->width == 0 || v->width >= WIDE_COLUMNS;
    struct table t;
    char text[64];
    if (table_init(&t, (uint32_t)shown, 2, is_wide ? titles : narrow)) {
        /* Where there is no room for all, those that want a look come first. */
        for (int pass = 0; pass < 2; pass++) {
            for (size_t i = 0; i < n && t.nrows <= shown; i++) {
                const json_t *o = json_array_get(nodes, i);
                if (shown < n && wants_a_look(o) != (pass == 0))
                    continue;
                node_cells(t.rows[t.nrows], o, is_wide);
                t.colors[t.nrows++] = is_silent(o) ? CLI_BAD : CLI_PLAIN;
            }
        }
        table_draw(v, &t);
    }
    table_fini(&t);
    if (!is_wide)
        draw_problems(v, nodes);
    n += (size_t)cli_number_of(report, "not_asked");
    if (n > shown) {
        snprintf(text, sizeof(text), "and %zu more", n - shown);
        line(v, CLI_DIM, text);
    }
    line(v, CLI_PLAIN, "");
}

static void draw_methods(struct view *v, const json_t *report)
{
    static const char *const titles[] = {
        "PROVIDER", "METHOD", "REQ/S", "FAIL/S", "IN/S", "OUT/S", "MEAN", "P99", NULL
    };
    const json_t *methods = json_object_get(report, "methods");
    uint32_t room = v->left == UINT32_MAX ? UINT32_MAX : v->left > 0 ? v->left - 1 : 0;
    size_t n = MIN(json_array_size(methods), (size_t)room);
    struct table t;
    if (table_init(&t, (uint32_t)n, 2, titles)) {
        for (size_t i = 0; i < n; i++) {
            const json_t *o = json_array_get(methods, i);
            char(*c)[CELL_BYTES] = t.rows[t.nrows];
            if (real_of(o, "per_s") <= 0)
                break;
            snprintf(c[0], CELL_BYTES, "%.24s", cli_text_of(o, "provider"));
            snprintf(c[1], CELL_BYTES, "%.24s", cli_text_of(o, "method"));
            put_rate(c[2], real_of(o, "per_s"));
            put_rate(c[3], real_of(o, "failed_per_s"));
            put_size(c[4], real_of(o, "in_bytes_per_s"));
            put_size(c[5], real_of(o, "out_bytes_per_s"));
            put_time(c[6], cli_number_of(o, "mean_ns"));
            put_time(c[7], cli_number_of(o, "p99_ns"));
            t.nrows++;
        }
        if (t.nrows > 1)
            table_draw(v, &t);
    }
    table_fini(&t);
}

void top_draw(struct cli *cli, const json_t *report, uint32_t width, uint32_t height, FILE *to)
{
    struct view v = { .cli = cli, .to = to, .width = width, .left = height > 0 ? height : UINT32_MAX };
    /* Half of what is left is for nodes, so that a large cluster leaves room for what it does. */
    draw_head(&v, report);
    draw_nodes(&v, report, height > 0 ? MAX((height - 4) / 2 - 2, 3U) : SIZE_MAX);
    draw_methods(&v, report);
}
