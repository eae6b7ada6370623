#include "resources.h"

#include <string.h>

/* envoy.config.cluster.v3.Cluster */
enum { CLUSTER_NAME = 1, CLUSTER_TYPE = 2, CLUSTER_EDS = 3, EDS_SERVICE_NAME = 2, TYPE_EDS = 3 };

void endpoints_of_cluster(const uint8_t *cluster, size_t size, Found *found, void *owner) {
    Reader in = reader(cluster, size);
    Field field, name = {0}, service = {0};
    bool is_eds = false;
    while (next_field(&in, &field)) {
        if (field.number == CLUSTER_NAME && field.is_bytes) name = field;
        if (field.number == CLUSTER_TYPE) is_eds = field.value == TYPE_EDS;
        if (field.number != CLUSTER_EDS || !field.is_bytes) continue;
        Reader eds = reader(field.bytes, field.size);
        for (Field inner; next_field(&eds, &inner);)
            if (inner.number == EDS_SERVICE_NAME && inner.is_bytes) service = inner;
    }
    if (!service.size) service = name;
    if (is_eds && service.size) found(owner, service.bytes, service.size);
}

/* The fields that lead from a Listener to the name of a route table: filter_chains (or
 * default_filter_chain), filters, typed_config, Any.value, HttpConnectionManager.rds,
 * route_config_name. Other filters than the connection manager may have a field 3 too, so the
 * type URL is looked at where the path passes the Any. */
enum { DEFAULT_CHAIN = 25, ANY_TYPE = 1, ANY_DEPTH = 3 };
static const uint32_t PATH[] = {3, 3, 4, 2, 3, 2};
enum { LEAF = sizeof PATH / sizeof *PATH - 1 };
static const char MANAGER[] =
    "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";

static bool is_manager(const uint8_t *bytes, size_t size) {
    Reader in = reader(bytes, size);
    for (Field field; next_field(&in, &field);)
        if (field.number == ANY_TYPE && field.is_bytes)
            return field.size == sizeof MANAGER - 1 && !memcmp(field.bytes, MANAGER, field.size);
    return false;
}

static void walk(const uint8_t *bytes, size_t size, int depth, Found *found, void *owner) {
    if (depth == ANY_DEPTH && !is_manager(bytes, size)) return;
    Reader in = reader(bytes, size);
    for (Field field; next_field(&in, &field);) {
        bool leads_on = field.number == PATH[depth] || (!depth && field.number == DEFAULT_CHAIN);
        if (!leads_on || !field.is_bytes) continue;
        if (depth == LEAF)
            found(owner, field.bytes, field.size);
        else
            walk(field.bytes, field.size, depth + 1, found, owner);
    }
}

void routes_of_listener(const uint8_t *listener, size_t size, Found *found, void *owner) {
    walk(listener, size, 0, found, owner);
}
