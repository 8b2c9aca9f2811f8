/** A node in one thread for the router's tests: two workers, a real router and map store, and a KV and an extent
 * service that keep all in memory. Requests to those wait in one queue and are carried out in an order that a seed
 * decides, so that runs with different seeds meet different interleavings; the nth of them can be made to fail. */
#ifndef CAIRN_TEST_ROUTER_WORLD_H
#define CAIRN_TEST_ROUTER_WORLD_H

#include "world_client.h"

#define CASE(name) cmocka_unit_test_setup_teardown(name, world_setup, world_teardown)

#endif
