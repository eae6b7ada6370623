#include "ads.h"

#include <string.h>

#include "resources.h"

/* DeltaDiscoveryRequest, DeltaDiscoveryResponse and their parts (envoy/service/discovery/v3). */
enum { NODE = 1, TYPE_URL = 2, SUBSCRIBE = 3, UNSUBSCRIBE = 4, HAVE = 5, RESPONSE_NONCE = 6 };
enum { NODE_ID = 1, NODE_CLUSTER = 2, NODE_AGENT = 6 };
enum { RESOURCES = 2, ANSWERED_TYPE = 4, NONCE = 5, REMOVED = 6 };
enum { RESOURCE_VERSION = 1, RESOURCE_BODY = 2, RESOURCE_NAME = 3, ANY_VALUE = 2 };

/* States of a name that are not a version. Nobody asks for it, or it was asked for and is awaited, or
 * the answer was that there is none. */
enum { UNKNOWN, AWAITED, ABSENT, VERSIONS };

static const char FENCE[] = "no-such-secret";

const char *const SHORT_NAMES[TYPES] = {"cds", "eds", "lds", "rds", "sds"};
static const char *const TYPE_URLS[TYPES] = {
    "type.googleapis.com/envoy.config.cluster.v3.Cluster",
    "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment",
    "type.googleapis.com/envoy.config.listener.v3.Listener",
    "type.googleapis.com/envoy.config.route.v3.RouteConfiguration",
    "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret",
};

static bool is_wildcard(Type type) { return type == CDS || type == LDS; }

static void set(Subscription *subscription, uint32_t name, uint32_t state) {
    subscription->awaited += state == AWAITED;
    subscription->awaited -= map_value(&subscription->names, name) == AWAITED;
    map_set(&subscription->names, name, state);
}

/* A request is begun, filled and sent; the node is said in the first one of a connection only. */
static Buffer request(Ads *ads, Type type) {
    Buffer out = {0};
    if (!ads->is_known) {
        Buffer node = {0};
        put_text(&node, NODE_ID, ads->node);
        put_text(&node, NODE_CLUSTER, "bench");
        put_text(&node, NODE_AGENT, "envoy");
        put_bytes(&out, NODE, buffer_front(&node), buffer_size(&node));
        buffer_clear(&node);
        ads->is_known = true;
    }
    put_text(&out, TYPE_URL, TYPE_URLS[type]);
    return out;
}

static void send_request(Ads *ads, Buffer *out) {
    http2_send(&ads->http2, buffer_front(out), buffer_size(out));
    buffer_clear(out);
}

/* The first request for a type on a connection: the names that are wanted (none: a wildcard), and the
 * versions that an earlier connection brought. */
static void ask(Ads *ads, Type type) {
    Subscription *subscription = &ads->types[type];
    Buffer out = request(ads, type);
    for (uint32_t i = 0; i < subscription->names.capacity; i++) {
        struct Slot slot = subscription->names.slots[i];
        if (slot.value == UNKNOWN) continue;
        Text name = text_of(slot.key);
        if (!is_wildcard(type)) put_bytes(&out, SUBSCRIBE, name.bytes, name.size);
        if (slot.value < VERSIONS) continue;
        Text version = text_of(slot.value - VERSIONS);
        Buffer entry = {0};
        put_bytes(&entry, 1, name.bytes, name.size);
        put_bytes(&entry, 2, version.bytes, version.size);
        put_bytes(&out, HAVE, buffer_front(&entry), buffer_size(&entry));
        buffer_clear(&entry);
    }
    subscription->is_asked = true;
    send_request(ads, &out);
}

/* A first request without names would ask for everything there is. */
static bool has_names(const Subscription *subscription) {
    for (uint32_t i = 0; i < subscription->names.capacity; i++)
        if (subscription->names.slots[i].value != UNKNOWN) return true;
    return false;
}

void ads_open(Ads *ads) {
    http2_open(&ads->http2, "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources",
               "istiod.istio-system.svc");
    ask(ads, CDS);
    if (!ads->types[CDS].is_answered) return;
    /* To a stream that has everything a server may say nothing at all, and silence cannot be told from
     * slowness. So a name that does not exist is asked for last: its answer ends the silence. */
    set(&ads->types[SDS], interned((const uint8_t *)FENCE, sizeof FENCE - 1), AWAITED);
    for (int type = EDS; type < TYPES; type++)
        if (has_names(&ads->types[type]) || (type == LDS && ads->types[LDS].is_answered)) ask(ads, (Type)type);
}

static void acknowledge(Ads *ads, Type type, const uint8_t *nonce, size_t size) {
    Buffer out = request(ads, type);
    put_bytes(&out, RESPONSE_NONCE, nonce, size);
    send_request(ads, &out);
}

/* Names that a response turned out to refer to, waiting to be asked for in one request. */
typedef struct {
    Ads *ads;
    Type type;
    Buffer more;
} Wanted;

static void want(void *owner, const uint8_t *bytes, size_t size) {
    Wanted *wanted = owner;
    Subscription *subscription = &wanted->ads->types[wanted->type];
    uint32_t name = interned(bytes, size), state = map_value(&subscription->names, name);
    if (state == AWAITED) return;
    /* A changed cluster is warmed anew, and for that Envoy asks for its endpoints once more. A listener
     * that still names a known table asks for nothing. */
    if (wanted->type != EDS && state != UNKNOWN) return;
    set(subscription, name, AWAITED);
    put_bytes(&wanted->more, SUBSCRIBE, bytes, size);
}

