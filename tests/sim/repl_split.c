/* Partitions of the replicated world: all hosts (nodes, clients, both of MAP's, the map store) come to one of two or
 * three sides. Nothing passes between them; or one way only; or some side hears all the others, and they it. */
#include "tests/sim/repl_internal.h"

enum split { SPLIT_WHOLE, SPLIT_ONE_WAY, SPLIT_PARTIAL, SPLIT_NR };

/* MAP's hosts and the store are on one side, half of the time: then the others are those who miss something. */
static void draw_sides(struct repl_world *rw, uint32_t sides)
{
    uint32_t store = repl_world_store_host(rw), of_map = (uint32_t)dice(rw, sides);
    bool together = dice(rw, 2) == 0;

    for (uint32_t i = 0; i <= store; i++) {
        bool is_of_map = i == rw->coords[0].host || i == rw->coords[1].host || i == store;
        uint32_t side = (uint32_t)dice(rw, sides);

        world_side(rw->world, i, together && is_of_map ? of_map : side);
    }
}

void repl_world_split(struct repl_world *rw)
{
    enum split how = (enum split)dice(rw, SPLIT_NR);
    uint32_t sides = how == SPLIT_PARTIAL || dice(rw, 3) == 0 ? 3 : 2;

    world_join(rw->world);
    draw_sides(rw, sides);
    for (uint32_t a = 0; a < sides; a++) {
        for (uint32_t b = a + 1; b < sides; b++) {
            bool there = how == SPLIT_ONE_WAY ? dice(rw, 2) == 0 : how == SPLIT_PARTIAL && a == 0,
                 back = how == SPLIT_ONE_WAY ? !there : there;

            if (there)
                world_hear(rw->world, a, b);
            if (back)
                world_hear(rw->world, b, a);
        }
    }
    rw->splits[how]++;
    rw->splits_of_map += is_cut_off(elected(rw));
}

uint32_t repl_world_store_host(const struct repl_world *rw)
{
    return 1 + rw->conf.nodes + rw->conf.clients + 1;
}
