/* A small reader of drawings: comments with an arrow become tokens, tokens become moves. */
#include "tests/lib/drawing.h"

#include <ctype.h>
#include <dirent.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TOKENS_MAX = 4096, WORD_MAX = 48 };

enum token_type { T_NAME, T_WORD, T_ARROW, T_COMMA, T_SEMICOLON, T_STOP, T_OTHER };

struct token {
    enum token_type type;
    char text[WORD_MAX];
};

struct reader {
    const struct cairn_sm_kind *kind;
    struct token t[TOKENS_MAX];
    uint32_t n;
    uint32_t moves[CAIRN_SM_STATES_MAX]; /* as drawn */
    bool drawn;
    char *why;
};

static void complain(struct reader *r, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void complain(struct reader *r, const char *fmt, ...)
{
    size_t n = strlen(r->why);
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(r->why + n, DRAWING_WHY_MAX - n, fmt, ap);
    va_end(ap);
}

static int state_of(const struct reader *r, const char *name)
{
    for (uint32_t i = 0; i < r->kind->nstates; i++) {
        if (strcmp(r->kind->states[i].name, name) == 0)
            return (int)i;
    }
    return -1;
}

/* ---- tokens ---- */

static bool is_name(const char *s)
{
    return isupper((unsigned char)s[0]) && s[1] != '\0' &&
           s[strspn(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_")] == '\0';
}

static void tokenize(struct reader *r, const char *s, const char *end)
{
    while (s < end && r->n < TOKENS_MAX) {
        struct token *t = &r->t[r->n];
        size_t n = 0;

        if (isspace((unsigned char)*s)) {
            s++;
            continue;
        }
        while (s + n < end && n < WORD_MAX - 1 && (isalnum((unsigned char)s[n]) || s[n] == '_'))
            n++;
        memcpy(t->text, s, n);
        t->text[n] = '\0';
        if (n > 0) {
            t->type = is_name(t->text) ? T_NAME : T_WORD;
        } else if (*s == '-') {
            while (s + n < end && s[n] == '-')
                n++;
            t->type = n >= 2 && s + n < end && s[n] == '>' ? T_ARROW : T_OTHER;
            n += t->type == T_ARROW;
        } else {
            t->type = *s == ',' ? T_COMMA : *s == ';' ? T_SEMICOLON : *s == '.' ? T_STOP : T_OTHER;
            n = 1;
        }
        s += n;
        r->n++;
    }
}

/* A label is "kv-write" before the first state of a line with arrows. */
static bool line_has_label(const char *s, const char *end, char label[WORD_MAX])
{
    size_t n = 0;

    while (s + n < end && n < WORD_MAX - 1 &&
           (islower((unsigned char)s[n]) || isdigit((unsigned char)s[n]) || s[n] == '-'))
        n++;
    if (n == 0 || s[0] == '-' || s + n >= end || s[n] != ' ' || memmem(s, (size_t)(end - s), "-->", 3) == NULL)
        return false;
    memcpy(label, s, n);
    label[n] = '\0';
    while (s + n < end && s[n] == ' ')
        n++;
    return isupper((unsigned char)s[n]);
}

static void read_line(struct reader *r, const char *s, const char *end)
{
    char label[WORD_MAX];

    while (s < end && (*s == ' ' || *s == '*' || *s == '/'))
        s++;
    if (line_has_label(s, end, label)) {
        if (strcmp(label, r->kind->name) != 0)
            return;
        s += strlen(label);
    }
    tokenize(r, s, end);
}

static void read_comments(struct reader *r, const char *text)
{
    const char *open = text, *close;

    while ((open = strstr(open, "/*")) != NULL && (close = strstr(open, "*/")) != NULL) {
        if (memmem(open, (size_t)(close - open), "--->", 4) != NULL) {
            for (const char *line = open; line < close;) {
                const char *end = memchr(line, '\n', (size_t)(close - line));

                if (end == NULL)
                    end = close;
                read_line(r, line, end);
                line = end + 1;
            }
            if (r->n < TOKENS_MAX)
                r->t[r->n++].type = T_STOP;
        }
        open = close + 2;
    }
}

/* ---- moves ---- */

static bool is_word(const struct reader *r, uint32_t i, const char *word)
{
    return i < r->n && r->t[i].type == T_WORD && strcasecmp(r->t[i].text, word) == 0;
}

static uint32_t resolve(struct reader *r, uint32_t i)
{
    int s = state_of(r, r->t[i].text);

    if (s < 0) {
        char text[WORD_MAX + 64];

        snprintf(text, sizeof(text), "the drawing has %s, which is no state; ", r->t[i].text);
        if (strstr(r->why, text) == NULL)
            complain(r, "%s", text);
        return 0;
    }
    return CAIRN_SM_TO(s);
}

static uint32_t not_final(const struct reader *r, uint32_t limit)
{
    uint32_t set = 0;

    for (uint32_t i = 0; i < r->kind->nstates && i < limit; i++) {
        if ((r->kind->states[i].flags & CAIRN_SM_FINAL) == 0)
            set |= CAIRN_SM_TO(i);
    }
    return set;
}

/* The states that tokens [from, to) name as a subject. */
static uint32_t subject(struct reader *r, uint32_t from, uint32_t to)
{
    uint32_t set = 0;
    bool all = false, but = false;

    for (uint32_t i = from; i < to; i++) {
        if (is_word(r, i, "all")) {
            all = true;
        } else if (is_word(r, i, "but")) {
            but = true;
        } else if (is_word(r, i, "before") && i + 1 < to) {
            int s = state_of(r, r->t[i + 1].text);

            return not_final(r, s < 0 ? 0 : (uint32_t)s);
        } else if (r->t[i].type == T_NAME) {
            set |= resolve(r, i);
        }
    }
    return all ? not_final(r, UINT32_MAX) & ~(but ? set : 0) : set;
}

static void add(struct reader *r, uint32_t from, uint32_t to)
{
    for (uint32_t i = 0; i < r->kind->nstates; i++) {
        if ((from & CAIRN_SM_TO(i)) != 0)
            r->moves[i] |= to;
    }
}

/* Where the subject that ends before @end begins: names with commas and "and" between them; two names side by side are
 * the end of a chain and the begin of a sentence. */
static uint32_t subject_begin(const struct reader *r, uint32_t end)
{
    uint32_t i = end;
    bool name_after = false;

    while (i > 0) {
        const struct token *t = &r->t[i - 1];
        bool name = t->type == T_NAME;

        if (name && name_after)
            break;
        if (!name && t->type != T_COMMA && !is_word(r, i - 1, "and") && !is_word(r, i - 1, "or") &&
            !is_word(r, i - 1, "but") && !is_word(r, i - 1, "all") && !is_word(r, i - 1, "before"))
            break;
        name_after = name;
        i--;
    }
    return i;
}

/* The states that tokens [at, end) name as targets of the states @from; "itself" is each of these. */
static void add_targets(struct reader *r, uint32_t from, uint32_t at, uint32_t end)
{
    add(r, from, subject(r, at, end));
    for (uint32_t i = at; i < end; i++) {
        for (uint32_t s = 0; is_word(r, i, "itself") && s < r->kind->nstates; s++)
            add(r, from & CAIRN_SM_TO(s), CAIRN_SM_TO(s));
    }
}

/* "A, B and C may also go to D, E to F; G to H." from the token "may"; returns where it ends. */
static uint32_t read_sentence(struct reader *r, uint32_t may, uint32_t at)
{
    uint32_t from = subject(r, subject_begin(r, may), may);

    for (;;) {
        uint32_t end = at, split = 0, last = 0;

        for (; end < r->n && r->t[end].type != T_STOP && r->t[end].type != T_ARROW && !is_word(r, end, "to"); end++) {
            if (r->t[end].type == T_SEMICOLON)
                split = end;
            else if (r->t[end].type == T_COMMA)
                last = end;
        }
        if (!is_word(r, end, "to")) {
            if (end < r->n && r->t[end].type == T_ARROW && end > at)
                end--; /* the head of a chain that follows without a full stop */
            add_targets(r, from, at, end);
            return end;
        }
        if (split == 0)
            split = last;
        if (split == 0) {
            complain(r, "a sentence of the drawing has two \"to\" and no comma between; ");
            return end;
        }
        add_targets(r, from, at, split);
        from = subject(r, split, end);
        at = end + 1;
    }
}

static void read_moves(struct reader *r)
{
    for (uint32_t i = 1; i + 1 < r->n; i++) {
        if (r->t[i].type == T_ARROW && r->t[i - 1].type == T_NAME && r->t[i + 1].type == T_NAME) {
            r->drawn = true;
            add(r, resolve(r, i - 1), resolve(r, i + 1));
        } else if (is_word(r, i, "may") && is_word(r, i + 1, "repeat")) {
            uint32_t from = subject(r, subject_begin(r, i), i);

            for (uint32_t s = 0; s < r->kind->nstates; s++)
                add(r, from & CAIRN_SM_TO(s), CAIRN_SM_TO(s));
        } else if (is_word(r, i, "may")) {
            uint32_t to = i + 1;

            to += is_word(r, to, "also");
            if (is_word(r, to, "go") && is_word(r, to + 1, "to"))
                i = read_sentence(r, i, to + 2) - 1;
        }
    }
}

static void compare(struct reader *r)
{
    const struct cairn_sm_kind *k = r->kind;

    for (uint32_t i = 0; i < k->nstates; i++) {
        for (uint32_t j = 0; j < k->nstates; j++) {
            bool drawn = (r->moves[i] & CAIRN_SM_TO(j)) != 0, allowed = (k->states[i].next & CAIRN_SM_TO(j)) != 0;

            if (drawn && !allowed)
                complain(r, "only the drawing has %s ---> %s; ", k->states[i].name, k->states[j].name);
            if (allowed && !drawn)
                complain(r, "only the table has %s ---> %s; ", k->states[i].name, k->states[j].name);
        }
    }
}

bool drawing_matches(const struct cairn_sm_kind *kind, const char *text, char why[DRAWING_WHY_MAX])
{
    struct reader *r = calloc(1, sizeof(*r));
    bool good;

    why[0] = '\0';
    if (r == NULL)
        return false;
    r->kind = kind;
    r->why = why;
    read_comments(r, text);
    read_moves(r);
    if (r->drawn)
        compare(r);
    else
        complain(r, "there is no drawing");
    good = why[0] == '\0';
    free(r);
    return good;
}

/* ---- files ---- */

static char *file_text(const char *path)
{
    FILE *f = fopen(path, "re");
    char *text = NULL;
    size_t n = 0;

    if (f == NULL)
        return NULL;
    if (getdelim(&text, &n, '\0', f) < 0) {
        free(text);
        text = NULL;
    }
    fclose(f);
    return text;
}

bool drawing_file_matches(const struct cairn_sm_kind *kind, const char *path, char why[DRAWING_WHY_MAX])
{
    char *text = file_text(path), *header;
    size_t n = strlen(path);
    bool good;

    snprintf(why, DRAWING_WHY_MAX, "cannot read %s", path);
    if (text == NULL)
        return false;
    good = drawing_matches(kind, text, why);
    free(text);
    if (good || strcmp(why, "there is no drawing") != 0 || n < 2)
        return good;
    header = strdup(path);
    header[n - 1] = 'h';
    text = file_text(header);
    if (text != NULL)
        good = drawing_matches(kind, text, why);
    free(text);
    free(header);
    return good;
}

static bool defines_kind(const char *path, const char *kind_name)
{
    char *text = file_text(path), needle[96];
    bool found = false;

    snprintf(needle, sizeof(needle), "\"%s\"", kind_name);
    for (const char *p = text; !found && p != NULL && (p = strstr(p, "cairn_sm_kind ")) != NULL; p++) {
        const char *end = strchr(p, ';'), *equals = strstr(p, "= {");

        found = end != NULL && equals != NULL && equals < end &&
                memmem(p, (size_t)(end - p), needle, strlen(needle)) != NULL;
    }
    free(text);
    return found;
}

static bool find_below(const char *dir, const char *kind_name, char *path, size_t len, int depth)
{
    DIR *d = depth < 8 ? opendir(dir) : NULL;
    struct dirent *e;
    bool found = false;

    while (!found && d != NULL && (e = readdir(d)) != NULL) {
        size_t n = strlen(e->d_name);
        char below[4096];

        if (e->d_name[0] == '.' || snprintf(below, sizeof(below), "%s/%s", dir, e->d_name) >= (int)sizeof(below))
            continue;
        if (e->d_type == DT_DIR) {
            found = find_below(below, kind_name, path, len, depth + 1);
        } else if (n > 2 && strcmp(e->d_name + n - 2, ".c") == 0 && defines_kind(below, kind_name)) {
            snprintf(path, len, "%s", below);
            found = true;
        }
    }
    if (d != NULL)
        closedir(d);
    return found;
}

bool drawing_find_source(const char *root, const char *kind_name, char *path, size_t len)
{
    static const char *const folders[] = { "sdk", "server", "providers" };
    char dir[4096];

    for (size_t i = 0; i < ARRAY_SIZE(folders); i++) {
        snprintf(dir, sizeof(dir), "%s/%s", root, folders[i]);
        if (find_below(dir, kind_name, path, len, 0))
            return true;
    }
    return false;
}