static void ask_more(Wanted *wanted) {
    Ads *ads = wanted->ads;
    if (buffer_size(&wanted->more) && !ads->types[wanted->type].is_asked) {
        ask(ads, wanted->type);
    } else if (buffer_size(&wanted->more)) {
        Buffer out = request(ads, wanted->type);
        buffer_add(&out, buffer_front(&wanted->more), buffer_size(&wanted->more));
        send_request(ads, &out);
    }
    buffer_clear(&wanted->more);
}

static bool read_resource(Ads *ads, Type type, Field *outer, Wanted *wanted, Heard *heard) {
    Reader in = reader(outer->bytes, outer->size);
    Field field, name = {0}, version = {0}, body = {0};
    while (next_field(&in, &field)) {
        if (field.number == RESOURCE_NAME) name = field;
        if (field.number == RESOURCE_VERSION) version = field;
        if (field.number == RESOURCE_BODY) body = field;
    }
    if (in.is_broken || !name.size || !version.is_bytes || !body.is_bytes) return false;
    uint32_t id = interned(name.bytes, name.size);
    uint32_t state = VERSIONS + interned(version.bytes, version.size);
    if (!heard->first_name) heard->first_name = id;
    heard->resources++;
    bool is_news = map_value(&ads->types[type].names, id) != state;
    set(&ads->types[type], id, state);
    if (!is_news || !is_wildcard(type)) return true;
    Reader any = reader(body.bytes, body.size);
    while (next_field(&any, &field)) {
        if (field.number != ANY_VALUE || !field.is_bytes) continue;
        if (type == CDS) endpoints_of_cluster(field.bytes, field.size, want, wanted);
        if (type == LDS) routes_of_listener(field.bytes, field.size, want, wanted);
    }
    return !any.is_broken;
}

static void read_removal(Ads *ads, Type type, Field *removed, Heard *heard) {
    uint32_t id = interned(removed->bytes, removed->size);
    if (!heard->first_name) heard->first_name = id;
    heard->removed++;
    set(&ads->types[type], id, is_wildcard(type) ? UNKNOWN : ABSENT);
    /* Envoy names the endpoints after the cluster, and forgets them with it. */
    if (type == CDS && map_value(&ads->types[EDS].names, id) != UNKNOWN) {
        set(&ads->types[EDS], id, UNKNOWN);
        Buffer out = request(ads, EDS);
        put_bytes(&out, UNSUBSCRIBE, removed->bytes, removed->size);
        send_request(ads, &out);
    }
}

/* Type URL and nonce come after the resources on the wire, so the response is read twice. */
static bool read_envelope(const uint8_t *message, size_t size, Heard *heard) {
    Reader in = reader(message, size);
    heard->type = TYPES;
    for (Field field; next_field(&in, &field);) {
        if (field.number == NONCE && field.is_bytes) {
            heard->nonce = field.bytes;
            heard->nonce_size = field.size;
        }
        if (field.number != ANSWERED_TYPE || !field.is_bytes) continue;
        for (int type = 0; type < TYPES; type++)
            if (field.size == strlen(TYPE_URLS[type]) && !memcmp(field.bytes, TYPE_URLS[type], field.size))
                heard->type = (Type)type;
    }
    return !in.is_broken && heard->type != TYPES && heard->nonce_size;
}

bool ads_hear(Ads *ads, const uint8_t *message, size_t size, Heard *heard) {
    *heard = (Heard){.size = size};
    if (!read_envelope(message, size, heard)) return false;
    Type type = heard->type;
    Wanted wanted = {.ads = ads, .type = type == CDS ? EDS : RDS};
    Reader in = reader(message, size);
    for (Field field; next_field(&in, &field);) {
        if (field.number == RESOURCES && field.is_bytes) {
            if (!read_resource(ads, type, &field, &wanted, heard)) return false;
        } else if (field.number == REMOVED && field.is_bytes) {
            read_removal(ads, type, &field, heard);
        }
    }
    ads->types[type].is_answered = true;
    ask_more(&wanted);
    if (type == CDS && *ads->secret && !ads->types[SDS].is_asked) {
        set(&ads->types[SDS], interned((const uint8_t *)ads->secret, strlen(ads->secret)), AWAITED);
        ask(ads, SDS);
    }
    /* After its start Envoy pauses CDS, ACKs included, while a cluster is warming. */
    if (type == CDS && ads->was_current && ads->types[EDS].awaited) {
        buffer_clear(&ads->held);
        buffer_add(&ads->held, heard->nonce, heard->nonce_size);
    } else {
        acknowledge(ads, type, heard->nonce, heard->nonce_size);
    }
    bool is_warm = ads->types[CDS].is_answered && !ads->types[EDS].awaited;
    if (is_warm && buffer_size(&ads->held)) {
        acknowledge(ads, CDS, buffer_front(&ads->held), buffer_size(&ads->held));
        buffer_clear(&ads->held);
    }
    if (is_warm && !ads->types[LDS].is_asked) ask(ads, LDS);
    ads->was_current = ads->was_current || ads_is_current(ads);
    return true;
}

bool ads_is_current(const Ads *ads) {
    for (int type = 0; type < TYPES; type++) {
        const Subscription *subscription = &ads->types[type];
        if (subscription->awaited) return false;
        if (is_wildcard((Type)type) && !subscription->is_answered) return false;
    }
    return true;
}

void ads_closed(Ads *ads) {
    for (int type = 0; type < TYPES; type++) ads->types[type].is_asked = false;
    ads->is_known = false;
    buffer_clear(&ads->held);
    http2_free(&ads->http2);
}
