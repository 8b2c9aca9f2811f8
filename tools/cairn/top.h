/** cairn top: samples of nodes, what they come to, and how that looks. */
#ifndef CAIRN_TOOLS_TOP_H
#define CAIRN_TOOLS_TOP_H

#include "tools/cairn/client.h"

enum {
    TOP_NODES_MAX = 64, /* that are asked, a thread each */
    TOP_INTERVAL_MS = 1000,
    TOP_ANSWER_MS = 1000, /* a node that takes longer has not answered */
};

/* ---- top_sample.c: a thread for each node asks it again and again ---- */

struct top;

/** Begins with the node or the cluster that cli->session has entered. NULL: no memory. */
struct top *top_new(struct cli *cli);
/** Asks who is in the cluster and how that is; at most TOP_ANSWER_MS. */
void top_look(struct top *t);
/** Ends the threads, which takes as long as a node may take to answer. */
void top_free(struct top *t);

/** What the last two samples of each node come to, a new document:
 *   {"since_start": false, "window_ms",
 *    "nodes": [{"name","state","answers","problem","uptime_ms","connections","resident_bytes","requests_per_s",
 *               "failed_per_s","in_bytes_per_s","out_bytes_per_s","slots","leads","lease_ms","address"}],
 *    "methods": [{"provider","method","per_s","failed_per_s","in_bytes_per_s","out_bytes_per_s","mean_ns","p99_ns"}],
 *    "cluster": ..., as `cairn status --json` has it; absent: the node is in none
 *    "not_asked": 0}
 * The rates of a node are of what clients asked it. All of "methods" is of all nodes together, whoever asked: one
 * request of a client makes others, of providers and nodes among each other. Both are of the time between the two
 * samples, the longest of which is window_ms. Until a node has answered twice it is of the time since each node started,
 * the longest of which is window_ms, and since_start is true. A node that has not yet had the time to answer has no
 * "problem". */
json_t *top_report(struct top *t);
/** All that will answer have done so @times times, 2 at most. */
bool top_is_complete(struct top *t, uint32_t times);

/* ---- top_sums.c: the methods of nodes, added up ---- */

struct top_sums;

/** NULL: no memory, which all accept. */
struct top_sums *top_sums_new(void);
/** Adds what a node did between two samples (documents of cairn_metrics()), @s seconds long, and its rates to @node.
 * @before may be NULL: since it started. Both stay the caller's, until the end. */
void top_sums_add(struct top_sums *sums, json_t *node, const json_t *now, const json_t *before, double s);
/** "methods" of a report, the busiest first; a new reference. Frees @sums. */
json_t *top_sums_end(struct top_sums *sums);

/* ---- top_view.c ---- */

/** A screen of @width columns and @height lines at most (0: as many as there are). */
void top_draw(struct cli *cli, const json_t *report, uint32_t width, uint32_t height, FILE *to);

#endif
