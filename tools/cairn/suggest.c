/** "Did you mean": the word that means the same, or the nearest by edits (insert, delete, change, swap of
 * neighbours). */
#include "tools/cairn/cli.h"

#include <stdio.h>
#include <string.h>

enum { WORD_MAX = 31 }; /* longer words get no suggestion; no command or option is longer */

/* The optimal string alignment distance. */
static uint32_t edits(const char *a, uint32_t na, const char *b, uint32_t nb)
{
    uint32_t d[WORD_MAX + 1][WORD_MAX + 1];
    for (uint32_t i = 0; i <= na; i++)
        d[i][0] = i;
    for (uint32_t j = 0; j <= nb; j++)
        d[0][j] = j;
    for (uint32_t i = 1; i <= na; i++) {
        for (uint32_t j = 1; j <= nb; j++) {
            uint32_t change = d[i - 1][j - 1] + (a[i - 1] != b[j - 1]);
            uint32_t best = MIN(change, MIN(d[i - 1][j], d[i][j - 1]) + 1);
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                best = MIN(best, d[i - 2][j - 2] + 1);
            d[i][j] = best;
        }
    }
    return d[na][nb];
}

const char *cli_nearest(const char *word, const char *const *candidates, uint32_t n)
{
    size_t len = strlen(word);
    if (len == 0 || len > WORD_MAX)
        return NULL;
    const char *nearest = NULL;
    uint32_t least = len <= 3 ? 1 : (uint32_t)len / 3 + 1; /* further off, and it is a guess */
    for (uint32_t i = 0; i < n; i++) {
        size_t clen = strlen(candidates[i]);
        if (clen == 0 || clen > WORD_MAX)
            continue;
        uint32_t e = edits(word, (uint32_t)len, candidates[i], (uint32_t)clen);
        /* A word typed halfway is as good as one edit. */
        if (len >= 3 && clen > len && strncmp(word, candidates[i], len) == 0)
            e = 1;
        if (e < least || (e == least && nearest == NULL)) {
            least = e;
            nearest = candidates[i];
        }
    }
    return nearest;
}

/* What other programs call it; of each line at most one is a command, alone or in a family. */
static const char *const same[][8] = {
    { "rm", "remove", "drop", "delete", "del", "destroy", "erase" },
    { "ls", "list", "dir" },
    { "create", "new", "make", "mk", "add" },
    { "show", "stat", "info", "describe" },
    { "members", "nodes", "hosts", "peers" },
    { "status", "cluster", "health", "state" },
};

const char *cli_synonym(const char *family, const char *word)
{
    char name[128];
    for (size_t i = 0; i < ARRAY_SIZE(same); i++) {
        const struct cli_command *found = NULL;
        bool is_meant = false;
        for (size_t k = 0; k < ARRAY_SIZE(same[i]) && same[i][k] != NULL; k++) {
            is_meant |= strcmp(word, same[i][k]) == 0;
            snprintf(name, sizeof(name), "%s%s%s", family, family[0] != '\0' ? " " : "", same[i][k]);
            found = found != NULL ? found : cli_find(name);
        }
        if (is_meant && found != NULL)
            return found->name;
    }
    return NULL;
}
