/* Packets for a member of a group that stands: whoever holds the key may still be wrong. The first byte says who
 * sends (of four, one of them unknown), the next two how much time passes; then a packet's length, the packet, and so
 * on. */
#include "providers/group/swim.h"

#include "sdk/core/base/macros.h"

#include <stdio.h>
#include <string.h>

enum { ROOM = 6, KNOWN = 3 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint64_t now_ms;

static uint64_t fuzz_now(struct cairn_env *env)
{
    (void)env;
    return now_ms * CAIRN_NS_PER_MS;
}

static void describe(struct cairn_swim_desc *d, uint32_t i)
{
    memset(d, 0, sizeof(*d));
    snprintf(d->name, sizeof(d->name), "n%u", i);
    d->id = cairn_swim_id(d->name, strlen(d->name));
    d->addr = (struct cairn_swim_addr){ .ip = { (uint8_t)i }, .port = 7311, .len = 4 };
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct cairn_env_ops ops = { .now_ns = fuzz_now };
    static struct cairn_swim s;
    static struct cairn_swim_dir dir;
    static struct cairn_swim_desc descs[ROOM], d;
    static uint32_t table[32], heap[ROOM];
    static struct cairn_swim_view views[ROOM];
    static struct cairn_swim_suspicion suspicions[ROOM];
    static struct cairn_sm_set machines;
    static struct cairn_swim_out out;
    struct cairn_swim_memory memory = { views, suspicions, heap, 2 };
    struct cairn_env env = { .ops = &ops };
    struct cairn_swim_in in;

    now_ms = 1000;
    cairn_sm_set_init(&machines, &env);
    cairn_swim_dir_init(&dir, descs, table, ROOM);
    describe(&d, 0);
    CAIRN_ASSERT(cairn_swim_init(&s, &cairn_swim_conf_default, &dir, &memory, &d, 1000000, 1, &machines) == 0);
    for (uint32_t i = 1; i < KNOWN; i++) {
        describe(&d, i);
        cairn_swim_assume_alive(&s, cairn_swim_dir_put(&dir, &d), i * 1000000);
    }
    while (size >= 5) {
        size_t len = data[3] | (size_t)data[4] << 8;

        describe(&d, data[0] % 4);
        now_ms += data[1] | (uint64_t)data[2] << 8;
        data += 5;
        size -= 5;
        len = MIN(len, size);
        in = (struct cairn_swim_in){
            .type = CAIRN_SWIM_PACKET, .now_ms = now_ms, .from = d.id, .addr = d.addr, .bytes = data, .len = len
        };
        cairn_swim_step(&s, &in, &out);
        data += len;
        size -= len;
        for (uint32_t i = 0; i < out.nsends; i++)
            CAIRN_ASSERT(out.sends[i].len <= CAIRN_SWIM_PACKET_BYTES_MAX);
        CAIRN_ASSERT(s.leaving || views[s.self].state == CAIRN_SWIM_ALIVE);
    }
    cairn_swim_fini(&s);
    cairn_sm_set_fini(&machines);
    return 0;
}
